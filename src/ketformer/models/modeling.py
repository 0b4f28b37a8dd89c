"""One decoder for every attention mechanism, as an ordinary Hugging Face model."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from ketformer.attention import ConditionEmbedding, Mixer, TokenInputs, attention_mask
from ketformer.attention.spread import start_scores
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.models.block import Block, attention_of, input_sizes
from ketformer.models.card import CardWriter
from ketformer.models.checks import check_loaded
from ketformer.models.conditions import Standardise, check_conditions
from ketformer.models.configuration import KetformerConfig, check_attn_implementation
from ketformer.models.dropout import Dropout
from ketformer.models.feed_forward import FeedForward


class KetformerPreTrainedModel(CardWriter, PreTrainedModel):
    """Weight initialisation, and the attributes that transformers needs."""

    config_class = KetformerConfig
    config: KetformerConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ("Block",)
    _skip_keys_device_placement = ("past_key_values",)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load as in transformers, but refuse weights that lack what was drawn with them.

        transformers would leave uninitialised memory in place of Pauli strings, say.

        Raises:
            KetformerError: naming what is missing, invalid, or of another shape.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        check_loaded(model, info, {name for name, _ in model.named_buffers()})
        return (model, info) if output_loading_info else model

    def _check_and_adjust_attn_implementation(self, name: str | None, *args: Any, **kw: Any) -> str:
        check_attn_implementation(name)  # transformers would say less, or fetch code
        adjusted: str = super()._check_and_adjust_attn_implementation(name, *args, **kw)
        return adjusted

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As in transformers; tables of tokens in the attention are resized too."""
        embedding: nn.Embedding = super().resize_token_embeddings(*args, **kwargs)
        for block in self.modules():
            if isinstance(block, Block):
                self._resize_tables(block)
        return embedding

    @torch.no_grad()
    def _resize_tables(self, block: Block) -> None:
        """Give parameters that depend on the vocabulary the size they have in a new model.

        Rows of tokens that stay are kept, new ones are initialised.
        """
        attention, sizes = block.attention, input_sizes(self.config)
        if attention.inputs == sizes:
            return
        with next(attention.parameters()).device:
            fresh = attention_of(self.config, block.layer_idx).to(
                next(attention.parameters()).dtype
            )
        fresh.apply(self._init_weights)
        for name, new in fresh.named_parameters():
            old = attention.get_parameter(name)
            if old.shape != new.shape:
                kept = tuple(map(slice, map(min, old.shape, new.shape)))
                new[kept] = old[kept]
                old.data, old.grad = new.data, None
        attention.inputs = sizes

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        """As in transformers, which would skip every mechanism without parameters of its own.

        One whose weights have all been loaded is left alone: its ``reset_parameters`` may write
        to a part of a weight, where transformers could not tell that the weight was loaded.
        """
        if isinstance(module, Mixer | FeedForward):
            is_custom_code = not any(map(_is_new, module.parameters()))
        super()._initialize_weights(module, is_custom_code)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initial_std
        if isinstance(module, Mixer):
            module.reset_parameters()
            if all(map(_is_new, module.score_weights())):
                start_scores(module, 1.0 if self.config.initializer_range == "width" else None)
        elif isinstance(module, FeedForward | ConditionEmbedding | Standardise | nn.LayerNorm):
            module.reset_parameters()
        elif std is None:
            if isinstance(module, nn.Linear | nn.Embedding):
                module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)


def _is_new(parameter: Tensor) -> bool:
    """Whether a parameter has not been loaded; a view of one counts as that parameter."""
    whole = parameter if parameter._base is None else parameter._base
    return not getattr(whole, "_is_hf_initialized", False)


