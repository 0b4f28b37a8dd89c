"""The command itself: help, mistakes in one line, and exit codes."""

import re

import pytest

from commands import call
from ketformer import __version__
from ketformer.cli import VERBS


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_alone_it_lists_its_verbs(ketformer, args):
    done = ketformer(*args)
    assert (done.code, done.err) == (0, "")
    for verb in VERBS:
        assert f"  {verb} " in done.out


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(ketformer, option):
    assert ketformer(option).out == f"ketformer {__version__}\n"


def test_the_help_lists_every_exit_code(ketformer):
    """Codes are tested: 0 here, 1 in test_audit, 2 below, 130 and 143 in test_resume."""
    done = ketformer("--help")
    listed = done.out.partition("exit codes:\n")[2].partition("\n\n")[0]
    assert re.findall(r"\b\d+\b", listed) == ["0", "1", "2", "130", "143"]


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_an_example(capsys, verb):
    with pytest.raises(SystemExit) as ended:
        call(capsys, verb, "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: ketformer {verb} ")
    assert "--json" in shown
    example = shown.partition("example:\n")[2]
    assert f"ketformer {verb} " in example or f"ketformer {verb}\n" in example


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("fly",), "unknown verb 'fly'"),
        (("--fly",), "unknown verb '--fly'"),
        (("train", "char-gpt", "--fly", 3), "--fly"),
        (("train", "char-gpt", "extra"), "extra"),
        (("train", "char-gpt", "--max_steps"), "max_steps: expected one argument"),
        (("train", "char-gpt", "--max_steps", "abc"), "--max_steps must be int, got abc"),
        (("train", "char-gpt", "--bf16", "maybe"), "--bf16 must be bool, got maybe"),
        (("train", "char-gpt", "--norm_position", "mid"), "one of pre, post"),
        (("train",), "name a preset"),
        (("train", "nope"), "no preset or YAML file 'nope'"),
        (("evaluate",), "required: run"),
        (("evaluate", "run", "--limit", "x"), "--limit must be int or null, got x"),
        (
            ("generate", "run", "--temperature", "hot"),
            "--temperature must be float or null, got hot",
        ),
        (("import-checkpoint", "x.pt"), "out"),
        (("attention", "run"), "required: text"),
        (("attention", "run", "C", "--head", "x"), "--head must be int or null, got x"),
        (("compare",), "required"),
        (("reproduce", "nope"), "unknown paper 'nope'"),
        (("demo", "--steps", "few"), "--steps must be int or null, got few"),
    ],
)
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["plain", "json"])
def test_a_mistake_is_one_line_and_exit_code_2(ketformer, args, told, json):
    ketformer(*args, *json).assert_mistake(told)


def test_dashes_do_as_well_as_underscores(ketformer, tiny, tmp_path):
    done = ketformer("train", tiny, "--max-steps=3", "--out", tmp_path / "run", "--json")
    assert done.json["steps"] == 3


@pytest.mark.parametrize("below", ["", "folder"])
@pytest.mark.parametrize("verb", ["train", "compare", "reproduce", "demo", "generate"])
def test_a_file_where_a_folder_must_be_is_a_mistake(
    ketformer, tiny, text, honest, tmp_path, verb, below
):
    (tmp_path / "file").write_text("in the way")
    args = {
        "train": (tiny,),
        "compare": ("classical", "qisa", "--preset", tiny),
        "reproduce": ("qisa", "--data", text),
        "demo": (),
        "generate": (honest, "--max_new_tokens", 3),
    }[verb]
    below = below or ("x" if verb == "generate" else "")  # its --out is a file
    done = ketformer(verb, *args, "--json", "--out", tmp_path / "file" / below)
    done.assert_mistake(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_interrupted_verb_exits_with_130_and_no_traceback(ketformer, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ketformer.cli.audit.audit_causality", interrupted)
    done = ketformer("audit", "--attention", "qisa")
    assert (done.code, done.out, done.err) == (130, "", "ketformer: error: interrupted\n")
