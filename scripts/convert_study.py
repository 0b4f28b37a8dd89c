"""Convert a small GPT-2 and fine-tune it, from fitted and from drawn attentions.

Trains a GPT-2 of transformers on the characters of Tiny Shakespeare, converts it to each mechanism,
fine-tunes, and writes results/convert.json, after each seed. About ten minutes on one core.
Usage: python scripts/convert_study.py [--out FILE]
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils.logging import set_verbosity_error

import ketformer
from ketformer.comparison import summarise
from ketformer.runs.directory import make_manifest
from ketformer.tasks.losses import prefix_losses, teacher_forced
from ketformer.tasks.text.data import prepare_text
from ketformer.utils.files import write_json
from ketformer.utils.progress import Bars

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long.

    Attributes:
        data: a text.
        attentions: what the model is converted to, one after the other.
        seeds: each trains an original of its own.
        width: of the model.
        blocks: their number.
        heads: in each block.
        context: tokens in a row.
        batch_size: rows in a step, everywhere.
        steps: of training the original.
        learning_rate: its rate, which falls to 0 along a cosine, as does the next.
        distillation_steps: of fitting the new attentions, with the defaults of ``convert``.
        calibration: tokens on which they are fitted, the first of the training part.
        fine_tuning_steps: of all weights of a converted model.
        fine_tuning_rate: its learning rate.
        prefix_rows: rows for the loss with the prefix alone, which costs a pass for each token.
    """

    data: str = "tinyshakespeare"
    attentions: tuple[str, ...] = ("qisa", "overlap", "classical_fourier")
    seeds: tuple[int, ...] = (0, 1, 2)
    width: int = 96
    blocks: int = 3
    heads: int = 4
    context: int = 64
    batch_size: int = 16
    steps: int = 800
    learning_rate: float = 2e-3
    distillation_steps: int = 100
    calibration: int = 16_384
    fine_tuning_steps: int = 150
    fine_tuning_rate: float = 1e-3
    prefix_rows: int = 16

    @property
    def longer(self) -> int:
        """Steps of a fine-tuning that makes up for the distillation."""
        return self.fine_tuning_steps + self.distillation_steps

    @property
    def total(self) -> int:
        """All steps together."""
        each = self.distillation_steps + 2 * self.fine_tuning_steps + self.longer
        own = self.steps + self.fine_tuning_steps
        return len(self.seeds) * (own + len(self.attentions) * each)


class Study:
    """Trains and measures.

    Args:
        plan: what.
        step: called with (done, total).
    """

    def __init__(self, plan: Plan, step: Callable[[int, int], None]) -> None:
        self.plan = plan
        self.data = prepare_text(plan.data, progress=False)
        self.train_rows, self.held_out = self.data.training_sets(plan.context)
        self.done = 0
        self._step = step

    def advance(self, steps: int) -> None:
        """Move the bar."""
        self.done += steps
        self._step(self.done, self.plan.total)

    def original(self, seed: int) -> Any:
        """A trained GPT-2."""
        plan = self.plan
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=len(self.data.tokenizer),
            n_embd=plan.width,
            n_layer=plan.blocks,
            n_head=plan.heads,
            n_positions=plan.context,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
        return self.trained(GPT2LMHeadModel(config), seed, plan.steps, plan.learning_rate)

    def converted(self, model: Any, attention: str, init: Any, seed: int) -> Any:
        """The model with another attention, drawn from this seed and perhaps fitted."""
        plan = self.plan
        torch.manual_seed(seed)
        return ketformer.convert(
            model,
            attention,
            init=init,
            calibration=self.data.parts["train"][: plan.calibration],
            distillation=ketformer.Distillation(
                steps=plan.distillation_steps,
                batch_size=plan.batch_size,
                context=plan.context,
                seed=seed,
                progress=False,
            ),
        )

    def tuned(self, model: Any, seed: int, steps: int) -> Any:
        """A fine-tuned copy, on other batches than the original's."""
        later = len(self.plan.seeds) + seed
        return self.trained(copy.deepcopy(model), later, steps, self.plan.fine_tuning_rate)

    def trained(self, model: Any, seed: int, steps: int, rate: float) -> Any:
        """The model after that many steps of transformers' Trainer."""
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=self.plan.batch_size,
                learning_rate=rate,
                lr_scheduler_type="cosine",
                warmup_steps=steps // 20,
                seed=seed,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            )
            bar = _EachStep(lambda: self.advance(1))
            trainer = Trainer(model, arguments, train_dataset=self.train_rows, callbacks=[bar])
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return model.eval()

    def loss(self, model: Any) -> float:
        """On the validation part, nats per character."""
        return float(teacher_forced(model.eval(), self.held_out).losses.mean())

    def prefix_difference(self, model: Any) -> float:
        """How far any loss is from that with the prefix alone, on the first rows."""
        prefix = prefix_losses(model, self.held_out, limit=self.plan.prefix_rows)
        forced = teacher_forced(model, self.held_out).losses[: len(prefix)]
        return float((prefix - forced).abs().max())


