"""The studies of scaffolds, series and guidance, and the blocks that the docs show of them."""

import json
from argparse import Namespace
from dataclasses import replace
from importlib import import_module

import pytest
from rdkit import Chem

from commands import write_molecule_settings
from ketformer.cli import main
from ketformer.runs import open_run
from ketformer.runs.data import molecules_of

SIDES = ("C", "OC", "N", "F", "CC", "C(=O)N", "C#N")
RINGS = ("c1cc({a})ccc1{b}", "C1CC({a})N({b})CC1", "c1c({a})cc(CC2CC2)cc1{b}")


@pytest.fixture(scope="module")
def fragments(tmp_path_factory):
    """A run on fragments that has learned little, and its data, all of it as if held out."""
    folder = tmp_path_factory.mktemp("fragments")
    smiles = [
        ring.format(a=a, b=b) for ring in RINGS for i, a in enumerate(SIDES) for b in SIDES[i:]
    ]
    (folder / "pieces.smi").write_text("\n".join(smiles))
    options = {
        "tokenizer": "safe",
        "randomise_smiles": True,
        "model": {"attention": "classical", "attention_options": {}, "max_position_embeddings": 80},
        "training": {"max_steps": 20, "save_steps": 20},
    }
    settings = write_molecule_settings(folder / "pieces.yaml", folder / "pieces.smi", **options)
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    run = open_run(folder / "run")
    data = molecules_of(run.settings, run.tokenizer, progress=False)
    return run, replace(data, smiles={**data.smiles, "test": data.source.smiles})


def test_scaffolds_and_pairs_that_are_asked_for(fragments, monkeypatch):
    study, blocks = import_module("scaffold_study"), import_module("chemist_blocks")
    monkeypatch.setattr(study, "_UNASKED", 20)
    result = study.study(*fragments, Namespace(requests=2, num=15, seed=1))
    rows = {(row["kind"], row["part"]): row for row in json.loads(json.dumps(result))["rows"]}
    assert len(rows) == 6
    marked = rows["marked", "test"]["asked"]
    assert [one["scaffold"].count("*") for one in marked] == [2, 2]
    assert rows["linked", "test"]["asked"][0]["fragments"] == ["*C1CC1", "*c1ccccc1"]
    for row in rows.values():
        shares = [one["scaffold_kept"] for one in row["asked"]]
        assert row["scaffold_kept"] == pytest.approx(sum(shares) / len(shares))
        assert row["lowest"] == min(shares)
        # What is valid has what was asked for: nothing else can be written.
        assert shares == [one["validity"] for one in row["asked"]]
    table = blocks.chemist_scaffolds({"scaffolds": result}.__getitem__)
    kept = 100 * rows["anywhere", "test"]["scaffold_kept"]
    assert f"| never seen | 2 | {kept:.1f}\N{NO-BREAK SPACE}% |" in table


def test_series_are_fine_tuned_and_judged_on_the_other_half(fragments, monkeypatch, tmp_path):
    study, blocks = import_module("series_study"), import_module("chemist_blocks")
    usual = study.settings_of_fine_tuning
    short = {"max_steps": 3, "warmup_steps": 0, "eval_steps": 3, "save_steps": 3}
    monkeypatch.setattr(study, "settings_of_fine_tuning", lambda *a: usual(*a).override(short))
    monkeypatch.setattr(study, "SIZES", (28, 28))
    result = study.study(*fragments, Namespace(series=1, seeds=1, num=30, work=tmp_path))
    (row,) = json.loads(json.dumps(result))["rows"]
    assert (row["training"], row["held_out"]) == (14, 14)
    trained_on = (tmp_path / "series-28/series.smi").read_text().split()
    scaffold = Chem.MolFromSmiles(row["scaffold"])
    assert all(Chem.MolFromSmiles(smiles).HasSubstructMatch(scaffold) for smiles in trained_on)
    losses = {way: found["loss"]["mean"] for way, found in row["ways"].items()}
    assert losses["tuned"] < losses["before"]
    assert losses["asked"] is losses["tuned_asked"] is None
    asked = row["ways"]["asked"]
    assert asked["in_series"]["mean"] <= asked["validity"]["mean"]
    table = blocks.chemist_series({"series": result}.__getitem__)
    assert f"| `{row['scaffold']}`, 14 + 14 | the run as it is |" in table
    assert table.count("\n|  | ") == 4


