"""The SavedModel: what its signatures answer, and that nothing of ours is needed for it."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from components.trainer import backbones, model, signatures  # noqa: E402
from components.trainer.head import new_head  # noqa: E402

SIZE = 8
CLASSES = ("blue", "red", "green", "<b>", "white", "black", "grüne")

SIGNATURES = {
    "serving_default": "image_bytes",
    "serving_examples": "examples",
    "embed": "image_bytes",
}
ASK = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
contents = np.load(sys.argv[2], allow_pickle=True)
answer = model.signatures["serving_default"](image_bytes=tf.constant(list(contents)))
assert "components" not in sys.modules
np.save(sys.argv[3], answer["probabilities"].numpy())
"""


def example(content: bytes, label: bytes | None) -> bytes:
    values = {"image": content} | ({"label": label} if label else {})
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in values.items()
            }
        )
    ).SerializeToString()


@pytest.fixture(scope="module")
def parts(transform_output: Any, image_settings: dict[str, Any]) -> dict[str, Any]:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3))
    base = keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels))
    embedder = backbones.pooled_base(base, SIZE, "average")
    head = new_head(4, len(CLASSES), {"hidden": [6], "dropout": 0.5})
    classifier = model.join(embedder, head)
    module = signatures.ServingModule(head, embedder, transform_output, CLASSES, image_settings)
    return {"module": module, "classifier": classifier, "embedder": embedder}


