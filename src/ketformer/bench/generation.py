"""``bench generation``: text and molecules, against transformers' GPT-2 with its cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from ketformer.attention.registry import causal_mechanisms
from ketformer.bench.machine import timed_machine
from ketformer.bench.sizes import GENERATION_SIZES, GenerationSize
from ketformer.conversion import convert
from ketformer.errors import KetformerError
from ketformer.generation.continuation import continue_tokens
from ketformer.generation.decoding import sample_sequences
from ketformer.models import KetformerConfig, KetformerForCausalLM, preset
from ketformer.utils.progress import Bars
from ketformer.utils.timing import bench_device, compared, finished, interleaved

GPT2 = "GPT-2 of transformers"
#: Mechanisms to which that GPT-2 is also converted, where they are among those timed.
CONVERTED = ("classical", "qisa", "overlap")
_MOLECULES = "overlap-qm9-deep"
# The special tokens of a molecule model, and nine conditions, all left unknown.
_PAD, _BOS, _EOS, _CONDITIONS = 0, 1, 2, 9


def bench_generation(
    mechanisms: Sequence[str] | None = None,
    *,
    sizes: Sequence[GenerationSize] = tuple(GENERATION_SIZES.values()),
    repeats: int = 5,
    progress: bool = True,
) -> dict[str, Any]:
    """Time sampling with the KV cache, taking turns with a GPT-2 of equal size.

    That GPT-2 is also timed after its conversion, see :func:`~ketformer.convert`: the same
    ``generate`` and cache, with another attention.

    GPT-2 has the same width, blocks, heads, vocabulary and context, runs on the fused
    kernel, and generates through transformers' ``generate`` with its own cache. Every token
    is sampled from the whole distribution. Weights are random, so no row may end early: all
    rows have full length, and for molecules the end token is never sampled.

    Args:
        mechanisms: registry names of causal mechanisms, all of them by default. For
            molecules, the mechanism of ``overlap-qm9-deep`` gets the options of that preset.
        sizes: sizes of models and batches.
        repeats: timings of each; the median counts.
        progress: show bars on standard error.

    Returns:
        ``rows``: each with ``name``, ``work``, ``ratio`` of its time to ``against``'s,
        ``median_ms``, ``low_ms``, ``high_ms``, ``tokens_per_second``,
        ``molecules_per_second`` (None for text), ``parameters`` and ``device``; ``machine``.

    Raises:
        KetformerError: a mechanism is unknown or not causal.
    """
    if repeats < 1:
        raise KetformerError(f"repeats must be positive, got {repeats}")
    names = causal_mechanisms() if mechanisms is None else mechanisms
    device = bench_device()
    rows = []
    with Bars(progress, "round") as bars:
        for size in sizes:
            models = {GPT2: _gpt2(size), **{name: _model(name, size) for name in names}}
            for name in CONVERTED:
                if name in names:
                    models[f"{GPT2}, converted to {name}"] = _converted(name, size)
            timed = {
                name: finished(_writing(model.to(device).eval(), size), device)
                for name, model in models.items()
            }
            work = f"{size.name}, {size.new} tokens"
            seconds = interleaved(timed, repeats, bars(work), f"generation {work}")
            for row in compared(seconds, GPT2, work, str(device)):
                a_second = 1000 * size.batch / row["median_ms"]
                row["tokens_per_second"] = a_second * size.new
                row["molecules_per_second"] = a_second if size.task == "molecules" else None
                row["parameters"] = models[row["name"]].num_parameters()
                rows.append(row)
    return {"rows": rows, "repeats": repeats, "machine": timed_machine()}


def _gpt2(size: GenerationSize) -> Any:
    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.prompt + size.new,
        n_embd=size.hidden_size,
        n_layer=size.num_layers,
        n_head=size.num_heads,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(config)


def _converted(name: str, size: GenerationSize) -> Any:
    original = _gpt2(size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return convert(original, name, init="random", attention_options=_options(name, size))


def _options(name: str, size: GenerationSize) -> dict[str, Any] | None:
    like = preset(_MOLECULES)["model"]
    molecules = size.task == "molecules" and name == like["attention"]
    return like["attention_options"] if molecules else None


def _model(name: str, size: GenerationSize) -> KetformerForCausalLM:
    special: dict[str, Any] = {}
    if size.task == "molecules":
        special = {
            "bos_token_id": _BOS,
            "eos_token_id": _EOS,
            "pad_token_id": _PAD,
            "condition_names": [f"property {i}" for i in range(_CONDITIONS)],
            "condition_means": [0.0] * _CONDITIONS,
            "condition_stds": [1.0] * _CONDITIONS,
        }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = KetformerConfig(
            attention=name,
            vocab_size=size.vocab_size,
            hidden_size=size.hidden_size,
            num_hidden_layers=size.num_layers,
            num_attention_heads=size.num_heads,
            attention_options=_options(name, size),
            # A molecule's context does not count the begin token.
            max_position_embeddings=size.new + (size.prompt if size.task == "text" else 0),
            **special,
        )
        model = KetformerForCausalLM(config)
    if not model.is_causal:
        raise KetformerError(f"{name} sees the future, so it has no cache to time")
    return model


def _writing(model: Any, size: GenerationSize) -> Callable[[], Any]:
    """A function that generates one batch, tokens ``[batch, new]``."""
    prompt = torch.randint(
        3, size.vocab_size, (size.batch, size.prompt), generator=torch.Generator().manual_seed(0)
    ).to(model.device)
    if isinstance(model, GPT2LMHeadModel):
        return lambda: model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=size.new,
            do_sample=True,
            top_k=0,
            pad_token_id=_PAD,
        )[:, size.prompt :]
    if size.task == "text":
        return lambda: continue_tokens(model, prompt, size.new, do_sample=True)
    generator = torch.Generator(model.device).manual_seed(0)
    unknown = torch.full((size.batch, _CONDITIONS), torch.nan, device=model.device)
    return lambda: sample_sequences(
        model, size.batch, generator=generator, conditions=unknown, never=[_PAD, _BOS, _EOS]
    )
