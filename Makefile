# make demo    the whole story, on a fleet of three nodes on this machine, in two minutes
# make test    every test, installing what they need (Debian, Ubuntu)
# make check   what must be clean before a commit: format, vet, lint, races, fuzz
# make sim     the simulated fleet under faults, as CI runs it, with its table
# make soak    the same over many seeds, where it left off (SOAK_SEEDS=from-to)
# make mutants break each rule of leases in the code: something must notice
# make bench   benchmarks, each beside the thing it is compared with
# make generate  the code of the plugin protocol; "make generate && git diff --exit-code" holds it
# make build   bin/orpheus, one static binary
# make install the same, and a copy in /usr/local/bin (PREFIX=/usr/local), by sudo unless root runs it
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
BUF         := github.com/bufbuild/buf/cmd/buf@v1.75.0
FUZZTIME    ?= 5s
BENCHTIME   ?= 1s
PREFIX      ?= /usr/local
SUDO        ?= $(if $(filter 0,$(shell id -u)),,sudo)

# cgo only for the race detector.
export CGO_ENABLED := 0

.PHONY: build install demo test check deps lint race fuzz vuln cross bench clean sim soak mutants generate

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/orpheus ./cmd/orpheus

install: build
	$(SUDO) install -D bin/orpheus $(PREFIX)/bin/orpheus

demo: build
	.ci/install demo
	$(GO) build -trimpath -o bin/orpheus-demo ./cmd/orpheus-demo
	bin/orpheus-demo --orpheus bin/orpheus

deps:
	.ci/install test

# The simulation comes by itself: it prints its table, and needs all cores. So
# do the end-to-end stories: what they measure would be the other tests.
SIM := /agent/fleet/fleettest$$
E2E := /cmd/orpheus/e2e$$
test: deps build cross
	$(GO) vet ./...
	$(GO) test -timeout 20m $$($(GO) list ./... | grep -v -e '$(SIM)' -e '$(E2E)')
	$(GO) test -timeout 20m ./cmd/orpheus/e2e
	$(MAKE) --no-print-directory sim mutants

check: deps lint race fuzz vuln cross

lint:
	@unformatted=$$(git ls-files '*.go' | xargs -r gofmt -l); \
	  if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

# Not the end-to-end stories: the binary they run is the shipped one, without
# the detector. Nor the simulation, which has one goroutine.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $$($(GO) list ./... | grep -v -e '$(E2E)' -e '$(SIM)')

# Every fuzz target for a moment: enough to find what a change just broke. Go
# before 1.27 may take the end of that moment for a failure (golang/go#75804): a
# run that failed by its deadline alone, and on no input, is made again.
fuzz:
	@set -e; mkdir -p build; log=build/fuzz.log; \
	for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target"; \
	    for try in 1 2 3; do \
	      failed=0; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg >$$log 2>&1 || failed=1; \
	      cat $$log; \
	      if [ $$failed = 0 ]; then break; fi; \
	      if grep -q 'Failing input' $$log || ! grep -qx '    context deadline exceeded' $$log; then exit 1; fi; \
	    done; \
	    if [ $$failed != 0 ]; then exit 1; fi; \
	  done; \
	done

sim:
	GOGC=400 $(GO) test ./agent/fleet/fleettest -count=1 -v -timeout 20m | grep -vE '^(=== |\s*--- PASS)'

# Seeds that were done before are left out: what was done is kept in build/soak.
SOAK_SEEDS ?= 1000-2000
soak:
	@mkdir -p build
	SOAK=$(CURDIR)/build/soak GOGC=1000 $(GO) test ./agent/fleet/fleettest -count=1 -v -run '^TestSoak$$' -seeds $(SOAK_SEEDS) -timeout 0

mutants:
	MUTANTS=all $(GO) test ./agent/fleet/fleettest -count=1 -v -run '^TestMutants$$' -timeout 20m | grep -vE '^=== '

# The vulnerability database is asked only where it can be reached.
vuln:
	@if curl -fsS -m 10 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then \
	  $(GO) run $(GOVULNCHECK) ./...; \
	else echo "govulncheck left out: its database cannot be reached from here"; fi

# The verbs for a laptop build everywhere.
cross:
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/orpheus
	GOOS=windows GOARCH=amd64 $(GO) build -o /dev/null ./cmd/orpheus

# Needs no protoc: buf compiles the protocol, versions are pinned here, in
# buf.gen.yaml and in go.mod.
generate:
	cd runtime/plugin/pluginpb && $(GO) run $(BUF) lint && $(GO) run $(BUF) generate

# One package at a time: they would measure each other. The whole node comes
# last, and ends with a table.
bench: deps
	$(GO) test -p 1 -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 30m \
	  $$($(GO) list ./... | grep -v '/cmd/orpheus/bench$$') | grep -v 'no test files'
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./cmd/orpheus/bench

clean:
	rm -rf bin build
