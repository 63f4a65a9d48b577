"""The configuration: its defaults, what it refuses and in which words, its overrides and schema."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from components.errors import InputError
from pipeline.config import Config, dump_schema, load, section_of, slug

ROOT = Path(__file__).parents[2]
# Where configs/photos.yaml shows a choice in place of a default.
SHOWN = {"base.name": "MobileNetV2", "base.weights": "imagenet"}
LEAST = """\
name: flowers
data:
  source: photos/
base:
  name: MobileNetV2
push:
  directory: served/flowers
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "flowers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def change(old: str, new: str) -> str:
    changed = LEAST.replace(old, new)
    assert changed != LEAST
    return changed


def refusal(path: Path, *overrides: str) -> str:
    """Returns the message without the folder that the test runs in."""
    with pytest.raises(InputError) as caught:
        load(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


def save_base(path: Path, height: int | None, width: int | None) -> Path:
    inputs = {"name": "photo", "batch_shape": [None, height, width, 3]}
    layers = [{"module": "keras.layers", "class_name": "InputLayer", "config": inputs}]
    config = {"name": "tiny", "layers": layers, "input_layers": ["photo", 0, 0]}
    model = {"module": "keras", "class_name": "Functional", "config": config}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", b"")
    return path


def with_base(path: str = "base.keras") -> str:
    return change("name: MobileNetV2", f"path: {path}\n  preprocessing: rescale_0_1")


# Defaults and paths


def test_only_four_keys_must_be_given_and_the_rest_has_defaults(folder: Path) -> None:
    assert load(write(folder, LEAST)).model_dump(mode="json") == {
        "name": "flowers",
        "data": {
            "source": f"{folder}/photos",
            "splits": {"train": 0.8, "validation": 0.2, "test": None},
            "max_refused": 0.05,
            "max_pixels": 100_000_000,
            "min_size": 1,
            "split_salt": "",
        },
        "base": {
            "name": "MobileNetV2",
            "path": None,
            "weights": "imagenet",
            "preprocessing": None,
        },
        "image": {"size": None, "resize": "stretch"},
        "head": {"pooling": "average", "hidden": [128], "dropout": 0.2},
        "train": {
            "epochs": 20,
            "batch_size": 32,
            "learning_rate": 0.001,
            "patience": 3,
            "seed": 0,
            "watch": 0.1,
        },
        "fine_tune": {"layers": 0, "epochs": 5, "learning_rate": 0.00001},
        "evaluate": {"min_accuracy": 0.6, "max_accuracy_drop": 0.0},
        "push": {"directory": f"{folder}/served/flowers"},
        "runtime": {"root": f"{folder}/runs", "runner": "local", "beam_args": []},
    }


@pytest.mark.parametrize("missing", ["name", "data.source", "base", "push.directory"])
def test_each_of_the_four_keys_is_asked_for(folder: Path, missing: str) -> None:
    data: dict[str, Any] = {
        "name": "flowers",
        "data": {"source": "photos"},
        "base": {"name": "VGG16"},
        "push": {"directory": "served"},
    }
    section, _, key = missing.rpartition(".")
    del (data[section] if section else data)[key]
    message = refusal(write(folder, json.dumps(data)))
    assert f"Expected {missing} to be given:" in message
    assert f"Received: no {missing}. Add it, for example {key}: " in message
    assert len(message.splitlines()) == 1


def test_missing_key_is_told_at_the_line_of_its_section(folder: Path) -> None:
    message = refusal(write(folder, change("  directory: served/flowers\n", "")))
    assert message == (
        "flowers.yaml, line 6: Expected push.directory to be given: a path. Received: no "
        "push.directory. Add it, for example directory: served/flowers."
    )


def test_relative_paths_are_relative_to_the_file_also_in_overrides(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder, change("photos/", "../elsewhere/./photos"))
    monkeypatch.chdir("/")
    config = load(path, ["push.directory=../served"], check_inputs=False)
    assert config.data.source == folder.parent / "elsewhere" / "photos"
    assert config.push.directory == folder.parent / "served"


def test_file_may_be_named_relative_to_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, LEAST)
    monkeypatch.chdir(folder)
    assert load("flowers.yaml").data.source == folder / "photos"


