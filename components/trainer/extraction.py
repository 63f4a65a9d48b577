"""Features of the frozen base: of images as they are, and of changed copies; kept by content.

All code that shapes a feature is in the modules that `MAKERS` names, whose digests are part of the
name under which features are kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.augmentations import resolve_augment
from components.digests import code_digest, parts_digest
from components.image_example_gen.decoders import decoder_versions
from components.trainer import (
    augmentation,
    backbones,
    dataset,
    devices,
    feature_cache,
    feature_noise,
    feature_segments,
    model,
)

BATCH = 64  # images; features do not depend on it, memory does
# Re-encoding decides what stands behind a content key.
MAKERS = ("components.trainer.extraction", "components.image_example_gen.reencode")


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


def changes_anew(train: Mapping[str, Any]) -> bool:
    """Whether every epoch of the head's stage passes newly changed images through the base."""
    return bool(resolve_augment(train["augment"])) and not train["augment_copies"]


def space_of(settings: Mapping[str, Any], copy: int = 0) -> str:
    """Names all that features depend on but the image.

    Args:
        settings: see `run.run_fn`.
        copy: number of the changed copy. Default: 0, the image as it is.
    """
    parts = [
        json.dumps(settings["image"], sort_keys=True),
        settings["transform_sha256"],
        settings["base_sha256"],
        settings["head"]["pooling"],
        settings["train"]["precision"],
        *(code_digest(module) for module in MAKERS),
        *decoder_versions(),  # re-encoding calls them
    ]
    if copy:
        changes = resolve_augment(settings["train"]["augment"])
        parts.append(json.dumps([changes, settings["train"]["seed"], copy]))
    return parts_digest(parts)


class Extraction:
    """Computes the features that are not kept yet.

    Args:
        files: TFRecord files of raw examples.
        transform_output: a `tft.TFTransformOutput`.
        settings: see `run.run_fn`.
        embedder: see `new_embedder`.
        strategy: where the base computes.
    """

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

    def collect(self, keys: np.ndarray) -> list[feature_cache.Collected]:
        """Returns features of images as they are and then, with augmentation, of each copy.

        Args:
            keys: S64 [images], content keys; may repeat.
        """
        train = self._settings["train"]
        copies = train["augment_copies"] if resolve_augment(train["augment"]) else 0
        return [self._collect(keys, copy) for copy in range(1 + copies)]

    def tell_small_limit(self, images: int, copies: int) -> Iterator[str]:
        """Yields a note where so many changed copies do not fit into the cache together."""
        train, width = self._settings["train"], self._embedder.output.shape[-1]
        needed = (1 + copies) * images * feature_segments.row_bytes(width, train["cache_dtype"])
        if copies and needed > train["cache_limit"]:
            yield (
                f"The features of {images:,} images and {copies} changed copies of each take "
                f"{needed:,} bytes, and train.cache_limit={train['cache_limit']:,} keeps fewer: "
                "each run computes some of them again."
            )

    def _collect(self, keys: np.ndarray, copy: int) -> feature_cache.Collected:
        train = self._settings["train"]
        return feature_cache.collect(
            Path(self._settings["cache"]) / feature_cache.FOLDER,
            space_of(self._settings, copy),
            keys,
            self._embedder.output.shape[-1],
            lambda wanted: self.extract(wanted, copy),
            dtype=train["cache_dtype"],
            limit=train["cache_limit"],
            tolerance=feature_noise.tolerance(train["precision"] == model.FLOAT32),
        )

    def extract(self, keys: frozenset[bytes], copy: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features, float32 [batch, width], and keys, S64 [batch], passed through the base.

        Args:
            keys: content keys of the images that are wanted.
            copy: number of the changed copy; 0 for the image as it is.
        """
        change = new_change(self._settings) if copy else None

        @tf.function(autograph=False)
        def embed(pixels: tf.Tensor, batch_keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return tf.cast(self._embedder(pixels, training=False), tf.float32), batch_keys

        batches = dataset.pixel_batches(
            self._files,
            self._transform_output,
            BATCH,
            keys,
            (lambda pixels, batch_keys: change(pixels, batch_keys, copy)) if change else None,
        )
        # A GPU holds no text, such as the keys.
        options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
        before: tuple[Any, Any] | None = None
        for batch in devices.distribute(batches, self._strategy, options):
            # Fetched one batch late, so that a GPU computes while the next batch is copied to it.
            now = self._strategy.run(embed, args=batch)
            if before:
                yield from self._parts(*before)
            before = now
        if before:
            yield from self._parts(*before)

    def _parts(self, vectors: Any, keys: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields each device's part; as rows are found by key, their order is free."""
        for part, part_keys in zip(
            self._strategy.experimental_local_results(vectors),
            self._strategy.experimental_local_results(keys),
            strict=True,
        ):
            yield part.numpy(), part_keys.numpy().astype("S64")
