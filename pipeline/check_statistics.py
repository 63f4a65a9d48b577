"""What `graft check` tells of departures from the schema, drift and skew, without a run.

The images' properties are described as StatisticsGen describes them, by TensorFlow Data Validation,
and compared with the code of the data gate. Imports no TFX.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from components import features
from components.data_validation.comparison import Comparison, Summary
from components.data_validation.gate import GATED_SPLITS
from components.digests import folder_digest
from components.image_example_gen.outcomes import Outcome, Settled
from components.image_example_gen.quarantine import path_text
from components.pusher import served
from pipeline.config import Config

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "schemas" / "image_examples.pbtxt"
# Every value differs or is a whole file, of which statistics tell nothing that is gated on.
LEFT_OUT = (features.IMAGE, features.PATH, features.SHA256, features.SPLIT_KEY)
SERVING_FOLDER = "Format-Serving"  # where TFX keeps the SavedModel in a Model artifact
STATISTICS_FILE = "FeatureStats.pb"  # StatisticsGen's, in a folder Split-NAME
SAME_MEANS = 1e-6  # relative; rounding in sums, where no image differs

T = TypeVar("T")


@dataclass(frozen=True)
class Foresight:
    """What the data gate would be told, by `gate.judge`'s arguments.

    Attributes:
        anomalies: sentences by split; None where not judged.
        drift: None where not judged.
        skew: None where not judged.
        warnings: a sentence for everything that was not judged.
    """

    anomalies: dict[str, list[str]] | None
    drift: Comparison | None
    skew: Comparison | None
    warnings: tuple[str, ...]


def foresee(config: Config, settled: Settled) -> Foresight:
    """Compares images with the schema, with those of the served model, and with each other.

    Args:
        config: a loaded configuration.
        settled: what became of all files.

    Returns:
        What was found; whatever fails is left out with a warning, as the run asks it again.
    """
    failures: list[str] = []

    def attempt(what: str, find: Callable[[], T]) -> T | None:
        try:
            return find()
        # Whatever old metadata or TensorFlow Data Validation raise, the rest is worth telling.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            failures.append(f"Not judged here: {what} ({reason}).")
            return None

    described = attempt("schema, drift and skew", lambda: describe_splits(settled))
    if described is None:
        return Foresight(None, None, None, tuple(failures))
    from components.data_validation.findings import find_skew

    schema, splits = described
    anomalies = attempt("schema", lambda: _find_anomalies(splits, schema, settled.counts.splits))
    drift = attempt("drift", lambda: _find_drift(config, splits, schema))
    skew = attempt("skew", lambda: find_skew(splits, schema))
    return Foresight(anomalies, drift, skew, tuple(failures))


def describe_splits(settled: Settled) -> tuple[Any, dict[str, Any]]:
    """Returns the schema of what is described, and TFDV's statistics by gated split."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    kept = [feature for feature in schema.feature if feature.name not in LEFT_OUT]
    del schema.feature[:]
    schema.feature.extend(kept)
    accepted: dict[str | None, list[Outcome]] = {split: [] for split in GATED_SPLITS}
    for one in settled.outcomes:
        accepted.setdefault(one.split, []).append(one)
    return schema, {split: _describe(accepted[split], settled, schema) for split in GATED_SPLITS}


def _describe(outcomes: Sequence[Outcome], settled: Settled, schema: Any) -> Any:
    """Returns statistics of accepted images, of numbers as raw examples keep them."""
    import numpy as np
    import pandas as pd
    import tensorflow_data_validation as tfdv

    images = [settled.properties[one.path] for one in outcomes]
    texts = {
        features.LABEL: [path_text(one.label) for one in outcomes],
        features.FORMAT: [one.format for one in images],
        features.ENCODING: [one.encoding for one in images],
    }
    integers = {
        features.REENCODED: [one.reencoded for one in images],
        features.WIDTH: [one.width for one in images],
        features.HEIGHT: [one.height for one in images],
        features.CHANNELS: [one.channels for one in images],
    }
    floats = {
        features.ASPECT: [one.aspect for one in images],
        features.BYTES: [one.bytes for one in images],
        features.BRIGHTNESS: [one.brightness for one in images],
        features.CONTRAST: [one.contrast for one in images],
        features.SHARPNESS: [one.sharpness for one in images],
        features.ENTROPY: [one.entropy for one in images],
    }
    columns = {
        **{name: np.array(values, object) for name, values in texts.items()},
        **{name: np.array(values, np.int64) for name, values in integers.items()},
        **{name: np.array(values, np.float32) for name, values in floats.items()},
    }
    options = tfdv.StatsOptions(schema=schema)
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame(columns), options, n_jobs=1)


