"""What each paper claims, and what a reproduction of it needs if there is none here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim that someone has published.

    Attributes:
        source: an arXiv number, a DOI, or several, separated by commas.
        mechanisms: the registry names that it is about.
        said: the claim, as a clause.
        needs: what a reproduction needs that is not here, as a noun phrase; empty if
            ``ketformer reproduce`` makes it.
        found: for a reproduction, what it found.
    """

    source: str
    mechanisms: tuple[str, ...]
    said: str
    needs: str = ""
    found: str = ""

    @property
    def outcome(self) -> str:
        """What became of it, in a sentence."""
        return f"not reproduced: needs {self.needs}" if self.needs else f"reproduced: {self.found}"


#: The claims by the name that ``ketformer reproduce`` takes.
CLAIMS = {
    "qisa": Claim(
        "2603.03318",
        ("qisa", "qisa_a"),
        "far lower losses than classical attention of equal size, on characters of Tiny "
        "Shakespeare",
        found="the gain is a leak, and gone without it",
    ),
    "overlap": Claim(
        "2502.19214",
        ("overlap",),
        "a hybrid decoder learns QM9 about as well as classical attention",
        found="the losses are close, the classical ones slightly ahead",
    ),
    "tensorized": Claim(
        "1906.09777",
        ("tensorized", "tensorized_published"),
        "language modelling with lower perplexity than Transformer-XL, and fewer parameters",
        found="only its leak, on random tokens; the language models need Penn Treebank and "
        "WikiText-103",
    ),
    "vqc": Claim(
        "2110.06510, 2405.10284",
        ("vqc", "vqc_plain"),
        "the first proposes the transformer without testing it; the second has about 2 % less AUC "
        "than a classical vision transformer of similar size",
        needs="the data sets of arXiv 2405.10284, and a vision transformer",
    ),
    "qasa": Claim(
        "2504.05336",
        ("qasa",),
        "better forecasts of time series than classical attention; by its fourth version a "
        "classical bottleneck of equal size explains what the circuit gains",
        needs="time series, ETTh1 or the paper's nine synthetic ones, and a model that predicts "
        "numbers",
    ),
    "qmsan": Claim(
        "2403.02871",
        ("qmsan",),
        "classifies text better than QSANN",
        needs="the text sets MC and RP and the reviews that it was measured on, and a classifier",
    ),
    "orthogonal": Claim(
        "2209.08167",
        ("orthogonal",),
        "RetinaMNIST, by a re-implementation: AUC 0.749, with 64 parameters of attention in a "
        "layer, against 0.736 with 512 for a classical vision transformer",
        needs="RetinaMNIST, and a vision transformer",
    ),
    "quixer": Claim(
        "2406.04305",
        ("quixer",),
        "competitive with an equivalent classical baseline on Penn Treebank",
        needs="Penn Treebank",
    ),
    "kernel": Claim(
        "2308.13422, 2605.25365",
        ("kernel",),
        "the first: over 98.05 % on binary MNIST and Fashion-MNIST; the second: better than a "
        "vision transformer on four image sets",
        needs="these image sets, and vision transformers",
    ),
    "pam": Claim(
        "2604.05030",
        ("pam",),
        "perplexity 30.0 on WikiText-103, against 27.1 for a transformer; by its second version "
        "worse than its real counterpart at every size",
        needs="WikiText-103, and GPUs for models of 5 to 100 million parameters",
    ),
    "qsa_cp": Claim(
        "10.5281/zenodo.22250418",
        ("qsa_cp",),
        "accuracy 99.83 %, against 97.80 %, on a synthetic task about interference",
        needs="the package's synthetic task",
    ),
    "interference": Claim(
        "",
        ("interference",),
        "none that we could verify: the formula was handed on without a source",
        needs="a source",
    ),
}


def claim_about(name: str) -> Claim | None:
    """The claim of a paper or about a mechanism; None if there is none."""
    by_mechanism = (claim for claim in CLAIMS.values() if name in claim.mechanisms)
    return CLAIMS.get(name) or next(by_mechanism, None)
