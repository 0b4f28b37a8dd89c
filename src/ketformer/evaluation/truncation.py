"""What a trained mechanism loses with less entanglement in its states, and with fewer qubits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention import Attention
from ketformer.attention.observables import PauliObservables
from ketformer.evaluation.backend import evaluation_sequences
from ketformer.quantum import amplitude_encode, compressed, truncated
from ketformer.runs import Run
from ketformer.tasks.losses import total_loss

# Sequences that the curve is measured on.
_SEQUENCES = 64

Limit = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # of the states of one mechanism


def truncation_curve(run: Run, *, limit: int = _SEQUENCES) -> list[dict[str, Any]]:
    """The loss of a trained model when its states are cut down.

    States are those that circuits measure: encoded tokens, or queries and keys that are states.
    First they keep fewer and fewer Schmidt coefficients: if the loss with a bond dimension of 1,
    product states, is that of the whole states, the model does not use their entanglement. Then
    those of a layer are brought onto fewer and fewer qubits, see
    :func:`~ketformer.quantum.compression.compressed`.

    Args:
        run: the run; its test part is used.
        limit: number of sequences.

    Returns:
        ``bond_dimension`` and ``loss`` in nats per token, teacher-forced, for 1, 2, 4 … up to what
        changes nothing; then ``n_qubits`` and ``loss`` for 1, 2, 3 … likewise. Empty for a
        mechanism without states.
    """
    largest = max(map(_qubits, run.model.modules()), default=0)
    if not largest:
        return []
    rows, _ = evaluation_sequences(run, limit=limit, progress=False)
    limits: list[tuple[str, int, Limit]] = [
        ("bond_dimension", 2**power, partial(_truncated, bond_dimension=2**power))
        for power in range(largest // 2 + 1)
    ]
    limits += [
        ("n_qubits", count, partial(compressed, n_qubits=count)) for count in range(1, largest + 1)
    ]
    curve = []
    for kind, value, cut in limits:
        with _limited(run.model, cut), torch.no_grad():
            curve.append({kind: value, "loss": _loss(run, rows)})
    return curve


def _truncated(sets: Sequence[Tensor], bond_dimension: int) -> list[Tensor]:
    return [truncated(states, bond_dimension) for states in sets]


def _loss(run: Run, rows: Any) -> float:
    inputs = {key: value.to(run.model.device) for key, value in rows.inputs.items()}
    logits = run.model(**inputs, use_cache=False).logits
    labels = rows.targets.to(logits.device)
    return float(total_loss(logits, labels) / (labels != -100).sum())


def _qubits(module: nn.Module) -> int:
    """Qubits of the states in this module; 0 if it has none."""
    if isinstance(module, PauliObservables):
        return int(module.codes.shape[-1])
    if isinstance(module, Attention) and module.queries_are_states:
        return int(getattr(module, "n_qubits", 0))
    return 0


@contextmanager
def _limited(model: nn.Module, cut: Limit) -> Iterator[None]:
    """Within this block, every state in the model is cut down."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, PauliObservables):
                hook = module.register_forward_pre_hook(_encoded(cut), with_kwargs=True)
                stack.callback(hook.remove)
            elif _qubits(module):
                stack.enter_context(_queries(module, cut))
        yield


def _encoded(cut: Limit) -> Any:
    """A hook that cuts down the states of encoded tokens."""

    def hook(
        module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        real, imag, *rest = (*args, None) if len(args) == 1 else args
        if options.get("normalise"):
            real = amplitude_encode(real)
        missing = 2 ** _qubits(module) - real.shape[-1]
        whole = F.pad(real if imag is None else torch.complex(real, imag), (0, missing))
        (states,) = cut([whole])
        parts = (states, None) if imag is None else (states.real, states.imag)
        return (*parts, *rest), {**options, "normalise": False}

    return hook


@contextmanager
def _queries(module: Any, cut: Limit) -> Iterator[None]:
    """Cut down the states that are queries and keys."""
    project = module.project

    def limited(*args: Any, **_: Any) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
        query, key, value = project(*args)
        query, key = cut([query, key])
        return query, key, value, ()

    module.factors = limited
    try:
        yield
    finally:
        del module.factors
