"""MOSES' metrics: the values of its own test, plain loops over RDKit, scipy, and fcd_torch."""

import json
import os
import pickle
import warnings
from collections import Counter
from pathlib import Path

import fcd_torch
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import BRICS, QED, Crippen, Descriptors, rdMolDescriptors
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmilesFromSmiles
from rdkit.Contrib.SA_Score import sascorer
from rdkit.DataStructs import BulkTanimotoSimilarity
from scipy.spatial.distance import cosine
from scipy.stats import wasserstein_distance

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS
from ketformer.tasks.metric import METRICS
from ketformer.tasks.molecules import moses_metrics as module
from ketformer.tasks.molecules.moses_metrics import moses_metrics, passes_filters, profile_of
from ketformer.tasks.molecules.moses_reference import read_filters, read_reference
from ketformer.tasks.molecules.packed import moses_smiles
from ketformer.tasks.molecules.standardise import canonicalise
from tasks.molecules.wheels import (
    TEST,
    TEST_SCAFFOLDS,
    bits_of,
    moses_files,
    put_wheel,
    small_moses,
    statistics_of,
    stats_file,
)

#: The samples and the values of tests/test_metrics.py in molsets 0.3.1.
GENERATED = [
    "CNC", "Oc1ccccc1-c1cccc2cnccc12", "INVALID", "CCCP", "Cc1noc(C)c1CN(C)C(=O)Nc1cc(F)cc(F)c1",
    "Cc1nc(NCc2ccccc2)no1-c1ccccc1",
]  # fmt: skip
THEIR_VALUES = {
    "moses_valid": 2 / 3,
    "moses_fcd": 52.58371754126664,
    "moses_snn": 0.3152585653588176,
    "moses_frag": 0.3,
    "moses_scaf": 0.5,
    "moses_int_div": 0.7189187309761661,
    "moses_filters": 0.75,
    "moses_logp": 1.63229,
    # There 0.52383: RDKit has changed since how it scores CCCP. With today's RDKit the scorer in
    # molsets gives this.
    "moses_sa": 0.6280362203189407,
    "moses_qed": 0.20370891752648637,
    "moses_weight": 106.87,
}
ROOT = Path(__file__).parents[3]
SAMPLES = [*GENERATED, "CNC", "OC1CCCCC1NCc1ccccc1", "N(C)C", "c1ccc(NC(=O)c2ccccc2)cc1"]


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """A small MOSES whose activations are all 0."""
    return small_moses(monkeypatch, tmp_path / "data")


