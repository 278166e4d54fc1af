# Each target does its own set-up; a second call re-uses it.

EXTRAS := lava,nir,datasets,viz,examples,docs,dev
PYTHON := .venv/bin/python
REQUIREMENTS := setup.cfg pyproject.toml requirements.lock

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help setup lava-dl demo adaptive-lstm reproductions test test-py312 lint docs \
    notebooks pictures bench lock clean

help:
	@echo "make demo        train, export and verify a digit classifier (runs/quickstart/)"
	@echo "make adaptive-lstm  the four tasks of the adaptive LSTM's paper, its table and figures"
	@echo "make reproductions  the table and the figures of docs/reproductions.md from the records"
	@echo "make test        lint and run all tests on Python 3.10, those with lava-dl and torch too"
	@echo "make test-py312  run what depends on Keras or NumPy on Python 3.12 with the newest ones"
	@echo "make bench       time training, inference and memory against Keras and other libraries"
	@echo "make setup       only the environment in .venv"
	@echo "make lava-dl     add lava-dl with its torch to it (2.5 GB to fetch)"
	@echo "make docs        build the site of the documentation in site/; warnings are errors"
	@echo "make notebooks   run the notebooks of docs/tutorials/ and keep their outputs"
	@echo "make pictures    draw the pictures of the documentation again"
	@echo "make lock        refresh requirements.lock from setup.cfg"

setup: .venv/.ready

.venv/.ready: $(REQUIREMENTS)
	tools/make_venv.sh 3.10 .venv
	$(PYTHON) -m pip install --quiet --upgrade pip
	$(PYTHON) -m pip install --quiet --constraint requirements.lock --editable ".[$(EXTRAS)]"
	touch $@

lava-dl: .venv/.lava-dl

# The tests alone need it; PyPI's torch for Linux comes with NVIDIA's libraries and not without.
.venv/.lava-dl: .venv/.ready
	$(PYTHON) -m pip install --quiet --constraint requirements.lock \
	    --editable ".[$(EXTRAS),lava-dl]"
	touch $@

demo: setup
	$(PYTHON) examples/quickstart.py

adaptive-lstm: setup
	$(PYTHON) -m examples.adaptive_lstm.sequence_prediction --preset paper \
	    --results examples/adaptive_lstm/results
	$(PYTHON) -m examples.adaptive_lstm.t_maze --preset paper \
	    --results examples/adaptive_lstm/results
	$(PYTHON) -m examples.adaptive_lstm.report
	$(PYTHON) -m examples.adaptive_lstm.figures

reproductions: setup
	$(PYTHON) -m examples.reproductions
	$(PYTHON) -m examples.spiking_lstm.ablation --table
	$(PYTHON) -m examples.spiking_lstm.figures
	$(PYTHON) -m examples.src.figures
	$(PYTHON) -m examples.inherent_recurrence.figures
	$(PYTHON) -m tools.short_tables

# In two processes: TensorFlow never frees what XLA has compiled. Most of what the first one compiles
# runs for milliseconds: XLA optimises it less. In the second one and in test-py312 it does so fully.
test: setup lava-dl lint
	XLA_FLAGS=--xla_backend_optimization_level=0 \
	    $(PYTHON) -m pytest tests/lava tests/lava_export tests/keras_spiking_rnn
	$(PYTHON) -m pytest tests/benchmarks tests/test_*.py

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

.venv312/.ready: setup.cfg pyproject.toml
	tools/make_venv.sh 3.12 .venv312
	.venv312/bin/python -m pip install --quiet --upgrade pip
	.venv312/bin/python -m pip install --quiet --editable ".[nir,viz,dev]"
	touch $@

# Without the equations and the gradients of each model, which other versions do not change: there
# its layer is in test_conformance and test_fused, its integers are in tests/lava_export.
EQUATIONS := adaptive_lstm conv_rlif2d learning lif lif_lstm rlif spiking_lstm src
test-py312: .venv312/.ready
	.venv312/bin/python -m pytest tests/keras_spiking_rnn tests/lava_export \
	    $(EQUATIONS:%=--ignore=tests/keras_spiking_rnn/test_%.py)

# Material prints a note on MkDocs 2 otherwise.
docs: setup
	$(PYTHON) -m tools.support_matrix
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

notebooks: setup
	$(PYTHON) -m tools.notebooks

pictures: setup
	$(PYTHON) docs/make_pictures.py

# The peers do not go with TensorFlow's versions of NumPy.
.venv-bench/.ready: benchmarks/peers.txt
	tools/make_venv.sh 3.10 .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet --requirement benchmarks/peers.txt
	touch $@

bench: setup .venv-bench/.ready
	$(PYTHON) -m benchmarks.training
	$(PYTHON) -m benchmarks.memory
	$(PYTHON) -m benchmarks.growth
	$(PYTHON) -m benchmarks.parts --workload rlif spiking_lstm
	$(PYTHON) -m benchmarks.simulators
	$(PYTHON) -m benchmarks.report

lock: setup
	$(PYTHON) -m piptools compile --quiet --resolver=backtracking --upgrade --all-extras \
	    --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host \
	    --no-emit-find-links --output-file requirements.lock setup.cfg
	sed -i -e '/^keras-spiking-rnn/d' -e '/^#/d' -e '/^$$/d' requirements.lock

clean:
	rm -rf .venv .venv312 .venv-bench runs site
