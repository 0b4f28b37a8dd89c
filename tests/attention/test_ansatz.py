"""A circuit of one's own as a mechanism's ansatz, and ten public ones in the conformance suite."""

import json
import math
from functools import cache

import pytest
import torch

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.attention import ANSATZE, InputSizes
from ketformer.attention.ansatz import with_files_read
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.measured import measured_by
from ketformer.cli import main
from ketformer.errors import KetformerError
from ketformer.quantum import Angle, Circuit, decompose
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of
from ketformer.quantum.qasm import to_qasm
from ketformer.runs import load_settings
from public_circuits import NAMES, public

from .helpers import ROTARY, build, tokens

CHECKS = {check.name: check for check in CONFORMANCE}
#: Those that an ansatz can break; the others are about what it shares with every mechanism.
QUICK = ["causality", "circuits", "gradients"]
#: One real ansatz, one complex, one with repeated and controlled angles.
FEW = ["real_amplitudes", "excitation_preserving", "n_local"]
# On 2 qubits, which hold the 4 amplitudes of a token.
SIZES = {"overlap": (4, 2), "qisa_a": (4, 2), "qsann": (4, 2)}

TABLES = {"angles": "embedding", "inputs": InputSizes(vocab_size=11, max_positions=8)}

public = cache(public)


@pytest.mark.parametrize("check", QUICK)
@pytest.mark.parametrize("ansatz", NAMES)
def test_qisa_a_conforms_with_public_ansaetze(ansatz, check):
    CHECKS[check]("qisa_a", *SIZES["qisa_a"], ansatz=public(ansatz, 2)[0])


@pytest.mark.parametrize("check", QUICK)
@pytest.mark.parametrize("ansatz", FEW)
@pytest.mark.parametrize("name", ["overlap", "qsann"])
def test_overlap_and_qsann_conform(name, ansatz, check):
    CHECKS[check](name, *SIZES[name], ansatz=public(ansatz, 2)[0])


@pytest.mark.slow
@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
@pytest.mark.parametrize("ansatz", NAMES)
@pytest.mark.parametrize("name", SIZES)
def test_the_whole_suite(name, ansatz, check):
    CHECKS[check.name](name, *SIZES[name], ansatz=public(ansatz, 2)[0])


@pytest.mark.parametrize("check", ["types", "fast_and_plain"])
@pytest.mark.parametrize("name", ["overlap", "qisa_a"])
def test_complex_states_on_other_paths(name, check):
    CHECKS[check](name, *SIZES[name], ansatz=public("n_local", 2)[0])


@pytest.mark.parametrize("ansatz", [name for name in ANSATZE if name != "rotation_ring"])
def test_overlap_with_every_name(ansatz):
    CHECKS["circuits"]("overlap", 4, 2, n_qubits=3, layers=2, ansatz=ansatz)


# --- Measured ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ansatz", ["excitation_preserving", "n_local", "StronglyEntanglingLayers"])
def test_a_hadamard_test_differentiates_by_parameter_shift(ansatz):
    """With half frequencies where each angle is one rotation's, gate by gate elsewhere."""
    attention = build("overlap", 4, 1, ansatz=public(ansatz, 2)[0]).double()
    states, shifted = (
        tokens(1, 2, 4).double(),
        outcomes_of(open_backend("torch"), "parameter_shift"),
    )
    gradients = []
    for measured in (False, True):
        attention.zero_grad()
        if measured:
            with measured_by(attention, shifted):
                attention(states)[0].square().sum().backward()
        else:
            attention(states)[0].square().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in attention.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-9, rtol=0)


def test_a_hadamard_test_sees_phases_that_expectations_do_not():
    """P(a) and RZ(a) differ by a phase that depends on the token, so overlaps differ."""
    plain = Circuit(1).ry(0, "a").rz(0, "b")
    phased = Circuit(1).ry(0, "a").p(0, "b")
    batch = tokens(1, 3, 4)
    outputs = {}
    for name in ("qisa_a", "overlap"):
        for circuit in (plain, phased):
            width = 2 if name == "qisa_a" else 4
            torch.manual_seed(0)
            attention = build(name, width, 1, ansatz=circuit).double()
            for parameter in attention.parameters():
                if not parameter.any():
                    torch.nn.init.normal_(parameter)
            states = batch[..., :width].double()
            outputs.setdefault(name, []).append(attention(states)[0])
    torch.testing.assert_close(*outputs["qisa_a"])
    assert (outputs["overlap"][0] - outputs["overlap"][1]).abs().max() > 1e-3


@pytest.mark.parametrize("measurement", ["tomography", "swap", "uncompute"])
def test_other_measurements_of_a_real_ansatz(measurement):
    score = "square" if measurement != "tomography" else "dot"
    ansatz = public("real_amplitudes", 2)[0]
    attention = build("overlap", 4, 1, ansatz=ansatz, score=score).double()
    attention.measure_by(measurement)
    states = tokens(1, 2, 4).double()
    with measured_by(attention, outcomes_of(open_backend("torch"))):
        found = attention(states)[0]
    torch.testing.assert_close(found, attention(states)[0], atol=1e-9, rtol=0)
    (experiment, *_), *_ = attention.experiments(states).values()
    sizes = [size for _, size in experiment.registers]
    assert sum(sizes) == experiment.circuit.n_qubits
    assert experiment.registers[-1] == ("ancilla", 1) or measurement == "uncompute"


