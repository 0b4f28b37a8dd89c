"""``evaluate --oracle``: errors of conditions that RDKit cannot compute."""

import csv
import random
import sys

import numpy as np
import pytest
from rdkit import Chem

ORACLES = """
from rdkit import Chem

def size(smiles):
    return [Chem.MolFromSmiles(one).GetNumAtoms() for one in smiles]

def fragile(smiles):
    found = []
    for one in smiles:
        if "O" in one:
            raise ValueError("no oxygen, please")
        found.append(float("nan") if "N" in one else Chem.MolFromSmiles(one).GetNumAtoms())
    return found

def broken(smiles):
    return 1.0
"""


@pytest.fixture(scope="module")
def sized(trained_once, tiny_molecules, smiles, tmp_path_factory):
    """A run with two columns of the user's: the number of heavy atoms, and noise."""
    path = tmp_path_factory.mktemp("sized") / "sized.csv"
    draw = random.Random(0)
    rows = [f"{s},{Chem.MolFromSmiles(s).GetNumAtoms()},{draw.gauss(0, 1)}" for s in smiles]
    path.write_text("smiles,size,noise\n" + "\n".join(rows) + "\n")
    given = ("--data", str(path), "--conditions", "size,noise,LogP", "--max_steps", "60")
    return trained_once("sized", tiny_molecules, *given)


@pytest.fixture
def evaluate(ketformer, sized, tmp_path, monkeypatch):
    """``evaluate("--oracle", …)``: the outcome, with a module of oracles in the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oracles_of_test.py").write_text(ORACLES)

    def call(*options, targets=40):
        given = ("--samples", 0, "--targets", targets, *options, "--json")
        return ketformer("evaluate", sized, *given)

    return call


def test_an_oracle_of_the_users_gives_a_column_errors(ketformer, evaluate, sized, tmp_path):
    """The true sizes of the molecules that ``generate`` writes for the same request."""
    result = evaluate("--oracle", "size=oracles_of_test:size").json
    assert [row["property"] for row in result["target_errors"]] == ["size"] * 2 + ["LogP"] * 2
    held_out = result["oracles"]["size"]
    assert (held_out["mae"], held_out["r2"], held_out["failed"]) == (0, 1, 0)
    assert held_out["molecules"] == 738 - int(0.9 * 738)
    row = result["target_errors"][0]
    request = ("--condition", f"size={row['target']!r}", "--num", 40, "--out", tmp_path / "a.csv")
    assert ketformer("generate", sized, *request).code == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        found = [one["canonical_smiles"] for one in csv.DictReader(file)]
    sizes = [Chem.MolFromSmiles(one).GetNumAtoms() for one in found if one]
    assert row["mae"] == pytest.approx(np.abs(np.array(sizes) - row["target"]).mean())
    assert (row["oracle"], row["failed"]) == ("oracles_of_test:size", 0)
    assert "oracle" not in result["target_errors"][2]  # RDKit's LogP


def test_where_it_fails_the_molecule_is_named_and_the_rest_counts(evaluate):
    outcome = evaluate("--oracle", "size=oracles_of_test:fragile")
    result = outcome.json
    held_out, row = result["oracles"]["size"], result["target_errors"][0]
    assert 0 < held_out["failed"] < held_out["molecules"]
    assert held_out["mae"] == 0  # of those that it could judge
    assert row["failed"] > 0
    assert row["mae"] is not None
    assert "failed on" in outcome.err
    assert "(ValueError: no oxygen, please)" in outcome.err or "(returned nan)" in outcome.err


def test_a_forest_learns_what_can_be_learned_and_says_what_it_cannot(evaluate, monkeypatch):
    """Noise has no held-out fit: the forest has not seen those molecules."""
    monkeypatch.setattr("ketformer.tasks.molecules.forest._TREES", 20)
    result = evaluate("--oracle", "forest", targets=10).json
    size, noise = (result["oracles"][name] for name in ("size", "noise"))
    assert size["r2"] > 0.9
    assert noise["r2"] < 0.2
    assert [row.get("oracle") for row in result["target_errors"]] == ["forest"] * 4 + [None] * 2


def test_without_scikit_learn_one_line_says_how_to_get_it(evaluate, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    evaluate("--oracle", "forest").assert_mistake("pip install 'ketformer[molecules]'")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--oracle", "oracles_of_test:size"), "--oracle size=oracles_of_test:size"),
        (("--oracle", "weight=qed"), "has no condition 'weight'; it has: size, noise, LogP"),
        (("--oracle", "size=nothing"), "no oracle 'nothing'"),
        (("--oracle", "size=qed", "SIZE=sa"), "size has two oracles"),
        (("--oracle", "size=oracles_of_test:broken"), "nothing can be measured with it"),
        (("--oracle", "size=qed", "--targets", 0), "--targets"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_in_one_line(evaluate, options, said):
    evaluate(*options).assert_mistake(said)


def test_one_number_for_one_column_needs_no_name(ketformer, conditional, evaluate):
    """And a model whose conditions RDKit computes is told so."""
    given = ("--samples", 0, "--targets", 5, "--oracle", "qed")
    ketformer("evaluate", conditional, *given).assert_mistake("RDKit computes every condition")
    result = ketformer("evaluate", conditional, *given[:-1], "TPSA=TPSA", "--json").json
    assert result["oracles"]["TPSA"]["mae"] < 1e-4
