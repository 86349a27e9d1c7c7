# Everything a newcomer needs: `make demo` and `make test`. All of it goes into .venv, data/demo and runs/demo.

PYTHON ?= python3
VENV   ?= .venv
# The build that is installed, else cpu: `make setup FAISS=gpu` is typed once.
FAISS  ?= $(if $(wildcard $(VENV)/.installed-faiss-gpu),gpu,cpu)
APP    ?= 1
PHOTOS ?=
ARGS   ?=
MINUTES ?= 30

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# Written last, and named after what was installed: setup is done while it is newer than what it was made from.
STAMP  := $(VENV)/.installed-faiss-$(FAISS)
OTHER  := $(filter-out $(FAISS),cpu gpu)
SCENES := data/demo/annotations.json
# The variable silences an advertisement: the theme ends in May 2027, see CONTRIBUTING.md.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.DEFAULT_GOAL := help
.PHONY: help setup explore photos-named demo lab notebooks docs docs-serve test fuzz lint clean

help:  ## say what can be made
	@echo "make TARGET [VARIABLE=value ...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile
	@echo "variables"
	@echo "  PYTHON     the Python to make .venv with, 3.11 or newer (default: python3)"
	@echo "  VENV       the environment's folder (default: .venv)"
	@echo "  FAISS      cpu or gpu: which build of FAISS to install (default: the one installed, else cpu)"
	@echo "  APP        0: let \`make explore\` and \`make demo\` end after the summary (default: 1)"
	@echo "  PHOTOS     the folder of photographs for \`make explore\`"
	@echo "  MINUTES    how long \`make fuzz\` tries (default: 30)"
	@echo "  ARGS       further arguments of pytest, such as ARGS=\"tests/test_boxes.py -x\"; of \`make notebooks\`: ARGS=03"

setup: $(STAMP)  ## make .venv and install everything into it; does nothing when that is done

explore: photos-named setup  ## look at photographs of your own: make explore PHOTOS=DIR
	$(BIN)/orl explore "$(patsubst ~/%,$(HOME)/%,$(PHOTOS))" $(if $(filter 0,$(APP)),--no-app) $(ARGS)

photos-named:
	@test -n "$(PHOTOS)" || { echo "name a folder of photographs: make explore PHOTOS=DIR"; exit 2; }

demo: setup  ## make practice scenes, run all three stages on them, judge each, open the app
	@test -e $(SCENES) || $(BIN)/orl scenes data/demo
ifeq ($(APP),0)
	$(BIN)/orl run runs/demo --config demo --images $(SCENES)
else
	@# The dashboard opens at once and watches the run; it stays until Ctrl-C.
	@$(BIN)/orl app & app=$$!; trap 'kill $$app 2>/dev/null' EXIT; \
	    echo "$(BIN)/orl run runs/demo --config demo --images $(SCENES)"; \
	    $(BIN)/orl run runs/demo --config demo --images $(SCENES) && \
	    echo "The dashboard stays open: press Ctrl-C to end it." && wait $$app
endif

lab: setup  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

notebooks: setup  ## run every notebook from a clean kernel and store its outputs; ARGS=03: only that one
	$(BIN)/python notebooks/execute.py $(ARGS)

docs: setup  ## build the documentation into site/
	$(MKDOCS) build --strict
	@echo "Open site/index.html, or type \`make docs-serve\` for a site with search."

docs-serve: setup  ## show the documentation at http://localhost:8000, and follow what is written
	$(MKDOCS) serve

test: lint  ## lint, then run the tests
	$(BIN)/python -m pytest $(ARGS)

# Fuzzers share the minutes; each begins with seeds of its own, so that no two days try the same.
FUZZERS = $(shell grep -ho '^def test_' tests/fuzz/test_*.py | wc -l)
fuzz: setup  ## try inputs of every kind for MINUTES=30 minutes
	ORL_FUZZ_SECONDS=$$(( $(MINUTES) * 60 / $(FUZZERS) )) ORL_FUZZ_SEED=$$(date +%s) \
	    $(BIN)/python -m pytest tests/fuzz --timeout 0 $(ARGS)

lint: setup  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:  ## remove caches and build outputs; .venv, data and runs stay
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find orl_explore training tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@case "$(FAISS)" in cpu | gpu) ;; *) echo "FAISS=$(FAISS) is not known: use cpu or gpu"; exit 2 ;; esac
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed, and $(PYTHON) is not: try PYTHON=python3.12, or install one"; exit 2; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@# Both builds of FAISS are the module `faiss`: the other one has to go first.
	@if test -e $(VENV)/.installed-faiss-$(OTHER); then \
	    rm $(VENV)/.installed-faiss-$(OTHER); $(PIP) uninstall -q -y faiss-$(OTHER); fi
	$(PIP) install -c constraints.txt $$(grep -E '^(torch|torchvision)==' constraints.txt)
	$(PIP) install -c constraints.txt -e '.[$(FAISS),dev,notebooks,docs,onnx]'
	@$(BIN)/python -c 'import cv2' || { \
	    echo "OpenCV lacks a library of the system; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"; \
	    echo "Then type \`make setup\` again."; exit 2; }
	@touch $@
