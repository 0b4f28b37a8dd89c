"""Every mechanism passes the conformance suite, and a broken one fails it."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from ketformer.attention import ATTENTION
from ketformer.attention.classical import ClassicalAttention
from ketformer.attention.conformance import CONFORMANCE, MismatchError, check_attention
from ketformer.attention.qisa import QISA
from ketformer.utils.conformance import alike, rounding

from .conftest import CASES, SIZES, case_id
from .helpers import build, tokens

CHECKS = {check.name: check for check in CONFORMANCE}
# Tracing takes seconds: only once per mechanism and per option that changes the path. Angles are
# encoded gate by gate, so by the smallest circuit; qisa_a_published has the circuits of qisa_a and
# the mixing of qisa_published; pam has the recurrence of classical_gated_linear and the complex
# numbers of qsa_cp.
EVERYWHERE = [check for check in CONFORMANCE if check.name != "compiled"]
TRACED = [
    *(case for case in CASES if case[1:3] not in SIZES[1:] and "encoding" not in case[3]),
    ("qsann", 4, 2, {"encoding": "angle", "n_qubits": 2, "layers": 1}),
    ("pam", 16, 2, {}),
]
TRACED.remove(("qisa_a_published", *SIZES[0], {}))
TRACED.remove(("classical_gated_linear", *SIZES[0], {}))
TRACED.remove(("qsa_cp", 16, 2, {"token_shift": True, "numbers": "real"}))
TRACED.remove(("qsann", 16, 2, {"register": "head"}))  # as qisa_a


@pytest.mark.parametrize("check", EVERYWHERE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_every_mechanism_does_what_it_must(case, check):
    name, hidden_size, num_heads, options = case
    check(name, hidden_size, num_heads, **options)


@pytest.mark.parametrize("case", TRACED, ids=case_id)
def test_every_mechanism_is_one_graph(case):
    name, hidden_size, num_heads, options = case
    CHECKS["compiled"](name, hidden_size, num_heads, **options)


@pytest.mark.parametrize("name", ATTENTION)
def test_gradients_equal_finite_differences(name):
    """Check every single gradient; the suite only checks random directions."""
    attention = build(name, 4, 2).double()
    parameters = dict(attention.named_parameters())
    hidden_states = tokens(1, 3, 4).double().requires_grad_()

    def output(hidden_states, *values):
        replaced = dict(zip(parameters, values, strict=True))
        return functional_call(attention, replaced, hidden_states)[0]

    assert torch.autograd.gradcheck(output, (hidden_states, *parameters.values()))


def test_findings_of_a_good_mechanism():
    found = check_attention("qisa", hidden_size=8, num_heads=1, hilbert_dim=5)
    assert [finding.name for finding in found] == [*CHECKS]
    assert {(finding.outcome, finding.message) for finding in found} == {("passed", "")}
    largest = {finding.name: finding.largest for finding in found}
    assert largest["causality"] == 0
    assert 0 < largest["padding"] < 1e-5


# --- Mechanisms with one mistake each ----------------------------------------------------------


class SeesTheNext(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values + 0.1 * values.roll(-1, dims=-2)


class SaysThatItLeaks(ClassicalAttention):
    running = False
    is_causal = property(lambda self: self.running)

    def forward(self, hidden_states, **path):
        self.running = True
        try:
            return super().forward(hidden_states, **path)
        finally:
            self.running = False


class MeanOfTheBatch(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values - values.mean(dim=0)


class CountsPositions(ClassicalAttention):
    """It uses a token's index in the batch instead of its position."""

    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        places = torch.arange(values.shape[-2], dtype=values.dtype)[:, None]
        return queries, keys, values * (1 + places)


class ForgetsTheMask(ClassicalAttention):
    def forward(self, hidden_states, *, mask=None, **path):
        return super().forward(hidden_states, **path)


class TakesACache(ClassicalAttention):
    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **{**common, "mixing": "transposed"})

    def forward(self, hidden_states, *, cache=None, **path):
        return super().forward(hidden_states, **path)


class OtherWeights(ClassicalAttention):
    def forward(self, hidden_states, **path):
        output, weights = super().forward(hidden_states, **path)
        return output, None if weights is None else weights.square()


class OtherScale(ClassicalAttention):
    """With gradients enabled, the scale of the score is off by one part in a billion."""

    def dot_scale(self, width):
        return super().dot_scale(width) * (1 + 1e-9 * torch.is_grad_enabled())


