"""``ketformer cite``: entries of what is known, and nothing invented."""

import re
from pathlib import Path

import pytest
import yaml

from ketformer.attention import ATTENTION, Attention
from ketformer.report.citations import citable, citations
from ketformer.tasks.datasets import DATASETS

ROOT = Path(__file__).parents[2]


def fields_of(bibtex):
    """Each entry's key and fields, read as BibTeX reads them."""
    entries = {}
    for key, body in re.findall(r"@misc\{([^,\s]+),\n(.*?)^\}$", bibtex, re.DOTALL | re.MULTILINE):
        found = re.findall(r"^  (\w+) += \{(.*)\},$", body, re.MULTILINE)
        assert len(found) == body.count("\n")
        assert body.count("{") == body.count("}")
        entries[key] = dict(found)
    return entries


def test_mechanism_data_and_software_each_once(ketformer):
    done = ketformer("cite", "qisa", "qisa_a", "overlap", "tinyshakespeare", "ketformer")
    entries = fields_of(done.out)
    assert list(entries) == ["arXiv:2603.03318", "arXiv:2502.19214", "tinyshakespeare", "ketformer"]
    assert entries["arXiv:2603.03318"] == {
        "eprint": "2603.03318",
        "archiveprefix": "arXiv",
        "year": "2026",
        "url": "https://arxiv.org/abs/2603.03318",
    }
    assert entries["tinyshakespeare"]["url"] == DATASETS["tinyshakespeare"].url
    assert "https://arxiv.org/abs/2502.19214" in done.err  # where authors and title are


def test_ketformers_own_entry_is_that_of_the_citation_file(ketformer):
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (entry,) = ketformer("cite", "ketformer", "--json").json["entries"]
    assert entry["title"] == known["title"]
    assert entry["author"] == f"{{{known['authors'][0]['name']}}}"
    assert entry["note"] == f"Version {known['version']}, {known['license']}"


def test_everything_citable_has_an_entry():
    names = citable()
    assert set(names) >= {"ketformer", *DATASETS, "qsann", "qisa_published", "classical_eq"}
    entries = citations(names)
    assert len({entry.key for entry in entries}) == len(entries)
    assert fields_of("\n".join(entry.bibtex() for entry in entries)).keys() == {
        entry.key for entry in entries
    }


def test_a_mechanism_of_two_papers_has_two_entries(ketformer):
    done = ketformer("cite", "kernel")
    assert list(fields_of(done.out)) == ["arXiv:2308.13422", "arXiv:2605.25365"]
    assert "https://arxiv.org/abs/2308.13422, https://arxiv.org/abs/2605.25365" in done.err


def test_what_has_a_doi_only_is_cited_by_it(ketformer):
    entries = fields_of(ketformer("cite", "qsa_cp").out)
    doi = "10.5281/zenodo.22250418"
    assert entries == {f"doi:{doi}": {"doi": doi, "url": f"https://doi.org/{doi}"}}


def test_a_paper_that_is_not_on_arxiv_is_a_note(monkeypatch):
    class Other(Attention):
        paper = "doi:10.1000/a_b"

    monkeypatch.setitem(ATTENTION._registered, "other", ATTENTION._find("qisa").__class__(Other))
    (entry,) = citations(["other"])
    assert (entry.key, entry.fields) == ("other", {"note": r"doi:10.1000/a\_b"})


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("qisa", "qsia"), "unknown name 'qsia'; did you mean 'qisa'?"),
        (("???",), "unknown name '???'; known: ketformer"),
        (("classical",), "classical names no paper"),
    ],
)
def test_mistakes(ketformer, names, told):
    ketformer("cite", *names).assert_mistake(told)
