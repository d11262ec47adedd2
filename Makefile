# Every target makes what it needs: a virtual environment in .venv, and the packages inside it.
# The stamps remember what is installed, so a second run starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/stamp-run
TEST := $(VENV)/stamp-test
DOCS := $(VENV)/stamp-docs
BENCH := $(VENV)/stamp-bench
FARM := build/typecheck/flambeau
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test test-onnx test-cuda test-ptxas test-gpu pytest lint peers bench bench-quick docs clean

help:
	@echo "make demo   train on the handwritten digits; results in runs/digits-mlp"
	@echo "make test   ruff, mypy and all tests"
	@echo "make test-onnx  all of onnx's node test cases on the CPU"
	@echo "make test-cuda  the op tests on an emulated GPU (seven minutes)"
	@echo "make test-ptxas  the op tests' kernels through ptxas for five architectures; table in docs/cuda.md"
	@echo "make test-gpu  what needs an NVIDIA GPU; says why where there is none"
	@echo "make lint   ruff and mypy alone"
	@echo "make peers  an environment under build/peers for each framework to compare with"
	@echo "make bench  all benchmarks beside the peers; hours; report in benchmarks/results/latest"
	@echo "make bench-quick  a few rows of each, in minutes"
	@echo "make docs   docs/flags.md, ops.md and torch7.md from the sources"
	@echo "make clean  delete what the others made"

demo: $(RUN)
	$(BIN)/flambeau train --data digits --out runs/digits-mlp

test: lint pytest

pytest: $(TEST)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-onnx: $(TEST)
	FLAMBEAU_TEST_ONNX=all $(BIN)/python -m pytest tests/onnx $(ARGS)

test-cuda: $(TEST)
	FLAMBEAU_TEST_DEVICE=cuda-emulated $(BIN)/python -m pytest -n 2 --dist worksteal tests/ops \
	    $(ARGS)

test-ptxas: $(TEST)
	rm -rf build/ptxas
	FLAMBEAU_TEST_DEVICE=ptxas FLAMBEAU_TEST_REPORT=build/ptxas \
	    $(BIN)/python -m pytest -n 2 --dist worksteal tests/ops $(ARGS)
	$(BIN)/python tests/emulator/ptxas_report.py build/ptxas build/ptxas.json docs/cuda.md

test-gpu: $(TEST)
	$(BIN)/python -m pytest -m gpu -rs tests/gpu
	if $(BIN)/python -c "import flambeau as fb; raise SystemExit(not fb.cuda.is_available())"; \
	then FLAMBEAU_TEST_DEVICE=cuda $(BIN)/python -m pytest tests/ops; fi

lint: $(TEST) $(FARM)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy --config-file mypy.ini -p flambeau
	MYPYPATH=build/typecheck:tests $(BIN)/python -m mypy --config-file mypy.ini -p emulator

# pip's own variables (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) choose the index; a CPU build of PyTorch is
# named by ARGS='--spec torch=torch==2.13.0+cpu' where the index has one.
peers:
	$(PYTHON) benchmarks/install.py $(ARGS)

bench: $(BENCH)
	$(BIN)/python benchmarks/bench.py $(ARGS)

bench-quick: $(BENCH)
	$(BIN)/python benchmarks/bench.py --quick $(ARGS)

docs: $(RUN)
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build runs .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Flambeau needs Python 3.11 or newer, not " + sys.version'
	$(PYTHON) -m venv $(VENV)

$(RUN): pyproject.toml | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(TEST): pyproject.toml | $(BIN)/python
	$(PIP) -e '.[test]'
	@touch $@ $(RUN)

$(BENCH): pyproject.toml | $(BIN)/python
	$(PIP) -e '.[plot]'
	@touch $@ $(RUN)

# The rooms under their import names, for mypy: links, so that it sees new files without an install.
$(FARM): $(filter-out %__pycache__,$(wildcard frontend/*))
	rm -rf $@
	mkdir -p $@
	for name in $^; do ln -s "../../../$$name" "$@/"; done
	ln -s ../../../compiler ../../../runtime "$@/"
	@touch $@
