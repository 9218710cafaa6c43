package loop_test

import "strings"

// subject is an image of the fleet: a Dockerfile, and how its builds are published. In its texts, REGISTRY is the registry's host.
type subject struct {
	name       string
	shows      string // how its Dockerfile uses bases
	dockerfile string
	file       string // path of the Dockerfile, if it has another name
	target     string
	args       map[string]string
	contexts   map[string]string
	platforms  []string
	bases      []string // that the build uses, without the host: the base of the last stage first
	noFinal    bool     // the last stage is FROM scratch
	pinned     bool
	publish    publisher
	final      evidence // for the base of the last stage
	others     evidence // for other bases
}

// evidence is how imagefactory knows which digest a published image was built on.
type evidence string

const (
	provenance evidence = "provenance"
	annotation evidence = "annotation"
	layers     evidence = "layers"
	recorded   evidence = "recorded"
	assumed    evidence = "assumed"
	none       evidence = "" // recorded after a rebuild, else assumed
)

// proves reports whether evidence comes from the image itself.
func (e evidence) proves() bool { return e == provenance || e == annotation || e == layers }

func (s *subject) repository() string { return "acme/" + s.name }

func (s *subject) published() string { return s.repository() + ":latest" }

const (
	baseOS     = "base/os:13"
	baseTool   = "base/tool:1"
	baseData   = "base/data:1"
	baseUnused = "base/unused:1"
	frontend   = "docker/dockerfile:1"
)

// Dockerfiles. Each build copies a file of its own, so that each has a digest of its own.
const (
	fromOne = "FROM REGISTRY/base/os:13\nRUN cat /etc/version > /built\nCOPY own /\n"

	fromStages = `FROM REGISTRY/base/unused:1 AS unused
RUN cat /etc/version > /unused
FROM REGISTRY/base/tool:1 AS tool
RUN cat /etc/version > /tool
FROM REGISTRY/base/os:13
COPY --from=tool /tool /
COPY --from=REGISTRY/base/data:1 /etc/version /data
COPY own /
`
	fromMount = `ARG OS=99
FROM REGISTRY/base/os:${OS}
RUN --mount=type=bind,from=REGISTRY/base/data:1,target=/mnt cat /mnt/etc/version > /data
COPY own /
`
	fromContexts = "FROM runtime\nCOPY --from=data /etc/version /data\nCOPY own /\n"

	fromScratch = "FROM REGISTRY/base/tool:1 AS tool\nRUN cat /etc/version > /tool\nFROM scratch\nCOPY --from=tool /tool /\nCOPY own /\n"

	fromPlatforms = `FROM --platform=$BUILDPLATFORM REGISTRY/base/tool:1 AS tool
ARG TARGETARCH
RUN echo $TARGETARCH > /arch
FROM REGISTRY/base/os:13
COPY --from=tool /arch /
COPY own /
`
	fromFrontend = "# syntax=REGISTRY/docker/dockerfile:1\nFROM REGISTRY/base/os:13\nRUN <<EOF\ncat /etc/version > /built\nEOF\nCOPY own /\n"

	fromPinned = "FROM REGISTRY/base/os:13@PINNED\nCOPY own /\n"
)

var both = []string{"linux/amd64", "linux/arm64"}

