"""``bench memory``: the peak for a long sequence, each measured in a separate process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ketformer.attention.registry import causal_mechanisms, mechanisms_with_circuits
from ketformer.bench.machine import timed_machine
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.checks import check_memory
from ketformer.utils.processes import run_in_processes
from ketformer.utils.progress import Bars
from ketformer.utils.timing import bench_device

WORKS = ("inference", "training step")
_AGAINST = "classical"
_MMAP_THRESHOLD = "MALLOC_MMAP_THRESHOLD_"  # of glibc, in bytes
_STATUS = Path("/proc/self/status")
_MODEL = {"vocab_size": 65, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def bench_memory(
    mechanisms: Sequence[str] | None = None,
    *,
    length: int = 4096,
    repeats: int = 3,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure peak memory for one sequence beyond the loaded model, against classical attention.

    The model has width 64, 2 blocks and 4 heads. The peak is, on a CPU, the highest resident
    size of a fresh process minus its size before the work; on a GPU, the peak of torch's
    allocator. A short sequence runs first, so that libraries and caches of shared matrices
    don't count.

    Args:
        mechanisms: registry names, by default of all causal mechanisms with circuits;
            ``classical``, on the fused kernel, is always added.
        length: tokens in the sequence.
        repeats: processes for each; the median counts.
        progress: show bars on standard error.

    Returns:
        ``rows``: each with ``name``, ``work``, ``ratio`` of its peak to ``against``'s,
        ``peak_mib``, ``low_mib``, ``high_mib`` and ``device``; ``machine``.

    Raises:
        KetformerError: a mechanism is unknown or needs more memory than there is, or the system
            does not report a process's peak.
    """
    if length < 1 or repeats < 1:
        raise KetformerError("length and repeats must be positive")
    device = bench_device()
    if device.type == "cpu" and not _STATUS.is_file():
        raise KetformerError("bench memory reads /proc, which this system lacks")
    if mechanisms is None:
        causal = causal_mechanisms()
        mechanisms = [name for name in mechanisms_with_circuits() if name in causal]
    names = list(dict.fromkeys((_AGAINST, *mechanisms)))
    for name in names:
        check_memory(_config(name, length))  # before the first process starts
    rows = []
    with Bars(progress, "process") as bars, _freed_at_once():
        for work in WORKS:
            label = f"{work}, T {length:,}"
            step, peaks = bars(label), []
            tasks = repeats * [(name, work, length) for name in names]
            for task in tasks:
                peaks += run_in_processes(peak_mib, [task], processes=1, fresh=True)
                step(len(peaks), len(tasks))
            found = {name: peaks[i :: len(names)] for i, name in enumerate(names)}
            rows += [
                {
                    "name": name,
                    "work": label,
                    "ratio": median(own) / median(found[_AGAINST]),
                    "against": _AGAINST,
                    "peak_mib": median(own),
                    "low_mib": min(own),
                    "high_mib": max(own),
                    "device": str(device),
                }
                for name, own in found.items()
            ]
    return {"rows": rows, "repeats": repeats, "machine": timed_machine()}


def peak_mib(task: tuple[str, str, int]) -> float:
    """Peak memory of one task in this process, in MiB beyond what was used before it.

    Args:
        task: the mechanism, the work and the number of tokens.
    """
    name, work, length = task
    device = bench_device()
    model = KetformerForCausalLM(_config(name, length)).to(device)
    model.train(work != "inference")

    def run(tokens: int) -> None:
        ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
        if work == "inference":
            with torch.inference_mode():
                model(input_ids=ids, use_cache=False)
        else:
            logits = model(input_ids=ids, use_cache=False).logits
            torch.nn.functional.cross_entropy(logits.mT, ids).backward()

    run(min(length, 16))
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(length)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before_kib = _status("VmRSS")
    run(length)
    return (_status("VmHWM") - before_kib) / 2**10


@contextmanager
def _freed_at_once() -> Iterator[None]:
    """Make new processes return the pages of a large tensor as soon as it is freed."""
    before = os.environ.get(_MMAP_THRESHOLD)
    os.environ[_MMAP_THRESHOLD] = "65536"
    try:
        yield
    finally:
        del os.environ[_MMAP_THRESHOLD]
        if before is not None:
            os.environ[_MMAP_THRESHOLD] = before


def _config(name: str, length: int) -> KetformerConfig:
    drops = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    return KetformerConfig(attention=name, max_position_embeddings=length, **_MODEL, **drops)


def _status(key: str) -> int:
    """A memory figure of this process from the kernel, in KiB."""
    line = next(li for li in _STATUS.read_text().splitlines() if li.startswith(key))
    return int(line.split()[1])
