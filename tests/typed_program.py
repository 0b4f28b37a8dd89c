"""A user's program that `make lint` checks against the public types with `mypy --strict`."""

from typing import Any, assert_type

import torch

from ketformer import (
    ATTENTION,
    Circuit,
    KetformerConfig,
    KetformerError,
    KetformerForCausalLM,
    audit_causality,
    build_attention,
)


def largest_influence(mechanism: str) -> float:
    """The largest effect of a later token on a small model's output at an earlier position."""
    if mechanism not in ATTENTION:
        raise KetformerError(f"no attention {mechanism}")
    config = KetformerConfig(attention=mechanism, vocab_size=65, hidden_size=16)
    assert_type(config.hidden_size, int)
    assert_type(config.attention_options, dict[str, Any] | None)
    model = KetformerForCausalLM(config)
    assert_type(model.is_causal, bool)
    audit = audit_causality(model, sequences=2)
    assert_type(audit.causal, bool)
    assert_type(audit.worst, tuple[int, int] | None)
    assert_type(audit.check("cache").passed, bool | None)
    return audit.max_future_influence


def mixed(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens ``[B, T, 64]`` after one layer of attention."""
    attention = build_attention("qisa", hidden_size=64, num_heads=4)
    out: torch.Tensor = attention(tokens)[0]
    return out


def parameters(circuit: Circuit) -> tuple[str, ...]:
    """The names of a circuit's angles."""
    return circuit.parameters
