"""How the pictures of Graft are drawn: SVG by matplotlib, the same bytes for the same figures.

matplotlib is imported only when something is drawn.
"""

import base64
import io
import warnings
from collections.abc import Callable
from typing import Any

# Blue and vermilion of Okabe and Ito, told apart by the colour-blind; dash and point differ too.
FIRST, SECOND = "#0072B2", "#D55E00"
INK, SOFT, GRID, PAPER = "#222222", "#767676", "#E4E4E4", "#FFFFFF"
DARK_INK = "#E8E8E6"  # on a dark page

SETTINGS = {
    "svg.hashsalt": "graft",  # names within the file are otherwise random
    "svg.fonttype": "path",  # the same picture whatever fonts the reader has
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.0,
}


def draw_svg(
    size: tuple[float, float], title: str, draw: Callable[[Any], None], with_names: bool = False
) -> str:
    """Returns a picture as the text of an SVG file.

    Args:
        size: width and height, inches.
        title: of the picture, in its metadata.
        draw: is given a `matplotlib.figure.Figure` to draw on.
        with_names: whether words stay text, which a reader's fonts show in every script. Default:
            they become shapes, the same for every reader.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    output = io.StringIO()
    settings = {**SETTINGS, "svg.fonttype": "none"} if with_names else SETTINGS
    # A font that lacks a letter of a name is no fault where the reader's fonts show it.
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        canvas = FigureCanvasSVG(figure)
        draw(figure)
        canvas.print_svg(output, metadata={"Date": None, "Title": title})
    return output.getvalue()


def finish(axes: Any) -> None:
    """Gives axes the look that all pictures share."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def to_data_uri(svg: str) -> str:
    """Returns a picture of `draw_svg` for an `<img>`, in the colours of a light or a dark page.

    As an image it can run nothing, and its names do not mix with those of another.
    """
    head, _, rest = svg.partition("<svg ")
    attributes, _, body = rest.partition(">")
    style = (
        f"<style>svg {{ color: {INK}; }} @media (prefers-color-scheme: dark) {{ "
        f"svg {{ color: {DARK_INK}; }} }}</style>"
    )
    for colour, themed in (
        (INK, "currentColor"),
        (GRID, "currentColor; stroke-opacity: 0.15"),
        (PAPER, "none"),
    ):
        body = body.replace(f": {colour.lower()}", f": {themed}")
    themed_svg = f"{head}<svg {attributes}>{style}{body}"
    return "data:image/svg+xml;base64," + base64.b64encode(themed_svg.encode()).decode()