class KetformerModel(KetformerPreTrainedModel):
    """Embeddings and blocks, without the output layer."""

    def __init__(self, config: KetformerConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = (
            nn.Embedding(config.max_position_embeddings, config.hidden_size)
            if config.positions == "learned"
            else None
        )
        self.standardise = Standardise(config)
        self.embed_conditions = (
            ConditionEmbedding(input_sizes(config), config.hidden_size)
            if config.condition_names
            else None
        )
        self.dropout = Dropout(config.embd_pdrop)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
            if config.norm_position == "pre"
            else nn.Identity()
        )
        self.gradient_checkpointing = False
        self.post_init()

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return all(b.attention.is_causal for b in self.layers if isinstance(b, Block))

    @property
    def can_cache(self) -> bool:
        """Whether it can keep keys and values: it is causal, and not measured on circuits."""
        return self.is_causal and all(
            b.attention.expect is None for b in self.layers if isinstance(b, Block)
        )

    @property
    def is_complex(self) -> bool:
        """Whether a layer computes with complex numbers, which torch's compiler has no code for."""
        return any(b.attention.is_complex for b in self.layers if isinstance(b, Block))

    @property
    def has_weights(self) -> bool:
        """Whether every layer has attention weights, which a recurrent mixer has not."""
        return all(b.attention.has_weights for b in self.layers if isinstance(b, Block))

    def _require_weights(self) -> None:
        if not self.has_weights:
            raise NotOfferedError(
                f"{self.config.attention_name} keeps a state in some layers, so output_attentions "
                "has no weights to return for them"
            )

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        conditions: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states ``[B, T, hidden_size]``.

        Args:
            input_ids: ``[B, T]``.
            attention_mask: ``[B, past + T]``, 1 for tokens and 0 for padding on
                either side.
            position_ids: ``[B, T]``; by default counted from the first real token.
            past_key_values: cache of a causal model.
            inputs_embeds: ``[B, T, hidden_size]``, instead of ``input_ids``.
            use_cache: return a cache; by default as configured, and never for a
                model that is not causal or while training.
            output_attentions: also return each layer's weights ``[B, H, T, past + T]``; by
                default as configured. A recurrent mixer has none.
            output_hidden_states: also return the embeddings and each layer's output; by
                default as configured.
            conditions: ``[B, C]`` in their own units, NaN where unknown; None leaves all
                of them unknown. See :func:`~ketformer.models.conditions.check_conditions`
                for values that the model cannot handle.

        Raises:
            KetformerError: the sequence is longer than the context and positions are learned,
                or a cache was requested from a model that sees the future.
            NotOfferedError: weights of a layer that has none.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise KetformerError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        length = inputs_embeds.shape[1]
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions:
            self._require_weights()
        if use_cache is None:
            use_cache = self.config.use_cache and self.is_causal and not self.training
        if (use_cache or past_key_values is not None) and not self.is_causal:
            raise KetformerError(
                f"{self.config.attention_name} sees the future, so it cannot use a key-value "
                "cache; pass use_cache=False"
            )
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        past = int(past_key_values.get_seq_length()) if past_key_values is not None else 0
        if self.embed_positions is not None and past + length > self.config.max_position_embeddings:
            raise KetformerError(
                f"{past + length} tokens are longer than the model's context of "
                f"{self.config.max_position_embeddings}"
            )
        if position_ids is None:
            position_ids = _positions(past, length, attention_mask, inputs_embeds.device)
        keys = past + length
        if past_key_values is not None:  # a static cache also returns its empty slots
            held = range(len(past_key_values))  # a recurrent state beside it has none
            keys = max([keys, *(past_key_values.get_mask_sizes(length, i)[0] for i in held)])
        mask = _mask(past, length, keys, attention_mask, inputs_embeds.device)

        embedded = inputs_embeds
        if self.embed_positions is not None:
            embedded = embedded + self.embed_positions(position_ids)
        known, unknown = self.standardise(conditions, inputs_embeds)
        if self.embed_conditions is not None:
            embedded = embedded + self.embed_conditions(known, unknown)[:, None]
        tokens = TokenInputs(input_ids, position_ids, known, unknown)
        hidden_states = self.dropout(embedded)
        all_hidden, all_weights = [hidden_states], []
        weigh = bool(output_attentions) or self.config._attn_implementation == "eager"
        # Fewer than there are in self-speculative decoding (``assistant_early_exit``).
        for block in islice(self.layers, self.config.num_hidden_layers):
            hidden_states, weights = block(
                hidden_states,
                mask=mask,
                past_key_values=past_key_values,
                output_attentions=weigh,
                tokens=tokens,
            )
            all_hidden.append(hidden_states)
            all_weights.append(weights)
        hidden_states = self.norm(hidden_states)
        all_hidden[-1] = hidden_states
        return BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=past_key_values,
            hidden_states=tuple(all_hidden) if output_hidden_states else None,
            attentions=tuple(all_weights) if output_attentions else None,
        )


class KetformerForCausalLM(KetformerPreTrainedModel, GenerationMixin):
    """The decoder with an output layer; trains, generates and saves as a causal language model.

    ``labels`` follow transformers' convention (the same ids as ``input_ids``,
    shifted inside); ``shift_labels`` are targets that are already shifted one to the
    left, so that a window of T tokens gives T targets.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    main_input_name = "input_ids"

    def __init__(self, config: KetformerConfig) -> None:
        super().__init__(config)
        self.model = KetformerModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.lm_head_bias)
        self.post_init()
        if self.generation_config is not None:
            if not self.is_causal:
                self.generation_config.use_cache = False
            if self.model.is_complex:  # with a static cache, a GPU would compile each step
                self.generation_config.disable_compile = True

    @property
    def is_causal(self) -> bool:
        """Whether no position sees a later one."""
        return self.model.is_causal

    @property
    def can_cache(self) -> bool:
        """Whether it can keep keys and values: it is causal, and not measured on circuits."""
        return self.model.can_cache

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        conditions: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits ``[B, T, vocab_size]``, and the loss in nats per target if labels are given.

        Targets of -100 do not count. See :meth:`KetformerModel.forward` for the rest.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            conditions=conditions,
        )
        hidden_states = outputs.last_hidden_state
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden_states[:, keep])
        loss = None
        # Not a parameter: Trainer's evaluation would then want both kinds of labels.
        shift_labels: Tensor | None = kwargs.pop("shift_labels", None)
        if labels is not None or shift_labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.vocab_size,
                shift_labels=None if shift_labels is None else shift_labels.contiguous(),
                **kwargs,
            )
        result = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return result.to_tuple() if return_dict is False else result

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate as in transformers, after checking the conditions.

        Raises:
            KetformerError: see :func:`~ketformer.models.conditions.check_conditions`.
        """
        check_conditions(self.config, kwargs.get("conditions"))
        return super().generate(*args, **kwargs)

    @staticmethod
    def create_masks_for_generate(attention_mask: Tensor | None, **_: Any) -> Tensor | None:
        """Keep the two-dimensional mask for every kind of cache: the model builds its own."""
        return attention_mask


def _positions(
    past: int, length: int, attention_mask: Tensor | None, device: torch.device
) -> Tensor:
    if attention_mask is None:
        return torch.arange(past, past + length, device=device)[None]
    positions = attention_mask.long().cumsum(-1) - 1
    return positions.clamp_min(0)[:, past : past + length]


def _mask(
    past: int, length: int, keys: int, padding: Tensor | None, device: torch.device
) -> Tensor | None:
    """The mask, or None where plain causal attention suffices, which is the fast path."""
    if padding is None and (length == keys or (length == 1 and past + 1 == keys)):
        return None
    if padding is not None:
        padding = F.pad(padding[:, : past + length].bool(), (0, keys - past - length))
    return attention_mask(length, keys, offset=past, padding=padding, device=device)
