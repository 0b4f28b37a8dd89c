"""Names of conditions: the file's columns, RDKit's properties, and which of them is meant."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rdkit.Chem import Crippen, MolFromSmiles

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.conditions import (
    as_asked,
    find_condition,
    parse_names,
    without_conditions,
)
from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.properties import PROPERTIES

SMILES = ["C" * n + end for n in range(1, 13) for end in ("", "O", "N")]
ROWS = [f"{text},{100 + i},{200 + i},{300 + i}" for i, text in enumerate(SMILES)]
BOTH = "\n".join(["smiles,LogP,logp,score", *ROWS])
LOWER = BOTH.replace("LogP", "other")


pytestmark = pytest.mark.usefixtures("empty_cache")


def prepared(path, conditions, *, standardised=False):
    """The data, and the lines that were told."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = prepare_molecules(path, conditions=conditions, standardise_conditions=standardised)
    return data, [str(line.message).removeprefix(f"{path}: ") for line in told]


def column(data, name):
    """The values of a condition by molecule, in the file's order."""
    place = data.names.index(name)
    values = {}
    for part, smiles in data.smiles.items():
        values |= dict(zip(smiles, data.conditions[part][:, place].tolist(), strict=True))
    return [values[text] for text in data.source.smiles]


@pytest.mark.parametrize(
    ("content", "asked", "name", "first"),
    [
        (BOTH, "LogP", "column:LogP", 100),
        (BOTH, "logp", "logp", 200),
        (LOWER, "LogP", "logp", 200),
        (LOWER, "LOGP", "logp", 200),
        (LOWER, "column:LogP", "logp", 200),
        (BOTH, "Column: LogP", "column:LogP", 100),
        (BOTH, "SCORE", "score", 300),
    ],
)
def test_the_files_own_column_wins(file, content, asked, name, first):
    path = file("a.csv", content)
    data, told = prepared(path, asked)
    assert data.names == (name,)
    assert column(data, name) == [first + i for i in range(len(SMILES))]
    plain = ":" not in asked and asked != "SCORE"
    heading = name.removeprefix("column:")
    line = f"LogP is the file's column '{heading}'; rdkit:LogP would be RDKit's"
    assert told == ([line] if plain else [])


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("a.csv", BOTH, "rdkit:LogP"),
        ("a.csv", BOTH, "RDKit:logp"),
        ("a.csv", "\n".join(["smiles", *SMILES]), "logp"),
        ("a.smi", "\n".join(SMILES), "LOGP"),
    ],
)
def test_rdkit_is_taken_where_it_is_named_or_there_is_no_column(file, name, content, asked):
    data, told = prepared(file(name, content), asked)
    assert (data.names, told) == (("LogP",), [])
    expected = [Crippen.MolLogP(MolFromSmiles(text)) for text in data.source.smiles]
    np.testing.assert_allclose(column(data, "LogP"), expected, rtol=1e-6)


