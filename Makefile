# Thin on purpose: every target calls scripts/ or meson, which also work alone.
BUILD ?= build
SECONDS_EACH ?= 60
SEEDS ?= 500
DISCOVERY ?= 50
DESTDIR ?=
PREFIX ?= /usr/local

.PHONY: all setup demo test bench paths discovery fuzz format check-format check-style install clean distclean

all: setup
	meson compile -C $(BUILD)

setup:
	@scripts/setup $(BUILD)

demo: all
	@scripts/demo $(BUILD)

test:
	@scripts/test

bench:
	@scripts/bench

paths:
	@scripts/paths $(SEEDS)

discovery:
	@scripts/discovery $(DISCOVERY)

fuzz:
	@scripts/fuzz $(SECONDS_EACH)

format:
	@scripts/format

check-format:
	@scripts/format --check

check-style:
	@scripts/check-style

install: all
	meson configure $(BUILD) --prefix $(PREFIX)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)

clean:
	rm -rf build build-asan build-fuzz build-bench

distclean: clean
	rm -rf .deps
