"""Random SMILES as augmentation: a fresh one of each molecule at every epoch (Bjerrum 2017).

Each is drawn from the seed, the epoch and the molecule's row alone. A resumed run, and several
processes, therefore see the same texts as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import UnreadableError
from ketformer.tasks.molecules.notations import Notation, notation_of
from ketformer.tasks.molecules.rows import MoleculeRows
from ketformer.tasks.molecules.tokenizer import encode_texts

# Texts drawn to see which tokens random texts have, and how long they become.
_LOOKED_AT = 10_000
_PER_MOLECULE = 10
# How often another text is drawn in place of one that is too long or has an unknown token.
_REDRAWN = 5


def drawn_texts(notation: Notation, smiles: Sequence[str]) -> list[str]:
    """Random texts of molecules spread evenly over the data, always the same ones."""
    if not smiles:
        return []
    each = min(max(_LOOKED_AT // len(smiles), 1), _PER_MOLECULE)
    chosen = np.linspace(0, len(smiles) - 1, min(len(smiles), _LOOKED_AT)).astype(int)
    draw = np.random.default_rng(0)
    return [notation.draw(smiles[i], draw) for i in chosen for _ in range(each)]


class RandomisedRows(MoleculeRows):
    """Rows of the same molecules, written in another way at every epoch.

    Args:
        smiles: canonical, one for each row.
        tokenizer: of any notation.
        ids: ``[N, L]``, the rows as they would be without randomisation; they stand in where
            no drawn text fits.
        conditions: ``[N, C]`` in their own units, NaN where unknown.
        length: the most tokens of a row.
        seed: together with the epoch and the row it decides the text.
        count_padding: whether padding counts as a target.
    """

    def __init__(
        self,
        smiles: Sequence[str],
        tokenizer: PreTrainedTokenizerFast,
        ids: Tensor,
        conditions: Tensor | None = None,
        *,
        length: int,
        seed: int,
        count_padding: bool = False,
    ) -> None:
        super().__init__(ids, tokenizer.pad_token_id, conditions, count_padding=count_padding)
        self.smiles = smiles
        self.tokenizer = tokenizer
        self.length = length
        self.seed = seed
        self._notation = notation_of(tokenizer)
        self._known = frozenset(tokenizer.get_vocab())
        # Shared, so that worker processes that outlive an epoch hear of the next.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def begin_epoch(self, epoch: int) -> None:
        """Write the molecules anew."""
        self._epoch.fill_(epoch)

    def text(self, row: int) -> str | None:
        """How a molecule is written in this epoch; None if no drawn text fits."""
        draw = np.random.default_rng((self.seed, int(self._epoch), row))
        for _ in range(_REDRAWN):
            text = self._notation.draw(self.smiles[row], draw)
            try:
                tokens = self._notation.split(text)
            except UnreadableError:
                continue
            if len(tokens) + 2 <= self.length and self._known.issuperset(tokens):
                return text
        return None

    def encoded(self, indices: Tensor) -> Tensor:
        """The token ids of these rows ``[B, L]`` as they are written in this epoch."""
        rows = torch.full((len(indices), self.length), self.pad_token_id)
        for place, row in enumerate(indices.tolist()):
            text = self.text(row)
            ids = self.ids[row] if text is None else encode_texts(self.tokenizer, [text])[0]
            ids = ids[: self.length]
            rows[place, : len(ids)] = ids
        return rows
