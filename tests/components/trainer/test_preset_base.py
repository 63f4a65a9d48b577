"""KerasHub presets as bases; those that KerasHub is needed for are made by it, tiny."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from components.errors import InputError
from components.trainer import preset_base
from components.trainer.preset_base import (
    Preset,
    describe_preset,
    load_preset,
    preset_digest,
)

SIZE = 32


def write_folder(
    folder: Path,
    converter: dict[str, Any] | None = None,
    image_shape: list[int | None] | None = None,
    registered_name: str = "keras_hub>ResNetBackbone",
) -> Path:
    """Writes the descriptions of a preset as KerasHub does, without weights."""
    folder.mkdir(exist_ok=True)
    config = {"image_shape": image_shape or [None, None, 3]}
    described = {"registered_name": registered_name, "config": config}
    (folder / "config.json").write_text(json.dumps(described))
    if converter is not None:
        (folder / "image_converter.json").write_text(json.dumps({"config": converter}))
    return folder


def refusal(preset: Any) -> str:
    with pytest.raises(InputError) as caught:
        describe_preset(str(preset))
    return str(caught.value)


# --- what a folder says, without Keras ------------------------------------------------------------

DEVIATIONS = (0.229, 0.224, 0.225)
MEANS = (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("converter", "preprocessing"),
    [
        ({}, "none"),
        ({"scale": None, "offset": None}, "none"),
        ({"scale": 1 / 255}, "rescale_0_1"),
        ({"scale": [1 / 255] * 3, "offset": [0, 0, 0]}, "rescale_0_1"),
        ({"scale": 1 / 127.5, "offset": -1}, "rescale_-1_1"),
        (
            {
                "scale": [1 / (255 * deviation) for deviation in DEVIATIONS],
                "offset": [-mean / sd for mean, sd in zip(MEANS, DEVIATIONS, strict=True)],
            },
            "imagenet_mean_std",
        ),
        (
            {"scale": 1 / 255, "mean": MEANS, "variance": [sd**2 for sd in DEVIATIONS]},
            "imagenet_mean_std",
        ),
        ({"scale": [0.5, 0.25, 2], "offset": 1}, "affine:0.5,0.25,2.0:1.0,1.0,1.0"),
        ({"scale": 0.0039}, "affine:0.0039,0.0039,0.0039:0.0,0.0,0.0"),
    ],
)
def test_an_image_converter_is_a_named_preprocessing_or_its_factors(
    tmp_path: Path, converter: dict[str, Any], preprocessing: str
) -> None:
    folder = write_folder(tmp_path, converter)
    assert describe_preset(str(folder)) == Preset(str(folder), None, preprocessing)


@pytest.mark.parametrize(
    ("converter", "image_shape", "size"),
    [
        ({"image_size": [48, 48]}, None, 48),
        ({"height": 48, "width": 48}, None, 48),
        ({"image_size": [48, 48]}, [32, 32, 3], 32),
        ({"image_size": None}, [32, 32, 3], 32),
        ({"image_size": [48, 64]}, None, None),
        (None, None, None),
    ],
)
def test_the_size_is_what_the_backbone_is_built_for_or_the_converter_gives(
    tmp_path: Path, converter: Any, image_shape: Any, size: int | None
) -> None:
    assert describe_preset(str(write_folder(tmp_path, converter, image_shape))).size == size


def test_a_folder_without_an_image_converter_tells_no_preprocessing(tmp_path: Path) -> None:
    assert describe_preset(str(write_folder(tmp_path))).preprocessing is None


def test_a_folder_is_read_without_keras(tmp_path: Path) -> None:
    code = (
        "import sys; from components.trainer.preset_base import describe_preset; "
        "print(describe_preset(sys.argv[1]).preprocessing, "
        "{'keras', 'tensorflow', 'keras_hub'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(write_folder(tmp_path, {"scale": 1 / 255}))]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert answer.stdout == "rescale_0_1 set()\n"


@pytest.mark.parametrize(
    ("file", "content", "received"),
    [
        ("config.json", None, "without config.json."),
        ("config.json", "{}", "whose config.json names no class."),
        ("config.json", "{", "whose config.json is damaged"),
        ("config.json", '{"registered_name": "Functional"}', "of the class Functional."),
        ("config.json", '{"registered_name": "mine>Backbone"}', "of the class mine>Backbone."),
        ("image_converter.json", "[", "whose image_converter.json is damaged"),
        ("image_converter.json", '{"config": {"scale": [1, 2]}}', "with scale=[1, 2]"),
        ("image_converter.json", '{"config": {"scale": 0}}', "with scale=0"),
        ("image_converter.json", '{"config": {"offset": "a"}}', "offset='a'"),
    ],
)
def test_a_folder_that_is_no_image_preset_is_refused(
    tmp_path: Path, file: str, content: str | None, received: str
) -> None:
    path = write_folder(tmp_path, {}) / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    message = refusal(tmp_path)
    assert message.startswith("Expected a preset")
    assert f"base.preset={tmp_path}" in message
    assert received in message


# --- what a preset is known by --------------------------------------------------------------------


@pytest.fixture
def hub_version(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of installed packages, to be changed; keras-hub counts as installed."""
    versions = {"keras-hub": "0.25.1"}
    monkeypatch.setattr(preset_base.metadata, "version", versions.__getitem__)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    return versions


