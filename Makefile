# Strings together commands that a person could type; see README.md and CONTRIBUTING.md.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= isocost-demo

.PHONY: install demo test test-long lint format screenshots docs skypilot clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# The main job, from measuring to the page; everything lands in $(OUT).
demo: install
	rm -rf $(OUT)
	$(BIN)/isocost profile examples/cifar10.yaml --max-seconds 75 --output $(OUT)
	$(BIN)/isocost optimize examples/cifar10.yaml --explain --output $(OUT)/plan.json
	$(BIN)/isocost simulate $(OUT)/plan.json --output $(OUT)/simulation.json
	$(BIN)/isocost run $(OUT)/plan.json --output $(OUT)/run.json
	$(BIN)/isocost run $(OUT)/plan.json --workers 2 --max-steps 500 --output $(OUT)/run-2-workers.json
	$(BIN)/isocost report $(OUT)/plan.json $(OUT)/simulation.json $(OUT)/run.json \
		$(OUT)/run-2-workers.json $(OUT)/profile-*.json --output $(OUT)/report.html
	@echo "Everything is in $(OUT): open $(OUT)/report.html"

test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-long: install
	$(BIN)/python -m pytest -m long --timeout 1800

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pictures of the documents, from records made anew; KEEP=DIR takes those of an earlier call.
screenshots: install
	$(BIN)/python docs/screenshots.py $(if $(KEEP),--records $(KEEP))

# The documents as a site in site/; a broken link or a page outside the navigation fails.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# SkyPilot wants other versions of what we need, so a test asks its loader in a Python of its own.
skypilot: .venv-skypilot/.installed

.venv-skypilot/.installed:
	$(PYTHON) -m venv .venv-skypilot
	.venv-skypilot/bin/python -m pip install --quiet skypilot==0.14.1
	touch $@

clean:
	rm -rf $(VENV) $(OUT) .venv-skypilot site .mypy_cache .pytest_cache .ruff_cache
