"""The registry of mechanisms.

To add one, put a file beside this one and a line in `ATTENTION`, or declare an entry point in
another package.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ketformer.attention.options import check_option_types
from ketformer.errors import KetformerError
from ketformer.utils.registry import Registry

# The names alone need no torch, which takes a second to import.
if TYPE_CHECKING:
    from ketformer.attention.inputs import InputSizes
    from ketformer.attention.mixer import Mixer


def _check(name: str, found: Any) -> None:
    from ketformer.attention.mixer import Mixer

    if not (isinstance(found, type) and issubclass(found, Mixer)):
        raise KetformerError(
            f"attention {name!r}: {found!r} is not a subclass of Attention or Mixer"
        )


#: Every mechanism by name, including those of other packages (:mod:`ketformer.utils.registry`).
ATTENTION: Registry[type[Mixer]] = Registry(
    "attention",
    "ketformer.attention",
    __name__,
    {
        "classical": "ketformer.attention.classical:ClassicalAttention",
        "classical_eq": "ketformer.attention.classical_eq:ClassicalEqual",
        "classical_quadratic": "ketformer.attention.classical_quadratic:ClassicalQuadratic",
        "classical_qk_norm": "ketformer.attention.classical_qk_norm:ClassicalQKNorm",
        "classical_fourier": "ketformer.attention.classical_fourier:ClassicalFourier",
        "classical_cosines": "ketformer.attention.classical_cosines:ClassicalCosines",
        "classical_bottleneck": "ketformer.attention.classical_bottleneck:ClassicalBottleneck",
        "classical_gated": "ketformer.attention.classical_gated:ClassicalGated",
        "classical_tanh": "ketformer.attention.classical_tanh:ClassicalTanh",
        "classical_bilinear": "ketformer.attention.classical_bilinear:ClassicalBilinear",
        "classical_gated_linear": (
            "ketformer.attention.classical_gated_linear:ClassicalGatedLinear"
        ),
        "interference": "ketformer.attention.interference:Interference",
        "classical_linear": "ketformer.attention.classical_linear:ClassicalLinear",
        "qsann": "ketformer.attention.qsann:QSANN",
        "qisa": "ketformer.attention.qisa:QISA",
        "qisa_a": "ketformer.attention.qisa_a:QISAA",
        "qisa_published": "ketformer.attention.published:QISAPublished",
        "qisa_a_published": "ketformer.attention.published:QISAAPublished",
        "overlap": "ketformer.attention.overlap:Overlap",
        "vqc": "ketformer.attention.vqc:VQC",
        "vqc_plain": "ketformer.attention.vqc_plain:VQCPlain",
        "qasa": "ketformer.attention.qasa:QASA",
        "orthogonal": "ketformer.attention.orthogonal:Orthogonal",
        "pam": "ketformer.attention.pam:PAM",
        "qsa_cp": "ketformer.attention.qsa_cp:QSACP",
        "kernel": "ketformer.attention.kernel:Kernel",
        "qmsan": "ketformer.attention.qmsan:QMSAN",
        "quixer": "ketformer.attention.quixer:Quixer",
        "tensorized": "ketformer.attention.tensorized:Tensorized",
        "tensorized_published": "ketformer.attention.tensorized_published:TensorizedPublished",
    },
    _check,
)

# Keywords that the decoder sets for every mechanism; all others are options.
_DECODER = ("hidden_size", "num_heads", "dropout", "bias", "inputs")


def attention_class(name: str) -> type[Mixer]:
    """The class behind a registry name.

    Raises:
        KetformerError: no mechanism has that name, or its package cannot be imported.
    """
    return ATTENTION.load(name)


def mechanisms_with_circuits(*, distinct: bool = False) -> list[str]:
    """Names of the quantum mechanisms.

    Args:
        distinct: leave out mechanisms that share their circuits with an earlier one, such
            as the published variants.
    """
    found = {name: cls for name, cls in ATTENTION.loaded() if cls.has_circuits()}
    if not distinct:
        return list(found)
    first: dict[Any, str] = {}
    for name, cls in found.items():
        first.setdefault(cls.experiments, name)
    return list(first.values())


def causal_mechanisms() -> list[str]:
    """Names of the mechanisms that are causal unless an option says otherwise."""
    return [name for name, cls in ATTENTION.loaded() if not cls.leaks]


def attention_options(name: str) -> dict[str, Any]:
    """The mechanism's options with their defaults; options common to all come last."""
    from ketformer.attention.base import Attention
    from ketformer.attention.mixer import Mixer

    cls = attention_class(name)
    parameters = dict(inspect.signature(cls).parameters)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        parameters = {k: p for k, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
        kind = Attention if issubclass(cls, Attention) else Mixer
        parameters |= inspect.signature(kind).parameters
    options = {key: p.default for key, p in parameters.items() if key not in _DECODER}
    defaults = {"score": "default_score", "normalise": "default_normalise"}
    return options | {key: getattr(cls, at) for key, at in defaults.items() if key in options}


def build_attention(
    name: str,
    hidden_size: int,
    num_heads: int,
    *,
    dropout: float = 0.0,
    bias: bool | None = None,
    inputs: InputSizes | None = None,
    **options: Any,
) -> Mixer:
    """Build a mechanism by its registry name.

    Args:
        name: a key of :data:`ATTENTION`.
        hidden_size: width of the model; ``num_heads`` must divide it.
        num_heads: number of heads.
        dropout: probability of dropping an attention weight while training.
        bias: whether the linear maps have a bias; None for the mechanism's default.
        inputs: sizes of the decoder's inputs, for a mechanism with tables of its own.
        **options: the mechanism's options, see :func:`attention_options`.

    Raises:
        KetformerError: an unknown name or option, an option of the wrong type, or an invalid
            size.
    """
    from ketformer.attention.spread import start_scores

    known = attention_options(name)
    if unknown := sorted(set(options) - set(known)):
        offered = ", ".join(known) or "none"
        raise KetformerError(f"{name} has no option {', '.join(unknown)}; its options: {offered}")
    cls = attention_class(name)
    check_option_types(name, cls, options)
    built = cls(hidden_size, num_heads, dropout=dropout, bias=bias, inputs=inputs, **options)
    start_scores(built)
    return built
