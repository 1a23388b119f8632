# Every target sets up what it needs: a fresh clone needs `make demo` or `make test` and nothing before.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo up test test-all check format bench schemas lock clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2
LIBRARIES := libusb-1.0-0 libgl1 libegl1 libx11-6 libgomp1
# Whether PyTorch comes for the CPU or for CUDA, and with what beside it, is up to the machine's package index.
TORCH := torch==2.13.0
TORCH_PARTS := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
  nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
CODE := contracts runtime services client samples deploy

help: ## What can be made here
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## .venv with everything pinned, and the `alidade` command

$(INSTALLED): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Alidade needs Python 3.11 or newer; on Debian: apt-get install python3 python3-venv" >&2; exit 1; fi
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo "Python's venv module is missing; on Debian: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import open3d' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq --no-install-recommends $(LIBRARIES); \
	  else echo "Open3D misses system libraries; on Debian: sudo apt-get install $(LIBRARIES)" >&2; exit 1; fi; }
	@touch $@

demo: install ## A synthetic LiDAR capture through the whole system, with its accuracy
	$(BIN)/python -m deploy.local.demo

up: install ## The whole system on this machine, until Ctrl-C
	$(BIN)/alidade up

test: install ## The tests that every change must pass
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-all: install ## The long tests too
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 1800

check: install ## Linters, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Every benchmark, one after the other
	@for b in bench/*.py; do case $$b in */__init__.py|*/scene_score.py) ;; *) echo "== $$b"; $(BIN)/python $$b ;; esac; done

schemas: install ## JSON Schemas and examples of every message
	$(BIN)/python -m contracts.registry

lock: install ## Pin everything anew, with hashes
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
	  --no-header --no-emit-index-url --no-emit-find-links --no-annotate \
	  $(addprefix --no-emit-package ,$(TORCH_PARTS)) --output-file requirements.lock

clean: ## Remove what was built; state and results stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
