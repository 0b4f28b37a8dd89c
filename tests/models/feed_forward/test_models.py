"""A decoder whose feed-forward layers are circuits, from settings to saved models."""

import json
import math

import pytest
import torch

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.comparison.sweep import sweep
from ketformer.comparison.variants import matched, rows_of
from ketformer.errors import KetformerError
from ketformer.models.checks import check_memory
from ketformer.models.feed_forward import FEED_FORWARD
from ketformer.models.feed_forward.mlp import Mlp
from ketformer.runs import Settings, load_settings

SMALL = {
    "vocab_size": 13, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 12, "initializer_range": 0.3,
}  # fmt: skip
VQC = {"feed_forward": "vqc", "feed_forward_options": {"n_qubits": 3, "layers": 2}}


class Halved(Mlp):
    """Half of what the usual layer gives, and of fixed size."""

    def __init__(self, hidden_size, **common):
        super().__init__(hidden_size, intermediate_size=3, **common)

    def transform(self, hidden_states):
        return super().transform(hidden_states) / 2


@pytest.fixture
def model():
    torch.manual_seed(0)
    return KetformerForCausalLM(KetformerConfig(**SMALL, **VQC)).eval()


def ids(length=8):
    return torch.arange(2 * length).reshape(2, length) * 5 % 13


def test_it_learns_generates_and_comes_back_from_the_disk(model, tmp_path):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        loss = model(ids(), labels=ids()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.2
    assert all(block.mlp.angles.grad is None for block in model.model.layers)
    how = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    cached, plain = (model.generate(ids(3), use_cache=use, **how) for use in (True, False))
    assert torch.equal(cached, plain)
    model.save_pretrained(tmp_path)
    again = KetformerForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(ids()).logits, model(ids()).logits)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["feed_forward_options"] == VQC["feed_forward_options"]
    assert saved["intermediate_size"] is None
    card = (tmp_path / "README.md").read_text()
    assert "`vqc`: Linear d -> n" in card
    assert "`n_qubits=3`, `layers=2`" in card


def test_a_new_model_starts_with_angles_over_a_full_turn(model):
    angles = torch.cat([block.mlp.angles.detach() for block in model.model.layers])
    assert float(angles.min()) >= 0
    assert math.pi < float(angles.max()) < 2 * math.pi
    weight = model.model.layers[0].mlp.down_proj.weight.detach()
    assert float(weight.std()) == pytest.approx(0.3, rel=0.3)


def test_a_configuration_without_the_key_is_the_usual_layer():
    """As in everything that was saved before there was a choice."""
    config = KetformerConfig(**SMALL)
    assert (config.feed_forward, config.feed_forward_options) == ("mlp", {})
    old = {k: v for k, v in config.to_dict().items() if not k.startswith("feed_forward")}
    model = KetformerForCausalLM(KetformerConfig.from_dict(old))
    names = {name.rpartition("mlp.")[2] for name, _ in model.named_parameters() if "mlp." in name}
    assert names == {"up_proj.weight", "up_proj.bias", "down_proj.weight", "down_proj.bias"}
    assert model.model.layers[0].mlp.up_proj.out_features == 64


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"feed_forward": "vcq"},
            "unknown feed_forward 'vcq'; did you mean 'vqc'? known: mlp, vqc",
        ),
        (VQC | {"intermediate_size": 9}, "vqc is of fixed size: leave intermediate_size out"),
        ({"feed_forward_options": {"n": 1}}, "feed_forward mlp has no option n; its options: none"),
        (
            {"feed_forward": "vqc", "feed_forward_options": {"n_qubits": "4"}},
            "feed_forward vqc: option n_qubits must be int, got '4'",
        ),
        (
            {"feed_forward": "their", "feed_forward_package": "theirs==1.0"},
            "the feed_forward 'their' comes from a package that is not installed here: pip install",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(changes, says):
    with pytest.raises(KetformerError) as error:
        KetformerConfig(**SMALL, **changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_many_gates_are_refused_before_memory_is_taken():
    deep = {"feed_forward": "vqc", "feed_forward_options": {"layers": 10**12}}
    with pytest.raises(KetformerError, match="of memory; this machine has"):
        check_memory(KetformerConfig(**SMALL, **deep))


def test_another_layer_starts_from_its_own_options_and_width():
    preset = Settings(model={**SMALL, "intermediate_size": 20})
    circuit = preset.override({"feed_forward": "vqc", "feed_forward_options": {"n_qubits": 2}})
    assert circuit.model["feed_forward_options"] == {"n_qubits": 2}
    assert KetformerConfig(**circuit.model).intermediate_size is None
    back = circuit.override({"feed_forward": "mlp"})
    assert KetformerConfig(**back.model).intermediate_size == 64
    same = preset.override({"feed_forward": "mlp", "seed": 1})
    assert same.model["intermediate_size"] == 20


def test_a_layer_of_fixed_size_is_compared_only_if_it_fits_or_without_matching():
    settings, data = load_settings("char-small"), {"vocab_size": 65}
    rows = rows_of(["classical", "classical:feed_forward=vqc"], settings, [])
    with pytest.raises(KetformerError) as error:
        matched(rows, settings, data)
    assert "classical:feed_forward=vqc has 6" in str(error.value)
    assert "parameters with feed_forward vqc, classical has" in str(error.value)
    assert "--match false" in str(error.value)
    # With the circuit in the reference, others are matched to it as ever.
    narrow = matched(rows[::-1], settings, data)[1]
    assert narrow.changes["intermediate_size"] < 20
    twice = rows_of(["classical:feed_forward=vqc", "qisa:feed_forward=vqc"], settings, [])
    assert "intermediate_size" not in matched(twice, settings, data)[1].changes


def test_its_options_can_be_swept(tmp_path, monkeypatch):
    made = []

    def run_jobs(jobs, **_):
        made.extend(jobs)
        return [{"eval_loss": 1.0} for _ in jobs]

    monkeypatch.setattr("ketformer.comparison.sweep.run_jobs", run_jobs)
    settings = Settings(data="embedded", model={**SMALL, "feed_forward": "vqc"})
    points = [{"feed_forward_options.n_qubits": n} for n in (2, 3)]
    sweep(points, settings, tmp_path, progress=False)
    assert [job.row for job in made] == [f"feed_forward_options.n_qubits={n}" for n in (2, 3)]
    assert [job.settings.model["feed_forward_options"] for job in made] == [
        {"n_qubits": 2}, {"n_qubits": 3},
    ]  # fmt: skip


def test_the_layer_of_another_package_is_named_in_every_file(monkeypatch, tmp_path):
    monkeypatch.setattr(FEED_FORWARD, "_registered", {})
    FEED_FORWARD.register("halved", Halved)
    monkeypatch.setattr(
        type(FEED_FORWARD), "package_of", lambda _, name: {"halved": "theirs==1.0"}.get(name)
    )
    config = KetformerConfig(**SMALL, feed_forward="halved")
    assert config.to_dict()["feed_forward_package"] == "theirs==1.0"
    assert Settings(model={"feed_forward": "halved"}).packages() == ["theirs==1.0"]
    KetformerForCausalLM(config).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert 'ketformer.FEED_FORWARD.register("halved", "' in card
    assert "Its feed-forward layer is in a separate package: `pip install 'theirs==1.0'`." in card
    assert KetformerForCausalLM.from_pretrained(tmp_path).config.feed_forward == "halved"
