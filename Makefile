# Every target creates .venv and installs what it needs; no other setup is required.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports, and keeps it; to compile all that is installed would take half of
# the time of the installation.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	-c constraints.txt
# Small tensors gain nothing from two threads, and two test workers would compete for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test programs suite lint style types test-slow test-gpu results results-qisa results-overlap results-compare results-equal \
	results-start results-verdict results-equal-time results-studies results-published \
	results-deep results-circuits results-speed results-speed-avx2 results-cold results-gpu \
	results-tensorized results-convert results-leaderboard results-devices \
	results-moses results-moses-models results-qm9-models results-optimise results-scaffolds results-series \
	results-guidance results-constrained readme docs notebooks fuzz clean

demo: $(VENV)/.installed
	$(BIN)/ketformer demo

# mypy keeps one core busy, so it runs beside the tests instead of before them.
test:
	$(MAKE) --no-print-directory --jobs 2 programs style
	$(MAKE) --no-print-directory --jobs 2 types suite

# Pages are tested in Chromium, completion in every shell; apt-get installs what is missing.
PROGRAMS = chromium zsh fish
programs:
	@missing=$$(for name in $(PROGRAMS); do command -v $$name >/dev/null || echo $$name; done); \
	test -z "$$missing" || { apt-get update -q && apt-get install -y -q $$missing; } || \
	echo "not installed:" $$missing

suite: $(VENV)/.installed
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations 20

lint: style types

style: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

# Long proofs: not part of `make test`.
test-slow: $(VENV)/.installed
	$(MAKE) --no-print-directory programs PROGRAMS=clang
	$(PIP) -e '.[ray,harness]'
	$(PYTEST) -m slow

# What needs a GPU, which CI has not; without one they fail.
test-gpu: $(VENV)/.installed
	$(PYTEST) -m gpu tests/gpu

# Coverage-guided fuzzing of the readers, ten minutes each; findings are kept in build/fuzz.
MINUTES ?= 10
fuzz: $(VENV)/.installed
	$(PIP) -e '.[fuzz]'
	nice -n 10 $(BIN)/python fuzz/run.py --minutes $(MINUTES) --out results/fuzz.json

# The numbers in the README. Needs Tiny Shakespeare and QM9; see each target for the time it takes
# on two cores. Runs already finished in runs/ are not trained again.
results: results-qisa results-overlap results-compare results-equal results-start results-verdict \
	results-equal-time \
	results-studies results-published results-deep results-circuits results-speed \
	results-cold results-tensorized results-convert results-leaderboard results-devices results-moses \
	results-scaffolds results-series results-guidance results-constrained readme

# About an hour.
results-qisa: $(VENV)/.installed
	$(call keep,reproduce-qisa,reproduce qisa)

# About three hours.
results-overlap: $(VENV)/.installed
	$(call keep,reproduce-overlap,reproduce overlap)
	$(call constant,0.005)
	$(call constant,0.001)

# The same model at a constant learning rate, to show what the decay gives.
constant = $(BIN)/ketformer train overlap-qm9 --lr_scheduler_type constant --learning_rate $(1) \
	--out runs/constant-$(1) --resume && \
	$(call keep,overlap-constant-$(1),evaluate runs/constant-$(1) --fcd false)

# Twenty minutes: the verdict on overlap, five seeds of it and of every control that applies.
results-verdict: $(VENV)/.installed
	$(call keep,verdict-overlap,verdict overlap $(TINY) --budget 18m \
		--out runs/verdict-overlap)

# A quarter of an hour of an otherwise idle core: circuits of overlap, trained for equally long.
results-equal-time: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/equal_time_study.py

# Twenty minutes: what the start and the positions do, with queries and keys begun as usual.
results-start: $(VENV)/.installed
	$(call keep,start,compare $(STARTED) $(TINY) $(USUAL) $(OWN) --out runs/start)
	$(call keep,start-torch,compare classical overlap:entanglement=none $(TINY) $(OWN) \
		--positions learned --initializer_range null --out runs/start-torch)
	$(call keep,start-rotary,compare classical classical:initial_spread=1 classical_qk_norm \
		classical_qk_norm:local_start=0.5 overlap:entanglement=none $(TINY) $(OWN) \
		--positions rotary --initializer_range 0.02 --out runs/start-rotary)

