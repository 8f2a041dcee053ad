# The README's two commands are `make demo` and `make test`.

export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: demo test fuzz bench soak deb appliance check setup setup-all

## Show vfw at work on this machine, and clean up.
demo: setup
	cargo build --release --quiet -p vfw
	target/release/vfw lab demo

## Every test: formatting, lints, licences, unit, property, scenario and end-to-end tests.
test: setup-all check
	VFW_FUZZ_SECONDS=20 cargo test --no-fail-fast

## Fuzz each target with coverage for SECONDS; needs rustup's nightly.
SECONDS ?= 60
fuzz: setup
	command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
	VFW_FUZZ_CORPUS=$(CURDIR)/fuzz/corpus cargo test --quiet -p vfw-tests --test fuzz -- --ignored write_corpus
	cargo +nightly fuzz run bench -- -max_total_time=$(SECONDS) -max_len=8192
	cargo +nightly fuzz run pipeline -- -max_total_time=$(SECONDS) -max_len=8192
	cargo +nightly fuzz run rules -- -max_total_time=$(SECONDS) -max_len=8192
	cargo +nightly fuzz run worker -- -max_total_time=$(SECONDS) -max_len=8192

## Measure everything: reports of vfw bench in target/bench with a page of them, and benches/reports/*.md. By the settings of its
## steps some 45 minutes on two idle CPUs, of them range 17; a step that takes more than STEP ends all. BENCH_FLAGS are added to each test: `--rounds 1` for a trial.
TESTS := range rr crr pps flows rules flood
STEP ?= 30m
BENCH_FLAGS ?=
bench: setup
	{ command -v iptables && command -v ipset; } >/dev/null || apt-get install -y -qq --no-install-recommends iptables ipset
	cargo build --release --quiet -p vfw -p vfw-benches
	mkdir -p target/bench
	timeout --foreground $(STEP) target/release/programs --report benches/reports/programs.md
	timeout --foreground $(STEP) target/release/classify --report benches/reports/classify.md
	for test in $(TESTS); do \
		timeout --foreground $(STEP) target/release/vfw bench $$test --lab --json $(BENCH_FLAGS) >target/bench/$$test.json || exit; \
	done
	target/release/vfw bench report $(TESTS:%=target/bench/%.json) --html target/bench/report.html --svg target/bench

## Replace the rules of vfw, kill and restart it under traffic, and write benches/reports/restart.md.
ROUNDS ?= 100
RELOADS ?= 1000
soak: setup
	cargo build --release --quiet -p vfw-tests --bins
	target/release/soak --rounds $(ROUNDS) --reloads $(RELOADS) --report benches/reports/restart.md

## The Debian package: target/deb/vfw_VERSION_ARCH.deb.
deb:
	@scripts/setup.sh package
	packaging/deb.sh

## The appliance: target/appliance/vfw-VERSION.qcow2, .ova, .raucb (an upgrade) and .sha256; needs root. FLAVOUR=full makes the one
## with drivers of network cards.
appliance:
	@scripts/setup.sh package appliance
	appliance/build.sh

## What needs no kernel.
check: setup
	cargo fmt --all --check
	cargo clippy --quiet --all-targets -- --deny warnings
	python3 scripts/licences.py

## Install what is missing.
setup:
	@scripts/setup.sh

## What the tests need beside that: tools of the Debian package and of the appliance, and a browser.
setup-all:
	@scripts/setup.sh package appliance browser