def test_both_at_once(file):
    data, _ = prepared(file("a.csv", BOTH), "rdkit:LogP,column:LogP,logp")
    assert data.names == ("LogP", "column:LogP", "logp")
    again, told = prepared(file("a.csv", BOTH), as_asked(data.names))
    assert (again.names, told) == (data.names, [])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("scores", "no columns are called 'scores'; columns: 'smiles', 'LogP', 'logp', 'score'; "
                   "did you mean 'score'?"),
        ("TPSAA", "did you mean 'TPSA'?"),
        ("rdkit:score", "RDKit's properties have no 'score'; known: MW,"),
        ("rdkit:lgP", "did you mean 'LogP'?"),
        ("LOGP", "2 columns are called 'LOGP'"),
        ("LogP,column:LogP", "distinct names, got column:LogP, column:LogP"),
        ("LogP,", "conditions must be distinct names, separated by commas"),
        ("column:", "conditions must be distinct names, separated by commas"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_or_not_clear(file, asked, said):
    with pytest.raises(KetformerError) as caught:
        prepare_molecules(file("a.csv", BOTH), conditions=asked)
    assert said in str(caught.value)


# --- all, and without one of them ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("all", list(PROPERTIES)),
        ("all,-logp", [name for name in PROPERTIES if name != "LogP"]),
        ("all, -rdkit:LogP", [name for name in PROPERTIES if name != "LogP"]),
        ("all,score", [*PROPERTIES, "score"]),
        ("all,LogP", [*PROPERTIES, "column:LogP"]),
        # What `all` brought in goes, and not the column of that name.
        ("all,-LogP,LogP", [*(n for n in PROPERTIES if n != "LogP"), "column:LogP"]),
        ("all,-logp,logp", [*(n for n in PROPERTIES if n != "LogP"), "logp"]),
        ("LogP,rdkit:LogP,-rdkit:logp", ["column:LogP"]),
        ("score,TPSA,-SCORE", ["TPSA"]),
        ("LogP,logp,-logp", ["column:LogP"]),
    ],
)
def test_all_and_what_is_left_out_of_it(asked, names):
    parsed = parse_names(asked)
    headings = {name: name for name in ("LogP", "logp", "score")}
    assert [condition.resolved(headings) for condition in parsed] == names
    assert [one.from_all for one in parsed].count(True) == sum(
        name in PROPERTIES for name in names if asked.startswith("all")
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("all,-LgP", "'all,-LgP' do not have LgP to leave out; did you mean 'LogP'?"),
        ("all,-column:LogP", "do not have column:LogP to leave out"),
        ("all,-rdkit:nope", "RDKit's properties have no 'nope'"),
        ("all,-", "conditions must be distinct names, separated by commas"),
    ],
)
def test_what_cannot_be_left_out(asked, said):
    with pytest.raises(KetformerError) as caught:
        parse_names(asked)
    assert said in str(caught.value)


def test_what_does_not_vary_is_left_out_of_all_but_not_of_the_columns(file):
    rows = [f"{'C' * n},{n},1" for n in range(1, 40)]
    path = file("a.csv", "\n".join(["smiles,HBA,nRing", *rows]))
    data, told = prepared(path, "all,HBA", standardised=True)
    assert data.left_out == ("HBA", "HBD", "nRing", "nHet", "TPSA", "StereoCenters")
    assert data.names == ("MW", "nRot", "LogP", "column:HBA")
    assert "HBA (it is 0 in each)" in told[-1]
    names = without_conditions("all,HBA", data.left_out)
    again, told = prepared(path, names, standardised=True)
    assert (again.names, again.left_out) == (data.names, ())
    assert told == ["HBA is the file's column 'HBA'; rdkit:HBA would be RDKit's"]
    with pytest.raises(KetformerError, match=r"column:nRing does not vary .*it is 1 in each"):
        prepared(path, "all,nRing", standardised=True)


headings = st.sampled_from([*PROPERTIES, "logp", "score", "Score", "µ"])


@settings(max_examples=100, deadline=None)
@given(st.lists(headings, unique=True, min_size=1), st.data())
def test_a_models_names_ask_for_its_own_conditions_again(columns, data):
    """Whatever the columns of the file it meets."""
    asked = parse_names(data.draw(st.sampled_from(["all", "all,-MW", *columns, *PROPERTIES])))
    names = [condition.resolved({name: name for name in columns}) for condition in asked]
    elsewhere = {name: name for name in [*columns, *PROPERTIES]}
    again = parse_names(as_asked(names))
    assert [condition.resolved(elsewhere) for condition in again] == names


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("LogP", "LogP"), ("logp", "LogP"), ("rdkit:LogP", "LogP"), ("column:logp", None),
        ("mw", "column:MW"), ("column:MW", "column:MW"), ("score", None), ("Score", "Score"),
        ("tpsa", None),
    ],
)  # fmt: skip
def test_a_request_finds_the_models_condition(asked, found):
    names = ["LogP", "column:MW", "Score", "SCORE"]
    assert find_condition(asked, names) == found
