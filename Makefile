# The README's two commands are `make demo` and `make test`.

export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: demo test check setup bench

## Show vfw at work on this machine, and clean up.
demo: setup
	cargo build --release --quiet -p vfw
	target/release/vfw lab demo

## Every test: formatting, lints, licences, unit, property, scenario and end-to-end tests.
test: setup check
	cargo test

## What needs no kernel.
check: setup
	cargo fmt --all --check
	cargo clippy --quiet --all-targets -- --deny warnings
	python3 scripts/licences.py

## Install what is missing.
setup:
	@scripts/setup.sh
