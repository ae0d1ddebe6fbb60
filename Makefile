# make demo | test | ci: everything in .venv, made from pinned constraints.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint unit slow ray gpu realdata chaos science clean

demo: $(VENV)/.installed
	$(BIN)/raytrain demo --out runs/demo

test: lint unit slow ray

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.installed
	$(BIN)/pytest -q -n 2 --dist loadfile tests/unit -m "not slow"

slow: $(VENV)/.installed
	$(BIN)/pytest -q -n 2 tests/unit -m slow

ray: $(VENV)/.installed
	$(BIN)/pytest -q tests/ray -m "not slow"

gpu: $(VENV)/.installed
	$(BIN)/pytest -q tests/gpu || [ $$? -eq 5 ]  # 5: no test was collected, as there is no GPU

realdata: $(VENV)/.installed
	@test -n "$(RAYTRAIN_TEST_DATA)" || { echo "RAYTRAIN_TEST_DATA is unset: no real data"; exit 2; }
	$(BIN)/pytest -q -s tests/realdata

chaos: $(VENV)/.installed
	$(BIN)/pytest -q tests/chaos

science: $(VENV)/.installed
	@test -n "$(DATA)" || { echo "make science DATA=DIR: name the GTSRB folder"; exit 2; }
	$(BIN)/raytrain train gtsrb-small --data.root $(DATA) --seeds 3 --out runs/gtsrb-small

# torch comes first and alone: anything looser would pull several GB of CUDA packages.
$(VENV)/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info
