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

from components.trainer import run  # noqa: E402

pytestmark = pytest.mark.e2e

SIZE = 8
IMAGES = 16
TRAIN = {
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 0.01,
    "patience": 0,
    "seed": 0,
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
FINE_TUNE = {"layers": 0, "epochs": 3, "learning_rate": 0.003, "warmup": 0.1}
FINE_TUNED = {"fine_tune": {"layers": 2}}


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / "base.keras"
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Conv2D(6, 3, activation="relu", name="first")(pixels)
    outputs = keras.layers.BatchNormalization(name="norm")(outputs)
    outputs = keras.layers.Conv2D(5, 3, name="second")(outputs)
    keras.Model(pixels, outputs).save(path)
    return str(path)


@pytest.fixture(scope="module")
def colours_file(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> str:
    """Sixteen images of noise, eight of which have more blue in them and eight more red."""
    path = str(tmp_path_factory.mktemp("colours") / "train.gz")
    generator = np.random.default_rng(0)
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for number in range(IMAGES):
            pixels = generator.integers(0, 120, (SIZE, SIZE, 3))
            pixels[..., 0 if number % 2 else 2] += 130
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


Arguments = Callable[..., dict[str, Any]]
Train = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def build(
    tmp_path_factory: pytest.TempPathFactory,
    colours_file: str,
    transform_output: Any,
    base_file: str,
) -> Arguments:
    """Returns what TFX gives to a training, sections changed as asked for, as plain data.

    Features are kept in one cache for all, unless another folder is given.
    """
    cache = tmp_path_factory.mktemp("cache")

    def arguments(
        base_model: str | None = None, own_cache: Path | None = None, **changed: Any
    ) -> dict[str, Any]:
        sections: dict[str, Any] = {
            "base": {"path": base_file},
            "image": {"size": SIZE, "resize": "stretch", "preprocessing": "rescale_0_1"},
            "head": HEAD,
            "train": TRAIN,
            "fine_tune": FINE_TUNE,
        }
        config = {key: {**value, **changed.get(key, {})} for key, value in sections.items()}
        digests = {"base_sha256": "base", "transform_sha256": "t", "code_sha256": "code"}
        folder = tmp_path_factory.mktemp("trained")
        return {
            "train_files": [colours_file],
            "transform_graph_path": str(Path(transform_output.transform_savedmodel_dir).parent),
            "custom_config": {**config, **digests, "cache": str(own_cache or cache)},
            "serving_model_dir": str(folder / "serving"),
            "model_run_dir": str(folder / "run"),
            "base_model": base_model,
            "hyperparameters": None,
        }

    return arguments


@pytest.fixture(scope="module")
def train(build: Arguments) -> Train:
    """Trains once; see `build` and `trained`."""
    return lambda **changed: trained(build(**changed))


@pytest.fixture(scope="module")
def plain(train: Train) -> SimpleNamespace:
    """The head alone."""
    return train()


@pytest.fixture(scope="module")
def fine(train: Train) -> SimpleNamespace:
    """The head, then the last two layers of the base."""
    return train(**FINE_TUNED)


def trained(given: dict[str, Any]) -> SimpleNamespace:
    """Trains; returns where the model is, its record and the weights that were exported."""
    exported: dict[str, np.ndarray] = {}
    genuine = run.signatures.export

    def export(module: Any, folder: str) -> None:
        weights = [*module.embedder.weights, *module.head.weights]
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


def test_two_trainings_with_one_seed_export_the_same_weights(
    fine: SimpleNamespace, train: Train
) -> None:
    assert_same(train(**FINE_TUNED).weights, fine.weights)


def test_the_head_is_trained_on_features_that_are_computed_once(
    train: Train, tmp_path: Path
) -> None:
    first = train(own_cache=tmp_path)
    assert first.record["features"] == {"computed": IMAGES, "reused": 0}
    other = train(own_cache=tmp_path, head={"hidden": [], "label_smoothing": 0.1})
    assert other.record["features"] == {"computed": 0, "reused": IMAGES}
    assert list((tmp_path / "training").iterdir()) == []  # no state of a training that is over


def test_another_pooling_has_features_of_its_own(plain: SimpleNamespace, train: Train) -> None:
    flat = train(head={"pooling": "flatten"})
    assert flat.record["features"] == {"computed": IMAGES, "reused": 0}


def test_images_that_are_trained_on_and_watched_are_all_there_are(plain: SimpleNamespace) -> None:
    assert (plain.record["trained_on"], plain.record["watched"]) == (12, 4)
    assert plain.record["classes"] == {"blue": 8, "red": 8}


def test_fine_tuning_starts_from_the_trained_head_and_changes_the_last_layers(
    plain: SimpleNamespace, fine: SimpleNamespace
) -> None:
    assert list(fine.record["stages"]) == ["head", "fine_tune"]
    assert fine.record["stages"]["head"] == plain.record["stages"]["head"]
    assert fine.record["kept"] == "fine_tune"
    assert changed_by_training(plain, fine, "second")
    assert not changed_by_training(plain, fine, "first")
    # Two layers are unfrozen, and one of them is batch normalisation.
    assert not changed_by_training(plain, fine, " norm/")


def test_a_fine_tuning_that_makes_it_worse_is_not_kept(
    plain: SimpleNamespace, train: Train
) -> None:
    worse = train(fine_tune={"layers": 2, "learning_rate": 5.0, "epochs": 1, "warmup": 0.0})
    assert worse.record["kept"] == "head"
    assert any("the head's stage is kept" in note for note in worse.record["notes"])
    assert_same(worse.weights, plain.weights)


def test_curves_logs_and_record_are_left_beside_the_model(fine: SimpleNamespace) -> None:
    assert (fine.folder / "curves.svg").read_text().lstrip().startswith("<?xml")
    assert len(fine.record["stages"]["fine_tune"]["curves"]["val_loss"]) == 3
    logs = {path.parent for path in (fine.folder / "tensorboard").rglob("events*")}
    assert {path.relative_to(fine.folder / "tensorboard").as_posix() for path in logs} == {
        f"{stage}/{part}" for stage in ("head", "fine_tune") for part in ("train", "watched")
    }
    assert not (fine.folder / "augmented.html").exists()


@pytest.mark.parametrize("copies", [0, 2])
def test_augmentation_trains_otherwise_and_is_not_exported(
    plain: SimpleNamespace, train: Train, copies: int
) -> None:
    augmented = train(train={"augment": "light", "augment_copies": copies})
    assert changed_by_training(plain, augmented, "hidden_0")
    assert plain.weights.keys() == augmented.weights.keys()
    assert random_ops(augmented.model) == set()
    page = (augmented.folder / "augmented.html").read_text()
    assert page.count("<img") == 8 * (1 + 6)


def test_copies_are_computed_once_and_shared_by_heads(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.trainer import extraction

    computed: list[tuple[int, int]] = []
    genuine = extraction.Extraction.extract

    def counted(self: Any, keys: frozenset[bytes], copy: int) -> Any:
        computed.append((copy, len(keys)))
        return genuine(self, keys, copy)

    monkeypatch.setattr(extraction.Extraction, "extract", counted)
    train(own_cache=tmp_path, train={"augment": "light"})
    assert computed == [(0, IMAGES), (1, IMAGES), (2, IMAGES)]
    computed.clear()
    train(own_cache=tmp_path, train={"augment": "light"}, head={"hidden": []})
    # Eight of each are computed again, to be compared with what was kept.
    assert computed == [(0, 8), (1, 8), (2, 8)]


def test_fine_tuning_with_augmentation_works_on_changed_images(
    fine: SimpleNamespace, train: Train
) -> None:
    turned = {"augment": [{"rotation": 0.5}], "augment_copies": 1}
    augmented = train(train=turned, **FINE_TUNED)
    assert augmented.record["stages"]["fine_tune"] != fine.record["stages"]["fine_tune"]
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


def test_features_in_float16_give_nearly_the_same_head(
    plain: SimpleNamespace, train: Train
) -> None:
    half = train(train={"cache_dtype": "float16"})
    assert half.record["features"]["computed"] == IMAGES
    for name, weight in plain.weights.items():
        np.testing.assert_allclose(half.weights[name], weight, atol=2e-2, err_msg=name)


def test_balanced_weights_are_of_the_images_that_are_trained_on(
    plain: SimpleNamespace, train: Train
) -> None:
    record = train(train={"class_weights": "balanced", "watch": 0.5}).record
    # All classes count the same in all: n / (k * n_c) of the images that are not watched.
    parts = {label: 1 / (2 * weight) for label, weight in record["class_weights"].items()}
    assert sum(parts.values()) == pytest.approx(1.0)
    images = {label: part * record["trained_on"] for label, part in parts.items()}
    assert all(count == pytest.approx(round(count)) for count in images.values())
    assert all(1 <= count < record["classes"][label] for label, count in images.items())
    assert set(plain.record["class_weights"].values()) == {1.0}


def test_balanced_weights_change_the_training(
    plain: SimpleNamespace, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.trainer import preparation

    monkeypatch.setattr(preparation, "class_weights", lambda counts: [0.5, 2.0])
    weighted = train(train={"class_weights": "balanced"})
    assert sorted(weighted.record["class_weights"].values()) == [0.5, 2.0]
    assert changed_by_training(plain, weighted, "hidden_0")


def test_one_sigmoid_serves_two_probabilities(train: Train) -> None:
    model = tf.saved_model.load(train(head={"binary": True}).model)
    content = tf.io.encode_png(np.zeros((5, 5, 3), np.uint8))[None]
    answer = model.signatures["serving_default"](image_bytes=content)
    assert answer["probabilities"].shape == (1, 2)
    assert float(tf.reduce_sum(answer["probabilities"])) == pytest.approx(1.0, abs=1e-6)


def test_a_class_below_twenty_images_is_warned_of(plain: SimpleNamespace) -> None:
    assert any("blue (8), red (8)" in note for note in plain.record["notes"])


def test_a_time_budget_that_is_over_keeps_the_first_step_and_skips_fine_tuning(
    train: Train,
) -> None:
    done = train(train={"time_budget": 1e-6}, **FINE_TUNED)
    assert list(done.record["stages"]) == ["head"]
    assert done.record["stages"]["head"]["epochs"] == 1
    assert any("time budget" in note and "1 of its steps" in note for note in done.record["notes"])
    assert any("before fine-tuning" in note for note in done.record["notes"])


def test_a_warm_start_begins_where_the_served_model_ended(
    plain: SimpleNamespace, train: Train
) -> None:
    begun = train(base_model=plain.model, train={"warm_start": True, "epochs": 1})
    curve = plain.record["stages"]["head"]["curves"]["loss"]
    assert begun.record["stages"]["head"]["curves"]["loss"][0] < curve[0]
    assert "Warm start: the head starts from the served model's." in begun.record["notes"]


def test_values_of_the_tuner_take_the_place_of_the_configured_ones(build: Arguments) -> None:
    given = build()
    given["hyperparameters"] = {"values": {"head.hidden": "[3]", "train.learning_rate": 0.002}}
    done = trained(given)
    assert done.record["tuned"] == {"head.hidden": [3], "train.learning_rate": 0.002}
    assert any(weight.shape == (5, 3) for weight in done.weights.values())


@pytest.mark.parametrize(("stage", "epoch"), [("head", 2), ("fine_tune", 1)])
def test_a_killed_training_goes_on_to_the_weights_of_an_unbroken_one(
    fine: SimpleNamespace, build: Arguments, tmp_path: Path, stage: str, epoch: int
) -> None:
    given = build(own_cache=tmp_path, **FINE_TUNED)
    script = [sys.executable, "-c", KILLED, json.dumps(given), stage, str(epoch)]
    killed = subprocess.run(script, cwd=Path(run.__file__).parents[2], capture_output=True)
    assert killed.returncode == -9, killed.stderr[-2000:]
    assert not Path(given["serving_model_dir"]).exists()
    [state] = (tmp_path / "training").iterdir()
    assert (state / f"{stage}.npz").is_file()

    saved: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        from components.trainer import progress

        genuine = progress.Keeper.save

        def watched(self: Any, name: str, course: Any, *arrays: Any) -> None:
            saved.append((name, course.epoch))
            genuine(self, name, course, *arrays)

        patch.setattr(progress.Keeper, "save", watched)
        resumed = trained(given)
    assert saved[0] == (stage, epoch + 1)
    assert_same(resumed.weights, fine.weights)
    assert resumed.record["stages"] == fine.record["stages"]
    told = f"Stage {stage} went on after epoch {epoch}, with which a training that was stopped"
    assert any(note.startswith(told) for note in resumed.record["notes"])
    assert not any("went on" in note for note in fine.record["notes"])


def test_several_devices_train_as_one(build: Arguments) -> None:
    """Two logical CPUs stand for two GPUs; a last batch has fewer images than devices."""
    # Dropout draws, and batch normalisation counts, on each device by itself.
    same = {
        "train": {"batch_size": 11},
        "head": {"dropout": 0.0, "batch_normalization": False},
        **FINE_TUNED,
    }
    alone = trained(build(**same))
    given = build(**same)
    script = [sys.executable, "-c", MIRRORED, json.dumps(given)]
    both = subprocess.run(script, cwd=Path(run.__file__).parents[2], capture_output=True, text=True)
    assert both.returncode == 0, both.stderr[-2000:]
    record = json.loads((Path(given["model_run_dir"]) / "training.json").read_text())
    assert record["devices"] == 2
    for stage, course in alone.record["stages"].items():
        curves = record["stages"][stage]["curves"]
        for name in ("loss", "val_loss"):
            # Adam steps by the sign of a gradient however small, so that the last digit of a sum
            # over devices can move a weight; only what precedes the steps agrees in all digits.
            np.testing.assert_allclose(
                curves[name], course["curves"][name], atol=0.02, err_msg=f"{stage} {name}"
            )
        if stage == run.HEAD:
            np.testing.assert_allclose(curves["loss"][0], course["curves"]["loss"][0], atol=2e-3)


MIRRORED = """
import json, sys
from types import SimpleNamespace
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from components.trainer import devices, run
given = json.loads(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
devices.choose_strategy = lambda: strategy
run.run_fn(SimpleNamespace(**given))
"""

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
