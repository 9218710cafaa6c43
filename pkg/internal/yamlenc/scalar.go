package yamlenc

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// style is how a string is written.
type style uint8

const (
	plain style = iota
	double
	literal
	invalid // not UTF-8
)

// styleOf chooses the style of s: plain when no YAML 1.1 or 1.2 reader takes it for anything but this
// string, a literal block for text of several lines that needs no escapes, double quotes otherwise.
func styleOf(s string) style {
	if s == "" {
		return double
	}
	lines, tabs, unsafe := false, false, false
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				return invalid
			}
			unsafe = unsafe || !unicode.IsPrint(r)
			i += size
			continue
		}
		switch {
		case c == '\n':
			lines = true
		case c == '\t':
			tabs = true
		case c < ' ' || c == 0x7f:
			unsafe = true
		}
		i++
	}
	switch {
	case unsafe || (tabs && !lines):
		return double
	case lines && literalFits(s):
		return literal
	case lines || !plainFits(s):
		return double
	}
	return plain
}

// literalFits reports whether s, of several lines and without characters that need an escape, survives as a
// literal block without an indentation indicator: the first line with text must not start with white space,
// since it shows the indentation, and lines of white space alone are neither safe nor seen.
func literalFits(s string) bool {
	text := strings.TrimLeft(s, "\n")
	if text == "" || text[0] == ' ' || text[0] == '\t' {
		return false
	}
	for line := range strings.Lines(text) {
		if strings.Trim(line, " \t\n") == "" && strings.Trim(line, "\n") != "" {
			return false
		}
	}
	return true
}

// plainFits reports whether s, of one line and without characters that need an escape, means itself when it
// stands without quotes, as a value or as a key.
func plainFits(s string) bool {
	if !plainStart(s) {
		return false
	}
	last := s[len(s)-1]
	if last == ' ' || last == ':' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] == ' ' && s[i-1] == ':' || s[i] == '#' && s[i-1] == ' ' {
			return false
		}
	}
	return !isWord(s) && !looksNumeric(s) && !looksDated(s)
}

// plainStart reports whether s starts like a plain scalar: with no indicator, and not like a document marker.
func plainStart(s string) bool {
	switch s[0] {
	case ' ', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`':
		return false
	case '-':
		return len(s) > 1 && s[1] != ' ' && !strings.HasPrefix(s, "---")
	case '.':
		return !strings.HasPrefix(s, "...")
	}
	return true
}

// isWord reports whether s is a word with a meaning of its own: null, a boolean of YAML 1.1, the merge key or
// the default value key. Case does not matter: readers disagree about it.
func isWord(s string) bool {
	switch len(s) {
	case 1:
		return strings.ContainsAny(s, "~=yYnN")
	case 2:
		return s == "<<" || strings.EqualFold(s, "no") || strings.EqualFold(s, "on")
	case 3:
		return strings.EqualFold(s, "yes") || strings.EqualFold(s, "off")
	case 4:
		return strings.EqualFold(s, "true") || strings.EqualFold(s, "null")
	case 5:
		return strings.EqualFold(s, "false")
	}
	return false
}

// looksNumeric reports whether a reader could take s for a number: decimal, with an exponent, hexadecimal,
// octal, binary, base 60, infinity or not-a-number, with underscores or commas between the digits. It errs
// on the side of yes.
func looksNumeric(s string) bool {
	if c := s[0]; c > '9' && c != '_' {
		return false
	}
	if s[0] == '+' || s[0] == '-' {
		s = s[1:]
	}
	if strings.EqualFold(s, ".inf") || strings.EqualFold(s, ".nan") {
		return true
	}
	s = strings.TrimLeft(s, "_")
	if s == "" {
		return false
	}
	if s[0] == '0' && looksPrefixed(s) {
		return true
	}
	rest := skipDigits(s)
	for len(rest) > 0 && rest[0] == ':' {
		rest = skipDigits(rest[1:])
	}
	if len(rest) > 0 && rest[0] == '.' {
		rest = skipDigits(rest[1:])
	}
	if !strings.ContainsAny(s[:len(s)-len(rest)], "0123456789") {
		return false
	}
	if len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		rest = skipDigits(rest)
	}
	return rest == ""
}

// looksPrefixed reports whether s, which starts with a zero, is a number like 0x1F, 0o17 or 0b11.
func looksPrefixed(s string) bool {
	s = strings.TrimLeft(s[1:], "_")
	if s == "" || !strings.ContainsRune("xXoObB", rune(s[0])) {
		return false
	}
	return strings.Trim(s[1:], "0123456789abcdefABCDEF_") == ""
}

func skipDigits(s string) string {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '_' || s[i] == ',') {
		i++
	}
	return s[i:]
}

// looksDated reports whether s starts like a timestamp: a date, alone or before a time.
func looksDated(s string) bool {
	rest := s
	for i, most := range [3]int{4, 2, 2} {
		n := 0
		for n < len(rest) && n < most && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 0 || i == 0 && n < most {
			return false
		}
		rest = rest[n:]
		if i == 2 {
			break
		}
		if rest == "" || rest[0] != '-' {
			return false
		}
		rest = rest[1:]
	}
	return rest == "" || rest[0] == 'T' || rest[0] == 't' || rest[0] == ' '
}

// appendQuoted appends s in double quotes. The escapes are those of JSON, where JSON has one.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case unicode.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r <= 0xffff:
			dst = append(dst, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = append(dst, '\\', 'U')
			for shift := 28; shift >= 0; shift -= 4 {
				dst = append(dst, hex[r>>shift&15])
			}
		}
	}
	return append(dst, '"')
}
