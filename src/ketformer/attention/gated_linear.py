"""What mechanisms with a gated linear recurrence share: the decay of each head and its gate."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.mixer import MixerOptions
from ketformer.attention.recurrent import LinearMixer
from ketformer.errors import KetformerError, NotOfferedError

# Where the two biases start: a head forgets slowly, and its gate is almost open.
_DECAY_START = -4.0
_GATE_START = -3.0
# States beyond the first start as much slower or faster, evenly spaced on the scale of dt.
_OFFSET = 2.0


class GatedLinear(LinearMixer):
    """The recurrence ``S_t = γ_t S_{t-1} + v'_t k†_t``, read as ``S_t q_t / sqrt(d)``.

    From the hidden state x and its moduli |x|: ``dt = softplus(W x + b)``,
    ``p = sigmoid(W_p |x| + b_p)``, ``γ = exp(-dt) (1 - p) + p`` and ``v' = (1 - p) v``, so that a
    head whose p is 1 keeps its state and writes nothing.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads.
        moduli: how many |x| there are.
        states: number of states, each with a decay of its own.
        gate: whether there is p; without, γ = exp(-dt) and v' = v.
        decay: whether there is γ; without, γ = 1, and nothing is forgotten.
        common: see :class:`~ketformer.attention.mixer.Mixer`.

    Raises:
        NotOfferedError: several states without decays, which alone tell them apart.
        KetformerError: an invalid size or option.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        moduli: int,
        states: int = 1,
        gate: bool = True,
        decay: bool = True,
        **common: Unpack[MixerOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        if states < 1:
            raise KetformerError(f"states must be positive, got {states}")
        if states > 1 and not decay:
            raise NotOfferedError("states differ by their decays: with decay=false there is one")
        self.states = states
        self.decay_proj = nn.Linear(hidden_size, num_heads, bias=False) if decay else None
        self.decay_bias = nn.Parameter(torch.empty(num_heads, states)) if decay else None
        self.gate_proj = nn.Linear(moduli, num_heads, bias=False) if gate else None
        self.gate_bias = nn.Parameter(torch.empty(num_heads)) if gate else None

    def reset_parameters(self) -> None:
        """Begin with slow decays and open gates."""
        super().reset_parameters()
        if self.decay_bias is not None:
            nn.init.constant_(self.decay_bias, _DECAY_START)
        if self.gate_bias is not None:
            nn.init.constant_(self.gate_bias, _GATE_START)

    def decays(self, hidden_states: Tensor, moduli: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log γ ``[B, H, K, T]``, and 1 - p ``[B, H, T, 1]`` or None without a gate."""
        wide = torch.promote_types(hidden_states.dtype, torch.float32)
        batch, length, _ = hidden_states.shape
        log_decay = hidden_states.new_zeros(batch, self.num_heads, 1, length, dtype=wide)
        if self.decay_proj is not None and self.decay_bias is not None:
            steps = self.decay_proj(hidden_states).to(wide).transpose(1, 2).unsqueeze(2)
            bias: Tensor = self.decay_bias
            if self.states > 1:
                bias = bias + torch.linspace(
                    -_OFFSET, _OFFSET, self.states, dtype=bias.dtype, device=bias.device
                )
            # Contiguous, here and below: torch.compile mistakes the layout of softplus's gradient.
            log_decay = -F.softplus((steps + bias.to(wide).unsqueeze(-1)).contiguous())
        if self.gate_proj is None or self.gate_bias is None:
            return log_decay, None
        logit = (self.gate_proj(moduli) + self.gate_bias).to(wide).mT.contiguous()  # [B, H, T]
        # log σ(±logit), as softplus: beyond 40 the two agree to float64's last bit.
        protected = -F.softplus(-logit, threshold=40)
        free = -F.softplus(logit, threshold=40)
        if self.decay_proj is not None:
            log_decay = torch.logaddexp(log_decay + free.unsqueeze(2), protected.unsqueeze(2))
        return log_decay, free.exp().unsqueeze(-1)


def modulus(*parts: Tensor) -> Tensor:
    """sqrt(Σ part² + 1e-8), which has a gradient at 0; computed at least in float32."""
    wide = torch.promote_types(parts[0].dtype, torch.float32)
    squares = torch.stack([part.to(wide).square() for part in parts]).sum(0)
    return (squares + 1e-8).sqrt().to(parts[0].dtype)
