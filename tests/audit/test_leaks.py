"""Leaks that were reported in public code, each rebuilt in a few lines, beside a sound twin."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from audit.helpers import (
    VOCAB,
    WIDTH,
    Attention,
    Blocks,
    Decoder,
    Filter,
    Recurrence,
    causal,
    gpt2,
    llama,
)
from ketformer import audit_causality


def audited(model, **options):
    return audit_causality(model, **{"sequences": 3, "length": 16, **options})


def named(sources):
    return [source.module for source in sources]


# --- huggingface/transformers 45811: a registered attention function loses its mask -------------


def plain(module, query, key, value, attention_mask, **options):
    """Somebody's small change to the attention: it applies the mask that it is given."""
    options.pop("is_causal", None)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, is_causal=False, **options
    )


AttentionInterface.register("without_a_mask", plain)
AttentionInterface.register("with_a_mask", plain)
AttentionMaskInterface.register("with_a_mask", eager_mask)
# Makes no mask where it expects the kernel to be told ``is_causal``.
AttentionInterface.register("with_a_mask_for_another_kernel", plain)
AttentionMaskInterface.register("with_a_mask_for_another_kernel", sdpa_mask)


@pytest.mark.parametrize("registered", ["without_a_mask", "with_a_mask_for_another_kernel"])
@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (gpt2, ["transformer.h.0.attn", "transformer.h.1.attn"]),
        (llama, ["model.layers.0.self_attn", "model.layers.1.self_attn"]),
    ],
)
def test_an_attention_registered_without_a_mask(make, layers, registered):
    audit = audited(make(attn_implementation=registered))
    assert not audit.causal
    assert audit.positions == tuple(range(15))
    assert audit.ahead == (1, 15)
    assert named(audit.sources) == layers
    heads = 2 if make is gpt2 else 4
    assert {source.heads for source in audit.sources} == {tuple(range(heads))}
    assert audit.check("cache").passed is False  # with the cache it cannot look ahead


@pytest.mark.parametrize("make", [gpt2, llama])
def test_with_its_mask_it_is_sound(make):
    audit = audited(make(attn_implementation="with_a_mask"))
    assert audit.max_future_influence == 0.0
    assert not audit.leaks


# --- The fast kernel is told the wrong thing ----------------------------------------------------


class Kernel(Attention):
    """Leaves the mask away and tells the kernel ``is_causal``, as far as it thinks it must."""

    def __init__(self, shortest):
        super().__init__(causal)
        self.shortest = shortest

    def forward(self, hidden):
        q, k, v = (x.unflatten(-1, (2, -1)).transpose(1, 2) for x in self.qkv(hidden).chunk(3, -1))
        is_causal = hidden.shape[1] >= self.shortest
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


def test_a_kernel_without_mask_and_without_is_causal():
    audit = audited(Decoder(Attention(causal), Kernel(shortest=99)))
    assert named(audit.sources) == ["mixers.1"]
    assert audit.sources[0].heads == (0, 1)
    assert audited(Decoder(Attention(causal), Kernel(shortest=1))).max_future_influence == 0.0


# --- tilde-research/nsa-release 3: the mask of compressed blocks is the wrong way round ---------


class Compressed(nn.Module):
    """Attention to the means of blocks of four keys; a query may see blocks that have ended."""

    def __init__(self, *, inverted):
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.inverted = inverted

    def forward(self, hidden):
        blocks = hidden.unflatten(1, (-1, 4)).mean(dim=2)
        ends = torch.arange(blocks.shape[1]) * 4 + 3
        ended = ends[None, :] <= torch.arange(hidden.shape[1])[:, None]
        mask = ~ended if self.inverted else ended
        scores = self.query(hidden) @ self.key(blocks).mT
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
        return weights @ blocks