def test_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = load(write(folder, LEAST), ["push.directory=~/served"])
    assert config.push.directory == Path("/home/someone/served")


def test_absolute_paths_are_kept(folder: Path) -> None:
    config = load(write(folder, LEAST), ["runtime.root=/var/graft"])
    assert config.home == Path("/var/graft/flowers")


def test_folders_of_a_pipeline_are_in_its_home(folder: Path) -> None:
    config = load(write(folder, LEAST))
    home = folder / "runs" / "flowers"
    assert config.home == home
    assert config.metadata_path == home / "metadata.db"
    assert config.artifacts == home / "artifacts"
    assert config.cache == home / "cache"
    assert config.reports == home / "reports"
    assert config.quarantine == home / "quarantine"
    assert config.logs == home / "logs"
    assert config.lock_path == home / "run.lock"


@pytest.mark.parametrize("key", ["data.source", "push.directory", "runtime.root"])
def test_remote_paths_are_refused(folder: Path, key: str) -> None:
    assert refusal(write(folder, LEAST), f"{key}=gs://bucket/x") == (
        f"flowers.yaml, --set {key}: Expected {key} to be a path on this machine. Received: "
        f"{key}='gs://bucket/x'. Remote paths are not read yet: copy or mount it here."
    )


def test_empty_path_is_refused_and_not_the_current_folder(folder: Path) -> None:
    message = refusal(write(folder, LEAST), 'push.directory=""')
    assert "Expected push.directory to be a path. Received: push.directory=''." in message


def test_configuration_cannot_be_changed(folder: Path) -> None:
    config = load(write(folder, LEAST))
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 3  # type: ignore[misc]


def test_empty_section_has_its_defaults(folder: Path) -> None:
    config = load(write(folder, LEAST + "train:\n  # epochs: 3\nhead:\n"))
    assert (config.train.epochs, config.head.hidden) == (20, (128,))


# Wrong keys and values