def test_guidance_is_compared_with_none_at_every_target(conditional):
    study, blocks = import_module("guidance_study"), import_module("chemist_blocks")
    result = study.study([open_run(conditional)], 20, progress=False)
    rows = json.loads(json.dumps(result))["rows"]
    assert [row["property"] for row in rows] == ["LogP", "LogP", "TPSA", "TPSA"]
    for way, error in result["error"].items():
        relative = [row[way]["mae"]["mean"] / row["std"] for row in rows]
        assert error["mean"] == pytest.approx(sum(relative) / 4)
    lower = 1 - result["error"]["both"]["mean"] / result["error"]["plain"]["mean"]
    assert result["lower"]["both"]["mean"] == pytest.approx(lower)
    assert all(row["least"] <= row["best"]["mae"]["mean"] + 1e-6 for row in rows)
    table = blocks.chemist_guidance({"guidance": result}.__getitem__)
    assert f"{100 * lower:.1f}\N{NO-BREAK SPACE}% with both" in table


def test_models_of_moses_stand_beside_published_ones(fragments, monkeypatch):
    study, blocks = import_module("moses_models"), import_module("chemist_blocks")
    run, _ = fragments
    atoms = {"mean": 21.5, "mean of reference": 21.7}
    free = {"validity": 0.9, "fcd": 0.5, "heavy_atoms": atoms}
    constrained = {"validity": 0.999, "fcd": 0.6, "heavy_atoms": atoms}
    asked = []

    def evaluate(run, **options):
        asked.append(options)
        known = {"attention": "classical", "parameters": 7, "causal": True, "loss": 0.5}
        return {
            **known, **free, **dict.fromkeys(study.KEYS, 0.125), "moses_sampled": 50,
            "weights_sha256": run.weights_sha256, "constrained": constrained,
        }  # fmt: skip

    monkeypatch.setattr(study, "evaluate", evaluate)
    rows = [study.measure(run, 50) for _ in range(2)]
    assert rows[0] == rows[1]
    assert asked == [{"samples": 50, "constrained": True}]  # what is there is not measured again
    assert (rows[0]["steps"], rows[0]["batch"]) == (20, run.manifest["batch"])
    text = blocks.chemist_moses(
        {"moses-models": {"samples": 50, "rows": rows[:1], "published": study.published()}}.get
    )
    assert "| **`classical`**, ours | 0.125 | " in text
    assert "| CharRNN [1] | 0.975 | 0.999 | 0.842 | 0.073 | " in text
    assert "| MolGPT [2] | 0.994 | 1.000 | 0.797 | 0.067 | – | " in text
    assert "99.90\N{NO-BREAK SPACE}% valid, FCD 0.60 (without constraint 0.50)" in text


def test_models_of_qm9_have_a_row_for_each_seed(fragments, monkeypatch):
    study, blocks = import_module("qm9_models"), import_module("chemist_blocks")
    run, _ = fragments
    atoms = {"mean": 8.5, "mean of reference": 8.8}
    free = {"uniqueness": 0.9, "novelty": 0.1, "fcd": 0.25, "snn": 0.5, "heavy_atoms": atoms}

    def evaluate(run, samples, constrained, with_fcd):
        assert constrained
        assert with_fcd
        known = {"attention": "classical", "parameters": 7, "causal": True, "loss": 0.5}
        return {
            **known, **free, "validity": 0.75, "sampled": samples,
            "weights_sha256": run.weights_sha256, "constrained": {**free, "validity": 1.0},
        }  # fmt: skip

    monkeypatch.setattr(import_module("moses_models"), "evaluate", evaluate)
    row = study.measure(run, 40)
    text = blocks.chemist_qm9({"qm9-models": {"samples": 40, "rows": [row]}}.get)
    space = "\N{NO-BREAK SPACE}"
    start = (
        f"| {run.manifest['seed']} | 0.500 | 75.00{space}% | 90.0{space}% | 10.0{space}% | 0.250 "
    )
    assert start in text
    assert f"| 8.50 | 100.00{space}% | " in text


def test_goals_stand_beside_reinvent(fragments, tmp_path):
    study, blocks = import_module("pmo"), import_module("chemist_blocks")
    run, _ = fragments
    row = study.measure(run, "qed", 30, 2, tmp_path)
    assert row == study.measure(run, "qed", 30, 2, tmp_path)
    assert row["auc_top_10"] == pytest.approx(sum(row["seeds"]) / 2)
    assert [curve[-1][0] for curve in row["curves"]] == [30, 30]
    assert 0 < row["auc_top_10"] < row["top_10"] <= 1
    result = {
        "attention": "classical", "parameters": 7, "data": {"name": "moses"}, "budget": 30,
        "options": {"patience": 5}, "published": "PMO", "rows": [row],
    }  # fmt: skip
    text = blocks.chemist_goals({"optimise": result}.get)
    ours = f"{row['auc_top_10']:.3f} ± {row['deviation']:.3f}"
    assert f"| `qed` | {ours} | 0.941 ± 0.000 | {row['top_10']:.3f} | " in text
    import_module("chemist_pictures").draw_goals(result, tmp_path / "goals.svg")
    assert "REINVENT" in (tmp_path / "goals.svg").read_text()
