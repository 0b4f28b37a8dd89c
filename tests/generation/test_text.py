"""``ketformer generate``: prompts, seeds, beams, and the same text with and without the cache."""

import io
import itertools
import sys

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from ketformer.cli import main
from ketformer.generation.continuation import stream_tokens
from ketformer.generation.text import _decoded
from ketformer.tasks.text import bpe_tokenizer, encode


@pytest.fixture
def texts(ketformer, honest):
    """``texts("--prompt", "the")``: the generated texts."""

    def generate(*options, run=honest):
        done = ketformer("generate", run, "--max_new_tokens", 30, "--json", *options)
        assert done.code == 0, done.err
        return done.json["texts"]

    return generate


def test_the_prompt_is_kept_and_continued_by_so_many_tokens(texts):
    (written,) = texts("--prompt", "the cat")
    assert written.startswith("the cat")
    assert len(written) == len("the cat") + 30


def test_a_prompt_longer_than_the_context_is_kept_whole(texts):
    prompt = "the cat sat on the mat and saw it"
    assert texts("--prompt", prompt)[0].startswith(prompt)


def test_a_seed_repeats_and_another_differs(texts):
    assert texts("--seed", 1) == texts("--seed", 1) != texts("--seed", 2)


def test_num_draws_different_continuations(texts):
    written = texts("--prompt", "the ", "--num", 3)
    assert len(set(written)) == 3


@pytest.mark.parametrize(
    "options",
    [(), ("--temperature", 0), ("--temperature", 0, "--num_beams", 3), ("--top_k", 3)],
    ids=["sampled", "greedy", "beams", "top_k"],
)
def test_the_cache_changes_nothing_but_the_time(texts, options):
    prompt = ("--prompt", "the ", "--num", 2, "--max_new_tokens", 60)
    with_cache, without = (texts(*prompt, *options, "--use_cache", u) for u in ("true", "false"))
    assert with_cache == without


def test_a_leaky_run_can_be_sampled(texts, leaky):
    assert len(texts("--prompt", "the", run=leaky)[0]) == 33


@torch.no_grad()
def test_temperature_0_takes_the_most_likely_token(texts, honest):
    model, tokenizer = _load(honest)
    ids = tokenizer("the", return_tensors="pt").input_ids
    for _ in range(5):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    greedy = ("--temperature", 0, "--max_new_tokens", 5)
    assert texts("--prompt", "the", *greedy) == [tokenizer.decode(ids[0])]


@torch.no_grad()
def test_as_many_beams_as_tokens_find_the_most_likely_pair(texts, honest):
    model, tokenizer = _load(honest)
    (prompt,) = tokenizer("the", return_tensors="pt").input_ids
    first = model(prompt[None]).logits[0, -1].log_softmax(-1)
    chances = {}
    for a, b in itertools.product(range(len(tokenizer)), repeat=2):
        if b == 0:
            longer = torch.cat([prompt, torch.tensor([a])])
            second = model(longer[None]).logits[0, -1].log_softmax(-1)
        chances[a, b] = float(first[a] + second[b])
    best = max(chances, key=chances.get)
    options = ("--temperature", 0, "--num_beams", len(tokenizer), "--max_new_tokens", 2)
    assert texts("--prompt", "the", *options) == ["the" + tokenizer.decode(best)]


def test_top_k_1_is_greedy_at_any_temperature(texts):
    sharp = texts("--top_k", 1, "--temperature", 2.0, "--prompt", "a")
    assert sharp == texts("--temperature", 0, "--prompt", "a")


def test_out_writes_what_was_shown(ketformer, honest, tmp_path):
    file = tmp_path / "new" / "folder" / "samples.txt"
    done = ketformer("generate", honest, "--num", 2, "--max_new_tokens", 9, "--out", file, "--json")
    assert file.read_text() == "\n\n".join(done.json["texts"]) + "\n"


def test_without_json_the_text_is_printed(ketformer, honest):
    options = ("--prompt", "the", "--max_new_tokens", 9)
    (text,) = ketformer("generate", honest, *options, "--json").json["texts"]
    assert ketformer("generate", honest, *options).out == text + "\n"
    assert "── 2 ──" in ketformer("generate", honest, *options, "--num", 2).out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--prompt", "the Ω"), "'Ω' (U+03A9) at position 4"),
        (("--num", 0), "num must be positive"),
        (("--max_new_tokens", 0), "max_new_tokens must be positive"),
        (("--temperature", -1), "temperature"),
        (("--top_p", 0), "top_p"),
        (("--num_beams", 3), "--temperature 0"),
        (("--seed", -1), "seed"),
    ],
)
def test_mistakes(ketformer, honest, options, told):
    ketformer("generate", honest, *options).assert_mistake(told)


def _load(run):
    model = AutoModelForCausalLM.from_pretrained(run).eval()
    return model, AutoTokenizer.from_pretrained(run)


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """``on_terminal("generate", …)``: the terminal afterwards, with the exit ``code``."""

    def call(*args):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            terminal.code = main([str(arg) for arg in args])
        return terminal

    return call


@pytest.mark.parametrize(
    "options",
    [
        ("--prompt", "the cat"),
        (),
        ("--prompt", "the", "--num", 3),
        ("--temperature", 0, "--num_beams", 2),
    ],
    ids=["a prompt", "no prompt", "three texts", "beams"],
)
def test_a_terminal_shows_in_the_end_what_a_pipe_gets(ketformer, on_terminal, honest, options):
    command = ("generate", honest, "--max_new_tokens", 30, *options)
    assert on_terminal(*command).getvalue() == ketformer(*command).out


def test_a_terminal_shows_each_character_as_it_is_written(on_terminal, honest, monkeypatch):
    written = []

    def counted(*args, **options):
        for piece in stream_tokens(*args, **options):
            written.append(piece)
            yield piece

    monkeypatch.setattr("ketformer.generation.text.stream_tokens", counted)
    shown = []  # (tokens written, characters shown), at each flush
    monkeypatch.setattr(
        Terminal, "flush", lambda self: shown.append((len(written), len(self.getvalue())))
    )
    on_terminal("generate", honest, "--prompt", "the", "--max_new_tokens", 30)
    assert shown[:31] == [(n, 3 + n) for n in range(31)]


def test_json_on_a_terminal_is_one_object_at_the_end(ketformer, on_terminal, honest):
    command = ("generate", honest, "--max_new_tokens", 9, "--json")
    assert on_terminal(*command).getvalue() == ketformer(*command).out


def test_a_bad_prompt_on_a_terminal_prints_nothing(on_terminal, honest):
    terminal = on_terminal("generate", honest, "--prompt", "Ω", "--num", 2)
    assert (terminal.code, terminal.getvalue()) == (2, "")


BYTES = bpe_tokenizer("天地人 é 👩‍🚀 the cat\n" * 30, 300)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=3)))
def test_any_byte_pairs_are_shown_as_they_are_decoded_at_the_end(pieces):
    """Also bytes that are no character, which an untrained model writes."""
    parts = list(_decoded(BYTES, [torch.tensor([piece]) for piece in pieces]))
    assert "".join(parts) == BYTES.decode([i for piece in pieces for i in piece])


def test_a_character_is_shown_when_its_last_byte_is_written():
    tokenizer = bpe_tokenizer("", 256)
    ids = encode(tokenizer, "a天é")
    assert list(_decoded(tokenizer, ids[:, None, None])) == ["a", "天", "é"]
    assert list(_decoded(tokenizer, ids[:-1, None, None])) == ["a", "天", "\ufffd"]