def _find_anomalies(
    splits: Mapping[str, Any], schema: Any, present: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Returns the sentences of ExampleValidator, of gated splits that the run would have."""
    import tensorflow_data_validation as tfdv

    from components.data_validation.findings import describe_anomalies

    return {
        split: describe_anomalies(tfdv.validate_statistics(statistics, schema))
        for split, statistics in splits.items()
        if split in present
    }


def _find_drift(config: Config, splits: Mapping[str, Any], schema: Any) -> Comparison:
    """Compares with the images of the served model, as the run would choose them."""
    from components.data_validation.findings import NO_BASELINE, find_drift

    manifest = served.newest(config.push.directory)
    # What was pushed elsewhere or before metadata were lost is nobody's baseline in a run either.
    if manifest is None or not config.metadata_path.is_file():
        return NO_BASELINE
    store = _open_store(config.metadata_path)
    artifact = _find_baseline(store, manifest, splits, config.data.drift)
    if artifact is None:
        return NO_BASELINE
    before = _load(artifact)
    return find_drift(splits, before, schema, artifact.create_time_since_epoch)


def _open_store(path: Path) -> Any:
    import ml_metadata
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(path)
    return ml_metadata.MetadataStore(connection)


def _find_baseline(
    store: Any, manifest: served.Manifest, splits: Mapping[str, Any], drift: str
) -> Any | None:
    """Returns the statistics that `data_validation.baseline` would resolve to, or none."""
    from components.data_validation.lineage import find_baseline

    models = store.get_artifacts_by_uri(manifest.model_uri) if manifest.model_uri else []
    # Another pipeline's model may have stood at the same URI.
    model_folder = Path(manifest.model_uri) / SERVING_FOLDER
    if not models or folder_digest(model_folder) != manifest.model_digest:
        return None
    artifact = _get_present(store, find_baseline(store, models[0].id, set(), drift))
    if artifact is None or not _is_same(splits, _load(artifact)):
        return artifact
    # The model learned these very images, whose statistics the run will take from the cache.
    return _get_present(store, find_baseline(store, models[0].id, {artifact.id}, drift))


def _get_present(store: Any, identity: int | None) -> Any | None:
    """Returns an artifact unless there is none or it has been cleared away."""
    found = [] if identity is None else store.get_artifacts_by_id([identity])
    return next((one for one in found if Path(one.uri).exists()), None)


def _load(artifact: Any) -> dict[str, Any]:
    """Returns the statistics of the gated splits, empty ones for a split that is not there."""
    from components.data_validation.measures import Statistics

    folders = {split: Path(artifact.uri) / f"Split-{split}" for split in GATED_SPLITS}
    return {
        split: Statistics.FromString((folder / STATISTICS_FILE).read_bytes())
        if folder.is_dir()
        else Statistics()
        for split, folder in folders.items()
    }


def _is_same(splits: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Says whether statistics are of the very same images: as many, of equal ranges and means."""
    from components.data_validation.measures import summarise

    return all(
        _is_equal(summarise(statistics), summarise(others[split]))
        for split, statistics in splits.items()
    )


def _is_equal(first: Summary, second: Summary) -> bool:
    common = first.means.keys() & second.means.keys()
    return (
        (first.images, first.values) == (second.images, second.values)
        and all(first.ranges[name] == second.ranges[name] for name in common)
        and all(
            math.isclose(first.means[name], second.means[name], rel_tol=SAME_MEANS)
            for name in common
        )
    )
