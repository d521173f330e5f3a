# make demo and make test do everything on a fresh Debian 12 or Ubuntu 24.04: install what is missing, build, run.
SHELL := /bin/bash
CMAKE ?= $(firstword $(wildcard /usr/bin/cmake) cmake)
CTEST ?= $(firstword $(wildcard /usr/bin/ctest) ctest)
JOBS ?= $(shell nproc)
PACKAGES := g++ clang cmake ninja-build pkg-config libfmt-dev libcli11-dev rapidjson-dev libdeflate-dev zlib1g-dev libbz2-dev liblzma-dev \
  libzstd-dev strace libssl-dev libgtest-dev python3
INSTALL := bash cmake/install_packages.sh
# One version for everyone: others format some lines in another way.
CLANG_FORMAT := clang-format-14
CLANG_TIDY := clang-tidy-14
FORMATTED = git ls-files -z '*.cc' '*.h' '*.cu'

.PHONY: all packages demo test test-consumers fuzz fuzz-short gpu test-torch test-python wheel bench bench-gpu older-torch \
  asan tsan format format-check tidy tidy-changed clean

all: build-dev

packages:
	@$(INSTALL) $(PACKAGES)

# configure-dev, build-dev, build-release, …: the presets of CMakePresets.json.
configure-%: packages
	$(CMAKE) --preset $*

build-%: configure-%
	$(CMAKE) --build --preset $* -j $(JOBS)

# The program and the emulated driver only.
demo: configure-dev
	$(CMAKE) --build --preset dev -j $(JOBS) --target transload_cli
	build/dev/transload demo

test: build-dev
	$(CTEST) --preset dev

# Projects that use the library: by find_package and pkg-config (which `make test` runs too) and by add_subdirectory.
test-consumers: build-dev
	bash tests/consumer/run.sh build/dev installed
	bash tests/consumer/run.sh build/dev subdirectory

# Real PyTorch on the other end: an environment of its own, and Debian's python3-torch, which is PyTorch 1.13.
# Debian 12 has that one; others are tested against 2.13 alone.
older-torch:
	@if apt-cache policy python3-torch 2>/dev/null | grep -q 'Candidate: 1\.13'; then $(INSTALL) python3-torch; fi

.venv/.made:
	@python3 -c 'import ensurepip' 2>/dev/null || $(INSTALL) python3-venv
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
	  $(INSTALL) python3-dev
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

# libFuzzer's fuzzers: each for SECONDS_EACH. What they find: build/fuzz/found. `make fuzz` damages golden files at random too.
SECONDS_EACH ?= 60
fuzz: build-asan fuzz-build
	ASAN_OPTIONS=quarantine_size_mb=16 TRANSLOAD_MUTATIONS=100000 build/asan/mutations_test
	bash tests/fuzz/run.sh build/fuzz $(SECONDS_EACH)

fuzz-short: fuzz-build
	bash tests/fuzz/run.sh build/fuzz 2

.PHONY: fuzz-build
fuzz-build: packages
	@$(INSTALL) python3-dev libclang-rt-dev
	$(CMAKE) --preset fuzz
	$(CMAKE) --build --preset fuzz -j $(JOBS)

# A folder to carry to a machine with a GPU: there, `bash run.sh` asks, tests and times all in one call.
gpu: build-gpu
	bash cmake/gpu_bundle.sh build/gpu build/gpu-bundle

format:
	@$(INSTALL) $(CLANG_FORMAT)
	$(FORMATTED) | xargs -0 $(CLANG_FORMAT) -i

format-check:
	@$(INSTALL) $(CLANG_FORMAT)
	$(FORMATTED) | xargs -0 $(CLANG_FORMAT) --dry-run --Werror

tidy: configure-dev
	@$(INSTALL) $(CLANG_TIDY)
	bash cmake/tidy.sh build/dev $(JOBS)

# Only what differs from the main branch; see cmake/tidy.sh.
tidy-changed: configure-dev
	@$(INSTALL) $(CLANG_TIDY)
	bash cmake/tidy.sh build/dev $(JOBS) --changed

clean:
	rm -rf build dist
