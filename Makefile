# `make demo` and `make test` do all of their own set-up on a fresh Debian machine with a Rust toolchain.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
VENV := .venv
TOOLS := target/tools
# Programs of others that check this one, by their versions.
CARGO_DENY := 0.20.2
CARGO_CYCLONEDX := 0.5.9
CARGO_LLVM_COV := 0.9.1
CARGO_MUTANTS := 27.1.0
# libtss2 writes to stderr for answers that are expected, such as a missing NV index; signetd
# reports its own.
export TSS2_LOG := all+none
export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/$(TOOLS)/bin:$(PATH)

PACKAGES := swtpm swtpm-tools tpm2-tools libtss2-dev libtss2-tcti-swtpm0 libtss2-tcti-device0 \
	tpm2-abrmd libtss2-tcti-tabrmd0 \
	pkg-config clang libclang-dev libudev-dev dbus libglib2.0-bin python3-venv gcc g++ make \
	ca-certificates curl openssl faketime python3-gi systemd udev fprintd polkitd python3-dbusmock pinentry-curses dunst xvfb \
	debhelper lintian fakeroot man-db bash-completion zsh fish nginx-light haproxy postgresql iproute2 softhsm2 opensc \
	libtpm2-pkcs11-1 $(if $(shell command -v kubectl),,kubernetes-client)

# The whole machine in QEMU; where they cannot be installed its checks are skipped, loudly.
VM_PACKAGES := qemu-system-x86 mmdebstrap uidmap e2fsprogs mtools

# Where `make install` puts things. Distributions differ in the second group.
DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
BINDIR ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/signet
DATADIR ?= $(PREFIX)/share
UNITDIR ?= $(PREFIX)/lib/systemd/system
UDEVDIR ?= $(PREFIX)/lib/udev/rules.d
ZSHDIR ?= $(DATADIR)/zsh/site-functions

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The folder of the programs to install.
BINARIES ?= $(TARGET)/release
PROGRAMS := -p signet-daemon -p signet-client -p signet-authority

.PHONY: help setup demo vm-test vm-short test check unit model fuzz fuzz-short coverage mutants bench build manual install sbom deb deb-check clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')"

setup: target/.packages target/.python $(TOOLS)/bin/promtool ## Install what demo and test need

target/.packages: Makefile
	@mkdir -p target
	@missing=""; for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' "$$package" 2>/dev/null | grep -q 'install ok installed' \
			|| missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; \
		$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $$missing > target/apt.log; fi
	@touch $@

