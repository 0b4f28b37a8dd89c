"""Drug-like molecules for tests: real ones with awkward features, and ones put together."""

from hypothesis import strategies as st
from rdkit import Chem

DRUGS = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "C/C(=C\\c1ccccc1)C(=O)NCCO",
    "O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O",
    "Clc1ccc(C(c2ccccc2)N2CCN(CCOCC(=O)O)CC2)cc1",
    "CC[N+](CC)(CC)Cc1ccccc1",
    "CC(C)C[C@H](NC(=O)[C@H](Cc1ccccc1)NC(=O)c1cnccn1)B(O)O",
    "C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@@]43C)[C@@H]1CC[C@@H]2O",
    "O=c1[nH]cc(-c2ccncc2)s1.Cl",
    "FC(F)(F)c1cccc([C@@](O)(c2ccccc2)C2CC2)c1",
    "C[S@](=O)c1ccccc1",
    "N[C@@H]1CC[C@@H](O)CC1",
    "O[C@H]1C[C@@](F)(Cl)C1",
    "CCCCCC(=O)O",
)
_RINGS = (
    "c1cc({a})cc({b})c1", "c1cc({a})ncc1{b}", "C1CC({a})N({b})CC1", "c1c({a})c({b})cs1",
    "C1C({a})C1{b}", "O=C1CC({a})CN1{b}", "c1nc({a})cn1{b}", "[C@@H]1({a})CN({b})CCO1",
    "[C@H]1({a})CC[C@@]1(F)({b})", "c1ccc2n({a})cc({b})c2c1", "C1=C({a})/C(=N/O)CC1{b}",
)  # fmt: skip
_SIDES = ("C", "OC", "C(=O)O", "N", "F", "C#N", "C(F)(F)F", "S(=O)(=O)C", "/C=C/C", "[C@H](C)O")
_LINKERS = ("", "C", "NC(=O)", "OCC", "[C@@H](N)", "C(C)(C)", "/C=C/")


def canonical(smiles):
    """RDKit's canonical SMILES; None if it reads none."""
    molecule = Chem.MolFromSmiles(smiles)
    return molecule and Chem.MolToSmiles(molecule)


@st.composite
def assembled(draw):
    """Two or three ring systems with sides, as canonical SMILES."""
    side = st.sampled_from(_SIDES)
    inner = draw(side)
    for digit in range(draw(st.integers(2, 3)), 0, -1):
        ring = draw(st.sampled_from(_RINGS)).replace("2", str(digit + 6)).replace("1", str(digit))
        inner = draw(st.sampled_from(_LINKERS)) + ring.format(a=draw(side), b=inner)
    found = canonical(inner)
    return found if found and canonical(found) == found else "Cc1ccccc1"


drug_like = st.one_of(st.sampled_from([canonical(drug) for drug in DRUGS]), assembled())
