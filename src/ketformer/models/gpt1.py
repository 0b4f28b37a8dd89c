"""OpenAI's GPT-1 weights in our decoder, with classical or any other attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import OpenAIGPTLMHeadModel

from ketformer.attention.layers import Mechanisms
from ketformer.models.configuration import KetformerConfig
from ketformer.models.modeling import KetformerForCausalLM

_ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu"}  # GPT-1's "gelu" is the tanh form


def from_openai_gpt(
    source: OpenAIGPTLMHeadModel | str,
    attention: Mechanisms = "classical",
    attention_options: dict[str, Any] | None = None,
) -> tuple[KetformerForCausalLM, list[str]]:
    """Our decoder with the weights of a GPT-1 model.

    With ``attention="classical"`` the logits are those of the source. Another
    mechanism takes over the weights it shares (embeddings, feed-forward layers, norms,
    the output projection, and its linear queries and keys); the rest is newly initialised.

    Args:
        source: a transformers model, or a folder or Hub name to load one from.
        attention: a name in the registry, or one for each layer.
        attention_options: the mechanism's options, as in the configuration.

    Returns:
        The model, in evaluation mode, and the names of the parameters that have no
        counterpart in the source.
    """
    if isinstance(source, str):
        source = OpenAIGPTLMHeadModel.from_pretrained(source)
    theirs = source.config
    config = KetformerConfig(
        vocab_size=theirs.vocab_size,
        hidden_size=theirs.n_embd,
        num_hidden_layers=theirs.n_layer,
        num_attention_heads=theirs.n_head,
        max_position_embeddings=theirs.n_positions,
        attention=attention,
        attention_options=attention_options,
        attention_bias=True,
        norm_position="post",
        hidden_act=_ACTIVATIONS[theirs.afn],
        embd_pdrop=theirs.embd_pdrop,
        attn_pdrop=theirs.attn_pdrop,
        resid_pdrop=theirs.resid_pdrop,
        layer_norm_epsilon=theirs.layer_norm_epsilon,
        initializer_range=theirs.initializer_range,
        lm_head_bias=False,
        tie_word_embeddings=True,
    )
    model = KetformerForCausalLM(config).eval()
    given = _translate(source.state_dict(), theirs.n_embd)
    ours = model.state_dict()
    fitting = {k: v for k, v in given.items() if k in ours and ours[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return model, sorted(name for name, _ in model.named_parameters() if name not in fitting)


def _translate(theirs: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """Convert their names and layout to ours; their Conv1D stores its weight transposed."""
    ours = {
        "model.embed_tokens.weight": theirs["transformer.tokens_embed.weight"],
        "model.embed_positions.weight": theirs["transformer.positions_embed.weight"],
        "lm_head.weight": theirs["transformer.tokens_embed.weight"],
    }
    renamed = {
        "attn.c_proj": "attention.out_proj",
        "ln_1": "attention_norm",
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
        "ln_2": "mlp_norm",
    }
    layer = 0
    while f"transformer.h.{layer}.ln_1.weight" in theirs:
        for kind in ("weight", "bias"):
            for old, new in renamed.items():
                tensor = theirs[f"transformer.h.{layer}.{old}.{kind}"]
                ours[f"model.layers.{layer}.{new}.{kind}"] = (
                    tensor.mT if tensor.ndim == 2 else tensor
                )
            qkv = theirs[f"transformer.h.{layer}.attn.c_attn.{kind}"]
            qkv = qkv.mT if qkv.ndim == 2 else qkv
            prefix = f"model.layers.{layer}.attention"
            ours[f"{prefix}.qkv_proj.{kind}"] = qkv
            ours[f"{prefix}.qk_proj.{kind}"] = qkv[: 2 * width]
        layer += 1
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in ours.items()
    }
