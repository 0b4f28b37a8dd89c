"""Overlap attention: its scores against PennyLane, a Hadamard test and parameter shift."""

import math

import numpy as np
import pennylane as qml
import pytest
import torch
from torch.func import functional_call

from ketformer.attention import InputSizes, TokenInputs, token_registers as registers
from ketformer.quantum import (
    Circuit,
    PauliStrings,
    pauli_expectations,
    rotation_ring_ansatz,
    run,
    unitary,
)

from .helpers import GrowingCache, assert_equal_to, build, tokens

EXACT = 1e-10  # for float64, used throughout
HIDDEN = 12
VOCABULARY, POSITIONS = 7, 6
SEQUENCE = InputSizes(VOCABULARY, POSITIONS)
CONDITIONS = InputSizes(VOCABULARY, POSITIONS, n_conditions=2)


def random_weights(attention, seed=0):
    """The same module in float64 with every weight redrawn, and angles over two turns."""
    attention.double()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in attention.named_parameters():
        scale = 4.0 if any(part in name for part in ("angles", "tokens", "positions")) else 0.4
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = scale * drawn
    return attention


def embedding(sizes=SEQUENCE, num_heads=1, **options):
    options = {"angles": "embedding", "n_qubits": 4 if not sizes.n_conditions else 6, **options}
    return random_weights(build("overlap", HIDDEN, num_heads, inputs=sizes, **options))


