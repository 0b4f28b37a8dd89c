"""A mechanism for each layer: built, cached, padded, saved, sized and described as any model."""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModelForCausalLM

from ketformer import audit_causality
from ketformer.attention import ATTENTION, attention_class
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM, checks, from_openai_gpt
from mechanisms import MECHANISMS

from .helpers import CAUSAL, LEAKY, SMALL, assert_alike, pad, small_config, small_model, some_ids

#: Every mechanism that tests go through, beside classical, before it and after it.
PAIRS = [pair for name in MECHANISMS for pair in ([name, "classical"], ["classical", name])]
HONEST = [pair for pair in PAIRS if set(pair) <= set(CAUSAL)]
THREE = {
    "attention": ["overlap", "classical", "qisa"],
    "num_hidden_layers": 3,
    "attention_options": {"overlap": {"n_qubits": 3}, "qisa": {"score": "dot"}},
}
every_pair = pytest.mark.parametrize("attention", PAIRS, ids="+".join)
honest_pair = pytest.mark.parametrize("attention", HONEST, ids="+".join)


def complaint_about(**changes):
    """The message for a wrong configuration, which must be one line."""
    with pytest.raises(KetformerError) as caught:
        small_config(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- The configuration -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attention": ["overlap"]}, "attention names 1 mechanisms for 2 layers"),
        ({"attention": []}, "attention names 0 mechanisms for 2 layers"),
        ({"attention": ["overlap"] * 3}, "name one for each layer, or a single one for all"),
        ({"attention": ["overlap", "qsia"]}, "unknown attention 'qsia'; known: classical"),
        ({"attention": ["overlap", 3]}, "'attention'"),
        ({"attention": ["overlap", None]}, "'attention'"),
        ({"attention": "overlap,classical"}, "unknown attention 'overlap,classical'"),
        (
            {"attention": ["overlap", "qisa"], "attention_options": {"n_qubits": 4}},
            "'n_qubits', which is none of the layers' mechanisms (overlap, qisa)",
        ),
        (
            {"attention": ["overlap", "qisa"], "attention_options": {"qsann": {}}},
            "'qsann', which is none of the layers' mechanisms (overlap, qisa)",
        ),
        (
            {"attention": ["overlap", "qisa"], "attention_options": {"qisa": 3}},
            "those of qisa must be a mapping, got 3",
        ),
        (
            {"attention": ["overlap", "qisa"], "attention_options": {"qisa": {"n_qubits": 3}}},
            "qisa has no option n_qubits",
        ),
        (
            {"attention": ["overlap", "qisa"], "attention_options": {"overlap": {"n_qubits": "3"}}},
            "overlap: option n_qubits must be int",
        ),
    ],
    ids=str,
)
def test_a_list_that_does_not_fit_is_one_line(changes, told):
    assert told in complaint_about(**changes)


def test_the_layers_are_known_by_name():
    config = small_config(**THREE)
    assert config.layer_attention == ["overlap", "classical", "qisa"]
    assert config.mechanisms == {
        "overlap": {"n_qubits": 3},
        "classical": {},
        "qisa": {"score": "dot"},
    }
    assert config.attention_name == "overlap+classical+qisa"
    one = small_config("overlap", attention_options={"n_qubits": 3})
    assert one.layer_attention == ["overlap"] * 2
    assert (one.mechanisms, one.attention_name) == ({"overlap": {"n_qubits": 3}}, "overlap")
    assert (one.layer_counts, config.layer_counts["qisa"]) == ({"overlap": 2}, 1)


def test_two_configurations_share_neither_list_nor_options():
    attention, options = ["overlap", "classical"], {"overlap": {"n_qubits": 3}}
    config = small_config(attention=attention, attention_options=options)
    attention[0] = "qisa"
    options["overlap"]["n_qubits"] = 5
    assert config.mechanisms == {"overlap": {"n_qubits": 3}, "classical": {}}


