"""What TFX's Trainer calls: features once, the head on them, then optional fine-tuning, export."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from components import bases
from components.augmentations import augment_text, resolve_augment
from components.digests import parts_digest
from components.evaluator.feature_facts import FeatureFacts, write_facts
from components.trainer import (
    augmentation,
    curves,
    dataset,
    extraction,
    model,
    observations,
    preparation,
    samples,
    signatures,
    stages,
    tuned,
    warm_start,
    warmup,
)
from components.trainer.preparation import Prepared
from components.trainer.progress import BUDGET, Budget, Keeper, Progress
from components.trainer.record import CURVES_FILE, RECORD_FILE, TENSORBOARD
from components.trainer.stages import FINE_TUNE, HEAD, Context
from components.transform.image_ops import unscale

SECTIONS = {HEAD: "train", FINE_TUNE: "fine_tune"}  # of the configuration, by stage
TRAININGS = "training"  # folder of the states of trainings, in the pipeline's cache


def run_fn(fn_args: Any) -> None:
    """Trains and exports the classifier.

    Args:
        fn_args: TFX's `FnArgs`: `train_files` are patterns of the training split only;
            `custom_config` holds the sections `base`, `image`, `head`, `train`, `fine_tune` of the
            configuration (`train.time_budget` in seconds), the digests `base_sha256`,
            `transform_sha256` and `code_sha256`, and the folder `cache`; `base_model` is the
            served model with `train.warm_start`; `hyperparameters` are the tuner's.
    """
    started = time.monotonic()
    settings, values = tuned.apply(fn_args.custom_config, fn_args.hyperparameters)
    budget = Budget(settings["train"]["time_budget"])
    prepared = preparation.prepare(fn_args, settings)
    prepared_at = time.monotonic()
    folder = Path(fn_args.model_run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(Path(settings["cache"], TRAININGS), _key(prepared, fn_args.base_model))
    context = Context(keeper, budget, folder / TENSORBOARD)

    notes = list(prepared.notes)
    head = stages.build_head(prepared, settings["head"])
    facts = warm_start.facts_of(settings, prepared.labels)
    if settings["train"]["warm_start"]:
        notes.append(warm_start.start_from(fn_args.base_model, head, facts))
    courses = {HEAD: stages.train_head(prepared, head, context)}
    head_weights = head.get_weights()
    if settings["fine_tune"]["layers"]:
        courses |= _fine_tune(prepared, head, context, courses[HEAD], notes)

    embedder = _in_float32(prepared)
    module = signatures.ServingModule(
        head, embedder, prepared.transform_output, prepared.labels, settings["image"]
    )
    signatures.export(module, fn_args.serving_model_dir)
    warmup.write_requests(
        fn_args.serving_model_dir, dataset.first_images(prepared.files, max(warmup.BATCHES))
    )
    head.set_weights(head_weights)
    warm_start.save(fn_args.serving_model_dir, head, facts)
    if gives_kept_features(settings) and _kept(courses) == HEAD:
        space = extraction.space_of(settings)
        write_facts(fn_args.serving_model_dir, FeatureFacts(space, embedder.output.shape[-1]))
    notes += _observe(prepared, courses, budget)
    seconds = {"features": prepared_at - started, "training": time.monotonic() - prepared_at}
    _record(folder, prepared, courses, notes, values, seconds)
    keeper.forget()


def gives_kept_features(settings: Mapping[str, Any]) -> bool:
    """Whether a served base that is not fine-tuned gives exactly the features that are kept."""
    train = settings["train"]
    return bool(train["precision"] == train["cache_dtype"] == model.FLOAT32)


def _key(prepared: Prepared, base_model: str | None) -> str:
    """Identifies a training by all that its result depends on, so that it goes on with its own."""
    settings = prepared.settings
    lasting = {name: value for name, value in settings["train"].items() if name != "time_budget"}
    return parts_digest(
        [
            json.dumps({**settings, "train": lasting}, sort_keys=True),
            *prepared.labels,
            prepared.index.keys.tobytes(),
            prepared.index.label_index.tobytes(),
            prepared.watched.tobytes(),
            base_model or "",
        ]
    )


def _fine_tune(
    prepared: Prepared,
    head: keras.Model,
    context: Context,
    before: Progress,
    notes: list[str],
) -> dict[str, Progress]:
    """Fine-tunes and keeps the better of both stages on the watched images."""
    if context.budget.is_over:
        notes.append("The time budget was used up before fine-tuning; the head's stage is kept.")
        return {}
    weights = prepared.base.get_weights(), head.get_weights()
    course = stages.fine_tune(prepared, head, context)
    if course.best_loss > before.best_loss:
        prepared.base.set_weights(weights[0])
        head.set_weights(weights[1])
        notes.append(
            f"Fine-tuning did not lower the watched loss ({course.best_loss:.3f} against "
            f"{before.best_loss:.3f}); the head's stage is kept."
        )
    return {FINE_TUNE: course}


def _in_float32(prepared: Prepared) -> keras.Model:
    """Returns the embedder as it is served, whatever was trained in."""
    if prepared.settings["train"]["precision"] == model.FLOAT32:
        return prepared.embedder
    base, embedder = extraction.new_embedder(prepared.settings, model.FLOAT32)
    base.set_weights(prepared.base.get_weights())
    return embedder


def _observe(prepared: Prepared, courses: Mapping[str, Progress], budget: Budget) -> list[str]:
    """Returns what the user should know of the course of training, in sentences."""
    found: list[str | None] = [observations.small_classes(prepared.counts)]
    for stage, course in courses.items():
        if course.resumed_after:
            found.append(
                f"Stage {stage} went on after epoch {course.resumed_after}, with which a training "
                "that was stopped had been saved."
            )
        if course.ended == BUDGET:
            cut = course.steps_of_last
            where = f"in epoch {course.epoch}" + (f", after {cut} of its steps" if cut else "")
            found.append(
                f"The time budget of {budget.seconds:g} s ended stage {stage} {where}; the best "
                "so far is kept."
            )
    name = _kept(courses)
    kept, epochs = courses[name], prepared.settings[SECTIONS[name]]["epochs"]
    found.append(
        observations.overfitting(kept.curves, int(prepared.watched.sum()), kept.best_epoch)
    )
    found.append(observations.still_improving(kept.curves, kept.best_epoch, epochs))
    return [words for words in found if words]


def _kept(courses: Mapping[str, Progress]) -> str:
    """Returns the stage whose weights are exported."""
    fine_tuned = courses.get(FINE_TUNE)
    return FINE_TUNE if fine_tuned and fine_tuned.best_loss <= courses[HEAD].best_loss else HEAD


def _record(
    folder: Path,
    prepared: Prepared,
    courses: Mapping[str, Progress],
    notes: Sequence[str],
    values: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> None:
    """Writes what a person or a report wants to know of the training."""
    watched = int(prepared.watched.sum())
    record = {
        "stages": {
            name: {
                "best_epoch": course.best_epoch,
                "epochs": course.epoch,
                "ended": course.ended,
                "curves": course.curves,
            }
            for name, course in courses.items()
        },
        "kept": _kept(courses),
        "trained_on": len(prepared.watched) - watched,
        "watched": watched,
        "classes": prepared.counts,
        "class_weights": dict(zip(prepared.labels, prepared.weights, strict=True)),
        "features": {"computed": prepared.computed, "reused": prepared.reused},
        "devices": prepared.strategy.num_replicas_in_sync,
        "tuned": dict(values),
        "notes": list(notes),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=1))
    curves.plot_curves({name: one.curves for name, one in courses.items()}, folder / CURVES_FILE)
    if resolve_augment(prepared.settings["train"]["augment"]):
        _write_samples(prepared, folder)
    for note in notes:
        logging.info(note)


def _write_samples(prepared: Prepared, folder: Path) -> None:
    """Writes the page that shows what augmentation makes of a few training images."""
    image, train = prepared.settings["image"], prepared.settings["train"]
    keys = np.unique(prepared.index.keys[~prepared.watched])[: samples.ROWS]
    pixels = preparation.read_pixels(prepared, set(keys.tolist()))
    shown = np.clip(np.rint(unscale(pixels, image["preprocessing"])), 0, 255).astype(np.uint8)
    augmenter = augmentation.new_augmenter(
        train["augment"], image["size"], bases.NONE, train["seed"]
    )
    samples.write_samples(
        shown,
        lambda originals: augmenter(originals, training=True),
        folder,
        augment_text(train["augment"]),
    )
