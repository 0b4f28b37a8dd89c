"""Conformance checks for attention mechanisms, to run on your own mechanism as well.

:func:`check_attention` runs them all. In a test file::

    @pytest.mark.parametrize("check", CONFORMANCE, ids=str)
    def test_conformance(check):
        check("mine")

The name is a registry name. Sizes and options may follow, as in ``check("mine", hidden_size=24,
num_heads=3, n_qubits=2)``, to check other paths through the code, and ``device="cuda"`` to check on
a GPU. Numbers computed in two ways may differ by what
:func:`~ketformer.utils.conformance.rounding` allows, in float32 and float64.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.func import functional_call

from ketformer.attention._rows import forms, start, weights
from ketformer.attention._trials import (
    LENGTH,
    TYPES,
    Batch,
    Case,
    GrowingCache,
    load_as_transformers,
    on_case,
)
from ketformer.attention.measured import measured_by
from ketformer.attention.mixer import Mixer
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment
from ketformer.quantum.backends.exact import TorchBackend
from ketformer.utils.conformance import (
    Check,
    Finding,
    MismatchError,
    alike,
    all_alike,
    close,
    findings,
    require,
)

__all__ = ["CONFORMANCE", "Check", "Finding", "MismatchError", "check_attention"]

#: A smaller change of the output counts as no influence.
_INFLUENCE = 1e-4
_SIDES = ("left", "right")


def check_attention(
    attention: str, *, hidden_size: int = 16, num_heads: int = 2, **options: Any
) -> list[Finding]:
    """Run every conformance check on a mechanism.

    Args:
        attention: a registry name.
        hidden_size: width of the model; ``num_heads`` must divide it.
        num_heads: number of heads.
        **options: options of the mechanism, and ``device``, which is the CPU by default.

    Returns:
        One finding per check; an error raised by the mechanism is also a finding.
    """
    sizes = {"hidden_size": hidden_size, "num_heads": num_heads}
    return findings(CONFORMANCE, attention, **sizes, **options)


# --- Who sees whom -------------------------------------------------------------------------------


def _causality(case: Case) -> Iterator[float]:
    """A token changes its own output, and earlier outputs only if the mechanism is not causal."""
    attention, batch = case.build().requires_grad_(False), case.batch(2, LENGTH)
    for path in case.paths(attention, batch):
        before = batch.through(attention, **path)
        for position in range(LENGTH):
            after = batch.changed_at(position).through(attention, **path)
            influence = (after - before).abs().amax(dim=(0, 2))
            where = f"a change at position {position} ({', '.join(path) or 'plain'})"
            require(float(influence[position]) > _INFLUENCE, f"{where} is not seen there")
            if not position:
                continue
            earlier = influence[:position]
            if attention.is_causal:
                yield close(f"{where}, seen earlier", earlier, torch.zeros_like(earlier), 0)
            else:
                seen = float(earlier.min()) > _INFLUENCE
                yield require(seen, f"{where} is not seen earlier: is_causal should be true")


def _sequences_apart(case: Case) -> Iterator[float]:
    """A sequence does not depend on the rest of its batch."""
    for dtype in TYPES:
        attention, batch = case.build(dtype=dtype), case.batch(3, LENGTH, dtype=dtype)
        together = batch.through(attention)
        mates = replace(batch, states=torch.cat([batch.states[:1], 10 * batch.states[1:]]))
        yield close("in another batch", mates.through(attention)[0], together[0], 0)
        yield alike("alone", batch.rows(0).through(attention)[0], together[0])


# --- Padding -------------------------------------------------------------------------------------


def _padding(case: Case) -> Iterator[float]:
    """Padding does not change a sequence's output, whatever it contains."""
    for dtype in TYPES:
        attention = case.build(dtype=dtype)
        sequences = [case.batch(1, n, seed=n, dtype=dtype) for n in (LENGTH, 3)]
        for side in _SIDES:
            padded, other = (case.padded(sequences, side, filler=scale) for scale in (1.0, 50.0))
            for return_weights in {False, attention.has_weights}:
                found = padded.through(attention, padded.mask(), return_weights=return_weights)
                for row, sequence in enumerate(sequences):
                    alone = sequence.through(attention)[0]
                    own = padded.is_token[row]
                    yield alike(f"padded on the {side}", found[row, own], alone)
            one, two = (x.through(attention, x.mask())[x.is_token] for x in (padded, other))
            yield close(f"other numbers in the padding on the {side}", one, two, 0)


def _nothing_to_see(case: Case) -> Iterator[float]:
    """A position that may attend to nothing outputs what is made of 0: a layer's bias."""
    attention = case.build()
    batch = case.padded([case.batch(1, n, seed=n) for n in (LENGTH, 3)], "left")
    found = batch.through(attention, batch.mask())[~batch.is_token]
    layer = getattr(attention, "out_proj", None)
    width = layer.in_features if layer else attention.hidden_size
    nothing = attention.output(batch.states.new_zeros(1, 1, width))[0].expand_as(found)
    yield close("a position without any key", found, nothing, 0)


