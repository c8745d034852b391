# `make demo` and `make test` need nothing but python3 and make.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/sandbox
TRIALS ?= 8

.PHONY: help demo demo-all real clean \
	test lint conformance third-party fuzz crash reference docs rooms \
	wheel speed parity parity-openunlearning oracle browser judge-server families sandbox tune-sandbox

##@ For users

help: ## show the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(BIN)/.installed ## forget with four methods on the sandbox and print the leaderboard
	$(BIN)/unlearnbench compare --methods rmu,llmu,scrub,ssd --out $(RUN)

demo-all: $(BIN)/.installed ## do the same with every method
	$(BIN)/unlearnbench compare --out runs/roster

real: $(BIN)/.installed ## teach SmolLM2 twenty authors, have it forget ten, beside models taught the others (hours; goes on)
	PATH="$(abspath $(BIN)):$$PATH" sh examples/tofu_authors/run.sh

clean: ## remove the environment, the runs and what was built
	rm -rf .venv runs dist site

##@ For contributors

test: $(BIN)/.installed ## run the suite, without what takes minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(BIN)/.installed ## run ruff, pyright (strict), the import contracts and the check of the docstrings' English
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tests/style/plain_english.py

conformance: $(BIN)/.installed ## run every check of every plugin on every family, and every wrong plugin against all checks
	$(BIN)/python -m pytest -m "slow or not slow" tests/conformance

third-party: $(BIN)/.installed ## try plugins as wheels beside the wheel of unlearnbench, in a fresh environment
	$(BIN)/python -m pytest -m slow tests/third_party tests/cli/test_new.py

fuzz: $(BIN)/.installed ## damage corpora, questions, recipes and model folders at random (ten minutes; EXAMPLES=50 for less)
	EXAMPLES=$(or $(EXAMPLES),300) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/fuzzing

crash: $(BIN)/.installed ## kill a small comparison at 60 random moments; nothing may be lost (ten minutes; KILLS=6 for fewer)
	PYTHONPATH=tests $(BIN)/python tests/crash/ordeal.py --kills $(or $(KILLS),60)
	PYTHONPATH=tests $(BIN)/python tests/crash/ordeal.py --kills $(or $(KILLS),12) --executor isolated
	$(BIN)/python -m pytest -m slow tests/crash

reference: $(BIN)/.installed ## write the pages that follow from the code: API, recipe, command line
	PYTHONPATH=tests $(BIN)/python tests/docs/reference.py

docs: reference ## build the documentation site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

rooms: $(BIN)/.installed ## draw the rooms and their imports for docs/how-it-is-built.md (apt-get install graphviz)
	$(BIN)/import-linter drawgraph unlearnbench | tred | dot -Tsvg > docs/rooms.svg

##@ For maintainers

wheel: $(BIN)/.installed ## build sdist and wheel into dist/, and try the wheel in an environment that pip fills (minutes)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	DISTRIBUTIONS="$(abspath dist)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/third_party/test_own_wheel.py

speed: $(BIN)/.installed ## measure ratios against named rivals, on a quiet machine; ONLY='NAME NAME' for some
	$(BIN)/python tests/speed/run.py $(ONLY)

parity: $(BIN)/.installed ## compare every log-probability with lm-eval's, in float32 (half an hour the first time)
	$(BIN)/python -m pytest -m slow -s tests/parity

parity-openunlearning: $(BIN)/.installed ## make every aggregate of OpenUnlearning's logs anew from their items
	$(BIN)/python -m pytest tests/parity/test_openunlearning.py

oracle: $(BIN)/.installed ## compare RMU with a naive loop with two models, on SmolLM2 (fetched once) in float32
	$(BIN)/python examples/tofu_authors/fetch_smollm2.py runs/smollm2
	$(BIN)/python -m pytest -m slow tests/methods

browser: $(BIN)/.installed ## open the report in Debian's Chromium (apt-get install chromium)
	$(BIN)/python -m pytest -m slow -s tests/browser

judge-server: $(BIN)/.serving ## let SmolLM2 answer real questions, and judge behind `transformers serve` on loopback and in memory
	$(BIN)/python -m pytest -m slow tests/serving

$(BIN)/.serving: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,serving]'
	@touch $@

families: $(BIN)/.installed ## try every family of models and write docs/families.md (ten minutes)
	PYTHONPATH=tests $(BIN)/python tests/docs/families.py

sandbox: $(BIN)/.installed ## rebuild the sandbox's data and its two models from the seed (two hours)
	$(BIN)/unlearnbench sandbox build --out unlearnbench/sandbox

tune-sandbox: $(BIN)/.installed ## search the sandbox's settings with one budget for all methods (forty minutes)
	$(BIN)/unlearnbench tune --trials $(TRIALS) --executor isolated --jobs 2 --out runs/sandbox-tuned
