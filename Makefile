# `make demo` explains a photograph, `make test` runs the tests. Each sets itself up in .venv and can be run again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow lint wheel extras docs browser tutorials clean

demo: $(VENV)/.installed
	@mkdir -p demo
	@photo=$$($(BIN)/python -c "import skimage, pathlib; print(pathlib.Path(skimage.__file__).parent / 'data/coffee.png')") && \
	  $(BIN)/bagnet explain "$$photo" --class espresso --class plate --out demo
	@echo "Look at demo/coffee.espresso.why.png and demo/coffee.plate.why.png"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow -n auto

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, in site/: pages from docs/, the reference from docstrings and help, tables from the CSVs.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict

# The tutorials on the data that they are about, every command as it is written there, in tutorials/: an hour or two of two cores.
IDRID ?= idrid
tutorials: $(VENV)/.installed-dev
	$(BIN)/python docs/run.py docs/tutorials/retina.md --into tutorials/retina --data idrid=$(IDRID)
	$(BIN)/python docs/run.py docs/tutorials/solar_cells.md --into tutorials/solar_cells
	$(BIN)/python docs/run.py docs/tutorials/scene.md --into tutorials/scene

# What the tests of the viewer page need beside Python: Debian's Chromium, and some packages of npm.
browser:
	command -v chromium > /dev/null || { apt-get update -qq && apt-get install -qq -y chromium > /dev/null; }
	npm install --silent --no-save --no-package-lock onnxruntime-web@1.30.0 openseadragon@6.1.1 axe-core@4.14.1 jpeg-js@0.4.4 pngjs@7.0.0

# The wheel, in an environment that has nothing else, explains a picture from another folder.
wheel: $(VENV)/.installed-dev
	rm -rf dist .wheel
	$(BIN)/python -m build --wheel --outdir dist
	$(PYTHON) -m venv .wheel
	.wheel/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd .wheel && bin/bagnet explain lib/python3*/site-packages/skimage/data/astronaut.png --json --out .
	test -s .wheel/astronaut.why.png
	rm -rf .wheel

# The wheel with each extra alone. `pip install uv` first, or it takes 5 GB and some minutes for each.
extras: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel --outdir dist
	$(BIN)/python tests/each_extra.py dist/*.whl

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .wheel dist demo site tutorials docs/generated .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
