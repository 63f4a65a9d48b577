"""The two stages of training: the head on features, then the base's last layers on images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.trainer import blocks, dataset, early_stopping, extraction, fitting, model
from components.trainer.fitting import Stage
from components.trainer.head import new_head, new_loss
from components.trainer.preparation import Prepared
from components.trainer.progress import Budget, Keeper, Progress

HEAD = "head"
FINE_TUNE = "fine_tune"
MIXED_FLOAT16 = "mixed_float16"


@dataclass(frozen=True)
class Context:
    """What both stages share.

    Attributes:
        keeper: keeps their state, so that a killed training goes on.
        budget: the time for both.
        logs: folder for TensorBoard; None for no logs.
    """

    keeper: Keeper
    budget: Budget
    logs: Path | None = None

    def logs_of(self, stage: str) -> Path | None:
        """Returns the folder of a stage's logs."""
        return self.logs / stage if self.logs else None


def build_head(prepared: Prepared, head: Mapping[str, Any]) -> keras.Model:
    """Returns a new head on the prepared features."""
    width = prepared.embedder.output.shape[-1]
    with prepared.strategy.scope():
        return new_head(width, len(prepared.labels), head, prepared.settings["train"]["seed"])


def train_head(prepared: Prepared, head: keras.Model, context: Context) -> Progress:
    """Trains the head on the frozen base's features, or on images that each epoch changes anew.

    Args:
        prepared: see `preparation.prepare`.
        head: see `build_head`; it has the best weights afterwards.
        context: see `Context`.

    Returns:
        The stage's course.
    """
    train = prepared.settings["train"]
    stage = head_stage(prepared)
    on_images = extraction.changes_anew(train)
    with prepared.strategy.scope():
        compile_for(prepared, head, train["learning_rate"])
        trained = head
        if on_images:
            trained = model.join(prepared.embedder, head)
            compile_for(prepared, trained, train["learning_rate"])
    return fitting.fit(
        trained,
        _image_batches(prepared) if on_images else head_batches(prepared),
        watched_batches(prepared),
        stage,
        tester=head,
        keeper=context.keeper,
        budget=context.budget,
        frozen=prepared.base.variables,
        logs=context.logs_of(HEAD),
        strategy=prepared.strategy,
    )


def fine_tune(prepared: Prepared, head: keras.Model, context: Context) -> Progress:
    """Trains the base's last layers and the head further, on images, at a lower rate.

    Args:
        prepared: see `preparation.prepare`.
        head: as the head's stage left it.
        context: see `Context`.

    Returns:
        The stage's course; base and head have its best weights.
    """
    settings, base = prepared.settings, prepared.base
    section = {**settings["train"], **settings[FINE_TUNE]}
    stage = _stage(prepared, FINE_TUNE, "fine_tune.learning_rate", section)
    first = blocks.first_trainable(base, settings["base"], section["layers"])
    with prepared.strategy.scope():
        model.unfreeze(base, first)
        trained = model.join(prepared.embedder, head)
        rate = fitting.warm_up_and_decay(
            section["learning_rate"], stage.steps * stage.epochs, section["warmup"]
        )
        compile_for(prepared, trained, rate)
    return fitting.fit(
        trained,
        _image_batches(prepared),
        _image_batches(prepared, watched=True)(0),
        stage,
        keeper=context.keeper,
        budget=context.budget,
        frozen=base.variables,
        logs=context.logs_of(FINE_TUNE),
        strategy=prepared.strategy,
    )


def head_stage(prepared: Prepared) -> Stage:
    """Returns how the head's stage is trained."""
    return _stage(prepared, HEAD, "train.learning_rate", prepared.settings["train"])


def compile_for(prepared: Prepared, trained: keras.Model, rate: Any) -> None:
    """Compiles a model as the configuration says, with a step size or its schedule."""
    settings = prepared.settings
    loss = new_loss(settings["head"]["label_smoothing"], len(prepared.labels))
    scaled = settings["train"]["precision"] == MIXED_FLOAT16
    fitting.compile_model(trained, rate, loss, scaled)


def head_batches(prepared: Prepared) -> dataset.Batches:
    """Returns the batches of features that the head is trained on."""
    train = prepared.settings["train"]
    return dataset.feature_batches(
        prepared.variants,
        np.flatnonzero(~prepared.watched),
        prepared.index.label_index,
        prepared.weights,
        train["batch_size"],
        train["seed"],
    )


def watched_batches(prepared: Prepared) -> tf.data.Dataset:
    """Returns the features that early stopping watches, of unchanged images."""
    return dataset.feature_batches(
        prepared.variants[:1],
        _watched_images(prepared),
        prepared.index.label_index,
        prepared.weights,
        extraction.BATCH,
        None,
    )(0)


def _watched_images(prepared: Prepared) -> np.ndarray:
    """Returns the numbers of the images to watch: all where there are too few to spare one."""
    return np.flatnonzero(prepared.watched if prepared.watched.any() else ~prepared.watched)


def _image_batches(prepared: Prepared, watched: bool = False) -> dataset.Batches:
    train = prepared.settings["train"]
    chosen = _watched_images(prepared) if watched else np.flatnonzero(~prepared.watched)
    keys = prepared.index.keys[chosen]
    return dataset.image_batches(
        prepared.files,
        prepared.transform_output,
        set(keys.tolist()),
        prepared.weights,
        train["batch_size"],
        None if watched else train["seed"],
        None if watched else extraction.new_change(prepared.settings),
    )


def _stage(prepared: Prepared, name: str, rate_key: str, section: Mapping[str, Any]) -> Stage:
    images = int((~prepared.watched).sum())
    patience = early_stopping.patience_in_epochs(section["patience"], images, section["batch_size"])
    return Stage(
        name=name,
        epochs=section["epochs"],
        steps=dataset.count_steps(images, section["batch_size"]),
        patience=patience,
        rate_key=rate_key,
        rate=section["learning_rate"],
        xla=section["xla"],
    )
