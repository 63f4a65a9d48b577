"""What `graft kubeflow` prints as text."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

WIDTH = 100


def package_text(result: Mapping[str, Any]) -> str:
    """Returns what was compiled, the parameters that a run may override, and what to know."""
    rows = [
        ("package", result["package"]),
        ("pipeline", result["name"]),
        ("image", result["image"]),
        ("stages", f"{len(result['stages'])}: {', '.join(result['stages'])}"),
        ("parameters", _pairs(result["parameters"])),
        *(("note", note) for note in result["notes"]),
    ]
    return _table(rows)


def submit_text(result: Mapping[str, Any]) -> str:
    """Returns what was sent, or would be, and the run that it started."""
    rows = _sent_rows(result)
    if not result["dry_run"]:
        rows.append(("run", f"{result['run_id']}; graft kubeflow wait waits for its end."))
    return _table(rows)


def schedule_text(result: Mapping[str, Any]) -> str:
    """Returns what was sent, or would be, and when runs start."""
    rows = [
        *_sent_rows(result),
        ("cron", f"{result['cron']} in the server's time zone"),
        ("at a time", f"{result['max_concurrency']} run(s)"),
        ("missed runs", "each is made up for" if result["catch_up"] else "the last alone"),
    ]
    if not result["dry_run"]:
        state = "set" if result["is_changed"] else "unchanged"
        rows.append(("schedule", f"{result['recurring_run_id']}, {state}"))
    return _table(rows)


def runs_text(result: Mapping[str, Any]) -> str:
    """Returns a line for every run and for the schedule."""
    lines = [
        f"{run['run_id']}  {run['state']:<10}  {run['created'] or '':<25}  {run['name']}"
        + (f"\n  {run['error']}" if run["error"] else "")
        for run in result["runs"]
    ]
    lines += [
        f"schedule {one['recurring_run_id']}: {one['cron']}, {str(one['status']).lower()}"
        for one in result["schedules"]
    ]
    return "\n".join(lines or ["There are no runs."]) + "\n"


def ids_text(result: Mapping[str, Any]) -> str:
    """Returns what was done to which schedules."""
    return "".join(f"{done}  {', '.join(ids)}\n" for done, ids in result.items())


def _sent_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    state = ""
    if not result["dry_run"]:
        state = ", new" if result["is_new_version"] else ", which the server had already"
    rows = [
        ("would send", "nothing was sent") if result["dry_run"] else ("sent", ""),
        ("server", result["host"] or "the one of this cluster or kubeconfig"),
        ("namespace", result["namespace"]),
        ("experiment", result["experiment"]),
        ("pipeline", result["pipeline"]),
        ("version", f"{result['version']} ({result['bytes']:,} bytes){state}"),
        ("parameters", _pairs(result["parameters"]) or "the package's own"),
        ("root", result["pipeline_root"] or "the cluster's own"),
        ("account", result["service_account"] or "the cluster's own"),
        *(("note", note) for note in result["notes"]),
    ]
    return [row for row in rows if row[1]]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(_row(name, value) for name, value in rows) + "\n"


def _row(name: str, value: str) -> str:
    start = f"{name:<13}"
    return textwrap.fill(
        value,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
