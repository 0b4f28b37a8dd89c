"""MOSES' metrics of molecules in a file, whatever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS, locate
from ketformer.tasks.molecules.moses_metrics import moses_metrics
from ketformer.tasks.molecules.output import written_column
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.tasks.molecules.tables import SUFFIXES, read_table, suffix_of
from ketformer.utils.files import hash_of, read_bytes


def evaluate_samples(
    file: str | Path,
    *,
    column: str | None = None,
    with_fcd: bool | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure molecules as MOSES does, on its test set and its scaffold test set.

    Args:
        file: the samples in their order, valid or not, repeats included: a table, a list of
            SMILES or an SDF, as ``generate`` writes them and :func:`~ketformer.tasks.molecules.
            reading.load_molecules` reads them.
        column: the column of a table with the SMILES.
        with_fcd: compute the Fréchet ChemNet distance; None means if fcd_torch is installed.
        progress: show bars on standard error.

    Returns:
        ``file``, its ``sha256``, and the keys of
        :func:`~ketformer.tasks.molecules.moses_metrics.moses_metrics`.

    Raises:
        KetformerError: the file cannot be read as molecules, the ``moses`` data set is not there
            and cannot be downloaded, or ``with_fcd`` is True and fcd_torch is not installed.
    """
    path = Path(file)
    if suffix_of(path) not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise KetformerError(f"{path}: molecule files end in one of {known}, perhaps with .gz")
    raw = read_bytes(path)
    table = read_table(path, raw, column or written_column(path, raw), progress=progress)
    wheel = locate(DATASETS["moses"])
    canonical = canonicalise(table.smiles, progress=progress, label=f"reading {path.name}")
    return {
        "file": str(path),
        "sha256": hash_of(path),
        **moses_metrics(canonical, wheel, with_fcd=with_fcd, progress=progress),
    }
