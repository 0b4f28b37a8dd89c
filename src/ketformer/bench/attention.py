"""``bench attention``: every mechanism against classical attention, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ketformer.attention.options import listed_options
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.bench.machine import timed_machine
from ketformer.bench.sizes import ATTENTION_SIZES, AttentionSize
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.utils.progress import Bars
from ketformer.utils.timing import bench_device, compared, finished, interleaved

_AGAINST = "classical"
_VOCABULARY = 65


def bench_attention(
    mechanisms: Sequence[str] | None = None,
    *,
    sizes: Sequence[AttentionSize] = tuple(ATTENTION_SIZES.values()),
    repeats: int = 5,
    compiled: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Time whole models that differ only in their attention, taking turns.

    ``classical`` runs on the fused kernel. Inference is a forward pass without a cache, a
    training step a forward and a backward pass.

    Args:
        mechanisms: registry names, with options as in ``overlap:entanglement=none`` if wanted; by
            default all mechanisms with circuits, leaky ones included. ``classical`` is always
            added.
        sizes: sizes of models and batches.
        repeats: timings of each; the median counts.
        compiled: run every model through ``torch.compile``, as one graph.
        progress: show bars on standard error.

    Returns:
        ``compiled``; ``rows``: each with ``name``, ``work``, ``ratio`` of its time to
        ``against``'s, ``median_ms``, ``low_ms``, ``high_ms``, ``parameters`` and ``device``;
        ``machine``.

    Raises:
        KetformerError: a mechanism is unknown, or code generation fails on this machine.
    """
    if repeats < 1:
        raise KetformerError(f"repeats must be positive, got {repeats}")
    names = mechanisms_with_circuits() if mechanisms is None else mechanisms
    device = bench_device()
    rows = []
    with Bars(progress, "round") as bars:
        for size in sizes:
            inputs = {name: tensor.to(device) for name, tensor in _inputs(size).items()}
            models = {
                name: _model(name, size).to(device) for name in dict.fromkeys((_AGAINST, *names))
            }
            for what in ("inference", "training step"):
                torch.compiler.reset()  # its cache holds few graphs per function
                timed = {name: _work(m, inputs, what, compiled) for name, m in models.items()}
                work = f"{what}, {size.name}"
                try:
                    seconds = interleaved(timed, repeats, bars(work), f"attention {work}")
                except RuntimeError as error:
                    if not compiled or isinstance(error, torch.OutOfMemoryError):
                        raise
                    raise KetformerError(
                        f"torch.compile fails on this machine ({_reason(error)}); "
                        "pass --compiled false"
                    ) from error
                for row in compared(seconds, _AGAINST, work, str(device)):
                    row["parameters"] = models[row["name"]].num_parameters()
                    rows.append(row)
    return {
        "rows": rows,
        "compiled": compiled,
        "repeats": repeats,
        "machine": timed_machine(),
    }


def _model(name: str, size: AttentionSize) -> KetformerForCausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = KetformerConfig(
            attention=name.partition(":")[0],
            attention_options=listed_options(name),
            vocab_size=_VOCABULARY,
            hidden_size=size.hidden_size,
            num_hidden_layers=size.num_layers,
            num_attention_heads=size.num_heads,
            max_position_embeddings=size.context,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            condition_names=[f"c{i}" for i in range(size.conditions)] or None,
            condition_means=[0.0] * size.conditions or None,
            condition_stds=[1.0] * size.conditions or None,
        )
        return KetformerForCausalLM(config)


def _inputs(size: AttentionSize) -> dict[str, Tensor]:
    """Random tokens; with conditions, also random values and lengths from half to full."""
    ids = torch.randint(_VOCABULARY, (size.batch, size.context))
    if not size.conditions:
        return {"input_ids": ids}
    lengths = torch.randint(size.context // 2, size.context + 1, (size.batch, 1))
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(size.context) < lengths).long(),
        "conditions": torch.randn(size.batch, size.conditions),
    }


def _work(
    model: KetformerForCausalLM, inputs: dict[str, Tensor], what: str, compiled: bool
) -> Callable[[], None]:
    model = model.eval() if what == "inference" else model.train()
    call = torch.compile(model, fullgraph=True, dynamic=False) if compiled else model
    ids = inputs["input_ids"]

    def inference() -> None:
        with torch.inference_mode():
            call(**inputs, use_cache=False)

    def step() -> None:
        model.zero_grad()
        logits = call(**inputs, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.mT, ids).backward()

    return finished(inference if what == "inference" else step, ids.device)


def _reason(error: Exception) -> str:
    """The first lines of a compiler error; the rest is source code and a traceback."""
    return " ".join(str(error).strip().splitlines()[:2]) or type(error).__name__
