"""The data gate as a stage: what it reads and that it always leaves a verdict."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from components import features
from components.image_example_gen.quarantine import COUNTS_FILE, Counts

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[3]
COUNTS = Counts(
    found=400,
    accepted=400,
    refused=0,
    ignored=0,
    reasons={},
    splits={"train": {"a": 100, "b": 100}, "validation": {"a": 100, "b": 100}},
    shares={"train": 0.5, "validation": 0.5},
)
MADE = 1_795_273_929_028  # milliseconds since the epoch: 2026-11-21 15:12:09 UTC


@pytest.fixture(scope="module")
def schema():
    from tensorflow_metadata.proto.v0 import schema_pb2

    path = ROOT / "schemas/image_examples.pbtxt"
    return text_format.Parse(path.read_text(), schema_pb2.Schema())


def describe(schema, seed, brightness=1.0, labels=("a", "b"), count=200):
    """Returns the statistics of photos, with all that the schema asks for but pictures."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            features.LABEL: [labels[number % len(labels)] for number in range(count)],
            features.FORMAT: "jpeg",
            features.WIDTH: 64,
            features.BRIGHTNESS: brightness * generator.beta(5, 5, count),
        }
    )
    options = tfdv.StatsOptions(schema=schema)
    return tfdv.generate_statistics_from_dataframe(frame, options, n_jobs=1)


@pytest.fixture
def artifacts(tmp_path, schema):
    """Makes the artifacts of earlier stages, by the statistics of their splits."""
    from tfx.types import artifact_utils, standard_artifacts
    from tfx.utils import io_utils

    from components.artifacts import Quarantine, Verdict

    def make_statistics(name, splits):
        artifact = standard_artifacts.ExampleStatistics()
        artifact.uri = str(tmp_path / name)
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
        artifact.mlmd_artifact.create_time_since_epoch = MADE
        for split, statistics in splits.items():
            folder = Path(artifact_utils.get_split_uri([artifact], split))
            folder.mkdir(parents=True)
            (folder / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
        return artifact

    def make(now, before=None, counts=COUNTS):
        quarantine, curated = Quarantine(), standard_artifacts.Schema()
        anomalies, verdict = standard_artifacts.ExampleAnomalies(), Verdict()
        for artifact in (quarantine, curated, anomalies, verdict):
            artifact.uri = str(tmp_path / artifact.type_name)
            Path(artifact.uri).mkdir()
        (Path(quarantine.uri) / COUNTS_FILE).write_text(counts.to_json())
        io_utils.write_pbtxt_file(str(Path(curated.uri) / "schema.pbtxt"), schema)
        anomalies.split_names = artifact_utils.encode_split_names([])
        inputs = {
            "quarantine": [quarantine],
            "schema": [curated],
            "anomalies": [anomalies],
            "statistics": [make_statistics("now", now)],
            "baseline_statistics": [make_statistics("before", before)] if before else [],
        }
        return inputs, {"verdict": [verdict]}

    return make


def run(inputs, outputs, drift="report"):
    """Runs the stage; returns its checks by name and whether the artifact says that it passed."""
    from components.data_validation.executor import Executor

    Executor().Do(inputs, outputs, {"max_refused": 0.05, "leakage": "remove", "drift": drift})
    artifact = outputs["verdict"][0]
    told = json.loads((Path(artifact.uri) / "verdict.json").read_text())
    assert artifact.get_int_custom_property("passed") == told["passed"]
    return {check["name"]: check for check in told["checks"]}, told["passed"]


def test_without_a_baseline_there_is_nothing_to_compare_with(artifacts, schema):
    splits = {"train": describe(schema, 0), "validation": describe(schema, 1)}
    checks, passed = run(*artifacts(splits), drift="fail")
    assert passed
    assert checks["drift"]["words"] == (
        "Drift: nothing to compare with, as no model is served or it was trained on these very "
        "images."
    )
    assert checks["skew"]["words"] == (
        "Skew between this run's validation and train: none in 4 properties of the images."
    )


def test_dark_photos_and_a_new_class_are_named_and_leave_a_verdict_that_refuses(artifacts, schema):
    dark = {
        split: describe(schema, seed, brightness=0.3, labels=("a", "b", "c"))
        for seed, split in enumerate(("train", "validation"))
    }
    before = {"train": describe(schema, 2), "validation": describe(schema, 3)}
    checks, passed = run(*artifacts(dark, before), drift="fail")
    assert not passed
    words = checks["drift"]["words"]
    assert words.startswith(
        "Drift between this run's train and that of the served model (2026-11-21 15:12:09 UTC): "
        "new label 'c'; feature 'image/brightness': Jensen-Shannon divergence"
    )
    assert "feature 'label': largest change of a share 0.33, limit 0.2" in words
    assert checks["drift"]["figure"] == 3
    assert checks["skew"]["passed"]


def test_under_report_the_same_photos_pass(artifacts, schema):
    dark = {"train": describe(schema, 0, 0.3), "validation": describe(schema, 1, 0.3)}
    before = {"train": describe(schema, 2), "validation": describe(schema, 3)}
    checks, passed = run(*artifacts(dark, before))
    assert passed
    assert checks["drift"]["figure"] == 1


def test_a_dark_validation_split_is_skew(artifacts, schema):
    splits = {"train": describe(schema, 0), "validation": describe(schema, 1, 0.3)}
    checks, passed = run(*artifacts(splits), drift="fail")
    assert not passed
    assert "feature 'image/brightness': Jensen-Shannon divergence" in checks["skew"]["words"]


def test_few_photos_are_not_held_to_distances(artifacts, schema):
    splits = {"train": describe(schema, 0), "validation": describe(schema, 1, 0.3, count=29)}
    checks, passed = run(*artifacts(splits), drift="fail")
    assert passed
    assert "not compared with 29 images and 200 in train" in checks["skew"]["words"]


def test_a_split_that_is_not_there_is_no_error(artifacts, schema):
    now = {"train": describe(schema, 0), "validation": describe(schema, 1)}
    checks, _ = run(*artifacts(now, {"validation": describe(schema, 2)}), drift="fail")
    assert checks["drift"]["passed"]
    assert "200 images and 0 there" in checks["drift"]["words"]


def test_refused_images_leave_a_verdict_that_refuses(artifacts, schema):
    counts = dataclasses.replace(COUNTS, accepted=300, refused=100, reasons={"corrupt": 100})
    splits = {"train": describe(schema, 0), "validation": describe(schema, 1)}
    checks, passed = run(*artifacts(splits, counts=counts))
    assert not passed
    assert not checks["refused_share"]["passed"]
