"""ImageExampleGen and the stages that judge its output, run by TFX on one tiny source."""

import dataclasses
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from components import features
from components.errors import GraftError, InputError, RefusedError

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "schemas/image_examples.pbtxt"
SPLITS = {"train": 0.7, "validation": 0.3}
KINDS = ("JPEG", "PNG", "GIF", "BMP")
BEAM = [
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
    "--sdk_container_image=none",
]


def write_source(source: Path, image) -> None:
    """48 good images of two classes (one pair of copies) and one bad file of most reasons."""
    for number in range(47):
        folder = source / ("cat" if number % 2 else "dog/deeper")
        folder.mkdir(parents=True, exist_ok=True)
        kind = KINDS[number // 2 % 4]
        # A wrong extension must not matter.
        (folder / f"{number}.jpg").write_bytes(image(seed=number, kind=kind))
    (source / "dog/copy.png").write_bytes(image(seed=0))
    with open(os.path.join(os.fsencode(source), b"cat", b"caf\xe9.jpg"), "wb") as file:
        file.write(image(seed=100))
    bad = {
        "cat/.DS_Store": b"x",
        "cat/conflict.jpg": image(seed=200),
        "cat/cut.jpg": image(seed=201)[:-20],
        "cat/empty.jpg": b"",
        "cat/notes.txt": b"not an image",
        "cat/other.jpg": image(seed=202, kind="WEBP"),
        "cat/small.png": image(seed=203, kind="PNG", width=5),
        "dog/conflict.jpg": image(seed=200),
        "dog/large.png": image(seed=204, kind="PNG", width=50, height=50),
        "loose.jpg": image(seed=205),
    }
    for path, content in bad.items():
        (source / path).write_bytes(content)
    (source / "dog/broken").symlink_to("nowhere")
    damaged = bytearray(image(seed=206, kind="PNG"))
    damaged[60] ^= 0xFF
    (source / "dog/damaged.png").write_bytes(damaged)


REFUSED = {
    "cat/.DS_Store": "system_file",
    "cat/conflict.jpg": "label_conflict",
    "cat/cut.jpg": "truncated",
    "cat/empty.jpg": "empty",
    "cat/notes.txt": "not_an_image",
    "cat/other.jpg": "unsupported",
    "cat/small.png": "too_small",
    "dog/broken": "unreadable",
    "dog/conflict.jpg": "label_conflict",
    "dog/damaged.png": "corrupt",
    "dog/large.png": "too_many_pixels",
    "loose.jpg": "no_label",
}


class Runner:
    """Runs pipelines over one source and reads what ML Metadata holds of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.source = folder / "source"

    def connection(self):
        from tfx.orchestration import metadata

        return metadata.sqlite_metadata_connection_config(str(self.folder / "metadata.db"))

    def run(self, whole: bool = False, max_refused: float = 1.0, **parameters) -> None:
        from tfx.components.example_validator.component import ExampleValidator
        from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
        from tfx.components.statistics_gen.component import StatisticsGen
        from tfx.orchestration import pipeline as tfx_pipeline
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner

        from components.data_validation.component import DataGate
        from components.image_example_gen.component import ImageExampleGen

        settings = {"salt": "", "max_pixels": 2400, "min_size": 8, **parameters}
        gen = ImageExampleGen(source=str(self.source), splits=SPLITS, **settings)
        stages = [gen]
        if whole:
            schema = ImportSchemaGen(schema_file=str(SCHEMA))
            statistics = StatisticsGen(
                examples=gen.outputs["examples"], schema=schema.outputs["schema"]
            )
            validator = ExampleValidator(
                statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
            )
            gate = DataGate(gen.outputs["quarantine"], validator.outputs["anomalies"], max_refused)
            stages += [schema, statistics, validator, gate]
        LocalDagRunner().run(
            tfx_pipeline.Pipeline(
                pipeline_name="ingestion",
                pipeline_root=str(self.folder / "artifacts"),
                metadata_connection_config=self.connection(),
                components=stages,
                enable_cache=True,
                beam_pipeline_args=BEAM,
            )
        )

    def artifacts(self, type_name: str) -> list:
        from tfx.orchestration import metadata

        with metadata.Metadata(self.connection()) as handle:
            return sorted(handle.store.get_artifacts_by_type(type_name), key=lambda a: a.id)

    def last_states(self) -> list[str]:
        """The states of ImageExampleGen's executions, oldest first."""
        from ml_metadata.proto import metadata_store_pb2
        from tfx.orchestration import metadata

        with metadata.Metadata(self.connection()) as handle:
            executions = handle.store.get_executions_by_type(
                "components.image_example_gen.component.ImageExampleGen"
            )
        name = metadata_store_pb2.Execution.State.Name
        return [name(e.last_known_state) for e in sorted(executions, key=lambda e: e.id)]


@pytest.fixture(scope="module")
def runner(tmp_path_factory, image):
    runner = Runner(tmp_path_factory.mktemp("ingestion"))
    write_source(runner.source, image)
    runner.originals = {path: path.read_bytes() for path in files(runner.source)}
    runner.run(whole=True)
    return runner


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_examples(uri: str, split: str) -> list[dict]:
    import tensorflow as tf

    records = []
    for path in sorted(Path(uri, f"Split-{split}").iterdir()):
        for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP"):
            values = tf.train.Example.FromString(record.numpy()).features.feature
            records.append(
                {
                    name: list(getattr(value, value.WhichOneof("kind")).value)
                    for name, value in values.items()
                }
            )
    return records


@pytest.fixture(scope="module")
def examples(runner):
    (artifact,) = runner.artifacts("Examples")[:1]
    return {split: read_examples(artifact.uri, split) for split in SPLITS}


def test_every_file_is_accepted_or_named_in_the_quarantine(runner, examples):
    quarantine = runner.artifacts("GraftQuarantine")[0]
    text = Path(quarantine.uri, "quarantine.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["path"]: line["reason"] for line in lines} == REFUSED
    assert [line["path"] for line in lines] == sorted(REFUSED)
    paths = {e[features.PATH][0].decode() for split in examples.values() for e in split}
    assert len(paths) == 49
    assert "cat/caf\\xe9.jpg" in paths
    assert "dog/deeper/0.jpg" in paths


def test_counts_stand_in_ml_metadata_and_beside_the_quarantine(runner, examples):
    quarantine = runner.artifacts("GraftQuarantine")[0]
    figures = {
        name: value.int_value
        for name, value in quarantine.custom_properties.items()
        if value.WhichOneof("value") == "int_value"
    }
    expected = {"found": 60, "accepted": 49, "refused": 11, "ignored": 1}
    expected |= {f"refused_{reason}": n for reason, n in Counter(REFUSED.values()).items()}
    assert expected.items() <= figures.items()
    counts = json.loads(Path(quarantine.uri, "counts.json").read_text())
    assert counts["splits"] == {
        split: dict(Counter(e[features.LABEL][0].decode() for e in examples[split]))
        for split in SPLITS
    }


def test_an_example_holds_the_file_s_bytes_and_its_measured_properties(runner, examples, image):
    content = image(seed=1, kind="JPEG")
    everything = [e for split in examples.values() for e in split]
    (example,) = [e for e in everything if e[features.PATH] == [b"cat/1.jpg"]]
    digest = hashlib.sha256(content).hexdigest().encode()
    measured = {
        key: example.pop(key)[0]
        for key in (features.BRIGHTNESS, features.CONTRAST, features.SHARPNESS)
    }
    assert example == {
        features.IMAGE: [content],
        features.LABEL: [b"cat"],
        features.PATH: [b"cat/1.jpg"],
        features.FORMAT: [b"jpeg"],
        features.WIDTH: [20],
        features.HEIGHT: [16],
        features.CHANNELS: [3],
        features.BYTES: [float(len(content))],
        features.SHA256: [digest],
        features.SPLIT_KEY: [digest],
    }
    assert 0.3 < measured[features.BRIGHTNESS] < 0.7
    assert 0 < measured[features.CONTRAST] < 0.5
    assert measured[features.SHARPNESS] > 0


def test_every_image_is_in_the_split_of_its_content_and_copies_are_together(examples):
    from components.image_example_gen.splits import split_of

    for split, records in examples.items():
        for example in records:
            assert split_of(example[features.SPLIT_KEY][0].decode(), SPLITS) == split
    copies = {b"dog/deeper/0.jpg", b"dog/copy.png"}
    holding = [
        s for s, records in examples.items() for e in records if e[features.PATH][0] in copies
    ]
    assert len(holding) == 2
    assert len(set(holding)) == 1


def test_the_artifact_is_described_as_tfx_s_own_example_gens_describe_theirs(runner):
    examples = runner.artifacts("Examples")[0]
    assert json.loads(examples.properties["split_names"].string_value) == ["train", "validation"]
    properties = examples.custom_properties
    assert properties["payload_format"].string_value == "FORMAT_TF_EXAMPLE"
    assert properties["file_format"].string_value == "tfrecords_gzip"
    assert len(properties["fingerprint"].string_value) == 64
    names = [path.name for path in files(Path(examples.uri))]
    assert names == ["data_tfrecord-00000-of-00001.gz"] * 2


def test_the_schema_finds_nothing_to_object_to_and_the_gate_passes(runner):
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from components.data_validation.executor import describe_anomalies

    (anomalies,) = runner.artifacts("ExampleAnomalies")
    for split in SPLITS:
        found = Path(anomalies.uri, f"Split-{split}/SchemaDiff.pb").read_bytes()
        assert describe_anomalies(anomalies_pb2.Anomalies.FromString(found)) == []
    (verdict,) = runner.artifacts("GraftVerdict")
    assert verdict.custom_properties["passed"].int_value == 1
    content = json.loads(Path(verdict.uri, "verdict.json").read_text())
    assert [check["passed"] for check in content["checks"]] == [True] * 4
    assert content["checks"][3]["figure"] == 0


def test_a_format_that_the_schema_does_not_know_is_an_anomaly_by_name(runner):
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from components.data_validation.executor import describe_anomalies

    (statistics,) = runner.artifacts("ExampleStatistics")
    found = tfdv.load_stats_binary(os.path.join(statistics.uri, "Split-train/FeatureStats.pb"))
    without_gif = SCHEMA.read_text().replace('value: "gif"', "")
    schema = text_format.Parse(without_gif, schema_pb2.Schema())
    (sentence,) = describe_anomalies(tfdv.validate_statistics(found, schema))
    assert sentence.startswith("feature 'image/format': ")
    assert "gif" in sentence


def test_the_schema_gives_scalar_features_to_transform():
    import tensorflow as tf
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform.tf_metadata import schema_utils

    schema = text_format.Parse(SCHEMA.read_text(), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    assert spec[features.IMAGE] == tf.io.FixedLenFeature([], tf.string)
    assert spec[features.WIDTH] == tf.io.FixedLenFeature([], tf.int64)
    assert spec[features.BYTES] == tf.io.FixedLenFeature([], tf.float32)


def test_the_gate_refuses_in_words_and_earlier_artifacts_stay(runner):
    with pytest.raises(RefusedError, match=r"11 of 60 images were refused \(18.3%") as caught:
        runner.run(whole=True, max_refused=0.1)
    assert (caught.value.refused_by, caught.value.exit_status) == ("data", 3)
    assert len(runner.artifacts("GraftVerdict")) == 1
    assert Path(runner.artifacts("GraftQuarantine")[0].uri, "quarantine.jsonl").exists()


def test_nothing_changed_touched_files_and_system_files_are_cache_hits(runner):
    runner.run()
    assert runner.last_states()[-1] == "CACHED"
    os.utime(runner.source / "cat/1.jpg", (1, 1))
    (runner.source / "dog/Thumbs.db").write_bytes(b"x")
    runner.run()
    assert runner.last_states()[-1] == "CACHED"
    (runner.source / "dog/Thumbs.db").unlink()


def test_one_changed_byte_of_equal_size_and_time_runs_ingestion_again(runner):
    path = runner.source / "cat/1.jpg"
    original, status = path.read_bytes(), path.stat()
    path.write_bytes(original[:300] + bytes([original[300] ^ 1]) + original[301:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    runner.run()
    assert runner.last_states()[-1] == "COMPLETE"
    path.write_bytes(original)
    runner.run()
    assert runner.last_states()[-1] == "CACHED"


def test_another_salt_or_limit_runs_ingestion_again(runner):
    runner.run(salt="other")
    assert runner.last_states()[-1] == "COMPLETE"
    runner.run(min_size=9)
    assert runner.last_states()[-1] == "COMPLETE"


def test_ingestion_leaves_the_originals_as_they_were(runner):
    assert {path: path.read_bytes() for path in files(runner.source)} == runner.originals


def test_a_source_that_cannot_work_stops_the_run_before_anything_is_written(runner, tmp_path):
    broken = Runner(tmp_path)
    broken.source.mkdir()
    with pytest.raises(InputError, match="which is empty"):
        broken.run()
    assert broken.artifacts("Examples") == []


def test_a_source_that_changes_under_ingestion_is_no_silent_cache_entry():
    from components.image_example_gen.executor import check_unchanged

    check_unchanged(None, "a")
    check_unchanged("a", "a")
    with pytest.raises(GraftError, match="Run again when nothing writes to the source"):
        check_unchanged("a", "b")


def test_a_shard_is_planned_for_every_64_mib_of_a_split():
    from components.image_example_gen.executor import count_shards
    from components.image_example_gen.sources import Candidate, Listing

    mib = 1 << 20
    listing = Listing((Candidate("a/1", "a", 640 * mib), Candidate("b/1", "b", 1)), (), ("a", "b"))
    assert count_shards(listing, {"train": 0.8, "validation": 0.1, "test": 0.1}) == {
        "train": 9,
        "validation": 2,
        "test": 2,
    }
    tiny = dataclasses.replace(listing, candidates=listing.candidates[1:])
    assert count_shards(tiny, SPLITS) == {"train": 1, "validation": 1}
