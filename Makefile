# SPDX-License-Identifier: Apache-2.0
#
# Each of these works as the first command on a bare Debian machine: lab/setup installs what is missing,
# Go included.

GO := ./lab/go
GENERATED := $(foreach object,probes/bpf snapshot/survey,$(object)_*_bpfel.go $(object)_*_bpfel.o)
# The kernel the demo boots: that of a Debian suite, or IMAGE with its MODULES folder (/lib/modules/RELEASE).
KERNEL ?= bookworm
LAB_KERNEL = $(if $(IMAGE),-image $(IMAGE) -modules $(MODULES),-kernel $(KERNEL))

.PHONY: help
help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 26

.PHONY: build
build: ## the program, static, as bin/nstrace
	@lab/setup go
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/nstrace ./cmd/nstrace

.PHONY: demo
demo: build ## record three radios in a virtual machine, and report on it (KERNEL=sid, or IMAGE and MODULES, for another kernel)
	@lab/setup lab
	@$(if $(IMAGE),true,echo "== getting the kernel of Debian $(KERNEL)")
	$(if $(IMAGE),@true,$(GO) run ./lab/cmd/lab -fetch -kernel $(KERNEL))
	@rm -rf out/demo && mkdir -p out/demo
	@echo "== recording in a virtual machine"
	$(GO) run ./lab/cmd/lab $(LAB_KERNEL) -share out/demo -dir "$$PWD" -timeout 5m -- \
		bin/nstrace record --load-modules -o /share/demo.nst -- sh lab/scenario/scenario.sh /share/kernel
	@echo "== reporting, out here"
	bin/nstrace report out/demo/demo.nst

.PHONY: test
test: ## everything that tells whether the source is good
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory check-generated
	@$(MAKE) --no-print-directory go-test

.PHONY: go-test
go-test: ## the tests alone, those in virtual machines included
	@lab/setup go lab
	@$(untested-before)
	NSTRACE_UNTESTED=$(UNTESTED) $(GO) test -count=1 -timeout 35m -parallel $(PARALLEL) ./...
	@$(untested-after)

.PHONY: test-kernels
test-kernels: ## the tests that depend on the kernel, on every kernel of the lab (up to an hour)
	@lab/setup go lab
	@$(untested-before)
	NSTRACE_UNTESTED=$(UNTESTED) $(GO) test -count=1 -timeout 2h -parallel $(PARALLEL) -run 'TestMove|TestProbes|TestSnapshot|TestMissed|TestInMachine|TestPhases|TestTenants|TestThreads|TestDelivery|TestDrops|TestFullMAC' ./e2e -every-kernel
	@$(untested-after)

# With a fresh seed each time, which is said; KERNEL=sid takes one kernel only.
SEED ?= 0
N ?= 5000
.PHONY: test-random
test-random: ## make random operations on every kernel of the lab and audit what is made of them (SEED=, N=, KERNEL=)
	@lab/setup go lab
	$(GO) test -count=1 -timeout 3h -v -run 'TestRandom$(if $(filter file,$(origin KERNEL)),,/^$(KERNEL)$$)' ./e2e -seed $(SEED) -operations $(N)

BENCH := $(CURDIR)/out/bench.md
bench-run = NSTRACE_BENCH=$(BENCH) $(GO) test -count=1 -timeout 4h -run '^$$' -benchtime 1x
.PHONY: bench
bench: ## what recording and reporting cost, beside other tools, into out/bench.md (an hour; KERNEL=)
	@lab/setup go lab bench
	@mkdir -p out
	@{ echo "# Benchmarks"; echo; \
		echo "$$(date -u '+%F %R') UTC, nstrace $$(git describe --always --dirty), $$(nproc) CPUs:$$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo | head -n 1)."; \
		echo "Kernels: $$(uname -r) here; $$($(GO) run ./lab/cmd/lab -fetch -kernel $(KERNEL)) in the virtual machine."; echo; } >$(BENCH)
	@status=0; \
		$(bench-run) -bench '^BenchmarkCost$$' ./e2e -cost-kernel $(KERNEL) || status=$$?; \
		$(bench-run) -bench '^BenchmarkReader$$' ./probes || status=$$?; \
		$(bench-run) -bench '^BenchmarkReport$$' ./cmd/nstrace || status=$$?; \
		echo; cat $(BENCH); exit $$status

# A virtual machine waits about a third of its time.
PARALLEL := $(shell echo $$((($$(nproc) * 3 + 1) / 2)))

# go test keeps quiet about what it skipped; e2e writes down what it could not test.
UNTESTED := $(CURDIR)/out/untested
untested-before = mkdir -p out && rm -f $(UNTESTED)
untested-after = if [ -s $(UNTESTED) ]; then printf '\n*** NOT TESTED ***\n'; cat $(UNTESTED); fi

.PHONY: lint
lint: ## formatting, vet and staticcheck
	@lab/setup go
	@echo "$(GO) tool gofumpt -l ."; badly=$$($(GO) tool gofumpt -l .) && \
		if [ -n "$$badly" ]; then echo "not formatted (gofumpt -w mends it): $$badly" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: generate
generate: ## compile the eBPF programs (the results are kept in git)
	@lab/setup go generate
	$(GO) generate .

.PHONY: check-generated
check-generated: ## are the compiled eBPF programs those of the source?
	@lab/setup go generate
	@before=$$(mktemp -d) && trap 'rm -rf "$$before"' EXIT && cp $(GENERATED) "$$before" && \
		echo "$(GO) generate ." && $(GO) generate . && \
		for file in $(GENERATED); do \
			cmp "$$file" "$$before/$${file##*/}" || { echo "make generate, and commit $$file" >&2; exit 1; }; \
		done

.PHONY: clean
clean: ## remove what was made here (fetched kernels stay, in the user's cache folder)
	rm -rf bin out
