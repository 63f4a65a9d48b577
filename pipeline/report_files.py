"""Where the pages of runs are; knows neither how they are made nor ML Metadata."""

import json
from pathlib import Path
from typing import Any

from components.errors import GraftError, InputError
from pipeline.config import Config

PAGE = "index.html"  # in a run's folder, and of all runs in the folder above
SUMMARY = "summary.json"  # beside a run's page, as is
CONFIGURATION = "configuration.yaml"
# Keys of a summary that earlier versions did not write.
ADDED = ("training", "verdict", "per_class", "slices", "packages")


def find_report(config: Config, run_id: str | None) -> dict[str, str]:
    """Returns where the page of a run is, and makes it where an earlier version made none.

    Args:
        config: of the pipeline.
        run_id: a run's id; None for the last one that has ended.

    Returns:
        `run_id`, `report` and `index`, paths.

    Raises:
        InputError: there is no such run, or it was ended before it could be told of.
    """
    # The contact sheet of graft check lies beside the runs.
    known = sorted(path.parent.name for path in config.reports.glob(f"*/{CONFIGURATION}"))
    if not known:
        raise InputError(
            f"Expected a pipeline that has run. Received: no run in {config.reports}. Call graft "
            "run."
        )
    if run_id is None:
        ended = [name for name in known if (config.reports / name / SUMMARY).is_file()]
        run_id = ended[-1] if ended else known[-1]
    if run_id not in known:
        raise InputError(
            f"Expected the id of a run. Received: run={run_id}. The newest are: "
            f"{', '.join(known[-3:])}."
        )
    if not has_page(config, run_id):
        from pipeline.report import write_report

        write_report(config, _read_summary(config, run_id))
    if not (config.reports / PAGE).is_file():
        from pipeline.report import write_index

        write_index(config)
    return {
        "run_id": run_id,
        "report": str(config.reports / run_id / PAGE),
        "index": str(config.reports / PAGE),
    }


def open_report(page: str) -> None:
    """Shows a page in the user's browser.

    Raises:
        GraftError: there is none.
    """
    import webbrowser

    if not webbrowser.open(Path(page).resolve().as_uri()):
        raise GraftError(f"Expected a browser to show {page}. Received: none. Open the file.")


def has_page(config: Config, run_id: str) -> bool:
    """Whether a run has a page."""
    return (config.reports / run_id / PAGE).is_file()


def _read_summary(config: Config, run_id: str) -> dict[str, Any]:
    path = config.reports / run_id / SUMMARY
    try:
        return {**dict.fromkeys(ADDED), **json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        raise InputError(
            f"Expected a run that has ended. Received: run={run_id}, which is under way or was "
            f"killed: it left no {path}. Choose another by --run."
        ) from None
