"""The converted models: classes of transformers whose configuration says what was replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ketformer.attention import ATTENTION
from ketformer.conversion.attention import ConvertedAttention
from ketformer.conversion.layouts import layout_of
from ketformer.conversion.names import class_names
from ketformer.errors import KetformerError
from ketformer.models.checks import check_loaded
from ketformer.models.configuration import check_attn_implementation
from ketformer.models.remote_code import SavedWithModule


class ConvertedConfig(SavedWithModule):
    """What is added to the configuration of an architecture.

    Attributes:
        converted_layers: for each replaced layer, by its number as text, the mechanism
            (``attention``), its ``options``, and the ``bias`` of its linear maps (None for its
            default). With a mechanism of another package, also ``package``, as ``name==version``,
            which is checked.
    """

    _module: ClassVar[Path] = Path(__file__).with_name("modeling_ketformer.py")
    converted_layers: dict[str, dict[str, Any]] | None = None

    @classmethod
    def _auto_classes(cls) -> dict[str, str]:
        config, causal = class_names(cls.model_type)
        return {"AutoConfig": config, "AutoModelForCausalLM": causal}


class ConvertedModel(PreTrainedModel):
    """What a converted model does besides its architecture: it replaces attentions."""

    config: Any
    #: What :func:`~ketformer.convert` did; it is not saved.
    conversion: dict[str, Any] | None = None
    # A mechanism computes its own scores.
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.replace_attentions(config.converted_layers or {})

    def replace_attentions(self, layers: Mapping[str, Mapping[str, Any]]) -> None:
        """Put new mechanisms, freshly initialised, into these layers.

        Args:
            layers: as in :class:`ConvertedConfig`.

        Raises:
            KetformerError: naming the layer, and what it cannot have.
        """
        layout = layout_of(self)
        blocks = self.get_submodule(layout.blocks)
        for number, spec in layers.items():
            try:
                ATTENTION.require(spec["attention"], spec.get("package"))
                old = blocks.get_submodule(number).get_submodule(layout.attention)
                new = ConvertedAttention(
                    self.config,
                    layout,
                    int(number),
                    spec["attention"],
                    spec.get("options") or {},
                    spec.get("bias"),
                )
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                if isinstance(error, KetformerError):
                    raise
                raise KetformerError(
                    f"converted_layers: {number!r}: {spec!r} is no layer"
                ) from None
            like = next(old.parameters())
            new.to(like.device, like.dtype)
            # Those that record weights, and the user's.
            new._forward_hooks.update(old._forward_hooks)
            setattr(blocks.get_submodule(number), layout.attention, new.train(old.training))
        _let_record(self.base_model)
        if not self.is_causal:
            self.config.use_cache = False
            if self.generation_config is not None:
                self.generation_config.use_cache = False

    def converted(self) -> dict[int, ConvertedAttention]:
        """The replaced attentions, by layer."""
        return {
            module.layer_idx: module
            for module in self.modules()
            if isinstance(module, ConvertedAttention)
        }

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return all(module.mechanism.is_causal for module in self.converted().values())

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load as in transformers, but refuse weights that lack those of a mechanism.

        Raises:
            KetformerError: naming what is missing, invalid, or of another shape.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        needed = {
            f"{name}.{key}"
            for name, module in model.named_modules()
            if isinstance(module, ConvertedAttention)
            for key in module.state_dict()
        }
        check_loaded(model, info, needed)
        return (model, info) if output_loading_info else model

    def _check_and_adjust_attn_implementation(self, name: str | None, *args: Any, **kw: Any) -> str:
        check_attn_implementation(name)
        adjusted: str = super()._check_and_adjust_attn_implementation(name, *args, **kw)
        return adjusted


def _let_record(decoder: nn.Module) -> None:
    """Let transformers record the weights of converted attentions too (``output_attentions``)."""
    recorded = getattr(decoder, "_can_record_outputs", None) or {}
    own = recorded.get("attentions")
    if own is not None and not isinstance(own, list):
        recorded["attentions"] = [own, ConvertedAttention]


@strict
class KetformerOpenAIGPTConfig(ConvertedConfig, OpenAIGPTConfig):
    """Configuration of a converted OpenAI-GPT."""

    model_type = "ketformer-openai-gpt"


class KetformerOpenAIGPTLMHeadModel(ConvertedModel, OpenAIGPTLMHeadModel):
    """OpenAI-GPT with other attention."""

    config_class = KetformerOpenAIGPTConfig


@strict
class KetformerGPT2Config(ConvertedConfig, GPT2Config):
    """Configuration of a converted GPT-2."""

    model_type = "ketformer-gpt2"


class KetformerGPT2LMHeadModel(ConvertedModel, GPT2LMHeadModel):
    """GPT-2 with other attention."""

    config_class = KetformerGPT2Config


@strict
class KetformerGPTNeoXConfig(ConvertedConfig, GPTNeoXConfig):
    """Configuration of a converted GPT-NeoX."""

    model_type = "ketformer-gpt_neox"


class KetformerGPTNeoXForCausalLM(ConvertedModel, GPTNeoXForCausalLM):
    """GPT-NeoX with other attention."""

    config_class = KetformerGPTNeoXConfig


@strict
class KetformerLlamaConfig(ConvertedConfig, LlamaConfig):
    """Configuration of a converted Llama."""

    model_type = "ketformer-llama"


class KetformerLlamaForCausalLM(ConvertedModel, LlamaForCausalLM):
    """Llama with other attention."""

    config_class = KetformerLlamaConfig


@strict
class KetformerMistralConfig(ConvertedConfig, MistralConfig):
    """Configuration of a converted Mistral."""

    model_type = "ketformer-mistral"


class KetformerMistralForCausalLM(ConvertedModel, MistralForCausalLM):
    """Mistral with other attention."""

    config_class = KetformerMistralConfig


@strict
class KetformerQwen2Config(ConvertedConfig, Qwen2Config):
    """Configuration of a converted Qwen2."""

    model_type = "ketformer-qwen2"


class KetformerQwen2ForCausalLM(ConvertedModel, Qwen2ForCausalLM):
    """Qwen2 with other attention."""

    config_class = KetformerQwen2Config


@strict
class KetformerQwen3Config(ConvertedConfig, Qwen3Config):
    """Configuration of a converted Qwen3."""

    model_type = "ketformer-qwen3"


class KetformerQwen3ForCausalLM(ConvertedModel, Qwen3ForCausalLM):
    """Qwen3 with other attention."""

    config_class = KetformerQwen3Config
