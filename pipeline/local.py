"""Runs the pipeline on this machine: one stage after the other, watched, locked and summed up."""

import errno
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, TextIO

from components.atomic import write_text
from components.errors import GraftError, InputError, RefusedError
from components.evaluator.results import class_changes
from components.image_example_gen.quarantine import COUNTS_FILE, QUARANTINE_FILE, Counts
from components.packages import package_versions
from components.pusher import served
from components.trainer import record
from pipeline.config import Config
from pipeline.history import FAILED, INTERRUPTED, REFUSED, History, Stage, read_verdict
from pipeline.lineage import INGESTION, TRAINER
from pipeline.lock import run_lock
from pipeline.noise import quiet
from pipeline.report_files import CONFIGURATION, SUMMARY

OUTCOME_KEYS = (
    "outcome",
    "refused_by",
    "reason",
    "model_version",
    "metrics",
    "baseline_metrics",
    "test_metrics",
    "accuracy_by_label",
    "per_class",
    "slices",
    "verdict",
)


DATA_GATE = "DataGate"


class Progress(Protocol):
    """What a run tells while it goes on."""

    def starting(self, stage: str) -> None:
        """Called with a stage's name before it starts."""

    def ended(self, stage: str, state: str, seconds: float) -> None:
        """Called with a stage's name, its state (see `history.Stage`) and its time."""


def run(config: Config, progress_on: Callable[[TextIO], Progress]) -> dict[str, Any]:
    """Runs the whole pipeline.

    Args:
        config: a loaded configuration.
        progress_on: makes a `Progress` that writes to the stream it is given; the process's own
            standard output and error go into the run's log meanwhile.

    Returns:
        The run's summary: `run_id`, `outcome`, `refused_by`, `reason`, `model_version`, `metrics`
        (on validation), `baseline_metrics`, `test_metrics`, `accuracy_by_label`, `per_class`,
        `slices`, `verdict` (the model gate's), `images`,
        `classes`, `quarantine` (the file that names the refused images, None where there are
        none), `data` (the data gate's checks, each `name`, `figure`, `limit`, `passed`, `words`),
        `training` (see `record.summarize`; None where none took place), `served` (the served
        version's folder), `packages` (versions by name), `report` (the run's page; None where it
        could not be written), `log`, `seconds`.

    Raises:
        InputError: configuration, photos or base cannot work.
        GraftError: another run is under way, or a stage failed; its log is named.
    """
    from pipeline import preflight

    predefined = preflight.check_folders(config).predefined
    with run_lock(config.lock_path):
        started = time.time()
        _check_metadata(config)
        run_id = _new_run_id(config)
        log = config.logs / f"{run_id}.log"
        with quiet(log) as screen, _failures_told(config, log):
            progress = progress_on(screen)
            with _shown(progress, "setup") as shown:
                from pipeline import stages

                stages.send_logs(log)
                preflight.check_base(config)
                pipeline = stages.compile_pipeline(config, run_id, predefined)
                shown.state = "ran"
            return _run_stages(config, pipeline, run_id, started, progress)


def _run_stages(
    config: Config, pipeline: Any, run_id: str, started: float, progress: Progress
) -> dict[str, Any]:
    from pipeline import stages

    _store_configuration(config, run_id)
    outcome: dict[str, Any] = dict.fromkeys(OUTCOME_KEYS)
    manifest = served.newest(config.push.directory)
    classes_before = served.labels(config.push.directory, manifest) if manifest else []
    try:
        _launch_all(config, pipeline, run_id, progress)
        outcome |= stages.read_outcome(_stages(config, run_id))
        outcome["reason"] += class_changes(classes_before, list(outcome["accuracy_by_label"]))
    except RefusedError as refusal:
        outcome |= {"outcome": REFUSED, "refused_by": refusal.refused_by, "reason": str(refusal)}
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        outcome |= {"outcome": INTERRUPTED if stopped else FAILED, "reason": str(error)}
        # What ended the run, a full disk say, must not be hidden by what it ends here too.
        with suppress(Exception):
            _conclude(config, run_id, started, outcome)
        raise
    return _conclude(config, run_id, started, outcome)


def _launch_all(config: Config, pipeline: Any, run_id: str, progress: Progress) -> None:
    from pipeline import stages

    for node in pipeline.nodes:
        name = node.pipeline_node.node_info.id
        with _shown(progress, name) as shown:
            stages.launch(pipeline, node)
            stage = _stages(config, run_id).get(name)
            if stage is None or stage.state == FAILED:
                # TFX records inputs that it cannot resolve as a failure without raising.
                raise RuntimeError(f"{name} could not be started.")
            # A model that is refused still has its test figures and its place in the history.
            verdict = read_verdict(stage) if name == DATA_GATE else None
            if verdict and not verdict.passed:
                raise RefusedError(verdict.refusal, refused_by="data")
            shown.state = stage.state
            if name == INGESTION:
                # Before hours of training, not after them.
                _check_limits(config, stage)


def _check_limits(config: Config, ingestion: Stage) -> None:
    from components.model_gate.gate import check_classes
    from components.model_gate.limits import Limits

    folder = Path(ingestion.outputs["quarantine"][0].uri)
    counts = Counts.from_json((folder / COUNTS_FILE).read_text())
    check_classes(Limits.from_json(config.evaluate.limits), sorted(counts.totals))


@dataclass
class _Shown:
    state: str = FAILED


