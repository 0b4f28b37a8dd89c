"""``ketformer bench``: ratios that match the times next to them."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ketformer.attention import attention_class
from ketformer.attention.registry import causal_mechanisms
from ketformer.bench import (
    generation as generation_bench,
    memory as memory_bench,
    peer_step,
    peers as peer_bench,
)
from ketformer.bench.sizes import AttentionSize, GenerationSize, PeerSize
from ketformer.models import preset
from ketformer.quantum.native import instructions

RESULTS = Path(__file__).parents[2] / "results"


def test_circuits_are_timed_beside_the_closed_form(ketformer):
    options = ["--backends", "torch", "pennylane", "--length", 3, "--repeats", 2, "--json"]
    done = ketformer("bench", "circuits", *options)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    assert [row["name"] for row in rows] == 2 * ["closed form", "torch", "pennylane"]
    for start in (0, 3):
        closed = rows[start]
        assert closed["ratio"] == 1
        for row in rows[start : start + 3]:
            assert row["against"] == "closed form"
            assert row["ratio"] == pytest.approx(row["median_ms"] / closed["median_ms"])
            assert row["low_ms"] <= row["median_ms"] <= row["high_ms"]
            assert row["device"] == "cpu"
    assert rows[0]["work"] == "overlap scores, 6 circuits of 7 qubits"
    assert done.json["machine"]["cpu"]
    sets = done.json["machine"]["instructions"]
    assert sets == {"kernels": instructions(), "torch": torch.backends.cpu.get_cpu_capability()}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            ["speed"],
            "unknown benchmark 'speed'; known: attention, generation, circuits, peers, memory, "
            "start",
        ),
        (["generation", "--mechanisms", "qisa_published"], "sees the future"),
        (["generation", "--repeats", "0"], "must be positive"),
        (["peers", "--mechanisms", "qisa"], "--mechanisms applies only to bench attention"),
        (["peers", "--repeats", "0"], "must be positive"),
        (["memory", "--mechanisms", "linear"], "unknown attention 'linear'"),
        (["memory", "--length", "0"], "must be positive"),
        (["memory", "--mechanisms", "tensorized", "--length", "100000"], "would need at least"),
        (["all", "--length", "8"], "--length applies only to bench circuits, memory"),
        (["attention", "--sizes", "huge"], "unknown size 'huge'"),
        (["attention", "--mechanisms", "linear"], "linear"),
        (["attention", "--mechanisms", "overlap:n_qubits"], "options are written name:option="),
        (["attention", "--repeats", "0"], "must be positive"),
        (["circuits", "--backends", "qulacs"], "unknown backend 'qulacs'"),
        (["circuits", "--repeats", "0"], "must be positive"),
        (["start", "--repeats", "0"], "must be positive"),
    ],
)
def test_mistakes(ketformer, args, told):
    ketformer("bench", *args).assert_mistake(told)


@pytest.fixture
def small(monkeypatch):
    """Every benchmark with tiny sizes; a molecule has four tokens."""
    from ketformer.cli import bench

    sizes = {
        "attention": [
            AttentionSize("tiny", 8, 1, 2, 4, 3),
            AttentionSize("padded", 8, 1, 2, 4, 3, conditions=2),
        ],
        "generation": [
            GenerationSize("text", "text", 11, 8, 1, 2, 2, 3, 4),
            GenerationSize("molecules", "molecules", 11, 8, 1, 2, 3, 1, 5),
        ],
        "peers": [
            PeerSize("values", "values", 4, 8),
            PeerSize("overlaps", "overlaps", 3, 8),
            PeerSize("step", "step", 6, 2),
        ],
    }
    decoder = preset("overlap-qm9")
    decoder["model"]["max_position_embeddings"] = 4
    monkeypatch.setattr(peer_step, "preset", lambda _: decoder)
    for name, some in sizes.items():
        own = bench.BENCHMARKS[name]
        changed = replace(own, sizes={size.name: size for size in some})
        monkeypatch.setitem(bench.BENCHMARKS, name, changed)


def assert_ratios(rows):
    """Each row's ratio is its time over that of the row it names."""
    for row in rows:
        (against,) = (
            other
            for other in rows
            if other["name"] == row["against"] and other["work"] == row["work"]
        )
        assert row["ratio"] == pytest.approx(row["median_ms"] / against["median_ms"])
        assert row["low_ms"] <= row["median_ms"] <= row["high_ms"]
        assert row["device"]


