"""``compare --merge``: seeds and arms that were trained apart give the table of one comparison."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from commands import files_in, somebody_in
from ketformer.comparison import compare, jobs, merge
from ketformer.errors import KetformerError
from ketformer.runs import load_settings

ARMS = ("classical", "qisa")
TIMES = ("inference_ms", "relative_inference_time")


@pytest.fixture(scope="module")
def base(tiny):
    return load_settings(tiny).override({"max_steps": 4, "eval_steps": 2, "seed": 5})


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """The folder of one comparison of two seeds, with a search."""
    out = tmp_path_factory.mktemp("merge") / "whole"
    compare(ARMS, base, out, seeds=2, rates=2, progress=False)
    return out


@pytest.fixture(scope="module")
def apart(base, whole, tmp_path_factory):
    """Two folders of a seed each; the second has taken over the first one's search."""
    folder = tmp_path_factory.mktemp("apart")
    for seed in (5, 6):
        out = folder / f"seed{seed}"
        for path in (whole / "search", *whole.glob(f"*-seed{seed}")):
            shutil.copytree(path, out / path.name)
        own = base.override({"seed": seed})
        compare(ARMS, own, out, seeds=1, rates=2, progress=False)
    return folder / "seed5", folder / "seed6"


def rows_without_times(result):
    return [{k: v for k, v in row.items() if k not in (*TIMES, "run")} for row in result["rows"]]


def edited(folder, tmp_path, change):
    """A copy of a comparison with another result."""
    copy = shutil.copytree(folder, tmp_path / "edited")
    result = json.loads((copy / "comparison.json").read_text())
    change(result)
    (copy / "comparison.json").write_text(json.dumps(result))
    return copy


def test_seeds_apart_give_the_table_of_both(ketformer, whole, apart, tmp_path):
    out = tmp_path / "both"
    merged = ketformer("compare", "--merge", *apart[::-1], "--out", out, "--json").json
    once = json.loads((whole / "comparison.json").read_text())
    assert merged["seeds"] == once["seeds"] == [5, 6]
    assert rows_without_times(merged) == rows_without_times(once)  # with the paired tests
    assert merged["rows"][1]["paired"]["cross_entropy"]["p_value"] is not None
    for key in ("settings", "reference", "matched", "search", "columns", "notes"):
        assert merged[key] == once[key]
    assert merged["manifest"]["merged"] == [str(path) for path in apart[::-1]]
    saved = json.loads((out / "comparison.json").read_text())
    assert {**saved, "report": merged["report"]} == merged
    assert ketformer("report", out, "--out", tmp_path / "page.html").code == 0  # finds the runs


