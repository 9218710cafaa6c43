// Package e2e_test applies what imagefactory synth writes to a real API server, as Argo CD does, and checks what the
// Jobs in it may do.
package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/imagefactory/imagefactory/test/parts"
)

const (
	kargo   = "kargo.akuity.io"
	project = "image-factory-kargo"
	// manager is the field manager of Argo CD's server-side apply.
	// https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#server-side-apply
	manager = "argocd-controller"
)

// What make e2e says: the folder of the programs that it builds, the imagefactory binary, and the folder of Kargo's CRDs.
var (
	programs = os.Getenv("PROGRAMS")
	binary   = os.Getenv("E2E_BINARY")
	schemas  = os.Getenv("KARGO_SCHEMAS")
)

var (
	cluster       *parts.Cluster
	administrator *rest.Config
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if programs == "" || binary == "" {
		fmt.Fprintln(os.Stderr, "run `make e2e`: it builds the servers and the binary, and names them in PROGRAMS and E2E_BINARY")
		return 1
	}
	if schemas == "" {
		fmt.Fprintln(os.Stderr, "skipped: KARGO_SCHEMAS names no folder with Kargo's CRDs")
		return 0
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "imagefactory-e2e-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		cluster, err = parts.StartCluster(ctx, parts.Options{Programs: programs, Dir: dir})
	}
	if err == nil {
		defer cluster.Stop()
		administrator = &rest.Config{Host: cluster.Host, BearerToken: cluster.Token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAFile: cluster.CAFile}}
		err = installCRDs(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// api is a client of the API server.
type api struct {
	dynamic.Interface
	typed  *kubernetes.Clientset
	mapper meta.RESTMapper

	mu       sync.Mutex
	warnings []string
}

func (a *api) HandleWarningHeader(_ int, _, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings = append(a.warnings, text)
}

func newAPI(config *rest.Config) (*api, error) {
	a := &api{}
	config = rest.CopyConfig(config)
	config.WarningHandler = a
	var err error
	if a.typed, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	a.Interface, err = dynamic.NewForConfig(config)
	a.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(a.typed.Discovery()))
	return a, err
}

// admin is a client that may do everything.
func admin(t testing.TB) *api {
	t.Helper()
	a, err := newAPI(administrator)
	require.NoError(t, err)
	return a
}

// apply applies an object as Argo CD does.
func (a *api) apply(ctx context.Context, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	kind := obj.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	resource := dynamic.ResourceInterface(a.Resource(mapping.Resource))
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resource = a.Resource(mapping.Resource).Namespace(obj.GetNamespace())
	}
	return resource.Apply(ctx, obj.GetName(), obj, metav1.ApplyOptions{FieldManager: manager, Force: true})
}

// applyAll applies objects in the order of their sync waves, some at a time, and returns what was stored.
func (a *api) applyAll(t testing.TB, objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	waves := map[string][]*unstructured.Unstructured{}
	for _, obj := range objects {
		wave := obj.GetAnnotations()["argocd.argoproj.io/sync-wave"]
		waves[wave] = append(waves[wave], obj)
	}
	var mu sync.Mutex
	stored := map[string]*unstructured.Unstructured{}
	var failed []error
	for _, wave := range []string{"-2", "-1", ""} {
		var group sync.WaitGroup
		todo := make(chan *unstructured.Unstructured)
		for range 8 {
			group.Go(func() {
				for obj := range todo {
					got, err := a.apply(t.Context(), obj)
					mu.Lock()
					if err != nil {
						failed = append(failed, fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err))
					} else {
						stored[key(obj)] = got
					}
					mu.Unlock()
				}
			})
		}
		for _, obj := range waves[wave] {
			todo <- obj
		}
		close(todo)
		group.Wait()
	}
	require.NoError(t, errors.Join(failed[:min(len(failed), 10)]...))
	require.Len(t, stored, len(objects), "objects of an unknown wave, or two of one name")
	return stored
}

func key(obj *unstructured.Unstructured) string { return obj.GetKind() + "/" + obj.GetName() }

func parse(data []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		obj := &unstructured.Unstructured{}
		switch err := decoder.Decode(obj); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(obj.Object) > 0:
			out = append(out, obj)
		}
	}
}

