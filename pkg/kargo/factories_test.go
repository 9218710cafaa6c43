package kargo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestFactoriesDoNotClash: two factories with Projects of their own share no object of the cluster, whatever they have enrolled, and what
// refers to an object names one of the same Project.
func TestFactoriesDoNotClash(t *testing.T) {
	owners := map[string]string{}
	for _, project := range []string{"one", "two"} {
		text := strings.Replace(withApps, "factory:\n", "factory:\n  project: "+project+"\n", 1)
		for _, o := range (fleet{Images: text}).objects(t) {
			key := o.Kind() + " " + o.Namespace() + "/" + o.Name()
			assert.Empty(t, owners[key], key)
			owners[key] = project
			if o.Kind() == "Project" {
				assert.Equal(t, project, o.Name())
				assert.Empty(t, o.Namespace())
				continue
			}
			assert.Equal(t, project, o.Namespace(), key)
			if binding, ok := o.(*RoleBinding); ok {
				assert.Equal(t, "Role", binding.RoleRef.Kind, "nothing is allowed in other namespaces")
				for _, s := range binding.Subjects {
					assert.Equal(t, project, s.Namespace)
				}
			}
		}
	}
	assert.Contains(t, owners, "Project /one")
	assert.Contains(t, owners, "Project /two")
}
