"""What `graft kubeflow` prints as text."""

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 100


def package_text(result: Mapping[str, Any]) -> str:
    """Returns what was compiled, the parameters that a run may override, and what to know."""
    parameters = ", ".join(f"{name}={value}" for name, value in result["parameters"].items())
    rows = [
        ("package", result["package"]),
        ("pipeline", result["name"]),
        ("image", result["image"]),
        ("stages", f"{len(result['stages'])}: {', '.join(result['stages'])}"),
        ("parameters", parameters),
        *(("note", note) for note in result["notes"]),
    ]
    return "\n".join(_row(name, value) for name, value in rows) + "\n"


def _row(name: str, value: str) -> str:
    start = f"{name:<12}"
    return textwrap.fill(
        value,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
