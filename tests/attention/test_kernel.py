"""`kernel`: its published cases, its circuits gate by gate, and its twins."""

import math

import pytest
import torch

from ketformer.attention import InputSizes, attention_mask, build_attention
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.kernel import cz_ring
from ketformer.attention.kernel_features import density_features, product_features
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, run

from .helpers import ROTARY, assert_equal_to, assert_relative, build, everything, tokens

ENCODINGS = [
    {"encoding": "angle"},
    {"encoding": "angle", "repeats": 3},
    {"encoding": "iqp", "coupling": 0.0},
    {"encoding": "iqp", "coupling": 0.8},
    {"encoding": "iqp", "coupling": -1.3, "entanglement": "none"},
    {"encoding": "ry_reupload"},
    {"encoding": "ry_reupload", "repeats": 3},
    {"encoding": "ry_reupload", "repeats": 3, "entanglement": "none"},
]


def taking_rows(name, q, k, v, **options):
    """A mechanism of one head, and one token stream, that takes q, k and v as they are."""
    size, width = q.shape[1] + k.shape[1] + v.shape[1], v.shape[1]
    attention = build(name, size, 1, bias=False, **options).double()
    eye = torch.eye(size, dtype=torch.float64)
    with torch.no_grad():
        attention.angle_proj.weight.copy_(eye[:-width])
        attention.value_proj.weight.copy_(torch.cat([eye[-width:], 0 * eye[:-width]]))
        attention.out_proj.weight.copy_(eye)
        attention.out_proj.bias.zero_()
    return attention, torch.cat([q, k, v], dim=-1)[None]


def kernel_of(attention, hidden):
    query, key, _ = attention.project(hidden)
    return query @ key.mT


# --- The published cases -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["angle", "iqp", "iqp_no_entanglement", "ry_reupload"])
def test_published_kernels_and_their_row_sums(name, reference_cases):
    config, case = everything(reference_cases("kernel")[name])
    options = {
        "encoding": name.removesuffix("_no_entanglement"),
        "n_qubits": config["d"],
        "bandwidth": config["bandwidth"],
        "repeats": config.get("layers", config.get("reuploads", 1)),
    }
    if "coupling" in config:
        options["coupling"] = config["coupling"]
    attention, hidden = taking_rows("kernel", case["q"], case["k"], case["v"], **options)
    if "theta" in case:
        attention.theta.data.copy_(case["theta"])
    assert_equal_to(1e-10, kernel_of(attention, hidden)[0, 0], case["scores"])
    both = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    for suffix, mask in (("", both), ("_causal", None)):
        output, weights = attention(hidden, mask=mask, return_weights=True)
        assert_equal_to(1e-10, weights[0, 0], case[f"weights{suffix}"])
        assert_equal_to(1e-10, output[0, :, :3], case[f"mixed{suffix}"])
        assert_equal_to(1e-10, attention(hidden, mask=mask)[0], output)
    softmax, _ = taking_rows(
        "kernel", case["q"], case["k"], case["v"], **options,
        normalise="softmax", temperature=math.sqrt(hidden.shape[-1]),
    )  # fmt: skip
    softmax.load_state_dict(attention.state_dict())
    weights = softmax(hidden, return_weights=True)[1]
    assert_equal_to(1e-10, weights[0, 0], case["softmax_causal"])
    if "state_q0" in case:
        assert_equal_to(1e-10, attention.states(hidden)[0, 0, 0, 0], case["state_q0"])


@pytest.mark.parametrize("name", ["rff_angle", "rff_gaussian", "rff_iqp"])
def test_published_random_features(name, reference_cases):
    config, case = everything(reference_cases("kernel")[name])
    kernel = name.removeprefix("rff_")
    options = {"kernel": kernel, "n_angles": config["d"], "n_features": config["features"]}
    if kernel == "iqp":
        options |= {key: config[key] for key in ("bandwidth", "coupling")}
    attention, hidden = taking_rows(
        "classical_fourier", case["q"], case["k"], case["v"], waves="shifted", **options
    )
    attention.angle_proj.bias.data.zero_()
    attention.shifts[0, 0] = case["b"]
    if kernel == "iqp":
        attention.signs[:, 0] = torch.stack([case["s"], case["s2"]])
    else:
        attention.frequencies[0] = case["W"]
    query, key, _ = attention.project(hidden)
    assert_equal_to(1e-10, query[0, 0], case["features_q"])
    assert_equal_to(1e-10, key[0, 0], case["features_k"])
    assert_equal_to(1e-10, (query @ key.mT)[0, 0], case["scores"])


