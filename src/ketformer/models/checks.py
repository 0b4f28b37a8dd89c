"""Checks that a model fits this machine and that its weights are valid."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from torch import nn

from ketformer.attention import attention_class
from ketformer.attention.checks import BYTES_PER_GATE
from ketformer.attention.observables import PauliObservables
from ketformer.errors import KetformerError
from ketformer.models.configuration import KetformerConfig
from ketformer.utils.machine import machine_memory

# Python objects for the modules of a block.
_BYTES_PER_BLOCK = 1 << 16


def least_parameters(config: KetformerConfig) -> int:
    """Parameters it has at least: tables, feed-forward layers and weights for the context."""
    width, inner = config.hidden_size, config.intermediate_size or 0
    tables = config.vocab_size * (1 if config.tie_word_embeddings else 2)
    if config.positions == "learned":
        tables += config.max_position_embeddings
    longest = config.max_position_embeddings
    of_context = sum(
        layers * attention_class(name).weights_of_context(width, longest)
        for name, layers in config.layer_counts.items()
    )
    return width * tables + config.num_hidden_layers * 2 * width * inner + of_context


def check_memory(config: KetformerConfig) -> None:
    """Refuse a model whose weights alone are larger than the memory of this machine.

    Raises:
        KetformerError: naming the memory needed and the memory available.
    """
    layers = {name: options.get("layers") or 0 for name, options in config.mechanisms.items()}
    deep = sum(n * layers[name] for name, n in config.layer_counts.items())
    deep += config.num_hidden_layers * ((config.feed_forward_options or {}).get("layers") or 0)
    needed = 4 * least_parameters(config) + config.num_hidden_layers * _BYTES_PER_BLOCK
    needed += BYTES_PER_GATE * deep
    if needed > (there := machine_memory()):
        raise KetformerError(
            f"this model would need at least {_gib(needed)} of memory; this machine has "
            f"{_gib(there)}"
        )


def complaint_about_weights(model: nn.Module) -> str | None:
    """What is wrong with the first bad tensor (NaN, infinity, invalid Pauli codes), or None."""
    for name, tensor in sorted(model.state_dict().items()):
        if not tensor.isfinite().all():
            return f"{name} holds NaN or infinity"
        if name.endswith(".codes") and not ((tensor >= 0) & (tensor < 4)).all():
            return f"{name} holds invalid Pauli codes"
    return None


def check_loaded(model: nn.Module, info: Mapping[str, Any], needed: Set[str]) -> None:
    """Refuse saved weights that lack some of those needed, and prepare drawn Pauli strings.

    Args:
        model: the model, loaded.
        info: what transformers says of the loading.
        needed: names of tensors that transformers could only make up.

    Raises:
        KetformerError: naming what is missing, invalid, or of another shape.
    """
    unusable = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    if lacking := sorted(unusable & needed):
        what = "the Pauli strings " if lacking[0].endswith(".codes") else ""
        raise KetformerError(f"the saved weights lack {what}{lacking[0]}")
    for name, module in model.named_modules():
        if isinstance(module, PauliObservables) and not module.codes.is_meta:
            if not ((module.codes >= 0) & (module.codes < 4)).all():
                raise KetformerError(f"{name}.codes holds invalid Pauli codes")
            module.prepare()  # transformers has replaced the codes


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
