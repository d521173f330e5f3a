# make demo and make test do everything on a fresh Debian 12 or Ubuntu 24.04: install what is missing, build, run.
SHELL := /bin/bash
CMAKE ?= $(firstword $(wildcard /usr/bin/cmake) cmake)
CTEST ?= $(firstword $(wildcard /usr/bin/ctest) ctest)
JOBS ?= $(shell nproc)
PACKAGES := g++ clang cmake ninja-build pkg-config libfmt-dev libcli11-dev rapidjson-dev libdeflate-dev zlib1g-dev strace \
  libssl-dev libgtest-dev
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: all packages demo test fuzz gpu test-torch test-python wheel bench bench-gpu older-torch asan tsan format tidy clean

all: build-dev

packages:
	@missing=(); for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=($$p); done; \
	if [ $${#missing[@]} -gt 0 ]; then echo "installing $${missing[*]}"; \
	  $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $${missing[*]}; fi

# build-dev, build-release, …: the presets of CMakePresets.json.
build-%: packages
	$(CMAKE) --preset $*
	$(CMAKE) --build --preset $* -j $(JOBS)

demo: build-dev
	build/dev/transload demo

test: build-dev
	$(CTEST) --preset dev

# Real PyTorch on the other end: an environment of its own, and Debian's python3-torch, which is PyTorch 1.13.
# Debian 12 has that one; others are tested against 2.13 alone.
older-torch:
	@if apt-cache policy python3-torch 2>/dev/null | grep -q 'Candidate: 1\.13' && \
	    ! dpkg-query -W -f='$${Status}' python3-torch 2>/dev/null | grep -q 'ok installed'; then \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends python3-torch; fi

.venv/.made:
	@python3 -c 'import ensurepip' 2>/dev/null || $(SUDO) apt-get install -y -qq --no-install-recommends python3-venv
	python3 -m venv .venv
	.venv/bin/pip install -q torch==2.13.0 numpy safetensors==0.8.0 pytest
	@touch $@

test-torch: build-dev older-torch .venv/.made
	.venv/bin/python -m pytest -q tests/torch

# The Python package as users install it: beside PyTorch, and where there is NumPy alone.
.venv-numpy/.made:
	python3 -m venv .venv-numpy
	.venv-numpy/bin/pip install -q numpy ml_dtypes pytest
	@touch $@

wheel: packages .venv/.made
	@python3 -c 'import os, sysconfig; exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || \
	  $(SUDO) apt-get install -y -qq --no-install-recommends python3-dev
	rm -rf dist
	.venv/bin/pip wheel -q --no-deps -w dist .

test-python: wheel .venv-numpy/.made
	.venv/bin/pip install -q --force-reinstall --no-deps dist/transload-*.whl
	.venv-numpy/bin/pip install -q --force-reinstall --no-deps dist/transload-*.whl
	.venv/bin/python -m pytest -q -p no:warnings tests/python
	.venv-numpy/bin/python -m pytest -q tests/numpy_alone.py
	.venv/bin/python examples/move_a_model.py
	.venv-numpy/bin/python examples/move_a_model.py
	.venv/bin/transload inspect tests/data/torch-2.13/toy_state_dict.zip.pt

# Beside PyTorch, safetensors and the limits of the machine; see docs/performance.md. BENCH="--sizes 12G:64 --tensors 1000000"
bench: wheel
	.venv/bin/pip install -q --force-reinstall --no-deps dist/transload-*.whl
	.venv/bin/pip install -q matplotlib
	.venv/bin/python bench/bench.py --out build/bench $(BENCH)

# The same on a GPU, with the PyTorch for CUDA of the Python that PYTHON names; the wheel is made for it.
PYTHON ?= python3
bench-gpu: packages
	$(PYTHON) -m pip wheel -q --no-deps -w dist .
	$(PYTHON) -m pip install -q --force-reinstall --no-deps dist/transload-*.whl
	$(PYTHON) bench/bench.py --out build/bench-gpu --device cuda:0 --tensors "" $(BENCH)

asan: build-asan
	$(CTEST) --preset asan

tsan: build-tsan
	$(CTEST) --preset tsan

# Golden files damaged at random, and libFuzzer's fuzzers: each for SECONDS_EACH. What they find: build/fuzz/found.
SECONDS_EACH ?= 60
fuzz: build-asan
	@for p in python3-dev libclang-rt-dev; do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || \
	  $(SUDO) apt-get install -y -qq --no-install-recommends $$p; done
	$(CMAKE) --preset fuzz
	$(CMAKE) --build --preset fuzz -j $(JOBS)
	ASAN_OPTIONS=quarantine_size_mb=16 TRANSLOAD_MUTATIONS=100000 build/asan/mutations_test
	bash tests/fuzz/run.sh build/fuzz $(SECONDS_EACH)

# A folder to carry to a machine with a GPU: there, `bash run.sh` asks, tests and times all in one call.
gpu: build-gpu
	bash cmake/gpu_bundle.sh build/gpu build/gpu-bundle

format:
	clang-format -i $$(git ls-files '*.cc' '*.h' '*.cu')

tidy: build-dev
	clang-tidy -p build/dev --quiet $$(git ls-files 'src/*.cc' 'cli/*.cc')

clean:
	rm -rf build dist
