package source

import "errors"

// answer is an error that says what is there, and not that it could not be asked. Asking again has the same answer until
// somebody changes the repository or images.yaml.
type answer string

func (a answer) Error() string { return string(a) }

// Answer returns what a source answered when a Dockerfile cannot be had: there is none, or it is something else. ok is
// false for an error that says nothing about it, such as that of a server in trouble.
func Answer(err error) (text string, ok bool) {
	var a answer
	ok = errors.As(err, &a)
	return string(a), ok
}