// subjects are the cases. Parents come before their children.
func subjects() []*subject {
	stages := []string{baseOS, baseTool, baseData}
	out := []*subject{
		{shows: "FROM", dockerfile: fromOne, publish: pushed("mode=min", ""), final: provenance, bases: []string{baseOS}},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("mode=max", ""), final: provenance, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("mode=min,version=v0.2", ""), final: provenance, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("mode=max,version=v0.2", ""), final: provenance, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("mode=max", "oci-artifact=false"), final: provenance, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("mode=max", "compression=zstd,force-compression=true"), final: provenance, bases: stages},
		{shows: "RUN --mount from", dockerfile: fromMount, args: map[string]string{"OS": "13"}, publish: pushed("mode=min", ""), final: provenance, bases: []string{baseOS, baseData}},
		{shows: "named contexts", dockerfile: fromContexts, contexts: named, publish: pushed("mode=max", ""), final: provenance, bases: []string{baseOS, baseData}},
		{shows: "FROM scratch, COPY --from", dockerfile: fromScratch, publish: pushed("mode=min", ""), noFinal: true, final: provenance, bases: []string{baseTool}},
		{shows: "two platforms", dockerfile: fromPlatforms, platforms: both, publish: pushed("mode=max", ""), final: provenance, bases: []string{baseOS, baseTool}},
		{shows: "two platforms", dockerfile: fromPlatforms, platforms: both, publish: merged(), final: provenance, bases: []string{baseOS, baseTool}},
		{shows: "`# syntax=`", dockerfile: fromFrontend, publish: pushed("mode=max", ""), final: provenance, bases: []string{baseOS}},
		{shows: "a pinned FROM", dockerfile: fromPinned, pinned: true, publish: pushed("mode=max", ""), final: provenance, bases: []string{baseOS}},

		{shows: "stages, COPY --from", dockerfile: fromStages, publish: exported("mode=max", false), final: provenance, bases: stages},
		{shows: "two platforms", dockerfile: fromPlatforms, platforms: both, publish: exported("mode=min,version=v0.2", false), final: provenance, bases: []string{baseOS, baseTool}},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: exported("mode=max", true), final: layers, bases: stages},
		{shows: "FROM", dockerfile: fromOne, publish: saved(), final: layers, bases: []string{baseOS}},

		{shows: "FROM", dockerfile: fromOne, publish: pushed("", ""), final: layers, bases: []string{baseOS}},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("", ""), final: layers, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("", "oci-mediatypes=false"), final: layers, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("", "compression=zstd,force-compression=true"), final: layers, bases: stages},
		{shows: "two platforms", dockerfile: fromPlatforms, platforms: both, publish: pushed("", ""), final: layers, bases: []string{baseOS, baseTool}},
		{shows: "FROM scratch, COPY --from", dockerfile: fromScratch, publish: pushed("", ""), noFinal: true, bases: []string{baseTool}},

		{shows: "FROM", dockerfile: fromOne, publish: pushed("", annotations("annotation")), final: annotation, bases: []string{baseOS}},
		{shows: "two platforms", dockerfile: fromPlatforms, platforms: both, publish: pushed("", annotations("annotation-index")), final: annotation, bases: []string{baseOS, baseTool}},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: pushed("mode=min", annotations("annotation")), final: provenance, bases: stages},
		{shows: "FROM", dockerfile: fromOne, publish: squashed(false), bases: []string{baseOS}},
		{shows: "FROM", dockerfile: fromOne, publish: squashed(true), final: annotation, bases: []string{baseOS}},

		{shows: "stages, COPY --from", dockerfile: fromStages, publish: cached("registry"), final: provenance, bases: stages},
		{shows: "stages, COPY --from", dockerfile: fromStages, publish: cached("inline"), final: provenance, bases: stages},
		{shows: "named contexts", dockerfile: fromContexts, contexts: named, platforms: both, publish: buildx(), final: provenance, bases: []string{baseOS, baseData}},
		{shows: "RUN --mount from", dockerfile: fromMount, args: map[string]string{"OS": "13"}, publish: bake(), final: provenance, bases: []string{baseOS, baseData}},
	}
	for i, s := range out {
		s.name = "case-" + string(rune('a'+i/10)) + string(rune('0'+i%10))
	}
	out = append(out, diamond()...)
	for _, s := range out {
		if s.platforms == nil {
			s.platforms = both[:1]
		}
		s.others = s.final
		if s.final != provenance {
			s.others = none
		}
	}
	return out
}

// named are named contexts.
var named = map[string]string{"runtime": "docker-image://REGISTRY/base/os:13", "data": "docker-image://REGISTRY/base/data:1"}

// diamond returns a cascade: two images built on one, and one built on both.
func diamond() []*subject {
	return []*subject{
		{name: "root", shows: "a parent", dockerfile: fromOne, publish: pushed("mode=max", ""), final: provenance, bases: []string{baseOS}},
		{name: "left", shows: "FROM a parent", dockerfile: strings.Replace(fromOne, "base/os:13", "acme/root:latest", 1), publish: pushed("mode=max", ""), final: provenance, bases: []string{"acme/root:latest"}},
		{name: "right", shows: "FROM a parent", dockerfile: strings.Replace(fromOne, "base/os:13", "acme/root:latest", 1), publish: pushed("", ""), final: layers, bases: []string{"acme/root:latest"}},
		{name: "bottom", shows: "FROM a parent, COPY --from another", dockerfile: "FROM REGISTRY/acme/left:latest\nCOPY --from=REGISTRY/acme/right:latest /built /right\nCOPY --from=REGISTRY/base/data:1 /etc/version /data\nCOPY own /\n",
			publish: pushed("mode=min", ""), final: provenance, bases: []string{"acme/left:latest", "acme/right:latest", baseData}},
	}
}

// annotations returns exporter attributes that describe the base, as CI scripts do.
func annotations(key string) string {
	return key + ".org.opencontainers.image.base.name=BASE," + key + ".org.opencontainers.image.base.digest=DIGEST"
}