STARTED = classical classical:initial_spread=1 overlap:entanglement=none \
	overlap:entanglement=none,initial_spread=0.05 classical_eq:query_width=6,initial_spread=1 \
	classical:score=gaussian classical:score=double_exponential classical_cosines
OWN = --initial_spread null
# 112,000 parameters: seconds for each run.
TINY = --preset char-small --num_hidden_layers 2 --data tinyshakespeare --max_steps 600 \
	--per_device_train_batch_size 16

# Some minutes: MOSES' metrics of its own training set.
results-moses: $(VENV)/.installed
	$(PIP) -e '.[molecules]'
	OMP_NUM_THREADS=1 $(BIN)/python scripts/moses_train.py

# Two to three hours on two cores: `overlap-moses` and its classical twin, an epoch of each. For the
# ten epochs of the preset, on a GPU: `make results-moses-models MOSES_STEPS=`.
MOSES_STEPS ?= --max_steps 12380
results-moses-models: $(VENV)/.installed
	$(PIP) -e '.[molecules]'
	$(BIN)/ketformer compare overlap classical --preset overlap-moses --seeds 1 --rates 1 \
		$(MOSES_STEPS) --out runs/moses
	OMP_NUM_THREADS=1 $(BIN)/python scripts/moses_models.py \
		runs/moses/overlap-seed42 runs/moses/classical-seed42

# Over three hours on a core: the model of `overlap-qm9-deep` without conditions, from three seeds.
results-qm9-models: $(VENV)/.installed
	$(PIP) -e '.[molecules]'
	$(call plain,42)
	$(call plain,43)
	$(call plain,44)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/qm9_models.py \
		runs/qm9/overlap-seed42 runs/qm9/overlap-seed43 runs/qm9/overlap-seed44

plain = $(BIN)/ketformer train overlap-qm9-deep --conditions null --condition_pdrop 0 \
	--num_train_epochs 18 --seed $(1) --out runs/qm9/overlap-seed$(1) --resume

# An hour and a half: that model steered towards six goals of PMO, from three seeds.
STEERED ?= runs/moses/overlap-seed42
results-optimise: $(VENV)/.installed
	$(PIP) -e '.[molecules]'
	OMP_NUM_THREADS=1 $(BIN)/python scripts/pmo.py $(STEERED)

# Ten minutes: a model of fragments of QM9, asked for scaffolds and to link fragments.
results-scaffolds: $(VENV)/.installed
	$(FRAGMENTS)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/scaffold_study.py runs/fragments

# Ten minutes: that model fine-tuned on three series.
results-series: $(VENV)/.installed
	$(FRAGMENTS)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/series_study.py runs/fragments

FRAGMENTS = $(BIN)/ketformer train overlap-small --data qm9 --split scaffold --conditions null \
	--tokenizer safe --randomise_smiles true --max_steps 4000 --out runs/fragments --resume

# Three minutes, after results-studies, one of whose models it asks for the published targets. For
# more seeds, GUIDED names more of them.
GUIDED ?= runs/conditional-qm9/overlap-seed42
results-guidance: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/guidance_study.py $(GUIDED)

# Two minutes, after results-qm9-models: the time and the validity of constrained sampling.
RUN ?= runs/qm9/overlap-seed42
results-constrained: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/constrained_study.py $(RUN) --number 10000

# Two hours: every mechanism on equal terms, text and molecules; sizes; little data.
results-studies: $(VENV)/.installed
	$(call keep,mechanisms-text,compare $(EVERY) $(TINY) --seeds 5 --out runs/leaderboard/text)
	$(call keep,mechanisms-qm9,compare $(EVERY) --preset overlap-small --data qm9 --max_steps 600 \
		--out runs/leaderboard/molecules)
	$(call keep,conditional-qm9,compare classical overlap overlap:entanglement=none \
		--preset overlap-small --data qm9 --targets 1000 --out runs/conditional-qm9)
	$(call size,3k,12,1,2)
	$(call size,10k,24,1,2)
	$(call size,30k,32,2,4)
	$(call size,110k,64,2,4)
	$(call size,350k,96,3,4)
	$(call size,1M,128,5,4)
	$(call keep,frontier-1M-rate,compare classical overlap $(TINY) --hidden_size 128 \
		--num_hidden_layers 5 --num_attention_heads 4 --rates 1 --learning_rate 0.00095 \
		--out runs/frontier-1M-rate)
	$(call fraction,0.01)
	$(call fraction,0.1)

