"""docs/leaderboard.md agrees with results/leaderboard.json, and the mechanisms' pages with both."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from ketformer.attention import attention_class

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
PAGES = importlib.import_module("mechanism_blocks").PAGES
BOARD = json.loads((ROOT / "results/leaderboard.json").read_text(encoding="utf-8"))["tasks"]
PAGE = (ROOT / "docs/leaderboard.md").read_text(encoding="utf-8")


def told(task):
    """The generated block of a task."""
    return re.search(rf"<!-- leaderboard_{task}: .*?-->\n(.*?)<!--", PAGE, re.DOTALL)[1]


@pytest.mark.parametrize("task", BOARD)
def test_the_table_has_each_row_in_its_place_with_its_loss(task):
    lines = [line for line in told(task).splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = BOARD[task]["rows"]
    losses = [row["loss"]["mean"] for row in rows]
    assert losses == sorted(losses)
    assert [(at[0], at[1]) for at in cells] == [
        (str(place), row["name"]) for place, row in enumerate(rows, 1)
    ]
    for at, row in zip(cells, rows, strict=True):
        assert f"{row['loss']['mean']:.3f}" in at[4]
        assert at[-1] == row.get("verdict", {}).get("answer", at[-1])


@pytest.mark.parametrize("task", BOARD)
def test_every_verdict_is_told_and_every_row_has_at_least_three_seeds(task):
    for row in BOARD[task]["rows"]:
        assert len(row["loss"]["values"]) == len(BOARD[task]["seeds"]) >= 3
        if "verdict" in row:
            assert f"- {row['verdict']['sentence']}\n" in told(task)
        else:
            arm = re.sub("[:,]positions=learned", "", row["name"])
            assert row["is_classical"] or arm in attention_class(row["attention"]).twins


def test_the_pages_of_mechanisms_have_the_verdicts():
    for first, page in PAGES.items():
        text = (ROOT / f"docs/mechanisms/{first}.md").read_text(encoding="utf-8")
        for its in BOARD.values():
            for row in its["rows"]:
                if row["attention"] in page.names and "verdict" in row:
                    assert row["verdict"]["sentence"] in text
