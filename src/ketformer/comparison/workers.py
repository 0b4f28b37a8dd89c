"""Runs that are trained one after the other, or in several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from ketformer.comparison.board import Board
from ketformer.comparison.jobs import Job, run_job
from ketformer.errors import KetformerError, Stopped
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import available_cores

# What a worker may take to save its checkpoint when it is told to stop, in seconds.
_PATIENCE = 60


def run_jobs(
    jobs: Sequence[Job], *, processes: int = 1, progress: bool = True
) -> list[dict[str, Any]]:
    """Train and measure them all, with a table on standard error meanwhile.

    Args:
        jobs: what to do.
        processes: how many at once. Each has its share of the cores as threads.
        progress: show the table.

    Returns:
        For each job its evaluation, or ``{"eval_loss": …}`` of a trial.

    Raises:
        KetformerError: no process at all; a job cannot be done, or its process died: the others
            are stopped, and what they have trained is kept.
        Stopped: by a signal; the same.
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
        return _in_parallel(jobs, min(processes, len(jobs)), board)


class _Worker:
    """A process that does one job after the other."""

    def __init__(self, threads: int) -> None:
        # Not forked: torch's threads and a GPU's state do not survive that.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # No daemon, which could not start RDKit's workers; it ends when the pipe is closed.
        self.process = context.Process(target=_work, args=(theirs, threads))
        self.process.start()
        theirs.close()

    def answer(self, job: Job) -> dict[str, Any]:
        """What it sent.

        Raises:
            KetformerError, Stopped: as in the worker.
            RuntimeError: a fault of ours in the worker, with its traceback.
        """
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(_PATIENCE)
            code = self.process.exitcode
            how = f"signal {-code}" if code and code < 0 else f"exit code {code}"
            raise KetformerError(
                f"{job.path}: the process that trained it died ({how}); the same command goes on "
                "from the last checkpoint"
            ) from None
        if kind == "mistake":
            raise KetformerError(content)
        if kind == "fault":
            raise RuntimeError(f"{job.path}:\n{content}")
        if kind == "stopped":
            raise Stopped(*content)
        answer: dict[str, Any] = content
        return answer

    def end(self) -> None:
        """Tell it that there is nothing more to do, and wait for it."""
        self.connection.close()
        self.process.join(_PATIENCE)
        self.process.kill()


def _in_parallel(jobs: Sequence[Job], processes: int, board: Board) -> list[dict[str, Any]]:
    answers: dict[int, dict[str, Any]] = {}
    todo = iter(range(len(jobs)))
    busy: dict[Any, tuple[_Worker, int]] = {}  # by its end of the worker's pipe
    workers: list[_Worker] = []
    try:
        with _signals_raise(jobs[0].path.parent):
            for _ in range(processes):
                workers.append(_Worker(max(available_cores() // processes, 1)))
                index = next(todo)
                workers[-1].connection.send(jobs[index])
                busy[workers[-1].connection] = workers[-1], index
            while busy:
                for ready in wait(list(busy)):
                    worker, index = busy.pop(ready)
                    answers[index] = worker.answer(jobs[index])
                    board.finished(jobs[index])
                    if (following := next(todo, None)) is not None:
                        worker.connection.send(jobs[following])
                        busy[worker.connection] = worker, following
    except BaseException:
        for worker in workers:
            worker.process.terminate()  # it saves what it trains
        raise
    finally:
        for worker in workers:
            worker.end()
    return [answers[index] for index in range(len(jobs))]


@contextmanager
def _signals_raise(folder: Path) -> Iterator[None]:
    """SIGINT and SIGTERM end the block with :class:`Stopped`; only a main thread can listen."""
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


def _work(connection: Connection, threads: int) -> None:
    """A worker's life: jobs until nobody sends any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    threading.Thread(target=_go_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    quiet_libraries()
    tqdm.set_lock(threading.RLock())  # its own would be left behind when the process is ended
    warnings.simplefilter("ignore")  # they would be written into the table; the parent says them
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[str, Any] = "done", run_job(job)
        except KetformerError as error:
            answer = "mistake", str(error)
        except Stopped as stopped:
            answer = "stopped", (str(stopped), stopped.signal, stopped.run)
        except Exception:
            answer = "fault", traceback.format_exc()
        try:
            connection.send(answer)
        except OSError:
            return  # the parent does not wait for it any more


def _go_with_parent() -> None:
    """Stop as if told to when the parent dies: a checkpoint is saved, and none is left behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
