"""PMO's oracles, against values that TDC computed."""

import pytest
from rdkit import Chem

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.oracles import ORACLES, load_oracle, score
from ketformer.tasks.molecules.pmo import CLASSIFIERS, PMO, pmo_oracle

MOLECULES = (
    "CN(Cc1ccc(-c2ccccc2)cc1)C(=O)CN1CCOC1=O",
    "CCOC(=O)C(CCC)NC(C)C(=O)N1C(C(=O)O)CC2CCCCC21",
    "COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1",
    "Nc1cccc(C(=O)ON)c1",
    "CC(C)C1CCC(C)(O)C(=O)C1",
)
# By the functions of tdc/chem_utils/oracle/oracle.py in PyTDC 1.1.15, with RDKit 2025.9. On 250
# molecules of MOSES' test set and the oracles' own targets, the largest difference was 1e-16.
TDC = {
    "albuterol_similarity": (0.26666667, 0.15384615, 0.1920904, 0.30601093, 0.25),
    "amlodipine_mpo": (0.40987803, 0.13688949, 0.14702399, 0.0073956064, 0.0044421949),
    "celecoxib_rediscovery": (0.22807018, 0.028985507, 0.13380282, 0.12222222, 0.03030303),
    "deco_hop": (0.50965008, 0.50531538, 0.86970995, 0.51114732, 0.50083438),
    "fexofenadine_mpo": (0.04358654, 0.52206656, 0.29160392, 0.31042857, 0.0039399422),
    "isomers_c7h8n2o2": (4.6029705e-20, 6.6970662e-49, 6.6396772e-36, 1, 6.0080224e-07),
    "isomers_c9h10n2o2pf2cl": (
        2.6315045e-08, 1.6591943e-23, 3.8242466e-16, 0.15335497, 0.00800151,
    ),
    "median1": (0.045381677, 0.13211031, 0.039058328, 0, 0.31714393),
    "median2": (0.1338059, 0.070694143, 0.13483997, 0.076289618, 0.064754905),
    "mestranol_similarity": (0.15757576, 0.20638153, 0.17525163, 0.083916084, 0.16666667),
    "osimertinib_mpo": (0.022122548, 0.53112649, 0.062155163, 0.36316472, 0.0040346292),
    "perindopril_mpo": (0.2773501, 0.018315639, 0.099622224, 0.074704996, 0.0066879257),
    "qed": (0.84959967, 0.635821, 0.51785453, 0.44776254, 0.65077924),
    "ranolazine_mpo": (0.038385877, 0.025933381, 0.25456659, 0.0017106786, 0.0051929353),
    "scaffold_hop": (0.34791568, 0.34136546, 0.18089503, 0.35017817, 0.33459417),
    "sitagliptin_mpo": (
        0.00064625047, 2.6945524e-05, 1.3423346e-09, 1.1279984e-07, 1.2990658e-05,
    ),
    "thiothixene_rediscovery": (0.24193548, 0.083333333, 0.19047619, 0.10576923, 0.074074074),
    "troglitazone_rediscovery": (0.18320611, 0.082758621, 0.14285714, 0.094339623, 0.125),
    "valsartan_smarts": (4.0816597e-05, 0, 0, 0, 0),
    "zaleplon_mpo": (0.24081813, 5.322198e-08, 0.0016536484, 1.2128644e-08, 0.00048554086),
}  # fmt: skip


@pytest.mark.parametrize("name", PMO)
def test_the_oracles_are_tdcs(name):
    values = score(load_oracle(name), MOLECULES).values
    assert values.tolist() == pytest.approx(TDC[name], rel=1e-6)


def test_all_23_are_known_and_those_not_here_say_why():
    assert len(PMO) + len(CLASSIFIERS) == 23
    assert set(PMO) - {"qed"} <= set(ORACLES)
    for name in CLASSIFIERS:
        with pytest.raises(KetformerError, match=f"{name} is a classifier that PMO downloads"):
            load_oracle(name)


@pytest.mark.parametrize("name", ["celecoxib", "thiothixene", "troglitazone"])
def test_a_rediscovered_molecule_has_the_highest_score(name):
    goal = PMO[f"{name}_rediscovery"]
    target = Chem.MolFromSmiles(goal.parts[0].of)
    assert pmo_oracle(f"{name}_rediscovery")(target) == 1


def test_the_hops_tell_a_core_from_its_decoration():
    inhibitor = Chem.MolFromSmiles(PMO["deco_hop"].parts[0].of)
    # It is similar and has the core, but both decorations; for the other hop, the old core.
    assert pmo_oracle("deco_hop")(inhibitor) == pytest.approx(2 / 4)
    assert pmo_oracle("scaffold_hop")(inhibitor) == pytest.approx(2 / 3)
