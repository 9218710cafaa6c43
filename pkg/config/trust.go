package config

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

const (
	// GitHubIssuer is the issuer of the identities of GitHub Actions workflows.
	GitHubIssuer = "https://token.actions.githubusercontent.com"

	maxIdentity     = 500
	maxDemand       = 300
	maxBesideBytes  = 1 << 20 // of a file that images.yaml names
	pemOfPublicKeys = "PUBLIC KEY"
)

// Registries is the list of registries that references may name.
type Registries struct {
	Allow []Pattern `yaml:"allow" jsonschema_description:"Registries or repositories that Dockerfiles may use, such as docker.io/library/* or ghcr.io. Default: all."`
}

// Allows reports whether images may come from a repository, with a tag if the reference has one.
func (r *Registries) Allows(registry, repository, tag string) bool {
	return len(r.Allow) == 0 || slices.ContainsFunc(r.Allow, func(p Pattern) bool { return p.matches(registry, repository, tag) })
}

// Trust is a rule for matching base images: the signature or provenance that a candidate must carry before it can ripen.
type Trust struct {
	Match     Pattern     `yaml:"match" jsonschema:"required" jsonschema_description:"Base images that the rule is for: a registry, or a repository with * and **, such as docker.io/library/*. The most specific rule that matches is used."`
	Keyless   *Keyless    `yaml:"keyless" jsonschema_description:"Identity in the certificate of a keyless signature."`
	Key       string      `yaml:"key" jsonschema_description:"Public key: PEM, or a file beside images.yaml."`
	GitHub    string      `yaml:"github" jsonschema:"pattern=^[A-Za-z0-9][-A-Za-z0-9_.]*/[A-Za-z0-9_.][-A-Za-z0-9_.]*$" jsonschema_description:"Repository on github.com, owner/repo, whose workflows build the image: an artifact attestation of one of them is needed."`
	Require   Requirement `yaml:"require" jsonschema:"enum=signature,enum=provenance,enum=none" jsonschema_description:"signature or provenance. Default: either of them; provenance with github. none: no signature is needed."`
	TrustRoot string      `yaml:"trustRoot" jsonschema_description:"File beside images.yaml with the trusted root (JSON) of the Sigstore instance. Default: the public instance, whose root is fetched by TUF."`
	TUF       *TUF        `yaml:"tuf" jsonschema_description:"TUF repository from which the trusted root of the Sigstore instance is fetched. Default: that of the public instance."`

	hashes map[string]string // of the content of its files, by path
}

// TUF is a TUF repository that publishes the trusted root of a Sigstore instance.
type TUF struct {
	Mirror string `yaml:"mirror" jsonschema:"required" jsonschema_description:"URL of the repository, such as https://tuf.example.com."`
	Root   string `yaml:"root" jsonschema_description:"File beside images.yaml with a root.json of the repository, from which trust in it starts. Default: that of the public instance, for a mirror of it."`
}

// Keyless is the identity in the certificate of a keyless signature. Regular expressions must match the whole value.
type Keyless struct {
	Issuer         string `yaml:"issuer" jsonschema_description:"OIDC issuer, such as https://accounts.google.com."`
	IssuerRegexp   string `yaml:"issuerRegexp" jsonschema_description:"Regular expression for the issuer."`
	Identity       string `yaml:"identity" jsonschema_description:"Identity: an address, or the URL of a workflow with its ref."`
	IdentityRegexp string `yaml:"identityRegexp" jsonschema_description:"Regular expression for the identity."`
}

// Requirement is the kind of statement that a [Trust] needs.
type Requirement string

// Requirements. The zero value accepts a signature or provenance.
const (
	RequireSignature  Requirement = "signature"
	RequireProvenance Requirement = "provenance"
	RequireNone       Requirement = "none"
)

// TrustFor returns the most specific rule that matches a base image, or nil if none does or no signature is needed.
func (c *Config) TrustFor(registry, repository, tag string) *Trust {
	var best *Trust
	for i := range c.Factory.Trust {
		t := &c.Factory.Trust[i]
		if t.Match.matches(registry, repository, tag) && (best == nil || t.Match.specificity() > best.Match.specificity()) {
			best = t
		}
	}
	if best == nil || best.Require == RequireNone {
		return nil
	}
	return best
}

