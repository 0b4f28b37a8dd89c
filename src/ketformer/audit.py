"""The causality audit: change each token, and look for any effect on earlier positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.attention import Attention, attention_class
from ketformer.attention.layers import Mechanisms, each_layer, parse_mechanisms
from ketformer.models import KetformerConfig, KetformerForCausalLM


@dataclass(frozen=True)
class Audit:
    """What a causality audit found.

    Attributes:
        attention: the mechanism's name; those of a hybrid's layers are joined by +.
        causal: no perturbation of a token changed any earlier output, bit for bit.
        max_future_influence: largest absolute change of an output (logits of a model,
            hidden states of a bare mechanism) at a position before the changed one.
            Exactly 0.0 for a causal mechanism.
        max_past_influence: the same at and after the changed position; it must be
            large, or the audit could not have seen a leak.
        worst: the changed position and the earlier one that moved most, or None.
        sequences: random sequences tried.
        length: their length in tokens.
        perturbations: number of token changes tried in all.
    """

    attention: str
    causal: bool
    max_future_influence: float
    max_past_influence: float
    worst: tuple[int, int] | None
    sequences: int
    length: int
    perturbations: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return asdict(self)


@torch.no_grad()
def audit_causality(
    subject: KetformerForCausalLM | Attention | Mechanisms,
    *,
    length: int | None = None,
    sequences: int = 8,
    seed: int = 0,
    step: Callable[[int, int], None] | None = None,
) -> Audit:
    """Prove or refute that no position sees a later one.

    In random sequences, each token in turn is replaced by another one, and the outputs
    at all earlier positions are compared bit for bit. Dropout is off.

    Args:
        subject: a model; a bare mechanism, whose input vectors are then replaced;
            or a registry name, which audits a small randomly initialised model; or the names of a
            hybrid's layers, as a list or as ``overlap,classical``.
        length: tokens in a sequence; by default the model's context, at most 64.
        sequences: number of random sequences.
        seed: seed for the sequences and replacements.
        step: called with (done, total) positions.

    Raises:
        KetformerError: an unknown name.
    """
    if isinstance(subject, str | list):
        mechanisms = parse_mechanisms(subject)
        layers = each_layer(mechanisms, 3)
        for name in layers:
            attention_class(name)  # refuses an unknown name before a model is built
        torch.manual_seed(seed)
        subject = KetformerForCausalLM(
            KetformerConfig(
                attention=mechanisms,
                vocab_size=31,
                hidden_size=32,
                num_hidden_layers=len(layers),
                num_attention_heads=2,
                max_position_embeddings=32,
                initializer_range=0.3,  # large weights make a leak visible
            )
        )
    was_training = subject.training
    subject.eval()
    try:
        return _audit(subject, length, sequences, torch.Generator().manual_seed(seed), step)
    finally:
        subject.train(was_training)


def _audit(
    subject: KetformerForCausalLM | Attention,
    length: int | None,
    sequences: int,
    generator: torch.Generator,
    step: Callable[[int, int], None] | None,
) -> Audit:
    name, run, original, replace, length = _probe(subject, length, sequences, generator)
    reference = run(original)
    future, past = 0.0, 0.0
    worst: tuple[int, int] | None = None
    for position in range(length):
        changed = original.clone()
        changed[:, position] = replace(original[:, position])
        difference = (run(changed) - reference).abs().amax(dim=(0, 2))  # [T]
        past = max(past, float(difference[position:].max()))
        if position and (moved := float(difference[:position].max())) > future:
            future = moved
            worst = position, int(difference[:position].argmax())
        if step:
            step(position + 1, length)
    return Audit(
        attention=name,
        causal=future == 0.0,
        max_future_influence=future,
        max_past_influence=past,
        worst=worst,
        sequences=sequences,
        length=length,
        perturbations=sequences * length,
    )


def _probe(
    subject: KetformerForCausalLM | Attention,
    length: int | None,
    sequences: int,
    generator: torch.Generator,
) -> tuple[str, Any, Tensor, Any, int]:
    """Name, forward function, random inputs, replacement function and length."""
    device = next(subject.parameters()).device
    if isinstance(subject, nn.Module) and isinstance(subject, Attention):
        dtype = next(subject.parameters()).dtype
        length = length or 16
        wide = (sequences, length, subject.hidden_size)
        vectors = torch.randn(wide, generator=generator).to(device, dtype)
        return (
            type(subject).__name__,
            lambda x: subject(x)[0],
            vectors,
            lambda x: -3 * x + 1,
            length,
        )
    config = subject.config
    length = min(length or 64, config.max_position_embeddings)
    shape = (sequences, length)
    tokens = torch.randint(config.vocab_size, shape, generator=generator).to(device)
    conditions = None
    if names := config.condition_names:  # random, but the same in every forward pass
        drawn = torch.randn(sequences, len(names), generator=generator)
        means, stds = torch.tensor(config.condition_means), torch.tensor(config.condition_stds)
        conditions = (means + stds * drawn).to(device)
    shift = torch.randint(1, max(config.vocab_size, 2), (sequences,), generator=generator)
    return (
        config.attention_name,
        lambda ids: subject(ids, use_cache=False, conditions=conditions).logits,
        tokens,
        lambda ids: (ids + shift.to(device)) % config.vocab_size,
        length,
    )
