# Numbers as text: without an exponent, however large.
variable "RELEASE" { default = 20250101 }
target "default" {
  args = {
    RELEASE = RELEASE
    TEXT    = "v${RELEASE}"
    UID     = 1000000
    LARGE   = 100000000000000000000000
    SMALL   = 0.00001
    GO      = 1.20
  }
}