# Two hours: every causal mechanism and its classical twins, each judged, on text and molecules. The
# runs of results-studies are among them.
results-leaderboard: $(VENV)/.installed
	$(call keep,leaderboard,leaderboard)

EVERY = classical classical:local_start=2 classical_eq classical_quadratic classical_qk_norm \
	classical_fourier classical_cosines classical_bottleneck classical_gated qsann qisa qisa_a \
	overlap overlap:entanglement=none
FEW = classical classical:local_start=2 qisa overlap
size = $(call keep,frontier-$(1),compare $(FEW) $(TINY) --hidden_size $(2) \
	--num_hidden_layers $(3) --num_attention_heads $(4) --out runs/frontier-$(1))
# With little data, what is best after a third of the steps need not be best after all of them.
fraction = $(call keep,data-$(1),compare $(FEW) $(TINY) --train_fraction $(1) --search_share 1 \
	--out runs/data-$(1))

# Two hours: the two character presets on equal terms, the small one at its own length. The 5,000
# steps of 64 sequences of the large one would take two cores more than a day; on a GPU, use
# `make results-equal SHORTER=`.
results-equal: $(VENV)/.installed
	$(call keep,compare-char-small,compare $(FEW) --preset char-small --data tinyshakespeare \
		--out runs/compare-char-small)
	$(call keep,compare-char-gpt-equal,compare classical classical:local_start=2 qisa qisa_a qsann overlap \
		--data tinyshakespeare --preset char-gpt $(SHORTER) --out runs/compare-char-gpt-equal)

# An hour and a half: the usual start and learned positions. How much of overlap's lead there is due
# to its circuit, and how much to its start.
results-compare: $(VENV)/.installed
	$(call keep,compare-char-gpt-controls,compare classical overlap classical_eq $(COMPARED) \
		--controls $(ABLATIONS) --out runs/compare-char-gpt-controls)
	$(call keep,compare-char-gpt-start,compare $(STARTS) $(COMPARED) \
		--out runs/compare-char-gpt-start)

# Each with the scores' spread of its own start, and with about that of the other.
STARTS = classical classical:initial_spread=1 overlap overlap:initial_spread=0.05
ABLATIONS = no_entanglement,random_circuit
COMPARED = --data tinyshakespeare --preset char-gpt --seeds 3 --initial_spread null $(USUAL) $(SHORTER)
# The usual start and positions; the presets have better ones.
USUAL = --positions learned --initializer_range 0.02
SHORTER ?= --max_steps 600 --per_device_train_batch_size 16 --warmup_steps 60 --learning_rate 3e-3 \
	--eval_steps 100 --save_steps 100 --save_total_limit 1

# A few minutes: the released weights, measured like ours. PUBLISHED is their folder.
PUBLISHED ?= ../shared/published
results-published: $(VENV)/.installed
	$(call import,sequence,quantum_sequence_epoch_17,--samples 100000)
	$(call import,conditions,quantum_conditions_epoch_20,--targets 1000)

import = rm -rf runs/published-$(1) && \
	$(BIN)/ketformer import-checkpoint $(PUBLISHED)/$(2).pt --out runs/published-$(1) && \
	$(call keep,published-$(1),evaluate runs/published-$(1) --fcd false $(3))

# About two hours.
results-deep: $(VENV)/.installed
	$(call keep,overlap-qm9-deep,compare overlap classical --preset overlap-qm9-deep \
		--seeds 1 --rates 1 --fcd true --targets 1000 --initial_spread null $(USUAL) \
		--out runs/deep)

# A few minutes, after results-qisa and results-published, whose models it runs on circuits.
results-circuits: $(VENV)/.installed
	$(call keep,circuit-check,circuit check)
	$(call keep,circuit-bench,bench circuits)
	$(call study,overlap,runs/published-sequence)
	$(call study,qisa_a,runs/reproduce-qisa/qisa_a-seed42)
	$(call resources,overlap)
	$(call resources,qisa)
	$(call resources,qisa_a)
	$(call resources,qsann)

