"""Replacing the self-attention of a Hugging Face model by mechanisms of the registry."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn

from ketformer.attention import ATTENTION, attention_class
from ketformer.attention.ansatz import as_plain_options
from ketformer.attention.checks import require_choice
from ketformer.conversion import models
from ketformer.conversion.attention import ConvertedAttention
from ketformer.conversion.distill import Distillation, calibration_rows, distill
from ketformer.conversion.layouts import Layout, Weights, beyond_classical, layout_of
from ketformer.conversion.names import class_names
from ketformer.errors import KetformerError
from ketformer.models.configuration import check_attn_implementation
from ketformer.utils.choices import Init


def convert(
    model: nn.Module,
    attention: str | Sequence[str] = "overlap",
    layers: Literal["all"] | Sequence[int] = "all",
    init: Init = "distill",
    *,
    calibration: str | Tensor | Sequence[int] | None = None,
    tokenizer: Any = None,
    distillation: Distillation | None = None,
    attention_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> models.ConvertedModel:
    """A copy of a causal language model in which mechanisms replace the self-attention.

    Args:
        model: OpenAI-GPT, GPT-2, GPT-NeoX, Llama, Mistral, Qwen2 or Qwen3 with its language model
            head, or a converted one of which other layers are to be converted. It is left as it
            is.
        attention: a name in the registry, see ``ketformer.ATTENTION``, or one for each layer in
            ``layers``. ``classical`` takes over all weights; where it cannot express the
            architecture's own attention, and has no options, the layer stays as it is.
        layers: numbers of the layers, from 0.
        init: ``random``, with the linear values and the output layer of the old attention where
            the mechanism has the like; or ``distill``, from there fitted to the old attention's
            outputs on a calibration text (:mod:`ketformer.conversion.distill`).
        calibration: for ``distill``, a text, its token ids, or rows of ids ``[rows, T]``; some
            ten thousand tokens of what the model is meant for.
        tokenizer: the model's, for a text.
        distillation: how the attentions are fitted; None for the defaults.
        attention_options: options of the mechanisms.
        **options: the same, for options whose names are no arguments of this function.

    Returns:
        The converted model. Its attribute ``conversion`` says what was done: ``layers``, the
        mechanism of each converted one; ``kept``, those that stayed as they are; and
        ``distillation``, see :func:`~ketformer.conversion.distill.distill`, or None.

    Raises:
        KetformerError: a model, mechanism, option, layer or calibration text that cannot be had.
    """
    layout = layout_of(model)
    require_choice("init", init, get_args(Init))
    config: Any = model.config
    check_attn_implementation(config._attn_implementation)
    numbers = _numbers(layers, config.num_hidden_layers)
    chosen = [attention] * len(numbers) if isinstance(attention, str) else list(attention)
    if len(chosen) != len(numbers):
        raise KetformerError(f"{len(chosen)} mechanisms for {len(numbers)} layers")
    options = as_plain_options({**(attention_options or {}), **options})
    weights = _weights(model, layout, numbers)
    specs, unlike = _specs(config, chosen, options, weights)
    # `classical` without options is exactly what was there.
    fitted = [int(i) for i, spec in specs.items() if options or spec["attention"] != "classical"]
    rows, how = None, distillation or Distillation()
    if init == "distill" and fitted:
        if calibration is None:
            raise KetformerError('init="distill" needs a calibration text; or pass init="random"')
        rows = calibration_rows(calibration, tokenizer, config, how.context)
    converted = _copy(model)
    converted.replace_attentions(specs)
    new = {int(i): spec["attention"] for i, spec in specs.items()}
    for number in new:
        converted.converted()[number].carry_over(weights[number])
    known = converted.config.converted_layers or {}
    converted.config.converted_layers = {**known, **specs}
    kept = sorted(set(numbers) - set(new))
    if kept:
        warnings.warn(
            f"layers kept as they are: {', '.join(map(str, kept))}. Their attention is classical, "
            f"with {unlike}, which `classical` does not have",
            stacklevel=2,
        )
    report = None if rows is None else distill(model, converted, layout, fitted, rows, how)
    converted.conversion = {"layers": new, "kept": kept, "distillation": report}
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


def _copy(model: Any) -> models.ConvertedModel:
    """A copy of the model, of the class that converted models of its architecture have."""
    copied: Any = copy.deepcopy(model)
    config, causal = class_names(copied.config.model_type)
    # Every module of the copy refers to this one configuration: it changes its class in place, and
    # so does the model, which keeps what a new one would not have, such as its device and hooks.
    copied.config.__class__ = getattr(models, config)
    copied.config.auto_map = copied.config.own_auto_map()
    copied.__class__ = getattr(models, causal)
    converted: models.ConvertedModel = copied
    return converted


def _weights(model: nn.Module, layout: Layout, numbers: Sequence[int]) -> dict[int, Weights]:
    found = {}
    for number in numbers:
        old = model.get_submodule(f"{layout.blocks}.{number}.{layout.attention}")
        if isinstance(old, ConvertedAttention):
            raise KetformerError(
                f"layer {number} is already converted, to {type(old.mechanism).__name__}; convert "
                "the original model"
            )
        found[number] = layout.weights(old)
    return found


def _specs(
    config: Any, chosen: Sequence[str], options: Mapping[str, Any], weights: Mapping[int, Weights]
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """What replaces each layer, see :class:`ConvertedConfig`; and why others stay, or None."""
    specs: dict[str, dict[str, Any]] = {}
    unlike = beyond_classical(config)
    for name, (number, maps) in zip(chosen, weights.items(), strict=True):
        attention_class(name)  # refuses an unknown name
        if name == "classical" and unlike and not options:
            continue
        has_bias = any(bias is not None for _, bias in maps[:3])
        specs[str(number)] = {
            "attention": name,
            "options": dict(options),
            "bias": True if name == "classical" and has_bias else None,
        }
        if package := ATTENTION.package_of(name):
            specs[str(number)]["package"] = package
    return specs, unlike
