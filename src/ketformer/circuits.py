"""The circuits of a mechanism or of a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ketformer.attention import ATTENTION, Attention, InputSizes, TokenInputs, build_attention
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment
from ketformer.runs import open_run

#: Mechanisms with circuits of their own; the published variants share them.
QUANTUM = ("overlap", "qisa", "qisa_a", "qsann")


def circuits_of(subject: str, **sizes: Any) -> dict[str, Experiment]:
    """The circuits that a mechanism's first head runs for one token, by name.

    Args:
        subject: a registry name, or a run directory, whose first block is taken.
        **sizes: of a registry name, see :func:`mechanism`.

    Returns:
        Experiments with one row of angles each.

    Raises:
        KetformerError: neither a quantum mechanism nor a run with one.
    """
    if subject in ATTENTION:
        attention = mechanism(subject, **sizes)
    elif Path(subject).exists():
        model = open_run(subject).model
        attention = next(m for m in model.modules() if isinstance(m, Attention))
    else:
        raise KetformerError(
            f"{subject} is neither a run directory nor a mechanism ({', '.join(QUANTUM)})"
        )
    if not attention.is_quantum:
        raise KetformerError(f"{subject} is classical: it has no circuits")
    found = experiments(attention, batch=1, length=1)
    return {name: heads[0] for name, heads in found.items()}


def mechanism(
    name: str, *, hidden_size: int = 16, num_heads: int = 1, n_conditions: int = 0, **options: Any
) -> Attention:
    """A freshly initialised mechanism, the same each time, with the input tables that some need.

    Raises:
        KetformerError: sizes or options that do not fit.
    """
    sizes = InputSizes(vocab_size=64, max_positions=64, n_conditions=n_conditions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the Pauli strings above all
        return build_attention(name, hidden_size, num_heads, inputs=sizes, **options).eval()


def experiments(
    attention: Attention, *, batch: int, length: int, seed: int = 0
) -> dict[str, list[Experiment]]:
    """What the mechanism would run for random tokens, one experiment for each head."""
    generator = torch.Generator().manual_seed(seed)
    like = attention.out_proj.weight.new_empty(0)
    states = torch.randn(batch, length, attention.hidden_size, generator=generator).to(like)
    sizes = attention.inputs or InputSizes(1, length)
    conditions = torch.randn(batch, sizes.n_conditions, generator=generator).to(like)
    tokens = TokenInputs(
        torch.randint(sizes.vocab_size, (batch, length), generator=generator).to(like.device),
        torch.arange(length, device=like.device)[None],
        conditions,
        torch.zeros_like(conditions, dtype=torch.bool),
    )
    with torch.no_grad():
        return attention.experiments(states, tokens)
