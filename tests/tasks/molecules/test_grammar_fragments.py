"""The automaton over joined fragments: what is trained on passes, and only molecules do."""

import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ketformer.tasks.molecules.chemistry import canonical_smiles
from ketformer.tasks.molecules.fragments import NUMBERS, draw_fragments, write_fragments
from ketformer.tasks.molecules.grammar import NEVER
from ketformer.tasks.molecules.grammar_fragments import FragmentGrammar
from ketformer.tasks.molecules.tokenizer import split_smiles, vocabulary_of

from .druglike import DRUGS, canonical, drug_like
from .walks import random_text

SMALL = ["C", "N", "O", "F", "c", "n", "[nH]", "=", "(", ")", "1", "2", ".", *NUMBERS[:5]]
GRAMMARS = {joined: FragmentGrammar(SMALL, joined=joined) for joined in (False, True)}


def reached(grammar, text):
    """The state after a text; None if it is refused."""
    state = grammar.start
    for token in split_smiles(text):
        state = grammar.step(state, token)
        if state is None or grammar.needs(state) >= NEVER:
            return None
    return state


@settings(max_examples=60, deadline=None)
@given(drug_like, st.integers(0, 2**32 - 1))
def test_what_is_trained_on_passes_with_hardly_more_room_than_it_needs(smiles, seed):
    draw = np.random.default_rng(seed)
    for text in (write_fragments(smiles), draw_fragments(smiles, draw)):
        tokens = split_smiles(text)
        # Salts may come between the pieces of another molecule.
        grammar = FragmentGrammar(vocabulary_of([text, "C"]), joined="." not in smiles)
        state = grammar.start
        for place, token in enumerate(tokens, 1):
            state = grammar.step(state, token)
            # The search for an end may miss the shortest one, in strained rings, by some tokens.
            assert grammar.needs(state) <= len(tokens) - place + 4, (text, token)
        assert grammar.ends(state), text


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.integers(0, 2**32), st.integers(3, 20))
def test_random_tokens_that_are_allowed_make_a_molecule(joined, seed, room):
    """Numbers and dots are preferred half of the time; all else is drawn alike."""
    chance = random.Random(seed)

    def ordered():
        tokens = chance.sample(SMALL, len(SMALL))
        if chance.random() < 0.5:
            tokens.sort(key=lambda token: token not in (*NUMBERS, "."))
        return tokens

    text = random_text(GRAMMARS[joined], room, chance, ordered)
    found = canonical_smiles(text)
    assert found is not None, text
    assert not joined or "." not in found, text


@pytest.mark.parametrize(
    "wrong",
    [
        "C%10", "C%10.C", "C%11.C%11", "%10C", "C(%10)C", "C=%10", "CC%10CC%10", "C%10C%10",
        "C%10%11.C%10%11", "C%10.C%10.C%10", "F%10%11", "FN(C%10)(F)F", "n1%10ccccc1.C%10",
        "C(C%10.C%10)", "C1%10.C1%10", "C%10..C%10", "c1ccc%10cc1%10",
    ],
)  # fmt: skip
def test_what_cannot_be_a_molecule_does_not_pass(wrong):
    state = reached(GRAMMARS[False], wrong)
    assert state is None or not GRAMMARS[False].ends(state)


@pytest.mark.parametrize("text", ["C.C", "C.C%10.C%10", "C%10.C.C%10", "C%10.C%10.C"])
def test_pieces_may_be_left_apart_unless_they_are_to_be_joined(text):
    apart, joined = (reached(GRAMMARS[j], text) for j in (False, True))
    assert GRAMMARS[False].ends(apart)
    assert joined is None


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("c1ccccc1%10", 4),  # .C%10 and the end
        ("c1ccccc1%10.C", 2),
        ("c1ccccc1%10.", 3),
        ("c1cccnc1%10.c1ccccn1", 4),  # apart
        ("C%10%11", 7),
        ("C%10.C%11", 5),  # .C%10%11
        ("C%10%11.C%12", 8),
        ("C%10.C%11.C%12.C%13", 7),
        ("C%10.C%11.C%12.C%13.C%14", 8),  # %10%11%12.C%13%14, as no atom has five bonds
        ("F%10.F%11.F%12.F%13.F%14", 9),  # .CC%10%11%12%13%14
        ("C%10.C(", 4),
        ("C%10.c1cc", 4),  # %10c1, a cyclobutadiene
    ],
)
def test_what_is_said_to_be_needed_is_the_least(text, least):
    assert GRAMMARS[False].needs(reached(GRAMMARS[False], text)) == least


@pytest.mark.slow
def test_few_texts_of_drugs_need_more_room_than_they_have():
    draw, refused = np.random.default_rng(0), 0
    texts = [draw_fragments(canonical(drug), draw) for drug in DRUGS for _ in range(30)]
    grammar = FragmentGrammar(vocabulary_of([*texts, "C"]))
    for text in texts:
        tokens, state = split_smiles(text), grammar.start
        for place, token in enumerate(tokens, 1):
            state = grammar.step(state, token)
            if grammar.needs(state) > len(tokens) - place + 1:
                refused += 1
                break
        else:
            assert grammar.ends(state), text
    assert refused <= 0.02 * len(texts)