# A quarter of an hour on a busy core: the released weights and a small qisa_a on three of IBM's
# devices as they were recorded, raw and mitigated.
results-devices: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/device_study.py --published $(PUBLISHED)

# Half an hour on an otherwise idle machine. `bench all` gives the same in one object.
results-speed: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(call keep,bench-attention,bench attention --repeats 7 --mechanisms $(TIMED))
	OMP_NUM_THREADS=1 $(call keep,bench-attention-eager,bench attention --compiled false \
		--mechanisms $(TIMED))
	OMP_NUM_THREADS=1 $(call keep,bench-generation,bench generation --repeats 7 \
		--mechanisms $(WRITING))
	$(call timed,peers)
	OMP_NUM_THREADS=1 $(call keep,bench-memory,bench memory --repeats 1 --mechanisms $(WRITING))
	$(BIN)/python scripts/scale_table.py

# A quarter of an hour, on a processor with AVX-512, right after results-speed: attention again with
# vectors of 256 bits, in torch, in what it compiles, in its libraries, and in the kernels.
results-speed-avx2: $(VENV)/.installed
	$(AVX2) OMP_NUM_THREADS=1 $(call keep,bench-attention-avx2,bench attention --repeats 7 \
		--mechanisms $(TIMED))

AVX2 = ATEN_CPU_CAPABILITY=avx2 TORCHINDUCTOR_CPP_MARCH=x86-64-v3 MKL_ENABLE_INSTRUCTIONS=AVX2 \
	ONEDNN_MAX_CPU_ISA=AVX2

# A minute: what every verb takes before its work begins.
results-cold: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(call keep,cold-start,bench start)

# A minute, on a GPU.
results-gpu: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(call keep,bench-attention-gpu,bench attention --compiled false --repeats 3 \
		--sizes "$(WIDE)" --mechanisms $(TIMED_ON_GPU))

WIDE = GPT-1 width, T 512
TIMED_ON_GPU = qisa qisa_a qsann overlap vqc qmsan orthogonal kernel interference pam qsa_cp \
	tensorized quixer qasa

# Those of the papers that this project began with; alone, the benchmarks measure all.
TIMED = classical:score=gaussian qisa qisa_published qisa_a qsann overlap
WRITING = classical classical_eq qisa qisa_a qsann overlap
timed = OMP_NUM_THREADS=1 $(call keep,bench-$(1),bench $(1))

# A minute: the leak of the Tensorized Transformer.
results-tensorized: $(VENV)/.installed
	$(call keep,reproduce-tensorized,reproduce tensorized)
	cp runs/reproduce-tensorized/loss.svg docs/pictures/claims-tensorized.svg

# Ten minutes: a small GPT-2, converted and fine-tuned.
results-convert: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/convert_study.py

study = $(call keep,circuit-noise-$(1),circuit noise $(2) --out docs/pictures/noise-$(1).png) && \
	$(call keep,circuit-gradients-$(1),circuit gradients $(2))
resources = $(call keep,circuit-resources-$(1),circuit resources $(1) --out \
	docs/pictures/resources-$(1).png)

# The verb's JSON becomes the result only if the verb succeeds.
keep = $(BIN)/ketformer $(2) --json > results/$(1).json.part && mv results/$(1).json.part results/$(1).json

# The notebooks with their outputs, in build/notebooks.
notebooks: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python scripts/run_notebooks.py

readme: $(VENV)/.installed
	$(BIN)/python scripts/update_readme.py
	$(BIN)/python scripts/claims_pictures.py
	$(BIN)/python scripts/verdict_pictures.py
	$(BIN)/python scripts/chemist_pictures.py

# The documentation site, in build/site: open its index.html, or serve the folder to use its search.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# CUDA-Q with its CPU simulators, without the gigabytes of GPU libraries that it requires. It has
# wheels for Linux only; elsewhere its tests are skipped.
CUDAQ = test "$$(uname)" != Linux || { \
	$(PIP) --no-deps cuda-quantum-cu13 && $(PIP) astpretty requests; }

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ketformer needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	$(CUDAQ)
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