func installCRDs(ctx context.Context) error {
	a, err := newAPI(administrator)
	if err != nil {
		return err
	}
	var names []string
	for _, folder := range []string{"crds", "rollouts-crds"} {
		files, err := filepath.Glob(filepath.Join(schemas, folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("KARGO_SCHEMAS=%s has no CRDs in %s: %w", schemas, folder, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			objects, err := parse(data)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			for _, obj := range objects {
				if _, err := a.apply(ctx, obj); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				names = append(names, obj.GetName())
			}
		}
	}
	crds := a.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, name := range names {
		if err := established(ctx, crds, name); err != nil {
			return err
		}
	}
	return nil
}

func established(ctx context.Context, crds dynamic.ResourceInterface, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions") // null at first
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// namespace makes a new namespace under the restricted pod security standard, as Kargo would for a Project.
func namespace(t testing.TB, a *api, name string) {
	t.Helper()
	_, err := a.typed.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
	}}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
}

// imagefactory runs the binary in a folder.
func imagefactory(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "imagefactory %s\n%s", strings.Join(args, " "), out)
}

// generated reads dist below a folder.
func generated(t testing.TB, dir string) (data []byte, objects []*unstructured.Unstructured) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "dist", "image-factory.k8s.yaml"))
	require.NoError(t, err)
	objects, err = parse(data)
	require.NoError(t, err)
	return data, objects
}

// demo is what is generated for the sample fleet, as it is in git.
func demo(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	_, objects := generated(t, filepath.Join("..", ".."))
	require.NotEmpty(t, objects)
	return objects
}

// appliedTwice applies objects twice; the second time must change nothing. It returns what is stored.
func appliedTwice(t *testing.T, objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	a := admin(t)
	namespace(t, a, objects[0].GetName())
	start := time.Now()
	first := a.applyAll(t, objects)
	once := time.Since(start)
	second := a.applyAll(t, objects)
	t.Logf("%d objects accepted in %s, again in %s", len(objects), once.Round(time.Millisecond), (time.Since(start) - once).Round(time.Millisecond))
	for key, obj := range second {
		if !assert.Equal(t, first[key].GetResourceVersion(), obj.GetResourceVersion(), "%s was changed by the second apply", key) {
			break
		}
	}
	assert.Empty(t, a.warnings)
	return second
}

func TestSampleFleetIsAcceptedAndStays(t *testing.T) {
	stored := appliedTwice(t, demo(t))
	for _, obj := range demo(t) {
		contains(t, key(obj), obj.Object, stored[key(obj)].Object)
	}
}

// contains asserts that what was applied is stored as it was written; the server may add what it defaults.
func contains(t *testing.T, at string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		require.True(t, ok, "%s: not stored", at)
		for name, value := range want {
			contains(t, at+"."+name, value, got[name])
		}
	case []any:
		got, ok := got.([]any)
		require.True(t, ok, "%s: not stored", at)
		require.Len(t, got, len(want), at)
		for i := range want {
			contains(t, fmt.Sprintf("%s[%d]", at, i), want[i], got[i])
		}
	default:
		require.Equal(t, want, got, at)
	}
}

func TestHostileFleetIsAccepted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "hostile"))))
	imagefactory(t, dir, "analyze", "--source-dir", "src", "--offline")
	imagefactory(t, dir, "synth")
	_, objects := generated(t, dir)
	stored := appliedTwice(t, objects)
	for _, obj := range objects {
		contains(t, key(obj), obj.Object, stored[key(obj)].Object)
	}
	a := admin(t)
	for name, spec := range jobs(t, objects) { // what factory.jobs adds keeps the restricted standard
		a.warnings = nil
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec}
		_, err := a.typed.BatchV1().Jobs(objects[0].GetName()).Create(t.Context(), job, metav1.CreateOptions{})
		require.NoError(t, err, name)
		assert.Empty(t, a.warnings, name)
	}
}

func TestLargeFleetIsAccepted(t *testing.T) {
	const images = 1000
	dir := t.TempDir()
	writeLargeFleet(t, dir, images)
	imagefactory(t, dir, "analyze", "--source-dir", "src", "--offline", "--quiet")
	imagefactory(t, dir, "synth")
	data, objects := generated(t, dir)
	require.Greater(t, len(objects), 3*images, "three for each image")
	largest := 0
	for _, obj := range objects {
		data, err := obj.MarshalJSON()
		require.NoError(t, err)
		largest = max(largest, len(data))
	}
	t.Logf("%d images: %d objects, %d bytes of YAML, the largest %d bytes as JSON", images, len(objects), len(data), largest)
	appliedTwice(t, objects)
}

