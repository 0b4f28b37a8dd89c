"""With sixteen qubits in one register, a training step fits into memory."""

import json
import subprocess
import sys

import pytest

_GIBIBYTES = 4  # torch alone takes 0.4

_STEP = """
import json, re, sys
from pathlib import Path

import torch
from ketformer.attention import build_attention

name, options = json.loads(sys.argv[1])
torch.manual_seed(0)
attention = build_attention(name, hidden_size=16, num_heads=2, n_qubits=16, **options)
hidden = torch.randn(2, 8, 16, requires_grad=True)
out, _ = attention(hidden)
out.square().mean().backward()
# Not ru_maxrss: a process is born with that of the one that started it.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
gradients = [hidden.grad, *(p.grad for p in attention.parameters())]
print(json.dumps({
    "gibibytes": int(peak[1]) / 2**20,
    "finite": all(bool(g.isfinite().all()) for g in gradients),
    "moved": float(hidden.grad.abs().max()),
}))
"""

# A process that asks for more memory fails at once instead of taking the machine down.
_LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (8 << 30,) * 2); exec({!r})"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("overlap", {}), ("qsann", {"encoding": "angle"})],
    ids=["overlap", "qsann"],
)
def test_a_training_step_on_sixteen_qubits_stays_below_four_gibibytes(name, options):
    """Two heads, two sequences of eight tokens, forward and backward, in a separate process."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED.format(_STEP), json.dumps([name, options])],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-500:]
    found = json.loads(done.stdout)
    assert found["finite"]
    assert found["moved"] > 0
    assert found["gibibytes"] < _GIBIBYTES
