"""The study of trained models on recorded devices, and the blocks that the docs show of it."""

import json
from importlib import import_module

import pytest

from commands import write_settings
from ketformer.cli import main


@pytest.fixture(scope="module")
def study(text, tmp_path_factory):
    """The result of a tiny plan, twice, and by how many bytes the second one's journal grew."""
    module, folder = import_module("device_study"), tmp_path_factory.mktemp("study")
    model = {"attention": "qisa_a", "num_hidden_layers": 1, "num_attention_heads": 1}
    settings = write_settings(folder / "m.yaml", text, model=model, training={"max_steps": 2})
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    plan = module.Plan(devices=("fake_manila",), kinds=("", "zne"), shots=40, sequences=1, tokens=2)
    journal, models = folder / "journal.jsonl", {"small": folder / "run"}
    (first,) = module.run(plan, models, journal, progress=False)
    length = journal.stat().st_size
    (again,) = module.run(plan, models, journal, progress=False)
    return first, again, journal.stat().st_size - length


def test_what_is_measured_is_not_measured_again(study):
    first, again, grown = study
    assert first["rows"] == again["rows"]
    assert grown < 1500  # that it was opened once more


def test_rows_and_counts_go_together(study):
    result = json.loads(json.dumps(study[0]))
    (raw, mitigated), (count,) = result["rows"], result["counts"]
    assert (raw["model"], raw["device"], raw["mitigation"]) == ("small", "fake_manila", "none")
    assert (raw["targets"], raw["loss"] == raw["exact_loss"]) == (2, False)
    assert mitigated["extra_circuits"] == raw["circuits"]
    # A shot's standard deviation is at most 1; the device's errors come on top.
    assert 40**-0.5 / 4 < raw["outcome_error"] < 1
    assert raw["score_error"] is None
    assert count["shots"] == 40 * count["circuits"]
    assert raw["circuits"] <= count["circuits"]  # equal tokens are measured once
    assert count["device_seconds"] > 40 * count["circuits"] * count["duration_us"] / 1e6
    assert count["two_qubit_gates"] >= count["published_two_qubit_gates"] > 0
    assert result["data"]["small"]["part"] == "test"


def test_the_documentation_shows_every_row(study):
    blocks, read = import_module("device_blocks"), {"devices": study[0]}.__getitem__
    losses, counts = blocks.devices_losses(read), blocks.devices_counts(read)
    lines = [line for line in losses.splitlines() if line.startswith("| small")]
    assert [line.split(" | ")[2] for line in lines] == ["none", "zne"]
    assert f"{study[0]['rows'][1]['loss']:.3f}" in lines[1]
    assert f"→ {study[0]['counts'][0]['two_qubit_gates']}" in counts
