"""`graft init`: the configuration that is written for a folder of photos, and what is refused."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pydantic import BaseModel

from components.errors import InputError
from pipeline.config import Config, load, section_of
from pipeline.first_look import look
from pipeline.init import accuracy_floor, drop_by_chance, write_config


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder of its own, as a user in a shell does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_photos(folder: Path, **classes: int) -> Path:
    """Makes tiny photos of 12x10 pixels, so many in each class."""
    for label, count in classes.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (12, 10), (number, 0, 0)).save(folder / label / f"{number}.png")
    return folder


def write_records(file: Path, labels: list[bytes]) -> None:
    """Writes a TFRecord file of one image that cannot be decoded for each label."""
    import tensorflow as tf

    def feature(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(file)) as writer:
        for label in labels:
            features = tf.train.Features(feature={"image": feature(b"1"), "label": feature(label)})
            writer.write(tf.train.Example(features=features).SerializeToString())


def save_base(path: Path, size: int | None, *layers: str) -> Path:
    inputs = {"name": "photo", "batch_shape": [None, size, size, 3]}
    parts: list[dict[str, Any]] = [{"class_name": "InputLayer", "config": inputs}]
    parts += [{"class_name": name, "config": {"name": name}} for name in layers]
    config = {
        "name": "tiny",
        "layers": [{"module": "keras.layers", **part} for part in parts],
        "input_layers": ["photo", 0, 0],
    }
    model = {"module": "keras", "class_name": "Functional", "config": config}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", b"")
    return path


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section:
            yield from leaves(section, f"{prefix}{name}.")
        else:
            yield prefix + name


def refusal(*arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        write_config(*arguments)
    return str(caught.value)


def test_written_file_loads_with_defaults_and_what_the_photos_tell(folder: Path) -> None:
    photos = make_photos(folder / "My Flowers", daisy=3, tulip=6)
    path = write_config(photos)
    assert path == folder / "my-flowers.yaml"
    config = load(path)
    assert config.name == "my-flowers"
    assert config.data.source == str(photos)
    assert (config.base.name, config.base.weights) == ("MobileNetV2", "imagenet")
    assert config.evaluate.min_accuracy == 0.77  # 2/3 + 1/9
    assert config.evaluate.max_accuracy_drop == 0.2
    assert config.push.directory == folder / "served" / "my-flowers"
    assert config.runtime.root == folder / "runs"
    least = folder / "least.yaml"
    least.write_text(
        f"{{name: my-flowers, data: {{source: '{photos}'}}, base: {{name: MobileNetV2}}, "
        "push: {directory: served/my-flowers}, evaluate: "
        "{min_accuracy: 0.77, max_accuracy_drop: 0.2}}"
    )
    assert config == load(least)


def test_every_key_is_written_or_shown_as_a_comment(folder: Path) -> None:
    text = write_config(make_photos(folder / "photos", a=2, b=2)).read_text()
    uncommented = "\n".join(
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and is_key(line) else line
        for line in text.splitlines()
    )
    data = yaml.safe_load(uncommented)
    for key in leaves(Config):
        if key.startswith("kubeflow."):
            continue  # for a cluster alone
        value = data
        for part in key.split("."):
            assert part in value, key
            value = value[part]


def is_key(line: str) -> bool:
    """Tells a key that is commented out from a sentence."""
    name, colon, _ = line.lstrip().removeprefix("# ").partition(": ")
    return bool(colon) and name in {key.rpartition(".")[2] for key in leaves(Config)}


def test_header_tells_what_was_found(folder: Path) -> None:
    photos = make_photos(folder / "photos", daisy=2, tulip=3)
    (photos / "tulip" / "note.txt").write_text("not an image")
    (photos / "tulip" / ".hidden").write_text("not counted")
    lines = write_config(photos).read_text().splitlines()
    assert lines[:5] == [
        "# Written by `graft init` for photos. Run it: graft run photos.yaml",
        "# A folder of class folders. 6 files in 2 classes: daisy 2, tulip 4. By suffix: .png 5, "
        ".txt 1.",
        "# Typical size: 12x10 pixels.",
        "# Every key is here; those commented out are examples. Relative paths are relative to "
        "this file.",
        "",
    ]


def test_table_with_other_column_names_is_written_with_them(folder: Path) -> None:
    make_photos(folder / "a", x=2, y=2)
    rows = [f"a/{label}/{number}.png,{label}" for label in "xy" for number in range(2)]
    (folder / "labels.csv").write_text("\n".join(["filename,class", *rows]) + "\n")
    config = load(write_config("labels.csv"))
    assert (config.name, config.data.source) == ("labels", str(folder / "labels.csv"))
    assert config.source_settings.columns == (("path", "filename"), ("label", "class"))
    assert look("labels.csv").classes == {"x": 2, "y": 2}


def test_columns_are_found_in_other_spellings(folder: Path) -> None:
    make_photos(folder / "a", x=2, y=2)
    rows = [f"a/{label}/{number}.png,{label}" for label in "xy" for number in range(2)]
    (folder / "labels.csv").write_text("\n".join(["Image,Class", *rows]) + "\n")
    config = load(write_config("labels.csv"))
    assert config.source_settings.columns == (("path", "Image"), ("label", "Class"))


def test_remote_source_is_taken_as_it_is(folder: Path) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    pytest.importorskip("tensorflow")
    config = load(write_config(f"file://{photos}"))
    assert (config.name, config.data.source) == ("photos", f"file://{photos}")


def test_archive_is_looked_into(folder: Path) -> None:
    photos = make_photos(folder / "photos", a=2, b=3)
    with zipfile.ZipFile(folder / "flowers.zip", "w") as archive:
        for file in photos.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    path = write_config("flowers.zip")
    assert path.name == "flowers.yaml"
    assert "# A zip archive: folder of class folders. 5 files in 2 classes: a 2, b 3." in (
        path.read_text()
    )
    assert look("flowers.zip").size == (12, 10)
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "flowers.yaml",
        "flowers.zip",
        "photos",
    ]


@pytest.mark.parametrize(
    ("folders", "given"),
    [(("test", "train", "val"), "train, validation, test"), (("train", "test"), "test")],
)
def test_splits_that_the_source_gives_are_told_in_the_header_and_none_is_written(
    folder: Path, folders: tuple[str, ...], given: str
) -> None:
    for split in folders:
        make_photos(folder / "photos" / split, a=2, b=2)
    path = write_config("photos")
    assert load(path).data.splits.shares() == {"train": 0.8, "validation": 0.2}
    assert look("photos").kind == "folder of split folders"
    assert (
        f" The source itself gives the splits {given}; data.splits deals all other images. "
        in path.read_text().replace("\n# ", " ")
    )


def test_pattern_of_records_in_folders_of_any_depth_is_looked_at(folder: Path) -> None:
    (folder / "deep" / "deeper").mkdir(parents=True)
    for name in ("0.tfrecord", "deep/deeper/1.tfrecord"):
        write_records(folder / name, [b"a", b"b"])
    assert look("**/*.tfrecord").classes == {"a": 2, "b": 2}
    assert refusal("**/*.records") == (
        "Expected labelled photos. Received: PHOTOS=**/*.records, which does not exist. Correct "
        "the path."
    )


def test_many_classes_are_counted_in_the_header(folder: Path) -> None:
    photos = make_photos(folder / "photos", **{f"c{number:02d}": 2 for number in range(25)})
    text = write_config(photos).read_text().replace("\n# ", " ")
    assert "c19 2, and 5 more." in text


def test_lines_stay_within_100_characters(folder: Path) -> None:
    classes = {f"class-with-a-long-name-{number}": 2 for number in range(20)}
    text = write_config(make_photos(folder / "photos", **classes)).read_text()
    assert max(len(line) for line in text.splitlines()) <= 100


def test_look_counts_by_class_and_suffix(folder: Path) -> None:
    photos = make_photos(folder / "photos", b=3, a=2)
    (photos / "a" / "deeper").mkdir()
    Image.new("RGB", (12, 10)).save(photos / "a" / "deeper" / "x.JPG", "JPEG")
    seen = look(photos)
    assert seen.classes == {"a": 3, "b": 3}
    assert seen.suffixes == {".png": 5, ".jpg": 1}
    assert seen.size == (12, 10)


def test_photos_that_cannot_be_read_leave_the_size_open(folder: Path) -> None:
    for label in ("a", "b"):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(2):
            (folder / "photos" / label / f"{number}.jpg").write_bytes(b"\xff\xd8\xff")
    assert look(folder / "photos").size is None
    assert "Typical size" not in write_config(folder / "photos").read_text()


@pytest.mark.parametrize(
    ("counts", "floor"),
    [
        ([1, 1], 0.66),
        ([3, 6], 0.77),
        ([764, 1052, 784, 733, 984], 0.49),
        ([10] * 10, 0.4),
        ([74, 26], 0.82),
        ([99, 1], 0.993),
        ([9_999, 1], 0.9999_3),
    ],
)
def test_accuracy_floor_is_a_third_of_the_way_from_guessing_to_one(
    counts: list[int], floor: float
) -> None:
    assert accuracy_floor(counts) == floor
    assert max(counts) / sum(counts) < floor < 1


def test_paths_are_relative_to_the_output(folder: Path) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    (folder / "configs").mkdir()
    path = write_config(photos, None, folder / "configs" / "mine.yaml")
    assert "  source: ../photos\n" in path.read_text()
    assert load(path).data.source == str(photos)
    assert load(path).push.directory == folder / "configs" / "served" / "photos"


def test_photos_may_be_named_from_the_current_folder(folder: Path) -> None:
    make_photos(folder / "photos", a=2, b=2)
    path = write_config(Path("photos"), None, Path("mine.yaml"))
    assert path == folder / "mine.yaml"
    assert "  source: photos\n" in path.read_text()


@pytest.mark.parametrize("name", ["a: b #c", "weiß 'x' \"y\"", "-", "null", "{x}"])
def test_folder_names_that_need_quotes_load(folder: Path, name: str) -> None:
    photos = make_photos(folder / name, a=2, b=2)
    assert load(write_config(photos, None, folder / "mine.yaml")).data.source == str(photos)


def test_base_may_be_any_name_of_the_table(folder: Path) -> None:
    path = write_config(make_photos(folder / "photos", a=2, b=2), "Xception")
    assert load(path).resolved_image_size == 299
    text = path.read_text().replace("\n  # ", " ")
    assert "Xception takes 299x299 if nothing is given. The photos have about 12x10." in text


def test_unknown_base_is_told_with_the_nearest(folder: Path) -> None:
    message = refusal(make_photos(folder / "photos", a=2, b=2), "mobilenet-v2")
    assert message.startswith(
        "Expected the name of a base, a .keras file, or the folder of a KerasHub preset or of a "
        "SavedModel. Received: --base mobilenet-v2. Did you mean MobileNetV2? Known are MobileNetV2"
    )
    assert not list(folder.glob("*.yaml"))


def test_base_file_is_written_with_a_preprocessing_to_check(folder: Path) -> None:
    base = save_base(folder / "base.keras", 64, "Conv2D")
    path = write_config(make_photos(folder / "photos", a=2, b=2), "base.keras")
    config = load(path)
    assert (config.base.path, config.base.preprocessing) == (base, "rescale_-1_1")
    assert (config.image.size, config.resolved_image_size) == (None, 64)
    assert "  path: base.keras\n" in path.read_text()
    text = path.read_text().replace("\n  # ", " ")
    assert "CHECK THIS" in text
    assert "The base takes 64x64 only." in text


@pytest.mark.parametrize("layer", ["Rescaling", "Normalization"])
def test_base_file_that_scales_by_itself_gets_no_preprocessing(folder: Path, layer: str) -> None:
    save_base(folder / "base.keras", 64, layer, "Conv2D")
    path = write_config(make_photos(folder / "photos", a=2, b=2), "base.keras")
    assert load(path).base.preprocessing == "none"
    assert "CHECK THIS" not in path.read_text()


def test_base_file_of_open_size_gets_one_written(folder: Path) -> None:
    save_base(folder / "base.keras", None, "Conv2D")
    path = write_config(make_photos(folder / "photos", a=2, b=2), "base.keras")
    assert load(path).image.size == 224


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


def test_preset_folder_is_written_with_what_it_says_itself(
    folder: Path, installed_keras_hub: None
) -> None:
    save_preset(folder / "mine", {"image_size": [96, 96], "scale": 1 / 255})
    path = write_config(make_photos(folder / "photos", a=2, b=2), "mine")
    config = load(path)
    assert (config.base.preset, config.base.preprocessing) == (str(folder / "mine"), None)
    assert (config.image.size, config.resolved_image_size) == (None, 96)
    assert "  preset: mine\n" in path.read_text()
    assert "CHECK THIS" not in path.read_text()


def test_preset_folder_that_says_nothing_gets_size_and_a_preprocessing_to_check(
    folder: Path, installed_keras_hub: None
) -> None:
    save_preset(folder / "mine", None)
    path = write_config(make_photos(folder / "photos", a=2, b=2), "mine")
    config = load(path)
    assert (config.image.size, config.base.preprocessing) == (224, "rescale_-1_1")
    assert "CHECK THIS" in path.read_text()


@pytest.mark.parametrize(("size", "written"), [(None, 224), (8, None)])
def test_saved_model_folder_is_written_with_a_preprocessing_to_check(
    folder: Path, size: int | None, written: int | None
) -> None:
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    module.means = tf.function(lambda image: tf.reduce_mean(image, [1, 2]), autograph=False)
    specification = tf.TensorSpec([None, size, size, 3], tf.float32)
    signature = module.means.get_concrete_function(specification)
    tf.saved_model.save(module, str(folder / "model"), signatures=signature)
    path = write_config(make_photos(folder / "photos", a=2, b=2), "model")
    config = load(path)
    assert (config.base.saved_model, config.image.size) == (folder / "model", written)
    assert config.base.preprocessing == "rescale_0_1"
    assert config.resolved_image_size == (size or written)
    text = path.read_text().replace("\n  # ", " ")
    assert "CHECK THIS: TensorFlow Hub's take rescale_0_1" in text


@pytest.mark.parametrize("base", ["base.h5", "none.keras"])
def test_base_file_that_cannot_be_used_is_refused(folder: Path, base: str) -> None:
    (folder / "base.h5").touch()
    message = refusal(make_photos(folder / "photos", a=2, b=2), base)
    assert message.startswith("Expected a")
    assert f"Received: {base}" in message
    assert not list(folder.glob("*.yaml"))


def test_missing_folder_is_told(folder: Path) -> None:
    assert refusal(Path("fotos")) == (
        "Expected labelled photos. Received: PHOTOS=fotos, which does not exist. Correct the path."
    )


def test_file_in_place_of_a_folder_is_told(folder: Path) -> None:
    (folder / "photo.jpg").touch()
    assert "Received: PHOTOS=photo.jpg, which is empty." in refusal(Path("photo.jpg"))


def test_empty_folder_is_told(folder: Path) -> None:
    (folder / "photos").mkdir()
    message = refusal(folder / "photos")
    assert message.endswith(
        f"Received: PHOTOS={folder}/photos, which is empty. Put one folder of images per class "
        "into it."
    )


def test_folder_without_class_folders_is_told_the_layout(folder: Path) -> None:
    (folder / "photos").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "photos" / "a.png")
    message = refusal(folder / "photos")
    assert message.startswith("Expected one folder per class.")
    assert "Sort the images into one folder per class." in message


def test_one_class_only_is_told(folder: Path) -> None:
    make_photos(folder / "photos", daisy=3)
    assert refusal(Path("photos")).startswith(
        "Expected at least two class folders. Received: PHOTOS=photos with only 'daisy'."
    )


def test_class_folders_one_level_down_are_pointed_at(folder: Path) -> None:
    make_photos(folder / "photos" / "flowers", daisy=2, tulip=2)
    message = refusal(Path("photos"))
    assert message.endswith(
        "Received: PHOTOS=photos with only 'flowers', which holds folders itself. Try: graft init "
        "photos/flowers"
    )


def test_file_that_exists_is_never_overwritten(folder: Path) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    (folder / "photos.yaml").write_text("mine")
    assert refusal(photos) == (
        f"Expected a new file. Received: {folder}/photos.yaml, which exists and is never "
        "overwritten. Choose another by --output FILE."
    )
    assert (folder / "photos.yaml").read_text() == "mine"


def test_output_among_the_photos_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    monkeypatch.chdir(photos)
    message = refusal(Path("."))
    assert message.endswith(f"in PHOTOS={photos}. Write --output {folder}/photos.yaml.")
    assert not list(photos.glob("*.yaml"))


def test_output_that_cannot_be_written_is_told(folder: Path) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    message = refusal(photos, None, folder / "none" / "x.yaml")
    assert message == (
        f"Expected a file that can be written. Received: {folder}/none/x.yaml (No such file or "
        "directory). Make its folder first, or choose another by --output FILE."
    )


def test_full_disk_leaves_no_file(folder: Path, file_limit: Any) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    with file_limit(1_000):
        message = refusal(photos)
    assert f"Received: {folder}/photos.yaml (File too large)." in message
    assert list(folder.iterdir()) == [photos]


def test_what_may_not_be_entered_is_told(locked: Path) -> None:
    photos = make_photos(locked.parent / "photos", a=2, b=2)
    assert "which may not be read. Correct the path." in refusal(locked / "photos")
    assert "z.yaml (Permission denied)." in refusal(photos, None, locked / "z.yaml")
    assert "Received: --base" in refusal(photos, str(locked / "base"), locked.parent / "z.yaml")


def test_photos_are_left_as_they_are(folder: Path) -> None:
    photos = make_photos(folder / "photos", a=2, b=2)
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    write_config(photos)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before


@pytest.mark.parametrize(
    ("images", "drop"), [(9, 0.2), (250, 0.08), (300, 0.07), (4317, 0.02), (1_000_000, 0.01)]
)
def test_the_drop_allowed_is_a_standard_error_of_the_validation_photos(
    images: int, drop: float
) -> None:
    assert drop_by_chance(images) == drop
