"""What docs/verdict.md says in words holds in the results that its tables come from."""

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "results"
LOCAL = "classical:local_start=2"
FREE = "overlap:entanglement=none"


def losses(name):
    """The mean loss with the prefix alone of each row."""
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    return {row["name"]: row["prefix_cross_entropy"]["mean"] for row in rows}


def test_the_start_and_the_positions_decide_as_much_as_the_mechanism():
    usual, torchs, rotary = losses("start"), losses("start-torch"), losses("start-rotary")
    assert usual[FREE] < usual["classical"]
    assert torchs["classical"] < usual[FREE]
    assert torchs["classical"] < torchs[FREE]
    assert rotary["classical"] < usual[FREE]


def test_a_local_start_has_most_of_the_lead_and_entanglement_nothing():
    found = losses("mechanisms-text")
    lead = found["classical"] - found["overlap"]
    assert found["classical"] - found[LOCAL] > 0.75 * lead
    assert found["classical_fourier"] < found["overlap"]
    assert abs(found[FREE] - found["overlap"]) < 0.05 * lead


def test_no_quantum_mechanism_leads_on_molecules():
    result = json.loads((RESULTS / "mechanisms-qm9.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    loss, validity = (
        {name: row[metric]["mean"] for name, row in rows.items()}
        for metric in ("prefix_loss", "validity")
    )
    for name in ("overlap", FREE, "qisa", "qisa_a", "qsann", LOCAL):
        assert loss[name] > loss["classical"]
        assert validity[name] < validity["classical"]
    best = sorted(loss, key=loss.get)[:3]
    assert set(best) == {"classical_gated", "classical_qk_norm", "classical"}


def test_nor_after_the_whole_training_and_with_requested_properties():
    result = json.loads((RESULTS / "conditional-qm9.json").read_text())
    assert result["settings"]["training"]["max_steps"] == 6000
    classical, *quantum = result["rows"]
    for row in quantum:
        assert row["prefix_loss"]["mean"] > classical["prefix_loss"]["mean"]
        test = row["paired"]["target_error"]
        assert test["low"] < 0 < test["high"]


def test_the_local_start_is_level_with_overlap_or_ahead_at_all_sizes_but_one():
    for size in ("3k", "10k", "30k", "110k", "350k"):
        result = json.loads((RESULTS / f"frontier-{size}.json").read_text())
        rows = {row["name"]: row["prefix_cross_entropy"] for row in result["rows"]}
        assert rows["qisa"]["high"] > rows["classical"]["mean"]
        if size == "10k":
            assert rows[LOCAL]["mean"] > rows["overlap"]["mean"] + 0.02
        else:
            assert rows[LOCAL]["mean"] < rows["overlap"]["mean"] + 0.01


def test_little_data_changes_nothing_of_that():
    for part in ("data-0.01", "data-0.1", "frontier-110k"):
        found = losses(part)
        assert abs(found[LOCAL] - found["overlap"]) < (found["classical"] - found["overlap"]) / 2
