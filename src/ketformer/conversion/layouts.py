"""What is known of each architecture: where its attention is, its sizes, and its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ketformer.attention import InputSizes
from ketformer.conversion.names import ARCHITECTURES, original_type
from ketformer.errors import KetformerError

Linear = tuple[Tensor, Tensor | None]


class Weights(NamedTuple):
    """The linear maps of an attention, each a weight ``[out, in]`` and a bias ``[out]`` or None.

    Rows of queries, keys and values are ordered by head.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear


@dataclass(frozen=True)
class Layout:
    """Where an architecture keeps its attention, and how it calls it.

    Attributes:
        blocks: path of the list of blocks in the causal model.
        attention: attribute of a block.
        weights: reads the maps of an attention of its own.
        returns_list: the block expects a list, with the weights only when it asks for them.
    """

    blocks: str
    attention: str
    weights: Callable[[Any], Weights]
    returns_list: bool = False


def _fused(attention: Any) -> Weights:
    """``c_attn`` and ``c_proj``, whose weights are transposed."""
    query, key, value = attention.c_attn.weight.mT.chunk(3)
    biases = attention.c_attn.bias.chunk(3)
    output = attention.c_proj.weight.mT, attention.c_proj.bias
    return Weights((query, biases[0]), (key, biases[1]), (value, biases[2]), output)


def _interleaved(attention: Any) -> Weights:
    """``query_key_value``: the query, key and value of the first head, then of the next."""
    fused, width = attention.query_key_value, attention.head_size

    def part(which: int) -> Linear:
        weight = fused.weight.unflatten(0, (-1, 3, width))[:, which].flatten(0, 1)
        if fused.bias is None:
            return weight, None
        return weight, fused.bias.unflatten(0, (-1, 3, width))[:, which].flatten()

    return Weights(part(0), part(1), part(2), (attention.dense.weight, attention.dense.bias))


def _separate(attention: Any) -> Weights:
    maps = (getattr(attention, f"{name}_proj") for name in "qkvo")
    return Weights(*((linear.weight, linear.bias) for linear in maps))


_LLAMA = Layout("model.layers", "self_attn", _separate)
LAYOUTS = {
    "openai-gpt": Layout("transformer.h", "attn", _fused, returns_list=True),
    "gpt2": Layout("transformer.h", "attn", _fused),
    "gpt_neox": Layout("gpt_neox.layers", "attention", _interleaved),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}


class Sizes(NamedTuple):
    """Sizes of an attention, and how it knows positions."""

    hidden: int
    heads: int
    key_value_heads: int
    head_dim: int
    dropout: float
    output_dropout: float
    inputs: InputSizes | None


def layout_of(model: nn.Module) -> Layout:
    """The layout of a causal language model, converted or not.

    Raises:
        KetformerError: an architecture, or a form of it, that isn't known.
    """
    config: Any = getattr(model, "config", None)
    model_type = original_type(str(getattr(config, "model_type", "")))
    known = ARCHITECTURES.get(model_type)
    name = type(model).__name__
    if known is None or name.removeprefix("Ketformer") != known[1]:
        offered = ", ".join(causal for _, causal in ARCHITECTURES.values())
        raise KetformerError(f"{name} cannot be converted, only {offered}")
    if getattr(config, "add_cross_attention", False):
        raise KetformerError(f"{name} with cross-attention cannot be converted")
    return LAYOUTS[model_type]


def sizes_of(config: Any) -> Sizes:
    """The sizes of the attention that a configuration describes."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    rotary = getattr(config, "rope_parameters", None)
    inputs = None  # positions are in the embeddings, which is nothing to an attention
    if rotary is not None:
        inputs = InputSizes(
            config.vocab_size,
            config.max_position_embeddings,
            positions="rotary",
            rotary_base=float(rotary["rope_theta"]),
        )
    dropout = getattr(config, "attn_pdrop", None)
    return Sizes(
        hidden,
        heads,
        getattr(config, "num_key_value_heads", None) or heads,
        getattr(config, "head_dim", None) or hidden // heads,
        float(getattr(config, "attention_dropout", 0.0) if dropout is None else dropout),
        float(getattr(config, "resid_pdrop", 0.0)),
        inputs,
    )


def beyond_classical(config: Any) -> str | None:
    """What ``classical`` cannot express of an architecture's own attention, or None."""
    sizes = sizes_of(config)
    rotary = getattr(config, "rope_parameters", None) or {}
    if sizes.head_dim * sizes.heads != sizes.hidden:
        return f"heads of width {sizes.head_dim} in a model of width {sizes.hidden}"
    if original_type(config.model_type) == "qwen3":
        return "normalised queries and keys"
    if rotary.get("rope_type", "default") != "default":
        return f"rotary positions of type {rotary['rope_type']}"
    if rotary.get("partial_rotary_factor", 1.0) != 1.0:
        return "rotary positions of a part of each head"
    if not getattr(config, "scale_attn_weights", True) or getattr(
        config, "scale_attn_by_inverse_layer_idx", False
    ):
        return "another scale of the scores"
    return None


def per_head(linear: Linear, repeats: int, head_dim: int) -> Linear:
    """Rows of each key-value head, repeated for each query head that it serves."""
    weight, bias = (
        None
        if part is None
        else part.unflatten(0, (-1, head_dim)).repeat_interleave(repeats, 0).flatten(0, 1)
        for part in linear
    )
    assert isinstance(weight, torch.Tensor)
    return weight, bias
