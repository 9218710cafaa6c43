# Several services of one repository: groups, inheritance, overrides, a function.
variable "REGISTRY" { default = "ghcr.io/acme" }
variable "TAG" { default = "latest" }
variable "NODE" { default = "22.11" }

function "tag" {
  params = [name]
  result = ["${REGISTRY}/${name}:${TAG}", notequal("latest", TAG) ? "${REGISTRY}/${name}:latest" : ""]
}

group "default" { targets = ["shop", "backoffice"] }
group "all" { targets = ["default", "tools"] }

target "_common" {
  args = {
    NODE_VERSION = NODE
    DEBUG        = false
    LEVEL        = 3
  }
  platforms = ["linux/amd64", "linux/arm64"]
}

target "shop" {
  inherits   = ["_common"]
  context    = "services/shop"
  dockerfile = "docker/Dockerfile"
  target     = "release"
  tags       = tag("shop")
}

target "backoffice" {
  inherits  = ["shop"]
  context   = "services/backoffice"
  args      = { NODE_VERSION = "20", DEBUG = null }
  platforms = ["linux/amd64"]
  tags      = tag("backoffice")
}

target "tools" {
  inherits   = ["_common", "shop"]
  dockerfile = ""
  target     = ""
  platforms  = []
}
