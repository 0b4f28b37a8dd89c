"""Check mechanisms against reference files: published inputs, parameters and outputs.

Each case of a file is built through the registry, loaded with the case's parameters and run. The
exit code is 1 if an output is further from the stored one than the tolerance, and 2 with one line
for a file that is not of the format. An adapter in scripts/reference/ knows what a mechanism's
parameters and outputs are called.

Example: python scripts/check_reference.py ../shared/zoo/interference.json --json
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ketformer.cli.common import print_json, print_table, report_error
from ketformer.errors import KetformerError

sys.path.insert(0, str(Path(__file__).resolve().parent))

from reference import Case, read_cases

_ADAPTERS = sorted(
    path.stem
    for path in (Path(__file__).parent / "reference").glob("*.py")
    if path.stem != "__init__"
)
#: Largest difference between float64 numbers that were computed in two ways.
TOLERANCE = 1e-10
_COLUMNS = (
    ("mechanism", "mechanism"),
    ("case", "case"),
    ("outputs", "compared"),
    ("largest difference", "max_difference"),
    ("agrees", "agrees"),
)


def check(path: str | Path) -> list[dict[str, Any]]:
    """Compare every output of every case of a file that the mechanism's adapter computes.

    Returns:
        For each case ``mechanism``, ``case``, ``max_difference`` (None if it is not finite),
        ``tolerance``, ``agrees``, ``compared``: the number of outputs, and ``left_out``: the names
        of those that the adapter does not compute.

    Raises:
        KetformerError: the file is not of the format, or no adapter knows its mechanism.
    """
    mechanism, cases = read_cases(path)
    if mechanism not in _ADAPTERS:
        known = ", ".join(_ADAPTERS)
        raise KetformerError(f"{path}: unknown mechanism {mechanism!r}; known: {known}")
    adapter = import_module(f"reference.{mechanism}")
    tolerance = getattr(adapter, "TOLERANCE", TOLERANCE)
    return [_row(mechanism, case, adapter.outputs, tolerance) for case in cases]


def _row(mechanism: str, case: Case, outputs: Any, tolerance: float) -> dict[str, Any]:
    try:
        with torch.no_grad():
            found = {name: made for name, made in outputs(case).items() if name in case.outputs}
        if not found:
            raise KetformerError(f"none of its outputs is known: {', '.join(case.outputs)}")
        differences = [_difference(case, name, tensor) for name, tensor in found.items()]
    except KetformerError as error:
        prefix = "" if str(error).startswith(case.where) else f"{case.where}: "
        raise KetformerError(f"{prefix}{error}") from None
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise KetformerError(f"{case.where}: its arrays do not fit together: {reason}") from None
    worst = torch.stack(differences).max()
    finite = bool(worst.isfinite())
    return {
        "mechanism": mechanism,
        "case": case.name,
        "max_difference": float(worst) if finite else None,
        "tolerance": tolerance,
        "agrees": finite and float(worst) <= tolerance,
        "compared": len(found),
        "left_out": sorted({*case.outputs} - {*found}),
    }


def _difference(case: Case, name: str, found: torch.Tensor) -> torch.Tensor:
    expected = case.outputs[name]
    if found.shape != expected.shape:
        raise KetformerError(
            f"{case.where}: {name} has shape {list(expected.shape)}; the case's sizes give "
            f"{list(found.shape)}"
        )
    return (found - expected).abs().max()


def main(args: list[str] | None = None) -> int:
    """Run the command; the result is its exit code."""
    told, _, example = (__doc__ or "").rpartition("Example: ")
    parser = argparse.ArgumentParser(
        description=told,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE.json", help="reference files")
    parser.add_argument("--json", action="store_true", help="print one JSON object with rows")
    options = parser.parse_args(args)
    try:
        rows = [row for path in options.files for row in check(path)]
    except KetformerError as error:
        report_error(str(error))
        return 2
    agree = all(row["agrees"] for row in rows)
    if options.json:
        print_json({"rows": rows, "agree": agree})
    else:
        print_table([_shown(row) for row in rows], _COLUMNS)
    return 0 if agree else 1


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    worst, left_out = row["max_difference"], row["left_out"]
    return {
        **row,
        "compared": f"{row['compared']} of {row['compared'] + len(left_out)}",
        "max_difference": "not finite" if worst is None else f"{worst:.1e}",
        "agrees": "yes" if row["agrees"] else f"no, above {row['tolerance']:g}",
    }


if __name__ == "__main__":
    sys.exit(main())
