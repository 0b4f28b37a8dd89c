"""Oracles: what gives a molecule a number, by name or as the user's own function.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError, one_line
from ketformer.tasks.molecules.chemistry import map_chunks, parse
from ketformer.tasks.molecules.descriptors import calculator
from ketformer.tasks.molecules.pmo import CLASSIFIERS, PMO, pmo_oracle
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.tasks.molecules.quoting import matching, nearest, shortened
from ketformer.utils.importing import import_target
from ketformer.utils.progress import Bars

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: The oracles that have a name, in upper or lower case.
ORACLES: dict[str, str] = {
    **PROPERTIES,
    "QED": "quantitative estimate of drug-likeness, 0 to 1 (Bickerton et al. 2012)",
    "SA": "synthetic accessibility, 1 easy to 10 hard (Ertl and Schuffenhauer 2009)",
    **{name: f"PMO, 0 to 1: {goal.about}" for name, goal in PMO.items() if name != "qed"},
}

#: Seconds that an oracle must take for its bar to appear.
BAR_DELAY = 1.0
_BATCH = 100  # molecules that are asked for at once


@dataclass(frozen=True)
class Oracle:
    """What gives each molecule a number.

    Attributes:
        name: as the user writes it, or as :data:`ORACLES` does.
        function: from a list of N canonical SMILES to N numbers.
    """

    name: str
    function: Callable[[list[str]], Any]


@dataclass(frozen=True)
class Scores:
    """What an oracle said.

    Attributes:
        oracle: its name.
        values: ``[N]``, NaN where it failed.
        failures: molecules on which it failed, by their place, with the reason.
    """

    oracle: str
    values: NDArray[np.float64]
    failures: dict[int, str] = field(default_factory=dict)

    def complaint(self, smiles: Sequence[str]) -> str | None:
        """One line that counts the failures and names the first; None if there are none.

        Args:
            smiles: what was scored.
        """
        if not self.failures:
            return None
        place, why = next(iter(self.failures.items()))
        return (
            f"the oracle {self.oracle} failed on {len(self.failures):,} of {len(smiles):,} "
            f"molecules; the first: {shortened(smiles[place])} ({why})"
        )


def load_oracle(name: str) -> Oracle:
    """An oracle by its name, or ``package.module:function``, installed or in this folder.

    The function takes a list of N canonical SMILES and returns N numbers.

    Raises:
        KetformerError: no oracle has this name, or the function cannot be imported or called.
    """
    if ":" in name:
        function = import_target(name, "--oracle", "package.module:function")
        if not callable(function):
            raise KetformerError(f"--oracle {name}: not a function, but {type(function).__name__}")
        return Oracle(name, function)
    known = list(ORACLES)
    if name in CLASSIFIERS:
        pmo_oracle(name)  # says why not
    if not (found := matching(name, known)):
        raise KetformerError(
            f"no oracle {name!r}{nearest(name, known)}; known: {', '.join(known)}; or a function "
            "of your own, package.module:function"
        )
    return Oracle(known[found[0]], partial(_by_name, name=known[found[0]]))


def score(
    oracle: Oracle, smiles: Sequence[str], *, progress: bool = False, label: str | None = None
) -> Scores:
    """Ask an oracle about molecules, 100 at a time.

    If it fails on a batch, with an exception or another number of values than molecules, it is
    asked about each molecule of the batch alone, so that a molecule fails by itself. What it
    prints goes to standard error.

    Args:
        oracle: any.
        smiles: N canonical SMILES.
        progress: show a bar on standard error.
        label: label of the bar; by default the oracle's name.
    """
    values = np.full(len(smiles), np.nan)
    failures: dict[int, str] = {}
    with Bars(progress, "molecule", BAR_DELAY) as bars, redirect_stdout(sys.stderr):
        step = bars(label or oracle.name)
        for start in range(0, len(smiles), _BATCH):
            batch = list(smiles[start : start + _BATCH])
            answer = _ask(oracle, batch)
            if isinstance(answer, str):
                answers = [_ask(oracle, [one]) for one in batch]
            else:
                answers = [answer[i : i + 1] for i in range(len(batch))]
            for place, one in enumerate(answers, start):
                if isinstance(one, str):
                    failures[place] = one
                elif math.isfinite(one[0]):
                    values[place] = one[0]
                else:
                    failures[place] = f"returned {one[0]:g}"
            step(start + len(batch), len(smiles))
    return Scores(oracle.name, values, failures)


def _ask(oracle: Oracle, batch: list[str]) -> NDArray[np.float64] | str:
    """A value for each molecule of the batch, or why there is none."""
    try:
        values = np.asarray(oracle.function(list(batch)), dtype=np.float64)
    except Exception as error:  # the user's code may raise anything
        return one_line(error)
    if values.shape != (len(batch),):
        return f"returned shape {values.shape}, not {(len(batch),)}"
    return values


def _by_name(smiles: list[str], *, name: str) -> NDArray[np.float64]:
    if name in PROPERTIES:
        return compute_properties(smiles, [name], progress=False)[:, 0]
    chunks = map_chunks(partial(_chunk, name=name), smiles, progress=False)
    return np.concatenate([np.empty(0), *chunks])


def _chunk(smiles: Sequence[str], name: str) -> NDArray[np.float64]:
    calculate = _calculator(name)
    molecules = map(parse, smiles)
    return np.array([np.nan if mol is None else calculate(mol) for mol in molecules])


def _calculator(name: str) -> Callable[[Mol], float]:
    return pmo_oracle(name) if name in PMO else calculator(name)
