"""What transformers' common tests ask of a causal language model, for every mechanism."""

import copy
import inspect

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.block import Block
from mechanisms import MECHANISMS, WITH_WEIGHTS

from .helpers import CAUSAL, VOCABULARY, assert_alike, small_config, small_model, some_ids

VARIANTS = [
    ("overlap", {"angles": "embedding"}),
    ("qsann", {"encoding": "angle", "n_qubits": 2}),
    ("qsann", {"observables": "random"}),
    ("qisa_a", {"train_circuit": False}),
]
MODELS = [(name, {}) for name in MECHANISMS] + VARIANTS
CAUSAL_MODELS = [(name, options) for name, options in MODELS if name in CAUSAL]
CROPPED_MODELS = [(name, options) for name, options in CAUSAL_MODELS if name in WITH_WEIGHTS]
WEIGHED_MODELS = [(name, options) for name, options in MODELS if name in WITH_WEIGHTS]
every_model = pytest.mark.parametrize(("attention", "options"), MODELS, ids=str)
every_causal_model = pytest.mark.parametrize(("attention", "options"), CAUSAL_MODELS, ids=str)
every_cropped_model = pytest.mark.parametrize(("attention", "options"), CROPPED_MODELS, ids=str)
every_weighed_model = pytest.mark.parametrize(("attention", "options"), WEIGHED_MODELS, ids=str)
UNDRAWN = {"classical", "classical_eq", "classical_gated_linear", "overlap"}
IDS = some_ids(2, 5) % 9


def built(attention, options, **changes):
    return small_model(attention, attention_options=options, **changes)


def generate(model, ids, **options):
    mask = torch.ones_like(ids)
    given = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "attention_mask": mask}
    return model.generate(ids, **(given | options))


# --- The meta device and to_empty ---------------------------------------------------------------


@every_model
def test_a_model_on_the_meta_device_gives_shapes(attention, options):
    with torch.device("meta"):
        model = KetformerForCausalLM(small_config(attention, attention_options=options)).eval()
    for found in (model, built(attention, options).to("meta")):
        for _ in range(2):  # the second time, something may have been kept from the first
            logits = found(IDS.to("meta")).logits
            assert logits.is_meta
            assert logits.shape == (2, 5, VOCABULARY)


@every_model
@pytest.mark.parametrize("start", ["meta", "moved to meta", "real"])
def test_to_empty_and_a_state_make_the_model_again(attention, options, start):
    saved = built(
        attention, options, condition_names=["a"], condition_means=[3], condition_stds=[2]
    )
    conditions = torch.tensor([[1.0], [4.0]])
    expected = saved(IDS, conditions=conditions).logits
    with torch.device("meta" if start == "meta" else "cpu"):
        model = KetformerForCausalLM(saved.config).eval()
    if start == "moved to meta":
        model.to("meta")
    model.to_empty(device="cpu")
    model.load_state_dict(saved.state_dict())
    assert torch.equal(model(IDS, conditions=conditions).logits, expected)


@every_model
def test_to_empty_and_an_initialisation_make_a_working_model(attention, options):
    with torch.device("meta"):
        model = KetformerForCausalLM(small_config(attention, attention_options=options)).eval()
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    model.apply(model._init_weights)
    assert model(IDS).logits.isfinite().all()


@every_model
def test_what_was_drawn_survives_to_empty(attention, options):
    model = built(attention, options)
    drawn = {k: v.clone() for k, v in model.state_dict().items() if k.endswith(("codes", "forms"))}
    model.to_empty(device="cpu")
    assert all(torch.equal(model.state_dict()[name], values) for name, values in drawn.items())
    model.to("meta").to_empty(device="cpu")
    assert all(torch.equal(model.state_dict()[name], values) for name, values in drawn.items())
    assert bool(drawn) == (attention not in UNDRAWN)


# --- The vocabulary is resized ------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("size", [20, 9])
def test_a_resized_vocabulary_changes_no_other_token(tmp_path, attention, options, tied, size):
    model = built(attention, options, tie_word_embeddings=tied, lm_head_bias=not tied)
    before = model(IDS).logits.detach()
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    model.resize_token_embeddings(size)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == trained
    logits = model(IDS).logits
    assert logits.shape[-1] == model.config.vocab_size == size
    kept = min(size, VOCABULARY)
    assert_alike(logits[..., :kept], before[..., :kept])
    assert model(torch.full((1, 3), size - 1)).logits.isfinite().all()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(IDS).logits, logits)
    model.train()(IDS, labels=IDS).loss.backward()


# --- Configuration and outputs ------------------------------------------------------------------


@every_model
def test_sdpa_and_eager_give_the_same_logits(tmp_path, attention, options):
    saved = built(attention, options)
    saved.save_pretrained(tmp_path)
    logits = [
        KetformerForCausalLM.from_pretrained(tmp_path, attn_implementation=name)(IDS).logits
        for name in ("sdpa", "eager")
    ]
    assert_alike(logits[1], logits[0], steps=512)
    saved.set_attn_implementation("eager")
    assert torch.equal(saved(IDS).logits, logits[1])


@pytest.mark.parametrize("name", ["flash_attention_2", "flex_attention", "someone/kernel"])
def test_other_implementations_are_refused_the_same_way_everywhere(tmp_path, name):
    model = small_model()
    model.save_pretrained(tmp_path)
    for ask in (
        lambda: KetformerConfig(attn_implementation=name),
        lambda: KetformerForCausalLM.from_pretrained(tmp_path, attn_implementation=name),
        lambda: model.set_attn_implementation(name),
    ):
        with pytest.raises(KetformerError, match=f"must be sdpa or eager, got '{name}'"):
            ask()


