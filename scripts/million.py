"""Sample a million molecules in one command, killed once; record memory and rate.

Imports the published weights, starts `ketformer generate`, kills it with SIGKILL at 40 per cent and
runs the same command again. Writes results/million.json. Linux only, about half an hour.
Usage: python scripts/million.py [--num 1000000] [--weights FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from ketformer.utils.files import write_json
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT.parent / "shared/published/quantum_sequence_epoch_17.pt"
KILLED_AT = 0.4
_PERIOD = 0.5  # seconds between measurements
_POINTS = 50  # kept of the curve


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000, help="number of molecules (1000000)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="published checkpoint")
    parser.add_argument("--out", type=Path, default=ROOT / "results/million.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ketformer = [sys.executable, "-m", "ketformer"]
        run, table = str(folder / "run"), folder / "molecules.csv"
        subprocess.run(
            [*ketformer, "import-checkpoint", str(given.weights), "--out", run], check=True
        )
        command = [*ketformer, "generate", run, "--num", str(given.num), "--json"]
        command += ["--out", str(table)]
        first = watch(command, table, given.num, KILLED_AT * given.num)
        second = watch(command, table, given.num, None)
        with table.open(encoding="utf-8", newline="") as file:
            rows = sum(1 for _ in csv.DictReader(file))
        size = table.stat().st_size
    said = second.pop("said")
    kept = ("sampled", "valid", "unique", "validity", "molecules_per_second")
    stretches = [{k: v for k, v in part.items() if k != "said"} for part in (first, second)]
    result = {
        "weights": given.weights.name,
        "rows": rows,
        "bytes": size,
        **{key: said[key] for key in kept},
        "novel": said["not_in_training"],
        "stretches": stretches,
        "machine": describe_machine(),
    }
    write_json(given.out, result)


def watch(command: list[str], table: Path, num: int, killed_at: float | None) -> dict[str, Any]:
    """Run the command and record its memory; kill it once ``killed_at`` rows are on disk."""
    note = table.with_name(f".{table.name}.journal")
    begun, curve, peak = time.monotonic(), [], {"rss_mib": 0.0, "pss_mib": 0.0}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        time.sleep(_PERIOD)
        rows = json.loads(note.read_text())["rows"] if note.is_file() else 0
        seen = memory(process.pid)
        peak = {key: max(value, seen[key]) for key, value in peak.items()}
        if rows and (not curve or rows - curve[-1]["rows"] >= num / _POINTS):
            curve.append({"rows": rows, "seconds": time.monotonic() - begun, **seen})
        if killed_at is not None and rows >= killed_at:
            process.kill()
            break
    said = process.communicate()[0]
    if killed_at is None and process.returncode:
        raise SystemExit(f"generate ended with exit code {process.returncode}")
    rates = [(b["rows"] - a["rows"]) / (b["seconds"] - a["seconds"]) for a, b in pairwise(curve)]
    return {
        "killed_at": None if killed_at is None else rows,
        "seconds": time.monotonic() - begun,
        "peak": peak,
        "fastest_per_second": max(rates, default=None),
        "curve": curve,
        "said": json.loads(said) if said else None,
    }


def memory(pid: int) -> dict[str, float]:
    """Return MiB: resident pages of the main process; of all processes, shared pages once."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return {"rss_mib": 0.0, "pss_mib": 0.0}
    return {
        "rss_mib": _kib("VmRSS", status) / 1024,
        "pss_mib": sum(_proportional(one) for one in (str(pid), *workers)) / 1024,
    }


def _proportional(pid: str) -> int:
    try:
        return _kib("Pss", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0


def _kib(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()