def _gradients_under_padding(case: Case) -> Iterator[float]:
    """Gradients are finite; they reach every token but no padding."""
    for side in _SIDES:
        attention = case.build()
        batch = case.padded([case.batch(1, n, seed=n) for n in (LENGTH, 3)], side)
        states = batch.states.requires_grad_()
        batch.through(attention, batch.mask())[batch.is_token].square().sum().backward()
        assert states.grad is not None
        for name, p in [("hidden states", states), *attention.named_parameters()]:
            finite = p.grad is None or bool(p.grad.isfinite().all())
            require(finite, f"the gradient of {name} is not finite, padded on the {side}")
        of_padding = states.grad[~batch.is_token]
        yield close("the gradient of padding", of_padding, torch.zeros_like(of_padding), 0)
        reached = bool((states.grad[batch.is_token] != 0).any(dim=-1).all())
        require(reached, f"a token has no gradient, padded on the {side}")


# --- Cache ---------------------------------------------------------------------------------------


def _cache(case: Case) -> Iterator[float]:
    """Decoding in parts with a cache matches one pass; a mechanism that sees the future refuses."""
    for dtype in TYPES:
        attention, batch = case.build(dtype=dtype), case.batch(2, LENGTH, dtype=dtype)
        if not attention.is_causal:
            yield _refuses_a_cache(attention, batch)
            continue
        whole = batch.through(attention)
        for parts in ((1,) * LENGTH, (3, 1, 2), (1, LENGTH - 1)):
            cache = GrowingCache()
            steps = [part.through(attention, cache=cache) for part in batch.split(parts)]
            yield alike(f"in parts of {parts}", torch.cat(steps, dim=1), whole)


def _cache_and_padding(case: Case) -> Iterator[float]:
    """A cache works after left padding, as when generating from prompts of different lengths."""
    for dtype in TYPES:
        attention = case.build(dtype=dtype)
        if not attention.is_causal:
            yield _refuses_a_cache(attention, case.batch(1, 2, dtype=dtype))
            continue
        sequences = [case.batch(1, n, seed=n, dtype=dtype) for n in (LENGTH, 3)]
        batch = case.padded(sequences, "left")
        cache, steps, seen = GrowingCache(), [], 0
        for part in batch.split((4, 3, 1)):
            seen += part.length
            mask = batch.mask(part.length, seen)
            steps.append(part.through(attention, mask, cache=cache))
        found = torch.cat(steps, dim=1)
        for row, sequence in enumerate(sequences):
            alone = sequence.through(attention)[0]
            yield alike("with a cache and padding", found[row, batch.is_token[row]], alone)


def _refuses_a_cache(attention: Mixer, batch: Batch) -> float:
    try:
        batch.through(attention, cache=GrowingCache())
    except KetformerError:
        return 0.0
    raise MismatchError("a cache cannot hold future tokens: the mechanism must refuse it")


# --- One result, whatever the path ---------------------------------------------------------------


def _fast_and_plain(case: Case) -> Iterator[float]:
    """The fast path and the reference agree in the output and in every gradient."""
    for dtype in TYPES:
        attention = case.build(dtype=dtype)
        for size in ((1, 1), (2, LENGTH), (70, 5), (2, 70)):  # covers every path
            batch = case.batch(*size, dtype=dtype)
            for mask in (None, batch.with_gaps().mask()):
                fast = batch.outcome(attention, mask)
                plain = batch.outcome(attention, mask, return_weights=True)
                yield all_alike(f"{list(size)}, the fast path", fast, plain)


def _compiled(case: Case) -> Iterator[float]:
    """``torch.compile`` makes one graph, with and without a mask, and the results agree."""
    attention = case.build(dtype=torch.float64)
    batch = case.batch(2, LENGTH, dtype=torch.float64)
    for mask in (None, batch.mask()):
        torch.compiler.reset()  # the number of graphs per function is limited
        # Dynamo and the autograd tracer, without minutes of code generation.
        compiled = torch.compile(attention, fullgraph=True, backend="aot_eager", dynamic=False)
        expected = batch.outcome(attention, mask)
        try:
            found = batch.outcome(attention, mask, called=compiled)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise MismatchError(f"torch.compile cannot make one graph: {reason}") from None
        yield all_alike("compiled", found, expected)
        # Without gradients the autograd tracer, half of the time, has nothing to do.
        traced = torch.compile(attention, fullgraph=True, backend="eager", dynamic=False)
        with torch.inference_mode():
            output = batch.through(attention, mask, called=traced)
        yield alike("compiled, without gradients", output, expected["output"])


def _without_gradients(case: Case) -> Iterator[float]:
    """Inference mode gives the same numbers, and training works after it."""
    for dtype in TYPES:
        attention, batch = case.build(dtype=dtype), case.batch(2, LENGTH, dtype=dtype)
        with torch.inference_mode():
            found = batch.through(attention)
        expected = batch.through(attention)
        expected.sum().backward()
        yield alike("in inference mode", found, expected.detach())


