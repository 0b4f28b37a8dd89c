"""The native kernels against the torch simulator, on any circuit and strings that they support."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import (
    Circuit,
    CircuitMatrices,
    CircuitOutcomes,
    CircuitStates,
    CircuitValues,
    PauliStrings,
    amplitude_encode,
    cnot_ring,
    entangling_ansatz,
    native,
    pauli_expectations,
    rotation_ring_ansatz,
    run,
    unitary,
)
from ketformer.quantum.gates import Angle, Gate

from .helpers import pauli_strings, seeds

pytestmark = pytest.mark.skipif(native.library() is None, reason="no native kernels here")

EXACT = {"atol": 1e-11, "rtol": 0}


@st.composite
def plain_circuits(draw, names=("RX", "RY"), max_qubits=4, controls=(0, 2)):
    """Rotations by named angles, which may repeat, and X gates with so many controls."""
    n_qubits = draw(st.integers(1, max_qubits))
    circuit = Circuit(n_qubits)
    for _ in range(draw(st.integers(0, 10))):
        target, *others = draw(st.permutations(range(n_qubits)))
        name = draw(st.sampled_from((*names, "X")))
        if name == "X":
            if len(others) < controls[0]:
                continue
            gate = Circuit(n_qubits).x(target)
            for control in others[: draw(st.integers(*controls))]:
                gate = gate.controlled(control)
        else:
            angle = draw(st.sampled_from("abcd"))
            gate = getattr(Circuit(n_qubits), name.lower())(target, angle)
        circuit = circuit.then(gate)
    return circuit


def numbers(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def values_in_torch(heads, circuit, real, imag, angles):
    """Values ``[N, H, S]`` from the unitary and the reference expectations."""
    state = real.to(torch.complex128) if imag is None else torch.complex(real, imag)
    state = torch.nn.functional.pad(state, (0, 2**circuit.n_qubits - state.shape[-1]))
    columns = []
    for h, strings in enumerate(heads):
        matrix = unitary(circuit, angles[h]).to(torch.complex128)
        own = state[:, min(h, state.shape[1] - 1)]
        values = pauli_expectations(own @ matrix.mT, strings)
        columns.append(torch.nn.functional.pad(values, (0, max(map(len, heads)) - len(strings))))
    return torch.stack(columns, dim=1)


def assert_same_gradients(found, expected, inputs, seed):
    weight = numbers(seed, *found.shape).detach()
    one, other = (
        torch.autograd.grad(out, inputs, weight, allow_unused=True, materialize_grads=True)
        for out in (found, expected)
    )
    torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


@settings(max_examples=80, deadline=None)
@given(st.data(), plain_circuits(), st.sampled_from([1, 15, 16, 17, 40]), seeds)
def test_values_and_their_gradients(data, circuit, count, seed):
    heads = data.draw(st.integers(1, 3))
    strings = data.draw(pauli_strings(circuit.n_qubits))
    sets = [PauliStrings((strings[h % len(strings) :] + strings[: h % len(strings)])[: 1 + 2 * h])
            for h in range(heads)]  # fmt: skip
    width = data.draw(st.integers(1, 2**circuit.n_qubits))
    states = data.draw(st.sampled_from([1, heads]))
    real = numbers(seed, count, states, width)
    imag = numbers(seed + 1, count, states, width) if data.draw(st.booleans()) else None
    angles = numbers(seed + 2, heads, len(circuit.parameters))
    normalise = imag is None and data.draw(st.booleans())
    found = CircuitValues(sets, circuit)(real, imag, angles, normalise)
    encoded = amplitude_encode(real) if normalise else real
    expected = values_in_torch(sets, circuit, encoded, imag, angles)
    torch.testing.assert_close(found, expected, **EXACT)
    inputs = [x for x in (real, imag, angles) if x is not None and x.numel()]
    assert_same_gradients(found, expected, inputs, seed + 3)


@pytest.mark.parametrize("entanglement", ["ring", "none"])
def test_values_of_more_qubits_than_a_block_and_more_sums_than_a_batch(entanglement):
    circuit = entangling_ansatz(8, layers=3, entanglement=entanglement)
    pairs = combinations(range(5), 2)
    wide = ("".join("Y" if i in pair else "Z" for i in range(8)) for pair in pairs)
    strings = PauliStrings(("XIZYIIZX", "IIIIIIIZ", "ZYXXYZIX", *wide))
    kernel = CircuitValues([strings], circuit)
    assert kernel.tables[True][-1][0, -1] < 10 * 2**8  # the wide strings are not in one batch
    real, angles = numbers(1, 17, 1, 200), numbers(2, 1, len(circuit.parameters))
    found = kernel(real, None, angles)
    expected = values_in_torch([strings], circuit, real, None, angles)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    assert_same_gradients(found, expected, [real, angles], 3)


@settings(max_examples=60, deadline=None)
@given(plain_circuits(names=("RY",)), st.data(), seeds)
def test_states_and_their_gradients(circuit, data, seed):
    # Some start with a layer of RY, for which the kernel starts with few amplitudes.
    if data.draw(st.booleans()):
        circuit = rotation_ring_ansatz(circuit.n_qubits, prefix="p").then(circuit)
    names = circuit.parameters
    n_own = data.draw(st.integers(0, len(names)))
    count, groups = data.draw(st.sampled_from([1, 16, 21])), data.draw(st.integers(1, 3))
    own, shared = numbers(seed, count, groups, n_own), numbers(seed + 1, groups, len(names) - n_own)
    found = CircuitStates(circuit, n_own)(own, shared)
    expected = run(circuit, torch.cat([own, shared.expand(count, -1, -1)], dim=-1))
    torch.testing.assert_close(found, expected, **EXACT)
    inputs = [x for x in (own, shared) if x.numel()]
    if not inputs:
        return
    assert_same_gradients(found, expected, inputs, seed + 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_of_any_size_are_normalised(dtype):
    tiny, huge = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    real = torch.tensor([[[0.0, 0.0]], [[4 * tiny, 3 * tiny]], [[huge, -huge]]], dtype=dtype)
    values = CircuitValues([PauliStrings(("Z", "X"))])(real, None, None, True)
    expected = torch.tensor([[0.0, 0.0], [0.28, 0.96], [0.0, -1.0]], dtype=dtype)
    torch.testing.assert_close(values[:, 0], expected, atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(plain_circuits(names=("RY",)), plain_circuits(names=("RY",)), seeds)
def test_groups_without_shared_angles_stop_early(first, last, seed):
    n_qubits = max(first.n_qubits, last.n_qubits)
    first = rotation_ring_ansatz(n_qubits, prefix="p").then(Circuit(n_qubits, first.gates))
    first = first.then(Circuit(n_qubits).ry(0, "end"))
    last = Circuit(n_qubits, last.gates).renamed("shared_")
    circuit, n_own = first.then(last), len(first.parameters)
    own, shared = numbers(seed, 17, 3, n_own), numbers(seed + 1, 2, len(last.parameters))
    found = CircuitStates(circuit, n_own, len(first.gates))(own, shared)
    whole = run(circuit, torch.cat([own[:, :2], shared.expand(17, -1, -1)], dim=-1))
    expected = torch.cat([whole, run(first, own[:, 2:])], dim=1)
    torch.testing.assert_close(found, expected, **EXACT)
    assert_same_gradients(found, expected, [own, shared][: 2 if last.parameters else 1], seed + 2)


@settings(max_examples=80, deadline=None)
@given(plain_circuits(names=("RX", "RY", "RZ"), controls=(1, 1)), st.data(), seeds)
def test_outcomes_and_their_gradients(circuit, data, seed):
    # Some end with a ring, which then moves probabilities.
    if data.draw(st.booleans()):
        circuit = circuit.then(cnot_ring(circuit.n_qubits))
    names = circuit.parameters
    n_own, measured = (data.draw(st.integers(0, k)) for k in (len(names), circuit.n_qubits))
    count, groups = data.draw(st.sampled_from([1, 16, 21])), data.draw(st.integers(1, 3))
    own, shared = numbers(seed, count, groups, n_own), numbers(seed + 1, groups, len(names) - n_own)
    found = CircuitOutcomes(circuit, n_own, measured)(own, shared)
    state = run(circuit, torch.cat([own, shared.expand(count, -1, -1)], dim=-1))
    n = circuit.n_qubits
    singles = PauliStrings(tuple("I" * i + "Z" + "I" * (n - 1 - i) for i in range(n)))
    expected = pauli_expectations(state, singles)[..., :measured]
    torch.testing.assert_close(found, expected, **EXACT)
    inputs = [x for x in (own, shared) if x.numel()]
    if inputs and measured:
        assert_same_gradients(found, expected, inputs, seed + 3)


@settings(max_examples=40, deadline=None)
@given(plain_circuits(max_qubits=3), st.data(), seeds)
def test_matrices_and_their_gradients(circuit, data, seed):
    """Of rotations, some of them controlled."""
    rotations = []
    for gate in circuit.gates:
        if gate.name != "X":
            others = [(qubit,) for qubit in range(circuit.n_qubits) if qubit != gate.target]
            rotations.append(replace(gate, controls=data.draw(st.sampled_from([(), *others]))))
    circuit = Circuit(circuit.n_qubits, tuple(rotations))
    angles = numbers(seed, data.draw(st.sampled_from([1, 16, 21])), len(circuit.parameters))
    found = CircuitMatrices(circuit)(angles)
    expected = unitary(circuit, angles).to(torch.complex128)
    torch.testing.assert_close(found, expected.expand_as(found), **EXACT)
    if rotations:
        parts = torch.view_as_real(found), torch.view_as_real(expected)
        assert_same_gradients(*parts, [angles], seed + 1)


def test_a_gate_that_changes_no_outcome_takes_no_time():
    circuit = Circuit(2).rx(0, "a").rz(0, "b").ry(1, "c")
    assert len(CircuitOutcomes(circuit, 0, 1).tables[0]) == len(
        CircuitOutcomes(Circuit(2).rx(0, "a"), 0, 1).tables[0]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_share_the_work_and_change_nothing(dtype):
    circuit = entangling_ansatz(3)
    values = CircuitValues([PauliStrings(("XIZ", "IYY", "ZZI"))], circuit)
    real = numbers(0, 1000, 1, 8).detach().to(dtype)
    angles = numbers(1, 1, len(circuit.parameters)).detach().to(dtype).requires_grad_()
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = values(real, None, angles)
            found.append((out, torch.autograd.grad(out.square().sum(), angles)[0]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0])
    one, three = found[0][1], found[1][1]
    torch.testing.assert_close(one, three, rtol=0, atol=1e-6 * float(one.abs().max()))


def test_finite_differences():
    circuit = entangling_ansatz(2)
    values = CircuitValues([PauliStrings(("XY", "ZI", "YZ"))] * 2, circuit)
    inputs = numbers(0, 3, 1, 4), numbers(1, 3, 1, 4), numbers(2, 2, len(circuit.parameters))
    assert torch.autograd.gradcheck(values, inputs)
    ring = rotation_ring_ansatz(2, prefix="own").then(rotation_ring_ansatz(2))
    states = CircuitStates(ring, 2)
    assert torch.autograd.gradcheck(states, (numbers(0, 3, 2, 2), numbers(1, 2, 2)))
    turned = Circuit(2).rx(0, "x0").rz(0, "x0").cnot(0, 1).ry(0, "a").rz(0, "a").cnot(1, 0)
    outcomes = CircuitOutcomes(turned.rx(0, "b"), 1, 2)
    assert torch.autograd.gradcheck(outcomes, (numbers(0, 3, 2, 1), numbers(1, 2, 2)))


@pytest.mark.parametrize(
    "circuit",
    [
        Circuit(2).h(0),
        Circuit(2).rz(0, "a"),
        Circuit(2).ry(0, 0.5),
        Circuit(2).ry(0, "a").controlled(1),
        Circuit(2).ry(0, "a").inverse(),
    ],
    ids=["H", "RZ", "fixed angle", "controlled rotation", "factor"],
)
def test_what_the_kernels_do_not_know_is_left_to_torch(circuit):
    assert not CircuitValues.can_run(circuit)
    assert not CircuitStates.can_run(circuit)
    with pytest.raises(ValueError, match="no kernel"):
        CircuitStates(circuit, 0)


@pytest.mark.parametrize("angle", [Angle("a", 2.0), Angle("a", 1.0, 0.5), Angle(0.5)], ids=str)
def test_no_kernel_takes_an_angle_that_is_more_than_a_name(angle):
    circuit = Circuit(2, (Gate("RY", 0, (), angle),))
    for kernel in (CircuitValues, CircuitStates, CircuitOutcomes, CircuitMatrices):
        assert kernel.can_run(Circuit(2).ry(0, "a"))
        assert not kernel.can_run(circuit)


def test_without_tokens_there_is_nothing():
    values = CircuitValues([PauliStrings(("ZI",))], None)
    assert values(torch.empty(0, 1, 4), None, None).shape == (0, 1, 1)


@pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush denormal numbers"
)
def test_numbers_below_the_least_normal_one_are_zero_in_the_kernels_and_nowhere_else():
    """They slow a processor down a hundredfold, and attention's gradients are full of them."""
    kernel = CircuitValues([PauliStrings(("ZI", "XX"))], entangling_ansatz(2))
    real = torch.randn(300, 1, 4, requires_grad=True)
    angles = torch.randn(1, 6, requires_grad=True)
    values = kernel(real, None, angles)
    for scale, is_zero in ((1e-41, True), (1e-30, False)):
        real.grad = None
        values.backward(torch.full_like(values, scale), retain_graph=True)
        assert bool(real.grad.count_nonzero() == 0) == is_zero
    own = torch.randn(300, 1, 2, requires_grad=True)
    states = CircuitStates(rotation_ring_ansatz(2).then(rotation_ring_ansatz(2, prefix="s")), 2)
    out = states(own, torch.randn(1, 2))
    out.backward(torch.full_like(out, 1e-41))
    assert own.grad.count_nonzero() == 0
    assert (torch.tensor([1e-41]) * 0.5).item() > 0  # the mode is restored