def test_a_preset_by_name_is_known_by_it_and_by_the_version_of_keras_hub(
    hub_version: dict[str, str],
) -> None:
    assert preset_digest("resnet_50_imagenet") == "preset:resnet_50_imagenet by keras-hub==0.25.1"
    hub_version["keras-hub"] = "0.26.0"
    assert preset_digest("resnet_50_imagenet") == "preset:resnet_50_imagenet by keras-hub==0.26.0"


def test_a_preset_folder_is_known_by_its_content_and_by_the_version_of_keras_hub(
    tmp_path: Path, hub_version: dict[str, str]
) -> None:
    folder = write_folder(tmp_path / "one", {"scale": 1})
    before = preset_digest(str(folder))
    folder.rename(tmp_path / "other")
    assert preset_digest(str(tmp_path / "other")) == before
    hub_version["keras-hub"] = "0.26.0"
    assert preset_digest(str(tmp_path / "other")) == before.replace("0.25.1", "0.26.0") != before
    write_folder(tmp_path / "other", {"scale": 2})
    assert preset_digest(str(tmp_path / "other")) != before.replace("0.25.1", "0.26.0")


def test_a_preset_is_not_known_without_keras_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preset_base, "PACKAGE", "keras_hub_that_is_not_there")
    with pytest.raises(InputError, match=r"Expected keras-hub to be installed for base\.preset"):
        preset_digest("resnet_50_imagenet")


# --- what is asked from KerasHub ------------------------------------------------------------------


