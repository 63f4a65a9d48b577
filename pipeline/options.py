"""Options that many of the `graft` commands have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument CONFIG and the options `--set` and `--json`."""
    command = json_option(command)
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="A.B=VALUE",
        help="Override a key of the configuration; may be given again.",
    )(command)
    return click.argument("config", type=click.Path(path_type=Path))(command)
