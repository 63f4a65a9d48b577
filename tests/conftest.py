"""Tiny images and graphs that many tests share, and where the real photos are."""

import functools
import io
import os
import resource
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SIZE = 8  # pixels: what the shared graph resizes to
LABELS = ("blue", "red")


def encode_pixels(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Returns an image file of uint8 [height, width, 3] or, grey, [height, width]."""
    content = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(content, kind, **options)
    return content.getvalue()


def noise_pixels(seed: int, height: int = 10, width: int = 12) -> np.ndarray:
    """Returns uint8 [height, width, 3] of noise; the same seed gives the same."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_class_folders(folder: Path, **classes: int) -> Path:
    """Writes so many PNG files into each class folder, no two of one content."""
    for row, (label, count) in enumerate(classes.items()):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            content = encode_pixels(noise_pixels(1000 * row + number))
            (folder / label / f"{number:02d}.png").write_bytes(content)
    return folder


def _shared(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name} beside the repository")
    return path


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return encode_pixels


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    return noise_pixels


@pytest.fixture(scope="session")
def write_photos() -> Callable[..., Path]:
    return write_class_folders


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that may not be entered, in one that may; the test is not run as root."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as parent:
        folder, is_root = Path(parent).resolve() / "locked", os.geteuid() == 0
        if is_root:
            os.chown(parent, nobody, nobody)
            os.seteuid(nobody)
        folder.mkdir(mode=0)
        try:
            yield folder
        finally:
            folder.chmod(0o700)
            if is_root:
                os.seteuid(0)


@pytest.fixture
def file_limit() -> Callable[[int], AbstractContextManager[None]]:
    """Lets no file grow beyond so many bytes for a while, which is met as a full disk is."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


class Metadata:
    """Writes runs into ML Metadata as TFX does: one execution a stage, in its contexts.

    Args:
        path: the SQLite file.
    """

    def __init__(self, path: Path):
        import ml_metadata
        from ml_metadata.proto import metadata_store_pb2

        self.path = path
        self._proto = metadata_store_pb2
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(path)
        self.store = ml_metadata.MetadataStore(connection)

    def record(
        self,
        run_id: str,
        stage: str,
        state: str = "COMPLETE",
        parameters: Mapping[str, str | int] | None = None,
        inputs: Mapping[str, Sequence[int]] | None = None,
        outputs: Mapping[str, Mapping[str, str | int]] | None = None,
    ) -> dict[str, int]:
        """Records a stage of a run; returns the id of the output artifact of each channel."""
        execution = self._proto.Execution(
            type_id=self._type("Execution", f"tfx.components.{stage}"),
            last_known_state=getattr(self._proto.Execution, state),
        )
        _fill(execution, parameters or {})
        pairs = [
            (self.store.get_artifacts_by_id([artifact])[0], self._event("INPUT", channel, index))
            for channel, artifacts in (inputs or {}).items()
            for index, artifact in enumerate(artifacts)
        ]
        for channel, properties in (outputs or {}).items():
            artifact = self._proto.Artifact(type_id=self._type("Artifact", channel), uri=channel)
            _fill(artifact, properties)
            pairs.append((artifact, self._event("OUTPUT", channel, 0)))
        contexts = [self._context("pipeline", "tiny"), self._context("pipeline_run", run_id)]
        contexts.append(self._context("node", f"tiny.{stage}"))
        _, artifacts, _ = self.store.put_execution(
            execution, pairs, contexts, reuse_context_if_already_exist=True
        )
        return dict(zip(outputs or {}, artifacts[len(pairs) - len(outputs or {}) :], strict=True))

    def _type(self, kind: str, name: str) -> int:
        given = getattr(self._proto, f"{kind}Type")(name=name)
        return int(getattr(self.store, f"put_{kind.lower()}_type")(given))

    def _context(self, kind: str, name: str) -> Any:
        return self._proto.Context(type_id=self._type("Context", kind), name=name)

    def _event(self, kind: str, channel: str, index: int) -> Any:
        steps = [
            self._proto.Event.Path.Step(key=channel),
            self._proto.Event.Path.Step(index=index),
        ]
        return self._proto.Event(
            type=getattr(self._proto.Event, kind), path=self._proto.Event.Path(steps=steps)
        )


def _fill(node: Any, properties: Mapping[str, str | int]) -> None:
    for name, value in properties.items():
        if isinstance(value, int):
            node.custom_properties[name].int_value = value
        else:
            node.custom_properties[name].string_value = value


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    """An empty metadata.db of the pipeline `tiny`, where its configuration looks for it."""
    pytest.importorskip("ml_metadata")
    path = tmp_path / "runs" / "tiny" / "metadata.db"
    path.parent.mkdir(parents=True)
    return Metadata(path)


@pytest.fixture(scope="session")
def flowers() -> Path:
    """The folder of real photos, one folder a class."""
    return _shared("flowers")


@pytest.fixture(scope="session")
def mobilenet() -> Path:
    """A real pre-trained base."""
    return _shared("mobilenet_v1_pw12.keras")


@pytest.fixture(scope="session")
def photo_contents() -> tuple[bytes, ...]:
    """Eight PNG files; file `n` is of class `LABELS[n % 2]`."""
    return tuple(encode_pixels(noise_pixels(number)) for number in range(8))


@pytest.fixture(scope="session")
def examples_file(
    tmp_path_factory: pytest.TempPathFactory, photo_contents: Sequence[bytes]
) -> Path:
    """A TFRecord file of raw examples of `photo_contents`, as ingestion writes them."""
    tf = pytest.importorskip("tensorflow")
    from components.image_example_gen.decoding import decode_with_tensorflow
    from components.image_example_gen.examine import Limits, Properties, examine
    from components.image_example_gen.examples import to_example
    from components.image_example_gen.listing import Candidate, Place

    path = tmp_path_factory.mktemp("examples") / "train.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for number, content in enumerate(photo_contents):
            label = LABELS[number % 2]
            properties = examine(content, Limits(1_000, 1), decode_with_tensorflow)
            assert isinstance(properties, Properties)
            name = f"{label}/{number}.png"
            candidate = Candidate(name, label, len(content), Place(name))
            writer.write(to_example(candidate, properties.sha256, content, properties))
    return path


@pytest.fixture(scope="session")
def image_settings() -> dict[str, Any]:
    """The settings that the shared graph is made with."""
    return {"size": SIZE, "resize": "stretch", "preprocessing": "rescale_0_1"}


@pytest.fixture(scope="session")
def transform_output(
    tmp_path_factory: pytest.TempPathFactory, examples_file: Path, image_settings: dict[str, Any]
) -> Any:
    """Transform's graph of `examples_file`: 8x8 pixels in [0, 1], classes blue and red."""
    tft = pytest.importorskip("tensorflow_transform")
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
    from tfx_bsl.public import tfxio

    from components.transform.preprocessing import preprocessing_fn

    schema = text_format.Parse(
        (ROOT / "schemas" / "image_examples.pbtxt").read_text(), schema_pb2.Schema()
    )
    source = tfxio.TFExampleRecord(
        str(examples_file), schema=schema, telemetry_descriptors=["tests"]
    )
    preprocess = functools.partial(preprocessing_fn, custom_config=image_settings)
    folder = tmp_path_factory.mktemp("transform")
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipe,
        tft_beam.Context(temp_dir=str(folder / "temporary")),
    ):
        data = (pipe | source.BeamSource(), source.TensorAdapterConfig())
        graph = data | tft_beam.AnalyzeDataset(preprocess)
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    # TFX's Transform keeps what went in beside the graph.
    metadata_io.write_metadata(
        dataset_metadata.DatasetMetadata(schema), str(folder / "graph" / "metadata")
    )
    return tft.TFTransformOutput(str(folder / "graph"))
