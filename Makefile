# `make demo` and `make test` do all the set-up themselves; `make help` lists the rest.
#
#   PYTHON       the interpreter to make environments with (default: python3.11, else python3; SGLang's needs 3.11)
#   VENV         an environment made by `make venv`; one of another checkout is used and never changed
#   SGLANG_VENV  the same for SGLang's
#   WORKERS      how many processes run tests at the same time (default 2); each may start servers of 2 GB
#   TORCH_INDEX  where torch comes from. PyPI's Linux wheels carry CUDA (some GB);
#                TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small CPU build

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifndef PYTHON
PYTHON := $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || echo python3)
endif
VENV ?= .venv
SGLANG_VENV ?= .venv-sglang
export PYTHON TORCH_INDEX
export SGLANG_VENV := $(abspath $(SGLANG_VENV))
unexport PYTHONDONTWRITEBYTECODE
BIN := $(abspath $(VENV))/bin
comma := ,
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
# the theme's notice about its own future is not a warning about the documents
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
T ?= tests
WORKERS ?= 2

# An environment of another checkout would import that checkout's packages, so this checkout's packages come first.
ifneq ($(abspath $(VENV)),$(CURDIR)/.venv)
export PYTHONPATH := $(CURDIR):$(CURDIR)/serving:$(CURDIR)/training
venv: $(BIN)/python
$(BIN)/python:
	@echo "VENV=$(VENV) has no environment; leave VENV out, and one is made in .venv" >&2; exit 1
demo-venv: $(BIN)/python
else
venv: $(VENV)/.installed
demo-venv: $(VENV)/.demo
endif

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: venv
venv: ## the environment for everything but SGLang (.venv)

# $(call install,EXTRAS,FIRST): make $(VENV) where there is none, do FIRST, and install this checkout with EXTRAS into it.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "installing reasrm[$(1)] into $(VENV) (the first time takes a few minutes)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "could not make $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(2)
	@$(PIP) -c constraints.txt -e '.[$(1)]'
endef

# The demo needs only a gateway and llama.cpp.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(call install,serve$(comma)local,true)
	@touch $@

# The same environment with everything that the checks and the tests need. torch is installed first and alone, so that later
# packages find it and do not install another build.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call install,dev,$(PIP) $$(grep '^torch==' constraints.txt) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)))
	@touch $(VENV)/.demo $@

ifneq ($(SGLANG_VENV),$(CURDIR)/.venv-sglang)
sglang: $(SGLANG_VENV)/bin/python
$(SGLANG_VENV)/bin/python:
	@echo "SGLANG_VENV=$(SGLANG_VENV) has no environment; leave SGLANG_VENV out, and one is made in .venv-sglang" >&2; exit 1
else
sglang: $(SGLANG_VENV)/.installed
endif

.PHONY: sglang
sglang: ## the environment of a real SGLang server on the CPU (.venv-sglang)

$(SGLANG_VENV)/.installed: deploy/sglang-cpu/requirements.txt deploy/sglang-cpu/install.sh
	@echo "installing SGLang into $(SGLANG_VENV) (2.8 GB)"
	@deploy/sglang-cpu/install.sh $(SGLANG_VENV)
	@touch $@

# $(call debian,COMMAND,PACKAGE,FLAGS): install COMMAND by apt if this user may, else fail with the line that installs it
define debian
@command -v $(1) >/dev/null || { \
  install="apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(strip $(3) $(2))"; \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "installing $(2)"; bash -c "$$install" >/dev/null; \
  else echo "$(1) is missing; install it with: sudo bash -c '$$install'" >&2; exit 1; fi; }
endef

.PHONY: redis
redis: ## redis-server, from Debian's packages if it is missing
	$(call debian,redis-server,redis-server)

.PHONY: chromium
chromium: ## the browser of the tests of web pages, from Debian's packages if it is missing
	$(call debian,chromium,chromium)

.PHONY: promtool
promtool: ## the program that tests the alerts, from Debian's packages if it is missing
	$(call debian,promtool,prometheus,--no-install-recommends)

.PHONY: check
check: venv ## ruff, pyright, the layers, the documents, and their site
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/contract/test_docs.py
	$(MKDOCS) build --strict
	$(BIN)/python -m tests.contract.house

.PHONY: docs
docs: venv ## build the documentation into site/
	$(MKDOCS) build --strict

.PHONY: docs-serve
docs-serve: venv ## show the documentation while you write it: http://127.0.0.1:8000
	@$(MKDOCS) serve --dev-addr 127.0.0.1:8000

.PHONY: test
test: venv sglang redis chromium promtool ## run every test, or some of them: make test T=tests/unit
	$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(T)

.PHONY: demo demo-venv
demo: demo-venv ## judge some pairs with the embedded judge; real questions with MODEL=FILE.gguf|HUB-ID, or ENGINE=URL [MODEL=NAME]
	@$(BIN)/python -m reasrm_serving.demo $(MODEL) $(if $(ENGINE),--engine $(ENGINE))

.PHONY: train
train: venv ## make the embedded judge from nothing (the tiny recipe)
	$(BIN)/reasrm train run tiny

.PHONY: judge-gguf
judge-gguf: venv ## write the embedded judge as the GGUF file that llama.cpp reads
	$(BIN)/reasrm train gguf serving/reasrm_serving/judge -o serving/reasrm_serving/judge/model.gguf --type f32

.PHONY: bench
bench: venv sglang redis ## every benchmark, or one: make bench-gateway
	@for file in bench/*.py; do echo "== $$file"; $(BIN)/python $$file; done

bench-%: venv sglang redis
	@$(BIN)/python bench/$*.py

.PHONY: format
format: venv ## format the code with ruff
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .
