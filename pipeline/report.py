"""A run's page and the index of all runs: what they show is collected here from the run's files."""

import json
import logging
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import features
from components.atomic import write_text
from components.evaluator.photos import Photos, read_photos
from components.image_example_gen.quarantine import COUNTS_FILE, Counts
from components.model_gate.comparison import pair
from components.places import to_local
from components.plots import to_data_uri
from components.pusher.served import MODELS_CONFIG
from components.report import gallery, sections
from components.report.figures import draw_trend
from components.report.render import render, to_picture
from components.trainer import record
from pipeline import lineage
from pipeline.config import Config
from pipeline.history import PUSHED, UNCHANGED, History, Stage, list_runs
from pipeline.present import lineage_rows
from pipeline.report_files import CONFIGURATION, PAGE, has_page

TITLES = {
    "verdict": "Verdict",
    "data": "Data",
    "training": "Training",
    "evaluation": "Evaluation",
    "photos": "Photos",
    "comparison": "Against the served model",
    "serving": "Serving",
    "lineage": "Lineage",
}
TREND = 60  # runs


@dataclass(frozen=True)
class _Run:
    """What there is of a run: its summary, its stages by name, the summary of the run before."""

    config: Config
    summary: Mapping[str, Any]
    stages: Mapping[str, Stage]
    before: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.config.reports / str(self.summary["run_id"])

    def output(self, stage: str, channel: str) -> str | None:
        """Returns the URI of what a stage wrote; None where it did not come to that."""
        found = self.stages[stage].outputs.get(channel) if stage in self.stages else None
        return str(found[0].uri) if found else None


def write_report(config: Config, summary: Mapping[str, Any]) -> Path:
    """Writes the page of a run that has ended, however it ended.

    Args:
        config: of the pipeline.
        summary: see `local.run`.

    Returns:
        The page, one HTML file that fetches nothing.
    """
    run = _collect(config, summary)
    page = run.folder / PAGE
    title = f"{config.name} · {summary['run_id']}"
    write_text(page, render("run.html", title, _context(run)))
    return page


def write_index(config: Config) -> Path:
    """Writes the page that links the pages of all runs; returns it."""
    found = list_runs(config)
    runs = [
        {**run, "page": f"{run['run_id']}/{PAGE}" if has_page(config, run["run_id"]) else None}
        for run in found["runs"]
    ]
    measured = [run for run in runs if run["accuracy"] is not None][-TREND:]
    trend, words = "", ""
    if len(measured) > 1:
        values = [run["accuracy"] for run in measured]
        trend = to_data_uri(draw_trend(values, [run["outcome"] == PUSHED for run in measured]))
        words = f"Accuracy of {len(values)} runs, from {min(values):.3f} to {max(values):.3f}."
    headings = ("run", "outcome", "accuracy", "images", "seconds", "model")
    context = {
        "name": config.name,
        "served": found["served"],
        "trend": trend,
        "trend_words": words,
        "columns": [(name, name in ("accuracy", "images", "seconds")) for name in headings],
        "runs": runs[::-1],
    }
    index = config.reports / PAGE
    write_text(index, render("index.html", f"{config.name} · runs", context))
    return index


def _collect(config: Config, summary: Mapping[str, Any]) -> _Run:
    if not config.metadata_path.is_file():
        return _Run(config, summary, {}, {})
    history = History(config.metadata_path)
    run_ids, run_id = history.run_ids(), str(summary["run_id"])
    if run_id not in run_ids:
        return _Run(config, summary, {}, {})
    place = run_ids.index(run_id)
    before = history.summary(run_ids[place - 1]) if place else {}
    stages = {stage.name: stage for stage in history.stages(run_id)}
    return _Run(config, summary, stages, before)


def _context(run: _Run) -> dict[str, Any]:
    summary, verdict = run.summary, run.summary["verdict"] or {}
    photos = _read_evaluation(run)
    paired = pair(photos) if photos else None
    compared = verdict.get("comparison")
    evaluation = sections.evaluation_section(summary, photos, paired) if photos else None
    comparison = None
    if photos and paired and compared:
        comparison = sections.comparison_section(compared, photos, paired)
    samples, pictures = _samples_and_pictures(run, photos, evaluation, comparison)
    context = {
        "run": summary,
        "name": run.config.name,
        "headline": sections.headline(summary),
        # The checks that failed follow in words of their own.
        "reason": verdict.get("headline") or summary["reason"],
        "is_good": summary["outcome"] in (PUSHED, UNCHANGED),
        "key_figures": sections.key_figures(summary),
        "notes": sections.notes(summary),
        "data": _data(run, samples),
        "training": _training(run),
        "evaluation": evaluation,
        "comparison": comparison,
        "pictures": {key: to_picture(one) for key, one in pictures.items()},
        "serving": _serving(run),
        **_lineage(run),
    }
    told = {**context, "verdict": True, "photos": evaluation}
    return {**context, "sections": [(id, title) for id, title in TITLES.items() if told[id]]}


