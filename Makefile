# The two commands that matter: `make book` and `make test`. Everything they need is installed into .venv by constraints.txt.
PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env book run site test lab records export update bench exercises quarto wheel clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## ?/\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(STAMP)    ## create .venv and install what the book needs
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, {v[0]}.{v[1]} found; try make PYTHON=python3.12 env")'
	@echo "creating $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt pip setuptools wheel 2>&1 | grep -v 'is ignored' || true
	@$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip check
	@touch $@

book: run site   ## run every chapter from a clean kernel, compare its outputs, build the site
	@echo "open _build/html/index.html"

run: $(STAMP)    ## run every chapter (unchanged ones come from the cache)
	@$(BIN)/python tools/run_book.py --jobs $(JOBS)

site: $(STAMP)   ## build the site into _build/html, warnings are errors
	@$(BIN)/python tools/exercises.py release --quiet
	@$(BIN)/python -m sphinx -W --keep-going -q -b html -d _build/doctrees -c docs . _build/html

test: $(STAMP)   ## export in step, notebooks clean, then every test
	@$(BIN)/python tools/check_export.py
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lab: $(STAMP)    ## JupyterLab in the environment
	@cd nbs && ../$(BIN)/python -m jupyter lab

export: $(STAMP) ## notebooks -> library
	@$(BIN)/nbdev_export

update: $(STAMP) ## run every chapter and store its outputs in the notebook
	@$(BIN)/python tools/run_book.py --jobs $(JOBS) --update

records: $(STAMP) ## compute the field records anew where the data is present (INTEREST_BOOK_DATA)
	@$(BIN)/python tools/records.py

exercises: $(STAMP) ## student copies into _build/exercises
	@$(BIN)/python tools/exercises.py release

bench: $(STAMP)  ## benchmarks beside their peers (not timed tests)
	@for f in tests/bench/bench_*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

quarto:          ## the same book with Quarto, where it is installed
	quarto render

wheel: $(STAMP)  ## build the wheel into dist/
	@$(BIN)/python -m build --wheel -o dist . >/dev/null && ls dist

clean:           ## remove what was built (not .venv)
	rm -rf _build _book dist build *.egg-info
