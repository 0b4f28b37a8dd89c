"""Tables as other programs write them: recognised, or refused in a line that names the option."""

import csv
import gzip
import io

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ketformer.tasks.molecules.dialect import Dialect, records
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.standardise import canonicalise
from tasks.molecules.complaints import complaint

SMILES = ["CCO", "c1ccccc1", "N", "CC(=O)O", "C[C@H](N)C(=O)O", "[Na+].[Cl-]", "C#N", "FC(F)F"]
HEADER = ["Größe", "SMILES", "pIC50", "note"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32"]


pytestmark = pytest.mark.usefixtures("empty_cache")


any_table = {
    "rows": st.lists(
        st.tuples(
            st.sampled_from(SMILES),
            st.floats(-9, 9).map(lambda value: round(value, 2)),
            st.sampled_from(["", "x, y; z", "Ä", 'a "b"', "two\nlines", "|"]),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda row: row[0],
    ),
    "delimiter": st.sampled_from([",", ";", "\t", "|"]),
    "decimal": st.sampled_from([".", ","]),
    "encoding": st.sampled_from(ENCODINGS),
    "headed": st.booleans(),
    "sep": st.booleans(),
    "end": st.sampled_from(["\n", "\r\n", "\r"]),
    "suffix": st.sampled_from([".csv", ".tsv", ".txt", ".CSV"]),
    "packed": st.booleans(),
}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(**any_table)
def test_any_table_is_read_without_being_told_how(
    tmp_path, rows, delimiter, decimal, encoding, headed, sep, end, suffix, packed
):
    if suffix == ".txt" and not headed:
        suffix = ".csv"  # a .txt without a header is a list of SMILES
    out = io.StringIO()
    out.write(f"sep={delimiter}{end}" if sep else "")
    quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL  # it would leave \n unquoted
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([HEADER] if headed else [])
    written = [("1", text, f"{x:.2f}".replace(".", decimal), note) for text, x, note in rows]
    writer.writerows(written)
    raw = out.getvalue().encode(encoding)
    path = tmp_path / f"a{suffix}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    molecules = load_molecules(str(path), numeric=["pic50" if headed else "3"])
    assert molecules.smiles == canonicalise([text for text, _, _ in rows])
    (values,) = molecules.columns.values()
    assert values.tolist() == [x for _, x, _ in rows]
    (told,) = molecules.notes or [""]
    assert ("decimal commas" in told) == (decimal == ",")
    assert ("without a header (SMILES in column 2)" in told) == (not headed)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "ID;SMILES;y\r\n1;CCO;5,00\r\n2;N;-0,93\r\n",
         "separated by ';', with decimal commas"),
        ("a.csv", "smiles\ty\nCCO\t1.5\n", "separated by tabs"),
        ("a.tsv", "smiles,y\nCCO,1.5\n", "separated by ','"),
        ("a.csv", "sep=;\nsmiles;y\nCCO;1.5\n", None),
        ("a.csv", '"sep=\t"\nsmiles\ty\nCCO\t1.5\n', None),
        ("a.txt", "id y SMILES\n7 1.5 CCO\n", None),
        ("a.csv", 'smiles,y\nCCO,"1,5"\n', "with decimal commas"),
        ("a.csv", "smiles,y\nCCO,1.5\n".encode("utf-16"), "as UTF-16"),
        ("a.csv", "smiles,y,µ\nCCO,1.5,2\n".encode("cp1252"), "as CP1252"),
        ("a.csv", 'Canonical SMILES,y\nCCO,"1,234.5"\n', None),
    ],
)  # fmt: skip
def test_what_was_recognised_is_told(file, name, content, said):
    molecules = load_molecules(file(name, content), numeric=["y"])
    assert molecules.smiles[0] == "CCO"
    assert molecules.notes == ([f"read {said}"] if said else [])


def test_a_single_column_without_a_header(file):
    molecules = load_molecules(file("a.csv", "CCO\nC\n"))
    assert molecules.smiles == ["CCO", "C"]
    assert molecules.notes == ["read without a header (SMILES in column 1)"]


