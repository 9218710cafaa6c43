# Variables: later ones, attributes, types, null, without default, conditions, validation.
variable "IMAGE" { default = "${PREFIX}/app:${MAJOR}.${MINOR}" }
variable "PREFIX" { default = lower("Example") }
variable "MAJOR" { default = 3 }
variable "MINOR" {
  type    = number
  default = 20
  validation {
    condition     = MINOR > 1
    error_message = "too old"
  }
}
variable "LATEST" { default = true }
variable "ABSENT" { default = null }
variable "COMMIT" {}
variable "EMPTY" { default = "" }
folder = "build"
version = "${MAJOR}.${MINOR}"

target "default" {
  context    = folder
  dockerfile = LATEST ? "Dockerfile.${version}" : "Dockerfile"
  args = {
    IMAGE   = IMAGE
    COMMIT  = COMMIT
    LABEL   = "commit ${COMMIT}"
    ABSENT  = ABSENT
    EMPTY   = EMPTY
    SUM     = add(MAJOR, 1)
    ESCAPED = "$${HOME}"
    LIST    = join(",", [for n in ["a", "b"] : upper(n)])
    NAME    = basename("/a/b.tar")
    DIR     = dirname("/a/b.tar")
    HASH    = substr(sha256("x"), 0, 8)
    HAVE    = COMMIT != "" ? "yes" : "no"
  }
}
