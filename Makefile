# `make demo` and `make test` need nothing but python3 and make.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/sandbox

.PHONY: demo demo-all test lint speed parity judge-server crash real sandbox clean help

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /: /'

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(BIN)/.installed ## forget with four methods on the sandbox and print the leaderboard
	$(BIN)/unlearnbench compare --methods rmu,llmu,scrub,ssd --out $(RUN)

demo-all: $(BIN)/.installed ## every method on the sandbox
	$(BIN)/unlearnbench compare sandbox-roster --out runs/roster

test: $(BIN)/.installed ## the whole suite, without what takes minutes
	$(BIN)/python -m pytest -m "not slow"

lint: $(BIN)/.installed ## ruff, pyright (strict) and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

speed: $(BIN)/.lm-eval ## ratios against named rivals, on a quiet machine; ONLY='NAME NAME' for some
	$(BIN)/python tests/speed/run.py $(ONLY)

$(BIN)/.lm-eval: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,lm-eval]'
	@touch $@

parity: $(BIN)/.lm-eval ## every log-probability against lm-eval's, in float32 (half an hour the first time)
	$(BIN)/python -m pytest -m slow -s tests/parity

judge-server: $(BIN)/.serving ## a real judge: SmolLM2 behind `transformers serve` on loopback
	$(BIN)/python -m pytest -m slow tests/serving

$(BIN)/.serving: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,serving]'
	@touch $@

crash: $(BIN)/.installed ## kill a small comparison at 60 random moments; nothing may be lost (ten minutes; KILLS=6 for fewer)
	PYTHONPATH=tests $(BIN)/python tests/crash/ordeal.py --kills $(or $(KILLS),60)
	PYTHONPATH=tests $(BIN)/python tests/crash/ordeal.py --kills $(or $(KILLS),12) --executor isolated

real: $(BIN)/.installed ## SmolLM2 learns twenty authors and forgets ten: see examples/tofu_authors
	PATH="$(abspath $(BIN)):$$PATH" sh examples/tofu_authors/run.sh

sandbox: $(BIN)/.installed ## rebuild the sandbox's data and model from the seed (half an hour)
	$(BIN)/unlearnbench sandbox build --out unlearnbench/sandbox

clean: ## remove the environment and the runs
	rm -rf .venv runs
