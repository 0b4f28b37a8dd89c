"""How many letters a model knows to use."""

from collections.abc import Sequence

from ketformer.tasks.metric import Metric


def distinct_letters(generated: Sequence[str], held_out: Sequence[str]) -> float:
    """Letters in the continuations, of those in what follows in the text."""
    return len(set("".join(generated))) / len(set("".join(held_out)))


DISTINCT_LETTERS = Metric(
    "distinct_letters",
    "distinct letters, of those in the text",
    "text",
    "higher",
    column="letters",
    paired="letters",
    on_card=True,
    compute=distinct_letters,
)
