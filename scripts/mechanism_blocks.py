"""The generated halves of docs/mechanisms/: facts from the registry, and pictures of circuits."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ketformer.attention import Attention, Mixer, attention_class, attention_options
from ketformer.attention.base import SCORE
from ketformer.attention.leaks import LeakWarning
from ketformer.circuits import circuits_of
from ketformer.circuits.mechanisms import experiments, mechanism
from ketformer.comparison.variants import controls
from ketformer.drawing.circuit import circuit_figure, layout
from ketformer.drawing.figure import save_figure
from ketformer.errors import NotOfferedError
from ketformer.quantum import Experiment, measurement_settings
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
        twins: its mechanisms, each with the arm of `compare` that does the same classically; the
            page has the name of the first.
        drawn: for a mechanism, the circuit and the small sizes at which it is drawn.
    """

    twins: dict[str, str]
    drawn: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Its mechanisms."""
        return list(self.twins)


PAGES = {
    page.names[0]: page
    for page in (
        _Page(
            {"vqc": "classical_tanh", "vqc_plain": "classical_tanh"},
            {"vqc": ("query", {}), "vqc_plain": ("query", {"hidden_size": 4})},
        ),
        _Page({"qasa": "classical_bottleneck"}, {"qasa": ("value", {"n_qubits": 3, "layers": 3})}),
        _Page({"qmsan": "classical_linear"}, {"qmsan": ("query", {})}),
        _Page(
            {"orthogonal": "classical_bilinear"},
            {"orthogonal": ("value", {"hidden_size": 4, "values": "absolute"})},
        ),
        _Page({"quixer": "quixer:matrices=free"}),
        _Page(
            {"kernel": "classical_fourier:kernel=iqp,normalise=sum,constant=1"},
            {"kernel": (SCORE, {})},
        ),
        _Page({"interference": "interference:coordinates=cartesian"}),
        _Page({"pam": "classical_gated_linear"}),
        _Page({"qsa_cp": "classical:normalise=l2"}),
        _Page({"tensorized": "classical", "tensorized_published": "tensorized"}),
    )
}


def block(name: str) -> str:
    """The block ``mechanisms`` of the index, or ``mechanism_NAME`` of a page."""
    return _index() if name == "mechanisms" else _page(PAGES[name.removeprefix("mechanism_")])


def draw(folder: Path = PICTURES) -> list[Path]:
    """Draw one circuit of each mechanism that has circuits, small enough to be read."""
    drawn = []
    for page in PAGES.values():
        for name, (which, sizes) in page.drawn.items():
            found = circuits_of(name, **sizes)[which]
            qubits, strings = found.circuit.n_qubits, found.strings.strings
            meters = [q for q in range(qubits) if any(string[q] != "I" for string in strings)]
            picture = layout(found.circuit, measured=meters, width=700)
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


def _page(page: _Page) -> str:
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
    parts.append("**Verdict.** The leaderboard has not been run, so there is none yet.\n")
    return "\n".join(parts)


def _paper(name: str) -> str:
    paper = attention_class(name).paper
    return f"[arXiv {paper}](https://arxiv.org/abs/{paper})" if paper else "no paper"


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


def _runs(built: Mixer) -> list[tuple[str, Experiment, int, bool]]:
    """Each kind of circuit: what it gives, the first, how often it runs, and if for a pair."""
    found = experiments(built, batch=1, length=1)
    return [
        (what, heads[0], len(heads) * len(measurement_settings(heads[0].strings)), what == SCORE)
        for what, heads in found.items()
    ]


def _at_all(built: Mixer) -> str:
    if not built.has_circuits():
        return "none"
    runs = _runs(built)
    tokens = sum(times for _, _, times, pairs in runs if not pairs)
    of_pairs = sum(times for _, _, times, pairs in runs if pairs)
    words = [f"{tokens} a token"] * bool(tokens)
    words += [f"{of_pairs} a pair of positions"] * bool(of_pairs)
    return ", ".join(words)


def _circuits(name: str, built: Mixer) -> str:
    """Circuits by kind, and the totals of a sequence."""
    rows, circuits, gates = [], 0.0, 0.0
    for what, experiment, times, pairs in _runs(built):
        counts = count_resources(experiment.circuit)
        each = times * ((LENGTH + 1) / 2 if pairs else 1)
        circuits, gates = circuits + each, gates + each * counts.two_qubit_gates
        per = "pair of positions" if pairs else "token"
        rows.append([what, f"{times} a {per}", counts.n_qubits, counts.two_qubit_gates])
    titles = [f"circuit of `{name}`", "runs", "qubits", "two-qubit gates"]
    told = (
        f"At width {WIDTH} with {HEADS} heads, in sequences of {LENGTH} tokens: {circuits:,.4g} "
        f"circuits and {gates:,.6g} two-qubit gates a token on average, times the shots. Runs "
        "count every head and every setting of the measurement; gates are counted in CNOTs.\n"
    )
    return f"{markdown_table(titles, rows)}\n{told}"


def _cited(page: _Page) -> list[str]:
    name = page.names[0]
    if name not in citable():
        return [f"`ketformer cite {name}` has no entry to print: there is no paper to cite.\n"]
    (entry,) = citations([name])
    return [f"From `ketformer cite {name}`:\n", f"```bibtex\n{entry.bibtex()}```\n"]
