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
    Run,
    make_manifest,
    read_manifest,
    save_model,
    write_metrics,
)
from ketformer.runs.fine_tuning import begin_with, first_run, trained
from ketformer.tasks.base import Prepared, Rows, WholeBatches
from ketformer.training.arguments import batch_of, is_sharded, training_arguments
from ketformer.training.callbacks import (
    EarlyStop,
    Epochs,
    MetricsFile,
    OldModel,
    ProgressBar,
    StopOnSignal,
    TensorBoard,
    evaluations_in_vain,
)
from ketformer.training.checkpoints import clear_unusable, step_of
from ketformer.training.failures import surviving, writing
from ketformer.training.lora import add_adapters, check_lora
from ketformer.training.resume import (
    checkpoint_to_resume,
    chosen_checkpoint,
    finished_state,
    resumed_at,
)
from ketformer.training.trainer import SafeTrainer, read_losses
from ketformer.utils.files import write_json, write_text
from ketformer.utils.locks import alone_in_out, contents

# What is said of a training with adapters, besides the parameters that the saved model has.
_COUNTS = ("trained_parameters", "frozen_parameters")


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
    check_lora(settings, sharded=is_sharded(arguments))
    settings, first = first_run(settings) if settings.init else (settings, None)
    data = _prepared(settings, first, arguments, data_sha256, progress)
    settings = as_prepared(settings, data)
    set_seed(arguments.seed)
    began = begin_with(first, settings, data) if first else None
    model = began.model if began else build_model(settings, data)
    facts = _facts(model)
    adapters = add_adapters(model, settings, began.grown if began else ())
    measured = _measured(settings, model)
    sets = data.training_sets(model.config.max_position_embeddings)
    rows = len(sets[0])
    init = began.facts if began else None
    checkpoint = (
        checkpoint_to_resume(out, settings, data, arguments, rows, init) if resume else None
    )
    patience = settings.early_stopping_patience
    finished = finished_state(checkpoint, arguments, rows, patience)
    if finished:
        weights = chosen_checkpoint(finished, checkpoint, arguments)
        if adapters:
            adapters.load(weights)
        else:
            model = KetformerForCausalLM.from_pretrained(weights)
    stop, bar = StopOnSignal(out), ProgressBar(label)
    callbacks = [
        OldModel(out, model.config),
        Epochs(sets[0]),
        MetricsFile(out),
        *([bar] if progress else []),
        stop,
    ]
    if patience is not None:
        callbacks.append(EarlyStop(patience))
    trainer = _trainer(out, model, arguments, sets, callbacks)
    if arguments.process_index == 0:
        more = {**facts, **({"init": init} if init else {})}
        if adapters:
            more["lora"] = adapters.facts
        _begin(out, settings, data, arguments, checkpoint, more)
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
        "attention": facts["attention"],
        "parameters": facts["parameters"],
        **({key: adapters.facts[key] for key in _COUNTS} if adapters else {}),
        "steps": trainer.state.global_step,
        **(_stopping(trainer, patience) if patience is not None else {}),
        "train_loss": loss,
        "eval_loss": eval_loss,
        "seconds": seconds,
        "causal": facts["causal"],
    }
    if adapters:
        adapters.merge()
    _save(out, trainer, model, data, patience)
    return summary


def _facts(model: KetformerForCausalLM) -> dict[str, Any]:
    """What the manifest says of a model as it is saved."""
    return {
        "attention": model.config.attention_name,
        "parameters": model.num_parameters(),
        "causal": model.is_causal,
    }


def _prepared(
    settings: Settings,
    first: Run | None,
    arguments: TrainingArguments,
    sha256: str | None,
    progress: bool,
) -> Prepared:
    """The data, if it is what it must be; the first process fills the caches for the others."""
    with arguments.main_process_first(desc="data"):
        data = prepare(settings, trained(first, settings) if first else None, progress=progress)
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
    """The loss of the final weights: logged already, or computed now."""
    if trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint:
        best: float = trainer.state.best_metric
        return best
    step = trainer.state.global_step
    logged = [row for row in trainer.state.log_history if row["step"] == step]
    losses = [row["eval_loss"] for row in logged if "eval_loss" in row]
    loss: float = losses[-1] if losses else trainer.evaluate()["eval_loss"]
    return loss


def _stopping(trainer: SafeTrainer, patience: int) -> dict[str, Any]:
    """Whether early stopping ended the training, and the step whose weights are kept."""
    return {
        "stopped_early": evaluations_in_vain(trainer.state) >= patience,
        "best_step": trainer.state.best_global_step,
    }


def _save(
    out: Path,
    trainer: SafeTrainer,
    model: KetformerForCausalLM,
    data: Prepared,
    patience: int | None,
) -> None:
    """Write the model, its card and a sample; the other processes wait for the first one."""
    weights = None
    if trainer.is_fsdp_enabled:  # gathered by all of them
        weights = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.args.process_index == 0:
        if patience is not None:
            stopping = {"patience": patience, **_stopping(trainer, patience)}
            stopping["step"] = trainer.state.global_step
            write_json(out / MANIFEST_FILE, {**read_manifest(out), "early_stopping": stopping})
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
    arguments: TrainingArguments,
    checkpoint: str | None,
    facts: dict[str, Any],
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
        **facts,
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
