"""Work in worker processes, which end with the process that started them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from ketformer.errors import KetformerError, Stopped
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
    """Call a function for each task in parallel worker processes.

    Workers know what was registered here. They ignore SIGINT, which a terminal sends to all of
    them, and get SIGTERM when a task fails and when this process is stopped or dies. An exception
    in a worker is raised here.

    Args:
        function: defined in a module, as are the tasks' types: both are pickled.
        tasks: its arguments, one for each call.
        processes: how many at once. Each gets its share of the cores as threads.
        fresh: each worker is a new interpreter, which with one task has done nothing before.
        on_done: called here with each finished task.
        if_killed: what the message says about a killed worker.

    Returns:
        The function's results, in the order of the tasks.

    Raises:
        KetformerError: a worker died, or something was registered that workers cannot import.
    """
    context = _context(function, fresh=fresh)
    others = set(multiprocessing.active_children())
    workers: set[Any] = set()
    stopping = context.Event()
    pool = ProcessPoolExecutor(
        min(processes, len(tasks)) or 1,
        context,
        initializer=_begin,
        initargs=(
            registered_here(),
            max(available_cores() // processes, 1),
            stopping,
            dict(os.environ),
        ),
    )
    try:
        futures: dict[Future[Answer], Task] = {
            pool.submit(_call, function, task): task for task in tasks
        }
        workers |= set(multiprocessing.active_children()) - others
        for future in as_completed(futures):
            workers |= set(multiprocessing.active_children()) - others
            future.result()
            on_done(futures[future])
    except BaseException as error:
        stopping.set()
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()  # a worker that is training saves a checkpoint first
        pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise KetformerError(f"a worker process died{_how(workers)}; {if_killed}") from None
        raise
    pool.shutdown()
    return [future.result() for future in futures]


def _context(function: Callable[..., Any], *, fresh: bool) -> Any:
    """How workers start.

    Not forked from this process, whose threads and state of a GPU would not survive it. On Linux
    they are forked from one that has only imported the function's module: twenty workers then
    import torch once. Elsewhere, and where each is to be an interpreter of its own, they are
    spawned.
    """
    if fresh or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    return context


def _how(workers: set[Any]) -> str:
    """How the first worker that ended unasked did so, if that is known."""
    codes = [worker.exitcode for worker in workers if worker.exitcode not in (None, 0)]
    unasked = [code for code in codes if code != -signal.SIGTERM]
    if not unasked:
        return ""
    return f" (signal {-unasked[0]})" if unasked[0] < 0 else f" (exit code {unasked[0]})"


# In a worker: set once the pool is told to stop.
_stopping: Any = None


def _begin(
    registered: Mapping[str, Mapping[str, Any]],
    threads: int,
    stopping: Any,
    environment: Mapping[str, str],
) -> None:
    """Set up a worker process."""
    global _stopping
    _stopping = stopping
    # Forked workers have that of the time when their server was started.
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    quiet_libraries()
    tqdm.set_lock(threading.RLock())  # the default lock would leak when the process is terminated
    warnings.simplefilter("ignore")  # they would garble bars; the parent shows them
    register_again(registered)
    gc.freeze()  # what was imported stays, so the collector need not search it


def _call(function: Callable[[Task], Answer], task: Task) -> Answer:
    """Do a task. Once the pool is stopping, start no other, and exit after this one.

    A training that gets SIGTERM saves a checkpoint and raises; its worker would then take the next
    task or wait for one, and a broken pool for its worker.
    """
    try:
        if _is_over():
            raise KetformerError("stopping")
        return function(task)
    except Stopped:
        _stopping.wait(1)  # SIGTERM may come before the event
        raise
    finally:
        if _is_over():
            os._exit(0)


def _is_over() -> bool:
    """Whether the pool was told to stop, or died with its process and cannot tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    return _stopping.is_set() or not parent.is_alive()


def _end_with_parent() -> None:
    """Terminate this worker when the parent dies, so that no worker is left behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