@pytest.mark.parametrize(
    ("text", "line", "received", "mend"),
    [
        ("train: {epoch: 5}", 8, "train.epoch=5", "Did you mean train.epochs?"),
        ("trian: {epochs: 5}", 8, "trian={'epochs': 5}", "Did you mean train?"),
        ("fine-tune: {}", 8, "fine-tune={}", "Did you mean fine_tune?"),
        (
            "learning_rate: 0.1",
            8,
            "learning_rate=0.1",
            "Did you mean train.learning_rate or fine_tune.learning_rate?",
        ),
        ("min_acuracy: 0.1", 8, "min_acuracy=0.1", "Did you mean evaluate.min_accuracy?"),
        ("head:\n  seed: 1", 9, "head.seed=1", "Did you mean train.seed?"),
        ("train.epochs: 5", 8, "train.epochs=5", "Did you mean train.epochs?"),
        ("Train: {}", 8, "Train={}", "Did you mean train?"),
        (
            "head: {zzz: 1}",
            8,
            "head.zzz=1",
            "The keys in head are pooling, hidden, dropout.",
        ),
    ],
)
def test_unknown_key_is_told_with_its_line_and_the_nearest_one(
    folder: Path, text: str, line: int, received: str, mend: str
) -> None:
    message = refusal(write(folder, LEAST + text))
    assert message.startswith(f"flowers.yaml, line {line}: Expected a known key ")
    assert message.endswith(f"Received: the unknown key {received}. {mend}")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epochs", "'20'", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "true", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "20.0", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "0", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "null", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "[20]", "a whole number from 1 to 100000 (epochs)"),
        ("train.patience", "-1", "a whole number from 0 to 100000 (epochs)"),
        ("train.learning_rate", "0", "a number above 0 and at most 10 (per step)"),
        ("train.learning_rate", ".nan", "a number above 0 and at most 10 (per step)"),
        ("train.learning_rate", "false", "a number above 0 and at most 10 (per step)"),
        ("train.watch", "0.51", "a number above 0 and at most 0.5 (share)"),
        ("head.dropout", "1", "a number from 0 to below 1 (share)"),
        ("head.dropout", "-0.1", "a number from 0 to below 1 (share)"),
        ("evaluate.min_accuracy", "60", "a number from 0 to 1 (share)"),
        ("evaluate.max_accuracy_drop", "-0.1", "a number from 0 to 1 (share)"),
        ("image.size", "7", "a whole number from 8 to 2048 (pixels)"),
        ("image.size", "2049", "a whole number from 8 to 2048 (pixels)"),
        ("image.resize", "fit", "one of stretch, crop, pad"),
        ("head.pooling", "mean", "one of average, max"),
        ("runtime.runner", "flink", "one of local"),
        ("data.max_refused", "1.1", "a number from 0 to 1 (share)"),
        ("data.max_pixels", "0", "a whole number from 1 to 10000000000 (pixels)"),
        ("data.min_size", "0", "a whole number from 1 to 4096 (pixels)"),
        ("data.split_salt", "5", "text of up to 100 characters"),
        ("data.source", "5", "a path"),
        ("data", "photos", "a section with source, splits, max_refused, max_pixels, min_size, sp"),
        ("head.hidden", "128", "a list of up to 16 widths, each a whole number from 1 to 65536"),
        ("runtime.beam_args", "--x=1", "a list of texts"),
        ("base.weights", "3", "imagenet, none or a weights file (.weights.h5, .h5 or .keras)"),
    ],
)
def test_wrong_value_is_told_with_what_is_expected(
    folder: Path, key: str, value: str, expected: str
) -> None:
    message = refusal(write(folder, LEAST), f"{key}={value}")
    assert message.startswith(f"flowers.yaml, --set {key}: Expected {key} to be {expected}")
    assert f"Received: {key}=" in message
    assert "Input should" not in message
    assert len(message.splitlines()) == 1


def test_number_in_quotes_is_told_to_be_written_without(folder: Path) -> None:
    message = refusal(write(folder, LEAST + "train:\n  seed: 1\n  epochs: '20'\n"))
    assert message == (
        "flowers.yaml, line 10: Expected train.epochs to be a whole number from 1 to 100000 "
        "(epochs). Received: train.epochs='20'. Write it without quotes: epochs: 20."
    )


def test_wrong_item_of_a_list_is_named_by_its_place(folder: Path) -> None:
    message = refusal(write(folder, LEAST + "head:\n  hidden:\n    - 64\n    - wide\n"))
    assert message.startswith("flowers.yaml, line 11: Expected head.hidden to be a list of up to")
    assert "Received: head.hidden.1='wide'." in message


def test_whole_number_is_taken_where_a_number_is_expected(folder: Path) -> None:
    config = load(write(folder, LEAST), ["train.learning_rate=1", "evaluate.min_accuracy=0"])
    assert (config.train.learning_rate, config.evaluate.min_accuracy) == (1.0, 0.0)


@pytest.mark.parametrize("value", ["1e-5", "1E-5", "0.00001", "1.0e-05", ".00001"])
def test_number_with_exponent_is_a_number(folder: Path, value: str) -> None:
    config = load(write(folder, LEAST + f"train: {{learning_rate: {value}}}"))
    assert config.train.learning_rate == 0.00001


def test_words_that_older_yaml_takes_for_booleans_or_dates_are_text(folder: Path) -> None:
    for word in ("no", "on", "2024-01-01", "1:30"):
        config = load(write(folder, LEAST), [f"data.split_salt={word}"])
        assert config.data.split_salt == word