def some_tokens(batch, length, sizes=SEQUENCE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(sizes.vocab_size, (batch, length), generator=generator)
    places = torch.arange(length)[None]
    if not sizes.n_conditions:
        return TokenInputs(ids, places)
    values = torch.randn(batch, sizes.n_conditions, generator=generator, dtype=torch.float64)
    unknown = torch.rand(batch, sizes.n_conditions, generator=generator) < 0.5
    return TokenInputs(ids, places, values.masked_fill(unknown, 0), unknown)


def hidden_states(batch, length):
    return tokens(batch, length, HIDDEN).double()


def scores_of(attention, inputs):
    """The scores ``[B, H, T, T]`` that attention uses, before the softmax."""
    batch, length = inputs.input_ids.shape
    queries, keys, _ = attention.project(hidden_states(batch, length), inputs)
    return attention.dot_scale(queries.shape[-1]) * queries @ keys.mT


# --- By PennyLane ------------------------------------------------------------------------------


def rings_by_pennylane(n_qubits, angles):
    """Layers of (RY on each wire, CNOT ring), as a matrix ``[2^n, 2^n]``."""
    operations, ring = [qml.Identity(0)], [(q, (q + 1) % n_qubits) for q in range(n_qubits)]
    for layer in angles.detach().reshape(-1, n_qubits):
        operations += [qml.RY(float(t), q) for q, t in enumerate(layer)]
        operations += [qml.CNOT(pair) for pair in ring if n_qubits > 1]
    matrix = qml.matrix(qml.tape.QuantumScript(operations), wire_order=range(n_qubits))
    return torch.from_numpy(np.real_if_close(matrix))


def condition_angles_by_hand(conditions, inputs, published):
    raw = inputs.conditions @ conditions.known.weight.T + conditions.known.bias
    raw = raw + inputs.unknown.double() @ conditions.unknown
    if published:
        return torch.pi * (raw - raw.min()) / (raw.max() - raw.min())
    return torch.pi / (1 + torch.exp(-raw))


def scores_by_pennylane(attention, inputs, published=False):
    """sqrt(d_model) Re<q|k>, with each register's state and both unitaries from PennyLane."""
    tables, n = attention.registers, attention.n_qubits
    parts = 3 if tables.conditions is not None else 2
    batch, length = inputs.input_ids.shape
    scores = torch.zeros(batch, attention.num_heads, length, length, dtype=torch.float64)
    if parts == 3:
        angles = condition_angles_by_hand(tables.conditions, inputs, published)
    for row, ids in enumerate(inputs.input_ids):
        columns = []
        for token, place in zip(ids, inputs.position_ids[0], strict=True):
            registers = [tables.tokens[token], tables.positions[place]]
            registers += [angles[row]] if parts == 3 else []
            state = torch.ones(1, dtype=torch.float64)
            for register in registers:
                state = torch.kron(state, rings_by_pennylane(n // parts, register)[:, 0])
            columns.append(state)
        states = torch.stack(columns, dim=1)  # [2^n, T]
        for head in range(attention.num_heads):
            queries = rings_by_pennylane(n, attention.query_angles[head]) @ states
            keys = rings_by_pennylane(n, attention.key_angles[head]) @ states
            scores[row, head] = math.sqrt(HIDDEN) * queries.T @ keys
    return scores


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        (SEQUENCE, {}),
        (SEQUENCE, {"n_qubits": 2}),  # registers of one qubit have no ring
        (SEQUENCE, {"n_qubits": 6}),
        (CONDITIONS, {}),
        (CONDITIONS, {"published_scaling": True}),
    ],
    ids=["4-qubits", "2-qubits", "6-qubits", "conditions", "published-scaling"],
)
def test_scores_are_overlaps_of_the_states_that_pennylane_prepares(
    sizes, options, num_heads, layers
):
    attention = embedding(sizes, num_heads, layers=layers, **options)
    inputs = some_tokens(2, 4, sizes)
    expected = scores_by_pennylane(attention, inputs, "published_scaling" in options)
    assert expected.std() > 0.2  # so that agreement is not an accident
    assert_equal_to(EXACT, scores_of(attention, inputs), expected.detach())


@pytest.mark.parametrize("sizes", [SEQUENCE, CONDITIONS], ids=["sequence", "conditions"])
def test_attention_is_a_causal_softmax_of_these_scores_over_linear_values(sizes):
    attention = embedding(sizes, 2)
    states, inputs = hidden_states(2, 5), some_tokens(2, 5, sizes)
    scores = scores_by_pennylane(attention, inputs).detach()
    hidden = torch.ones(5, 5).triu(1).bool()
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    output, weights = attention(states, tokens=inputs, return_weights=True)
    assert_equal_to(EXACT, weights, expected)
    values = (states @ attention.value_proj.weight.T).unflatten(-1, (2, -1)).transpose(1, 2)
    mixed = attention.out_proj((expected @ values).transpose(1, 2).flatten(2))
    assert_equal_to(EXACT, output, mixed)
    assert_equal_to(EXACT, attention(states, tokens=inputs)[0], mixed)  # the fused path


# --- On hardware: one Hadamard test for each score ---------------------------------------------


@pytest.mark.parametrize("sizes", [SEQUENCE, CONDITIONS], ids=["sequence", "conditions"])
def test_a_hadamard_test_measures_the_same_overlap(sizes):
    """With both preparations controlled by one ancilla, <Z> = P(0) - P(1) = Re<q|k>."""
    attention, inputs = embedding(sizes), some_tokens(1, 4, sizes)
    n, tables = attention.n_qubits, attention.registers
    parts = 3 if sizes.n_conditions else 2
    width = n // parts

    def preparation(name):
        circuit = Circuit(n)
        for part in range(parts):
            wires = range(part * width, (part + 1) * width)
            circuit = circuit.then(rotation_ring_ansatz(width, 1, f"{name}{part}_"), wires)
        return circuit.then(rotation_ring_ansatz(n, 1, f"{name}_u"))

    ancilla = n
    test = Circuit(n + 1).h(ancilla).then(preparation("k").controlled(ancilla))
    test = test.x(ancilla).then(preparation("q").controlled(ancilla)).x(ancilla).h(ancilla)

    scores = scores_of(attention, inputs)[0, 0] / math.sqrt(HIDDEN)
    extra = []
    if parts == 3:
        extra = [condition_angles_by_hand(tables.conditions, inputs, False)[0]]

    def state_angles(t):
        return [tables.tokens[inputs.input_ids[0, t]], tables.positions[t], *extra]

    for i in range(4):
        for j in range(i + 1):
            angles = [*state_angles(j), attention.key_angles[0]]
            angles += [*state_angles(i), attention.query_angles[0]]
            final = run(test, torch.cat(angles))
            z = pauli_expectations(final, PauliStrings(("I" * n + "Z",)))[0]
            p0, p1 = final.unflatten(-1, (-1, 2)).square().sum(0)
            assert_equal_to(EXACT, z, scores[i, j])
            assert_equal_to(EXACT, p0 - p1, scores[i, j])


# --- Derivatives -------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gradient_of_a_score_is_the_parameter_shift_rule_of_half_frequency(layers):
    """[f(t + pi) - f(t - pi)] / 4 holds for every angle that occurs once in one of the states."""
    attention = embedding(num_heads=2, layers=layers)
    inputs = TokenInputs(torch.tensor([[3, 5, 1]]), torch.arange(3)[None])
    angles = {
        name: value.detach()
        for name, value in attention.named_parameters()
        if any(part in name for part in ("registers", "query_angles", "key_angles"))
    }
    assert len(angles) == 4

    def score(angles):
        states = (hidden_states(1, 3), inputs)
        replaced = {f"attention.{name}": value for name, value in angles.items()}
        queries, keys, _ = functional_call(Project(attention), replaced, states)
        return math.sqrt(HIDDEN) * queries[0, 1, 2] @ keys[0, 1, 0]  # another token and position

    exact = torch.func.grad(score)(angles)
    for name, value in angles.items():
        rule = torch.zeros_like(value)
        for index in np.ndindex(*value.shape):
            shift = torch.zeros_like(value)
            shift[index] = math.pi
            ahead, behind = (score({**angles, name: value + s}) for s in (shift, -shift))
            rule[index] = (ahead - behind) / 4
        assert exact[name].abs().max() > 0.05, name
        assert_equal_to(1e-9, rule, exact[name])


class Project(torch.nn.Module):
    """A module with `project` as its forward pass, for functional_call."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, *arguments):
        return self.attention.project(*arguments)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [(SEQUENCE, {}), (CONDITIONS, {}), (CONDITIONS, {"published_scaling": True})],
    ids=["sequence", "conditions", "published-scaling"],
)
@pytest.mark.parametrize("batch", [2, 15], ids=["direct", "table"])
def test_gradients_equal_finite_differences(sizes, options, batch):
    attention = embedding(sizes, 2, **options)
    parameters = dict(attention.named_parameters())
    inputs, states = some_tokens(batch, 3, sizes), hidden_states(batch, 3)

    def output(*values):
        replaced = dict(zip(parameters, values, strict=True))
        return functional_call(attention, replaced, (states,), {"tokens": inputs})[0].sum(0)

    output(*parameters.values()).square().sum().backward()
    used = {name: p.grad for name, p in parameters.items()}
    assert all(grad.abs().max() > 1e-6 for grad in used.values())
    assert torch.autograd.gradcheck(output, tuple(parameters.values()), fast_mode=True)


# --- The table of (token, position) pairs ------------------------------------------------------


def test_few_pairs_are_prepared_once_and_looked_up(monkeypatch):
    prepared, kron = [], registers._kron

    def counting(left, right):
        states = kron(left, right)
        prepared.append(states[..., 0].numel())
        return states

    monkeypatch.setattr(registers, "_kron", counting)
    attention, inputs = embedding(num_heads=2), some_tokens(9, 5)
    attention.states.native = None  # the kernel computes no products of registers
    table = scores_of(attention, inputs)
    rows = [
        scores_of(attention, TokenInputs(ids[None], inputs.position_ids))
        for ids in inputs.input_ids
    ]
    assert prepared == [VOCABULARY * POSITIONS, *[5] * 9]
    assert_equal_to(1e-12, table, torch.cat(rows))


@pytest.mark.parametrize("batch", [1, 12], ids=["direct", "table"])
def test_positions_of_each_row_are_its_own(batch):
    """As with left padding, where rows start counting at different positions."""
    attention, inputs = embedding(), some_tokens(batch, 4)
    places = torch.randint(POSITIONS, (batch, 4), generator=torch.Generator().manual_seed(1))
    scores = scores_of(attention, TokenInputs(inputs.input_ids, places))
    for row in range(batch):
        alone = TokenInputs(inputs.input_ids[row : row + 1], places[row : row + 1])
        assert_equal_to(EXACT, scores[row], scores_by_pennylane(attention, alone)[0].detach())


@pytest.mark.parametrize("sizes", [SEQUENCE, CONDITIONS], ids=["sequence", "conditions"])
@pytest.mark.parametrize("batch", [1, 8], ids=["direct", "table"])
def test_with_a_cache_equals_without(sizes, batch):
    attention, inputs = embedding(sizes, 2), some_tokens(batch, 6, sizes)
    states, cache, steps = hidden_states(batch, 6), GrowingCache(), []
    for part in (slice(0, 3), slice(3, 4), slice(4, 6)):
        chunk = TokenInputs(
            inputs.input_ids[:, part], inputs.position_ids[:, part], inputs.conditions,
            inputs.unknown,
        )  # fmt: skip
        steps.append(attention(states[:, part], cache=cache, tokens=chunk)[0])
    assert_equal_to(EXACT, torch.cat(steps, 1), attention(states, tokens=inputs)[0])


# --- Angles from the hidden state --------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("n_qubits", "num_heads"), [(1, 1), (2, 3), (3, 2), (4, 1)])
def test_hidden_states_give_each_head_its_own_angles(n_qubits, num_heads, layers):
    """The module leaves out what cancels in overlaps; here each circuit is complete."""
    attention = build("overlap", HIDDEN, num_heads, n_qubits=n_qubits, layers=layers)
    attention = random_weights(attention)
    states, ansatz = hidden_states(2, 3), rotation_ring_ansatz(n_qubits, layers)
    projected = attention.project(states)
    angles = states @ attention.angle_proj.weight.T + attention.angle_proj.bias
    angles = angles.unflatten(-1, (2, num_heads, n_qubits * layers))
    complete = []
    for part, shared in enumerate((attention.query_angles, attention.key_angles)):
        heads = []
        for head in range(num_heads):
            prepared = run(ansatz, angles[:, :, part, head])
            heads.append(prepared @ unitary(ansatz, shared[head]).mT)
            norms = projected[part][:, head].norm(dim=-1)
            assert_equal_to(1e-12, norms, torch.ones_like(norms))
        complete.append(torch.stack(heads, dim=1))
    assert_equal_to(1e-12, projected[0] @ projected[1].mT, complete[0] @ complete[1].mT)
