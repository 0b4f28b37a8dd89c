"""Trainer's options for a run directory; those that would fail later or do nothing are refused."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType, Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks

from ketformer.errors import KetformerError
from ketformer.runs import Settings
from ketformer.runs.directory import CHECKPOINTS_FOLDER

# The largest 32-bit float, to which torch's optimisers convert their numbers.
_LARGEST = torch.finfo(torch.float32).max


def training_arguments(settings: Settings, out: Path) -> TrainingArguments:
    """Trainer's arguments, with our defaults; several processes find each other here.

    Nothing is written yet.

    Args:
        settings: settings of the run.
        out: its directory.

    Raises:
        KetformerError: Trainer refuses an option, would fail on it or would ignore it.
    """
    options = _with_defaults(settings.training)
    if settings.early_stopping_patience is not None:
        _prepare_to_stop_early(settings.early_stopping_patience, options)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    try:
        arguments = TrainingArguments(
            output_dir=str(out / CHECKPOINTS_FOLDER),
            remove_unused_columns=False,
            label_names=["shift_labels"],
            prediction_loss_only=True,
            dataloader_pin_memory=not options["use_cpu"],
            disable_tqdm=True,
            **options,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise KetformerError(" ".join(str(error).split())) from None
    _check_ranges(arguments)
    _check_device(arguments)
    _check_libraries(arguments)
    _check_schedule(arguments)
    return arguments


def changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The options that differ between two settings' ``training``, each as ``[before, now]``.

    An option that is not given has its default, so that giving the default changes nothing.
    """
    known = {f.name: f.default for f in fields(TrainingArguments) if f.default is not MISSING}
    old, new = ({**known, **_with_defaults(options)} for options in (before, now))
    return {
        key: [old.get(key), new.get(key)]
        for key in sorted({*before, *now})
        if old.get(key) != new.get(key)
    }


def steps_in_all(arguments: TrainingArguments, rows: int) -> int:
    """The last step of a training on so many rows, as Trainer counts it."""
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    batches = rows / (arguments.train_batch_size * arguments.world_size)
    whole: int = math.floor(batches) if arguments.dataloader_drop_last else math.ceil(batches)
    per_epoch = max(math.ceil(whole / arguments.gradient_accumulation_steps), 1)
    steps: int = math.ceil(arguments.num_train_epochs * per_epoch)
    return steps


def _with_defaults(training: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the options with our defaults where they differ from Trainer's."""
    options = deepcopy(dict(training))
    steps = options.get("max_steps", -1)
    tenth = max(steps // 10, 1) if steps > 0 else 500
    options.setdefault("logging_steps", min(tenth, 50))
    options.setdefault("eval_strategy", "steps")
    options.setdefault("eval_steps", tenth)
    options.setdefault("save_steps", tenth)
    options.setdefault("save_total_limit", 2)
    options.setdefault("report_to", "tensorboard")
    options.setdefault("per_device_eval_batch_size", options.get("per_device_train_batch_size", 8))
    # Without this, torchrun's processes on a machine with only CPUs would not find each other.
    options.setdefault("use_cpu", not torch.accelerator.is_available())
    return options


def _prepare_to_stop_early(patience: int, options: dict[str, Any]) -> None:
    """Have the best weights loaded at the end, and refuse what does not go with early stopping."""
    if patience < 1:
        raise KetformerError(f"early_stopping_patience must be at least 1, got {patience}")
    if not options.setdefault("load_best_model_at_end", True):
        raise KetformerError(
            "early_stopping_patience keeps the best weights: leave out load_best_model_at_end"
        )
    if options.get("greater_is_better"):
        raise KetformerError("early_stopping_patience waits for a lower loss, not a greater one")


def is_sharded(arguments: TrainingArguments) -> bool:
    """Whether FSDP was requested, by the settings or by ``accelerate launch``."""
    return bool(arguments.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def batch_of(arguments: TrainingArguments) -> int:
    """Sequences in a step over all processes."""
    in_turn: int = arguments.train_batch_size * arguments.gradient_accumulation_steps
    at_once: int = arguments.world_size
    return in_turn * at_once


def _check_device(arguments: TrainingArguments) -> None:
    """Refuse options that accelerate silently ignores, training differently than requested."""
    if arguments.device.type == "cpu" and arguments.mixed_precision == "fp16":
        raise KetformerError("fp16 needs a GPU; on a CPU use bf16")
    if is_sharded(arguments):
        if arguments.device.type == "cpu":
            raise KetformerError("FSDP shards over GPUs; on CPUs omit it and use data parallel")
        if arguments.world_size == 1:
            raise KetformerError("FSDP shards over several processes; start them with torchrun")


def _check_ranges(arguments: TrainingArguments) -> None:
    """Refuse values on which Trainer, torch or numpy would fail in the middle of a run."""
    least = {
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": 0,
        "weight_decay": 0,
        "adam_epsilon": 0,
        "seed": 0,
        "dataloader_num_workers": 0,
    }
    for key, bound in least.items():
        if getattr(arguments, key) < bound:
            raise KetformerError(f"{key} must be at least {bound}, got {getattr(arguments, key)}")
        if getattr(arguments, key) > _LARGEST:
            raise KetformerError(f"{key} must fit into 32 bits, got {getattr(arguments, key)}")
    for key in ("adam_beta1", "adam_beta2"):
        if not 0 <= getattr(arguments, key) < 1:
            raise KetformerError(f"{key} must lie in [0, 1), got {getattr(arguments, key)}")
    if arguments.max_steps == 0 or arguments.max_steps < -1:
        raise KetformerError(f"max_steps must be positive, got {arguments.max_steps}")
    if arguments.max_steps == -1 and arguments.num_train_epochs <= 0:
        raise KetformerError(f"num_train_epochs must be positive, got {arguments.num_train_epochs}")
    if arguments.dataloader_persistent_workers and arguments.dataloader_num_workers == 0:
        raise KetformerError("dataloader_persistent_workers needs dataloader_num_workers above 0")
    if arguments.metric_for_best_model not in (None, "loss", "eval_loss"):
        raise KetformerError(
            f"metric_for_best_model must be loss, got {arguments.metric_for_best_model!r}"
        )


def _check_libraries(arguments: TrainingArguments) -> None:
    """Refuse a tracker or an optimiser whose library is missing, before a file is written."""
    if arguments.use_liger_kernel:
        raise KetformerError("use_liger_kernel: Liger has no kernels for Ketformer's models")
    with _silent_finalizers():
        try:
            for callback in get_reporting_integration_callbacks(arguments.report_to):
                callback()
            Trainer.get_optimizer_cls_and_kwargs(arguments)
        except (ValueError, ImportError, RuntimeError) as error:
            complaint = " ".join(str(error).split())
        else:
            return
    raise KetformerError(complaint)


def _check_schedule(arguments: TrainingArguments) -> None:
    """Refuse a schedule that lacks an option or has a wrong one, before a file is written."""
    steps = max(arguments.max_steps, 1)
    weight = torch.nn.Parameter(torch.zeros(1))
    try:
        get_scheduler(
            arguments.lr_scheduler_type,
            optimizer=torch.optim.SGD([weight], lr=arguments.learning_rate),
            num_warmup_steps=arguments.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )
    except (ValueError, TypeError, ArithmeticError) as error:
        said = " ".join(str(error).split())
        name = SchedulerType(arguments.lr_scheduler_type).value
        raise KetformerError(f"lr_scheduler_type {name}: {said}") from None


@contextmanager
def _silent_finalizers() -> Iterator[None]:
    """Silence trackers that failed half-made and would complain again when they are deleted."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