def _circuits(case: Case) -> Iterator[float]:
    """Running the circuits one by one agrees with the closed form."""
    attention, batch = case.build(dtype=torch.float64), case.batch(2, 4, dtype=torch.float64)
    if not attention.has_circuits():
        return
    backend = TorchBackend()

    def expect(experiment: Experiment) -> Tensor:
        return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)

    expected = batch.through(attention)
    with measured_by(attention, expect):
        # An amplitude's angle is an arccosine, which loses half the digits near ±1.
        yield close("measured", batch.through(attention), expected, 1e-10)


def _types(case: Case) -> Iterator[float]:
    """Other float types and mixed precision agree with float32 within their precision."""
    batch, expected = case.batch(2, LENGTH), case.batch(2, LENGTH).through(case.build())
    for dtype, steps in ((torch.float64, 64), (torch.bfloat16, 8)):
        found = batch.to(dtype).through(case.build(dtype=dtype))
        require(found.dtype == dtype, f"{dtype} hidden states gave {found.dtype}")
        yield alike(
            str(dtype), found.to(torch.float32).detach(), expected.detach(), _coarse(steps, dtype)
        )
    attention = case.build()
    with torch.autocast(batch.states.device.type, torch.bfloat16):
        found = batch.through(attention)
    yield alike("mixed precision", found.float(), expected, _coarse(8, torch.bfloat16))
    found.float().sum().backward()
    for name, p in attention.named_parameters():
        finite = p.grad is not None and bool(p.grad.isfinite().all())
        require(finite, f"mixed precision: the gradient of {name} is not finite")


def _coarse(steps: float, dtype: torch.dtype) -> float:
    """Rounding steps of the coarser of this type and float32, in units of float32 steps."""
    return max(steps * torch.finfo(dtype).eps / torch.finfo(torch.float32).eps, steps)


# --- Training ------------------------------------------------------------------------------------


def _gradients(case: Case) -> Iterator[float]:
    """Every parameter has a gradient, and gradients match finite differences."""
    attention = case.build(dtype=torch.float64)
    batch = case.batch(1, 3, dtype=torch.float64)
    batch.states.requires_grad_()
    outcome = batch.outcome(attention)
    for name, _ in attention.named_parameters():
        require(name in outcome, f"{name} has no gradient")
        require(bool(outcome[name].isfinite().all()), f"the gradient of {name} is not finite")
        moves = float(outcome[name].abs().max()) > 1e-9
        require(moves, f"the gradient of {name} is 0")
    parameters = dict(attention.named_parameters())

    def output(states: Tensor, *values: Tensor) -> Any:
        replaced = dict(zip(parameters, values, strict=True))
        return functional_call(attention, replaced, states, {"tokens": batch.tokens})[0]

    try:
        gradcheck(output, (batch.states, *parameters.values()), fast_mode=True)
    except GradcheckError as error:
        raise MismatchError(f"gradients: {' '.join(str(error).split())}") from None
    yield 0.0


def _dropout(case: Case) -> Iterator[float]:
    """Dropout acts on every path, and only in training."""
    dropping, plain, batch = case.build(dropout=0.5), case.build(), case.batch(2, LENGTH)
    for return_weights in {False, plain.has_weights}:
        expected = batch.through(plain, return_weights=return_weights)
        found = batch.through(dropping.eval(), return_weights=return_weights)
        yield close("evaluation", found, expected, 0)
        dropping.train()
        first, second = (batch.through(dropping, return_weights=return_weights) for _ in range(2))
        require(not torch.equal(first, second), "dropout does nothing in training")


# --- Saving and loading --------------------------------------------------------------------------


def _saving(case: Case) -> Iterator[float]:
    """Saved weights and strings restore the same module; a copy equals it too."""
    saved, other, batch = case.build(), case.build(seed=1), case.batch(2, LENGTH)
    expected = batch.through(saved)
    require(not torch.equal(batch.through(other), expected), "another seed gives the same weights")
    other.load_state_dict(saved.state_dict())
    yield close("reloaded", batch.through(other), expected, 0)
    yield close("copied", batch.through(copy.deepcopy(other)), expected, 0)


def _loading_without_memory(case: Case) -> Iterator[float]:
    """A mechanism built on the meta device, as by ``from_pretrained``, loads saved weights.

    Everything that it needs must be saved or filled by ``reset_parameters``, which must not
    change what was loaded. It may therefore write parameters only as a whole and only with
    ``torch.nn.init``, which transformers turns off for loaded ones.
    """
    saved, batch = case.build(), case.batch(2, LENGTH)
    for parameter in saved.parameters():  # values as after training, not the initial ones
        parameter.data.mul_(1.1).add_(0.1)
    with torch.device("meta"):
        empty = replace(case, device=None).build(seed=1)
    load_as_transformers(empty, saved.state_dict())
    yield close("loaded", batch.through(empty), batch.through(saved), 0)


#: Every check; each takes a registry name, sizes and options.
CONFORMANCE: tuple[Check, ...] = tuple(
    map(
        on_case,
        (
            _causality, _sequences_apart,
            _padding, _nothing_to_see, _gradients_under_padding,
            _cache, _cache_and_padding,
            weights, forms, _fast_and_plain, _compiled, _without_gradients, _circuits, _types,
            start, _gradients, _dropout,
            _saving, _loading_without_memory,
        ),
    )
)  # fmt: skip
