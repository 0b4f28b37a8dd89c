"""Hugging Face's Trainer, extended so that a run loses nothing: see each method."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import rotate_checkpoints

from ketformer.errors import KetformerError, NotFiniteError
from ketformer.runs.directory import SETTINGS_FILE
from ketformer.training.checkpoints import PART, name_of, publish, where_to_go_on
from ketformer.training.failures import writing
from ketformer.utils.files import write_json
from ketformer.utils.mappings import read_json

#: The file with the batch that made a loss or gradient infinite or not a number.
NOT_FINITE = "not_finite.json"

# What an optimiser's groups hold of the options, besides the learning rate.
_HYPERPARAMETERS = ("weight_decay", "betas", "eps")


class SafeTrainer(Trainer):
    """A Trainer with all-or-nothing checkpoints that refuses non-finite losses and gradients.

    Args:
        out: the run directory.
        options: options of Trainer.
    """

    def __init__(self, out: Path, **options: Any) -> None:
        self.out = out
        self._aside: Path | None = None
        self._restored = False
        super().__init__(**options)
        self.add_callback(_AtBegin(self))

    # --- Checkpoints ---------------------------------------------------------------------------

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """All processes write aside; the first then seals the result and moves it into place."""
        folder = Path(self.args.output_dir)
        part = folder / PART / name_of(self.state.global_step)
        target = folder / part.name
        if name := _first_not_finite(self.model):
            raise NotFiniteError(
                f"step {self.state.global_step}: the optimiser made {name} infinite or not a "
                f"number; no checkpoint was written; {where_to_go_on(self.out)}"
            )
        self._aside = part.parent
        try:
            with writing(self.out, str(target)):
                super()._save_checkpoint(model, trial)
                if self.args.should_save:  # the options up to here; a later resume may change them
                    shutil.copyfile(self.out / SETTINGS_FILE, part / SETTINGS_FILE)
                if self.state.best_model_checkpoint == str(part):
                    self.state.best_model_checkpoint = str(target)
                    if self.args.should_save:
                        self.state.save_to_json(str(part / "trainer_state.json"))
        finally:
            self._aside = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            with writing(self.out, str(target)):
                publish(part, target, processes=self.args.world_size)
            rotate_checkpoints(
                str(folder), self.args.save_total_limit, self.state.best_model_checkpoint
            )
        self.accelerator.wait_for_everyone()

    def _save_rng_state(self, output_dir: str) -> None:
        """Save the state of each process: generators, and the losses since the last log."""
        super()._save_rng_state(output_dir)
        losses = {
            "total": self._total_loss_scalar,
            "running": self._tr_loss.item(),
            "logged": self._globalstep_last_logged,
        }
        write_json(losses_file(output_dir, self.args.process_index), losses)

    def restore_losses(self, checkpoint: str) -> None:
        """Restore the sums of losses, as if the run had never stopped."""
        losses = read_losses(checkpoint, self.args.process_index)
        self._total_loss_scalar = losses["total"]
        self._tr_loss = torch.tensor(losses["running"], device=self.args.device)
        self._globalstep_last_logged = losses["logged"]
        self._restored = True

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Restore what the steps have made, momenta and the like, and keep to the options.

        Trainer would restore the checkpoint's options too and ignore those given now. A schedule
        that is a function of the step is at the restored step; one that follows the losses has
        its own rate, and `training.resume` refuses to change it.
        """
        own = [
            {key: group[key] for key in _HYPERPARAMETERS if key in group}
            for group in self.optimizer.param_groups
        ]
        rates = list(getattr(self.lr_scheduler, "base_lrs", []))
        super()._load_optimizer_and_scheduler(checkpoint)
        groups = self.optimizer.param_groups
        for group, options in zip(groups, own, strict=True):
            group.update(options)
        schedule = self.lr_scheduler
        if isinstance(schedule, LambdaLR):
            schedule.base_lrs = rates
            for group, rate, share in zip(groups, rates, schedule.lr_lambdas, strict=True):
                group.update(initial_lr=rate, lr=rate * share(schedule.last_epoch))
            schedule._last_lr = [group["lr"] for group in groups]

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Restore float16's scale of the gradients, unless the run goes on without float16."""
        if getattr(self.accelerator, "scaler", None) is not None:
            super()._load_scaler(checkpoint)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as Trainer does, but average the loss of a resumed run over all its steps."""
        if "train_loss" in logs and self._restored:
            logs["train_loss"] = self._total_loss_scalar / self.state.global_step
        super().log(logs, start_time)

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train; see Trainer.

        Raises:
            KetformerError: a file of the checkpoint would run code when it is read; a loss,
                gradient or weight is not finite; or an update is too large for torch.
        """
        self.resumed_from = resume_from_checkpoint
        try:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **options)
        except pickle.UnpicklingError:  # Trainer loads with weights_only=True
            raise KetformerError(
                f"{resume_from_checkpoint}: refused, a file in it holds more than tensors and "
                "plain values"
            ) from None
        except RuntimeError as error:
            if "without overflow" not in str(error):
                raise
            raise KetformerError(
                f"step {self.state.global_step + 1}: an update does not fit into 32 bits; lower "
                "--learning_rate or --weight_decay"
            ) from None

    # --- Numbers -------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass, refused if the loss or a gradient is not finite.

        Loss and gradients are checked together, so that the GPU is waited for only once;
        Trainer itself waits here to check the loss.
        """
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        looked_at = loss
        if getattr(self.accelerator, "scaler", None) is None:  # float16 skips such steps
            looked_at = loss + _largest_gradient(model)
        if not torch.isfinite(looked_at):
            raise self._not_finite(inputs, float(loss))
        return loss

    def _not_finite(self, inputs: Any, loss: float) -> KetformerError:
        step, rank = self.state.global_step + 1, self.args.process_index
        name = _first_not_finite(self.model) or _first_not_finite(self.model, gradients=True)
        file = self.out / (NOT_FINITE if rank == 0 else f"{rank}-{NOT_FINITE}")
        batch = {key: value.tolist() for key, value in inputs.items()}
        facts = {"step": step, "process": rank, "loss": str(loss), "parameter": name}
        write_json(file, {**facts, "batch": batch})
        cause = f"{name} is the first non-finite tensor" if name else "every parameter is finite"
        return NotFiniteError(
            f"step {step}: the loss is {loss:g} and {cause}; the batch is saved in {file}; "
            f"{where_to_go_on(self.out)}; a lower --learning_rate may help"
        )


class _AtBegin(TrainerCallback):
    """Restores what Trainer loses, and drops what it keeps, when it resumes from a checkpoint.

    It resets its sums of losses, and would save, evaluate and log as often as the checkpoint
    says, whatever the options say now.
    """

    def __init__(self, trainer: SafeTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.resumed_from:
            state.compute_steps(args, state.max_steps)
            self.trainer.restore_losses(self.trainer.resumed_from)


def read_losses(checkpoint: str, process: int) -> dict[str, Any]:
    """``total`` and ``running`` losses and the step of the last log, as saved by a process.

    With more processes than before, a new one takes those of the first.

    Raises:
        KetformerError: they are missing or not numbers.
    """
    own = losses_file(checkpoint, process)
    file = own if own.is_file() else losses_file(checkpoint, 0)
    losses = read_json(file)
    if not all(isinstance(losses.get(k), int | float) for k in ("total", "running", "logged")):
        raise KetformerError(f"{file}: total, running and logged must be numbers")
    return losses


def losses_file(checkpoint: str, process: int) -> Path:
    """The file in which a process saves its losses."""
    return Path(checkpoint) / f"losses_{process}.json"


def _largest_gradient(model: torch.nn.Module) -> Tensor:
    """The largest absolute value in any gradient: it cannot overflow, and NaN takes precedence."""
    gradients = [_local(p.grad) for p in model.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, norm_type=float("inf"))


def _local(tensor: Tensor) -> Tensor:
    """This process's shard of a tensor that is sharded over several processes."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _first_not_finite(model: torch.nn.Module, *, gradients: bool = False) -> str | None:
    """The first parameter, in the model's order, with a non-finite value or gradient."""
    for name, parameter in model.named_parameters():
        tensor = parameter.grad if gradients else parameter.detach()
        if tensor is not None and not torch.isfinite(_local(tensor)).all():
            return f"the gradient of {name}" if gradients else name
    return None
