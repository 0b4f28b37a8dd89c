"""``ketformer circuit``: drawings, exports, counts and checks that agree with the mechanisms."""

import json

import pytest
from matplotlib.image import imread
from qiskit import qasm3

from commands import write_settings
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.circuits import circuits_of
from ketformer.circuits.device_costs import Prices
from ketformer.circuits.mechanisms import circuit_pictures
from ketformer.circuits.resources import WIDTHS, resources
from ketformer.cli import main
from ketformer.errors import KetformerError
from ketformer.quantum import decompose
from ketformer.quantum.backends import Backend


@pytest.fixture(scope="module")
def measurable(text, tmp_path_factory):
    """A small run whose values are measured on three-qubit circuits."""
    folder = tmp_path_factory.mktemp("measurable")
    settings = write_settings(folder / "m.yaml", text, model={"attention": "qisa_a"})
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


# --- show and export ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", mechanisms_with_circuits())
def test_show_draws_every_qubit_and_counts(ketformer, name):
    done = ketformer("circuit", "show", name, "--hidden_size", 4)
    assert done.code == 0, done.err
    shown = ketformer("circuit", "show", name, "--hidden_size", 4, "--json").json
    experiment = circuits_of(name, hidden_size=4)[shown["circuit"]]
    registers = experiment.registers or (("q", shown["n_qubits"]),)
    assert sum(size for _, size in registers) == shown["n_qubits"]
    for register, size in registers:
        for qubit in range(size):
            assert (f"{register}_{qubit}" if size > 1 else register) in done.out
    assert "┤M├" in done.out
    assert f"{shown['two_qubit_gates']} CNOTs" in done.out
    native = decompose(experiment.circuit).gates
    assert shown["two_qubit_gates"] == sum(bool(g.controls) for g in native)
    assert shown["one_qubit_gates"] + shown["two_qubit_gates"] == len(native)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_show_writes_a_picture(ketformer, tmp_path, suffix):
    path = tmp_path / "pictures" / f"circuit.{suffix}"
    assert ketformer("circuit", "show", "qisa_a", "--hidden_size", 4, "--out", path).code == 0
    if suffix == "png":
        assert imread(path)[..., :3].std() > 0.05
    else:
        assert "<svg" in path.read_text()


def test_show_of_a_run_is_its_first_block(ketformer, measurable):
    shown = ketformer("circuit", "show", measurable, "--json").json
    assert (shown["circuit"], shown["n_qubits"]) == ("value", 3)
    assert len(shown["measured"]) == 4


@pytest.mark.parametrize(("n_conditions", "registers"), [(0, 2), (9, 3)])
def test_show_of_the_published_form(ketformer, n_conditions, registers):
    """Two registers, or three with conditions, each prepared with its own angles."""
    options = ["--attention_options.angles", "embedding", "--n_conditions", n_conditions]
    shown = ketformer("circuit", "show", "overlap", *options, "--json").json
    of_tables = [n for n in shown["parameters"] if not n.startswith(("bra_turn", "ket_turn"))]
    prefixes = {name.rstrip("0123456789") for name in of_tables}
    names = ("token", "position", "condition")[:registers]
    assert prefixes == {f"{side}_{name}" for side in ("bra", "ket") for name in names}
    assert shown["n_qubits"] == 7


def test_qsann_has_three_circuits(ketformer):
    for name in ("query", "key", "value"):
        shown = ketformer("circuit", "show", "qsann", "--circuit", name, "--json").json
        assert shown["circuit"] == name


def test_export_is_read_back_by_qiskit(ketformer, tmp_path):
    path = tmp_path / "score.qasm"
    options = ["--attention_options.n_qubits", 3, "--out", path]
    assert ketformer("circuit", "export", "overlap", *options).code == 0
    read = qasm3.loads(path.read_text())
    circuit = circuits_of("overlap", n_qubits=3)["score"].circuit
    assert read.num_qubits == 4
    assert len(read.parameters) == len(circuit.parameters)
    assert len(read.data) == len(circuit.gates)


# --- resources -----------------------------------------------------------------------------------


def test_resources_are_counted_over_the_width(ketformer, tmp_path):
    path = tmp_path / "resources.png"
    table = ketformer("circuit", "resources", "overlap", "--out", path, "--json").json
    assert imread(path)[..., :3].std() > 0.05
    rows = table["rows"]
    assert [row["hidden_size"] for row in rows] == list(WIDTHS)
    assert (WIDTHS[0], WIDTHS[-1]) == (16, 65_536)
    for row in rows:
        assert row["circuits_per_sequence"] == 24 * 25 // 2
        assert row["classical_operations"] == 300 * row["hidden_size"]
        # The score is sqrt(d) times the measured overlap, so it needs d times the shots.
        assert row["shots"] == 100 * row["hidden_size"]
        assert row["gates_with_shots"] == 300 * row["gates"] * row["shots"]
        assert row["circuits_per_step"] == 256 * 300 * (1 + 2 * 4 * (row["n_qubits"] - 1))
    published = rows[WIDTHS.index(64)]
    assert (published["n_qubits"], published["gates"]) == (7, 80)


