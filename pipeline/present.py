"""What the `graft` command prints: progress on the screen, results as text or JSON."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDTH = 100  # characters, where the output is no terminal
SHOWN = 10  # rows of a listing before the rest is counted
MARKS = {"ran": "✓", "cached": "=", "refused": "✗", "failed": "✗", "interrupted": "✗"}


class Screen:
    """Shows the stages as they happen, with the time that each takes.

    Args:
        stream: where to; a terminal gets a running clock, anything else a line a stage.
    """

    def __init__(self, stream: TextIO):
        self._console = Console(file=stream, highlight=False)
        self._clock: Progress | None = None

    def starting(self, stage: str) -> None:
        """Shows that a stage has begun."""
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            # Redirected, what libraries print would come here instead of into the run's log.
            self._clock = Progress(
                *columns,
                console=self._console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._clock.add_task(stage)
            self._clock.start()

    def ended(self, stage: str, state: str, seconds: float) -> None:
        """Shows how a stage ended; see `history.Stage.state`."""
        if self._clock:
            self._clock.stop()
        self._console.print(f"{MARKS.get(state, ' ')} {stage:<18} {state:<8} {seconds:6.1f} s")


def show(as_json: bool, result: Mapping[str, Any], text: Callable[[Any], str]) -> None:
    """Prints a result on standard output, as one JSON object or as text."""
    if as_json:
        click.echo(json.dumps(_finite(result)))
    else:
        click.echo(text(result), nl=False)


def _finite(result: Mapping[str, Any]) -> Any:
    """Returns the result with null for NaN and infinity, which JSON does not know."""
    return json.loads(json.dumps(result, default=str), parse_constant=lambda _: None)


def init_text(result: Mapping[str, Any]) -> str:
    """Returns where the configuration was written and what comes next."""
    path = result["config"]
    return f"Wrote {path}. Next: graft check {path}, then graft run {path}.\n"


def run_text(summary: Mapping[str, Any]) -> str:
    """Returns the end of `graft run` as a person wants to read it."""
    outcome, version = summary["outcome"], summary["model_version"]
    headlines = {
        "pushed": f"Pushed as version {version}.",
        "unchanged": f"Unchanged: version {version} is served already.",
        "refused": f"Refused by the {summary['refused_by']} gate; what was served still is.",
    }
    images, metrics = summary["images"], summary["metrics"]
    rows = [("outcome", headlines[outcome])]
    if images:
        rows.append(("images", _images_text(images)))
        rows.append(("classes", _classes_text(summary["classes"])))
    if metrics:
        rows.append(("accuracy", _accuracy_text(summary)))
    if summary.get("test_metrics"):
        rows.append(("on test", _measured(summary["test_metrics"], "test")))
    rows += [
        ("verdict", summary["reason"]),
        ("served", summary["served"] or "nothing yet"),
        ("refused images", summary["quarantine"] or "none"),
        ("log", summary["log"]),
        ("time", f"{summary['seconds']:,.0f} s"),
    ]
    return _pairs(rows)


def check_text(result: Mapping[str, Any]) -> str:
    """Returns what `graft check` found."""
    splits = list(result["splits"])
    table = _table("class", "images", *splits)
    for label, count in result["classes"].items():
        per_split = [str(result["splits"][split].get(label, 0)) for split in splits]
        table.add_row(Text(label), str(count), *per_split)
    parts = [_render(table), _pairs([("images", _images_text(result["images"]))])]
    parts.append(_listing("refused", [f"{r['path']}: {r['detail']}" for r in result["refused"]]))
    for kind in ("duplicates", "conflicts", "leaks"):
        parts.append(_listing(kind, [" = ".join(group) for group in result[kind]]))
    verdict = "would pass" if result["passed"] else "would refuse"
    parts.append(f"The data gate {verdict}.\n")
    parts += [f"- {words}\n" for words in result["reasons"]]
    return "".join(parts)


def explain_text(result: Mapping[str, Any]) -> str:
    """Returns a table of stages: ran or cached, and why."""
    table = _table("stage", "state", "seconds", "why")
    for stage in result["stages"]:
        why = Text("; ".join(stage["reasons"]))
        table.add_row(stage["stage"], stage["state"], f"{stage['seconds']:.1f}", why)
    return f"run {result['run_id']}\n" + _render(table)


def history_text(result: Mapping[str, Any]) -> str:
    """Returns a table of runs, the newest last, and the version that is served."""
    table = _table("run", "outcome", "accuracy", "images", "seconds", "version", "")
    for run in result["runs"]:
        accuracy, images, seconds = run["accuracy"], run["accepted"], run["seconds"]
        table.add_row(
            run["run_id"],
            run["outcome"] + (f" ({run['refused_by']})" if run["refused_by"] else ""),
            "" if accuracy is None else f"{accuracy:.3f}",
            "" if images is None else f"{images:,}",
            "" if seconds is None else f"{seconds:,.0f}",
            run["model_version"] or "",
            "served" if run["served"] else "",
        )
    return _render(table) + _pairs([("served", result["served"] or "nothing yet")])


def predict_text(result: Mapping[str, Any]) -> str:
    """Returns one line a file, or where they were written."""
    rows = result["predictions"]
    failed = sum(1 for row in rows if row["error"])
    if result["output"]:
        return f"Wrote {len(rows):,} rows ({failed:,} without a label) to {result['output']}.\n"
    table = _table("image", "label", "score")
    for row in rows:
        answer = ("", row["error"]) if row["error"] else (f"{row['score']:.3f}", row["label"])
        table.add_row(Text(row["path"]), Text(answer[1]), answer[0])
    return _render(table)


def _images_text(images: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(images["reasons"].items()))
    text = f"{images['accepted']:,} accepted, {images['refused']:,} refused"
    text += f" ({reasons})" if reasons else ""
    return text + (f", {images['ignored']:,} ignored" if images["ignored"] else "")


def _classes_text(classes: Mapping[str, int]) -> str:
    shown = [f"{label} ({count:,})" for label, count in list(classes.items())[:SHOWN]]
    rest = [f"{len(classes) - SHOWN:,} more"] if len(classes) > SHOWN else []
    return f"{len(classes):,} in all: " + ", ".join(shown + rest)


def _accuracy_text(summary: Mapping[str, Any]) -> str:
    by_label = summary["accuracy_by_label"]
    text = _measured(summary["metrics"], "validation")
    if by_label:
        weakest = min(by_label, key=lambda label: by_label[label])
        text += f"; weakest class: {weakest} ({by_label[weakest]:.3f})"
    return text


def _measured(metrics: Mapping[str, float], split: str) -> str:
    return f"{metrics['accuracy']:.3f} on {metrics['example_count']:,.0f} {split} photos"


def _listing(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    rest = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    body = "".join(f"  {line}\n" for line in [*lines[:SHOWN], *rest])
    return f"{title} ({len(lines):,})\n{body}"


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = column in ("images", "seconds", "accuracy", "score")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


def _render(table: Table) -> str:
    terminal = sys.stdout.isatty()
    file = StringIO()
    width = None if terminal else WIDTH
    Console(file=file, width=width, force_terminal=terminal, highlight=False).print(table)
    return file.getvalue()
