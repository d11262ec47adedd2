# Every target makes what it needs: a virtual environment in .venv, and the packages inside it.
# The stamps remember what is installed, so a second run starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/stamp-run
TEST := $(VENV)/stamp-test
DOCS := $(VENV)/stamp-docs
FARM := build/typecheck/flambeau
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test test-cuda test-gpu pytest lint bench docs clean

help:
	@echo "make demo   train on the handwritten digits; results in runs/digits-mlp"
	@echo "make test   ruff, mypy and all tests"
	@echo "make test-cuda  the op tests on an emulated GPU (half an hour)"
	@echo "make test-gpu  what needs an NVIDIA GPU; says why where there is none"
	@echo "make lint   ruff and mypy alone"
	@echo "make bench  training speed of the six benchmark nets"
	@echo "make docs   docs/flags.md, ops.md and torch7.md from the sources"
	@echo "make clean  delete what the others made"

demo: $(RUN)
	$(BIN)/flambeau train --data digits --out runs/digits-mlp

test: lint pytest

pytest: $(TEST)
	$(BIN)/python -m pytest $(ARGS)

test-cuda: $(TEST)
	FLAMBEAU_TEST_DEVICE=cuda-emulated $(BIN)/python -m pytest tests/ops $(ARGS)

test-gpu: $(TEST)
	$(BIN)/python -m pytest -m gpu -rs tests/gpu
	if $(BIN)/python -c "import flambeau as fb; raise SystemExit(not fb.cuda.is_available())"; \
	then FLAMBEAU_TEST_DEVICE=cuda $(BIN)/python -m pytest tests/ops; fi

lint: $(TEST) $(FARM)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy --config-file mypy.ini -p flambeau

bench: $(RUN)
	for net in mlp0 mlp1 mlp3 cnn32 cnn96 cnn256; do \
	  for batch in 1 60; do \
	    $(BIN)/python benchmarks/sgd.py --net $$net --batch $$batch --seconds 2 || exit 1; \
	  done; \
	done

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

# The rooms under their import names, for mypy: links, so that it sees new files without an install.
$(FARM): $(filter-out %__pycache__,$(wildcard frontend/*))
	rm -rf $@
	mkdir -p $@
	for name in $^; do ln -s "../../../$$name" "$@/"; done
	ln -s ../../../compiler ../../../runtime "$@/"
	@touch $@
