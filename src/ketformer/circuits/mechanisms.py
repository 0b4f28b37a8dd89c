"""The circuits of a mechanism or of a trained run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ketformer.attention import (
    ATTENTION,
    InputSizes,
    Mixer,
    TokenInputs,
    attention_class,
    build_attention,
)
from ketformer.attention.measured import quantum_mechanisms
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.attention.spread import a_weight
from ketformer.drawing.circuit import circuit_svg
from ketformer.drawing.circuit_layout import experiment_layout
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, Experiment, PauliStrings
from ketformer.quantum.resources import Resources, count_resources

if TYPE_CHECKING:
    from ketformer.models import KetformerForCausalLM

_MOST = 300  # gates drawn at most in a picture for a page


def circuits_of(subject: str, **sizes: Any) -> dict[str, Experiment]:
    """The circuits that a mechanism's first head runs for one token, by name.

    Args:
        subject: a registry name, or a run directory, of which the first layer that has circuits is
            used; of a hybrid, the first layer with each mechanism that has circuits.
        **sizes: sizes and options for a registry name, see :func:`mechanism`.

    Returns:
        Experiments with one row of angles each. Where several mechanisms have circuits, the names
        begin with theirs: ``qisa.value``.

    Raises:
        KetformerError: neither a quantum mechanism nor a run with one.
    """
    if is_run(subject):
        # Brings in transformers, which takes seconds and which no mechanism needs.
        from ketformer.runs import open_run

        found = _of_model(open_run(subject).model)
    else:
        attention = mechanism(subject, **sizes)
        found = _of_first_head(attention) if attention.has_circuits() else {}
    if not found:
        raise NotOfferedError(f"{subject} is classical: it has no circuits")
    return found


def is_run(subject: str) -> bool:
    """Whether a subject is the path of a run and not the name of a mechanism.

    Raises:
        KetformerError: it is neither.
    """
    if subject in ATTENTION:
        return False
    if Path(subject).exists():
        return True
    known = ", ".join(mechanisms_with_circuits())
    raise KetformerError(f"{subject} is neither a run directory nor a mechanism ({known})")


def require_circuits(name: str) -> None:
    """Refuse a mechanism without circuits.

    Raises:
        KetformerError: no mechanism has that name, or it is classical.
    """
    if not attention_class(name).has_circuits():
        known = ", ".join(mechanisms_with_circuits())
        raise KetformerError(f"no circuits in {name!r}; known: {known}")


@dataclass(frozen=True)
class CircuitPicture:
    """A circuit with its drawing and its counts.

    Attributes:
        name: name of the circuit, such as ``value``.
        svg: an ``<svg>`` element for a page, light or dark.
        resources: counts in one-qubit gates and CNOTs.
        measured: the Pauli strings that are measured.
    """

    name: str
    svg: str
    resources: Resources
    measured: tuple[str, ...]

    @property
    def counts(self) -> str:
        """The circuit's cost, in words."""
        counts = self.resources
        return (
            f"{self.name}: {counts.n_qubits} qubits, depth {counts.depth}, "
            f"{counts.one_qubit_gates} one-qubit gates and {counts.two_qubit_gates} CNOTs, "
            f"{counts.parameters} angles"
        )

    @property
    def strings(self) -> str:
        """The first few measured strings."""
        return ", ".join(self.measured[:8]) + (", …" if len(self.measured) > 8 else "")

    @property
    def caption(self) -> str:
        """The circuit's cost and what is measured, in words."""
        return f"{self.counts}; measured: {self.strings}"


