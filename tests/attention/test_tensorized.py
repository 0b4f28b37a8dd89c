"""The Tensorized Transformer: its released layer, which leaks, and the causal twin of it."""

import pytest
import torch
from torch.nn import functional as F

from ketformer.attention import InputSizes, LeakWarning, TokenInputs, leaks
from ketformer.attention._trials import GrowingCache
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.tensorized_published import translation_module
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.models import KetformerConfig, KetformerForCausalLM

from .helpers import assert_equal_to, build, tokens

CHECKS = {check.name: check for check in CONFORMANCE}
BOTH = pytest.mark.parametrize("name", ["tensorized", "tensorized_published"])


def sizes(context, positions="learned"):
    return InputSizes(vocab_size=11, max_positions=context, positions=positions)


def by_hand(mixer, hidden_states, *, causal):
    """The equations for one sequence ``[T, d]``, pair by pair, up to the output layer."""
    length, heads = len(hidden_states), mixer.num_heads
    factors = mixer.qkv_proj(hidden_states).unflatten(-1, (3, heads, mixer.rank))
    query, key, value = factors.unbind(1)
    places = mixer.position_proj(mixer.sinusoids(hidden_states)).unflatten(-1, (heads, mixer.rank))
    outputs = []
    for head in range(heads):
        core = mixer.cores[:, head].mean(0)
        for i in range(length):
            output = torch.zeros(mixer.head_dim, dtype=hidden_states.dtype)
            for j in range(i + 1 if causal else length):
                left = (query[i, head] + mixer.key_bias[head]) * key[j, head]
                left = left + (query[i, head] + mixer.position_bias[head]) * places[j, head]
                for k in range(i + 1 if causal else length):
                    pair = (core * left * value[k, head]).sum()
                    output = output + mixer.pair_weight[head, :, j, k] * pair
            outputs.append(output)
    return torch.stack(outputs).unflatten(0, (heads, length)).transpose(0, 1).flatten(1)


@BOTH
def test_it_is_what_the_equations_say(name):
    mixer = build(name, 9, 3, rank=2, n_cores=2, bias=True, inputs=sizes(7)).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter)
    for length in (7, 5):
        hidden_states = tokens(2, length, 9, seed=length).double()
        expected = torch.stack([by_hand(mixer, x, causal=mixer.is_causal) for x in hidden_states])
        assert_equal_to(1e-10, mixer(hidden_states)[0], mixer.out_proj(expected))


@BOTH
def test_queries_are_computed_in_parts(name, monkeypatch):
    mixer, hidden_states = build(name, 8, 2, inputs=sizes(40)).double(), tokens(2, 37, 8).double()
    in_parts = mixer(hidden_states)[0]
    monkeypatch.setattr("ketformer.attention.tensorized._CHUNK", 100)
    assert_equal_to(1e-12, mixer(hidden_states)[0], in_parts)


# --- The reference files -----------------------------------------------------------------------


def published(name, case):
    """The mixer with the case's weights, and an identity for its output layer."""
    config, given = case.config, case.parameters
    mixer = build(
        name,
        config["d"],
        config["heads"],
        rank=config["rank"],
        n_cores=config["cores"],
        inputs=sizes(config["T"]),
    ).double()
    with torch.no_grad():
        mixer.qkv_proj.weight.copy_(given["Wqkv"])
        mixer.position_proj.weight.copy_(given["Wr"])
        mixer.cores.copy_(given["cores"].unsqueeze(1))
        mixer.key_bias.copy_(given["u"])
        mixer.position_bias.copy_(given["w"])
        mixer.pair_weight.copy_(given["Wo"].unflatten(1, (config["T"], config["T"])))
        mixer.out_proj.weight.copy_(torch.eye(config["d"]))
        mixer.out_proj.bias.zero_()
    assert_equal_to(1e-6, mixer.sinusoids(given["Wqkv"]), case.inputs["positions"])
    mixer.sinusoids = lambda like: case.inputs["positions"]
    return mixer


@pytest.mark.parametrize("name", ["published", "two_cores"])
def test_the_released_layer(name, reference_cases):
    case = reference_cases("tensorized_published")[name]
    leaking, twin = (published(kind, case) for kind in ("tensorized_published", "tensorized"))
    x, out = case.inputs["x"], case.outputs
    attended = leaking(x[None])[0][0]
    assert_equal_to(1e-10, attended, out["attention"])
    assert_equal_to(1e-10, F.layer_norm(x + attended, x.shape[-1:]), out["output"])
    assert_equal_to(1e-10, twin(x[None])[0][0], out["masked_attention"])
    cache, steps = GrowingCache(), []
    for i, token in enumerate(x):
        at = TokenInputs(None, torch.tensor([[i]]))
        steps.append(twin(token[None, None], cache=cache, tokens=at)[0][0])
    assert_equal_to(1e-10, torch.cat(steps), out["masked_attention"])


