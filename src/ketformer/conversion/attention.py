"""The module that takes the place of a self-attention in a model of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache

from ketformer.attention import RecurrentMixer, TokenInputs, attention_mask, build_attention
from ketformer.conversion.layouts import Layout, Weights, per_head, sizes_of
from ketformer.errors import NotOfferedError


class _Layer(NamedTuple):
    """One layer of a cache, perhaps none, in which several heads share a key and a value."""

    cache: Cache | None
    layer_idx: int
    group: int

    def __call__(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.group > 1:
            keys, values = keys[:, :: self.group], values[:, :: self.group]
        if self.cache is not None:
            keys, values = self.cache.update(keys, values, self.layer_idx)
        if self.group == 1:
            return keys, values
        return keys.repeat_interleave(self.group, 1), values.repeat_interleave(self.group, 1)

    def previous(self) -> tuple[int, Tensor | None]:
        raise NotOfferedError("a converted model has no token_shift")


class ConvertedAttention(nn.Module):
    """A mechanism behind the call that a model of transformers makes to its own attention.

    Grouped-query heads stay: the heads of a group share the key and the value that the mechanism
    gives the first of them, and only these are cached. (Without a cache in a mechanism that sees
    the future, each head has its own.)

    Args:
        config: the model's configuration.
        layout: that of its architecture.
        layer_idx: number of the block.
        attention: a name in the registry.
        options: the mechanism's options.
        bias: whether its linear maps have a bias; None for its default.

    Raises:
        KetformerError: an unknown mechanism or option, or one that such a model cannot have.
    """

    def __init__(
        self,
        config: Any,
        layout: Layout,
        layer_idx: int,
        attention: str,
        options: Mapping[str, Any],
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        if options.get("token_shift"):
            raise NotOfferedError(
                "token_shift keeps channels of the previous token in the cache of our own decoder; "
                "a converted model cannot have it"
            )
        sizes = sizes_of(config)
        self.config = config
        self.layer_idx = layer_idx
        self.returns_list = layout.returns_list
        self.mechanism = build_attention(
            attention,
            sizes.hidden,
            sizes.heads,
            dropout=sizes.dropout,
            bias=bias,
            inputs=sizes.inputs,
            **options,
        )
        if isinstance(self.mechanism, RecurrentMixer):
            raise NotOfferedError(
                f"{attention} keeps a state instead of keys and values, which only our own decoder "
                "can cache; a converted model cannot have it"
            )
        self.group = sizes.heads // sizes.key_value_heads if self.mechanism.is_causal else 1
        self.output_dropout = nn.Dropout(sizes.output_dropout)
        #: Whether :meth:`carry_over` found an output layer that means the same.
        self.has_old_output = False

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        layer_past: Cache | None = None,
        output_attentions: bool = False,
        **_: Any,
    ) -> Any:
        """Apply the mechanism.

        Args:
            hidden_states: ``[B, T, hidden_size]``.
            attention_mask: as transformers prepares it: bool, or floats that are 0 where a key is
                visible and negative where not, broadcastable to ``[B, 1, T, keys]``; None where
                plain causal attention suffices.
            position_ids: ``[B or 1, T]``.
            past_key_values: cache of the model.
            layer_past: the same, in GPT-NeoX.
            output_attentions: return the weights; the later architectures, which do not pass this
                on, get them whenever ``attn_implementation`` is ``eager``.

        Returns:
            ``[B, T, hidden_size]`` and the weights ``[B, H, T, keys]`` or None; for OpenAI-GPT a
            list.
        """
        cache = layer_past if past_key_values is None else past_key_values
        mask = self._visible(attention_mask, cache, hidden_states)
        layer = None
        if cache is not None or self.group > 1:
            layer = _Layer(cache, self.layer_idx, self.group)
        eager = self.config._attn_implementation == "eager" and not self.returns_list
        mixed, weights = self.mechanism(
            hidden_states,
            mask=mask,
            cache=layer,
            return_weights=output_attentions or eager,
            tokens=None if position_ids is None else TokenInputs(None, position_ids),
        )
        mixed = self.output_dropout(mixed)
        if self.returns_list:
            return [mixed, weights] if output_attentions else [mixed]
        return mixed, weights

    def _visible(
        self, mask: Tensor | None, cache: Cache | None, hidden_states: Tensor
    ) -> Tensor | None:
        """The mask as a mechanism takes it: bool, and causal; None where it needs none."""
        length = hidden_states.shape[1]
        if mask is not None and mask.dtype != torch.bool:
            mask = mask >= 0
        if length == 1 or (mask is not None and mask.shape[-2] > 1):
            return mask
        # OpenAI-GPT masks padding alone, and transformers leaves out the mask of a first pass with
        # an empty static cache, whose empty slots count as keys.
        keys = length if cache is None else cache.get_mask_sizes(length, self.layer_idx)[0]
        if mask is None and length == keys:
            return None
        causal = attention_mask(length, int(keys), device=hidden_states.device)
        return causal if mask is None else mask & causal

    @torch.no_grad()
    def carry_over(self, weights: Weights) -> None:
        """Take over the maps that mean the same: those of linear values, and of ``classical``.

        A mechanism without a bias for values gets theirs in the output's: the weights of a query
        sum to 1.
        """
        mechanism, sizes = self.mechanism, sizes_of(self.config)
        if sizes.head_dim * sizes.heads != sizes.hidden:
            return
        repeats = sizes.heads // sizes.key_value_heads
        key, value = (per_head(part, repeats, sizes.head_dim) for part in weights[1:3])
        bias: Tensor | float = 0.0 if weights.output[1] is None else weights.output[1]
        linear, parts = getattr(mechanism, "qkv_proj", None), [weights.query, key, value]
        if linear is None and mechanism.linear_values:
            linear, parts = mechanism.get_submodule("value_proj"), [value]
        if not isinstance(linear, nn.Linear):
            return
        linear.weight.copy_(torch.cat([weight for weight, _ in parts]))
        if linear.bias is not None:
            linear.bias.copy_(
                torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in parts])
            )
        elif value[1] is not None:
            bias = bias + F.linear(value[1], weights.output[0])
        mechanism.out_proj.weight.copy_(weights.output[0])
        self.has_old_output = True
        mechanism.out_proj.bias.copy_(torch.as_tensor(bias).to(mechanism.out_proj.bias))
