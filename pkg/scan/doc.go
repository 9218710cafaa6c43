// Package scan reads the reports of vulnerability scanners and VEX documents: Trivy and Grype JSON, SARIF, CycloneDX, SPDX and
// OpenVEX. It knows no state and runs nothing: package triage decides which images are scanned, and records the findings.
//
// Reports are untrusted: a hostile image can put any text into one. They are read as a stream, so that memory holds the
// findings but not the report, and every text is cut to a line of bounded length.
package scan