def test_the_published_linear_attention_end_to_end(reference_cases):
    config, case = everything(reference_cases("kernel")["linear_attention"])
    width, heads = config["width"], config["heads"]
    attention = build(
        "classical_fourier", width, heads, kernel="angle", waves="shifted", normalise="sum",
        n_angles=config["dim_head"], n_features=config["features"], constant=config["dc"],
    ).double()  # fmt: skip
    with torch.no_grad():
        attention.angle_proj.weight.copy_(case["Wqkv"][: 2 * width])
        attention.value_proj.weight.copy_(case["Wqkv"][2 * width :])
        attention.out_proj.weight.copy_(case["Wo"])
        attention.out_proj.bias.copy_(case["bo"])
        attention.frequencies.copy_(case["W"].expand(heads, -1, -1))
        attention.shifts.copy_(case["b"].expand(heads, 1, -1))
    hidden = torch.nn.functional.layer_norm(case["x"][None], (width,))
    both = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    output, weights = attention(hidden, mask=both, return_weights=True)
    assert_equal_to(1e-10, kernel_of(attention, hidden)[0], case["scores"])
    assert_equal_to(1e-10, weights[0], case["weights"])
    assert_equal_to(1e-10, output[0], case["output"])


# --- The closed forms against the gates --------------------------------------------------------


def encoded(attention, numbers, coupling=0.0):
    """One copy's state by gates, for numbers ``[n]`` that are multiplied by the bandwidth."""
    n, circuit = attention.n_qubits, Circuit(attention.n_qubits)
    for _ in range(attention.repeats if attention.encoding == "ry_reupload" else 1):
        if attention.encoding == "ry_reupload":
            for m in range(n):
                circuit = circuit.ry(m, float(numbers[m]))
            circuit = circuit.then(attention.ring)
            continue
        for m in range(n):
            turn = -2 * numbers[m] if attention.encoding == "iqp" else numbers[m]
            circuit = circuit.h(m).rz(m, float(turn))
        for m in range(n):
            for k in range(m + 1, n) if coupling else ():
                circuit = circuit.cnot(m, k).rz(k, float(-2 * coupling * numbers[m] * numbers[k]))
                circuit = circuit.cnot(m, k)
    return run(circuit, torch.empty(0, dtype=torch.float64))


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
@pytest.mark.parametrize("n_qubits", [1, 3])
def test_the_kernel_is_the_fidelity_of_the_encoded_states(options, n_qubits):
    attention = build("kernel", 8, 2, n_qubits=n_qubits, bandwidth=0.7, **options).double()
    coupling = 0 if options.get("entanglement") == "none" else options.get("coupling", 0)
    if hasattr(attention, "theta"):
        attention.theta.data.uniform_(0.5, 2)
    attention.angle_proj.weight.data.normal_()
    hidden = tokens(1, 3, 8).double()
    numbers = [attention.split_heads(x) for x in attention.angle_proj(hidden).chunk(2, -1)]
    numbers = 0.7 * torch.stack(numbers) * getattr(attention, "theta", 1)
    states = [
        torch.stack([encoded(attention, x, coupling) for x in side[0, 1].detach()])
        for side in numbers
    ]
    fidelity = (states[0].conj() @ states[1].mT).abs().square()
    copies = options.get("repeats", 1) if options["encoding"] == "angle" else 1
    assert_equal_to(1e-12, kernel_of(attention, hidden)[0, 1].detach(), fidelity**copies)
    # Without the last ring, which the closed form leaves out.
    again = attention.states(hidden)[:, 0, 1].detach()
    assert_equal_to(1e-12, (again[0].conj() @ again[1].mT).abs().square(), fidelity)


