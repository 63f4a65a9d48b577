"""ImageExampleGen on real files: whole through TFX on one source, its executor on every kind."""

import csv
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components import features
from components.errors import GraftError, InputError
from components.image_example_gen.listing import Listing, Place, SourceSettings

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
LIVE = 2  # ml_metadata's Artifact.State
PARAMETERS: dict[str, Any] = {"salt": "", "max_pixels": 20_000, "min_size": 8, "leakage": "remove"}


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
        "cat/other.jpg": image(seed=202, kind="PPM"),
        "cat/small.png": image(seed=203, kind="PNG", width=5),
        "dog/conflict.jpg": image(seed=200),
        "dog/large.png": image(seed=204, kind="PNG", width=200, height=200),
        "loose.jpg": image(seed=205),
    }
    for path, content in bad.items():
        (source / path).write_bytes(content)
    (source / "cat/web.png").write_bytes(image(seed=207, kind="WEBP", lossless=True))
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

    def run(self, whole: bool = False, **parameters) -> None:
        from tfx.components.example_validator.component import ExampleValidator
        from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
        from tfx.components.statistics_gen.component import StatisticsGen
        from tfx.orchestration import pipeline as tfx_pipeline
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner

        from components.image_example_gen.component import ImageExampleGen

        settings = SourceSettings(str(self.source), cache=str(self.folder / "cache"))
        gen = ImageExampleGen(settings=settings, splits=SPLITS, **PARAMETERS | parameters)
        stages = [gen]
        if whole:
            schema = ImportSchemaGen(schema_file=str(SCHEMA))
            statistics = StatisticsGen(
                examples=gen.outputs["examples"], schema=schema.outputs["schema"]
            )
            validator = ExampleValidator(
                statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
            )
            stages += [schema, statistics, validator]
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


@dataclass(frozen=True)
class Result:
    """What one ingestion wrote: examples by split, quarantine lines, counts, pairs, figures."""

    examples: Mapping[str, list[dict]]
    refused: Mapping[str, dict]
    counts: Mapping[str, Any]
    twins: list[dict]
    figures: Mapping[str, int]

    @property
    def splits(self) -> dict[str, str]:
        """The split of every accepted image by its path."""
        return {
            example[features.PATH][0].decode(): split
            for split, examples in self.examples.items()
            for example in examples
        }


@pytest.fixture
def ingest(tmp_path):
    """Does what TFX's launcher does of driver and executor; checks that nothing is lost."""

    def run(source: Path | str, splits: Mapping[str, float] = SPLITS, **parameters) -> Result:
        from tfx.dsl.components.base import base_beam_executor
        from tfx.types import standard_artifacts

        from components.artifacts import Quarantine
        from components.image_example_gen import known_files
        from components.image_example_gen.executor import Executor
        from components.image_example_gen.sources import check_source

        options = {name: parameters.pop(name) for name in ("group",) if name in parameters}
        root = parameters.pop("root", tmp_path)
        settings = SourceSettings(str(source), cache=str(root / "cache"), **options)
        listing = check_source(settings)
        known = known_files.KnownFiles(settings.cache)
        digests = known_files.digest_files(listing, known)
        out = root / f"out{time.time_ns()}"
        outputs = {"examples": standard_artifacts.Examples(), "quarantine": Quarantine()}
        for name, artifact in outputs.items():
            artifact.uri = str(out / name)
            (out / name).mkdir(parents=True)
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=BEAM, tmp_dir=str(out / "scratch"), unique_id="1"
        )
        properties = {
            "settings": settings.to_json(),
            "splits": json.dumps(splits),
            "fingerprint": known_files.fingerprint_source(listing, digests),
            **PARAMETERS,
            **parameters,
        }
        Executor(context).Do({}, {name: [one] for name, one in outputs.items()}, properties)
        result = read_result(outputs["examples"], outputs["quarantine"])
        check_complete(result, listing)
        return result

    return run