target/.python: tests/requirements.txt tests/referees/device-tests.txt
	@mkdir -p target
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt
	@rm -rf $(VENV)/referees && mkdir $(VENV)/referees
	@$(VENV)/bin/pip download -q --disable-pip-version-check --no-deps --no-binary :all: \
		--require-hashes -r tests/referees/device-tests.txt -d $(VENV)/referees
	@tar -xzf $(VENV)/referees/*.tar.gz -C $(VENV)/referees
	@touch $@

$(TOOLS)/bin/cargo-deny: VERSION := $(CARGO_DENY)
$(TOOLS)/bin/cargo-cyclonedx: VERSION := $(CARGO_CYCLONEDX)
$(TOOLS)/bin/cargo-llvm-cov: VERSION := $(CARGO_LLVM_COV)
$(TOOLS)/bin/cargo-mutants: VERSION := $(CARGO_MUTANTS)
$(TOOLS)/bin/cargo-%:
	@command -v $(@F) >/dev/null && mkdir -p $(TOOLS)/bin && ln -sf "$$(command -v $(@F))" $@ \
		|| cargo install -q $(@F) --version $(VERSION) --locked --debug --root $(TOOLS)

# Out of Debian's package, which would leave a server running. Where it cannot be had, its checks say so.
$(TOOLS)/bin/promtool:
	@mkdir -p $(TOOLS)/bin $(TOOLS)/prometheus
	@cd $(TOOLS)/prometheus && rm -f *.deb && { apt-get download -q prometheus \
		|| { $(SUDO) apt-get update -qq && apt-get download -q prometheus; }; } > apt.log 2>&1 \
		&& dpkg -x prometheus_*.deb . && ln -sf ../prometheus/usr/bin/promtool ../bin/promtool \
		|| echo "promtool cannot be had (see $(TOOLS)/prometheus/apt.log)"

demo: setup ## Show the main job on real parts (KEEP=1 leaves everything running)
	@echo "building; the first time takes some minutes"
	@cargo build --workspace --bins
	@target/debug/signet-demo $(if $(KEEP),--keep)

vm-test: setup target/.vm-packages ## Boot a whole workstation and check everything on it (STAGES="workstation again")
	@cargo build -q --workspace --bins
	@tests/vm/run.sh $(or $(STAGES),platform workstation again measured measured-changed measured-insecure)

vm-short: setup target/.vm-packages # the part of it that `make test` runs, with what `unit` built
	@tests/vm/run.sh workstation again

target/.vm-packages: Makefile
	@dpkg-query -W -f '$${Status}\n' $(VM_PACKAGES) 2>/dev/null | grep -c 'install ok installed' \
		| grep -qx $(words $(VM_PACKAGES)) || { echo "installing $(VM_PACKAGES)"; \
		$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $(VM_PACKAGES) > target/apt-vm.log; } \
		&& touch $@ || echo "the packages for the whole machine cannot be installed; see target/apt-vm.log"

test: setup check unit fuzz-short vm-short ## Everything that tests
	@echo "make test: all passed$$([ ! -s target/skipped ] || echo ", but $$(wc -l < target/skipped) tests that were SKIPPED")"

check: setup $(TOOLS)/bin/cargo-deny ## Formatting, lints, documentation, dependencies
	cargo fmt --all -- --check
	cargo fmt --manifest-path model/Cargo.toml -- --check
	cargo fmt --manifest-path mutants/Cargo.toml -- --check
	cargo clippy -q --workspace --all-targets -- -D warnings
	$(MODEL) clippy -q --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc -q --workspace --no-deps
	cargo deny --log-level error check licenses bans sources
	@if [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ]; then cargo deny --offline check advisories; \
		else echo "advisories: no advisory database on this machine; not checked"; fi

# Programs and tests in one, so that dependencies are built once.
unit: setup ## Unit, property, conformance and end-to-end tests
	cargo build -q --workspace --bins --tests
	@rm -f target/skipped
	SIGNET_SKIPPED=$(CURDIR)/target/skipped cargo test --workspace
	$(MODEL) test -q
	@[ ! -s target/skipped ] || { sort target/skipped; echo "$$(wc -l < target/skipped) tests were SKIPPED"; }

# Outside the workspace: the checker is no dependency of what ships (docs/model.md).
MODEL = cd model && CARGO_TARGET_DIR=$(TARGET)/model cargo
model: ## Check the formal model with larger bounds
	@$(MODEL) run -q -- check --touches 2 --uses 0 --restarts 0 --ticks 0
	@$(MODEL) run -q -- check --uses 2

fuzz: setup ## Fuzz a target (T=<name in fuzz/seeds>, SECONDS=60; without T each of them in turn)
	@fuzz/run.sh $(or $(SECONDS),60) $(T)

fuzz-short: setup ## Some seconds of each parser's fuzz target, where there is a nightly compiler
	@PARSERS_ONLY=1 fuzz/run.sh 3

JUDGING := --package signet-evidence --package signet-verifier
# What evidence and verifier do: their own tests, every fixture and forgery, and what is made of their results.
coverage: setup $(TOOLS)/bin/cargo-llvm-cov ## How much of evidence and verifier the tests run; not less than the README says
	@rustup -q component add llvm-tools
	@mkdir -p $(TARGET)
	@cargo llvm-cov clean --workspace
	@cargo llvm-cov --no-report test -q $(JUDGING)
	@cargo llvm-cov --no-report test -q --package signet-tests --test fixtures --test corpus --test appraisal --test minting --test registration
	@cargo llvm-cov report $(JUDGING) --summary-only | tee $(TARGET)/coverage.txt
	@said=$$(sed -n 's/.* \([0-9.]*\) % of the regions.*/\1/p' README.md); \
		awk -v said="$$said" '/^TOTAL/ { found = $$4 + 0 } END { if (!(said > 0 && found >= said)) { \
			print "README.md says " said " %, found " found " %"; exit 1 } }' $(TARGET)/coverage.txt