def test_underscores_group_digits(folder: Path) -> None:
    assert load(write(folder, LEAST), ["data.max_pixels=1_000_000"]).data.max_pixels == 1_000_000


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("Flowers", "flowers"),
        ("my flowers", "my-flowers"),
        ("2024-tulips", "tulips"),
        ("a" * 64, "a" * 63),
        ("'rosen\\n'", "rosen-n"),
        ("Blüten_1", "bl-ten-1"),
    ],
)
def test_wrong_name_is_told_with_a_valid_one(folder: Path, name: str, valid: str) -> None:
    message = refusal(write(folder, change("name: flowers", f"name: {name}")))
    assert message.startswith(
        "flowers.yaml, line 1: Expected name to be lower case letters, digits and dashes, starting "
        "with a letter, up to 63 characters. Received: name="
    )
    assert message.endswith(f"For example name: {valid}.")
    assert load(write(folder, LEAST), [f"name={valid}"]).name == valid


def test_name_with_a_line_break_is_refused(folder: Path) -> None:
    assert "Expected name to be" in refusal(
        write(folder, change("name: flowers", 'name: "flowers\\n"'))
    )


def test_name_made_of_nothing_valid_is_photos() -> None:
    assert slug("42 %") == "photos"


def test_every_error_has_its_line_in_the_order_of_the_file(folder: Path) -> None:
    text = change("name: flowers", "name: Flowers") + "zzz: 1\ntrain:\n  epochs: 0\n  sead: 1\n"
    lines = refusal(write(folder, text), "head.dropout=2", "image.size=x").splitlines()
    places = [line.partition(": Expected")[0].removeprefix("flowers.yaml, ") for line in lines]
    assert places == [
        "line 1",
        "line 8",
        "line 10",
        "line 11",
        "--set head.dropout",
        "--set image.size",
    ]


@pytest.mark.parametrize(
    ("splits", "total"),
    [
        ("{train: 0.8, validation: 0.3}", "1.1. Change one of them by -0.1."),
        ("{train: 0.8, validation: 0.1}", "0.9. Change one of them by +0.1."),
        ("{train: 0.8, validation: 0.2, test: 0.1}", "1.1. Change one of them by -0.1."),
    ],
)
def test_splits_that_do_not_add_up_to_one_are_refused(
    folder: Path, splits: str, total: str
) -> None:
    message = refusal(write(folder, change("photos/", f"photos/\n  splits: {splits}")))
    assert message.startswith(
        "flowers.yaml, line 4: Expected the shares in data.splits to add up to 1. Received: train="
    )
    assert message.endswith(f"which add up to {total}")


def test_splits_are_shares_in_their_order(folder: Path) -> None:
    splits = "data.splits={test: 0.1, validation: 0.2, train: 0.7}"
    config = load(write(folder, LEAST), [splits])
    assert list(config.data.splits.shares().items()) == [
        ("train", 0.7),
        ("validation", 0.2),
        ("test", 0.1),
    ]
    assert load(write(folder, LEAST)).data.splits.shares() == {"train": 0.8, "validation": 0.2}


def test_thirds_add_up_to_one(folder: Path) -> None:
    third = "0.3333333"
    splits = f"data.splits={{train: {third}, validation: {third}, test: {third}}}"
    assert load(write(folder, LEAST), [splits]).data.splits.test == 0.3333333


def test_splits_broken_by_an_override_are_told_at_the_override(folder: Path) -> None:
    path = write(folder, change("photos/", "photos/\n  splits: {train: 0.8, validation: 0.2}"))
    message = refusal(path, "data.splits.train=0.7")
    assert message.startswith("flowers.yaml, --set data.splits.train: Expected the shares in")
    message = refusal(path, "data.splits.train=1")
    assert "Expected data.splits.train to be a number above 0 and below 1 (share)." in message


def test_split_without_validation_is_refused(folder: Path) -> None:
    message = refusal(write(folder, LEAST), "data.splits={train: 0.9, test: 0.1}")
    assert "Expected data.splits.validation to be given: a number above 0 and below 1" in message


# The base


