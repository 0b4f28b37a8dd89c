"""A trained model measured with shots, alike for all circuits or where they matter most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.measured import measured_by
from ketformer.evaluation.backend import Sequences
from ketformer.models import KetformerForCausalLM
from ketformer.quantum import Expect, Experiment, measurement_settings
from ketformer.quantum.allocation import Sampled, neyman
from ketformer.quantum.backends import open_backend

Allocation = Literal["uniform", "influence"]
ALLOCATIONS: tuple[str, ...] = get_args(Allocation)
#: Part of the shots that the pilot takes.
_PILOT = 0.3
#: Random draws of the targets that a sensitivity is averaged over.
_PROBES = 16
#: Part of the mean square that is added to every (g σ)². A score that the softmax hardly sees has
#: no slope, but would be seen if shot noise raised it; without this, such scores are starved.
_ADDED = 0.2


@dataclass(frozen=True)
class Measured:
    """One evaluation with shots.

    Attributes:
        loss: nats per target.
        divergence: Kullback-Leibler divergence from the exact predictions to the measured ones,
            in nats per target.
        spent: shots of each measured circuit.
    """

    loss: float
    divergence: float
    spent: dict[Any, int]


class Evaluation:
    """Sequences with the model's exact predictions, to be measured with shots many times.

    Args:
        model: with a quantum mechanism.
        rows: the sequences.
    """

    def __init__(self, model: KetformerForCausalLM, rows: Sequences) -> None:
        self.model = model
        self.rows = [rows.row(index) for index in range(len(rows))]
        with torch.no_grad():
            self.exact = [self._predictions(row) for row in self.rows]
        self.targets = sum(map(len, self.exact))
        self.exact_loss = self._loss(self.exact)
        self.circuits = self._count()

    def measure(self, shots: int, allocation: Allocation = "uniform", seed: int = 0) -> Measured:
        """Measure all sequences once.

        Args:
            shots: of each circuit, on average over all of them.
            allocation: ``uniform``, as many for each circuit; ``influence``, more where they
                matter for the predictions. A pilot with 30 % of the shots gives the outcomes
                x_k, the standard deviations σ_k = sqrt(1 - x_k²) of a shot, and by autograd
                through the classical part of the model the sensitivities g_k. The other shots
                are proportional to |g_k| σ_k, Neyman's allocation, see
                :func:`~ketformer.quantum.allocation.neyman`; a fifth of the mean of (g σ)² is
                added to each, since the softmax is not linear. g_k² is the mean of
                [∂ log p(y) / ∂x_k]² over targets y drawn from the measured predictions p, the
                diagonal of the Fisher information: half the sum of g_k² σ_k² / s_k is, to
                leading order, the expected divergence of the predictions. The pilot's outcomes
                count, except where a circuit's angles depend on earlier outcomes; what an
                outcome changes in the angles of later layers is neglected in g_k. Of the
                strings that one circuit measures, the covariances are neglected. Fewer than
                four shots are too few for a pilot, and go to all circuits alike.
            seed: seed of the shots and of the drawn targets.
        """
        sampled = Sampled(open_backend("shots", seed=seed))
        # A pilot needs a few shots to say anything, and so do those that follow it.
        if allocation == "influence" and shots >= 4:
            found = self._by_influence(sampled, shots, torch.Generator().manual_seed(seed))
        else:
            found = [
                self._measured(row, lambda e: sampled(e, _everywhere(e, shots)))
                for row in self.rows
            ]
        divergence = sum(
            float((exact.exp() * (exact - log_p)).sum())
            for exact, log_p in zip(self.exact, found, strict=True)
        )
        return Measured(self._loss(found), divergence / self.targets, dict(sampled.spent))

    def _by_influence(
        self, sampled: Sampled, shots: int, generator: torch.Generator
    ) -> list[Tensor]:
        few = max(round(_PILOT * shots), 2)
        pilots = [self._pilot(row, sampled, few, generator) for row in self.rows]
        calls = [call for pilot in pilots for call in pilot]
        deviations = torch.cat([call.deviations.flatten() for call in calls])
        deviations = (deviations.square() + _ADDED * deviations.square().mean()).sqrt()
        # What the pilot has spent on circuits that have to be run again is gone.
        again = sum(call.deviations.numel() for call in calls if call.depends)
        total = shots * len(deviations) - few * again
        each = neyman(deviations, total, torch.full_like(deviations, few))
        for call, own in zip(calls, each.split([c.deviations.numel() for c in calls]), strict=True):
            call.shots = own.reshape(call.deviations.shape)
        return [
            self._measured(row, _followed(pilot, sampled, few))
            for row, pilot in zip(self.rows, pilots, strict=True)
        ]

    def _pilot(
        self, row: Sequences, sampled: Sampled, shots: int, generator: torch.Generator
    ) -> list[_Call]:
        calls: list[_Call] = []

        def expect(experiment: Experiment) -> Tensor:
            outcomes = sampled(experiment, _everywhere(experiment, shots)).requires_grad_()
            calls.append(_Call(outcomes, experiment.angles.requires_grad))
            settings.append([s.members for s in measurement_settings(experiment.strings)])
            return outcomes

        settings: list[list[tuple[int, ...]]] = []
        with torch.enable_grad(), _frozen(self.model), measured_by(self.model, expect):
            log_p = self._predictions(row)
        leaves = [call.outcomes for call in calls]
        squares = [torch.zeros_like(leaf) for leaf in leaves]
        for _ in range(_PROBES):
            drawn = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator)
            chosen = log_p.gather(1, drawn.to(log_p.device)).sum()
            slopes = torch.autograd.grad(chosen, leaves, retain_graph=True)
            for square, slope in zip(squares, slopes, strict=True):
                square += slope.square()
        for call, square, members in zip(calls, squares, settings, strict=True):
            # Few shots that all agree do not mean that the next ones will.
            mean = call.outcomes.detach() * shots / (shots + 2)
            variances = square * (1 - mean.square())
            of_setting = [variances[..., list(own)].sum(-1) for own in members]
            call.deviations = torch.stack(of_setting, dim=-1).sqrt().cpu()
            call.outcomes = call.outcomes.detach()
        return calls

    def _count(self) -> int:
        """Circuits of one evaluation."""
        circuits = 0

        def expect(experiment: Experiment) -> Tensor:
            nonlocal circuits
            circuits += _everywhere(experiment, 1).numel()
            return experiment.angles.new_zeros(
                *experiment.angles.shape[:-1], len(experiment.strings)
            )

        for row in self.rows:
            self._measured(row, expect)
        return circuits

    def _measured(self, row: Sequences, expect: Expect) -> Tensor:
        with torch.no_grad(), measured_by(self.model, expect):
            return self._predictions(row)

    def _predictions(self, row: Sequences) -> Tensor:
        """Log-probabilities ``[N, V]``, float64, at the N positions with a target."""
        inputs = {key: value.to(self.model.device) for key, value in row.inputs.items()}
        logits = self.model(**inputs, use_cache=False).logits
        seen: Tensor = logits[(row.targets != -100).to(logits.device)]
        return seen.double().log_softmax(-1)

    def _loss(self, predictions: Sequence[Tensor]) -> float:
        total = 0.0
        for row, log_p in zip(self.rows, predictions, strict=True):
            targets = row.targets[row.targets != -100].to(log_p.device)
            total -= float(log_p.gather(1, targets[:, None]).sum())
        return total / self.targets


class _Call:
    """One experiment of a pilot: what came out, and what follows from that.

    Attributes:
        outcomes: ``[..., S]``.
        depends: whether the angles depend on earlier outcomes.
        deviations: ``[..., G]``, for each circuit and setting of axes.
        shots: ``[..., G]``, the pilot's included where its outcomes count.
    """

    deviations: Tensor
    shots: Tensor

    def __init__(self, outcomes: Tensor, depends: bool) -> None:
        self.outcomes = outcomes
        self.depends = depends


def _followed(pilot: Sequence[_Call], sampled: Sampled, few: int) -> Expect:
    """Outcomes with the pilot's allocation; its own outcomes count where the angles are equal."""
    calls = iter(pilot)

    def expect(experiment: Experiment) -> Tensor:
        call = next(calls)
        if call.depends:
            return sampled(experiment, call.shots)
        more = call.shots - few
        outcomes = sampled(experiment, more)
        share = torch.empty_like(outcomes)
        for place, setting in enumerate(measurement_settings(experiment.strings)):
            part = more[..., place] / call.shots[..., place]
            share[..., list(setting.members)] = part[..., None].to(share)
        return share * outcomes + (1 - share) * call.outcomes

    return expect


def _everywhere(experiment: Experiment, shots: int) -> Tensor:
    settings = len(measurement_settings(experiment.strings))
    return torch.full((*experiment.angles.shape[:-1], settings), shots)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Inside, gradients flow from nothing but outcomes."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
