"""Shards: samples of their own, and one table with the counts of all."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from commands import forked, ray_workers, rows_of
from ketformer.errors import KetformerError
from ketformer.generation.shards import merge_tables
from ketformer.tasks.molecules.journal import rows_noted
from ketformer.tasks.molecules.output import MoleculeTable
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.utils import cluster


def without_files(said):
    """What a command printed, but for names and the time."""
    named = ("csv", "sdf", "grid", "shortlist_csv", "shortlist_sdf", "shortlist_grid")
    return {k: v for k, v in said.items() if k not in (*named, "molecules_per_second")}


def write(path, smiles, requested=None, novel=True):
    """A table of samples with properties."""
    valid = [text != "nonsense" for text in smiles]
    canonical = [text if good else None for text, good in zip(smiles, valid, strict=True)]
    values = compute_properties([text or "" for text in canonical], progress=False)
    flags = [novel] * len(smiles)
    with MoleculeTable(path, tuple(PROPERTIES), requested) as table:
        table.write(smiles, canonical, valid, [False] * len(smiles), flags, flags, values)
    return path


@pytest.mark.filterwarnings("ignore:only")
def test_shards_have_samples_of_their_own_and_merge(ketformer, conditional, tmp_path):
    def generate(name, *options):
        out = tmp_path / f"{name}.csv"
        done = ketformer("generate", conditional, *options, "--out", out, "--json")
        assert done.code == 0, done.err
        return done.json, rows_of(out)

    wish = ("--num", 101, "--condition", "TPSA=20")
    parts = [generate(f"part{i}", *wish, "--shard", f"{i}/2") for i in (1, 2)]
    assert [said["sampled"] for said, _ in parts] == [51, 50]
    some, others = ([row["smiles"] for row in rows] for _, rows in parts)
    assert len(set(some) & set(others)) < 40
    assert generate("again", *wish, "--shard", "2/2")[1] == parts[1][1]
    asked = ("--filter", "TPSA<30", "--rank", "request")
    both = [tmp_path / "part1.csv", tmp_path / "part2.csv"]
    said, rows = generate("all", "--merge", *both, *asked)
    samples = [row for _, part in parts for row in part]
    distinct = {row["canonical_smiles"] for row in samples} - {""}
    assert said["sampled"] == 101
    assert said["valid"] == sum(row["valid"] == "true" for row in samples)
    assert said["unique"] == len(distinct) < said["valid"]
    novel = {row["canonical_smiles"] for row in samples if row["novel"] == "true"}
    assert said["novel"] == len(novel)
    kept = [row["canonical_smiles"] for row in rows if row["valid"] == "true"]
    assert sorted(kept) == sorted(distinct)
    assert {row["duplicate"] for row in rows} == {"false"}
    assert len(rows) == 101 - said["valid"] + said["unique"]
    values = [float(row["TPSA"]) for row in samples if row["valid"] == "true"]
    assert said["requested"]["TPSA"]["mae"] == pytest.approx(
        sum(abs(value - 20) for value in values) / len(values), rel=1e-4
    )
    assert said["shortlist"]["considered"] == len(distinct)
    assert {path.name for path in tmp_path.iterdir()} >= {"all.sdf", "all-shortlist.sdf"}
    at_once, _ = generate("at-once", *wish, "--jobs", 2, *asked)
    assert without_files(at_once) == without_files(said)
    assert at_once["molecules_per_second"] > 0
    for kind in ("csv", "sdf"):
        for end in ("", "-shortlist"):
            ours = (tmp_path / f"at-once{end}.{kind}").read_bytes()
            assert ours == (tmp_path / f"all{end}.{kind}").read_bytes()
    assert not (tmp_path / "at-once.shards").exists()


@pytest.mark.slow
def test_a_killed_command_goes_on_with_its_shards(ketformer, molecules, tmp_path):
    """Its workers end with it; a shard that is whole is not sampled again."""
    call = ["generate", str(molecules), "--num", "5000", "--jobs", "2", "--json", "--out"]
    process = forked(*call, tmp_path / "parts.csv")
    shards = [tmp_path / f"parts.shards/{i}-of-2/molecules.csv" for i in (1, 2)]
    while process.is_alive() and sum(map(rows_noted, shards)) < 2048:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (tmp_path / "parts.csv").exists()
    done = ketformer(*call, tmp_path / "parts.csv")
    assert done.code == 0, done.err
    assert int(re.search(r"(\d+)/5000", done.err)[1]) >= 2048  # it resumed
    whole = ketformer(*call, tmp_path / "whole.csv")
    assert without_files(done.json) == without_files(whole.json)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("parts", "whole") for kind in ("csv", "sdf", "png")
    }


def test_what_is_not_known_of_one_is_not_known_of_all(tmp_path):
    tables = [write(tmp_path / "a.csv", ["C", "CC"]), write(tmp_path / "b.csv", ["CC"], novel=None)]
    metrics = merge_tables(tables, tmp_path / "all.csv", progress=False).metrics
    assert (metrics["valid"], metrics["unique"], metrics["novel"]) == (3, 2, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("smiles\nC\n", "b.csv: not a table that generate wrote"),
        ("a,b\n1,2\n", "b.csv: not a table that generate wrote"),
        (["C"], r"a\.csv and .*b\.csv hold the same samples"),
        ({"LogP": 1.0}, "b.csv has other columns than"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, content, told):
    write(tmp_path / "a.csv", ["C"])
    if isinstance(content, str):
        (tmp_path / "b.csv").write_text(content)
    else:
        write(tmp_path / "b.csv", ["C"], content if isinstance(content, dict) else None)
    with pytest.raises(KetformerError, match=told):
        merge_tables([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "all.csv")
    assert not (tmp_path / "all.csv").exists()


@pytest.mark.parametrize(
    "damage", [(b",16.", b",x16."), (b"C,C,", b"\xff,C,"), (b"C,C,", b"C,"), (b"C,C,", b"C,C,,")]
)
def test_a_damaged_table_is_refused(tmp_path, damage):
    table = write(tmp_path / "a.csv", ["C", "CC"])
    assert damage[0] in table.read_bytes()
    table.write_bytes(table.read_bytes().replace(*damage, 1))
    with pytest.raises(KetformerError, match=r"a\.csv: the table is damaged"):
        merge_tables([table], tmp_path / "all.csv", progress=False)
    assert not (tmp_path / "all.csv").exists()


def test_another_request_is_refused_and_a_table_is_not_its_own_sum(tmp_path):
    a = write(tmp_path / "a.csv", ["C"], {"LogP": 1.0})
    b = write(tmp_path / "b.csv", ["CC"], {"LogP": 2.0})
    with pytest.raises(KetformerError, match=r"b\.csv has another request than"):
        merge_tables([a, b], tmp_path / "all.csv", progress=False)
    with pytest.raises(KetformerError, match="is one of the tables to merge"):
        merge_tables([a], a, progress=False)
    assert len(rows_of(a)) == 1


# --- On a cluster --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_samples_the_same_though_a_worker_is_killed(
    nodes, ketformer, molecules, tmp_path
):
    call = ("generate", molecules, "--num", 6000, "--jobs", 2, "--json", "--out")
    shards = [tmp_path / f"there.shards/{i}-of-2/molecules.csv" for i in (1, 2)]

    def kill():
        while sum(map(rows_noted, shards)) < 2048:
            time.sleep(0.02)
        os.kill(ray_workers()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    there = ketformer(*call, tmp_path / "there.csv", "--cluster", nodes.address)
    killer.join()
    assert there.code == 0, there.err
    assert "its worker or node died; going on from what it saved last" in there.err
    here = ketformer(*call, tmp_path / "here.csv")
    assert without_files(there.json) == without_files(here.json)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert not (tmp_path / "there.shards").exists()


@pytest.mark.slow
def test_a_cluster_without_shared_storage_is_refused(
    nodes, ketformer, molecules, tmp_path, monkeypatch
):
    here = cluster._Crew.here.__func__

    def unshared(cls, ray, mark, share):
        return here(cls, ray, Path("/nowhere/mark"), share)

    monkeypatch.setattr(cluster._Crew, "here", classmethod(unshared))
    call = ("generate", molecules, "--num", 10, "--jobs", 2, "--cluster", nodes.address)
    done = ketformer(*call, "--out", tmp_path / "m.csv")
    assert (done.code, done.out) == (2, "")
    assert "choose an --out that all nodes of the cluster share" in done.err
    assert not list(tmp_path.iterdir())
