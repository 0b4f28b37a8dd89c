"""A table of runs during training, read from their directories."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ketformer.comparison.jobs import Job
from ketformer.runs import read_metrics
from ketformer.runs.directory import WEIGHTS_FILE, read_evaluation
from ketformer.training.trainer import NOT_FINITE


class Board:
    """A table of runs with their steps and losses, on standard error.

    On a terminal it is redrawn twice a second. Otherwise each finished run prints one line.

    Args:
        jobs: the runs.
        shown: whether to show anything.
    """

    def __init__(self, jobs: Sequence[Job], shown: bool) -> None:
        self.jobs = jobs
        self.shown = shown
        self.begun = time.monotonic()
        self.done = 0
        self.live: Live | None = None
        console = Console(stderr=True)
        if shown and console.is_terminal:
            self.live = Live(console=console, get_renderable=self.table, refresh_per_second=2)

    def __enter__(self) -> Board:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def finished(self, job: Job) -> None:
        """Count a finished run, and print a line if no table is drawn."""
        self.done += 1
        if self.shown and self.live is None:
            print(
                f"[{self.done}/{len(self.jobs)}] {job.row}, {job.column}: {state_of(job)} "
                f"({_clock(time.monotonic() - self.begun)})",
                file=sys.stderr,
            )

    def table(self) -> Table:
        """The current state of all runs."""
        columns = list(dict.fromkeys(job.column for job in self.jobs))
        states = {(job.row, job.column): state_of(job) for job in self.jobs}
        passed = time.monotonic() - self.begun
        left = ""
        if 0 < self.done < len(self.jobs):  # at the pace of the finished ones
            left = f", about {_clock(passed / self.done * (len(self.jobs) - self.done))} left"
        title = f"{self.done} of {len(self.jobs)} runs, {_clock(passed)}{left}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right")
        for row in dict.fromkeys(job.row for job in self.jobs):
            table.add_row(row, *(states.get((row, column), "") for column in columns))
        return table


def state_of(job: Job) -> str:
    """A run's state: ``waiting``, ``step 120/300 2.01``, ``measuring``, or its final loss."""
    if job.evaluation is not None and (result := read_evaluation(job.path)):
        loss = result.get("prefix_cross_entropy", result.get("loss"))
        return f"{loss:.4f}" if isinstance(loss, float) else "done"
    if (job.path / NOT_FINITE).is_file():
        return "not finite"
    rows = read_metrics(job.path)
    if not rows:
        return "waiting"
    last = rows[-1]["step"]
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    loss = f" {losses[-1]:.4f}" if losses else ""
    if (job.path / WEIGHTS_FILE).is_file():
        return "measuring" if job.evaluation is not None else loss.strip() or "done"
    total = job.settings.training.get("max_steps", -1)
    return f"step {last}{f'/{total}' if total > 0 else ''}{loss}"


def _clock(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` within the hour."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
