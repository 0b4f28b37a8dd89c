"""Training of runs, one after another or in several processes at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ketformer.comparison.board import Board
from ketformer.comparison.jobs import Job, run_job
from ketformer.errors import KetformerError, Stopped
from ketformer.utils.processes import run_in_processes


def run_jobs(
    jobs: Sequence[Job], *, processes: int = 1, progress: bool = True
) -> list[dict[str, Any]]:
    """Train and evaluate all jobs, with a table on standard error.

    Args:
        jobs: the runs.
        processes: how many at once. Each has its share of the cores as threads.
        progress: show the table.

    Returns:
        For each job its evaluation, or ``{"eval_loss": …}`` for a trial.

    Raises:
        KetformerError: ``processes`` is below 1; or a job failed or its process died, in which
            case the others are stopped and keep what they have trained.
        Stopped: a signal arrived; likewise.
    """
    if processes < 1:
        raise KetformerError(f"jobs must be positive, got {processes}")
    with Board(jobs, shown=progress) as board:
        if processes == 1 or len(jobs) < 2:
            answers = []
            for job in jobs:
                answers.append(run_job(job))
                board.finished(job)
            return answers
        with _signals_raise(jobs[0].path.parent):
            return run_in_processes(
                run_job,
                jobs,
                processes=processes,
                on_done=board.finished,
                if_killed="the same command resumes from the last checkpoints",
            )


@contextmanager
def _signals_raise(folder: Path) -> Iterator[None]:
    """Make SIGINT and SIGTERM end the block with :class:`Stopped`; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise Stopped(f"stopped by {name}; what was trained is kept in {folder}", number, folder)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # `nohup` and shells set it for good reason
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
