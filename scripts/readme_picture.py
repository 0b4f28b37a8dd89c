"""The README's picture: each mechanism's loss as papers report it, and given only the prefix.

Plain SVG, so that the same numbers always give the same file. Its colours follow the reader's light
or dark theme.
"""

from __future__ import annotations

import math
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, STEP = 860, 250, 30, 92, 30
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)

WORDS = {
    "en": {
        "title": "Next-character cross entropy, nats (lower is better)",
        "forced": "as papers report it",
        "prefix": "given only the prefix, as in generation",
        "classical": "classical",
        "classical_transposed": "classical, given the same leak",
        "qisa_published": "QISA as published",
        "qisa_causal": "QISA, leak mended",
        "qisa": "QISA, our defaults",
        "qisa_a_published": "QISA-A as published",
        "qisa_a_causal": "QISA-A, leak mended",
        "qisa_a": "QISA-A, our defaults",
    },
    "zh-CN": {
        "title": "下一字符的交叉熵，单位 nat（越低越好）",
        "forced": "论文的报告方式",
        "prefix": "仅给前缀，与生成时相同",
        "classical": "经典注意力",
        "classical_transposed": "经典注意力，加同样的泄漏",
        "qisa_published": "QISA，论文原样",
        "qisa_causal": "QISA，修复泄漏",
        "qisa": "QISA，我们的默认设置",
        "qisa_a_published": "QISA-A，论文原样",
        "qisa_a_causal": "QISA-A，修复泄漏",
        "qisa_a": "QISA-A，我们的默认设置",
    },
}

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.title { font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: .3 }
.honest { stroke: #0969da; fill: #0969da }
.leaky { stroke: #d1242f; fill: #d1242f }
.forced { fill-opacity: 0; stroke-width: 2 }
.key { stroke: #59636e; fill: #59636e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .honest { stroke: #58a6ff; fill: #58a6ff }
  .leaky { stroke: #ff7b72; fill: #ff7b72 }
  .key { stroke: #9198a1; fill: #9198a1 }
}
"""


def picture(result: dict[str, Any], language: str) -> str:
    """Return the SVG for ``results/reproduce-qisa.json``; red rows see the future."""
    words = WORDS[language]
    rows = [row for row in result["rows"] if row["name"] in words]
    height = TOP + STEP * len(rows) + 34
    bottom = TOP + STEP * (len(rows) - 1) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(words['title'])}</title>",
        f"<style>{STYLE}</style>",
        _text(16, 26, words["title"], "title"),
        _dot(24, 50, "key forced"),
        _text(36, 55, words["forced"], "small"),
        _dot(LEFT, 50, "key"),
        _text(LEFT + 12, 55, words["prefix"], "small"),
    ]
    for tick in TICKS:
        x = _x(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 18}" y2="{bottom}"/>'
        )
        parts.append(_text(x, bottom + 18, f"{tick:g}", "small", anchor="middle"))
    for i, row in enumerate(rows):
        y, kind = TOP + STEP * i, "honest" if row["causal"] else "leaky"
        forced, prefix = (_x(row[key]["mean"]) for key in ("cross_entropy", "prefix_cross_entropy"))
        parts += [
            _text(16, y + 5, words[row["name"]]),
            f'<line class="{kind}" stroke-width="2" x1="{forced + 6:.1f}" x2="{prefix:.1f}" '
            f'y1="{y}" y2="{y}"/>'
            if not row["causal"]
            else "",
            _dot(prefix, y, kind, 4 if row["causal"] else 6),
            _dot(forced, y, f"{kind} forced", 7 if row["causal"] else 6),
        ]
    return "\n".join([*filter(None, parts), "</svg>"]) + "\n"


def _x(value: float) -> float:
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - low) / (high - low)


def _dot(x: float, y: float, kind: str, radius: int = 6) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y}" r="{radius}"/>'


def _text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(said)}</text>'