def test_the_packages_of_other_peoples_mechanisms_are_saved_by_name(monkeypatch, tmp_path):
    packages = {"qisa": "theirs==1.2"}
    monkeypatch.setattr(ATTENTION, "package_of", packages.get)
    small_config(["qisa", "classical"]).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["attention_package"] == {"qisa": "theirs==1.2"}
    assert KetformerConfig.from_pretrained(tmp_path).attention == ["qisa", "classical"]
    packages["qisa"] = "others==1.2"
    with pytest.raises(KetformerError, match=r"'qisa' should come from theirs==1\.2"):
        KetformerConfig.from_pretrained(tmp_path)
    for wrong in ("theirs==1.2", ["theirs==1.2"]):
        (tmp_path / "config.json").write_text(json.dumps({**saved, "attention_package": wrong}))
        with pytest.raises(KetformerError, match="must be a mapping of names to packages, got"):
            KetformerConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("layers", [1, 3])
def test_circuits_larger_than_the_machine_are_found_in_any_layer(monkeypatch, layers):
    monkeypatch.setattr(checks, "machine_memory", lambda: 64 * 2**30)
    attention = [*["classical"] * layers, "overlap"]
    changes = {"attention": attention, "num_hidden_layers": layers + 1}
    checks.check_memory(small_config(**changes))
    changes["attention_options"] = {"overlap": {"layers": 10**9}}
    with pytest.raises(KetformerError, match="would need at least"):
        checks.check_memory(small_config(**changes))


# --- The model ---------------------------------------------------------------------------------


@every_pair
def test_each_layer_computes_what_it_does_in_a_model_of_its_own(attention):
    hybrid = small_model(attention)
    assert [type(b.attention) for b in hybrid.model.layers] == [*map(attention_class, attention)]
    alone = [small_model(name, seed=i) for i, name in enumerate(attention)]
    weights = hybrid.state_dict()
    for i, model in enumerate(alone):
        part = {k: v for k, v in weights.items() if k in model.state_dict()}
        part = {k: v for k, v in part.items() if ".layers." not in k or f".layers.{i}." in k}
        rest = {k: v for k, v in model.state_dict().items() if k not in part}
        model.load_state_dict({**part, **rest})
    ids = some_ids(3, 7)
    found = hybrid(ids, output_hidden_states=True, use_cache=False)
    first = alone[0](ids, output_hidden_states=True, use_cache=False).hidden_states[1]
    assert torch.equal(found.hidden_states[1], first)
    handed_on = alone[1].model.layers[0].register_forward_hook(lambda *_: (first, None))
    assert torch.equal(found.logits, alone[1](ids, use_cache=False).logits)
    handed_on.remove()


@every_pair
def test_a_hybrid_leaks_if_one_of_its_layers_does(attention):
    model = small_model(attention)
    assert model.is_causal is not any(name in LEAKY for name in attention)
    audit = audit_causality(model, sequences=2)
    assert (audit.causal, audit.attention) == (model.is_causal, "+".join(attention))
    if not model.is_causal:
        assert audit.max_future_influence > 1e-3
        with pytest.raises(KetformerError, match=r"\+.* sees the future"):
            model(some_ids(1, 3), use_cache=True)


@honest_pair
def test_with_the_cache_and_padded_it_writes_the_same(attention):
    model = small_model(attention)
    prompts = [some_ids(1, n, seed=n)[0] for n in (2, 4, 5)]
    ids, mask = pad(prompts, 5, "left")
    for way in ({"do_sample": False}, {"do_sample": False, "num_beams": 3}):
        options = {"max_new_tokens": 6, "pad_token_id": 0, **way}
        cached = model.generate(ids, attention_mask=mask, **options)
        assert torch.equal(
            cached, model.generate(ids, attention_mask=mask, use_cache=False, **options)
        )
        for row, prompt in enumerate(prompts):
            alone = model.generate(prompt[None], **options)
            assert torch.equal(alone[0, len(prompt) :], cached[row, 5:])


@every_pair
@pytest.mark.parametrize("load", [KetformerForCausalLM, AutoModelForCausalLM], ids=["own", "auto"])
def test_reloaded_it_gives_the_same_logits_bit_for_bit(tmp_path, attention, load):
    saved = small_model(attention, seed=1)
    saved.save_pretrained(tmp_path)
    torch.manual_seed(2)
    loaded = load.from_pretrained(tmp_path)
    assert loaded.config.attention == attention
    assert torch.equal(loaded(some_ids(3, 7)).logits, saved(some_ids(3, 7)).logits)


