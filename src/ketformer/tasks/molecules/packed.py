"""Sets of molecules that come in a Python package's wheel, read from it as tables."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ketformer.tasks.wheels import csv_rows, member

#: The columns of ``qm9-properties``, and what the wheel calls them.
QM9_COLUMNS = {
    "HOMO": "HOMO_au",
    "LUMO": "LUMO_au",
    "gap": "HOMO_LUMO_gap_au",
    "dipole": "Dipole_debye",
    "polarizability": "Polarizability_bohr3",
}
#: The parts of MOSES, in the order in which they are read.
MOSES_PARTS = ("train", "test", "test_scaffolds")


@dataclass(frozen=True)
class Packed:
    """A set as a table.

    Attributes:
        table: comma-separated, with a header, in UTF-8.
        parts: the number of rows of each official part, which follow each other; empty if the
            set has none.
    """

    table: bytes
    parts: dict[str, int] = field(default_factory=dict)


def moses(wheel: Path) -> Packed:
    """MOSES (Polykovskiy et al. 2020): its three parts.

    Raises:
        KetformerError: the wheel lacks a file.
    """
    lines, parts = ["smiles"], {}
    for part in MOSES_PARTS:
        before = len(lines)
        lines.extend(moses_smiles(wheel, part))
        parts[part] = len(lines) - before
    return Packed("\n".join(lines).encode(), parts)


def moses_smiles(wheel: Path, part: str) -> Iterator[str]:
    """The SMILES of a part of MOSES as they are stored, one at a time.

    Raises:
        KetformerError: the wheel lacks the file.
    """
    with (
        member(wheel, f"moses/dataset/data/{part}.csv.gz") as packed,
        gzip.open(packed, "rt", encoding="utf-8") as lines,
    ):
        next(lines)  # its header
        for line in lines:
            yield line.rstrip("\n")


def qm9_properties(wheel: Path) -> Packed:
    """QM9 (Ramakrishnan et al. 2014) with properties computed by B3LYP/6-31G(2df,p).

    HOMO, LUMO and their gap are in hartree, the dipole moment in debye, the isotropic
    polarizability in cubic bohr. The 3,054 molecules that failed the authors' consistency check
    are not in the wheel.

    Raises:
        KetformerError: the wheel lacks a file.
    """
    table = io.StringIO()
    out = csv.writer(table, lineterminator="\n")
    out.writerow(["smiles", *QM9_COLUMNS])
    for part in (1, 2, 3):
        for row in csv_rows(wheel, f"qm9pack/data/qm9_part{part}.csv"):
            out.writerow([row["SMILES"], *(row[name] for name in QM9_COLUMNS.values())])
    return Packed(table.getvalue().encode())


#: How each set is read from its wheel, by the set's name.
PACKED: dict[str, Callable[[Path], Packed]] = {"moses": moses, "qm9-properties": qm9_properties}
