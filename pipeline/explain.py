"""Says of every stage of a run whether it ran or was cached, and what had changed."""

from dataclasses import dataclass

from components.digests import FINGERPRINT
from components.features import SPLITS
from components.verdict import VERDICT
from pipeline.history import History, Stage

# What a parameter's dotted name means to a person; the rest are names of the configuration.
MEANINGS = {
    "code_sha256": "the stage's own code",
    "custom_config.code_sha256": "the stage's own code",
    "custom_config.transform_sha256": "the code of Transform",
    "custom_config.base_sha256": "the base's content",
    "schema_sha256": "the schema's content",
    FINGERPRINT: "the photos' content",
}
# The configuration's names of what TFX keeps under others.
NAMES = {
    "salt": "data.split_salt",
    **{
        f"settings.{name}": f"data.{name}"
        for name in ("source", "columns", "keys", "group", "max_unpacked")
    },
    **{
        name: f"data.{name}"
        for name in ("max_refused", "max_pixels", "min_size", "leakage", "drift")
    },
    **{f"splits.{split}": f"data.splits.{split}" for split in SPLITS},
    **{f"custom_config.{name}": f"image.{name}" for name in ("size", "resize")},
    # Of the serving gate alone, and no key of its own.
    "limits.max_difference": "the difference allowed by train.cache_dtype and train.precision",
}
LIMITS = "limits."  # of the model gate
# What the configuration counts in larger units.
UNITS = {"settings.max_unpacked": 1 << 30}
# Why a stage runs again though nothing has changed, by how it ended last time.
REPEATS = {
    "failed": "it did not finish last time",
    "interrupted": "it was interrupted last time",
}
# What no cache knows, hence asked in every run.
LOOKS_OUTSIDE = {
    "Baseline": "asks in every run which model is served",
    "WarmStart": "asks in every run which model is served",
    "BaselineStatistics": "asks in every run which data the served model was trained on",
    "Pusher": "looks in every run at what is served",
    "InfraValidator": "asks in every run a server of its own",
}
DIGEST_LENGTH = 8  # characters shown of a digest


@dataclass(frozen=True)
class Explanation:
    """Why a stage ran or did not.

    Attributes:
        stage: id of the TFX node.
        state: `"ran"`, `"cached"`, `"refused"`, `"failed"` or `"interrupted"`.
        reasons: what had changed against the stage's last execution, in words.
        seconds: time that it took.
    """

    stage: str
    state: str
    reasons: tuple[str, ...]
    seconds: float


def explain_run(history: History, run_id: str) -> list[Explanation]:
    """Explains every stage of a run, in the order in which they were started."""
    return [
        Explanation(
            stage.name,
            "refused" if _refused(stage) else stage.state,
            _reasons(history, stage),
            stage.seconds,
        )
        for stage in history.stages(run_id)
    ]


def _refused(stage: Stage) -> bool:
    """Says whether a stage is a gate whose verdict, new or cached, did not let the run pass."""
    return any(
        "passed" in artifact.custom_properties
        and artifact.custom_properties["passed"].int_value == 0
        for artifact in stage.outputs.get(VERDICT, ())
    )


def _reasons(history: History, stage: Stage) -> tuple[str, ...]:
    earlier = history.earlier_stage(stage)
    if stage.state == "cached":
        return ("nothing that it depends on has changed",)
    if stage.name in LOOKS_OUTSIDE:
        return (LOOKS_OUTSIDE[stage.name],)
    if earlier is None:
        return ("first run",)
    changes = (*_changed_parameters(earlier, stage), *_changed_inputs(earlier, stage))
    return changes or (REPEATS.get(earlier.state, "what it wrote last time was deleted"),)


def changed_content(earlier: Stage, stage: Stage) -> tuple[str, ...]:
    """Says which photos, code, base or schema a stage had that another execution did not have."""
    before, now = _comparable(earlier), _comparable(stage)
    names = (name for name in MEANINGS if before.get(name) and now.get(name))
    return tuple(
        f"{stage.name}: {_tell_change(name, before[name], now[name])}"
        for name in names
        if before[name] != now[name]
    )


def _changed_parameters(earlier: Stage, stage: Stage) -> tuple[str, ...]:
    before, now = _comparable(earlier), _comparable(stage)
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if FINGERPRINT in names and not (before.get(FINGERPRINT) and now.get(FINGERPRINT)):
        names.remove(FINGERPRINT)  # one of the two failed before its outputs were recorded
    return tuple(_tell_change(name, before.get(name), now.get(name)) for name in names)


def _comparable(stage: Stage) -> dict[str, object]:
    parameters = dict(stage.parameters)
    for artifacts in stage.outputs.values():
        for artifact in artifacts:
            # The driver of ingestion learns the fingerprint after its parameters are recorded.
            if FINGERPRINT in artifact.custom_properties:
                value = artifact.custom_properties[FINGERPRINT].string_value
                parameters[FINGERPRINT] = value
    return parameters


def _tell_change(name: str, before: object, now: object) -> str:
    if name in NAMES:
        short = NAMES[name]
    elif name.startswith(LIMITS):
        short = f"evaluate.{name.removeprefix(LIMITS)}"
    else:
        short = name.removeprefix("custom_config.")
    if name in MEANINGS or short.endswith("sha256"):
        return f"{MEANINGS.get(name, short)} changed ({_shorten(before)} → {_shorten(now)})"
    if name in UNITS:
        before, now = (
            value / UNITS[name] if isinstance(value, int) else value for value in (before, now)
        )
    return f"{short} changed: {_shorten(before)} → {_shorten(now)}"


def _shorten(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "none" if value is None or value == "" else str(value)
    is_digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:DIGEST_LENGTH] if is_digest else text


def _changed_inputs(earlier: Stage, stage: Stage) -> tuple[str, ...]:
    names = sorted(
        name
        for name in earlier.inputs.keys() | stage.inputs.keys()
        if earlier.inputs.get(name) != stage.inputs.get(name)
    )
    return tuple(
        f"its input {name} is {'new' if name in stage.inputs else 'gone'}" for name in names
    )
