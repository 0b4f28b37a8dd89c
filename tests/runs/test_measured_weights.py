"""Numbers are bound to the hash of the weights they were measured on; stale ones are not shown."""

import hashlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings as examples, strategies as st

from commands import cut_off
from ketformer.runs import open_run
from ketformer.runs.card import write_run_card
from ketformer.runs.directory import read_evaluation, weights_sha256


@pytest.fixture(scope="module")
def evaluated(honest, tmp_path_factory):
    """A run of 20 steps with its evaluation."""
    from ketformer.cli import main

    run = shutil.copytree(honest, tmp_path_factory.mktemp("evaluated") / "run")
    assert main(["evaluate", str(run)]) == 0
    return run


@pytest.fixture
def run(evaluated, tmp_path):
    """A copy of it."""
    return shutil.copytree(evaluated, tmp_path / "run")


def sha256_of(run):
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def train_on(ketformer, run, steps=30):
    assert ketformer("train", "--out", run, "--resume", "--max_steps", steps).code == 0


def shown(number):
    return f"{number:.3f}"


def test_an_evaluation_names_the_weights_it_measured(run):
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["weights_sha256"] == sha256_of(run) == open_run(run).weights_sha256
    assert read_evaluation(run) == evaluation
    assert (
        f"Measured on the weights with SHA-256 `{sha256_of(run)}`"
        in (run / "README.md").read_text()
    )


@examples(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_any_other_weights_have_no_evaluation(evaluated, tmp_path_factory, at, bit):
    """One bit anywhere in the file; the same size, and perhaps the same second."""
    run = shutil.copytree(evaluated, tmp_path_factory.mktemp("bit") / "run")
    config = open_run(run).model.config
    assert read_evaluation(run)
    whole = (run / "model.safetensors").read_bytes()
    changed = bytearray(whole)
    changed[int(at * len(changed))] ^= 1 << bit
    (run / "model.safetensors").write_bytes(changed)
    assert weights_sha256(run) == hashlib.sha256(changed).hexdigest()
    assert read_evaluation(run) is None
    write_run_card(run, config)
    assert "Measured on" not in (run / "README.md").read_text()
    (run / "model.safetensors").write_bytes(whole)
    assert read_evaluation(run)


def test_a_report_measures_a_run_again_that_was_trained_on(ketformer, run):
    before = json.loads((run / "evaluation.json").read_text())
    train_on(ketformer, run)
    assert read_evaluation(run) is None
    assert "Measured on" not in (run / "README.md").read_text()
    done = ketformer("report", run)
    assert done.code == 0
    assert "evaluation.json is not of the run's present weights: measuring again" in done.err
    after = json.loads((run / "evaluation.json").read_text())
    assert after["weights_sha256"] == sha256_of(run) != before["weights_sha256"]
    page = (run / "report.html").read_text()
    assert shown(after["cross_entropy"]) in page
    assert shown(before["cross_entropy"]) not in page
    assert ketformer("report", run).err.count("measuring again") == 0


def test_an_evaluation_that_names_no_weights_is_measured_again(ketformer, run):
    evaluation = json.loads((run / "evaluation.json").read_text())
    del evaluation["weights_sha256"]
    (run / "evaluation.json").write_text(json.dumps({**evaluation, "cross_entropy": 0.125}))
    assert "measuring again" in ketformer("report", run).err
    assert "0.125" not in (run / "report.html").read_text()


def test_a_run_that_is_trained_on_is_unfinished_until_then(ketformer, run):
    """Killed on the way to step 30: nothing of step 20 is shown as the run's."""
    with cut_off(24):
        assert ketformer("train", "--out", run, "--resume", "--max_steps", 30).code == 130
    ketformer("report", run).assert_mistake("resume its training first")
    assert "Measured on" not in (run / "README.md").read_text()
    assert ketformer("train", "--out", run, "--resume", "--max_steps", 30).code == 0


def test_a_finished_run_resumed_keeps_its_numbers(ketformer, run):
    card, before = (run / "README.md").read_text(), read_evaluation(run)
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert read_evaluation(run) == before
    assert f"`{before['weights_sha256']}`" in (run / "README.md").read_text()
    assert card.count("|") == (run / "README.md").read_text().count("|")


def test_an_edited_card_is_kept_with_a_warning(ketformer, run):
    (run / "README.md").write_text("My model: cross entropy 1.5.\n")
    done = ketformer("evaluate", run)
    assert "README.md has been edited and is kept; its numbers may be of other" in done.err
    assert (run / "README.md").read_text() == "My model: cross entropy 1.5.\n"


def test_the_page_opens_a_run_again_that_was_trained_on(ketformer, run):
    from ketformer.app.opened_runs import open_subject

    first = open_subject(run)
    assert open_subject(run) is first
    train_on(ketformer, run)
    assert open_subject(run).run.weights_sha256 == sha256_of(run) != first.run.weights_sha256


def test_a_comparison_does_not_show_runs_that_were_trained_on(ketformer, tiny, tmp_path):
    out = tmp_path / "compared"
    options = ("classical", "qisa", "--seeds", 1, "--rates", 1)
    done = ketformer("compare", *options, "--preset", tiny, "--out", out, "--json")
    assert done.code == 0, done.err
    rows = done.json["rows"]
    runs = [out / f"{row['name']}-seed42" for row in rows]
    assert [row["weights_sha256"] for row in rows] == [[sha256_of(run)] for run in runs]
    assert ketformer("report", out, "--json").json["notes"] == []
    train_on(ketformer, runs[1])
    (note,) = ketformer("report", out, "--json").json["notes"]
    assert note.startswith("The runs of qisa have changed since their numbers: sections that")
    source = (out / "report.html").read_text()
    curves = source[source.index("Loss while training") :]
    assert "classical" in curves


def test_a_comparison_measures_weights_again_that_are_not_those_it_measured(
    ketformer, tiny, tmp_path
):
    out = tmp_path / "compared"
    options = ("classical", "qisa", "--seeds", 1, "--rates", 1, "--preset", tiny, "--out", out)
    first = ketformer("compare", *options, "--json").json["rows"][0]
    run = out / "classical-seed42"
    evaluation = json.loads((run / "evaluation.json").read_text())
    stale = {**evaluation, "weights_sha256": "0" * 64, "cross_entropy": 0.125}
    (run / "evaluation.json").write_text(json.dumps(stale))
    again = ketformer("compare", *options, "--json").json["rows"][0]
    assert again["cross_entropy"] == first["cross_entropy"]
    assert json.loads((run / "evaluation.json").read_text())["weights_sha256"] == sha256_of(run)