def test_an_inverted_mask_of_compressed_blocks():
    audit = audited(Decoder(Compressed(inverted=True)))
    assert named(audit.sources) == ["mixers.0"]
    assert audit.positions == tuple(range(15))
    assert audited(Decoder(Compressed(inverted=False))).max_future_influence == 0.0


# --- karpathy/nanochat 844: block means, recurrent chunk means, filters in the spectrum ---------


def test_the_mean_of_a_whole_block():
    audit = audited(Decoder(Blocks(4, whole=True)))
    assert named(audit.sources) == ["mixers.0"]
    assert audit.positions == tuple(i for i in range(16) if i % 4 < 3)
    assert audit.ahead == (1, 3)  # the block's width
    assert "Positions 0-2, 4-6, 8-10, 12-14 of 0-15 see a later token, 1 to 3 ahead." in "\n".join(
        audit.findings()
    )
    assert audited(Decoder(Blocks(4, whole=False))).max_future_influence == 0.0


def test_a_recurrence_over_chunks():
    audit = audited(Decoder(Recurrence(8, late=False)))
    assert (audit.causal, audit.ahead) == (False, (1, 7))
    assert audited(Decoder(Recurrence(8, late=True))).max_future_influence == 0.0


def test_a_filter_in_the_spectrum():
    audit = audited(Decoder(Filter(one_sided=False)))
    assert (audit.causal, named(audit.sources)) == (False, ["mixers.0"])


def test_the_rounding_of_an_fft_is_no_leak():
    """In float32, the FFT of a sound filter changes earlier outputs by about 1e-7."""
    audit = audited(Decoder(Filter(one_sided=True)))
    assert audit.causal
    assert 0 < audit.max_future_influence < 1e-12
    assert "this is rounding, for in float64 they change by" in audit.notes[0]


@pytest.mark.parametrize("amount", [1e-3, 1e-5, 1e-7, 1e-9])
def test_a_leak_below_the_rounding_of_that_fft_is_found(amount):
    """A leak keeps its size in float64, so it is told from rounding that is larger than it."""
    audit = audited(Decoder(Filter(one_sided=True), Weakly(Blocks(4, whole=True), amount)))
    assert not audit.causal
    assert audit.positions == tuple(i for i in range(16) if i % 4 < 3)
    assert audit.max_future_influence < 100 * amount


class Weakly(nn.Module):
    def __init__(self, mixer, amount):
        super().__init__()
        self.mixer, self.amount = mixer, amount

    def forward(self, hidden):
        return self.amount * self.mixer(hidden)


# --- Other kinds -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [1, 2])
def test_a_mask_that_is_off(by):
    audit = audited(Decoder(Attention(lambda length: torch.ones(length, length).tril(by).bool())))
    assert audit.ahead == (1, by)
    assert audit.positions == tuple(range(15))


def test_one_head_that_leaks():
    def mask(length):
        return torch.stack([causal(length), torch.ones(length, length).bool()])

    audit = audited(Decoder(Attention(causal), Attention(mask)))
    assert [(source.module, source.heads) for source in audit.sources] == [("mixers.1", (1,))]
    assert "It enters in mixers.1, heads 1." in audit.findings()


def test_heads_that_cannot_be_told_apart_are_not_named():
    """``nn.MultiheadAttention`` projects without calling a module; elsewhere there are no heads."""

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

        def forward(self, hidden):
            return self.attention(hidden, hidden, hidden, need_weights=False)[0]

    (source,) = audited(Decoder(Fused())).sources
    assert (source.module, source.heads) == ("mixers.0.attention", None)


def test_a_leak_before_the_heads_is_in_all_of_them():
    class Ahead(Attention):
        def forward(self, hidden):
            return super().forward(hidden.roll(-1, dims=1))

    (source,) = audited(Decoder(Ahead(causal))).sources
    assert (source.module, source.heads) == ("mixers.0", (0, 1))


