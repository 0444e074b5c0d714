# SPDX-License-Identifier: MIT
# `make demo` and `make check` are all a newcomer needs; `make help` lists the rest.

VARIANT ?= release
B       := build/$(VARIANT)
PREFIX  ?= /usr/local
DESTDIR ?=

PACKAGES := gcc make pkg-config libnats-dev libevent-dev libjansson-dev libsystemd-dev libcmocka-dev libinih-dev libssl-dev \
            libbsd-dev uthash-dev nats-server python3 python3-jsonschema shellcheck
LIBS     := libnats libevent libevent_pthreads libcrypto jansson libsystemd inih

flags.release := -O2 -g -D_FORTIFY_SOURCE=2
flags.asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all
flags.tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
flags.fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

CPPFLAGS += -I. -D_GNU_SOURCE -DHASH_NONFATAL_OOM=1
CFLAGS   += -std=c17 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
            -fstack-protector-strong -pthread $(flags.$(VARIANT)) $(if $(PKG),$(shell pkg-config --cflags $(LIBS)))
LDFLAGS  += -pthread $(flags.$(VARIANT)) -Wl,--as-needed -Wl,-z,relro,-z,now
LDLIBS   += $(if $(PKG),$(shell pkg-config --libs $(LIBS))) -lm
TESTLIBS := -lcmocka

PKG := $(shell pkg-config --exists $(LIBS) 2>/dev/null && echo yes)

layers := proto common dispatcherd runtimed
objects = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c)))
archive = $(B)/lib$(1).a

# what a test of each layer links with, in link order
with.proto       := $(call archive,proto)
with.common      := $(call archive,common) $(with.proto)
with.dispatcherd := $(call archive,dispatcherd) $(with.common)
with.runtimed    := $(call archive,runtimed) $(with.common)
with.sim         := $(call archive,dispatcherd) $(call archive,runtimed) $(with.common)

units.proto       := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/proto/test_*.c))
units.common      := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/common/test_*.c))
units.dispatcherd := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/dispatcherd/test_*.c))
units.runtimed    := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/runtimed/test_*.c))
units             := $(foreach l,$(layers),$(units.$(l)))
fuzzers           := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
daemons           := $(if $(filter release,$(VARIANT)),build/bin,$(B)/bin)
daemons           := $(daemons)/compozy-dispatcherd $(daemons)/compozy-runtimed

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all

all: $(daemons) ## builds both daemons into build/bin/

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define layer_rules
$(call archive,$(1)): $$(call objects,$(1))
	@rm -f $$@
	$$(AR) rcs $$@ $$^
$$(B)/tests/unit/$(1)/test_%: $$(B)/tests/unit/$(1)/test_%.o $$(with.$(1))
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(TESTLIBS) $$(LDLIBS)
endef
$(foreach l,$(layers),$(eval $(call layer_rules,$(l))))

%/compozy-dispatcherd: $(B)/dispatcherd/main.o $(with.dispatcherd)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
%/compozy-runtimed: $(B)/runtimed/main.o $(with.runtimed)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

-include $(shell find build -name '*.d' 2>/dev/null)
