# Everything that a developer runs. `make` alone lists the targets.

GO       ?= go
# gRPC would register pages of its own with html/template, which makes the linker keep every exported method (docs/performance.md).
export GOFLAGS += -tags=grpcnotrace
BIN      := bin/imagefactory
TOOLS    := .cache/bin
GOLANGCI := v2.15.0
ACTIONLINT  := v1.7.12
GORELEASER  := v2.16.0
GOVULNCHECK := v1.9.0
AXE_CORE    := 4.14.1
AXE         := .cache/axe-core-$(AXE_CORE).min.js
OCTOKIT_OPENAPI := 23.0.2
GITHUB_API  := .cache/github-api-$(OCTOKIT_OPENAPI).json
FUZZTIME ?= 30s
FLEET    := --source-dir testdata/fleet --offline

.DEFAULT_GOAL := help
.PHONY: help build image demo test test-long race e2e loop loop-up pictures monitoring scanners gitea lab lint lint-actions release-check snapshot release reproducible size vuln fuzz bench bench-go generate check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/imagefactory
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BIN) ./cmd/imagefactory

image: ## build the container image into bin/image, or push it with PUSH=registry/repository:tag (VERSION names it, BASE=image@digest puts it on a base image)
	GOTOOLCHAIN=go$$($(GO) list -m -f '{{.GoVersion}}') $(GO) run ./test/release $(if $(PUSH),-push '$(PUSH)') $(if $(VERSION),-version '$(VERSION)') $(if $(BASE),-base '$(BASE)' -out bin/image-shell)

demo: ## play two weeks of five images in a few seconds, with servers on this machine
	@mkdir -p bin
	@$(GO) build -o bin/play ./test/demo
	@bin/play bin/demo

test: ## run the tests, the longest ones shortened or skipped, and list those
	$(GO) vet ./...
	$(GO) test -short ./...
	@$(GO) run ./test/long/tests list

test-long: ## run in full the tests that `make test` shortens or skips
	$(GO) run ./test/long/tests run

race: ## run the tests of `make test` with the race detector
	$(GO) test -race -short -timeout 30m ./...

# Real servers of the tests, each built from its Go module, and where.
PROGRAMS := $(abspath .cache)
BUSYBOX  ?= /bin/busybox

.PHONY: cluster-programs loop-programs gitea-programs scanners-programs argocd-programs clocked
cluster-programs:
	cd test/e2e && $(GO) build -o $(PROGRAMS)/e2e/ ./etcd ./garbagecollector k8s.io/kubernetes/cmd/kube-apiserver

loop-programs: clocked
	cd test/loop && GOFLAGS= CGO_ENABLED=0 $(GO) build -ldflags='-s -w' -o $(PROGRAMS)/loop/ tool

# Gitea needs files that its module keeps beside its source.
gitea-programs: clocked
	@mkdir -p $(PROGRAMS)/gitea
	cd test/gitea && GOFLAGS= CGO_ENABLED=1 $(GO) build -tags='sqlite sqlite_unlock_notify' -ldflags='-s -w' -o $(PROGRAMS)/gitea/ tool
	@rm -rf $(PROGRAMS)/gitea/static && mkdir $(PROGRAMS)/gitea/static
	@cd test/gitea && cd "$$(GOFLAGS= $(GO) list -m -f '{{.Dir}}' code.gitea.io/gitea)" && cp -R --no-preserve=mode templates options $(PROGRAMS)/gitea/static/

# Trivy does not build without this experiment. The same settings for all, so that they share what they compile.
SCANNERS_ENV := GOFLAGS= GOEXPERIMENT=jsonv2 CGO_ENABLED=0
scanners-programs:
	@mkdir -p $(PROGRAMS)/scanners
	cd test/scanners && $(SCANNERS_ENV) $(GO) build -ldflags='-s -w' -o $(PROGRAMS)/scanners/ tool ./databases

