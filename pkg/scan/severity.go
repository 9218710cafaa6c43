package scan

import (
	"slices"
	"strings"
)

// Severity is how bad a vulnerability is.
type Severity string

// Severities, the worst first.
const (
	Critical   Severity = "critical"
	High       Severity = "high"
	Medium     Severity = "medium"
	Low        Severity = "low"
	Negligible Severity = "negligible"
	Unknown    Severity = "unknown"
)

// Severities lists every severity, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Negligible, Unknown} }

// Known reports whether s is one of [Severities].
func (s Severity) Known() bool { return slices.Contains(Severities(), s) }

// AtLeast reports whether s is as bad as least, or worse. An unknown severity is the least of all.
func (s Severity) AtLeast(least Severity) bool { return s.Compare(least) <= 0 }

// Compare compares two severities; the worse one comes first.
func (s Severity) Compare(t Severity) int {
	return slices.Index(Severities(), s) - slices.Index(Severities(), t)
}

// severityOf returns the severity that a scanner calls text.
func severityOf(text string) Severity {
	switch s := Severity(strings.ToLower(strings.TrimSpace(text))); s {
	case Critical, High, Medium, Low, Negligible:
		return s
	case "important": // of Red Hat
		return High
	case "moderate":
		return Medium
	case "info", "informational", "none":
		return Negligible
	}
	return Unknown
}

// severityOfScore returns the severity of a CVSS base score.
func severityOfScore(score float64) Severity {
	switch {
	case score >= 9:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	case score > 0:
		return Low
	}
	return Unknown
}
