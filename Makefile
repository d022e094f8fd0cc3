# Corral.  The commands to know are the targets with "##"; "make help".
#
# Output of a build lies in build/<kind>/: ngx_http_corral_module.so, corrald,
# corral, corral-shim, and for asan and lockcheck also nginx itself.  A program
# whose sources are not there is skipped with a line.

KIND ?= release
NGINX ?=
TESTS ?= t/*.t
JOBS ?= 2
SECONDS ?= 60

# nginx itself takes a variable of this name for sockets that it inherits

unexport NGINX

ifeq ($(origin CC),default)
CC = gcc
endif

B := build/$(KIND)$(if $(NGINX),-$(NGINX))$(if $(findstring clang,$(CC)),-clang)
ROOT := $(CURDIR)

CFLAGS := $(shell auto/kinds $(KIND) $(CC) cflags)
LDFLAGS := $(shell auto/kinds $(KIND) $(CC) ldflags)

ifeq ($(CFLAGS),)
$(error no flags: see the line above)
endif

INCS := -I ngx_module/common -I ngx_module -I controlplane -I $(B)/gen

# Sources.  What the CLI and the shim need of base/ is taken from an archive, so
# that they get only what they use and none of the libraries behind the rest.

MODULE := $(wildcard ngx_module/*.c ngx_module/common/*.c)
COMMON := $(wildcard ngx_module/common/*.c)
BASE := $(wildcard controlplane/base/*.c)
LAYERS := base model store engine api
CORRALD := $(wildcard controlplane/corrald.c \
                      $(LAYERS:%=controlplane/%/*.c))
CTL := $(wildcard controlplane/ctl/*.c)
SHIM := $(wildcard controlplane/shim/*.c)

# what corrald asks by the gateways' own code, see auto/arrows.map

RULES := ngx_module/corral_decode.c ngx_module/corral_decode_fields.c \
         ngx_module/corral_learn.c ngx_module/corral_match.c \
         ngx_module/corral_match_compile.c ngx_module/corral_report.c


LUA := $(wildcard controlplane/store/*.lua)
ASSETS := $(wildcard controlplane/api/*.html)

UNIT := $(wildcard t/unit/*_test.c)
FUZZ := $(wildcard t/fuzz/*_fuzz.c)
BENCH := $(wildcard t/bench/*_bench.c)

o = $(patsubst %.c,$(B)/obj/%.o,$(1))

EMBEDDED := $(patsubst %,$(B)/gen/%.o,$(notdir $(LUA) $(ASSETS)))

CORRALD_PKGS := libuv libmicrohttpd jansson hiredis yaml-0.1 libcrypto libcap-ng
CORRALD_PKGS += libpcre2-8
CTL_PKGS := libcurl yaml-0.1 jansson libcrypto

ifeq ($(wildcard controlplane/corrald.c),)
CORRALD :=
endif

PROGRAMS := $(if $(CORRALD),$(B)/corrald) $(if $(CTL),$(B)/corral) \
            $(if $(SHIM),$(B)/corral-shim)
UNIT_BIN := $(patsubst t/unit/%.c,$(B)/unit/%,$(UNIT))
FUZZ_BIN := $(patsubst t/fuzz/%.c,$(B)/unit/%,$(FUZZ))
BENCH_BIN := $(patsubst t/bench/%.c,$(B)/bench/%,$(BENCH))
BENCH_RIG := $(B)/bench/load $(B)/bench/floor $(B)/bench/turns.so \
             $(B)/bench/bench-agent

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help build module daemons test unit check docs fuzz bench bench-build \
        check-nginx clean FORCE


help: ## this list
	@echo "make TARGET [KIND=release|asan|lockcheck] [CC=gcc|clang]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile \
	    | while IFS='|' read -r name text; do \
	          printf '  %-12s %s\n' $$name "$$text"; \
	      done


build: module daemons ## the module and the programs, into build/KIND


# nginx and its module.  configure runs anew only when the set of files, config
# or the flags have changed; what is out of date is nginx's Makefile's affair.

NGX := $(B)/tree

$(B)/sources: FORCE
	@mkdir -p $(B)
	@echo '$(MODULE) $(wildcard ngx_module/*.h ngx_module/common/*.h)' \
	    | cmp -s - $@ \
	    || echo '$(MODULE) $(wildcard ngx_module/*.h ngx_module/common/*.h)' \
	       > $@

$(NGX)/objs/Makefile: $(B)/sources config auto/deps auto/nginx auto/kinds \
                      $(wildcard auto/*.c)
	auto/nginx $(B) $(KIND) $(CC) $(NGINX)
	@touch $@

ifneq ($(MODULE),)

module: $(NGX)/objs/Makefile
	@$(MAKE) --no-print-directory -C $(NGX) -f objs/Makefile modules
	@auto/install-if $(NGX)/objs/ngx_http_corral_module.so \
	    $(B)/ngx_http_corral_module.so

else

module:
	@echo "no sources in ngx_module/: module skipped"

endif


# The programs.

daemons: $(PROGRAMS)
ifeq ($(CORRALD),)
	@echo "no controlplane/corrald.c: corrald skipped"
endif
ifeq ($(CTL),)
	@echo "no sources in controlplane/ctl/: corral skipped"
endif
ifeq ($(SHIM),)
	@echo "no sources in controlplane/shim/: corral-shim skipped"
endif

$(B)/corrald: $(call o,$(CORRALD) $(COMMON) $(RULES)) $(EMBEDDED)
	$(CC) $(LDFLAGS) -o $@ $^ $$(pkg-config --libs $(CORRALD_PKGS)) -lpthread

$(B)/corral: $(call o,$(CTL) $(COMMON)) $(B)/base.a
	$(CC) $(LDFLAGS) -o $@ $^ $$(pkg-config --libs $(CTL_PKGS))

# There is one shim per agent: static, it needs 0.7 MB less.  A sanitizer has to
# be dynamic.

$(B)/corral-shim: $(call o,$(SHIM)) $(B)/base.a
	$(CC) $(LDFLAGS) $(if $(filter asan,$(KIND)),,-static) -o $@ $^

$(B)/base.a: $(call o,$(BASE))
	@rm -f $@
	ar rcs $@ $^

$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(CFLAGS) $(LDFLAGS)' | cmp -s - $@ \
	    || echo '$(CC) $(CFLAGS) $(LDFLAGS)' > $@

$(B)/obj/%.o: %.c $(B)/flags | $(B)/gen/corrald_embed.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(INCS) -MMD -MP -c -o $@ $<


# Lua scripts and pages become strings of the program.

$(B)/gen/corrald_embed.h: auto/embed $(LUA) $(ASSETS)
	@mkdir -p $(@D)
	auto/embed -h $(LUA) $(ASSETS) > $@

define embed
$(B)/gen/$(notdir $(1)).c: $(1) auto/embed
	@mkdir -p $$(@D)
	auto/embed $(1) > $$@
endef

$(foreach f,$(LUA) $(ASSETS),$(eval $(call embed,$(f))))

$(B)/gen/%.o: $(B)/gen/%.c $(B)/flags | $(B)/gen/corrald_embed.h
	$(CC) $(CFLAGS) -I $(B)/gen -c -o $@ $<


# Unit tests and fuzzers.  A test says what it is linked with in its first
# comment, see auto/links.

links = $(shell auto/links $(1))
linked = $(patsubst %.c,$(B)/obj/%.o,$(call links,$(1)))

# $(1) a source of t/FOLDER, $(2) the folder in build/, $(3) further objects

define program
$(B)/$(2)/$(notdir $(1:.c=)): $(B)/obj/$(1:.c=.o) \
        $(filter %.o,$(call linked,$(1))) $(3)
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) \
	    $(filter-out %.o,$(call linked,$(1))) -lm -lpthread
endef

# without libFuzzer a fuzzer gets a main() that runs it over its known inputs

$(foreach f,$(UNIT),$(eval $(call program,$(f),unit)))
$(foreach f,$(FUZZ),$(eval $(call program,$(f),unit,$(B)/obj/t/fuzz/main.o)))
$(foreach f,$(BENCH),$(eval $(call program,$(f),bench)))

PROVE = CORRAL_ROOT=$(ROOT) CORRAL_KIND=$(KIND) CORRAL_BUILD=$(ROOT)/$(B) \
        CC=$(CC) \
        UBSAN_OPTIONS=print_stacktrace=1 \
        prove -I t/lib --timer

# TESTS in the command names the only ones to run

ALL := $(if $(filter file,$(origin TESTS)),$(UNIT_BIN) $(FUZZ_BIN))

# What failed runs once more, alone: a test that the load of its neighbours
# upset is named in the output, one that fails twice is red.

STATE = --statefile=$(ROOT)/$(B)/prove.state

test: build $(ALL) ## all tests in one prove run [TESTS=t/x.t]
	@rm -f $(B)/prove.state
	$(PROVE) $(STATE) --state=save -j$(JOBS) $(ALL) $(wildcard $(TESTS)) || \
	    { echo "once more, alone:"; $(PROVE) $(STATE) --state=failed; }

unit: $(UNIT_BIN) $(FUZZ_BIN) ## the C unit tests and the fuzzers' known inputs
	$(if $^,$(PROVE) -j$(JOBS) $^,@echo "no unit tests")

fuzz: ## each fuzzer for SECONDS=60, JOBS=2 at a time, with clang
	@auto/fuzz -j $(JOBS) $(SECONDS)

# What t/bench/run starts.

$(B)/bench/load: $(call o,$(wildcard t/bench/load*.c))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $$(pkg-config --libs libssl libcrypto)

$(B)/bench/floor: $(call o,t/bench/floor.c)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^

$(B)/bench/turns.so: t/bench/turns.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -fPIC -shared -o $@ $< -ldl

$(B)/bench/bench-agent: $(call o,$(wildcard deploy/agents/bench/bench*.c))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lpthread

bench-build: $(BENCH_BIN) $(BENCH_RIG)

bench: build bench-build ## against other proxies [ONLY=16k,idle PEERS= QUICK=1]
	@for f in $(BENCH_BIN); do echo "== $$f"; $$f || exit 1; done
	@CORRAL_BUILD=$(ROOT)/$(B) t/bench/run $(if $(ONLY),--only $(ONLY)) \
	    $(if $(PEERS),--peers $(PEERS)) $(if $(QUICK),--quick) \
	    $(if $(ROUNDS),--rounds $(ROUNDS))


check: ## layout, layers, documents, shell scripts; needs no build
	@auto/check && echo "check: no findings"

docs: ## writes the tables of docs/schema.md
	auto/schema --write

# What depends on nginx' own structures and events.

NGINX_TESTS := t/walk_request.t t/relay_*.t t/upstream_*.t t/route_*.t \
               t/conf_*.t t/sync_change.t t/sync_protocol.t

check-nginx: ## builds and tests against trixie's and sid's nginx
	@failed=; for suite in trixie sid; do \
	    echo "== nginx of $$suite"; \
	    $(MAKE) --no-print-directory NGINX=$$suite KIND=asan \
	        TESTS="$(NGINX_TESTS)" test || failed="$$failed $$suite"; \
	done; \
	test -z "$$failed" || { echo "check-nginx: failed with$$failed"; exit 1; }

clean: ## removes build/
	rm -rf build

-include $(wildcard $(B)/obj/*/*.d $(B)/obj/*/*/*.d $(B)/obj/*/*/*/*.d)
