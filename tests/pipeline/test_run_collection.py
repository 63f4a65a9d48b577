"""One pipeline on a collection as people have it: a table, many formats, splits, groups, a leak.

The tests share its state and are run in their order.
"""

import json
import shutil

import numpy as np
import pytest
from graft_command import graft, served_versions, states, write_base
from PIL import Image, ImageEnhance, ImageOps

pytestmark = pytest.mark.e2e

SIDE = 32  # pixels: what the base takes
COLOURS = {"blue": (40, 60, 200), "red": (200, 50, 40)}
# A format a file: suffix, and how Pillow is to write it.
FORMATS = {
    "turned.jpg": {"format": "JPEG", "quality": 95},
    "alpha.png": {"format": "PNG"},
    "photo.webp": {"format": "WEBP", "lossless": True},
    "scan.tiff": {"format": "TIFF"},
}
ROUNDS = 12
TURNED = 6  # the camera was held upright: 90 degrees clockwise
ORIENTATION = 0x0112


def paint(seed, colour):
    """Returns a picture of a few soft patches in a colour's hue; no two seeds look alike."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
    patches = np.asarray(coarse.resize((64, 48), Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray((0.5 * patches + 0.5 * np.array(colour)).astype(np.uint8))


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.partition("-")[2]
    options = dict(FORMATS[name])
    if name == "turned.jpg":
        exif = Image.Exif()
        exif[ORIENTATION] = TURNED
        options["exif"] = exif
    if name == "alpha.png":
        image = image.copy()
        alpha = np.full((image.height, image.width), 255, np.uint8)
        alpha[:8] = 0
        image.putalpha(Image.fromarray(alpha))
    image.save(path, **options)


def write_collection(folder):
    """Writes 96 pictures, a near copy of a validation picture into train, and the table."""
    rows = []
    for label, colour in COLOURS.items():
        for number in range(ROUNDS * len(FORMATS)):
            path = f"{label}/{number:02d}-{list(FORMATS)[number % len(FORMATS)]}"
            save(paint(hash_of(label, number), colour), folder / path)
            split = ("train", "train", "validation")[number // len(FORMATS) % 3]
            rows.append((path, label, split, f"{label} {number // len(FORMATS)}"))
    held = next(path for path, _, split, _ in rows if split == "validation" and "webp" in path)
    with Image.open(folder / held) as original:
        original.resize((32, 24)).save(folder / "copy.jpg", quality=60)
    rows.append(("copy.jpg", held.partition("/")[0], "train", ""))
    rows.append(("missing.jpg", "red", "train", ""))
    (folder / "notes.jpg").write_text("no picture")
    rows.append(("notes.jpg", "red", "validation", ""))
    lines = ["file;class;split;group", *(";".join(row) for row in rows)]
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    return held


def hash_of(label, number):
    return number + 1000 * len(label)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    held = write_collection(folder / "photos")
    write_base(folder / "base.keras", SIDE)
    config = folder / "mixed.yaml"
    config.write_text(
        "name: mixed\n"
        "data:\n"
        "  source: photos/labels.csv\n"
        "  columns: {path: file, label: class}\n"
        "base: {path: base.keras, preprocessing: rescale_-1_1}\n"
        "head: {hidden: [16]}\n"
        "train: {epochs: 40, batch_size: 8, learning_rate: 0.01, patience: 40}\n"
        "evaluate: {min_accuracy: 0.8}\n"
        "push: {directory: served/mixed}\n"
    )
    return config, held


@pytest.fixture(scope="module")
def checked(workshop):
    return graft("check", workshop[0])


@pytest.fixture(scope="module")
def first(workshop, checked):
    status, summary, error = graft("run", workshop[0])
    return {"status": status, "summary": summary, "error": error}


def without_warnings(checks):
    """Returns the data gate's checks but the warnings, which `graft check` tells by themselves."""
    return [check for check in checks if check["name"] != "warnings"]


def refusals(summary):
    with open(summary["quarantine"]) as file:
        return {line["path"]: line["reason"] for line in map(json.loads, file)}


def test_a_collection_in_a_table_is_pushed(first, workshop):
    assert (first["status"], first["summary"]["outcome"]) == (0, "pushed"), first
    assert served_versions(workshop[0]) == [first["summary"]["model_version"]]


def test_every_row_is_accepted_or_named_with_its_reason(first):
    images = first["summary"]["images"]
    assert (images["accepted"], images["refused"]) == (96, 3)
    assert refusals(first["summary"]) == {
        "copy.jpg": "leak",
        "missing.jpg": "unreadable",
        "notes.jpg": "not_an_image",
    }


def test_check_foretells_what_the_run_refuses(first, checked):
    status, found, _ = checked
    assert status == 0
    assert {one["path"]: one["reason"] for one in found["refused"]} == refusals(first["summary"])
    assert found["images"] == first["summary"]["images"]
    # Of a first run every word is foretold, that there is nothing to compare with among them.
    assert found["checks"] == without_warnings(first["summary"]["data"])


