# Callahead's two commands are `make demo` and `make test`; both install what they need on Debian or Ubuntu with Rust.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: demo test bench fuzz packages-build packages-test help

# Continuous integration keeps what is slow to make outside the checkout, so that the next run finds it.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/callahead/target
export CALLAHEAD_MODELS ?= $(HOME)/.cache/callahead/models
endif
TARGET := $(or $(CARGO_TARGET_DIR),target)

BUILD_PACKAGES := build-essential cmake pkg-config python3-pip python3-venv ca-certificates \
	festival festvox-us-slt-hts flite espeak-ng
TEST_PACKAGES := $(BUILD_PACKAGES) sip-tester baresip-core linphone-cli kamailio kamailio-tls-modules sox tshark \
	asterisk-core-sounds-en asterisk-core-sounds-en-wav \
	chromium $(if $(shell command -v npm),,nodejs npm)

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
define install
	@missing=""; for package in $(1); do dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
		|| missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; $(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: packages-build ## practice trunk, engine, five customers called, a live table, the page (CI=1 checks and exits)
	cargo build --release --locked
	$(TARGET)/release/callahead model fetch base
	$(TARGET)/release/callahead demo $(if $(filter 1 true,$(CI)),--ci)

test: packages-test ## every test: unit, real peers, real speech, a real browser
	cargo build --locked
	$(TARGET)/debug/callahead model fetch base
	cargo test --locked --no-fail-fast

bench: packages-test ## figures, with ratios to the peers that were measured on the same work
	cargo build --release --locked
	$(TARGET)/release/callahead model fetch base
	cargo bench --locked

FUZZ_SECONDS ?= 60
fuzz: ## what strangers send, damaged in every way, against the core; FUZZ_SECONDS for each of five targets
	set -e; for target in message uri sdp auth endpoint; do mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target tests/data/torture -- \
		-max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=512 -max_len=8192; done

packages-build:
	$(call install,$(BUILD_PACKAGES))

packages-test:
	$(call install,$(TEST_PACKAGES))
