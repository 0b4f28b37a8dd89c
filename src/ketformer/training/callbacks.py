"""Trainer's callbacks: metrics on disk, a progress bar, and stopping on a signal."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState
from transformers.integrations import TensorBoardCallback

from ketformer.errors import Stopped
from ketformer.models import KetformerConfig
from ketformer.models.card import CARD
from ketformer.runs.card import write_run_card
from ketformer.runs.directory import (
    METRICS_FILE,
    WEIGHTS_FILE,
)
from ketformer.tasks.base import Rows
from ketformer.utils.files import json_line


class OldModel(TrainerCallback):
    """Removes the model of a finished run once a resumed training has loaded all of a checkpoint.

    It would be of fewer steps than the logs; the checkpoint holds the same weights.
    """

    def __init__(self, out: Path, config: KetformerConfig) -> None:
        self.out, self.config = out, config

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remove it, and its numbers from the card."""
        file = self.out / WEIGHTS_FILE
        if state.is_world_process_zero and file.exists():
            file.unlink()
            if (self.out / CARD).is_file():
                write_run_card(self.out, self.config)


class Epochs(TrainerCallback):
    """Tells the training rows which epoch begins, whether the run was resumed or not."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def on_epoch_begin(
        self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any
    ) -> None:
        """Counted from the steps, as Trainer does where it resumes."""
        steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        self.rows.begin_epoch(state.global_step // max(steps, 1))


class MetricsFile(TrainerCallback):
    """One JSON line in ``metrics.jsonl`` for each of Trainer's log entries."""

    def __init__(self, out: Path) -> None:
        self.file = out / METRICS_FILE

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Append a line."""
        if state.is_world_process_zero and logs:
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json_line({"step": state.global_step, **logs}))


class EarlyStop(EarlyStoppingCallback):
    """transformers' early stopping on the validation loss, which survives a resume.

    A checkpoint is saved at each evaluation with a new lowest loss, whose weights are to be kept,
    and at the last one, so that a resume finds the run finished.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Go on counting where the checkpoint left off."""
        self.early_stopping_patience_counter = evaluations_in_vain(state)
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        super().on_train_begin(args, state, control, **options)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any, **options: Any
    ) -> None:
        """Count, and end the training if need be."""
        super().on_evaluate(args, state, control, metrics, **options)
        if self.early_stopping_patience_counter == 0 or control.should_training_stop:
            control.should_save = True


def evaluations_in_vain(state: TrainerState) -> int:
    """How many evaluations in a row have not lowered the validation loss, as early stopping counts.

    0 for a state of a training without it.
    """
    match state.stateful_callbacks:
        case {EarlyStop.__name__: {"attributes": {"early_stopping_patience_counter": int(count)}}}:
            return count
    return 0


class TensorBoard(TensorBoardCallback):
    """Trainer's TensorBoard log without the steps that a resume takes back, as a kill does."""

    tb_writer: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Open the log; what was written of later steps than the checkpoint's is not shown."""
        if state.is_world_process_zero and self.tb_writer is None:
            first = state.global_step + 1 if state.global_step else 0
            self.tb_writer = self._SummaryWriter(log_dir=self.logging_dir, purge_step=first)
        super().on_train_begin(args, state, control, **options)


class ProgressBar(TrainerCallback):
    """A bar on standard error with the latest losses (Trainer's own writes to standard output)."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None
        self.losses: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw the bar."""
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self.label,
                unit="step",
                dynamic_ncols=True,
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Show the latest losses after the bar."""
        if self.bar is not None:
            shown = {"loss": "loss", "eval_loss": "validation"}
            self.losses |= {shown[k]: f"{v:.4f}" for k, v in (logs or {}).items() if k in shown}
            self.bar.set_postfix(self.losses, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """End the bar's line, before any other output."""
        if self.bar is not None:
            self.bar.close()


class StopOnSignal(TrainerCallback):
    """Stop the run on SIGINT or SIGTERM after the current step, with a checkpoint of it.

    Several processes agree on the step, whichever of them got the signal. A second SIGINT to
    a process that trains alone stops it at once.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.told = 0  # the signal that reached this process
        self.agreed = 0  # the one that all processes stop for

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for signals while the block runs; main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # `nohup` and shells set it for good reason
                signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        alone = not torch.distributed.is_initialized()
        if alone and self.told and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.told = number

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Request a checkpoint if any process got a signal."""
        self.agreed = self.told
        if args.world_size > 1:
            told = torch.tensor(self.told, device=args.device)
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
            self.agreed = int(told)
        if self.agreed:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop once the checkpoint is saved; after the last step, let the run finish."""
        if self.agreed and state.global_step < state.max_steps:
            name = signal.Signals(self.agreed).name
            raise Stopped(
                f"stopped by {name} after step {state.global_step}, which is saved in {self.out}",
                self.agreed,
                self.out,
            )
