"""Shared by the model tests: small models, tokens, and padding."""

import pytest
import torch

from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.utils.conformance import alike
from mechanisms import MECHANISMS

VOCABULARY = 13
CONTEXT = 12

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,  # large weights, so that predictions differ clearly
}

LEAKY = [name for name in MECHANISMS if name.endswith("_published")]
CAUSAL = [name for name in MECHANISMS if name not in LEAKY]


def small_config(attention="classical", **changes):
    """The configuration of a model that runs in a millisecond."""
    return KetformerConfig(**{**SMALL, "attention": attention, **changes})


def small_model(attention="classical", *, seed=0, **changes):
    """A small model with seeded weights and Pauli strings, in evaluation mode."""
    torch.manual_seed(seed)
    return KetformerForCausalLM(small_config(attention, **changes)).eval()


def some_ids(batch, length, *, seed=0):
    """Token ids ``[batch, length]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (batch, length), generator=generator)


def pad(sequences, length, side):
    """Sequences of ids as one batch ``[B, length]``, and its attention mask."""
    ids = torch.zeros(len(sequences), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        start = 0 if side == "right" else length - len(sequence)
        ids[row, start : start + len(sequence)] = sequence
        mask[row, start : start + len(sequence)] = 1
    return ids, mask


def assert_equal_to(tolerance, actual, expected):
    """Absolute agreement in value, type and shape."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def assert_alike(actual, expected, steps=64):
    """Agreement of two ways to compute the same numbers, up to rounding."""
    alike("numbers", actual, expected, steps)


#: Runs a test in float32 and in float64, whose precision leaves no room for a wrong term.
in_both_types = pytest.mark.usefixtures("float_type")


def has_pauli_strings(attention):
    """Whether the mechanism measures Pauli strings, which are then part of the model."""
    return any(name.endswith("codes") for name in small_model(attention).state_dict())