# All of them in one build (mutants/); those that stand where a program cannot choose are named, for cargo-mutants.
MUTANTS := cargo run -q --manifest-path mutants/Cargo.toml --target-dir $(TARGET)/mutants/tool --
mutants: setup $(TOOLS)/bin/cargo-mutants ## Break evidence and verifier in every way, and see whether a test notices (FILES=verifier/src/tpm)
	@mkdir -p $(TARGET)/mutants
	@cargo mutants $(JUDGING) --list --json > $(TARGET)/mutants/list.json
	@$(MUTANTS) $(TARGET)/mutants/list.json $(TARGET)/mutants $(FILES)

bench: setup target/peers/.installed ## Measure (ONLY=name); a table, target/bench/results.json and .svg, failure when a bar is not kept
	@$(RELEASE) -q -p signet-bench -p signet-daemon -p signet-authority
	@code=0; $(TARGET)/release/signet-bench target/bench/results.json $(ONLY) || code=$$?; \
		[ $$code = 2 ] || $(TARGET)/release/signet-bench --picture target/bench/results.json target/bench/results.svg; exit $$code

# What is compared with beside setup's; what cannot be had here is passed over, and says so.
target/peers/.installed: bench/peers/keylime.txt
	@mkdir -p target/peers
	@! command -v npm >/dev/null || npm install --silent --no-audit --no-fund --prefix target/peers jose@6.2.17
	@python3 -m venv target/peers/keylime && target/peers/keylime/bin/pip install --quiet \
		--disable-pip-version-check -r $< || echo "Keylime was not installed"
	@touch $@

