# `make demo` and `make test` do all the set-up themselves, in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# A file stays with one process: what its tests share is made once. Torch has a thread in each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: demo test test-all lint browser bench clean

demo: $(STAMP)
	$(BIN)/lancedb-embedders demo

test: $(STAMP) lint browser
	$(PYTEST)

test-all: $(STAMP) lint browser
	$(PYTEST) -m ""

# Pages are looked at in a real browser; without one these tests are skipped.
browser:
	@command -v chromedriver > /dev/null \
		|| (apt-get -qq update && apt-get -qq install -y chromium chromium-driver) > /dev/null 2>&1 \
		|| echo "no chromedriver, and it cannot be installed: tests that need a browser are skipped"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.engines --busy
	$(BIN)/python -m benchmarks.engines --start --linear --stages
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python -m benchmarks.documents
	$(BIN)/python -m benchmarks.documents.cost
	$(BIN)/python -m benchmarks.hosted
	$(BIN)/python -m benchmarks.images
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.retrieval --rerank
	$(BIN)/python -m benchmarks.near_duplicates

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt "pip>=25.1"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bundled,openvino,int8,clip,tables,ray,openai,cohere,voyage,google,clean,tools,train]" \
		--group dev
	touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
