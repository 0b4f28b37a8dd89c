"""Resuming a run: which checkpoint, and whether it fits the settings and the data."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from transformers import TrainerState, TrainingArguments

from ketformer.errors import KetformerError
from ketformer.runs import Settings, load_settings
from ketformer.runs.directory import SETTINGS_FILE, read_manifest
from ketformer.tasks.base import Prepared
from ketformer.training.arguments import batch_of, is_sharded
from ketformer.training.checkpoints import last_checkpoint, processes_of, step_of


def checkpoint_to_resume(
    out: Path, settings: Settings, data: Prepared, arguments: TrainingArguments
) -> str | None:
    """The newest whole checkpoint of a run; None if there is none yet.

    Raises:
        KetformerError: it was made with another model or other data, or only one of the
            checkpoint and this run is sharded.
    """
    checkpoint = last_checkpoint(out, say=arguments.process_index == 0)
    if checkpoint:
        _check_same_run(out, settings, data)
        _check_same_way(out, arguments, checkpoint)
    return checkpoint


def finished_state(checkpoint: str | None, arguments: TrainingArguments) -> TrainerState | None:
    """The state of a checkpoint at the last step, from which Trainer would take one more."""
    if checkpoint is None:
        return None
    file = Path(checkpoint) / "trainer_state.json"
    try:
        state = TrainerState.load_from_json(str(file))
        return state if 0 < arguments.max_steps <= state.global_step else None
    except (TypeError, ValueError, OSError) as error:
        raise KetformerError(f"{file}: {error}") from None


def chosen_checkpoint(
    state: TrainerState, checkpoint: str | None, arguments: TrainingArguments
) -> str:
    """The checkpoint whose weights a finished run ends with: the best one if asked, or the last."""
    best = state.best_model_checkpoint if arguments.load_best_model_at_end else None
    return str(Path(arguments.output_dir) / Path(best).name) if best else str(checkpoint)


def resumed_at(out: Path, settings: Settings, checkpoint: str) -> list[dict[str, Any]]:
    """The steps at which the run was resumed, and the training options that changed there."""
    before, now = load_settings(str(out / SETTINGS_FILE)).training, settings.training
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    earlier = read_manifest(out).get("resumed", [])
    return [*earlier, {"step": step_of(checkpoint), "changed": changed}]


def _check_same_run(out: Path, settings: Settings, data: Prepared) -> None:
    """A run is resumed with the model and the data that it was begun with."""
    before, now = load_settings(str(out / SETTINGS_FILE)).to_dict(), settings.to_dict()
    own = ("name", "data", "training")  # may change; the data is compared by its hash
    keys = [key for key in now if key not in own]
    if changed := [key for key in keys if before.get(key) != now[key]]:
        raise KetformerError(
            f"{out} was begun with another {' and '.join(changed)}; choose another --out"
        )
    if read_manifest(out).get("data", {}).get("sha256") != data.facts["sha256"]:
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
