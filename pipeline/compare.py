"""What differs between two runs: configuration, photos, code, figures, verdicts, time."""

from pathlib import Path
from typing import Any

import yaml

from components.errors import InputError
from pipeline.explain import changed_content
from pipeline.history import History, flatten
from pipeline.report_files import CONFIGURATION

LAST, PREVIOUS = "last", "previous"


def compare_runs(history: History, reports: Path, names: tuple[str, str]) -> dict[str, Any]:
    """Compares two runs.

    Args:
        history: the pipeline's.
        reports: the folder of the runs' configurations.
        names: ids, `"last"` or `"previous"`; the older one first.

    Returns:
        `runs` (both ids); `outcome` and `reason`, a pair each; `configuration`, a pair for each
        dotted key that differs; `content`, sentences on photos, code, base and schema; `images`,
        `metrics` and `recall`, a pair by class or metric; `stages`, by name a pair of `state` and
        `seconds`. What a run does not have is None.

    Raises:
        InputError: there is no such run.
    """
    ids = tuple(_resolve(history, name) for name in names)
    summaries = [history.summary(run_id) for run_id in ids]
    stages = [{stage.name: stage for stage in history.stages(run_id)} for run_id in ids]
    both = [name for name in stages[1] if name in stages[0]]
    content = {
        words for name in both for words in changed_content(stages[0][name], stages[1][name])
    }
    recalls = [
        {label: one["recall"] for label, one in (summary.get("per_class") or {}).items()}
        for summary in summaries
    ]
    timings = [
        {name: {"state": stage.state, "seconds": stage.seconds} for name, stage in one.items()}
        for one in stages
    ]
    return {
        "runs": list(ids),
        "outcome": [summary.get("outcome") for summary in summaries],
        "reason": [summary.get("reason") for summary in summaries],
        "configuration": _differing(*(_configuration(reports / run_id) for run_id in ids)),
        "content": sorted(content),
        "images": _pairs(*(summary.get("classes") or {} for summary in summaries)),
        "metrics": _pairs(*(summary.get("metrics") or {} for summary in summaries)),
        "recall": _pairs(*recalls),
        "stages": _pairs(*timings),
    }


def _resolve(history: History, name: str) -> str:
    run_ids = history.run_ids()
    if name == LAST:
        return history.last_run_id()
    if name == PREVIOUS:
        if len(run_ids) < 2:
            raise InputError("Expected two runs. Received: previous, of one run. Call graft run.")
        return run_ids[-2]
    history.stages(name)  # raises where there is no such run
    return name


def _configuration(report: Path) -> dict[str, Any]:
    try:
        return flatten(yaml.safe_load((report / CONFIGURATION).read_text(encoding="utf-8")))
    except OSError:
        return {}


def _pairs(before: dict[str, Any], now: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [before.get(name), now.get(name)] for name in (*before, *(now.keys() - before))}


def _differing(before: dict[str, Any], now: dict[str, Any]) -> dict[str, list[Any]]:
    pairs = _pairs(before, now)
    return {name: pairs[name] for name in sorted(pairs) if pairs[name][0] != pairs[name][1]}
