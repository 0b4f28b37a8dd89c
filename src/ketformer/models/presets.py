"""Named starting points. Every value can be overridden on the command line."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ketformer.errors import KetformerError

# The decoder of arXiv 2502.19214: one block, one head, six qubits.
_HYBRID: dict[str, Any] = {
    "data": "qm9",
    "split": "published",
    "task": "molecules",
    "count_padding": True,
    "model": {
        "attention": "overlap",
        "attention_options": {"angles": "embedding", "n_qubits": 6, "layers": 1},
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 256,
        "max_position_embeddings": 24,
        "norm_position": "pre",
        "hidden_act": "gelu",
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "mlp_pdrop": 0.1,
        "initializer_range": None,
    },
    # Epochs, batch size, learning rate and weight decay are the published ones. The learning
    # rate follows a cosine, and the norm of the whole gradient is clipped.
    "training": {
        "num_train_epochs": 20,
        "per_device_train_batch_size": 256,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
    },
}

# Small enough for two CPU cores and large enough to write words, or valid SMILES.
_SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "norm_position": "pre",
    "hidden_act": "gelu",
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
}

# Overlap attention from hidden states, at a size for whole sets of molecules.
_DEEP: dict[str, Any] = {
    "attention": "overlap",
    "attention_options": {"n_qubits": 5, "learnable_temperature": True},
    "positions": "rotary",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "norm_position": "pre",
    "hidden_act": "gelu",
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
}

# Shared by the demo's text and molecules.
_DEMO: dict[str, Any] = {
    "num_attention_heads": 2,
    "hidden_act": "gelu",
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
}
_DEMO_TRAINING: dict[str, Any] = {
    "per_device_train_batch_size": 64,
    "learning_rate": 4e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 30,
    "weight_decay": 0.01,
    "seed": 42,
    "report_to": "none",
}

#: ``model`` holds configuration keys, ``training`` those of Trainer; the rest is the task's.
PRESETS: dict[str, dict[str, Any]] = {
    # The setting of the released code of arXiv 2603.03318.
    "qisa-small": {
        "description": "the published QISA setting: 22k parameters, context 16, characters",
        "data": "tinyshakespeare",
        "split": "published",
        "tokenizer": "char",
        "model": {
            "attention": "qisa",
            "hidden_size": 16,
            "num_hidden_layers": 6,
            "num_attention_heads": 1,
            "max_position_embeddings": 16,
            "norm_position": "pre",
            "hidden_act": "relu",
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.2,
            "initializer_range": None,
        },
        "training": {
            "max_steps": 1000,
            "per_device_train_batch_size": 128,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "constant",
            "weight_decay": 0.01,
            "max_grad_norm": 0.0,
        },
    },
    "char-small": {
        "description": "characters in minutes on a CPU: 0.16M parameters, context 64",
        "data": "tinyshakespeare",
        "split": "standard",
        "tokenizer": "char",
        "model": {
            **_SMALL,
            "attention": "qisa",
            "max_position_embeddings": 64,
            "positions": "rotary",
        },
        "training": {
            "max_steps": 3000,
            "per_device_train_batch_size": 32,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 50,
            "weight_decay": 0.01,
        },
    },
    "char-gpt": {
        "description": "a decent character model: 1M parameters, context 128",
        "data": "tinyshakespeare",
        "split": "standard",
        "tokenizer": "char",
        "model": {
            "attention": "qisa",
            "hidden_size": 128,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "positions": "rotary",
            "norm_position": "pre",
            "hidden_act": "gelu",
            "embd_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "resid_pdrop": 0.1,
        },
        "training": {
            "max_steps": 5000,
            "per_device_train_batch_size": 64,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 100,
            "weight_decay": 0.1,
            "adam_beta2": 0.99,
        },
    },
    "gpt1": {
        "description": "GPT-1: 12 blocks, width 768, context 512, post-norm, BPE of 40k",
        "data": "tinyshakespeare",
        "split": "standard",
        "tokenizer": "bpe",
        "vocab_size": 40478,
        "model": {
            "attention": "classical",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 512,
            "attention_bias": True,
            "norm_position": "post",
            "hidden_act": "gelu_new",
            "embd_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "resid_pdrop": 0.1,
            "initializer_range": 0.02,
            "lm_head_bias": False,
            "tie_word_embeddings": True,
        },
        "training": {
            "num_train_epochs": 100,
            "per_device_train_batch_size": 64,
            "learning_rate": 2.5e-4,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 2000,
            "weight_decay": 0.01,
        },
    },
    "overlap-small": {
        "description": "molecules with properties, in minutes on a CPU: 0.14M parameters",
        "data": "qm9",
        "split": "standard",
        "task": "molecules",
        "conditions": "all",
        "model": {
            **_SMALL,
            "attention": "overlap",
            "attention_options": {"n_qubits": 5, "learnable_temperature": True},
            "positions": "rotary",
            "condition_pdrop": 0.5,
        },
        "training": {
            "max_steps": 6000,
            "per_device_train_batch_size": 64,
            "learning_rate": 3e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 100,
            "weight_decay": 0.01,
        },
    },
    "overlap-qm9": {
        "description": "the published hybrid decoder on QM9: 48k parameters, six qubits",
        **_HYBRID,
    },
    "overlap-qm9-conditions": {
        "description": "the same with nine properties as conditions, any of which may be left out",
        **_HYBRID,
        "conditions": "all",
        "model": {**_HYBRID["model"], "condition_pdrop": 0.5},
    },
    "overlap-qm9-deep": {
        "description": "overlap attention from hidden states: 4 blocks, 4 heads, 0.7M parameters",
        "data": "qm9",
        "split": "standard",
        "task": "molecules",
        "conditions": "all",
        "model": {
            **_DEEP,
            "condition_pdrop": 0.5,
        },
        "training": {
            "num_train_epochs": 16,
            "per_device_train_batch_size": 128,
            "learning_rate": 2e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 300,
            "weight_decay": 0.01,
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
        },
    },
    "overlap-moses": {
        "description": "drug-like molecules of MOSES: 4 blocks, 4 heads, 0.7M parameters",
        "data": "moses",
        "split": "official",
        "task": "molecules",
        "model": _DEEP,
        # An epoch is 12,380 steps, 90 minutes of a core, so checkpoints are kept more often.
        "training": {
            "num_train_epochs": 10,
            "per_device_train_batch_size": 128,
            "learning_rate": 2e-3,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 300,
            "weight_decay": 0.01,
            "eval_strategy": "epoch",
            "save_strategy": "steps",
            "save_steps": 500,
        },
    },
    "demo": {
        "description": "the demo's text: Python's language reference, no download, a minute",
        "data": "embedded",
        "split": "standard",
        "tokenizer": "char",
        "model": {
            **_DEMO,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "max_position_embeddings": 32,
        },
        "training": {**_DEMO_TRAINING, "max_steps": 300},
    },
    "demo-molecules": {
        "description": "the demo's molecules: all small ones of C, N, O and F, no download",
        "data": "embedded",
        "split": "standard",
        "task": "molecules",
        "model": {**_DEMO, "hidden_size": 48, "num_hidden_layers": 2},
        "training": {**_DEMO_TRAINING, "max_steps": 400},
    },
}


def preset(name: str) -> dict[str, Any]:
    """A copy of a preset.

    Raises:
        KetformerError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise KetformerError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return deepcopy(PRESETS[name])
