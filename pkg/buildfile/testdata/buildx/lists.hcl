# Lists and maps that are computed, conditions, inheritance by a list, a matrix of objects.
variable "P" { default = "linux/amd64,linux/arm64" }
variable "EXTRA" { default = "" }
target "a" {
  platforms = split(",", P)
  args = { A = EXTRA == "" ? "none" : EXTRA, B = notequal("", EXTRA) ? "1" : null, C = P == null ? null : "z", T = try(P.x, "dflt"), CC = can(P.x) ? "y" : "n", TR = trimsuffix("a.b", ".b"), ZZ = length(["a"]), I = index(["a","b"], 1), IV = indexof(["a","b"], "b"), TOM = lower(join("/", compact(["A", "", "B"])))}
}
target "b" {
  inherits = ["a"]
  platforms = [for p in split(",", P): p if p != "linux/amd64"]
}
target "c" {
  inherits = [for x in ["a"]: x]
  args = { for k, v in { x = "1", y = "2" } : upper(k) => v }
}
target "obj" {
  matrix = { item = [{ n = "x", v = "1" }, { n = "y", v = "2" }] }
  name = "obj-${item.n}"
  args = { V = item.v }
  target = item.n == "x" ? "tx" : null
}
group "default" { targets = ["a", "b", "c", "obj"] }
