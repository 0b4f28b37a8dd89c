"""``ketformer sweep``: the points, their order, and no run trained twice."""

import csv
import io
import json
import math

import pytest
from hypothesis import given, strategies as st

from commands import somebody_in
from ketformer.comparison.sweep import (
    Range,
    folder_of,
    grid_points,
    name_of,
    parsed_grid,
    random_points,
)
from ketformer.errors import KetformerError
from ketformer.runs import load_settings

GRID = ("--grid", "learning_rate=1e-4,1e-2", "--grid", "attention_options.hilbert_dim=3,4")


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """The folder of a finished sweep, and its arguments."""
    from ketformer.cli import main

    out = tmp_path_factory.mktemp("sweep") / "out"
    args = ["sweep", tiny, "--attention", "qisa", "--max_steps", "10", "--out", str(out)]
    assert main([*args, *GRID, "--json"]) == 0
    return out, args


def test_each_point_is_a_run_with_its_settings(swept):
    out, _ = swept
    rows = json.loads((out / "sweep.json").read_text())["rows"]
    assert {row["name"] for row in rows} == {
        f"learning_rate={rate},hilbert_dim={dim}" for rate in ("0.0001", "0.01") for dim in (3, 4)
    }
    assert [row["eval_loss"] for row in rows] == sorted(row["eval_loss"] for row in rows)
    assert rows[0]["changes"]["learning_rate"] == 0.01
    for row in rows:
        folder = out / row["name"].replace(",", "-")
        assert row["run"] == str(folder)
        settings = load_settings(str(folder / "settings.yaml"))
        assert settings.training["learning_rate"] == row["changes"]["learning_rate"]
        dim = row["changes"]["attention_options.hilbert_dim"]
        assert settings.model["attention_options"] == {"hilbert_dim": dim}
        logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert row["eval_loss"] == [line["eval_loss"] for line in logged if "eval_loss" in line][-1]


def test_a_second_call_trains_nothing_and_prints_the_table(ketformer, swept, monkeypatch):
    out, args = swept
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    rows = json.loads((out / "sweep.json").read_text())["rows"]
    shown = ketformer(*args, *GRID)
    assert shown.code == 0, shown.err
    assert shown.out.split()[:2] == ["learning_rate", "attention_options.hilbert_dim"]
    assert f"{rows[0]['eval_loss']:.4f}" in shown.out.splitlines()[1]
    assert "4 runs, 10 steps, seed 42" in shown.out
    assert "best learning_rate is the highest tried" in shown.out
    assert f"best run: {rows[0]['run']}" in shown.out
    table = list(csv.DictReader(io.StringIO(ketformer(*args, *GRID, "--format", "csv").out)))
    assert [float(line["eval_loss"]) for line in table] == [row["eval_loss"] for row in rows]
    assert r"attention\_options.hilbert\_dim" in ketformer(*args, *GRID, "--format", "latex").out


def test_a_folder_holds_one_sweep_at_a_time(ketformer, swept):
    out, args = swept
    with somebody_in(out):
        ketformer(*args, *GRID).assert_mistake(f"{out}: in use by process")