@contextmanager
def _shown(progress: Progress, stage: str) -> Iterator[_Shown]:
    """Tells that a stage starts and, however that comes about, that it has ended."""
    shown, begun = _Shown(), time.time()
    progress.starting(stage)
    try:
        yield shown
    except (RefusedError, KeyboardInterrupt) as error:
        shown.state = REFUSED if isinstance(error, RefusedError) else INTERRUPTED
        raise
    finally:
        progress.ended(stage, shown.state, time.time() - begun)


def _conclude(
    config: Config, run_id: str, started: float, outcome: dict[str, Any]
) -> dict[str, Any]:
    """Completes and keeps the summary of a run, in the history and beside its configuration."""
    summary = {
        "run_id": run_id,
        **outcome,
        **_read_data(config, run_id),
        "training": _read_training(config, run_id),
        "served": _served_folder(config),
        "packages": package_versions(),
        "report": None,
        "log": str(config.logs / f"{run_id}.log"),
        "seconds": round(time.time() - started, 1),
    }
    summary["report"] = _write_page(config, summary)
    write_text(config.reports / run_id / SUMMARY, json.dumps(summary, indent=1) + "\n")
    if _stages(config, run_id):
        History(config.metadata_path).write_summary(run_id, summary)
        _write_page(config)
    return summary


def _write_page(config: Config, summary: dict[str, Any] | None = None) -> str | None:
    """Writes the run's page, or without a summary the index; returns where, None where it failed.

    A run has come to what it has come to, whatever is wrong with its pages.
    """
    try:
        from pipeline import report

        if summary is None:
            return str(report.write_index(config))
        return str(report.write_report(config, summary))
    except Exception:
        logging.exception("%s could not be written.", "The page" if summary else "The index")
        return None


def _check_metadata(config: Config) -> None:
    """Clears up after killed runs, or puts aside what belonged to a history that is gone.

    A new database counts executions from one again, and stale artifacts under the same numbers
    would mix with new ones.
    """
    if config.metadata_path.is_file() and config.metadata_path.stat().st_size:
        for stage, execution in History(config.metadata_path).cancel_abandoned():
            for half_written in config.artifacts.glob(f"{stage}/*/{execution}"):
                shutil.rmtree(half_written, ignore_errors=True)
    elif config.artifacts.is_dir() and any(config.artifacts.iterdir()):
        aside = datetime.now(timezone.utc).strftime("artifacts-without-metadata-%Y%m%d-%H%M%S")
        config.artifacts.rename(config.home / aside)


def _stages(config: Config, run_id: str) -> dict[str, Stage]:
    if not config.metadata_path.is_file():
        return {}
    history = History(config.metadata_path)
    if run_id not in history.run_ids():
        return {}
    return {stage.name: stage for stage in history.stages(run_id)}


def _store_configuration(config: Config, run_id: str) -> None:
    folder = config.reports / run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIGURATION, config.to_yaml())


def _new_run_id(config: Config) -> str:
    """Returns the time in UTC; the run lock makes it unique unless clocks jump back."""
    run_id = stem = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    attempt = 1
    while (config.reports / run_id).exists():
        attempt += 1
        run_id = f"{stem}-{attempt}"
    return run_id


@contextmanager
def _failures_told(config: Config, log: Path) -> Iterator[None]:
    """Turns what a library raised into one message that names the log; ours pass as they are."""
    try:
        yield
    except GraftError:
        raise
    except Exception as error:
        logging.exception("The run failed.")
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or "No space left" in str(error):
            raise InputError(
                f"Expected enough free space for the run. Received: a full disk ({error}). Free "
                f"space below {config.home} and {config.push.directory}; the next run goes on "
                "where this one stopped."
            ) from error
        lines = str(error).strip().splitlines() or [""]
        raise GraftError(
            f"Expected every stage to finish. Received: {type(error).__name__}: {lines[0]} "
            f"See {log}."
        ) from error


def _read_data(config: Config, run_id: str) -> dict[str, Any]:
    """Returns what ingestion found, and puts its refusals where the user looks for them."""
    stage = _stages(config, run_id).get(INGESTION)
    if stage is None or "quarantine" not in stage.outputs:
        return {"images": None, "classes": None, "quarantine": None, "data": []}
    folder = Path(stage.outputs["quarantine"][0].uri)
    counts = Counts.from_json((folder / COUNTS_FILE).read_text())
    quarantine = config.quarantine / f"{run_id}.jsonl"
    config.quarantine.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / QUARANTINE_FILE, quarantine)
    stages = _stages(config, run_id)
    gate = read_verdict(stages[DATA_GATE]) if DATA_GATE in stages else None
    return {
        "images": counts.summary(),
        "classes": counts.totals,
        "quarantine": str(quarantine) if counts.reasons else None,
        "data": [asdict(check) for check in gate.checks] if gate else [],
    }


def _read_training(config: Config, run_id: str) -> dict[str, Any] | None:
    """Returns what the training came to, and puts its pictures where the user looks for them."""
    stage = _stages(config, run_id).get(TRAINER)
    if stage is None or "model_run" not in stage.outputs:
        return None
    folder = Path(stage.outputs["model_run"][0].uri)
    record.copy_shown(folder, config.reports / run_id)
    return record.summarize(record.read_record(folder), folder)


def _served_folder(config: Config) -> str | None:
    manifest = served.newest(config.push.directory)
    return str(config.push.directory / str(manifest.version)) if manifest else None
