"""Jobs done one after another, in several processes at once, or on a cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ketformer.errors import KetformerError, Stopped
from ketformer.utils.cluster import Job, connect, run_on_cluster
from ketformer.utils.processes import run_in_processes


def do_jobs(
    jobs: Sequence[Job],
    *,
    processes: int | None = None,
    cluster: str | None = None,
    on_done: Callable[[Any], None] = lambda job: None,
) -> list[Any]:
    """Do all jobs, each from what it saved last.

    Args:
        jobs: of one class, each with a folder of its own, side by side.
        processes: how many at once, each with its share of the cores as threads; by default one,
            or on a cluster as many as it has cores or GPUs.
        cluster: address of a Ray cluster to work on, or ``auto`` for this machine's.
        on_done: called here with each finished job.

    Returns:
        Their results, in order.

    Raises:
        KetformerError: ``processes`` is below 1; or a job failed or its process died, in which
            case the others are stopped and keep what they have done; or the cluster cannot be
            reached.
        Stopped: a signal arrived; likewise.
    """
    if processes is not None and processes < 1:
        raise KetformerError(f"jobs must be positive, got {processes}")
    if cluster is not None:
        connect(cluster)  # before the signals are ours: Ray sets its own
        with _signals_raise(jobs[0].path.parent):
            return run_on_cluster(jobs, cluster, at_once=processes, on_done=on_done)
    if (processes or 1) == 1 or len(jobs) < 2:
        answers = []
        for job in jobs:
            answers.append(job.run())
            on_done(job)
        return answers
    with _signals_raise(jobs[0].path.parent):
        return run_in_processes(
            type(jobs[0]).run,
            jobs,
            processes=processes or 1,
            on_done=on_done,
            if_killed="the same command goes on from what was saved last",
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
            Stopped(f"stopped by {name}; what was done is kept in {folder}", number, folder)
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
