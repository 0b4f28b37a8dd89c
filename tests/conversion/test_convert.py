"""Converted models: the same numbers where the attention is the same, and sound where it isn't."""

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Model

import ketformer
from conversion.helpers import (
    ARCHITECTURES,
    CASES,
    KEPT,
    MODELS,
    assert_close,
    converted,
    padded,
    small_model,
    some_ids,
)
from ketformer.attention import ATTENTION
from ketformer.audit import audit_causality
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit
from ketformer.quantum.qasm import to_qasm

LATER = [name for name in MODELS if name != "openai-gpt"]


@pytest.mark.filterwarnings("ignore:layers kept as they are")
@pytest.mark.parametrize(
    ("name", "implementation"),
    [
        ("openai-gpt", "eager"),
        *((name, "sdpa") for name in LATER),
        ("gpt2", "eager"),
        ("mistral", "eager"),
    ],
)
def test_classical_attention_gives_the_numbers_of_the_original(name, implementation):
    original = small_model(name, attn_implementation=implementation)
    model = ketformer.convert(original, "classical")
    assert (model.converted() == {}) == (name in KEPT)
    for inputs in ({"input_ids": some_ids()}, padded(some_ids(), 3)):
        with torch.no_grad():
            ours, theirs = model(**inputs), original(**inputs)
        begin = inputs["input_ids"].shape[1] - 12
        assert_close(ours.logits[:, begin:], theirs.logits[:, begin:])
    ids = some_ids()
    sampled = {"max_new_tokens": 8, "do_sample": False, "num_beams": 3}
    assert torch.equal(model.generate(ids, **sampled), original.generate(ids, **sampled))


def test_the_comparison_would_see_a_wrong_weight():
    original = small_model()
    model = ketformer.convert(original, "classical")
    with torch.no_grad():
        model.converted()[1].mechanism.qkv_proj.weight[0, 0] += 0.1
        assert (model(some_ids()).logits - original(some_ids()).logits).abs().max() > 1e-4


def test_a_circuit_as_ansatz_is_saved_as_text(tmp_path):
    ansatz = Circuit(2).ry(0, "a").cnot(0, 1).rz(1, "b")
    model = ketformer.convert(small_model(), "overlap", init="random", ansatz=ansatz)
    assert model.config.converted_layers["0"]["options"]["ansatz"] == to_qasm(ansatz)
    assert "OPENQASM 3.0" in model.config.to_json_string()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(some_ids()).logits, model(some_ids()).logits)


@pytest.mark.parametrize("name", KEPT)
def test_what_classical_cannot_express_stays_and_is_said(name):
    with pytest.warns(UserWarning, match=r"layers kept as they are: 0, 1\. Their attention is"):
        ketformer.convert(small_model(name), "classical")


@torch.no_grad()
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_a_saved_model_loads_as_converted(name, attention, tmp_path):
    model = converted(name, attention, layers=[1])
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert list(again.converted()) == [1]
    assert torch.equal(again(some_ids()).logits, model(some_ids()).logits)


_LOAD = """
import sys, torch
import ketformer
from transformers import AutoModelForCausalLM
ids = torch.load("ids.pt")
for name in sys.argv[1:]:
    model = AutoModelForCausalLM.from_pretrained(name)
    torch.save(model(ids).logits.detach(), f"{name}.pt")
"""


def test_another_process_loads_it_after_import_ketformer(tmp_path):
    """And `test_remote_code.py`, what happens without."""
    ids = some_ids()
    torch.save(ids, tmp_path / "ids.pt")
    models = {name: converted(name) for name in ("gpt2", "gpt_neox")}  # a hyphen in one type's name
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, *models],
        capture_output=True, text=True, timeout=200, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, model in models.items():
        assert torch.equal(torch.load(tmp_path / f"{name}.pt"), model(ids).logits.detach())


def test_the_configuration_says_what_was_replaced(tmp_path):
    model = ketformer.convert(
        small_model(), "overlap", [1], "random", attention_options={"layers": 2}, n_qubits=4
    )
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "ketformer-gpt2"
    assert saved["architectures"] == ["KetformerGPT2LMHeadModel"]
    options = {"layers": 2, "n_qubits": 4}
    assert saved["converted_layers"] == {
        "1": {"attention": "overlap", "options": options, "bias": None}
    }
    assert AutoConfig.from_pretrained(tmp_path).n_embd == 32
    assert model.converted()[1].mechanism.layers == 2


