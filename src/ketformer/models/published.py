"""The weights released with arXiv 2502.19214 (six kinds) in our decoder."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.models.checks import check_memory, complaint_about_weights
from ketformer.models.configuration import KetformerConfig
from ketformer.models.modeling import KetformerForCausalLM

#: The nine properties that the conditional models were given, in the order of their columns.
PUBLISHED_CONDITIONS = (
    "MW", "HBA", "HBD", "nRot", "nRing", "nHet", "TPSA", "LogP", "StereoCenters",
)  # fmt: skip

_BLOCK = "model.layers.0"
# Their names to ours, for all six kinds.
_NAMES = {
    "position_embed": "model.embed_positions.weight",
    "token_embed.weight": "model.embed_tokens.weight",
    "block.layer_norm1": f"{_BLOCK}.attention_norm",
    "block.layer_norm2": f"{_BLOCK}.mlp_norm",
    "block.attention.value": f"{_BLOCK}.attention.value_proj",
    "block.attention.projection": f"{_BLOCK}.attention.out_proj",
    "block.mlp.0": f"{_BLOCK}.mlp.up_proj",
    "block.mlp.2": f"{_BLOCK}.mlp.down_proj",
    "layer_norm": "model.norm",
    "output": "lm_head",
    "physchem_embed": "model.embed_conditions.known",
    "token_embed_quantum_parameters.weight": f"{_BLOCK}.attention.registers.tokens",
    "position_embed_quantum_parameters": f"{_BLOCK}.attention.registers.positions",
    "physchem_embed_quantum_parameters": f"{_BLOCK}.attention.registers.conditions.known",
    "block.attention.query_angles": f"{_BLOCK}.attention.query_angles",
    "block.attention.key_angles": f"{_BLOCK}.attention.key_angles",
    "reduced_token_embed.weight": f"{_BLOCK}.attention.tables.tokens",
    "reduced_position_embed": f"{_BLOCK}.attention.tables.positions",
    "reduced_physchem_embed": f"{_BLOCK}.attention.tables.conditions.known",
    "block.attention.query": f"{_BLOCK}.attention.query_proj",
    "block.attention.key": f"{_BLOCK}.attention.key_proj",
}


def _is_number(value: Any) -> bool:
    # Python refuses to print integers of thousands of digits.
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | str) or _is_number(value)


def _are_numbers(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_number, value)))


# The other records of a file, with a check for each, since they go into a manifest.
_RECORDED: dict[str, Callable[[Any], bool]] = {
    "epoch": lambda value: value is None or _is_number(value),
    "training_losses": _are_numbers,
    "val_losses": _are_numbers,
    "training_configuration": lambda value: (
        value is None
        or (isinstance(value, dict) and all(map(_is_plain, [*value, *value.values()])))
    ),
}


def from_published(path: str | Path) -> tuple[KetformerForCausalLM, dict[str, Any]]:
    """Our decoder with released weights, and the other records in the file.

    The kind (``overlap``, ``classical`` or ``classical_eq``; with conditions or without)
    and all sizes are read from the weights. The file is opened with
    ``weights_only=True``: nothing in it is executed.

    Args:
        path: a ``.pt`` file of the release.

    Returns:
        The model in evaluation mode, and ``kind``, ``epoch``, ``training_losses``,
        ``val_losses`` and ``training_configuration`` as recorded.

    Raises:
        KetformerError: the file is not a released one, or its weights do not fit together.
    """
    content = _load(Path(path))
    try:
        theirs = {k: v for k, v in content["model_state_dict"].items() if isinstance(v, Tensor)}
        if sum(t.numel() * t.element_size() for t in theirs.values()) > Path(path).stat().st_size:
            raise ValueError("its tensors claim more than the file holds")
        config = _configuration(theirs, content)
        check_memory(config)
        model = KetformerForCausalLM(config).eval()
        ours = _translate(theirs, config)
        model.load_state_dict(ours)
    except Exception as error:  # a crafted file can cause any of them
        raise KetformerError(
            f"{path}: the weights do not fit together ({_in_short(error)})"
        ) from None
    if bad := complaint_about_weights(model):
        raise KetformerError(f"{path}: {bad}")
    conditional = "conditions" if config.condition_names else "sequence"
    kind = f"{config.attention} {conditional}"
    recorded = {key: content.get(key) for key in _RECORDED}
    for key, value in recorded.items():
        if not _RECORDED[key](value):
            raise KetformerError(f"{path}: unexpected value of {key}")
    return model, {"kind": kind, **recorded}


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise KetformerError(f"no file {str(path)!r}")
    if _unpacked_size(path) > path.stat().st_size:
        raise KetformerError(f"{path}: refused, it is compressed and larger than it seems")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise KetformerError(
            f"{path}: refused, it holds more than tensors and plain values, or is not a checkpoint"
        ) from None
    except Exception as error:  # torch raises a dozen kinds for broken checkpoints
        raise KetformerError(f"{path}: not a complete checkpoint ({_in_short(error)})") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_state_dict"), dict):
        raise KetformerError(f"{path}: no model_state_dict, so not a checkpoint of this release")
    return content


def _unpacked_size(path: Path) -> int:
    """The total size that a zip archive gives for its files; torch saves without compression.

    Whatever torch accepts as an archive must be readable here: torch overlooks faults such as
    an unknown version of the format, and would unpack files that were not counted.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\3\4":  # the older format, or not a checkpoint
                return 0
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise KetformerError(f"{path}: not a complete checkpoint ({_in_short(error)})") from None


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _configuration(theirs: dict[str, Tensor], content: dict[str, Any]) -> KetformerConfig:
    """The configuration: sizes are read from the shapes, the rest is the same in all six kinds."""
    attention, options = "classical", {}
    conditional = "physchem_embed.weight" in theirs
    if "block.attention.query_angles" in theirs:
        width = theirs["token_embed_quantum_parameters.weight"].shape[1]
        n_qubits = int((content.get("training_configuration") or {}).get("num_qubits", 6))
        layers = width * (3 if conditional else 2) // n_qubits
        attention = "overlap"
        options = {"angles": "embedding", "n_qubits": n_qubits, "layers": layers}
        options |= {"published_scaling": True} if conditional else {}
    elif "reduced_token_embed.weight" in theirs:
        attention = "classical_eq"
        options = {
            "features": "embedding",
            "feature_width": theirs["reduced_token_embed.weight"].shape[1],
            "query_width": theirs["block.attention.query.weight"].shape[0],
        }
    vocab_size, hidden_size = theirs["token_embed.weight"].shape
    conditions: dict[str, Any] = {}
    if conditional:
        # The release always gives all of them, in their own units.
        count = theirs["physchem_embed.weight"].shape[1]
        conditions = {
            "condition_names": list(PUBLISHED_CONDITIONS[:count]),
            "condition_means": [0.0] * count,
            "condition_stds": [1.0] * count,
            "condition_unknown": False,
        }
    return KetformerConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=theirs["block.mlp.0.weight"].shape[0],
        max_position_embeddings=theirs["position_embed"].shape[-2],
        attention=attention,
        attention_options=options,
        hidden_act="gelu",
        embd_pdrop=0.1,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        mlp_pdrop=0.1,
        **conditions,
    )


def _translate(theirs: dict[str, Tensor], config: KetformerConfig) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        stem, _, kind = name.rpartition(".")
        if name in _NAMES:
            ours[_NAMES[name]] = tensor
        elif stem in _NAMES:
            ours[f"{_NAMES[stem]}.{kind}"] = tensor
        else:
            raise KeyError(f"unknown tensor {name}")
    prefix = f"{_BLOCK}.attention"
    if config.attention == "classical":
        parts = [ours.pop(f"{prefix}.{part}_proj.weight") for part in ("query", "key", "value")]
        ours[f"{prefix}.qkv_proj.weight"] = torch.cat(parts)
    for name, tensor in ours.items():
        if "angles" in name or "position" in name:  # theirs have leading dimensions of 1
            ours[name] = tensor.reshape(-1, tensor.shape[-1])
    if odd := sorted(name for name, tensor in ours.items() if not tensor.is_floating_point()):
        raise ValueError(f"{odd[0]} holds no real numbers")
    return {name: tensor.detach().clone().contiguous() for name, tensor in ours.items()}
