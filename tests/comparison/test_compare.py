"""``ketformer compare``: equal terms, correct intervals, and no run trained twice."""

import json
import shutil

import pytest

from commands import files_in, somebody_in
from report_page import Page

ARGS = (
    "classical", "qisa", "--seeds", 2, "--seed", 5, "--intermediate_size", 40, "--jobs", 1,
    "--rates", 2, "--search_share", 0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def compared(tiny, tmp_path_factory):
    """The folder of a finished comparison."""
    from ketformer.cli import main

    out = tmp_path_factory.mktemp("compare") / "done"
    options = ["--preset", tiny, "--out", str(out), "--json"]
    assert main(["compare", *map(str, ARGS), *options]) == 0
    return out


@pytest.fixture
def result(compared):
    """The result that the comparison saved."""
    return json.loads((compared / "comparison.json").read_text())


def test_sizes_are_matched_within_2_percent(result):
    classical, qisa = result["rows"]
    assert classical["intermediate_size"] == 40
    assert qisa["intermediate_size"] != 40
    assert qisa["parameters"] == pytest.approx(classical["parameters"], rel=0.02)
    assert result["matched"] is True


def test_each_mechanism_gets_the_same_seeds(compared, result):
    assert result["seeds"] == [5, 6]
    for name in ("classical", "qisa"):
        for seed in (5, 6):
            manifest = json.loads((compared / f"{name}-seed{seed}" / "manifest.json").read_text())
            assert (manifest["seed"], manifest["attention"]) == (seed, name)


def test_rows_hold_what_the_runs_were_measured_to_be(compared, result):
    for row in result["rows"]:
        for metric in ("cross_entropy", "prefix_cross_entropy", "cer", "free_running_wer"):
            measured = [
                json.loads((compared / f"{row['name']}-seed{seed}/evaluation.json").read_text())
                for seed in (5, 6)
            ]
            values = [evaluation[metric] for evaluation in measured]
            assert not any("inference_ms" in evaluation for evaluation in measured)
            assert row[metric]["values"] == values
            assert row[metric]["low"] <= sum(values) / 2 <= row[metric]["high"]
        assert row["causal"] is True
    assert result["rows"][0]["relative_inference_time"] == 1
    assert result["rows"][1]["relative_inference_time"] > 0


def test_a_second_call_trains_and_measures_nothing(ketformer, tiny, compared, result, monkeypatch):
    def no(*_, **__):
        raise AssertionError("a finished run was not reused")

    monkeypatch.setattr("ketformer.comparison.jobs.train", no)
    monkeypatch.setattr("ketformer.comparison.jobs.evaluate", no)
    done = ketformer("compare", *ARGS, "--preset", tiny, "--out", compared, "--json")
    assert done.code == 0
    assert [row["cross_entropy"] for row in done.json["rows"]] == [
        row["cross_entropy"] for row in result["rows"]
    ]


def test_a_stopped_comparison_goes_on_where_it_was(ketformer, tiny, compared, result, tmp_path):
    out = shutil.copytree(compared, tmp_path / "stopped")
    (out / "qisa-seed6/model.safetensors").unlink()  # its training was cut off after step 10
    (out / "qisa-seed6/evaluation.json").unlink()
    for step in (15, 20):
        shutil.rmtree(out / f"qisa-seed6/checkpoints/checkpoint-{step}")
    kept = (out / "classical-seed5/model.safetensors").stat().st_mtime_ns
    done = ketformer("compare", *ARGS, "--preset", tiny, "--out", out, "--json")
    assert [row["cross_entropy"] for row in done.json["rows"]] == [
        row["cross_entropy"] for row in result["rows"]
    ]
    assert (out / "classical-seed5/model.safetensors").stat().st_mtime_ns == kept


def test_changed_settings_need_another_folder(ketformer, tiny, compared):
    options = ("--preset", tiny, "--out", compared, "--max_steps", 3)
    ketformer("compare", *ARGS, *options).assert_mistake("other settings", "--out")


def test_the_table_shows_every_row(ketformer, tiny, compared):
    done = ketformer("compare", *ARGS, "--preset", tiny, "--out", compared)
    shown = done.out
    assert "samples:" in done.err  # what follows the last run has its bars too
    assert "timing:" in done.err
    assert {"classical", "qisa"} <= {line.split()[0] for line in shown.splitlines() if line}
    assert "FFN width" in shown
    assert "Against classical, seed by seed" in shown
    assert "2 seeds" in shown
    assert str(compared / "report.html") in shown
    page = Page((compared / "report.html").read_text(encoding="utf-8"))
    assert [row[0] for row in page.table] == ["classical", "qisa"]


def test_the_table_and_the_plots_for_a_paper(ketformer, tiny, compared, result, tmp_path):
    options = ("--preset", tiny, "--out", compared, "--format", "latex", "--plots", tmp_path / "p")
    done = ketformer("compare", *ARGS, *options)
    assert done.code == 0
    assert done.out.startswith("% needs")
    assert done.out.count(r"\begin{table}") == 2  # the second has the paired tests
    assert str(compared / "report.html") in done.err
    drawn = {path.name for path in (tmp_path / "p").iterdir()}
    assert drawn == {
        f"{name}.{kind}"
        for name in ("forest-prefix_cross_entropy", "curves-eval_loss", "curves-loss")
        for kind in ("pdf", "svg")
    }


def test_sizes_that_cannot_be_matched_are_a_mistake(ketformer, tiny, tmp_path):
    options = ("--preset", tiny, "--out", tmp_path / "c", "--seeds", 1, "--max_steps", 1)
    options += ("--rates", 1, "--jobs", 1)
    narrow = ("classical", "qisa", "--intermediate_size", 1)
    ketformer("compare", *narrow, *options).assert_mistake("not within 2 %", "--match false")
    unmatched = ketformer("compare", *narrow, *options, "--match", "false", "--json")
    assert unmatched.json["matched"] is False
    assert [row["intermediate_size"] for row in unmatched.json["rows"]] == [1, 1]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("classical",), "at least two"),
        (("classical", "qisa", "--jobs", 0), "one process"),
        (("classical", "qisa", "--rates", 0), "at least one learning rate"),
        (("classical", "qisa", "--search_share", 2), "search_share must lie in (0, 1]"),
        (("classical", "qisa", "--controls", "some"), "unknown control some"),
        (("classical", "qisa", "--controls", "random_circuit"), "has a circuit"),
        (("classical", "classical"), "once"),
        (("classical", "nope"), "unknown attention 'nope'"),
        (("classical", "qisa", "--seeds", 0), "seeds must be positive"),
        (("classical", "qisa", "--preset", "nope"), "'nope'"),
        (("classical", "qisa", "--attention", "qsann"), "--attention: the rows of a comparison"),
        (("classical", "qisa", "--attention_options.hilbert_dim", 3), "--attention_options: the"),
    ],
)
def test_mistakes(ketformer, tiny, tmp_path, args, told):
    preset = () if "--preset" in args else ("--preset", tiny)
    ketformer("compare", *args, *preset, "--out", tmp_path / "c").assert_mistake(told)
    assert not (tmp_path / "c").exists()


def test_a_folder_holds_one_comparison_at_a_time(ketformer, tiny, compared):
    with somebody_in(compared):
        before = files_in(compared)
        again = ketformer("compare", *ARGS, "--preset", tiny, "--out", compared)
        again.assert_mistake(f"{compared}: in use by process", "or choose another --out")
        assert files_in(compared) == before
    assert not list(compared.rglob(".in-use*"))  # nor do the runs keep anything of their locks
