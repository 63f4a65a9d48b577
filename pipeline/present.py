"""What the `graft` command prints: progress on the screen, results as text or JSON."""

import json
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, TextIO

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from components.image_example_gen.quarantine import REASONS, SYSTEM_FILE
from components.text import visible

WIDTH = 100  # characters, where the output is no terminal
SHOWN = 10  # classes that a run's summary names before the rest is counted
CLASSES_SHOWN = 10  # of many classes: so many of the largest, and of the smallest
EXAMPLES = 3  # files, pairs or copies of a kind before the rest is counted
MIN_BAR, MAX_BAR = 4, 20  # characters of the largest class's bar
GAP = 2  # characters between the columns of a table
LABEL_WIDTH = 24  # characters of a class's name in the table
BLOCKS = ("", *"▏▎▍▌▋▊▉")  # eighths of a character
MARKS = {"ran": "✓", "cached": "=", "refused": "✗", "failed": "✗", "interrupted": "✗"}
STAGE_NAMES = {"head": "head", "fine_tune": "fine-tuning"}
PASS_MARKS = {True: "✓", False: "✗"}
BARS = "▁▂▃▄▅▆▇█"
SAME = "photos, code, base and schema are the same"
TREND = 40  # runs that fit a line
# These checks always have a figure, so passing them is nothing to tell.
PLAIN_CHECKS = ("refused_share", "classes", "images_per_class")
COMPARISONS = ("drift", "skew")
# The data gate's words for a comparison that has nothing to tell.
NOTHING_TOLD = re.compile(
    r".*: (none in \d+ properties of the images|nothing to compare with.*|nothing was compared)\."
)
SIZES = {"min": "smallest", "median": "median", "max": "largest"}


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
        click.echo(_encodable(text(result)), nl=False)


def _encodable(text: str) -> str:
    """Returns text with `?` for what standard output cannot take, bars on an old terminal say."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _finite(result: Mapping[str, Any]) -> Any:
    """Returns the result with null for NaN and infinity, which JSON does not know."""
    return json.loads(json.dumps(result, default=str), parse_constant=lambda _: None)


def init_text(result: Mapping[str, Any]) -> str:
    """Returns where the configuration was written and what comes next."""
    path = result["config"]
    return f"Wrote {path}. Next: graft check {path}, then graft run {path}.\n"


def run_text(summary: Mapping[str, Any]) -> str:
    """Returns the end of `graft run` as a person wants to read it."""
    images, metrics = summary["images"], summary["metrics"]
    from components.report.sections import headline

    rows = [("outcome", f"{headline(summary)}.")]
    if images:
        rows.append(("images", _images_text(images)))
        rows.append(("classes", _classes_text(summary["classes"])))
    rows += [("data", words) for words in _told_words(summary.get("data") or ())]
    rows += _training_rows(summary.get("training"))
    if metrics:
        rows.append(("accuracy", _accuracy_text(summary)))
    if summary.get("test_metrics"):
        rows.append(("on test", _measured(summary["test_metrics"], "test")))
    rows += [
        # The checks that failed follow in words of their own.
        ("verdict", (summary.get("verdict") or {}).get("headline") or summary["reason"]),
        *_gate_rows(summary.get("verdict")),
        ("served", summary["served"] or "nothing yet"),
        ("report", summary["report"] or "could not be written; see the log"),
        ("refused images", summary["quarantine"] or "none"),
        ("log", summary["log"]),
        ("time", f"{summary['seconds']:,.0f} s"),
    ]
    return _pairs(rows)


def check_text(result: Mapping[str, Any]) -> str:
    """Returns what `graft check` found, the result of `check.check_data`.

    It is as wide as the terminal, or `WIDTH`, and as long as a person reads: of many classes the
    largest and the smallest are shown, of many files a few, and the rest is counted.
    """
    parts = [
        _check_facts(result),
        _render(_class_table(result["classes"], result["splits"])),
        *_refused_parts(result["refused"]),
        *_pair_parts(result),
        _section("warnings", "", result["warnings"], str),
        _verdict_text(result["passed"], result["checks"]),
    ]
    if result["page"]:
        # A path is not wrapped, so that it can be copied.
        parts.append(f"Contact sheet\n  {visible(result['page'])}\n")
    return "\n".join(part for part in parts if part)


def _training_rows(training: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Returns what is told of the training: its stages, the features, and each note."""
    if not training:
        return []
    stages = [
        f"{STAGE_NAMES[name]}: best of {stage['epochs']} epochs was number {stage['best_epoch']}"
        for name, stage in training["stages"].items()
    ]
    if len(stages) > 1:
        stages[-1] += f", {STAGE_NAMES[training['kept']]} is kept"
    features = training["features"]
    told = f"features of {features['computed']:,} images computed, {features['reused']:,} reused"
    rows = [("training", f"{'; '.join(stages)}; {told}")]
    if training["tuned"]:
        values = ", ".join(f"{key}={_short(value)}" for key, value in training["tuned"].items())
        rows.append(("tuned", values))
    return rows + [("note", words) for words in training["notes"]]


