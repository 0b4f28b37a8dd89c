"""One verb: train. Hugging Face Trainer does the work; this hands it data and keeps the run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.integrations import TensorBoardCallback

from ketformer.attention.measured import measured_by
from ketformer.errors import KetformerError
from ketformer.generation.preview import sample_of
from ketformer.models import KetformerForCausalLM
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of
from ketformer.runs import Settings, open_run, read_metrics
from ketformer.runs.card import write_run_card
from ketformer.runs.data import as_prepared, build_model, prepare
from ketformer.runs.directory import (
    MANIFEST_FILE,
    SAMPLES_FOLDER,
    SETTINGS_FILE,
    make_manifest,
    save_model,
    write_metrics,
)
from ketformer.tasks.base import Prepared, Rows, WholeBatches
from ketformer.training.arguments import batch_of, is_sharded, training_arguments
from ketformer.training.callbacks import (
    Epochs,
    MetricsFile,
    OldModel,
    ProgressBar,
    StopOnSignal,
    TensorBoard,
)
from ketformer.training.checkpoints import clear_unusable, step_of
from ketformer.training.failures import surviving, writing
from ketformer.training.resume import (
    checkpoint_to_resume,
    chosen_checkpoint,
    finished_state,
    resumed_at,
)
from ketformer.training.trainer import SafeTrainer, read_losses
from ketformer.utils.files import write_json, write_text
from ketformer.utils.locks import alone_in_out, contents


@alone_in_out
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
        resume: continue from the last whole checkpoint in ``out``, if there is one.
        progress: show a bar on standard error.
        label: what the bar calls the run.
        data_sha256: what the data must hash to, if it must.

    Returns:
        The run's path, steps, parameters, final training and validation loss, seconds.

    Raises:
        KetformerError: the directory exists or is in use by another process, or a setting does
            not fit.
    """
    out = Path(out)
    if contents(out) and not resume:
        raise KetformerError(f"{out} exists; choose another --out, or --resume it")
    arguments = training_arguments(settings, out)
    settings = settings.override({"seed": arguments.seed})  # what is saved says which
    data = _prepared(settings, arguments, data_sha256, progress)
    settings = as_prepared(settings, data)
    set_seed(arguments.seed)
    model = build_model(settings, data)
    measured = _measured(settings, model)
    sets = data.training_sets(model.config.max_position_embeddings)
    rows = len(sets[0])
    checkpoint = checkpoint_to_resume(out, settings, data, arguments, rows) if resume else None
    finished = finished_state(checkpoint, arguments, rows)
    if finished:
        weights = chosen_checkpoint(finished, checkpoint, arguments)
        model = KetformerForCausalLM.from_pretrained(weights)
    stop, bar = StopOnSignal(out), ProgressBar(label)
    callbacks = [
        OldModel(out, model.config),
        Epochs(sets[0]),
        MetricsFile(out),
        *([bar] if progress else []),
        stop,
    ]
    trainer = _trainer(out, model, arguments, sets, callbacks)
    if arguments.process_index == 0:
        _begin(out, settings, data, model, arguments, checkpoint)
    if finished:
        loss, seconds = _restore(trainer, finished, str(checkpoint)), 0.0
    else:
        with measured(model), surviving(out), stop.listening(), closing(bar):
            result = trainer.train(resume_from_checkpoint=checkpoint)
        loss, seconds = result.metrics["train_loss"], result.metrics["train_runtime"]
    with measured(model):
        eval_loss = _validation_loss(trainer)
    summary = {
        "run": str(out),
        "attention": model.config.attention_name,
        "parameters": model.num_parameters(),
        "steps": trainer.state.global_step,
        "train_loss": loss,
        "eval_loss": eval_loss,
        "seconds": seconds,
        "causal": model.is_causal,
    }
    _save(out, trainer, model, data)
    return summary


def _prepared(
    settings: Settings, arguments: TrainingArguments, sha256: str | None, progress: bool
) -> Prepared:
    """The data, if it is what it must be; the first process fills the caches for the others."""
    with arguments.main_process_first(desc="data"):
        data = prepare(settings, progress=progress)
    found = data.facts["sha256"]
    if sha256 and found != sha256:
        raise KetformerError(
            f"{settings.data} has changed: its SHA-256 is {found[:12]}…, not {sha256[:12]}…"
        )
    return data


