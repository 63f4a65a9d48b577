"""What all pictures share: the same bytes for the same figures, and colours of light and dark."""

import base64
import xml.etree.ElementTree as ElementTree

from components.plots import GRID, INK, draw_svg, finish, to_data_uri


def line() -> str:
    def draw(figure: object) -> None:
        axes = figure.subplots()  # type: ignore[attr-defined]
        axes.plot([0, 1], [0, 1], color=INK)
        axes.grid(color=GRID)
        axes.set_title("a < b & $c$", parse_math=False)
        finish(axes)

    return draw_svg((3, 2), "A line", draw, with_names=True)


def test_the_same_figures_give_the_same_bytes_without_a_date() -> None:
    assert line() == line()
    assert "<dc:date>" not in line()


def test_a_name_is_text_and_no_formula() -> None:
    words = [element.text for element in ElementTree.fromstring(line()).iter() if element.text]
    assert "a < b & $c$" in words


def test_as_an_image_it_takes_the_readers_colours_and_has_no_ground() -> None:
    kind, _, data = to_data_uri(line()).partition(",")
    svg = base64.b64decode(data).decode()
    assert kind == "data:image/svg+xml;base64"
    ElementTree.fromstring(svg)
    assert "prefers-color-scheme: dark" in svg
    assert "currentColor" in svg
    for colour in (INK, GRID, "#ffffff"):
        assert f"fill: {colour.lower()}" not in svg
        assert f"stroke: {colour.lower()}" not in svg
