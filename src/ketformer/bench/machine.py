"""What a benchmark ran on."""

from __future__ import annotations

from typing import Any

import torch

from ketformer.quantum.native import instructions
from ketformer.utils.machine import describe_machine


def timed_machine() -> dict[str, Any]:
    """:func:`~ketformer.utils.machine.describe_machine`, and ``instructions``.

    These are the instruction sets that the ``kernels`` (None without any) and ``torch`` run on.
    """
    sets = {"kernels": instructions(), "torch": torch.backends.cpu.get_cpu_capability()}
    return {**describe_machine(), "instructions": sets}


def named_machine(machine: dict[str, Any]) -> str:
    """The machine of a result in a few words: its GPU, or CPU, threads and instruction set."""
    if machine["gpu"]:
        return str(machine["gpu"])
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    words = [machine["cpu"], threads]
    if sets := machine.get("instructions"):  # older results have none
        words.append(sets["kernels"] or f"{sets['torch']} without kernels")
    return ", ".join(words)
