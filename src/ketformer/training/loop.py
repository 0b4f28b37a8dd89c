"""One verb: train. Hugging Face Trainer does the work; this hands it data and keeps the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from transformers import (
    PrinterCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from ketformer.attention.measured import measured_by
from ketformer.errors import KetformerError
from ketformer.generation.preview import sample_of
from ketformer.models import KetformerForCausalLM
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of
from ketformer.runs import Settings, load_settings, open_run, read_metrics
from ketformer.runs.card import write_run_card
from ketformer.runs.data import build_model, prepare
from ketformer.runs.directory import (
    MANIFEST_FILE,
    SAMPLES_FOLDER,
    SETTINGS_FILE,
    make_manifest,
    read_manifest,
    save_model,
    write_metrics,
)
from ketformer.tasks.base import Prepared
from ketformer.training.arguments import is_sharded, training_arguments
from ketformer.training.callbacks import MetricsFile, ProgressBar, StopOnSignal
from ketformer.training.checkpoints import clear_unusable, last_checkpoint, processes_of, step_of
from ketformer.training.failures import surviving, writing
from ketformer.training.trainer import SafeTrainer, read_losses
from ketformer.utils.files import write_json, write_text


def train(
    settings: Settings,
    out: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    label: str = "train",
    data_sha256: str | None = None,
) -> dict[str, Any]:
    """Train one model into a run directory.

    Works alone or as one of several processes under ``torchrun`` or ``accelerate launch``,
    where each takes its share of the batches and the first one writes.

    Args:
        settings: what to train on what.
        out: the run directory; it must be new unless ``resume``.
        resume: go on from the last whole checkpoint in ``out``, if there is one.
        progress: show a bar on standard error.
        label: what the bar calls the run.
        data_sha256: what the data must hash to, if it must.

    Returns:
        The run's path, steps, parameters, final training and validation loss, seconds.

    Raises:
        KetformerError: the directory exists, or a setting does not fit.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not resume:
        raise KetformerError(f"{out} exists; choose another --out, or --resume it")
    arguments = training_arguments(settings, out)
    settings = settings.override({"seed": arguments.seed})  # what is saved says which
    first = arguments.process_index == 0
    with arguments.main_process_first(desc="data"):  # one of them fills the caches
        data = prepare(settings, progress=progress)
    if data_sha256 and data.facts["sha256"] != data_sha256:
        raise KetformerError(
            f"{settings.data} has changed: its SHA-256 is {data.facts['sha256'][:12]}…, "
            f"not {data_sha256[:12]}…"
        )
    set_seed(arguments.seed)
    model = build_model(settings, data)
    measured = _measured(settings, model)
    train_set, validation_set = data.training_sets(model.config.max_position_embeddings)
    checkpoint = last_checkpoint(out, say=first) if resume else None
    if checkpoint:
        _check_same_run(out, settings, data)
        _check_same_way(out, arguments, checkpoint)
    if first:
        _begin(out, settings, data, model, arguments, checkpoint)
    finished = _finished_state(checkpoint, arguments)
    if finished:
        model = KetformerForCausalLM.from_pretrained(_chosen(finished, checkpoint, arguments))
    stop, bar = StopOnSignal(out), ProgressBar(label)
    try:
        trainer = SafeTrainer(
            out,
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=validation_set,
            data_collator=_counted,
            callbacks=[MetricsFile(out), *([bar] if progress else []), stop],
        )
    except (ValueError, ImportError) as error:  # a package that an option needs, say
        raise KetformerError(" ".join(str(error).split())) from None
    trainer.remove_callback(PrinterCallback)
    if finished:
        finished.is_world_process_zero = trainer.is_world_process_zero()
        trainer.state = finished
        losses = read_losses(str(checkpoint), arguments.process_index)
        loss, seconds = (losses["total"] + losses["running"]) / finished.global_step, 0.0
    else:
        with measured(model), surviving(out), stop.listening(), closing(bar):
            result = trainer.train(resume_from_checkpoint=checkpoint)
        loss, seconds = result.metrics["train_loss"], result.metrics["train_runtime"]
    eval_loss = _last_logged(trainer.state, "eval_loss", at=trainer.state.global_step)
    if eval_loss is None:
        with measured(model):
            eval_loss = trainer.evaluate()["eval_loss"]
    summary = {
        "run": str(out),
        "attention": model.config.attention,
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "train_loss": loss,
        "eval_loss": eval_loss,
        "seconds": seconds,
        "causal": model.is_causal,
    }
    weights = None
    if trainer.is_fsdp_enabled:  # gathered by all of them
        weights = trainer.accelerator.get_state_dict(trainer.model)
    if first:
        with writing(out, f"the model of {out}"):
            save_model(out, model, data.tokenizer, weights)
            write_run_card(out, model.config)
        sample = out / SAMPLES_FOLDER / f"step-{trainer.state.global_step}.txt"
        write_text(sample, sample_of(open_run(out)).strip() + "\n")
    trainer.accelerator.wait_for_everyone()
    return summary


def _measured(
    settings: Settings, model: KetformerForCausalLM
) -> Callable[[KetformerForCausalLM], AbstractContextManager[Any]]:
    """A context in which a model's circuits run on the settings' backend, if there is one."""
    if settings.backend is None:
        return nullcontext
    options = {"seed": settings.training["seed"], **settings.backend_options}
    backend = open_backend(settings.backend, **options, noise=settings.noise)
    expect = outcomes_of(backend, settings.gradient, seed=settings.training["seed"])
    with measured_by(model, expect):  # a model without circuits is refused before a file is made
        return partial(measured_by, expect=expect)


