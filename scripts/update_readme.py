"""Rewrite the generated blocks of README.md and docs/ from results/."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import circuit_blocks
import claims_blocks
import scale_blocks
import speed_blocks

from ketformer.reproduction import verdict
from ketformer.tables import COLUMNS, OVERLAP_COLUMNS, markdown, overlap_rows

ROOT = Path(__file__).resolve().parent.parent
QISA_COLUMNS = (COLUMNS[0], ("what it is", "role"), *COLUMNS[1:])
DEEP_COLUMNS = (
    ("attention", "name"),
    ("parameters", "parameters"),
    ("loss", "loss"),
    ("valid", "validity"),
    ("unique", "uniqueness"),
    ("novel", "novelty"),
    ("FCD", "fcd"),
    ("LogP error", "LogP"),
    ("TPSA error", "TPSA"),
    ("MW error", "MW"),
)


#: Which blocks a file has.
FILES = {
    "README.md": ("qisa", "overlap", "deep"),
    "docs/claims.md": (
        "claims_factors",
        "claims_positions",
        "claims_intervals",
        "qisa",
        "claims_char_gpt",
        "overlap",
        "claims_gradients",
        "claims_noise",
        "deep",
    ),
    "docs/molecules.md": ("targets",),
    "docs/circuits.md": ("check", "bench", "noise", "gradients", "resources"),
    "docs/scale.md": (
        "scale_assumed",
        "scale_training",
        "scale_mechanisms",
        "scale_measured",
        "scale_circuits",
    ),
    "docs/speed.md": ("speed_attention", "speed_generation", "speed_peers", "speed_memory"),
}


def block(name: str) -> str:
    """The content of a generated block."""
    own = {"qisa": _qisa, "overlap": _overlap, "deep": _deep, "targets": _targets}
    if name in own:
        return own[name]()
    modules = {"claims": claims_blocks, "speed": speed_blocks, "scale": scale_blocks}
    module = modules.get(name.partition("_")[0], circuit_blocks)
    made: str = getattr(module, name)(_read)
    return made


def _qisa() -> str:
    result = _read("reproduce-qisa")
    steps, machine = result["settings"]["training"]["max_steps"], result["manifest"]["machine"]
    how = (
        f"{len(result['seeds'])} seeds, {steps:,} steps each; ± is half of the 95 % interval. "
        f"Inference time relative to classical attention, one run on {machine['cpu']}, "
        f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}.\n"
    )
    return f"{markdown(result['rows'], QISA_COLUMNS)}\n{how}\n{verdict(result)}\n"


def _overlap() -> str:
    result, published = _read("reproduce-overlap"), _read("published-sequence")
    how = (
        "Losses on the published validation set, in nats per target; the first two count padding, "
        "as the paper does. 10,000 samples of each model, special tokens excluded, the conditional "
        "ones asked for the mean of every property; ± is half of the 95 % interval. The released "
        f"quantum weights come to {published['loss_as_published']:.4f} here, and to "
        f"{100 * published['validity']:.1f} % valid and {published['unique']:,} distinct valid of "
        f"{published['sampled']:,} samples.\n"
    )
    falling = next(r for r in result["rows"] if r["name"] == "overlap_sequence")
    fast, slow = (_read(f"overlap-constant-{rate}") for rate in ("0.005", "0.001"))
    how += (
        "\nThe falling rate makes the difference: `overlap_sequence` comes to "
        f"{falling['loss_as_published']['mean']:.3f} with it, and with a constant one to "
        f"{fast['loss_as_published']:.3f} at the same 0.005, to {slow['loss_as_published']:.3f} at "
        "0.001 (one seed each).\n"
    )
    return f"{markdown(overlap_rows(result['rows']), OVERLAP_COLUMNS)}\n{how}"


def _deep() -> str:
    result, published = _read("overlap-qm9-deep"), _read("published-conditions")
    rows = [{**row, **_errors(row["target_errors"])} for row in result["rows"]]
    released = {
        **dict.fromkeys(("fcd",), None),
        **{key: _single(published[key]) for key in ("loss", "validity", "uniqueness", "novelty")},
        "name": "released conditional weights",
        "parameters": published["parameters"],
        **_errors(published["target_errors"]),
    }
    epochs = result["settings"]["training"]["num_train_epochs"]
    how = (
        f"The preset `overlap-qm9-deep` and its classical twin of equal size, {epochs} epochs on "
        f"QM9, {len(result['seeds'])} seed. Loss without padding, every property given. Samples: "
        "10,000 with nothing requested (the released model: the mean of every property). Errors: "
        "mean absolute error over the valid of 1,000 samples with one property requested, two "
        "deviations below and above its mean; the average of both.\n"
    )
    return f"{markdown([*rows, released], DEEP_COLUMNS)}\n{how}"


def _targets() -> str:
    """Mean absolute errors of every conditional model at the 18 published targets."""
    small, deep = _read("reproduce-overlap")["rows"], _read("overlap-qm9-deep")["rows"]
    models = {"released quantum weights": _read("published-conditions")["target_errors"]}
    models |= {row["name"]: row["target_errors"] for row in small if "target_errors" in row}
    models |= {f"{row['name']}, deep": row["target_errors"] for row in deep}
    lines = ["| target | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    for i, target in enumerate(models["released quantum weights"]):
        own = [errors[i]["mae"] for errors in models.values()]
        cells = ["–" if error is None else f"{error:.3g}" for error in own]
        name = f"{target['property']} {target['target']:.3g}"
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _errors(targets: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean absolute error by property, averaged over its two targets."""
    names = ("LogP", "TPSA", "MW")
    errors = {n: [t["mae"] for t in targets if t["property"] == n] for n in names}
    return {name: _single(sum(both) / len(both)) for name, both in errors.items()}


def _single(value: float) -> dict[str, Any]:
    return {"mean": value, "low": None, "high": None}


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / f"results/{name}.json").read_text())
    return content


def updated(file: str, text: str) -> str:
    """The file's text with its blocks filled in anew."""
    for name in FILES[file]:
        content = block(name)
        start, end = f"<!-- {name}: made by `make readme` -->", f"<!-- /{name} -->"
        text, found = re.subn(
            f"{re.escape(start)}.*?{re.escape(end)}",
            lambda _, filled=f"{start}\n{content}{end}": filled,
            text,
            flags=re.DOTALL,
        )
        if found != 1:
            sys.exit(f"{file} has {found} blocks named {name}, not one")
    return text


if __name__ == "__main__":
    for name in FILES:
        path = ROOT / name
        path.write_text(updated(name, path.read_text()))