def _short(value: Any) -> Any:
    """Returns a number as a person reads it."""
    return f"{value:.3g}" if isinstance(value, float) else value


def explain_text(result: Mapping[str, Any]) -> str:
    """Returns a table of stages: ran or cached, and why."""
    table = _table("stage", "state", "seconds", "why")
    for stage in result["stages"]:
        why = Text("; ".join(stage["reasons"]))
        table.add_row(stage["stage"], stage["state"], f"{stage['seconds']:.1f}", why)
    return f"run {result['run_id']}\n" + _render(table)


def lineage_text(traced: Mapping[str, Any]) -> str:
    """Returns what a model was made of, a line each, and the versions of packages."""
    packages = ", ".join(f"{name} {version}" for name, version in traced["packages"].items())
    return _pairs([*lineage_rows(traced), ("packages", packages or "not recorded")])


def lineage_rows(traced: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns a lineage, see `lineage.trace_run`, as pairs of words, without the packages."""
    photos, base, model = traced["photos"], traced["base"], traced["model"]
    rows = [
        ("run", traced["run_id"]),
        ("photos", photos["source"]),
        ("photos' fingerprint", photos["fingerprint"]),
        ("base", base["setting"]),
        ("base's content", base["sha256"]),
        ("configuration", traced["configuration"]["path"]),
        ("configuration's content", traced["configuration"]["sha256"]),
        *((f"code of {stage}", digest) for stage, digest in traced["code"].items()),
        ("model", model["artifact"]),
        ("model's content", model.get("sha256")),
        ("served as", model.get("folder") or model["version"]),
    ]
    return [(name, str(value)) for name, value in rows if value]


def serving_text(result: Mapping[str, Any]) -> str:
    """Returns which files were written, and what each is for."""
    rows = [(f"{result['folder']}/{name}", purpose) for name, purpose in result["files"].items()]
    return _pairs([(visible(path), purpose) for path, purpose in rows])


def rollback_text(told: Mapping[str, Any]) -> str:
    """Returns what a rollback did."""
    return (
        f"Version {told['to']} is served again, as version {told['version']}; {told['from']} is "
        f"taken back. {told['seconds']:.2f} s. {visible(told['served'])}\n"
    )


def verify_text(result: Mapping[str, Any]) -> str:
    """Returns whether a version is what was pushed, and what is not."""
    version = visible(result["version"])
    if not result["faults"]:
        signed = ", and the signature fits" if result["signed"] else ""
        return f"✓ {version} is as it was pushed (files: {result['files']:,}){signed}.\n"
    return "".join(f"✗ {version}: {visible(fault)}\n" for fault in result["faults"])


def report_text(found: Mapping[str, Any]) -> str:
    """Returns where the page of a run and the page of all runs are."""
    return _pairs([("report", found["report"]), ("all runs", found["index"])])


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
            _served_text(run, result["served"]),
        )
    rows = [
        (
            "rollback",
            f"{one['at']}: {one['from']} taken back, {one['to']} again as {one['version']}",
        )
        for one in result["rollbacks"]
    ]
    rows.append(("served", result["served"] or "nothing yet"))
    return _render(table) + _pairs([*_trend_rows(result["runs"]), *rows])


def _served_text(run: Mapping[str, Any], version: str | None) -> str:
    if not run["served"]:
        return ""
    return "served" if run["model_version"] == version else f"served as {version}"


def _trend_rows(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns a line of bars, one a run with an accuracy, and the best of them."""
    measured = [run for run in runs if run["accuracy"] is not None]
    if len(measured) < 2:
        return []
    shown = [run["accuracy"] for run in measured[-TREND:]]
    low, high = min(shown), max(shown)
    steps = len(BARS) - 1
    places = [round(steps * (one - low) / (high - low)) if high > low else 0 for one in shown]
    best = max(measured, key=lambda run: run["accuracy"])
    return [
        (
            "trend",
            f"{''.join(BARS[place] for place in places)}  accuracy {shown[0]:.3f} → "
            f"{shown[-1]:.3f} in {len(shown)} runs, from {low:.3f} to {high:.3f}; best: "
            f"{best['run_id']} ({best['accuracy']:.3f})",
        )
    ]


def compare_text(result: Mapping[str, Any]) -> str:
    """Returns what differs between two runs, figure by figure."""
    text = ""
    sections = (
        ("configuration", result["configuration"], _plain),
        ("images", result["images"], _plain),
        ("metrics", result["metrics"], _figure),
        ("recall", result["recall"], _figure),
        ("stages", result["stages"], _state),
    )
    for title, pairs, show_one in sections:
        if not pairs:
            continue
        table = _table(title.capitalize(), *result["runs"], "")
        for name, (before, now) in pairs.items():
            change = ""
            if title not in ("configuration", "stages") and None not in (before, now):
                change = f"{now - before:+.3g}" if now != before else "="
            row = (Text(visible(one)) for one in (name, show_one(before), show_one(now), change))
            table.add_row(*row)
        text += _render(table) + "\n"
    rows = [("content", words) for words in result["content"] or [SAME]]
    for run_id, outcome, reason in zip(
        result["runs"], result["outcome"], result["reason"], strict=True
    ):
        rows.append((run_id, f"{outcome or 'interrupted'}. {reason or ''}".strip()))
    return text + _pairs(rows)


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _state(value: Mapping[str, Any] | None) -> str:
    return "" if value is None else f"{value['state']} {value['seconds']:,.1f} s"


def predict_text(result: Mapping[str, Any]) -> str:
    """Returns one line a file, or where they were written."""
    rows = result["predictions"]
    failed = sum(1 for row in rows if row["error"])
    if result["output"]:
        return f"Wrote {len(rows):,} rows ({failed:,} without a label) to {result['output']}.\n"
    table = _table("image", "label", "score")
    for row in rows:
        answer = ("", row["error"]) if row["error"] else (f"{row['score']:.3f}", row["label"])
        table.add_row(Text(visible(row["path"])), Text(visible(answer[1])), answer[0])
    return _render(table)


def batch_text(result: Mapping[str, Any]) -> str:
    """Returns what was written where, and how much of it an earlier call had made."""
    text = f"Wrote {result['rows']:,} rows ({result['refused']:,} without a label)"
    again = (
        f", {result['resumed']:,} chunks of them by an earlier call" if result["resumed"] else ""
    )
    return f"{text} to {visible(result['output'])}{again}.\n"


def embed_text(result: Mapping[str, Any]) -> str:
    """Returns what was written where, and each photo that got no vector with its reason."""
    paths = f", their paths to {result['paths']}" if result["paths"] else ""
    written = f"{result['images']:,} vectors of {result['width']:,} to {result['output']}"
    text = f"Wrote {visible(written + paths)}.\n"
    if not result["refused"]:
        return text
    table = _table("without a vector", "why")
    for one in result["refused"]:
        table.add_row(Text(visible(one["path"])), Text(visible(one["error"])))
    return text + _render(table)


def bases_text(result: Mapping[str, Any]) -> str:
    """Returns the table of all bases, or one base with its blocks and lines to configure it."""
    if "bases" in result:
        columns = ("base", "parameters", "size", "least", "width", "preprocessing")
        table = _figures(columns, ("base", "preprocessing"))
        for base in result["bases"]:
            sizes = (f"{base['size']}", f"{base['min_size']}", f"{base['width']:,}")
            table.add_row(base["name"], f"{base['parameters']:,}", *sizes, base["preprocessing"])
        legend = "Sizes in pixels; width: features after pooling. One base: graft bases NAME."
        return _render(table) + f"{legend}\n"
    facts = _pairs(
        [
            ("base", result["name"]),
            ("parameters", f"{result['parameters']:,}"),
            ("size", f"{result['size']} pixels, at least {result['min_size']}"),
            ("width", f"{result['width']:,} features after pooling"),
            ("preprocessing", result["preprocessing"]),
        ]
    )
    table = _figures(("block", "layers", "parameters"), ("block",))
    for block in result["blocks"]:
        table.add_row(block["name"], f"{block['layers']:,}", f"{block['parameters']:,}")
    about = "Blocks, with what fine-tuning from each on trains; for fine_tune.layers:"
    return f"{facts}\n{about}\n{_render(table)}\nIn the configuration:\n{result['configuration']}"


def _figures(columns: Sequence[str], words: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", overflow="fold")
    return table


def _images_text(images: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(images["reasons"].items()))
    text = f"{images['accepted']:,} accepted, {images['refused']:,} refused"
    text += f" ({reasons})" if reasons else ""
    return text + (f", {images['ignored']:,} ignored" if images["ignored"] else "")


def _told_words(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the words of the data gate's checks that passed and still have something to tell."""
    return [
        check["words"]
        for check in checks
        if check["passed"] and check["name"] not in PLAIN_CHECKS and _tells(check)
    ]


def _tells(check: Mapping[str, Any]) -> bool:
    # A comparison tells also what is held against nobody and has no figure, other sizes say.
    tells_more = check["name"] in COMPARISONS and not NOTHING_TOLD.fullmatch(check["words"])
    return bool(check["figure"]) or tells_more


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


def _check_facts(result: Mapping[str, Any]) -> str:
    facts = [
        ("source", f"{result['source']} ({result['kind']})"),
        ("images", _images_text(result["images"])),
    ]
    if result["sizes"]:
        sizes = (f"{SIZES[name]} {size_text(size)}" for name, size in result["sizes"].items())
        facts.append(("sizes", f"{', '.join(sizes)} pixels"))
        facts.append(("formats", formats_text(result["formats"], result["reencoded"])))
    return "".join(_wrapped(f"{name:<9}", value) for name, value in facts)


def size_text(size: Sequence[int]) -> str:
    """Returns width and height in pixels as `"1,024×768"`."""
    return "{:,}×{:,}".format(*size)


def formats_text(formats: Mapping[str, int], reencoded: int) -> str:
    """Returns the formats, the most frequent first, and how many images are to be re-encoded."""
    ranked = sorted(formats.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{name} {count:,}" for name, count in ranked)
    return text + (f"; {reencoded:,} will be re-encoded as PNG" if reencoded else "")


def _class_table(classes: Mapping[str, int], splits: Mapping[str, Mapping[str, int]]) -> Table:
    """Returns a row a class with a bar; of many classes only the largest and the smallest."""
    table = _table("class", "images", "")
    for split in splits:
        table.add_column(split, justify="right")
    shown, most = _shown_classes(classes), max(classes.values(), default=0)
    bar_width = _bar_width(shown, sum(classes.values()), splits)
    for label in shown:
        if label is None:
            table.add_row(f"… {len(classes) - 2 * CLASSES_SHOWN:,} more classes")
            continue
        bar = Text(_bar(classes[label], most, bar_width), "cyan")
        per_split = [f"{by_label.get(label, 0):,}" for by_label in splits.values()]
        table.add_row(Text(_shorten(label)), f"{classes[label]:,}", bar, *per_split)
    if len(classes) > 1:
        totals = [f"{sum(by_label.values()):,}" for by_label in splits.values()]
        table.add_row(f"{len(classes):,} classes", f"{sum(classes.values()):,}", "", *totals)
    return table


def _bar_width(labels: Iterable[str | None], total: int, splits: Iterable[str]) -> int:
    """Returns how many characters of a line the other columns leave for the longest bar."""
    figures = len(f"{total:,}")
    first = max((cell_len(_shorten(label)) for label in labels if label), default=0)
    others = [max(first, LABEL_WIDTH // 2), max(figures, len("images"))]
    others += [max(figures, len(split)) for split in splits]
    room = _width() - sum(others) - GAP * len(others)
    return max(MIN_BAR, min(MAX_BAR, room))


def _shown_classes(classes: Mapping[str, int]) -> list[str | None]:
    """Returns the labels as they come, or of many the largest, None for the rest, the smallest."""
    if len(classes) <= 2 * CLASSES_SHOWN + 1:
        return list(classes)
    ranked = sorted(classes, key=lambda label: (-classes[label], label))
    return [*ranked[:CLASSES_SHOWN], None, *ranked[-CLASSES_SHOWN:]]


def _bar(count: int, most: int, width: int) -> str:
    """Returns a bar in eighths of a character; what is not nothing has one eighth at least."""
    eighths = max(1, round(8 * width * count / most)) if count else 0
    return "█" * (eighths // 8) + BLOCKS[eighths % 8]


def _shorten(label: str) -> str:
    """Returns a label with its middle left out where it is longer than the table has room."""
    text = visible(label)
    if cell_len(text) <= LABEL_WIDTH:
        return text
    start = set_cell_size(text, LABEL_WIDTH // 2).rstrip()
    end = set_cell_size(text[::-1], LABEL_WIDTH // 2 - 1).rstrip()[::-1]
    return f"{start}…{end}"


def _refused_parts(refused: Iterable[Mapping[str, str]]) -> list[str]:
    """Returns the refused files by reason, the most frequent first, what is ignored last."""
    by_reason: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
    for one in refused:
        by_reason[one["reason"]].append(one)
    ranked = sorted(
        by_reason.items(), key=lambda item: (item[0] == SYSTEM_FILE, -len(item[1]), item[0])
    )
    return [
        _section(
            "ignored" if reason == SYSTEM_FILE else f"refused: {reason}",
            REASONS[reason],
            files,
            lambda one: f"{one['path']}: {one['detail']}",
        )
        for reason, files in ranked
    ]


def _pair_parts(result: Mapping[str, Any]) -> list[str]:
    """Returns the pairs and groups of equal or nearly equal pictures."""
    return [
        _section("leaks", "Nearly the same picture in two splits.", result["leaks"], _leak_text),
        _section(
            "two labels",
            "Nearly the same picture under two classes.",
            result["label_twins"],
            lambda twin: _twin_text(twin["paths"], twin["labels"], twin["distance"]),
        ),
        _section("conflicts", "The same file under two classes.", result["conflicts"], _equals),
        _section(
            "duplicates", "The same file more than once in a class.", result["duplicates"], _equals
        ),
    ]


def _leak_text(leak: Mapping[str, Any]) -> str:
    text = _twin_text(leak["paths"], leak["splits"], leak["distance"])
    if leak["refused"] is None:
        return f"{text}; both are kept"
    return f"{text}; " + (f"{leak['refused']} is refused" if leak["kept"] else "both are refused")


def _twin_text(paths: Sequence[str], belongings: Sequence[str], distance: int) -> str:
    first, second = (f"{path} ({to})" for path, to in zip(paths, belongings, strict=True))
    return f"{first} ~ {second}, {distance} of 64 bits apart"


def _equals(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - EXAMPLES:,} more" if len(paths) > EXAMPLES else ""
    return " = ".join(paths[:EXAMPLES]) + more


def _section(title: str, meaning: str, items: Sequence[Any], to_line: Callable[[Any], str]) -> str:
    """Returns a titled list of which a few items are shown and the rest is counted."""
    if not items:
        return ""
    text = _wrapped("", f"{title} ({len(items):,})  {meaning}".rstrip())
    text += "".join(_wrapped("  ", to_line(item), 4) for item in items[:EXAMPLES])
    rest = len(items) - EXAMPLES
    return text + (f"  and {rest:,} more\n" if rest > 0 else "")


def _gate_rows(verdict: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Returns every check of the model gate, and what its figures are worth."""
    if not verdict:
        return []
    checks = [("", f"{PASS_MARKS[one['passed']]} {one['words']}") for one in verdict["checks"]]
    return [*checks, *(("note", note) for note in verdict["notes"])]


def _verdict_text(passed: bool, checks: Iterable[Mapping[str, Any]]) -> str:
    lines = [f"The data gate would {'pass' if passed else 'refuse'}.\n"]
    lines += [_wrapped(f"  {PASS_MARKS[one['passed']]} ", one["words"]) for one in checks]
    return "".join(lines)


def _wrapped(prefix: str, text: str, indent: int | None = None) -> str:
    """Returns text behind a prefix, wrapped to the width; long words are folded.

    Args:
        prefix: begins the first line.
        text: may hold anything; see `visible`.
        indent: spaces before the further lines. Default: as the prefix is long.
    """
    indent = len(prefix) if indent is None else indent
    width = _width()
    console = Console(file=StringIO(), width=width)
    room = max(1, width - max(indent, len(prefix)))
    lines = Text(visible(text)).wrap(console, room, overflow="fold")
    body = f"\n{' ' * indent}".join(line.plain.rstrip() for line in lines)
    return f"{prefix}{body}\n"


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {visible(value)}\n" for name, value in rows)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = column in ("images", "seconds", "accuracy", "score")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


def _render(table: Table) -> str:
    terminal = sys.stdout.isatty()
    file = StringIO()
    Console(file=file, width=_width(), force_terminal=terminal, highlight=False).print(table)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _width() -> int:
    """Returns the characters of a line: the terminal's, or `WIDTH` where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
