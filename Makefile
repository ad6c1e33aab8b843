# make repro   run the whole pipeline: environment, corpus, features, training, report
# make table   train the compared models: results/comparison.md, also in the report
# make environment   create the environment only, for a machine without the corpus
# make demo    predict your own clips by the trained models, in a browser on this machine
# make share REMOTE=ssh://server/path   push the feature store and results to a DVC remote
# make recover   repair DVC's own files after a kill; no work is lost (docs/experiments.md)
# make test    check format, lint and types, and run the quick tests
# make test-slow   run the other tests: kills, runs by DVC, memory, transport by S3 and SSH
# Each creates the environment that it needs in .venv, once.

PYTHON ?= python3
VENV := .venv
# targets are relative, since make splits names at spaces
IN_PROCESSES := --numprocesses auto --dist loadfile --no-loadscope-reorder
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro environment table demo share recover test test-slow checkout clean help

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

repro: $(VENV)/.repro
	dvc repro
	@echo "Open results/report.html in a browser."

environment: $(VENV)/.repro

table: $(VENV)/.repro
	dvc repro comparison/dvc.yaml
	python -m stages.table
	dvc repro

demo: $(VENV)/.demo
	python -m pipeline.demo $(OPTIONS)

share: $(VENV)/.repro
	@test -n "$(REMOTE)" || { echo "Give a DVC remote: make share REMOTE=ssh://server/path"; exit 1; }
	@case "$(REMOTE)" in ssh://*) extra=ssh ;; s3://*) extra=s3 ;; *) exit 0 ;; esac; \
		pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$$extra]"
	dvc remote add --default --force shared "$(REMOTE)"
	dvc push

# the run cache has all finished stages, even those that are not in the committed lock file
recover:
	rm -f .dvc/tmp/rwlock
	dvc stage list dvc.yaml embedded/dvc.yaml > /dev/null || git checkout dvc.lock embedded/dvc.lock

test: $(VENV)/.test
	ruff format --check .
	ruff check .
	mypy
	pytest $(IN_PROCESSES) -m "not slow and not transport"

test-slow: $(VENV)/.test
	pytest $(IN_PROCESSES) -m "slow or transport"

checkout:
	@command -v git > /dev/null || { echo "git is needed; install it first."; exit 1; }
	@git rev-parse --git-dir > /dev/null || { \
		echo "DVC needs a git repository. Clone the project instead of downloading it, or run here:"; \
		echo "git init && git add -A && git commit -m start"; exit 1; }

$(VENV)/bin/pip: | checkout
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; choose it: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.repro: setup.cfg constraints.txt | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test: setup.cfg constraints.txt | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $(VENV)/.repro $@

$(VENV)/.demo: $(VENV)/.repro
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[asr,demo]'
	@touch $@

clean:
	rm -rf $(VENV)
