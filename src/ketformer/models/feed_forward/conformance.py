"""Conformance checks for feed-forward layers, to run on your own layer as well.

:func:`check_feed_forward` runs them all. In a test file::

    @pytest.mark.parametrize("check", CONFORMANCE, ids=str)
    def test_conformance(check):
        check("mine")

The name is a registry name. Sizes and options may follow, as in ``check("mine", hidden_size=24,
n_qubits=2)``. Numbers computed in two ways may differ by what
:func:`~ketformer.utils.conformance.rounding` allows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.func import functional_call

from ketformer.attention._trials import LENGTH, TYPES, load_as_transformers
from ketformer.models.feed_forward.base import FeedForward
from ketformer.models.feed_forward.registry import build_feed_forward
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

__all__ = ["CONFORMANCE", "Check", "Finding", "MismatchError", "check_feed_forward"]


def check_feed_forward(name: str, *, hidden_size: int = 16, **options: Any) -> list[Finding]:
    """Run every conformance check on a feed-forward layer.

    Args:
        name: a registry name.
        hidden_size: width of the model.
        **options: ``intermediate_size``, ``hidden_act`` and options of the layer.

    Returns:
        One finding per check; an error raised by the layer is also a finding.
    """
    return findings(CONFORMANCE, name, hidden_size=hidden_size, **options)


def _layer(
    name: str,
    *,
    hidden_size: int = 16,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **how: Any,
) -> FeedForward:
    """A new layer in evaluation mode; a seed gives the same one in every type."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_feed_forward(name, hidden_size, **how).to(dtype).eval()


def _states(layer: FeedForward, batch: int = 2) -> Tensor:
    """Hidden states ``[batch, T, hidden_size]`` in the layer's type."""
    shape = batch, LENGTH, layer.hidden_size
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return drawn.to(next(layer.parameters()).dtype)


def _outcome(layer: FeedForward, states: Tensor, called: Any = None) -> dict[str, Tensor]:
    """The output, and gradients of a scalar made from it."""
    layer.zero_grad()
    states = states.detach().clone().requires_grad_()
    output = (layer if called is None else called)(states)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
    (output * weight.to(output)).mean().backward()
    named = {"hidden states": states, **dict(layer.named_parameters())}
    gradients = {name: t.grad for name, t in named.items() if t.grad is not None}
    return {"output": output.detach(), **gradients}


def _positions_apart(name: str, **how: Any) -> Iterator[float]:
    """A position changes its own output and no other: otherwise a decoder would see the future."""
    layer = _layer(name, **how).requires_grad_(False)
    states = _states(layer)
    before = layer(states)
    require(before.shape == states.shape, f"the output has shape {list(before.shape)}")
    for position in range(LENGTH):
        changed = states.clone()
        changed[0, position] = 1 - 2 * changed[0, position]
        influence = (layer(changed) - before).abs().amax(dim=-1)
        where = f"a change at position {position}"
        require(float(influence[0, position]) > 0, f"{where} is not seen there")
        influence[0, position] = 0
        yield close(f"{where}, seen elsewhere", influence, torch.zeros_like(influence), 0)
    parts = torch.cat([layer(part) for part in states.split((1, 3, 2), dim=1)], dim=1)
    yield alike("in parts, as with a cache", parts, before)


def _compiled(name: str, **how: Any) -> Iterator[float]:
    """``torch.compile`` makes one graph, and the results agree."""
    layer = _layer(name, dtype=torch.float64, **how)
    states = _states(layer)
    expected = _outcome(layer, states)
    torch.compiler.reset()  # the number of graphs per function is limited
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=False)
    try:
        found = _outcome(layer, states, compiled)
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise MismatchError(f"torch.compile cannot make one graph: {reason}") from None
    yield all_alike("compiled", found, expected)


def _without_gradients(name: str, **how: Any) -> Iterator[float]:
    """Inference mode gives the same numbers, and training works after it."""
    for dtype in TYPES:
        layer = _layer(name, dtype=dtype, **how)
        states = _states(layer)
        with torch.inference_mode():
            found = layer(states)
        expected = layer(states)
        expected.sum().backward()
        yield alike("in inference mode", found, expected.detach())


def _types(name: str, **how: Any) -> Iterator[float]:
    """Other float types and mixed precision agree with float32 within their precision."""
    layer = _layer(name, **how)
    states = _states(layer)
    expected = layer(states).detach()
    wide = _layer(name, dtype=torch.float64, **how)(states.double())
    require(wide.dtype == torch.float64, f"float64 hidden states gave {wide.dtype}")
    yield alike("float64", wide.float().detach(), expected)
    coarse = 8 * torch.finfo(torch.bfloat16).eps / torch.finfo(torch.float32).eps
    narrow = _layer(name, dtype=torch.bfloat16, **how)(states.bfloat16())
    require(narrow.dtype == torch.bfloat16, f"bfloat16 hidden states gave {narrow.dtype}")
    yield alike("bfloat16", narrow.float().detach(), expected, coarse)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(states)
    yield alike("mixed precision", found.float().detach(), expected, coarse)
    found.float().sum().backward()
    for key, p in layer.named_parameters():
        finite = p.grad is not None and bool(p.grad.isfinite().all())
        require(finite, f"mixed precision: the gradient of {key} is not finite")


def _gradients(name: str, **how: Any) -> Iterator[float]:
    """Every parameter has a gradient, and gradients match finite differences."""
    layer = _layer(name, dtype=torch.float64, **how)
    states = _states(layer, batch=1)
    outcome = _outcome(layer, states)
    parameters = dict(layer.named_parameters())
    for key in parameters:
        require(key in outcome, f"{key} has no gradient")
        moves = float(outcome[key].abs().max()) > 1e-9
        require(moves, f"the gradient of {key} is 0 or is no number")

    def output(states: Tensor, *values: Tensor) -> Any:
        return functional_call(layer, dict(zip(parameters, values, strict=True)), states)

    try:
        gradcheck(output, (states.requires_grad_(), *parameters.values()), fast_mode=True)
    except GradcheckError as error:
        raise MismatchError(f"gradients: {' '.join(str(error).split())}") from None
    yield 0.0


def _dropout(name: str, **how: Any) -> Iterator[float]:
    """Dropout acts only in training."""
    dropping, plain = _layer(name, dropout=0.5, **how), _layer(name, **how)
    states = _states(plain)
    yield close("evaluation", dropping(states), plain(states), 0)
    dropping.train()
    require(not torch.equal(dropping(states), dropping(states)), "dropout does nothing in training")


def _saving(name: str, **how: Any) -> Iterator[float]:
    """Saved weights restore the same layer, also one built on the meta device; a copy equals it."""
    saved, other = _layer(name, **how), _layer(name, seed=1, **how)
    states = _states(saved)
    require(not torch.equal(other(states), saved(states)), "another seed gives the same weights")
    other.load_state_dict(saved.state_dict())
    yield close("reloaded", other(states), saved(states), 0)
    yield close("copied", copy.deepcopy(other)(states), saved(states), 0)
    with torch.device("meta"):
        empty = _layer(name, seed=1, **how)
    load_as_transformers(empty, saved.state_dict())
    yield close("loaded", empty(states), saved(states), 0)


#: Every check; each takes a registry name, sizes and options.
CONFORMANCE: tuple[Check, ...] = tuple(
    Check(body.__name__.strip("_"), body)
    for body in (
        _positions_apart, _compiled, _without_gradients, _types, _gradients, _dropout, _saving,
    )
)  # fmt: skip