def test_a_saved_configuration_is_the_same_when_reloaded(tmp_path):
    config = small_config(**THREE)
    config.save_pretrained(tmp_path)
    for load in (KetformerConfig, AutoConfig):
        reloaded = load.from_pretrained(tmp_path)
        changed = {k for k, v in config.to_dict().items() if reloaded.to_dict()[k] != v}
        assert changed <= {"_name_or_path"}


def test_a_conditional_hybrid_gives_its_conditions_to_the_layer_that_wants_them():
    facts = {"condition_names": ["a"], "condition_means": [1.0], "condition_stds": [2.0]}
    options = {"overlap": {"angles": "embedding", "n_qubits": 6}}
    model = small_model(["classical", "overlap"], attention_options=options, **facts)
    for name, parameter in model.named_parameters():
        if "registers" in name or "angles" in name:  # some of them begin at 0
            assert ".layers.1.attention." in name
            torch.nn.init.normal_(parameter)
    torch.nn.init.zeros_(model.model.embed_conditions.known.weight)
    ids = some_ids(2, 5)
    low, high = (
        model(ids, conditions=torch.full((2, 1), value), output_attentions=True).attentions
        for value in (1.0, 4.0)
    )
    assert torch.equal(low[0], high[0])
    assert (low[1] - high[1]).abs().max() > 1e-3
    assert audit_causality(model, sequences=2).causal


def test_a_resized_vocabulary_resizes_the_tables_of_the_layer_that_has_them():
    options = {"overlap": {"angles": "embedding", "n_qubits": 4}}
    model = small_model(["classical", "overlap"], attention_options=options)
    ids = some_ids(2, 5)
    before = model(ids).logits
    model.resize_token_embeddings(SMALL["vocab_size"] + 4)
    assert_alike(model(ids).logits[..., : SMALL["vocab_size"]], before)
    assert model(ids + 4).logits.shape[-1] == SMALL["vocab_size"] + 4


def test_one_training_step_with_checkpointed_gradients_is_that_without():
    ids, losses = some_ids(4, 8), []
    for checkpointed in (False, True):
        model = small_model(**THREE).train()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        if checkpointed:
            model.activation_checkpointing_enable()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
        before = model(ids, labels=ids).loss
        before.backward()
        optimiser.step()
        losses.append([before.item(), model(ids, labels=ids).loss.item()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0][1] < losses[0][0]


def test_gpt1_takes_a_mechanism_for_each_layer():
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    sizes = OpenAIGPTConfig(vocab_size=13, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    source = OpenAIGPTLMHeadModel(sizes).eval()
    options = {"overlap": {"n_qubits": 3}}
    model, new = from_openai_gpt(source, ["classical", "overlap"], options)
    assert all(name.startswith("model.layers.1.attention") for name in new)
    ids = some_ids(2, 5)
    theirs = source(ids, output_hidden_states=True).hidden_states[1]
    assert_alike(model(ids, output_hidden_states=True).hidden_states[1], theirs, steps=512)


# --- The card ----------------------------------------------------------------------------------


def test_the_card_describes_each_mechanism_and_its_layers(tmp_path):
    attention = ["overlap", "classical", "overlap"]
    options = {"overlap": {"n_qubits": 3}}
    model = small_model(attention, num_hidden_layers=3, attention_options=options)
    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert {"overlap", "classical"} <= set(card.data.tags)
    assert "# Ketformer, overlap+classical+overlap attention" in card.text
    assert "| attention of layers 0, 2 | `overlap`: " in card.text
    assert "| attention of layer 1 | `classical`: " in card.text
    (line,) = (line for line in card.text.splitlines() if "| options of overlap |" in line)
    assert "`n_qubits=3`" in line


def test_the_card_of_a_leaky_hybrid_begins_with_the_leak(tmp_path):
    small_model(["classical", "qisa_published"]).save_pretrained(tmp_path)
    text = ModelCard.load(tmp_path / "README.md").text
    assert text.strip().startswith("**This model is not causal.**")
