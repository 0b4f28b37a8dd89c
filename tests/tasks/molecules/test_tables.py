"""Molecule files: read in any way they may be written, and the errors when they cannot be read."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.standardise import canonicalise
from tasks.molecules.complaints import complaint

pytestmark = pytest.mark.usefixtures("empty_cache")


# --- Tables ------------------------------------------------------------------------------------


def test_a_table_is_read_with_its_numbers(file):
    path = file("a.csv", 'id,SMILES,gap,note\n1,OCC,0.5,"a, b"\n2,C, -1e3 ,\n3,N,,"two\nlines"\n')
    molecules = load_molecules(path, numeric=["gap", "id"])
    assert molecules.name == path
    assert molecules.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert molecules.smiles == ["CCO", "C", "N"]
    np.testing.assert_array_equal(molecules.columns["gap"], [0.5, -1000, np.nan])
    np.testing.assert_array_equal(molecules.columns["id"], [1, 2, 3])
    assert all(values.dtype == np.float64 for values in molecules.columns.values())
    assert (molecules.rows, molecules.broken, molecules.duplicates) == (3, 0, 0)
    assert molecules.first_broken is None


def test_equal_molecules_are_merged_and_broken_ones_are_left_out(file):
    path = file("a.csv", "smiles,x\nOCC,1\nC1CC,2\nCCO,3\n\n,\nC(,4\nN,5\nC(C)O,6\n")
    molecules = load_molecules(path, numeric=["x"])
    assert molecules.smiles == ["CCO", "N"]
    assert molecules.columns["x"].tolist() == [(1 + 3 + 6) / 3, 5]
    assert (molecules.rows, molecules.broken, molecules.duplicates) == (6, 2, 2)
    assert molecules.first_broken == "line 3: 'C1CC'"


def test_the_line_of_a_broken_molecule_counts_line_ends_inside_quotes(file):
    path = file("a.csv", 'note,smiles\r\n"a\r\nb",C\r\n\r\n"c\r\nd",C1CC\r\n')
    assert load_molecules(path).first_broken == "line 5: 'C1CC'"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.TSV", "\t")])
def test_tables_are_read_however_they_were_written(file, mark, end, name, delimiter):
    rows = [["smiles", "x"], ["CCO", "1"], ["C#N", "2"]]
    path = file(name, mark + end.join(delimiter.join(row) for row in rows).encode())
    molecules = load_molecules(path, numeric=["x"])
    assert molecules.smiles == ["CCO", "C#N"]
    assert molecules.columns["x"].tolist() == [1, 2]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(cells, st.sampled_from(["C", "CO", "C=O", "CN", "c1ccoc1"]), st.floats(-9, 9)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([",", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_stands_in_other_columns_is_read_past(tmp_path, rows, delimiter, end):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("note", "canonical_smiles", "x"), *rows])
    path = tmp_path / ("a.csv" if delimiter == "," else "a.tsv")
    path.write_bytes(out.getvalue().encode())
    molecules = load_molecules(str(path), numeric=["x"])
    values = {}
    for _, smiles, x in rows:
        values.setdefault(smiles, []).append(x)
    assert molecules.smiles == canonicalise(list(values))
    assert molecules.columns["x"] == pytest.approx([np.mean(own) for own in values.values()])
    assert (molecules.rows, molecules.duplicates) == (len(rows), len(rows) - len(values))


def test_the_smiles_column_can_be_named(file):
    path = file("a.csv", "smiles,canonical_smiles, product \nC,N,O\n")
    assert load_molecules(path, column="canonical_smiles").smiles == ["N"]
    assert load_molecules(path, column="product").smiles == ["O"]
    assert "2 columns are called smiles" in complaint(path)


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (
            "a,b\nC,1\n",
            {},
            "no columns are called smiles; --column says which one to read; columns: 'a', 'b'; "
            "'a' holds molecules",
        ),
        ("smiles,b\nC,1\n", {"column": "c"}, "no columns are called 'c'; columns: 'smiles', 'b'"),
        ("smiles,b\nC,1\n", {"numeric": ["c"]}, "no columns are called 'c'; columns: 'smiles'"),
        ("smiles,b,b\nC,1,2\n", {"numeric": ["b"]}, "2 columns are called 'b'"),
        ('a,"b\nc"\nC,1\n', {}, r"columns: 'a', 'b\nc'"),
        (",".join("abcdefghijklmnopqrstuvwxyz"), {}, "'t', …"),
        ("smiles,b\nC,1\nC\n", {}, "line 3 has 1 fields, but the header has 2"),
        ("smiles,b\nC,1,2\n", {}, "line 2 has 3 fields, but the header has 2"),
        ('smiles,b\nC,"1\n', {}, "line 2: unexpected end of data"),
        ("smiles,b\n", {}, "the file has no molecules"),
        ("smiles,b\n,\n\n , \n", {}, "the file has no molecules"),
        ("", {}, "the file has no molecules"),
        (b"\xef\xbb\xbf\r\n", {}, "the file has no molecules"),
        ("smiles\nC1CC\nx\n", {}, "no SMILES that RDKit can read; line 2: 'C1CC'"),
        (b"smiles\nC\nN\0\n", {}, "line 3 holds NUL"),
        (b"smiles,b\nC,1" + b"," * 10_000_000, {}, "line 2 has 10000002 fields"),
        (b'smiles\n"' + b"C" * 10_000_000, {}, "line 2: unexpected end of data"),
        (b"smiles\nC\x81", {}, "not UTF-8 text (byte 8); --encoding names another"),
        (b"\xef\xbb\xbfsmiles\nC\xff", {}, "not UTF-8 text (byte 11)"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(file, content, arguments, said):
    path = file("a.csv", content)
    message = complaint(path, **arguments)
    assert message.startswith(f"{path}: ")
    assert said in message


@pytest.mark.parametrize(
    "cell", ["inf", "-Infinity", "1e999", "one", "1_0", "0x1", "1 2", "١", "1,5,2", "e5", "2 nM"]
)
def test_a_column_with_more_texts_than_numbers_is_none_of_numbers(file, cell):
    path = file("a.csv", f'smiles,gap\nC,1\nO,"{cell}"\nN,red\n')
    assert f"line 3: gap is {cell!r}, not a number" in complaint(path, numeric=["gap"])
    path = file("a.csv", f'smiles,gap\nC,1\nO,"{cell}"\n')
    assert np.isnan(load_molecules(path, numeric=["gap"]).columns["gap"]).tolist() == [False, True]


@pytest.mark.parametrize("cell", ["1", "+1.", ".5", "-2.5E-3", " 7 ", "1e5"])
def test_plain_numbers_are_numbers(file, cell):
    path = file("a.csv", f"smiles,gap\nC,{cell}\n")
    assert load_molecules(path, numeric=["gap"]).columns["gap"].tolist() == [float(cell)]


def test_what_is_quoted_in_a_message_is_cut_short(file):
    path = file("a.csv", f"smiles,x\nC,{'1' * 100_000}x\n")
    assert len(complaint(path, numeric=["x"])) < 300


# --- Lists -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.smi", "a.smiles", "a.txt", "a.SMI"])
@pytest.mark.parametrize("heading", ["", "smiles\n", "SMILES name\r\n", "canonical_smiles\n"])
def test_a_list_is_a_smiles_on_each_line_and_perhaps_a_name(file, name, heading):
    content = heading + "OCC ethanol, or so\n\nC\tmethane \r\n  N\nC1CC broken\nCCO"
    molecules = load_molecules(file(name, content))
    assert molecules.smiles == ["CCO", "C", "N"]
    assert molecules.columns == {}
    assert (molecules.rows, molecules.broken, molecules.duplicates) == (5, 1, 1)
    assert molecules.first_broken == f"line {6 if heading else 5}: 'C1CC'"


def test_a_heading_further_down_is_no_heading(file):
    assert load_molecules(file("a.smi", "C\nsmiles\n")).first_broken == "line 2: 'smiles'"


@pytest.mark.parametrize("content", ["", "\n \n", "smiles\n"], ids=repr)
def test_a_list_of_nothing_is_an_error(file, content):
    assert "the file has no molecules" in complaint(file("a.smi", content))


@pytest.mark.parametrize("arguments", [{"column": "smiles"}, {"numeric": ["x"]}], ids=repr)
def test_a_list_has_no_columns(file, arguments):
    assert "a list of SMILES without a header has no columns" in complaint(
        file("a.smi", "C\n"), **arguments
    )
