"""The table of metrics: what an evaluation measures, and what each number means.

Another package adds a metric through an entry point in the group ``ketformer.metrics`` that leads
to a :class:`Metric` with ``compute``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ketformer.errors import KetformerError
from ketformer.utils.registry import Registry

Task = Literal["text", "molecules"]
TASKS: tuple[Task, ...] = get_args(Task)
#: Curves over the positions of a window, by task: teacher-forced, and with the prefix alone.
CURVES: dict[str, tuple[str, str]] = {
    "text": ("cross_entropy_by_position", "prefix_cross_entropy_by_position"),
    "molecules": ("loss_by_position", "prefix_loss_by_position"),
}


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation gives.

    Attributes:
        name: its key in JSON.
        title: what it is, in a few words and with its unit.
        task: the task of the models that it is measured on.
        better: the direction of better models; None if there is none.
        honest: whether a model gains nothing here by seeing the tokens that it should predict.
        column: its heading in the table of a comparison; empty leaves it out.
        paired: its heading in the table of paired tests; empty leaves it out.
        axis: its label in the report's plots; empty leaves it out.
        on_card: whether a model card shows it.
        padded: whether it counts padding, so that it says something only of a model that was
            trained to predict padding.
        compute: for a metric of another package: takes generated and held-out samples, and
            returns a finite number, or None if undefined. For text these are greedy continuations
            and what really follows in the text, equally many; for molecules the distinct valid
            samples and the molecules of the part, as canonical SMILES.
    """

    name: str
    title: str
    task: Task
    better: Literal["lower", "higher"] | None = None
    honest: bool = True
    column: str = ""
    paired: str = ""
    axis: str = ""
    on_card: bool = False
    padded: bool = False
    compute: Callable[[Sequence[str], Sequence[str]], float | None] | None = None


