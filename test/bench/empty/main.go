// Command empty does nothing: it measures the start of any Go program.
package main

func main() {}
