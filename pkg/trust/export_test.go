package trust

// Unpack is for fuzzing.
var Unpack = unpack
