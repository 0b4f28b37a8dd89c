"""Whether a model fits this machine, and whether its weights are numbers."""

from __future__ import annotations

from torch import nn

from ketformer.attention.checks import BYTES_PER_GATE
from ketformer.errors import KetformerError
from ketformer.models.configuration import KetformerConfig
from ketformer.utils.machine import machine_memory

# Python's own objects for the modules of a block.
_BYTES_PER_BLOCK = 1 << 16


def least_parameters(config: KetformerConfig) -> int:
    """Parameters that the model has whatever its mechanism: tables, projections, feed-forward."""
    width, inner = config.hidden_size, config.intermediate_size or 0
    tables = config.vocab_size * (1 if config.tie_word_embeddings else 2)
    block = width * width + 2 * width * inner
    return width * (tables + config.max_position_embeddings) + config.num_hidden_layers * block


def check_memory(config: KetformerConfig) -> None:
    """Refuse a model whose weights alone are larger than the memory of this machine.

    Raises:
        KetformerError: with what it would need and what there is.
    """
    layers = (config.attention_options or {}).get("layers") or 0
    gates = config.num_hidden_layers * layers * BYTES_PER_GATE
    needed = 4 * least_parameters(config) + config.num_hidden_layers * _BYTES_PER_BLOCK + gates
    if needed > (there := machine_memory()):
        raise KetformerError(
            f"this model would need {_gib(needed)} of memory at least; this machine has "
            f"{_gib(there)}"
        )


def complaint_about_weights(model: nn.Module) -> str | None:
    """What is wrong with the first bad tensor: NaN, infinity, letters that no Pauli string has."""
    for name, tensor in sorted(model.state_dict().items()):
        if not tensor.isfinite().all():
            return f"{name} holds NaN or infinity"
        if name.endswith(".codes") and not ((tensor >= 0) & (tensor < 4)).all():
            return f"{name} holds codes of no Pauli string"
    return None


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
