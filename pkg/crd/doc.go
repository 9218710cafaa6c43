// Package crd checks an object as a Kubernetes API server would: it validates against
// CustomResourceDefinitions read from a folder, with the API server's own libraries and in its order:
// unknown fields, defaults, schema, metadata, list types, CEL rules. The few built-in kinds that go with
// custom resources in a release are decoded strictly into their Go type.
//
// It does not cover what needs a running cluster: admission webhooks, references to other objects, updates
// (rules that look at the old object), and the semantic validation of built-in kinds beyond their types and
// metadata.
package crd