def test_base_by_name_takes_size_and_preprocessing_of_the_table(folder: Path) -> None:
    config = load(write(folder, change("MobileNetV2", "InceptionV3")))
    assert (config.resolved_image_size, config.resolved_preprocessing) == (299, "rescale_-1_1")
    assert load(write(folder, LEAST), ["image.size=96"]).resolved_image_size == 96


def test_unknown_base_is_told_with_the_nearest(folder: Path) -> None:
    message = refusal(write(folder, change("MobileNetV2", "ResNet-50")))
    assert message.startswith(
        "flowers.yaml, line 5: Expected base.name to be the name of a base. Received: "
        "base.name='ResNet-50'. Did you mean ResNet50? Known are MobileNetV2, MobileNet, "
    )


def test_size_below_what_the_base_takes_is_refused(folder: Path) -> None:
    path = write(folder, change("MobileNetV2", "Xception"))
    assert load(path, ["image.size=71"]).resolved_image_size == 71
    assert refusal(path, "image.size=70") == (
        "flowers.yaml, --set image.size: Expected image.size to be at least 71 pixels, the least "
        "that Xception takes. Received: image.size=70. Write image.size: 299, or choose another "
        "base."
    )


def test_base_file_gives_its_fixed_size(folder: Path) -> None:
    save_base(folder / "base.keras", 96, 96)
    config = load(write(folder, with_base()))
    assert config.base.path == folder / "base.keras"
    assert config.base.weights is None
    assert (config.resolved_image_size, config.resolved_preprocessing) == (96, "rescale_0_1")


def test_base_file_of_open_size_needs_image_size(folder: Path) -> None:
    save_base(folder / "base.keras", None, None)
    path = write(folder, with_base())
    assert load(path, ["image.size=48"]).resolved_image_size == 48
    assert refusal(path) == (
        "flowers.yaml, line 5: base.path: Expected image.size with a base whose input has no fixed "
        "size. Received: no image.size with base.path=base.keras. Write image.size: 224, or the "
        "size that the base was trained on."
    )


def test_size_that_the_base_file_does_not_take_is_told_at_its_line(folder: Path) -> None:
    save_base(folder / "base.keras", 224, 224)
    message = refusal(write(folder, with_base() + "image: {size: 128}\n"))
    assert message == (
        "flowers.yaml, line 9: image.size: Expected image.size to be the base's fixed input of 224 "
        "pixels. Received: image.size=128 with base.path=base.keras. Write image.size: 224, or "
        "leave image.size out."
    )


def test_base_file_that_is_not_square_is_refused(folder: Path) -> None:
    save_base(folder / "base.keras", 224, 192)
    assert "with the fixed input 224x192 pixels" in refusal(write(folder, with_base()))


