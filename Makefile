# Targets with a double comment are listed by plain make.

GO            ?= go
GO_MIN        := 26
FASTHTTP      := v1.74.0
PEBBLE        := v2.1.7
FUZZTIME      ?= 30000x
CLIENTS       := testdata/clients testdata/browser query/dashboard

# The Go that is installed is the one that is used: no toolchain is fetched.
export GOTOOLCHAIN := local

.DEFAULT_GOAL := help
.PHONY: help run build test test-tools clients pins format vet lint unit fuzz bench bench-large demo-cluster geoip dist clean go

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: build ## build and start the demo: collector on 127.0.0.1:8080 with a page at /demo, dashboard and reads on :8081, data in ./data
	@exec bin/spoor serve --demo --data ./data

build: go ## build bin/spoor, a static binary
	@CGO_ENABLED=0 $(GO) build -o bin/spoor ./cmd/spoor

test: test-tools pins format vet lint clients unit fuzz ## run everything that CI runs; installs what it needs (as root, or by sudo)
	@echo "all checks passed"

# The program of a package is built once; go test builds it for each target. What
# fuzzing finds worth keeping stays where go test keeps it.
fuzz: go ## run every fuzz target for FUZZTIME (30000x: so many inputs; 10m: so long)
	@built=$$(mktemp -d) && trap 'rm -rf "$$built"' EXIT && kept=$$($(GO) env GOCACHE)/fuzz && \
	$(GO) list -f '{{.Dir}} {{.ImportPath}}' ./... | while read -r dir package; do \
	  grep -qs '^func Fuzz' "$$dir"/*_test.go || continue; \
	  $(GO) test -c -fuzz . -o "$$built/fuzz" "$$package" && cd "$$dir" && list=$$("$$built/fuzz" -test.list '^Fuzz') || exit 1; \
	  for target in $$list; do \
	    echo "$$package $$target"; \
	    "$$built/fuzz" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$$kept/$$package" || exit 1; \
	  done; \
	done

# BENCH="-long -json FILE" passes options on.
BENCH ?=
bench: go ## measure against the targets on this machine, with a ledger of what was acknowledged; takes ten minutes
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || \
	  echo "nginx is missing, pixels are not compared with it; to have that too: apt-get install nginx-light, systemctl disable --now nginx" >&2
	@CGO_ENABLED=0 $(GO) run ./bench $(BENCH)

# LARGE="-hits 100000000 -dir DIR" builds another store, and keeps it in DIR.
LARGE ?=
bench-large: go ## build a store of 50 million hits and a million profiles, and measure statistics; takes 9 GB
	@CGO_ENABLED=0 $(GO) run ./bench -large $(LARGE)

demo-cluster: go ## brokers, two collectors and two store nodes on this machine under load, two of them killed: nothing is lost, nothing doubled
	@CGO_ENABLED=0 $(GO) run ./bench -cluster

geoip: ## fetch a real GeoIP database into ./geoip
	@sh enrich/fetch-geoip.sh

dist: go ## build static programs, .deb packages and images for Linux on amd64 and arm64 into ./dist
	@$(GO) run ./cmd/spoor/dist

clean: ## remove what make built; ./data stays
	@rm -rf bin dist $(CLIENTS:%=%/node_modules)

# One line says what is wrong with the Go at hand.
go:
	@version=$$($(GO) version 2>/dev/null) || { echo "Go 1.$(GO_MIN) or newer is needed and no go command was found; install it from https://go.dev/dl/" >&2; exit 1; }; \
	minor=$$(echo "$$version" | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p'); \
	case "$$version" in *devel*) minor=$(GO_MIN) ;; esac; \
	if [ "$${minor:-0}" -lt $(GO_MIN) ]; then \
	  echo "Go 1.$(GO_MIN) or newer is needed, this is '$$version'; install a newer one from https://go.dev/dl/" >&2; exit 1; \
	fi

# The race detector wants a C compiler, the printed lines of the first run want
# curl, the client suites want Node, the widget's suite a browser; the rest is for
# what is said about servers.
test-tools: go
	@missing=""; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v strace >/dev/null || missing="$$missing strace"; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$$missing ca-certificates"; \
	[ -z "$$missing" ] && exit 0; \
	echo "installing:$$missing"; \
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing || \
	  { echo "cannot install$$missing; install them by hand, then run make test again" >&2; exit 1; }

clients: $(CLIENTS:%=%/node_modules/.package-lock.json)

%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@cd $* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# Newer versions of these two do not build everywhere, and tidying can fall
# back to ones that are years old without a word.
pins: go
	@for want in github.com/valyala/fasthttp=$(FASTHTTP) github.com/cockroachdb/pebble/v2=$(PEBBLE); do \
	  have=$$($(GO) list -m -f '{{.Version}}' "$${want%=*}") || exit 1; \
	  [ "$$have" = "$${want#*=}" ] || { echo "go.mod has $${want%=*} $$have, want $${want#*=}" >&2; exit 1; }; \
	done
	@$(GO) mod tidy -diff >/dev/null || { echo "go.mod or go.sum is not tidy; go mod tidy -diff shows how" >&2; exit 1; }

format: go
	@bad=$$(gofmt -l .); \
	[ -z "$$bad" ] || { echo "not formatted; run gofmt -w on:" >&2; echo "$$bad" >&2; exit 1; }

vet: go
	@$(GO) vet ./...

# ST1005: our messages about options begin with the name of a field.
lint: go
	@$(GO) tool staticcheck -checks inherit,-ST1005 ./...

unit: go
	@SPOOR_REQUIRE_CLIENTS=1 $(GO) test -race -timeout 45m ./...