def _check_same_run(out: Path, settings: Settings, data: Prepared) -> None:
    """A checkpoint goes on with the model and the data that it was made with."""
    before, now = load_settings(str(out / SETTINGS_FILE)).to_dict(), settings.to_dict()
    own = ("name", "data", "training")  # may change; the data is known by its hash
    keys = [key for key in now if key not in own]
    if changed := [key for key in keys if before.get(key) != now[key]]:
        raise KetformerError(
            f"{out} was begun with another {' and '.join(changed)}; choose another --out"
        )
    if read_manifest(out).get("data", {}).get("sha256") != data.facts["sha256"]:
        raise KetformerError(f"{out} was begun on other data than {data.facts['name']} is now")


def _check_same_way(out: Path, arguments: TrainingArguments, checkpoint: str) -> None:
    """Sharded and whole checkpoints do not read each other; what else is not as it was is told."""
    sharded = any(Path(checkpoint).glob("pytorch_model_fsdp*"))
    if sharded != is_sharded(arguments):
        kind, how = ("sharded", "with --fsdp true") if sharded else ("not sharded", "without FSDP")
        raise KetformerError(f"{checkpoint} is {kind}; resume it {how}")
    if arguments.process_index > 0:  # the first one tells
        return
    if (wrote := processes_of(checkpoint)) != arguments.world_size:
        warnings.warn(
            f"{Path(checkpoint).name} was written by {wrote} processes, not "
            f"{arguments.world_size}: the run goes on, but rounded and dropped out otherwise",
            stacklevel=2,
        )
    before, now = read_manifest(out).get("batch"), _batch(arguments)
    if before not in (None, now):
        warnings.warn(
            f"a step had {before} sequences and now has {now}; processes times "
            "per_device_train_batch_size times gradient_accumulation_steps keeps it",
            stacklevel=2,
        )


def _batch(arguments: TrainingArguments) -> int:
    """Sequences in a step, of all processes."""
    in_turn: int = arguments.train_batch_size * arguments.gradient_accumulation_steps
    at_once: int = arguments.world_size
    return in_turn * at_once


def _finished_state(checkpoint: str | None, arguments: TrainingArguments) -> TrainerState | None:
    """The state of a checkpoint that is the last step already; Trainer would take one more."""
    if checkpoint is None:
        return None
    file = Path(checkpoint) / "trainer_state.json"
    try:
        state = TrainerState.load_from_json(str(file))
        return state if 0 < arguments.max_steps <= state.global_step else None
    except (TypeError, ValueError, OSError) as error:
        raise KetformerError(f"{file}: {error}") from None


def _chosen(state: TrainerState, checkpoint: str | None, arguments: TrainingArguments) -> str:
    """The checkpoint whose weights a run that has made its last step ends with."""
    best = state.best_model_checkpoint if arguments.load_best_model_at_end else None
    return str(Path(arguments.output_dir) / Path(best).name) if best else str(checkpoint)


def _last_logged(state: TrainerState, key: str, at: int | None = None) -> float | None:
    """The newest value in Trainer's log, of any step or of one."""
    values = [row[key] for row in state.log_history if key in row and at in (None, row["step"])]
    return values[-1] if values else None


def _begin(
    out: Path,
    settings: Settings,
    data: Prepared,
    model: KetformerForCausalLM,
    arguments: TrainingArguments,
    checkpoint: str | None,
) -> None:
    """Write what is known before the first step, and cut the metrics back to the checkpoint."""
    out.mkdir(parents=True, exist_ok=True)
    resumed = _resumed(out, settings, checkpoint) if checkpoint else []
    write_text(out / SETTINGS_FILE, yaml.safe_dump(settings.to_dict(), sort_keys=False))
    manifest = make_manifest(
        data={**data.facts, "split": settings.split},
        seed=arguments.seed,
        processes=arguments.world_size,
        batch=_batch(arguments),
        sharded=is_sharded(arguments),
        mixed_precision=arguments.mixed_precision,
        attention=model.config.attention,
        parameters=model.num_parameters(),
        causal=model.is_causal,
        resumed=resumed,
        **({"packages": packages} if (packages := settings.packages()) else {}),
    )
    write_json(out / MANIFEST_FILE, manifest)
    clear_unusable(out, checkpoint)
    done = step_of(checkpoint) if checkpoint else 0
    write_metrics(out, [row for row in read_metrics(out) if row["step"] <= done])


def _resumed(out: Path, settings: Settings, checkpoint: str) -> list[dict[str, Any]]:
    """From which steps the run went on, and which training options changed there."""
    before, now = load_settings(str(out / SETTINGS_FILE)).training, settings.training
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    earlier = read_manifest(out).get("resumed", [])
    return [*earlier, {"step": step_of(checkpoint), "changed": changed}]


def _counted(batch: dict[str, Any]) -> dict[str, Any]:
    """A whole batch, as the data set makes it, with the key whose targets Trainer counts.

    Each target then weighs the same, however many processes and accumulated batches a step
    is spread over.
    """
    return {**batch, "labels": batch["shift_labels"]}