def test_the_crossover_is_where_the_counts_meet(ketformer):
    table = ketformer("circuit", "resources", "overlap", "--json").json
    once, measured = (
        table["crossover"]["one_shot"],
        table["crossover"]["fixed_error_of_the_overlap"],
    )
    gates = {row["hidden_size"]: row["gates"] for row in table["rows"]}
    for d, count in gates.items():
        assert (count < d) == (d > once)
        assert (100 * count < d) == (d > measured)
    assert table["crossover"]["fixed_error_of_the_score"] is None
    assert all(row["gates_with_shots"] > row["classical_operations"] for row in table["rows"])


@pytest.mark.parametrize("name", ["qisa_a", "qsann"])
def test_preparing_amplitudes_costs_as_many_gates_as_amplitudes(name):
    small, large = (resources(name, hidden_size=d) for d in (64, 256))
    assert small["gates"] >= 2 * 64 - 3
    assert large["gates"] >= 2 * 256 - 3
    # Gates and multiply-adds both grow as d², so no width makes up for the shots.
    ratio = large["gates_per_sequence"] / large["classical_operations"]
    assert 0.1 < ratio < small["gates_per_sequence"] / small["classical_operations"]


def test_qisa_replaces_no_classical_work(ketformer, tmp_path):
    table = ketformer("circuit", "resources", "qisa", "--out", tmp_path / "qisa.svg", "--json").json
    assert {row["classical_operations"] for row in table["rows"]} == {0}
    assert "replaces nothing" in table["summary"]


def test_resources_of_a_run_are_those_of_its_own_size(ketformer, measurable):
    """The command said that there were no circuits in it."""
    table = ketformer("circuit", "resources", measurable, "--json").json
    (row,) = table["rows"]
    config = json.loads((measurable / "config.json").read_text())
    assert row["mechanism"] == "qisa_a"
    assert row["layers"] == config["num_hidden_layers"]
    assert row["length"] == config["max_position_embeddings"]
    same = resources(
        "qisa_a", hidden_size=config["hidden_size"], num_heads=config["num_attention_heads"],
        length=row["length"], batch=row["batch"],
    )  # fmt: skip
    assert row == {**same, "layers": row["layers"]}
    shown = ketformer("circuit", "resources", measurable, "--length", 2)
    circuits = row["layers"] * 2 * row["circuits_per_sequence"] // row["length"]
    assert f"A sequence of 2 tokens takes {circuits:,} circuits" in shown.out


def test_resources_on_a_device(ketformer, measurable):
    """The issue's keys, with seconds and cost worked out from the calibration's duration."""
    options = [
        "--device", "fake_manila", "--length", 3, "--batch", 2, "--limit", 5, "--shots", 100,
        "--price_per_second", 2, "--price_per_shot", 0.01,
    ]  # fmt: skip
    table = ketformer("circuit", "resources", measurable, *options, "--json").json
    (row,) = table["rows"]
    assert row["device"] == "fake_manila"
    assert row["two_qubit_gates"] >= row["published_two_qubit_gates"] == 9
    assert row["depth"] > row["published_depth"]
    assert row["one_qubit_gates"] > row["published_one_qubit_gates"]
    assert 0 < row["fidelity"] < 1
    assert row["shots"] == 100
    forward, evaluation, step = table["passes"]
    assert row["circuits"] == forward["circuits"]
    assert evaluation["circuits"] == 5 * forward["circuits"]
    circuit = circuits_of(str(measurable))["value"].circuit
    assert step["circuits"] == 2 * forward["circuits"] * (1 + 2 * len(circuit.parameters))
    for each in table["passes"]:
        assert each["shots"] == 100 * each["circuits"]
        # Manila waits 250 µs between shots. Its settings differ in their last rotation.
        longest = each["shots"] * (row["duration_us"] + 250) * 1e-6
        assert 0.9 * longest < each["device_seconds"] <= longest * (1 + 1e-9)
        cost = 2 * each["device_seconds"] + 0.01 * each["shots"]
        assert each["cost"] == pytest.approx(cost)
    shown = ketformer("circuit", "resources", measurable, *options)
    assert "training step" in shown.out


