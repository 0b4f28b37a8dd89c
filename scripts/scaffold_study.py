"""How often a model of fragments writes what it is asked for: scaffolds, and two fragments linked.

Asks for scaffolds that the run was trained on and for those of its test part, which after
`train --split scaffold` it has never seen. About a minute of one core.
Usage: python scripts/scaffold_study.py RUN [--requests 20] [--num 100] [--seed 42]
       [--out results/scaffolds.json]
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.generation import MoleculeSampling, generate_molecules, sample_molecules
from ketformer.runs import Run, open_run
from ketformer.runs.data import molecules_of
from ketformer.tasks.molecules.chemistry import read_smiles
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.tasks.molecules.scaffolds import scaffolds
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.tasks.molecules.substructure import contain
from ketformer.utils.files import write_json
from ketformer.utils.logging import quiet_libraries
from ketformer.utils.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
#: Scaffolds of fewer molecules are not asked for: little can be attached to them within QM9's size.
COMMON = 10
_UNASKED = 2_000  # samples with nothing asked for
_MEANS = ("scaffold_kept", "validity", "uniqueness", "novelty")

#: What to ask a run for, as options of MoleculeSampling.
Request = dict[str, Any]


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run trained with --tokenizer safe")
    parser.add_argument("--requests", type=int, default=20, help="requests of each kind (20)")
    parser.add_argument("--num", type=int, default=100, help="molecules for each (100)")
    parser.add_argument("--seed", type=int, default=42, help="of the choice and of sampling (42)")
    parser.add_argument("--out", type=Path, default=ROOT / "results/scaffolds.json")
    given = parser.parse_args()
    quiet_libraries()
    run = open_run(given.run)
    write_json(given.out, study(run, molecules_of(run.settings, run.tokenizer), given))


def study(run: Run, data: MoleculeData, given: argparse.Namespace) -> dict[str, Any]:
    """Every kind of request, for both parts."""
    unasked = [
        text
        for block in sample_molecules(run, _UNASKED, MoleculeSampling(seed=given.seed))
        for text in block
    ]
    canonical = canonicalise(unasked, progress=False)
    rows = []
    for part in ("train", "test"):
        groups = grouped(data.smiles[part])
        for kind, choose in KINDS.items():
            chosen = choose(groups, given.requests, random.Random(given.seed))
            asked = [
                _asked(run, data, canonical, request, given.num, given.seed)
                for request in tqdm(chosen, desc=f"{kind}, {part}")
            ]
            done = [one for one in asked if "refused" not in one]
            rows.append(
                {
                    "kind": kind,
                    "part": part,
                    "requests": len(done),
                    "refused": len(asked) - len(done),
                    **{key: _mean(done, key) for key in (*_MEANS, "unasked")},
                    "lowest": min(one["scaffold_kept"] for one in done),
                    "asked": asked,
                }
            )
    return {
        "run": run.path.name,
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        "parameters": run.model.num_parameters(),
        "training": run.settings.training,
        "split": run.settings.split,
        "data": data.facts,
        "sizes": {part: len(smiles) for part, smiles in data.smiles.items()},
        "common": COMMON,
        "num": given.num,
        "seed": given.seed,
        "unasked": {"sampled": _UNASKED, "validity": sum(map(bool, canonical)) / _UNASKED},
        "rows": rows,
        "machine": describe_machine(),
    }


def grouped(smiles: Sequence[str]) -> dict[str, list[str]]:
    """Molecules by their Bemis-Murcko scaffolds, both sorted.

    Without those that have no ring, or a scaffold that RDKit writes but cannot read.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for molecule, scaffold in sorted(zip(smiles, scaffolds(smiles, progress=False), strict=True)):
        groups[scaffold].append(molecule)
    return {scaffold: groups[scaffold] for scaffold in sorted(groups) if read_smiles(scaffold)}


def _asked(
    run: Run,
    data: MoleculeData,
    unasked: Sequence[str | None],
    request: Request,
    num: int,
    seed: int,
) -> dict[str, Any]:
    """One request: what came of it, and how often it is met by samples that were not asked."""
    try:
        sampling = MoleculeSampling(**request, seed=seed)
        sampled = generate_molecules(run, num, sampling, known=data.known, progress=False)
    except KetformerError as error:
        return {**request, "refused": str(error)}
    met = sum(contain(unasked, sampling.parts)) / len(unasked)
    return {**request, **{key: sampled.metrics[key] for key in _MEANS}, "unasked": met}


def _mean(asked: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Over the requests that have it: what is distinct or new is unknown if nothing is valid."""
    known = [one[key] for one in asked if one[key] is not None]
    return statistics.fmean(known) if known else None


# --- What is asked for ---------------------------------------------------------------------------


def _anywhere(
    groups: Mapping[str, Sequence[str]], number: int, draw: random.Random
) -> list[Request]:
    """Scaffolds as they are: the model chooses where to attach what."""
    common = [scaffold for scaffold, molecules in groups.items() if len(molecules) >= COMMON]
    return [{"scaffold": scaffold} for scaffold in draw.sample(common, min(number, len(common)))]


def _marked(groups: Mapping[str, Sequence[str]], number: int, draw: random.Random) -> list[Request]:
    """The same scaffolds with attachment points, those of one of their molecules."""
    found = []
    for request in _anywhere(groups, number, draw):
        scaffold = request["scaffold"]
        molecule = draw.choice([one for one in groups[scaffold] if one != scaffold])
        core = Chem.ReplaceSidechains(Chem.MolFromSmiles(molecule), Chem.MolFromSmiles(scaffold))
        found.append({"scaffold": Chem.MolToSmiles(core)})
    return found


def _linked(groups: Mapping[str, Sequence[str]], number: int, draw: random.Random) -> list[Request]:
    """The two ring systems of a scaffold, with attachment points where they were joined."""
    pairs = {pair for scaffold in groups if (pair := _ring_systems(scaffold))}
    chosen = draw.sample(sorted(pairs), min(number, len(pairs)))
    return [{"fragments": pair} for pair in chosen]


def _ring_systems(scaffold: str) -> tuple[str, str] | None:
    """Both ring systems, cut off at single bonds; None unless they are two, with atoms between."""
    molecule = Chem.MolFromSmiles(scaffold)
    bonds = [
        bond.GetIdx()
        for bond in molecule.GetBonds()
        if bond.GetBondType() == Chem.BondType.SINGLE
        and not bond.IsInRing()
        and (bond.GetBeginAtom().IsInRing() or bond.GetEndAtom().IsInRing())
    ]
    if not bonds:
        return None
    pieces = Chem.GetMolFrags(Chem.FragmentOnBonds(molecule, bonds), asMols=True)
    rings = [piece for piece in pieces if piece.GetRingInfo().NumRings()]
    if len(rings) != 2 or len(pieces) == 2:
        return None
    first, second = sorted(Chem.MolToSmiles(_plain(piece)) for piece in rings)
    return first, second


def _plain(piece: Chem.Mol) -> Chem.Mol:
    """With attachment points that are all alike."""
    for atom in piece.GetAtoms():
        if not atom.GetAtomicNum():
            atom.SetIsotope(0)
    return piece


KINDS = {"anywhere": _anywhere, "marked": _marked, "linked": _linked}

if __name__ == "__main__":
    main()
