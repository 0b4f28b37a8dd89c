"""Distribution metrics by hand, by naive loops, and against fcd_torch itself."""

import sys
import warnings

import fcd_torch
import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem.BRICS import BRICSDecompose
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from rdkit.DataStructs import TanimotoSimilarity
from scipy import linalg

from ketformer.errors import KetformerError
from ketformer.tasks.molecules import similarity
from ketformer.tasks.molecules.chemnet import frechet, moments
from ketformer.tasks.molecules.similarity import (
    count_fragments,
    distribution_metrics,
    fcd,
    fragment_similarity,
    internal_diversity,
    scaffold_similarity,
    snn,
)

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CN1CCC[C@H]1c1cccnc1",
    "CC(=O)Nc1ccc(O)cc1",
    "NCCc1ccc(O)c(O)c1",
    "O=C(O)c1ccccc1O",
    "CN1C2CCC1CC(OC(=O)C(CO)c1ccccc1)C2",
]
OTHERS = ["CCO", "c1ccccc1", "CCOC(C)=O", "OC1CCCCC1", "Nc1ccccc1", "c1ccc2ccccc2c1", "CC#N"]


# --- Neighbours, fragments, scaffolds ------------------------------------------------------------


def distance(some, others):
    return frechet(moments(some), moments(others))


def naive_similarities(some, others):
    generator = GetMorganGenerator(radius=2, fpSize=1024)
    prints = [[generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in x] for x in (some, others)]
    return np.array([[TanimotoSimilarity(a, b) for b in prints[1]] for a in prints[0]])


@pytest.mark.parametrize("rows", [1000, 3, 1])
def test_nearest_neighbours_are_those_of_a_double_loop(rows, monkeypatch):
    monkeypatch.setattr(similarity, "_ROWS", rows)
    generated = [*OTHERS, OTHERS[0]]
    expected = naive_similarities(generated, DRUGS).max(axis=1).mean()
    assert 0 < expected < 1
    assert snn(generated, DRUGS) == pytest.approx(expected, rel=1e-6)
    # the mean is over the generated side, so swapping the sides gives another number
    assert snn(DRUGS, generated) == pytest.approx(
        naive_similarities(DRUGS, generated).max(axis=1).mean(), rel=1e-6
    )


def test_nearest_neighbours_by_hand():
    assert snn(DRUGS[:3], DRUGS) == 1
    assert snn(["OCC"], ["CCO", "C"]) == 1
    # methane sets one bit, its only atom; a nitrile shares none
    assert snn(["C", "CC#N"], ["C"]) == pytest.approx(1 / 2)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("rows", [1000, 3])
def test_internal_diversity_is_that_of_a_double_loop(p, rows, monkeypatch):
    monkeypatch.setattr(similarity, "_ROWS", rows)
    table = naive_similarities(DRUGS, DRUGS)
    expected = 1 - (table**p).mean() ** (1 / p)
    assert internal_diversity(DRUGS, p) == pytest.approx(expected, rel=1e-6)


def test_internal_diversity_by_hand():
    assert internal_diversity(["C"]) == 0
    assert internal_diversity(["CCO", "OCC"]) == 0
    assert internal_diversity(["C", "O"]) == pytest.approx(1 / 2)  # with itself 1, else 0


def test_fragments_by_hand():
    assert fragment_similarity(["c1ccccc1"], ["c1ccccc1"] * 3) == pytest.approx(1)
    assert fragment_similarity(["c1ccccc1"], ["CCO"]) == 0
    # none of these has a bond to cut; counts (2, 1) and (1, 0)
    assert fragment_similarity(["CCO", "CCO", "CC#N"], ["CCO"]) == pytest.approx(2 / 5**0.5)


def test_fragments_are_those_of_rdkits_recursive_decomposition():
    """Where every fragment occurs once, both ways of cutting give the same set."""
    for smiles in DRUGS:
        decomposed = BRICSDecompose(Chem.MolFromSmiles(smiles))
        assert set(count_fragments([Chem.MolFromSmiles(smiles)])) == {
            Chem.CanonSmiles(fragment) for fragment in decomposed
        }
    assert max(len(count_fragments([Chem.MolFromSmiles(smiles)])) for smiles in DRUGS) > 2


def test_scaffolds_by_hand():
    naphthalene, biphenyl = "c1ccc2ccccc2c1", "c1ccc(-c2ccccc2)cc1"
    side_chains = ["Cc1ccc2ccccc2c1", "OCc1ccc2ccccc2c1", "Cc1ccc(-c2ccccc2)cc1"]
    assert scaffold_similarity(side_chains, [naphthalene]) == pytest.approx(2 / 5**0.5)
    assert scaffold_similarity([naphthalene], [biphenyl]) == 0
    # chains and single rings do not count
    assert scaffold_similarity([naphthalene, "CCO", "c1ccccc1"], [naphthalene]) == 1
    assert scaffold_similarity(["CCO", "c1ccccc1"], [naphthalene]) is None
    assert scaffold_similarity([naphthalene], ["Cc1ccccc1"]) is None


TWO_SIDED = [snn, fragment_similarity, scaffold_similarity, fcd]


@pytest.mark.parametrize("function", TWO_SIDED)
@pytest.mark.parametrize("broken", ["X", "", "C C"])
def test_what_is_no_molecule_is_refused_by_name(function, broken):
    for sides in ([["C", broken], ["C", "CC"]], [["C", "CC"], ["C", broken]]):
        with pytest.raises(KetformerError, match=rf"^{broken!r} is not a molecule"):
            function(*sides)


