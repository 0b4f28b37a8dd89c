"""Shared helpers of the attention tests: mechanisms, tokens, padding, a cache, Pauli matrices."""

import numpy as np
import pennylane as qml
import torch

from ketformer.attention import InputSizes, TokenInputs, build_attention

ROTARY = InputSizes(vocab_size=11, max_positions=128, positions="rotary")


def everything(case):
    """The configuration of a reference case, and all its tensors by name."""
    return case.config, {**case.inputs, **case.parameters, **case.outputs}


def build(name, hidden_size, num_heads, *, seed=0, **options):
    """A mechanism with seeded weights and Pauli strings, in evaluation mode."""
    torch.manual_seed(seed)
    return build_attention(name, hidden_size, num_heads, **options).eval()


def tokens(batch, length, hidden_size, *, seed=0):
    """Hidden states ``[batch, length, hidden_size]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, hidden_size, generator=generator)


def pad(sequences, length, side, filler):
    """Sequences ``[T_i, d]`` as one batch ``[B, length, d]`` with its padding mask.

    Positions without a token are filled from ``filler`` ``[B, length, d]``.
    """
    batch, is_token = filler.clone(), torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        start = 0 if side == "right" else length - len(sequence)
        batch[row, start : start + len(sequence)] = sequence
        is_token[row, start : start + len(sequence)] = True
    return batch, is_token


class GrowingCache:
    """The simplest key-value cache: it stores everything and returns everything."""

    def __init__(self):
        self.keys, self.values = [], []

    def __call__(self, keys, values):
        self.keys.append(keys)
        self.values.append(values)
        return torch.cat(self.keys, dim=-2), torch.cat(self.values, dim=-2)


def dense_pauli(string):
    """The string's complex 2^n x 2^n matrix, from PennyLane."""
    word = qml.pauli.string_to_pauli_word(string, {i: i for i in range(len(string))})
    matrix = qml.matrix(word, wire_order=range(len(string)))
    return torch.from_numpy(np.array(matrix, dtype=np.complex128))


def assert_equal_to(tolerance, actual, expected):
    """Assert absolute agreement in value, type and shape."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def assert_relative(attention, least):
    """Later positions change nothing; equal ones change an output by more than ``least``."""
    hidden, places = tokens(1, 5, attention.hidden_size).double(), torch.arange(5)[None]
    here, there, still = (
        attention(hidden, tokens=TokenInputs(None, at))[0]
        for at in (places, places + 7, 0 * places)
    )
    assert_equal_to(1e-10, there, here)
    assert not torch.allclose(still, here, atol=least)