@pytest.fixture
def traced(monkeypatch):
    """Compiling traces into one graph but skips code generation, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.slow
def test_generated_code_is_timed(ketformer, small):
    assert_mechanisms_are_timed(ketformer)


@pytest.mark.usefixtures("traced")
def test_mechanisms_are_timed_beside_the_classical_one(ketformer, small):
    assert_mechanisms_are_timed(ketformer)


def assert_mechanisms_are_timed(ketformer):
    sizes = ["tiny", "padded"]
    options = ["--mechanisms", "qisa", "--sizes", *sizes, "--repeats", 2, "--json"]
    done = ketformer("bench", "attention", *options)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    works = [f"{what}, {size}" for size in sizes for what in ("inference", "training step")]
    found = [(row["work"], row["name"]) for row in rows]
    assert found == [(work, name) for work in works for name in ("classical", "qisa")]
    assert_ratios(rows)


def test_arms_with_options_are_timed_too(ketformer, small):
    arms = ["qisa_a", "qisa_a:register=head", "overlap:entanglement=none,n_qubits=2"]
    options = ["--sizes", "padded", "--repeats", 1, "--compiled", "false", "--json"]
    done = ketformer("bench", "attention", "--mechanisms", *arms, *options)
    assert done.code == 0, done.err
    rows = [row for row in done.json["rows"] if row["work"].startswith("inference")]
    assert [row["name"] for row in rows] == ["classical", *arms]
    sizes = {row["name"]: row["parameters"] for row in rows}
    assert sizes["qisa_a:register=head"] < sizes["qisa_a"]


def test_a_machine_without_code_generation_is_told_of_the_other_way(ketformer, small, monkeypatch):
    def fails(graph, inputs):
        raise RuntimeError("no vector instructions")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fails))
    done = ketformer("bench", "attention", "--mechanisms", "qisa", "--sizes", "tiny")
    reason = "backend='fails' raised: RuntimeError: no vector instructions"
    told = f"error: torch.compile fails on this machine ({reason}); pass --compiled false"
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].endswith(told)  # after the bar


def test_generation_is_timed_beside_gpt2(ketformer, small):
    options = ["--mechanisms", "overlap", "--sizes", "text", "molecules", "--repeats", 2]
    done = ketformer("bench", "generation", *options, "--json")
    assert done.code == 0, done.err
    rows = done.json["rows"]
    gpt2 = "GPT-2 of transformers"
    assert [row["name"] for row in rows] == 2 * [gpt2, "overlap", f"{gpt2}, converted to overlap"]
    assert_ratios(rows)
    for row in rows[:3]:
        assert row["tokens_per_second"] == pytest.approx(2 * 4 / row["median_ms"] * 1000)
        assert row["molecules_per_second"] is None
    for row in rows[3:]:
        assert row["molecules_per_second"] == pytest.approx(3 / row["median_ms"] * 1000)


@pytest.mark.parametrize("task", ["text", "molecules"])
@pytest.mark.parametrize("name", causal_mechanisms())
def test_every_row_of_what_is_timed_has_full_length(task, name):
    size = GenerationSize(task, task, 11, 8, 1, 2, 3, 1, 5)
    for model in (generation_bench._model(name, size), generation_bench._gpt2(size)):
        written = generation_bench._writing(model.eval(), size)()
        assert written.shape == (3, 5)
        assert task == "text" or model.config.model_type == "gpt2" or (written > 2).all()


@pytest.mark.parametrize("name", generation_bench.CONVERTED)
def test_the_converted_gpt2_differs_in_its_attention_alone(name):
    size = GenerationSize("molecules", "molecules", 11, 8, 1, 2, 3, 1, 5)
    original, converted = generation_bench._gpt2(size), generation_bench._converted(name, size)
    (attention,) = converted.converted().values()
    assert type(attention.mechanism) is attention_class(name)
    assert name != "overlap" or attention.mechanism.n_qubits == 5  # that of the preset
    kept = converted.state_dict()
    for key, value in original.state_dict().items():
        assert ".attn." in key or torch.equal(kept[key], value)
    written = generation_bench._writing(converted.eval(), size)()
    assert written.shape == (3, 5)


def test_peers_compute_the_same_and_are_timed(ketformer, small):
    done = ketformer(
        "bench", "peers", "--sizes", "values", "overlaps", "step", "--repeats", 1, "--json"
    )
    assert done.code == 0, done.err
    rows = done.json["rows"]
    circuits, step = rows[:-3], rows[-3:]
    assert {row["name"] for row in circuits} >= {"ketformer", "PennyLane default.qubit"}
    assert_ratios(circuits)
    assert all(row["max_difference"] <= 1e-5 for row in circuits)
    if step[-1]["name"].endswith("CUDA-Q circuits"):
        assert_ratios(step)
        assert step[-1]["circuits"] == 2 * step[-1]["circuits_timed"]
        assert any("multiplied by 2" in note for note in done.json["notes"])


def test_a_peer_that_computes_something_else_is_not_timed(ketformer, small, monkeypatch):
    def wrong(size):
        right = peer_bench._ours(size)
        return lambda own, shared: right(own, shared * 1.001)

    monkeypatch.setattr(peer_bench, "_pennylane", wrong)
    done = ketformer("bench", "peers", "--sizes", "values")
    done.assert_mistake("PennyLane default.qubit differs by")


@pytest.mark.slow
def test_memory_of_a_long_sequence_beside_the_classical_one(ketformer, monkeypatch):
    monkeypatch.setattr(memory_bench, "WORKS", ("training step",))  # each starts a process
    options = ["--mechanisms", "qisa", "--length", 600, "--repeats", 1, "--json"]
    done = ketformer("bench", "memory", *options)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    assert [row["name"] for row in rows] == ["classical", "qisa"]
    assert {row["work"] for row in rows} == {"training step, T 600"}
    for row in rows:
        (against,) = (r for r in rows if (r["name"], r["work"]) == (row["against"], row["work"]))
        assert row["ratio"] == pytest.approx(row["peak_mib"] / against["peak_mib"])
        # At least one hidden state of 600 x 64 numbers, and not the whole process.
        assert 600 * 64 * 4 / 2**20 < row["low_mib"] <= row["peak_mib"] < 100


def test_a_start_takes_more_than_an_interpreter_that_does_nothing(ketformer, monkeypatch):
    """And what a process computes counts as its time, unlike what it waits."""
    from ketformer.bench import start

    starts = {
        "python": ("nothing", ("-c", "pass")),
        "busy": ("work", ("-c", "sum(range(5_000_000))")),
        "idle": ("work", ("-c", "import time; time.sleep(0.3)")),
    }
    monkeypatch.setattr(start, "_starts", lambda verbs: starts)
    done = ketformer("bench", "start", "--repeats", 1, "--json")
    assert done.code == 0, done.err
    nothing, busy, idle = done.json["rows"]
    assert nothing["ratio"] == 1
    assert busy["ratio"] == pytest.approx(busy["cpu_ms"] / nothing["cpu_ms"])
    assert busy["cpu_ms"] > nothing["cpu_ms"]
    assert idle["cpu_ms"] < 300 <= idle["median_ms"]
    starts["fails"] = ("help", ("-c", "raise SystemExit('no help')"))
    failed = ketformer("bench", "start", "--repeats", 1)
    assert failed.code == 2
    assert "fails failed: no help" in failed.err


@pytest.mark.usefixtures("traced")
def test_all_is_one_object_with_profiles(ketformer, small, monkeypatch, tmp_path):
    """Memory, start and circuits, which start processes and backends, are replaced by fakes."""
    from ketformer.cli import bench

    row = {"name": "x", "work": "y", "ratio": 1.0, "against": "x", "device": "cpu"}
    for name in ("circuits", "memory", "start"):
        fake = replace(bench.BENCHMARKS[name], run=lambda **_: {"rows": [row], "repeats": 1})
        monkeypatch.setitem(bench.BENCHMARKS, name, fake)
    for name in ("attention", "generation", "peers"):
        own = bench.BENCHMARKS[name]
        one = [next(iter(own.sizes.values()))]
        fewer = {} if name == "peers" else {"mechanisms": ["qisa"]}
        monkeypatch.setitem(
            bench.BENCHMARKS, name, replace(own, run=partial(own.run, sizes=one, **fewer))
        )
    done = ketformer("bench", "all", "--repeats", 1, "--profile", tmp_path / "p", "--json")
    assert done.code == 0, done.err
    assert list(dict.fromkeys(row["bench"] for row in done.json["rows"])) == list(bench.BENCHMARKS)
    assert done.json["machine"]["cpu"]
    table = (tmp_path / "p" / "generation-text-4-tokens-qisa.txt").read_text()
    assert "aten::linear" in table
    assert (tmp_path / "p" / "generation-text-4-tokens-qisa.json").stat().st_size


def test_the_tables_can_be_read(ketformer, small):
    done = ketformer("bench", "generation", "--sizes", "text", "--repeats", 1)
    assert done.code == 0, done.err
    assert "times GPT-2 of transformers" in done.out
    assert "tokens/s" in done.out
    assert done.out.splitlines()[-1].endswith(instructions() or "without kernels")


def test_both_instruction_sets_were_measured_on_one_machine():
    files = "bench-attention.json", "bench-attention-avx2.json"
    wide, narrow = (json.loads((RESULTS / name).read_text()) for name in files)
    sets = [result["machine"].pop("instructions") for result in (wide, narrow)]
    assert sets == [
        {"kernels": "AVX-512", "torch": "AVX512"},
        {"kernels": "AVX2", "torch": "AVX2"},
    ]
    assert wide["machine"] == narrow["machine"]
    timed = [[(row["work"], row["name"]) for row in result["rows"]] for result in (wide, narrow)]
    assert timed[0] == timed[1]
