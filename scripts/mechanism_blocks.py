"""The generated halves of docs/mechanisms/: facts from the registry, and pictures of circuits."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claims_blocks import linked

from ketformer.attention import Attention, Mixer, attention_class, attention_options
from ketformer.attention.base import SCORE
from ketformer.attention.leaks import LeakWarning
from ketformer.circuits import circuits_of
from ketformer.circuits.mechanisms import mechanism
from ketformer.circuits.resources import circuit_runs, per_token
from ketformer.comparison.variants import controls
from ketformer.drawing.circuit import circuit_figure, experiment_layout
from ketformer.drawing.figure import save_figure
from ketformer.errors import NotOfferedError
from ketformer.quantum.resources import count_resources
from ketformer.report.citations import citable, citations
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
#: The size of all figures on the pages: width, heads, and tokens of a sequence.
WIDTH, HEADS, LENGTH = 64, 4, 64
# The controls of `compare` that change a circuit, by the options that make them.
_ABLATIONS: dict[str, dict[str, Any]] = {
    "no_entanglement": {"entanglement": "none"},
    "random_circuit": {"train_circuit": False},
}


@dataclass(frozen=True)
class _Page:
    """What a page treats.

    Attributes:
        names: its mechanisms; the page has the name of the first.
        drawn: for a mechanism, the circuit and the small sizes at which it is drawn.
    """

    names: list[str]
    drawn: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def twins(self) -> dict[str, str]:
        """Each mechanism with the arm of `compare` that does the same classically."""
        return {name: attention_class(name).twins[0] for name in self.names}


PAGES = {
    page.names[0]: page
    for page in (
        _Page(
            ["vqc", "vqc_plain"],
            {"vqc": ("query", {}), "vqc_plain": ("query", {"hidden_size": 4})},
        ),
        _Page(["qasa"], {"qasa": ("value", {"n_qubits": 3, "layers": 3})}),
        _Page(["qmsan"], {"qmsan": ("query", {})}),
        _Page(["orthogonal"], {"orthogonal": ("value", {"hidden_size": 4, "values": "absolute"})}),
        _Page(["quixer"]),
        _Page(["kernel"], {"kernel": (SCORE, {})}),
        _Page(["interference"]),
        _Page(["pam"]),
        _Page(["qsa_cp"]),
        _Page(["tensorized", "tensorized_published"]),
    )
}


def block(name: str, read: Read) -> str:
    """The block ``mechanisms`` of the index, or ``mechanism_NAME`` of a page."""
    page = name.removeprefix("mechanism_")
    return _index() if name == "mechanisms" else _page(PAGES[page], read("leaderboard"))


def draw(folder: Path = PICTURES) -> list[Path]:
    """Draw one circuit of each mechanism that has circuits, small enough to be read."""
    drawn = []
    for page in PAGES.values():
        for name, (which, sizes) in page.drawn.items():
            found = circuits_of(name, **sizes)[which]
            picture = experiment_layout(found, width=700)
            path = folder / f"circuit-{name}.svg"
            drawn.append(save_figure(lambda picture=picture: circuit_figure(picture), path))
    return drawn


def _index() -> str:
    rows = [
        [
            f"[`{name}`]({first}.md)",
            _paper(name),
            "no" if attention_class(name).leaks else "yes",
            _at_all(_built(name)),
            f"`{twin}`",
        ]
        for first, page in PAGES.items()
        for name, twin in page.twins.items()
    ]
    titles = ["mechanism", "source", "causal", "circuits on hardware", "classical twin"]
    return markdown_table(titles, rows)


def _page(page: _Page, board: dict[str, Any]) -> str:
    titles = ["", *(f"`{name}`" for name in page.names)]
    built = {name: _built(name) for name in page.names}
    rows = [
        ["source", *map(_paper, page.names)],
        ["causal", *("no" if cls.leaks else "yes" for cls in map(attention_class, page.names))],
        ["classical twin", *(f"`{twin}`" for twin in page.twins.values())],
        ["options, with defaults", *(_options(name, one) for name, one in built.items())],
        ["parameters", *(f"{_count(one):,}" for one in built.values())],
        ["those of `classical`", *[f"{_count(_built('classical')):,}"] * len(built)],
    ]
    sizes = f"Parameters are those of one layer at width {WIDTH} with {HEADS} heads"
    if "tensorized" in page.names:
        sizes += f" and a context of {LENGTH}"
    parts = [markdown_table(titles, rows), f"{sizes}.\n", *_controls(page)]
    parts += [_circuits(name, one) for name, one in built.items() if one.has_circuits()]
    parts += _cited(page)
    parts += _verdicts(page, board)
    return "\n".join(parts)


def _verdicts(page: _Page, board: dict[str, Any]) -> list[str]:
    """What the leaderboard says of each mechanism on each task."""
    lines = []
    for name in page.names:
        for task, its in board["tasks"].items():
            rows = [row for row in its["rows"] if row["attention"] == name and "verdict" in row]
            lines += [f"- On {task}: {row['verdict']['sentence']}\n" for row in rows]
            lines += [
                f"- On {task}: none, since {reason}.\n"
                for arm, reason in its["left_out"].items()
                if arm.partition(":")[0] == name
            ]
    if not lines:
        return ["**Verdict.** None: not on the [leaderboard](../leaderboard.md).\n"]
    return ["**Verdict**, from the [leaderboard](../leaderboard.md):\n", "".join(lines)]


def _paper(name: str) -> str:
    return ", ".join(map(linked, attention_class(name).papers())) or "no paper"


def _built(name: str, **options: Any) -> Mixer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakWarning)
        return mechanism(name, hidden_size=WIDTH, num_heads=HEADS, **options)


def _count(built: Mixer) -> int:
    return sum(weights.numel() for weights in built.parameters())


def _options(name: str, built: Mixer) -> str:
    """Its own options; of those that all have, only what differs from attention's defaults."""
    usual = inspect.signature(Attention).parameters
    classical = attention_options("classical")
    shown = []
    for key, default in attention_options(name).items():
        if key in usual and default == classical.get(key, default):
            continue
        value = getattr(built, key, None) if default is None else default  # None depends on others
        told = str(value).lower() if isinstance(value, bool) else f"{value}"
        shown.append(f"`{key}`" if value is None else f"`{key}={told}`")
    return ", ".join(shown) or "none of its own"


