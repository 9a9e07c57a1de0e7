# Targets for working with this checkout; `make help` lists them.
# A fresh machine needs Python >= 3.10, git and make. The rest is installed into .venv, once.

PYTHON ?= python3
VENV ?= .venv
# Further arguments for pytest or the benchmarks: make test ARGS="-x tests/home"
ARGS ?=
# Processes that run the tests of one run side by side, because a test mostly waits: make test WORKERS=0 uses one.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)

BIN := $(VENV)/bin
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
# A registry that does not answer is asked again after a minute, whatever time the environment allows.
export PIP_DEFAULT_TIMEOUT := 60
# The accelerator is built from C. Where the machine has no compiler, that of a wheel takes its place.
PIP_BUILD = CC="$$(.ci/compiler $(BIN)/python)" $(BIN)/python $(PIP_INSTALL)
PYTEST = -m pytest -n $(WORKERS) --dist worksteal
C_SOURCES := $(wildcard ipfs_log_handlers/accelerator/*.[ch])
SOURCES := $(shell find ipfs_log_handlers -name '*.py' -o -name py.typed 2>/dev/null) $(C_SOURCES) setup.cfg pyproject.toml
# Files that the suite reads, besides the package. The other Pythons test the built wheel in a copy of these files.
SUITE := tests examples benchmarks docs Makefile README.md CHANGELOG.md CONTRIBUTING.md LICENSE setup.cfg pyproject.toml
MINOR = $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
OTHERS = $(shell .ci/pythons | cut -d ' ' -f 1 | grep -vx '$(MINOR)')
ORDINARY = $(filter-out %t,$(OTHERS))
OLDEST_NEWEST = $(sort $(firstword $(ORDINARY)) $(lastword $(ORDINARY)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SECONDARY:
.PHONY: help demo ready test test-pure test-offline test-loaded test-all test-offline-oldest-newest lint format types docs bench soak fuzz clean others

help: ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '|' '{ printf "make %-28s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed ## logs into a temporary home, then lists, reads and verifies the records
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT INT TERM && export IPFS_LOGS_HOME="$$home/home" && \
	export PATH="$(abspath $(BIN)):$$PATH" && unset IPFS_LOGS_KUBO && \
	show() { printf '\n$$ %s\n' "$$*"; "$$@"; } && \
	show python examples/quickstart.py && \
	show ipfs-logs ls && \
	show ipfs-logs cat audit && \
	show ipfs-logs verify

ready: $(VENV)/.dev build/typed ## installs and builds all that .ci/run needs
	$(BIN)/python -m tests.kubo.build
	$(BIN)/python -m tests.browser.install
	@set -e; started=; for version in $(OLDEST_NEWEST); do \
		$(MAKE) --no-print-directory .venv-$$version/.test & started="$$started $$!"; done; \
	for run in $$started; do wait $$run; done

# An editable install compiles nothing, and the tests start thousands of programs, which write no bytecode.
test: $(VENV)/.test ## the whole suite, with a real Kubo daemon and a Chromium that it builds, installs or finds
	$(BIN)/python -m compileall -q ipfs_log_handlers
	$(BIN)/python -m tests.kubo.build
	$(BIN)/python -m tests.browser.install
	$(BIN)/python $(PYTEST) $(ARGS)

test-pure: $(VENV)/.test ## the whole suite without the accelerator
	IPFS_LOGS_PURE=1 $(MAKE) --no-print-directory test

test-offline: $(VENV)/.test ## the part of the suite that needs no daemon and no browser
	$(BIN)/python $(PYTEST) -m "not kubo and not browser and not soak" $(ARGS)

test-loaded: $(VENV)/.test ## the whole suite while busy loops, two for each core, compete with it
	$(BIN)/python -m tests.kubo.build
	$(BIN)/python -m tests.browser.install
	.ci/loaded $(BIN)/python $(PYTEST) $(ARGS)

test-all: test ## the suite on every Python from 3.10 on that this machine has
	@set -e; for version in $(OTHERS); do $(MAKE) --no-print-directory test-on-$$version; done

# The page is JavaScript, which does not depend on the version of Python: Playwright is installed for one. A copy has no
# sources from which the package could be built.
test-on-%: .venv-%/.test ## the suite without the browser on one other Python, with the built wheel: make test-on-3.12
	$(BIN)/python -m tests.kubo.build
	$(call in_copy,$*) $(PYTEST) --ignore=tests/browser --ignore=tests/accelerator/test_build.py $(ARGS)

# Kills, bad disks, hostile homes and pages depend little on the version of Python: test-on-% runs them, too.
test-offline-on-%: .venv-%/.test ## the same without a daemon, slow tests, tests/faults, tests/foreign and tests/docs
	$(call in_copy,$*) $(PYTEST) -m "not kubo and not soak and not slow" $(foreach part,browser faults foreign docs,--ignore=tests/$(part)) $(ARGS)

# The runs are parallel, because each mostly waits; their output is printed when all are done. The oldest Python runs
# without the accelerator, so that both ways are tested.
test-offline-oldest-newest: $(VENV)/.test build/wheel ## the offline part on the oldest and the newest Python beside the usual one
	@mkdir -p build; started=; pure=1; for version in $(OLDEST_NEWEST); do \
		IPFS_LOGS_PURE=$$pure $(MAKE) --no-print-directory test-offline-on-$$version > build/offline-$$version.log 2>&1 & \
		started="$$started $$!:$$version"; pure=; done; failed=; \
	for run in $$started; do \
		wait $${run%%:*} || failed="$$failed $${run#*:}"; echo "== $${run#*:}"; cat build/offline-$${run#*:}.log; done; \
	if [ -n "$$failed" ]; then echo "failed on$$failed" >&2; exit 1; fi

lint: $(VENV)/.dev ## ruff (rules and format) and the import rules (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## formats the code and applies the fixes of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev build/typed ## mypy, strict: the sources, then the public names of the built wheel
	$(BIN)/mypy
	cp tests/typing/api.py build/typed/
	cd build/typed && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --python-executable bin/python api.py

docs: $(VENV)/.installed ## writes the pages of the subsystems, docs/subsystems/, from the code
	$(BIN)/python docs/subsystem_pages.py

bench: $(VENV)/.bench ## measures our handlers and others, and prints the tables of benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.test ## the tests that take long
	$(BIN)/python -m tests.kubo.build
	$(BIN)/python -m pytest -m soak --timeout 0 -o faulthandler_timeout=0 $(ARGS)

fuzz: $(VENV)/.fuzz ## fuzzes each decoder for a minute with atheris (Linux): make fuzz ARGS="--seconds 600 manifest"
	$(BIN)/python -m tests.fuzz $(ARGS)

clean: ## deletes everything that these targets have made
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- used by the targets above

others: | $(BIN)/python
	@echo $(OLDEST_NEWEST)

$(BIN)/python:
	.ci/venv $(PYTHON) $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml $(C_SOURCES) | $(BIN)/python
	$(PIP_BUILD) -e .
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml $(C_SOURCES) | $(BIN)/python
	$(PIP_BUILD) -e '.[test,browser]'
	@touch $@ $(VENV)/.installed

$(VENV)/.dev: setup.cfg pyproject.toml $(C_SOURCES) | $(BIN)/python
	$(PIP_BUILD) -e '.[test,browser,dev]'
	@touch $@ $(VENV)/.test $(VENV)/.installed

$(VENV)/.fuzz: setup.cfg pyproject.toml $(C_SOURCES) | $(BIN)/python
	$(PIP_BUILD) -e '.[test,browser,fuzz]'
	@touch $@ $(VENV)/.test $(VENV)/.installed

$(VENV)/.bench: setup.cfg pyproject.toml $(C_SOURCES) | $(BIN)/python
	$(PIP_BUILD) -e '.[bench]'
	@touch $@ $(VENV)/.installed

build/wheel: $(SOURCES) $(VENV)/.dev
	@rm -rf build
	CC="$$(.ci/compiler $(BIN)/python)" $(BIN)/python -m build --wheel --outdir build/wheel \
		--config-setting=--build-option=--py-limited-api=cp310 . > build-wheel.log 2>&1 || { cat build-wheel.log; rm build-wheel.log; exit 1; }
	@rm build-wheel.log
	@touch $@

# A virtual environment with the wheel alone, for mypy.
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

# $(call in_copy,VERSION): that Python, in a fresh copy of the suite without the package
define in_copy
rm -rf build/suite-$(1) && mkdir -p build/suite-$(1) && cp -R $(wildcard $(SUITE)) build/suite-$(1)/ && \
cd build/suite-$(1) && $(CURDIR)/.venv-$(1)/bin/python
endef
