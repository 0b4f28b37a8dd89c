"""Jobs on a Ray cluster: one task each, tried again from what it saved last if its node dies.

On storage that all nodes share, a job works in its own folder, as in a local worker. A node
without it works in a folder of its own and sends the files as they change; the driver, the
process that has the jobs done, keeps them where they belong.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import tarfile
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from ketformer.errors import KetformerError
from ketformer.utils.background import watching
from ketformer.utils.files import write_text
from ketformer.utils.locks import in_use
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.registry import register_again, registered_here

# How often a job is sent to another worker before the driver gives up.
_TRIES = 4
# Seconds between two looks at a job's files and at the tasks.
_BEAT = 0.5
# Seconds that jobs told to stop may take to save what they have.
_LAST_STEP = 60

#: The files of a job that changed, as a tar, and the names of all that there are.
Parcel = tuple[bytes, list[str]]


class Job(Protocol):
    """Work that keeps what it has done in a folder, and goes on from there: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def title(self) -> str:
        """Its name in messages."""

    @property
    def last(self) -> str | None:
        """The file that makes it finished, so that it is sent last.

        None keeps the job to storage that its worker and the driver share.
        """

    def answer(self) -> Any:
        """The result if it is known without any work, else None."""

    def run(self) -> Any:
        """Do what is left to do; return the result.

        Raises:
            KetformerError: it cannot be done.
        """


def run_on_cluster(
    jobs: Sequence[Job],
    address: str,
    *,
    at_once: int | None = None,
    on_done: Callable[[Job], None] = lambda job: None,
) -> list[Any]:
    """Do all jobs on the nodes of a Ray cluster.

    Each takes one GPU if the cluster has any; otherwise one core, or its share of the cores if
    ``at_once`` is given.

    Args:
        jobs: each with a folder of its own, side by side.
        address: of the cluster, or ``auto`` for the one that this machine belongs to.
        at_once: how many at once; by default as many as there are cores or GPUs.
        on_done: called here with each finished job.

    Returns:
        Their results, in order.

    Raises:
        KetformerError: Ray is missing, no cluster is there, or a job failed; or its workers died
            several times. The others are stopped and keep what they have done.
    """
    ray = connect(address)
    share = _share(ray, at_once)
    folder = jobs[0].path.parent
    # What Ray says of workers that died would be mixed with the command's own output.
    with redirect_stdout(sys.stderr), _mark(folder) as mark:
        flight = _Flight(ray, _Crew.here(ray, mark, share), share, _mailbox(ray))
        try:
            return flight.fly(jobs, at_once or len(jobs), on_done)
        except BaseException:
            flight.land()
            raise


def connect(address: str) -> Any:
    """Ray, connected to a cluster; a process that is connected already stays so.

    Raises:
        KetformerError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError:
        raise KetformerError(
            "--cluster needs Ray, which is not installed: pip install 'ketformer[ray]'"
        ) from None
    if not ray.is_initialized():
        before = signal.getsignal(signal.SIGTERM)
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:200]
            raise KetformerError(
                f"no Ray cluster at {address!r} ({why}); start one with: ray start --head"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would end the process at once
    return ray


def _knock(address: str) -> None:
    """Raise an error if nobody listens at ``host:port``; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _share(ray: Any, at_once: int | None) -> dict[str, int]:
    """What a job takes of a node."""
    there = ray.cluster_resources()
    if there.get("GPU", 0) >= 1:
        return {"num_cpus": 1, "num_gpus": 1}
    largest = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    if not largest:
        raise KetformerError("the Ray cluster has no cores to work on")
    cores = int(there["CPU"]) // at_once if at_once else 1
    return {"num_cpus": min(max(cores, 1), largest)}


def _mailbox(ray: Any) -> Any:
    """A queue from the workers, on the driver's node: it lives as long as the driver."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


@contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """A file by which a worker sees that it shares the driver's storage."""
    mark = folder / f".cluster-{uuid.uuid4().hex}"
    write_text(mark, "Workers that see this file work in this folder.\n")
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Crew:
    """What a worker on another machine takes over from the driver."""

    folder: str
    mark: Path
    threads: int
    paths: list[str]
    variables: dict[str, str]
    registered: bytes  # unpickled once the paths are known

    @classmethod
    def here(cls, ray: Any, mark: Path, share: dict[str, int]) -> _Crew:
        ours = {key: value for key, value in os.environ.items() if key.startswith("KETFORMER_")}
        registered = ray.cloudpickle.dumps(registered_here())
        return cls(os.getcwd(), mark, share["num_cpus"], sys.path[:], ours, registered)

    def join(self) -> bool:
        """Set up this worker process; return whether it shares the driver's storage."""
        sys.path += [path for path in self.paths if path not in sys.path]
        os.environ |= self.variables
        if Path(self.folder).is_dir():
            os.chdir(self.folder)  # relative paths then mean the same
        torch.set_num_threads(self.threads)
        quiet_libraries()
        warnings.simplefilter("ignore")  # the driver shows what matters
        import ray

        register_again(ray.cloudpickle.loads(self.registered))
        return self.mark.is_file()