# The same bytes wherever they are built: no path of this machine stays in them.
MAPPED := $(CURDIR)=/signet $(TARGET)=/signet/target $(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo
RELEASE = RUSTFLAGS="$(RUSTFLAGS) $(addprefix --remap-path-prefix=,$(MAPPED) $(shell rustc --print sysroot)=/rust)" \
	CFLAGS="$(CFLAGS) $(addprefix -ffile-prefix-map=,$(MAPPED))" cargo build --release --locked --bins

build: ## Build the programs for release
	$(RELEASE) $(PROGRAMS)
	@$(MAKE) --no-print-directory manual

# Man pages, completions and the licences of what is linked, made from the programs of BINARIES; not by
# install, because root need not have a Rust toolchain.
MANUAL := $(TARGET)/manual
manual:
	rm -rf $(MANUAL)
	for program in signetd signet signet-authority; do \
		$(BINARIES)/$$program --write-manual $(MANUAL); done
	for pair in signetd:daemon signet:client signet-authority:authority; do \
		mkdir -p $(MANUAL)/$${pair%:*}; \
		manual/third-party.py signet-$${pair#*:} > $(MANUAL)/$${pair%:*}/THIRD-PARTY; done

# $(call put,FOLDER,MODE,FILES): every file is named, and one that is missing stops make.
put = install -d -m 755 "$(DESTDIR)$(1)" && install -m $(2) -t "$(DESTDIR)$(1)" $(3)

install: ## Install what is built (DESTDIR, PREFIX, BINARIES)
	$(call put,$(BINDIR),755,$(addprefix $(BINARIES)/,signetd signet signet-authority))
	$(call put,$(LIBEXECDIR),755,$(BINARIES)/signet-broker)
	$(call put,$(UNITDIR),644,$(addprefix systemd/,signetd.service signetd.socket signet-keys.service \
		signet-key@.service signet-boot-log.service signet-authority.service))
	$(call put,$(PREFIX)/lib/sysusers.d,644,$(addprefix systemd/sysusers.d/,signetd.conf signet-authority.conf))
	$(call put,$(PREFIX)/lib/tmpfiles.d,644,systemd/tmpfiles.d/signetd.conf)
	$(call put,$(UDEVDIR),644,udev/70-signet.rules)
	$(call put,$(DATADIR)/dbus-1/system-services,644,systemd/dbus-1/org.signet.Presence1.service)
	$(call put,$(DATADIR)/dbus-1/system.d,644,daemon/dbus/org.signet.Presence1.conf)
	$(call put,$(DATADIR)/polkit-1/actions,644,polkit/org.signet.presence.policy)
	$(call put,$(DATADIR)/dbus-1/interfaces,644,$(addprefix daemon/dbus/,org.signet.Presence1.xml \
		org.signet.Presence1.Agent.xml))
	$(call put,$(DATADIR)/dbus-1/services,644,client/dbus/org.signet.Agent1.service)
	$(call put,$(PREFIX)/lib/systemd/user,644,$(addprefix systemd/user/,signet-agent.service \
		signet-proxy.service signet-proxy.socket))
	test -e "$(DESTDIR)$(SYSCONFDIR)/signet/signetd.toml" \
		|| { $(call put,$(SYSCONFDIR)/signet,644,daemon/signetd.toml); }
	sed -i 's,/usr/bin/signet,$(BINDIR)/signet,; s,/usr/libexec/signet,$(LIBEXECDIR),' \
		"$(DESTDIR)$(UNITDIR)"/signet* "$(DESTDIR)$(PREFIX)/lib/systemd/user"/signet-*.service \
		"$(DESTDIR)$(DATADIR)/dbus-1/services/org.signet.Agent1.service"
	$(call put,$(DATADIR)/man/man1,644,$(MANUAL)/man/man1/*)
	$(call put,$(DATADIR)/man/man8,644,$(MANUAL)/man/man8/* manual/signet-broker.8)
	$(call put,$(DATADIR)/bash-completion/completions,644,$(MANUAL)/bash/*)
	$(call put,$(ZSHDIR),644,$(MANUAL)/zsh/*)
	$(call put,$(DATADIR)/fish/vendor_completions.d,644,$(MANUAL)/fish/*)
	$(call put,$(DATADIR)/licenses/signet,644,LICENSE-APACHE LICENSE-MIT)
	for program in signetd signet signet-authority; do \
		$(call put,$(DATADIR)/doc/$$program,644,$(MANUAL)/$$program/THIRD-PARTY); done

sbom: $(TOOLS)/bin/cargo-cyclonedx ## What each package is made of (CycloneDX), in target/sbom
	@rm -rf target/sbom && mkdir -p target/sbom
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) cargo cyclonedx -q -f json --spec-version 1.5
	@find . -name '*.cdx.json' -not -path './target/*' -exec mv -t target/sbom {} +
	@sed -i 's,file://$(CURDIR),file:///signet,g' target/sbom/*.cdx.json
	@ls target/sbom/*.cdx.json

deb: ## Debian packages in target/deb (DEB_PROFILE=dev: from target/debug, no compiling)
	@debian/build.sh "$(or $(DEB_OUT),$(TARGET)/deb)" $(DEB_PROFILE)

deb-check: ## Build the packages twice in different places; the bytes must not differ
	@debian/build-twice.sh "$(TARGET)/deb-check"

clean: ## Remove what was built
	rm -rf target $(VENV)
