# `make run` and `make test` need nothing but Python 3.11 or newer; nija/bootstrap.py does the rest.
.DEFAULT_GOAL := help
.PHONY: help run test system lint replay bench bench-background bench-backtest bench-pages chaos simulate nonces mutants clean

# Any Python since 3.8 can start the bootstrap, which then looks for one that is new enough.
FIND_PYTHON = for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -I -c "import sys; sys.exit(sys.version_info < (3, 8))" 2>/dev/null && exec "$$python" -I nija/bootstrap.py $@; done; \
	echo "nija: Python 3.11 or newer is needed; install it (Debian: apt install python3 python3-venv)." >&2; exit 1

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile

run: ## install what is missing and start the demo (PORT=8001 for another port)
	@$(FIND_PYTHON)

test: ## install what the tests need, check style and types, run all tests but those of whole systems
	@$(FIND_PYTHON)

system: ## what takes longer: the demo, every command and route, pages in a browser, SQLite, a seed run twice
	@$(FIND_PYTHON)

lint: ## ruff, mypy, import contracts and the migration check only
	@$(FIND_PYTHON)

replay: ## every candle of ../shared/market-data through exchange and engine: some 100 minutes (CANDLES=2000 for a part, FAULTS=1 with faults)
	@$(FIND_PYTHON)

bench: ## time the copying of the master's trades by 1,000 followers and more, some eight minutes (SIZES="1000 100" LATENCY_MS=50)
	@$(FIND_PYTHON)

bench-background: ## what 10,000 followers cost while nobody trades, some five minutes (FOLLOWERS=1000 WINDOW_S=120 LATENCY_MS=50)
	@$(FIND_PYTHON)

bench-backtest: ## time a backtest of five pairs x 35,000 candles of ../shared/market-data
	@$(FIND_PYTHON)

bench-pages: ## time every page and list of the API with 10,000 followers, some four minutes (FOLLOWERS=1000 ROWS=100000 for less)
	@$(FIND_PYTHON)

chaos: ## kill processes at every point of a trade, lose answers, stop at random instants: an hour (TIMES=1 or PARTS=sends for less)
	@$(FIND_PYTHON)

simulate: ## the engine under seeded faults on a simulated clock (SEEDS=10000 SEED_START=0 JOBS=2)
	@$(FIND_PYTHON)

nonces: ## that no nonce is ever invalid: a million simulated ones, 5,000 real calls twice (NONCES=20000 CALLS=500 SEED=0 JOBS=2)
	@$(FIND_PYTHON)

mutants: ## deliberate bugs one at a time, each of which tests or simulator must catch: some ten minutes (NAMES="...; ..." JOBS=2)
	@$(FIND_PYTHON)

clean: ## remove what can be made again; keeps .nija, the data
	@rm -rf .venv .cache staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.nija/*' -prune -exec rm -rf {} +
