"""Evaluating and training with circuits on a backend."""

import pytest

from commands import largest_difference, write_settings
from ketformer.cli import main


@pytest.fixture(scope="module")
def settings(text, tmp_path_factory):
    """Settings for six steps of a small model whose values are measured."""
    path = tmp_path_factory.mktemp("measured") / "m.yaml"
    model = {"attention": "qisa_a", "max_position_embeddings": 4}
    training = {"max_steps": 6, "per_device_train_batch_size": 2, "eval_strategy": "no"}
    return write_settings(path, text, model=model, training=training)


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "closed-form"
    assert main(["train", settings, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("backend", ["torch", "cudaq", "pennylane", "qiskit", "braket"])
def test_exact_backends_give_the_closed_form(ketformer, run, backend):
    done = ketformer("evaluate", run, "--backend", backend, "--limit", 3, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert found["loss"] == pytest.approx(found["exact_loss"], abs=1e-5)
    assert found["logit_difference"] < 1e-4
    assert (found["sequences"], found["targets"]) == (3, 12)
    # Two heads, four tokens and three sequences; a repeated token is run once.
    assert found["circuits"] > 0
    assert not (run / "evaluation.json").exists()


def test_molecules_are_measured_without_their_padding(ketformer, molecules):
    done = ketformer("evaluate", molecules, "--backend", "torch", "--limit", 5, "--json")
    assert done.code == 0, done.err
    assert done.json["loss"] == pytest.approx(done.json["exact_loss"], abs=1e-5)
    assert done.json["logit_difference"] < 1e-4


def test_shots_and_noise_are_seen(ketformer, run):
    options = ["--backend", "shots", "--limit", 3, "--json"]
    few = ketformer("evaluate", run, *options, "--shots", 10).json
    many = ketformer("evaluate", run, *options, "--shots", 100_000).json
    assert few["mean_logit_difference"] > 10 * many["mean_logit_difference"] > 0
    again = ketformer("evaluate", run, *options, "--shots", 10).json
    assert again["loss"] == few["loss"]  # seeded
    noisy = ketformer(
        "evaluate", run, "--backend", "torch", "--limit", 3, "--noise.two_qubit", 0.05, "--json"
    ).json
    assert noisy["mean_logit_difference"] > 1e-4
    assert noisy["noise_two_qubit"] == 0.05


def test_a_result_on_a_device_says_which(ketformer, run):
    options = ["--backend", "qiskit", "--backend_options.device", "fake_manila", "--limit", 1]
    done = ketformer("evaluate", run, *options, "--shots", 20, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["device"], found["shots"]) == ("fake_manila", 20)
    assert found["calibration_date"].startswith("2024-")
    assert found["native_gates"] == ["cx", "id", "rz", "sx", "x"]
    assert all(len(layout) == 3 for layout in found["layouts"])
    assert len(found["job_ids"]) > 3
    assert found["logit_difference"] > 0
    shown = ketformer("evaluate", run, *options, "--shots", 20, "--journal", "none").out
    assert f"{len(found['job_ids']) - 2} more, " in shown


def test_entries_of_a_backends_option_are_given_one_by_one(ketformer, run):
    options = ["--backend", "pennylane", "--backend_options.device", "lightning.qubit"]
    for entry, value in (("batch_obs", "true"), ("kernel_name", "LM")):
        options += [f"--backend_options.device_options.{entry}", value]
    done = ketformer("evaluate", run, *options, "--limit", 1, "--json")
    assert done.json["device"] == "lightning.qubit, batch_obs=True, kernel_name=LM"


def test_training_by_parameter_shift_is_training(settings, run, tmp_path):
    """Outcomes and gradients from circuits lead to the same weights as the closed form."""
    args = ["train", settings, "--backend", "torch", "--out", str(tmp_path / "measured")]
    assert main(args) == 0
    assert largest_difference(run, tmp_path / "measured") < 1e-5


def test_training_by_spsa_goes_elsewhere(settings, run, tmp_path):
    args = ["train", settings, "--backend", "torch", "--gradient", "spsa"]
    assert main([*args, "--out", str(tmp_path / "spsa")]) == 0
    assert largest_difference(run, tmp_path / "spsa") > 1e-3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--backend", "qulacs"], "unknown backend 'qulacs'"),
        (["--shots", "10"], "need a --backend"),
        (["--backend", "shots", "--shots", "0"], "shots must be positive"),
        (["--backend", "torch", "--noise.readout", "2"], "readout noise must be a probability"),
        (["--backend", "torch", "--noise.cosmic", "0.1"], "unknown noise cosmic; known: one_qubit"),
        (["--backend", "torch", "--backend_options.qpu", "3"], "torch has no option qpu"),
        (
            ["--backend", "qiskit", "--backend_options.device", "fake_manilla"],
            "no recorded device 'fake_manilla' (did you mean 'fake_manila'?)",
        ),
        (
            ["--backend", "qiskit", "--backend_options.device", "fake_manila", "--limit", "1"],
            "cannot give exact results on fake_manila; set shots",
        ),
        (["--backend", "braket", "--backend_options.device", "sv"], "no Braket device 'sv'"),
        (
            ["--backend", "pennylane", "--backend_options.device_options", "3"],
            "is a mapping of names",
        ),
    ],
)
def test_mistakes_of_evaluate(ketformer, run, options, told):
    ketformer("evaluate", run, *options).assert_mistake(told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--attention", "classical", "--backend", "torch"], "no circuits to run"),
        (["--backend", "torch", "--gradient", "adjoint"], "torch has no adjoint gradient"),
        (["--backend", "torch", "--gradient", "newton"], "gradient"),
        (["--backend", "shots", "--backend_options.shots", "0"], "shots must be positive"),
        (
            ["--backend", "qiskit", "--backend_options.device", "fake_manila"],
            "cannot give exact results on fake_manila; set shots",
        ),
    ],
)
def test_mistakes_of_train_leave_nothing_behind(ketformer, settings, tmp_path, options, told):
    ketformer("train", settings, "--out", tmp_path / "x", *options).assert_mistake(told)
    assert not (tmp_path / "x").exists()


