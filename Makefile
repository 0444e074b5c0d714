# SPDX-License-Identifier: MIT
# `make demo` and `make check` are all a newcomer needs; `make help` lists the rest.

VARIANT ?= release
B       := build/$(VARIANT)
PREFIX  ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SEEDS   ?= 10000
JOBS    ?= $(shell nproc 2>/dev/null || echo 1)

PACKAGES := gcc libc6-dev make pkg-config libnats-dev libevent-dev libssl-dev libjansson-dev libsystemd-dev libcmocka-dev \
            libbsd-dev uthash-dev libsqlite3-dev libncurses-dev libcurl4-openssl-dev nats-server openssl jq python3 python3-jsonschema scdoc man-db shellcheck
PACKAGES_CHECK := zsh chromium-headless-shell
PACKAGES_DEB   := build-essential debhelper lintian
LIBS     := libnats libevent libcrypto libsystemd sqlite3

flags.release := -O2 -g
flags.asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
flags.tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
# gcc 12 loses track of what hangs in a uthash or a tree of tree.h and calls it leaked; AddressSanitizer looks after leaks
flags.analyze := -O1 -g -fanalyzer -Wno-analyzer-malloc-leak
flags.fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

CPPFLAGS += -I. -D_GNU_SOURCE -DHASH_NONFATAL_OOM=1 $(if $(filter release,$(VARIANT)),-D_FORTIFY_SOURCE=2)
CFLAGS   += -std=c17 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
            -fstack-protector-strong -fPIE -pthread $(flags.$(VARIANT)) $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
LDFLAGS  += -pie -pthread $(filter-out -fanalyzer,$(flags.$(VARIANT))) -Wl,--as-needed -Wl,-z,relro,-z,now
LDLIBS   += $(shell pkg-config --libs $(LIBS) 2>/dev/null) -lm

# V=1 shows the commands
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo "  $(1)  $@")

export TSAN_OPTIONS ?= halt_on_error=1 second_deadlock_stack=1 suppressions=$(CURDIR)/tests/tsan.supp
export ASAN_OPTIONS ?= detect_stack_use_after_return=1

layers   := proto common dispatcherd runtimed ctl
objects   = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c)))
archive   = $(B)/lib$(1).a
programs  = $(patsubst %.c,$(B)/%,$(wildcard $(1)))

program.ctl := compozyctl
libs.ctl    := -ljansson -lncursesw -ltinfo

# what a program of each layer links with, in link order
with.proto       := $(call archive,proto)
with.common      := $(call archive,common) $(with.proto)
with.dispatcherd := $(call archive,dispatcherd) $(with.common)
with.runtimed    := $(call archive,runtimed) $(with.common)
with.ctl         := $(call archive,ctl) $(with.common)

