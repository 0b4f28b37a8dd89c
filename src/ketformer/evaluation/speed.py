"""The batch on which inference is timed."""

from __future__ import annotations

import torch
from torch import Tensor

from ketformer.runs import Run

# Tokens in a timed batch: 1,024 windows of 16, the published size.
_TIMED_TOKENS = 1 << 14


def timing_inputs(run: Run) -> dict[str, Tensor]:
    """A random batch with the published number of tokens: time depends only on its size."""
    config = run.model.config
    context = config.max_position_embeddings
    shape = (max(_TIMED_TOKENS // context, 1), context)
    ids = torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    if not config.condition_names:
        return {"input_ids": ids}
    means = torch.tensor(config.condition_means, dtype=torch.float32)
    return {"input_ids": ids, "conditions": means.expand(shape[0], -1)}
