"""Attention whose quantum part runs on a backend instead of in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ketformer.attention.mixer import Mixer
from ketformer.errors import NotOfferedError
from ketformer.quantum import Circuit, Expect, Experiment, PauliStrings, amplitude_angles
from ketformer.quantum.preparation import amplitude_preparation


def amplitude_experiments(
    states: Tensor, strings: list[PauliStrings], circuit: Circuit | None, angles: Tensor | None
) -> list[Experiment]:
    """Encode each token in amplitudes, apply a circuit, measure strings: one experiment per head.

    Args:
        states: ``[..., H or 1, 2^n]``, real; their norms are lost.
        strings: the strings of each head.
        circuit: what follows the preparation; None for nothing.
        angles: ``[..., H, P]``, the angles of that circuit; leading dimensions broadcast.
    """
    n_qubits = strings[0].n_qubits
    whole = amplitude_preparation(n_qubits)
    whole = whole if circuit is None else whole.then(circuit)
    states = states.expand(*states.shape[:-2], len(strings), -1)
    columns = amplitude_angles(states)
    if angles is not None:
        columns = torch.cat([columns, angles.expand(*columns.shape[:-1], -1)], dim=-1)
    return [
        Experiment(whole, columns[..., head, :], of_head) for head, of_head in enumerate(strings)
    ]


def is_state(features: Tensor) -> Tensor:
    """``[..., 1]``, 0 for a zero vector, which has no state and whose expectations are 0."""
    return features.any(dim=-1, keepdim=True).to(features.dtype)


@contextmanager
def measured_by(model: nn.Module, expect: Expect) -> Iterator[None]:
    """Inside this context, every mechanism of the model gets its outcomes from ``expect``.

    Args:
        model: any module that contains attention mechanisms.
        expect: returns the outcomes of an experiment.

    Raises:
        NotOfferedError: no mechanism of the model has circuits.
    """
    mechanisms = quantum_mechanisms(model)
    for mechanism in mechanisms:
        mechanism.expect = expect
    try:
        yield
    finally:
        for mechanism in mechanisms:
            mechanism.expect = None


def measure_by(model: nn.Module, measurement: str) -> None:
    """Choose how every mechanism of a model that can be measured in several ways is measured.

    Raises:
        KetformerError: no mechanism has that measurement; a ``NotOfferedError`` if it does not go
            with a mechanism's options.
    """
    mechanisms = quantum_mechanisms(model)
    for mechanism in [m for m in mechanisms if m.measurements] or mechanisms[:1]:
        mechanism.measure_by(measurement)


def quantum_mechanisms(model: nn.Module) -> list[Mixer]:
    """The mechanisms of a model that have circuits.

    Raises:
        NotOfferedError: there is none.
    """
    found = [m for m in model.modules() if isinstance(m, Mixer) and m.has_circuits()]
    if not found:
        raise NotOfferedError("this model's attention has no circuits to run")
    return found
