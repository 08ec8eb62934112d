# The two commands of the README are `make demo` and `make test`; both work on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
# Tests start hundreds of processes; without its compiled form, each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-fast test-all test-gpu test-processors test-label-studio lint format bench clean docs
.PHONY: test-beside faults test-faults test-full-disk test-hosts fuzz fuzz-guided test-load licences sbom lock install-locked

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
	$(BIN)/python -m pytest -n 4 tests/training/test_gpu.py

# The suite as a processor without AVX-512 computes it, on one thread and on two: the last digits differ there.
test-processors: install
	for threads in 1 2; do \
	  ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=$$threads \
	  $(BIN)/python -m pytest -n auto --dist loadfile || exit 1; \
	done

# Kill every stage before each of its file operations, and fill the disk there; `make test` does so at a few.
faults: install
	ACTIVETUNE_FAULTS=all $(BIN)/python -m pytest -n auto tests/faults

# Labelling in a real Label Studio, which is installed into an environment of its own (1 GB).
STUDIO := build/label-studio

test-label-studio: install
	test -x $(STUDIO)/bin/label-studio || $(PYTHON) -m venv $(STUDIO)
	test -x $(STUDIO)/bin/label-studio || $(STUDIO)/bin/pip install --disable-pip-version-check -q label-studio==1.23.2
	ACTIVETUNE_LABEL_STUDIO=$(STUDIO)/bin/label-studio $(BIN)/python -m pytest tests/labelling/test_label_studio_real.py

# What each tracker has written, read by its own reader, cleanvision beside `check`, Datumaro and FiftyOne beside
# `export` and `import`: in environments of their own, as mlflow and Datumaro want an older pandas than constraints.txt.
BESIDE := build/beside
DATUMARO := build/datumaro
FIFTYONE := build/fiftyone

test-beside: install
	test -x $(BESIDE)/bin/python || $(PYTHON) -m venv $(BESIDE)
	$(BESIDE)/bin/pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	$(BESIDE)/bin/pip install --disable-pip-version-check -q mlflow tensorboard trackio wandb cleanvision==0.3.6
	test -x $(DATUMARO)/bin/python || $(PYTHON) -m venv $(DATUMARO)
	$(DATUMARO)/bin/pip install --disable-pip-version-check -q datumaro==1.13.12
	test -x $(FIFTYONE)/bin/python || $(PYTHON) -m venv $(FIFTYONE)
	$(FIFTYONE)/bin/pip install --disable-pip-version-check -q fiftyone==1.22.1
	ACTIVETUNE_DATUMARO=$(CURDIR)/$(DATUMARO)/bin/python ACTIVETUNE_FIFTYONE=$(CURDIR)/$(FIFTYONE)/bin/python \
	  $(BESIDE)/bin/python -m pytest tests/training/test_tracking.py tests/parity/test_cleanvision.py \
	  tests/parity/test_datumaro.py tests/parity/test_fiftyone.py

# Files changed at random, 100,000 cases in each reader: a night's work. CASES=1000 is some minutes. The seed is the day's.
CASES ?= 100000
fuzz: install
	$(BIN)/python -m tests.security.fuzz --cases $(CASES) --seed $(or $(SEED),$(shell date +%j)) --keep build/fuzz

# The same led by coverage (atheris): cases that reach new lines of the package are changed further; build/fuzz/corpus keeps them.
fuzz-guided: install
	$(BIN)/pip install --disable-pip-version-check -q atheris==3.0.0
	$(BIN)/python -m tests.security.fuzz --cases $(CASES) --seed $(or $(SEED),$(shell date +%j)) --keep build/fuzz --guided build/fuzz/corpus

# The labelling page, and a model's server, under as many requests as this machine can make, for 30 seconds.
test-load: install
	$(BIN)/python benchmarks/load.py

# Which packages a user installs, and under which licences; fails where one is not allowed.
licences: install
	$(BIN)/python -m tests.security.dependencies licences

# The same as a bill of materials in CycloneDX's form: build/sbom.json.
sbom: install
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[sbom]'
	mkdir -p build
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o build/sbom.json

# The digests of the files that constraints.txt names, for this platform and Python: constraints.lock.
lock: install
	mkdir -p build
	$(BIN)/pip install --dry-run --ignore-installed --no-deps --report build/lock.json -r constraints.txt
	$(BIN)/python -m tests.security.dependencies lock build/lock.json

# An environment of exactly these files: pip refuses any other.
install-locked:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --no-deps --require-hashes -r constraints.lock
	$(BIN)/pip install --disable-pip-version-check --no-deps -e .
	$(BIN)/pip check

# Kill every stage, and the labelling page as answers come, (SIGKILL) at 50 moments that a seed draws: make test-faults SEED=1.
test-faults: install
	ACTIVETUNE_FAULTS="random 50 $(or $(SEED),0)" $(BIN)/python -m pytest -n auto tests/faults/test_walk.py tests/faults/test_killed_page.py

# Run every stage on disks that are too small for it, of 12 sizes: mounts them, so it needs Linux, and root or user namespaces.
test-full-disk: install
	ACTIVETUNE_FAULTS="full 12" $(BIN)/python -m pytest -n auto tests/faults/test_walk.py

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
