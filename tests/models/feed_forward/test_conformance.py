"""The contract for every feed-forward layer in the registry; the suite also detects broken ones."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ketformer.errors import KetformerError
from ketformer.models.feed_forward import (
    FEED_FORWARD,
    FeedForward,
    build_feed_forward,
    feed_forward_options,
    has_width,
)
from ketformer.models.feed_forward.conformance import CONFORMANCE, check_feed_forward
from ketformer.models.feed_forward.mlp import Mlp

PAGE = Path(__file__).resolve().parents[3] / "docs" / "add-a-mechanism.md"
CASES = [(name, {}) for name in FEED_FORWARD] + [
    ("mlp", {"intermediate_size": 5, "hidden_act": "gelu_new"}),
    ("vqc", {"n_qubits": 3, "layers": 2, "activation": True}),
    ("vqc", {"entanglement": "none", "layers": 2}),
    ("vqc", {"n_qubits": 1, "train_circuit": False}),
]


@pytest.mark.parametrize(("name", "how"), CASES, ids=str)
@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
def test_conformance(check, name, how):
    check(name, **how)


class MixesPositions(Mlp):
    def transform(self, hidden_states):
        return super().transform(hidden_states + hidden_states.mean(dim=1, keepdim=True))


class BranchesOnNumbers(Mlp):
    def transform(self, hidden_states):
        return super().transform(hidden_states if hidden_states.sum() > 0 else hidden_states * 2)


class HasADeadParameter(Mlp):
    def __init__(self, hidden_size, *, intermediate_size, **common):
        super().__init__(hidden_size, intermediate_size=intermediate_size, **common)
        self.shift = nn.Parameter(torch.ones(()))

    def transform(self, hidden_states):
        return super().transform(hidden_states) + 0 * self.shift


class DrawsLoadedWeightsAgain(Mlp):
    def reset_parameters(self):
        self.up_proj.weight.normal_()


class ForgetsDropout(Mlp):
    def forward(self, hidden_states):
        return self.transform(hidden_states)


class SinglePrecision(Mlp):
    def transform(self, hidden_states):
        return super().transform(hidden_states.float().to(hidden_states.dtype))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (MixesPositions, "positions_apart"),
        (BranchesOnNumbers, "compiled"),
        (HasADeadParameter, "gradients"),
        (DrawsLoadedWeightsAgain, "saving"),
        (ForgetsDropout, "dropout"),
        (SinglePrecision, "gradients"),
    ],
)
def test_it_finds_what_is_wrong(monkeypatch, broken, check):
    monkeypatch.setattr(FEED_FORWARD, "_registered", {})
    FEED_FORWARD.register("broken", broken)
    found = {finding.name: finding.outcome for finding in check_feed_forward("broken")}
    assert found[check] == "failed"


def test_the_layer_on_the_page_keeps_the_contract(monkeypatch):
    (code,) = re.findall(
        r'```python title="my_package/gated.py"\n(.*?)```', PAGE.read_text(), re.DOTALL
    )
    written = {"__name__": "gated"}
    exec(code, written)  # our own page
    monkeypatch.setattr(FEED_FORWARD, "_registered", {})
    FEED_FORWARD.register("gated", written["Gated"])
    assert has_width("gated")
    assert [f for f in check_feed_forward("gated", intermediate_size=7) if not f.ok] == []


def test_the_registry_says_what_a_layer_takes():
    assert has_width("mlp")
    assert not has_width("vqc")
    assert feed_forward_options("mlp") == {}
    assert feed_forward_options("vqc") == {
        "n_qubits": 4, "layers": 1, "entanglement": "ring", "train_circuit": True,
        "activation": False,
    }  # fmt: skip
    assert build_feed_forward("mlp", 6).up_proj.out_features == 24
    with pytest.raises(KetformerError, match="not a subclass of FeedForward"):
        FEED_FORWARD.register("linear", nn.Linear)
    assert issubclass(FEED_FORWARD["vqc"], FeedForward)


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        ("mpl", {}, "unknown feed_forward 'mpl'; did you mean 'mlp'?"),
        ("mlp", {"intermediate_size": 0}, "intermediate_size must be positive, got 0"),
        ("mlp", {"n_qubits": 4}, "feed_forward mlp has no option n_qubits; its options: none"),
        (
            "mlp",
            {"hidden_act": "tanh"},
            "hidden_act must be one of relu, gelu, gelu_new, got 'tanh'",
        ),
        ("mlp", {"dropout": 1.0}, "dropout must lie in [0, 1), got 1.0"),
        ("vqc", {"intermediate_size": 8}, "feed_forward vqc has no intermediate_size"),
        ("vqc", {"n_qubits": 0}, "a register needs at least one qubit, got 0"),
        ("vqc", {"n_qubits": 20, "layers": 2}, "20 qubits are too many to simulate"),
        ("vqc", {"layers": 1.5}, "feed_forward vqc: option layers must be int, got 1.5"),
        ("vqc", {"entanglement": "star"}, "option entanglement must be one of ring, none"),
    ],
)
def test_a_mistake_is_one_clear_line(name, how, says):
    with pytest.raises(KetformerError) as error:
        build_feed_forward(name, 8, **how)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
