// Package registry reads OCI registries: the digest of a tag, the tags of a repository, when an image was built and on which
// digests. It sends few requests at a time and HEAD before GET. Responses are bounded and checked against their digest, and
// an incomplete response is an error, never a guess.
//
// go-containerregistry signs in. Packages policy and state interpret and store the facts.
package registry