@pytest.mark.parametrize("power", [1, 2, 5])
def test_features_of_a_product(power):
    one, two = (torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
                for i in range(2))  # fmt: skip
    expected = ((1 + (one - two).cos()) / 2).pow(power).prod(-1)
    features = [product_features(x, power) for x in (one, two)]
    assert_equal_to(1e-13, (features[0] * features[1]).sum(-1), expected)
    assert features[0].shape[-1] == (2 * power + 1) ** 3


def test_features_of_a_state():
    parts = torch.randn(4, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, two = torch.complex(*parts[:2]), torch.complex(*parts[2:])
    expected = (one.conj() * two).sum(-1).abs().square()
    features = density_features(*parts[:2]) * density_features(*parts[2:])
    assert_equal_to(1e-11, features.sum(-1), expected)


def test_a_ring_of_cz_has_a_gate_for_each_pair_of_neighbours():
    pairs = {n: [g.qubits for g in cz_ring(n).gates] for n in (1, 2, 3)}
    assert pairs == {1: [], 2: [(0, 1)], 3: [(0, 1), (1, 2), (2, 0)]}


def test_the_circuit_of_a_pair_merges_the_gates_that_meet():
    """IQP circuits commute: n(n - 1)/2 pairs of CNOT, not twice as many; a product has none."""
    for options, two_qubit in (({}, 6), ({"coupling": 0.0}, 0), ({"encoding": "angle"}, 0)):
        attention = build("kernel", 8, 2, n_qubits=3, **options)
        experiment = attention.experiments(tokens(1, 4, 8))["score"][0]
        assert len([g for g in experiment.circuit.gates if len(g.qubits) > 1]) == two_qubit
        assert experiment.angles.shape[:2] == (1, 10)
        assert len(experiment.strings) == 7


CHECKS = [check for check in CONFORMANCE if check.name != "compiled"]


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kernel", {"encoding": "ry_reupload", "repeats": 2, "n_qubits": 2, "inputs": ROTARY}),
        ("kernel", {"encoding": "angle", "repeats": 2, "normalise": "softmax"}),
        ("kernel", {"inputs": ROTARY, "bias": True}),
        ("classical_fourier", {"kernel": "iqp", "normalise": "sum", "constant": 1.0}),
        ("classical_fourier", {"kernel": "angle", "waves": "shifted", "inputs": ROTARY}),
    ],
)
def test_other_options_do_what_they_must(check, name, options):
    check(name, **options)


# --- What it is as attention -------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"encoding": "ry_reupload", "repeats": 2, "n_qubits": 2}])
def test_long_sequences_by_prefix_sums_equal_the_sums_over_pairs(options):
    attention = build("kernel", 8, 2, **options).double()
    hidden = tokens(2, 150, 8).double()
    assert_equal_to(
        1e-10, attention(hidden)[0], attention(hidden, mask=attention_mask(150, 150))[0]
    )


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
def test_gradients_equal_finite_differences(options):
    attention = build("kernel", 4, 1, n_qubits=2, **options).double()
    hidden = tokens(1, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention(x)[0], hidden)