def test_arms_apart_share_the_reference(base, whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole / "search", other / "search")
    for path in whole.glob("classical-seed*"):
        shutil.copytree(path, other / path.name)
    compare(("classical", "qsann"), base, other, seeds=2, rates=2, progress=False)
    merged = merge([whole, other], tmp_path / "all")
    assert [row["name"] for row in merged["rows"]] == ["classical", "qisa", "qsann"]
    assert all(len(row["cross_entropy"]["values"]) == 2 for row in merged["rows"])
    again = merge([tmp_path / "all", other], tmp_path / "again")  # a merge can be merged
    assert rows_without_times(again) == rows_without_times(merged)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r["settings"]["training"].update(max_steps=9), "settings.training.max_steps is"),
        (lambda r: r["settings"]["model"].update(hidden_size=9), "settings.model.hidden_size is"),
        (lambda r: r.update(matched=False), "matched is True in one and False in the other"),
        (lambda r: r["search"].update(share=0.5), "search.share is"),
        (lambda r: r["rows"][1].update(learning_rate=7.0), "learning_rate is"),
        (lambda r: r["rows"][0].update(parameters=7), "reference.parameters is"),
        (lambda r: r["manifest"]["machine"]["versions"].update(ketformer="0"), "ketformer is"),
        (lambda r: r["rows"][1].update(weights_sha256=["0"]), "not with the weights"),
        (lambda r: r["rows"].pop(), "qisa has no run with seed 6"),
        (lambda r: r.pop("search"), "not the result of a comparison"),
        (lambda r: r.update(rows=3), "not the result of a comparison"),
    ],
)
def test_what_differs_is_named(apart, tmp_path, change, told):
    other = edited(apart[1], tmp_path, change)
    with pytest.raises(KetformerError, match=told):
        merge([apart[0], other], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_other_data_is_named_by_its_hash_and_its_path_is_free(apart, tmp_path):
    other = edited(apart[1], tmp_path, lambda r: r["settings"].update(data="/elsewhere/text.txt"))
    assert merge([apart[0], other], tmp_path / "both")["seeds"] == [5, 6]
    manifest = json.loads((other / "qisa-seed6/manifest.json").read_text())
    manifest["data"]["sha256"] = "0" * 64
    (other / "qisa-seed6/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(KetformerError, match=r"SHA-256 of their data is .* and 000000000000…"):
        merge([apart[0], other], tmp_path / "other")


def test_a_run_measured_twice_must_be_the_same(base, whole, apart, tmp_path):
    merged = merge([*apart, whole], tmp_path / "twice")
    assert [len(row["cross_entropy"]["values"]) for row in merged["rows"]] == [2, 2]
    other = shutil.copytree(whole, tmp_path / "other")
    shutil.copytree(other / "qisa-seed5", other / "swapped")
    shutil.rmtree(other / "qisa-seed5")
    shutil.copytree(other / "qisa-seed6", other / "qisa-seed5")
    result = json.loads((other / "comparison.json").read_text())
    result["rows"][1]["weights_sha256"][0] = result["rows"][1]["weights_sha256"][1]
    (other / "comparison.json").write_text(json.dumps(result))
    with pytest.raises(KetformerError, match="same row and seed but have other weights"):
        merge([apart[0], other], tmp_path / "both")


def test_only_an_earlier_merge_is_replaced(ketformer, whole, apart, tmp_path):
    merge(apart, tmp_path / "both")
    assert merge(apart, tmp_path / "both")["seeds"] == [5, 6]
    for taken in (whole, apart[0]):
        before = files_in(taken)
        done = ketformer("compare", "--merge", *apart, "--out", taken)
        done.assert_mistake("holds something other than a merge")
        assert {k: v for k, v in files_in(taken).items() if k != taken} == {
            k: v for k, v in before.items() if k != taken
        }
    with somebody_in(tmp_path / "both"):
        done = ketformer("compare", "--merge", *apart, "--out", tmp_path / "both")
        done.assert_mistake("in use by process")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--merge", "a", "b"), "--merge needs --out"),
        (("--merge", "a", "--out", "new"), "at least two folders"),
        (("--merge", "a", "b", "--out", "new"), "a: no comparison.json"),
        (("classical", "--merge", "a", "b", "--out", "new"), "mechanisms: not with --merge"),
        (("--merge", "a", "b", "--out", "new", "--seeds", 2), "--seeds: not with --merge"),
        (("--merge", "a", "b", "--out", "new", "--max_steps", 2), "--max_steps: not with --merge"),
    ],
)
def test_mistakes(ketformer, tmp_path, args, told):
    ketformer("compare", *args).assert_mistake(told)


def test_the_seed_of_the_search_is_no_rows(base, tmp_path):
    with pytest.raises(KetformerError, match="1042 is that of the search"):
        compare(ARMS, base.override({"seed": 1041}), tmp_path / "c", seeds=2)


def test_the_example_of_the_page(ketformer, tiny, tmp_path, monkeypatch):
    """Its commands, as bash expands them; the trials are trained once, the rows for each seed."""
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).resolve().parents[2] / "docs/how-to/cluster.md"
    (script,) = re.findall(r'```bash title="seeds.sh"\n(.*?)```', page.read_text(), re.DOTALL)
    shown = "".join(f'{name}() {{ echo {name} "$@"; }}\n' for name in ("ketformer", "cp", "mkdir"))
    options = f"--preset {tiny} --rates 2 --max_steps 3 --jobs 1"
    given = {"ARMS": "classical qisa", "OPTIONS": options}
    listed = subprocess.run(
        ["bash", "-c", shown + script], env=given, capture_output=True, text=True, check=True
    )
    trained, train = [], jobs.train
    monkeypatch.setattr(jobs, "train", lambda *a, **k: trained.append(a[1].name) or train(*a, **k))
    for name, *args in map(shlex.split, listed.stdout.splitlines()):
        if name == "ketformer":
            assert ketformer(*args).code == 0, args
        else:
            subprocess.run([name, *args], check=True)
    trials = [name for name in trained if "-rate" in name]
    assert len(trials) == len(set(trials)) >= 4
    assert len([name for name in trained if "-rate" not in name]) == 6
    result = json.loads((tmp_path / "runs/all/comparison.json").read_text())
    assert result["seeds"] == [42, 43, 44]
    assert [len(row["cross_entropy"]["values"]) for row in result["rows"]] == [3, 3]
