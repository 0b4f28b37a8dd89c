"""Memory, time and cost of training from 1M to 7B parameters on 1 to 64 GPUs: a computed table.

The one measurement, made here on a CPU, is how many bytes a block keeps for its backward pass.
Everything else is arithmetic on the assumptions below. Writes results/scale.json.
Usage: python scripts/scale_table.py
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.quantum import qubits_for
from ketformer.utils.files import write_json
from ketformer.utils.machine import describe_machine

RESULT = Path(__file__).resolve().parent.parent / "results/scale.json"
MECHANISMS = ("classical", "qisa", "overlap", "qisa_a", "qsann")
OVERLAP_QUBITS = 6
GPUS = (1, 8, 64)


@dataclass(frozen=True)
class Assumed:
    """Assumptions that are not measured here and may be changed.

    Attributes:
        peak: bf16 FLOP/s of one GPU, dense (NVIDIA's figure for an H100 SXM).
        utilisation: share of the peak that a training step reaches.
        memory: bytes of one GPU.
        usable: share of the memory that tensors may take.
        price: dollars per GPU hour.
        gpus_in_node: GPUs that share the fast links.
        node_bandwidth: bytes per second from one GPU to the others in its node, each way.
        network_bandwidth: the same, to other nodes.
        batch_tokens: tokens in an optimizer step, over all GPUs.
        tokens_per_parameter: over the whole training.
    """

    peak: float = 989e12
    utilisation: float = 0.4
    memory: float = 80e9
    usable: float = 0.9
    price: float = 3.0
    gpus_in_node: int = 8
    node_bandwidth: float = 450e9
    network_bandwidth: float = 50e9
    batch_tokens: int = 2**19
    tokens_per_parameter: int = 20


@dataclass(frozen=True)
class Model:
    """A model size: width d, blocks, heads, context, vocabulary; tied embeddings."""

    name: str
    d: int
    blocks: int
    heads: int
    context: int
    vocabulary: int

    def config(self, attention: str) -> KetformerConfig:
        """Return the Ketformer configuration of this size."""
        options = {"n_qubits": OVERLAP_QUBITS} if attention == "overlap" else {}
        return KetformerConfig(
            attention=attention, attention_options=options, hidden_size=self.d,
            num_hidden_layers=self.blocks, num_attention_heads=self.heads,
            max_position_embeddings=self.context, vocab_size=self.vocabulary,
            tie_word_embeddings=True, lm_head_bias=False,
            embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
        )  # fmt: skip


MODELS = (
    Model("1M", 128, 5, 4, 128, 65),
    Model("11M", 384, 6, 6, 256, 65),
    Model("124M", 768, 12, 12, 1024, 50257),
    Model("1.3B", 2048, 24, 16, 2048, 50257),
    Model("6.7B", 4096, 32, 32, 4096, 50257),
)
PROBE = Model("probe", 256, 2, 4, 256, 64)  # where the kept bytes are measured


def parameters(model: Model, attention: str) -> int:
    """Number of weights in the whole model."""
    d, heads = model.d, model.heads
    outward = d * d + d
    angles = 3 * qubits_for(d)
    maps = {
        "classical": 3 * d * d,
        "qisa": 3 * d * d + 2 * d,
        "overlap": d * d + (d + 1) * 2 * heads * OVERLAP_QUBITS + 2 * heads * OVERLAP_QUBITS,
        "qisa_a": 2 * d * d + 2 * d + heads * angles,
        "qsann": 3 * heads * angles,
    }[attention]
    feed_forward = 8 * d * d + 5 * d
    block = maps + outward + feed_forward + 4 * d
    return model.blocks * block + (model.vocabulary + model.context) * d + 2 * d


def flops_per_token(model: Model, attention: str) -> float:
    """FLOPs of a training step per token: 2 per multiply-add forward, twice that backward.

    Each weight takes 6. Added to that are scores and mixing over half the context on average,
    and a mechanism's work on the state of each token: multiplying by its circuits' matrices, and
    signed sums of Pauli products. Building a circuit's matrix is shared by all tokens and left out.
    """
    d, heads = model.d, model.heads
    width = d // heads
    weights = parameters(model, attention) - model.context * d
    queries = {"qisa": width + 1, "qisa_a": width + 1, "overlap": 2**OVERLAP_QUBITS, "qsann": 2}
    pairs = model.context / 2 * heads * (queries.get(attention, width) + width)
    states = 2 ** qubits_for(d)
    own = {
        "classical": 0,
        "qisa": d * 2 ** qubits_for(width),
        "overlap": 2 * heads * 4**OVERLAP_QUBITS,
        "qisa_a": 2 * heads * states**2 + d * states,
        "qsann": 6 * heads * states**2 + (d + 2 * heads) * states,
    }[attention]
    return 6 * (weights + model.blocks * (pairs + own))


def kept_bytes(attention: str, model: Model = PROBE) -> float:
    """Measure the bytes that one block keeps for one token's backward pass, under bf16 autocast."""

    def kept(blocks: int, sequences: int) -> int:
        torch.manual_seed(0)  # fixes the Pauli strings that a mechanism draws
        config = model.config(attention)
        config.num_hidden_layers = blocks
        net = KetformerForCausalLM(config).train()
        weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
        seen: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        ids = torch.randint(model.vocabulary, (sequences, model.context))
        bf16 = torch.autocast("cpu", torch.bfloat16)
        with bf16, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            net(input_ids=ids, shift_labels=ids)  # its graph keeps the storages alive
        return sum(seen.values())

    tokens = model.context
    return ((kept(2, 2) - kept(2, 1)) - (kept(1, 2) - kept(1, 1))) / tokens


def plan(model: Model, gpus: int, per_width: float, assumed: Assumed) -> dict[str, Any] | None:
    """Plan the training of classical attention on ``gpus`` GPUs; None if it does not fit.

    Per parameter, weights, gradients and AdamW's moments take 16 bytes in float32, bf16 copies of
    the weights 2, and gradient buckets another 4 under data parallel. Under sharding the 16 are
    divided over the GPUs, and two units (blocks or embeddings) have whole bf16 weights and
    gradients. Recomputing activations keeps each block's float32 input, and one whole block.
    """
    count, whole = parameters(model, "classical"), 22 if gpus > 1 else 18
    unit = max(12 * model.d**2, model.vocabulary * model.d)
    kept = per_width * model.d
    most = max(assumed.batch_tokens // gpus // model.context, 1)
    ways = [(False, False), (False, True)] + [(True, False), (True, True)] * (gpus > 1)
    for sharded, recomputed in ways:
        fixed = 16 * count / gpus + 8 * unit if sharded else whole * count
        each = 4 * model.d * model.blocks + kept if recomputed else kept * model.blocks
        token = each + 10 * model.vocabulary  # logits in bf16 and float32, and their gradient
        room = assumed.memory * assumed.usable - fixed
        fits = int(room // (token * model.context))
        if fits < 1:
            continue
        sequences = min(2 ** int(math.log2(fits)), most)
        return {
            "sharded": sharded,
            "recomputed": recomputed,
            "sequences": sequences,
            "accumulated": math.ceil(most / sequences),
            "memory": fixed + token * model.context * sequences,
            **_time(model, gpus, sharded, recomputed, math.ceil(most / sequences), assumed),
        }
    return None


def _time(
    model: Model, gpus: int, sharded: bool, recomputed: bool, accumulated: int, assumed: Assumed
) -> dict[str, float]:
    """Time of a step and of the whole training; communication overlaps the backward pass.

    Data parallel sends float32 gradients around the ring once a step. Under sharding, each
    accumulated batch gathers the weights twice and scatters the gradients once, in bf16.
    """
    count = parameters(model, "classical")
    each = flops_per_token(model, "classical") * (4 / 3 if recomputed else 1)
    rate = assumed.peak * assumed.utilisation
    compute = each * assumed.batch_tokens / gpus / rate
    sent = (6 * accumulated if sharded else 8) * count * (gpus - 1) / gpus
    inside = gpus <= assumed.gpus_in_node
    link = assumed.node_bandwidth if inside else assumed.network_bandwidth
    traffic = sent / link
    step = compute + max(0.0, traffic - compute / 2)
    steps = assumed.tokens_per_parameter * count / assumed.batch_tokens
    return {
        "sent": sent,
        "step_s": step,
        "efficiency": compute / step,
        "tokens_per_s": assumed.batch_tokens / step,
        "hours": steps * step / 3600,
        "dollars": steps * step / 3600 * gpus * assumed.price,
    }


def table(kept: dict[str, float], assumed: Assumed) -> dict[str, Any]:
    """Compute both tables from the measured bytes per unit of width of each mechanism."""
    return {
        "training": [
            {
                "model": model.name,
                "parameters": parameters(model, "classical"),
                "gpus": gpus,
                "plan": plan(model, gpus, kept["classical"], assumed),
            }
            for model in MODELS
            for gpus in GPUS
        ],
        "mechanisms": [
            {
                "model": model.name,
                "attention": name,
                "parameters": parameters(model, name),
                "flops": flops_per_token(model, name),
                "ratio": flops_per_token(model, name) / flops_per_token(model, "classical"),
            }
            for model in MODELS
            for name in MECHANISMS
        ],
    }


if __name__ == "__main__":
    os.environ["KETFORMER_NATIVE"] = "0"  # the CPU kernels say nothing about a GPU
    kept = {name: kept_bytes(name) / PROBE.d for name in MECHANISMS}
    assumed = Assumed()
    write_json(
        RESULT,
        {
            "assumed": asdict(assumed),
            "models": [asdict(model) for model in MODELS],
            "probe": asdict(PROBE),
            "kept_bytes_per_width": kept,
            "machine": describe_machine(),
            **table(kept, assumed),
        },
    )
