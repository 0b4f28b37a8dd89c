"""What a shortlist is filtered by, against RDKit and molecules known for it."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED, rdMolDescriptors

from ketformer.tasks.molecules.descriptors import CATALOGUES, COUNTS, DESCRIPTORS, describe
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties

ASPIRIN, QUINONE, RHODANINE = "CC(=O)Oc1ccccc1C(=O)O", "O=C1C=CC(=O)C=C1", "O=C1CSC(=S)N1"


def test_they_are_those_of_rdkit():
    names = [*PROPERTIES, "QED"]
    values = describe([ASPIRIN, "nonsense"], names)
    assert values[0, :-1] == pytest.approx(compute_properties([ASPIRIN], progress=False)[0])
    assert values[0, -1] == pytest.approx(QED.qed(Chem.MolFromSmiles(ASPIRIN)))
    assert np.isnan(values[1]).all()
    assert describe([], names).shape == (0, len(names))


def test_sa_says_that_aspirin_is_easier_than_taxol():
    taxol = (
        "CC1=C2[C@H](C(=O)[C@@]3([C@H](C[C@@H]4[C@]([C@H]3[C@@H]([C@@](C2(C)C)(C[C@@H]1OC(=O)"
        "[C@@H]([C@H](C5=CC=CC=C5)NC(=O)C6=CC=CC=C6)O)O)OC(=O)C7=CC=CC=C7)(CO4)OC(=O)C)O)C)OC(=O)C"
    )
    (easy,), (hard,) = describe([ASPIRIN, taxol], ["SA"])
    assert 1 <= easy < 3 < 5 < hard <= 10  # Ertl and Schuffenhauer: 1.58 and about 6


def test_alerts_are_counted():
    alerts = describe([ASPIRIN, QUINONE, "CCO"], [*CATALOGUES])
    named = {name: alerts[:, i].tolist() for i, name in enumerate(CATALOGUES)}
    assert named["PAINS"] == [0, 1, 0]  # quinone_A
    assert named["BRENK"][0] == 1  # phenol_ester
    assert alerts[2].tolist() == [0] * len(CATALOGUES)
    assert (alerts == alerts.round()).all()


def test_mcf_is_that_of_moses(monkeypatch):
    patterns = ("[#6]-[#8]-[H]", "[Cl]")  # the first needs hydrogens as atoms
    monkeypatch.setattr("ketformer.tasks.molecules.descriptors.locate", lambda data: data.filename)
    monkeypatch.setattr("ketformer.tasks.molecules.descriptors.read_mcf", lambda wheel: patterns)
    assert describe(["CCO", "OCCl", "CC"], ["MCF"])[:, 0].tolist() == [1, 2, 0]


def test_counts_are_whole_numbers():
    assert set(DESCRIPTORS) - COUNTS == {"MW", "TPSA", "LogP", "QED", "SA"}
    assert rdMolDescriptors.CalcNumRings(Chem.MolFromSmiles(ASPIRIN)) == describe(
        [ASPIRIN], ["nRing"]
    )
