"""Additive cosines: the angles of `overlap`, each with a score of its own, and their mean."""

from __future__ import annotations

from torch import Tensor

from ketformer.attention.cosine_features import CosineFeatures


class ClassicalCosines(CosineFeatures):
    """Score sqrt(d_model) (1/n) sum_i cos((a_i - b_i)/2); linear values.

    ``overlap`` without entanglement has the product of the same cosines, an inner product in a
    space of 2^n dimensions. Their mean needs 2n. What both gain over ``classical`` is not due to
    the exponential space.

    Args:
        n_angles: angles n of each query and key; 6, as many as the qubits of ``overlap``.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size.
    """

    control = "a mean of cosines of the angles of overlap, in place of an exponential space"

    def waves(self, angles: Tensor, evolved: Tensor | None) -> Tensor:
        """Half of each angle."""
        return (angles if evolved is None else angles + evolved) / 2