def _work(crew: _Crew, packed: bytes, sent: Parcel, send: Callable[[Parcel], None]) -> Any:
    """Do one job, on a worker."""
    import ray

    shared = crew.join()
    job: Job = ray.cloudpickle.loads(packed)
    if shared:
        return job.run()
    if job.last is None:
        raise KetformerError(
            f"{job.title}: host {socket.gethostname()} does not see {job.path.parent}; choose an "
            "--out that all nodes of the cluster share"
        )
    with tempfile.TemporaryDirectory(prefix="ketformer-") as folder:
        path = Path(folder) / job.path.name
        path.mkdir()
        unpack(sent, path, job.last)
        with _sending(path, send):
            return replace(job, path=path).run()


@contextmanager
def _sending(path: Path, send: Callable[[Parcel], None]) -> Iterator[None]:
    """Send the files of a job that change while the block runs, and at its end."""
    known = _versions(path)

    def look() -> None:
        nonlocal known
        with suppress(FileNotFoundError):  # rotated away meanwhile; the next look is right
            now = _versions(path)
            if now != known:
                send(pack(path, [name for name in now if now[name] != known.get(name)], now))
                known = now

    with watching(look, 2 * _BEAT):
        yield


def _versions(path: Path) -> dict[str, tuple[int, int]]:
    """The finished files of a job with their size and time; hidden ones are being written."""
    found = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if not any(part.startswith(".") for part in name.parts):
            with suppress(FileNotFoundError):
                if file.is_file():
                    found[name.as_posix()] = (file.stat().st_size, file.stat().st_mtime_ns)
    return found


def pack(path: Path, changed: Sequence[str], names: Sequence[str] | dict[str, Any]) -> Parcel:
    """Files of a job's folder, with the names of all that it has."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in changed:
            tar.add(path / name, name)
    return content.getvalue(), list(names)


def unpack(parcel: Parcel, path: Path, last: str) -> None:
    """Make a job's folder what was packed: each file whole, and the named one last."""
    content, names = parcel
    with tempfile.TemporaryDirectory(dir=path, prefix=".received-") as folder:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(folder, filter="data")
        received = [file for file in Path(folder).rglob("*") if file.is_file()]
        for file in sorted(received, key=lambda file: file.name == last):
            target = path / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    for name in _versions(path).keys() - set(names):
        (path / name).unlink()
        with suppress(OSError):  # not empty
            (path / name).parent.rmdir()


@dataclass
class _Flight:
    """The tasks under way, and what to do when one ends."""

    ray: Any
    crew: _Crew
    share: dict[str, int]
    mailbox: Any
    under_way: dict[Any, int] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    jobs: Sequence[Job] = ()

    def fly(self, jobs: Sequence[Job], at_once: int, on_done: Callable[[Job], None]) -> list[Any]:
        """Do all jobs; their results in order."""
        self.jobs = jobs
        known = {number: job.answer() for number, job in enumerate(jobs)}
        answers = {number: answer for number, answer in known.items() if answer is not None}
        for number in answers:
            on_done(jobs[number])
        waiting = [number for number in known if number not in answers]
        while waiting or self.under_way:
            while waiting and len(self.under_way) < at_once:
                self.submit(waiting.pop(0))
            ended, _ = self.ray.wait(list(self.under_way), timeout=_BEAT)
            self.receive()
            for task in ended:
                number = self.under_way.pop(task)
                try:
                    answers[number] = self.ray.get(task)
                except self.ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, KetformerError):
                        raise error.cause from None
                    raise
                except self.ray.exceptions.RayError:
                    self.give_up_or_again(number)
                    waiting.insert(0, number)
                else:
                    on_done(jobs[number])
        return [answers[number] for number in range(len(jobs))]

    def submit(self, number: int) -> None:
        """Start a job from what the driver has of it."""
        self.tries[number] = attempt = self.tries.get(number, 0) + 1
        job, mailbox = self.jobs[number], self.mailbox
        names = list(_versions(job.path)) if job.last else []
        sent = pack(job.path, names, names)

        def send(parcel: Parcel) -> None:
            mailbox.put((number, attempt, parcel))

        task = self.ray.remote(_work).options(max_retries=0, **self.share)
        packed = self.ray.cloudpickle.dumps(job)
        self.under_way[task.remote(self.crew, packed, sent, send)] = number

    def receive(self) -> None:
        """Keep what the workers have sent; a worker that was given up may still send."""
        for number, attempt, parcel in self.mailbox.get_nowait_batch(self.mailbox.qsize()):
            if attempt == self.tries[number]:
                job = self.jobs[number]
                with in_use(job.path):
                    unpack(parcel, job.path, job.last or "")

    def give_up_or_again(self, number: int) -> None:
        """Say that a worker died; the job goes on elsewhere, a few times."""
        job = self.jobs[number]
        if self.tries[number] >= _TRIES:
            raise KetformerError(
                f"{job.title}: its worker died {_TRIES} times, perhaps for lack of memory; the "
                "same command goes on from what was saved last"
            )
        warnings.warn(
            f"{job.title}: its worker or node died; going on from what it saved last",
            stacklevel=2,
        )

    def land(self) -> None:
        """Stop all tasks; a training saves a checkpoint first."""
        for task in self.under_way:
            self.ray.cancel(task, force=False)
        deadline = time.monotonic() + _LAST_STEP
        left = list(self.under_way)
        while left and time.monotonic() < deadline:
            _, left = self.ray.wait(left, num_returns=len(left), timeout=_BEAT)
            self.receive()
        for task in left:
            self.ray.cancel(task, force=True)
