"""Splits of a set of molecules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.scaffolds import scaffolds

#: The splits by name, and what they mean.
SPLITS = {
    "standard": "random 90 / 5 / 5 % for training, validation and test, whatever the file's order",
    "published": "random 95 % for training, 5 % for validation and test (arXiv 2502.19214)",
    "scaffold": "90 / 5 / 5 %, molecules of one Bemis-Murcko scaffold all in the same part",
    "official": "the parts that the data set comes with, as moses does",
}

#: Every molecule in every part: for a file that was held out as a whole, so not for training.
ALL = "all"

_PUBLISHED_SEED = 42
# How many molecules leave no part empty.
_NEEDED = {
    "standard": "11",
    "published": "20",
    "scaffold": "11 or more, of several scaffolds",
    "official": "some in each part",
    ALL: "1",
}


def split_molecules(
    smiles: Sequence[str],
    split: str,
    seed: int = 42,
    official: Mapping[str, int] | None = None,
    *,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Indices (int64) of the ``train``, ``validation`` and ``test`` molecules.

    ``published`` follows the released code of arXiv 2502.19214, which shuffles twice
    with the same permutation, holds out the last 5 % and has no test part; validation
    and test are the same here. Its seed is fixed.

    ``scaffold`` goes through the scaffolds and fills training, then validation, then test.
    Scaffolds with more molecules than half a held-out part come first, so that they are trained
    on; the others come in random order, whatever the order in the file. Molecules without a ring
    count as one scaffold.

    ``official`` keeps a set's own parts, perhaps with others besides these three; without one for
    validation, that is the test part.

    Args:
        smiles: canonical and distinct.
        split: a key of ``SPLITS``, or ``ALL``.
        seed: seed of the ``standard`` and ``scaffold`` splits.
        official: the number of molecules of each official part, which follow each other.
        progress: show a bar on stderr while scaffolds are found.

    Raises:
        KetformerError: an unknown split, a set without official parts, or so few molecules that a
            part is empty.
    """
    if split == "standard":
        parts = _standard(smiles, seed)
    elif split == "published":
        parts = _published(len(smiles))
    elif split == "scaffold":
        parts = _by_scaffold(smiles, seed, progress)
    elif split == "official":
        parts = _official(official or {})
    elif split == ALL:
        parts = dict.fromkeys(("train", "validation", "test"), np.arange(len(smiles)))
    else:
        raise KetformerError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if not all(len(part) for part in parts.values()):
        raise KetformerError(
            f"{len(smiles)} molecules are too few for the {split} split, which needs "
            f"{_NEEDED[split]}"
        )
    return parts


def _standard(smiles: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    n = len(smiles)
    by_text = np.array(sorted(range(n), key=smiles.__getitem__), dtype=np.int64)
    shuffled = by_text[np.random.default_rng(seed).permutation(n)]
    train, validation, test = np.split(shuffled, [int(0.9 * n), int(0.95 * n)])
    return {"train": train, "validation": validation, "test": test}


def _by_scaffold(smiles: Sequence[str], seed: int, progress: bool) -> dict[str, np.ndarray]:
    groups: dict[str, list[int]] = defaultdict(list)
    for place, scaffold in enumerate(scaffolds(smiles, progress=progress)):
        groups[scaffold].append(place)
    n = len(smiles)
    held_out = n - int(0.95 * n)
    order = sorted(groups)  # then shuffled, so that the file's order plays no part
    order = [order[i] for i in np.random.default_rng(seed).permutation(len(order))]
    large = [scaffold for scaffold in order if len(groups[scaffold]) > held_out / 2]
    small = [scaffold for scaffold in order if len(groups[scaffold]) <= held_out / 2]
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    room = {"train": int(0.9 * n), "validation": int(0.95 * n) - int(0.9 * n), "test": n}
    for scaffold in large:
        parts["train"] += groups[scaffold]
    for scaffold in small:
        size = len(groups[scaffold])
        part = next(name for name in parts if len(parts[name]) + size <= room[name])
        parts[part] += groups[scaffold]
    random = np.random.default_rng(seed)
    # A share of a training part is its beginning, which is not to be some scaffolds alone.
    return {
        name: random.permutation(np.array(places, dtype=np.int64)) for name, places in parts.items()
    }


def _official(sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not sizes:
        raise KetformerError("only a data set with parts of its own has an official split: moses")
    ends = np.cumsum(list(sizes.values()))
    parts = {
        name: np.arange(end - size, end, dtype=np.int64)
        for (name, size), end in zip(sizes.items(), ends.tolist(), strict=True)
    }
    train, test = parts.pop("train"), parts.pop("test")
    validation = parts.pop("validation", test)
    # In a fixed random order, as in the other splits: a share of it is its beginning.
    train = np.random.default_rng(_PUBLISHED_SEED).permutation(train)
    return {"train": train, "validation": validation, "test": test, **parts}


def _published(n: int) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(_PUBLISHED_SEED)
    permutation = torch.randperm(n, generator=generator).numpy()
    train, held_out = np.split(permutation[permutation], [n - int(0.05 * n)])
    return {"train": train, "validation": held_out, "test": held_out}