// Requires returns the kind of statement that the rule needs; empty for any. GitHub's attestations are provenance by default.
func (t *Trust) Requires() Requirement {
	if t.Require == "" && t.GitHub != "" {
		return RequireProvenance
	}
	return t.Require
}

// Demand describes what the rule requires. State records it with a candidate that was verified, so a changed rule is noticed, and so
// is a changed file.
func (t *Trust) Demand() string {
	text := cmp.Or(string(t.Requires()), "signature or provenance") + " by "
	switch {
	case t.GitHub != "":
		text += "a workflow of github.com/" + t.GitHub
	case t.KeyFile() != "":
		text += "key " + t.named(t.Key)
	case t.Key != "":
		text += "key with hash " + hashOf(t.Key)
	case t.Keyless != nil:
		k := t.Keyless
		text += cmp.Or(k.Identity, "/"+k.IdentityRegexp+"/") + " (" + cmp.Or(k.Issuer, "/"+k.IssuerRegexp+"/") + ")"
	}
	if t.TrustRoot != "" {
		text += ", trust root " + t.named(t.TrustRoot)
	}
	if t.TUF != nil {
		text += ", TUF " + t.TUF.Mirror
		if t.TUF.Root != "" {
			text += " from " + t.named(t.TUF.Root)
		}
	}
	if plain := sanitize.Cut(sanitize.Words(text), maxDemand); plain != text {
		return plain + " " + hashOf(text)
	}
	return text
}

// named returns the name of a file of the rule with the hash of its content.
func (t *Trust) named(file string) string {
	if hash := t.hashes[file]; hash != "" {
		return file + " with hash " + hash
	}
	return file
}

// hashOf returns a short hash of a text, whatever its line ends are.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n")))
	return hex.EncodeToString(sum[:])[:12]
}

// KeyFile returns the path of the public key beside images.yaml; empty if the key is in images.yaml itself.
func (t *Trust) KeyFile() string {
	if strings.Contains(t.Key, "-----BEGIN") {
		return ""
	}
	return t.Key
}

// SetFolder sets the folder that holds images.yaml, for [Config.ReadBeside] and [Trust.Demand].
func (c *Config) SetFolder(folder fs.FS) {
	c.folder = folder
	for i := range c.Factory.Trust {
		t := &c.Factory.Trust[i]
		files := []string{t.KeyFile(), t.TrustRoot}
		if t.TUF != nil {
			files = append(files, t.TUF.Root)
		}
		t.hashes = map[string]string{}
		for _, file := range files {
			if file == "" {
				continue
			}
			if data, err := c.ReadBeside(file); err == nil { // else nothing is verified
				t.hashes[file] = hashOf(string(data))
			}
		}
	}
}