_BUILT_IN = (
    Metric("cross_entropy", "cross entropy, nats per token", "text", "lower", honest=False,
           column="cross entropy", on_card=True),
    Metric("prefix_cross_entropy", "cross entropy with the prefix alone, nats per token", "text",
           "lower", column="prefix only", paired="prefix only",
           axis="cross entropy, prefix only (nats)", on_card=True),
    Metric("perplexity", "perplexity", "text", "lower", honest=False, on_card=True),
    Metric("bits_per_character", "bits per character", "text", "lower", honest=False,
           on_card=True),
    Metric("cer", "character error rate, teacher-forced", "text", "lower", honest=False,
           column="CER", on_card=True),
    Metric("wer", "word error rate, teacher-forced", "text", "lower", honest=False,
           column="WER", on_card=True),
    Metric("free_running_cer", "character error rate of greedy continuations", "text", "lower",
           paired="CER, free"),
    Metric("free_running_wer", "word error rate of greedy continuations", "text", "lower",
           paired="WER, free"),
    Metric("loss", "loss without padding, nats per token", "molecules", "lower", honest=False,
           column="loss", on_card=True),
    Metric("loss_with_padding", "loss with padding counted, nats per position", "molecules",
           "lower", honest=False, padded=True),
    Metric("loss_as_published", "loss as arXiv 2502.19214 averages it", "molecules", "lower",
           honest=False, padded=True),
    Metric("prefix_loss", "loss with the prefix alone, nats per token", "molecules", "lower",
           column="prefix only", paired="prefix only", axis="loss, prefix only (nats)",
           on_card=True),
    Metric("token_accuracy", "token accuracy", "molecules", "higher", honest=False,
           column="accuracy", on_card=True),
    Metric("validity", "valid, of the samples", "molecules", "higher", column="valid",
           paired="valid", axis="share of valid samples", on_card=True),
    Metric("uniqueness", "unique, of the valid", "molecules", "higher", column="unique",
           on_card=True),
    Metric("novelty", "novel (nowhere in the data), of the unique", "molecules", "higher",
           column="novel", paired="novel", on_card=True),
    Metric("product", "novel and unique and valid, of the samples", "molecules", "higher"),
    Metric("novelty_to_training", "not in the training part, of the unique", "molecules",
           "higher", on_card=True),
    Metric("in_training", "in the training part, of the valid", "molecules"),
    Metric("fcd", "Fréchet ChemNet distance", "molecules", "lower", on_card=True),
    Metric("snn", "similarity to the nearest held-out molecule", "molecules"),
    Metric("internal_diversity", "internal diversity", "molecules"),
    Metric("fragment_similarity", "similarity of BRICS fragments", "molecules"),
    Metric("scaffold_similarity", "similarity of scaffolds", "molecules"),
    Metric("target_error", "error of requested properties, in their standard deviations",
           "molecules", "lower", paired="target error"),
    # MOSES' own, on its test set and, with _scaffolds, its scaffold test set.
    Metric("moses_valid", "MOSES: valid", "molecules", "higher"),
    Metric("moses_unique_1k", "MOSES: unique@1k", "molecules", "higher"),
    Metric("moses_unique_10k", "MOSES: unique@10k", "molecules", "higher"),
    Metric("moses_novelty", "MOSES: novelty", "molecules", "higher"),
    Metric("moses_fcd", "MOSES: FCD, test", "molecules", "lower", on_card=True),
    Metric("moses_fcd_scaffolds", "MOSES: FCD, scaffold test", "molecules", "lower", on_card=True),
    Metric("moses_snn", "MOSES: SNN, test", "molecules", "higher", on_card=True),
    Metric("moses_snn_scaffolds", "MOSES: SNN, scaffold test", "molecules", "higher"),
    Metric("moses_frag", "MOSES: Frag, test", "molecules", "higher", on_card=True),
    Metric("moses_frag_scaffolds", "MOSES: Frag, scaffold test", "molecules", "higher"),
    Metric("moses_scaf", "MOSES: Scaf, test", "molecules", "higher", on_card=True),
    Metric("moses_scaf_scaffolds", "MOSES: Scaf, scaffold test", "molecules", "higher",
           on_card=True),
    Metric("moses_int_div", "MOSES: IntDiv", "molecules", "higher", on_card=True),
    Metric("moses_int_div2", "MOSES: IntDiv2", "molecules", "higher"),
    Metric("moses_filters", "MOSES: Filters", "molecules", "higher", on_card=True),
    Metric("moses_logp", "MOSES: distance of logP", "molecules", "lower"),
    Metric("moses_sa", "MOSES: distance of SA", "molecules", "lower"),
    Metric("moses_qed", "MOSES: distance of QED", "molecules", "lower"),
    Metric("moses_weight", "MOSES: distance of weight, g/mol", "molecules", "lower"),
)  # fmt: skip


def _check(name: str, found: Any) -> None:
    if not isinstance(found, Metric) or found.name != name or found.compute is None:
        raise KetformerError(f"metric {name!r}: {found!r} is not a Metric of that name to compute")


#: Every metric by its name.
METRICS: Registry[Metric] = Registry(
    "metric", "ketformer.metrics", __name__, {m.name: m for m in _BUILT_IN}, _check
)


def metrics_of(task: str, *, padded: bool = True) -> list[Metric]:
    """The metrics of a task, in the order of the table; without ``padded``, none that counts it."""
    found = [metric for _, metric in METRICS.loaded() if metric.task == task]
    return [metric for metric in found if padded or not metric.padded]


def computed(task: str, generated: Sequence[str], held_out: Sequence[str]) -> dict[str, Any]:
    """The metrics of other packages, by name.

    Raises:
        KetformerError: one of them fails, or gives something other than a finite number.
    """
    values: dict[str, float | None] = {}
    for metric in metrics_of(task):
        if metric.compute is None:
            continue
        try:
            value = metric.compute(generated, held_out)
            values[metric.name] = None if value is None else float(value)
        except Exception as error:  # third-party code may raise anything
            raise KetformerError(
                f"the metric {metric.name!r} failed ({type(error).__name__}: {error})"
            ) from error
        if value is not None and not math.isfinite(value):
            raise KetformerError(f"the metric {metric.name!r} gave {value}, not a finite number")
    return values