class _EachStep(TrainerCallback):  # type: ignore[misc]
    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.then()


def run(plan: Plan, progress: bool = True) -> Iterator[dict[str, Any]]:
    """Every training and loss.

    Yields:
        After each seed, the result so far. ``rows``: for the original and each mechanism,
        ``parameters``, and losses over the seeds. ``random`` and ``distilled`` are those right
        after the conversion; ``tuned_random`` and ``tuned`` those after the same fine-tuning of
        either, and ``tuned_random_longer`` that with the steps of the distillation in addition. The
        original has ``loss`` and, fine-tuned likewise, ``tuned``. ``error`` is the share of the
        attention's outputs that the distillation misses on held-out rows, a mean over the layers;
        ``prefix_difference`` the largest of any loss of a fine-tuned model. ``seeds``, ``plan``
        and ``manifest``.
    """
    found: dict[str, dict[str, Any]] = {}
    with Bars(progress, "step") as bars:
        study = Study(plan, bars("convert study"))
        for number, seed in enumerate(plan.seeds, 1):
            original = study.original(seed)
            tuned = study.tuned(original, seed, plan.fine_tuning_steps)
            seen = {
                "loss": study.loss(original),
                "tuned": study.loss(tuned),
                "prefix_difference": study.prefix_difference(tuned),
            }
            _add(found, "original", original, seen)
            for attention in plan.attentions:
                drawn = study.converted(original, attention, "random", seed)
                fitted = study.converted(original, attention, "distill", seed)
                study.advance(plan.distillation_steps)
                layers = fitted.conversion["distillation"]["layers"]
                tuned = study.tuned(fitted, seed, plan.fine_tuning_steps)
                tuned_random = study.tuned(drawn, seed, plan.fine_tuning_steps)
                seen = {
                    "random": study.loss(drawn),
                    "distilled": study.loss(fitted),
                    "error": sum(layer["held_out_end"] for layer in layers) / len(layers),
                    "tuned": study.loss(tuned),
                    "tuned_random": study.loss(tuned_random),
                    "tuned_random_longer": study.loss(study.tuned(drawn, seed, plan.longer)),
                    "prefix_difference": max(map(study.prefix_difference, (tuned, tuned_random))),
                }
                _add(found, attention, drawn, seen)
            yield {
                "rows": [_summed(name, row) for name, row in found.items()],
                "seeds": plan.seeds[:number],
                "plan": asdict(plan),
                "manifest": make_manifest(data=study.data.facts),
            }


def _summed(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with statistics over the seeds."""
    losses = {key: values for key, values in row.items() if isinstance(values, list)}
    return {
        "name": name,
        "parameters": row["parameters"],
        "prefix_difference": max(losses.pop("prefix_difference")),
        **{key: summarise(values) for key, values in losses.items()},
    }


def _add(found: dict[str, dict[str, Any]], name: str, model: Any, seen: dict[str, float]) -> None:
    row = found.setdefault(name, {"parameters": model.num_parameters()})
    for key, value in seen.items():
        row.setdefault(key, []).append(value)


def main() -> None:
    """Run the study, and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/convert.json")
    given = parser.parse_args()
    set_verbosity_error()
    for result in run(Plan()):
        write_json(given.out, result)


if __name__ == "__main__":
    main()
