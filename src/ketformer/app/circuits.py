"""A model's attention as circuits with shots and noise would give it, beside the exact one."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ketformer.app.conditions import wishes_of
from ketformer.app.opened_runs import Subject
from ketformer.attention.measured import measured_by
from ketformer.circuits import CircuitPicture, circuit_pictures
from ketformer.drawing.attention import AttentionMap, Weights
from ketformer.drawing.heatmap import heat_map
from ketformer.errors import KetformerError
from ketformer.evaluation import attention_weights
from ketformer.quantum import Noise
from ketformer.quantum.backends import open_backend
from ketformer.quantum.backends.exact import TorchBackend
from ketformer.quantum.backends.registry import BACKENDS, installed_backends
from ketformer.quantum.gradients import outcomes_of
from ketformer.runs import Run

#: Tokens of a text that is measured: a page should answer in seconds.
LONGEST = 12
#: None is the exact expectation.
SHOTS: dict[str, int | None] = {
    "exact expectations": None,
    **{f"{n:,}": n for n in (100, 1_000, 10_000, 100_000)},
}
#: Error probabilities of one-qubit gates, CNOTs and the readout.
NOISE: dict[str, Noise] = {
    "none": Noise(),
    "low: CNOT 0.1 %, readout 0.5 %": Noise(0.0001, 0.001, 0.005),
    "as today's devices: CNOT 1 %, readout 2 %": Noise(0.001, 0.01, 0.02),
    "high: CNOT 5 %, readout 5 %": Noise(0.005, 0.05, 0.05),
}
_FOLDED = 1100  # pixels, at which a circuit goes on below


@dataclass(frozen=True)
class Measured:
    """Attention over one text, exactly and as measured.

    Attributes:
        tokens: the T tokens.
        exact: ``[layers, heads, T, T]``.
        measured: likewise.
        circuits: that were run.
        seconds: that they took.
    """

    tokens: list[str]
    exact: Weights
    measured: Weights
    circuits: int
    seconds: float


def backends() -> dict[str, str]:
    """The backends that are installed, by what the page calls them.

    Our own simulator stands for the one that draws shots from it, too.
    """
    own = "torch"
    others = [name for name in installed_backends() if not issubclass(BACKENDS[name], TorchBackend)]
    return {"exact (Ketformer's own simulator)": own, **{name: name for name in others}}


def drawings(subject: Subject) -> list[CircuitPicture]:
    """Its circuits; none of a classical model.

    Raises:
        NotOfferedError: its score has no circuit.
    """
    return circuit_pictures(subject.run.model, width=_FOLDED)


def measure(
    run: Run, text: str, *, backend: str, shots: int | None, noise: Noise, seed: int = 0
) -> Measured:
    """Run every circuit of the attention over a text.

    A model of molecules is told no property, or the means where it needs all.

    Args:
        run: with a quantum mechanism.
        text: at most :data:`LONGEST` tokens; of a model of molecules a SMILES.
        backend: where the circuits run.
        shots: of each circuit; None for exact expectations.
        noise: of gates and readout.
        seed: of the shots.

    Raises:
        KetformerError: a text that does not fit, or no circuits.
    """
    needed = {wish.name: wish.mean for wish in wishes_of(run) if wish.needed}
    tokens, exact = attention_weights(run, text, conditions=needed)
    if len(tokens) > LONGEST:
        raise KetformerError(
            f"{len(tokens)} tokens take too many circuits for a page; take {LONGEST} at most"
        )
    with open_backend(backend, shots=shots, noise=noise, seed=seed) as opened:
        began = time.perf_counter()
        with measured_by(run.model, outcomes_of(opened)):
            _, measured = attention_weights(run, text, conditions=needed)
        seconds = time.perf_counter() - began
        return Measured(tokens, exact, measured, opened.circuits_run, seconds)


def differences(exact: Weights, measured: Weights, causal: bool) -> tuple[float, float]:
    """The largest and the mean absolute difference of weights ``[..., T, T]``.

    Of a causal model only what it may see counts: the rest is 0 in both.
    """
    gaps = np.abs(measured - exact)
    seen = (
        np.tril(np.ones(gaps.shape[-2:], dtype=bool)) if causal else np.ones(gaps.shape[-2:], bool)
    )
    return float(gaps.max()), float(gaps[..., seen].mean())


def maps(found: Measured, layer: int, head: int | None) -> list[str]:
    """Heat maps of the exact weights, the measured ones, and their difference."""
    exact, measured = (
        AttentionMap("", found.tokens, weights[layer]).of_head(head)
        for weights in (found.exact, found.measured)
    )
    top = float(max(exact.max(), measured.max()))
    return [
        heat_map(found.tokens, exact, "Exact", top=top, wide=300),
        heat_map(found.tokens, measured, "Measured", top=top, wide=300),
        heat_map(found.tokens, measured - exact, "Measured − exact", signed=True, wide=300),
    ]
