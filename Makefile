# Each target does all its own set-up and is quick the second time. What a target runs stands beside it, for pip and uv.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
READY := $(VENV)/.ready
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-long test-hosts coverage soak check docs bench fuzz release clean

demo: $(READY)
	$(BIN)/pebbledaq demo

test: $(READY)
	$(PYTEST) -m "not long"

# Two at a time, and then one after another those that are to meet the machine's own speed.
test-long: $(READY)
	$(PYTEST) --maxprocesses 2 -m "long and not alone"
	$(BIN)/pytest -m "long and alone"

# Their hosts are network namespaces, which root makes: without, the other targets skip them.
test-hosts: $(READY)
	$(if $(filter-out 0,$(shell id -u)),sudo --preserve-env=CI) $(BIN)/pytest -p no:cacheprovider tests/system/test_hosts*.py

coverage: $(READY)
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

soak: $(READY)
	for scenario in steady no-disk restarts kills; do $(BIN)/python -m bench.soak $$scenario || exit 1; done

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs

# All of it on a machine that does nothing else, or a part: make bench ONLY=udp, ONLY="udp pva".
bench: $(READY)
	$(BIN)/python -m bench $(ONLY)

fuzz: $(READY)
	$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/pip install --quiet atheris
	$(BIN)/python tests/fuzz/fuzz_frames.py -max_total_time=60
	$(BIN)/python tests/fuzz/fuzz_pva.py -max_total_time=60
	for target in detector module records sidecar latest map hdf5 config; do $(BIN)/python tests/fuzz/fuzz_files.py $$target -max_total_time=60 || exit 1; done

release: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[release]'
	$(BIN)/python -m tools.release

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "pebbledaq: found Python %d.%d, expected 3.11 or newer; call make PYTHON=/path/to/python3" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
