# Everything that a developer runs. `make` alone lists the targets.

GO       ?= go
BIN      := bin/imagefactory
TOOLS    := .cache/bin
GOLANGCI := v2.15.0
FUZZTIME ?= 30s
FLEET    := --source-dir testdata/fleet --offline

.DEFAULT_GOAL := help
.PHONY: help build demo test race lint fuzz bench bench-go generate check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/imagefactory
	$(GO) build -trimpath -o $(BIN) ./cmd/imagefactory

demo: build ## run the main job on the sample fleet, into bin/demo
	rm -rf bin/demo
	@echo '--- what each build uses: Dockerfiles to state'
	$(BIN) analyze $(FLEET) --state-dir bin/demo/state
	@echo '--- what every image is doing'
	$(BIN) status --state-dir bin/demo/state
	@echo '--- state to Kargo resources'
	$(BIN) synth --state-dir bin/demo/state --out-dir bin/demo/dist
	@grep -c '^kind:' bin/demo/dist/image-factory.k8s.yaml | sed 's/$$/ resources in bin\/demo\/dist\/image-factory.k8s.yaml/'
	@echo '--- what is built on runtime-node, and what it is built on'
	$(BIN) graph runtime-node --state-dir bin/demo/state
	@echo '--- lints'
	$(BIN) validate --state-dir bin/demo/state

test: ## run the tests
	$(GO) vet ./...
	$(GO) test ./...

race: ## run the tests with the race detector
	$(GO) test -race ./...

lint: $(TOOLS)/golangci-lint-$(GOLANGCI) ## run the linters
	$< run

$(TOOLS)/golangci-lint-$(GOLANGCI):
	GOBIN=$(abspath $(TOOLS)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(TOOLS)/golangci-lint $@

fuzz: ## run every fuzz test for FUZZTIME (30s)
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; \
	done

bench: build ## time analyze and synth as whole processes on fleets of 100, 1000 and 5000 images, then the Go benchmarks
	$(GO) build -o bin/floor ./pkg/internal/bench/floor
	$(GO) run ./pkg/internal/bench $(BIN) bin/floor
	$(MAKE) bench-go

bench-go: ## run the Go benchmarks
	$(GO) test ./... -run '^$$' -bench . -benchmem

generate: build ## write every generated file anew: schema, state and dist of the sample fleet, docs
	$(BIN) schema > images.schema.json
	$(BIN) analyze $(FLEET)
	$(BIN) synth
	$(GO) test ./pkg/policy -run Simulation -update

check: build ## fail when a generated file in git is not up to date
	$(BIN) synth --check
	$(MAKE) generate
	git diff --exit-code
	@test -z "$$(git status --porcelain)" || { git status --short; exit 1; }

clean: ## remove what was built
	rm -rf bin .cache
