"""QISA and QISA-A exactly as the released code of arXiv 2603.03318 computes them.

Both mix with the transpose of the causal weights, so position j sums the values of
positions i >= j: the future. They exist to reproduce the published table and to
show where its gain comes from. Nothing else should use them.
"""

from __future__ import annotations

from ketformer.attention.inputs import InputSizes
from ketformer.attention.qisa import QISA
from ketformer.attention.qisa_a import QISAA


class QISAPublished(QISA):
    """QISA with random strings, L: d → d, softmax of the exponential, transposed mixing."""

    leaks = True
    learned_positions = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        bias: bool | None = None,
        dropout: float = 0.0,
        inputs: InputSizes | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_heads,
            bias=bias,
            dropout=dropout,
            inputs=inputs,
            score="double_exponential",
            observables="random",
            hilbert_dim=hidden_size,
            mixing="transposed",
        )
        self.require_learned_positions("qisa_published is as released")


class QISAAPublished(QISAA):
    """QISA-A with random strings, softmax of the exponential, transposed mixing."""

    leaks = True
    learned_positions = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        bias: bool | None = None,
        dropout: float = 0.0,
        inputs: InputSizes | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_heads,
            bias=bias,
            dropout=dropout,
            inputs=inputs,
            score="double_exponential",
            observables="random",
            mixing="transposed",
        )
        self.require_learned_positions("qisa_a_published is as released")
