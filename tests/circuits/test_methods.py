"""``ketformer circuit methods``: counts, shots and errors of the ways to measure overlaps."""

import pytest

from ketformer.attention.overlap_measurement import MEASUREMENTS
from ketformer.circuits import circuits_of, measurement_methods
from ketformer.quantum.resources import count_resources

OPTIONS = {"progress": False, "seed": 1}


def methods(**options):
    return measurement_methods("overlap", **OPTIONS | options)


@pytest.fixture(scope="module")
def plain():
    """States without entanglement, which all ways can measure."""
    return methods(
        lengths=[2, 5], qubits=[2], entanglement="none", num_heads=2, total_shots=20_000, draws=8
    )["rows"]


def test_every_way_is_counted(plain):
    found = {(row["method"], row["length"]): row for row in plain}
    assert len(found) == len(plain) == 2 * len(MEASUREMENTS)
    for (name, length), row in found.items():
        of_pairs = 2 * length * (length + 1) // 2  # two heads
        of_states = 2 * 2 * length * (3 if name == "product" else 1)
        assert row["circuits"] == (of_pairs if MEASUREMENTS[name].of_pairs else of_states)
        assert row["keeps_sign"] is (row["shots"] is not None) is (row["error"] is not None)
    test = circuits_of("overlap", n_qubits=2, entanglement="none")["score"].circuit
    assert found["hadamard", 5]["two_qubit_gates"] == 30 * count_resources(test).two_qubit_gates
    assert found["uncompute", 5]["two_qubit_gates"] == 0
    # Two swaps of 8 CNOTs in each circuit.
    assert found["swap", 5]["two_qubit_gates"] == 30 * 16


def test_errors_are_those_of_the_formulas(plain):
    """At equal total shots, mean squares over 8 draws of dozens of pairs."""
    for row in plain:
        if row["length"] == 5:
            for key in ("error", "error_square"):
                if row[key] is not None:
                    assert row[key] == pytest.approx(row[f"expected_{key}"], rel=0.2), row


def test_the_counted_shots_give_the_wanted_error():
    wanted = 0.2
    for row in methods(lengths=[5], qubits=[2], precision=wanted)["rows"]:
        for key, error in (("shots", "error"), ("shots_square", "error_square")):
            if row[key]:
                again = methods(lengths=[5], qubits=[2], total_shots=row[key], draws=16)["rows"]
                same = next(r for r in again if r["method"] == row["method"])
                assert same[f"expected_{error}"] <= wanted
                assert same[error] == pytest.approx(wanted, rel=0.25)


def test_states_measured_once_win_in_long_sequences():
    rows = methods(lengths=[3, 24], qubits=[2], draws=1)["rows"]
    shots = {(row["method"], row["length"]): row["shots"] for row in rows}
    assert shots["hadamard", 3] < shots["tomography", 3]
    assert shots["tomography", 24] < shots["hadamard", 24] / 2
    assert ("product", 3) not in shots  # these states are entangled


def test_the_command_prints_and_draws(ketformer, tmp_path):
    sizes = ["circuit", "methods", "--qubits", 1, 2, "--lengths", 2, 4, "--precision", 0.3]
    done = ketformer(*sizes, "--out", tmp_path / "m.svg")
    assert done.code == 0, done.err
    assert "Fewest shots for signed scores to 0.3 with 2 qubits" in done.out
    assert "lost" in done.out
    assert "tomography" in (tmp_path / "m.svg").read_text()
    table = ketformer(*sizes, "--json").json
    # A single qubit is not entangled, so it is also measured as a product.
    ways = [r["method"] for r in table["rows"] if (r["n_qubits"], r["length"]) == (1, 4)]
    assert ways == list(MEASUREMENTS)
    ways = [r["method"] for r in table["rows"] if (r["n_qubits"], r["length"]) == (2, 4)]
    assert ways == [name for name in MEASUREMENTS if name != "product"]
    assert table["scale"] == 4  # the root of the width


def test_a_run_has_its_own_states(ketformer, molecules):
    done = ketformer("circuit", "methods", molecules, "--lengths", 3, "--json")
    assert done.code == 0, done.err
    assert {row["n_qubits"] for row in done.json["rows"]} == {6}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["qisa_a"], "qisa_a is measured in one way; try overlap"),
        (["overlap", "--lengths", 0], "must be positive"),
        (["overlap", "--lengths", 40, "--total_shots", 100], "fewer than the 820 circuits"),
    ],
)
def test_mistakes_are_clear(ketformer, options, message):
    done = ketformer("circuit", "methods", *options)
    assert done.code == 2
    assert message in done.err


def test_a_run_is_evaluated_by_another_measurement(ketformer, molecules):
    options = ["evaluate", molecules, "--backend", "torch", "--limit", 1, "--json"]
    usual = ketformer(*options).json
    done = ketformer(*options, "--measurement", "tomography")
    assert done.code == 0, done.err
    assert done.json["loss"] == pytest.approx(done.json["exact_loss"], abs=1e-5)
    assert (usual["measurement"], done.json["measurement"]) == ("hadamard", "tomography")
    assert done.json["circuits"] < usual["circuits"]
    refused = ketformer(*options, "--measurement", "swap")
    assert refused.code == 2
    assert "loses the overlap's sign" in refused.err