def measured(wheel, smiles, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer than 1,000
        return moses_metrics(canonicalise(smiles), wheel, progress=False, **options)


def test_the_values_are_those_of_moses_own_test(monkeypatch, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about fcd_torch
        wheel = small_moses(monkeypatch, tmp_path / "data", fcd_torch.FCD(device="cpu").precalc)
    result = measured(wheel, GENERATED)
    for name, value in THEIR_VALUES.items():
        # The square root of a singular product is where fcd_torch loses digits.
        assert result[name] == pytest.approx(value, rel=1e-3 if name == "moses_fcd" else 1e-5), name


def test_every_metric_is_in_the_table(wheel):
    result = measured(wheel, GENERATED, with_fcd=False)
    known = [name for name in METRICS if name.startswith("moses_")]
    assert set(result) == {"moses_sampled", *known}
    assert result["moses_fcd"] is result["moses_fcd_scaffolds"] is None
    assert all(METRICS[name].task == "molecules" for name in known)


def test_each_metric_by_a_plain_loop(wheel, monkeypatch):
    """In blocks of two reference molecules, so that the best one is not always in the last."""
    monkeypatch.setattr(module, "_BLOCK", 2)
    result = measured(wheel, SAMPLES, with_fcd=False)
    molecules = [mol for text in SAMPLES if text != "INVALID" and (mol := Chem.MolFromSmiles(text))]
    smiles = [Chem.MolToSmiles(mol) for mol in molecules]
    assert len(smiles) == len(SAMPLES) - 2
    assert result["moses_valid"] == len(smiles) / len(SAMPLES)
    assert result["moses_unique_1k"] == result["moses_unique_10k"] == (len(smiles) - 2) / 8
    assert result["moses_novelty"] == 5 / 6  # CNC is in the training part, CCO was not sampled
    ours = list(map(bits_of, molecules))
    pairs = np.array([BulkTanimotoSimilarity(bits, ours) for bits in ours])
    assert result["moses_int_div"] == pytest.approx(1 - pairs.mean(), rel=1e-6)
    expected = 1 - np.sqrt((pairs**2).mean(axis=1)).mean()
    assert result["moses_int_div2"] == pytest.approx(expected, rel=1e-6)
    fragments = Counter(
        part
        for mol in molecules
        for part in Chem.MolToSmiles(BRICS.BreakBRICSBonds(mol)).split(".")
    )
    scaffolds = Counter(
        text
        for text in map(MurckoScaffoldSmilesFromSmiles, smiles)
        if rdMolDescriptors.CalcNumRings(Chem.MolFromSmiles(text)) > 1
    )
    for end, reference in (("", TEST), ("_scaffolds", TEST_SCAFFOLDS)):
        theirs = [bits_of(Chem.MolFromSmiles(text)) for text in reference]
        nearest = [max(BulkTanimotoSimilarity(bits, theirs)) for bits in ours]
        assert result[f"moses_snn{end}"] == pytest.approx(np.mean(nearest), rel=1e-6)
        known = statistics_of(reference, {})
        for name, counts, others in (
            ("frag", fragments, known["Frag"]["frag"]),
            ("scaf", scaffolds, known["Scaf"]["scaf"]),
        ):
            keys = sorted({*counts, *others})
            expected = 1 - cosine([counts[k] for k in keys], [others[k] for k in keys])
            assert result[f"moses_{name}{end}"] == pytest.approx(expected, abs=1e-9)
    for name, calculate in (
        ("logP", Crippen.MolLogP),
        ("SA", sascorer.calculateScore),
        ("QED", QED.qed),
        ("weight", Descriptors.MolWt),
    ):
        values = [calculate(mol) for mol in molecules]
        others = [calculate(Chem.MolFromSmiles(text)) for text in TEST]
        expected = wasserstein_distance(values, others)
        assert result[f"moses_{name.lower()}"] == pytest.approx(expected)


def test_several_processes_give_the_same(monkeypatch):
    monkeypatch.setattr("ketformer.tasks.molecules.chemistry.CHUNK", 3)
    smiles = [text for text in canonicalise(SAMPLES) if text]
    alone, shared = (
        profile_of(smiles, ["[#6]=[#16]"], processes=processes, progress=False)
        for processes in (1, 2)
    )
    np.testing.assert_array_equal(alone.fingerprints, shared.fingerprints)
    np.testing.assert_array_equal(alone.values, shared.values)
    assert alone.fragments == shared.fragments
    assert alone.scaffolds == shared.scaffolds
    assert alone.passes.tolist() == shared.passes.tolist() == [True] * 2 + [False] + [True] * 5


@pytest.mark.parametrize(
    ("smiles", "passes"),
    [
        ("CCO", True),
        ("C1CCCCCC1", True),
        ("C1CCCCCCC1", False),  # eight atoms in a ring
        ("C[NH3+]", False),
        ("CCI", False),
        ("CC(Br)Cl", True),
        ("CC=O", False),  # a hydrogen on the carbon, which the pattern names as an atom
        ("CC(C)=O", True),
    ],
)
def test_filters(smiles, passes):
    assert passes_filters(Chem.MolFromSmiles(smiles), ["[#6](-[#1])=[#8]"]) is passes


def test_the_filters_are_read_as_they_are_quoted(wheel):
    assert read_filters(wheel) == ("[#6]=[#16]", "[#6](-[#7])-,=[#9]", "c1(-[#1]):n:n:n:n:1")


def test_unique_at_k_is_of_the_first_valid_ones(wheel, monkeypatch):
    monkeypatch.setattr(module, "_UNIQUE_AT", {"1k": 5, "10k": 10})
    smiles = canonicalise(["CC", "C", "C(C)", "x", "CCC", "CCCC", "O", "O"])
    with pytest.warns(UserWarning, match="unique@10k is that of 7 valid samples"):
        result = moses_metrics(smiles, wheel, with_fcd=False, progress=False)
    assert result["moses_unique_1k"] == 4 / 5
    assert result["moses_unique_10k"] == 5 / 7


def test_without_a_valid_sample_only_that_is_known(wheel):
    assert moses_metrics([None, None], wheel) == {"moses_sampled": 2, "moses_valid": 0.0}
    with pytest.raises(KetformerError, match="there are no samples to measure"):
        moses_metrics([], wheel)


# --- The statistics -----------------------------------------------------------------------------


class Bomb:
    """Unpickling it creates a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_statistics_that_would_run_code_are_refused(monkeypatch, tmp_path):
    statistics = {"FCD": {"mu": Bomb(tmp_path / "proof")}}
    assert b"mkdir" in pickle.dumps(statistics, protocol=2)
    files = {**moses_files(), **stats_file({"test": statistics})}
    wheel = put_wheel(monkeypatch, tmp_path / "data", "moses", files)
    with pytest.raises(KetformerError, match=r"posix\.mkdir is not allowed") as caught:
        read_reference(wheel, "test")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_broken_statistics_are_one_line(monkeypatch, tmp_path, content):
    files = {"moses/dataset/data/test_stats.npz": content}
    wheel = put_wheel(monkeypatch, tmp_path / "data", "moses", files)
    with pytest.raises(KetformerError, match="cannot read moses/dataset/data/test_stats"):
        read_reference(wheel, "test")
    with pytest.raises(KetformerError, match=r"is not a wheel with .*test_scaffolds_stats"):
        read_reference(wheel, "test_scaffolds")


def test_the_kept_figures_are_those_that_moses_states():
    """FCD and Scaf depend on the number of molecules; the former goes to the stated one."""
    kept = json.loads((ROOT / "results/moses-train.json").read_text())
    assert kept["number"] == kept["metrics"]["moses_sampled"] == kept["by_number"][-1]["number"]
    of_number = {"moses_fcd", "moses_fcd_scaffolds", "moses_scaf"}
    for name, value in kept["published"].items():
        if name not in of_number:
            assert kept["metrics"][name] == pytest.approx(value, abs=0.004), name
    assert kept["metrics"]["moses_fcd_limit"] == pytest.approx(0.008, abs=0.005)
    for name, falls in (("moses_fcd", True), ("moses_fcd_scaffolds", True), ("moses_scaf", False)):
        values = [row[name] for row in kept["by_number"]]
        assert values == sorted(values, reverse=falls)


@pytest.mark.slow
def test_the_training_set_has_the_published_figures(shared_file):
    """A thousand molecules of the real training set.

    Their number hardly affects these: in the last, pairs of a molecule with itself count for 0.003.
    """
    wheel = shared_file("data", DATASETS["moses"].filename)
    smiles = list(moses_smiles(wheel, "train"))[:: 1_584_663 // 1_000][:1_000]
    result = measured(wheel, smiles, with_fcd=False)
    assert result["moses_valid"] == result["moses_filters"] == 1
    assert result["moses_novelty"] == 0
    assert result["moses_snn"] == pytest.approx(0.642, abs=0.01)
    assert result["moses_snn_scaffolds"] == pytest.approx(0.586, abs=0.01)
    assert result["moses_frag"] == pytest.approx(1.0, abs=0.003)
    assert result["moses_frag_scaffolds"] == pytest.approx(0.999, abs=0.003)
    assert result["moses_scaf_scaffolds"] == 0
    assert result["moses_int_div"] == pytest.approx(0.857, abs=0.003)
    assert result["moses_int_div2"] == pytest.approx(0.851 - 0.003, abs=0.003)
