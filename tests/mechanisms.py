"""Which mechanisms tests of whole models go through."""

from ketformer.attention import ATTENTION

# Plain torch with nothing of their own to cache or look up: outside the mechanism, where the
# conformance suite tests them, their models take the paths of `classical` or, with buffers that
# are drawn, of `classical_quadratic`.
_LIKE_OTHERS = {
    "classical_qk_norm",
    "classical_fourier",
    "classical_cosines",
    "classical_bottleneck",
    "classical_gated",
    "classical_linear",
    "kernel",
    "qmsan",
}

#: Every mechanism but those.
MECHANISMS = [name for name in ATTENTION if name not in _LIKE_OTHERS]
