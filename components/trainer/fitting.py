"""The training loop of both stages: many steps a call, and all that an epoch's end decides.

Keras's `train_step` and `test_step` do the work of one step. The loop around them is ours, because
a stage must be able to go on at any epoch, end in the middle of one when its time is over, and run
the hundreds of small steps of a head on features in one call.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.errors import GraftError
from components.trainer import devices
from components.trainer.dataset import Batches
from components.trainer.fused_adam import FusedAdam
from components.trainer.progress import BUDGET, Budget, Keeper, Progress

STEPS_AT_ONCE = 512  # at most; a time budget is looked at between two calls
SECONDS_AT_ONCE = 0.5  # about so long may one call take


@dataclass(frozen=True)
class Stage:
    """How one stage is trained.

    Attributes:
        name: `"head"` or `"fine_tune"`.
        epochs: passes at most.
        steps: optimiser steps of one epoch.
        patience: epochs without a lower watched loss before it ends; 0 for never.
        rate_key: the configuration's key of the learning rate, for messages.
        rate: the highest learning rate.
        xla: whether a step is compiled by XLA.
    """

    name: str
    epochs: int
    steps: int
    patience: int
    rate_key: str
    rate: float
    xla: bool = False


def fit(
    model: keras.Model,
    training: Batches,
    watched: tf.data.Dataset,
    stage: Stage,
    *,
    keeper: Keeper,
    budget: Budget,
    tester: keras.Model | None = None,
    frozen: Sequence[Any] = (),
    logs: Path | None = None,
    strategy: tf.distribute.Strategy | None = None,
    loop: "Loop | None" = None,
) -> Progress:
    """Trains until the watched loss stops falling, and leaves the best weights in the model.

    A stage that was killed goes on from its last saved epoch.

    Args:
        model: compiled, with the metric `accuracy`.
        training: from an epoch's number to its batches and those of all epochs after it.
        watched: the batches that early stopping watches.
        stage: see `Stage`.
        keeper: keeps the state between epochs.
        budget: the time; at least one call's steps are always trained.
        tester: compiled, shares the model's weights and takes the watched batches. Default: the
            model itself.
        frozen: variables that training does not change, such as the base's; they are not saved.
        logs: folder for TensorBoard. Default: no logs.
        strategy: where the steps run. Default: on the one device.
        loop: that of an earlier training of this very model, whose graph is used again. Default:
            a new one.

    Returns:
        The stage's course.

    Raises:
        GraftError: the loss became infinite or NaN; its step is named.
    """
    loop = loop or Loop(model, tester or model, strategy, stage.xla)
    variables = Variables(model, frozen)
    progress, best = Progress(), variables.weights()
    if (saved := keeper.load(stage.name)) and variables.fit(saved.variables, saved.best):
        progress, best = saved.progress, saved.best
        progress.reopen()
        if not progress.ended:
            progress.resumed_after = progress.epoch
        variables.assign(saved.variables)
    board = _Board(logs)
    board.replay(progress.curves)
    batches = None
    while not progress.ended:
        batches = batches or loop.distribute(training(progress.epoch))
        values = loop.train(stage, batches, progress.epoch, budget)
        if loop.done < stage.steps:
            progress.steps_of_last, progress.ended = loop.done, BUDGET
        if progress.record({**values, **loop.test(stage, watched, progress.epoch)}):
            best = variables.weights()
        board.write(progress.curves, progress.epoch)
        if not progress.ended:
            progress.end_if_due(stage.epochs, stage.patience)
        if not progress.ended and budget.is_over:
            progress.ended = BUDGET
        keeper.save(stage.name, progress, variables.all(), best)
    variables.assign_weights(best)
    return progress


class Loop:
    """Runs steps in TensorFlow's graph; one call runs as many as about half a second takes.

    Args:
        model: see `fit`.
        tester: see `fit`.
        strategy: see `fit`.
        xla: whether a step is compiled by XLA.
    """

    def __init__(
        self,
        model: keras.Model,
        tester: keras.Model,
        strategy: tf.distribute.Strategy | None = None,
        xla: bool = False,
    ):
        self._model, self._tester = model, tester
        self._strategy = strategy = strategy or tf.distribute.get_strategy()
        self._at_once = 1
        self.done = 0  # steps of the epoch that is trained
        step = tf.function(model.train_step, jit_compile=True) if xla else model.train_step

        @tf.function
        def train(batches: Any, count: tf.Tensor) -> tf.Tensor:
            """Returns the number of the first step with a loss that is not finite, or -1."""
            bad = tf.constant(-1)
            for number in tf.range(count):
                result = strategy.run(step, args=(next(batches),))
                loss = strategy.reduce("MEAN", result["loss"], axis=None)
                bad = tf.where((bad < 0) & ~tf.math.is_finite(loss), number, bad)
            return bad

        @tf.function
        def test(batches: Any) -> None:
            for batch in batches:
                strategy.run(tester.test_step, args=(batch,))

        self._train, self._test = train, test

    def distribute(self, dataset: tf.data.Dataset) -> Any:
        """Returns what gives each device its part of the batches, one after the other."""
        return iter(devices.distribute(dataset, self._strategy))

    def train(self, stage: Stage, batches: Any, epoch: int, budget: Budget) -> dict[str, float]:
        """Trains one epoch, or as much of it as there is time for."""
        self._model.reset_metrics()
        self.done = 0
        while self.done < stage.steps and not (self.done and budget.is_over):
            count = min(self._at_once, stage.steps - self.done)
            watch = Budget(SECONDS_AT_ONCE)
            bad = int(self._train(batches, tf.constant(count)))
            if bad >= 0:
                raise _not_finite(stage, f"step {self.done + bad + 1}", epoch)
            self.done += count
            if not watch.is_over:
                self._at_once = min(2 * self._at_once, STEPS_AT_ONCE)
        return _values(self._model)

    def test(self, stage: Stage, watched: tf.data.Dataset, epoch: int) -> dict[str, float]:
        """Returns loss and accuracy of what is watched, as `val_loss` and `val_accuracy`.

        The loss is without penalties on weights: those that count depend on what is trainable, so
        that the stages could not be compared.
        """
        self._tester.reset_metrics()
        # An iterator made in Python costs a fraction of one made in the graph, where each call
        # makes it anew.
        self._test(self.distribute(watched))
        values = _values(self._tester)
        values["loss"] -= float(sum(self._tester.losses))
        if not math.isfinite(values["loss"]):
            raise _not_finite(stage, f"the watched images after step {self.done}", epoch)
        return {f"val_{name}": value for name, value in values.items()}


def _not_finite(stage: Stage, where: str, epoch: int) -> GraftError:
    return GraftError(
        f"Expected a finite loss. Received: an infinite or undefined one at {where} of epoch "
        f"{epoch + 1} of stage {stage.name}, with {stage.rate_key}={stage.rate:g}. Lower "
        f"{stage.rate_key}, for example to {stage.rate / 10:g}."
    )


def _values(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


class Variables:
    """What training changes in a model and its optimizer, as arrays.

    Args:
        model: compiled, its optimizer built.
        frozen: variables that training does not change.
    """

    def __init__(self, model: keras.Model, frozen: Sequence[Any]):
        without = {id(variable) for variable in frozen if not variable.trainable}
        self._weights = [one for one in model.variables if id(one) not in without]
        self._rest = list(model.optimizer.variables)

    def weights(self) -> list[np.ndarray]:
        """Returns the model's part."""
        return [np.array(variable) for variable in self._weights]

    def all(self) -> list[np.ndarray]:
        """Returns the model's part and the optimizer's."""
        return [np.array(variable) for variable in (*self._weights, *self._rest)]

    def fit(self, variables: Sequence[np.ndarray], best: Sequence[np.ndarray]) -> bool:
        """Says whether saved arrays have these variables' shapes."""
        return [tuple(one.shape) for one in (*self._weights, *self._rest)] == [
            array.shape for array in variables
        ] and [tuple(one.shape) for one in self._weights] == [array.shape for array in best]

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        """Takes back what `all` returned."""
        for variable, array in zip((*self._weights, *self._rest), arrays, strict=True):
            variable.assign(array)

    def assign_weights(self, arrays: Sequence[np.ndarray]) -> None:
        """Takes back what `weights` returned."""
        for variable, array in zip(self._weights, arrays, strict=True):
            variable.assign(array)


