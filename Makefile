# Everything a newcomer types. Needs Python 3.11, git and make; the rest comes from the lock.
PYTHON ?= python3.11
VENV ?= .venv
CORES ?= all
BIN := $(VENV)/bin
SHELL := /bin/bash
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: demo help test test-slow test-slurm test-demo lint docs dag lock env
demo: env          ## the whole pipeline on the synthetic corpus, on the CPU
	CUDA_VISIBLE_DEVICES= snakemake --cores $(CORES)
	@echo "Open results/demo/report/index.html"

help:              ## this list
	@sed -En 's/^([a-z-]+):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

test: env          ## the fast tests, a file a process
	OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 8 --dist loadfile -m "not slow and not demo and not slurm"

test-slow: env     ## the others that need nothing else
	OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 2 --dist loadfile -m "slow and not demo" --durations=20

test-slurm: env    ## under a SLURM that it starts; as root, with Debian's slurm-wlm and munge
	python -m pytest -m slurm

test-demo: demo    ## the demo's results, and its page in Chromium (chromium must be installed)
	python -m pytest -m demo

lint: env
	ruff check . && ruff format --check . && snakefmt --check Snakefile rules && snakemake --lint

docs: env          ## the pages that are generated
	python -m workflow_scripts.config_docs

dag: env           ## docs/dag.svg, by graphviz: the rules of the demo without the freeze_ ones
	snakemake --rulegraph 2>/dev/null \
	    | gvpr -c 'N[match(label, "freeze_") == 0 || label == "all"] {delete($$G, $$)}' | tred \
	    | dot -Grankdir=LR -Nfontname=Helvetica -Tsvg -o docs/dag.svg

lock: env          ## after editing envs/requirements.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --quiet envs/requirements.in --output-file envs/requirements.lock

env: $(VENV)/installed
$(VENV)/installed: envs/requirements.lock
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' envs/requirements.lock)"
	uv pip sync --quiet --compile-bytecode --python $(BIN)/python envs/requirements.lock
	touch $@