@pytest.mark.parametrize("function", TWO_SIDED)
def test_an_empty_side_is_refused(function):
    for sides in ([[], ["C", "CC"]], [["C", "CC"], []]):
        with pytest.raises(KetformerError, match=r"no molecules to compare|two molecules"):
            function(*sides)
    with pytest.raises(KetformerError, match="no molecules to compare"):
        internal_diversity([])


# --- Fréchet ChemNet distance ------------------------------------------------------------------


def test_the_distance_of_a_set_to_itself_is_nothing():
    assert fcd(DRUGS, DRUGS[::-1]) == pytest.approx(0, abs=1e-6)


def test_the_distance_is_that_of_fcd_torch():
    with warnings.catch_warnings():  # it is old, and calls functions that will be removed
        warnings.simplefilter("ignore", DeprecationWarning)
        expected = fcd_torch.FCD(device="cpu")(OTHERS, DRUGS)
    assert expected > 1
    assert fcd(OTHERS, DRUGS) == pytest.approx(expected, rel=1e-3)


def test_no_deprecated_function_is_called():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fcd(["C", "CC"], ["C", "N"]) > 0


@pytest.mark.parametrize("numbers", [(40, 50), (3, 4)], ids=["regular", "singular"])
def test_the_frechet_distance_is_its_formula(numbers):
    generator = np.random.default_rng(0)
    some = generator.normal(size=(numbers[0], 6)) @ generator.normal(size=(6, 6)) + 1
    others = generator.normal(size=(numbers[1], 6)) @ generator.normal(size=(6, 6))
    covariances = [np.cov(rows.T) for rows in (some, others)]
    regular = [c + 1e-12 * np.eye(6) for c in covariances]
    root = linalg.sqrtm(regular[0] @ regular[1]).real
    shift = ((some.mean(axis=0) - others.mean(axis=0)) ** 2).sum()
    expected = shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert distance(some, others) == pytest.approx(expected, abs=1e-3)


def test_the_frechet_distance_by_hand():
    line = np.array([[-1.0, 0], [1, 0]])  # variance 2 along the first axis
    assert distance(line, line + np.array([3, 4])) == pytest.approx(25)
    assert distance(line, 3 * line) == pytest.approx(2 * (3 - 1) ** 2)
    assert distance(line, line[:, ::-1]) == pytest.approx(4)


@pytest.mark.parametrize("sides", [(["C"], DRUGS), (DRUGS, ["C"])])
def test_one_molecule_has_no_distance(sides):
    with pytest.raises(KetformerError, match="two molecules on each side"):
        fcd(*sides)


def test_a_missing_fcd_torch_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcd_torch", None)
    with pytest.raises(KetformerError, match=r"pip install 'ketformer\[molecules\]'") as caught:
        fcd(DRUGS, OTHERS)
    assert "\n" not in str(caught.value)
    with pytest.raises(KetformerError, match=r"ketformer\[molecules\]"):
        distribution_metrics(["C"], OTHERS, with_fcd=True)  # even where the distance is undefined
    assert distribution_metrics(DRUGS, OTHERS)["fcd"] is None


def test_the_bar_counts_the_molecules_of_both_sides(capfd):
    fcd(DRUGS, OTHERS)
    assert capfd.readouterr().err == ""
    fcd(DRUGS, OTHERS, progress=True)
    assert "15/15" in capfd.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_distance_is_the_same_on_a_gpu():
    assert fcd(OTHERS, DRUGS, "cuda") == pytest.approx(fcd(OTHERS, DRUGS), rel=1e-2)


# --- All of them -------------------------------------------------------------------------------


def test_all_metrics_are_each_on_its_own():
    assert distribution_metrics(OTHERS, DRUGS, progress=False) == {
        "generated": 7,
        "reference": 8,
        "fcd": pytest.approx(fcd(OTHERS, DRUGS)),
        "snn": snn(OTHERS, DRUGS),
        "internal_diversity": internal_diversity(OTHERS),
        "fragment_similarity": fragment_similarity(OTHERS, DRUGS),
        "scaffold_similarity": scaffold_similarity(OTHERS, DRUGS),
    }


def test_large_sides_are_drawn_from():
    chains = ["C" * length for length in range(1, 60)]
    first, again, other = (
        distribution_metrics(chains, DRUGS, sample=5, seed=seed, with_fcd=False)
        for seed in (1, 1, 2)
    )
    assert (first["generated"], first["reference"]) == (5, 5)
    assert first["fcd"] is None
    assert first == again
    assert first != other
    drawn = similarity._draw(chains, 58, seed=3)
    assert len(set(drawn)) == 58  # without replacement
    assert similarity._draw(chains, 59, seed=3) == chains


def test_repeats_count():
    once, twice = (
        distribution_metrics(generated, DRUGS, with_fcd=False)
        for generated in (["CCO", DRUGS[0]], ["CCO", DRUGS[0], DRUGS[0]])
    )
    assert twice["generated"] == 3
    assert twice["snn"] > once["snn"]


def test_sides_with_nothing_on_them():
    empty = dict.fromkeys(("fcd", "snn", "fragment_similarity", "scaffold_similarity"))
    metrics = distribution_metrics(["X"], DRUGS)
    assert metrics == {"generated": 0, "reference": 8, "internal_diversity": None, **empty}
    metrics = distribution_metrics(["C", "X", "O"], [])
    assert metrics == {
        "generated": 2,
        "reference": 0,
        "internal_diversity": pytest.approx(1 / 2),
        **empty,
    }


def test_one_molecule_has_everything_but_a_distance():
    metrics = distribution_metrics(["CCO"], DRUGS, progress=False)
    assert metrics["fcd"] is None
    assert metrics["snn"] == snn(["CCO"], DRUGS)