class _Board:
    """Writes what TensorBoard shows: two lines, trained and watched, of each figure."""

    def __init__(self, folder: Path | None):
        self._writers = {
            prefix: tf.summary.create_file_writer(str(folder / name))
            for prefix, name in (("", "train"), ("val_", "watched"))
            if folder
        }

    def write(self, curves: Mapping[str, Sequence[float]], epoch: int) -> None:
        """Writes the values of an epoch, counted from 1."""
        for prefix, writer in self._writers.items():
            with writer.as_default(step=epoch):
                for name in ("loss", "accuracy"):
                    tf.summary.scalar(name, curves[prefix + name][epoch - 1])
            writer.flush()

    def replay(self, curves: Mapping[str, Sequence[float]]) -> None:
        """Writes what an earlier process has trained, as the logs are in a new folder."""
        for epoch in range(1, len(curves.get("loss", ())) + 1):
            self.write(curves, epoch)


def compile_model(
    model: keras.Model,
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    loss: Callable[..., Any],
    scaled: bool = False,
) -> None:
    """Gives a model Adam, a loss and the metric `accuracy`, the optimizer's state built.

    Args:
        model: what is trained.
        rate: the step size, or its schedule.
        loss: of (label_index, probabilities).
        scaled: whether the loss is scaled so that small gradients survive in float16.
    """
    optimizer = FusedAdam(rate)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer,
        loss=loss,
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    optimizer.build(model.trainable_variables)


def warm_up_and_decay(
    rate: float, steps: int, warmup: float
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a step size that rises from 0 to `rate`, then falls by a cosine to 0.

    Source: Loshchilov and Hutter, SGDR, https://arxiv.org/abs/1608.03983, without restarts.

    Args:
        rate: the highest step size.
        steps: steps in all, at least 1.
        warmup: share of the steps in which it rises, in [0, 1).
    """
    rising = round(warmup * steps)
    if not rising:
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - rising), warmup_target=rate, warmup_steps=rising
    )
