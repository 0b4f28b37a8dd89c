"""Gradients of measured outcomes: parameter shift, SPSA, or a backend's own method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.experiment import Expect, Experiment
from ketformer.utils.choices import Gradient

if TYPE_CHECKING:
    from ketformer.quantum.backends import Backend

GRADIENTS: tuple[str, ...] = get_args(Gradient)
#: Shifts and their coefficients.
Rule = tuple[tuple[float, ...], tuple[float, ...]]


def frequencies_of(gate: Gate) -> tuple[float, ...]:
    """The frequencies with which an expectation can depend on a rotation's angle.

    They are the differences between the eigenvalues of its generator: 1 for a plain
    rotation, and also 1/2 for a controlled one, whose rule has four terms. A phase gate's are 0
    and 1 with any number of controls.
    """
    return (0.5, 1.0) if gate.controls and gate.is_rotation else (1.0,)


def shifted_circuits(experiment: Experiment) -> int:
    """Circuits that :func:`parameter_shift` runs per row of angles and setting of axes."""
    if experiment.frequencies:
        return 2 * len(experiment.frequencies) * len(experiment.circuit.parameters)
    gates = experiment.circuit.gates
    return sum(2 * len(frequencies_of(g)) for g in gates if g.angle and g.angle.is_parameter)


@lru_cache(maxsize=1024)
def shift_rule(frequencies: tuple[float, ...]) -> Rule:
    """Shifts and coefficients with f'(t) = sum_i c_i [f(t + s_i) - f(t - s_i)], exactly.

    For frequency 1 it is the textbook rule, (pi/2, 1/2); for 1/2, as in an overlap,
    (pi, 1/4). In general a linear system is solved (Wierichs et al. 2022, eq. 9).

    Raises:
        ValueError: a frequency is not positive, there is none, or no rule exists.
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
    """The Jacobian ``[..., S, P]`` from outcomes at shifted angles.

    It is exact if the outcomes are, and unbiased with shots. An angle used in several gates
    is shifted in each of them separately (the product rule), unless the experiment gives
    the frequencies of its outcomes; then it is shifted in all gates at once.
    """
    if experiment.frequencies:
        rules = [shift_rule(experiment.frequencies)] * len(experiment.circuit.parameters)
        return _shifted(experiment, expect, rules)
    apart, columns, factors = _apart(experiment)
    gates = (g for g in apart.circuit.gates if g.angle and g.angle.is_parameter)
    slopes = _shifted(apart, expect, [shift_rule(frequencies_of(g)) for g in gates])
    out = slopes.new_zeros(*slopes.shape[:-1], experiment.angles.shape[-1])
    return out.index_add(-1, columns, slopes * factors)


def _apart(experiment: Experiment) -> tuple[Experiment, Tensor, Tensor]:
    """The experiment with a separate angle per gate; the old angle of each, and its factor."""
    column = {name: i for i, name in enumerate(experiment.circuit.parameters)}
    gates, columns, factors, offsets = [], [], [], []
    for gate in experiment.circuit.gates:
        if gate.angle and isinstance(gate.angle.value, str):
            columns.append(column[gate.angle.value])
            factors.append(gate.angle.factor)
            offsets.append(gate.angle.offset)
            gate = replace(gate, angle=Angle(f"gate{len(columns)}"))
        gates.append(gate)
    angles = experiment.angles.detach()
    where = torch.tensor(columns, dtype=torch.long, device=angles.device)
    times, plus = (angles.new_tensor(numbers) for numbers in (factors, offsets))
    circuit = Circuit(experiment.circuit.n_qubits, tuple(gates))
    return Experiment(circuit, angles[..., where] * times + plus, experiment.strings), where, times


def _shifted(experiment: Experiment, expect: Expect, rules: list[Rule]) -> Tensor:
    columns = []
    for index, rule in enumerate(rules):
        slope: Tensor | float = 0.0
        for shift, coefficient in zip(*rule, strict=True):
            ahead, behind = (
                _moved(experiment, expect, index, side * shift) for side in (1.0, -1.0)
            )
            slope = slope + coefficient * (ahead - behind)
        columns.append(torch.as_tensor(slope))
    if not columns:
        batch = experiment.angles.shape[:-1]
        return experiment.angles.new_zeros(*batch, len(experiment.strings), 0)
    return torch.stack(columns, dim=-1)


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
    """An estimate of the Jacobian ``[..., S, P]`` from two circuits per repeat (Spall 1992).

    All angles move by ±epsilon at once, at random, and each is credited with the change.
    The estimate is unbiased up to epsilon², and noisy: the other angles' slopes are noise.
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
    """A function that gets outcomes from a backend, differentiable if a rule is given.

    Args:
        backend: where the circuits run.
        gradient: ``parameter_shift``, ``spsa``, or ``adjoint`` if the backend supports it;
            None for outcomes without gradients.
        epsilon: size of SPSA's perturbation, in radians.
        seed: seed of SPSA's directions.

    Raises:
        KetformerError: an unknown rule, or one that the backend does not support.
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
    """Make ``expect`` differentiable: the backward pass calls ``jacobian``.

    Args:
        expect: returns outcomes that autograd cannot differentiate.
        jacobian: :func:`parameter_shift`, :func:`spsa` or a backend's own method.
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