@pytest.mark.parametrize(
    ("file", "received"),
    [("base.h5", "Received: base.h5. Other formats are refused"), ("x.keras", "does not exist")],
)
def test_base_file_that_cannot_be_used_is_told_at_its_line(
    folder: Path, file: str, received: str
) -> None:
    message = refusal(write(folder, with_base(file)))
    assert message.startswith("flowers.yaml, line 5: base.path: Expected a")
    assert received in message


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "{name: VGG16, path: a.keras, preprocessing: none}",
            "Expected exactly one of base.name and base.path. Received: base.name='VGG16' and "
            "base.path='a.keras'. ",
        ),
        ("{weights: none}", "Expected exactly one of base.name and base.path. Received: neither. "),
        ("{}", "Expected exactly one of base.name and base.path. Received: neither. "),
        (
            "{path: a.keras, preprocessing: caffe, weights: imagenet}",
            "Expected no base.weights with base.path, whose file holds its weights. Received: "
            "base.weights='imagenet'. Take the key out.",
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
def test_base_is_a_name_or_a_file_with_its_preprocessing(
    folder: Path, base: str, message: str
) -> None:
    told = refusal(write(folder, change("\n  name: MobileNetV2", f" {base}")))
    assert told.startswith(f"flowers.yaml, line 4: {message}")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("value", ["none", "null", "~"])
def test_no_weights_are_none(folder: Path, value: str) -> None:
    assert load(write(folder, LEAST), [f"base.weights={value}"]).base.weights == "none"


@pytest.mark.parametrize("file", ["top.weights.h5", "top.h5", "top.keras"])
def test_weights_may_be_a_file(folder: Path, file: str) -> None:
    (folder / file).touch()
    assert load(write(folder, LEAST), [f"base.weights={file}"]).base.weights == folder / file


def test_weights_file_that_is_missing_is_told(folder: Path) -> None:
    assert refusal(write(folder, LEAST), "base.weights=a.weights.h5") == (
        "flowers.yaml, --set base.weights: Expected base.weights to be an existing file, imagenet "
        "or none. Received: base.weights='a.weights.h5'. Correct the path, or put the file there."
    )


def test_misspelt_weights_are_told_with_the_nearest(folder: Path) -> None:
    message = refusal(write(folder, LEAST), "base.weights=ImageNet")
    assert message.endswith("Received: base.weights='ImageNet'. Did you mean imagenet?")


# Inputs and folders


def test_missing_source_is_told_at_its_line(folder: Path) -> None:
    path = write(folder, change("photos/", "fotos/"))
    assert refusal(path) == (
        "flowers.yaml, line 3: Expected data.source to exist. Received: data.source='fotos'. "
        "Correct the path: a folder with one folder of images for each class."
    )
    assert load(path, check_inputs=False).data.source == folder / "fotos"


def test_pattern_that_matches_files_is_a_source(folder: Path) -> None:
    path = write(folder, change("photos/", "shards/*.tfrecord"))
    assert "Expected data.source to exist" in refusal(path)
    (folder / "shards").mkdir()
    (folder / "shards" / "a.tfrecord").touch()
    assert load(path).data.source == folder / "shards" / "*.tfrecord"


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
    folder: Path, override: str, where: str | None
) -> None:
    key, _, value = override.partition("=")
    path = write(folder, LEAST)
    if where is None:
        assert load(path, [override]).runtime.root == folder
        return
    assert refusal(path, override) == (
        f"flowers.yaml, --set {key}: Expected {key} outside data.source, where what a run writes "
        f"would be taken for photos. Received: {key}='{value}', {where} data.source='photos'. "
        "Choose a folder beside the photos."
    )


def test_outputs_among_the_photos_are_seen_through_links(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "photos")
    message = refusal(write(folder, LEAST), "push.directory=link/served")
    assert "Expected push.directory outside data.source" in message


@pytest.mark.parametrize(
    ("directory", "equal"), [("runs", "runtime.root"), ("runs/flowers", "runtime.root/name")]
)
def test_push_directory_is_a_folder_of_its_own(folder: Path, directory: str, equal: str) -> None:
    assert refusal(write(folder, LEAST), f"push.directory={directory}") == (
        "flowers.yaml, --set push.directory: Expected push.directory to be a folder of its own. "
        f"Received: push.directory='{directory}', equal to {equal}. Choose another, such as "
        "served/flowers."
    )


# Overrides


def test_overrides_replace_values_and_the_last_wins(folder: Path) -> None:
    overrides = ["train.epochs=3", "train.epochs=4", "head.hidden=[64, 32]", "name=roses"]
    config = load(write(folder, LEAST + "train: {seed: 9}"), overrides)
    assert (config.train.epochs, config.train.seed) == (4, 9)
    assert (config.head.hidden, config.name) == ((64, 32), "roses")


def test_override_of_a_section_replaces_all_of_it(folder: Path) -> None:
    save_base(folder / "base.keras", 64, 64)
    override = "base={path: base.keras, preprocessing: caffe}"
    config = load(write(folder, LEAST), [override])
    assert (config.base.name, config.resolved_image_size) == (None, 64)


