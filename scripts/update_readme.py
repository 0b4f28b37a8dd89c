"""Rewrite the generated blocks of README.md and docs/ from results/ and the registry."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import architecture
import chemist_blocks
import circuit_blocks
import claims_blocks
import convert_blocks
import device_blocks
import leaderboard_blocks
import mechanism_blocks
import readme_blocks
import readme_picture
import robust_blocks
import scale_blocks
import speed_blocks
import verdict_blocks

ROOT = Path(__file__).resolve().parent.parent


#: The blocks of each file.
FILES = {
    "README.md": ("qisa", "overlap", "deep", "chargpt"),
    "README.zh-CN.md": ("zh_qisa", "zh_overlap", "zh_deep", "zh_chargpt"),
    "docs/claims.md": (
        "claims_papers",
        "claims_factors",
        "claims_positions",
        "claims_intervals",
        "qisa",
        "claims_char_gpt",
        "claims_char_gpt_controls",
        "claims_char_gpt_start",
        "claims_tensorized",
        "overlap",
        "claims_gradients",
        "claims_noise",
        "deep",
    ),
    "docs/verdict.md": (
        "verdict_start",
        "verdict_mechanisms_text",
        "verdict_answer",
        "verdict_equal_time",
        "verdict_whole",
        "verdict_mechanisms_qm9",
        "verdict_conditions",
        "verdict_sizes",
        "verdict_rate",
        "verdict_little_data",
    ),
    "docs/leaderboard.md": (
        "leaderboard_terms",
        "leaderboard_text",
        "leaderboard_molecules",
    ),
    "docs/how-to/convert.md": ("convert_study",),
    "docs/tutorials/hardware.md": ("devices_counts", "devices_losses"),
    "docs/molecules.md": (
        "chemist_scaffolds",
        "chemist_guidance",
        "chemist_constrained",
        "chemist_moses",
        "chemist_qm9",
        "targets",
    ),
    "docs/how-to/fine-tune.md": ("chemist_series",),
    "docs/optimise.md": ("chemist_goals",),
    "docs/circuits.md": ("check", "bench", "noise", "gradients", "resources"),
    "docs/scale.md": (
        "scale_assumed",
        "scale_training",
        "scale_mechanisms",
        "scale_measured",
        "scale_circuits",
    ),
    "docs/robustness.md": ("robust_million", "robust_fuzz"),
    "docs/speed.md": (
        "speed_attention",
        "speed_attention_avx2",
        "speed_gpu",
        "speed_generation",
        "speed_peers",
        "speed_memory",
        "speed_start",
    ),
    "docs/mechanisms/index.md": ("mechanisms",),
    **{f"docs/mechanisms/{name}.md": (f"mechanism_{name}",) for name in mechanism_blocks.PAGES},
}


def block(name: str) -> str:
    """The content of a generated block."""
    if name == "targets":
        return _targets()
    if name.startswith("mechanism"):
        return mechanism_blocks.block(name, _read)
    language, _, rest = name.rpartition("_")
    if hasattr(readme_blocks, rest):
        own: str = getattr(readme_blocks, rest)(_read, language or "en")
        return own
    modules = {
        "chemist": chemist_blocks,
        "claims": claims_blocks,
        "convert": convert_blocks,
        "devices": device_blocks,
        "leaderboard": leaderboard_blocks,
        "robust": robust_blocks,
        "scale": scale_blocks,
        "speed": speed_blocks,
        "verdict": verdict_blocks,
    }
    module = modules.get(name.partition("_")[0], circuit_blocks)
    made: str = getattr(module, name)(_read)
    return made


def pictures() -> dict[str, str]:
    """The README's pictures, by their paths."""
    result = _read("reproduce-qisa")
    return {
        f"docs/pictures/readme-leak{suffix}.svg": readme_picture.picture(result, language)
        for language, suffix in (("en", ""), ("zh-CN", ".zh-CN"))
    }


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


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / f"results/{name}.json").read_text())
    return content


def updated(file: str, text: str) -> str:
    """Return the file's text with its blocks regenerated."""
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
    architecture.draw()
    mechanism_blocks.draw()
    for name, content in pictures().items():
        (ROOT / name).write_text(content)
