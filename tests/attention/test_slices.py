"""The option register=head: each head encodes its own slice of the token."""

import pytest
import torch

from ketformer.attention import InputSizes
from ketformer.attention.measured import measured_by
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.quantum import pauli_expectations, run, unitary
from ketformer.quantum.backends.exact import TorchBackend

from .helpers import assert_equal_to, build, tokens

HIDDEN, HEADS = 12, 3
NAMES = ["qisa_a", "qsann"]
every_name = pytest.mark.parametrize("name", NAMES)


def mechanism(name, register="head", num_heads=HEADS, **options):
    return build(name, HIDDEN, num_heads, register=register, **options).double()


@every_name
def test_values_are_expectations_on_the_normalised_slice(name):
    attention, hidden = mechanism(name), tokens(2, 3, HIDDEN).double()
    values = attention.project(hidden)[2]
    angles = attention.angles if name == "qisa_a" else attention.angles[2]
    for head, own in enumerate(hidden.unflatten(-1, (HEADS, 4)).unbind(-2)):
        state = (own / own.norm(dim=-1, keepdim=True)).to(torch.complex128)
        state = state @ unitary(attention.circuit, angles[head]).mT
        expected = pauli_expectations(state, attention.observables.strings[head])
        assert_equal_to(1e-12, values[:, head], expected)


def test_angles_of_the_slice_are_encoded_too():
    attention = mechanism("qsann", encoding="angle", n_qubits=2)
    hidden = tokens(2, 3, HIDDEN).double()
    values = attention.project(hidden)[2]
    assert len(attention.encoder.parameters) < HIDDEN
    for head, own in enumerate(hidden.unflatten(-1, (HEADS, 4)).unbind(-2)):
        missing = len(attention.encoder.parameters) - own.shape[-1]
        encoded = torch.nn.functional.pad(own, (0, missing))
        state = run(attention.encoder, encoded)
        state = state @ unitary(attention.circuit, attention.angles[2, head]).mT.to(state)
        expected = pauli_expectations(state, attention.observables.strings[head])
        assert_equal_to(1e-12, values[:, head], expected)
    backend = TorchBackend()
    with measured_by(attention, lambda e: backend.expectations(e.circuit, e.angles, e.strings)):
        measured = attention(hidden)[0]
    assert_equal_to(1e-10, measured, attention(hidden)[0])


@every_name
def test_one_heads_slice_is_the_token(name):
    """With the same draws, so also with the same numbers."""
    of_token, of_head = (mechanism(name, each, num_heads=1) for each in ("token", "head"))
    hidden = tokens(2, 3, HIDDEN).double()
    assert torch.equal(of_token(hidden)[0], of_head(hidden)[0])


@every_name
def test_a_head_does_not_see_the_slices_of_others(name):
    """Among its values, that is: queries and keys of qisa_a are linear in the whole token."""
    hidden = tokens(1, 3, HIDDEN).double()
    changed = hidden.clone()
    changed[..., 4:8] += 1
    for register, others_change in (("head", False), ("token", True)):
        attention = mechanism(name, register)
        before, after = (attention.project(each)[2][:, [0, 2]] for each in (hidden, changed))
        assert torch.equal(before, after) != others_change


@every_name
def test_circuits_are_as_small_as_the_slice(name):
    """Three angles a qubit, in a register of log2(d / H) qubits; one with rotary positions too."""
    circuits = {"qisa_a": 1, "qsann": 3}[name]
    for register, n in (("token", 4), ("head", 2)):
        inputs = InputSizes(5, 8, positions="rotary")
        attention = mechanism(name, register, inputs=inputs)
        assert attention.angles.numel() == circuits * HEADS * 3 * n
        for heads in attention.experiments(tokens(1, 2, HIDDEN).double()).values():
            assert {each.circuit.n_qubits for each in heads} == {n}


@every_name
def test_a_saved_model_keeps_its_register(name, tmp_path):
    config = KetformerConfig(
        attention=name,
        attention_options={"register": "head"},
        vocab_size=5,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4,
    )
    model = KetformerForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    loaded = KetformerForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[0, 3, 1]])
    assert loaded.config.attention_options["register"] == "head"
    assert loaded.model.layers[0].attention.n_qubits == 2
    assert torch.equal(loaded(ids).logits, model(ids).logits)


@every_name
def test_slices_of_one_number_are_refused(name):
    with pytest.raises(KetformerError, match="at least 2 wide; use fewer heads"):
        build(name, 4, 4, register="head")
    with pytest.raises(KetformerError, match="register must be one of"):
        build(name, 4, 1, register="word")
