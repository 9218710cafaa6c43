package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// SetSecret sets a key of an existing Secret and changes nothing else in it.
func (c *Client) SetSecret(ctx context.Context, name, key, value string) error {
	patch, err := json.Marshal(map[string]any{"data": map[string][]byte{key: []byte(value)}})
	if err != nil {
		return err
	}
	err = c.retry(ctx, func(ctx context.Context) error {
		_, err := c.api.Resource(secrets).Namespace(c.namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "imagefactory"})
		return err
	})
	if err == nil {
		return nil
	}
	return neterr.As(fmt.Sprintf("writing Secret %q in project %s: %s (apply dist, and run this with the ServiceAccount of its Role)",
		name, c.namespace, problem(err, append(c.secrets, value))), err)
}
