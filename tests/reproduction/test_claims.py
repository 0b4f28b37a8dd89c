"""What became of each claim: one table for ``ketformer reproduce`` and for docs/claims.md."""

import re
from pathlib import Path

import pytest

from ketformer.attention import ATTENTION
from ketformer.cli.reproduce import PAPERS
from ketformer.reproduction.claims import CLAIMS, claim_about

DOCS = Path(__file__).parents[2] / "docs"


def test_what_the_verb_makes_counts_as_reproduced_and_nothing_else():
    assert {name for name, claim in CLAIMS.items() if not claim.needs} == {*PAPERS}
    for claim in CLAIMS.values():
        assert bool(claim.needs) != bool(claim.found)
        assert {*claim.mechanisms} <= {*ATTENTION}


def test_every_mechanism_with_a_page_has_a_claim():
    for page in (DOCS / "mechanisms").glob("*.md"):
        if page.name != "index.md":
            assert claim_about(page.stem), page.name
            if needs := claim_about(page.stem).needs:
                text = " ".join(page.read_text(encoding="utf-8").split())
                assert "Not reproduced: needs" in text
                assert needs.split()[-1] in text  # in other words, of the same things


@pytest.mark.parametrize("name", ["quixer", "vqc", "vqc_plain", "interference"])
def test_a_paper_that_is_not_reproduced_is_told_with_what_it_needs(ketformer, name, tmp_path):
    done = ketformer("reproduce", name, "--out", tmp_path / "none")
    done.assert_mistake(f"{name} is not reproduced: needs {claim_about(name).needs}")
    assert not (tmp_path / "none").exists()


def test_the_page_has_every_claim_with_its_source():
    page = (DOCS / "claims.md").read_text(encoding="utf-8")
    table = page.partition("<!-- claims_papers")[2].partition("<!-- /claims_papers")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == len(CLAIMS)
    for row, claim in zip(rows, CLAIMS.values(), strict=True):
        assert re.findall("`(.*?)`", row) == [*claim.mechanisms]
        assert claim.said in row
        assert row.endswith(f"| {claim.outcome} |")
        assert all(f"/{source})" in row for source in claim.source.split(", ") if source)
