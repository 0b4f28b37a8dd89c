"""Oracles: by name as RDKit computes them, and the user's own, whatever they do."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st
from rdkit import Chem
from rdkit.Chem import QED, Crippen
from rdkit.Contrib.SA_Score import sascorer

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.oracles import Oracle, load_oracle, score

MOLECULES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1"]


@pytest.mark.parametrize(
    ("name", "truth"),
    [("logp", Crippen.MolLogP), ("QED", QED.qed), ("sa", sascorer.calculateScore)],
)
def test_oracles_by_name_are_rdkits(name, truth):
    scores = score(load_oracle(name), MOLECULES)
    assert scores.values.tolist() == [truth(Chem.MolFromSmiles(smiles)) for smiles in MOLECULES]
    assert scores.complaint(MOLECULES) is None


def test_what_cannot_be_scored_is_nan_and_named():
    scores = score(load_oracle("qed"), ["CCO", "C("])
    assert np.isnan(scores.values).tolist() == [False, True]
    assert scores.complaint(["CCO", "C("]) == (
        "the oracle QED failed on 1 of 2 molecules; the first: 'C(' (returned nan)"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qde", "no oracle 'qde'; did you mean 'QED'?; known: MW"),
        ("nowhere:f", "--oracle nowhere:f: ModuleNotFoundError: No module named 'nowhere'"),
        (":f", "--oracle :f: write it as package.module:function"),
        ("math:g", "--oracle math:g: AttributeError"),
        ("math:pi", "--oracle math:pi: not a function, but float"),
    ],
)
def test_an_oracle_that_cannot_be_loaded_is_refused_in_one_line(name, said):
    with pytest.raises(KetformerError) as refused:
        load_oracle(name)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_a_function_in_the_current_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_oracle_of_test.py").write_text(
        "def atoms(smiles):\n    print('noise')\n    return [len(s) for s in smiles]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert score(load_oracle("my_oracle_of_test:atoms"), ["CCO", "C"]).values.tolist() == [3, 1]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "noise\n")


KINDS = {
    "good": lambda: 1.5,
    "none": lambda: None,
    "infinite": lambda: math.inf,
    "raises": lambda: 1 / 0,
    "shape": lambda: [1.0, 2.0],
    "text": lambda: "one",
}
SAID = {
    "none": "returned nan",
    "infinite": "returned inf",
    "raises": "ZeroDivisionError: division by zero",
    "shape": "returned shape (1, 2), not (1,)",
    "text": "ValueError: could not convert string to float",
}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=220))
def test_each_molecule_fails_alone(kinds):
    """The molecules' names say how the oracle behaves; the good ones keep their values."""
    asked = []

    def behave(smiles):
        asked.extend(smiles)
        return [KINDS[kind]() for kind in smiles]

    scores = score(Oracle("mine", behave), kinds)
    assert (scores.values == 1.5).tolist() == [kind == "good" for kind in kinds]
    assert list(scores.failures) == [i for i, kind in enumerate(kinds) if kind != "good"]
    assert len(asked) <= 2 * len(kinds)  # an oracle may be expensive
    for place, why in scores.failures.items():
        assert SAID[kinds[place]] in why


def test_a_single_number_for_many_is_no_value_for_each():
    scores = score(Oracle("mine", lambda smiles: 3.0), MOLECULES)
    assert np.isnan(scores.values).all()
    assert set(scores.failures.values()) == {"returned shape (), not (1,)"}
