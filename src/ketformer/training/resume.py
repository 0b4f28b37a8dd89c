"""Resuming a run: which checkpoint, and whether it fits the settings and the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerState, TrainingArguments

from ketformer.errors import KetformerError
from ketformer.runs import Settings, load_settings
from ketformer.runs.directory import SETTINGS_FILE, WEIGHTS_FILE, read_manifest
from ketformer.tasks.base import Prepared
from ketformer.training.arguments import (
    batch_of,
    changed_options,
    is_sharded,
    steps_in_all,
)
from ketformer.training.callbacks import evaluations_in_vain
from ketformer.training.checkpoints import last_checkpoint, processes_of, step_of

# Options that what is already done depends on, and why.
_OPTIMISER = "the checkpoint holds the state of the first"
_ORDER = "it orders or splits the data"
_FIXED = {
    "optim": _OPTIMISER,
    "optim_args": _OPTIMISER,
    "optim_target_modules": _OPTIMISER,
    "seed": _ORDER,
    "data_seed": _ORDER,
    "train_sampling_strategy": _ORDER,
    "length_column_name": _ORDER,
    "dataloader_drop_last": _ORDER,
    "accelerator_config": _ORDER,
    "greater_is_better": "the best checkpoint so far was chosen by it",
}
# Schedules that follow the losses, not the steps, and the options that make a schedule.
_FEEDBACK = ("reduce_lr_on_plateau", "greedy")
_SCHEDULE = ("lr_scheduler_type", "lr_scheduler_kwargs", "learning_rate", "warmup_steps")
# Options that say something of a run that is not trained any further.
_WITHOUT_A_STEP = {
    "max_steps",
    "num_train_epochs",
    "per_device_eval_batch_size",
    "report_to",
    "use_cpu",
}


def checkpoint_to_resume(
    out: Path,
    settings: Settings,
    data: Prepared,
    arguments: TrainingArguments,
    rows: int,
    began: Mapping[str, Any] | None = None,
) -> str | None:
    """The newest whole checkpoint of a run; None if there is none yet.

    Args:
        out: the run directory.
        settings: those to go on with.
        data: the data to go on with.
        arguments: Trainer's arguments of these settings.
        rows: the number of sequences to train on.
        began: the run that it begins with, as in the manifest.

    Raises:
        KetformerError: it was made with another model or other data, only one of the checkpoint
            and this run is sharded, an option cannot change on the way, or the run is finished
            and has no checkpoint.
    """
    checkpoint = last_checkpoint(out, say=arguments.process_index == 0)
    if checkpoint:
        _check_same_run(out, settings, data, began)
        _check_options(out, settings, arguments, checkpoint, rows)
        _check_same_way(out, arguments, checkpoint)
    elif (out / WEIGHTS_FILE).is_file():
        raise KetformerError(
            f"{out} has a trained model, but no checkpoint to resume; choose another --out"
        )
    return checkpoint


def finished_state(
    checkpoint: str | None, arguments: TrainingArguments, rows: int, patience: int | None = None
) -> TrainerState | None:
    """The state of a checkpoint at the last step, from which Trainer would take one more.

    Args:
        checkpoint: its path, if there is one.
        arguments: Trainer's arguments.
        rows: the number of sequences to train on.
        patience: of early stopping, which may have ended the training before.
    """
    if checkpoint is None:
        return None
    file = Path(checkpoint) / "trainer_state.json"
    try:
        state = TrainerState.load_from_json(str(file))
        stopped = patience is not None and evaluations_in_vain(state) >= patience
        return state if stopped or steps_in_all(arguments, rows) <= state.global_step else None
    except (TypeError, ValueError, OSError) as error:
        raise KetformerError(f"{file}: {error}") from None


def chosen_checkpoint(
    state: TrainerState, checkpoint: str | None, arguments: TrainingArguments
) -> str:
    """The checkpoint whose weights a finished run ends with: the best one if asked, or the last."""
    best = state.best_model_checkpoint if arguments.load_best_model_at_end else None
    return str(Path(arguments.output_dir) / Path(best).name) if best else str(checkpoint)


def resumed_at(
    out: Path, settings: Settings, arguments: TrainingArguments, checkpoint: str
) -> list[dict[str, Any]]:
    """The steps at which the run was resumed, and what changed there, as ``[before, now]``.

    A resume whose steps were lost, because the run goes on from before them, is left out.
    """
    step, wrote = step_of(checkpoint), processes_of(checkpoint)
    changed = _changed(out, settings, checkpoint)
    if wrote != arguments.world_size:
        changed["processes"] = [wrote, arguments.world_size]
    earlier = [row for row in read_manifest(out).get("resumed", []) if row["step"] < step]
    return [*earlier, {"step": step, "changed": changed}]


def _changed(out: Path, settings: Settings, checkpoint: str) -> dict[str, list[Any]]:
    """The training options that differ from those the checkpoint was trained with."""
    own = Path(checkpoint) / SETTINGS_FILE  # older checkpoints have none
    before = load_settings(str(own if own.is_file() else out / SETTINGS_FILE))
    return changed_options(before.training, settings.training)


def _check_options(
    out: Path, settings: Settings, arguments: TrainingArguments, checkpoint: str, rows: int
) -> None:
    """Refuse options that cannot be what the rest of the run is trained with."""
    if not (Path(checkpoint) / "scheduler.pt").is_file():
        raise KetformerError(
            f"{checkpoint} holds only the model (save_only_model); training cannot go on from it"
        )
    changed = _changed(out, settings, checkpoint)
    fixed = dict(_FIXED)
    schedules = (arguments.lr_scheduler_type, *changed.get("lr_scheduler_type", ()))
    if any(schedule in _FEEDBACK for schedule in schedules):
        fixed |= dict.fromkeys(_SCHEDULE, "a schedule that follows the losses keeps its own rate")
    if arguments.auto_find_batch_size:
        fixed["per_device_train_batch_size"] = "auto_find_batch_size keeps the one it found"
    for key, (before, now) in changed.items():
        if key in fixed:
            raise KetformerError(
                f"{key} cannot change from {before} to {now} in the middle of {out}: "
                f"{fixed[key]}; choose another --out"
            )
    done, total = step_of(checkpoint), steps_in_all(arguments, rows)
    if done > total:
        raise KetformerError(
            f"{out} has trained {done} steps, more than the {total} requested; choose --max_steps "
            f"{done} or more, or another --out"
        )
    if done == total and (idle := sorted(changed.keys() - _WITHOUT_A_STEP)):
        raise KetformerError(
            f"{out} has trained all of its {done} steps, so {' and '.join(idle)} would change "
            "nothing; raise --max_steps to train on"
        )


def _check_same_run(
    out: Path, settings: Settings, data: Prepared, began: Mapping[str, Any] | None
) -> None:
    """A run is resumed with the model and the data that it was begun with."""
    before, now = load_settings(str(out / SETTINGS_FILE)).to_dict(), settings.to_dict()
    own = (
        "name",
        "data",
        "training",
        "early_stopping_patience",
    )  # may change; the data is compared by its hash
    keys = [key for key in now if key not in own]
    if changed := [key for key in keys if before.get(key) != now[key]]:
        raise KetformerError(
            f"{out} was begun with another {' and '.join(changed)}; choose another --out"
        )
    manifest = read_manifest(out)
    if began and manifest.get("init", {}).get("weights_sha256") != began["weights_sha256"]:
        raise KetformerError(
            f"{out} was begun with other weights than {began['run']} has now; choose another --out"
        )
    if manifest.get("data", {}).get("sha256") != data.facts["sha256"]:
        raise KetformerError(f"{out} was begun on other data than {data.facts['name']} is now")


def _check_same_way(out: Path, arguments: TrainingArguments, checkpoint: str) -> None:
    """Refuse a sharded checkpoint for a whole run or the reverse; warn of other differences."""
    sharded = any(Path(checkpoint).glob("pytorch_model_fsdp*"))
    if sharded != is_sharded(arguments):
        kind, how = ("sharded", "with --fsdp true") if sharded else ("not sharded", "without FSDP")
        raise KetformerError(f"{checkpoint} is {kind}; resume it {how}")
    if arguments.process_index > 0:  # the first one warns
        return
    if (wrote := processes_of(checkpoint)) != arguments.world_size:
        warnings.warn(
            f"{Path(checkpoint).name} was written by {wrote} processes, not "
            f"{arguments.world_size}: the run continues, but rounding and dropout differ",
            stacklevel=2,
        )
    before, now = read_manifest(out).get("batch"), batch_of(arguments)
    if before not in (None, now):
        warnings.warn(
            f"a step had {before} sequences and now has {now}; processes times "
            "per_device_train_batch_size times gradient_accumulation_steps keeps it",
            stacklevel=2,
        )