def test_names_after_commas_are_no_smiles(file):
    assert load_molecules(file("a.smi", "CCO,ZINC1\nN;ZINC2\nO|x\nC\n")).smiles == [
        "CCO", "N", "O", "C",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "arguments", "option"),
    [
        ("1,N,CCO\n2,O,CCN\n", {}, "columns 2 and 3 hold molecules; --column takes the number"),
        ("C;1|O\nN;2|P\n", {}, "separated by ';' or '|'; say so with --delimiter"),
        ('smiles;y\nC;"1,234"\n', {"numeric": ["y"]}, "the decimal mark with --decimal"),
        ("smiles;y\nC;1,5\nN;2.5\n", {"numeric": ["y"]}, "the decimal mark with --decimal"),
        (b"smiles,y\nC,\x81\n", {}, "--encoding names another"),
        (
            "smiles,结构\nC,1\n".encode("gbk"),
            {"numeric": ["结构"]},
            "read as CP1252, --encoding names",
        ),
        ("structure,y\nCCO,1\n", {}, "'structure' holds molecules"),
        ("structure,y\nCCO,1\n", {"column": "structur"}, "did you mean 'structure'?"),
    ],
)
def test_what_is_not_clear_names_the_option(file, content, arguments, option):
    assert option in complaint(file("a.csv", content), **arguments)


@pytest.mark.parametrize(
    ("content", "arguments", "smiles", "y"),
    [
        ("1,N,CCO\n2,O,CCN\n", {"column": "3", "numeric": ["1"]}, ["CCO", "CCN"], [1, 2]),
        ("C;1|O\nN;2|P\n", {"dialect": Dialect(delimiter="|"), "column": "2"}, ["O", "P"], None),
        ('smiles;y\nC;"1,234"\n', {"dialect": Dialect(decimal=",")}, ["C"], [1.234]),
        ('smiles;y\nC;"1,234"\n', {"dialect": Dialect(decimal=".")}, ["C"], [1234]),
        ("smiles:y\nC:1\n", {"dialect": Dialect(delimiter=":")}, ["C"], [1]),
        ("smiles y\nC 1\n", {"dialect": Dialect(delimiter="space")}, ["C"], [1]),
        ("smiles\ty\nC\t1\n", {"dialect": Dialect(delimiter="\\t")}, ["C"], [1]),
        ("smiles,结构\nC,1\n".encode("gbk"), {"dialect": Dialect(encoding="gbk"),
                                            "numeric": ["结构"]}, ["C"], [1]),
        ("Structure,y\nC,1\n", {"column": "structure"}, ["C"], [1]),
    ],
)  # fmt: skip
def test_the_option_makes_it_clear(file, content, arguments, smiles, y):
    numeric = {} if y is None or "numeric" in arguments else {"numeric": ["y"]}
    molecules = load_molecules(file("a.csv", content), **arguments, **numeric)
    assert molecules.smiles == smiles
    assert [values.tolist() for values in molecules.columns.values()] == ([y] if y else [])


@pytest.mark.parametrize("delimiter", ["", ";;", "\n", '"', "tabs"])
def test_a_delimiter_that_is_none(file, delimiter):
    path = file("a.csv", "smiles\nC\n")
    assert "delimiter must be one character" in complaint(path, dialect=Dialect(delimiter))


def test_a_huge_cell_in_another_column_is_read_past(file):
    limit = csv.field_size_limit()
    path = file("a.csv", f"note,smiles,y\n{'x' * 500_000},CCO,1\n,{'C' * 300_000},2\n")
    molecules = load_molecules(path, numeric=["y"])
    assert (molecules.smiles, molecules.broken) == (["CCO"], 1)
    assert csv.field_size_limit() == limit


def test_rows_that_are_not_read_to_the_end_leave_no_limit_behind(tmp_path):
    limit = csv.field_size_limit()
    rows = records(tmp_path / "a.csv", "a,b\n1,2\n", ",", 0)
    next(rows)
    assert csv.field_size_limit() == limit
