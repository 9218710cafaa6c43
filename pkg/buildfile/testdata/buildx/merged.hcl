# The same block several times, and targets that inherit twice from one.
target "a" {
  context = "one"
  args    = { X = "1", Y = "1" }
}
target "a" {
  dockerfile = "Containerfile"
  args       = { Y = "2" }
}
target "b" {
  inherits = ["a"]
  args     = { Z = "3" }
}
target "c" {
  inherits  = ["a", "b"]
  platforms = ["linux/arm/v7", "linux/arm64", "linux/arm64"]
}
target "d" {
  inherits = ["c", "b"]
  context  = "./x/../y"
}
