"""``ketformer circuit mitigation``: errors on a recorded device, raw and mitigated."""

import pytest

from commands import write_settings
from ketformer.cli import main


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """A small run whose scores take circuits of three qubits."""
    folder = tmp_path_factory.mktemp("mitigated")
    model = {
        "attention": "overlap",
        "attention_options": {"n_qubits": 2},
        "max_position_embeddings": 4,
    }
    training = {"max_steps": 6, "per_device_train_batch_size": 2, "eval_strategy": "no"}
    settings = write_settings(folder / "m.yaml", text, model=model, training=training)
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_scores_before_and_after(ketformer, run):
    options = ["--device", "fake_manila", "--limit", 1, "--shots", 4000]
    done = ketformer("circuit", "mitigation", run, *options, "--json")
    assert done.code == 0, done.err
    rows = {row["mitigation"]: row for row in done.json["rows"]}
    assert list(rows) == ["none", "readout", "zne", "dd", "readout,zne", "readout,zne,dd"]
    errors = {name: row["score_error"] for name, row in rows.items()}
    assert errors["readout"] < errors["none"]
    assert errors["zne"] < errors["none"]
    assert errors["readout,zne"] < min(errors["readout"], errors["zne"])
    for row in rows.values():
        # Scores are the overlaps times the root of the width.
        assert row["score_error"] == pytest.approx(row["outcome_error"] * 8**0.5, rel=0.01)
        assert row["loss_error"] == abs(row["loss"] - row["exact_loss"])
    raw = rows["none"]["circuits"]
    # All circuits have one layout, calibrated by two.
    assert {name: row["extra_circuits"] for name, row in rows.items()} == {
        "none": 0, "readout": 2, "zne": raw, "dd": 0, "readout,zne": raw + 2,
        "readout,zne,dd": raw + 2,
    }  # fmt: skip
    assert done.json["device"] == "fake_manila"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs --device"),
        (["--device", "fake_manila", "--measurement", "swap"], "loses the overlap's sign"),
        (["--device", "fake_manila", "--out", "m.png"], "writes no file"),
        (["--device", "aer"], "name a device"),
    ],
)
def test_mistakes_are_clear(ketformer, run, options, message):
    done = ketformer("circuit", "mitigation", run, *options)
    assert done.code == 2
    assert message in done.err
