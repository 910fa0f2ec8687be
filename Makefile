# Two commands for a fresh machine: `make demo` and `make test`. Each builds its own environment first.
# `make docs` builds the site, `make wheel` what is released, `make test-min` tries the lowest versions, `make test-napari` its window.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: demo test test-min test-napari lint venv chromium docs wheel clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'neuropil needs Python 3.11 or newer')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	rm -rf demo
	$(BIN)/neuropil demo --out demo

# The report is opened in a real browser; where there is none and we may install one, we do.
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	 { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	   (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1; } || \
	 echo "no Chromium: the browser tests will be skipped"

lint: $(STAMP)
	$(BIN)/ruff check src tests bench docs/*.py docs/pictures
	$(BIN)/ruff format --check src tests bench docs/*.py docs/pictures
	$(BIN)/mypy

# Two processes of one thread each: with two threads each they wait for one another on two cores.
test: $(STAMP) chromium lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations 20 --durations-min 5

# The site, into site/; a page that is not in its contents, or a link to nowhere, is an error. The suite builds it too.
# (Not --quiet: warnings that are not said do not count.)
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# From a copy, because a build leaves its work beside the sources.
wheel: $(STAMP)
	rm -rf build/wheel && mkdir -p build/wheel dist
	cp -r pyproject.toml README.md LICENSE src build/wheel
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w dist build/wheel

# The lowest versions that pyproject.toml allows, in an environment of its own; they have wheels for Python 3.11 and 3.12.
# On Linux, an index has the lowest PyTorch with 3 GB for GPUs only: `make test-min TORCH=...` takes another one.
test-min: wheel
	rm -rf build/min && $(PYTHON) -m venv build/min
	$(if $(TORCH),sed 's/^torch==.*/torch==$(TORCH)/',cat) constraints-min.txt > build/min/constraints.txt
	build/min/bin/pip install --quiet -c build/min/constraints.txt "$$(ls dist/neuropil-*.whl)[cluster,morphometrics,tensorboard]" \
	  hypothesis pytest pytest-timeout imageio zarr
	build/min/bin/python -m pytest tests/unit tests/property tests/contract

# napari's window, really opened, on a screen that nobody sees (Debian's packages: xvfb libgl1-mesa-dri libxcb-cursor0).
test-napari: wheel
	rm -rf build/napari && $(PYTHON) -m venv build/napari
	build/napari/bin/pip install --quiet -c constraints.txt "$$(ls dist/neuropil-*.whl)[napari]" pyqt6 hypothesis pytest pytest-timeout
	build/napari/bin/python -m pytest tests/browser/test_napari_window.py

clean:
	rm -rf $(VENV) demo site build dist
