// Package dockerfile finds every image that BuildKit resolves when it builds
// a Dockerfile, without a daemon and without a network.
//
// The authority is BuildKit itself, at the version in go.mod. [Resolve] lets
// BuildKit's converter (frontend/dockerfile/dockerfile2llb) plan the build
// with an image resolver that only writes down what it is asked for: that
// decides whether the file is refused, and no reference that it asks for is
// left out. A pass of this package over BuildKit's parser output follows the
// same rules to say which stage, instruction and line each reference comes
// from, and which words cannot be resolved because a variable has no value.
//
// Three things are known to a registry only, and are left to others: what a
// tag points to, the ONBUILD triggers of an external base image, and its
// environment. Where a refusal would depend on the environment or working
// directory of a base image, Resolve reports a [Warning] and no [Error].
//
// Input is untrusted: see [MaxSize] and the other limits.
package dockerfile
