"""What `graft check` says of schema, drift and skew: what the data gate of a run will say."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_data_validation")
pytest.importorskip("ml_metadata")

from components.digests import folder_digest
from components.image_example_gen.examine import Limits
from components.image_example_gen.outcomes import examine_file, settle_all
from components.image_example_gen.splits import Dealer
from components.pusher import served
from pipeline import check_statistics
from pipeline.check import check_data
from pipeline.config import Config, load
from pipeline.preflight import check_folders

NOTHING = (
    "Drift: nothing to compare with, as no model is served or it was trained on these very images."
)

pytestmark = pytest.mark.e2e  # imports TensorFlow Data Validation


def decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def darken(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            dark = image.point(lambda value: value // 4)
        dark.save(path)


@pytest.fixture
def source(tmp_path: Path, write_photos: Callable[..., Path]) -> Path:
    return write_photos(tmp_path / "photos", cat=40, dog=40)


@pytest.fixture
def configure(tmp_path: Path, source: Path) -> Callable[..., Config]:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\n"
        "data: {source: photos, splits: {train: 0.5, validation: 0.5}}\n"
        "base: {name: MobileNetV2, weights: none}\n"
        "push: {directory: served}\n"
    )
    return lambda *overrides: load(path, overrides)


def checks_of(config: Config) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in check_data(config, decode)["checks"]}


class Runs:
    """Leaves behind what runs do: statistics, the gate's setting, a model, and what is served."""

    def __init__(self, metadata: Any, config: Config, folder: Path):
        self.metadata, self.config, self.folder = metadata, config, folder

    def gate(self, run_id: str, drift: str = "report", baseline: int | None = None) -> int:
        """Records the statistics of the photos as they are, and the gate's run on them."""
        recorded = self.metadata.record(run_id, "StatisticsGen", outputs={"statistics": {}})
        for split, statistics in self._describe().items():
            folder = self._place(recorded["statistics"]) / f"Split-{split}"
            folder.mkdir(parents=True)
            (folder / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
        inputs = {"statistics": [recorded["statistics"]]}
        if baseline:
            inputs["baseline_statistics"] = [baseline]
        outputs: dict[str, dict[str, int]] = {"verdict": {"passed": 1}}
        self.metadata.record(run_id, "DataGate", "COMPLETE", {"drift": drift}, inputs, outputs)
        return int(recorded["statistics"])

    def push(self, run_id: str) -> Path:
        """Records a run's model and serves it; returns its folder."""
        recorded = self.metadata.record(run_id, "Trainer", outputs={"model": {}})
        model = self._place(recorded["model"])
        (model / "Format-Serving").mkdir(parents=True)
        (model / "Format-Serving" / "saved_model.pb").write_text(run_id)
        digest = folder_digest(model / "Format-Serving")
        served.push(model / "Format-Serving", self.config.push.directory, digest, str(model), "")
        return model

    def _place(self, identity: int) -> Path:
        (artifact,) = self.metadata.store.get_artifacts_by_id([identity])
        artifact.uri = str(self.folder / "artifacts" / str(identity))
        self.metadata.store.put_artifacts([artifact])
        return Path(artifact.uri)

    def _describe(self) -> dict[str, Any]:
        data, listing = self.config.data, check_folders(self.config)
        limits = Limits(data.max_pixels, data.min_size)
        examined = [examine_file(one, limits, decode) for one in listing.candidates]
        dealer = Dealer(data.splits.shares(), data.split_salt, listing.predefined)
        settled = settle_all(listing, examined, dealer, data.leakage)
        return check_statistics.describe_splits(settled)[1]


@pytest.fixture
def runs(metadata: Any, configure: Callable[..., Config], tmp_path: Path) -> Runs:
    return Runs(metadata, configure(), tmp_path)


def test_before_any_run_all_checks_of_the_gate_are_there(configure: Callable[..., Config]) -> None:
    checks = checks_of(configure("data.drift=fail"))
    assert list(checks)[-3:] == ["schema", "drift", "skew"]
    assert checks["schema"]["words"] == "0 departures from the schema (none may be)."
    assert checks["drift"]["words"] == NOTHING
    assert checks["skew"]["words"] == (
        "Skew between this run's validation and train: none in 10 properties of the images."
    )
    assert all(check["passed"] for check in checks.values())


@pytest.mark.parametrize(("setting", "passed"), [("fail", False), ("report", True)])
def test_photos_that_became_dark_are_drift(
    configure: Callable[..., Config], runs: Runs, source: Path, setting: str, passed: bool
) -> None:
    runs.gate("one")
    runs.push("one")
    darken(source)
    found = check_data(configure(f"data.drift={setting}"), decode)
    (drift,) = (check for check in found["checks"] if check["name"] == "drift")
    assert "feature 'image/brightness': Jensen-Shannon divergence" in drift["words"]
    assert "that of the served model (20" in drift["words"]
    assert found["passed"] is drift["passed"] is passed


def test_the_photos_that_the_served_model_learned_have_nothing_to_be_compared_with(
    configure: Callable[..., Config], runs: Runs
) -> None:
    runs.gate("one")
    runs.push("one")
    assert checks_of(configure())["drift"]["words"] == NOTHING


def test_unchanged_photos_are_compared_as_the_gate_compared_them_under_the_same_setting(
    configure: Callable[..., Config], runs: Runs, source: Path
) -> None:
    before = runs.gate("one")
    darken(source)
    runs.gate("two", "report", before)
    runs.push("two")
    assert "image/brightness" in checks_of(configure("data.drift=report"))["drift"]["words"]
    assert checks_of(configure("data.drift=fail"))["drift"]["words"] == NOTHING


def test_one_photo_more_is_compared_with_the_photos_that_the_served_model_learned(
    configure: Callable[..., Config],
    runs: Runs,
    source: Path,
    encode: Callable[..., bytes],
    noise: Callable[..., np.ndarray],
) -> None:
    runs.gate("one")
    runs.push("one")
    (source / "cat/new.png").write_bytes(encode(noise(5000)))
    words = checks_of(configure())["drift"]["words"]
    assert words.endswith("none in 10 properties of the images.")


@pytest.mark.parametrize("gone", ["the statistics", "the model"])
def test_what_was_cleared_away_or_replaced_is_no_baseline(
    configure: Callable[..., Config], runs: Runs, source: Path, gone: str
) -> None:
    import shutil

    statistics = runs.gate("one")
    model = runs.push("one")
    darken(source)
    if gone == "the model":
        (model / "Format-Serving" / "saved_model.pb").write_text("another's")
    else:
        shutil.rmtree(runs.folder / "artifacts" / str(statistics))
    assert checks_of(configure("data.drift=fail"))["drift"]["words"] == NOTHING


def test_a_dark_validation_split_is_skew(
    configure: Callable[..., Config], tmp_path: Path, write_photos: Callable[..., Path]
) -> None:
    write_photos(tmp_path / "split" / "train", cat=20, dog=20)
    for path in (tmp_path / "photos").glob("*/*"):
        place = tmp_path / "split" / "validation" / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.rotate(90, expand=False).point(lambda value: value // 4).save(place)
    config = configure(
        "data.drift=fail", f"data.source={tmp_path / 'split'}", "data.leakage=report"
    )
    found = check_data(config, decode)
    assert not found["passed"]
    (failed,) = (check for check in found["checks"] if not check["passed"])
    assert failed["name"] == "skew"
    assert "feature 'image/brightness'" in failed["words"]


def test_a_departure_from_the_schema_fails_with_the_words_of_the_gate(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = check_statistics.SCHEMA_FILE.read_text()
    changed = tmp_path / "changed.pbtxt"
    changed.write_text(schema.replace('value: "jpeg" value: "png" value: "tiff"', 'value: "tiff"'))
    monkeypatch.setattr(check_statistics, "SCHEMA_FILE", changed)
    check = checks_of(configure())["schema"]
    assert (check["passed"], check["figure"]) == (False, 2)
    assert "train: feature 'image/format'" in check["words"]


def test_the_schema_is_that_of_the_pipeline() -> None:
    pytest.importorskip("tfx")
    from components.digests import ROOT
    from pipeline.definition import SCHEMA_FILE

    assert check_statistics.SCHEMA_FILE == ROOT / SCHEMA_FILE


def test_metadata_that_cannot_be_read_leave_drift_out_and_say_so(
    configure: Callable[..., Config], runs: Runs
) -> None:
    runs.push("one")
    runs.metadata.path.write_text("no database")
    found = check_data(configure("data.drift=fail"), decode)
    assert [check["name"] for check in found["checks"]][-2:] == ["schema", "skew"]
    (warning,) = found["warnings"]
    assert warning.startswith("Not judged here: drift (")
    assert found["passed"]


def test_statistics_that_cannot_be_made_leave_the_rest_of_the_check(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise ValueError("no\nmemory")

    monkeypatch.setattr(check_statistics, "describe_splits", fail)
    found = check_data(configure(), decode)
    assert not {"schema", "drift", "skew"} & {check["name"] for check in found["checks"]}
    assert found["warnings"] == ["Not judged here: schema, drift and skew (no memory)."]
    assert found["passed"]


def test_a_split_without_an_image_is_told_and_no_error(configure: Callable[..., Config]) -> None:
    found = check_data(configure("data.splits.train=0.999", "data.splits.validation=0.001"), decode)
    assert not found["passed"]
    assert not any(warning.startswith("Not judged") for warning in found["warnings"])