// ReadBeside reads a file that images.yaml names, relative to its own folder.
func (c *Config) ReadBeside(file string) ([]byte, error) {
	if c.folder == nil {
		return nil, fmt.Errorf("reading %q: the folder of images.yaml is not known", file)
	}
	f, err := c.folder.Open(path.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("reading %q beside %s: %w", file, c.file, reason(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %q beside %s: not a regular file", file, c.file)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBesideBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %q beside %s: %w", file, c.file, reason(err))
	case len(data) > maxBesideBytes:
		return nil, fmt.Errorf("reading %q beside %s: larger than %d KiB", file, c.file, maxBesideBytes>>10)
	}
	return data, nil
}

// reason returns the cause of a file error without the operation and the path.
func reason(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// Pattern matches repositories: a registry, or a registry and a repository in which * stands for any text without a slash and **
// for any text. A tag may follow.
type Pattern string

var patternForm = lazy.Regexp(`^[A-Za-z0-9._\-/*:\[\]]+$`)

// normalised returns the pattern with a normalised host, and always with a repository and a tag.
func (p Pattern) normalised() string {
	text, tag := string(p), "**"
	if at := strings.LastIndexByte(text, ':'); at > strings.LastIndexByte(text, '/') && strings.Contains(text, "/") {
		text, tag = text[:at], text[at+1:]
	}
	host, repository, ok := strings.Cut(text, "/")
	if !ok || repository == "" {
		repository = "**"
	}
	if strings.Contains(repository, "**") {
		host = hostname.Normalize(host)
	} else {
		host, repository = hostname.Repository(host, repository)
	}
	return host + "/" + repository + ":" + tag
}

func (p Pattern) matches(registry, repository, tag string) bool {
	text := regexp.QuoteMeta(p.normalised())
	text = strings.ReplaceAll(text, `\*\*`, `.*`)
	text = strings.ReplaceAll(text, `\*`, `[^/]*`)
	re, err := regexp.Compile(`^` + text + `$`)
	return err == nil && re.MatchString(registry+"/"+repository+":"+tag)
}

// specificity is the number of characters that are not wildcards.
func (p Pattern) specificity() int { return len(strings.ReplaceAll(p.normalised(), "*", "")) }

func checkPattern(p Pattern) error {
	host, _, _ := strings.Cut(string(p), "/")
	switch {
	case p == "":
		return errors.New("want a registry or repository, such as docker.io/library/*")
	case strings.Contains(string(p), "://"):
		return fmt.Errorf("%s contains a scheme; want a registry or repository, such as docker.io/library/*", shown(string(p)))
	case len(p) > maxIdentity || !patternForm().MatchString(string(p)):
		return fmt.Errorf("invalid pattern %s: want a registry or repository, such as docker.io/library/*", shown(string(p)))
	case !strings.Contains(host, "*") && !hostname.IsRegistry(host):
		return fmt.Errorf("%s does not begin with a registry; want one such as docker.io/library/*", shown(string(p)))
	}
	return nil
}

func (v *validator) registries(n *yaml.Node) {
	list := child(n, "allow")
	for i, p := range v.cfg.Factory.Registries.Allow {
		v.check(item(list, i), fmt.Sprintf("factory.registries.allow[%d]", i), checkPattern(p))
	}
}

func (v *validator) trust(list *yaml.Node) {
	first := map[string]*yaml.Node{}
	for i := range v.cfg.Factory.Trust {
		n := item(list, i)
		if n == nil || n.Kind != yaml.MappingNode {
			continue // reported by the decoder
		}
		t, at := &v.cfg.Factory.Trust[i], fmt.Sprintf("factory.trust[%d]", i)
		if t.Match == "" {
			v.missing(n, "match", at+": match is missing")
		} else {
			v.check(child(n, "match"), at+".match", checkPattern(t.Match))
			key := t.Match.normalised()
			if other := first[key]; other != nil {
				v.add(finding.Duplicate, child(n, "match"), fmt.Sprintf("%s.match: the rule on line %d matches the same images", at, other.Line), "keep one of them")
			} else {
				first[key] = n
			}
		}
		v.trustRule(n, at, t)
	}
}

func (v *validator) trustRule(n *yaml.Node, at string, t *Trust) {
	switch t.Require {
	case "", RequireSignature, RequireProvenance, RequireNone:
	default:
		v.add(finding.BadValue, child(n, "require"), fmt.Sprintf("%s.require: unknown requirement %q", at, t.Require),
			suggest(string(t.Require), []string{string(RequireSignature), string(RequireProvenance), string(RequireNone)}))
	}
	var set []string
	if t.Keyless != nil {
		set = append(set, "keyless")
	}
	if t.Key != "" {
		set = append(set, "key")
	}
	if t.GitHub != "" {
		set = append(set, "github")
	}
	switch {
	case t.Require == RequireNone && len(set) > 0:
		v.add(finding.BadValue, child(n, "require"), fmt.Sprintf("%s: require: none needs no %s", at, set[0]), "remove one of them")
	case t.Require != RequireNone && len(set) == 0:
		v.add(finding.Missing, n, at+": nobody is named who must have signed", "add keyless, key or github, or set require: none")
	case len(set) > 1:
		v.add(finding.BadValue, n, fmt.Sprintf("%s: %s exclude each other", at, strings.Join(set, " and ")), "keep one of them")
	}
	if t.Keyless != nil {
		v.keyless(child(n, "keyless"), at+".keyless", t.Keyless)
	}
	if t.Key != "" {
		v.key(child(n, "key"), at+".key", t)
	}
	if t.GitHub != "" && !ownerRepo().MatchString(t.GitHub) {
		v.add(finding.BadValue, child(n, "github"), fmt.Sprintf("%s.github: invalid GitHub repository %s", at, shown(t.GitHub)), "want owner/repo")
	}
	v.file(child(n, "trustRoot"), at+".trustRoot", t.TrustRoot)
	if t.Key != "" && t.TrustRoot != "" {
		v.add(finding.BadValue, child(n, "trustRoot"), at+".trustRoot: a key needs no trust root", "remove it")
	}
	if t.TUF != nil {
		v.tuf(child(n, "tuf"), at+".tuf", t)
	}
}

func (v *validator) tuf(n *yaml.Node, at string, t *Trust) {
	switch {
	case t.Key != "":
		v.add(finding.BadValue, n, at+": a key needs no trust root", "remove it")
	case t.TrustRoot != "":
		v.add(finding.BadValue, n, at+": trustRoot and tuf exclude each other", "keep one of them")
	}
	if t.TUF.Mirror == "" {
		v.missing(n, "mirror", at+": mirror is missing")
	} else {
		v.check(child(n, "mirror"), at+".mirror", checkServiceURL(t.TUF.Mirror, "https://tuf.example.com"))
	}
	v.file(child(n, "root"), at+".root", t.TUF.Root)
}

// checkServiceURL returns an error unless a URL is that of a service without credentials, by https or on this machine.
func checkServiceURL(s, example string) error {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil:
		return errors.New("the URL contains credentials; remove them")
	case err != nil, u.Scheme != "https" && u.Scheme != "http", checkHost(u.Host) != nil, u.RawQuery != "", u.Fragment != "",
		len(s) > maxIdentity, strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("invalid URL %s; want one such as %s", shown(s), example)
	case u.Scheme == "http" && !hostname.IsLoopback(u.Host):
		return errors.New("the URL is not https; everybody on the way could change the response")
	}
	return nil
}

func (v *validator) keyless(n *yaml.Node, at string, k *Keyless) {
	pair := func(name, value, pattern string) {
		switch {
		case value == "" && pattern == "":
			v.missing(n, name, at+": "+name+" is missing")
		case value != "" && pattern != "":
			v.add(finding.BadValue, child(n, name), fmt.Sprintf("%s: %s and %sRegexp exclude each other", at, name, name), "keep one of them")
		case len(value)+len(pattern) > maxIdentity || strings.ContainsFunc(value+pattern, unicode.IsControl):
			v.add(finding.BadValue, orNode(child(n, name), n), fmt.Sprintf("%s.%s: too long or with control characters", at, name), "")
		}
		if pattern != "" {
			_, err := regexp.Compile(pattern)
			v.check(child(n, name+"Regexp"), at+"."+name+"Regexp", err)
		}
	}
	pair("issuer", k.Issuer, k.IssuerRegexp)
	pair("identity", k.Identity, k.IdentityRegexp)
	if u, err := url.Parse(k.Issuer); k.Issuer != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		v.add(finding.BadValue, child(n, "issuer"), fmt.Sprintf("%s.issuer: invalid issuer %s", at, shown(k.Issuer)), "want a URL such as https://accounts.google.com")
	}
}

func (v *validator) key(n *yaml.Node, at string, t *Trust) {
	if file := t.KeyFile(); file != "" {
		v.file(n, at, file)
		return
	}
	_, err := ParsePublicKey([]byte(t.Key))
	v.check(n, at, err)
}

// ParsePublicKey parses a public key in PEM. Errors do not quote it: it could be a private key.
func ParsePublicKey(data []byte) (any, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("not a public key in PEM (it begins with -----BEGIN PUBLIC KEY-----)")
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, errors.New("this is a private key; want the public key")
	case block.Type != pemOfPublicKeys:
		return nil, fmt.Errorf("PEM block of type %s; want %s", shown(block.Type), pemOfPublicKeys)
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, errors.New("more than one PEM block; want one public key")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("invalid public key")
	}
	return key, nil
}
