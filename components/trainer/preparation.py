"""What Trainer and Tuner start from: labels, the frozen base, its features, the watched images."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components import features
from components.augmentations import resolve_augment
from components.digests import code_digest, parts_digest
from components.errors import InputError
from components.trainer import (
    augmentation,
    backbones,
    dataset,
    early_stopping,
    feature_cache,
    feature_segments,
    model,
)
from components.trainer.class_weights import class_weights

EXTRACTION_BATCH = 64  # images; features do not depend on it, memory does
TOLERANCE, ROUGH = 1e-3, 2e-2  # of a vector's length: noise of float32, and of 16 bits
# The modules that make the features; re-encoding decides what stands behind a content key.
MAKERS = (
    "components.trainer.backbones",
    "components.trainer.dataset",
    "components.image_example_gen.reencode",
)


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
        variants: features of all images; the further ones of changed copies. Empty where every
            epoch changes the images anew.
        weights: how much an image of each class counts.
        computed: distinct images whose features were computed now.
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
    notes: tuple[str, ...]
    strategy: tf.distribute.Strategy

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class that are trained on or watched."""
        numbers = np.bincount(self.index.label_index, minlength=len(self.labels))
        return dict(zip(self.labels, numbers.tolist(), strict=True))


def prepare(fn_args: Any, settings: Mapping[str, Any]) -> Prepared:
    """Loads the base and computes the features that are not kept yet.

    Args:
        fn_args: TFX's `FnArgs`: `train_files` are patterns of the training split only.
        settings: see `run.run_fn`.
    """
    # Of a seed of 0 TensorFlow asks whether a shuffle's own is 0 too, which a tensor cannot answer.
    keras.utils.set_random_seed(settings["train"]["seed"] + 1)
    transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    labels = [
        label.decode() for label in transform_output.vocabulary_by_name(features.LABEL_VOCABULARY)
    ]
    _check_classes(settings["head"], labels)
    files = _expand(fn_args.train_files)
    index = dataset.read_index(files, labels)
    strategy = choose_strategy()
    with strategy.scope():
        base, embedder = new_embedder(settings)
    extraction = _Extraction(files, transform_output, settings, embedder, strategy)
    variants, computed, notes = extraction.collect(index, labels)
    chosen = early_stopping.watched(
        list(index.split_keys), list(index.label_index), settings["train"]["watch"]
    )
    # Copies of a watched image are watched too, whatever groups they are in.
    watched = np.isin(index.keys, index.keys[chosen])
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
        variants=variants,
        weights=class_weights(counts) if balanced else [1.0] * len(labels),
        computed=computed,
        notes=notes,
        strategy=strategy,
    )


