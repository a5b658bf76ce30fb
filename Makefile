SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL:

# go asks git in each build, and fails where git refuses: in a clone that belongs to another user.
ifeq ($(shell git rev-parse HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# As go test -fuzztime takes it: a time, or a number of inputs with an x. A time can end while the fuzzer starts, which fails it
# ("context deadline exceeded"), so what must pass everywhere counts.
FUZZTIME ?= 10s
BENCHTIME ?= 1s

# Faults are judged by the clock, so nothing runs beside them. What runs whole servers drives a program that is built without
# the race detector, which would watch the tests alone and double their time; most of it they wait, so they go four at a time.
FAULTS := ./test/chaos/... ./test/deadline/... ./test/failover/...
SERVERS := ./test/adapter/... ./test/bench/... ./test/browser/... ./test/docs/... ./test/lemmy/...
OTHERS = $$(go list ./... | grep -vE '/test/(chaos|deadline|failover|adapter|bench|browser|docs|lemmy)(/|$$)')

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## See it work: a private Postgres, 200 simulated servers, three senders, one of them killed
	@scripts/setup demo & $(MAKE) build && wait $$! # Postgres is installed while the sender is compiled
	@bin/sender demo

.PHONY: test
test: FUZZTIME = 5000x
test: setup lint race fuzz ## Everything that must hold before a change goes in, in less than 20 minutes

.PHONY: setup
setup: ## Install what this machine lacks (Debian: apt-get, as root); quick when nothing is missing
	@scripts/setup

.PHONY: build
build: ## Build bin/sender, one program without cgo; with STATIC=1 it needs no C library either
	@scripts/setup build
	CGO_ENABLED=0 go build $(if $(STATIC),-tags static) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sender ./cmd/sender

.PHONY: release
release: ## What a release consists of, in dist/: archives for each platform, lists of what is in them, checksums
	@scripts/release

.PHONY: lint
lint: ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then printf 'not gofmt-ed:\n%s\n' "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	go -C test/bench/peers/river vet ./...

.PHONY: race
race: ## All tests, with the race detector where Go code of the product runs in them; faults in their short form
	go test -race -timeout 10m $(OTHERS)
	go test -race -timeout 12m -p 1 $(FAULTS)
	go test -timeout 12m -parallel 4 $(SERVERS)

.PHONY: charts
charts: ## What is in deploy, read by Helm, Kubernetes' types, Compose, BuildKit, Grafana's types and systemd; RENDER=1 writes what the chart makes
	go -C test/deployment/charts vet .
	go -C test/deployment/charts test -count=1 . $(if $(RENDER),-update)
	go test -count=1 ./test/deployment

.PHONY: e2e
e2e: ## From INSERT to inbox: real Postgres, real HTTP, real signals
	go test -count=1 -timeout 15m -p 1 -v ./test/e2e/...

.PHONY: chaos
chaos: ## Faults in their long form: kills, hangs, cut links, database restarts; about an hour and a half
	FEDSENDER_CHAOS=long go test -count=1 -timeout 150m -v ./test/chaos/...
	FEDSENDER_CHAOS=long go test -count=1 -timeout 60m -parallel 1 -v -run SixteenWriters ./test/lemmy

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: FEDIFY = test/bench/peers/fedify
bench: RESULTS = $(CURDIR)/bin/bench.json
bench: setup ## What docs/performance.md shows, River, Fedify and a bare loop beside it: tables and pictures; 25 minutes
	@if command -v npm >/dev/null; then npm ci --prefix $(FEDIFY); else echo 'no npm: Fedify is left out'; fi
	@mkdir -p bin && rm -f $(RESULTS)
	FEDSENDER_BENCH=long FEDSENDER_BENCH_RESULTS=$(RESULTS) go test -run '^$$' -benchtime 1x -timeout 90m -v \
	  -bench '^Benchmark(Peers|Curves|Skips|Latency|Distance)$$' ./test/bench
	go run ./test/bench/picture -results $(RESULTS)

.PHONY: benches
benches: ## Every benchmark there is, BENCHTIME (1s) each; FEDSENDER_BENCH=long for the long ones
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 90m -p 1 $$(scripts/packages-with Benchmark)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