// writeLargeFleet writes images.yaml, and the Dockerfiles below src: images on a tenth as many base images, and a fifth
// of them on another image of the fleet.
func writeLargeFleet(t *testing.T, dir string, images int) {
	t.Helper()
	var enroll strings.Builder
	enroll.WriteString("factory:\n  project: large-fleet\n  state: {url: \"https://git.example.com/acme/images.git\"}\nimages:\n")
	for i := range images {
		name := fmt.Sprintf("service-%04d", i)
		fmt.Fprintf(&enroll, "- name: %[1]s\n  repository: acme/%[1]s\n  source: {provider: github, repo: acme/%[1]s, workflow: build.yml}\n", name)
		base := fmt.Sprintf("base%d:1", i%max(images/10, 1))
		if i%5 == 4 {
			base = fmt.Sprintf("ghcr.io/acme/service-%04d:1.0.0", i-1)
		}
		folder := filepath.Join(dir, "src", name)
		require.NoError(t, os.MkdirAll(folder, 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM "+base+"\n"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images.yaml"), []byte(enroll.String()), 0o600))
}

// jobs are the specs of all Jobs in the generated objects.
func jobs(t *testing.T, objects []*unstructured.Unstructured) map[string]batchv1.JobSpec {
	t.Helper()
	out := map[string]batchv1.JobSpec{}
	decode := func(name string, from map[string]any) {
		var spec batchv1.JobSpec
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(from, &spec, true), name)
		out[name] = spec
	}
	for _, obj := range objects {
		switch obj.GetKind() {
		case "CronJob":
			spec, ok, err := unstructured.NestedMap(obj.Object, "spec", "jobTemplate", "spec")
			require.True(t, ok && err == nil)
			decode(key(obj), spec)
		case "AnalysisTemplate":
			metrics, ok, err := unstructured.NestedSlice(obj.Object, "spec", "metrics")
			require.True(t, ok && err == nil)
			for _, metric := range metrics {
				spec, ok, err := unstructured.NestedMap(metric.(map[string]any), "provider", "job", "spec")
				require.True(t, ok && err == nil)
				decode(key(obj), spec)
			}
		}
	}
	return out
}

func TestPodsKeepTheRestrictedStandard(t *testing.T) {
	a := admin(t)
	namespace(t, a, project)
	a.applyAll(t, demo(t))
	specs := jobs(t, demo(t))
	require.Len(t, specs, 2)
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			pods := a.typed.CoreV1().Pods(project)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: spec.Template.Labels}, Spec: spec.Template.Spec}
			got, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
			require.NoError(t, err)
			assert.Equal(t, "image-factory", got.Spec.ServiceAccountName)
			a.warnings = nil
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec}
			_, err = a.typed.BatchV1().Jobs(project).Create(t.Context(), job, metav1.CreateOptions{})
			require.NoError(t, err)
			assert.Empty(t, a.warnings)

			for what, spoil := range map[string]func(*corev1.PodSpec){
				"a root user":          func(s *corev1.PodSpec) { s.SecurityContext.RunAsNonRoot = nil },
				"capabilities":         func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Capabilities = nil },
				"no seccomp profile":   func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile = nil },
				"privilege escalation": func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
				"a folder of the node": func(s *corev1.PodSpec) {
					s.Volumes = append(s.Volumes, corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
				},
				"the network of the node": func(s *corev1.PodSpec) { s.HostNetwork = true },
			} {
				spoilt := pod.DeepCopy()
				spoil(&spoilt.Spec)
				_, err := pods.Create(t.Context(), spoilt, metav1.CreateOptions{})
				assert.True(t, apierrors.IsForbidden(err), "%s must be refused, or this test shows nothing: %v", what, err)
				assert.ErrorContains(t, err, "PodSecurity", what)
			}
		})
	}
}

