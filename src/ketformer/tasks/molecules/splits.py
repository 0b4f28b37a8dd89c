"""Splits of a set of molecules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ketformer.errors import KetformerError

#: The splits by name, and what they mean.
SPLITS = {
    "standard": "random 90 / 5 / 5 % for training, validation and test, whatever the file's order",
    "published": "random 95 % for training, 5 % for validation and test (arXiv 2502.19214)",
}

_PUBLISHED_SEED = 42


def split_molecules(smiles: Sequence[str], split: str, seed: int = 42) -> dict[str, np.ndarray]:
    """Indices (int64) of the ``train``, ``validation`` and ``test`` molecules.

    ``published`` follows the released code of arXiv 2502.19214, which shuffles twice
    with the same permutation, holds out the last 5 % and has no test part; validation
    and test are the same here. Its seed is fixed.

    Args:
        smiles: canonical and distinct.
        split: a key of ``SPLITS``.
        seed: seed of the ``standard`` split.

    Raises:
        KetformerError: an unknown split, or so few molecules that a part is empty.
    """
    if split == "standard":
        parts = _standard(smiles, seed)
    elif split == "published":
        parts = _published(len(smiles))
    else:
        raise KetformerError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if not all(len(part) for part in parts.values()):
        raise KetformerError(f"{len(smiles)} molecules are too few for the {split} split")
    return parts


def _standard(smiles: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    n = len(smiles)
    by_text = np.array(sorted(range(n), key=smiles.__getitem__), dtype=np.int64)
    shuffled = by_text[np.random.default_rng(seed).permutation(n)]
    train, validation, test = np.split(shuffled, [int(0.9 * n), int(0.95 * n)])
    return {"train": train, "validation": validation, "test": test}


def _published(n: int) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(_PUBLISHED_SEED)
    permutation = torch.randperm(n, generator=generator).numpy()
    train, held_out = np.split(permutation[permutation], [n - int(0.05 * n)])
    return {"train": train, "validation": held_out, "test": held_out}