def test_saved_weights_that_lack_a_mechanism_are_refused(tmp_path):
    small_model().save_pretrained(tmp_path)
    converted("gpt2").config.save_pretrained(tmp_path)
    with pytest.raises(KetformerError, match=r"lack transformer\.h\.0\.attn\.mechanism\."):
        AutoModelForCausalLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "layers", [{"7": {"attention": "overlap"}}, {"x": {}}, {"0": {"attention": 3}}, {"0": {}}]
)
def test_a_broken_configuration_is_one_line(layers):
    config = converted("gpt2").config
    config.converted_layers = layers
    with pytest.raises(KetformerError):
        AutoModelForCausalLM.from_config(config)


def test_a_model_from_a_configuration_is_converted():
    model = AutoModelForCausalLM.from_config(converted("llama").config)
    assert list(model.converted()) == [0, 1]
    assert audit_causality(model, length=10).max_future_influence == 0


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_precision(name):
    wide = converted(name)
    half = ketformer.convert(small_model(name).bfloat16(), "overlap", init="random")
    half.load_state_dict(wide.state_dict())
    out = half(some_ids()).logits
    assert out.dtype == torch.bfloat16
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    like = torch.corrcoef(torch.stack([out.float().flatten(), wide(some_ids()).logits.flatten()]))
    assert like[0, 1] > 0.95


@torch.no_grad()
@pytest.mark.parametrize(("name", "attention"), [("gpt2", "qisa"), ("llama", "overlap")])
def test_compiled_it_is_one_graph(name, attention):
    model, ids = converted(name, attention), some_ids()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_close(compiled(ids, use_cache=False).logits, model(ids, use_cache=False).logits)


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama", "openai-gpt"])
@pytest.mark.parametrize("asked_before", [False, True])
def test_attention_weights_of_all_layers_are_returned(name, asked_before):
    original = small_model(name, attn_implementation="eager")
    if asked_before:  # transformers puts its hooks into a model on the first request
        original(some_ids(), output_attentions=True)
    model = ketformer.convert(original, "overlap", [1], "random")
    weights = model(some_ids(), output_attentions=True).attentions
    assert [w.shape for w in weights] == [(3, 4, 12, 12)] * 2
    for of_layer in weights:
        assert_close(of_layer.sum(-1), torch.ones(3, 4, 12))
        assert of_layer.triu(1).abs().max() == 0


@torch.no_grad()
@pytest.mark.parametrize("attention", ["overlap", "classical_eq", "classical_qk_norm"])
def test_linear_values_and_the_output_are_carried_over(attention):
    """At the first position, which sees itself alone, values are all that matters."""
    original = small_model("llama")
    model = ketformer.convert(original, attention, [0], "random")
    own, theirs = model.converted()[0], original.model.layers[0].self_attn
    states = torch.randn(2, 1, 32)
    place = torch.zeros(1, 1, dtype=torch.long)
    turned = original.model.rotary_emb(states, place)
    expected = theirs(states, position_embeddings=turned, attention_mask=None)[0]
    assert_close(own(states, position_ids=place)[0], expected)


def test_the_given_model_stays_as_it_is():
    original = small_model()
    before = {key: value.clone() for key, value in original.state_dict().items()}
    model = ketformer.convert(original, "qisa", init="random")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert type(original).__name__ == "GPT2LMHeadModel"
    assert original.config.model_type == "gpt2"
    assert all(torch.equal(original.state_dict()[key], value) for key, value in before.items())


def test_other_layers_of_a_converted_model_can_follow():
    model = ketformer.convert(converted("gpt2", "overlap", layers=[0]), "qisa", [1], "random")
    assert [type(own.mechanism).__name__ for own in model.converted().values()] == [
        "Overlap",
        "QISA",
    ]
    assert list(model.config.converted_layers) == ["0", "1"]
    assert audit_causality(model, length=10).max_future_influence == 0
    with pytest.raises(KetformerError, match="layer 0 is already converted, to Overlap"):
        ketformer.convert(model, "qisa", [0], "random")


def test_one_mechanism_for_each_layer():
    model = ketformer.convert(small_model(), ["qisa", "classical"], [1, 0], "random")
    kinds = {i: type(own.mechanism).__name__ for i, own in model.converted().items()}
    assert kinds == {0: "ClassicalAttention", 1: "QISA"}


