"""Sections on what the models attend to and the circuits they run."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from ketformer.attention import attention_class
from ketformer.attention.layers import options_by_name, parse_mechanisms
from ketformer.circuits import CircuitPicture, circuit_pictures
from ketformer.drawing.attention import AttentionMap, share_of_the_future, visible
from ketformer.drawing.figure import named_svg
from ketformer.drawing.molecules import atoms_svg
from ketformer.errors import NotOfferedError, UnreadableError
from ketformer.evaluation import attention_weights
from ketformer.evaluation.attention import attention_svg
from ketformer.models import KetformerConfig
from ketformer.models.checks import check_memory
from ketformer.report.study import Study
from ketformer.report.table import BADGE, Row
from ketformer.runs import Run
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.text import encode

_TOKENS = 16  # of a text, to show attention over
_FOLD = 940  # pixels: the width at which a circuit wraps
_ATTENDED = "Attention that each atom receives in the last layer, mean over the heads: "
_ATOMS = 6  # characters: a SMILES at least this long is preferred


def attention_section(study: Study) -> str:
    """Heat maps of the first layers and heads, for the same input if every model can read it."""
    shown = [_maps(study, row) for row in study.rows if study.open(row)]
    if not shown:
        return ""
    told = (
        "Row i shows how much position i attends to each position. Blue is the past; "
        "<strong>red is the future</strong>, which a language model must not see. Colours deepen "
        "with the square root of the weight."
    )
    return f'<p>{told}</p><div class="maps">{"".join(shown)}</div>'


def _maps(study: Study, row: Row) -> str:
    run = study.open(row)
    assert run is not None
    name = html.escape(row["name"])
    for text in _texts(study, row):
        try:
            text = text if study.task == "molecules" else _beginning(run, text)
            tokens, weights = attention_weights(run, text, conditions=_usual(run))
        except UnreadableError:  # the next one may be readable
            continue
        except NotOfferedError as error:
            return f"<article><h4>{name}</h4><p>{html.escape(str(error))}.</p></article>"
        share = share_of_the_future(weights)
        ahead = f"{share:.0%} of all weight lies on later tokens" if share else (
            "no weight lies on later tokens"
        )  # fmt: skip
        layers, heads = weights.shape[:2]
        drawn = attention_svg(tokens, weights)
        cut = "" if layers <= 3 and heads <= 4 else f" The first of {layers} × {heads} matrices."
        atoms = ""
        if study.task == "molecules":
            last = AttentionMap(text, tokens, weights[-1])
            atoms = f'<figure class="atoms">{named_svg(atoms_svg(last), _ATTENDED + text)}</figure>'
        badge = "" if row["causal"] else f" {BADGE}"
        return (
            f"<article><h4>{name}{badge}</h4>"
            f'<figure class="wide"><div class="scroll" tabindex="0">{drawn}</div><figcaption>'
            f"<code>{html.escape(visible(text))}</code>: {ahead}.{cut}</figcaption></figure>"
            f"{atoms}</article>"
        )
    return (
        f"<article><h4>{name}</h4><p>None of the samples can be read by this model.</p></article>"
    )


def _texts(study: Study, row: Row) -> Iterator[str]:
    """Candidate inputs: the first row's samples, then this row's."""
    for source in (study.rows[0], row):
        sample = source.get("sample") or ""
        if study.task == "text":
            yield sample.strip()
        else:
            valid = [line for line in sample.splitlines() if line and parse(line) is not None]
            yield from sorted(valid, key=lambda smiles: len(smiles) < _ATOMS)
    if study.task == "molecules":
        yield "C"


def _beginning(run: Run, text: str) -> str:
    """The longest beginning of a text that can be shown.

    Raises:
        UnreadableError: the model has no token for a character.
    """
    most = min(_TOKENS, run.model.config.max_position_embeddings)
    text = text[: 4 * most]
    while len(encode(run.tokenizer, text)) > most:
        text = text[:-1]
    return text


def _usual(run: Run) -> dict[str, float]:
    """The mean conditions, for a model that needs every condition; else nothing."""
    config = run.model.config
    if config.condition_unknown or not config.condition_names:
        return {}
    return dict(zip(config.condition_names, config.condition_means or [], strict=True))


def circuits_section(study: Study) -> str:
    """Each distinct circuit once, under the names of the rows that run it."""
    drawn: dict[str, list[tuple[str, CircuitPicture]]] = {}
    missing = []
    for row in study.rows:
        try:
            for picture in _pictures(study, row):
                drawn.setdefault(picture.svg, []).append((row["name"], picture))
        except NotOfferedError as error:
            missing.append(f"<p>{html.escape(row['name'])}: {html.escape(str(error))}.</p>")
    if not drawn:
        return "".join(missing)
    parts = []
    for svg, users in drawn.items():
        names = ", ".join(dict.fromkeys(name for name, _ in users))
        measured = dict.fromkeys(f"{name} measures {picture.strings}" for name, picture in users)
        caption = f"{users[0][1].counts}. Pauli strings: {'; '.join(measured)}"
        parts.append(
            f"<article><h4>{html.escape(names)}</h4>"
            f'<figure class="wide"><div class="scroll" tabindex="0">{svg}</div>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure></article>"
        )
    told = (
        "What hardware would run for one token (for overlap, one pair of tokens) in the first "
        "head of the first layer that has it, with qubit 0 on top. Angles named amp prepare the "
        "token's state; the others are learned or computed from the hidden state."
    )
    return f"<p>{told}</p>{''.join(parts + missing)}"


def _pictures(study: Study, row: Row) -> list[CircuitPicture]:
    """The circuits of a row, drawn from its settings if the run is gone."""
    run = study.open(row)
    return circuit_pictures(run.model, _FOLD) if run else _untrained(study, row)


def _untrained(study: Study, row: Row) -> list[CircuitPicture]:
    if row.get("attention") is None:
        return []
    mechanisms = parse_mechanisms(row["attention"])
    named = options_by_name(mechanisms, row.get("attention_options"))
    return [
        picture
        for name, options in named.items()
        if attention_class(name).has_circuits()
        and options.get("angles") != "embedding"  # these depend on the conditions
        for picture in _of_mechanism(study, name, options)
    ]


def _of_mechanism(study: Study, name: str, options: dict[str, Any]) -> list[CircuitPicture]:
    model = study.result["settings"].get("model")
    keys = ("hidden_size", "num_attention_heads")
    sizes = {key: model[key] for key in keys if key in model} if isinstance(model, dict) else {}
    config = KetformerConfig(attention=name, attention_options=options, **sizes)
    check_memory(config)
    return circuit_pictures(
        name,
        _FOLD,
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        **options,
    )
