"""Random Fourier features of the kernels of `overlap` and `kernel`: their dequantised twins."""

from __future__ import annotations

import math
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_weights, require_choice
from ketformer.attention.cosine_features import CosineFeatures
from ketformer.attention.drawn import Drawn
from ketformer.errors import KetformerError, NotOfferedError

FourierKernel = Literal["overlap", "angle", "iqp", "gaussian"]
Waves = Literal["pairs", "shifted"]
_COUPLING = 0.3


class ClassicalFourier(Drawn, CosineFeatures):
    """Score sqrt(d_model) (1/m) sum_r cos(w_r·(a - b)), frequencies w_r drawn once; linear values.

    Without entanglement, states with angles a and b have the overlap prod_i cos((a_i - b_i)/2).
    Expanding each cosine into exponentials gives its spectrum: every frequency s/2 with signs s
    in {-1, 1}^n has weight 2^-n,

        prod_i cos(x_i/2) = 2^-n sum_s exp(i s·x/2) = E_s cos(s·x/2),

    so the mean over m random signs is an unbiased estimate of the kernel, off by at most about
    1/sqrt(m) whatever the number of qubits (random Fourier features; for quantum models, arXiv
    2206.11740). A gain that this mechanism shows too needs no quantum computer. Each head has
    frequencies of its own, saved with the model.

    The fidelities of :class:`Kernel <ketformer.attention.kernel.Kernel>` have such spectra as well.
    That of ``angle`` with R copies is that of 2R factors of the above: w is half the sum of 2R
    vectors of signs. That of ``iqp`` is the mean over two vectors of signs s and s' of the
    cosine of h(b s·q) - h(b s'·q) - h(b s·k) + h(b s'·k), where h(t) = t + c t²/2. ``gaussian``
    has normal w and gives exp(-b²‖q-k‖²/2), the control without circuits. Their normalisation as
    published, ``normalise=sum``, is offered too. The kernels are never negative, but sums of a few
    features can be: what is below 1e-6 then counts as 1e-6, and the weights are huge. A
    ``constant`` of 1, or of 2 with shifted waves, excludes that.

    Args:
        n_angles: angles n of each query and key; 6, as many as the qubits of ``overlap``.
        n_features: frequencies m of each head; queries and keys are 2m wide. The default of 16
            makes them half as wide as the states of six qubits.
        kernel: ``overlap``; ``angle`` or ``iqp``, encodings of ``kernel``; or ``gaussian``.
        bandwidth: b, which multiplies the angles; not of ``overlap``.
        coupling: c of ``iqp``, 0.3 by default.
        repeats: R of ``angle``.
        waves: ``pairs``, the cosine and the sine of each wave; or ``shifted``, as in the code at
            doi:10.5281/zenodo.21380802: one cosine, times sqrt(2), whose phase is drawn, too, which
            adds to the error.
        constant: added to each score, as the square of one more feature.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        NotOfferedError: ``normalise=sum`` of ``overlap``, which can be negative.
        KetformerError: an invalid size or option.
    """

    control = (
        "random Fourier features of the kernels of overlap, without entanglement, and of kernel"
    )
    #: The kernels are, although estimates by few features may not be.
    dot_is_positive = True
    least_sum = 1e-6
    signs: Tensor
    frequencies: Tensor
    shifts: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_angles: int = 6,
        n_features: int = 16,
        kernel: FourierKernel = "overlap",
        bandwidth: float = 1.0,
        coupling: float | None = None,
        repeats: int = 1,
        waves: Waves = "pairs",
        constant: float = 0.0,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, n_angles=n_angles, **common)
        require_choice("kernel", kernel, get_args(FourierKernel))
        require_choice("waves", waves, get_args(Waves))
        if n_features < 1:
            raise KetformerError(f"n_features must be positive, got {n_features}")
        check_weights("n_features", num_heads * n_features, n_angles)
        if kernel == "overlap" and self.normalise == "sum":
            raise NotOfferedError("kernel=overlap can be negative, so it cannot have normalise=sum")
        if not 0 < bandwidth < math.inf or (kernel == "overlap" and bandwidth != 1):
            raise KetformerError(f"kernel={kernel} cannot have a bandwidth of {bandwidth}")
        if repeats < 1 or (kernel != "angle" and repeats != 1):
            raise KetformerError(f"kernel={kernel} cannot have {repeats} repeats")
        if coupling is not None and (kernel != "iqp" or not math.isfinite(coupling)):
            raise KetformerError(f"kernel={kernel} cannot have a coupling of {coupling}")
        if not 0 <= constant < math.inf:
            raise KetformerError(f"constant must be finite and not negative, got {constant}")
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.coupling = _COUPLING if coupling is None else coupling
        self.constant = constant
        self.shifted = waves == "shifted"
        # Drawn from torch's global generator and saved with the model, like Pauli strings.
        shape = (num_heads, n_features, n_angles)
        if kernel == "gaussian":
            self.register_drawn("frequencies", torch.randn(shape, device="cpu"))
        elif kernel == "angle":
            self.register_drawn("frequencies", _signs(2 * repeats, *shape).sum(0) / 2)
        else:
            drawn = _signs(*shape) if kernel == "overlap" else _signs(2, *shape)
            self.register_drawn("signs", drawn)
        if self.shifted:
            shifts = 2 * math.pi * torch.rand(num_heads, 1, n_features, device="cpu")
            self.register_drawn("shifts", shifts)

    def waves(self, angles: Tensor, evolved: Tensor | None) -> Tensor:
        """The phases whose cosines and sines are the features, ``[B, H, T, m]``.

        What ``rotary`` adds turns states after they were encoded, so ``iqp`` does not square it.
        """
        angles = self.bandwidth * angles
        if self.kernel == "iqp":
            waves = angles @ self.signs.to(angles.dtype).mT.unsqueeze(1)  # [2, B, H, T, m]
            waves = waves + self.coupling / 2 * waves.square()
            if evolved is not None:  # RZ(-2 b x) has an angle of the opposite sign, twice as large
                waves = waves - evolved @ self.signs.to(angles.dtype).mT.unsqueeze(1) / 2
            return waves[0] - waves[1]
        if evolved is not None:
            angles = angles + evolved
        if self.kernel == "overlap":
            return angles @ self.signs.to(angles.dtype).mT / 2
        return angles @ self.frequencies.to(angles.dtype).mT

    def features(self, waves: Tensor) -> Tensor:
        """``[B, H, T, 2m]``, or ``[…, m]`` if shifted, and one more with a constant."""
        if self.shifted:
            scale = math.sqrt(2 / waves.shape[-1])
            features = scale * (waves + self.shifts.to(waves.dtype)).cos()
        else:
            features = super().features(waves)
        if not self.constant:
            return features
        constant = torch.full_like(features[..., :1], math.sqrt(self.constant))
        return torch.cat([features, constant], dim=-1)


def _signs(*shape: int) -> Tensor:
    return 2.0 * torch.randint(2, shape, device="cpu") - 1