# Argo CD needs a newer Go, which the go command downloads, and files that its module keeps beside its source.
argocd-programs:
	@rm -rf $(PROGRAMS)/argocd/crds $(PROGRAMS)/argocd/config && mkdir -p $(PROGRAMS)/argocd/crds $(PROGRAMS)/argocd/config
	cd test/argocd && GOFLAGS= GOTOOLCHAIN=auto CGO_ENABLED=0 $(GO) build -ldflags='-s -w' -o $(PROGRAMS)/argocd/ . tool
	@cd test/argocd && cd "$$(GOFLAGS= GOTOOLCHAIN=auto $(GO) list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)" && \
		cp --no-preserve=mode manifests/crds/*-crd.yaml $(PROGRAMS)/argocd/crds/ && cp --no-preserve=mode manifests/base/config/*-cm.yaml $(PROGRAMS)/argocd/config/ && \
		install -m 755 hack/git-verify-wrapper.sh $(PROGRAMS)/argocd/

# imagefactory with a clock that the tests set. It is built as a release, so that the CI that it writes uses the action of imagefactory.
CLI := github.com/imagefactory/imagefactory/pkg/cli
clocked:
	CGO_ENABLED=0 $(GO) build -ldflags='-X $(CLI).releaseVersion=v1.2.3 -X $(CLI).releaseCommit=0123456789012345678901234567890123456789' -o $(PROGRAMS)/loop/imagefactory ./test/clocked

e2e: build cluster-programs ## apply dist to a real API server, built from its Go module (KARGO_SCHEMAS names a folder with Kargo's CRDs)
	cd test/e2e && PROGRAMS=$(PROGRAMS) E2E_BINARY=$(abspath $(BIN)) $(GO) test -count=1 -v ./...

loop: loop-programs gitea-programs cluster-programs scanners-programs argocd-programs ## run the whole way with real servers and Trivy: Gitea, BuildKit, a registry, an API server and Argo CD, as root (needs Debian's runc, busybox-static, docker-registry and redis-server, and KARGO_SCHEMAS)
	cd test/parts && GOFLAGS= $(GO) test ./...
	cd test/loop && GOFLAGS= PROGRAMS=$(PROGRAMS) LOOP_BUSYBOX=$(BUSYBOX) DOCKER_REGISTRY='$(or $(DOCKER_REGISTRY),docker-registry)' $(GO) test -v -count=1 -timeout 40m $(LOOPFLAGS) .

loop-up: loop-programs gitea-programs cluster-programs argocd-programs ## start the servers of `make loop` and a runner of Gitea's workflows, print their addresses, and leave them running until Ctrl-C
	cd test/parts && GOFLAGS= $(GO) run ./up -programs $(PROGRAMS) -registry '$(or $(DOCKER_REGISTRY),docker-registry)' $(PROGRAMS)/loop/up

pictures: ## make the recorded terminal of the README and the pictures in docs from a run of `make loop`
	$(MAKE) loop LOOPFLAGS='-run TestPictures -update'
	cd test/browser && $(GO) run ./shoot -chromium '$(or $(CHROMIUM),chromium)' -width 1280 -height 560 -full -crop 1520 $(abspath bin/pictures.html) $(abspath docs/img/report.png)

monitoring: build ## test metrics, alert rules and the dashboard with a Pushgateway and with Prometheus' own packages
	cd test/monitoring && GOFLAGS= MONITORING_BINARY=$(abspath $(BIN)) $(GO) test -count=1 ./...

browser: build $(AXE) ## open the page of `report` in headless Chromium (CHROMIUM names it) and check that people can use it
	cd test/browser && CHROMIUM='$(or $(CHROMIUM),chromium)' BINARY=$(abspath $(BIN)) AXE=$(abspath $(AXE)) $(GO) test -count=1 ./...

$(AXE):
	@mkdir -p $(@D)
	npm pack --silent --pack-destination $(@D) axe-core@$(AXE_CORE)
	tar -xzf $(@D)/axe-core-$(AXE_CORE).tgz -C $(@D) --strip-components=1 package/axe.min.js
	mv $(@D)/axe.min.js $@

scanners: build scanners-programs ## test scan with Trivy and Grype, built from their Go modules (UPDATE=-update writes the reports in pkg/scan/testdata/real)
	cd test/scanners && $(SCANNERS_ENV) PROGRAMS=$(PROGRAMS) SCANNERS_BINARY=$(abspath $(BIN)) $(GO) test -count=1 . $(UPDATE)

gitea: gitea-programs ## test the provider gitea with a real Gitea, built from its Go module with cgo (needs git)
	cd test/gitea && GOFLAGS= PROGRAMS=$(PROGRAMS) $(GO) test -count=1 ./...

githubapi: $(GITHUB_API) ## compare the requests to GitHub, and the responses of the test forge, with GitHub's description of its API
	cd test/githubapi && GITHUB_API=$(abspath $(GITHUB_API)) $(GO) test -count=1 ./...

$(GITHUB_API):
	@mkdir -p $(@D)
	npm pack --silent --pack-destination $(@D) @octokit/openapi@$(OCTOKIT_OPENAPI)
	tar -xzf $(@D)/octokit-openapi-$(OCTOKIT_OPENAPI).tgz -C $(@D) --strip-components=2 package/generated/api.github.com.json
	rm $(@D)/octokit-openapi-$(OCTOKIT_OPENAPI).tgz
	touch $(@D)/api.github.com.json
	mv $(@D)/api.github.com.json $@

lab: ## run the scenarios of test/lab on the running lab that LAB_RUN names
	$(GO) test ./test/lab -count=1 -v -parallel 20 -timeout 90m

lint: $(TOOLS)/golangci-lint-$(GOLANGCI) ## run the linters
	$< run
	cd test/e2e && $(abspath $<) run
	cd test/browser && $(abspath $<) run
	cd test/monitoring && $(abspath $<) run
	cd test/scanners && $(SCANNERS_ENV) $(abspath $<) run
	cd test/gitea && GOFLAGS= $(abspath $<) run
	cd test/parts && GOFLAGS= $(abspath $<) run
	cd test/loop && GOFLAGS= $(abspath $<) run
	cd test/githubapi && $(abspath $<) run

$(TOOLS)/golangci-lint-$(GOLANGCI):
	GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(TOOLS)/golangci-lint $@

lint-actions: $(TOOLS)/actionlint-$(ACTIONLINT) build ## check the GitHub workflows, and those that `workflow` writes for the sample fleet
	$< -shellcheck= -pyflakes=
	.ci/workflows $<

release-check: $(TOOLS)/goreleaser-$(GORELEASER) ## check .goreleaser.yaml
	HOMEBREW_TAP_TOKEN= $< check

snapshot: $(TOOLS)/goreleaser-$(GORELEASER) ## make everything that a release has but the image, into bin/release, and publish nothing
	HOMEBREW_TAP_TOKEN= $< release --snapshot --clean

release: $(TOOLS)/goreleaser-$(GORELEASER) ## publish the checked-out tag (the workflow does this)
	$< release --clean

reproducible: ## build the image in two clones of HEAD and fail if they differ
	.ci/reproducible

size: build ## fail if the binary is too large
	.ci/size

vuln: $(TOOLS)/govulncheck-$(GOVULNCHECK) ## look for known vulnerabilities in what the binary calls (asks vuln.go.dev)
	$< ./cmd/... ./pkg/...

$(TOOLS)/actionlint-$(ACTIONLINT): MODULE = github.com/rhysd/actionlint/cmd/actionlint
$(TOOLS)/goreleaser-$(GORELEASER): MODULE = github.com/goreleaser/goreleaser/v2
$(TOOLS)/govulncheck-$(GOVULNCHECK): MODULE = golang.org/x/vuln/cmd/govulncheck
$(TOOLS)/actionlint-% $(TOOLS)/goreleaser-% $(TOOLS)/govulncheck-%:
	GOBIN=$(abspath $(TOOLS)) $(GO) install $(MODULE)@$(lastword $(subst -, ,$(notdir $@)))
	mv $(TOOLS)/$(firstword $(subst -, ,$(notdir $@))) $@

fuzz: ## run every fuzz test for FUZZTIME (30s); inputs that fail are added to testdata/fuzz
	FUZZTIME=$(FUZZTIME) .ci/fuzz

bench: build ## time version, analyze and synth as whole processes on fleets of up to 20000 images, then the Go benchmarks
	$(GO) build -o bin/floor ./test/bench/floor
	$(GO) build -o bin/empty ./test/bench/empty
	$(GO) run ./test/bench $(BIN) bin/floor bin/empty
	$(MAKE) bench-go

bench-go: ## run the Go benchmarks
	$(GO) test ./... -run '^$$' -bench . -benchmem

generate: build ## regenerate every generated file: schema, state and dist of the sample fleet, docs
	$(BIN) schema > images.schema.json
	$(BIN) analyze $(FLEET)
	$(BIN) synth
	$(GO) test ./pkg/policy -run Simulation -update
	$(GO) test ./pkg/cli -run TestSchemas -update
	$(GO) test ./pkg/report -run TestDrawings -update

check: build ## fail if a generated file in git is out of date
	$(BIN) synth --check
	$(MAKE) generate
	git diff --exit-code
	@test -z "$$(git status --porcelain)" || { git status --short; exit 1; }

clean: ## remove everything that was built
	rm -rf bin .cache
