"""A training step of the published hybrid decoder: exact, classical, and circuit by circuit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ketformer.attention.measured import measured_by
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM, preset
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of
from ketformer.utils.progress import Bars
from ketformer.utils.timing import compared, interleaved

_VOCABULARY = 33
_CLASSICAL, _EXACT, _CIRCUITS = "classical", "overlap", "overlap by CUDA-Q circuits"


def bench_step(batch: int, repeats: int, bars: Bars) -> tuple[list[dict[str, Any]], list[str]]:
    """Time a forward and backward pass of the preset ``overlap-qm9``.

    A whole batch on circuits would take a quarter of an hour, so only one sequence is timed
    there. Every score is a Hadamard test and the gradient is by SPSA, as in the released code:
    three circuits per score. The time is multiplied by the batch size, since every sequence
    runs as many circuits, one after another.

    Args:
        batch: sequences in the step.
        repeats: timings of each; the circuits get a fifth as many, at least one.
        bars: makes progress bars.

    Returns:
        Rows as from :func:`~ketformer.utils.timing.compared`, and notes. The circuits' row
        also has ``circuits`` and ``circuits_timed``.
    """
    length = preset("overlap-qm9")["model"]["max_position_embeddings"]
    ids = torch.randint(_VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(0))
    exact = _model("overlap")
    work = f"training step of overlap-qm9, batch {batch}"
    timed = {_CLASSICAL: _step(_model("classical"), ids), _EXACT: _step(exact, ids)}
    seconds = interleaved(timed, repeats, bars(work), f"peers {work}")
    rows = compared(seconds, _CLASSICAL, work, "cpu")
    try:
        backend = open_backend("cudaq")
    except KetformerError as error:
        return [{**row, "max_difference": None} for row in rows], [f"CUDA-Q was not timed: {error}"]
    expect = outcomes_of(backend, "spsa")
    one = _step(exact, ids[:1])

    def on_circuits() -> None:
        with measured_by(exact, expect):
            one()

    counted = max(repeats // 5, 1)
    found = interleaved(
        {_CIRCUITS: on_circuits}, counted, bars(f"{work}, one sequence on circuits")
    )
    circuits = backend.circuits_run // (counted + 1)  # one extra call filled the caches
    backend.close()
    scaled = {_EXACT: seconds[_EXACT], _CIRCUITS: [batch * s for s in found[_CIRCUITS]]}
    row = compared(scaled, _EXACT, work, "cpu")[1]
    rows.append({**row, "circuits": batch * circuits, "circuits_timed": circuits})
    note = (
        f"{_CIRCUITS}: one sequence was timed ({circuits:,} circuits, SPSA) and multiplied "
        f"by {batch}"
    )
    return [{**row, "max_difference": None} for row in rows], [note]


def _model(attention: str) -> KetformerForCausalLM:
    settings = preset("overlap-qm9")["model"]
    options = settings["attention_options"] if attention == settings["attention"] else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = {**settings, "attention": attention, "attention_options": options}
        model = KetformerForCausalLM(KetformerConfig(**config, vocab_size=_VOCABULARY))
    model.train()
    return model


def _step(model: KetformerForCausalLM, ids: torch.Tensor) -> Callable[[], None]:
    def once() -> None:
        model.zero_grad()
        logits = model(input_ids=ids, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.mT, ids).backward()

    return once
