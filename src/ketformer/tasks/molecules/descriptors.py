"""What a shortlist can be filtered and ranked by: numbers of each molecule, by name.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS, locate
from ketformer.tasks.molecules.chemistry import map_chunks, parse
from ketformer.tasks.molecules.moses_reference import read_mcf
from ketformer.tasks.molecules.properties import PROPERTIES, calculators
from ketformer.tasks.molecules.quoting import matching, nearest

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: RDKit's catalogues of unwanted substructures.
CATALOGUES = {
    "PAINS": "pan-assay interference compounds, patterns matched (Baell and Holloway 2010)",
    "BRENK": "unwanted for screening libraries, patterns matched (Brenk et al. 2008)",
    "NIH": "annotated as problematic by the NIH, patterns matched (Jadhav et al. 2010)",
    "ZINC": "what ZINC sets aside, patterns matched",
    "CHEMBL": "the eight sets of alerts in ChEMBL, patterns matched",
}
#: All names, with what they mean.
DESCRIPTORS = {
    **PROPERTIES,
    "QED": "quantitative estimate of drug-likeness, 0 to 1 (Bickerton et al. 2012)",
    "SA": "synthetic accessibility, 1 easy to 10 hard (Ertl and Schuffenhauer 2009)",
    **CATALOGUES,
    "MCF": "MOSES' medicinal chemistry filters, patterns matched; needs the data set moses",
}
#: Those that are whole numbers.
COUNTS = frozenset(DESCRIPTORS) - {"MW", "TPSA", "LogP", "QED", "SA"}

_ALSO_CALLED = {"weight": "MW"}


def find_descriptor(name: str, known: Iterable[str] = DESCRIPTORS) -> str:
    """The descriptor that a user means, in upper or lower case; ``weight`` is ``MW``.

    Raises:
        KetformerError: there is none; the known ones are listed.
    """
    names = list(known)
    name = _ALSO_CALLED.get(name.casefold(), name)
    if not (found := matching(name, names)):
        raise KetformerError(
            f"no property {name!r}; known: {', '.join(names)}{nearest(name, names)}"
        )
    return names[found[0]]


def describe(
    smiles: Sequence[str], names: Sequence[str], *, processes: int | None = None
) -> NDArray[np.float64]:
    """Descriptors of each molecule ``[N, len(names)]``, in parallel; NaN for what is none.

    Args:
        smiles: N molecules.
        names: keys of :data:`DESCRIPTORS`.
        processes: at most that many; by default as many as there are processor cores.

    Raises:
        KetformerError: MCF is asked for, and the data set ``moses`` is neither there nor to be had.
    """
    mcf = read_mcf(locate(DATASETS["moses"])) if "MCF" in names else ()
    chunk = partial(_chunk, names=tuple(names), mcf=mcf)
    return np.concatenate(
        [np.empty((0, len(names))), *map_chunks(chunk, smiles, processes, progress=False)]
    )


def _chunk(
    smiles: Sequence[str], names: tuple[str, ...], mcf: tuple[str, ...]
) -> NDArray[np.float64]:
    from rdkit.rdBase import BlockLogs

    functions = [calculator(name, mcf) for name in names]
    values = np.full((len(smiles), len(names)), np.nan)
    with BlockLogs():
        for row, text in enumerate(smiles):
            if (molecule := parse(text)) is not None:
                values[row] = [function(molecule) for function in functions]
    return values


@cache
def calculator(name: str, mcf: tuple[str, ...] = ()) -> Callable[[Mol], float]:
    """What computes one of the descriptors of a molecule; ``MCF`` by these patterns."""
    if name in PROPERTIES:
        return calculators()[name]
    if name == "QED":
        from rdkit.Chem.QED import qed

        return qed
    if name == "SA":
        from rdkit.Contrib.SA_Score.sascorer import calculateScore  # type: ignore[import-untyped]

        return calculateScore  # type: ignore[no-any-return]
    return _mcf_matches(mcf) if name == "MCF" else _catalogue_matches(name)


def _catalogue_matches(name: str) -> Callable[[Mol], float]:
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    catalogue = FilterCatalog(getattr(FilterCatalogParams.FilterCatalogs, name))
    return lambda molecule: len(catalogue.GetMatches(molecule))


def _mcf_matches(smarts: tuple[str, ...]) -> Callable[[Mol], float]:
    from rdkit.Chem import AddHs, MolFromSmarts

    patterns = [MolFromSmarts(text) for text in smarts]

    def count(molecule: Mol) -> float:
        whole = AddHs(molecule)  # as MOSES does
        return sum(whole.HasSubstructMatch(pattern) for pattern in patterns)

    return count
