"""A block of the decoder: attention and feed-forward layer, with residuals and norms."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from ketformer.attention import InputSizes, Mixer, TokenInputs, build_attention
from ketformer.attention.recurrent import State
from ketformer.errors import KetformerError
from ketformer.models.configuration import KetformerConfig
from ketformer.models.dropout import Dropout
from ketformer.models.feed_forward import FeedForward, build_feed_forward
from ketformer.models.state_cache import StateLayer


class _Layer(NamedTuple):
    """One layer of a cache of transformers, as a mechanism uses it."""

    cache: Cache
    layer_idx: int

    def __call__(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        pair: tuple[Tensor, Tensor] = self.cache.update(keys, values, self.layer_idx)
        return pair

    def previous(self) -> tuple[int, Tensor | None]:
        """The number of positions, and the values of the last one."""
        seen = int(self.cache.get_seq_length(self.layer_idx))
        if not seen:
            return 0, None
        last: Tensor = self.cache.layers[self.layer_idx].values[..., seen - 1 : seen, :]
        if last.shape[-2] != 1:  # quantised or sliding: the values lie elsewhere
            kind = type(self.cache.layers[self.layer_idx]).__name__
            raise KetformerError(
                f"token_shift cannot read the last position from a {kind}; use a dynamic or static "
                "cache, or pass use_cache=False"
            )
        return seen, last

    def state(self) -> tuple[int, State | None]:
        """The number of positions, and the state of a recurrent mixer after them."""
        layer = self._state_layer()
        return layer.seen, layer.state

    def keep(self, state: State, positions: int) -> None:
        """Replace the state by that after as many more positions."""
        self._state_layer().keep(state, positions)

    def _state_layer(self) -> StateLayer:
        """The layer, which takes the place of one for keys and values on first use."""
        layers = self.cache.layers
        if len(layers) == self.layer_idx:
            layers.append(StateLayer())
        layer = layers[self.layer_idx]
        if not isinstance(layer, StateLayer):
            layer = layers[self.layer_idx] = StateLayer(in_place=layer.is_compileable)
        return layer


class Block(GradientCheckpointingLayer):
    """Attention and feed-forward layer, each with a residual and a norm before or after."""

    def __init__(self, config: KetformerConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.pre_norm = config.norm_position == "pre"
        self.attention = attention_of(config, layer_idx)
        self.attention_dropout = Dropout(config.resid_pdrop)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = feed_forward_of(config)  # whichever it is: saved weights have this name
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        output_attentions: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Apply the block; see :meth:`ketformer.attention.Mixer.forward` for the mask.

        Weights are None where the mixer has none.
        """
        normed = self.attention_norm(hidden_states) if self.pre_norm else hidden_states
        attended, weights = self.attention(
            normed,
            mask=mask,
            cache=None if past_key_values is None else _Layer(past_key_values, self.layer_idx),
            return_weights=output_attentions and self.attention.has_weights,
            tokens=tokens,
        )
        hidden_states = hidden_states + self.attention_dropout(attended)
        if self.pre_norm:
            return hidden_states + self.mlp(self.mlp_norm(hidden_states)), weights
        hidden_states = self.attention_norm(hidden_states)
        return self.mlp_norm(hidden_states + self.mlp(hidden_states)), weights


def attention_of(config: KetformerConfig, layer_idx: int) -> Mixer:
    """A new mixer, as the configuration describes that layer's."""
    name = config.layer_attention[layer_idx]
    return build_attention(
        name,
        config.hidden_size,
        config.num_attention_heads,
        dropout=config.attn_pdrop,
        bias=config.attention_bias,
        inputs=input_sizes(config),
        **config.mechanisms[name],
    )


def feed_forward_of(config: KetformerConfig) -> FeedForward:
    """A new feed-forward layer, as the configuration describes it."""
    return build_feed_forward(
        config.feed_forward,
        config.hidden_size,
        intermediate_size=config.intermediate_size,
        hidden_act=config.hidden_act,
        dropout=config.mlp_pdrop or 0.0,
        **(config.feed_forward_options or {}),
    )


def input_sizes(config: KetformerConfig) -> InputSizes:
    """What a mechanism is told about the decoder's inputs."""
    return InputSizes(
        config.vocab_size,
        config.max_position_embeddings,
        len(config.condition_names or []),
        config.condition_unknown,
        config.positions,
        config.rotary_base,
    )
