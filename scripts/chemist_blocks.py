"""The generated blocks on what a chemist asks a model for: scaffolds, series, properties."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sized
from typing import Any

from ketformer.comparison.tables import cell
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]

_KINDS = {
    "anywhere": "a scaffold, attached to anywhere",
    "marked": "a scaffold with attachment points",
    "linked": "two ring systems, linked",
}
_PARTS = {"train": "trained on", "test": "never seen"}
_SERIES = {
    "before": "the run as it is",
    "asked": "asked with `--scaffold`",
    "tuned": "fine-tuned",
    "tuned_asked": "fine-tuned, asked with `--scaffold`",
    "alone": "trained on the series alone",
}
_WAYS = {
    "plain": "as it is",
    "guided": "`--guidance 1.5`",
    "best": "`--best_of 4`",
    "both": "both",
}
_STEERED = ("guided", "best", "both")
_MOSES = {
    "moses_valid": "valid",
    "moses_unique_10k": "unique@10k",
    "moses_novelty": "novel",
    "moses_fcd": "FCD",
    "moses_fcd_scaffolds": "FCD, scaffold test",
    "moses_snn": "SNN",
    "moses_frag": "Frag",
    "moses_scaf": "Scaf",
    "moses_scaf_scaffolds": "Scaf, scaffold test",
    "moses_int_div": "IntDiv",
    "moses_filters": "Filters",
}
_SHARES = {
    "validity": "valid",
    "uniqueness": "distinct, of the valid",
    "novelty": "not in QM9, of the distinct",
}


def chemist_scaffolds(read: Read) -> str:
    """How often scaffolds and linked fragments are in what is sampled."""
    result = read("scaffolds")
    titles = [
        "asked for", "scaffolds", "requests", "samples with it", "the least of a request",
        "distinct, of these", "not in QM9, of these", "samples with it if not asked",
    ]  # fmt: skip
    rows = [
        [
            _KINDS[row["kind"]],
            _PARTS[row["part"]],
            str(row["requests"]),
            *(_percent(row[key]) for key in ("scaffold_kept", "lowest", "uniqueness", "novelty")),
            _percent(row["unasked"], 2),
        ]
        for row in result["rows"]
    ]
    sizes, unasked = result["sizes"], result["unasked"]
    told = (
        f"{_model(result)}, `--split scaffold`: {sizes['train']:,} molecules to train on, "
        f"{sizes['test']:,} with scaffolds that none of these has. {result['num']} samples of each "
        f"request, means over the requests, one seed. Scaffolds were drawn from those of at least "
        f"{result['common']} molecules, attachment points from one molecule, and pairs from "
        f"scaffolds of two ring systems with atoms between; other atoms may have linked the same "
        f"pair in training. {unasked['sampled']:,} samples with nothing asked for are "
        f"{_percent(unasked['validity'])} valid.\n"
    )
    return f"{markdown_table(titles, rows)}\n{told}"


def chemist_series(read: Read) -> str:
    """What fine-tuning on a series brings."""
    result = read("series")
    titles = [
        "series", "model", "valid", "with the scaffold", "different ones", "not in QM9",
        "of those held out, found", "loss of those held out",
    ]  # fmt: skip
    rows = [
        [
            f"`{row['scaffold']}`, {row['training']} + {row['held_out']}" if not i else "",
            _SERIES[way],
            *(_percent(found[key]["mean"]) for key in ("validity", "in_series")),
            *(f"{found[key]['mean']:.0f}" for key in ("distinct", "new")),
            _percent(found["found"]["mean"]),
            cell(found, "loss"),
        ]
        for row in result["rows"]
        for i, (way, found) in enumerate(row["ways"].items())
    ]
    tuning = result["fine_tuning"]
    told = (
        f"{_model(result)}, `--split scaffold`; the series are the {len(rows) // len(_SERIES)} "
        f"largest scaffolds of its test part with {result['sizes'][0]} to {result['sizes'][1]} "
        "molecules, named with the numbers trained on and held out. Fine-tuning takes "
        f"{tuning['max_steps']} steps of {tuning['per_device_train_batch_size']} molecules at a "
        "tenth of the first run's learning rate, training on the series alone as many at all of "
        f"it. {result['num']:,} samples of each model; "
        f"one first run, {_seeds(result['seeds'])} of what follows.\n"
    )
    return f"{markdown_table(titles, rows)}\n{told}"


def chemist_guidance(read: Read) -> str:
    """Errors at the published targets by guidance and best of several."""
    result = read("guidance")
    rows = [
        [
            f"{row['property']} {row['target']:.3g}",
            f"{row['least']:.3g}",
            *(f"{row[way]['mae']['mean']:.3g}" for way in _WAYS),
        ]
        for row in result["rows"]
    ]
    errors = [f"**{result['error'][way]['mean']:.3f}**" for way in _WAYS]
    rows.append(["**mean, in standard deviations**", "", *errors])
    for key, words in _SHARES.items():
        means = [_mean(row[way][key]["mean"] for row in result["rows"]) for way in _WAYS]
        rows.append([words, "", *map(_percent, means)])
    titles = ["target", "least possible", *_WAYS.values()]
    lower = ", by ".join(
        f"{_percent(result['lower'][way]['mean'])} with {_WAYS[way]}" for way in _STEERED
    )
    quarter = ", ".join(
        f"{_by_a_quarter(result['rows'], way)} with {_WAYS[way]}" for way in _STEERED
    )
    told = (
        f"The mean error is lower by {lower}. Of the {len(result['rows'])} errors, so many are "
        f"lower by a quarter or more: {quarter}. The preset `overlap-small` on QM9, "
        f"{result['steps']:,} steps, {result['parameters']:,} parameters, "
        f"{_seeds(result['runs'])}; {result['num']:,} samples for each target, those of "
        "`--best_of 4` chosen from four times as many.\n"
    )
    return f"{markdown_table(titles, rows)}\n{told}"


def _by_a_quarter(rows: list[dict[str, Any]], way: str) -> int:
    return sum(row[way]["mae"]["mean"] <= 0.75 * row["plain"]["mae"]["mean"] for row in rows)


def chemist_constrained(read: Read) -> str:
    """The time and the validity of constrained sampling."""
    result = read("constrained")
    turns = result["turns"]
    plain, constrained = (
        _mean(turn[way]["validity"] for turn in turns) for way in ("plain", "constrained")
    )
    first, *_, last = (t["constrained"]["seconds"] / t["plain"]["seconds"] for t in turns)
    refused = _mean(turn["valid_plain_refused"] for turn in turns)
    size = f"{result['parameters']:,} parameters, {result['steps']:,} steps"
    return (
        f"A model of `{result['attention']}` on {result['data']}, {size}, "
        f"{len(turns)} times {result['number']:,} molecules: {_percent(plain)} are valid without "
        f"constraint and {_percent(constrained)} with it, in {first:.2f} times the processor time "
        f"the first time and {last:.2f} times the last. {_percent(refused, 2)} of the valid plain "
        "samples would have been refused.\n"
    )


def chemist_moses(read: Read) -> str:
    """Models trained on MOSES beside the published ones."""
    result = read("moses-models")
    sources = list(dict.fromkeys(row["source"] for row in result["published"]))
    names = [(f"**`{row['name']}`**, ours", row) for row in result["rows"]]
    names += [
        (f"{row['model']} [{sources.index(row['source']) + 1}]", row) for row in result["published"]
    ]
    rows = [
        [name, *("–" if row[key] is None else f"{row[key]:.3f}" for key in _MOSES)]
        for name, row in names
    ]
    trained = "; ".join(
        f"`{row['name']}`: {row['parameters']:,} parameters, {row['steps']:,} steps of "
        f"{row['batch']}, {row['epochs']:.2f} epochs, seed {row['seed']}, loss {row['loss']:.3f}"
        for row in result["rows"]
    )
    bounds = "; ".join(
        f"`{row['name']}`: {_percent(row['constrained']['validity'], 2)} valid, FCD "
        f"{row['constrained']['fcd']:.2f} (without constraint {row['free']['fcd']:.2f}), "
        f"{row['constrained']['heavy_atoms']['mean']:.2f} heavy atoms "
        f"({row['free']['heavy_atoms']['mean']:.2f}; test set "
        f"{row['free']['heavy_atoms']['mean of reference']:.2f})"
        for row in result["rows"]
    )
    told = (
        f"{result['samples']:,} samples of each. {trained}. Sources: "
        + "; ".join(f"[{place}] {source}" for place, source in enumerate(sources, 1))
        + f".\n\nWith `--constrained true`, and the FCD of 10,000 of each side — {bounds}.\n"
    )
    return f"{markdown_table(['model', *_MOSES.values()], rows)}\n{told}"


def chemist_qm9(read: Read) -> str:
    """Models of QM9 without conditions, sampled freely and constrained."""
    result = read("qm9-models")
    rows = [
        [
            str(row["seed"]),
            f"{row['loss']:.3f}",
            *(
                cell
                for way in (row["free"], row["constrained"])
                for cell in (
                    _percent(way["validity"], 2),
                    _percent(way["uniqueness"], 1),
                    _percent(way["novelty"], 1),
                    f"{way['fcd']:.3f}",
                    f"{way['heavy_atoms']['mean']:.2f}",
                )
            ),
        ]
        for row in result["rows"]
    ]
    titles = ["valid", "unique", "novel", "FCD", "heavy atoms"]
    head = ["seed", "loss", *titles, *(f"{title}, constrained" for title in titles)]
    first = result["rows"][0]
    atoms = first["free"]["heavy_atoms"]["mean of reference"]
    told = (
        f"`{first['name']}`, {first['parameters']:,} parameters, {first['epochs']:.0f} epochs "
        f"({first['steps']:,} steps of {first['batch']}); {result['samples']:,} samples of each, "
        f"FCD against the test part, whose molecules have {atoms:.2f} heavy atoms.\n"
    )
    return f"{markdown_table(head, rows)}\n{told}"


def chemist_goals(read: Read) -> str:
    """How soon good molecules are found, beside REINVENT."""
    result = read("optimise")
    rows = [
        [
            f"`{row['goal']}`",
            _spread(row["auc_top_10"], row["deviation"]),
            _spread(row["reinvent_auc_top_10"], row["reinvent_deviation"]),
            f"{row['top_10']:.3f}",
            f"{row['calls']:,.0f}",
            _percent(row["valid"]),
        ]
        for row in result["rows"]
    ]
    titles = [
        "goal", "top-10 AUC", "REINVENT", "top 10 at the end", "calls", "valid, of the sampled",
    ]  # fmt: skip
    lead = [row["auc_top_10"] - row["reinvent_auc_top_10"] for row in result["rows"]]
    noise = [(row["deviation"] or 0) + row["reinvent_deviation"] for row in result["rows"]]
    better, clearly = (
        sum(ahead > least for ahead, least in zip(lead, bounds, strict=True))
        for bounds in ([0] * len(lead), noise)
    )
    worse = sum(-ahead > least for ahead, least in zip(lead, noise, strict=True))
    told = (
        f"Means ± standard deviations. The `{result['attention']}` model of "
        f"`{result['data']['name']}`, {result['parameters']:,} parameters, "
        f"{_seeds(result['rows'][0]['seeds'])}; at most {result['budget']:,} calls of each oracle, "
        f"fewer if the best 100 stay the same for {result['options']['patience']} steps. Its area "
        f"is larger than REINVENT's in {better} of {len(rows)} goals; by more than the two "
        f"deviations together in {clearly}, and smaller by more in {worse}. REINVENT: "
        f"{result['published']}.\n"
    )
    return f"{markdown_table(titles, rows)}\n{told}"


def _model(result: dict[str, Any]) -> str:
    training = result["training"]
    return (
        f"The preset `overlap-small` on fragments of QM9 (`--tokenizer safe --randomise_smiles "
        f"true`), {result['parameters']:,} parameters, {training['max_steps']:,} steps of "
        f"{training['per_device_train_batch_size']} molecules"
    )


def _seeds(seeds: Sized) -> str:
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _spread(mean: float, deviation: float | None) -> str:
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
