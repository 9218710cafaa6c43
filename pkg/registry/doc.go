// Package registry asks OCI registries what is true: what a tag holds, which tags a repository has, when an image was
// built and what it was built on. It is polite to registries (a few requests at a time, waits where they ask to, HEAD
// before GET) and takes nothing on trust: what it reads is bounded and checked against its digest, and half an answer is
// an error, never a guess.
//
// Signing in is go-containerregistry's. What the facts mean, and keeping them, is left to packages policy and state.
package registry
