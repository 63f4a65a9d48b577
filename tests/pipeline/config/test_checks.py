"""What must hold between keys, and between them and the files they name."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import load

# Splits


@pytest.mark.parametrize(
    ("splits", "total"),
    [
        ("{train: 0.8, validation: 0.3}", "1.1. Change one of them by -0.1."),
        ("{train: 0.8, validation: 0.1}", "0.9. Change one of them by +0.1."),
        ("{train: 0.8, validation: 0.2, test: 0.1}", "1.1. Change one of them by -0.1."),
    ],
)
def test_splits_that_do_not_add_up_to_one_are_refused(
    project: Any, splits: str, total: str
) -> None:
    message = project.refusal(
        project.write(project.change("photos/", f"photos/\n  splits: {splits}"))
    )
    assert message.startswith(
        "flowers.yaml, line 4: Expected the shares in data.splits to add up to 1. Received: train="
    )
    assert message.endswith(f"which add up to {total}")


def test_splits_are_shares_in_their_order(project: Any) -> None:
    splits = "data.splits={test: 0.1, validation: 0.2, train: 0.7}"
    config = load(project.write(), [splits])
    assert list(config.data.splits.shares().items()) == [
        ("train", 0.7),
        ("validation", 0.2),
        ("test", 0.1),
    ]
    assert load(project.write()).data.splits.shares() == {"train": 0.8, "validation": 0.2}


def test_thirds_add_up_to_one(project: Any) -> None:
    third = "0.3333333"
    splits = f"data.splits={{train: {third}, validation: {third}, test: {third}}}"
    assert load(project.write(), [splits]).data.splits.test == 0.3333333


def test_splits_broken_by_an_override_are_told_at_the_override(project: Any) -> None:
    path = project.write(
        project.change("photos/", "photos/\n  splits: {train: 0.8, validation: 0.2}")
    )
    message = project.refusal(path, "data.splits.train=0.7")
    assert message.startswith("flowers.yaml, --set data.splits.train: Expected the shares in")
    message = project.refusal(path, "data.splits.train=1")
    assert "Expected data.splits.train to be a number above 0 and below 1 (share)." in message


def test_split_without_validation_is_refused(project: Any) -> None:
    message = project.refusal(project.write(), "data.splits={train: 0.9, test: 0.1}")
    assert "Expected data.splits.validation to be given: a number above 0 and below 1" in message


# The base


def test_base_by_name_takes_size_and_preprocessing_of_the_table(project: Any) -> None:
    config = load(project.write(project.change("MobileNetV2", "InceptionV3")))
    assert (config.resolved_image_size, config.resolved_preprocessing) == (299, "rescale_-1_1")
    assert load(project.write(), ["image.size=96"]).resolved_image_size == 96


def test_unknown_base_is_told_with_the_nearest(project: Any) -> None:
    message = project.refusal(project.write(project.change("MobileNetV2", "ResNet-50")))
    assert message.startswith(
        "flowers.yaml, line 5: Expected base.name to be the name of a base. Received: "
        "base.name='ResNet-50'. Did you mean ResNet50? Known are MobileNetV2, MobileNet, "
    )


def test_size_below_what_the_base_takes_is_refused(project: Any) -> None:
    path = project.write(project.change("MobileNetV2", "Xception"))
    assert load(path, ["image.size=71"]).resolved_image_size == 71
    assert project.refusal(path, "image.size=70") == (
        "flowers.yaml, --set image.size: Expected image.size to be at least 71 pixels, the least "
        "that Xception takes. Received: image.size=70. Write image.size: 299, or choose another "
        "base."
    )


def test_base_file_gives_its_fixed_size(folder: Path, project: Any) -> None:
    project.save_base(96, 96)
    config = load(project.write(project.with_base()))
    assert config.base.path == folder / "base.keras"
    assert config.base.weights is None
    assert (config.resolved_image_size, config.resolved_preprocessing) == (96, "rescale_0_1")


def test_override_of_a_section_replaces_all_of_it(project: Any) -> None:
    project.save_base(64, 64)
    override = "base={path: base.keras, preprocessing: caffe}"
    config = load(project.write(), [override])
    assert (config.base.name, config.resolved_image_size) == (None, 64)


def test_base_file_of_open_size_needs_image_size(project: Any) -> None:
    project.save_base(None, None)
    path = project.write(project.with_base())
    assert load(path, ["image.size=48"]).resolved_image_size == 48
    assert project.refusal(path) == (
        "flowers.yaml, line 5: base.path: Expected image.size with a base whose input has no fixed "
        "size. Received: no image.size with base.path=base.keras. Write image.size: 224, or the "
        "size that the base was trained on."
    )


def test_size_that_the_base_file_does_not_take_is_told_at_its_line(project: Any) -> None:
    project.save_base(224, 224)
    message = project.refusal(project.write(project.with_base() + "image: {size: 128}\n"))
    assert message == (
        "flowers.yaml, line 9: image.size: Expected image.size to be the base's fixed input of 224 "
        "pixels. Received: image.size=128 with base.path=base.keras. Write image.size: 224, or "
        "leave image.size out."
    )


def test_base_file_that_is_not_square_is_refused(project: Any) -> None:
    project.save_base(224, 192)
    assert "with the fixed input 224x192 pixels" in project.refusal(
        project.write(project.with_base())
    )


@pytest.mark.parametrize(
    ("file", "received"),
    [("base.h5", "Received: base.h5. Other formats are refused"), ("x.keras", "does not exist")],
)
def test_base_file_that_cannot_be_used_is_told_at_its_line(
    project: Any, file: str, received: str
) -> None:
    message = project.refusal(project.write(project.with_base(file)))
    assert message.startswith("flowers.yaml, line 5: base.path: Expected a")
    assert received in message


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "{name: VGG16, path: a.keras, preprocessing: none}",
            "Expected exactly one of base.name, base.path, base.preset and base.saved_model. "
            "Received: base.name='VGG16' and base.path='a.keras'. Write base: {name: MobileNetV2}",
        ),
        (
            "{preset: a, saved_model: b}",
            "Expected exactly one of base.name, base.path, base.preset and base.saved_model. "
            "Received: base.preset='a' and base.saved_model='b'. ",
        ),
        (
            "{weights: none}",
            "Expected exactly one of base.name, base.path, base.preset and base.saved_model. "
            "Received: none of them. ",
        ),
        (
            "{}",
            "Expected exactly one of base.name, base.path, base.preset and base.saved_model. "
            "Received: none of them. ",
        ),
        (
            "{path: a.keras, preprocessing: caffe, weights: imagenet}",
            "Expected no base.weights with base.path, which holds its weights. Received: "
            "base.weights='imagenet'. Take the key out.",
        ),
        (
            "{preset: resnet_50_imagenet, weights: imagenet}",
            "Expected no base.weights with base.preset, which holds its weights. Received: ",
        ),
        (
            "{saved_model: a}",
            "Expected base.preprocessing with base.saved_model: one of rescale_0_1, rescale_-1_1, "
            "imagenet_mean_std, caffe, none. Received: none given with base.saved_model='a'. Add "
            "how the base's images were scaled when it was trained; TensorFlow Hub's take "
            "rescale_0_1.",
        ),
        (
            "{path: a.keras}",
            "Expected base.preprocessing with base.path: one of rescale_0_1, rescale_-1_1, "
            "imagenet_mean_std, caffe, none. Received: none given with base.path='a.keras'. ",
        ),
        (
            "{name: VGG16, preprocessing: none}",
            "Expected no base.preprocessing with base.name, whose own is caffe. Received: "
            "base.preprocessing='none'. Take the key out.",
        ),
        (
            "{path: a.keras, preprocessing: tf}",
            "Expected base.preprocessing to be one of rescale_0_1, rescale_-1_1, "
            "imagenet_mean_std, caffe, none. Received: base.preprocessing='tf'. ",
        ),
    ],
)
def test_base_is_given_once_and_by_what_tells_its_preprocessing(
    project: Any, base: str, message: str
) -> None:
    told = project.refusal(project.write(project.change("\n  name: MobileNetV2", f" {base}")))
    assert told.startswith(f"flowers.yaml, line 4: {message}")
    assert len(told.splitlines()) == 1


def with_saved_model(project: Any, more: str = "") -> str:
    base = "saved_model: model\n  preprocessing: rescale_0_1"
    text: str = project.change("name: MobileNetV2", base) + more
    return text


def test_saved_model_loads_without_tensorflow(folder: Path, project: Any) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "saved_model.pb").touch()
    config = load(project.write(with_saved_model(project)), ["image.size=96"])
    assert config.base.saved_model == folder / "model"
    assert (config.resolved_image_size, config.resolved_preprocessing) == (96, "rescale_0_1")


def test_folder_that_is_no_saved_model_is_told_at_its_line(folder: Path, project: Any) -> None:
    path = project.write(with_saved_model(project))
    start = "flowers.yaml, line 5: Expected base.saved_model to be the folder of a SavedModel. "
    assert project.refusal(path).startswith(
        f"{start}Received: base.saved_model='model', which does not exist."
    )
    (folder / "model").mkdir()
    assert project.refusal(path).startswith(
        f"{start}Received: base.saved_model='model', which has no saved_model.pb."
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "fine_tune: {layers: 3}\n",
            "flowers.yaml, line 9: Expected fine_tune.layers to be 0 with base.saved_model, which "
            "is frozen only: a SavedModel has no layers that could be trained. Received: "
            "fine_tune.layers=3. Write 0, or give the base by name, path or preset.",
        ),
        (
            "tune: {space: {fine_tune_layers: [all]}}\n",
            "flowers.yaml, line 9: Expected tune.space.fine_tune_layers to be [] with "
            "base.saved_model, which is frozen only: a SavedModel has no layers that could be "
            "trained. Received: tune.space.fine_tune_layers=['all']. Write [], or give the base by "
            "name, path or preset.",
        ),
    ],
)
def test_saved_model_is_not_fine_tuned(project: Any, more: str, message: str) -> None:
    assert project.refusal(project.write(with_saved_model(project, more))) == message


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_saved_model_is_not_converted_to_another_precision(project: Any, precision: str) -> None:
    more = f"train: {{precision: {precision}}}\n"
    assert project.refusal(project.write(with_saved_model(project, more))) == (
        "flowers.yaml, line 9: Expected train.precision to be float32 with base.saved_model: a "
        f"SavedModel computes as it was saved. Received: train.precision='{precision}'. Write "
        "float32, or give the base by name, path or preset."
    )
    assert load(project.write(), [f"train.precision={precision}"]).train.precision == precision


def save_preset(folder: Path, converter: dict[str, Any] | None) -> None:
    folder.mkdir()
    described = {"registered_name": "keras_hub>ResNetBackbone", "config": {}}
    (folder / "config.json").write_text(json.dumps(described))
    if converter is not None:
        (folder / "image_converter.json").write_text(json.dumps({"config": converter}))


@pytest.fixture
def installed_keras_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets keras-hub count as installed; reading a preset folder needs no more of it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())


def test_preset_folder_gives_size_and_preprocessing(
    folder: Path, project: Any, installed_keras_hub: None
) -> None:
    save_preset(folder / "mine", {"image_size": [96, 96], "scale": 1 / 255})
    config = load(project.write(project.change("name: MobileNetV2", "preset: mine")))
    assert config.base.preset == str(folder / "mine")
    assert (config.resolved_image_size, config.resolved_preprocessing) == (96, "rescale_0_1")


@pytest.mark.parametrize(
    ("converter", "base", "message"),
    [
        (
            {"scale": 1},
            "preset: mine",
            "Expected image.size with a base whose input has no fixed size. Received: no "
            "image.size with base.preset=mine.",
        ),
        (
            None,
            "preset: mine",
            "Expected either the preset's image converter or base.preprocessing to tell how pixels "
            "are scaled. Received: base.preset=mine without an image converter (one for text has "
            "none). Add base.preprocessing.",
        ),
        (
            {"image_size": [96, 96]},
            "preset: mine\n  preprocessing: none",
            "Expected either the preset's image converter or base.preprocessing to tell how pixels "
            "are scaled. Received: base.preset=mine and base.preprocessing=none. Take "
            "base.preprocessing out.",
        ),
    ],
)
def test_what_a_preset_folder_leaves_open_is_told_at_its_line(
    folder: Path, project: Any, installed_keras_hub: None, converter: Any, base: str, message: str
) -> None:
    save_preset(folder / "mine", converter)
    size = [] if "image.size" in message else ["image.size=96"]
    told = project.refusal(project.write(project.change("name: MobileNetV2", base)), *size)
    assert told.startswith(f"flowers.yaml, line 5: base.preset: {message}")


def test_preset_folder_without_a_converter_takes_a_preprocessing(
    folder: Path, project: Any, installed_keras_hub: None
) -> None:
    save_preset(folder / "mine", None)
    base = "preset: mine\n  preprocessing: caffe"
    path = project.write(project.change("name: MobileNetV2", base))
    assert load(path, ["image.size=96"]).resolved_preprocessing == "caffe"


def test_missing_keras_hub_is_told_at_the_preset(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    path = project.write(project.change("name: MobileNetV2", "preset: resnet_50_imagenet"))
    assert project.refusal(path) == (
        "flowers.yaml, line 5: base.preset: Expected keras-hub to be installed for base.preset. "
        "Received: no module named keras_hub. Install it: pip install keras-hub."
    )


@pytest.mark.parametrize("value", ["none", "null", "~"])
def test_no_weights_are_none(project: Any, value: str) -> None:
    assert load(project.write(), [f"base.weights={value}"]).base.weights == "none"


@pytest.mark.parametrize("file", ["top.weights.h5", "top.h5", "top.keras"])
def test_weights_may_be_a_file(folder: Path, project: Any, file: str) -> None:
    (folder / file).touch()
    assert load(project.write(), [f"base.weights={file}"]).base.weights == folder / file


def test_weights_file_that_is_missing_is_told(project: Any) -> None:
    assert project.refusal(project.write(), "base.weights=a.weights.h5") == (
        "flowers.yaml, --set base.weights: Expected base.weights to be an existing file, imagenet "
        "or none. Received: base.weights='a.weights.h5', which does not exist. Correct the path, "
        "or put the file there."
    )


def test_folder_in_place_of_the_weights_is_told(folder: Path, project: Any) -> None:
    (folder / "a.h5").mkdir()
    message = project.refusal(project.write(), "base.weights=a.h5")
    assert "Received: base.weights='a.h5', which is no file." in message


def test_inputs_that_may_not_be_reached_are_told(locked: Path) -> None:
    path = locked.parent / "tiny.yaml"
    path.write_text(
        "{name: tiny, data: {source: locked/photos}, push: {directory: served}, "
        "base: {name: MobileNetV2, weights: locked/w.h5}}"
    )
    with pytest.raises(InputError) as caught:
        load(path)
    assert f"data.source='{locked}/photos', which may not be read." in str(caught.value)
    assert f"base.weights='{locked}/w.h5', which may not be read." in str(caught.value)


def test_misspelt_weights_are_told_with_the_nearest(project: Any) -> None:
    message = project.refusal(project.write(), "base.weights=ImageNet")
    assert message.endswith("Received: base.weights='ImageNet'. Did you mean imagenet?")


# Inputs and folders


def test_missing_source_is_told_at_its_line(folder: Path, project: Any) -> None:
    path = project.write(project.change("photos/", "fotos/"))
    assert project.refusal(path) == (
        "flowers.yaml, line 3: Expected data.source to exist. Received: data.source='fotos', "
        "which does not exist. Correct the path: a folder of class folders, a table, an archive or "
        "a pattern of TFRecord files."
    )
    assert load(path, check_inputs=False).data.source == str(folder / "fotos")


def test_pattern_that_matches_files_is_a_source(folder: Path, project: Any) -> None:
    path = project.write(project.change("photos/", "shards/*.tfrecord"))
    assert "Expected data.source to exist" in project.refusal(path)
    (folder / "shards").mkdir()
    (folder / "shards" / "a.tfrecord").touch()
    assert load(path).data.source == str(folder / "shards" / "*.tfrecord")


def test_pattern_reaches_into_folders_of_any_depth(folder: Path, project: Any) -> None:
    path = project.write(project.change("photos/", "shards/**/*.tfrecord"))
    assert "Expected data.source to exist" in project.refusal(path)
    (folder / "shards" / "deep" / "deeper").mkdir(parents=True)
    (folder / "shards" / "deep" / "deeper" / "a.tfrecord").touch()
    assert load(path).data.source == str(folder / "shards" / "**" / "*.tfrecord")


def test_remote_source_is_neither_looked_at_nor_made_a_path(project: Any) -> None:
    config = load(project.write(), ["data.source=gs://bucket/photos/", "push.directory=served"])
    assert config.data.source == "gs://bucket/photos"


@pytest.mark.parametrize("where", ["gs://bucket/photos", "gs://bucket/photos/served"])
def test_a_remote_served_folder_among_the_photos_is_refused(project: Any, where: str) -> None:
    message = project.refusal(
        project.write(), "data.source=gs://bucket/photos", f"push.directory={where}"
    )
    assert "Expected push.directory outside data.source" in message


def test_a_file_uri_is_compared_as_the_path_that_it_is(folder: Path, project: Any) -> None:
    message = project.refusal(project.write(), f"push.directory=file://{folder}/photos/served")
    assert "Expected push.directory outside data.source" in message


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("'(a'", "which is none: missing ), unterminated subpattern"),
        ("a", "which has 0. Put parentheses around what names the group"),
        ("(a)(b)", "which has 2."),
    ],
)
def test_group_pattern_that_cannot_work_is_refused(project: Any, pattern: str, why: str) -> None:
    message = project.refusal(project.write(), f"data.group={pattern}")
    assert message.startswith(
        "flowers.yaml, --set data.group: Expected a regular expression with one group. Received: "
    )
    assert why in message


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("push.directory=photos/served", "in"),
        ("push.directory=photos", "equal to"),
        ("runtime.root=photos/runs", "in"),
        ("runtime.root=.", None),
    ],
)
def test_outputs_among_the_photos_are_refused(
    folder: Path, project: Any, override: str, where: str | None
) -> None:
    key, _, value = override.partition("=")
    path = project.write()
    if where is None:
        assert load(path, [override]).runtime.root == folder
        return
    assert project.refusal(path, override) == (
        f"flowers.yaml, --set {key}: Expected {key} outside data.source, where what a run writes "
        f"would be taken for photos. Received: {key}='{value}', {where} data.source='photos'. "
        "Choose a folder beside the photos."
    )


@pytest.mark.parametrize("mark", ["*", "?", "["])
def test_a_root_that_tfx_would_take_for_a_pattern_is_refused(project: Any, mark: str) -> None:
    message = project.refusal(project.write(), f"runtime.root='runs{mark}2'")
    assert "Expected runtime.root without the marks of a pattern" in message
    assert f"runs{mark}2' with {mark}. Choose another folder." in message


def test_outputs_among_the_photos_are_seen_through_links(folder: Path, project: Any) -> None:
    (folder / "link").symlink_to(folder / "photos")
    message = project.refusal(project.write(), "push.directory=link/served")
    assert "Expected push.directory outside data.source" in message


@pytest.mark.parametrize(
    ("directory", "equal"), [("runs", "runtime.root"), ("runs/flowers", "runtime.root/name")]
)
def test_push_directory_is_a_folder_of_its_own(
    folder: Path, project: Any, directory: str, equal: str
) -> None:
    assert project.refusal(project.write(), f"push.directory={directory}") == (
        "flowers.yaml, --set push.directory: Expected push.directory to be a folder of its own. "
        f"Received: push.directory='{directory}', equal to {equal}. Choose another, such as "
        "served/flowers."
    )


# Push


def test_a_signing_key_that_cannot_be_used_is_told_before_the_run(project: Any) -> None:
    path = project.write()
    (path.parent / "key.pem").write_text("no key")
    for name, told in (("key.pem", "which is none"), ("missing.pem", "which cannot be read")):
        with pytest.raises(InputError, match=rf"push\.signing_key.*Ed25519 private key.*{told}"):
            load(path, [f"push.signing_key={path.parent / name}"])
