"""Molecules as a data set for Trainer: a padded row of token ids each, with its conditions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, tensor as as_tensor
from transformers import PreTrainedTokenizerFast

from ketformer.tasks.base import Rows
from ketformer.tasks.molecules.tokenizer import encode_texts

#: Targets of this value do not count in the loss (transformers' convention).
IGNORED = -100

_BLOCK = 10_000  # molecules whose tokens are Python objects at once


def compact_ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """Token ids ``[N, L]`` of all written molecules, a byte each if the vocabulary allows.

    With eight bytes each, and all tokens as Python objects before, a million and a half molecules
    of MOSES would take 2 GB.

    Raises:
        UnreadableError: see :func:`~ketformer.tasks.molecules.tokenizer.encode_texts`.
    """
    small = torch.uint8 if len(tokenizer) <= 256 else torch.int32
    starts = range(0, len(texts), _BLOCK)
    blocks = [encode_texts(tokenizer, texts[i : i + _BLOCK]).to(small) for i in starts]
    longest = max(block.shape[1] for block in blocks)
    ids = torch.full((len(texts), longest), int(tokenizer.pad_token_id), dtype=small)
    for start, block in zip(starts, blocks, strict=True):
        ids[start : start + _BLOCK, : block.shape[1]] = block
    return ids


class MoleculeRows(Rows):
    """Rows ``[CLS] tokens [EOS] <pad>…`` with the following token at each position as target.

    Args:
        ids: ``[N, L]`` token ids, of any integer type.
        pad_token_id: the id of the padding.
        conditions: ``[N, C]`` in their own units, NaN where unknown.
        count_padding: whether padding counts as a target, as in arXiv 2502.19214.
    """

    def __init__(
        self,
        ids: Tensor,
        pad_token_id: int,
        conditions: Tensor | None = None,
        *,
        count_padding: bool = False,
    ) -> None:
        self.ids = ids
        self.pad_token_id = pad_token_id
        self.conditions = conditions
        self.count_padding = count_padding

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: list[int]) -> dict[str, Tensor]:
        """These rows, as long as the longest of them if padding does not count."""
        chosen = as_tensor(indices)
        rows = self.encoded(chosen)
        if self.count_padding:
            targets = rows[:, 1:]
        else:  # drops columns that hold only padding
            rows = rows[:, : int((rows != self.pad_token_id).sum(1).max())]
            targets = rows[:, 1:].masked_fill(rows[:, 1:] == self.pad_token_id, IGNORED)
        batch = {"input_ids": rows[:, :-1], "shift_labels": targets}
        if self.conditions is not None:
            batch["conditions"] = self.conditions[chosen]
        return batch

    def encoded(self, indices: Tensor) -> Tensor:
        """The token ids of these rows ``[B, L]``."""
        return self.ids[indices].long()
