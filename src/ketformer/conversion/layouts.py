"""What is known of each architecture: where its attention is, its sizes, and its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

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


def _linear(attention: Any, name: str) -> Linear:
    """One of its maps, as ``[out, in]`` and ``[out]``."""
    linear = getattr(attention, name)
    if type(linear) not in (nn.Linear, Conv1D):
        raise KetformerError(
            f"{name} of an attention is a {type(linear).__name__}; convert a model before it is "
            "quantised, and with its adapters merged (merge_and_unload)"
        )
    weight = linear.weight.mT if isinstance(linear, Conv1D) else linear.weight
    return weight, linear.bias


def _thirds(linear: Linear, heads: int) -> Iterator[Linear]:
    """The queries', keys' and values' rows of a fused map that has them ``heads`` times."""
    weight, bias = linear
    for which in range(3):
        rows = weight.unflatten(0, (heads, 3, -1))[:, which].flatten(0, 1)
        yield rows, None if bias is None else bias.unflatten(0, (heads, 3, -1))[:, which].flatten()


def _fused(attention: Any) -> Weights:
    """All queries, then all keys, then all values."""
    query, key, value = _thirds(_linear(attention, "c_attn"), 1)
    return Weights(query, key, value, _linear(attention, "c_proj"))


def _interleaved(attention: Any) -> Weights:
    """The query, key and value of the first head, then those of the next."""
    heads = attention.config.num_attention_heads
    query, key, value = _thirds(_linear(attention, "query_key_value"), heads)
    return Weights(query, key, value, _linear(attention, "dense"))


def _separate(attention: Any) -> Weights:
    return Weights(*(_linear(attention, f"{name}_proj") for name in "qkvo"))


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