def test_it_can_be_extended_but_loses_no_row(ketformer, swept, monkeypatch):
    out, args = swept
    before = (out / "sweep.json").read_bytes()
    fewer = ketformer(*args, "--grid", "learning_rate=1e-2", "--grid", GRID[3])
    fewer.assert_mistake("which this sweep lacks")
    monkeypatch.setattr("ketformer.comparison.sweep.run_jobs", lambda jobs, **_: [
        {"eval_loss": None if "=0.5" in job.row else 1.0} for job in jobs
    ])  # fmt: skip
    assert (out / "sweep.json").read_bytes() == before
    more = ketformer(*args, "--grid", "learning_rate=0.5,1e-4,1e-2", "--grid", GRID[3], "--json")
    assert [row["eval_loss"] for row in more.json["rows"]] == [1.0] * 4 + [None] * 2
    assert "not finite: learning_rate=0.5,hilbert_dim=3" in more.json["notes"][-1]
    (out / "sweep.json").write_bytes(before)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "name what to sweep"),
        (("--grid", "learning_rate"), "written as KEY=VALUE,VALUE"),
        (("--grid", "learning_rat=1,2"), "did you mean 'learning_rate'?"),
        (("--grid", "learning_rate=1,1"), "only once"),
        (("--grid", "learning_rate=1", "--grid", "learning_rate=2"), "only once"),
        (("--grid", "learning_rate=fast"), "'learning_rate' must be float"),
        (("--grid", "data=a,b"), "data cannot be swept"),
        (("--grid", "attention_options=1"), "attention_options cannot be swept"),
        (("--grid", "attention_options.n_qubits=4"), "n_qubits=4: classical has no option"),
        (("--grid", "num_attention_heads=1,3"), "num_attention_heads=3:"),
        (("--grid", "learning_rate=1,2", "--learning_rate", "3"), "learning_rate is given twice"),
        (("--range", "learning_rate=1:2"), "--range needs --random N"),
        (("--random", "2", "--range", "learning_rate=1"), "LOW:HIGH"),
        (("--random", "2", "--range", "learning_rate=1:2:exp"), "LOW:HIGH:log"),
        (("--random", "2", "--range", "learning_rate=2:1"), "LOW must be below HIGH"),
        (("--random", "2", "--range", "learning_rate=0:1:log"), "above 0"),
        (("--random", "0", "--grid", "learning_rate=1,2"), "positive"),
        (("--random", "3", "--grid", "learning_rate=1,2"), "only 2 different ones"),
        (("--grid", "learning_rate=1", "--format", "csv", "--json"), "choose one"),
    ],
)
def test_mistakes_are_found_before_any_run(ketformer, tiny, tmp_path, options, told):
    ketformer("sweep", tiny, *options, "--out", tmp_path / "out").assert_mistake(told)
    assert not (tmp_path / "out").exists()


# --- Points --------------------------------------------------------------------------------------


def test_a_grid_is_every_combination():
    grid = parsed_grid(["a=1,2e-3,true", "b=x, null"])
    assert grid == {"a": [1, 0.002, True], "b": ["x", None]}
    points = grid_points(grid)
    assert len(points) == 6
    assert [name_of(point) for point in points[:2]] == ["a=1,b=x", "a=1,b=null"]


def test_more_random_points_begin_with_the_same_ones():
    ranges = {"rate": Range.parsed("1e-4:1e-2:log"), "width": Range.parsed("8:64")}
    points = random_points({"act": ["gelu", "relu"]}, ranges, 20, seed=3)
    assert points[:5] == random_points({"act": ["gelu", "relu"]}, ranges, 5, seed=3)
    assert points != random_points({"act": ["gelu", "relu"]}, ranges, 20, seed=4)
    assert {point["act"] for point in points} == {"gelu", "relu"}


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e4), st.booleans(), st.integers(0, 2**32))
def test_draws_stay_within_the_range(low, factor, log, seed):
    high = low * factor
    within = Range.parsed(f"{low!r}:{high!r}{':log' * log}")
    for point in random_points({}, {"x": within}, 2, seed):
        assert low * 0.995 <= point["x"] <= high * 1.005  # rounded to three digits


def test_half_the_draws_of_a_logarithm_lie_below_its_middle():
    points = random_points({}, {"x": Range.parsed("1e-4:1:log")}, 400, seed=0)
    below = sum(point["x"] < 1e-2 for point in points)
    assert abs(below - 200) < 60  # six standard deviations
    whole = random_points({}, {"x": Range.parsed("1:1000:log")}, 50, seed=0)
    assert all(isinstance(point["x"], int) and 1 <= point["x"] <= 1000 for point in whole)


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_two_points_have_folders_of_their_own(first, second):
    folders = [folder_of({"key": value}) for value in (first, second)]
    assert (folders[0] == folders[1]) == (first == second)
    for folder in folders:
        assert len(folder) <= 120
        assert not set(folder) & set('/\\:*?"<>|\0 ')


def test_a_range_says_how_it_is_written():
    with pytest.raises(KetformerError, match="LOW:HIGH or LOW:HIGH:log, got '1:Infinity'"):
        Range.parsed("1:Infinity")
    assert Range.parsed("1:2").log is False
    assert math.isclose(Range.parsed("1e-4:1:log").low, 1e-4)