def test_a_mechanism_that_leaks_has_no_cache():
    model = converted("gpt2", "qisa_published")
    assert not model.is_causal
    assert model.config.use_cache is False
    assert model.generate(some_ids(1, 4), max_new_tokens=3).shape == (1, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "overlpa"}, "unknown attention 'overlpa'"),
        ({"attention": ["overlap"]}, "1 mechanisms for 2 layers"),
        ({"layers": [2]}, "there is no layer 2; the model has 0 to 1"),
        ({"layers": [-1]}, "there is no layer -1"),
        ({"layers": [0, 0]}, "layers names one twice"),
        ({"layers": []}, "layers is empty"),
        ({"layers": "some"}, "layers must be one of all"),
        ({"init": "zeros"}, "init must be"),
        ({"qubits": 3}, "overlap has no option qubits"),
        ({"n_qubits": "x"}, "option n_qubits must be int"),
        ({"token_shift": True}, "a converted model cannot have it"),
        ({"attention": "classical_gated_linear"}, "keeps a state instead of keys and values"),
        ({"angles": "embedding"}, "needs the sizes of the decoder's inputs"),
    ],
)
def test_a_mistake_is_one_line(changes, message):
    with pytest.raises(KetformerError, match=message) as caught:
        ketformer.convert(small_model(), **{"init": "random", **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GPT2Model(small_model().config), "GPT2Model cannot be converted, only OpenAIGPTLMHead"),
        (torch.nn.Linear(2, 2), "Linear cannot be converted"),
        (small_model("gpt2", add_cross_attention=True), "with cross-attention cannot be"),
    ],
)
def test_another_layout_is_refused(model, message):
    with pytest.raises(KetformerError, match=message):
        ketformer.convert(model, init="random")


def test_a_mechanism_that_needs_learned_positions_is_refused_in_a_rotary_model():
    with pytest.raises(KetformerError, match="needs positions=learned"):
        ketformer.convert(small_model("llama"), "qisa_published", init="random")


def test_flash_attention_is_refused():
    model = converted("gpt2")
    with pytest.raises(KetformerError, match="attn_implementation must be sdpa or eager"):
        model.set_attn_implementation("flex_attention")


@pytest.mark.parametrize("kind", ["an adapter", "quantised"])
@pytest.mark.parametrize(("name", "part"), [("gpt2", "c_attn"), ("llama", "v_proj")])
def test_weights_that_are_not_all_there_is_are_refused(name, part, kind):
    model = small_model(name)
    attention = model.transformer.h[1].attn if name == "gpt2" else model.model.layers[1].self_attn
    if kind == "an adapter":
        peft = pytest.importorskip("peft")
        peft.inject_adapter_in_model(peft.LoraConfig(target_modules=[part]), model)
    else:
        setattr(attention, part, type("Linear8bit", (torch.nn.Linear,), {})(32, 32))
    with pytest.raises(KetformerError, match=f"{part} of an attention is a Linear.*merge_and_unl"):
        ketformer.convert(model, init="random")


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(
    groups=st.integers(1, 3), repeats=st.integers(1, 3), width=st.integers(1, 4), bias=st.booleans()
)
def test_any_grouping_of_heads_gives_the_numbers_of_the_original(groups, repeats, width, bias):
    heads = groups * repeats
    sizes = {"hidden_size": 2 * width * heads, "num_attention_heads": heads}
    original = small_model(
        "llama", **sizes, num_key_value_heads=groups, attention_bias=bias, head_dim=2 * width
    )
    model = ketformer.convert(original, "classical")
    ids = some_ids(2, 6)
    assert len(model.converted()) == 2
    assert_close(model(ids).logits, original(ids).logits)
    states, how = torch.randn(2, 6, sizes["hidden_size"]), {"attention_mask": None}
    how["position_embeddings"] = original.model.rotary_emb(states, torch.arange(6)[None])
    own, theirs = model.converted()[0], original.model.layers[0].self_attn
    mixed = own(states, position_ids=torch.arange(6)[None])[0]
    assert_close(mixed, theirs(states, **how)[0])


def test_a_mechanism_of_a_package_that_is_not_here_names_it():
    config = converted("gpt2").config
    config.converted_layers["0"] |= {"attention": "theirs", "package": "some-mechanisms==1.2"}
    with pytest.raises(KetformerError, match=r"pip install 'some-mechanisms==1\.2'"):
        AutoModelForCausalLM.from_config(config)


def test_the_package_of_a_mechanism_is_saved(monkeypatch):
    package = "some-mechanisms==1.2"
    monkeypatch.setattr(type(ATTENTION), "package_of", lambda self, name: package)
    monkeypatch.setattr(type(ATTENTION), "require", lambda self, name, package: None)
    assert converted("gpt2").config.converted_layers["0"]["package"] == package
