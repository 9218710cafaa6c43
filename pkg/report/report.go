// Package report prints results: tables, drawings, objects as JSON and YAML, and the formats of code hosts.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// JSON prints a value as indented JSON. HTML characters are not escaped.
func JSON(w io.Writer, v any) error {
	return writeJSON(w, v, "  ")
}

// JSONLine prints a value as one line of JSON.
func JSONLine(w io.Writer, v any) error { return writeJSON(w, v, "") }

func writeJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	if _, err := w.Write(escapeUnsafe(b.Bytes())); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}

// escapeUnsafe escapes the characters that JSON allows in strings and that steer terminals. They occur only in strings.
func escapeUnsafe(data []byte) []byte {
	isUnsafe := func(r rune) bool { return r != '\n' && sanitize.IsUnsafe(r) }
	if !bytes.ContainsFunc(data, isUnsafe) {
		return data
	}
	var b bytes.Buffer
	for _, r := range string(data) {
		if isUnsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// Diff prints a unified diff of untrusted files, with [sanitize.Terminal] applied to each line.
func Diff(w io.Writer, diff string) error {
	var b strings.Builder
	for line := range strings.Lines(diff) {
		text := strings.TrimRight(line, "\r\n")
		for i, part := range strings.Split(text, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(sanitize.Terminal(part))
		}
		b.WriteString(line[len(text):])
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("printing diff: %w", err)
	}
	return nil
}

// Decisions prints the status of every image, followed by a line of totals. Wide prints reasons in full and exact times.
func (s Style) Decisions(w io.Writer, decisions []policy.Decision, now time.Time, wide bool) error {
	rows := make([][]string, len(decisions))
	counts := map[policy.Status]int{}
	headings := []string{"IMAGE", "STATUS", "WHEN (UTC)", "WHY"}
	owned := wide && slices.ContainsFunc(decisions, func(d policy.Decision) bool { return d.Owner != "" })
	if owned {
		headings = slices.Insert(headings, 1, "OWNER")
	}
	for i := range decisions {
		d := &decisions[i]
		counts[d.Status]++
		why := Reason(d)
		if !wide {
			why = sanitize.Cut(why, maxWhy)
		}
		rows[i] = []string{d.Image, StatusWord(d.Status), When(d, now, wide), why}
		if owned {
			rows[i] = slices.Insert(rows[i], 1, d.Owner)
		}
	}
	if err := s.Table(w, headings, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", totals(counts))
	return err
}

const maxWhy = 200 // characters of a table's last column; -o wide has the rest

// Reason returns in one line why an image has its status.
func Reason(d *policy.Decision) string {
	parts := []string{d.Reason}
	if d.Queued != "" {
		parts = append(parts, d.Queued)
	}
	if d.AnalysisError != "" && !strings.Contains(d.Reason, d.AnalysisError) {
		parts = append(parts, "last analysis failed: "+d.AnalysisError)
	}
	if d.Failure != "" && !strings.Contains(d.Reason, d.Failure) {
		parts = append(parts, "last rebuild: "+d.Failure)
	}
	return sanitize.Words(strings.Join(parts, "; "))
}

// totals counts images by status: "2 due, 1 waiting, 7 current".
func totals(counts map[policy.Status]int) string {
	var parts []string
	for _, s := range policy.Statuses() {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, StatusWord(s)))
		}
	}
	if len(parts) == 0 {
		return "no images are enrolled"
	}
	return strings.Join(parts, ", ")
}

// StatusWord returns a status as tables show it.
func StatusWord(s policy.Status) string {
	if s == policy.OptedOut {
		return "opted out"
	}
	return string(s)
}
