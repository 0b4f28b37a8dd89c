"""Small decoders, and a few lines each for the ways in which they can leak."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB, WIDTH = 29, 16


def gpt2(**changes):
    torch.manual_seed(0)
    config = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": VOCAB}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**{**config, **ends, **changes})).eval()


def llama(**changes):
    torch.manual_seed(0)
    config = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 32,
        "vocab_size": VOCAB,
    }
    return LlamaForCausalLM(LlamaConfig(**{**config, **changes})).eval()


class Attention(nn.Module):
    """Two heads, with any mask: ``[T, T]``, or ``[2, T, T]`` for each head its own."""

    num_heads = 2

    def __init__(self, mask):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mask = mask

    def forward(self, hidden):
        q, k, v = (x.unflatten(-1, (2, -1)).transpose(1, 2) for x in self.qkv(hidden).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask(hidden.shape[1]))
        return self.out(mixed.transpose(1, 2).flatten(2))


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


class Decoder(nn.Module):
    """Embedding, residual blocks that mix positions, logits: a plain torch module, no Hugging Face.

    Args:
        mixers: modules from hidden states to hidden states.
        amount: by how much what the mixers give is scaled.
    """

    def __init__(self, *mixers, amount=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.mixers = nn.ModuleList(mixers)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB)
        self.amount = amount

    def forward(self, ids):
        hidden = self.embed(ids)
        for mixer in self.mixers:
            hidden = hidden + self.amount * mixer(hidden)
        return self.head(self.norm(hidden))


class Blocks(nn.Module):
    """Each position gets the mean of its block of positions, or of what it has seen of it."""

    def __init__(self, size, *, whole):
        super().__init__()
        self.size, self.whole = size, whole

    def forward(self, hidden):
        rest = -hidden.shape[1] % self.size
        blocks = F.pad(hidden, (0, 0, 0, rest)).unflatten(1, (-1, self.size))
        if self.whole:
            means = blocks.mean(dim=2, keepdim=True).expand_as(blocks)
        else:
            counts = torch.arange(1, self.size + 1, dtype=hidden.dtype)[:, None]
            means = blocks.cumsum(dim=2) / counts
        return means.flatten(1, 2)[:, : hidden.shape[1]]


class Filter(nn.Module):
    """A convolution over positions by FFT; the filter is one-sided, or any complex response."""

    def __init__(self, *, one_sided):
        super().__init__()
        self.one_sided = one_sided
        self.taps = nn.Parameter(torch.randn(64, WIDTH))

    def forward(self, hidden):
        length = hidden.shape[1]
        taps = self.taps[:length] if self.one_sided else self.taps[: 2 * length]
        spectrum = torch.fft.rfft(hidden, 2 * length, dim=1)
        filtered = spectrum * torch.fft.rfft(taps, 2 * length, dim=0)
        return torch.fft.irfft(filtered, 2 * length, dim=1)[:, :length]


class Recurrence(nn.Module):
    """A GRU over the means of chunks, each given to all positions of its chunk, or of the next."""

    def __init__(self, size, *, late):
        super().__init__()
        self.size, self.late = size, late
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, hidden):
        chunks = hidden.unflatten(1, (-1, self.size)).mean(dim=2)
        states, _ = self.gru(chunks)
        if self.late:
            states = F.pad(states, (0, 0, 1, 0))[:, :-1]
        return states.repeat_interleave(self.size, dim=1)