def test_resources_on_a_device_by_width(ketformer, tmp_path):
    path = tmp_path / "device.png"
    options = ["--device", "fake_manila", "--out", path, "--delay_us", 0, "--json"]
    table = ketformer("circuit", "resources", "overlap", *options).json
    assert imread(path)[..., :3].std() > 0.05
    (row,) = table["rows"]  # width 32 needs a sixth qubit
    assert (row["hidden_size"], row["published_two_qubit_gates"]) == (16, 20)
    assert row["shots"] == 1600
    assert row["cost"] is None
    seconds = row["circuits"] * row["shots"] * row["duration_us"] * 1e-6
    assert row["device_seconds"] == pytest.approx(seconds)


def test_a_price_per_second_needs_durations():
    assert Prices(per_shot=0.5).cost(None, 4) == 2
    assert Prices().cost(3.0, 4) is None
    with pytest.raises(KetformerError, match="no calibrated durations"):
        Prices(per_second=1).cost(None, 4)


# --- check ---------------------------------------------------------------------------------------


def test_check_compares_every_backend_and_mechanism(ketformer):
    options = ["--draws", 2, "--backends", "pennylane", "qiskit", "cudaq", "--json"]
    done = ketformer("circuit", "check", *options)
    assert done.code == 0, done.err
    rows = done.json["rows"]
    found = {(row["backend"], row["mechanism"]) for row in rows}
    names = mechanisms_with_circuits(distinct=True)
    assert found == {(b, m) for b in ("pennylane", "qiskit", "cudaq") for m in names}
    assert all(row["draws"] == 2 and row["max_difference"] < 1e-6 for row in rows)


@pytest.mark.slow
def test_check_of_two_hundred_draws(ketformer):
    done = ketformer("circuit", "check", "--json")
    assert done.code == 0, done.err
    assert all(row["draws"] == 200 and row["max_difference"] < 1e-6 for row in done.json["rows"])


def test_check_fails_honestly(ketformer, monkeypatch):
    """A backend that is off by more than a millionth is detected, with exit code 1."""
    right = Backend.expectations

    def wrong(self, *args):
        return right(self, *args) + (2e-6 if self.name == "pennylane" else 0)

    monkeypatch.setattr(Backend, "expectations", wrong)
    options = ["qisa_a", "--draws", 2, "--backends", "pennylane", "--json"]
    done = ketformer("circuit", "check", *options)
    assert done.code == 1
    assert not done.json["agree"]


# --- studies -------------------------------------------------------------------------------------


def test_noise_study(ketformer, measurable, tmp_path, monkeypatch):
    import ketformer.evaluation.circuits as studies

    monkeypatch.setattr(studies, "SHOTS", (30, 3000))
    monkeypatch.setattr(studies, "ERRORS", (1e-3, 1e-1))
    monkeypatch.setattr(studies.noise_study, "__kwdefaults__", {
        **studies.noise_study.__kwdefaults__, "shots": (30, 3000), "errors": (1e-3, 1e-1),
    })  # fmt: skip
    path = tmp_path / "noise.png"
    options = ["--limit", 2, "--repeats", 3, "--out", path, "--json"]
    done = ketformer("circuit", "noise", measurable, *options)
    assert done.code == 0, done.err
    few, many = done.json["shots"]
    assert many["mean_weight_difference"] < few["mean_weight_difference"] or (
        many["mean_logit_difference"] < few["mean_logit_difference"]
    )
    for row in (few, many):
        assert row["loss_low"] < row["loss"] < row["loss_high"]
    assert many["loss_high"] - many["loss_low"] < few["loss_high"] - few["loss_low"]
    low, high = done.json["noise"]
    assert low["mean_logit_difference"] < high["mean_logit_difference"]
    assert imread(path)[..., :3].std() > 0.05


def test_shots_for_a_wanted_loss_and_their_cost(ketformer, measurable, tmp_path, monkeypatch):
    monkeypatch.setattr("ketformer.evaluation.shot_search._FIRST", 4)
    path = tmp_path / "within.png"
    options = [
        "--within", 0.5, "--limit", 1, "--repeats", 3, "--allocation", "influence",
        "--device", "fake_manila", "--delay_us", 1000, "--price_per_shot", 0.5,
    ]  # fmt: skip
    found = ketformer("circuit", "noise", measurable, *options, "--out", path, "--json").json
    assert imread(path)[..., :3].std() > 0.05
    uniform, influence = found["compared"]
    assert uniform["shots"] == influence["shots"] == found["shots"]
    assert found["gain"] == pytest.approx(uniform["divergence"] / influence["divergence"])
    assert found["shots_in_all"] <= found["shots"] * found["circuits"]
    assert found["cost"] == pytest.approx(0.5 * found["shots_in_all"])
    # A millisecond between shots, and some microseconds for each.
    assert 1 < found["device_seconds"] / (1e-3 * found["shots_in_all"]) < 1.1
    shown = ketformer("circuit", "noise", measurable, *options)
    assert "device seconds and a cost of" in shown.out


