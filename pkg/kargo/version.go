package kargo

// UnknownBefore111 lists the fields of dist that Kargo below 1.11 refuses.
const UnknownBefore111 = "which does not know `pollInterval` and `errorExpression` of the step http: every rebuild would end with an error"

// Before111 reports whether CRDs are of a Kargo below 1.11, given which fields the status of a Stage has. Holds on
// auto-promotion came with 1.11; a schema without any status tells nothing.
func Before111(has func(field string) bool) bool {
	return has("freightHistory") && !has("autoPromotionHolds")
}
