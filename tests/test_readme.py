"""What the README says is what the project does."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from ketformer.cli import VERBS
from ketformer.models import PRESETS
from ketformer.reproduction_overlap import OVERLAP_PUBLISHED

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def _script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_in_the_generated_blocks_comes_from_results():
    script = _script("update_readme")
    for name in script.FILES:
        text = (ROOT / name).read_text()
        assert script.updated(name, text) == text


def test_the_ceiling_of_uniqueness_is_what_the_page_says():
    molecules, draws = 133_798, 10_000
    distinct = molecules * (1 - (1 - 1 / molecules) ** draws) / draws
    assert f"{100 * distinct:.1f} % distinct" in (ROOT / "docs/molecules.md").read_text()


def test_the_committed_reproduction_meets_the_published_figures():
    """Design section 7: cross entropy within 0.05 (causal) or 0.04 (published), CER within 0.02."""
    rows = json.loads((ROOT / "results/reproduce-qisa.json").read_text())["rows"]
    rows = {row["name"]: row for row in rows}
    expected = {  # parameters, cross entropies, CERs (two seeds where two values stand)
        "classical": (21_825, (2.281, 2.275), (0.657, 0.661)),
        "classical_transposed": (21_825, (0.173,), (0.047,)),
        "qisa_published": (22_017, (0.189, 0.180), (0.051, 0.049)),
        "qisa_causal": (22_017, (2.308, 2.296), (0.667, 0.668)),
        "qisa_a_published": (20_553, (0.218,), (0.057,)),
        "qisa_a_causal": (20_553, (2.328,), (0.678,)),
    }
    for name, (parameters, losses, cers) in expected.items():
        row = rows[name]
        assert row["parameters"] == parameters
        tolerance = 0.05 if row["causal"] else 0.04
        assert row["cross_entropy"]["mean"] == pytest.approx(
            sum(losses) / len(losses), abs=tolerance
        )
        assert row["cer"]["mean"] == pytest.approx(sum(cers) / len(cers), abs=0.02)
    assert {name for name, row in rows.items() if not row["causal"]} == {
        "classical_transposed",
        "qisa_published",
        "qisa_a_published",
    }
    for name in ("classical", "classical_transposed", "qisa_published", "qisa_causal"):
        assert len(rows[name]["cross_entropy"]["values"]) >= 3


def test_the_committed_molecule_results_meet_the_published_figures():
    released = json.loads((ROOT / "results/published-sequence.json").read_text())
    assert released["loss_as_published"] == pytest.approx(0.63440, abs=1e-4)
    assert released["sampled"] == 100_000
    assert released["validity"] == pytest.approx(0.688, abs=0.005)
    assert released["unique"] == pytest.approx(56_300, abs=500)
    rows = json.loads((ROOT / "results/reproduce-overlap.json").read_text())["rows"]
    rows = {row["name"]: row for row in rows}
    assert set(rows) == set(OVERLAP_PUBLISHED)
    assert all(row["causal"] for row in rows.values())
    for name in ("overlap", "classical", "classical_eq"):
        assert len(rows[f"{name}_sequence"]["loss"]["values"]) >= 3
        assert len(rows[f"{name}_conditions"]["target_errors"]) == 18
    for name in ("overlap", "classical_eq"):
        assert rows[f"{name}_sequence"]["parameters"] == 47_704
        assert rows[f"{name}_conditions"]["parameters"] == 48_307
    # Exact gradients and a falling rate bring every seed below what was published.
    assert max(rows["overlap_sequence"]["loss_as_published"]["values"]) < 0.63440


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.strip() == "0.0"


def test_every_verb_and_preset_is_mentioned():
    for verb in VERBS:
        assert f"ketformer {verb}" in README or f"make {verb}" in README
    for preset in PRESETS:
        assert f"`{preset}`" in README


def test_loading_costs_under_five_per_cent_of_a_training_step():
    """In the loop, as it is unless a worker process is asked for."""
    rows = json.loads((ROOT / "results/loading.json").read_text())["rows"]
    rows = [row for row in rows if row["workers"] == 0]
    assert {row["work"] for row in rows} == {
        "qisa-small, batch 128",
        "char-gpt, batch 64",
        "overlap-qm9, batch 256",
        "overlap-qm9-conditions, batch 256",
    }
    assert all(row["ratio"] < 0.05 for row in rows)
