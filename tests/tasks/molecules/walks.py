"""Random texts that a grammar allows."""


def random_text(grammar, room, chance, ordered):
    """A text of at most ``room`` tokens, the end counted, which may end wherever it can.

    ``ordered`` gives the tokens in the order in which they are tried; the first that leaves a way
    to the end is taken.
    """
    state, text = grammar.start, ""
    while not (grammar.ends(state) and (room == 1 or chance.random() < 0.1)):
        for token in ordered():
            following = grammar.step(state, token)
            if following is not None and grammar.needs(following) <= room - 1:
                break
        else:
            assert grammar.ends(state), f"nothing may follow {text!r}, with room for {room}"
            break
        state, text, room = following, text + token, room - 1
    return text
