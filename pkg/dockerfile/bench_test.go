package dockerfile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

const typical = `# syntax=docker/dockerfile:1
ARG NODE_VERSION=22
FROM --platform=$BUILDPLATFORM node:${NODE_VERSION}-slim AS build
WORKDIR /src
COPY package.json pnpm-lock.yaml ./
RUN --mount=type=cache,id=pnpm,target=/pnpm/store corepack enable && pnpm install --frozen-lockfile
COPY . .
RUN pnpm build

FROM golang:1.26 AS tools
RUN --mount=type=cache,target=/go/pkg/mod go install example.com/tool@latest

FROM gcr.io/distroless/nodejs22-debian12
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /src/dist ./dist
COPY --from=tools /go/bin/tool /usr/local/bin/
COPY --from=busybox:1.37 /bin/wget /bin/wget
USER 1000
EXPOSE 8080
CMD ["dist/main.js"]
`

func longDockerfile() string {
	var b strings.Builder
	for stage := range 25 {
		fmt.Fprintf(&b, "FROM example.com/base:%d AS s%d\n", stage, stage)
		for i := range 18 {
			fmt.Fprintf(&b, "RUN make step-%d\n", i)
		}
		if stage > 0 {
			fmt.Fprintf(&b, "COPY --from=s%d /out /out\n", stage-1)
		} else {
			b.WriteString("COPY --from=busybox /bin /bin\n")
		}
	}
	return b.String()
}

func BenchmarkResolve(b *testing.B) {
	for _, bm := range []struct{ name, src string }{
		{"typical", typical},
		{"500 lines", longDockerfile()},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := dockerfile.Resolve(context.Background(), []byte(bm.src), dockerfile.Options{})
				require.NoError(b, err)
			}
		})
	}
}
