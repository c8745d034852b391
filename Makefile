# `make demo` and `make test` need nothing but python3 and make.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/sandbox

.PHONY: demo demo-all test lint conformance fuzz third-party browser reference families docs rooms speed parity oracle judge-server crash real sandbox tune-sandbox clean help

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /: /'

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(BIN)/.installed ## forget with four methods on the sandbox and print the leaderboard
	$(BIN)/unlearnbench compare --methods rmu,llmu,scrub,ssd --out $(RUN)

demo-all: $(BIN)/.installed ## every method on the sandbox
	$(BIN)/unlearnbench compare --out runs/roster

test: $(BIN)/.installed ## the whole suite, without what takes minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(BIN)/.installed ## ruff, pyright (strict) and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

conformance: $(BIN)/.installed ## every check of every plugin on every family, and every wrong plugin against all checks
	$(BIN)/python -m pytest -m "slow or not slow" tests/conformance

fuzz: $(BIN)/.installed ## random damage to corpora, questions, recipes and model folders (ten minutes; EXAMPLES=50 for less)
	EXAMPLES=$(or $(EXAMPLES),300) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/fuzzing

third-party: $(BIN)/.installed ## plugins as wheels beside the wheel of unlearnbench, in a fresh environment
	$(BIN)/python -m pytest -m slow tests/third_party tests/cli/test_new.py

reference: $(BIN)/.installed ## write the pages that follow from the code: API, recipe, command line
	$(BIN)/python tests/docs/reference.py

families: $(BIN)/.installed ## try every family of models and write docs/families.md (ten minutes)
	PYTHONPATH=tests $(BIN)/python tests/docs/families.py

rooms: $(BIN)/.installed ## draw the rooms and their imports for docs/how-it-is-built.md (apt-get install graphviz)
	$(BIN)/import-linter drawgraph unlearnbench | tred | dot -Tsvg > docs/rooms.svg

docs: reference ## build the documentation site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

speed: $(BIN)/.installed ## ratios against named rivals, on a quiet machine; ONLY='NAME NAME' for some
	$(BIN)/python tests/speed/run.py $(ONLY)

parity: $(BIN)/.installed ## every log-probability against lm-eval's, in float32 (half an hour the first time)
	$(BIN)/python -m pytest -m slow -s tests/parity

browser: $(BIN)/.installed ## the report in Debian's Chromium (apt-get install chromium)
	$(BIN)/python -m pytest -m slow -s tests/browser

judge-server: $(BIN)/.serving ## SmolLM2 answers real questions, and judges behind `transformers serve` on loopback and in memory
	$(BIN)/python -m pytest -m slow tests/serving

$(BIN)/.serving: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,serving]'
	@touch $@

crash: $(BIN)/.installed ## kill a small comparison at 60 random moments; nothing may be lost (ten minutes; KILLS=6 for fewer)
	PYTHONPATH=tests $(BIN)/python tests/crash/ordeal.py --kills $(or $(KILLS),60)
	PYTHONPATH=tests $(BIN)/python tests/crash/ordeal.py --kills $(or $(KILLS),12) --executor isolated
	$(BIN)/python -m pytest -m slow tests/crash

real: $(BIN)/.installed ## SmolLM2 learns twenty authors and forgets ten, beside models taught only the other ten (hours; goes on)
	PATH="$(abspath $(BIN)):$$PATH" sh examples/tofu_authors/run.sh

oracle: $(BIN)/.installed ## RMU against a naive loop with two models, on SmolLM2 (fetched once) in float32
	$(BIN)/python examples/tofu_authors/fetch_smollm2.py runs/smollm2
	$(BIN)/python -m pytest -m slow tests/methods

sandbox: $(BIN)/.installed ## rebuild the sandbox's data and its two models from the seed (two hours)
	$(BIN)/unlearnbench sandbox build --out unlearnbench/sandbox

TRIALS ?= 8
tune-sandbox: $(BIN)/.installed ## search the sandbox's settings with one budget for all methods (forty minutes)
	$(BIN)/unlearnbench tune --trials $(TRIALS) --executor isolated --jobs 2 --out runs/sandbox-tuned

clean: ## remove the environment and the runs
	rm -rf .venv runs
