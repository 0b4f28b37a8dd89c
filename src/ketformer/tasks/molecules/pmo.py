"""The oracles of the PMO benchmark that RDKit alone can compute.

Gao et al. 2022 (arXiv 2206.12411) score molecules with 23 functions of the Therapeutics Data
Commons. Twenty are below, most of them goals of GuacaMol (Brown et al. 2019,
doi:10.1021/acs.jcim.8b00839, table 3), as TDC defines them. The other three are classifiers that
have to be downloaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ketformer.errors import KetformerError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: PMO's oracles that are trained classifiers, which Ketformer doesn't have.
CLASSIFIERS = ("drd2", "gsk3b", "jnk3")


@dataclass(frozen=True)
class Shape:
    """What a measured value is worth, from 0 to 1.

    Attributes:
        kind: ``raw`` leaves it as it is; ``clipped`` grows linearly and is 1 from ``mu`` on;
            ``near`` is a Gaussian around ``mu``; ``least`` is 1 above ``mu`` and that Gaussian
            below it, ``most`` the other way round.
        mu: the wanted value, or a molecule that has it.
        sigma: the width of the Gaussian.
    """

    kind: Literal["raw", "clipped", "near", "least", "most"] = "raw"
    mu: float | str = 0.0
    sigma: float = 1.0

    def __call__(self, value: float, mu: float) -> float:
        """The worth of a value, where the wanted one is ``mu``."""
        if self.kind == "raw":
            return value
        if self.kind == "clipped":
            return min(max(value / mu, 0.0), 1.0)
        if (self.kind == "least" and value > mu) or (self.kind == "most" and value < mu):
            return 1.0
        return math.exp(-0.5 * ((value - mu) / self.sigma) ** 2)


@dataclass(frozen=True)
class Part:
    """One part of a goal: a measure of the molecule, and what its value is worth.

    Attributes:
        measure: a fingerprint for the Tanimoto similarity to ``of`` (``ECFP4``, ``ECFP6``,
            ``FCFP4`` and ``AP`` count, ``PHCO`` does not); ``has`` or ``lacks`` for a SMARTS
            pattern; ``formula``; or a descriptor of :func:`_descriptors`.
        of: the SMILES, SMARTS or formula that the measure compares with.
        shape: what the value is worth.
    """

    measure: str
    of: str = ""
    shape: Shape = Shape()


@dataclass(frozen=True)
class Goal:
    """A function of a molecule from 0 to 1: the mean of its parts.

    Attributes:
        about: what it asks for, in one line.
        parts: what counts, each as much as any other.
        geometric: the geometric mean instead of the arithmetic one.
    """

    about: str
    parts: tuple[Part, ...]
    geometric: bool = True


_ALBUTEROL = "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"
_AMLODIPINE = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
_CAMPHOR = "CC1(C)C2CCC1(C)C(=O)C2"
_CELECOXIB = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
_FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
_MENTHOL = "CC(C)C1CCC(C)CC1O"
_MESTRANOL = "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1"
_OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
_PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
_RANOLAZINE = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
_SILDENAFIL = "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C"
_SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
_TADALAFIL = "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C"
_THIOTHIXENE = "CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1"
_TROGLITAZONE = "Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O"
_ZALEPLON = "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1"
# A kinase inhibitor, its core and its decoration, for the two hops.
_HOP = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
_HOP_CORE = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
_HOP_DECORATION = "[#7]-c1ccc2ncsc2c1"
_HOP_CHAIN = "[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"


def _near(mu: float | str, sigma: float) -> Shape:
    return Shape("near", mu, sigma)


#: The goals by name.
PMO: dict[str, Goal] = {
    "albuterol_similarity": Goal(
        "similar to albuterol", (Part("FCFP4", _ALBUTEROL, Shape("clipped", 0.75)),)
    ),
    "amlodipine_mpo": Goal(
        "like amlodipine, with three rings",
        (Part("ECFP4", _AMLODIPINE), Part("rings", shape=_near(3, 0.5))),
    ),
    "celecoxib_rediscovery": Goal("celecoxib itself", (Part("ECFP4", _CELECOXIB),)),
    "deco_hop": Goal(
        "a kinase inhibitor with another decoration on its core",
        (
            Part("PHCO", _HOP, Shape("clipped", 0.85)),
            Part("lacks", "CS([#6])(=O)=O"),
            Part("lacks", _HOP_DECORATION),
            Part("has", _HOP_CORE),
        ),
        geometric=False,
    ),
    "fexofenadine_mpo": Goal(
        "like fexofenadine, more polar",
        (
            Part("AP", _FEXOFENADINE, Shape("clipped", 0.8)),
            Part("TPSA", shape=Shape("least", 90, 10)),
            Part("LogP", shape=Shape("most", 4, 1)),
        ),
    ),
    "isomers_c7h8n2o2": Goal("of the formula C7H8N2O2", (Part("formula", "C7H8N2O2"),)),
    "isomers_c9h10n2o2pf2cl": Goal(
        "of the formula C9H10N2O2PF2Cl", (Part("formula", "C9H10N2O2PF2Cl"),)
    ),
    "median1": Goal(
        "between camphor and menthol", (Part("ECFP4", _CAMPHOR), Part("ECFP4", _MENTHOL))
    ),
    "median2": Goal(
        "between tadalafil and sildenafil",
        (Part("ECFP6", _TADALAFIL), Part("ECFP6", _SILDENAFIL)),
    ),
    "mestranol_similarity": Goal(
        "similar to mestranol", (Part("AP", _MESTRANOL, Shape("clipped", 0.75)),)
    ),
    "osimertinib_mpo": Goal(
        "like osimertinib, not too similar and more polar",
        (
            Part("FCFP4", _OSIMERTINIB, Shape("clipped", 0.8)),
            Part("ECFP6", _OSIMERTINIB, Shape("most", 0.85, 0.1)),
            Part("TPSA", shape=Shape("least", 100, 10)),
            Part("LogP", shape=Shape("most", 1, 1)),
        ),
    ),
    "perindopril_mpo": Goal(
        "like perindopril, with two aromatic rings",
        (Part("ECFP4", _PERINDOPRIL), Part("aromatic_rings", shape=_near(2, 0.5))),
    ),
    "qed": Goal("drug-like by QED (Bickerton et al. 2012)", (Part("QED"),)),
    "ranolazine_mpo": Goal(
        "like ranolazine, more polar and lipophilic, with one fluorine",
        (
            Part("AP", _RANOLAZINE, Shape("clipped", 0.7)),
            Part("TPSA", shape=Shape("least", 95, 20)),
            Part("LogP", shape=Shape("least", 7, 1)),
            Part("fluorines", shape=_near(1, 1)),
        ),
    ),
    "scaffold_hop": Goal(
        "a kinase inhibitor with another core",
        (
            Part("PHCO", _HOP, Shape("clipped", 0.75)),
            Part("has", _HOP_CHAIN),
            Part("lacks", _HOP_CORE),
        ),
        geometric=False,
    ),
    "sitagliptin_mpo": Goal(
        "sitagliptin's formula, LogP and TPSA in another structure",
        (
            Part("ECFP4", _SITAGLIPTIN, _near(0, 0.1)),
            Part("LogP", shape=_near(_SITAGLIPTIN, 0.2)),
            Part("TPSA", shape=_near(_SITAGLIPTIN, 5)),
            Part("formula", "C16H15F6N5O"),
        ),
    ),
    "thiothixene_rediscovery": Goal("thiothixene itself", (Part("ECFP4", _THIOTHIXENE),)),
    "troglitazone_rediscovery": Goal("troglitazone itself", (Part("ECFP4", _TROGLITAZONE),)),
    "valsartan_smarts": Goal(
        "a part of valsartan with sitagliptin's LogP, TPSA and complexity",
        (
            Part("has", "CN(C=O)Cc1ccc(c2ccccc2)cc1"),
            Part("LogP", shape=_near(_SITAGLIPTIN, 0.2)),
            Part("TPSA", shape=_near(_SITAGLIPTIN, 5)),
            Part("BertzCT", shape=_near(_SITAGLIPTIN, 30)),
        ),
    ),
    "zaleplon_mpo": Goal(
        "like zaleplon, of the formula C19H17N3O2",
        (Part("ECFP4", _ZALEPLON), Part("formula", "C19H17N3O2")),
    ),
}


@cache
def pmo_oracle(name: str) -> Callable[[Mol], float]:
    """The function of a PMO oracle: a sanitised molecule to a score from 0 to 1.

    Raises:
        KetformerError: an unknown name, or that of a classifier.
    """
    if name in CLASSIFIERS:
        raise KetformerError(
            f"the oracle {name} is a classifier that PMO downloads, and Ketformer doesn't have it; "
            "load it in a function of yours, and name that as module:function"
        )
    if name not in PMO:
        raise KetformerError(f"no PMO oracle {name!r}; known: {', '.join(PMO)}")
    goal = PMO[name]
    parts = [_worth(part) for part in goal.parts]

    def oracle(molecule: Mol) -> float:
        values = [part(molecule) for part in parts]
        return (
            math.prod(values) ** (1 / len(values)) if goal.geometric else sum(values) / len(values)
        )

    return oracle


def _worth(part: Part) -> Callable[[Mol], float]:
    """The function of a part: measured, and then shaped."""
    measure = _measure(part.measure, part.of)
    mu = part.shape.mu
    wanted = measure(_molecule(mu)) if isinstance(mu, str) else mu
    return lambda molecule: part.shape(measure(molecule), wanted)


def _measure(name: str, of: str) -> Callable[[Mol], float]:
    from rdkit.Chem import MolFromSmarts
    from rdkit.DataStructs import TanimotoSimilarity

    if (fingerprint := _fingerprints().get(name)) is not None:
        target = fingerprint(_molecule(of))
        return lambda molecule: float(TanimotoSimilarity(target, fingerprint(molecule)))
    if name in ("has", "lacks"):
        pattern = MolFromSmarts(of)
        return lambda molecule: float(molecule.HasSubstructMatch(pattern) == (name == "has"))
    return _formula(of) if name == "formula" else _descriptors()[name]


def _molecule(smiles: str) -> Mol:
    from rdkit.Chem import MolFromSmiles

    return MolFromSmiles(smiles)


@cache
def _fingerprints() -> dict[str, Callable[[Mol], Any]]:
    from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D
    from rdkit.Chem.rdFingerprintGenerator import (
        GetAtomPairGenerator,
        GetMorganFeatureAtomInvGen,
        GetMorganGenerator,
    )

    features = GetMorganFeatureAtomInvGen()
    counting = {
        "ECFP4": GetMorganGenerator(radius=2),
        "ECFP6": GetMorganGenerator(radius=3),
        "FCFP4": GetMorganGenerator(radius=2, atomInvariantsGenerator=features),
        "AP": GetAtomPairGenerator(maxDistance=10),
    }

    def pharmacophores(molecule: Mol) -> Any:
        return Generate.Gen2DFingerprint(  # type: ignore[no-untyped-call]
            molecule, Gobbi_Pharm2D.factory
        )

    counted = {name: made.GetSparseCountFingerprint for name, made in counting.items()}
    return {**counted, "PHCO": pharmacophores}


@cache
def _descriptors() -> dict[str, Callable[[Mol], float]]:
    from rdkit.Chem import QED, Crippen, GraphDescriptors, rdMolDescriptors

    return {
        "LogP": Crippen.MolLogP,  # type: ignore[attr-defined]
        "TPSA": rdMolDescriptors.CalcTPSA,
        "QED": QED.qed,
        "BertzCT": GraphDescriptors.BertzCT,
        "rings": rdMolDescriptors.CalcNumRings,
        "aromatic_rings": rdMolDescriptors.CalcNumAromaticRings,
        "fluorines": lambda molecule: _atoms(molecule).get("F", 0),
    }


def _atoms(molecule: Mol) -> dict[str, int]:
    """How many atoms of each element a molecule has, hydrogen included."""
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    return _counted(CalcMolFormula(molecule))


def _counted(formula: str) -> dict[str, int]:
    return {
        element: int(count or 1) for element, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    }


def _formula(formula: str) -> Callable[[Mol], float]:
    """GuacaMol's score of a formula: a Gaussian for each element's count, and for their sum."""
    wanted = _counted(formula)

    def closeness(molecule: Mol) -> float:
        found = _atoms(molecule)
        misses = [found.get(element, 0) - count for element, count in wanted.items()]
        whole = (sum(found.values()) - sum(wanted.values())) / 2
        # The geometric mean of Gaussians of width 1, and of width 2 for the sum.
        squares = sum(miss**2 for miss in misses) + whole**2
        return math.exp(-0.5 * squares / (len(wanted) + 1))

    return closeness