def test_override_corrects_a_wrong_value_of_the_file(folder: Path) -> None:
    path = write(folder, change("name: flowers", "name: Flowers"))
    assert load(path, ["name=flowers"]).name == "flowers"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.epochs",
            "Expected --set section.key=value. Received: --set 'train.epochs'. For example: "
            "--set train.epochs=5.",
        ),
        ("=5", "Expected --set section.key=value. Received: --set '=5'. For example"),
        ("train..epochs=5", "Expected --set section.key=value. Received: --set 'train..epochs=5'."),
        (
            "train.epochs.most=5",
            "flowers.yaml, --set train.epochs.most: Expected train.epochs to be a whole number",
        ),
        (
            "name.first=5",
            "--set name.first: Expected name to be a section. Received: name='flowers'.",
        ),
        ("head.hidden=[1", "--set head.hidden, line 1: Expected YAML. Received: "),
        (
            "train.epoch=5",
            "flowers.yaml, --set train.epoch: Expected a known key in train. Received: the unknown "
            "key train.epoch=5. Did you mean train.epochs?",
        ),
        ("train.epochs=", "flowers.yaml, --set train.epochs: Expected train.epochs to be a whole"),
    ],
)
def test_wrong_override_is_told(folder: Path, override: str, message: str) -> None:
    assert refusal(write(folder, LEAST), override).startswith(message)


# Reading the file


def test_missing_file_is_told(folder: Path) -> None:
    assert refusal(folder / "none.yaml") == (
        "Expected a configuration file that can be read. Received: none.yaml: No such file or "
        "directory. Correct the path, or write one: graft init PHOTOS."
    )


def test_folder_in_place_of_the_file_is_told(folder: Path) -> None:
    assert "Received: photos: Is a directory." in refusal(folder / "photos")


def test_file_that_is_not_utf8_is_told(folder: Path) -> None:
    path = folder / "flowers.yaml"
    path.write_bytes("name: blüten".encode("latin-1"))
    assert refusal(path) == (
        "flowers.yaml: Expected text in UTF-8. Received: byte 0xfc at position 8. Save the file as "
        "UTF-8."
    )


def test_byte_order_mark_is_skipped(folder: Path) -> None:
    path = folder / "flowers.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.encode())
    assert load(path).name == "flowers"


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("name: a: b\n", 1, "mapping values are not allowed here."),
        ("name: flowers\ndata:\n\tsource: x\n", 3, "found character '\\t' that cannot start any"),
        ("name: flowers\ndata: {source: x\n", 3, "expected ',' or '}', but got"),
        ("name: a\n---\nname: b\n", 2, "but found another document."),
    ],
)
def test_yaml_error_is_told_with_its_line(
    folder: Path, text: str, line: int, received: str
) -> None:
    message = refusal(write(folder, text))
    assert message.startswith(f"flowers.yaml, line {line}: Expected YAML. Received: {received}")


def test_tabs_are_told_to_be_spaces(folder: Path) -> None:
    message = refusal(write(folder, "data:\n\tsource: x\n"))
    assert "Indent with spaces, not tabs." in message


@pytest.mark.parametrize("text", ["name: a\x00b\n", "name: a\x07b\n"])
def test_control_characters_are_told(folder: Path, text: str) -> None:
    assert refusal(write(folder, text)).startswith("flowers.yaml: Expected YAML. Received: unacc")


@pytest.mark.parametrize(
    ("text", "received"),
    [("", "nothing"), ("# only\n", "nothing"), ("- a\n", "['a']"), ("flowers\n", "'flowers'")],
)
def test_file_without_keys_is_told(folder: Path, text: str, received: str) -> None:
    assert refusal(write(folder, text)) == (
        f"flowers.yaml: Expected keys and values. Received: {received}. Write one with: graft init "
        "PHOTOS."
    )


