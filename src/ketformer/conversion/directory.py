"""The ``convert`` command: a saved Hugging Face model becomes one with other attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from ketformer.conversion.conversion import convert
from ketformer.conversion.distill import Distillation
from ketformer.conversion.names import ARCHITECTURES, original_type
from ketformer.errors import KetformerError
from ketformer.tasks.datasets import load_text
from ketformer.utils.choices import Init
from ketformer.utils.files import new_folder, write_json
from ketformer.utils.mappings import read_json

#: What was done, beside the converted model.
REPORT_FILE = "conversion.json"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def convert_directory(
    folder: str | Path,
    out: str | Path,
    attention: str,
    layers: Literal["all"] | Sequence[int],
    init: Init,
    *,
    data: str | None = None,
    attention_options: dict[str, Any] | None = None,
    distillation: Distillation | None = None,
) -> dict[str, Any]:
    """Convert a model that ``save_pretrained`` wrote; its tokenizer comes along.

    Nothing is fetched, and no code in the folder is run. If anything fails, nothing is written.

    Args:
        folder: the model.
        out: folder for the converted model; new or empty.
        attention: as in :func:`~ketformer.convert`, like the next ones.
        layers: numbers of the layers.
        init: what the new attentions start from.
        data: the calibration text: a data set's name or a path.
        attention_options: options of the mechanism.
        distillation: how the attentions are fitted.

    Returns:
        The report of :func:`~ketformer.convert`, the number of ``parameters``, and ``out``. It is
        also written into the folder.

    Raises:
        KetformerError: a folder or text that cannot be used; or see :func:`~ketformer.convert`.
    """
    folder, out = Path(folder), Path(out)
    model_type = str(read_json(folder / "config.json").get("model_type"))
    if original_type(model_type) not in ARCHITECTURES:
        raise KetformerError(
            f"{folder}: a model of type {model_type!r} cannot be converted, only "
            f"{', '.join(ARCHITECTURES)}"
        )
    with new_folder(out) as part:
        text = None if data is None else load_text(data).text
        tokenizer = _tokenizer(folder)
        if text is not None and tokenizer is None:
            raise KetformerError(f"{folder}: no tokenizer, so --data cannot be read")
        model = _model(folder)
        converted = convert(
            model,
            attention,
            layers,
            init,
            calibration=text,
            tokenizer=tokenizer,
            distillation=distillation,
            attention_options=attention_options,
        )
        converted.save_pretrained(part)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        parameters = sum(p.numel() for p in converted.parameters())
        report = {"out": str(out), "parameters": parameters, **(converted.conversion or {})}
        write_json(part / REPORT_FILE, report)
    return report


def _model(folder: Path) -> Any:
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, KetformerError):
            raise
        raise KetformerError(f"{folder}: cannot be loaded ({_first_line(error)})") from None
    if lacking := sorted(info["missing_keys"]):  # transformers would draw them
        raise KetformerError(f"{folder}: the saved weights lack {lacking[0]}")
    return model


def _tokenizer(folder: Path) -> Any:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise KetformerError(f"{folder}: unusable tokenizer ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
