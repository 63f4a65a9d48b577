"""What TFX's Trainer calls: features once, the head on them, then optional fine-tuning, export."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components import features
from components.digests import code_digest, file_digest
from components.trainer import backbones, dataset, early_stopping, feature_cache, model, signatures

EXTRACTION_BATCH = 64  # images; features do not depend on it, memory does
MAKERS = ("backbones", "dataset", "feature_cache")  # the modules that make the features
TRAINING_RECORD = "training.json"  # learning curves and figures, in the model run directory


def run_fn(fn_args: Any) -> None:
    """Trains and exports the classifier.

    Args:
        fn_args: TFX's `FnArgs`: `train_files` are patterns of the training split only;
            `custom_config` holds the sections `base`, `image`, `head`, `train`, `fine_tune` of the
            configuration, the digests `base_sha256` and `transform_sha256`, and the folder `cache`.
    """
    settings = fn_args.custom_config
    keras.utils.set_random_seed(settings["train"]["seed"])
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    labels = [
        label.decode() for label in transform_output.vocabulary_by_name(features.LABEL_VOCABULARY)
    ]
    base = backbones.load_base(settings["base"], settings["image"]["size"])
    embedder = backbones.pooled_base(base, settings["image"]["size"], settings["head"]["pooling"])

    files = _expand(fn_args.train_files)
    cached, from_cache = _features(files, settings, transform_output, embedder, labels)
    watched = early_stopping.watched(
        list(cached.keys), list(cached.label_index), settings["train"]["watch"]
    )
    train = _patient(settings["train"], int((~watched).sum()))
    head = model.new_head(embedder.output.shape[-1], len(labels), settings["head"])
    curves = {"head": _train_head(head, cached, watched, train)}
    classifier = model.join(embedder, head)
    if settings["fine_tune"]["layers"]:
        stage = {**train, **settings["fine_tune"]}
        watched_keys = [bytes(key) for key in cached.keys[watched]]
        training, watching = (
            dataset.fine_tuning_batches(
                files, transform_output, watched_keys, watch, stage["batch_size"], stage["seed"]
            )
            for watch in (False, True)
        )
        curves["fine_tune"] = _fine_tune(classifier, base, training, watching, stage)

    module = signatures.ServingModule(classifier, embedder, transform_output, labels)
    signatures.export(module, fn_args.serving_model_dir)
    _record(fn_args.model_run_dir, curves, watched, from_cache)


def _expand(patterns: Sequence[str]) -> list[str]:
    """Returns the files of TFX's patterns, which it leaves to the caller to expand."""
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))


def _patient(train: Mapping[str, Any], images: int) -> dict[str, Any]:
    patience = early_stopping.patience_in_epochs(train["patience"], images, train["batch_size"])
    return {**train, "patience": patience}


def _features(
    files: Sequence[str],
    settings: Mapping[str, Any],
    transform_output: Any,
    embedder: keras.Model,
    labels: Sequence[str],
) -> tuple[feature_cache.Features, bool]:
    key = feature_cache.cache_key(
        [
            *(file_digest(path) for path in files),
            json.dumps(settings["image"], sort_keys=True),
            settings["transform_sha256"],
            settings["base_sha256"],
            *(code_digest(f"components.trainer.{name}") for name in MAKERS),
            settings["head"]["pooling"],
            *labels,
        ]
    )

    def extract() -> Iterator[feature_cache.Batch]:
        batches = dataset.transformed_batches(files, transform_output, EXTRACTION_BATCH)
        for pixels, label_index, keys in batches:
            yield embedder.predict_on_batch(pixels), label_index.numpy(), keys.numpy()

    width = embedder.output.shape[-1]
    folder = Path(settings["cache"]) / "features"
    return feature_cache.load_or_extract(folder, key, width, extract)


def _train_head(
    head: keras.Model,
    cached: feature_cache.Features,
    watched: np.ndarray,
    train: Mapping[str, Any],
) -> dict[str, list[float]]:
    return model.fit(
        head,
        (cached.vectors[~watched], cached.label_index[~watched]),
        (cached.vectors[watched], cached.label_index[watched]),
        train,
    )


def _fine_tune(
    classifier: keras.Model,
    base: keras.Model,
    training: Any,
    watching: Any,
    stage: Mapping[str, Any],
) -> dict[str, list[float]]:
    classifier.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss_before = classifier.evaluate(watching, verbose=0)[0]
    weights_before = classifier.get_weights()
    model.unfreeze_top(base, stage["layers"])
    curves = model.fit(classifier, training, watching, stage)
    if min(curves["val_loss"]) > loss_before:
        logging.info("Fine-tuning did not lower the watched loss; the head's stage is kept.")
        classifier.set_weights(weights_before)
    return curves


def _record(folder: str, curves: Mapping[str, Any], watched: np.ndarray, from_cache: bool) -> None:
    record = {
        "curves": curves,
        "trained_on": int((~watched).sum()),
        "watched": int(watched.sum()),
        "features_from_cache": from_cache,
    }
    path = Path(folder) / TRAINING_RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1))
