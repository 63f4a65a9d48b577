"""SavedModel folders as bases: what of them is used, what is refused, and what is exported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from components.errors import InputError  # noqa: E402
from components.trainer.backbones import load_base, pooled_base  # noqa: E402
from components.trainer.saved_model_base import inspect_saved_model  # noqa: E402
from components.trainer.signatures import ServingModule, export  # noqa: E402

SIZE = 8
Shape = tuple[int | None, ...]
PIXELS = np.random.default_rng(0).random((2, SIZE, SIZE, 3)).astype(np.float32)


def settings(folder: Path) -> dict[str, Any]:
    return {"saved_model": str(folder), "preprocessing": "rescale_0_1", "name": None}


def save_keras(folder: Path, size: int | None = None) -> Any:
    """Exports a model with a feature map of 4 channels by Keras's own `export`."""
    pixels = keras.Input((size, size, 3))
    features = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(pixels))
    model = keras.Model(pixels, features)
    model.export(folder, verbose=False)
    return model


class Hub(tf.Module):
    """As TensorFlow Hub's: called with images in [0, 1], and whether it is training."""

    def __init__(self, size: int | None = None):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal([3, 5], [1, 2]))
        self.moving = tf.Variable(tf.ones([5]), trainable=False)
        image = tf.TensorSpec([None, size, size, 3], tf.float32)
        self.__call__.get_concrete_function(image, True)
        self.__call__.get_concrete_function(image, False)

    @tf.function
    def __call__(self, inputs: Any, training: bool = False) -> Any:
        if training:
            self.moving.assign(self.moving * 2)
        return tf.matmul(tf.reduce_mean(inputs, [1, 2]), self.kernel) * self.moving


def save_hub(folder: Path, size: int | None = None) -> Any:
    module = Hub(size)
    tf.saved_model.save(module, str(folder))
    return module


def save_signature(folder: Path, function: Callable[..., Any], *specs: Any) -> Path:
    """Saves a module whose only endpoint is `serving_default`."""
    module = tf.Module()
    module.function = tf.function(function, autograph=False)
    concrete = module.function.get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder), signatures=concrete)
    return folder


def image(*shape: int | None, dtype: Any = tf.float32) -> Any:
    return tf.TensorSpec(shape, dtype, name="image")


def means(pixels: Any) -> dict[str, Any]:
    return {"vector": tf.reduce_mean(pixels, [1, 2])}


def refusal(folder: Path, size: int = SIZE) -> str:
    with pytest.raises(InputError) as caught:
        load_base(settings(folder), size)
    return str(caught.value)


@pytest.mark.parametrize(
    ("save", "endpoint", "shape"),
    [(save_keras, "serving_default", (2, 6, 6, 4)), (save_hub, "__call__", (2, 5))],
)
def test_a_saved_model_gives_what_it_gave_when_it_was_saved(
    tmp_path: Path, save: Callable[[Path], Any], endpoint: str, shape: Shape
) -> None:
    original = save(tmp_path / "model")
    base = load_base(settings(tmp_path / "model"), SIZE)
    assert inspect_saved_model(tmp_path / "model").endpoint == endpoint
    assert base(PIXELS).shape == shape
    np.testing.assert_allclose(base(PIXELS), original(PIXELS), atol=1e-6)


@pytest.mark.parametrize("save", [save_keras, save_hub])
def test_a_saved_model_is_frozen_and_never_called_as_in_training(
    tmp_path: Path, save: Callable[[Path], Any]
) -> None:
    save(tmp_path / "model")
    base = load_base(settings(tmp_path / "model"), SIZE)
    embedder = pooled_base(base, SIZE, "average")
    assert embedder.trainable_weights == []
    before = np.array(embedder(PIXELS, training=False))
    embedder(PIXELS, training=True)
    np.testing.assert_array_equal(embedder(PIXELS, training=False), before)


@pytest.mark.parametrize("save", [save_keras, save_hub])
def test_a_fixed_input_gives_the_size_and_another_is_refused(
    tmp_path: Path, save: Callable[..., Any]
) -> None:
    save(tmp_path / "fixed", SIZE)
    save(tmp_path / "open")
    assert inspect_saved_model(tmp_path / "fixed").size == SIZE
    assert inspect_saved_model(tmp_path / "open").size is None
    message = refusal(tmp_path / "fixed", 16)
    assert "Expected image.size to be the SavedModel's fixed input of 8x8 pixels." in message
    assert f"Received: image.size=16 with base.saved_model={tmp_path / 'fixed'}." in message