def circuit_pictures(
    subject: str | KetformerForCausalLM, width: int = 640, **sizes: Any
) -> list[CircuitPicture]:
    """Pictures of the circuits of a mechanism's or model's first head; equal ones appear once.

    Args:
        subject: a registry name, or a run directory or model, as in :func:`circuits_of`.
        width: pixels at which a drawing is folded.
        **sizes: sizes and options for a registry name, see :func:`mechanism`.

    Returns:
        One picture for each circuit; an empty list for a model with classical attention.

    Raises:
        KetformerError: as in :func:`circuits_of`; a ``NotOfferedError`` if the score has no
            circuit.
    """
    found = circuits_of(subject, **sizes) if isinstance(subject, str) else _of_model(subject)
    names: dict[Circuit, list[str]] = {}
    for name, experiment in found.items():
        names.setdefault(experiment.circuit, []).append(name)
    pictures = []
    for circuit, same in names.items():
        strings = tuple(dict.fromkeys(s for name in same for s in found[name].strings.strings))
        name = ", ".join(same)
        whole = replace(found[same[0]], strings=PauliStrings(strings))
        drawn = experiment_layout(whole, width=width, limit=_MOST)
        svg = circuit_svg(drawn, f"Circuit of {name}")
        pictures.append(CircuitPicture(name, svg, count_resources(circuit), strings))
    return pictures


def layers_with_circuits(model: KetformerForCausalLM) -> dict[str, list[Mixer]]:
    """The layers of each mechanism that has circuits, by its name.

    Raises:
        NotOfferedError: no mechanism of the model has circuits.
    """
    quantum_mechanisms(model)
    return _layers(model)


def _layers(model: KetformerForCausalLM) -> dict[str, list[Mixer]]:
    from ketformer.models.block import Block

    found: dict[str, list[Mixer]] = {}
    for block in model.modules():
        if isinstance(block, Block) and block.attention.has_circuits():
            name = model.config.layer_attention[block.layer_idx]
            found.setdefault(name, []).append(block.attention)
    return found


def _of_model(model: KetformerForCausalLM) -> dict[str, Experiment]:
    """The circuits of the first layer with each mechanism that has any."""
    found = _layers(model)
    return {
        f"{name}.{what}" if len(found) > 1 else what: experiment
        for name, layers in found.items()
        for what, experiment in _of_first_head(layers[0]).items()
    }


def _of_first_head(attention: Mixer) -> dict[str, Experiment]:
    found = experiments(attention, batch=1, length=1)
    return {name: heads[0] for name, heads in found.items()}


def mechanism(
    name: str, *, hidden_size: int = 16, num_heads: int = 1, n_conditions: int = 0, **options: Any
) -> Mixer:
    """A newly initialised mechanism, the same on every call, with the input tables that some need.

    Raises:
        KetformerError: invalid sizes or options.
    """
    sizes = InputSizes(vocab_size=64, max_positions=64, n_conditions=n_conditions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # mainly for the Pauli strings
        return build_attention(name, hidden_size, num_heads, inputs=sizes, **options).eval()


def mechanism_at(name: str, hidden_size: int, **options: Any) -> Mixer:
    """A mechanism as a study of its circuits across model widths builds it."""
    options = {**attention_class(name).options_at(hidden_size), **options}
    return mechanism(name, hidden_size=hidden_size, **options)


def experiments(
    attention: Mixer, *, batch: int, length: int, seed: int = 0
) -> dict[str, list[Experiment]]:
    """The experiments that a mechanism would run for random tokens, one for each head."""
    states, tokens = random_tokens(attention, batch=batch, length=length, seed=seed)
    with torch.no_grad():
        # The circuits are the same whatever the heads have mixed.
        return attention.experiments(states, tokens) | attention.output_experiments(states)


def random_tokens(
    attention: Mixer, *, batch: int, length: int, seed: int = 0
) -> tuple[Tensor, TokenInputs]:
    """Normal hidden states ``[batch, length, hidden_size]``, and tokens at random."""
    generator = torch.Generator().manual_seed(seed)
    like = a_weight(attention).new_empty(0)
    states = torch.randn(batch, length, attention.hidden_size, generator=generator).to(like)
    sizes = attention.inputs or InputSizes(1, length)
    conditions = torch.randn(batch, sizes.n_conditions, generator=generator).to(like)
    tokens = TokenInputs(
        torch.randint(sizes.vocab_size, (batch, length), generator=generator).to(like.device),
        torch.arange(length, device=like.device)[None],
        conditions,
        torch.zeros_like(conditions, dtype=torch.bool),
    )
    return states, tokens