@pytest.mark.parametrize("name", ["published", "two_cores"])
def test_who_sees_whom(name, reference_cases):
    case = reference_cases("tensorized_published")[name]
    x, delta = case.inputs["x"], case.inputs["delta"]

    def influence(kind):
        """``[T, T]``: how far a change of the token (row) changes the layer's output (column)."""
        mixer = published(kind, case)
        changed = x + torch.eye(len(x), dtype=x.dtype).unsqueeze(-1) * delta
        batches = x.expand_as(changed), changed
        before, after = (F.layer_norm(h + mixer(h)[0], x.shape[-1:]) for h in batches)
        return (after - before).abs().amax(-1).detach()

    assert_equal_to(1e-10, influence("tensorized_published"), case.outputs["leak"])
    assert (case.outputs["leak"] > 1e-3).all()
    assert_equal_to(0, influence("tensorized").tril(-1), torch.zeros_like(case.outputs["leak"]))


def test_the_translation_module(reference_cases):
    case = reference_cases("tensorized_published")["translation_module"]
    query, key, value = (case.inputs[name] for name in "qkv")
    cores = case.parameters["cores"]
    assert_equal_to(1e-10, translation_module(query, key, value, cores), case.outputs["output"])
    with pytest.raises(KetformerError, match="rank 3 needs as many tokens, got 2"):
        translation_module(query[:2], key[:2], value[:2], cores)


# --- Generation, options, mistakes -------------------------------------------------------------


@pytest.mark.parametrize("options", [{"token_shift": True}, {"rank": 3, "n_cores": 2}], ids=str)
def test_the_recurrent_form_is_the_parallel_form(options):
    for check in ("forms", "cache", "padding", "gradients_under_padding"):
        CHECKS[check]("tensorized", 12, 3, **options)


def test_generation_from_prompts_of_two_lengths_needs_no_cache():
    torch.manual_seed(0)
    config = KetformerConfig(
        attention="tensorized", vocab_size=11, hidden_size=8, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    model = KetformerForCausalLM(config).eval()
    prompts = torch.tensor([[0, 0, 5, 3], [7, 1, 2, 9]])
    padding = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    how = {"attention_mask": padding, "max_new_tokens": 12, "num_beams": 2, "pad_token_id": 0}
    with_cache, without = (model.generate(prompts, use_cache=use, **how) for use in (True, False))
    assert torch.equal(with_cache, without)
    assert len(with_cache[0].unique()) > 4


@BOTH
def test_the_context_is_bounded(name):
    mixer = build(name, 8, 2, inputs=sizes(5))
    with pytest.raises(KetformerError, match="weights for 5 positions, the context length; 6 are"):
        mixer(tokens(1, 6, 8))
    if mixer.is_causal:
        cache = GrowingCache()
        mixer(tokens(1, 5, 8), cache=cache)
        with pytest.raises(KetformerError, match="weights for 5 positions"):
            mixer(tokens(1, 1, 8), cache=cache)


def test_the_released_form_warns_and_has_no_cache(monkeypatch):
    monkeypatch.setattr(leaks, "_warned", set())
    with pytest.warns(LeakWarning, match="each position sees later tokens"):
        mixer = build("tensorized_published", 8, 2)
    with pytest.raises(KetformerError, match="sees the future, so it cannot use a cache"):
        mixer(tokens(1, 3, 8), cache=GrowingCache())


@BOTH
@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"rank": 0}, KetformerError, "rank must be positive"),
        ({"n_cores": 0}, KetformerError, "n_cores must be positive"),
        ({"inputs": sizes(10**7)}, KetformerError, "too large"),
        *[
            ({"inputs": sizes(8, kind)}, NotOfferedError, f"positions=.*{kind}")
            for kind in ("rotary", "alibi", "none")
        ],
    ],
)
def test_what_it_cannot_be_is_refused(name, options, error, told):
    with pytest.raises(error, match=told) as caught:
        build(name, 8, 2, **options)
    assert "\n" not in str(caught.value)


@BOTH
def test_there_are_no_weights_to_return(name):
    with pytest.raises(NotOfferedError, match="no attention weights"):
        build(name, 8, 2)(tokens(1, 3, 8), return_weights=True)
