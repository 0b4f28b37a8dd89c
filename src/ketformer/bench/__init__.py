"""Timings and memory, as ratios measured in one run."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.bench.attention import bench_attention as bench_attention
    from ketformer.bench.circuits import bench_circuits as bench_circuits
    from ketformer.bench.generation import bench_generation as bench_generation
    from ketformer.bench.memory import bench_memory as bench_memory
    from ketformer.bench.peers import bench_peers as bench_peers
    from ketformer.bench.start import bench_start as bench_start

__getattr__, __dir__, __all__ = lazily(__name__)
