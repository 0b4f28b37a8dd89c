"""Untrusted YAML and JSON: plain values of limited size, or one line that says why not."""

import json
import os

import pytest
import yaml

from ketformer.errors import KetformerError
from ketformer.utils.mappings import read_json, read_yaml


def complaint(read, path):
    """The message, which must be one line that names the file."""
    with pytest.raises(KetformerError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 500
    return message


def laughs(levels):
    """A YAML "billion laughs": 10^levels values from a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (laughs(9), "aliases are not allowed"),
        ("a: &x {b: *x}", "aliases are not allowed"),
        ("a: !!python/object/apply:os.mkdir [made]", "python/object/apply:os.mkdir"),
        ("a: !!python/name:os.system x", "constructor"),
        ("a: !thing x", "constructor"),
        ("a: " + "[" * 100_000, "nested deeper than 20"),
        ("a: " + "{a: " * 3_000, "nested deeper than 20"),
        ("a: 1\na: 2", "'a' appears twice"),
        ("1: 2", "a key must be text"),
        ("null: 2", "a key must be text"),
        ("{[a]: 2}", "a key must be text"),
        ("<<: {a: 1}", "a key must be text"),
        ("a: " + "9" * 5_000, ""),
        ("a: 0x" + "F" * 5_000, "must fit into 64 bits"),
        ("a: 9223372036854775808", "must fit into 64 bits"),
        ("a: 2026-02-30", "day"),
        ("a: b\0c", "special characters are not allowed"),
        ("a: b\n---\nc: d", "single document"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [", "a.yaml"),
        (b"a: \xff", "utf-8"),
        (b"a: " + b"x" * (1 << 20), "too large (1,048,579 bytes; "),
    ],
    ids=range(23),
)
def test_hostile_yaml_is_one_line(monkeypatch, tmp_path, content, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in complaint(read_yaml, path)
    assert not (tmp_path / "made").exists()


def test_plain_yaml_is_what_the_library_reads(tmp_path):
    content = {"a": [1, -2.5, True, None, "x: y"], "b": {"c": {"d": [2**62, "ü\u2028"]}}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    assert read_yaml(tmp_path / "a.yaml") == content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 100_000, "recursion"),
        ('{"a": ' + "9" * 5_000 + "}", "integer string conversion"),
        ("[1]", "expected a JSON object"),
        ("", "Expecting value"),
        ('{"a": 1', "delimiter"),
        (b"{\xff}", "utf-8"),
    ],
    ids=range(6),
)
def test_hostile_json_is_one_line(tmp_path, content, told):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in complaint(read_json, path)


def test_a_file_without_end_is_not_read(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("zero", "pipe", "none"):
        for read in (read_json, read_yaml):
            assert "no such file" in complaint(read, tmp_path / name)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    assert "too large" in complaint(read_json, tmp_path / "huge")


def test_plain_json_is_what_the_library_reads(tmp_path):
    content = {"a": [1, -2.5, True, None], "b": {"ü": "\ud83d"}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "a.json") == content