def _trainer(
    out: Path,
    model: KetformerForCausalLM,
    arguments: TrainingArguments,
    sets: tuple[Rows, Rows],
    callbacks: list[TrainerCallback],
) -> SafeTrainer:
    """Hugging Face's trainer, which prints nothing of its own."""
    try:
        trainer = SafeTrainer(
            out,
            model=model,
            args=arguments,
            train_dataset=WholeBatches(sets[0]),
            eval_dataset=WholeBatches(sets[1]),
            data_collator=_counted,
            callbacks=callbacks,
        )
    except (ValueError, ImportError) as error:  # a package that an option needs, say
        raise KetformerError(" ".join(str(error).split())) from None
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback):
        trainer.add_callback(TensorBoard())
    return trainer


def _restore(trainer: SafeTrainer, finished: TrainerState, checkpoint: str) -> float:
    """Take over the state of a finished run, and return its mean training loss."""
    finished.is_world_process_zero = trainer.is_world_process_zero()
    trainer.state = finished
    losses = read_losses(checkpoint, trainer.args.process_index)
    mean: float = (losses["total"] + losses["running"]) / finished.global_step
    return mean


def _validation_loss(trainer: SafeTrainer) -> float:
    """The loss after the last step: logged already, or computed now."""
    step = trainer.state.global_step
    logged = [row for row in trainer.state.log_history if row["step"] == step]
    losses = [row["eval_loss"] for row in logged if "eval_loss" in row]
    loss: float = losses[-1] if losses else trainer.evaluate()["eval_loss"]
    return loss


def _save(out: Path, trainer: SafeTrainer, model: KetformerForCausalLM, data: Prepared) -> None:
    """Write the model, its card and a sample; the other processes wait for the first one."""
    weights = None
    if trainer.is_fsdp_enabled:  # gathered by all of them
        weights = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.args.process_index == 0:
        with writing(out, f"the model of {out}"):
            save_model(out, model, data.tokenizer, weights)
            write_run_card(out, model.config)
        sample = out / SAMPLES_FOLDER / f"step-{trainer.state.global_step}.txt"
        write_text(sample, sample_of(open_run(out)).strip() + "\n")
    trainer.accelerator.wait_for_everyone()


def _measured(
    settings: Settings, model: KetformerForCausalLM
) -> Callable[[KetformerForCausalLM], AbstractContextManager[Any]]:
    """A context in which a model's circuits run on the settings' backend, if there is one."""
    if settings.backend is None:
        return nullcontext
    options = {"seed": settings.training["seed"], **settings.backend_options}
    backend = open_backend(settings.backend, **options, noise=settings.noise)
    backend.require_outcomes()
    expect = outcomes_of(backend, settings.gradient, seed=settings.training["seed"])
    with measured_by(model, expect):  # a model without circuits is refused before a file is made
        return partial(measured_by, expect=expect)


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
    resumed = resumed_at(out, settings, arguments, checkpoint) if checkpoint else []
    write_text(out / SETTINGS_FILE, yaml.safe_dump(settings.to_dict(), sort_keys=False))
    manifest = make_manifest(
        data={
            **data.facts,
            "split": settings.split,
            **({"train_fraction": settings.train_fraction} if settings.train_fraction < 1 else {}),
        },
        seed=arguments.seed,
        processes=arguments.world_size,
        batch=batch_of(arguments),
        sharded=is_sharded(arguments),
        mixed_precision=arguments.mixed_precision,
        attention=model.config.attention_name,
        parameters=model.num_parameters(),
        causal=model.is_causal,
        resumed=resumed,
        **({"packages": packages} if (packages := settings.packages()) else {}),
    )
    write_json(out / MANIFEST_FILE, manifest)
    clear_unusable(out, checkpoint)
    done = step_of(checkpoint) if checkpoint else 0
    write_metrics(out, [row for row in read_metrics(out) if row["step"] <= done])


def _counted(batch: dict[str, Any]) -> dict[str, Any]:
    """A whole batch, as the data set makes it, with the key whose targets Trainer counts.

    Each target then weighs the same, however many processes and accumulated batches a step
    is spread over.
    """
    return {**batch, "labels": batch["shift_labels"]}
