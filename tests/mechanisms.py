"""Which mechanisms tests of whole models go through."""

from ketformer.attention import ATTENTION, attention_class

# Plain torch with nothing of their own to look up: outside the mechanism, where the conformance
# suite tests them, their models take the paths of `classical` or, with buffers that
# are drawn, of `classical_quadratic`.
_LIKE_OTHERS = {
    "classical_qk_norm",
    "classical_fourier",
    "classical_cosines",
    "classical_bottleneck",
    "classical_gated",
    "classical_tanh",
    "classical_bilinear",
    "interference",
    "vqc",
    "vqc_plain",
    "qasa",
    "orthogonal",
    "classical_linear",
    "kernel",
    "qmsan",
    # Their models take the paths of `classical_gated_linear`, whose cache holds a state.
    "pam",
    "qsa_cp",
    "quixer",
    "tensorized",
    "tensorized_published",
}

#: Every mechanism but those.
MECHANISMS = [name for name in ATTENTION if name not in _LIKE_OTHERS]

#: Those with scores, keys and weights. The others keep a state: what replaces these tests for them
#: is in ``models/test_recurrent.py``.
WITH_WEIGHTS = [name for name in MECHANISMS if attention_class(name).has_weights]
