# Short targets; `make help` lists them. Nothing here needs root but the browser's packages in `make browser`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
TORCH := 2.13.0
# Where a Linux machine without an NVIDIA card gets torch's small CPU build, when its own package sources lack it.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help up test lint format bench bench-train messages screenshots lock browser clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

up: $(VENV)/.run ## Run Pairloop here: make up PORT=8000
	@exec $(BIN)/python manage.py up --port "$(PORT)"

test: $(VENV)/.dev browser ## Run every test, browser included (ARGS="-k judging" for some)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev ## Check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Measure how fast judging is served
	@$(BIN)/python -m tests.bench

bench-train: $(VENV)/.dev ## Measure training beside a plain TRL script (ARGS="--rows 64 --turns 1" for a short one)
	@$(BIN)/python -m tests.bench.train $(ARGS)

messages: $(VENV)/.dev ## Bring the translations up to date; it lists the texts that lack one
	@$(BIN)/python -m tests.messages

screenshots: $(VENV)/.dev browser ## Make the pictures in docs/images from a running site
	@$(BIN)/python -m tests.screenshots

# What torch's CUDA build brings along; it pins these itself (docs/adr/0002).
CUDA := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc \
  cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  --no-annotate $(addprefix --no-emit-package ,$(CUDA)) pyproject.toml

lock: $(VENV)/.dev ## Resolve the locks again from pyproject.toml (LOCK=--upgrade for newer versions)
	@$(PIP) uv
	@$(COMPILE) $(LOCK) --extra trainer --group dev -o requirements-dev.lock
	@$(COMPILE) --extra trainer -c requirements-dev.lock -o requirements.lock
	@$(COMPILE) -c requirements-dev.lock -o requirements-web.lock

clean: ## Remove the virtual environment and caches, never var/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Pairloop needs Python 3.11 or newer; say which: make up PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

# torch stands outside the lock (docs/adr/0002): the build fits the machine, the version is the same.
$(VENV)/.torch-$(TORCH): | $(BIN)/python
	@echo "- Installing torch $(TORCH)"
	@if nvidia-smi -L >/dev/null 2>&1; then $(PIP) torch==$(TORCH); \
	elif [ "$$(uname -s)" != Linux ]; then $(PIP) --no-deps torch==$(TORCH); \
	else $(PIP) --no-deps torch==$(TORCH)+cpu 2>/dev/null \
	  || $(PIP) --no-deps --index-url $(TORCH_CPU_INDEX) torch==$(TORCH) \
	  || { echo "torch $(TORCH)'s CPU build was not found. Point TORCH_CPU_INDEX to an index that has it."; exit 1; }; fi
	@touch $@

$(VENV)/.run: requirements.lock $(VENV)/.torch-$(TORCH)
	@echo "- Installing packages (once)"
	@$(PIP) --no-deps --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.torch-$(TORCH)
	@echo "- Installing packages for tests (once)"
	@$(PIP) --no-deps --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.run

browser: $(VENV)/.dev
	@$(BIN)/python -m tests.browser.install
