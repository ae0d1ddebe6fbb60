import re
import warnings
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from raytrain.reporting.figures.canvas import draw, label_ends, new_axes, new_figure
from raytrain.reporting.figures.confusion import confusion, worst_pairs
from raytrain.reporting.figures.embedding import embedding
from raytrain.reporting.figures.forest import Row, forest
from raytrain.reporting.figures.layers import layer_number
from raytrain.reporting.figures.palette import (
    GROUND,
    INK,
    JOINED,
    class_styles,
    pathway_styles,
    style_of,
    variables,
)
from raytrain.reporting.figures.per_class import per_class

THEMES = (0, 1)
# G. M. Machado et al., "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009).
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deutan": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear RGB."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ np.clip(light, 0, 1) / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def contrast(first: str, second: str) -> float:
    light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (first, second))
    return (light[1] + 0.05) / (light[0] + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_colours_stand_out_from_the_ground(theme: int) -> None:
    colours = {name: pair[theme] for name, pair in variables().items()}
    for name, colour in colours.items():
        if name in ("ink", "muted", "good", "bad"):
            assert contrast(colour, colours["ground"]) >= 4.5, name  # they are text
        elif name not in ("grid", "ground"):
            assert contrast(colour, colours["ground"]) >= 3, name


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("kind", ["pathway", "class"])
def test_colours_differ_for_everyone(theme: int, blindness: str, kind: str) -> None:
    colours = [pair[theme] for name, pair in variables().items() if re.fullmatch(rf"{kind}\d", name)]
    assert len(colours) >= 7
    shown = [lab(BLINDNESS[blindness] @ linear(colour)) for colour in colours]
    for count, apart in ((4, 20), (len(shown), 12)):
        nearest = min(np.linalg.norm(one - other) for one, other in combinations(shown[:count], 2))
        assert nearest > apart


def test_a_pathway_keeps_its_colour_and_marker_whatever_it_is_joined_with() -> None:
    styles = pathway_styles(["identity", "lbp", "rg", "dtcwt", "a", "b", "c", "d"])
    assert len({(one.colour, one.marker) for one in list(styles.values())[:7]}) == 7
    assert style_of(["lbp"], styles) == styles["lbp"] == pathway_styles(["x", "lbp"])["lbp"]
    assert style_of(["lbp", "rg"], styles) == JOINED


def test_a_drawing_in_a_page_has_names_and_colours_of_its_own() -> None:
    figure = new_figure(2, 2)
    axes = new_axes(figure, left=0.5, right=0.1, top=0.3, bottom=0.3, title="Title")
    axes.plot([0, 1], [0, 1], "o-", color="#067fca", markerfacecolor=GROUND)
    one = draw(figure, name="first one", title="t", alt='a < b & "c"')
    other = draw(figure, name="second", title="t", alt="b")
    assert one.name == "first-one"
    assert 'aria-label="a &lt; b &amp; &quot;c&quot;"' in one.inline
    assert "var(--pathway0)" in one.inline
    assert "var(--ground)" in one.inline
    assert "var(--sans)" in one.inline
    assert "DejaVu" not in one.inline
    assert "#067fca" in one.svg  # by itself it is a figure on light ground
    names = [set(re.findall(r'id="([^"]+)"', drawing.inline)) for drawing in (one, other)]
    assert names[0]
    assert not names[0] & names[1]
    asked = set(re.findall(r'(?:url\(|href=")#([^")]+)', one.inline))
    assert asked
    assert asked <= names[0]
    assert draw(figure, name="second", title="t", alt="b").svg == other.svg  # the same bytes again


def test_labels_at_the_ends_do_not_overlap() -> None:
    figure = new_figure(3, 2)
    axes = new_axes(figure, left=0.5, right=0.5, top=0.1, bottom=0.3)
    axes.set_ylim(0, 1)
    label_ends(axes, [(0.5, "a", "k"), (0.5, "b", "k"), (0.51, "c", "k"), (0.9, "d", "k")], x=1)
    draw(figure, name="n", title="t", alt="a")
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in pairwise(boxes))


def test_intervals_and_controls_are_drawn() -> None:
    style = pathway_styles(["identity", "lbp"])["lbp"]
    row = Row(
        label="lbp", style=style, value=1.0, interval=[0.0, 2.0], control=3.0, control_interval=[2.5, 3.5]
    )
    words = {"name": "n", "title": "t", "alt": "a", "unit": "u"}
    with_control = forest([row], **words, zero=True).svg
    without = forest([Row(label="lbp", style=style, value=1.0)], **words).svg
    assert with_control.count("#d55e00") > without.count("#d55e00") + 2
    assert "untrained" in with_control
    assert "untrained" not in without


def test_layers_stand_in_the_order_of_their_numbers() -> None:
    assert sorted(["layer10", "layer2", "head"], key=layer_number) == ["layer2", "layer10", "head"]


def test_worst_pairs_leave_out_hits_and_zeros() -> None:
    counts = np.array([[9, 1, 0], [3, 5, 0], [0, 0, 2]])
    assert worst_pairs(counts, 5) == [(1, 0, 3, 8), (0, 1, 1, 10)]
    assert worst_pairs(counts, 1) == [(1, 0, 3, 8)]


def test_names_are_text_and_no_mathematics() -> None:
    figure = new_figure(3, 2)
    axes = new_axes(figure, left=0.5, right=0.5, top=0.5, bottom=0.5, title="$100 or $_{less$")
    axes.set_xticks([0.5], ["10$ $20"])
    drawn = draw(figure, name="prices", title="prices", alt="prices")
    assert "$100 or $_{less$" in drawn.svg
    assert "10$ $20" in drawn.svg


def test_missing_letters_are_said_once_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.reporting.figures.png._said", [])
    for _ in range(2):
        figure = new_figure(2, 1)
        new_axes(figure, left=0.2, right=0.2, top=0.3, bottom=0.2, title="\u4f60\u597d")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw(figure, name="greeting", title="", alt="")
    assert capsys.readouterr().err.count("WARNING: the figures' font lacks letters") == 1


def test_names_that_are_longer_than_a_figure_is_wide_are_cut() -> None:
    names = ["l" * 200, "$5_to_$10", "short"]
    counts = np.array([[3, 1, 0], [0, 2, 0], [1, 0, 4]])
    drawn = confusion(counts, names, colour=INK, name="c", title="", alt="")
    bars = per_class(
        np.array([0.5, 1, 0]),
        np.zeros(3),
        names,
        counts.sum(axis=1),
        name="b",
        title="",
        alt="",
        unit="share",
    )
    points = {"trained": np.zeros((3, 2))}
    styles = class_styles(range(3))
    space = embedding(points, np.arange(3), styles, dict(enumerate(names)), name="e", title="", alt="")
    for drawing, letters in ((drawn, 27), (bars, 27), (space, 15)):
        assert "l" * letters + "\u2026" in drawing.svg
        assert "l" * (letters + 1) not in drawing.svg
        assert "$5_to_$10" in drawing.svg
        assert "short" in drawing.svg
