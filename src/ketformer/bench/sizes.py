"""The sizes that benchmarks time, apart from what times them, which takes seconds to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AttentionSize:
    """A model and a batch.

    Attributes:
        name: its name in the table.
        hidden_size: d.
        num_layers: blocks.
        num_heads: heads.
        context: tokens per sequence.
        batch: sequences.
        conditions: conditions per sequence. With any, sequences vary in length and are
            padded, as molecules are.
    """

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    context: int
    batch: int
    conditions: int = 0


ATTENTION_SIZES = {
    size.name: size
    for size in (
        AttentionSize("published, d 16", 16, 6, 1, 16, 1024),
        AttentionSize("published, d 128", 128, 6, 1, 16, 1024),
        AttentionSize("d 64, T 64", 64, 2, 4, 64, 64),
        AttentionSize("GPT-1 width, T 512", 768, 2, 12, 512, 4),
        AttentionSize("padded molecules, 9 conditions", 128, 4, 4, 24, 256, conditions=9),
    )
}


@dataclass(frozen=True)
class GenerationSize:
    """A model and its output.

    Attributes:
        name: its name in the table.
        task: ``text``, a prompt continued by :func:`~ketformer.generation.continuation`, or
            ``molecules``, whole sequences from the sampler.
        vocab_size: tokens in the vocabulary.
        hidden_size: d.
        num_layers: blocks.
        num_heads: heads.
        batch: sequences written together.
        prompt: tokens in the prompt.
        new: new tokens per sequence.
    """

    name: str
    task: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    batch: int
    prompt: int
    new: int


GENERATION_SIZES = {
    size.name: size
    for size in (
        GenerationSize("text, batch 1", "text", 65, 64, 2, 4, 1, 8, 128),
        GenerationSize("text, batch 64", "text", 65, 64, 2, 4, 64, 8, 128),
        GenerationSize("molecules, batch 512", "molecules", 30, 128, 4, 4, 512, 1, 24),
    )
}


@dataclass(frozen=True)
class PeerSize:
    """A circuit and a batch.

    Attributes:
        name: its name for ``--sizes``.
        kind: ``values``: N amplitude-encoded tokens, the circuit of QISA-A, 16 Pauli strings.
            ``overlaps``: overlaps of N pairs of states, prepared by RY and CNOT rings with
            angles per token, then by rings with the shared angles of queries and of keys.
            ``step``: a training step of the decoder of arXiv 2502.19214.
        n_qubits: qubits of the circuit.
        batch: N, or the sequences in the step.
    """

    name: str
    kind: str
    n_qubits: int
    batch: int


PEER_SIZES = {
    size.name: size
    for size in (
        *(
            PeerSize(f"{kind}, {n} qubits, batch {batch:,}", kind, n, batch)
            for kind, n in (("values", 4), ("values", 6), ("overlaps", 6))
            for batch in (1024, 16384)
        ),
        PeerSize("step, batch 256", "step", 6, 256),
    )
}