def read_result(examples, quarantine) -> Result:
    folder = Path(quarantine.uri)
    lines = [
        json.loads(line) for line in (folder / "quarantine.jsonl").read_text().split("\n")[:-1]
    ]
    return Result(
        examples={
            name: read_examples(examples.uri, name) for name in json.loads(examples.split_names)
        },
        refused={line["path"]: line for line in lines},
        counts=json.loads((folder / "counts.json").read_text()),
        twins=[json.loads(line) for line in (folder / "twins.jsonl").read_text().splitlines()],
        figures={
            name: value.int_value
            for name, value in quarantine.mlmd_artifact.custom_properties.items()
            if value.WhichOneof("value") == "int_value"
        },
    )


def check_complete(result: Result, listing: Listing) -> None:
    """Every candidate is in one example or on one line, and all figures say so."""
    from components.image_example_gen.quarantine import path_text

    accepted = Counter(
        example[features.PATH][0].decode()
        for examples in result.examples.values()
        for example in examples
    )
    listed = {path_text(one.path) for one in (*listing.candidates, *listing.refused)}
    assert set(accepted) | set(result.refused) == listed
    assert not set(accepted) & set(result.refused)
    assert max(accepted.values()) == 1
    figures = result.figures
    assert figures["found"] == figures["accepted"] + figures["refused"] == listing.found
    assert figures["accepted"] == len(accepted)
    assert figures["refused"] + figures["ignored"] == len(result.refused)
    reasons = Counter(line["reason"] for line in result.refused.values())
    del reasons["system_file"]  # such files are ignored, not refused
    assert reasons == {
        name.removeprefix("refused_"): n
        for name, n in figures.items()
        if name.startswith("refused_")
    }


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
    quarantine = runner.artifacts("graft.Quarantine")[0]
    text = Path(quarantine.uri, "quarantine.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["path"]: line["reason"] for line in lines} == REFUSED
    assert [line["path"] for line in lines] == sorted(REFUSED)
    paths = {e[features.PATH][0].decode() for split in examples.values() for e in split}
    assert len(paths) == 50
    assert "cat/caf\\xe9.jpg" in paths
    assert "dog/deeper/0.jpg" in paths


def test_counts_stand_in_ml_metadata_and_beside_the_quarantine(runner, examples):
    quarantine = runner.artifacts("graft.Quarantine")[0]
    figures = {
        name: value.int_value
        for name, value in quarantine.custom_properties.items()
        if value.WhichOneof("value") == "int_value"
    }
    expected = {"found": 61, "accepted": 50, "refused": 11, "ignored": 1, "duplicates": 2}
    expected |= {"twins": 0, "leaks": 0, "groups": 0}
    expected |= {f"refused_{reason}": n for reason, n in Counter(REFUSED.values()).items()}
    del expected["refused_system_file"]
    figures.pop("is_external", None)  # ML Metadata's own
    assert expected == figures
    counts = json.loads(Path(quarantine.uri, "counts.json").read_text())
    assert counts["splits"] == {
        split: dict(Counter(e[features.LABEL][0].decode() for e in examples[split]))
        for split in SPLITS
    }
    assert counts["shares"] == SPLITS
    assert counts["kind"] == "folder of class folders"


def test_an_example_holds_the_file_s_bytes_and_its_measured_properties(runner, examples, image):
    content = image(seed=1, kind="JPEG")
    example = dict(find_example(examples, "cat/1.jpg"))
    digest = hashlib.sha256(content).hexdigest().encode()
    measured = {
        key: example.pop(key)[0]
        for key in (features.BRIGHTNESS, features.CONTRAST, features.SHARPNESS, features.ENTROPY)
    }
    assert example == {
        features.IMAGE: [content],
        features.LABEL: [b"cat"],
        features.PATH: [b"cat/1.jpg"],
        features.FORMAT: [b"jpeg"],
        features.ENCODING: [b"jpeg"],
        features.REENCODED: [0],
        features.WIDTH: [20],
        features.HEIGHT: [16],
        features.ASPECT: [1.25],
        features.CHANNELS: [3],
        features.BYTES: [float(len(content))],
        features.SHA256: [digest],
        features.SPLIT_KEY: [digest],
    }
    assert 0.3 < measured[features.BRIGHTNESS] < 0.7
    assert 0 < measured[features.CONTRAST] < 0.5
    assert measured[features.SHARPNESS] > 0
    assert 0 < measured[features.ENTROPY] <= 8


def find_example(examples: Mapping[str, list[dict]], path: str) -> dict:
    everything = [e for split in examples.values() for e in split]
    (example,) = [e for e in everything if e[features.PATH] == [path.encode()]]
    return example


def test_what_tensorflow_does_not_decode_is_kept_as_a_png_of_the_same_pixels(examples, image):
    example = find_example(examples, "cat/web.png")
    content = image(seed=207, kind="WEBP", lossless=True)
    assert example[features.FORMAT] == [b"webp"]
    assert example[features.ENCODING] == [b"png"]
    assert example[features.REENCODED] == [1]
    assert example[features.BYTES] == [float(len(content))]
    assert example[features.SHA256] == [hashlib.sha256(content).hexdigest().encode()]
    served = Image.open(io.BytesIO(example[features.IMAGE][0]))
    assert served.format == "PNG"
    assert served.convert("RGB").tobytes() == Image.open(io.BytesIO(content)).tobytes()


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


def test_the_schema_finds_nothing_to_object_to(runner):
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    (anomalies,) = runner.artifacts("ExampleAnomalies")
    for split in SPLITS:
        found = Path(anomalies.uri, f"Split-{split}/SchemaDiff.pb").read_bytes()
        assert dict(anomalies_pb2.Anomalies.FromString(found).anomaly_info) == {}


def test_a_format_that_the_schema_does_not_know_is_an_anomaly_by_name(runner):
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    (statistics,) = runner.artifacts("ExampleStatistics")
    found = tfdv.load_stats_binary(os.path.join(statistics.uri, "Split-train/FeatureStats.pb"))
    without_gif = SCHEMA.read_text().replace('value: "gif"', "")
    schema = text_format.Parse(without_gif, schema_pb2.Schema())
    anomalies = dict(tfdv.validate_statistics(found, schema).anomaly_info)
    assert features.FORMAT in anomalies
    assert "gif" in anomalies[features.FORMAT].description


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


def test_another_salt_limit_or_setting_runs_ingestion_again(runner):
    for change in ({"salt": "other"}, {"min_size": 9}, {"leakage": "report"}):
        runner.run(**change)
        assert runner.last_states()[-1] == "COMPLETE", change


def test_a_run_that_dies_leaves_nothing_that_is_used_and_the_next_one_is_whole(runner, monkeypatch):
    from components.image_example_gen import shards

    written = []

    def die(*values):
        written.append(values)
        if len(written) > 20:
            raise RuntimeError("killed")
        return make(*values)

    make = shards.to_example
    before = [artifact.id for artifact in runner.artifacts("Examples")]
    monkeypatch.setattr(shards, "to_example", die)
    with pytest.raises(Exception, match="killed"):
        runner.run(salt="dies")
    assert runner.last_states()[-1] == "FAILED"
    monkeypatch.undo()
    runner.run(salt="dies")
    assert runner.last_states()[-1] == "COMPLETE"
    live = [a for a in runner.artifacts("Examples") if a.id not in before and a.state == LIVE]
    assert len(live) == 1
    paths = {
        example[features.PATH][0]
        for split in SPLITS
        for example in read_examples(live[0].uri, split)
    }
    assert len(paths) == 50
    runner.run(salt="dies")
    assert runner.last_states()[-1] == "CACHED"


def test_ingestion_leaves_the_originals_as_they_were(runner):
    assert {path: path.read_bytes() for path in files(runner.source)} == runner.originals


def test_a_source_that_cannot_work_stops_the_run_before_anything_is_written(runner, tmp_path):
    broken = Runner(tmp_path)
    broken.source.mkdir()
    with pytest.raises(InputError, match=r"data\.source="):
        broken.run()
    assert broken.artifacts("Examples") == []


def test_a_setting_that_is_unknown_is_refused_where_it_is_given():
    from components.image_example_gen.component import ImageExampleGen

    with pytest.raises(InputError, match=r"data\.leakage='drop'"):
        ImageExampleGen(SourceSettings("/x"), SPLITS, "", 1, 1, "drop")


def test_a_source_that_changes_under_ingestion_is_no_silent_cache_entry():
    from components.image_example_gen.executor import check_unchanged

    check_unchanged(None, "a")
    check_unchanged("a", "a")
    with pytest.raises(GraftError, match="Run again when nothing writes to the source"):
        check_unchanged("a", "b")


def write_files(folder: Path, contents: Mapping[str, bytes]) -> Path:
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def photos(scene) -> dict[str, bytes]:
    """Sixteen pictures of two classes, no two alike, and one file that is none."""
    contents = {f"{'ab'[n % 2]}/{n:02d}.jpg": scene(n, kind="JPEG") for n in range(16)}
    return {**contents, "a/notes.txt": b"not an image"}


def write_table(folder: Path, photos: Mapping[str, bytes]) -> Path:
    write_files(folder / "flat", {path.replace("/", "-"): photos[path] for path in photos})
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows([f"flat/{path.replace('/', '-')}", path[0]] for path in photos)
    return folder / "labels.csv"


def write_json_lines(folder: Path, photos: Mapping[str, bytes]) -> Path:
    write_files(folder, photos)
    lines = [json.dumps({"path": path, "label": path[0]}) for path in photos]
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "labels.jsonl"


def write_zip(folder: Path, photos: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for path, content in photos.items():
            archive.writestr(f"photos/{path}", content)
        archive.writestr("photos/../escape.jpg", b"x")
    return folder / "photos.zip"


def write_tar(folder: Path, photos: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "photos.tar.gz", "w:gz") as archive:
        for path, content in photos.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("a/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return folder / "photos.tar.gz"


def write_records(folder: Path, photos: Mapping[str, bytes]) -> Path:
    import tensorflow as tf

    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "photos.tfrecord")) as writer:
        for path, content in photos.items():
            example = tf.train.Example()
            example.features.feature["image/encoded"].bytes_list.value.append(content)
            example.features.feature["image/class/text"].bytes_list.value.append(path[:1].encode())
            writer.write(example.SerializeToString())
    return folder / "*.tfrecord"


SOURCES = {
    "folder": lambda folder, photos: write_files(folder, photos),
    "csv": write_table,
    "json lines": write_json_lines,
    "zip": write_zip,
    "tar.gz": write_tar,
    "records": write_records,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_is_ingested_whole_and_split_alike(ingest, photos, tmp_path, kind):
    from components.image_example_gen.splits import split_of

    source = SOURCES[kind](tmp_path / "source", photos)
    result = ingest(source)
    unsafe = {"zip", "tar.gz"} & {kind}
    reasons = Counter(line["reason"] for line in result.refused.values())
    assert reasons == {"not_an_image": 1, **({"unsafe": 1} if unsafe else {})}
    contents = {
        example[features.SHA256][0]: (split, example[features.LABEL][0], example[features.IMAGE][0])
        for split, examples in result.examples.items()
        for example in examples
    }
    assert contents == {
        hashlib.sha256(content).hexdigest().encode(): (
            split_of(hashlib.sha256(content).hexdigest(), SPLITS),
            path[:1].encode(),
            content,
        )
        for path, content in photos.items()
        if path != "a/notes.txt"
    }


def jpeg(content: bytes, quality: int) -> bytes:
    copy = io.BytesIO()
    Image.open(io.BytesIO(content)).save(copy, "JPEG", quality=quality)
    return copy.getvalue()


@pytest.fixture
def leaking(tmp_path, scene) -> Path:
    """Folders that are splits, with one leak of each kind; seed n is one picture."""
    contents = {
        f"{split}/{label}/{n}.png": scene(100 * row + n)
        for row, (split, label) in enumerate(
            (split, label) for split in ("train", "val", "test") for label in ("a", "b")
        )
        for n in range(3)
    }
    contents |= {
        "train/a/exact.png": scene(900),
        "test/a/exact.png": scene(900),
        "train/a/near.png": scene(901),
        "val/a/near.jpg": jpeg(scene(901), 60),
        "val/b/later.png": scene(902),
        "test/b/later.jpg": jpeg(scene(902), 60),
        "train/b/twin.png": scene(903),
        "train/a/twin.jpg": jpeg(scene(903), 60),
    }
    return write_files(tmp_path / "leaking", contents)


LEAKING_PAIRS = {
    ("train/a/exact.png", "test/a/exact.png"),
    ("train/a/near.png", "val/a/near.jpg"),
    ("val/b/later.png", "test/b/later.jpg"),
    ("train/a/twin.jpg", "train/b/twin.png"),
}


def test_the_default_removes_the_earlier_copy_of_a_leak_and_says_which_it_is_of(ingest, leaking):
    result = ingest(leaking)
    assert {path: line["reason"] for path, line in result.refused.items()} == {
        "train/a/exact.png": "leak",
        "train/a/near.png": "leak",
        "val/b/later.png": "leak",
        "train/a/twin.jpg": "label_conflict",
        "train/b/twin.png": "label_conflict",
    }
    for refused, other in LEAKING_PAIRS:
        assert other in result.refused[refused]["detail"]
    assert set(result.examples) == {"train", "validation", "test"}
    assert result.splits["val/a/near.jpg"] == "validation"
    assert result.splits["test/a/exact.png"] == "test"
    assert result.figures["refused_leak"] == 3
    assert (result.figures["twins"], result.figures["leaks"]) == (4, 3)
    assert (result.counts["leakage"], result.counts["shares"]) == ("remove", {})
    assert result.counts["predefined"] == ["train", "validation", "test"]


@pytest.mark.parametrize("leakage", ["fail", "report"])
def test_leaks_that_are_not_to_be_removed_are_named_for_the_gate(ingest, leaking, leakage):
    result = ingest(leaking, leakage=leakage)
    assert result.refused == {}
    distances = {(t["first"]["path"], t["second"]["path"]): t["distance"] for t in result.twins}
    assert set(distances) == LEAKING_PAIRS
    assert distances["train/a/exact.png", "test/a/exact.png"] == 0
    assert (result.counts["twins"], result.counts["leaks"]) == (4, 3)
    assert result.counts["leakage"] == leakage


def test_beam_decides_as_the_check_in_memory_does(ingest, leaking):
    from components.image_example_gen.decoding import decode_with_tensorflow
    from components.image_example_gen.examine import Limits
    from components.image_example_gen.outcomes import examine_file, settle_all, twin_to_json
    from components.image_example_gen.sources import check_source
    from components.image_example_gen.splits import Dealer

    limits = Limits(PARAMETERS["max_pixels"], PARAMETERS["min_size"])
    listing = check_source(SourceSettings(str(leaking)))
    examined = [examine_file(one, limits, decode_with_tensorflow) for one in listing.candidates]
    for leakage in ("remove", "report"):
        result = ingest(leaking, leakage=leakage)
        settled = settle_all(listing, examined, Dealer(SPLITS, "", listing.predefined), leakage)
        assert result.counts == json.loads(settled.counts.to_json())
        assert result.splits == {o.path: o.split for o in settled.outcomes if o.split}
        assert {path: line["detail"] for path, line in result.refused.items()} == {
            one.path: one.fault.detail for one in settled.outcomes if one.fault
        }
        assert sorted(map(json.dumps, result.twins)) == sorted(map(twin_to_json, settled.twins))


def test_a_group_stays_together_and_its_name_decides_the_split(ingest, scene, tmp_path):
    contents = {f"{'ab'[n % 2]}/patient{n // 4}-{n}.png": scene(n) for n in range(48)}
    source = write_files(tmp_path / "grouped", contents)
    result = ingest(source, group=r"patient(\d+)-")
    splits: dict[str, set[str]] = {}
    for path, split in result.splits.items():
        splits.setdefault(path.split("-")[0][2:], set()).add(split)
    assert len(splits) == 12
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "validation"}
    key = hashlib.sha256(b"group:3").hexdigest().encode()
    assert find_example(result.examples, "a/patient3-12.png")[features.SPLIT_KEY] == [key]
    assert (result.counts["groups"], result.counts["split_groups"]) == (12, [])


def test_a_table_gives_splits_and_groups_and_what_they_take_apart_is_named(ingest, scene, tmp_path):
    folder = write_files(tmp_path / "table", {f"{n}.png": scene(n) for n in range(40)})
    rows = [
        {"path": f"{n}.png", "label": "ab"[n % 2], "group": f"g{n // 4}", "split": None}
        for n in range(40)
    ]
    for n in range(6):
        rows[n]["split"] = ("validation", "test", "train")[n % 3]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = ingest(folder / "labels.jsonl", {"train": 0.6, "validation": 0.4})
    assert set(result.examples) == {"train", "validation", "test"}
    for n in range(6):
        assert result.splits[f"{n}.png"] == rows[n]["split"]
    assert {result.splits[f"{n}.png"] for n in range(6, 40)} == {"train", "validation"}
    assert result.counts["predefined"] == ["train", "validation", "test"]
    assert result.counts["shares"] == {"train": 0.6, "validation": 0.4}
    assert result.counts["split_groups"] == ["g0", "g1"]


def test_a_second_ingestion_decodes_what_is_new_only(ingest, photos, tmp_path, scene, monkeypatch):
    from components.image_example_gen import ingestion

    decoded = []

    def count(content: bytes):
        decoded.append(content)
        return decode(content)

    decode = ingestion.decode_with_tensorflow
    monkeypatch.setattr(ingestion, "decode_with_tensorflow", count)
    source = write_files(tmp_path / "growing", photos)
    age(source)
    first = ingest(source)
    assert len(decoded) == 16
    write_files(source, {"b/new.jpg": scene(77, kind="JPEG"), "a/00.jpg": scene(78, kind="JPEG")})
    second = ingest(source)
    assert len(decoded) == 18
    assert first.refused == second.refused
    kept = {path: split for path, split in first.splits.items() if path != "a/00.jpg"}
    assert kept.items() <= second.splits.items()
    assert set(second.splits) == {*first.splits, "b/new.jpg"}
    ingest(source, min_size=9)
    assert len(decoded) == 18 + 17


def test_an_ingestion_that_dies_is_continued_where_it_stopped(
    ingest, photos, tmp_path, monkeypatch
):
    from components.image_example_gen import ingestion

    decoded: list[bytes] = []

    def decode_ten(content: bytes):
        if len(decoded) == 10:
            raise RuntimeError("killed")
        decoded.append(content)
        return decode(content)

    decode = ingestion.decode_with_tensorflow
    source = write_files(tmp_path / "photos", photos)
    age(source)
    # One at a time, or others would be decoded while the one that dies is waited for.
    monkeypatch.setattr(
        ingestion, "map_ahead", lambda function, items, size_of: map(function, items)
    )
    monkeypatch.setattr(ingestion, "decode_with_tensorflow", decode_ten)
    with pytest.raises(Exception, match="killed"):
        ingest(source)
    first = list(decoded)
    decoded.clear()
    assert len(ingest(source).splits) == 16
    assert len(decoded) == 6
    assert not set(first) & set(decoded)


def test_what_is_re_encoded_is_so_once_for_all_ingestions(ingest, scene, tmp_path, monkeypatch):
    from components.image_example_gen import reencode

    encoded = []

    def count(image):
        encoded.append(image)
        return encode(image)

    encode = reencode._encode_png
    monkeypatch.setattr(reencode, "_encode_png", count)
    contents = {f"{'ab'[n % 2]}/{n}.webp": scene(n, kind="WEBP", lossless=True) for n in range(6)}
    source = write_files(tmp_path / "web", contents)
    age(source)
    first = ingest(source)
    assert len(encoded) == 6
    (source / "a/0.webp").unlink()
    write_files(source, {"a/new.webp": scene(9, kind="WEBP", lossless=True)})
    second = ingest(source)
    assert len(encoded) == 7
    assert find_example(second.examples, "b/1.webp") == find_example(first.examples, "b/1.webp")
    kept = {path.stem for path in (tmp_path / "cache/reencoded").rglob("*.png")}
    assert kept == {hashlib.sha256(path.read_bytes()).hexdigest() for path in files(source)}


def test_brackets_in_the_path_of_the_output_are_no_pattern(ingest, photos, tmp_path):
    root = tmp_path / "w[2]"
    source = write_files(root / "photos", photos)
    assert len(ingest(source, root=root).splits) == 16


def age(folder: Path) -> None:
    """Waits until the files' stamps may be trusted."""
    newest = max(path.stat().st_ctime for path in files(folder))
    time.sleep(max(0.0, newest + 2.1 - time.time()))


def test_known_files_that_were_damaged_cost_time_and_nothing_else(ingest, photos, tmp_path):
    source = write_files(tmp_path / "photos", photos)
    age(source)
    first = ingest(source)
    (database,) = (tmp_path / "cache").glob("known_files*.sqlite")
    for damage in (b"no database", database.read_bytes()[:5000], os.urandom(20_000)):
        database.write_bytes(damage)
        again = ingest(source)
        assert again.splits == first.splits
        assert again.refused == first.refused


def test_a_stamp_that_lied_stops_the_run_and_is_not_believed_again(ingest, photos, tmp_path):
    source = write_files(tmp_path / "photos", photos)
    age(source)
    ingest(source)
    (database,) = (tmp_path / "cache").glob("known_files*.sqlite")
    with sqlite3.connect(database) as connection:
        lie = "UPDATE digests SET sha256 = ? WHERE CAST(place AS TEXT) LIKE '%/00.jpg'"
        assert connection.execute(lie, ("0" * 64,)).rowcount == 1
    with pytest.raises(GraftError, match="Expected the images to stay as they are"):
        ingest(source)
    assert len(ingest(source).splits) == 16


@pytest.mark.parametrize("fate", ["changes", "vanishes"])
def test_a_content_that_changes_between_two_readings_is_no_example(
    ingest, photos, tmp_path, monkeypatch, fate
):
    from components.image_example_gen import shards

    def read(place: Place) -> bytes:
        if not place.file.endswith("00.jpg"):
            return original(place)
        if fate == "vanishes":
            raise FileNotFoundError(2, "No such file or directory", place.file)
        return original(place) + b"x"

    original = shards.read_place
    source = write_files(tmp_path / "photos", photos)
    monkeypatch.setattr(shards, "read_place", read)
    with pytest.raises(GraftError, match="nothing was lost"):
        ingest(source)
    monkeypatch.undo()
    assert len(ingest(source).splits) == 16


def test_a_split_without_an_image_has_an_empty_file(ingest, photos, tmp_path):
    source = write_files(tmp_path / "photos", photos)
    result = ingest(source, {"train": 0.999998, "validation": 1e-6, "test": 1e-6})
    assert {split: len(found) for split, found in result.examples.items()} == {
        "train": 16,
        "validation": 0,
        "test": 0,
    }
