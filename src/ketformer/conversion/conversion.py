"""Replacing the self-attention of a Hugging Face model by mechanisms of the registry."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from ketformer.attention import ATTENTION, attention_class
from ketformer.attention.checks import require_choice
from ketformer.conversion.layouts import Layout, Weights, beyond_classical, layout_of
from ketformer.conversion.names import ARCHITECTURES, original_type
from ketformer.errors import KetformerError
from ketformer.models.configuration import check_attn_implementation

if TYPE_CHECKING:
    from ketformer.conversion.models import ConvertedModel

Init = Literal["distill", "random"]


def convert(
    model: nn.Module,
    attention: str | Sequence[str] = "overlap",
    layers: Literal["all"] | Sequence[int] = "all",
    init: Init = "random",
    *,
    attention_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> ConvertedModel:
    """A copy of a causal language model in which mechanisms replace the self-attention.

    Args:
        model: OpenAI-GPT, GPT-2, GPT-NeoX, Llama, Mistral, Qwen2 or Qwen3 with its language model
            head, or a converted one of which other layers are to be converted. It is left as it
            is.
        attention: a name in the registry, see ``ketformer.ATTENTION``, or one for each layer in
            ``layers``. ``classical`` takes over all weights; where it cannot express the
            architecture's own attention, and has no options, the layer stays as it is.
        layers: numbers of the layers, from 0.
        init: what the new attentions start from.
        attention_options: options of the mechanisms.
        **options: the same, for options whose names are no arguments of this function.

    Raises:
        KetformerError: a model, mechanism, option or layer that cannot be had.
    """
    layout = layout_of(model)
    require_choice("init", init, get_args(Init))
    config: Any = model.config
    check_attn_implementation(config._attn_implementation)
    numbers = _numbers(layers, config.num_hidden_layers)
    chosen = [attention] * len(numbers) if isinstance(attention, str) else list(attention)
    if len(chosen) != len(numbers):
        raise KetformerError(f"{len(chosen)} mechanisms for {len(numbers)} layers")
    options = {**(attention_options or {}), **options}
    converted = _copy(model)
    weights = _weights(converted, layout, numbers)
    specs = _specs(config, chosen, options, weights)
    converted.replace_attentions(specs)
    for number, module in converted.converted().items():
        if str(number) in specs:
            module.carry_over(weights[number])
    config = converted.config
    config.converted_layers = {**(config.converted_layers or {}), **specs}
    return converted


def _numbers(layers: Literal["all"] | Sequence[int], count: int) -> list[int]:
    if isinstance(layers, str):
        require_choice("layers", layers, ("all",))
        return list(range(count))
    if not layers:
        raise KetformerError("layers is empty: name at least one, or all")
    for number in layers:
        if not (isinstance(number, int) and 0 <= number < count):
            raise KetformerError(f"there is no layer {number}; the model has 0 to {count - 1}")
    if len(set(layers)) < len(layers):
        raise KetformerError("layers names one twice")
    return list(layers)


def _copy(model: Any) -> ConvertedModel:
    """A copy of the model, of the class that converted models of its architecture have."""
    copied: Any = copy.deepcopy(model)
    prefix, causal = ARCHITECTURES[original_type(copied.config.model_type)]
    classes = import_module("ketformer.conversion.models")
    # Every module of the copy refers to this one configuration: it changes its class in place, and
    # so does the model, which keeps what a new one would not have, such as its device and hooks.
    copied.config.__class__ = getattr(classes, f"Ketformer{prefix}Config")
    copied.__class__ = getattr(classes, f"Ketformer{causal}")
    converted: ConvertedModel = copied
    return converted


def _weights(model: nn.Module, layout: Layout, numbers: Sequence[int]) -> dict[int, Weights]:
    from ketformer.conversion.attention import ConvertedAttention

    found = {}
    for number in numbers:
        old = model.get_submodule(f"{layout.blocks}.{number}.{layout.attention}")
        if isinstance(old, ConvertedAttention):
            name = type(old.mechanism).__name__
            raise KetformerError(
                f"layer {number} is already converted to {name}; start from before"
            )
        found[number] = layout.weights(old)
    return found


def _specs(
    config: Any, chosen: Sequence[str], options: Mapping[str, Any], weights: Mapping[int, Weights]
) -> dict[str, dict[str, Any]]:
    """What replaces each layer, see :class:`ConvertedConfig`."""
    specs, kept = {}, []
    unlike = beyond_classical(config)
    for name, (number, maps) in zip(chosen, weights.items(), strict=True):
        attention_class(name)  # refuses an unknown name
        if name == "classical" and unlike and not options:
            kept.append(number)
            continue
        has_bias = any(bias is not None for _, bias in maps[:3])
        specs[str(number)] = {
            "attention": name,
            "options": dict(options),
            "bias": True if name == "classical" and has_bias else None,
        }
        if package := ATTENTION.package_of(name):
            specs[str(number)]["package"] = package
    if kept:
        listed = ", ".join(map(str, kept))
        warnings.warn(
            f"layers kept as they are: {listed}. Their attention is classical, with {unlike}, "
            "which `classical` does not have",
            stacklevel=3,
        )
    return specs