def test_key_given_twice_is_told_with_both_lines(folder: Path) -> None:
    text = LEAST + "train:\n  epochs: 1\n  seed: 2\n  epochs: 3\n"
    assert refusal(write(folder, text)) == (
        "flowers.yaml, line 11: Expected each key once. Received: train.epochs again, first on "
        "line 9. Keep one of them."
    )


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("!!python/object/apply:os.system ['true']\n", 1, "the tag tag:yaml.org,2002:python/objec"),
        (LEAST + "train: {seed: !!int '3'}\n", 8, "the tag tag:yaml.org,2002:int."),
        (LEAST + "head: &head {}\ntrain: *head\n", 9, "an alias."),
    ],
)
def test_tags_and_aliases_are_refused(folder: Path, text: str, line: int, received: str) -> None:
    message = refusal(write(folder, text))
    assert message.startswith(
        f"flowers.yaml, line {line}: Expected plain values. Received: {received}"
    )


def test_key_that_is_no_word_is_refused(folder: Path) -> None:
    assert "line 8: Expected a key that is a word." in refusal(write(folder, LEAST + "[a]: 1\n"))


def test_long_values_are_shortened_in_messages(folder: Path) -> None:
    message = refusal(write(folder, LEAST), f"image.resize={'x' * 500}")
    assert f"image.resize='{'x' * 78}…. " in message


# What is stored, and the schema


def test_resolved_configuration_is_json_and_loads_again_to_the_same(folder: Path) -> None:
    config = load(write(folder, LEAST), ["base.weights=none", "data.source=photos"])
    resolved = config.resolved()
    assert resolved["image"] == {"resize": "stretch", "size": 224}
    assert resolved["base"] == {"name": "MobileNetV2", "weights": "none"}
    assert json.loads(json.dumps(resolved)) == resolved
    again = load(write(folder, config.to_yaml()))
    assert again.resolved() == resolved


def test_resolved_configuration_of_a_base_file_loads_again(folder: Path) -> None:
    base = save_base(folder / "base.keras", 32, 32)
    config = load(write(folder, with_base()))
    assert config.resolved()["base"] == {"path": str(base), "preprocessing": "rescale_0_1"}
    assert load(write(folder, config.to_yaml())).resolved() == config.resolved()


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield prefix + name, field
        section = section_of(field)
        if section:
            yield from fields(section, f"{prefix}{name}.")


@pytest.mark.parametrize("key", [key for key, _ in fields(Config)])
def test_every_field_is_described_and_every_number_has_unit_and_range(key: str) -> None:
    field = dict(fields(Config))[key]
    assert field.description and field.description.endswith(".")
    if field.annotation in (int, float, int | None, float | None):
        unit = field.json_schema_extra["unit"]
        assert f"({unit}, from " in field.description or f"({unit}, above " in field.description


def test_schema_in_the_repository_is_fresh() -> None:
    text = (ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8")
    assert json.loads(text) == dump_schema(), (
        "run: python -m pipeline.config > schemas/config.schema.json"
    )


def test_schema_names_nothing_of_this_machine() -> None:
    text = json.dumps(dump_schema())
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


def test_schema_tells_the_four_keys_and_refuses_others() -> None:
    schema = dump_schema()
    assert schema["required"] == ["name", "data", "base", "push"]
    assert schema["$defs"]["Data"]["required"] == ["source"]
    assert schema["$defs"]["Push"]["required"] == ["directory"]
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    assert schema["$defs"]["Runtime"]["properties"]["root"]["default"] == "runs"


def test_example_for_own_photos_loads_and_shows_every_key_with_its_default() -> None:
    path = ROOT / "configs" / "photos.yaml"
    text = path.read_text(encoding="utf-8")
    config = load(path, check_inputs=False)
    for key, field in fields(Config):
        assert f"{key.split('.')[-1]}:" in text
        if not section_of(field) and not field.is_required() and key != "runtime.root":
            value: Any = config
            for part in key.split("."):
                value = getattr(value, part)
            assert value == SHOWN.get(key, field.default)


def test_digits_loads() -> None:
    config = load(ROOT / "configs" / "digits.yaml", check_inputs=False)
    assert (config.name, config.resolved_preprocessing) == ("digits", "rescale_0_1")


def test_errors_are_told_without_importing_tensorflow() -> None:
    code = (
        "import sys, pipeline.config, pipeline.init; "
        "print(sorted({'keras', 'tensorflow', 'tfx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
