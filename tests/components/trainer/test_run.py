"""Training as TFX calls it, on eight tiny images: stages, features, resuming, export."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow_transform")

from saved_graph import random_ops  # noqa: E402

from components.errors import InputError  # noqa: E402
from components.trainer import run  # noqa: E402

pytestmark = pytest.mark.e2e

SIZE = 8
IMAGES = 16
TRAIN = {
    "epochs": 4,
    "batch_size": 4,
    "learning_rate": 0.01,
    "patience": 0,
    "seed": 3,
    "watch": 0.25,
    "class_weights": "none",
    "augment": "none",
    "augment_copies": 2,
    "cache_limit": 10**9,
    "cache_dtype": "float32",
    "precision": "float32",
    "xla": False,
    "time_budget": None,
    "warm_start": False,
}
HEAD = {
    "pooling": "average",
    "hidden": [6],
    "activation": "relu",
    "batch_normalization": True,
    "dropout": 0.3,
    "l2": 0.0,
    "label_smoothing": 0.0,
    "binary": False,
}
FINE_TUNE = {"layers": 0, "epochs": 3, "learning_rate": 0.001, "warmup": 0.1}
FINE_TUNED = {"fine_tune": {"layers": 2}}


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / "base.keras"
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Conv2D(6, 3, activation="relu", name="first")(pixels)
    outputs = keras.layers.BatchNormalization(name="norm")(outputs)
    outputs = keras.layers.Conv2D(5, 3, activation="relu", name="second")(outputs)
    keras.Model(pixels, outputs).save(path)
    return str(path)


@pytest.fixture(scope="module")
def colours_file(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> str:
    """Sixteen images of noise, eight of which have more blue in them and eight more red."""
    path = str(tmp_path_factory.mktemp("colours") / "train.gz")
    generator = np.random.default_rng(0)
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for number in range(IMAGES):
            pixels = generator.integers(0, 160, (SIZE, SIZE, 3))
            pixels[..., 0 if number % 2 else 2] += 60
            content = encode(pixels)
            key = hashlib.sha256(content).hexdigest().encode()
            values = {
                "image": content,
                "label": b"red" if number % 2 else b"blue",
                "image/sha256": key,
                "image/split_key": key,
            }
            feature = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in values.items()
            }
            message = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(message.SerializeToString())
    return path


Train = Callable[..., SimpleNamespace]


@pytest.fixture
def arguments(
    tmp_path: Path, colours_file: str, transform_output: Any, base_file: str
) -> Callable[..., dict[str, Any]]:
    """Returns what TFX gives to a training, sections changed as asked for, as plain data."""

    def build(name: str = "trained", base_model: str | None = None, **changed: Any) -> Any:
        sections: dict[str, Any] = {
            "base": {"path": base_file},
            "image": {"size": SIZE, "resize": "stretch", "preprocessing": "rescale_0_1"},
            "head": HEAD,
            "train": TRAIN,
            "fine_tune": FINE_TUNE,
        }
        config = {key: {**value, **changed.get(key, {})} for key, value in sections.items()}
        digests = {"base_sha256": "base", "transform_sha256": "t", "code_sha256": "code"}
        return {
            "train_files": [colours_file],
            "transform_output": str(Path(transform_output.transform_savedmodel_dir).parent),
            "custom_config": {**config, **digests, "cache": str(tmp_path / "cache")},
            "serving_model_dir": str(tmp_path / name / "serving"),
            "model_run_dir": str(tmp_path / name / "run"),
            "base_model": base_model,
            "hyperparameters": None,
        }

    return build


@pytest.fixture
def train(arguments: Callable[..., dict[str, Any]]) -> Train:
    """Trains once; see `trained`."""
    return lambda name="trained", **changed: trained(arguments(name, **changed))


def trained(given: dict[str, Any]) -> SimpleNamespace:
    """Trains; returns where the model is, its record and the weights that were exported."""
    exported: dict[str, np.ndarray] = {}
    genuine = run.signatures.export

    def export(module: Any, folder: str) -> None:
        weights = module.classifier.weights
        exported.update({f"{row} {one.path}": np.array(one) for row, one in enumerate(weights)})
        genuine(module, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.signatures, "export", export)
        run.run_fn(SimpleNamespace(**given))
    folder = Path(given["model_run_dir"])
    return SimpleNamespace(
        model=given["serving_model_dir"],
        folder=folder,
        record=json.loads((folder / "training.json").read_text()),
        weights=exported,
    )


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], name)


def changed_by_training(before: SimpleNamespace, after: SimpleNamespace, layer: str) -> bool:
    return any(
        not np.array_equal(before.weights[name], after.weights[name])
        for name in before.weights
        if layer in name
    )


def test_two_trainings_with_one_seed_export_the_same_weights(train: Train) -> None:
    assert_same(train("one", **FINE_TUNED).weights, train("other", **FINE_TUNED).weights)


def test_the_head_is_trained_on_features_that_are_computed_once(train: Train) -> None:
    assert train("one").record["features"] == {"computed": IMAGES, "reused": 0}
    other = train("other", head={"hidden": [], "label_smoothing": 0.1})
    assert other.record["features"] == {"computed": 0, "reused": IMAGES}


def test_another_pooling_has_features_of_its_own(train: Train) -> None:
    train("one")
    flat = train("other", head={"pooling": "flatten"})
    assert flat.record["features"] == {"computed": IMAGES, "reused": 0}


def test_images_that_are_trained_on_and_watched_are_all_there_are(train: Train) -> None:
    record = train().record
    assert (record["trained_on"], record["watched"]) == (12, 4)
    assert record["classes"] == {"blue": 8, "red": 8}


def test_fine_tuning_starts_from_the_trained_head_and_changes_the_last_layers(
    train: Train,
) -> None:
    head_only = train("head")
    fine = train("fine", **FINE_TUNED)
    stages = fine.record["stages"]
    assert list(stages) == ["head", "fine_tune"]
    assert stages["head"] == head_only.record["stages"]["head"]
    assert fine.record["kept"] == "fine_tune"
    assert changed_by_training(head_only, fine, "second")
    assert not changed_by_training(head_only, fine, "first")
    # Two layers are unfrozen, and one of them is batch normalisation.
    assert not changed_by_training(head_only, fine, "norm")


def test_a_fine_tuning_that_makes_it_worse_is_not_kept(train: Train) -> None:
    head_only = train("head")
    fine = train("fine", fine_tune={"layers": 2, "learning_rate": 5.0, "epochs": 1, "warmup": 0.0})
    assert fine.record["kept"] == "head"
    assert any("the head's stage is kept" in note for note in fine.record["notes"])
    assert_same(fine.weights, head_only.weights)


def test_curves_logs_and_record_are_left_beside_the_model(train: Train) -> None:
    done = train(**FINE_TUNED)
    assert (done.folder / "curves.svg").read_text().lstrip().startswith("<?xml")
    assert len(done.record["stages"]["fine_tune"]["curves"]["val_loss"]) == 3
    logs = {path.parent for path in (done.folder / "tensorboard").rglob("events*")}
    assert {path.relative_to(done.folder / "tensorboard").as_posix() for path in logs} == {
        f"{stage}/{part}" for stage in ("head", "fine_tune") for part in ("train", "watched")
    }
    assert not (done.folder / "augmented.html").exists()


@pytest.mark.parametrize("copies", [0, 2])
def test_augmentation_trains_otherwise_and_is_not_exported(train: Train, copies: int) -> None:
    plain = train("plain")
    augmented = train("augmented", train={"augment": "light", "augment_copies": copies})
    assert changed_by_training(plain, augmented, "hidden_0")
    assert plain.weights.keys() == augmented.weights.keys()
    assert random_ops(augmented.model) == set()
    page = (augmented.folder / "augmented.html").read_text()
    assert page.count("<img") == 8 * (1 + 6)


def test_copies_are_computed_once_and_shared_by_heads(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.trainer import preparation

    seen: list[int] = []
    genuine = preparation._Extraction._extract

    def counted(self: Any, keys: frozenset[bytes], copy: int) -> Any:
        seen.append(copy)
        return genuine(self, keys, copy)

    monkeypatch.setattr(preparation._Extraction, "_extract", counted)
    train("one", train={"augment": "light"})
    assert sorted(set(seen)) == [0, 1, 2]
    other = train("other", train={"augment": "light"}, head={"hidden": []})
    assert other.record["features"] == {"computed": 0, "reused": IMAGES}


def test_fine_tuning_with_augmentation_works_on_changed_images(train: Train) -> None:
    plain = train("plain", **FINE_TUNED)
    augmented = train("augmented", train={"augment": [{"rotation": 0.5}]}, **FINE_TUNED)
    assert augmented.record["stages"]["fine_tune"] != plain.record["stages"]["fine_tune"]
    assert random_ops(augmented.model) == set()


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_trained_in_and_float32_is_served(train: Train, precision: str) -> None:
    mixed = train(train={"precision": precision}, **FINE_TUNED)
    assert {weight.dtype for weight in mixed.weights.values()} == {np.dtype(np.float32)}
    graph = tf.saved_model.load(mixed.model).signatures["serving_default"].graph
    kinds = {tensor.dtype for one in graph.get_operations() for tensor in one.outputs}
    assert not kinds & {tf.float16, tf.bfloat16}
    losses = mixed.record["stages"]["fine_tune"]["curves"]["loss"]
    assert np.isfinite(losses).all()


def test_features_in_float16_give_nearly_the_same_head(train: Train) -> None:
    half = train("half", train={"cache_dtype": "float16"})
    full = train("full")
    assert half.record["features"]["computed"] == full.record["features"]["computed"] == IMAGES
    for name, weight in full.weights.items():
        np.testing.assert_allclose(half.weights[name], weight, atol=2e-2, err_msg=name)


def test_balanced_weights_make_rare_classes_count_more(train: Train) -> None:
    record = train(train={"class_weights": "balanced"}).record
    counts, watched = record["classes"], record["watched"]
    assert record["class_weights"].keys() == counts.keys()
    assert sum(counts.values()) - watched == record["trained_on"]
    assert max(record["class_weights"].values()) >= 1.0


def test_one_sigmoid_serves_two_probabilities(train: Train) -> None:
    model = tf.saved_model.load(train(head={"binary": True}).model)
    content = tf.io.encode_png(np.zeros((5, 5, 3), np.uint8))[None]
    answer = model.signatures["serving_default"](image_bytes=content)
    assert answer["probabilities"].shape == (1, 2)
    assert float(tf.reduce_sum(answer["probabilities"])) == pytest.approx(1.0, abs=1e-6)


def test_a_class_below_twenty_images_is_warned_of(train: Train) -> None:
    notes = train().record["notes"]
    assert any("blue" in note and "red" in note and "20" in note for note in notes)


def test_a_time_budget_that_is_over_keeps_the_first_step_and_skips_fine_tuning(
    train: Train,
) -> None:
    done = train(train={"time_budget": 1e-6}, **FINE_TUNED)
    assert list(done.record["stages"]) == ["head"]
    assert done.record["stages"]["head"]["epochs"] == 1
    assert any("time budget" in note and "1 of its steps" in note for note in done.record["notes"])
    assert any("before fine-tuning" in note for note in done.record["notes"])


def test_a_warm_start_begins_where_the_served_model_ended(train: Train) -> None:
    first = train("first")
    begun = train("begun", base_model=first.model, train={"warm_start": True, "epochs": 1})
    anew = train("anew", train={"epochs": 1})
    loss_after = first.record["stages"]["head"]["curves"]["loss"]
    assert begun.record["stages"]["head"]["curves"]["loss"][0] < loss_after[0]
    assert anew.record["stages"]["head"]["curves"]["loss"][0] == loss_after[0]
    assert "Warm start: the head starts from the served model's." in begun.record["notes"]


def test_a_run_that_finished_leaves_no_training_state(train: Train, tmp_path: Path) -> None:
    train(**FINE_TUNED)
    assert list((tmp_path / "cache" / "training").iterdir()) == []


def test_one_sigmoid_with_three_classes_is_refused() -> None:
    from components.trainer.preparation import _check_classes

    with pytest.raises(InputError, match=r"head\.binary=true with 3 classes \(a, b, c\)"):
        _check_classes({"binary": True}, ["a", "b", "c"])


@pytest.mark.parametrize(("stage", "epoch"), [("head", 2), ("fine_tune", 1)])
def test_a_killed_training_goes_on_to_the_weights_of_an_unbroken_one(
    train: Train, arguments: Callable[..., dict[str, Any]], tmp_path: Path, stage: str, epoch: int
) -> None:
    unbroken = train("unbroken", **FINE_TUNED)
    given = arguments("resumed", **FINE_TUNED)
    script = [sys.executable, "-c", KILLED, json.dumps(given), stage, str(epoch)]
    killed = subprocess.run(script, cwd=Path(run.__file__).parents[2], capture_output=True)
    assert killed.returncode == -9, killed.stderr[-2000:]
    assert not Path(given["serving_model_dir"]).exists()
    [state] = (tmp_path / "cache" / "training").iterdir()
    assert (state / f"{stage}.npz").is_file()

    trained_epochs: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        from components.trainer import progress

        genuine = progress.Keeper.save

        def watched(self: Any, name: str, course: Any, *arrays: Any) -> None:
            trained_epochs.append((name, course.epoch))
            genuine(self, name, course, *arrays)

        patch.setattr(progress.Keeper, "save", watched)
        resumed = trained(given)
    assert trained_epochs[0] == (stage, epoch + 1)
    assert_same(resumed.weights, unbroken.weights)
    assert resumed.record["stages"] == unbroken.record["stages"]


KILLED = """
import json, os, signal, sys
from types import SimpleNamespace
from components.trainer import progress, run
given, stage, epoch = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
genuine = progress.Keeper.save
def save(self, name, course, *arrays):
    self._saving = 0.0  # a state after every epoch, however long saving takes
    genuine(self, name, course, *arrays)
    if (name, course.epoch) == (stage, epoch):
        os.kill(os.getpid(), signal.SIGKILL)
progress.Keeper.save = save
run.run_fn(SimpleNamespace(**given))
"""