def test_samples_are_not_measured(ketformer, molecules):
    ketformer("evaluate", molecules, "--backend", "torch", "--samples", 5).assert_mistake(
        "--samples is not measured on a backend"
    )


@pytest.mark.parametrize("name", ["quantum_sequence_epoch_17", "quantum_conditions_epoch_20"])
def test_the_released_decoder_by_cudaq_circuits(ketformer, shared_file, tmp_path, name):
    """Hadamard tests with imported weights on molecules of QM9 give the closed form's logits."""
    some = tmp_path / "some.csv"
    lines = shared_file("data", "qm9.csv").read_text().split()
    some.write_text("\n".join([lines[0], *lines[90000:90100]]) + "\n")
    released = shared_file("published", f"{name}.pt")
    done = ketformer("import-checkpoint", released, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    options = ["--data", some, "--split", "standard", "--backend", "cudaq", "--limit", 2]
    done = ketformer("evaluate", tmp_path / "run", *options, "--json")
    assert done.code == 0, done.err
    assert done.json["logit_difference"] < 1e-4
    assert done.json["weight_difference"] < 1e-6
    assert done.json["circuits"] > 100


def test_a_stopped_evaluation_goes_on_from_its_journal(ketformer, run, tmp_path):
    """Fewer sequences first: what they measured is not measured again, and nothing changes."""
    options = ["--backend", "shots", "--shots", 20, "--noise.readout", 0.05, "--json"]
    plain = ketformer("evaluate", run, *options, "--limit", 3, "--journal", "none").json
    kept = ["--journal", tmp_path / "j.jsonl"]
    begun = ketformer("evaluate", run, *options, *kept, "--limit", 2).json
    assert (begun["journal"], begun["circuits_found"]) == (str(tmp_path / "j.jsonl"), 0)
    found = ketformer("evaluate", run, *options, *kept, "--limit", 3).json
    assert 0 < found["circuits_found"] == begun["circuits"] < found["circuits"]
    assert {key: found[key] for key in plain if key != "seconds"} == {
        key: value for key, value in plain.items() if key != "seconds"
    }
    told = ketformer("circuit", "journal", tmp_path / "j.jsonl", "--json").json
    (row,) = told["rows"]
    assert row["batches"] == row["planned"] > 0
    assert (row["circuits"], row["shots"]) == (found["circuits"], 20 * found["circuits"])
    assert -1 <= row["expectation_min"] <= row["expectation_mean"] <= row["expectation_max"] <= 1


def test_the_journal_lies_in_the_run(ketformer, run, tmp_path):
    assert ketformer("evaluate", run, "--backend", "shots", "--shots", 5, "--limit", 1).code == 0
    done = ketformer("circuit", "journal", run)
    assert done.code == 0, done.err
    assert f"{run / 'journal.jsonl'}" in done.out
    ketformer("circuit", "journal", tmp_path).assert_mistake("journal.jsonl: cannot be read")
    ketformer("circuit", "journal").assert_mistake("name a run directory or a journal")
    foreign = run / "settings.yaml"
    ketformer("circuit", "journal", foreign).assert_mistake("is not a journal of circuits")
    options = ["--backend", "shots", "--limit", 1, "--journal", foreign]
    ketformer("evaluate", run, *options).assert_mistake("is not a journal of circuits")
    ketformer("evaluate", run, "--backend", "torch", "--journal", "x").assert_mistake(
        "a journal keeps shots, and torch has none: set shots"
    )
    ketformer("evaluate", run, "--journal", "x").assert_mistake("need a --backend")
