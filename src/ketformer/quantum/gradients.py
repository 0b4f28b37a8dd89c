"""Gradients of measured outcomes: by shifted angles, by random perturbation, by a backend's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.circuit import Circuit, Gate
from ketformer.quantum.experiment import Expect, Experiment

if TYPE_CHECKING:
    from ketformer.quantum.backends import Backend

Gradient = Literal["parameter_shift", "spsa", "adjoint"]
GRADIENTS: tuple[str, ...] = get_args(Gradient)


def frequencies_of(circuit: Circuit, name: str) -> tuple[float, ...]:
    """The frequencies with which any expectation can depend on a named angle.

    A rotation contributes its own frequency 1, a controlled one 1/2 as well; an angle that
    stands in several gates has all sums and differences of theirs.
    """
    reached = {0.0}
    for gate in circuit.gates:
        if gate.angle and gate.angle.value == name:
            reached = {abs(r + s * f) for r in reached for f in _gaps(gate) for s in (-1, 1)}
    return tuple(sorted(f for f in reached if f > 1e-9))


def _gaps(gate: Gate) -> tuple[float, ...]:
    """Differences between the eigenvalues of the gate's generator."""
    assert gate.angle is not None
    factor = abs(gate.angle.factor)
    return (0.0, factor / 2, factor) if gate.controls else (0.0, factor)


@lru_cache(maxsize=1024)
def shift_rule(frequencies: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shifts and coefficients with f'(t) = sum_i c_i [f(t + s_i) - f(t - s_i)], exactly.

    For the frequency 1 it is the textbook rule, (pi/2, 1/2); for 1/2, that of an overlap,
    (pi, 1/4). In general it is linear algebra (Wierichs et al. 2022, eq. 9).

    Raises:
        ValueError: no positive frequencies.
    """
    if not frequencies or min(frequencies) <= 0:
        raise ValueError(f"a shift rule needs positive frequencies, got {frequencies}")
    count, lowest = len(frequencies), min(frequencies)
    shifts = [(2 * i + 1) * math.pi / (2 * count * lowest) for i in range(count)]
    wanted = torch.tensor(frequencies, dtype=torch.float64, device="cpu")
    columns = torch.tensor(shifts, dtype=torch.float64, device="cpu")
    matrix = 2 * torch.sin(wanted[:, None] * columns)
    coefficients = torch.linalg.lstsq(matrix, wanted[:, None]).solution.flatten()
    if not torch.allclose(matrix @ coefficients, wanted, rtol=1e-9, atol=1e-9):
        raise ValueError(f"no rule with {count} shifts for the frequencies {frequencies}")
    return tuple(shifts), tuple(coefficients.tolist())


def parameter_shift(experiment: Experiment, expect: Expect) -> Tensor:
    """The jacobian ``[..., S, P]`` from outcomes at shifted angles, two circuits a frequency.

    Exact where outcomes are; with shots it is unbiased.
    """
    columns = []
    for index, name in enumerate(experiment.circuit.parameters):
        rule = shift_rule(experiment.frequencies or frequencies_of(experiment.circuit, name))
        slope: Tensor | float = 0.0
        for shift, coefficient in zip(*rule, strict=True):
            ahead, behind = (
                _moved(experiment, expect, index, side * shift) for side in (1.0, -1.0)
            )
            slope = slope + coefficient * (ahead - behind)
        columns.append(slope)
    return torch.stack([torch.as_tensor(c) for c in columns], dim=-1)


def _moved(experiment: Experiment, expect: Expect, index: int, shift: float) -> Tensor:
    angles = experiment.angles.detach().clone()
    angles[..., index] += shift
    return expect(replace(experiment, angles=angles))


def spsa(
    experiment: Experiment,
    expect: Expect,
    *,
    epsilon: float = 0.01,
    repeats: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """An estimate of the jacobian ``[..., S, P]`` from two circuits a repeat (Spall 1992).

    All angles move by ±epsilon at once, at random, and the change is credited to each.
    Unbiased up to epsilon², and noisy: the other angles' slopes are its noise.
    """
    angles = experiment.angles.detach()
    total: Tensor | float = 0.0
    for _ in range(repeats):
        bits = torch.randint(2, angles.shape, generator=generator, device="cpu")
        signs = (2 * bits - 1).to(angles)
        ahead, behind = (
            expect(replace(experiment, angles=angles + side * epsilon * signs)) for side in (1, -1)
        )
        total = total + ((ahead - behind) / (2 * epsilon)).unsqueeze(-1) * signs.unsqueeze(-2)
    return torch.as_tensor(total) / repeats


def outcomes_of(
    backend: Backend, gradient: Gradient | None = None, *, epsilon: float = 0.01, seed: int = 0
) -> Expect:
    """Outcomes from a backend, differentiable by the named rule if there is one.

    Args:
        backend: where the circuits run.
        gradient: ``parameter_shift``, ``spsa``, or ``adjoint`` where the backend has it.
        epsilon: size of SPSA's perturbation, in radians.
        seed: of SPSA's directions.

    Raises:
        KetformerError: a rule that there is not, or that the backend does not have.
    """

    def expect(experiment: Experiment) -> Tensor:
        return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)

    if gradient is None:
        return expect
    if gradient == "parameter_shift":
        return differentiable(expect, parameter_shift)
    if gradient == "spsa":
        generator = torch.Generator().manual_seed(seed)
        return differentiable(expect, partial(spsa, epsilon=epsilon, generator=generator))
    if gradient != "adjoint":
        raise KetformerError(f"gradient must be one of {', '.join(GRADIENTS)}, got {gradient!r}")
    adjoint = getattr(backend, "adjoint", None)
    if adjoint is None:
        raise KetformerError(f"the backend {backend.name} has no adjoint gradient")
    return differentiable(expect, lambda e, _: adjoint(e.circuit, e.angles, e.strings))


def differentiable(expect: Expect, jacobian: Callable[[Experiment, Expect], Tensor]) -> Expect:
    """Outcomes through which autograd can pass: ``jacobian`` is asked for in the backward pass.

    Args:
        expect: gives outcomes, of which autograd knows nothing.
        jacobian: :func:`parameter_shift`, :func:`spsa` or a backend's own.
    """

    def outcomes(experiment: Experiment) -> Tensor:
        out: Tensor = _Outcomes.apply(  # type: ignore[no-untyped-call]
            experiment.angles, experiment, expect, jacobian
        )
        return out

    return outcomes


class _Outcomes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        angles: Tensor,
        experiment: Experiment,
        expect: Expect,
        jacobian: Callable[[Experiment, Expect], Tensor],
    ) -> Tensor:
        detached = replace(experiment, angles=angles.detach())
        ctx.ask = lambda: jacobian(detached, expect)
        return expect(detached)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        slopes = (grads[0].unsqueeze(-1) * ctx.ask()).sum(-2)
        return slopes, None, None, None
