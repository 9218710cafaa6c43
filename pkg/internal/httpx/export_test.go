package httpx

// RedactURL is redactURL, for its fuzz test.
var RedactURL = redactURL
