"""Work in processes of its own, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import available_cores
from ketformer.utils.registry import register_again, registered_here

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def run_in_processes(
    function: Callable[[Task], Answer],
    tasks: Sequence[Task],
    *,
    processes: int,
    fresh: bool = False,
    on_done: Callable[[Task], None] = lambda task: None,
    if_killed: str = "there may be too little memory",
) -> list[Answer]:
    """Call a function for each task, several at once, each in another process.

    Workers know what was registered here, ignore SIGINT, which a terminal sends to all of them,
    and get SIGTERM when a task fails, when this process is told to stop, and when it dies. What
    they raise is raised here.

    Args:
        function: of a module, as are the tasks' types: both are pickled.
        tasks: its arguments.
        processes: how many at once. Each has its share of the cores as threads.
        fresh: a new process for each task.
        on_done: called here with each task that is done.
        if_killed: what to say of a worker that was killed.

    Returns:
        What the function gave for each task, in their order.

    Raises:
        KetformerError: a worker died, or something was registered that workers cannot import.
    """
    # Not forked: torch's threads and a GPU's state do not survive that.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    workers: set[Any] = set()
    pool = ProcessPoolExecutor(
        min(processes, len(tasks)) or 1,
        context,
        initializer=_begin,
        initargs=(registered_here(), max(available_cores() // processes, 1)),
        max_tasks_per_child=1 if fresh else None,
    )
    try:
        futures: dict[Future[Answer], Task] = {pool.submit(function, task): task for task in tasks}
        workers |= set(multiprocessing.active_children()) - others
        for future in as_completed(futures):
            workers |= set(multiprocessing.active_children()) - others
            future.result()
            on_done(futures[future])
    except BaseException as error:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()  # one that trains saves a checkpoint first
        pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise KetformerError(f"a worker process died{_how(workers)}; {if_killed}") from None
        raise
    pool.shutdown()
    return [future.result() for future in futures]


def _how(workers: set[Any]) -> str:
    """How the first of them ended that was not told to, if that is known."""
    codes = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
    unasked = [code for code in codes if code != -signal.SIGTERM]
    if not unasked:
        return ""
    return f" (signal {-unasked[0]})" if unasked[0] < 0 else f" (exit code {unasked[0]})"


def _begin(registered: Mapping[str, Mapping[str, Any]], threads: int) -> None:
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    quiet_libraries()
    tqdm.set_lock(threading.RLock())  # its own would be left behind when the process is ended
    warnings.simplefilter("ignore")  # they would be written into bars; the parent says them
    register_again(registered)


def _end_with_parent() -> None:
    """Stop as if told to when the parent dies, so that none is left behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
