"""scripts/scale_table.py: its formulas against real models, its plans against their claims."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ketformer import KetformerForCausalLM

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("scale_table", ROOT / "scripts/scale_table.py")
scale = importlib.util.module_from_spec(_SPEC)
sys.modules["scale_table"] = scale  # its dataclasses look themselves up there
_SPEC.loader.exec_module(scale)

COMMITTED = json.loads((ROOT / "results/scale.json").read_text())


@pytest.mark.parametrize("attention", scale.MECHANISMS)
@pytest.mark.parametrize(
    "model", [scale.Model("a", 32, 2, 4, 16, 13), scale.Model("b", 24, 3, 2, 10, 70)], ids=str
)
def test_parameters_are_those_of_the_model(model, attention):
    made = KetformerForCausalLM(model.config(attention))
    assert scale.parameters(model, attention) == made.num_parameters()


def _counted(model, attention):
    """Operations per token in a step's matrix products; torch does not count fused attention."""
    net = KetformerForCausalLM(model.config(attention))
    ids = torch.zeros(8, model.context, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        net(input_ids=ids, shift_labels=ids).loss.backward()
    return counter.get_total_flops() / ids.numel()


def test_operations_are_those_of_the_products():
    model = scale.Model("a", 64, 2, 4, 16, 13)
    vectors = model.blocks * (5 + 1 + 4) * model.d + 2 * model.d  # biases and norms
    pairs = 6 * model.blocks * model.context / 2 * 2 * model.d
    expected = scale.flops_per_token(model, "classical") - pairs - 6 * vectors
    assert _counted(model, "classical") == expected


@pytest.mark.parametrize("attention", ["qisa", "overlap", "qisa_a", "qsann"])
def test_a_kernel_does_no_more_than_its_definition_says(attention):
    """Counts matrix products, including the circuits' matrices, which are built once per batch."""
    model = scale.Model("a", 64, 2, 4, 16, 13)
    defined = scale.flops_per_token(model, attention)
    assert _counted(model, attention) <= 1.05 * defined
    assert defined > 6 * (scale.parameters(model, attention) - model.context * model.d)


def test_the_committed_table_is_what_the_formulas_say():
    assumed = scale.Assumed(**COMMITTED["assumed"])
    assert COMMITTED["models"] == [vars(model) for model in scale.MODELS]
    made = scale.table(COMMITTED["kept_bytes_per_width"], assumed)
    for part, rows in made.items():
        assert json.loads(json.dumps(rows)) == COMMITTED[part]


@pytest.mark.parametrize("gpus", [1, 8, 64])
@pytest.mark.parametrize("model", scale.MODELS, ids=lambda model: model.name)
def test_a_plan_fits_and_trains_the_whole_batch(model, gpus):
    assumed = scale.Assumed()
    plan = scale.plan(model, gpus, 38.0, assumed)
    if plan is None:  # 18 bytes a parameter are too many for one GPU
        assert 18 * scale.parameters(model, "classical") > assumed.memory * assumed.usable
        assert gpus == 1
        return
    assert plan["memory"] <= assumed.memory * assumed.usable
    in_a_step = plan["sequences"] * plan["accumulated"] * model.context * gpus
    assert in_a_step == assumed.batch_tokens
    tokens = assumed.tokens_per_parameter * scale.parameters(model, "classical")
    assert plan["hours"] * 3600 * plan["tokens_per_s"] == pytest.approx(tokens)
    assert plan["dollars"] == pytest.approx(plan["hours"] * gpus * assumed.price)
    # A GPU never does more than its share of the peak.
    done = scale.flops_per_token(model, "classical") * plan["tokens_per_s"] / gpus
    assert done <= assumed.peak * assumed.utilisation * 1.0001


def test_links_that_are_slow_are_waited_for():
    model, fast = scale.MODELS[-1], scale.Assumed()
    slow = replace(fast, node_bandwidth=fast.node_bandwidth / 1000)
    assert scale.plan(model, 8, 38.0, fast)["efficiency"] == 1
    waiting = scale.plan(model, 8, 38.0, slow)
    traffic = waiting["sent"] / slow.node_bandwidth
    assert waiting["step_s"] == pytest.approx(traffic, rel=0.01)


def test_kept_bytes_of_the_blocks_parts():
    """A feed-forward layer alone keeps its hidden units twice in bf16: at least 16 d."""
    small = scale.Model("small", 32, 2, 2, 16, 13)
    kept = scale.kept_bytes("classical", small) / small.d
    assert 16 < kept < 80
    assert scale.kept_bytes("qsann", small) > kept * small.d
