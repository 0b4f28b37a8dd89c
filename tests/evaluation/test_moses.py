"""MOSES' metrics through ``evaluate``: of a run's samples, and of a file."""

import shutil

import pytest
import yaml

from ketformer.tasks.metric import METRICS
from ketformer.tasks.molecules.moses_metrics import moses_metrics
from ketformer.tasks.molecules.output import COLUMNS
from ketformer.tasks.molecules.standardise import canonicalise
from tasks.molecules.wheels import small_moses

KEYS = {"moses_sampled", *(name for name in METRICS if name.startswith("moses_"))}
SAMPLES = ["CNC", "c1ccc(NC(=O)c2ccccc2)cc1", "C1CC", "N(C)C"]

pytestmark = pytest.mark.filterwarnings("ignore:unique@")


@pytest.fixture
def wheel(monkeypatch, tmp_path, smiles):
    parts = {"train": smiles[:600], "test": smiles[600:700], "test_scaffolds": smiles[700:]}
    return small_moses(monkeypatch, tmp_path / "data", parts=parts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.smi", "".join(f"{text}\n" for text in SAMPLES)),
        # As `generate` writes them.
        ("a.csv", ",".join(COLUMNS) + "\n" + "".join(f"{text},,,,,\n" for text in SAMPLES)),
    ],
)
def test_the_molecules_of_a_file(ketformer, wheel, tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    done = ketformer("evaluate", file, "--fcd", "false", "--json")
    assert done.json.keys() == {"file", "sha256", *KEYS}
    expected = moses_metrics(canonicalise(SAMPLES), wheel, with_fcd=False, progress=False)
    assert {key: done.json[key] for key in KEYS} == pytest.approx(expected)
    assert done.json["moses_valid"] == 0.75
    assert done.json["moses_unique_1k"] == 2 / 3  # in their order, repeats included


def test_the_samples_of_a_run(ketformer, wheel, molecules, tmp_path):
    sampled = ("--samples", 40, "--fcd", "false", "--limit", 8, "--json")
    assert not KEYS & ketformer("evaluate", molecules, *sampled).json.keys()
    asked = ketformer("evaluate", molecules, *sampled, "--moses", "true").json
    assert asked.keys() >= KEYS
    assert (asked["moses_sampled"], asked["moses_valid"]) == (40, asked["validity"])
    run = shutil.copytree(molecules, tmp_path / "run")
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    settings |= {"data": "moses", "split": "official"}
    (run / "settings.yaml").write_text(yaml.safe_dump(settings))
    own = ketformer("evaluate", run, *sampled, "--split", "test_scaffolds").json
    assert (own["part"], own["data"]) == ("test_scaffolds", "moses")
    assert {key: own[key] for key in KEYS} == {key: asked[key] for key in KEYS}
    refused = ketformer("evaluate", molecules, *sampled, "--split", "test_scaffolds")
    refused.assert_mistake("has no part test_scaffolds in its standard split")


def test_mistakes(ketformer, wheel, molecules, honest, tmp_path):
    file = tmp_path / "a.smi"
    file.write_text("CCO\n")
    ketformer("evaluate", file, "--samples", 9).assert_mistake("is a file; --samples does not")
    ketformer("evaluate", file, "--moses", "false").assert_mistake("all that is measured")
    ketformer("evaluate", file, "--column", "x").assert_mistake("has no columns")
    ketformer("evaluate", molecules, "--column", "x").assert_mistake("--column is that of a file")
    ketformer("evaluate", honest, "--moses", "true").assert_mistake("--moses does not apply")
    file = file.rename(tmp_path / "a.xyz")
    ketformer("evaluate", file).assert_mistake("molecule files end in one of")
