# All that one does with this checkout. `make help` lists it.
# A fresh machine needs Python >= 3.10, git and make; the rest is set up here, in .venv, and a second run is quick.

PYTHON ?= python3
VENV ?= .venv
# Further arguments for pytest or the benchmarks: make test ARGS="-x tests/home"
ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
SOURCES := $(shell find ipfs_log_handlers -name '*.py' -o -name py.typed 2>/dev/null) setup.cfg pyproject.toml
# What the suite reads beside the package. The other Pythons test the built wheel, so they get a copy without it.
SUITE := tests examples benchmarks docs Makefile README.md CHANGELOG.md LICENSE setup.cfg pyproject.toml
MINOR = $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
OTHERS = $(shell .ci/pythons | cut -d ' ' -f 1 | grep -vx '$(MINOR)')
ORDINARY = $(filter-out %t,$(OTHERS))
OLDEST_NEWEST = $(sort $(firstword $(ORDINARY)) $(lastword $(ORDINARY)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SECONDARY:
.PHONY: help demo test test-offline test-all test-offline-oldest-newest lint format types docs bench soak clean others

help: ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '|' '{ printf "make %-28s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed ## logs with two subsystems into a throw-away home, then lists, reads and verifies what was kept
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT INT TERM && export IPFS_LOGS_HOME="$$home/home" && \
	export PATH="$(abspath $(BIN)):$$PATH" && unset IPFS_LOGS_KUBO && \
	show() { printf '\n$$ %s\n' "$$*"; "$$@"; } && \
	show python examples/quickstart.py && \
	show ipfs-logs ls && \
	show ipfs-logs cat audit && \
	show ipfs-logs verify

test: $(VENV)/.test ## the whole suite, against a real Kubo daemon that it builds or finds
	$(BIN)/python -m tests.kubo.build
	$(BIN)/python -m pytest $(ARGS)

test-offline: $(VENV)/.test ## the part of the suite that needs no daemon
	$(BIN)/python -m pytest -m "not kubo and not soak" $(ARGS)

test-all: test ## the whole suite on every Python from 3.10 on that this machine has
	@set -e; for version in $(OTHERS); do $(MAKE) --no-print-directory test-on-$$version; done

test-on-%: .venv-%/.test ## the whole suite on one other Python, with the built wheel: make test-on-3.12
	$(BIN)/python -m tests.kubo.build
	$(call in_copy,$*) -m pytest $(ARGS)

test-offline-on-%: .venv-%/.test ## the same without a daemon
	$(call in_copy,$*) -m pytest -m "not kubo and not soak" $(ARGS)

# Side by side, for each is one process that mostly waits; what they print comes when both are done.
test-offline-oldest-newest: $(VENV)/.test build/wheel ## the offline part on the oldest and the newest Python beside the usual one
	@mkdir -p build; started=; for version in $(OLDEST_NEWEST); do \
		$(MAKE) --no-print-directory test-offline-on-$$version > build/offline-$$version.log 2>&1 & \
		started="$$started $$!:$$version"; done; failed=; \
	for each in $$started; do \
		wait $${each%%:*} || failed="$$failed $${each#*:}"; echo "== $${each#*:}"; cat build/offline-$${each#*:}.log; done; \
	if [ -n "$$failed" ]; then echo "failed on$$failed" >&2; exit 1; fi

lint: $(VENV)/.dev ## ruff (rules and form) and the floors that imports may not climb
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## puts the code into the form that lint wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev build/typed ## mypy, strict: the sources, then the public names as the built wheel shows them
	$(BIN)/mypy
	cp tests/typing/api.py build/typed/
	cd build/typed && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --python-executable bin/python api.py

docs: $(VENV)/.installed ## writes the pages of the subsystems, docs/subsystems/, from the code
	$(BIN)/python docs/subsystem_pages.py

bench: $(VENV)/.bench ## measures us and our peers, and prints the tables of benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.test ## the tests that take long
	$(BIN)/python -m tests.kubo.build
	$(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

clean: ## removes everything that was made here
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what the above stand on

others: | $(BIN)/python
	@echo $(OLDEST_NEWEST)

$(BIN)/python:
	.ci/venv $(PYTHON) $(VENV)

$(VENV)/.installed: setup.cfg | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.test: setup.cfg | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.dev: setup.cfg | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -e '.[test,dev]'
	@touch $@ $(VENV)/.test $(VENV)/.installed

$(VENV)/.bench: setup.cfg | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -e '.[bench]'
	@touch $@ $(VENV)/.installed

build/wheel: $(SOURCES) $(VENV)/.dev
	@rm -rf build
	$(BIN)/python -m build --wheel --outdir build/wheel . > build-wheel.log 2>&1 || { cat build-wheel.log; rm build-wheel.log; exit 1; }
	@rm build-wheel.log
	@touch $@

# A Python that has the wheel and nothing else, for mypy to look into.
build/typed: build/wheel
	@rm -rf $@ && $(BIN)/python -m venv --without-pip $@
	@$(BIN)/python -m zipfile -e build/wheel/*.whl "$$($@/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

.venv-%/bin/python:
	.ci/venv "$$(.ci/pythons $*)" .venv-$*

.venv-%/.test: build/wheel | .venv-%/bin/python
	$| $(PIP_INSTALL) "$$(ls build/wheel/*.whl)[test]"
	$| $(PIP_INSTALL) --force-reinstall --no-deps build/wheel/*.whl
	@touch $@

# $(call in_copy,VERSION): that Python, in a fresh copy of the suite which has no package of ours beside it
define in_copy
rm -rf build/suite-$(1) && mkdir -p build/suite-$(1) && cp -R $(wildcard $(SUITE)) build/suite-$(1)/ && \
cd build/suite-$(1) && $(CURDIR)/.venv-$(1)/bin/python
endef
