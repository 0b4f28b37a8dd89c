"""A model's attention from circuits with shots and noise, next to the exact one."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ketformer.app.conditions import requestable_properties
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

#: The most tokens to measure: a page should answer in seconds.
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
    "like today's devices: CNOT 1 %, readout 2 %": Noise(0.001, 0.01, 0.02),
    "high: CNOT 5 %, readout 5 %": Noise(0.005, 0.05, 0.05),
}
_FOLDED = 1100  # pixels: the width at which a circuit wraps


@dataclass(frozen=True)
class Measured:
    """Attention over one text, exact and as measured.

    Attributes:
        tokens: the T tokens.
        exact: weights ``[layers, heads, T, T]`` in closed form.
        measured: the weights from circuits, of the same shape.
        circuits: number of circuits run.
        seconds: time they took.
    """

    tokens: list[str]
    exact: Weights
    measured: Weights
    circuits: int
    seconds: float


def backends() -> dict[str, str]:
    """The installed backends by their names on the page.

    Our own simulator also stands for the backend that draws shots from it.
    """
    own = "torch"
    others = [name for name in installed_backends() if not issubclass(BACKENDS[name], TorchBackend)]
    return {"exact (Ketformer's own simulator)": own, **{name: name for name in others}}


def drawings(subject: Subject) -> list[CircuitPicture]:
    """Pictures of the model's circuits; empty for a classical model.

    Raises:
        NotOfferedError: the model's score has no circuit.
    """
    return circuit_pictures(subject.run.model, width=_FOLDED)


def measure(
    run: Run, text: str, *, backend: str, shots: int | None, noise: Noise, seed: int = 0
) -> Measured:
    """Run every circuit of the attention over a text.

    A molecule model gets no requested property, or the means if it needs all of them.

    Args:
        run: a run with a quantum mechanism.
        text: at most :data:`LONGEST` tokens; for a molecule model, a SMILES.
        backend: where the circuits run.
        shots: shots for each circuit; None for exact expectations.
        noise: noise of gates and readout.
        seed: seed of the shots.

    Raises:
        KetformerError: the text does not fit, or the model has no circuits.
    """
    needed = {p.name: p.mean for p in requestable_properties(run) if p.needed}
    tokens, exact = attention_weights(run, text, conditions=needed)
    if len(tokens) > LONGEST:
        raise KetformerError(
            f"{len(tokens)} tokens take too many circuits for a page; use at most {LONGEST}"
        )
    with open_backend(backend, shots=shots, noise=noise, seed=seed) as opened:
        began = time.perf_counter()
        with measured_by(run.model, outcomes_of(opened)):
            _, measured = attention_weights(run, text, conditions=needed)
        seconds = time.perf_counter() - began
        return Measured(tokens, exact, measured, opened.circuits_run, seconds)


def differences(exact: Weights, measured: Weights, causal: bool) -> tuple[float, float]:
    """The largest and the mean absolute difference of weights ``[..., T, T]``.

    For a causal model the mean counts only visible positions: the others are 0 in both.
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


def numbers_html(found: Measured, layer: int, head: int | None, causal: bool) -> str:
    """How much the weights changed, in the chosen picture and in all layers and heads."""
    chosen = [
        weights[layer].mean(0) if head is None else weights[layer, head]
        for weights in (found.exact, found.measured)
    ]
    rows = []
    for name, (exact, measured) in (
        ("this picture", chosen),
        ("all layers and heads", [found.exact, found.measured]),
    ):
        largest, mean = differences(exact, measured, causal)
        rows.append(f"<tr><th>{name}</th><td>{largest:.2g}</td><td>{mean:.2g}</td></tr>")
    return (
        "<table class='facts'><thead><tr><th>change of a weight</th><th>largest</th><th>mean</th>"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"<p>{found.circuits:,} circuits in {found.seconds:.2g} s.</p>"
    )