def test_a_missing_keras_hub_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preset_base, "PACKAGE", "keras_hub_that_is_not_there")
    message = refusal("resnet_50_imagenet")
    assert message.startswith("Expected keras-hub to be installed for base.preset.")
    assert message.endswith("Install it: pip install keras-hub.")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A stand-in for keras_hub whose image converter ends in `error`, or has `config`."""
    stand_in = SimpleNamespace(__version__="0", error=None, config={}, asked=[], timeouts=[])

    def from_preset(preset: str) -> Any:
        import socket

        stand_in.asked.append(preset)
        stand_in.timeouts.append(socket.getdefaulttimeout())
        if stand_in.error:
            raise stand_in.error
        return SimpleNamespace(get_config=lambda: stand_in.config)

    loader = SimpleNamespace(from_preset=from_preset, presets={"resnet_50_imagenet": {}})
    stand_in.layers = SimpleNamespace(ImageConverter=loader)
    stand_in.models = SimpleNamespace(Backbone=loader)
    monkeypatch.setattr(preset_base, "_import_hub", lambda _: stand_in)
    preset_base._describe_named.cache_clear()
    yield stand_in
    preset_base._describe_named.cache_clear()


def test_a_named_preset_is_asked_once(hub: SimpleNamespace) -> None:
    hub.config = {"image_size": (224, 224), "scale": 1 / 255}
    for _ in range(2):
        known = describe_preset("resnet_50_imagenet")
        assert known == Preset("resnet_50_imagenet", 224, "rescale_0_1")
    assert hub.asked == ["resnet_50_imagenet"]


def test_a_named_preset_without_a_converter_tells_nothing(hub: SimpleNamespace) -> None:
    hub.error = FileNotFoundError("`image_converter.json` doesn't exist")
    assert describe_preset("some_imagenet") == Preset("some_imagenet", None, None)


def test_an_unreachable_preset_says_how_to_bring_a_folder(hub: SimpleNamespace) -> None:
    hub.error = ConnectionError("HTTPSConnectionPool(host='api.kaggle.com'): refused\nmore")
    message = refusal("resnet_50_imagenet")
    assert (
        "base.preset=resnet_50_imagenet (HTTPSConnectionPool(host='api.kaggle.com'): re" in message
    )
    assert "Backbone.from_preset('resnet_50_imagenet').save_to_preset('preset')" in message
    assert "\n" not in message
    assert hub.timeouts == [30.0]


def test_an_unknown_preset_is_told_with_the_nearest(hub: SimpleNamespace) -> None:
    hub.error = ValueError("Unknown preset identifier. A preset must be a one of:\n1) a built-in")
    message = refusal("resnet50_imagenet")
    assert "Received: base.preset=resnet50_imagenet. Did you mean resnet_50_imagenet?" in message


# --- real presets ---------------------------------------------------------------------------------

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="keras-hub is not installed"
)
ANSWER = """
import sys, numpy, tensorflow
model = tensorflow.saved_model.load(sys.argv[1])
assert "keras_hub" not in sys.modules
content = tensorflow.constant([open(sys.argv[2], "rb").read()])
numpy.save(sys.argv[3], model.signatures["embed"](content)["embedding"])
"""


def save_preset(folder: Path, image_shape: tuple[int | None, ...] = (None, None, 3)) -> Any:
    """Saves a ResNet of one stack with 64 channels, and its image converter, as a preset."""
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=image_shape,
    )
    folder.mkdir()
    backbone.save_to_preset(str(folder))
    converter = keras_hub.layers.ResNetImageConverter(scale=[0.5, 0.25, 2.0], offset=[1, 2, 3])
    converter.save_to_preset(str(folder))
    return backbone


@pytest.mark.e2e
@needs_hub
def test_a_preset_folder_gives_what_it_gave_and_what_its_converter_says(tmp_path: Path) -> None:
    import keras_hub
    import tensorflow as tf

    from components.trainer.backbones import load_base
    from components.transform.image_ops import scale

    folder = tmp_path / "preset"
    original = save_preset(folder)
    base = load_base({"preset": str(folder)}, SIZE)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    known = describe_preset(str(folder))
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
    scaled = scale(tf.constant(pixels), str(known.preprocessing))
    np.testing.assert_allclose(scaled, converter(pixels), atol=1e-4)
    np.testing.assert_allclose(base(scaled), original(scaled), rtol=1e-5, atol=1e-5)
    assert base.output.shape[-1] == 64


@pytest.mark.e2e
@needs_hub
def test_a_preset_of_a_fixed_size_takes_no_other(tmp_path: Path) -> None:
    save_preset(tmp_path / "preset", (SIZE, SIZE, 3))
    assert describe_preset(str(tmp_path / "preset")).size == SIZE
    with pytest.raises(InputError, match=r"preset's fixed input of 32x32 pixels\. Received: image"):
        load_preset(str(tmp_path / "preset"), 64)


@pytest.mark.e2e
@needs_hub
def test_a_text_preset_is_refused_with_its_inputs(tmp_path: Path) -> None:
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=9,
        num_layers=1,
        num_heads=1,
        hidden_dim=2,
        intermediate_dim=2,
        max_sequence_length=4,
    )
    (tmp_path / "text").mkdir()
    backbone.save_to_preset(str(tmp_path / "text"))
    with pytest.raises(InputError, match=r"Expected a preset of an image backbone.*token_ids"):
        load_preset(str(tmp_path / "text"), SIZE)


@pytest.mark.e2e
@needs_hub
def test_a_preset_without_weights_is_refused(tmp_path: Path) -> None:
    save_preset(tmp_path / "preset")
    (tmp_path / "preset" / "model.weights.h5").unlink()
    with pytest.raises(InputError, match=r"Expected a preset folder that KerasHub .* can load"):
        load_preset(str(tmp_path / "preset"), SIZE)


@pytest.mark.e2e
@needs_hub
def test_the_tokens_of_a_transformer_become_a_map_that_is_pooled(tmp_path: Path) -> None:
    import keras_hub

    from components.trainer.backbones import load_base, pooled_base

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=16,
        num_layers=1,
        num_heads=1,
        hidden_dim=6,
        mlp_dim=6,
    )
    (tmp_path / "vit").mkdir()
    backbone.save_to_preset(str(tmp_path / "vit"))
    base = load_base({"preset": str(tmp_path / "vit")}, SIZE)
    pixels = np.random.default_rng(0).random((2, SIZE, SIZE, 3)).astype(np.float32)
    assert base.output.shape == (None, 5, 1, 6)
    pooled = pooled_base(base, SIZE, "average")(pixels)
    np.testing.assert_allclose(pooled, np.mean(backbone(pixels), axis=1), atol=1e-5)


@pytest.mark.e2e
@needs_hub
def test_a_preset_is_served_in_a_fresh_process_without_keras_hub(
    tmp_path: Path, transform_output: Any, image_settings: dict[str, Any], photo_contents: Any
) -> None:
    import keras
    import tensorflow as tf

    from components.trainer.backbones import load_base, pooled_base
    from components.trainer.signatures import ServingModule, export

    save_preset(tmp_path / "preset")
    embedder = pooled_base(load_base({"preset": str(tmp_path / "preset")}, 8), 8, "max")
    layers = [keras.Input(embedder.output.shape[1:]), keras.layers.Dense(2, activation="softmax")]
    head = keras.Sequential(layers)
    module = ServingModule(head, embedder, transform_output, ["blue", "red"], image_settings)
    export(module, str(tmp_path / "served"))
    (tmp_path / "photo.png").write_bytes(photo_contents[0])
    paths = (str(tmp_path / name) for name in ("served", "photo.png", "answer.npy"))
    subprocess.run([sys.executable, "-c", ANSWER, *paths], check=True)
    expected = module.embed(tf.constant(list(photo_contents[:1])))["embedding"]
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), expected, atol=1e-5)
    assert not any(weight.trainable for weight in embedder.weights)


@pytest.mark.e2e
@needs_hub
def test_real_keras_hub_tells_an_unknown_name_with_the_nearest() -> None:
    message = refusal("resnet50_imagenet")
    assert "Did you mean resnet_50_imagenet?" in message