units   := $(foreach l,$(layers),$(call programs,tests/unit/$(l)/test_*.c))
fuzzers := $(call programs,tests/fuzz/fuzz_*.c)
plugins := $(patsubst %.c,$(B)/%.so,$(wildcard tests/plugins/*.c)) $(B)/tests/plugins/wordcount.so
sim     := $(B)/tests/sim/sim
tool    := $(B)/tests/tools/proto_tool
benches := $(call programs,tests/bench/bench_*.c)
bin     := $(if $(filter release,$(VARIANT)),build/bin,$(B)/bin)
daemons := $(bin)/compozy-dispatcherd $(bin)/compozy-runtimed
ctl     := $(bin)/compozyctl
man     := $(patsubst docs/man/%.scd.in,build/man/%,$(wildcard docs/man/*.scd.in))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all programs help deps tools demo recording check check-all check-full lint unit corpus schemas sim e2e fuzz asan tsan tidy analyze bench format sdk install install-sdk man deb check-systemd clean

all: $(daemons) $(ctl) ## build both daemons and compozyctl into build/bin/
	@:

help: ## this list
	@grep -hE '^[a-z -]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 12
	@echo "Variables: VARIANT=release|asan|tsan, SEEDS=n and SEED=n (sim), FUZZ_RUNS=n, KEEP=1 (demo), NATS_SERVER=/path/of/another (unit, e2e), DIST=bookworm|trixie (check-systemd), PREFIX=, SYSCONFDIR= and DESTDIR= (install)"

deps: ## install the Debian packages that are missing
	@flock -o Makefile tests/install-deps.sh $(PACKAGES)

tools: deps ## what tests use and can do without: Prometheus, a browser
	@flock -o Makefile tests/unpack-tool.sh prometheus prometheus promtool
	@flock -o Makefile tests/install-deps.sh $(if $(shell command -v chromium),$(filter-out chromium%,$(PACKAGES_CHECK)),$(PACKAGES_CHECK)) || \
		echo "Without $(PACKAGES_CHECK) the tests that need it are skipped" >&2

# The goals a newcomer types install what is missing first; the rest runs in a second make, which then finds it. Two at once take
# turns at installing and building.
demo: deps ## build, start everything privately, run work through it, kill things, show what happened (KEEP=1 leaves it running)
	@flock -o Makefile $(MAKE) --no-print-directory -j$(JOBS) all
	@KEEP=$(KEEP) tests/demo/demo.py

recording: deps ## make docs/demo.svg, the recording in the README, of a real run
	@flock -o Makefile tests/install-deps.sh python3-pyte tmux
	@flock -o Makefile $(MAKE) --no-print-directory -j$(JOBS) all
	@/usr/bin/python3 tests/demo/record.py

check: deps tools ## build and run every test
	@flock -o Makefile $(MAKE) --no-print-directory -j$(JOBS) programs
	@$(MAKE) --no-print-directory check-all

programs: all $(units) $(fuzzers) $(sim) $(tool)
	@:

check-all: lint unit sdk corpus schemas sim e2e

check-full: ## before a release, some 20 minutes: check, all of it under the sanitizers, the units and packages in a container
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory asan
	@$(MAKE) --no-print-directory tsan
	@$(MAKE) --no-print-directory check-systemd

$(B)/%.o: %.c Makefile
	$(call say,CC)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define layer_rules
$(call archive,$(1)): $$(call objects,$(1))
	@rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
$$(B)/tests/unit/$(1)/%: $$(B)/tests/unit/$(1)/%.o $$(with.$(1))
	$$(call say,LD)
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ -lcmocka -ljansson $$(libs.$(1)) $$(LDLIBS)
$$(bin)/$(or $(program.$(1)),compozy-$(1)): $$(B)/$(1)/main.o $$(with.$(1))
	$$(call say,LD)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(libs.$(1)) $$(LDLIBS)
endef
$(foreach l,$(layers),$(eval $(call layer_rules,$(l))))

# Both cores in one program: each keeps only the names of its public header.
$(B)/tests/sim/core-%.o: $(B)/lib%d.a
	@mkdir -p $(@D)
	$(Q)ld -r --whole-archive -o $@ $<
	$(Q)objcopy --wildcard --keep-global-symbol='$*_*' --keep-global-symbol='run_*' --keep-global-symbol='mail_*' \
		--keep-global-symbol='behavior*' --keep-global-symbol='effects_*' --keep-global-symbol=store_request_free $@
$(sim): $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c)) $(B)/tests/sim/core-dispatcher.o $(B)/tests/sim/core-runtime.o $(with.common)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(tool): $(B)/tests/tools/proto_tool.o $(with.proto)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/bench/%: $(B)/tests/bench/%.o $(B)/tests/bench/peer.o $(with.runtimed)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -ljansson $(LDLIBS)
# With clang's libFuzzer the driver's main() stays out: make fuzz VARIANT=fuzz CC=clang
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(if $(filter fuzz,$(VARIANT)),,$(B)/tests/fuzz/driver.o) $(call archive,dispatcherd) $(with.runtimed)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer) -o $@ $^ -ljansson $(LDLIBS)

# Plugins for the tests, made as an author makes them: nothing of ours is linked in.
define plugin_rule
$$(B)/tests/plugins/%.so: $(1)/%.c Makefile
	$$(call say,SO)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(filter-out -fPIE,$$(CFLAGS)) -fPIC -MMD -MP -MT $$@ -MF $$(@:.so=.d) -shared -o $$@ $$< $(2)
endef
$(eval $(call plugin_rule,tests/plugins,))
$(eval $(call plugin_rule,examples/plugin,-ljansson))
$(filter %/test_plugin_call %/test_plugin_host %/test_plugin_example,$(units)): | $(plugins)

# What the pages say of options, keys and commands they have from the programs.
man: $(man) ## manual pages into build/man/
	@:

build/man/%: docs/man/%.scd.in docs/man/expand.py $(daemons) $(ctl)
	$(call say,MAN)
	@mkdir -p $(@D)
	$(Q)python3 docs/man/expand.py $(bin) $< >$@.scd && scdoc <$@.scd >$@

lint: ## layers, configuration, file sizes, shell scripts
	@tests/lint/check-layers.sh
	@tests/lint/check-sizes.sh
	@python3 tests/lint/messages.py
	@python3 tests/lint/check-links.py
	@tests/lint/check-debian.sh $(PACKAGES)
	@shellcheck $$(git ls-files '*.sh' .ci/run)
	@$(MAKE) --no-print-directory -s all
	@tests/lint/check-config.sh $(bin)
	@$(MAKE) --no-print-directory -s man
	@python3 tests/lint/man.py $(bin) build/man

unit: $(units) ## unit tests
	@tests/run-programs.sh $(units)

sdk: $(B)/tests/unit/runtimed/test_plugin_example ## build the example plugin outside of the tree, with what is installed
	@CC='$(CC)' tests/plugins/check-installed.sh $<

corpus: $(fuzzers) ## replay the fuzzers' corpora, and a few thousand inputs made from them
	@set -e; for f in $(fuzzers); do $$f --seeds $(or $(FUZZ_RUNS),2000) tests/fuzz/corpus/$$(basename $$f); done

fuzz: $(fuzzers) ## the same for long: FUZZ_RUNS=n inputs for each decoder (default a million)
	@set -e; for f in $(fuzzers); do $$f --seeds $(or $(FUZZ_RUNS),1000000) tests/fuzz/corpus/$$(basename $$f); done

schemas: $(tool) ## hold codecs, JSON Schemas and docs/protocol.md to each other
	@python3 tests/lint/check-schemas.py $(tool) proto/schemas
	@python3 tests/lint/check-protocol.py $(tool)

sim: $(sim) ## the simulator: SEEDS=n schedules, or SEED=n with its trace
	@$(sim) $(if $(SEED),--seed $(SEED) --trace,--seeds $(SEEDS))

e2e: $(daemons) $(ctl) ## the daemons against a real nats-server
	@COMPOZY_BIN=$(bin) python3 tests/e2e/run.py $(E2E_ARGS)

asan tsan: TESTS ?= unit corpus sim e2e
asan tsan: ## every test with AddressSanitizer and UBSan, or ThreadSanitizer (TESTS="unit sim": some)
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=$@ programs
	@TIME_SCALE=4 $(MAKE) --no-print-directory VARIANT=$@ SEEDS=1000 FUZZ_RUNS=500 $(TESTS)

tidy: ## clang-tidy
	@git ls-files 'proto/*.c' 'common/*.c' 'dispatcherd/*.c' 'runtimed/*.c' 'ctl/*.c' | \
		xargs -P$(JOBS) -n4 sh -c 'clang-tidy --quiet "$$@" -- $(CPPFLAGS) -std=c17 2>/dev/null' sh

analyze: ## gcc's static analyzer
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=analyze all

bench: deps ## throughput and latency against bare NATS, memory, start-up, a large registry
	@$(MAKE) --no-print-directory -j$(JOBS) all $(call programs,tests/bench/bench_*.c)
	@tests/bench/run $(BENCH_ARGS)

format: ## clang-format on what git tracks
	@clang-format -i $$(git ls-files '*.c' '*.h')

install-sdk: ## what authors of plugins need: the header, compozy.pc, the example
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/include/compozy" compozy/behavior.h
	sed "s/@VERSION@/$$(awk '/define COMPOZY_ABI_(MAJOR|MINOR) / { v = v s $$3; s = "." } END { print v }' compozy/behavior.h)/" \
		compozy/compozy.pc.in | install -D -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/share/pkgconfig/compozy.pc"
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/plugin" $(addprefix examples/plugin/,Makefile README.md wordcount.c)
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/plugin/agents.d" examples/plugin/agents.d/*.json

# where the units look for things
places = -e 's|@BINDIR@|$(PREFIX)/bin|g' -e 's|@LIBDIR@|$(PREFIX)/lib/compozy|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)/compozy|g'

install: all man install-sdk ## into DESTDIR/PREFIX
	install -D -m 755 -t "$(DESTDIR)$(PREFIX)/bin" build/bin/compozy-dispatcherd build/bin/compozy-runtimed build/bin/compozyctl
	build/bin/compozyctl completion bash | \
		install -D -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/compozyctl"
	build/bin/compozyctl completion zsh | install -D -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_compozyctl"
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy" README.md LICENSE docs/*.md systemd/*.conf
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/tutorials" docs/tutorials/*.md
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/observability" docs/observability/*
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples" examples/README.md
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/agents.d" examples/agents.d/*.json
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/exec" examples/exec/README.md
	install -D -m 755 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/exec" examples/exec/summarizer.py examples/exec/router.sh
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/exec/agents.d" examples/exec/agents.d/*.json
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/runtime" examples/runtime/nats.py examples/runtime/session.py
	install -D -m 755 -t "$(DESTDIR)$(PREFIX)/share/doc/compozy/examples/runtime" examples/runtime/minimal.py examples/runtime/runtime.py
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/compozy/schemas" proto/schemas/*.json
	for page in $(man); do install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}" $$page; done
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/lib/systemd/catalog" systemd/compozy.catalog
	install -D -m 644 -t "$(DESTDIR)$(UNITDIR)" systemd/compozy.target
	set -e; for f in $(notdir $(basename $(wildcard systemd/*.service.in))); do sed $(places) systemd/$$f.in | \
		install -D -m 644 /dev/stdin "$(DESTDIR)$(UNITDIR)/$$f"; done
	sed $(places) systemd/runtimed.service.conf.in | \
		install -D -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/lib/compozy/runtimed.service.conf"
	install -d "$(DESTDIR)$(PREFIX)/lib/compozy/plugins" "$(DESTDIR)$(SYSCONFDIR)/compozy/agents.d"
	@# what somebody has configured stays
	set -e; for f in dispatcherd runtimed; do test -e "$(DESTDIR)$(SYSCONFDIR)/compozy/$$f.conf" || \
		install -m 644 systemd/$$f.conf "$(DESTDIR)$(SYSCONFDIR)/compozy/$$f.conf"; done

deb: ## Debian packages into build/deb (DEB_VERSION= for another version than the changelog's)
	@flock -o Makefile tests/install-deps.sh $(PACKAGES) $(PACKAGES_DEB)
	@debian/build.sh $(DEB_VERSION)

PACKAGES_SYSTEMD := debootstrap systemd-container
check-systemd: all ## the units in a booted Debian container, as root (DIST=bookworm|trixie; else this one)
	@[ "$$(id -u)" -ne 0 ] || tests/install-deps.sh $(PACKAGES_SYSTEMD) || :
	@tests/systemd/run.py $(if $(DIST),--dist $(DIST)) $(SYSTEMD_ARGS)

clean: ## remove build/
	rm -rf build

-include $(shell find build -path build/systemd -prune -o -name '*.d' -type f -print 2>/dev/null)
