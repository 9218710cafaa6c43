# One block for several images: matrices of texts and of objects, names by functions.
variable "VERSIONS" { default = ["1.23", "1.24"] }

target "runtime" {
  name = "runtime-${replace(version, ".", "-")}-${variant.name}"
  matrix = {
    version = VERSIONS
    variant = [
      { name = "full", from = "debian:12" },
      { name = "slim", from = "debian:12-slim" },
    ]
  }
  context    = "runtime"
  dockerfile = variant.name == "slim" ? "Dockerfile.slim" : "Dockerfile"
  args       = { VERSION = version, BASE = variant.from }
}

target "lint" {
  name     = sanitize("lint.${tool}")
  matrix   = { tool = split(",", "go,sh") }
  target   = format("lint-%s", upper(tool))
  contexts = { src = "target:${"runtime-1-24-full"}" }
}
