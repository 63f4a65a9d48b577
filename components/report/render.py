"""From sections to a page, by Jinja: whatever a name or a label holds is shown and never obeyed."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from components.page import render_page
from components.text import visible
from components.thumbnails import Thumbnail

TEMPLATES = Path(__file__).parent / "templates"
TINY = 32  # pixels: images up to this are enlarged without being smoothed
NOTHING = "–"  # shown for a figure that there is not


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a page holds it: `uri` of its content, its size, and whether it is tiny."""

    uri: str
    width: int
    height: int
    is_tiny: bool


def to_picture(thumbnail: Thumbnail) -> Picture:
    """Returns a thumbnail as a page holds it."""
    data = base64.b64encode(thumbnail.content).decode()
    is_tiny = max(thumbnail.width, thumbnail.height) <= TINY
    return Picture(f"data:image/jpeg;base64,{data}", thumbnail.width, thumbnail.height, is_tiny)


def render(template: str, title: str, context: Mapping[str, Any]) -> str:
    """Returns a whole page.

    Args:
        template: `"run.html"` or `"index.html"`.
        title: of the browser's tab.
        context: what the template names.
    """
    body = _environment().get_template(template).render(context)
    style, script = ((TEMPLATES / name).read_text() for name in ("report.css", "sort.js"))
    return render_page(visible(title), [body], style, script)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, ratio=ratio, share=share)
    return environment


def _show(value: Any) -> Any:
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    # Lines of a configuration stay lines.
    return "\n".join(visible(line) for line in value.split("\n"))


def count(value: float | None) -> str:
    """Returns a number without decimals, in groups of three digits."""
    return NOTHING if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """Returns a number with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def share(value: float | None) -> str:
    """Returns a share in per cent."""
    return NOTHING if value is None else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def signed(value: float | None) -> str:
    """Returns a difference with its sign and three decimals."""
    return NOTHING if value is None else f"{value:+.3f}".replace("-", "−")
