"""What a run, or the model that is served, was made of: photos, settings, code, base, packages."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from components.digests import FINGERPRINT
from components.errors import InputError
from components.pusher import served
from pipeline.config import Config
from pipeline.history import PUSHED, History, Stage
from pipeline.report_files import CONFIGURATION

INGESTION, TRAINER = "ImageExampleGen", "Trainer"
CODE = "code_sha256"


def trace_run(config: Config, run_id: str, stages: list[Stage], summary: dict[str, Any]) -> Any:
    """Returns what a run was made of.

    Args:
        config: of the pipeline.
        run_id: the run's id.
        stages: see `History.stages`.
        summary: the run's summary.

    Returns:
        `run_id`; `photos` (`source`, `fingerprint`, `accepted`); `base` (the setting, and `sha256`
        of its content); `configuration` (`path`, `sha256`); `code` (digest by stage); `packages`
        (version by name); `model` (`version`, `accuracy`, and `artifact`, its URI). What the run
        did not come to is None or missing.
    """
    by_name = {stage.name: stage for stage in stages}
    return {
        "run_id": run_id,
        "photos": {
            "source": source_of(config.reports / run_id),
            "fingerprint": _fingerprint(by_name.get(INGESTION)),
            "accepted": (summary.get("images") or {}).get("accepted"),
        },
        "base": _base(by_name.get(TRAINER)),
        "configuration": _configuration(config.reports / run_id / CONFIGURATION),
        "code": {
            stage.name: value
            for stage in stages
            for key, value in stage.parameters.items()
            if key.removeprefix("custom_config.") == CODE
        },
        "packages": summary.get("packages") or {},
        "model": {
            "version": summary.get("model_version"),
            "accuracy": (summary.get("metrics") or {}).get("accuracy"),
            "artifact": _model(by_name.get(TRAINER)),
        },
    }


def trace_served(config: Config, history: History) -> dict[str, Any]:
    """Returns what the served model was made of, see `trace_run`, by the run that pushed it.

    Raises:
        InputError: nothing is served, or no run of this history pushed it.
    """
    manifest = served.newest(config.push.directory)
    if manifest is None:
        raise InputError(
            f"Expected a served model. Received: no version in {config.push.directory}. Call graft "
            "run."
        )
    for run_id in reversed(history.run_ids()):
        summary = history.summary(run_id)
        is_it = str(summary.get("model_version")) == str(manifest.origin)
        if is_it and summary.get("outcome") == PUSHED:
            traced = trace_run(config, run_id, history.stages(run_id), summary)
            traced["model"] |= {
                "sha256": manifest.model_digest,
                "folder": str(config.push.directory / str(manifest.version)),
            }
            return traced
    raise InputError(
        f"Expected a served model that a run of this pipeline pushed. Received: version "
        f"{manifest.version} in {config.push.directory}, which none did. Its graft.json may name "
        "the pipeline that made it."
    )


def _fingerprint(ingestion: Stage | None) -> str | None:
    """Returns the digest over all files that ingestion saw, by name and content."""
    if ingestion is None or not ingestion.outputs.get("examples"):
        return None
    properties = ingestion.outputs["examples"][0].custom_properties
    return properties[FINGERPRINT].string_value if FINGERPRINT in properties else None


def _base(trainer: Stage | None) -> dict[str, str | None]:
    if trainer is None:
        return {"setting": None, "sha256": None}
    prefix = "custom_config.base."
    given = {
        key.removeprefix(prefix): value
        for key, value in trainer.parameters.items()
        if key.startswith(prefix) and value is not None
    }
    return {
        "setting": ", ".join(f"{key}: {value}" for key, value in given.items()),
        "sha256": trainer.parameters.get("custom_config.base_sha256"),
    }


def _model(trainer: Stage | None) -> str | None:
    found = trainer.outputs.get("model") if trainer else None
    return str(found[0].uri) if found else None


def source_of(report: Path) -> str | None:
    """Returns where a run's photos were, which the configuration of today may not say.

    Args:
        report: the folder of the run's page.
    """
    configuration = report / CONFIGURATION
    if not configuration.is_file():
        return None
    found = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    return str(found["data"]["source"])


def _configuration(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {"path": None, "sha256": None}
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
