# make explore     set up, then open the explorer in the browser
# make reproduce   set up, then run every experiment and write the report
# make test        set up, then lint, types, import contracts and tests
# Both need only Python 3.11 or newer with pip, and make. A second run installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= reproduction
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The ensemble's kernels, cached on disk.
COMPILE := $(BIN)/python -m localgrad.modes.ensemble
# A browser for the tests of the explorer: Debian's, where it is missing and may be installed.
BROWSER := command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
  && apt-get -q update > /dev/null && apt-get -q install -y --no-install-recommends chromium > /dev/null; }

.PHONY: explore reproduce quick test fast lint bench docs lock clean
.DELETE_ON_ERROR:

explore: $(VENV)/.reproduce
	$(BIN)/localgrad explore

reproduce: $(VENV)/.reproduce
	$(BIN)/localgrad reproduce --out $(OUT)

quick: $(VENV)/.reproduce
	$(BIN)/localgrad reproduce --quick --out $(OUT)

# A file stays in one process: it shares compiled programs, and the experiments one quick run.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Without the slow tests.
fast: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# The documentation site, in build/docs. Strict: a warning, a broken link or a cell that fails is an error. Offline.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html"

# Write constraints.txt anew from what is installed; no addresses, and not PyTorch, which only the benchmarks use.
lock: $(VENV)/.test $(VENV)/.bench $(VENV)/.docs
	$(BIN)/python -m pip freeze --exclude-editable \
	  | grep -E '^[A-Za-z0-9._-]+==' | grep -viE '^(torch|triton|nvidia.*|localgrad)==' > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) $(OUT) build docs/reference docs/report .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# A virtual environment; where the venv module lacks ensurepip, virtualenv makes one.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "localgrad needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || (rm -rf $(VENV) && $(PYTHON) -m pip install --quiet --user virtualenv && $(PYTHON) -m virtualenv --quiet $(VENV))

$(VENV)/.reproduce: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing localgrad into $(VENV) (once; a few minutes) ..."
	$(INSTALL) -e '.[reproduce,sweeps,connectome,files,explore]'
	$(COMPILE)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing localgrad and its test tools into $(VENV) (once; a few minutes) ..."
	$(INSTALL) -e '.[reproduce,sweeps,connectome,files,explore,test]'
	$(COMPILE)
	@$(BROWSER) || echo "There is no Chromium: the tests of the explorer in the browser are skipped. Install it: apt-get install chromium"
	@touch $@ $(VENV)/.reproduce

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the benchmarks' peers into $(VENV) (once; a few minutes) ..."
	$(INSTALL) -e '.[reproduce,sweeps,connectome,explore,bench]'
	$(COMPILE)
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what makes the documentation into $(VENV) (once; a few minutes) ..."
	$(INSTALL) -e '.[reproduce,sweeps,connectome,files,explore,docs]'
	$(COMPILE)
	@touch $@
