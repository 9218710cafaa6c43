package crd

import (
	"encoding/json"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// maxCronJobName leaves room for the 11 characters that the name of a CronJob's Job adds.
const maxCronJobName = 52

// builtin is a kind that an API server knows without a CRD.
type builtin struct {
	version    string
	namespaced bool
	name       metavalidation.ValidateNameFunc
	object     metav1.Object // empty, of the kind's type
}

// builtinOf returns the built-in kind gk, if it is one of those supported.
func builtinOf(gk schema.GroupKind) (builtin, bool) {
	b := builtin{version: "v1", namespaced: true, name: metavalidation.NameIsDNSSubdomain}
	switch gk {
	case schema.GroupKind{Kind: "Namespace"}:
		b.namespaced, b.name, b.object = false, metavalidation.ValidateNamespaceName, &corev1.Namespace{}
	case schema.GroupKind{Kind: "ServiceAccount"}:
		b.name, b.object = metavalidation.ValidateServiceAccountName, &corev1.ServiceAccount{}
	case schema.GroupKind{Kind: "ConfigMap"}:
		b.object = &corev1.ConfigMap{}
	case schema.GroupKind{Kind: "Secret"}:
		b.object = &corev1.Secret{}
	case schema.GroupKind{Group: rbacv1.GroupName, Kind: "Role"}:
		b.name, b.object = pathSegment, &rbacv1.Role{}
	case schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"}:
		b.name, b.object = pathSegment, &rbacv1.RoleBinding{}
	case schema.GroupKind{Group: batchv1.GroupName, Kind: "Job"}:
		b.object = &batchv1.Job{}
	case schema.GroupKind{Group: batchv1.GroupName, Kind: "CronJob"}:
		b.name, b.object = cronJobName, &batchv1.CronJob{}
	default:
		return builtin{}, false
	}
	return b, true
}

func cronJobName(name string, prefix bool) []string {
	problems := metavalidation.NameIsDNSSubdomain(name, prefix)
	if len(name) > maxCronJobName {
		problems = append(problems, fmt.Sprintf("must be no more than %d characters", maxCronJobName))
	}
	return problems
}

func (b builtin) validate(r *report, version string, data []byte) {
	if version != b.version {
		r.add("apiVersion", fmt.Sprintf("version %q is not supported, only %q", version, b.version))
		return
	}
	unknown, err := kjson.UnmarshalStrict(data, b.object, kjson.DisallowUnknownFields)
	if err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			r.add(wrongType.Field, fmt.Sprintf("is a %s, not a %s", wrongType.Value, wrongType.Type))
			return
		}
		r.add("", trimJSON(err))
		return
	}
	for _, err := range unknown {
		var located kjson.FieldError
		if errors.As(err, &located) {
			r.unknownField(located.FieldPath())
			continue
		}
		r.add("", trimJSON(err))
	}
	r.addErrors(validateMeta(metaOf(b.object), b.namespaced, b.name))
}

// metaOf returns the metadata of one of the types in builtinOf, all of which have an ObjectMeta.
func metaOf(obj metav1.Object) *metav1.ObjectMeta {
	return obj.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

// pathSegment is the rule for names of RBAC objects.
func pathSegment(name string, _ bool) []string { return content.IsPathSegmentName(name) }
