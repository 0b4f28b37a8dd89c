"""The readers on any bytes: what fuzzing found and kept, and what hypothesis thinks of.

`make fuzz` lets atheris search with these same functions, for longer.
"""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "fuzz"))
import readers  # noqa: E402

CASES = sorted(path for path in (Path(__file__).parent / "cases").glob("*/*") if path.is_file())
any_number_of = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.name[:8]}")
def test_what_was_found_stays_mended(path):
    readers.check(path.parent.name, path.read_bytes())


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name in readers.READERS for seed in readers.seeds(name)]
)
def test_sound_files_are_taken(name, seed):
    assert readers.check(name, seed)


@pytest.mark.parametrize("name", readers.READERS)
@any_number_of
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(name, data):
    """A sound file with a piece taken out, doubled or replaced."""
    seed = data.draw(st.sampled_from(readers.seeds(name)))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(len(seed), start + 40)))
    piece = data.draw(st.just(b"") | st.just(seed[start:end] * 2) | st.binary(max_size=20))
    readers.check(name, seed[:start] + piece + seed[end:])


@pytest.mark.parametrize("name", readers.READERS)
@any_number_of
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(name, data):
    readers.check(name, data)


KEYS = [
    "name", "task", "data", "split", "tokenizer", "vocab_size", "column", "conditions", "noise",
    "backend", "backend_options", "hidden_size", "num_attention_heads", "attention",
    "attention_options", "learning_rate", "max_steps", "seed", "report_to", "optim",
]  # fmt: skip
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
values = st.recursive(
    plain | st.sampled_from(["overlap", "qisa", "molecules", "3e-3", "null", "[", "{a: &b *b}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layers", "n_qubits", "score", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
mappings = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)


@any_number_of
@given(mappings, mappings, mappings)
def test_any_settings_are_taken_or_refused_in_one_line(own, model, training):
    """JSON is YAML, too."""
    content = {**own, "model": model, "training": training}
    readers.check("settings", json.dumps(content).encode())


@any_number_of
@given(
    st.dictionaries(st.text(max_size=3), st.integers(-1, 5) | plain, max_size=6),
    st.sampled_from(["WordLevel", "BPE"]),
    st.lists(st.lists(st.text(max_size=2), max_size=3), max_size=3),
)
def test_any_vocabulary_is_taken_or_refused_in_one_line(vocabulary, kind, merges):
    content = {"model": {"type": kind, "vocab": vocabulary, "merges": merges}}
    readers.check("text", json.dumps(content).encode())


smiles = st.text("CNOFclBrbnos[]()=#@+-/\\%.:0123456789H*", max_size=30)


@any_number_of
@given(st.lists(smiles, max_size=8), st.sampled_from(b"\x00\x01\x02\x80\x81"))
def test_any_lines_of_smiles_are_read_or_refused_in_one_line(lines, ending):
    heading = "smiles\tx" if ending & 1 else "smiles,x"
    rows = "".join(f"{line}\n" for line in (heading, *lines))
    readers.check("molecules", bytes([ending]) + rows.encode())