@pytest.fixture(scope="module")
def exported(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model"
    signatures.export(parts["module"], str(folder))
    return folder


@pytest.fixture(scope="module")
def served(exported: Path, photo_contents: Sequence[bytes]) -> dict[str, np.ndarray]:
    """What the SavedModel answers, by "signature/output"."""
    labels = (b"red", b"blue", b"never seen")
    contents = photo_contents[:3]
    inputs = {
        "image_bytes": tf.constant(contents),
        "examples": tf.constant([example(*pair) for pair in zip(contents, labels, strict=True)]),
    }
    loaded = tf.saved_model.load(str(exported))
    return {
        f"{name}/{output}": value.numpy()
        for name, key in SIGNATURES.items()
        for output, value in loaded.signatures[name](**{key: inputs[key]}).items()
    }


@pytest.fixture(scope="module")
def pixels(transform_output: Any, photo_contents: Sequence[bytes]) -> Any:
    layer = transform_output.transform_features_layer()
    return layer({"image": tf.constant(photo_contents[:3])})["pixels"]


def test_served_probabilities_are_those_of_the_model_in_training(
    served: dict[str, np.ndarray], parts: dict[str, Any], pixels: Any
) -> None:
    expected = parts["classifier"].predict(pixels, verbose=0)
    assert expected.shape == (3, len(CLASSES))
    np.testing.assert_allclose(served["serving_default/probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(served["serving_examples/probabilities"], expected, atol=1e-5)


@pytest.mark.e2e
def test_another_process_that_has_none_of_our_code_gets_the_same_probabilities(
    exported: Path,
    served: dict[str, np.ndarray],
    photo_contents: Sequence[bytes],
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "contents.npy", np.array(photo_contents[:3], object))
    paths = [exported, tmp_path / "contents.npy", tmp_path / "answer.npy"]
    subprocess.run([sys.executable, "-I", "-c", ASK, *map(str, paths)], cwd=tmp_path, check=True)
    expected = served["serving_default/probabilities"]
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), expected, atol=1e-6)


def test_labels_and_scores_are_the_five_best_in_order(served: dict[str, np.ndarray]) -> None:
    probabilities = served["serving_default/probabilities"]
    order = np.argsort(-probabilities, axis=1)[:, :5]
    names = np.array([name.encode() for name in CLASSES], object)
    assert served["serving_default/labels"].tolist() == names[order].tolist()
    np.testing.assert_allclose(
        served["serving_default/scores"], np.take_along_axis(probabilities, order, axis=1)
    )


def test_label_and_score_are_the_best(served: dict[str, np.ndarray]) -> None:
    assert (
        served["serving_default/label"].tolist() == served["serving_default/labels"][:, 0].tolist()
    )
    np.testing.assert_array_equal(
        served["serving_default/score"], served["serving_default/scores"][:, 0]
    )


def test_embed_gives_the_pooled_features_of_the_base(
    served: dict[str, np.ndarray], parts: dict[str, Any], pixels: Any
) -> None:
    expected = parts["embedder"].predict(pixels, verbose=0)
    assert expected.shape == (3, 4)
    np.testing.assert_allclose(served["embed/embedding"], expected, atol=1e-5)


def test_the_names_are_those_of_the_contract(parts: dict[str, Any]) -> None:
    functions = parts["module"].signatures()
    classified = ["decoded", "label", "labels", "probabilities", "score", "scores"]
    assert {name: sorted(one.structured_outputs) for name, one in functions.items()} == {
        "serving_default": classified,
        "serving_examples": classified,
        "classify_features": ["probabilities"],
        "embed": ["decoded", "embedding"],
        "serving_pixels": classified,
    }
    inputs = {name: one.inputs[0] for name, one in functions.items()}
    assert {name: given.name.partition(":")[0] for name, given in inputs.items()} == {
        "serving_default": "image_bytes",
        "serving_examples": "examples",
        "classify_features": "embedding",
        "embed": "image_bytes",
        "serving_pixels": "pixels",
    }
    decoded = inputs.pop("serving_pixels")
    assert (decoded.dtype, tuple(decoded.shape)) == (tf.uint8, (None, None, None, 3))
    vectors = inputs.pop("classify_features")
    assert (vectors.dtype, tuple(vectors.shape)) == (tf.float32, (None, 4))
    assert {(given.dtype, tuple(given.shape)) for given in inputs.values()} == {
        (tf.string, (None,))
    }


def test_an_example_without_a_label_is_classified(
    parts: dict[str, Any], photo_contents: Sequence[bytes]
) -> None:
    answer = parts["module"].serve_examples(tf.constant([example(photo_contents[0], None)]))
    by_bytes = parts["module"].serve_bytes(tf.constant(photo_contents[:1]))
    np.testing.assert_array_equal(answer["probabilities"], by_bytes["probabilities"])


def test_a_model_of_two_classes_has_two_labels(
    parts: dict[str, Any],
    transform_output: Any,
    image_settings: dict[str, Any],
    photo_contents: Sequence[bytes],
) -> None:
    embedder = parts["embedder"]
    head = new_head(4, 2, {"hidden": [], "dropout": 0.0})
    module = signatures.ServingModule(
        head, embedder, transform_output, ("blue", "red"), image_settings
    )
    answer = module.serve_bytes(tf.constant(photo_contents[:2]))
    assert (answer["labels"].shape, answer["scores"].shape) == ((2, 2), (2, 2))


def test_what_is_no_image_gets_an_empty_row_and_leaves_its_neighbours_alone(
    exported: Path, photo_contents: Sequence[bytes]
) -> None:
    model = tf.saved_model.load(str(exported))
    good, other = photo_contents[:2]
    mixed = tf.constant([b"no image", good, b"", other, other[: len(other) // 2]])
    alone = model.signatures["serving_default"](image_bytes=tf.constant([good, other]))
    answer = model.signatures["serving_default"](image_bytes=mixed)
    assert answer["decoded"].numpy().tolist() == [False, True, False, True, False]
    assert set(answer) == set(alone)
    for name, values in answer.items():
        expected, found = alone[name].numpy(), values.numpy()
        if expected.dtype == object:
            assert found[[1, 3]].tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(found[[1, 3]], expected, atol=1e-6)
        assert not found[[0, 2, 4]].astype(bool).any(), name
    embedding = model.signatures["embed"](image_bytes=mixed)
    assert embedding["decoded"].numpy().tolist() == [False, True, False, True, False]
    assert not embedding["embedding"].numpy()[[0, 2, 4]].any()


def _png_bomb() -> bytes:
    """A PNG that says it has 50,000 × 50,000 pixels and holds none."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IEND"
        + struct.pack(">I", zlib.crc32(b"IEND"))
    )


def _save(pixels: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels, mode).save(content, kind, **options)
    return content.getvalue()


def test_odd_files_get_the_documented_answers_and_harm_no_neighbour(
    exported: Path, photo_contents: Sequence[bytes]
) -> None:
    grey = np.full((9, 7), 90, np.uint8)
    frame = Image.fromarray(grey)
    odd = {
        "CMYK": (_save(np.full((9, 7, 4), 90, np.uint8), "JPEG", "CMYK"), True),
        "animated GIF": (
            _save(grey, "GIF", save_all=True, append_images=[frame, frame]),
            True,
        ),
        "16-bit": (_save(np.full((9, 7), 30_000, np.uint16), "PNG"), True),
        "1x1": (_save(np.full((1, 1, 3), 90, np.uint8), "PNG"), True),
        "bomb": (_png_bomb(), False),
        "text": (b"hello", False),
    }
    contents = [photo_contents[0], *(content for content, _ in odd.values()), photo_contents[1]]
    serve = tf.saved_model.load(str(exported)).signatures["serving_default"]
    answer = serve(image_bytes=tf.constant(contents))
    decoded = answer["decoded"].numpy().tolist()
    assert dict(zip(odd, decoded[1:-1], strict=True)) == {
        name: is_image for name, (_, is_image) in odd.items()
    }
    alone = serve(image_bytes=tf.constant(photo_contents[:2]))["probabilities"].numpy()
    np.testing.assert_allclose(answer["probabilities"].numpy()[[0, -1]], alone, atol=1e-6)


def test_a_batch_without_an_image_is_answered(exported: Path) -> None:
    model = tf.saved_model.load(str(exported))
    answer = model.signatures["serving_default"](image_bytes=tf.constant([b"no image"]))
    assert answer["probabilities"].shape == (1, len(CLASSES))
    assert not answer["decoded"].numpy().any()


def test_decoded_pixels_are_classified_as_their_files(
    exported: Path, photo_contents: Sequence[bytes]
) -> None:
    model = tf.saved_model.load(str(exported))
    for content in photo_contents[:3]:
        pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
        by_pixels = model.signatures["serving_pixels"](pixels=pixels[tf.newaxis])
        by_bytes = model.signatures["serving_default"](image_bytes=tf.constant([content]))
        np.testing.assert_allclose(by_pixels["probabilities"], by_bytes["probabilities"], atol=1e-6)


def test_no_operation_of_the_graph_is_python(exported: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel()
    found.ParseFromString((exported / "saved_model.pb").read_bytes())
    graph = found.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    assert {node.op for node in nodes} & {"IgnoreErrorsDataset", "DatasetToSingleElement"}
    assert not [node.op for node in nodes if "PyFunc" in node.op or "Py" in node.op]


def test_features_that_embed_gives_are_classified_as_their_images(
    exported: Path, photo_contents: Sequence[bytes]
) -> None:
    loaded = tf.saved_model.load(str(exported))
    contents = tf.constant(list(photo_contents))
    embedding = loaded.signatures["embed"](image_bytes=contents)["embedding"]
    np.testing.assert_allclose(
        loaded.signatures["classify_features"](embedding=embedding)["probabilities"],
        loaded.signatures["serving_default"](image_bytes=contents)["probabilities"],
        atol=1e-6,
    )
