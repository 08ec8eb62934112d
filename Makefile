# The two commands of the README are `make demo` and `make test`; both work on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-fast test-all test-gpu test-processors lint format bench clean faults test-faults test-hosts docs

install: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/activetune demo --out build/demo

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not thorough"

# And what takes long and repeats the others in another setting.
test-all: install
	$(BIN)/python -m pytest -n auto --dist loadfile

# What takes a few minutes: all but the tests that start processes of their own or repeat a run many times.
test-fast: install
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not thorough"

# What computes on a GPU, where there is one; the rest of the suite asks for the processor.
test-gpu: install
	$(BIN)/python -m pytest -n 4 tests/test_gpu.py

# The suite as a processor without AVX-512 computes it, on one thread and on two: the last digits differ there.
test-processors: install
	for threads in 1 2; do \
	  ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=$$threads \
	  $(BIN)/python -m pytest -n auto --dist loadfile || exit 1; \
	done

# Kill every stage before each of its file operations, and fill the disk there; `make test` does so at a few.
faults: install
	ACTIVETUNE_FAULTS=all $(BIN)/python -m pytest -n auto tests/faults

# Kill every stage (SIGKILL) at 50 moments that a seed draws: make test-faults SEED=1.
SEED ?= 0
test-faults: install
	ACTIVETUNE_FAULTS="random 50 $(SEED)" $(BIN)/python -m pytest -n auto tests/faults/test_walk.py

# Two hosts as two network namespaces, one of which is cut off; needs root and Linux's `ip`.
test-hosts: install
	$(BIN)/python -m pytest tests/faults/test_hosts.py

# The documentation site: build/site/html/index.html.
docs: install
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/make_site.py
	$(BIN)/zensical build --strict

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
