# OT Lab. Needs python3 (3.11 or later), make and git; everything else comes with `make setup`.
# Recipes use relative paths only, so the folder may have spaces in its name.

PYTHON ?= python3
PY := .venv/bin/python

# Settings, histories and caches of the tools stay in .cache/, inside this folder.
export JUPYTER_CONFIG_DIR = $(CURDIR)/.cache/jupyter/config
export JUPYTER_DATA_DIR = $(CURDIR)/.cache/jupyter/data
export JUPYTER_RUNTIME_DIR = $(CURDIR)/.cache/jupyter/runtime
export IPYTHONDIR = $(CURDIR)/.cache/ipython
export MPLCONFIGDIR = $(CURDIR)/.cache/matplotlib
export DASK_CONFIG = $(CURDIR)/.cache/dask
export DASK_TEMPORARY_DIRECTORY = $(CURDIR)/.cache/dask
export RUFF_CACHE_DIR = $(CURDIR)/.cache/ruff
export HYPOTHESIS_STORAGE_DIRECTORY = $(CURDIR)/.cache/hypothesis

.PHONY: help lab test test-all setup book bench lock clean
.DEFAULT_GOAL := help

help:  ## say what each target does
	@echo "OT Lab: make TARGET, where TARGET is"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "  %-8s %s\n", $$1, $$2}'
	@echo "Each target first sets up what it needs. A python other than python3: make lab PYTHON=python3.12"

lab: setup  ## open JupyterLab on the contents page of the notebooks
	@$(PY) -m otlab.lab.cli lab

test: setup  ## run the tests, the chapters at smoke and the book; says what it leaves out
	@$(PY) tools/run_tests.py $(WITH)

test-all: setup  ## the same with the deep tests, and the chapters and book at page
	@$(PY) tools/run_tests.py --all

setup:  ## install the locked versions into .venv (instant when nothing has changed)
	@PYTHON="$(PYTHON)" sh tools/setup.sh

book: setup  ## run the chapters that changed at page, keep their records, build the book
	@$(PY) jupyter_book/build.py

bench: setup  ## measure our solvers beside their peers
	@$(PY) tools/run_tests.py --only bench

lock: setup  ## write requirements.lock anew from pyproject.toml
	@TORCH="$(TORCH)" sh tools/lock.sh

clean:  ## remove the environment, the built book and every cache inside this folder
	rm -rf .venv .cache _build runs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
