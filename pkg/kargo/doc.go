// Package kargo turns images.yaml, state and the graph into the Kargo, Argo Rollouts and Kubernetes objects that watch
// registries, run the analysis and execute rebuilds. It is pure: the same input gives the same objects in the same
// order, and nothing is read or written.
//
// What it leaves to others: when a rebuild is due (package policy), writing the objects (package manifest) and talking
// to a cluster (package cluster). Every delay is decided from state; none is written into an object.
//
// All texts that a user can write reach the objects as data. Where Kargo evaluates a field they are compiled into
// expr-lang string literals, see [literal] and [text]; where Argo Rollouts substitutes arguments or Kubernetes expands
// variables they are escaped, see [templateText] and [argument].
package kargo
