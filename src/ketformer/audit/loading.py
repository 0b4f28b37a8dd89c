"""Models to audit by name: a folder that transformers saved, or ``package.module:factory``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from torch import nn

from ketformer.errors import KetformerError, one_line
from ketformer.utils.importing import import_target


def load_model(path: str | Path) -> nn.Module:
    """The causal language model, or the encoder-decoder, that transformers saved into a folder.

    Nothing is downloaded, and no code in the folder is run.

    Raises:
        KetformerError: transformers cannot load it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    known = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(path, **known)
        auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model: nn.Module = auto.from_pretrained(path, config=config, **known)
    except KetformerError:
        raise
    except Exception as error:  # transformers raises many types
        raise KetformerError(
            f"{path}: transformers cannot load this model: {one_line(error)}"
        ) from error
    return model


def import_model(target: str) -> Any:
    """What ``package.module:factory`` makes, from an installed package or the current folder.

    Args:
        target: names a torch module; a function or class that is called without arguments and
            returns the model; or a function of token ids, which is the model itself.

    Raises:
        KetformerError: it cannot be imported, or the factory fails.
    """
    found = import_target(target, "--model", "package.module:factory")
    if isinstance(found, nn.Module) or not callable(found) or _needs_arguments(found):
        return found
    try:
        return found()
    except KetformerError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise KetformerError(f"--model {target}: {one_line(error)}") from error


def _needs_arguments(factory: Any) -> bool:
    """Whether it is a function of the ids, not a factory."""
    if isinstance(factory, type):
        return False
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
