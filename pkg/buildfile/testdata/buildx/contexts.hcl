# Named contexts: images, folders, and another target of the file.
variable "ALPINE" { default = "3.20" }
target "base" {
  context = "images/base"
  args    = { ALPINE = ALPINE }
}
target "app" {
  context = "app"
  contexts = {
    base       = "target:base"
    node       = "docker-image://node:22-slim"
    "node:20"  = "docker-image://registry.example.com/node:20"
    assets     = "assets"
    unused     = ""
  }
}
target "app-debug" {
  inherits = ["app"]
  contexts = { node = "docker-image://node:22", assets = "" }
  target   = "debug"
}
