"""scripts/check_reference.py: agreement with the reference files, and files that are not right."""

import copy
import json

import check_reference
import pytest
import reference
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError


def array(nested, shape):
    return {"about": "", "shape": shape, "real": nested}


def a_file(**changes):
    """A file of one case whose right answers are known without a computer."""
    eye = [[1.0, 0.0], [0.0, 1.0]]
    zero = [[0.0, 0.0], [0.0, 0.0]]
    parameters = {"Waq": eye, "Wpq": zero, "Wak": eye, "Wpk": zero, "Wv": eye}
    outputs = {"scores": array([[[0.5**0.5, 0.0], [0.0, 0.5**0.5]]], [1, 2, 2])}
    case = {
        "name": "by hand",
        "config": {"d": 2, "heads": 1, "width": 2},
        "inputs": {"x": array(eye, [2, 2])},
        "parameters": {name: array(matrix, [2, 2]) for name, matrix in parameters.items()},
        "outputs": outputs,
    }
    return {"mechanism": "interference", "format": 1, "cases": [case], **changes}


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command on contents; returns its exit code and what it printed."""

    def runs(content, *flags):
        path = tmp_path / "file.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        code = check_reference.main([str(path), *flags])
        return code, *capsys.readouterr()

    return runs


@pytest.mark.parametrize("name", check_reference._ADAPTERS)
def test_every_case_of_every_reference_file_agrees(name, shared_file):
    rows = check_reference.check(shared_file("zoo", f"{name}.json"))
    assert [row["case"] for row in rows if not row["agrees"]] == []
    assert all(row["compared"] for row in rows)


def test_one_json_object_or_a_table(run):
    code, out, _ = run(a_file(), "--json")
    (row,) = json.loads(out)["rows"]
    assert code == 0
    assert (row["mechanism"], row["case"]) == ("interference", "by hand")
    assert row["max_difference"] < 1e-15
    code, out, _ = run(a_file())
    assert code == 0
    assert "by hand" in out


def test_a_difference_above_the_tolerance_is_exit_code_1(run):
    content = a_file()
    content["cases"][0]["outputs"]["scores"]["real"][0][0][1] += 2e-10
    code, out, _ = run(content, "--json")
    assert code == 1
    assert json.loads(out)["rows"][0]["max_difference"] == pytest.approx(2e-10)
    assert "no, above 1e-10" in run(content)[1]


def changed(change):
    content = copy.deepcopy(a_file())
    change(content, content["cases"][0])
    return content


WRONG = {
    "unknown mechanism 'tea'": a_file(mechanism="tea"),
    "unknown mechanism '../reference/interference'": a_file(mechanism="../reference/interference"),
    "not a whole JSON file": json.dumps(a_file())[:-20],
    '"format": 1': [],
    "at least one case": a_file(cases=[]),
    "'x' must hold|finite numbers": changed(
        lambda _, case: case["inputs"]["x"]["real"][0].__setitem__(0, float("nan"))
    ),
    "does not have the shape": changed(lambda _, case: case["inputs"]["x"]["real"].pop()),
    "the case's sizes need": changed(
        lambda _, case: case["parameters"].update(Waq=array([[1.0, 0.0]], [1, 2]))
    ),
    "has no 'Wv'": changed(lambda _, case: case["parameters"].pop("Wv")),
    "config 'heads' must be": changed(lambda _, case: case["config"].update(heads="2")),
    "do not divide": changed(lambda _, case: case["config"].update(heads=3)),
    "its arrays do not fit": changed(
        lambda _, case: case["inputs"].update(x=array([[1.0] * 3], [1, 3]))
    ),
    "the case's sizes give": changed(
        lambda _, case: case["outputs"].update(scores=array([[0.0]], [1, 1]))
    ),
    "no outputs": changed(lambda _, case: case["outputs"].clear()),
    "none of its outputs is known: tea": changed(
        lambda _, case: case.update(outputs={"tea": array([0.0], [1])})
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_file_that_is_not_of_the_format_is_one_line_and_exit_code_2(run, message):
    code, out, err = run(WRONG[message], "--json")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert any(part in err for part in message.split("|"))


def test_a_missing_file_is_one_line(capsys):
    assert check_reference.main(["nowhere.json"]) == 2
    assert "nowhere.json: cannot be read: No such file" in capsys.readouterr().err


PARTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_file_is_read_wrongly(tmp_path_factory, data):
    """Any part replaced by anything is either refused in one line or read as it is."""
    content = a_file()
    place, key = content, "cases"
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
    place[key] = data.draw(PARTS)
    path = tmp_path_factory.mktemp("any") / "file.json"
    path.write_text(json.dumps(content))
    message, cases = "", []
    try:
        _, cases = reference.read_cases(path)
    except KetformerError as error:
        message = str(error)
    assert bool(message) != bool(cases)
    assert "\n" not in message
    assert all(tensor.isfinite().all() for case in cases for tensor in case.inputs.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_file_that_ends_early_is_refused(tmp_path_factory, end):
    text = json.dumps(a_file())
    path = tmp_path_factory.mktemp("short") / "file.json"
    path.write_text(text[: min(end, len(text) - 1)])
    with pytest.raises(KetformerError, match="not a whole JSON file"):
        reference.read_cases(path)
