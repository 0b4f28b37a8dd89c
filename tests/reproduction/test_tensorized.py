"""``ketformer reproduce tensorized``: the leak on random tokens, in a table and a picture."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

import ketformer.reproduction.tensorized as tensorized
from commands import reproduction
from ketformer.cli import main
from ketformer.reproduction.tensorized import HONEST, LETTERS, TENSORIZED_ROWS, verdict


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    """A reproduction of 60 steps, enough for the leak to show, already run once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorized, "_LENGTH", 20_000)
        patch.setattr(tensorized, "_POINTS", 2)
        yield reproduced(tmp_path_factory)


def reproduced(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduce") / "out"
    args = ["reproduce", "tensorized", "--max_steps", "60", "--jobs", "1", "--out", str(out)]
    assert main([*args, "--json"]) == 0
    return args


def test_only_the_released_layer_falls_below_what_is_possible(args):
    result = reproduction(args)
    released, *honest = result["rows"]
    assert [row["name"] for row in result["rows"]] == [name for name, _ in TENSORIZED_ROWS]
    assert result["ln_vocabulary"] == HONEST == pytest.approx(math.log(32))
    assert not released["causal"]
    assert released["cross_entropy"]["mean"] < HONEST - 0.3
    assert released["prefix_cross_entropy"]["mean"] > HONEST
    for row in honest:
        assert row["causal"]
        for key in ("cross_entropy", "prefix_cross_entropy"):
            assert HONEST - 0.01 < row[key]["mean"] < HONEST + 0.1
    assert honest[0]["parameters"] == released["parameters"]


def test_the_tokens_are_uniform(args):
    text = (Path(args[-1]) / "random-tokens.txt").read_text(encoding="utf-8")
    counts = Counter(text)
    expected = len(text) / 32
    assert set(counts) == set(LETTERS)
    assert len(LETTERS) == 32
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 62  # 31 degrees, p 0.001
    pairs = Counter(pairwise(text))
    expected = len(text) / 32**2
    assert sum((pairs[a, b] - expected) ** 2 for a in LETTERS for b in LETTERS) / expected < 1170


def test_a_second_call_trains_nothing_and_prints_table_verdict_and_picture(
    ketformer, args, monkeypatch
):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    picture = Path(args[-1]) / "loss.svg"
    picture.unlink()
    shown = ketformer(*args)
    assert shown.code == 0
    assert verdict(reproduction(args)) in shown.out
    assert f"plot: {picture}" in shown.out
    assert picture.stat().st_size > 5000
    some = ketformer(*args, "--rows", "tensorized", "classical", "--json")
    assert [row["name"] for row in some.json["rows"]] == ["tensorized", "classical"]


def test_mistakes(ketformer, tmp_path):
    call = ("reproduce", "tensorized", "--out", tmp_path / "out")
    ketformer(*call, "--data", "embedded").assert_mistake("tensorized makes its own")
    ketformer(*call, "--gradient", "spsa").assert_mistake("--gradient is for the paper overlap")
    ketformer(*call, "--rows", "qisa").assert_mistake("qisa")
    ketformer(*call, "--max_steps", 0).assert_mistake("max_steps")
