# elman's few commands. `make` alone prints them.
.DEFAULT_GOAL := help
.PHONY: help setup test lint demo sanitize wheel clean

PY := .venv/bin/python
# mypy refuses a folder without a Python file
CHECKED := src $(if $(wildcard benchmarks/*.py benchmarks/*/*.py),benchmarks) $(if $(wildcard examples/*.py),examples)

help: ## print this list
	@echo "elman: the toolkit for recurrent neural networks"
	@sed -n 's/^\([a-z]*\):[^#]*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | while IFS='	' read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done

setup: ## make .venv and install elman with its tools; does nothing when that is done (PYTHON=... chooses the Python)
	@sh tools/setup.sh

demo: setup ## train a small language model on Python's own manual, about a minute
	@.venv/bin/elman demo

test: lint ## check style and types, then run every test
	$(PY) -m pytest -n 2

lint: setup ## check style and types only
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(CHECKED)

sanitize: setup ## run the engine's tests under the address, undefined-behaviour and thread sanitizers
	@sh tools/sanitize.sh

wheel: setup ## build the wheel, and stream with it where there is neither a compiler nor a cache
	@sh tools/wheel_smoke.sh

clean: ## remove caches, build outputs and the demo's files (keeps .venv and runs/)
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