// TestScanningPods: the pods of a fleet that scans keep the restricted standard, and the scanner in the Job of an analysis gets no
// token.
func TestScanningPods(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images.yaml"), []byte("factory:\n  state: {url: \"https://git.example.com/acme/images.git\"}\n  scan: {with: trivy, analysis: true}\nimages: []\n"), 0o600))
	imagefactory(t, dir, "synth")
	_, objects := generated(t, dir)
	a := admin(t)
	namespace(t, a, project)
	a.applyAll(t, objects)
	specs := jobs(t, objects)
	require.Len(t, specs, 3)
	withInit := 0
	for name, spec := range specs {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: spec.Template.Labels}, Spec: spec.Template.Spec}
		got, err := a.typed.CoreV1().Pods(project).Create(t.Context(), pod, metav1.CreateOptions{})
		require.NoError(t, err, name)
		a.warnings = nil
		_, err = a.typed.BatchV1().Jobs(project).Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec}, metav1.CreateOptions{})
		require.NoError(t, err, name)
		assert.Empty(t, a.warnings, name)
		for i := range got.Spec.InitContainers {
			if c := &got.Spec.InitContainers[i]; c.Name == "scan" {
				withInit++
				assert.False(t, hasToken(c), name)
				assert.True(t, hasToken(&got.Spec.Containers[0]), name)
			}
		}
	}
	assert.Equal(t, 1, withInit)
}

// hasToken reports whether the API server mounts the token of the ServiceAccount into a container.
func hasToken(c *corev1.Container) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, "kube-api-access") })
}

// asServiceAccount is a client with a token of the Jobs' ServiceAccount.
func asServiceAccount(t *testing.T, a *api) *api {
	t.Helper()
	out, err := newAPI(configOf(t, a, project, "image-factory"))
	require.NoError(t, err)
	return out
}

// configOf is a configuration with a token of a ServiceAccount.
func configOf(t *testing.T, a *api, namespace, account string) *rest.Config {
	t.Helper()
	token, err := a.typed.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	config := rest.AnonymousClientConfig(administrator)
	config.BearerToken = token.Status.Token
	return config
}

func TestServiceAccountMayDoItsWork(t *testing.T) {
	a := admin(t)
	namespace(t, a, project)
	a.applyAll(t, demo(t))
	jobs := asServiceAccount(t, a)
	for _, resource := range []string{"stages", "freights", "promotions"} {
		_, err := jobs.Resource(schema.GroupVersionResource{Group: kargo, Version: "v1alpha1", Resource: resource}).Namespace(project).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err, resource)
	}
	created, err := promotions(jobs, project).Create(t.Context(), promotion("rebuild-payments"), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = promotions(jobs, project).Get(t.Context(), created.GetName(), metav1.GetOptions{})
	require.NoError(t, err)
	rebuilds := 0
	for _, obj := range demo(t) {
		if obj.GetKind() != "Stage" {
			continue
		}
		rebuild := strings.HasPrefix(obj.GetName(), "rebuild-")
		if rebuild {
			rebuilds++
		}
		assert.Equal(t, rebuild, may(t, jobs, authorizationv1.ResourceAttributes{
			Namespace: project, Verb: "promote", Group: kargo, Version: "v1alpha1", Resource: "stages", Name: obj.GetName(),
		}), obj.GetName())
	}
	assert.Positive(t, rebuilds)
}

func promotions(a *api, namespace string) dynamic.ResourceInterface {
	return a.Resource(schema.GroupVersionResource{Group: kargo, Version: "v1alpha1", Resource: "promotions"}).Namespace(namespace)
}

func promotion(stage string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kargo + "/v1alpha1", "kind": "Promotion", "metadata": map[string]any{"generateName": "e2e-"},
		"spec": map[string]any{"stage": stage, "freight": "f", "steps": []any{map[string]any{"uses": "compose-output"}}},
	}}
}

func may(t *testing.T, a *api, what authorizationv1.ResourceAttributes) bool {
	t.Helper()
	got, err := a.typed.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}, metav1.CreateOptions{})
	require.NoError(t, err)
	return got.Status.Allowed
}

