"""Training of runs, one after another or in several processes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ketformer.comparison.board import Board
from ketformer.comparison.jobs import Job
from ketformer.utils.workers import do_jobs


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
        processes: see :func:`~ketformer.utils.workers.do_jobs`.
        cluster: likewise.
        progress: show the table.

    Returns:
        For each job its evaluation, or ``{"eval_loss": …}`` for a trial.

    Raises:
        KetformerError, Stopped: see :func:`~ketformer.utils.workers.do_jobs`.
    """
    with Board(jobs, shown=progress) as board:
        return do_jobs(jobs, processes=processes, cluster=cluster, on_done=board.finished)