def test_modules_that_pass_on_masks_and_complex_numbers():
    """Constant ones, and a spectrum that leaks."""

    class Takes(nn.Module):
        def forward(self, hidden, mask, spectrum):
            filtered = torch.fft.ifft(spectrum, dim=1).real
            return torch.where(mask[0, 0].any(dim=-1)[:, None], filtered, hidden)

    class Gives(nn.Module):
        def forward(self, hidden):
            return torch.fft.fft(hidden, dim=1) * torch.linspace(1, 2, hidden.shape[1])[:, None]

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.gives, self.takes = Gives(), Takes()

        def forward(self, hidden):
            mask = causal(hidden.shape[1])[None, None]
            return self.takes(hidden, mask, self.gives(hidden))

    audit = audited(Decoder(Both()))
    assert (audit.notes, named(audit.sources)[0]) == ((), "mixers.0.gives")


def test_inputs_and_targets_that_are_not_shifted():
    """The classical mistake: the model is given the token that it is to predict."""

    class Shifted(Decoder):
        def forward(self, ids):
            return super().forward(ids.roll(-1, dims=1))

    audit = audited(Shifted(Attention(causal)))
    assert audit.ahead[0] == 1
    assert named(audit.sources) == [""]
    assert "It enters in the model itself." in audit.findings()


class Norm(nn.LayerNorm):
    """Subtracts the mean over some axes."""

    def __init__(self, axes, dims):
        super().__init__(dims)
        self.axes = axes

    def forward(self, hidden):
        return hidden - hidden.mean(dim=self.axes, keepdim=True)


def test_a_norm_over_time():
    model = Decoder(Attention(causal))
    model.norm = Norm(1, WIDTH)
    audit = audited(model)
    assert named(audit.sources) == ["norm"]
    assert audit.check("batch").passed


def test_statistics_over_the_batch_are_a_leak_from_other_rows():
    model = Decoder(Attention(causal))
    model.norm = Norm(0, WIDTH)
    audit = audited(model)
    assert audit.causal  # no position sees a later one of any row
    assert audit.leaks
    assert "batch leak" in audit.check("batch").said
    model.norm = Norm((0, 1), WIDTH)
    assert not audited(model).causal
    assert audited(model, sequences=1).check("batch").passed is None


@pytest.mark.parametrize("amount", [1.0, 1e-4, 1e-7, 1e-10, 1e-12])
@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_weak_leak_in_models_that_compute_in_float32(make, amount):
    """Their norms cast to float32, which would swallow all but the first two."""
    model = make()
    layer = (model.transformer.h if make is gpt2 else model.model.layers)[0]
    layer.mlp = Leaking(layer.mlp, amount)
    audit = audited(model)
    assert not audit.causal
    assert [name.rpartition(".")[2] for name in named(audit.sources)] == ["mlp"]
    assert audit.positions == tuple(range(15))


class Leaking(nn.Module):
    def __init__(self, inner, amount):
        super().__init__()
        self.inner, self.amount = inner, amount

    def forward(self, hidden):
        return self.inner(hidden) + self.amount * hidden.roll(-1, dims=1).cumsum(dim=1)


def test_a_discrete_leak_which_has_no_gradient():
    class Loudest(nn.Module):
        def forward(self, hidden):
            loud = hidden.norm(dim=-1).argmax(dim=1)
            return F.one_hot(loud % WIDTH, WIDTH).to(hidden.dtype)[:, None].expand_as(hidden)

    assert not audited(Decoder(Loudest())).causal


def test_every_leaking_head_is_told_from_the_attention_weights():
    audit = audited(gpt2(attn_implementation="eager"))
    assert audit.check("attention_weights").passed
    audit = audit_causality("qisa_published", sequences=2)
    assert audit.check("attention_weights").passed is False
    assert "layer 2 heads 0, 1" in audit.check("attention_weights").said


def test_a_number_of_tokens_is_enough_for_a_model_without_hugging_face():
    model = Decoder(Attention(causal))
    assert audited(model, vocab_size=VOCAB) == audited(model)
