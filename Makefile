# Two commands matter, and each sets up what it needs in .venv on the first call:
#   make pretrain   runs notebooks/pretrain.ipynb on the images that come with the package
#   make test       runs the tests
# A machine with Python 3.11 to 3.13 and make is enough; where uv is installed, uv makes the environment.
# Parameters go through ARGS: make pretrain ARGS="-p method simclr -p epochs 20"

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= out.ipynb
STUDY := $(sort $(wildcard params/ablation/laptop-*.yaml))
ARGS ?=
# Threads that wait asleep: they take nothing from others when the machine is shared.
export OMP_WAIT_POLICY ?= PASSIVE

FIT := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
USABLE := $(FIT)
CREATE = rm -rf $(VENV) && $(UV) venv --python '>=3.11,<3.14' $(VENV)
INSTALL = $(UV) pip install --python $(BIN)/python
else
USABLE := import pip; $(FIT)
CREATE = $(find_python) && rm -rf $(VENV) && "$$python" -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check
endif

# Sets $$python to the first Python that fits, or stops saying what to install.
find_python = python=; \
	for p in python3 python3.13 python3.12 python3.11 python; do \
	  if $$p -c 'import ensurepip, venv; $(FIT)' 2>/dev/null; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: no Python 3.11, 3.12 or 3.13 with venv was found (python3 is: $$(python3 --version 2>&1))." >&2; \
	  echo "Install one, e.g. 'apt-get install python3 python3-venv' or 'brew install python@3.12', or install uv." >&2; \
	  exit 1; \
	fi

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile
	@echo 'papermill needs "-k python3" for a notebook that an editor saved with a kernel such as .venv, or with none.'

# The stamp is written last, so an installation that stopped half-way is taken up again. The one line of
# configuration keeps each kernel from printing a page of advice about encrypting its local connection.
$(READY): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c '$(USABLE)' 2>/dev/null; then \
	  echo "Setting up $(VENV): PyTorch and Jupyter, about 6 GB, a minute or more."; \
	  $(CREATE); \
	fi
	$(INSTALL) -c constraints.txt -e '.[test]'
	@mkdir -p $(VENV)/etc/ipython
	@echo 'get_config().IPKernelApp.log_level = "CRITICAL"' > $(VENV)/etc/ipython/ipython_kernel_config.py
	@touch $@

pretrain: $(READY) ## pre-train an encoder on the embedded images (about two minutes on two CPU cores)
	$(BIN)/papermill notebooks/pretrain.ipynb $(OUT) -k python3 --no-progress-bar --stdout-file - $(ARGS)
	@echo "The notebook with its pictures and curves is $(OUT)."

explore: $(READY) ## open JupyterLab on a map of the trained run that comes with the package (ARGS="-p run latest": of yours)
	@mkdir -p runs
	@$(BIN)/papermill notebooks/visualize.ipynb runs/explore.ipynb --prepare-only -k python3 --log-level ERROR -p run demo $(ARGS)
	@echo "JupyterLab opens runs/explore.ipynb: choose Run, Run All Cells there, and point at the dots."
	$(BIN)/jupyter lab runs/explore.ipynb --ServerApp.root_dir=.

# Two processes of one thread each: what they wait for (starts, disks, kernels) then costs the other nothing.
test: export OMP_NUM_THREADS ?= 1
test: $(READY) ## run the tests, in two processes (ARGS="-n 0": in one)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

browser: export OMP_NUM_THREADS ?= 1
browser: $(READY) ## run the tests that need Chromium, in two processes (they skip where there is none)
	$(BIN)/python -m pytest -m "browser and not slow" -n 2 --dist loadfile $(ARGS)

slow: $(READY) ## run the tests that take minutes: compiled code, large sizes, real notebooks killed half-way, torchrun
	$(BIN)/python -m pytest -m slow $(ARGS)

study: $(READY) ## run the laptop study, or what is left of it: days of one core (ARGS=--list: how it stands)
	$(BIN)/python -m mixlab.grid $(STUDY) --table reports/laptop-study/runs.csv $(ARGS)

faults: $(READY) ## run the whole fault programme (under an hour); ARGS=reports/faults.md keeps its tables
	$(BIN)/python tests/faults/programme.py $(ARGS)

lint: $(READY) ## check the code and the notebooks with ruff
	$(BIN)/ruff check .

clean: ## remove the environment, caches and test pictures; runs and data stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis test-artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help pretrain explore test browser slow study faults lint clean
