# Two commands: `make book` builds the site, `make test` proves the course. `make help` lists the rest.
# Needs Python 3.11 or newer, git and make. Another Python: make book PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
NAME ?=

# Trained baselines and what is measured stay inside the checkout.
export NNOPT_CACHE ?= $(CURDIR)/.cache/nnopt
export PIP_DISABLE_PIP_VERSION_CHECK = 1

RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BUILT := _build/html/.built
SOURCES := intro.md benchmarks/results/overview.md _config.yml _toc.yml references.bib tools/book.py tools/project.py \
  $(shell find chapters nnopt_course _ext _extra _static -type f \
    ! -path '*/.*' ! -path '*/__pycache__/*' ! -name '* *' 2>/dev/null)

.PHONY: help book draw serve test lab notebooks bench check clean environment
.DELETE_ON_ERROR:

help:
	@echo "make book        build the site into _build/html"
	@echo "make serve       build it and show it on http://localhost:$(PORT)"
	@echo "make test        everything: style, site, unit tests, every notebook, browser"
	@echo "make check       the fast part: style and the tests that need no Keras and no browser"
	@echo "make lab         JupyterLab on the chapters"
	@echo "make notebooks   run every notebook and save it clean; one of them: NAME=its_file_name"
	@echo "make draw        compile the networks of the page \"Draw a digit\" again"
	@echo "make bench       measure the table of the first page again (about 15 minutes);"
	@echo "                 another of benchmarks/: NAME=its_file_name"
	@echo "make clean       remove what was built; the environment and trained baselines stay"

environment: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(None if v >= (3, 11) else f"Python 3.11 or newer is needed; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 …")'
	@echo "Installing into $(VENV): about 3.5 GB on disk, a few minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --requirement requirements.txt
	@$(RUN) -m pip install --quiet --no-deps --editable .
	@touch $@

book: $(BUILT)
	@$(RUN) tools/book.py --where

$(BUILT): $(INSTALLED) $(SOURCES)
	@$(RUN) tools/book.py
	@touch $@

serve: $(BUILT)
	@echo "http://localhost:$(PORT) (stop with Ctrl-C)"
	@$(RUN) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: $(INSTALLED)
	@$(RUN) tools/check_all.py

check: $(INSTALLED)
	@$(RUN) tools/check_all.py --fast

lab: $(INSTALLED)
	@$(VENV)/bin/jupyter lab chapters

notebooks: $(INSTALLED)
	@$(RUN) tools/notebooks.py $(NAME)

draw: $(INSTALLED)
	@$(RUN) tools/draw_page.py

bench: $(INSTALLED)
	@$(RUN) benchmarks/$(or $(NAME),overview).py

clean:
	@rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