def test_a_signature_that_cannot_be_used_leaves_the_call_to_be_used(tmp_path: Path) -> None:
    module = Hub()
    module.text = tf.function(lambda text: tf.strings.length(text), autograph=False)
    signature = module.text.get_concrete_function(tf.TensorSpec([None], tf.string))
    tf.saved_model.save(module, str(tmp_path), signatures=signature)
    assert inspect_saved_model(tmp_path).endpoint == "__call__"


@pytest.mark.parametrize(
    ("function", "specs", "received"),
    [
        (means, [image(None, 8, 8, 4)], "serving_default with an input of shape (None, 8, 8, 4)"),
        (means, [image(1, 8, 8, 3)], "serving_default with a fixed batch of 1"),
        (
            lambda pixels: {"vector": tf.cast(tf.reduce_mean(pixels, [1, 2]), tf.float32)},
            [image(None, 8, 8, 3, dtype=tf.uint8)],
            "serving_default with an input of uint8 (numbers)",
        ),
        (
            lambda text: {"length": tf.strings.length(text)},
            [image(None, dtype=tf.string)],
            "serving_default with an input of string (text or encoded images)",
        ),
        (
            lambda pixels: {**means(pixels), "more": tf.reduce_max(pixels, [1, 2])},
            [image(None, 8, 8, 3)],
            "serving_default with the 2 outputs",
        ),
        (
            lambda pixels: {"sequence": tf.reduce_mean(pixels, 1)},
            [image(None, 8, 8, 3)],
            "serving_default with an output of shape (None, 8, 3)",
        ),
        (
            lambda pixels: {"index": tf.argmax(tf.reduce_mean(pixels, [1, 2]), 1)},
            [image(None, 8, 8, 3)],
            "serving_default with an output of int64",
        ),
        (
            lambda pixels, more: {"vector": tf.reduce_mean(pixels + more, [1, 2])},
            [image(None, 8, 8, 3), tf.TensorSpec([], tf.float32, name="more")],
            "serving_default with 2 inputs",
        ),
    ],
    ids=["channels", "batch", "integers", "text", "outputs", "sequence", "classes", "inputs"],
)
def test_what_gives_no_features_of_one_image_is_refused_with_what_it_has(
    tmp_path: Path, function: Callable[..., Any], specs: list[Any], received: str
) -> None:
    message = refusal(save_signature(tmp_path / "model", function, *specs))
    assert message.startswith("Expected a SavedModel whose serving_default or __call__ gives feat")
    assert f"base.saved_model={tmp_path / 'model'}: {received}" in message


def test_a_saved_model_without_an_endpoint_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path))
    assert f"{tmp_path}: neither of them (its signatures: none)." in refusal(tmp_path)


def test_a_folder_without_a_readable_graph_is_refused(tmp_path: Path) -> None:
    assert f"base.saved_model={tmp_path} without saved_model.pb." in refusal(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    message = refusal(tmp_path)
    assert f"Expected a SavedModel that TensorFlow {tf.__version__} can load." in message


ANSWER = """
import sys, numpy, tensorflow
model = tensorflow.saved_model.load(sys.argv[1])
content = tensorflow.constant([open(sys.argv[2], "rb").read()])
answers = {**model.signatures["embed"](content), **model.signatures["serving_default"](content)}
numpy.savez(sys.argv[3], **{name: answers[name] for name in ("embedding", "probabilities")})
"""


@pytest.mark.e2e
@pytest.mark.parametrize("save", [save_keras, save_hub])
def test_the_served_model_answers_in_a_fresh_process(
    tmp_path: Path,
    save: Callable[[Path], Any],
    transform_output: Any,
    image_settings: dict[str, Any],
    photo_contents: Any,
) -> None:
    save(tmp_path / "model")
    embedder = pooled_base(load_base(settings(tmp_path / "model"), SIZE), SIZE, "average")
    layers = [keras.Input(embedder.output.shape[1:]), keras.layers.Dense(2, activation="softmax")]
    head = keras.Sequential(layers)
    module = ServingModule(head, embedder, transform_output, ["blue", "red"], image_settings)
    export(module, str(tmp_path / "served"))
    (tmp_path / "photo.png").write_bytes(photo_contents[0])
    # The folder is gone where the model is served.
    (tmp_path / "model").rename(tmp_path / "moved")
    paths = (tmp_path / name for name in ("served", "photo.png", "answers.npz"))
    subprocess.run([sys.executable, "-c", ANSWER, *map(str, paths)], check=True)
    answers = np.load(tmp_path / "answers.npz")
    content = tf.constant(list(photo_contents[:1]))
    np.testing.assert_allclose(answers["embedding"], module.embed(content)["embedding"], atol=1e-5)
    expected = module.serve_bytes(content)["probabilities"]
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