def test_gradient_study(ketformer, measurable):
    done = ketformer("circuit", "gradients", measurable, "--limit", 1, "--json")
    assert done.code == 0, done.err
    rows = {(r["gradient"], r["backend"]): r for r in done.json["rows"]}
    for exact in (("parameter_shift", "torch"), ("adjoint", "pennylane")):
        assert rows[exact]["cosine"] == pytest.approx(1, abs=1e-6)
        assert rows[exact]["norm_ratio"] == pytest.approx(1, abs=1e-5)
    assert rows["spsa", "torch"]["circuits"] < rows["parameter_shift", "torch"]["circuits"] / 4
    assert rows["spsa", "torch"]["cosine"] < 0.9


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["draw", "overlap"], "unknown action 'draw'"),
        (["show"], "name a mechanism"),
        (["show", "classical"], "classical: it has no circuits"),
        (["show", "nowhere"], "neither a run directory nor a mechanism"),
        (["show", "overlap", "--circuit", "value"], "no circuit 'value'; overlap has score"),
        (["show", "overlap", "--attention_options.n_qubits", "40"], "too many to simulate"),
        (["show", "overlap", "--attention_options.depth", "4"], "has no option depth"),
        (["show", "overlap", "--out", "circuit.txt"], "circuit.txt"),
        (["show", "overlap", "--attention_options.n_qubits", "two"], "int or null, got 'two'"),
        (["resources", "--attention_options.n_qubits", "two"], "int or null, got 'two'"),
        (["resources", "--out", "r.xyz"], "'r.xyz': the name of a picture must end in"),
        (["noise", "nowhere", "--out", "r.xyz"], "'r.xyz': the name of a picture"),
        (["check", "--out", "r.png"], "circuit check writes no file"),
        (["resources", "classical"], "no circuits in 'classical'"),
        (["resources", "--precision", "0"], "must be positive"),
        (["resources", "nowhere"], "neither a run directory nor a mechanism"),
        (["resources", "--length", "0"], "must be positive"),
        (["resources", "--shots", "9"], "--shots needs --device"),
        (["resources", "--price_per_shot", "1"], "--price_per_shot needs --device"),
        (["resources", "--device", "fake_manila", "--price_per_shot", "-1"], "negative"),
        (["resources", "--device", "fake_manila", "--delay_us", "-1"], "negative"),
        (["resources", "--device", "fake_manila", "--limit", "0"], "must be positive"),
        (["resources", "--device", "fake_manila", "--optimization_level", "4"], "must be 0 to 3"),
        (["resources", "--device", "fake_manilla"], "did you mean 'fake_manila'?"),
        (
            ["resources", "orthogonal", "--device", "fake_manila"],
            "needs 17 qubits at width 16, fake_manila has 5",
        ),
        (["check", "--draws", "0"], "draws must be positive"),
        (["check", "--backends", "qulacs"], "unknown backend 'qulacs'"),
        (["check", "--backends", "shots"], "shots is not exact"),
        (["check", "classical"], "no circuits in 'classical'"),
        (["noise"], "needs a run directory"),
        (["noise", "nowhere", "--allocation", "influence"], "need --within"),
        (["noise", "nowhere", "--price_per_shot", "1"], "--price_per_shot needs --device"),
        (["gradients", "nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_mistakes(ketformer, args, told):
    ketformer("circuit", *args).assert_mistake(told)


@pytest.mark.parametrize("action", ["noise", "resources", "check"])
def test_the_circuits_of_a_classical_run_are_a_mistake(ketformer, honest, action):
    ketformer("circuit", action, honest).assert_mistake("no circuits to run")


def test_a_run_has_no_plot_over_the_width(ketformer, measurable, tmp_path):
    done = ketformer("circuit", "resources", measurable, "--out", tmp_path / "r.png")
    done.assert_mistake("a run has a single width")


def test_check_of_a_run_checks_its_mechanism(ketformer, measurable):
    options = ["--draws", 2, "--backends", "qiskit", "--json"]
    done = ketformer("circuit", "check", measurable, *options)
    assert [row["mechanism"] for row in done.json["rows"]] == ["qisa_a"]


def test_show_keeps_the_json_alone_on_standard_output(ketformer):
    assert json.loads(ketformer("circuit", "show", "overlap", "--json").out)


def test_a_circuit_on_many_qubits_is_drawn_without_building_a_preparation():
    """One of 64 qubits would have 2^64 gates; a report stopped for ever at `orthogonal`."""
    assert all(
        picture.svg for picture in circuit_pictures("orthogonal", hidden_size=64, num_heads=1)
    )
