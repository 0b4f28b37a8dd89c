"""What MOSES compares with (Polykovskiy et al. 2020), read from its wheel: statistics and filters.

The statistics are those that its authors computed on the whole test sets. They are stored as a
pickle, which could name any function to be called; here it can name only what numbers and counts
are made of.
"""

from __future__ import annotations

import csv
import io
import pickle
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.wheels import member

if TYPE_CHECKING:
    from ketformer.tasks.molecules.chemnet import Moments

#: The properties whose distributions are compared, as MOSES calls them.
VALUES = ("logP", "SA", "QED", "weight")

# Everything that the pickle may name, and what it gets for it.
_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda _, shape, code: np.ndarray(shape, code),
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, _: text.encode("latin-1"),
    ("collections", "Counter"): Counter,
}


@dataclass(frozen=True)
class Reference:
    """The statistics of one of MOSES' test sets.

    Attributes:
        chemnet: mean and covariance of ChemNet's activations.
        fingerprints: Morgan fingerprints of radius 2, ``[N, 1024]`` of 0 and 1.
        fragments: how often each BRICS fragment occurs.
        scaffolds: how often each Bemis-Murcko scaffold with two or more rings occurs.
        values: ``[N]`` of each of :data:`VALUES`.
    """

    chemnet: Moments
    fingerprints: NDArray[np.uint8]
    fragments: Counter[str]
    scaffolds: Counter[str]
    values: dict[str, NDArray[np.float64]]


def read_reference(wheel: Path, part: str) -> Reference:
    """The statistics of ``test`` or ``test_scaffolds``.

    Args:
        wheel: that of ``moses``, whose hash has been checked.
        part: the test set.

    Raises:
        KetformerError: the wheel lacks the statistics, or they hold anything but numbers and
            counts.
    """
    from ketformer.tasks.molecules.chemnet import Moments  # needs torch, which takes a second

    name = f"moses/dataset/data/{part}_stats.npz"
    with member(wheel, name) as file:
        packed = io.BytesIO(file.read())  # 17 MB
    try:
        with zipfile.ZipFile(packed) as archive, archive.open("stats.npy") as stats:
            npy.read_magic(stats)
            npy.read_array_header_1_0(stats)
            found = _Harmless(stats).load().item()
        moments = Moments(*(np.asarray(found["FCD"][key], np.float64) for key in ("mu", "sigma")))
        return Reference(
            moments,
            found["SNN"]["fps"],
            found["Frag"]["frag"],
            found["Scaf"]["scaf"],
            {key: np.array(found[key]["values"]) for key in VALUES},
        )
    except (zipfile.BadZipFile, pickle.UnpicklingError, KeyError, ValueError, EOFError) as error:
        raise KetformerError(f"{wheel}: cannot read {name} ({error})") from None


def read_filters(wheel: Path) -> tuple[str, ...]:
    """The SMARTS of MOSES' medicinal chemistry filters and of PAINS (Baell and Holloway 2010).

    Raises:
        KetformerError: the wheel lacks them.
    """
    with member(wheel, "moses/metrics/wehi_pains.csv") as file:  # without a header
        pains = [row[0].strip() for row in csv.reader(io.TextIOWrapper(file, "utf-8"))]
    return (*read_mcf(wheel), *pains)


def read_mcf(wheel: Path) -> tuple[str, ...]:
    """The SMARTS of MOSES' 22 medicinal chemistry filters alone.

    Raises:
        KetformerError: the wheel lacks them.
    """
    with member(wheel, "moses/metrics/mcf.csv") as file:
        return tuple(row["smarts"] for row in csv.DictReader(io.TextIOWrapper(file, "utf-8")))


class _Harmless(pickle.Unpickler):
    """Reads arrays, lists, dictionaries and counters; whatever else a pickle names is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for."""
        try:
            return _HARMLESS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None
