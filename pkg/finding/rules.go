package finding

// Rule is a kind of finding. Its ID is stable: users filter on it.
type Rule struct {
	ID       string
	Severity Severity
	Text     string // the problem that the rule reports, in one line
}

// The rules of `imagefactory validate`. docs/rules.md explains each.
var (
	Syntax       = Rule{"IF001", Error, "the file is not valid YAML"}
	UnknownKey   = Rule{"IF002", Error, "a key that imagefactory does not know"}
	BadValue     = Rule{"IF003", Error, "a value of the wrong type or form"}
	Missing      = Rule{"IF004", Error, "a key that an entry needs is missing"}
	Duplicate    = Rule{"IF005", Error, "two entries claim the same name or repository"}
	Cycle        = Rule{"IF006", Error, "images that are built on each other in a circle"}
	BadState     = Rule{"IF007", Error, "a state file that cannot be read"}
	Orphan       = Rule{"IF008", Warning, "a state file of an image that is no longer enrolled"}
	NoState      = Rule{"IF009", Warning, "an image that was never analyzed, or whose last analysis failed"}
	Unresolved   = Rule{"IF010", Warning, "a base image reference that cannot be resolved"}
	Budget       = Rule{"IF011", Warning, "polls exceed the registry's rate limit"}
	UnlockedWait = Rule{"IF012", Warning, "builds with floating tags can use a digest younger than rebuildDelay"}
	PinnedBase   = Rule{"IF013", Warning, "a base image pinned by digest in the Dockerfile is never moved by a rebuild"}
	Unpublished  = Rule{"IF014", Warning, "a base image refers to a managed image's repository with a tag that it does not publish"}
	NoTrigger    = Rule{"IF015", Warning, "rebuilds of an image on a plain git server cannot be started"}
	FloatingTag  = Rule{"IF016", Warning, "a base image without a tag follows latest, which crosses major versions"}
	NoStateRepo  = Rule{"IF017", Error, "no state repository is known"}
	CRD          = Rule{"IF018", Error, "a generated object that the cluster's CRDs refuse"}
	TagsAssumed  = Rule{"IF019", Warning, "which tags an image publishes is not known yet"}
	DataShape    = Rule{"IF020", Error, "an impossible value in a state file"}
	LeftOut      = Rule{"IF021", Warning, "an object that Kargo refuses is left out of dist"}
	OldKargo     = Rule{"IF022", Error, "the CRDs are of a Kargo version that is too old"}
	PassedOver   = Rule{"IF023", Warning, "the rule by which the published tag is found passes over evidence against it"}
	NoneCounts   = Rule{"IF024", Warning, "an image has published tags, and none of them counts"}
	Ahead        = Rule{"IF025", Warning, "a time in a state file that is in the future"}
	UnusedIgnore = Rule{"IF026", Warning, "an entry of factory.lint.ignore that matches no warning"}
	NotAllowed   = Rule{"IF027", Warning, "an image comes from a registry that factory.registries.allow does not name"}
	Unlocked     = Rule{"IF028", Warning, "an image that sets pinBases, and whose workflow builds without the lock"}
	Untrusted    = Rule{"IF029", Warning, "the digest of a base image is not verified as factory.trust requires"}
	StoppedTag   = Rule{"IF030", Warning, "a base image tag that no longer moves, while newer releases of its line have tags"}
	OldLine      = Rule{"IF031", Warning, "a base image of an older release line"}
	EndOfLife    = Rule{"IF032", Warning, "a base image of a release line at its end of life"}
	StaleIgnore  = Rule{"IF033", Warning, "an entry of urgent.ignore that has expired, or whose vulnerability no scan finds"}
)

// Rules lists every rule in the order of its ID.
func Rules() []Rule {
	return []Rule{
		Syntax, UnknownKey, BadValue, Missing, Duplicate, Cycle, BadState, Orphan, NoState, Unresolved, Budget,
		UnlockedWait, PinnedBase, Unpublished, NoTrigger, FloatingTag, NoStateRepo, CRD, TagsAssumed, DataShape,
		LeftOut, OldKargo, PassedOver, NoneCounts, Ahead, UnusedIgnore, NotAllowed, Unlocked, Untrusted, StoppedTag, OldLine, EndOfLife, StaleIgnore,
	}
}

// At returns a finding of the rule at a position.
func (r Rule) At(file string, line, column int, message, fix string) Finding {
	return Finding{Rule: r.ID, Severity: r.Severity, File: file, Line: line, Column: column, Message: message, Fix: fix}
}

// Of returns a copy of the finding that is about an image.
func (f Finding) Of(image string) Finding {
	f.Image = image
	return f
}
