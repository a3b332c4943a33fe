# Everything a reader does with this project; `make help` lists it. Needs python3 (3.11 or newer) and make.

PYTHON ?= python3
PROFILE ?= quick

# One thread per process: on small machines a second thread makes the many tiny operations wait for
# each other (up to 20 times slower). The second core is used by a second process instead.
export OMP_NUM_THREADS ?= 1
export PYTHONHASHSEED ?= 0
export SYMLIB_DATA ?= $(CURDIR)/data

BIN := .venv/bin
READY := .venv/ready
NOTEBOOKS = $(wildcard notebooks/*.ipynb)

.PHONY: help book pdf test run scoreboard data record clean
.DEFAULT_GOAL := help

help:  ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# Written last, so a half-finished installation is never taken for a whole one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is older or missing." \
			"Install one and name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Setting up the environment in .venv (the first time takes a few minutes) ..."
	@rm -f $@
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[book,test]' -c constraints.txt
	@# Build the font list once here; otherwise its notice lands in the first notebook's output.
	@$(BIN)/python -c 'import matplotlib.font_manager' 2>/dev/null
	@touch $@

book: $(READY)  ## run the notebooks (quick profile) and build the book
	@$(BIN)/python book/build.py

pdf: book  ## the whole book as one PDF (needs Chromium or Chrome)
	@$(BIN)/python book/pdf.py _build/html _build/book.pdf

test: $(READY)  ## lint, unit tests, every notebook against its stored outputs, strict book, every page in a browser
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check -q .
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests symlib
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --nbval --nbval-kernel-name python3 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg $(NOTEBOOKS)
	@$(BIN)/python book/build.py --committed
	@$(BIN)/python book/browse.py _build/committed/html

run: $(READY)  ## run one notebook: make run NB=<name> [PROFILE=quick|cpu|paper] [P="-p name value"]
	@test -n "$(NB)" || { echo "Which notebook? make run NB=<name>, one of:" \
		$(basename $(notdir $(NOTEBOOKS))) >&2; exit 2; }
	@$(BIN)/python notebooks/run.py $(NB) $(PROFILE) $(P)

scoreboard: $(READY)  ## print every claim beside our number
	@$(BIN)/python -m symlib.claims

DATA ?= mnist
data: $(READY)  ## download and verify MNIST, or others: make data DATA="cifar10 cora" (quick runs need none)
	@$(BIN)/python -m symlib.data $(DATA)

record: $(READY)  ## keep a run as a committed result: make record RUN=<folder in runs/>
	@test -n "$(RUN)" || { echo "Which run? make record RUN=<folder in runs/>" >&2; exit 2; }
	@$(BIN)/python -m symlib.records $(RUN)

clean:  ## remove what was built; keeps .venv, runs, results and data
	rm -rf _build
