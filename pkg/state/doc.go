// Package state is what imagefactory knows: facts about images and base images, kept in one YAML file each so that git
// remembers them. It holds the model, loading and saving, and the transitions by which a new observation becomes fact.
// Nothing that can be computed (dates, what is due, dependents) is stored; that is for packages graph and policy. Where
// the files live (a folder, a git repository) is for package store.
package state
