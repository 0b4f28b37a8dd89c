"""The mechanism written in docs/add-a-mechanism.md meets the contract and learns."""

import re
from pathlib import Path

import pytest
import torch

import ketformer.attention as package
from ketformer import KetformerConfig, KetformerForCausalLM, audit_causality
from ketformer.attention import ATTENTION, attention_class, attention_options
from ketformer.attention.conformance import CONFORMANCE

from .helpers import build, tokens

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-mechanism.md"


def block(title):
    """The page's code block with that title."""
    found = re.findall(rf'```python title="{title}"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module", autouse=True)
def _registered(tmp_path_factory):
    """Install the file and the registry line, as the page gives them."""
    folder = tmp_path_factory.mktemp("added")
    (folder / "product.py").write_text(block("src/ketformer/attention/product.py"))
    name, target = re.fullmatch(r'"(\w+)": "([\w.:]+)",', block("registry line").strip()).groups()
    with pytest.MonkeyPatch.context() as patch:
        # Add this folder to the package's folder of mechanisms.
        patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        patch.setattr(ATTENTION, "_registered", {})
        ATTENTION.register(name, target)
        yield


@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
@pytest.mark.parametrize("sizes", [(16, 1, {}), (24, 3, {"n_qubits": 2})], ids=["small", "heads"])
def test_it_keeps_the_contract(check, sizes):
    hidden_size, num_heads, options = sizes
    check("product", hidden_size, num_heads, **options)


def test_its_options_are_those_of_its_init():
    assert attention_options("product")["n_qubits"] == 4
    assert attention_options("product")["score"] == "dot"


def test_its_score_is_the_formula_of_the_page():
    attention = build("product", 8, 2, n_qubits=3)
    states = tokens(2, 5, 8)
    query, key, _ = attention.project(states)
    angles = attention.angle_proj(states).reshape(2, 5, 2, 2, 3).permute(2, 0, 3, 1, 4)
    difference = angles[0][..., :, None, :] - angles[1][..., None, :, :]
    expected = (difference / 2).cos().prod(dim=-1)
    torch.testing.assert_close(query @ key.mT, expected, atol=1e-6, rtol=0)
    assert attention.dot_scale(8) == pytest.approx(8**0.5)


def test_it_is_audited_and_learns():
    assert audit_causality("product").max_future_influence == 0.0
    torch.manual_seed(0)
    model = KetformerForCausalLM(
        KetformerConfig(
            attention="product",
            vocab_size=5,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=12,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
        )
    )
    assert isinstance(model.model.layers[0].attention, attention_class("product"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sequence = (torch.arange(12) % 3 + torch.arange(3)[:, None]) % 5
    losses = []
    for _ in range(30):
        loss = model(sequence, labels=sequence).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
