"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) through PEFT.

They are put into the model for the training and merged into its weights when these are saved, so
that the run is one like any other. Checkpoints hold the model with its adapters.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import nn

from ketformer.errors import KetformerError
from ketformer.models import KetformerForCausalLM
from ketformer.runs import Settings
from ketformer.runs.directory import WEIGHTS_FILE


@dataclass(frozen=True)
class Adapters:
    """The adapters in a model.

    Attributes:
        tuner: PEFT's own.
        facts: ``rank``, ``alpha``, ``layers`` (the linear layers that have one), and the numbers of
            ``trained_parameters`` and ``frozen_parameters``.
    """

    tuner: Any
    facts: dict[str, Any]

    def merge(self) -> None:
        """Add them to the weights of the model, which is then as it was built."""
        self.tuner.merge_and_unload()

    def load(self, checkpoint: str | Path) -> None:
        """Read the model with its adapters from a checkpoint."""
        load_model(self.tuner.model, Path(checkpoint) / WEIGHTS_FILE)


def check_lora(settings: Settings, *, sharded: bool) -> None:
    """Refuse settings that do not go with adapters, and see that PEFT is there.

    Raises:
        KetformerError: the rank is below 1, there is no run whose weights they could adapt, PEFT
            is not installed, or the model is sharded.
    """
    if settings.lora_rank is None:
        if settings.lora_alpha is not None or settings.lora_layers is not None:
            raise KetformerError("lora_alpha and lora_layers need a lora_rank, such as 8")
        return
    if settings.lora_rank < 1:
        raise KetformerError(f"lora_rank must be at least 1, got {settings.lora_rank}")
    if settings.init is None:
        raise KetformerError("lora_rank adapts the weights of another run: it needs --init RUN")
    if sharded:
        raise KetformerError("lora_rank: adapters are not sharded; train them without FSDP")
    _peft()


def add_adapters(
    model: KetformerForCausalLM, settings: Settings, grown: Collection[str]
) -> Adapters | None:
    """Put adapters into a model and freeze the rest, but for what has grown; None without a rank.

    By default every linear layer in the blocks, of the attention and of the feed-forward layer,
    has one, if it is called as a module: a mechanism that only reads a layer's weight would not
    see its adapter. The scale of an adapter is ``lora_alpha`` / rank, 2 by default.

    Args:
        model: with the weights to adapt.
        settings: ``lora_rank``, ``lora_alpha`` and ``lora_layers``.
        grown: names of parameters that have rows of new tokens or conditions.

    Raises:
        KetformerError: no layer can have one, or none is called as ``lora_layers`` says.
    """
    if settings.lora_rank is None:
        return None
    offered = [name for name in _called(model) if f"{name}.weight" not in grown]
    layers = _chosen(offered, settings.lora_layers)
    trained = [p for name, p in model.named_parameters() if name in grown]
    alpha = 2 * settings.lora_rank if settings.lora_alpha is None else settings.lora_alpha
    peft = _peft()
    config = peft.LoraConfig(r=settings.lora_rank, lora_alpha=alpha, target_modules=layers)
    tuner = peft.LoraModel(model, config, "default")
    for parameter in trained:
        parameter.requires_grad_(True)
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return Adapters(
        tuner,
        {
            "rank": settings.lora_rank,
            "alpha": alpha,
            "layers": layers,
            "trained_parameters": counts[True],
            "frozen_parameters": counts[False],
        },
    )


def _peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ImportError:
        raise KetformerError("LoRA needs peft: pip install 'ketformer[lora]'") from None


def _chosen(offered: list[str], asked: str | None) -> list[str]:
    """The layers whose names end as asked, or all."""
    names = {name.rpartition(".")[2] for name in offered}
    wanted = names if asked is None else {name.strip() for name in asked.split(",")}
    if unknown := sorted(wanted - names):
        raise KetformerError(
            f"lora_layers: no linear layer {unknown[0]!r} in the blocks that could have an "
            f"adapter; there are: {', '.join(sorted(names)) or 'none'}"
        )
    if not offered:
        raise KetformerError("lora_rank: no linear layer in the blocks could have an adapter")
    return [name for name in offered if name.rpartition(".")[2] in wanted]


def _called(model: KetformerForCausalLM) -> list[str]:
    """The linear layers in the blocks that a forward pass calls as modules, by name."""
    called = set()
    hooks = [
        module.register_forward_hook(lambda module, *_: called.add(module))
        for module in model.model.layers.modules()
        if isinstance(module, nn.Linear)
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 2, dtype=torch.long, device=model.device), **_typical(model))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [name for name, module in model.named_modules() if module in called]


def _typical(model: KetformerForCausalLM) -> dict[str, Any]:
    """Conditions at their means, for a model that has some."""
    means = model.config.condition_means
    return {"conditions": torch.tensor([means], device=model.device)} if means else {}
