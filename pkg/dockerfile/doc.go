// Package dockerfile finds every image that BuildKit resolves when it builds
// a Dockerfile, without a daemon and without a network.
//
// The authority is BuildKit itself, at the version in go.mod. [Resolve] lets
// BuildKit's converter (frontend/dockerfile/dockerfile2llb) plan the build
// with an image resolver that records each request: that
// decides whether the file is valid, and finds every reference that BuildKit
// requests. A pass of this package over BuildKit's parser output follows the
// same rules to find the stage, instruction and line of each reference, and
// the words that cannot be resolved because a variable has no value.
//
// Resolving tags is left to callers. The ONBUILD triggers of an external
// base image and its environment are in its config, which [Options.Base] gives.
// Without it, the triggers are unknown, and Resolve reports a [Warning] instead
// of an [Error] if the problem depends on the environment or working directory.
//
// Input is untrusted, registry responses included: see [MaxSize] and the other
// limits.
package dockerfile