def test_the_leak_names_the_picture_that_stays(first, workshop):
    with open(first["summary"]["quarantine"]) as file:
        (leak,) = (one for one in map(json.loads, file) if one["reason"] == "leak")
    assert workshop[1] in leak["detail"]


def test_the_splits_are_those_of_the_table(checked):
    found = checked[1]
    assert found["splits"]["validation"] == {"blue": 16, "red": 16}
    assert found["splits"]["train"] == {"blue": 32, "red": 32}


def test_the_served_model_turns_a_photo_as_training_did(first, workshop, tmp_path):
    config = workshop[0]
    turned = config.parent / "photos" / "red" / "08-turned.jpg"
    with Image.open(turned) as image:
        ImageOps.exif_transpose(image).save(tmp_path / "upright.png")
        image.getexif().clear()
        image.save(tmp_path / "lying.png")
    probabilities = {}
    for name in (turned, tmp_path / "upright.png", tmp_path / "lying.png"):
        status, answer, _ = graft("predict", config, name)
        assert status == 0
        row = answer["predictions"][0]
        probabilities[name.name] = dict(zip(row["labels"], row["scores"], strict=True))["red"]
    # TensorFlow and Pillow decode a JPEG to within a grey level or two.
    assert probabilities["08-turned.jpg"] == pytest.approx(probabilities["upright.png"], abs=0.02)


def test_predict_takes_what_ingestion_re_encodes(first, workshop):
    photos = workshop[0].parent / "photos" / "blue"
    files = [photos / "10-photo.webp", photos / "11-scan.tiff", photos / "09-alpha.png"]
    status, answer, _ = graft("predict", workshop[0], *files)
    assert status == 0
    assert [row["label"] for row in answer["predictions"]] == ["blue"] * 3


def test_an_unchanged_collection_trains_nothing(first, workshop):
    status, summary, _ = graft("run", workshop[0])
    assert (status, summary["outcome"]) == (0, "unchanged")
    ran = {stage for stage, state in states(workshop[0]).items() if state == "ran"}
    assert ran <= {"Baseline", "BaselineStatistics", "Pusher"}
    assert graft("check", workshop[0])[1]["checks"] == without_warnings(summary["data"])


def test_verify_content_changes_nothing_where_nothing_changed(first, workshop):
    status, summary, _ = graft("run", workshop[0], "--verify-content")
    assert (status, summary["outcome"]) == (0, "unchanged")


@pytest.fixture(scope="module")
def darkened(first, workshop):
    """The same collection after the camera's exposure went wrong, where drift is to stop a run."""
    config = workshop[0]
    photos = config.parent / "photos"
    shutil.copytree(photos, config.parent / "kept")
    for path in photos.glob("*/*"):
        with Image.open(path) as image:
            dark = ImageEnhance.Brightness(image.convert("RGB")).enhance(0.2)
        save(dark, path)
    checked = graft("check", config, "--set", "data.drift=fail")
    status, summary, _ = graft("run", config, "--set", "data.drift=fail")
    stages = states(config)
    yield {"status": status, "summary": summary, "states": stages, "checked": checked}
    shutil.rmtree(photos)
    (config.parent / "kept").rename(photos)


def test_a_darkened_collection_is_refused_before_training(darkened):
    assert (darkened["status"], darkened["summary"]["outcome"]) == (3, "refused")
    assert darkened["summary"]["refused_by"] == "data"
    assert "Trainer" not in darkened["states"]
    assert darkened["states"]["DataGate"] == "refused"


def test_the_refusal_names_the_feature_the_figure_and_the_limit(darkened):
    (drift,) = (check for check in darkened["summary"]["data"] if not check["passed"])
    assert drift["name"] == "drift"
    assert "brightness" in drift["words"]
    assert drift["words"] in darkened["summary"]["reason"]


def test_check_foretells_that_a_darkened_collection_is_refused(darkened):
    status, found, _ = darkened["checked"]
    assert (status, found["passed"], found["warnings"]) == (3, False, [])
    ran = without_warnings(darkened["summary"]["data"])
    foretold = [(check["name"], check["figure"], check["passed"]) for check in found["checks"]]
    assert foretold == [(check["name"], check["figure"], check["passed"]) for check in ran]
    (drift,) = (check for check in found["checks"] if not check["passed"])
    assert drift["name"] == "drift"
    assert "brightness" in drift["words"]


def test_the_verdict_of_a_refusal_is_an_artifact(darkened, workshop):
    from pathlib import Path

    from pipeline.config import load
    from pipeline.history import History

    history = History(load(workshop[0]).metadata_path)
    stages = {stage.name: stage for stage in history.stages(history.last_run_id())}
    (artifact,) = stages["DataGate"].outputs["verdict"]
    verdict = json.loads((Path(artifact.uri) / "verdict.json").read_text())
    assert verdict["passed"] is False
    assert {"name", "figure", "limit", "passed", "words"} <= set(verdict["checks"][0])


def test_the_last_model_stays_served(darkened, first, workshop):
    assert served_versions(workshop[0]) == [first["summary"]["model_version"]]
