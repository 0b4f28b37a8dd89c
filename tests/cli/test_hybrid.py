"""A hybrid through the verbs: a mechanism for each layer is trained, resumed, audited, drawn."""

import json

import pytest
import yaml

from commands import write_settings
from ketformer.cli import main
from ketformer.report.sources import studies_of
from ketformer.runs import open_run

LAYERS = ["qisa", "overlap", "classical"]
NAME = "qisa+overlap+classical"
OPTIONS = ["--attention_options.qisa.score", "dot", "--attention_options.overlap.n_qubits=3",
           "--attention_options.overlap.layers", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def base(text, tmp_path_factory):
    """Path of a settings file: three layers of classical attention."""
    path = tmp_path_factory.mktemp("hybrid") / "three.yaml"
    return write_settings(path, text, model={"num_hidden_layers": 3})


@pytest.fixture(scope="module")
def hybrid(base, tmp_path_factory):
    """A finished run of three mechanisms, two of which have circuits."""
    out = tmp_path_factory.mktemp("runs") / "hybrid"
    assert main(["train", base, "--attention", ",".join(LAYERS), *OPTIONS, "--out", str(out)]) == 0
    return out


def test_its_settings_its_manifest_and_its_model_name_each_layer(hybrid):
    model = yaml.safe_load((hybrid / "settings.yaml").read_text())["model"]
    options = {"qisa": {"score": "dot"}, "overlap": {"n_qubits": 3, "layers": 2}}
    assert (model["attention"], model["attention_options"]) == (LAYERS, options)
    assert json.loads((hybrid / "manifest.json").read_text())["attention"] == NAME
    config = open_run(hybrid).model.config
    assert (config.attention, config.attention_options) == (LAYERS, options)


def test_the_card_of_the_run_names_every_paper(hybrid):
    text = (hybrid / "README.md").read_text()
    for paper in ("2603.03318", "2502.19214"):
        assert f"- arxiv:{paper}" in text


def test_without_out_the_run_is_named_after_its_layers(ketformer, base):
    done = ketformer("train", base, "--attention", ",".join(LAYERS), "--max_steps", 1, "--json")
    assert done.json["run"] == f"runs/tiny-{NAME}-seed42"
    assert done.json["attention"] == NAME


def test_a_list_in_a_file_is_the_same_run(ketformer, hybrid, tmp_path):
    out = tmp_path / "again"
    assert ketformer("train", hybrid / "settings.yaml", "--out", out).code == 0
    weights = [(run / "model.safetensors").read_bytes() for run in (hybrid, out)]
    assert weights[0] == weights[1]


def test_it_is_resumed(ketformer, base, tmp_path):
    out, attention = tmp_path / "run", ("--attention", "classical,overlap,classical")
    assert ketformer("train", base, *attention, "--max_steps", 10, "--out", out).code == 0
    done = ketformer("train", base, *attention, "--max_steps", 20, "--out", out, "--resume")
    assert done.code == 0, done.err
    assert json.loads((out / "manifest.json").read_text())["attention"].startswith("classical+")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--attention", "qisa,overlap"], "attention names 2 mechanisms for 3 layers"),
        (["--attention", "qisa,overlap,"], "unknown attention ''"),
        (["--attention", "qisa,overlap,qsia"], "unknown attention 'qsia'"),
        (
            ["--attention", "qisa,qisa,qisa", "--attention_options.score", "dot"],
            "'score', which is none of the layers' mechanisms (qisa)",
        ),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(ketformer, base, tmp_path, options, told):
    ketformer("train", base, *options, "--out", tmp_path / "run").assert_mistake(told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("layers", "causal"), [("overlap,classical", True),
                                                ("classical,qisa_a_published", False)])  # fmt: skip
def test_an_untrained_one_is_audited(ketformer, layers, causal):
    done = ketformer("audit", "--attention", layers, "--json")
    assert done.json["attention"] == layers.replace(",", "+")
    assert done.json["causal"] is causal
    assert (done.json["max_future_influence"] == 0) is causal


def test_the_audit_of_an_unknown_layer_is_a_mistake(ketformer):
    ketformer("audit", "--attention", "overlap,qsia").assert_mistake("unknown attention 'qsia'")


def test_it_is_audited_evaluated_and_written_with(ketformer, hybrid):
    audit = ketformer("audit", hybrid, "--json").json
    assert (audit["attention"], audit["max_future_influence"]) == (NAME, 0.0)
    found = ketformer("evaluate", hybrid, "--json").json
    assert found["attention"] == NAME
    assert found["prefix_cross_entropy"] == pytest.approx(found["cross_entropy"], abs=1e-5)
    assert len(ketformer("generate", hybrid, "--prompt", "the", "--max_new_tokens", 5).out) >= 8


def test_the_layers_that_have_circuits_run_them(ketformer, hybrid):
    exact = ["evaluate", hybrid, "--backend", "torch", "--limit", 1, "--json"]
    found = ketformer(*exact).json
    assert found["circuits"] > 0
    assert found["logit_difference"] < 1e-4
    noisy = ketformer("circuit", "gradients", hybrid, "--limit", 1, "--json").json
    assert noisy["attention"] == NAME
    assert noisy["rows"][0]["cosine"] == pytest.approx(1, abs=1e-4)


def test_each_circuit_is_shown_under_its_mechanism(ketformer, hybrid):
    first = ketformer("circuit", "show", hybrid, "--json").json
    assert first["circuit"] == "qisa.value"
    score = ketformer("circuit", "show", hybrid, "--circuit", "overlap.score", "--json").json
    options = ("--attention_options.n_qubits", 3, "--attention_options.layers", 2)
    alone = ketformer("circuit", "show", "overlap", "--hidden_size", 8, *options, "--json")
    for key in ("n_qubits", "depth", "two_qubit_gates"):
        assert score[key] == alone.json[key]
    wrong = ketformer("circuit", "show", hybrid, "--circuit", "value")
    wrong.assert_mistake("no circuit 'value'", "has qisa.value, overlap.score")


def test_a_report_draws_its_circuits_with_the_run_and_without(ketformer, hybrid, tmp_path):
    assert ketformer("report", hybrid, "--out", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert NAME in page
    (study,) = studies_of([hybrid], progress=False)
    result = {**study.result, "rows": [{**row, "run": None} for row in study.rows]}
    result["rows"] = [{k: v for k, v in row.items() if v is not None} for row in result["rows"]]
    (tmp_path / "comparison.json").write_text(json.dumps(result))
    gone = tmp_path / "gone.html"
    assert ketformer("report", tmp_path / "comparison.json", "--out", gone).code == 0
    for circuit in (page, gone.read_text()):
        assert "2 qubits, depth" in circuit  # qisa's values: heads of width 4
        assert "4 qubits, depth" in circuit  # overlap's scores: three qubits and one to test


def test_options_of_a_layer_are_swept(ketformer, base, tmp_path):
    swept = ketformer(
        "sweep", base, "--attention", "classical,overlap,classical", "--max_steps", 1, "--json",
        "--attention_options.overlap.layers", 2, "--out", tmp_path / "out",
        "--grid", "attention_options.overlap.n_qubits=2,3",
    )  # fmt: skip
    found = {}
    for row in swept.json["rows"]:
        model = yaml.safe_load((tmp_path / row["run"] / "settings.yaml").read_text())["model"]
        found[row["name"]] = model["attention_options"]
    assert found == {
        f"overlap.n_qubits={n}": {"overlap": {"layers": 2, "n_qubits": n}} for n in (2, 3)
    }


def test_mechanisms_of_the_layers_are_swept(ketformer, base, tmp_path):
    grid = ("--grid", "attention=classical,classical+overlap+classical")
    done = ketformer("sweep", base, "--max_steps", 1, *grid, "--out", tmp_path / "out", "--json")
    runs = {row["changes"]["attention"]: row["run"] for row in done.json["rows"]}
    config = open_run(tmp_path / runs["classical+overlap+classical"]).model.config
    assert config.attention == ["classical", "overlap", "classical"]
