"""``ketformer generate``: prompts, seeds, beams, and the same text with and without the cache."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


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