@every_weighed_model
def test_the_configuration_can_ask_for_weights_and_hidden_states(attention, options):
    model = built(attention, options)
    model.set_attn_implementation("eager")
    model.config.output_attentions = model.config.output_hidden_states = True
    output = model(IDS)
    assert [w.shape for w in output.attentions] == [(2, 2, 5, 5)] * 2
    assert [h.shape for h in output.hidden_states] == [(2, 5, 16)] * 3
    values = model(IDS, return_dict=False)
    assert torch.equal(values[0], output.logits)
    assert model(IDS, output_attentions=False).attentions is None


@every_model
def test_embeddings_can_be_given_in_place_of_tokens_unless_tokens_are_looked_up(attention, options):
    model = built(attention, options)
    embedded = model.get_input_embeddings()(IDS)
    if options.get("angles") == "embedding":
        with pytest.raises(KetformerError, match="looks up its tokens"):
            model(inputs_embeds=embedded)
        return
    assert torch.equal(model(inputs_embeds=embedded).logits, model(IDS).logits)


def test_the_signature_starts_with_tokens_and_has_one_kind_of_labels():
    names = list(inspect.signature(KetformerForCausalLM.forward).parameters)
    assert names[1] == "input_ids"
    assert [name for name in names if "label" in name] == ["labels"]


@every_model
def test_a_row_alone_gives_what_it_gives_in_a_batch(attention, options):
    model = built(attention, options)
    alone = torch.cat([model(row[None]).logits for row in IDS])
    assert_alike(model(IDS).logits, alone, steps=256)


@every_model
def test_recomputed_activations_give_the_same_gradients(attention, options):
    gradients = []
    for recompute in (False, True):
        model = built(attention, options, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0).train()
        if recompute:
            model.gradient_checkpointing_enable()
        model(IDS, labels=IDS).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert_alike(gradients[1][name], gradient, steps=256)


# --- Generation ---------------------------------------------------------------------------------


@every_cropped_model
def test_self_speculation_writes_what_greedy_generation_writes(attention, options):
    model, prompt = built(attention, options), some_ids(1, 4)
    written = generate(model, prompt, assistant_early_exit=1)
    assert torch.equal(written, generate(model, prompt))
    assert model.config.num_hidden_layers == len(model.model.layers) == 2


@every_causal_model
def test_fewer_layers_in_the_configuration_are_fewer_layers_run(attention, options):
    model = built(attention, options)
    shorter = copy.deepcopy(model)
    del shorter.model.layers[1]
    model.config.num_hidden_layers = 1
    assert torch.equal(model(IDS).logits, shorter(IDS).logits)


@every_cropped_model
@pytest.mark.parametrize("helper", ["another model", "prompt"])
def test_assisted_generation_writes_what_greedy_generation_writes(attention, options, helper):
    model, prompt = built(attention, options), some_ids(1, 4)
    assisted = (
        {"assistant_model": built(attention, options, seed=1)}
        if helper == "another model"
        else {"prompt_lookup_num_tokens": 2}
    )
    assert torch.equal(generate(model, prompt, **assisted), generate(model, prompt))


@every_causal_model
def test_generation_goes_on_from_a_returned_cache(attention, options):
    model, prompt = built(attention, options), some_ids(2, 3)
    whole = generate(model, prompt, max_new_tokens=6)
    first = generate(model, prompt, max_new_tokens=3, return_dict_in_generate=True)
    assert isinstance(first.past_key_values, DynamicCache)
    rest = generate(model, first.sequences, max_new_tokens=3, past_key_values=first.past_key_values)
    assert torch.equal(rest, whole)


@every_weighed_model
def test_generation_returns_scores_weights_and_hidden_states(attention, options):
    output = generate(
        built(attention, options),
        some_ids(2, 4),
        max_new_tokens=2,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        output_attentions=True,
        output_hidden_states=True,
    )
    assert [s.shape for s in output.scores] == [(2, VOCABULARY)] * 2
    assert output.attentions[0][0].shape == (2, 2, 4, 4)
    assert len(output.hidden_states) == 2
    assert torch.equal(output.sequences[:, 4], output.logits[0].argmax(-1))


# --- Export -------------------------------------------------------------------------------------

# Tracing takes seconds. These have the circuits of qisa_a, and drawn strings as qisa_published has.
TRACED_ELSEWHERE = [("qisa_a_published", {}), ("qsann", {"observables": "random"})]


@pytest.mark.parametrize(
    ("attention", "options"), [m for m in MODELS if m not in TRACED_ELSEWHERE], ids=str
)
def test_an_exported_program_gives_the_same_logits_and_needs_torch_alone(
    tmp_path, attention, options
):
    built(attention, options, hidden_size=8, num_hidden_layers=1).save_pretrained(tmp_path)
    model = KetformerForCausalLM.from_pretrained(tmp_path)  # never run before
    size = {0: torch.export.Dim("rows", max=64), 1: torch.export.Dim("tokens", min=2, max=12)}
    program = torch.export.export(
        model,
        (),
        {"input_ids": IDS, "use_cache": False},
        dynamic_shapes={"input_ids": size, "use_cache": None},
    )
    assert "ketformer" not in str(program.graph)
    other = some_ids(3, 7, seed=1)
    logits = program.module()(input_ids=other, use_cache=False).logits
    assert_alike(logits, model(other).logits, steps=512)


def test_blocks_are_what_must_not_be_split():
    assert KetformerForCausalLM._no_split_modules == (Block.__name__,)
