"""Trains many heads on the same features, by the Trainer's rules and with its results.

Tracing a step costs as much as several epochs of a small head. Here it is done once for all heads
of the same hidden layers: what differs among them, learning rate and dropout, stands in variables.
And a trial that falls behind the earlier ones is given up, as most of the time goes into such.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from components.trainer import fitting, stages
from components.trainer.preparation import Prepared
from components.trainer.progress import Budget, Keeper, Progress
from components.trainer.tuned import Outcome

KEPT = 8  # heads whose graphs are kept; a search space seldom has more
RIVALS = 5  # earlier trials, at least, before one is given up
GIVEN_UP_FROM = 2  # epochs: the first one says little of where a trial ends
GOOD = 0.25  # the share of earlier trials that a trial must be among to go on
BEHIND = "behind earlier trials"


class HeadTrials:
    """Trains one head after another on prepared features.

    Args:
        prepared: see `preparation.prepare`; its settings but for the tuned ones hold for all.
    """

    def __init__(self, prepared: Prepared):
        self._prepared = prepared
        # The order of the images follows from seed and epoch, so that one data set serves all.
        self._training = functools.cache(stages.head_batches(prepared))
        self._watched = stages.watched_batches(prepared)
        self._bench = functools.lru_cache(KEPT)(self._new_bench)

    def outcome(
        self,
        settings: Mapping[str, Any],
        epochs: int | None = None,
        rivals: Sequence[Sequence[float]] = (),
    ) -> Outcome:
        """Trains a head from the same first weights as the Trainer does.

        Args:
            settings: of `prepared`, with the values of this trial.
            epochs: passes at most. Default: `train.epochs`.
            rivals: the courses of earlier trials; the trial is given up where it is behind them
                (see `is_behind`). Default: it is never given up.

        Returns:
            The lowest watched loss of all epochs, and how it fell.

        Raises:
            GraftError: the loss became infinite or NaN.
        """
        head, train = settings["head"], settings["train"]
        bench = self._bench(tuple(head["hidden"]))
        bench.reset(train["learning_rate"], head["dropout"])
        stage = stages.head_stage(replace(self._prepared, settings=settings))
        course = fitting.fit(
            bench.head,
            self._training,
            self._watched,
            replace(stage, epochs=epochs or stage.epochs),
            keeper=_Watcher(rivals),
            budget=Budget(),
            strategy=self._prepared.strategy,
            loop=bench.loop,
        )
        lowest = np.minimum.accumulate(course.curves["val_loss"])
        return Outcome(course.best_loss, course=tuple(lowest.tolist()))

    def _new_bench(self, hidden: tuple[int, ...]) -> "_Bench":
        prepared = self._prepared
        head = {**prepared.settings["head"], "hidden": list(hidden)}
        with prepared.strategy.scope():
            trained = keras.models.clone_model(
                stages.build_head(prepared, head), clone_function=_with_variable_rate
            )
            stages.compile_for(prepared, trained, prepared.settings["train"]["learning_rate"])
        variables = fitting.Variables(trained, ())
        loop = fitting.Loop(trained, trained, prepared.strategy, prepared.settings["train"]["xla"])
        return _Bench(trained, loop, variables, variables.all())


class _Watcher(Keeper):
    """Keeps nothing, and ends a trial that is behind its rivals."""

    def __init__(self, rivals: Sequence[Sequence[float]]):
        super().__init__(None, "")
        self._rivals = rivals

    def save(self, stage: str, progress: Progress, *arrays: Sequence[np.ndarray]) -> None:
        """Looks at an epoch that is over."""
        if not progress.ended and is_behind(progress.best_loss, progress.epoch, self._rivals):
            progress.ended = BEHIND


def is_behind(loss: float, epoch: int, rivals: Sequence[Sequence[float]]) -> bool:
    """Says whether a trial should be given up: its loss is not among the lowest quarter.

    After the median stopping rule of Golovin et al., Google Vizier, section 3.2.2,
    https://doi.org/10.1145/3097983.3098043, with the lower quartile in the place of the median and
    the lowest loss so far of every trial.

    Args:
        loss: the trial's lowest loss so far.
        epoch: epochs that are over; after the first nothing is given up.
        rivals: of each earlier trial, the lowest loss up to each epoch; fewer than five are too
            few to give up anything.
    """
    if epoch < GIVEN_UP_FROM or len(rivals) < RIVALS:
        return False
    reached = [course[min(epoch, len(course)) - 1] for course in rivals]
    return bool(loss > np.quantile(reached, GOOD))


@dataclass(frozen=True)
class _Bench:
    """A head with its traced graph, and its variables as they were at first."""

    head: keras.Model
    loop: fitting.Loop
    variables: fitting.Variables
    first: list[np.ndarray]

    def reset(self, learning_rate: float, dropout: float) -> None:
        """Makes the head as new, with another step size and dropout."""
        self.variables.assign(self.first)
        self.head.optimizer.learning_rate = learning_rate
        for layer in self.head.layers:
            if isinstance(layer, VariableDropout):
                layer.set_rate(dropout)


class VariableDropout(keras.layers.Layer):
    """Dropout whose rate may change after it was traced; the outputs are those of Keras's.

    Args:
        seed: of what is dropped.
        name: the layer's name.
    """

    def __init__(self, seed: int, name: str):
        super().__init__(name=name)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._rate = self._new_number("rate")
        self._scale = self._new_number("scale")

    def set_rate(self, rate: float) -> None:
        """Takes the share in [0, 1) that is dropped."""
        self._rate.assign(rate)
        # Divided here, in 64 bits, as Keras does with a rate that is a Python number.
        self._scale.assign(1 / (1 - rate))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the inputs, some of them zero and the others scaled up in training."""
        if not training:
            return inputs
        shape = keras.ops.shape(inputs)
        drawn = keras.random.uniform(shape, dtype=inputs.dtype, seed=self.seed_generator)
        return keras.ops.where(drawn >= self._rate, inputs * self._scale, 0.0)

    def _new_number(self, name: str) -> Any:
        return self.add_weight(shape=(), initializer="ones", trainable=False, name=name)


def _with_variable_rate(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.Dropout):
        return VariableDropout(layer.seed, layer.name)
    return layer.__class__.from_config(layer.get_config())
