"""The training loop on vectors of three numbers: best epoch, order, resuming, time, bad losses."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from components.errors import GraftError  # noqa: E402
from components.trainer import fitting  # noqa: E402
from components.trainer.dataset import feature_batches  # noqa: E402
from components.trainer.fitting import Stage  # noqa: E402
from components.trainer.head import new_head, new_loss  # noqa: E402
from components.trainer.progress import BUDGET, DONE, PATIENCE, Budget, Keeper, Progress  # noqa: E402

pytestmark = pytest.mark.e2e

HEAD = {"hidden": [4], "activation": "relu", "dropout": 0.3, "batch_normalization": True}
NOTHING = Keeper(None, "")
BATCH = 8


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()


class Rows:
    def __init__(self, vectors: np.ndarray):
        self.vectors, self.width = vectors, vectors.shape[1]

    def __len__(self) -> int:
        return len(self.vectors)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.vectors[indices]


def separable(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Returns vectors whose sign is their label."""
    label_index = np.arange(count) % 2
    vectors = np.random.default_rng(0).random((count, 3)) + 0.5
    return (vectors * (2 * label_index - 1)[:, None]).astype(np.float32), label_index


def batches(vectors: np.ndarray, label_index: np.ndarray, seed: int | None = 0) -> Any:
    chosen = np.arange(len(vectors))
    return feature_batches([Rows(vectors)], chosen, label_index, [1.0, 1.0], BATCH, seed)


def new_model(rate: float = 0.05, head: dict[str, Any] = HEAD) -> Any:
    model = new_head(3, 2, head)
    fitting.compile_model(model, rate, new_loss(0.0, 2))
    return model


def new_stage(epochs: int = 6, patience: int = 0, rate: float = 0.05, **more: Any) -> Stage:
    return Stage("head", epochs, 5, patience, "train.learning_rate", rate, **more)


def fit(model: Any, stage: Stage, keeper: Keeper = NOTHING, **more: Any) -> Progress:
    vectors, label_index = separable()
    return fitting.fit(
        model,
        batches(vectors, label_index),
        batches(vectors, more.pop("watched_labels", label_index), None)(0),
        stage,
        **{"keeper": keeper, "budget": Budget(), **more},
    )


def test_a_head_learns_what_can_be_told_apart() -> None:
    course = fit(new_model(), new_stage(epochs=30))
    assert set(course.curves) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert course.curves["val_accuracy"][-1] == 1.0
    assert (course.epoch, course.ended) == (30, DONE)


def test_training_stops_when_the_watched_loss_no_longer_falls_and_keeps_the_best() -> None:
    vectors, label_index = separable()
    model = new_model(head={**HEAD, "hidden": []})
    # Watched labels are the wrong way round, so that learning raises the watched loss.
    course = fit(model, new_stage(epochs=30, patience=2), watched_labels=1 - label_index)
    assert (course.ended, course.epoch) == (PATIENCE, course.best_epoch + 2)
    kept = model.evaluate(vectors, 1 - label_index, verbose=0)[0]
    assert kept == pytest.approx(course.best_loss, abs=1e-5)
    assert course.best_loss == min(course.curves["val_loss"])


def test_two_trainings_with_one_seed_give_the_same_weights() -> None:
    models = [new_model(), new_model()]
    courses = [fit(model, new_stage()) for model in models]
    assert courses[0] == courses[1]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_image_is_trained_on_once_an_epoch_in_an_order_of_its_own() -> None:
    vectors = np.arange(20, dtype=np.float32)[:, None]
    training = batches(vectors, np.arange(20) % 2)

    def epoch(number: int) -> list[float]:
        return [float(v) for batch in training(number).take(3) for v in batch[0][:, 0]]

    assert sorted(epoch(0)) == list(range(20))
    assert epoch(0) != epoch(1)
    following = [float(v) for batch in training(0).skip(3).take(3) for v in batch[0][:, 0]]
    assert following == epoch(1)


