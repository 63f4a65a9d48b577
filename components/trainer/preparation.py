"""What Trainer and Tuner start from: labels, the frozen base, its features, the watched images."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components import features
from components.trainer import dataset, devices, early_stopping, extraction
from components.trainer.class_weights import class_weights
from components.trainer.extraction import Extraction, new_embedder
from components.trainer.labels import check_binary


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first step of training.

    Attributes:
        settings: the sections of the configuration and the digests that Trainer is given.
        files: TFRecord files of the training split.
        transform_output: a `tft.TFTransformOutput`.
        labels: the classes in vocabulary order.
        base: the frozen base, in the precision that it is trained in.
        embedder: base and pooling: pixels to float32 [batch, width].
        index: keys and labels of the training images.
        watched: bool [images], those that early stopping watches.
        variants: features of the images; the further ones of changed copies. Where every epoch
            changes the images anew and nobody else asks for more, those of watched images only.
        weights: how much an image of each class counts.
        computed: features that were computed now, those of changed copies too.
        reused: features that were kept.
        notes: sentences for the user.
        strategy: where the steps run.
    """

    settings: Mapping[str, Any]
    files: Sequence[str]
    transform_output: Any
    labels: Sequence[str]
    base: keras.Model
    embedder: keras.Model
    index: dataset.Index
    watched: np.ndarray
    variants: Sequence[dataset.Gather]
    weights: Sequence[float]
    computed: int
    reused: int
    notes: tuple[str, ...]
    strategy: tf.distribute.Strategy

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class that are trained on or watched."""
        numbers = np.bincount(self.index.label_index, minlength=len(self.labels))
        return dict(zip(self.labels, numbers.tolist(), strict=True))


def prepare(fn_args: Any, settings: Mapping[str, Any], all_features: bool = False) -> Prepared:
    """Loads the base and computes the features that are not kept yet.

    Args:
        fn_args: TFX's `FnArgs`: `train_files` are patterns of the training split only.
        settings: see `run.run_fn`.
        all_features: whether features of all images are wanted even where the head's stage is
            trained on newly changed images, as by the tuner. Default: False.
    """
    # Of a seed of 0 TensorFlow asks whether a shuffle's own is 0 too, which a tensor cannot answer.
    keras.utils.set_random_seed(settings["train"]["seed"] + 1)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    labels = [
        label.decode() for label in transform_output.vocabulary_by_name(features.LABEL_VOCABULARY)
    ]
    check_binary(settings["head"]["binary"], len(labels), labels)
    files = _expand(fn_args.train_files)
    index = dataset.read_index(files, labels)
    watched = watched_images(index, settings["train"]["watch"])
    strategy = devices.choose_strategy()
    with strategy.scope():
        base, embedder = new_embedder(settings)
    source = Extraction(files, transform_output, settings, embedder, strategy)
    needed = watched if extraction.changes_anew(settings["train"]) and watched.any() else None
    places = np.arange(len(index.keys)) if needed is None or all_features else _places(needed)
    found = source.collect(index.keys[places >= 0])
    notes = dict.fromkeys(note for one in found for note in one.notes)
    notes |= dict.fromkeys(source.tell_small_limit(len(np.unique(index.keys)), len(found) - 1))
    for note in notes:
        logging.warning(note)
    counts = np.bincount(index.label_index[~watched], minlength=len(labels)).tolist()
    balanced = settings["train"]["class_weights"] == "balanced"
    return Prepared(
        settings=settings,
        files=files,
        transform_output=transform_output,
        labels=labels,
        base=base,
        embedder=embedder,
        index=index,
        watched=watched,
        variants=[_Placed(one.vectors, places) for one in found],
        weights=class_weights(counts) if balanced else [1.0] * len(labels),
        computed=sum(one.computed for one in found),
        reused=sum(one.reused for one in found),
        notes=tuple(notes),
        strategy=strategy,
    )


def watched_images(index: dataset.Index, share: float) -> np.ndarray:
    """Returns which images early stopping watches, bool [images].

    Copies of a watched image are watched too, whatever groups they are in.
    """
    chosen = early_stopping.watched(list(index.split_keys), list(index.label_index), share)
    return np.isin(index.keys, index.keys[chosen])


class _Placed:
    """Features of some of the images, found by the numbers that these have among all."""

    def __init__(self, rows: dataset.Gather, places: np.ndarray):
        self._rows, self._places, self.width = rows, places, rows.width

    def __len__(self) -> int:
        return len(self._places)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Returns float32 [len(indices), width]."""
        return self._rows.gather(self._places[indices])


def _places(needed: np.ndarray) -> np.ndarray:
    """Returns for each image its row among those that are needed, -1 for the others."""
    return np.where(needed, np.cumsum(needed) - 1, -1)


def read_pixels(prepared: Prepared, keys: set[bytes]) -> np.ndarray:
    """Returns the pixels of some images as the base sees them, float32 [images, size, size, 3]."""
    batches = dataset.pixel_batches(
        prepared.files, prepared.transform_output, extraction.BATCH, keys
    )
    return np.concatenate([pixels.numpy() for pixels, _ in batches])


def _expand(patterns: Sequence[str]) -> list[str]:
    """Returns the files of TFX's patterns, which it leaves to the caller to expand."""
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