def choose_strategy() -> tf.distribute.Strategy:
    """Returns a strategy over all GPUs where there are several, else the one device's."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.get_strategy()


def new_embedder(
    settings: Mapping[str, Any], precision: str | None = None
) -> tuple[keras.Model, keras.Model]:
    """Returns the frozen base and, sharing its weights, base and pooling as one model.

    Args:
        settings: see `run.run_fn`.
        precision: what it computes in. Default: `train.precision`.
    """
    size = settings["image"]["size"]
    base = backbones.load_base(settings["base"], size)
    base = model.in_precision(base, precision or settings["train"]["precision"])
    return base, backbones.pooled_base(base, size, settings["head"]["pooling"])


def new_change(settings: Mapping[str, Any]) -> dataset.Change | None:
    """Returns what changes training images at random, as the configuration says; None for nothing.

    What an image becomes follows from the seed, the image and the number of the epoch or copy, so
    that it does not depend on batches and is the same when a training goes on.
    """
    image, train = settings["image"], settings["train"]
    if not resolve_augment(train["augment"]):
        return None
    augmenter = augmentation.new_augmenter(
        train["augment"], image["size"], image["preprocessing"], train["seed"]
    )

    def change(pixels: tf.Tensor, keys: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return augmenter.at(pixels, augmentation.variant_numbers(keys, number))

    return change


def read_pixels(prepared: Prepared, keys: set[bytes]) -> np.ndarray:
    """Returns the pixels of some images as the base sees them, float32 [images, size, size, 3]."""
    batches = dataset.pixel_batches(
        prepared.files, prepared.transform_output, EXTRACTION_BATCH, keys
    )
    return np.concatenate([pixels.numpy() for pixels, _ in batches])


class _Extraction:
    """Computes features of the base, of the images as they are and of changed copies."""

    def __init__(
        self,
        files: Sequence[str],
        transform_output: Any,
        settings: Mapping[str, Any],
        embedder: keras.Model,
        strategy: tf.distribute.Strategy,
    ):
        self._files, self._transform_output = files, transform_output
        self._settings, self._embedder, self._strategy = settings, embedder, strategy

    def collect(
        self, index: dataset.Index, labels: Sequence[str]
    ) -> tuple[list[dataset.Gather], int, tuple[str, ...]]:
        """Returns the variants of the features, the images computed and notes."""
        train = self._settings["train"]
        copies = train["augment_copies"] if resolve_augment(train["augment"]) else 0
        found = [self._collect(index, copy) for copy in range(1 + copies)]
        notes = dict.fromkeys(note for one in found for note in one.notes)
        notes |= dict.fromkeys(self._tell_small_limit(len(np.unique(index.keys)), copies))
        for note in notes:
            logging.warning(note)
        return [one.vectors for one in found], found[0].computed, tuple(notes)

    def _collect(self, index: dataset.Index, copy: int) -> feature_cache.Collected:
        settings = self._settings
        return feature_cache.collect(
            Path(settings["cache"]) / "features",
            self._space(copy),
            index.keys,
            self._embedder.output.shape[-1],
            lambda keys: self._extract(keys, copy),
            dtype=settings["train"]["cache_dtype"],
            limit=settings["train"]["cache_limit"],
            tolerance=TOLERANCE if settings["train"]["precision"] == model.FLOAT32 else ROUGH,
        )

    def _tell_small_limit(self, images: int, copies: int) -> Iterator[str]:
        """Yields a note where the changed copies do not fit into the cache beside each other."""
        train, width = self._settings["train"], self._embedder.output.shape[-1]
        needed = (1 + copies) * images * feature_segments.row_bytes(width, train["cache_dtype"])
        if copies and needed > train["cache_limit"]:
            yield (
                f"The features of {images:,} images and {copies} changed copies of each take "
                f"{needed:,} bytes, and train.cache_limit={train['cache_limit']:,} keeps fewer: "
                "each run computes some of them again."
            )

    def _space(self, copy: int) -> str:
        """Identifies all that the features depend on but the image."""
        settings = self._settings
        parts = [
            json.dumps(settings["image"], sort_keys=True),
            settings["transform_sha256"],
            settings["base_sha256"],
            settings["head"]["pooling"],
            settings["train"]["precision"],
            *(code_digest(module) for module in MAKERS),
        ]
        if copy:
            changes = resolve_augment(settings["train"]["augment"])
            parts.append(json.dumps([changes, settings["train"]["seed"], copy]))
            parts.append(code_digest("components.trainer.augmentation"))
        return parts_digest(parts)

    def _extract(
        self, keys: frozenset[bytes], copy: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        change = new_change(self._settings) if copy else None

        @tf.function(autograph=False)
        def embed(pixels: tf.Tensor, batch_keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return tf.cast(self._embedder(pixels, training=False), tf.float32), batch_keys

        batches = dataset.pixel_batches(
            self._files,
            self._transform_output,
            EXTRACTION_BATCH,
            keys,
            (lambda pixels, batch_keys: change(pixels, batch_keys, copy)) if change else None,
        )
        for batch in self._strategy.experimental_distribute_dataset(batches):
            vectors, batch_keys = self._strategy.run(embed, args=batch)
            # Every device gives its part; as rows are found by key, their order is free.
            for part, part_keys in zip(
                self._strategy.experimental_local_results(vectors),
                self._strategy.experimental_local_results(batch_keys),
                strict=True,
            ):
                yield part.numpy(), part_keys.numpy().astype("S64")


def _expand(patterns: Sequence[str]) -> list[str]:
    """Returns the files of TFX's patterns, which it leaves to the caller to expand."""
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))


def _check_classes(head: Mapping[str, Any], labels: Sequence[str]) -> None:
    if head["binary"] and len(labels) != 2:
        raise InputError(
            f"Expected two classes with head.binary. Received: head.binary=true with {len(labels)} "
            f"classes ({', '.join(labels[:5])}). Take head.binary out."
        )
