"""Every small molecule of C, N, O and F: a data set that needs no download."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from ketformer.errors import KetformerError

#: The largest number of heavy atoms by default: 5,453 molecules in two seconds.
MAX_HEAVY_ATOMS = 5
# 6 gives 47,521 molecules in twenty seconds; each further atom takes ten times as long.
_LARGEST = 7

_VALENCE = {"C": 4, "N": 3, "O": 2, "F": 1}
_HIGHEST_BOND = 3


class _Graph(NamedTuple):
    """Atoms, and the bond order of each bonded pair ``(low, high)`` of them."""

    atoms: tuple[str, ...]
    bonds: dict[tuple[int, int], int]

    def free_valences(self) -> list[int]:
        """The number of hydrogens on each atom."""
        free = [_VALENCE[atom] for atom in self.atoms]
        for pair, order in self.bonds.items():
            for atom in pair:
                free[atom] -= order
        return free


def embedded_smiles(max_heavy_atoms: int = MAX_HEAVY_ATOMS) -> list[str]:
    """Canonical SMILES of every molecule of C, N, O and F with up to that many heavy atoms.

    That is every connected and neutral molecule without radicals, of valences 4, 3, 2 and
    1, with single, double and triple bonds and any rings, including strained ones;
    hydrogens fill the valences. They are ordered by heavy atoms, then as text.

    Raises:
        KetformerError: a size that is not from 1 to 7.
    """
    if not 1 <= max_heavy_atoms <= _LARGEST:
        raise KetformerError(f"max_heavy_atoms is {max_heavy_atoms}, but must be 1 to {_LARGEST}")
    return list(_all_up_to(max_heavy_atoms))


@lru_cache
def _all_up_to(max_heavy_atoms: int) -> tuple[str, ...]:
    """Build the molecules level by level, as graphs whose aromatic bonds are single and double.

    Nothing is missed. Any molecule has an atom whose removal leaves it connected. The rest
    is in the level below; the atom is added to it with a single bond, and its other bonds
    are added one order at a time.
    """
    from rdkit import Chem

    levels = [_distinct(_Graph((atom,), {}) for atom in _VALENCE)]
    while len(levels) < max_heavy_atoms:
        levels.append(_distinct(g for graph in levels[-1].values() for g in _larger(graph)))
        _add_bonds(levels[-1])
    aromatic = [{Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in level} for level in levels]
    return tuple(smiles for level in aromatic for smiles in sorted(level))


def _distinct(graphs: Iterable[_Graph]) -> dict[str, _Graph]:
    """The distinct graphs, by canonical SMILES."""
    return {_text(graph): graph for graph in graphs}


def _larger(graph: _Graph) -> Iterator[_Graph]:
    """Every graph with one more atom, attached by a single bond."""
    new = len(graph.atoms)
    for old, free in enumerate(graph.free_valences()):
        if free:
            for atom in _VALENCE:
                yield _Graph((*graph.atoms, atom), {**graph.bonds, (old, new): 1})


def _more_bonded(graph: _Graph) -> Iterator[_Graph]:
    """Every graph with one more bond between two atoms: a higher order, or a closed ring."""
    free = graph.free_valences()
    for pair in combinations(range(len(graph.atoms)), 2):
        order = graph.bonds.get(pair, 0)
        if order < _HIGHEST_BOND and free[pair[0]] and free[pair[1]]:
            yield _Graph(graph.atoms, {**graph.bonds, pair: order + 1})


def _add_bonds(level: dict[str, _Graph]) -> None:
    """Add every graph that can be reached from these by adding bonds."""
    fresh = list(level.values())
    while fresh:
        made = _distinct(g for graph in fresh for g in _more_bonded(graph))
        fresh = [graph for text, graph in made.items() if text not in level]
        level.update(made)


def _text(graph: _Graph) -> str:
    """A canonical SMILES with exactly these bonds: aromaticity is not perceived."""
    from rdkit import Chem

    molecule = Chem.RWMol()
    for atom in graph.atoms:
        molecule.AddAtom(Chem.Atom(atom))
    for pair, order in graph.bonds.items():
        molecule.AddBond(*pair, Chem.BondType.values[order])
    molecule.UpdatePropertyCache()
    return Chem.MolToSmiles(molecule)