func TestServiceAccountMayDoNothingElse(t *testing.T) {
	a := admin(t)
	namespace(t, a, project)
	namespace(t, a, "another-team")
	a.applyAll(t, demo(t))
	jobs := asServiceAccount(t, a)
	stages := func(namespace string) dynamic.ResourceInterface {
		return jobs.Resource(schema.GroupVersionResource{Group: kargo, Version: "v1alpha1", Resource: "stages"}).Namespace(namespace)
	}
	ctx := t.Context()
	errorOf := func(_ any, err error) error { return err }
	for what, try := range map[string]func() error{
		"read Secrets": func() error { return errorOf(jobs.typed.CoreV1().Secrets(project).List(ctx, metav1.ListOptions{})) },
		"read one Secret": func() error {
			return errorOf(jobs.typed.CoreV1().Secrets(project).Get(ctx, "forge-github", metav1.GetOptions{}))
		},
		"read ConfigMaps": func() error { return errorOf(jobs.typed.CoreV1().ConfigMaps(project).List(ctx, metav1.ListOptions{})) },
		"make Jobs": func() error {
			return errorOf(jobs.typed.BatchV1().Jobs(project).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}))
		},
		"make tokens": func() error {
			return errorOf(jobs.typed.CoreV1().ServiceAccounts(project).CreateToken(ctx, "image-factory", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
		},
		"list namespaces": func() error { return errorOf(jobs.typed.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})) },
		"change a Role": func() error {
			return jobs.typed.RbacV1().Roles(project).Delete(ctx, "image-factory", metav1.DeleteOptions{})
		},
		"change a Stage": func() error {
			return errorOf(stages(project).Patch(ctx, "rebuild-payments", "application/merge-patch+json", []byte(`{"spec":{"shard":"x"}}`), metav1.PatchOptions{}))
		},
		"delete a Stage":    func() error { return stages(project).Delete(ctx, "rebuild-payments", metav1.DeleteOptions{}) },
		"delete Promotions": func() error { return promotions(jobs, project).Delete(ctx, "x", metav1.DeleteOptions{}) },
		"abort Promotions": func() error {
			return errorOf(promotions(jobs, project).Patch(ctx, "x", "application/merge-patch+json", []byte(`{"metadata":{"annotations":{"kargo.akuity.io/abort":"x"}}}`), metav1.PatchOptions{}))
		},
		"see other Stages": func() error { return errorOf(stages("another-team").List(ctx, metav1.ListOptions{})) },
		"see all Stages":   func() error { return errorOf(stages("").List(ctx, metav1.ListOptions{})) },
		"promote elsewhere": func() error {
			return errorOf(promotions(jobs, "another-team").Create(ctx, promotion("rebuild-payments"), metav1.CreateOptions{}))
		},
	} {
		assert.True(t, apierrors.IsForbidden(try()), what)
	}
	assert.False(t, may(t, jobs, authorizationv1.ResourceAttributes{Namespace: project, Verb: "promote", Group: kargo, Version: "v1alpha1", Resource: "stages", Name: "somebody-elses"}))
	assert.False(t, may(t, jobs, authorizationv1.ResourceAttributes{Namespace: project, Verb: "promote", Group: kargo, Version: "v1alpha1", Resource: "stages"}), "all Stages")

	// What is allowed beyond what everybody who is signed in may do is this, and no more.
	somebody := rest.CopyConfig(administrator)
	somebody.Impersonate = rest.ImpersonationConfig{UserName: "somebody", Groups: []string{"system:authenticated"}}
	anybody, err := newAPI(somebody)
	require.NoError(t, err)
	everybodys := rulesOf(t, anybody, project)
	own := slices.DeleteFunc(rulesOf(t, jobs, project), func(rule string) bool { return slices.Contains(everybodys, rule) })
	assert.ElementsMatch(t, []string{
		"get,list kargo.akuity.io/freights,promotions,stages", "create kargo.akuity.io/promotions", "promote kargo.akuity.io/stages of a list",
	}, own)
}

// rulesOf lists what a client may do in a project.
func rulesOf(t *testing.T, a *api, project string) []string {
	t.Helper()
	review, err := a.typed.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: project}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.False(t, review.Status.Incomplete)
	var out []string
	for _, rule := range review.Status.ResourceRules {
		text := strings.Join(rule.Verbs, ",") + " " + strings.Join(rule.APIGroups, ",") + "/" + strings.Join(rule.Resources, ",")
		if len(rule.ResourceNames) > 0 {
			text += " of a list"
		}
		out = append(out, text)
	}
	return out
}
