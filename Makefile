# `make run` and `make test` do all set-up. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CONTRACT := ../shared/contract/check.py
# Keeps what a program says, and prints all of it where the program fails.
quietly = said="$$($(1) 2>&1)" || { status=$$?; printf '%s\n' "$$said" >&2; (exit $$status); }
# A process of tests for each core: one that is through with its half takes from the other. Some tests alone: one process.
PYTEST ?= --numprocesses=auto --dist=worksteal
# What `make check` measures the coverage of: the tests of these files on SQLite, within their own process. They need no
# other program and take two minutes on two cores. To measure the whole suite would run it twice, or run it traced, which
# takes Python 3.11 twice as long: tests that hold the server to a time do not bear that.
COVERED := access backup changes check_mechanisms check_replies check_tls check_tokens compose consent discovery documents \
	every_field fields graphql hosts https inbox keys lengths metrics migration mongoexport oauth2 openapi paging plans prepared \
	proxies rates refusals rest same_origin search session sse tracing user warnings websocket writer
# What holds the code to its own rules, and the documentation to the code.
RULES := docs layers names schema validation
NPM_CI := npm ci --loglevel=error --no-audit --no-fund --no-update-notifier

.PHONY: help install run test check bench schema lock format clean

help:  ## Print this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: .venv/run.txt $(EXTRA:%=.venv/%.txt) .venv/compiled web/dist/index.html  ## Set up: the virtual environment, and GraphiQL where npm is there; EXTRA=telemetry: traces too.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "Making a virtual environment (.venv) ..."
	@$(call quietly,$(PYTHON) -m venv .venv) || { rm -rf .venv; echo "On Debian, install python3-venv." >&2; exit 1; }

# What is installed is remembered by a copy of its list.
.venv/%.txt: requirements/%.txt | .venv/bin/python
	@echo "Installing Python packages ($<) ..."
	@$(call quietly,$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r $<)
	@cp $< $@

# Compiling takes a tenth of a start: of the first one, and of each where Python is told to write no bytecode.
.venv/compiled: .venv/run.txt $(wildcard $(addsuffix /*.py,. cli edge mail mail/* migrations/versions models models/* resolvers rest runners schema schema/*))
	@echo "Compiling the Python code ..."
	@$(BIN)/python -m compileall -q $(filter %.py,$^)
	@touch $@

web/dist/index.html: web/package-lock.json web/build.mjs web/index.html $(wildcard web/src/*)
	@if command -v npm >/dev/null; then \
		echo "Building GraphiQL (web/package-lock.json) ..."; \
		$(call quietly,cd web && $(NPM_CI) && npm run --silent build) || echo "GraphiQL could not be built: the stock page is served." >&2; \
	else \
		echo "npm is not there: the stock GraphiQL page is served, which needs the internet." >&2; \
	fi

clients/node_modules/.package-lock.json: clients/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing npm packages (clients/package-lock.json) ..."; \
		$(call quietly,cd clients && $(NPM_CI)) || echo "The clients could not be installed: their tests are skipped." >&2; \
	fi

# What the tests of the clients run; they are skipped where npm is not there.
clients/build/made: clients/node_modules/.package-lock.json clients/generate.mjs clients/tsconfig.json schema/schema.graphql \
		$(filter-out clients/src/generated.ts,$(wildcard clients/src/*.* clients/src/tests/*))
	@if command -v npm >/dev/null; then \
		echo "Building the clients (clients/src) ..."; \
		$(call quietly,cd clients && npm run --silent build && touch build/made) || echo "The clients could not be built: their tests are skipped." >&2; \
	fi

run: install  ## Serve on http://127.0.0.1:3000.
	@$(BIN)/python server.py

test: install .venv/dev.txt clients/build/made  ## Run the tests. What needs a server that this machine lacks is skipped, with the reason.
	@echo "Running the tests ..."
	@$(BIN)/python -m pytest $(PYTEST)

check: install .venv/dev.txt clients/node_modules/.package-lock.json  ## What CI holds the code to: format, lint, types, layers, schema, rules, docs, coverage.
	@echo "Checking the format ..."
	@$(BIN)/ruff format --check .
	@echo "Checking the style ..."
	@$(BIN)/ruff check .
	@echo "Checking the types ..."
	@$(BIN)/mypy .
	@echo "Checking the layers ..."
	@$(BIN)/lint-imports --no-logo
	@echo "Checking the schema ..."
	@$(BIN)/python server.py schema | diff -u schema/schema.graphql - || { echo "run make schema" >&2; exit 1; }
	@if [ -f $(CONTRACT) ]; then $(BIN)/python $(CONTRACT) schema/schema.graphql; fi
	@echo "Checking rules, documentation and coverage (two minutes) ..."
	@$(call quietly,$(BIN)/python -m pytest --cov -k "not postgresql" --numprocesses=auto --dist=worksteal $(COVERED:%=tests/test_%.py) $(RULES:%=tests/test_%.py))
	@if command -v npm >/dev/null; then echo "Checking the TypeScript ..." && (cd web && npm run --silent check) && (cd clients && npm run --silent check); fi

# What npm brings is compiled where there is no binary for this machine: that takes minutes, which a smoke test has not.
benchmarks/peers/node_modules/.package-lock.json: benchmarks/peers/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing npm packages (benchmarks/peers/package-lock.json) ..."; \
		$(call quietly,cd benchmarks/peers && $(NPM_CI)) || echo "The peers could not be installed: they are left out." >&2; \
	fi

bench: install .venv/dev.txt $(if $(findstring --quick,$(BENCH)),,benchmarks/peers/node_modules/.package-lock.json)  ## Measure the speed beside other servers and the floors.
	$(BIN)/python -m benchmarks $(BENCH)

schema: install  ## Print the schema into schema/schema.graphql, and that of the database into migrations/sqlite.sql.
	$(BIN)/python server.py schema > schema/schema.graphql
	$(BIN)/python -m migrations.structure > migrations/sqlite.sql

lock:  ## Pin the newest versions of what pyproject.toml asks for. Needs uv.
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml -o requirements/run.txt $(LOCK)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --extra telemetry -o requirements/telemetry.txt $(LOCK)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --extra telemetry --group dev -o requirements/dev.txt $(LOCK)

format: .venv/dev.txt  ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what set-up made. The data folder stays.
	rm -rf .coverage .venv web/dist web/node_modules clients/build clients/node_modules clients/src/generated.ts benchmarks/peers/node_modules