@pytest.mark.parametrize("measurement", ["tomography", "product", "swap", "uncompute"])
def test_complex_states_need_a_hadamard_test(measurement):
    attention = build("overlap", 4, 1, ansatz=mine(), score="square")
    with pytest.raises(KetformerError, match="needs real states, which the ansatz does not make"):
        attention.measure_by(measurement)
    attention.measure_by("hadamard")


def test_counts_come_for_free(capsys, tmp_path):
    path = tmp_path / "mine.qasm"
    ansatz = public("efficient_su2", 2)[0]
    path.write_text(to_qasm(ansatz), encoding="utf-8")
    arguments = ["circuit", "show", "qisa_a", "--hidden_size", "4", "--json"]
    assert main([*arguments, "--attention_options.ansatz", str(path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    cnots = sum(gate.label == "CX" for gate in decompose(ansatz).gates)
    assert shown["two_qubit_gates"] == cnots + 2  # two prepare the amplitudes
    assert shown["parameters"][-8:] == list(ansatz.parameters)  # θ[0], though not in OpenQASM


# --- Saved in the configuration ----------------------------------------------------------------


def configuration(**options):
    sizes = {"hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 7}
    options = options or {"ansatz": mine()}
    return KetformerConfig(attention="qisa_a", attention_options=options, **sizes)


def mine():
    return Circuit(2).rx(0, "θ[0]").rzz(0, 1, Angle("θ[1]", 2, math.pi / 2)).ry(1, "θ[0]").sx(0)


def test_a_model_with_a_circuit_loads_again(tmp_path):
    config = configuration()
    text = config.attention_options["ansatz"]
    assert text.startswith("OPENQASM 3.0;")
    assert json.loads(config.to_json_string())["attention_options"] == {"ansatz": text}
    model = KetformerForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    loaded = KetformerForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(5)[None]
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_a_hybrid_holds_its_circuit_by_name():
    options = {"overlap": {"ansatz": mine()}, "classical": {}}
    config = KetformerConfig(
        attention=["overlap", "classical"], attention_options=options, hidden_size=4,
        num_attention_heads=2, num_hidden_layers=2, vocab_size=7,
    )  # fmt: skip
    assert config.attention_options["overlap"]["ansatz"] == to_qasm(mine())
    json.loads(config.to_json_string())
    KetformerForCausalLM(config)


def test_settings_read_the_file_and_keep_its_text(tmp_path):
    source = tmp_path / "mine.qasm"
    source.write_text('OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; rx(0.5) q[0];')
    settings = tmp_path / "run.yaml"
    settings.write_text(
        f"model:\n  attention: overlap\n  attention_options:\n    ansatz: {source}\n"
    )
    kept = load_settings(str(settings)).model["attention_options"]["ansatz"]
    assert Circuit.from_qasm(kept) == Circuit(2).rx(0, 0.5)
    nested = with_files_read({"overlap": {"ansatz": str(source), "n_qubits": 2}})
    assert nested == {"overlap": {"ansatz": kept, "n_qubits": 2}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the ansatz .*missing.qasm: No such file or directory"),
        (b"\xff\xfe", "cannot read the ansatz .*bad.qasm: it is not text"),
        (b"OPENQASM 3; qubit q; foo q;", "the ansatz .*bad.qasm: OpenQASM: .*'foo' is not defined"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, message):
    path = tmp_path / ("missing.qasm" if content is None else "bad.qasm")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KetformerError, match=f"^{message}[^\n]*$"):
        with_files_read({"ansatz": str(path)})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qisa_a", {"ansatz": "ring"}, "ansatz must be one of rotation_ring, entangling, rx_ring"),
        ("qisa_a", {"ansatz": "mine.qasm"}, "ansatz 'mine.qasm' is a file, which only the command"),
        ("qisa_a", {"ansatz": Circuit(3).rx(0, "a")}, "the ansatz has 3 qubits, 2 are needed"),
        ("qisa_a", {"ansatz": Circuit(2).h(0)}, "the ansatz has no free angle"),
        ("qisa_a", {"ansatz": mine(), "layers": 2}, "layers repeats a named ansatz"),
        ("qsann", {"ansatz": mine(), "entanglement": "none"}, "entanglement changes a named"),
        ("overlap", {"ansatz": mine(), "n_qubits": 3}, "the ansatz has 2 qubits, 3 are needed"),
        ("overlap", {**TABLES, "ansatz": mine()}, 'angles="embedding" has the ansatz'),
        ("overlap", {"ansatz": mine(), "inputs": ROTARY}, 'positions="rotary" turns the last'),
        ("overlap", {"ansatz": "OPENQASM 3.0; x"}, "OpenQASM: "),
        ("overlap", {"ansatz": Circuit(17).rx(0, "a")}, "17 qubits are too many to simulate"),
        ("overlap", {"ansatz": 3}, "overlap: option ansatz must be str or Circuit, got 3"),
    ],
)
def test_an_ansatz_that_does_not_fit_is_one_line(name, options, message):
    with pytest.raises(KetformerError, match=f"^{message}[^\n]*$"):
        build(name, 4, 2, **options)


def test_the_qubits_of_overlap_are_those_of_its_circuit():
    assert build("overlap", 4, 2).n_qubits == 6
    assert build("overlap", 4, 2, ansatz=mine()).n_qubits == 2
    assert build("overlap", 4, 2, ansatz="entangling", n_qubits=3).n_qubits == 3