class BranchesOnNumbers(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        large = hidden_states.max() > 9
        return super().project(hidden_states.clamp(-9, 9) if large else hidden_states)


class SinglePrecision(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values.float().to(values.dtype)


class ValuesInFloat32(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries.float(), keys.float(), values.float()


class IdleParameter(ClassicalAttention):
    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.idle = nn.Parameter(torch.ones(3))


class Detached(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values + (values - values.detach())


class ForgetsDropout(ClassicalAttention):
    def __init__(self, *sizes, dropout=0.0, **common):
        super().__init__(*sizes, **common)


class DropsInEvaluation(ClassicalAttention):
    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, nn.functional.dropout(values, self.dropout, training=True)


class StringsNotSaved(ClassicalAttention):
    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.signs = torch.randn(self.head_dim)

    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values * self.signs


class SlicesSet(ClassicalAttention):
    """It sets its first value weight to 1 by a slice, which also overwrites loaded weights."""

    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.factor = nn.Parameter(torch.rand(2))
        self.reset_parameters()

    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values * self.factor.sum()

    def reset_parameters(self):
        super().reset_parameters()
        if hasattr(self, "factor"):
            with torch.no_grad():
                self.factor[0] = 0.5


class TableNotFilled(ClassicalAttention):
    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.register_buffer("table", torch.full((self.head_dim,), 2.0), persistent=False)

    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries, keys, values * self.table


class OtherCircuits(QISA):
    def project_measured(self, hidden_states, tokens, outcomes):
        return super().project_measured(hidden_states, tokens, {"value": -outcomes["value"]})


@pytest.fixture
def registered(monkeypatch):
    """Register a class under the name ``broken``."""
    monkeypatch.setattr(ATTENTION, "_registered", {})

    def register(cls):
        ATTENTION.register("broken", cls)
        return "broken"

    return register


@pytest.mark.parametrize(
    ("broken", "checks"),
    [
        (SeesTheNext, "causality"),
        (SaysThatItLeaks, "causality"),
        (MeanOfTheBatch, "sequences_apart"),
        (CountsPositions, "padding cache"),
        (ForgetsTheMask, "padding nothing_to_see"),
        (TakesACache, "cache cache_and_padding"),
        (OtherWeights, "weights"),
        (OtherScale, "without_gradients"),
        (BranchesOnNumbers, "compiled"),
        (SinglePrecision, "gradients"),
        (IdleParameter, "gradients"),
        (Detached, "gradients"),
        (ForgetsDropout, "dropout"),
        (DropsInEvaluation, "dropout"),
        (StringsNotSaved, "saving"),
        (SlicesSet, "loading_without_memory"),
        (TableNotFilled, "loading_without_memory"),
        (OtherCircuits, "circuits"),
    ],
)
def test_a_broken_mechanism_fails(registered, broken, checks):
    for name in checks.split():
        with pytest.raises(MismatchError):
            CHECKS[name](registered(broken))


def test_errors_of_a_mechanism_are_findings(registered):
    found = {finding.name: finding for finding in check_attention(registered(ValuesInFloat32))}
    assert found["causality"].outcome == "passed"
    assert found["types"].outcome == "failed"
    assert "dtype" in found["types"].message


# --- What rounding explains --------------------------------------------------------------------


def test_rounding_is_measured_at_the_size_of_the_numbers():
    numbers = torch.tensor([1e3, 1.0, 1e-3])
    assert rounding(numbers) == pytest.approx(64 * 2**-23 * 1e3)
    assert rounding(numbers.double()) == pytest.approx(64 * 2**-52 * 1e3)
    assert alike("sums", numbers + 1e-3, numbers) == pytest.approx(1e-3, rel=0.1)
    with pytest.raises(MismatchError, match=r"sums: off by 0\.01, 8e-03 allowed"):
        alike("sums", numbers + 1e-2, numbers)
    with pytest.raises(MismatchError, match=r"torch\.float64, not torch\.float32"):
        alike("sums", numbers.double(), numbers)
    with pytest.raises(MismatchError, match=r"shape \[2\], not \[3\]"):
        alike("sums", numbers[:2], numbers)
    assert alike("nothing", numbers[:0], numbers[:0]) == 0
