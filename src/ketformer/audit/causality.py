"""The causality audit: change each token, and look for any effect on earlier positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.attention import Mixer, attention_class
from ketformer.attention.layers import Mechanisms, each_layer, parse_mechanisms
from ketformer.audit.origin import sources_of
from ketformer.audit.paths import further_checks
from ketformer.audit.result import Audit, Source
from ketformer.audit.subjects import Mechanism, Subject, difference
from ketformer.errors import KetformerError, one_line
from ketformer.models import KetformerConfig, KetformerForCausalLM

# In units of the last place of the largest output. The first: what float64 may lose on the way
# through a deep model; a leak of 2e-13 of the largest logit exceeds it. The second: how much of
# a change in the model's own precision may be rounding, if float64 sees no leak.
_NOISE_OF_FLOAT64, _NOISE = 1_000.0, 32.0


@torch.no_grad()
def audit_causality(
    model: Any,
    vocab_size: int | None = None,
    *,
    length: int | None = None,
    sequences: int = 8,
    seed: int = 0,
    step: Callable[[int, int], None] | None = None,
) -> Audit:
    """Prove or refute that no position sees a later one.

    In random sequences, each token in turn is replaced by another one, and the outputs
    at all earlier positions are compared bit for bit, with dropout off. Of a torch module this is
    repeated on a copy in float64, where a leak far below the rounding of a logit shows, and where
    rounding shrinks. If there is a leak, the modules and heads where it enters are looked for.
    Then the other paths are compared with this one: other rows in the batch, the cache,
    left padding, packed sequences, attention weights (:class:`~ketformer.audit.Check`).

    Args:
        model: anything that maps token ids ``[B, T]`` to logits ``[B, T, V]``: a torch module,
            a model of transformers (of an encoder-decoder, its decoder is audited), a function
            of tensors or of NumPy arrays; a bare mechanism, whose input vectors are then
            replaced; or a registry name, which audits a small randomly initialised model, or the
            names of a hybrid's layers, as a list or as ``overlap,classical``.
        vocab_size: number of tokens; by default from the model's configuration, or else the
            size of its first embedding. A function needs it.
        length: tokens in a sequence; by default the model's context, at most 64; 32 where the
            context is not known.
        sequences: number of random sequences.
        seed: seed for the sequences and replacements.
        step: called with (done, total) positions.

    Raises:
        KetformerError: an unknown name or vocabulary, no sequences, or a model that fails, returns
            NaN or something else than logits of every position, gives other outputs when it is
            run again, or whose outputs do not depend on its inputs.
    """
    if isinstance(model, str | list):
        model = _small_model(model, seed)
    if isinstance(model, Mixer):
        subject: Subject = Mechanism(model)
    else:
        subject = Subject(model, vocab_size)
    length = subject.longest if length is None else length
    if length < 1 or sequences < 1:
        raise KetformerError(f"no {sequences} sequences of {length} tokens can be audited")
    if isinstance(subject.context, int):
        length = min(length, subject.context)
    with subject.evaluating():
        return _audit(subject, length, sequences, torch.Generator().manual_seed(seed), step)


def _small_model(attention: Mechanisms, seed: int) -> nn.Module:
    mechanisms = parse_mechanisms(attention)
    layers = each_layer(mechanisms, 3)
    for name in layers:
        attention_class(name)  # refuses an unknown name before a model is built
    torch.manual_seed(seed)
    return KetformerForCausalLM(
        KetformerConfig(
            attention=mechanisms,
            vocab_size=31,
            hidden_size=32,
            num_hidden_layers=len(layers),
            num_attention_heads=2,
            max_position_embeddings=32,
            initializer_range=0.3,  # large weights make a leak visible
        )
    )


@dataclass(frozen=True)
class _Pass:
    """What one pass over all positions saw.

    Attributes:
        influence: ``[T, T]``: how far replacing a token (row) changed an output (column).
        highest: the largest output.
        unit: its last place.
        noise: the largest difference between two runs on the same inputs.
        precision: the type of the outputs.
    """

    influence: Tensor
    highest: float
    unit: float
    noise: float
    precision: str

    @property
    def future(self) -> Tensor:
        """The influence on earlier positions alone."""
        return self.influence.tril(-1)

    @property
    def largest(self) -> float:
        """The largest influence on an earlier position."""
        return float(self.future.max())


def _look(subject: Subject, inputs: Tensor, step: Callable[[int], None]) -> _Pass:
    reference = subject(inputs)
    noise = float(difference(subject(inputs), reference).max())
    highest = float(reference.abs().where(reference.isfinite(), 0).max())
    if noise > 1e-3 * highest:
        raise KetformerError(
            f"{subject.name} gives other outputs when it is run again on the same ids (by up to "
            f"{noise:.2g}): switch off dropout and sampling"
        )
    rows = []
    for position in range(inputs.shape[1]):
        changed = inputs.clone()
        changed[:, position] = subject.replaced(inputs[:, position])
        rows.append(difference(subject(changed), reference).amax(dim=(0, 2)).cpu())
        step(position + 1)
    eps = max(torch.finfo(reference.dtype).eps, subject.eps)
    precision = str(reference.dtype).removeprefix("torch.")
    return _Pass(torch.stack(rows), highest, eps * highest, noise, precision)


def _audit(
    subject: Subject,
    length: int,
    sequences: int,
    generator: torch.Generator,
    step: Callable[[int, int], None] | None,
) -> Audit:
    inputs = subject.draw(sequences, length, generator)
    copy, why_not = _in_float64(subject, inputs)
    total = length if copy is None else 2 * length

    def after(before: int) -> Callable[[int], None]:
        return lambda position: step(before + position, total) if step else None

    own = _look(subject, inputs, after(0))
    if subject.vocab_size != 1 and not own.influence.triu().any():
        raise KetformerError(
            f"the outputs of {subject.name} do not depend on its inputs, so no leak could be seen; "
            "are its output weights all zero?"
        )
    finer = None
    if copy is not None:
        with copy.evaluating():
            finer = _look(copy, inputs, after(length))
    decisive, limit, influence, notes = _verdict(own, finer)
    best = subject if copy is None or decisive is own else copy
    leaks = decisive.future > limit
    worst: tuple[int, int] | None = None
    sources: tuple[Source, ...] = ()
    with best.evaluating():
        if leaks.any():
            worst = divmod(int(decisive.future.argmax()), length)
            try:
                sources = sources_of(best, inputs, worst[0], limit / (decisive.highest or 1))
            except Exception as error:  # a model may not bear the hooks
                notes.append(f"where it enters was not found: {one_line(error)}")
        checks = further_checks(best, inputs, limit)
    if copy is None and own.precision != "float64":
        notes.append(f"weaker leaks were not looked for in float64: {why_not}")
    changed, moved = (found.tolist() for found in leaks.nonzero(as_tuple=True))
    distances = [later - earlier for later, earlier in zip(changed, moved, strict=True)]
    return Audit(
        attention=subject.name,
        causal=worst is None,
        max_future_influence=influence,
        max_past_influence=float(decisive.influence.triu().max()),
        worst=worst,
        sequences=sequences,
        length=length,
        perturbations=sequences * length,
        precisions=tuple(seen.precision for seen in (own, finer) if seen),
        positions=tuple(sorted(set(moved))),
        ahead=(min(distances), max(distances)) if distances else None,
        sources=sources,
        checks=checks,
        notes=(*notes, *_hidden_by_zeros(subject)),
    )


def _verdict(own: _Pass, finer: _Pass | None) -> tuple[_Pass, float, float, list[str]]:
    """The pass that decides, above what a change is a leak, the largest influence, and notes."""
    exact = 8 * own.noise  # 0 if a second run gives the same bits
    if finer is None:
        if own.precision == "float64":
            exact += _NOISE_OF_FLOAT64 * own.unit
        notes = []
        if exact < own.largest <= _NOISE * own.unit:
            notes.append(f"a change of this size may also be rounding in {own.precision}")
        return own, exact, own.largest, notes
    limit = _NOISE_OF_FLOAT64 * finer.unit + 8 * finer.noise
    if finer.largest > limit:
        return finer, limit, finer.largest, []
    rounding = max(exact, _NOISE * own.unit)
    if own.largest > rounding:
        note = f"float64 shows no leak: it is in the arithmetic of {own.precision} alone"
        return own, rounding, own.largest, [note]
    if own.largest > exact:
        note = (
            f"the {own.precision} outputs changed by up to {own.largest:.2g}; this is rounding, "
            f"for in float64 they change by {finer.largest:.2g}"
        )
        return finer, limit, finer.largest, [note]
    return finer, limit, min(own.largest, finer.largest), []


def _in_float64(subject: Subject, inputs: Tensor) -> tuple[Subject | None, str]:
    """A copy that computes in float64, or None and why there is none."""
    try:
        copy = subject.in_float64()
        with copy.evaluating():
            copy(inputs[:1], rows=slice(1))
    except Exception as error:  # whatever a model raises that cannot be copied or converted
        return None, one_line(error)
    return copy, ""


def _hidden_by_zeros(subject: Subject) -> list[str]:
    """A matrix of zeros, as at the start of some models, stops whatever leaks before it."""
    if subject.module is None:
        return []
    parts = subject.module.named_modules()
    linear = [n for n, m in parts if isinstance(m, nn.Linear) and not m.weight.any()]
    if not linear:
        return []
    others = f" and {len(linear) - 1} more" if len(linear) > 1 else ""
    return [f"all weights of {linear[0]}{others} are 0, which hides what leaks into it"]
