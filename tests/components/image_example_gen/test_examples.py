"""The raw example, the contract between ingestion and every later stage."""

import pytest

tf = pytest.importorskip("tensorflow")

from components.image_example_gen.examine import Properties  # noqa: E402
from components.image_example_gen.examples import to_example  # noqa: E402
from components.image_example_gen.listing import Candidate, Place  # noqa: E402

PROPERTIES = Properties(
    format="tiff",
    encoding="png",
    reencoded=True,
    width=30,
    height=20,
    channels=4,
    bytes=1234,
    brightness=0.5,
    contrast=0.25,
    sharpness=2.0,
    entropy=7.5,
    sha256="ab" * 32,
    hash=7,
    thumbnail=bytes(256),
)
CANDIDATE = Candidate("rose/\udcff.tif", "rose", 1234, Place("/photos/rose/1.tif"))


def test_an_example_holds_what_is_served_and_what_was_found() -> None:
    example = tf.train.Example.FromString(to_example(CANDIDATE, "cd" * 32, b"png", PROPERTIES))
    values = {}
    for name, feature in example.features.feature.items():
        (values[name],) = getattr(feature, feature.WhichOneof("kind")).value
    assert values == {
        "image": b"png",
        "label": b"rose",
        "image/path": b"rose/\\xff.tif",
        "image/format": b"tiff",
        "image/encoding": b"png",
        "image/reencoded": 1,
        "image/width": 30,
        "image/height": 20,
        "image/aspect": 1.5,
        "image/channels": 4,
        "image/bytes": 1234.0,
        "image/brightness": 0.5,
        "image/contrast": 0.25,
        "image/sharpness": 2.0,
        "image/entropy": 7.5,
        "image/sha256": b"ab" * 32,
        "image/split_key": b"cd" * 32,
    }


def test_the_same_image_gives_the_same_bytes() -> None:
    first, second = (to_example(CANDIDATE, "cd" * 32, b"png", PROPERTIES) for _ in range(2))
    assert first == second
