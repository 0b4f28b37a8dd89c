"""``ketformer reproduce RUN``: the same run again, or why it differs."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from commands import call, cut_off, largest_difference, metrics, small_text, write_settings
from ketformer.cli import main

DROPOUT = {"resid_pdrop": 0.1}


@pytest.fixture
def own(text, tmp_path):
    """A copy of the text, settings with dropout, and a folder for a run of them."""
    data = tmp_path / "own.txt"
    data.write_bytes(text.read_bytes())
    settings = write_settings(tmp_path / "own.yaml", data, model=DROPOUT)
    return data, settings, tmp_path / "run"


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """A finished run with dropout; the tests work on copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    settings = write_settings(folder / "own.yaml", text, model=DROPOUT)
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def test_a_run_is_repeated_bit_for_bit(ketformer, run, tmp_path):
    done = ketformer("reproduce", run, "--out", tmp_path / "again", "--json")
    assert done.code == 0, done.err
    assert done.json["weights_equal"] is done.json["losses_equal"] is True
    assert (done.json["largest_difference"], done.json["steps"]) == (0, 20)
    assert done.json["differs"] == []
    assert largest_difference(run, tmp_path / "again") == 0


def test_by_default_beside_the_other_reproductions(ketformer, run):
    done = ketformer("reproduce", run)
    assert done.code == 0
    assert "runs/reproduce-run" in done.out
    assert done.out.endswith("The same, bit for bit.\n")


def test_a_run_that_was_stopped_on_the_way_is_repeated_in_one_go(ketformer, own, tmp_path):
    _, settings, run = own
    with cut_off(7):
        ketformer("train", settings, "--out", run)
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert json.loads((run / "manifest.json").read_text())["resumed"] == [
        {"step": 5, "changed": {}}
    ]
    assert ketformer("reproduce", run, "--out", tmp_path / "again").code == 0


def test_an_interrupted_repetition_goes_on(ketformer, run, tmp_path):
    with cut_off(12):
        assert ketformer("reproduce", run, "--out", tmp_path / "again").code == 130
    assert ketformer("reproduce", run, "--out", tmp_path / "again").code == 0


def test_other_weights_or_losses_are_an_honest_failure(ketformer, run, tmp_path):
    whole = shutil.copytree(run, tmp_path / "whole")
    tensors = load_file(run / "model.safetensors")
    tensors["lm_head.bias"][0] = torch.nextafter(tensors["lm_head.bias"][0], torch.tensor(9.0))
    save_file(tensors, run / "model.safetensors", metadata={"format": "pt"})
    done = ketformer("reproduce", run, "--out", tmp_path / "a", "--json")
    assert (done.code, done.json["weights_equal"], done.json["losses_equal"]) == (1, False, True)
    assert 0 < done.json["largest_difference"] < 1e-6

    lines = (whole / "metrics.jsonl").read_text().replace('"loss": 2', '"loss": 3')
    (whole / "metrics.jsonl").write_text(lines)
    done = ketformer("reproduce", whole, "--out", tmp_path / "b")
    assert done.code == 1
    assert "Not the same (machine and versions are the same)" in done.out


def test_what_is_not_as_it_was_is_said(ketformer, own, tmp_path):
    _, settings, run = own
    assert ketformer("train", settings, "--out", run, "--max_steps", 10).code == 0
    assert ketformer("train", "--out", run, "--resume", "--max_steps", 20).code == 0
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["machine"]["versions"]["torch"] = "1.0"
    manifest["machine"]["cpu"] = "an abacus"
    (run / "manifest.json").write_text(json.dumps(manifest))
    done = ketformer("reproduce", run, "--out", tmp_path / "again", "--json")
    (warning,) = [line for line in done.err.splitlines() if "warning" in line]
    assert "cpu an abacus then" in warning
    assert f"torch 1.0 then, {torch.__version__} now" in warning
    assert "max_steps changed at step 10 from 10 to 20" in warning
    assert len(done.json["differs"]) == 3


def test_changed_data_is_one_line_before_anything_is_written(ketformer, own, tmp_path):
    data, settings, run = own
    assert ketformer("train", settings, "--out", run).code == 0
    data.write_text(small_text(seed=1))
    done = ketformer("reproduce", run, "--out", tmp_path / "again")
    done.assert_mistake(f"{data} has changed: its SHA-256 is")
    assert not (tmp_path / "again").exists()
    for verb in ("evaluate", "train --resume --out"):
        ketformer(*verb.split(), run).assert_mistake("own.txt")
    data.unlink()
    ketformer("reproduce", run, "--out", tmp_path / "again").assert_mistake("own.txt")


@pytest.mark.parametrize("option", [("--seeds", 2), ("--max_steps", 5), ("--data", "qm9")])
def test_what_is_for_papers_is_refused(ketformer, honest, option):
    ketformer("reproduce", honest, *option).assert_mistake(f"{option[0]} is for a paper")


def test_what_cannot_be_repeated_says_why(ketformer, run, tmp_path):
    (tmp_path / "empty").mkdir()
    ketformer("reproduce", tmp_path / "empty").assert_mistake("not a finished run")
    manifest = json.loads((run / "manifest.json").read_text())
    for change, told in (
        ({"imported": {"file": "x.pt"}}, "was imported, not trained"),
        ({"processes": 2}, "--nproc_per_node 2 -m ketformer reproduce"),
    ):
        (run / "manifest.json").write_text(json.dumps({**manifest, **change}))
        ketformer("reproduce", run).assert_mistake(told)


def test_data_given_by_a_relative_path_is_found_from_elsewhere(own, tmp_path, monkeypatch, capsys):
    data, _, _ = own
    monkeypatch.chdir(tmp_path)
    settings = write_settings(tmp_path / "relative.yaml", "own.txt")
    assert call(capsys, "train", settings, "--out", "here").code == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "here", tmp_path / "elsewhere/moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call(capsys, "evaluate", "moved", "--json").json["data"] == str(data)
    assert call(capsys, "reproduce", "moved").code == 0
    # Whatever the path, it is the file that the run was trained on.
    data.write_text(small_text(seed=1))
    call(capsys, "evaluate", "moved", "--data", "../own.txt").assert_mistake("is not what moved")


def test_the_same_seed_writes_and_compares_the_same(ketformer, honest, tiny, tmp_path):
    write = ("generate", honest, "--num", 2, "--max_new_tokens", 30, "--json")
    assert ketformer(*write).json == ketformer(*write).json
    assert ketformer(*write).json != ketformer(*write, "--seed", 1).json
    compared = []
    for name in ("a", "b"):
        options = ("--preset", tiny, "--seeds", 1, "--max_steps", 10, "--out", tmp_path / name)
        rows = ketformer("compare", "classical", "qisa", *options, "--json").json["rows"]
        for row in rows:  # its path, and timings
            for key in ("run", "inference_ms", "relative_inference_time"):
                del row[key]
        compared.append(rows)
        assert metrics(tmp_path / name / "qisa-seed42")
    assert compared[0] == compared[1]
