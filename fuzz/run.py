"""Coverage-guided fuzzing of the readers: `make fuzz`, or `python fuzz/run.py settings`.

Each reader runs in its own process for some minutes. Bytes that made one misbehave are kept under
`build/fuzz/NAME/`; once the bug is fixed, they belong in `tests/fuzzing/cases/NAME/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = HERE.parent / "build" / "fuzz"
CASES = HERE.parent / "tests" / "fuzzing" / "cases"
NAMES = ("molecules", "text", "settings", "checkpoint")


def main() -> int:
    """Fuzz and write the figures; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(NAMES)} (all)")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each reader (10)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    rows = [fuzz(name, 60 * given.minutes) for name in given.names or NAMES]
    kept = {row["reader"]: row for row in [*_earlier(given.out), *rows]}
    result = {
        "command": f"make fuzz, {given.minutes:g} minutes each",
        "atheris": version("atheris"),
        "python": platform.python_version(),
        "rows": [kept[name] for name in NAMES if name in kept],
    }
    print(json.dumps(result, indent=2))
    if given.out:
        given.out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return int(any(row["crashes"] for row in rows))


def _earlier(file: Path | None) -> list[dict[str, object]]:
    """Rows already in the file; those of readers that are fuzzed again are replaced."""
    if file is None or not file.is_file():
        return []
    rows: list[dict[str, object]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows


def fuzz(name: str, seconds: float) -> dict[str, object]:
    """Fuzz one reader; after a finding, continue until the time is up."""
    folder = WORK / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    start, cases, found, edges = time.monotonic(), 0, {}, 0
    while (left := seconds - (time.monotonic() - start)) > 1:
        command = [
            sys.executable, str(HERE / "target.py"), name,
            str(folder / "corpus"), str(CASES / name), f"-max_total_time={int(left) + 1}",
            "-timeout=600", "-rss_limit_mb=6000",
            "-max_len=20000", f"-artifact_prefix={folder}/", "-print_final_stats=1",
        ]  # fmt: skip
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
        counts = re.findall(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
        counts = counts or re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
        cases += int(counts[-1]) if counts else 0
        edges = max([edges, *map(int, re.findall(r"cov: (\d+)", done.stderr))])
        if done.returncode:
            line = _what(done.stderr)
            found.setdefault(line, 0)
            found[line] += 1
            print(f"{name}: {line}", file=sys.stderr)
            digest = hashlib.sha256(done.stderr.encode()).hexdigest()[:8]
            (folder / f"log-{digest}.txt").write_text(done.stderr[-20000:], encoding="utf-8")
            if not counts:
                break
    spent = time.monotonic() - start
    return {
        "reader": name,
        "seconds": round(spent),
        "cases": cases,
        "coverage": edges,
        "crashes": sum(found.values()),
        "found": found,
    }


def _what(log: str) -> str:
    """The finding in one line."""
    lines = log.splitlines()
    for i, line in enumerate(lines):
        if "Uncaught Python exception" in line:
            return " ".join(lines[i + 1 : i + 2])[:200]
    marks = [line for line in lines if line.startswith(("SUMMARY:", "==")) or "ERROR" in line]
    return (marks or lines or ["no output"])[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
