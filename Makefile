# `make demo` and `make test` set up everything they need in .venv; nothing else is asked for
# but Python 3.11 or newer with pip.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
# Two processes of one thread each. Each gets half of the files in one piece, as the tests of a file
# share what is slow to make, and then takes from the other what that one has not begun.
PYTEST = TF_NUM_INTRAOP_THREADS=1 OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --dist worksteal

.PHONY: demo test test-fast test-cluster test-fuzz test-benchmarks lint fuzz clean

demo: $(VENV)/.installed
	$(RUN) tools/make_copies.py demo
	$(RUN) extract_features.py --video_file demo/database.txt --store demo/database.zarr
	$(RUN) compute_similarity.py --query_file demo/queries.txt --database_store demo/database.zarr \
		--output_file results.json --load_queries --segments --report demo/report.html
	$(RUN) tools/demo.py results.json demo

test: $(VENV)/.installed-test lint
	$(PYTEST) --ignore tests/benchmarks --ignore tests/cluster --ignore tests/fuzz

# While you work, under a minute: no weights of a network, no commands as processes of their own.
# A test that takes more than 5 s of a processor fails here: make it faster or mark it `slow`.
test-fast: $(VENV)/.installed-test
	$(PYTEST) --processor_seconds 5 -m 'not slow' tests/unit tests/contract

# Many machines and object storage: an S3 server and a Ray cluster on this machine.
test-cluster: $(VENV)/.installed-test
	$(PYTEST) tests/cluster

# The laboratory: benchmarks/ and tools/.
test-benchmarks: $(VENV)/.installed-test
	$(PYTEST) tests/benchmarks

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Some mutated videos, stores, models, annotation files.
test-fuzz: $(VENV)/.installed-test
	$(PYTEST) tests/fuzz

# As many mutations as you have patience for; FUZZ_SEED chooses others.
fuzz: $(VENV)/.installed-test
	FUZZ_MUTATIONS=$${FUZZ_MUTATIONS:-10000} $(RUN) -m pytest -q --timeout 0 tests/fuzz

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(RUN) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python setup.cfg pyproject.toml
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo results.json
