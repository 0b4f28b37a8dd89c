"""This machine: its hardware, cores and memory."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError


def require_memory(complaint: str, needed: int) -> None:
    """Refuse work that does not fit into this machine's memory.

    Args:
        complaint: what is too large, or too many; the message begins with it.
        needed: bytes.

    Raises:
        KetformerError: naming the memory needed and the memory available.
    """
    if needed > (there := machine_memory()):
        raise KetformerError(
            f"{complaint}: that would take {needed / 2**30:,.0f} GiB of memory; this machine has "
            f"{there / 2**30:,.1f} GiB"
        )


def machine_memory() -> int:
    """The memory of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe_machine() -> dict[str, Any]:
    """Hardware and versions, for a manifest or a result file."""
    import torch

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            name: _version(name)
            for name in ("ketformer", "torch", "transformers", "accelerate", "tokenizers")
        },
    }


@cache  # what is imported stays as it is
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def default_processes() -> int:
    """How many processes to use: one on a GPU, which the runs would share, else one per core."""
    import torch  # takes a second, which counting cores does not need

    return 1 if torch.cuda.is_available() else available_cores()


def available_cores() -> int:
    """The number of cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1