def _read_evaluation(run: _Run) -> Photos | None:
    """Returns what the models said; None where no validation photo was evaluated."""
    uri = run.output("Evaluator", "evaluation")
    if uri is None or not run.summary["metrics"]:
        return None
    try:
        return read_photos(uri) or None
    except OSError:
        logging.exception("The evaluation cannot be read.")
        return None


def _samples_and_pictures(
    run: _Run,
    photos: Photos | None,
    evaluation: Mapping[str, Any] | None,
    comparison: Mapping[str, Any] | None,
) -> tuple[dict[str, list[gallery.Shown]], dict[str, Any]]:
    """Returns a few photos of each class, and small pictures of all photos that are shown."""
    examples = run.output(lineage.INGESTION, "examples")
    max_pixels = run.config.data.max_pixels
    if examples is None:
        return {}, {}
    folder = os.path.join(examples, f"Split-{features.VALIDATION}")
    if not photos or not evaluation:
        return gallery.read_samples(folder, max_pixels)
    samples = gallery.choose_samples(photos)
    shown = [one for some in samples.values() for one in some]
    shown += evaluation["wrong"] + evaluation["unsure"]
    for _, some, _ in comparison["changed"] if comparison else ():
        shown += some
    keys = {one.sha256 for one in shown}
    return samples, gallery.read_thumbnails(folder, keys, max_pixels)


def _data(run: _Run, samples: Mapping[str, list[gallery.Shown]]) -> dict[str, Any] | None:
    folder = run.output(lineage.INGESTION, "quarantine")
    if folder is None:
        return None
    counts = Counts.from_json(Path(folder, COUNTS_FILE).read_text())
    quarantine, refused = run.summary["quarantine"], []
    if quarantine:
        # Not by splitlines, which splits within names at further characters.
        with open(quarantine, encoding="utf-8") as file:
            refused = [json.loads(line) for line in file]
    source = f"{lineage.source_of(run.folder)} ({counts.kind})"
    before = run.before.get("classes") or {}
    return sections.data_section(run.summary, counts, source, refused, samples, before)


def _training(run: _Run) -> dict[str, Any] | None:
    found = record.read_record(run.folder)
    if not found:
        return None
    curves = run.folder / record.CURVES_FILE
    samples = run.folder / record.SAMPLES_FILE
    return sections.training_section(
        found,
        curves.read_text(encoding="utf-8") if curves.is_file() else "",
        record.SAMPLES_FILE if samples.is_file() else "",
    )


def _lineage(run: _Run) -> dict[str, Any]:
    run_id = str(run.summary["run_id"])
    stages = list(run.stages.values())
    traced = lineage.trace_run(run.config, run_id, stages, dict(run.summary))
    return {
        "lineage": lineage_rows(traced),
        "packages": sorted(traced["packages"].items()),
        "stage_columns": [("stage", False), ("state", False), ("seconds", True)],
        "stages": [
            [
                (stage.name, stage.name),
                (stage.state, stage.state),
                (stage.seconds, f"{stage.seconds:,.1f}"),
            ]
            for stage in stages
        ],
        "configuration": (run.folder / CONFIGURATION).read_text(encoding="utf-8"),
    }


def _serving(run: _Run) -> list[tuple[str, str]]:
    """Returns commands that a reader can copy, each with what it is for."""
    name, directory = run.config.name, run.config.push.directory
    local = to_local(directory)
    # A server reads an object store itself, by a file that only names versions that are whole.
    served_from = (
        f"-e MODEL_NAME={name} \\\n"
        f"  -v {shlex.quote(str(local.resolve()))}:/models/{name}:ro tensorflow/serving"
        if local
        else f"tensorflow/serving \\\n  --model_config_file={directory}/{MODELS_CONFIG} \\\n"
        "  --model_config_file_poll_wait_seconds=30"
    )
    # Through a pipe, as an argument may hold 128 KiB, which most photos exceed.
    request = (
        '(printf \'{"signature_name": "serving_default", "instances": [{"image_bytes": '
        '{"b64": "\'\n base64 -w0 PHOTO.jpg; printf \'"}}]}\') \\\n  | curl -d @- '
    )
    return [
        (
            "TensorFlow Serving",
            f"docker run --rm -p 8501:8501 {served_from}",
        ),
        (
            "A request",
            f"{request}http://localhost:8501/v1/models/{name}:predict",
        ),
        ("Without a server", "graft predict CONFIG PHOTO.jpg"),
    ]
