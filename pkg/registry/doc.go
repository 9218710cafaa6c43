// Package registry reads OCI registries: what a tag holds, which tags a repository has, when an image was built and on
// which digests. It sends few requests at a time and HEAD before GET. What it reads is bounded and checked against its
// digest, and an incomplete response is an error, never a guess.
//
// go-containerregistry signs in. What the facts mean, and storing them, is left to packages policy and state.
package registry
