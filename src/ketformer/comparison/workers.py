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
from ketformer.comparison.cluster import connect, run_on_cluster
from ketformer.comparison.jobs import Job, run_job
from ketformer.errors import KetformerError, Stopped
from ketformer.utils.processes import run_in_processes


def run_jobs(
    jobs: Sequence[Job],
    *,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Train and evaluate all jobs, with a table on standard error.

    Args:
        jobs: the runs.
        processes: how many at once, each with its share of the cores as threads; by default one,
            or on a cluster as many as it has cores or GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show the table.

    Returns:
        For each job its evaluation, or ``{"eval_loss": …}`` for a trial.

    Raises:
        KetformerError: ``processes`` is below 1; or a job failed or its process died, in which
            case the others are stopped and keep what they have trained; or the cluster cannot be
            reached.
        Stopped: a signal arrived; likewise.
    """
    if processes is not None and processes < 1:
        raise KetformerError(f"jobs must be positive, got {processes}")
    with Board(jobs, shown=progress) as board:
        if cluster is not None:
            connect(cluster)  # before the signals are ours: Ray sets its own
            with _signals_raise(jobs[0].path.parent):
                return run_on_cluster(jobs, cluster, at_once=processes, on_done=board.finished)
        if (processes or 1) == 1 or len(jobs) < 2:
            answers = []
            for job in jobs:
                answers.append(run_job(job))
                board.finished(job)
            return answers
        with _signals_raise(jobs[0].path.parent):
            return run_in_processes(
                run_job,
                jobs,
                processes=processes or 1,
                on_done=board.finished,
                if_killed="the same command resumes from the last checkpoints",
            )


@contextmanager
def _signals_raise(folder: Path) -> Iterator[None]:
    """Make SIGINT and SIGTERM end the block with :class:`Stopped`; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    said: list[Stopped] = []

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        said.append(
            Stopped(f"stopped by {name}; what was trained is kept in {folder}", number, folder)
        )
        raise said[-1]

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # `nohup` and shells set it for good reason
            signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        if said:  # Ray raises its own in place of what a handler raised
            raise said[0] from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
