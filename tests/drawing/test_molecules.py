"""The contents of pictures of molecules and attention, not only that the files exist."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ketformer.drawing.attention import AttentionMap, attention_figure, token_matrix
from ketformer.drawing.molecules import atom_weights, coloured_atoms, grid_svg, molecule_grid
from ketformer.errors import KetformerError

SMILES = ["CC(C)C1=CNC(=O)N1", "c1cc[nH]c1", "no", "CC12CC1CC2=O", "N#CC(=O)N1CC1", "C", "CCl"]
_BLUE, _RED = (38, 115, 235), (230, 51, 61)
_SPACE = "{http://www.w3.org/2000/svg}"


def _attention(smiles, heads=2):
    tokens = ["[CLS]", *re.findall(r"\[[^]]+\]|Cl|Br|.", smiles)]
    weights = np.tril(np.random.default_rng(0).random((heads, len(tokens), len(tokens))))
    return AttentionMap(smiles, tokens, weights / weights.sum(-1, keepdims=True))


def _texts(svg):
    """The texts of an SVG, which must be well formed."""
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(_SPACE + "text")]


def _pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def _dark(pixels):
    return (pixels.sum(axis=-1) < 500).any()


def _fill_of_atoms(svg):
    """The colour of each highlighted atom, as three numbers."""
    found = re.findall(r"<ellipse [^>]*class='atom-(\d+)'[^>]*fill:#(\w{6})", svg)
    return {int(atom): [int(fill[i : i + 2], 16) for i in (0, 2, 4)] for atom, fill in found}


def test_a_png_grid_has_a_drawing_in_each_cell_and_none_beyond(tmp_path):
    pixels = _pixels(molecule_grid(tmp_path / "new" / "grid.PNG", SMILES, columns=4))
    height, width, _ = pixels.shape
    assert width == 4 * 220
    assert (pixels[0, 0] == 255).all()
    rows = height // 2
    cells = [
        [_dark(pixels[r * rows :][:rows, c * 220 :][:, :220]) for c in range(4)] for r in (0, 1)
    ]
    assert cells == [[True] * 4, [True, True, False, False]]


def test_bonds_are_equally_long_in_every_cell():
    svg = grid_svg(["CC", "CCC", "CCCC"])
    lengths = []
    for x1, y1, x2, y2 in re.findall(r"class='bond-\d+ .*?d='M (\S+),(\S+) L (\S+),(\S+)'", svg):
        lengths.append(np.hypot(float(x1) - float(x2), float(y1) - float(y2)))
    assert len(lengths) == 6
    assert np.ptp(lengths) < 0.5


def test_a_caption_stands_under_its_own_drawing_in_the_svg():
    svg = grid_svg(SMILES, [f"{s}\nLogP < {i} & more" for i, s in enumerate(SMILES)], columns=3)
    drawn = [s for s in SMILES if s != "no"]
    indices = [SMILES.index(s) for s in drawn]
    expected = [t for i, s in zip(indices, drawn, strict=True) for t in (s, f"LogP < {i} & more")]
    assert _texts(svg) == expected
    tree = ElementTree.fromstring(svg)
    assert tree.get("viewBox") == "0 0 660 412"
    places = [(float(n.get("x")), float(n.get("y"))) for n in tree.iter(_SPACE + "text")]
    assert places[0] == (110, 177)
    assert places[-1] == (550, 206 + 194)


def test_captions_do_not_touch_the_drawing(tmp_path):
    tall = ["CCCCCCCCCCCCC1CC1CC(C)(C)CCCCCCCCCCCCCC", "C1CCCCCCCCCCCCCCCCCCCCCCCCCC1"]
    pixels = _pixels(molecule_grid(tmp_path / "grid.png", tall, ["gjpq|", "(text)"]))
    assert _dark(pixels[165:185])
    assert not _dark(pixels[158:164])


def test_long_captions_are_wrapped_whole_into_their_column():
    smiles = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)NCC[N+](C)(C)C-CCCCCCCC"
    lines = _texts(grid_svg(["C"], [smiles]))
    assert "".join(lines) == smiles
    assert max(map(len, lines)) <= 30


def test_the_grid_has_its_own_white_rounded_paper_and_no_header():
    svg = grid_svg(["C"])
    assert svg.startswith("<svg ")
    (paper,) = ElementTree.fromstring(svg).findall(_SPACE + "rect")
    assert paper.get("fill") == "#ffffff"
    assert float(paper.get("rx")) > 0


def test_the_limit_counts_what_is_drawn(tmp_path):
    captions = [f"caption {i}" for i in range(len(SMILES))]
    assert _texts(grid_svg(SMILES, captions, limit=3)) == ["caption 0", "caption 1", "caption 3"]
    path = molecule_grid(tmp_path / "grid.svg", SMILES, captions, limit=1)
    assert _texts(path.read_text()) == ["caption 0"]


@pytest.mark.parametrize(
    ("name", "smiles", "options", "told"),
    [
        ("grid.jpg", ["C"], {}, ".png or .svg"),
        ("grid", ["C"], {}, ".png or .svg"),
        ("grid.png", ["no", ""], {}, "no valid molecule"),
        ("grid.png", [], {}, "no valid molecule"),
        ("grid.png", ["C"], {"columns": 0}, "must be positive"),
        ("grid.png", ["C"], {"limit": 0}, "must be positive"),
    ],
)
def test_mistakes_leave_no_file(tmp_path, name, smiles, options, told):
    with pytest.raises(KetformerError, match=told) as raised:
        molecule_grid(tmp_path / name, smiles, **options)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_atom_weights_are_means_over_the_rows_that_see_the_atom():
    weights = np.array([[[1, 9, 9, 9], [2, 4, 9, 9], [3, 5, 6, 9], [7, 9, 8, 3]]], float)
    attention = AttentionMap(
        "C=O", ["[CLS]", "C", "=", "O"], np.concatenate([weights, 0 * weights])
    )
    assert atom_weights(attention, head=0).tolist() == [(4 + 5 + 9) / 3, 3]
    assert atom_weights(attention).tolist() == [3, 1.5]
    assert atom_weights(attention, head=1).tolist() == [0, 0]


def test_the_last_atom_is_not_punished_for_its_place():
    tokens = ["[CLS]", *"CCCCC"]
    uniform = AttentionMap("CCCCC", tokens, np.tril(np.full((1, 6, 6), 0.25)))
    assert atom_weights(uniform).tolist() == [0.25] * 5


@pytest.mark.parametrize(
    ("smiles", "atoms"),
    [
        ("c1cc[nH]c1", [1, 3, 4, 5, 6]),
        ("[13CH3:7][N+](C)(C)[O-]", [1, 2, 4, 7, 9]),
        ("ClC(Br)=C", [1, 2, 4, 7]),
        ("[H]C#[C-]", [1, 2, 4]),
        ("C[C@@H](F)[se]", None),
        ("N[C@H](C)C%10CC%10", [1, 2, 4, 6, 8, 9]),
    ],
)
def test_tokens_are_mapped_to_atoms(smiles, atoms):
    tokens = ["[CLS]", *re.findall(r"\[[^]]+\]|Cl|Br|%\d\d|.", smiles), "[SEP]", "[PAD]", "[UNK]"]
    weights = np.tril(np.tile(np.arange(len(tokens), dtype=float), (1, len(tokens), 1)))
    attention = AttentionMap(smiles, tokens, weights)
    if atoms is None:
        with pytest.raises(KetformerError, match="not a valid SMILES"):
            atom_weights(attention)
    else:
        assert atom_weights(attention).tolist() == pytest.approx(atoms)


def test_attention_that_does_not_fit_is_refused(tmp_path):
    good = _attention("CCO")
    with pytest.raises(KetformerError, match="'CO' has 2 atoms, its tokens have 3"):
        atom_weights(AttentionMap("CO", good.tokens, good.weights))
    with pytest.raises(KetformerError, match=r"no head 2: the heads are 0 to 1"):
        token_matrix(tmp_path / "a.png", good, head=2)
    with pytest.raises(KetformerError, match=r"expected shape \(heads, 3, 3\)"):
        AttentionMap("CCO", good.tokens[1:], good.weights)
    for draw, name in ((token_matrix, "a.gif"), (coloured_atoms, "a.pdf")):
        with pytest.raises(KetformerError, match=r"must end in \."):
            draw(tmp_path / name, good)
    assert list(tmp_path.iterdir()) == []


def test_a_token_matrix_names_its_tokens_and_its_head(tmp_path):
    attention = _attention("CC$C$C=O", heads=3)
    texts = _texts(token_matrix(tmp_path / "a.svg", attention).read_text())
    for token in ("[CLS]", "=", "O"):
        assert texts.count(token) == 2
    assert texts.count("$") == 4
    assert {"attention weight", "CC$C$C=O", "mean over 3 heads"} <= set(texts)
    one = _texts(token_matrix(tmp_path / "b.svg", attention, head=1).read_text())
    assert "head 1" in one


def _cells(path, colour):
    """Which of the 4 x 4 cells of a drawn matrix (blue on its diagonal) have that colour."""
    pixels = _pixels(path)[:, :-110]  # without the colour bar
    matrix = (np.abs(pixels - _BLUE) < 12).all(axis=-1)
    rows, columns = np.flatnonzero(matrix.any(1)), np.flatnonzero(matrix.any(0))
    square = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    centres = [int((i + 0.5) * len(square) / 4) for i in range(4)]
    return (np.abs(square[np.ix_(centres, centres)] - colour) < 12).all(axis=-1)


def test_the_future_is_blank_where_nothing_leaks_and_red_where_it_does(tmp_path):
    full, lower = np.ones((4, 4)), np.tril(np.ones((4, 4)))
    for weights, ahead in ((lower, np.zeros((4, 4))), (full, full - lower)):
        attention = AttentionMap("CCC", ["[CLS]", *"CCC"], weights[None])
        path = token_matrix(tmp_path / "a.png", attention)
        assert (_cells(path, _BLUE) == lower.astype(bool)).all()
        assert (_cells(path, _RED) == ahead.astype(bool)).all()


@pytest.mark.parametrize(
    ("shape", "panels"), [((2, 3), (2, 3)), ((5, 6), (3, 4)), ((2, 1), (1, 2)), ((1, 2), (1, 2))]
)
def test_small_multiples_have_a_panel_for_each_layer_and_head(shape, panels):
    weights = np.tril(np.full((*shape, 4, 4), 0.25))
    figure = attention_figure(["a", " ", "\n", "$x$"], weights)
    *drawn, bar = figure.axes
    grid = drawn[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == panels
    assert bar.get_ylabel() == "attention weight"
    names = {axes.get_title() for axes in drawn}
    assert len(names) == len(drawn) == panels[0] * panels[1]
    assert [tick.get_text() for tick in drawn[0].get_yticklabels()] == ["a", "␣", "↵", "$x$"]
    with pytest.raises(KetformerError, match="expected shape"):
        attention_figure(["a"], weights)


def test_a_larger_weight_is_a_darker_atom(tmp_path):
    attention = _attention("CC(C)C1=CNC(=O)N1")
    svg = coloured_atoms(tmp_path / "a.svg", attention, head=1).read_text()
    fills = _fill_of_atoms(svg)
    weights = atom_weights(attention, head=1)
    assert sorted(fills) == list(range(len(weights)))
    light = [sum(fills[i]) for i in np.argsort(weights)]
    assert light == sorted(light, reverse=True)
    assert light[0] - light[-1] > 100
    assert min(max(fill) for fill in fills.values()) > 150  # black letters are readable on it
    assert "#FF0000" not in svg  # letters and bonds are black: the weights are the only colours
    assert _texts(svg) == [
        "CC(C)C1=CNC(=O)N1",
        "head 1",
        "0",
        "mean attention received",
        f"{weights.max():.2g}",
    ]


def test_coloured_atoms_without_any_weight_are_drawn_light(tmp_path):
    attention = AttentionMap("CO", ["[CLS]", "C", "O"], np.zeros((1, 3, 3)))
    svg = coloured_atoms(tmp_path / "a.svg", attention).read_text()
    assert min(min(fill) for fill in _fill_of_atoms(svg).values()) > 220


def test_coloured_atoms_as_png_are_blue_on_white(tmp_path):
    pixels = _pixels(coloured_atoms(tmp_path / "a.png", _attention("c1cc[nH]c1")))
    assert pixels.shape[1] == 440
    assert (pixels[0] == 255).all()
    blue = pixels[..., 2] - pixels[..., 0] > 60
    bar = blue[-51:-38]  # below the drawing
    assert blue[:-60].sum() > 500
    assert bar.sum() > 500


def test_a_failed_drawing_leaves_the_old_picture(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    path = tmp_path / "a.png"
    path.write_text("old")

    def fail(self, part, **_):
        part.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        token_matrix(path, _attention("CC"))
    with pytest.raises(KetformerError):
        molecule_grid(path, ["no"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_are_reproducible(tmp_path):
    attention = _attention("c1cc[nH]c1")
    for draw in (token_matrix, coloured_atoms):
        first, second = (draw(tmp_path / f"{n}.svg", attention).read_bytes() for n in "ab")
        assert first == second
    assert grid_svg(SMILES) == grid_svg(SMILES)