@pytest.mark.parametrize("options", ENCODINGS, ids=str)
def test_with_rotary_positions_the_kernel_depends_on_their_difference(options):
    assert_relative(build("kernel", 8, 2, inputs=ROTARY, **options).double(), 1e-3)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ("angle", {"encoding": "angle", "repeats": 2}),
        ("iqp", {"encoding": "iqp", "coupling": 0.5}),
        ("gaussian", None),
    ],
)
@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("waves", ["pairs", "shifted"])
def test_many_random_features_are_the_kernel(kernel, options, positions, waves):
    sizes = InputSizes(vocab_size=11, max_positions=128, positions=positions)
    own = {key: value for key, value in (options or {}).items() if key != "encoding"}
    twin = build(
        "classical_fourier", 8, 2, n_angles=3, n_features=20_000, kernel=kernel, bandwidth=0.8,
        waves=waves, inputs=sizes, **own,
    )  # fmt: skip
    hidden = tokens(1, 6, 8)
    if options is None:
        query, key = (twin.split_heads(x) for x in twin.angle_proj(hidden).chunk(2, -1))
        places = 0.0
        if positions == "rotary":
            places = twin.phases(hidden, None, 3)[:, None] / 0.8
        expected = (-(0.8**2) * torch.cdist(query + places, key + places).square() / 2).exp()
    else:
        exact = build("kernel", 8, 2, n_qubits=3, bandwidth=0.8, inputs=sizes, bias=True, **options)
        exact.angle_proj.load_state_dict(twin.angle_proj.state_dict())
        expected = kernel_of(exact, hidden)
    error = (kernel_of(twin, hidden) - expected).detach().abs().max()
    assert 0 < float(error) < 0.04


def test_a_constant_keeps_row_sums_of_random_features_positive():
    hidden = tokens(1, 40, 8)
    for waves, constant in (("pairs", 1.0), ("shifted", 2.0)):
        lowest = []
        for added in (0.0, constant):
            options = {"n_features": 2, "bandwidth": 9.0, "waves": waves, "constant": added}
            twin = build("classical_fourier", 8, 2, kernel="angle", normalise="sum", **options)
            lowest.append(float(kernel_of(twin, hidden).detach().min()))
        assert lowest[0] < 0 <= lowest[1] + 1e-6


def test_the_released_power_is_of_copies_and_not_of_uploads():
    """Two uploads with a ring are another kernel than the square of that of one."""
    copies, uploads = (
        build("kernel", 8, 2, encoding=encoding, repeats=2).double()
        for encoding in ("angle", "ry_reupload")
    )
    uploads.load_state_dict(copies.state_dict(), strict=False)
    hidden = 3 * tokens(1, 6, 8).double()
    difference = (kernel_of(copies, hidden) - kernel_of(uploads, hidden)).detach()
    assert float(difference.abs().max()) > 0.1


def test_a_fixed_theta_is_random_saved_and_not_trained():
    fixed = build("kernel", 8, 2, encoding="ry_reupload", train_circuit=False)
    assert "theta" in dict(fixed.named_buffers())
    assert "theta" in fixed.state_dict()
    assert float(fixed.theta.std()) > 0.1
    assert (build("kernel", 8, 2, encoding="ry_reupload").theta == 1).all()


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"encoding": "amplitude"}, KetformerError, "encoding must be one of angle, iqp"),
        ({"bandwidth": 0.0}, KetformerError, "bandwidth must be positive"),
        ({"coupling": math.inf}, KetformerError, "must be finite"),
        ({"encoding": "angle", "coupling": 0.1}, KetformerError, "coupling belongs to"),
        ({"repeats": 2}, KetformerError, "repeats must be 1"),
        ({"n_qubits": 9}, KetformerError, "262,144 features, and at most 65,536"),
        ({"encoding": "angle", "entanglement": "none"}, NotOfferedError, "no gates between"),
        ({"train_circuit": False}, NotOfferedError, "no angles of its own"),
    ],
)
def test_what_an_encoding_does_not_have_is_refused(options, error, told):
    with pytest.raises(error, match=told) as caught:
        build_attention("kernel", 8, 2, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"normalise": "sum"}, "can be negative"),
        ({"bandwidth": 2.0}, "a bandwidth of 2.0"),
        ({"kernel": "iqp", "repeats": 2}, "2 repeats"),
        ({"kernel": "angle", "coupling": 0.1}, "a coupling of 0.1"),
        ({"constant": -1.0}, "constant must be"),
        ({"waves": "square"}, "waves must be one of"),
    ],
)
def test_what_random_features_do_not_have_is_refused(options, told):
    with pytest.raises(KetformerError, match=told) as caught:
        build_attention("classical_fourier", 8, 2, **options)
    assert "\n" not in str(caught.value)