def _controls(page: _Page) -> list[str]:
    """What the controls on the page are, in the words of `compare`."""
    told = controls()
    # An arm with options is another mechanism than its name alone.
    lines = [
        f"- `{twin}`: {told[twin]}" for twin in dict.fromkeys(page.twins.values()) if twin in told
    ]
    lines += [
        f"- `{name}`: {told[name]}"
        for name, options in _ABLATIONS.items()
        if any(_offers(mixer, options) for mixer in page.names)
    ]
    return ["Controls:\n", "".join(f"{line}\n" for line in lines)] if lines else []


def _offers(name: str, options: dict[str, Any]) -> bool:
    if not options.keys() <= attention_options(name).keys():
        return False
    try:
        _built(name, **options)
    except NotOfferedError:
        return False
    return True


def _at_all(built: Mixer) -> str:
    if not built.has_circuits():
        return "none"
    runs = circuit_runs(built)
    tokens = sum(run.times for run in runs if not run.of_pairs)
    of_pairs = sum(run.times for run in runs if run.of_pairs)
    words = [f"{tokens} a token"] * bool(tokens)
    words += [f"{of_pairs} a pair of positions"] * bool(of_pairs)
    return ", ".join(words)


def _circuits(name: str, built: Mixer) -> str:
    """Circuits by kind, and the totals of a sequence."""
    rows = []
    for run in circuit_runs(built):
        counts = count_resources(run.experiment.circuit)
        per = "pair of positions" if run.of_pairs else "token"
        rows.append([run.name, f"{run.times} a {per}", counts.n_qubits, counts.two_qubit_gates])
    circuits, gates = per_token(built, LENGTH)
    titles = [f"circuit of `{name}`", "runs", "qubits", "two-qubit gates"]
    told = (
        f"At width {WIDTH} with {HEADS} heads, in sequences of {LENGTH} tokens: {circuits:,.4g} "
        f"circuit{'' if circuits == 1 else 's'} and {gates:,.6g} two-qubit gates a token on "
        "average, times the shots. Runs "
        "count every head and every setting of the measurement; gates are counted in CNOTs.\n"
    )
    return f"{markdown_table(titles, rows)}\n{told}"


def _cited(page: _Page) -> list[str]:
    name = page.names[0]
    if name not in citable():
        return [f"`ketformer cite {name}` has no entry to print: there is no paper to cite.\n"]
    entries = "\n".join(entry.bibtex() for entry in citations([name]))
    return [f"From `ketformer cite {name}`:\n", f"```bibtex\n{entries}```\n"]