class Killed(Exception):
    pass


def test_a_training_that_is_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    unbroken = new_model()
    expected = fit(unbroken, new_stage())

    class Killing(Keeper):
        def save(self, stage: str, progress: Progress, *arrays: Any) -> None:
            self._saving = 0.0  # every epoch, however long saving takes
            super().save(stage, progress, *arrays)
            if progress.epoch == 3:
                raise Killed

    with pytest.raises(Killed):
        fit(new_model(), new_stage(), Killing(tmp_path, "key"))
    saved = Keeper(tmp_path, "key").load("head")
    assert saved is not None and saved.progress.epoch == 3
    resumed = new_model()
    assert fit(resumed, new_stage(), Keeper(tmp_path, "key")) == expected
    for one, other in zip(unbroken.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stage_that_was_over_is_not_trained_again(tmp_path: Path) -> None:
    first = new_model()
    fit(first, new_stage(), Keeper(tmp_path, "key"))
    again = new_model()
    iterations = again.optimizer.iterations
    before = fit(again, new_stage(), Keeper(tmp_path, "key"))
    assert int(iterations) == before.epoch * 5
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_of_another_shape_is_left_alone(tmp_path: Path) -> None:
    fit(new_model(head={**HEAD, "hidden": [7]}), new_stage(), Keeper(tmp_path, "key"))
    course = fit(new_model(), new_stage(epochs=2), Keeper(tmp_path, "key"))
    assert (course.epoch, course.ended) == (2, DONE)


def test_frozen_variables_are_not_saved(tmp_path: Path) -> None:
    model = new_model()
    frozen = [model.get_layer("hidden_0").kernel]
    model.get_layer("hidden_0").trainable = False
    fitting.compile_model(model, 0.05, new_loss(0.0, 2))
    fit(model, new_stage(epochs=1), Keeper(tmp_path, "key"), frozen=frozen)
    saved = Keeper(tmp_path, "key").load("head")
    assert saved is not None
    assert (3, 4) not in [array.shape for array in saved.variables]


def test_a_time_budget_shorter_than_an_epoch_ends_within_it() -> None:
    course = fit(new_model(), new_stage(), budget=Budget(0.0))
    assert (course.epoch, course.ended, course.best_epoch) == (1, BUDGET, 1)
    assert course.steps_of_last == 1


def test_a_stage_that_its_time_had_ended_goes_on_with_more_of_it(tmp_path: Path) -> None:
    fit(new_model(), new_stage(), Keeper(tmp_path, "key"), budget=Budget(0.0))
    course = fit(new_model(), new_stage(epochs=4), Keeper(tmp_path, "key"))
    assert (course.epoch, course.ended, course.steps_of_last) == (4, DONE, None)


def test_a_time_budget_that_ends_with_an_epoch_cuts_no_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = Budget()
    monkeypatch.setattr(Budget, "is_over", property(lambda self: self is budget and over[0]))
    over = [False]

    class Ending(Keeper):
        def save(self, stage: str, progress: Progress, *arrays: Any) -> None:
            over[0] = progress.epoch == 1  # is over in the second epoch

    course = fit(new_model(), new_stage(), Ending(None, ""), budget=budget)
    assert (course.epoch, course.ended) == (2, BUDGET)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_with_its_step_and_the_mend(bad: float) -> None:
    vectors, label_index = separable()
    vectors[17] = bad  # in the third batch of the file order
    model = new_model()
    with pytest.raises(GraftError) as raised:
        fitting.fit(
            model,
            batches(vectors, label_index, None),
            batches(*separable(8), None)(0),
            new_stage(),
            keeper=NOTHING,
            budget=Budget(),
        )
    assert "step 3 of epoch 1 of stage head, with train.learning_rate=0.05" in str(raised.value)
    assert "Lower train.learning_rate, for example to 0.005." in str(raised.value)


def test_a_watched_loss_that_is_not_finite_ends_the_training() -> None:
    vectors, label_index = separable()
    with pytest.raises(GraftError, match="at the watched images after step 5 of epoch 1"):
        fitting.fit(
            new_model(),
            batches(vectors, label_index),
            batches(np.full_like(vectors, np.nan), label_index, None)(0),
            new_stage(),
            keeper=NOTHING,
            budget=Budget(),
        )


def test_the_watched_loss_has_no_penalty_on_weights() -> None:
    vectors, label_index = separable()
    model = new_model(rate=1e-9, head={**HEAD, "l2": 10.0})
    course = fit(model, new_stage(epochs=1))
    assert float(sum(model.losses)) > 1
    plain = keras.losses.SparseCategoricalCrossentropy()(label_index, model(vectors))
    assert course.curves["val_loss"][0] == pytest.approx(float(plain), abs=1e-3)


def test_tensorboard_shows_all_epochs_after_a_resumed_training_too(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(new_model(), new_stage(epochs=2), Keeper(tmp_path / "states", "key"))
    saved = Keeper(tmp_path / "states", "key").load("head")
    assert saved is not None
    saved.progress.ended = ""
    Keeper(tmp_path / "states", "key").save("head", saved.progress, saved.variables, saved.best)
    logs = tmp_path / "logs"
    course = fit(new_model(), new_stage(epochs=4), Keeper(tmp_path / "states", "key"), logs=logs)
    for folder, prefix in (("train", ""), ("watched", "val_")):
        events = EventAccumulator(str(logs / folder)).Reload()
        shown = {
            event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors("loss")
        }
        assert sorted(shown) == [1, 2, 3, 4]
        np.testing.assert_allclose(list(shown.values()), course.curves[f"{prefix}loss"], rtol=1e-6)


def test_xla_trains_to_nearly_the_same_weights() -> None:
    head = {**HEAD, "dropout": 0.0, "batch_normalization": False}
    models = [new_model(head=head), new_model(head=head)]
    for model, xla in zip(models, (False, True), strict=True):
        fit(model, new_stage(epochs=2, xla=xla))
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_step_size_rises_and_falls_by_a_cosine() -> None:
    schedule = fitting.warm_up_and_decay(0.8, steps=100, warmup=0.2)
    rates = [float(schedule(step)) for step in (0, 10, 20, 60, 100)]
    np.testing.assert_allclose(rates, [0.0, 0.4, 0.8, 0.4, 0.0], atol=1e-6)


def test_without_a_warm_up_the_step_size_falls_from_the_start() -> None:
    schedule = fitting.warm_up_and_decay(0.8, steps=100, warmup=0.0)
    np.testing.assert_allclose([float(schedule(0)), float(schedule(50))], [0.8, 0.4], atol=1e-6)


def test_several_devices_train_to_the_same_weights_as_one(tmp_path: Path) -> None:
    """Two logical CPUs stand for two GPUs; they must be set up before TensorFlow starts."""
    script = tmp_path / "mirrored.py"
    script.write_text(MIRRORED)
    run = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["replicas"] == 2
    assert told["difference"] < 1e-4
    assert told["epochs"] == 3


MIRRORED = """
import json, sys
sys.path[:0] = [sys.argv[1], "."]
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import test_fitting as t
from components.trainer.progress import Budget
head = {**t.HEAD, "dropout": 0.0, "batch_normalization": False}
keras.utils.set_random_seed(0)
one = t.new_model(head=head)
t.fit(one, t.new_stage(epochs=3))
keras.utils.set_random_seed(0)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    both = t.new_model(head=head)
course = t.fit(both, t.new_stage(epochs=3), strategy=strategy)
pairs = zip(one.get_weights(), both.get_weights(), strict=True)
print(json.dumps({"replicas": strategy.num_replicas_in_sync, "epochs": course.epoch,
                  "difference": max(float(np.abs(a - b).max()) for a, b in pairs)}))
"""
