"""Shortlists: filtered, ranked and compared as a user would by hand with RDKit."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen

from commands import rows_of
from ketformer.cli.generate_shortlist import advise
from ketformer.errors import KetformerError
from ketformer.generation.molecules import Sampled
from ketformer.generation.shortlist import Plan, plan_shortlist, write_shortlist
from ketformer.runs import open_run
from ketformer.tasks.molecules.criteria import Key, parse_filter
from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.tasks.molecules.known import read_compounds
from ketformer.tasks.molecules.output import COLUMNS, MoleculeTable

SALT = "CC(=O)[O-].[Na+]"


def write_table(path, smiles):
    """A table of these samples; what is repeated is a duplicate, ``nonsense`` not valid."""
    seen, valid = set(), [text != "nonsense" for text in smiles]
    duplicate = [text in seen or seen.add(text) is not None for text in smiles]
    flags = [True] * len(smiles)
    canonical = [text if good else None for text, good in zip(smiles, valid, strict=True)]
    with MoleculeTable(path) as table:
        table.write(smiles, canonical, valid, duplicate, flags, flags)
    return path


def test_a_shortlist_is_what_one_would_make_by_hand(tmp_path):
    smiles = embedded_smiles(4)[40::9]
    table = write_table(tmp_path / "m.csv", ["nonsense", *smiles, *smiles[:5]])
    before = table.read_bytes()
    plan = Plan(tuple(parse_filter("QED>0.4 LogP<0.5")), (Key("QED", True),), best=7)
    made = write_shortlist(plan, table, progress=False)
    assert table.read_bytes() == before
    qed, log_p = (
        {text: function(Chem.MolFromSmiles(text)) for text in smiles}
        for function in (QED.qed, Crippen.MolLogP)
    )
    met = [text for text in smiles if qed[text] > 0.4 and log_p[text] < 0.5]
    best = sorted(met, key=lambda text: -qed[text])[:7]
    assert len(met) > 7
    rows = rows_of(made.files["shortlist_csv"])
    assert [row["smiles"] for row in rows] == best
    assert [row["rank"] for row in rows] == list("1234567")
    assert [smiles[int(row["sample"]) - 2] for row in rows] == best
    assert [float(row["QED"]) for row in rows] == pytest.approx([qed[text] for text in best], 1e-5)
    assert made.facts == {
        "considered": len(smiles),
        "passed": {
            "QED>0.4": sum(value > 0.4 for value in qed.values()),
            "LogP<0.5": sum(value < 0.5 for value in log_p.values()),
            "all": len(met),
        },
        "listed": 7,
    }
    records = list(Chem.SDMolSupplier(made.files["shortlist_sdf"]))
    assert [record.GetProp("_Name") for record in records] == best
    assert [record.GetProp("rank") for record in records] == list("1234567")
    assert (tmp_path / "m-shortlist.png").stat().st_size > 1000


def test_the_request_ranks_by_deviations_of_the_training_data(tmp_path):
    smiles = embedded_smiles(3)[8:40]
    table = write_table(tmp_path / "m.csv", smiles)
    plan = Plan((), (Key("request", False),), {"LogP": 0.3, "MW": 40.0}, {"LogP": 0.5, "MW": 8.0})
    rows = rows_of(write_shortlist(plan, table, progress=False).files["shortlist_csv"])
    distances = [
        (abs(float(row["LogP"]) - 0.3) / 0.5 + abs(float(row["MW"]) - 40) / 8) / 2 for row in rows
    ]
    assert len(rows) == 32
    assert distances == sorted(distances)
    assert [float(row["request_distance"]) for row in rows] == pytest.approx(distances, abs=1e-4)
    assert {(row["requested_LogP"], row["requested_MW"]) for row in rows} == {("0.3", "40")}


def test_salts_become_their_molecule_once(tmp_path):
    table = write_table(tmp_path / "m.csv", [SALT, "CCO", "CC(=O)[O-].[K+]", "CC(=O)[O-]"])
    for desalt, expected in [(False, 4), (True, 2)]:
        made = write_shortlist(Plan(desalt=desalt), table, progress=False)
        assert made.considered == made.listed == expected
    rows = rows_of(made.files["shortlist_csv"])
    assert [(row["smiles"], row["novel"]) for row in rows] == [("CC(=O)[O-]", ""), ("CCO", "true")]


def test_known_compounds_are_named_and_new_ones_marked(tmp_path):
    table = write_table(tmp_path / "m.csv", ["CCO", "CCCO", SALT])
    (tmp_path / "known.smi").write_text("OCC ethanol\nCCN amine\nCC(=O)[O-] acetate\n")
    known = read_compounds(str(tmp_path / "known.smi"), progress=False)
    plan = Plan(tuple(parse_filter("similarity<1", ["similarity"])), known=known, desalt=True)
    made = write_shortlist(plan, table, progress=False)
    assert made.facts["passed"] == {"similarity<1": 1, "all": 1}
    plan = Plan(keys=(Key("similarity", True),), known=known, desalt=True)
    made = write_shortlist(plan, table, progress=False)
    rows = rows_of(made.files["shortlist_csv"])
    assert made.new == 1
    assert [(row["smiles"], row["nearest_id"], row["new"]) for row in rows] == [
        ("CCO", "ethanol", "false"), ("CC(=O)[O-]", "acetate", "false"),
        ("CCCO", "ethanol", "true"),
    ]  # fmt: skip
    assert [float(row["similarity"]) for row in rows][:2] == [1, 1]
    last = list(Chem.SDMolSupplier(made.files["shortlist_sdf"]))[-1]
    assert last.GetProp("nearest_known") == "CCO"
    assert last.GetProp("nearest_id") == "ethanol"


@pytest.mark.parametrize(
    ("smiles", "told"),
    [
        (
            ["CCO", "CCN"],
            r"none of 2 molecules meets all criteria \(QED>0.99 by 0, LogP<0.1 by 2\)",
        ),
        (["nonsense"], "no sample is a valid molecule"),
    ],
)
def test_an_empty_shortlist_says_why(tmp_path, smiles, told):
    table = write_table(tmp_path / "m.csv", smiles)
    (tmp_path / "known.smi").write_text("C\n")
    known = read_compounds(str(tmp_path / "known.smi"), progress=False)
    plan = Plan(tuple(parse_filter("QED>0.99 LogP<0.1")), (Key("QED", True),), known=known)
    with pytest.warns(UserWarning, match=told):
        made = write_shortlist(plan, table, progress=False)
    assert list(made.files) == ["shortlist_csv"]
    assert rows_of(made.files["shortlist_csv"]) == []


def test_blocks_do_not_matter(tmp_path, monkeypatch):
    table = write_table(tmp_path / "m.csv", embedded_smiles(3)[:40] * 2)
    plan = Plan(tuple(parse_filter("nHet>0")), (Key("SA", False), Key("QED", True)))
    first = write_shortlist(plan, table, progress=False)
    whole = (tmp_path / "m-shortlist.csv").read_bytes()
    monkeypatch.setattr("ketformer.generation.shortlist._ROWS", 7)
    assert write_shortlist(plan, table, progress=False) == first
    assert (tmp_path / "m-shortlist.csv").read_bytes() == whole


# --- The command ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:only")
def test_the_command_leaves_the_table_as_it_is(ketformer, conditional, tmp_path):
    call = ("generate", conditional, "--num", "1_00", "--condition", "LogP=0.5", "--json")
    plain = ketformer(*call, "--out", tmp_path / "plain.csv")
    asked = ("--filter", "qed>0.3 PAINS=0", "--desalt", "true", "--best", 5)
    done = ketformer(*call, "--out", tmp_path / "m.csv", *asked)
    assert done.code == plain.code == 0, done.err
    assert "shortlist" not in plain.json
    for suffix in (".csv", ".sdf", ".png"):
        one, other = ((tmp_path / name).with_suffix(suffix) for name in ("plain", "m"))
        assert one.read_bytes() == other.read_bytes()
    rows = rows_of(done.json["shortlist_csv"])
    assert 0 < len(rows) == done.json["shortlist"]["listed"] <= 5
    assert done.json["shortlist"]["considered"] == done.json["unique"]
    # LogP alone is requested, so the nearest comes first.
    distances = [abs(float(row["LogP"]) - 0.5) for row in rows]
    assert distances == sorted(distances)
    std = open_run(conditional).model.config.condition_stds[0]
    assert np.array(distances) / std == pytest.approx(
        [float(row["request_distance"]) for row in rows], rel=1e-3, abs=1e-5
    )


@pytest.mark.filterwarnings("ignore:only")
def test_interrupted_at_the_shortlist_it_is_not_sampled_again(
    ketformer, conditional, monkeypatch, tmp_path
):
    call = ("generate", conditional, "--num", 40, "--rank", "QED", "--out", tmp_path / "m.csv")

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ketformer.cli.generate.write_shortlist", stop)
        assert ketformer(*call).code == 130
    done = ketformer(*call, "--json")
    assert done.code == 0, done.err
    assert done.json["molecules_per_second"] is None
    assert done.json["shortlist"]["listed"] == done.json["unique"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--filter", "QED>0.5"), "--filter needs --out"),
        (("--filter", "QET>0.5", "--out", "m.csv"), "no property 'QET'; known: MW"),
        (("--filter", "similarity>0.5", "--out", "m.csv"), "a file, which --known names"),
        (("--rank", "request", "--out", "m.csv"), "no property that RDKit computes is requested"),
        (("--filter", "request<1", "--out", "m.csv"), "--condition LogP=2 requests one"),
        (("--known", "gone.smi", "--out", "m.csv"), "--known gone.smi: no such file"),
        (("--best", "0", "--out", "m.csv"), "best must be positive"),
        (("--shard", "9/8"), "--shard is written 3/8"),
        (("--shard", "1/8", "--num", "7"), "--num 7 is too few for 8 shards"),
        (("--jobs", "0"), "jobs must be positive, got 0"),
        (("--jobs", "2"), "--jobs needs --out"),
        (("--jobs", "2", "--shard", "1/8", "--out", "m.csv"), "--shard does not go with it"),
        (("--jobs", "2", "--merge", "a.csv", "--out", "m.csv"), "--merge does not go with it"),
        (("--jobs", "8", "--num", "7", "--out", "m.csv"), "--num 7 is too few for 8 shards"),
        (("--cluster", "auto", "--out", "m.csv"), "--cluster needs --jobs"),
        (("--merge", "gone.csv"), "--merge needs --out"),
        (("--merge", "gone.csv", "--out", "m.csv"), "gone.csv: no such file"),
        (("--merge", "a.csv", "--num", "5", "--out", "m.csv"), "--num does not go with it"),
    ],
)
def test_a_mistake_is_told_before_sampling(ketformer, conditional, tmp_path, options, told):
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.chdir(tmp_path)
        done = ketformer("generate", conditional, *options)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert not list(tmp_path.iterdir())


def test_ranges_stand_in_for_deviations(conditional):
    run = open_run(conditional)
    run.model.config.condition_stds = [1.0, 1.0]
    run.model.config.condition_ranges = [[-1.0, 3.0], [0.0, 80.0]]
    plan = plan_shortlist(run, {"TPSA": 20.0, "LogP": 0.0})
    assert plan.scales == {"TPSA": 20.0, "LogP": 1.0}
    assert plan.keys == (Key("request", False),)


def test_a_request_that_cannot_be_checked_is_not_ranked_by(conditional):
    run = open_run(conditional)
    assert plan_shortlist(run, {"column:pIC50": 7.0}).keys == ()
    with pytest.raises(KetformerError, match="no property that RDKit computes is requested"):
        plan_shortlist(run, {"column:pIC50": 7.0}, rank=["request"])


@pytest.mark.parametrize(
    ("sampled", "told"),
    [
        (Sampled({"validity": 0.2}), "only 20% of the samples are valid molecules; train longer"),
        (
            Sampled({"validity": 1.0}, requested={"column:pIC50": 7.0, "LogP": 1.0}),
            "have the requested column:pIC50 is not checked",
        ),
    ],
)
def test_what_should_be_looked_at_is_said(sampled, told):
    with pytest.warns(UserWarning, match=told):
        advise(sampled)


def test_columns_begin_as_the_readers_want_them(tmp_path):
    made = write_shortlist(Plan(), write_table(tmp_path / "m.csv", ["CCO"]), progress=False)
    assert COLUMNS[1] not in rows_of(made.files["shortlist_csv"])[0]
    assert read_compounds(made.files["shortlist_csv"], progress=False).smiles == ["CCO"]
