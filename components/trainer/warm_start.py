"""A head that starts from the served model's instead of random weights.

What is needed travels with the model, in the folder `assets.extra` that TF Serving leaves alone.
Only the head's weights after its own stage are taken: the base starts from its own file again, so
that kept features stay true.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from components.trainer.head import LOGIT, OUTPUT

FOLDER = "assets.extra/warm_start"
WEIGHTS_FILE = "head.npz"
FACTS_FILE = "head.json"
# What must be the same for a head's weights to mean the same.
SHAPING = ("pooling", "hidden", "activation", "batch_normalization", "binary")


def save(model_folder: str, head: keras.Model, facts: Mapping[str, Any]) -> None:
    """Writes the head's weights and what they are of into an exported model's folder.

    Args:
        model_folder: the SavedModel.
        head: with its weights after the head's stage.
        facts: see `facts_of`.
    """
    folder = Path(model_folder, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / WEIGHTS_FILE, **_weights(head))
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1))


def facts_of(settings: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Returns what a head's weights are of: base, images, shape of the head, labels."""
    return {
        "base_sha256": settings["base_sha256"],
        "image": dict(settings["image"]),
        "head": {name: settings["head"][name] for name in SHAPING},
        "labels": list(labels),
    }


def start_from(model_folder: str | None, head: keras.Model, facts: Mapping[str, Any]) -> str:
    """Gives a new head the weights of an earlier model's, row by row of the labels in common.

    Args:
        model_folder: the earlier SavedModel; None where there is none.
        head: the new head.
        facts: what the new head is of, see `facts_of`.

    Returns:
        A sentence for the user: what it started from, or why it starts anew.
    """
    if not model_folder:
        return (
            "Warm start: there is no model to start from, as none is served yet or the one that is "
            "learned from these very images; the head starts anew."
        )
    folder = Path(model_folder, FOLDER)
    try:
        before = json.loads((folder / FACTS_FILE).read_text())
        with np.load(folder / WEIGHTS_FILE) as arrays:
            weights = dict(arrays)
        differing = _differing(before, facts)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return "Warm start: the served model carries no head to start from; the head starts anew."
    if differing:
        return f"Warm start: {', '.join(differing)} changed since; the head starts anew."
    _carry_over(weights, before["labels"], head, facts["labels"])
    return "Warm start: the head starts from the served model's." + _label_changes(
        before["labels"], facts["labels"]
    )


def _weights(head: keras.Model) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{row}": np.array(variable)
        for layer in head.layers
        for row, variable in enumerate(layer.weights)
    }


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    differing = [] if before["base_sha256"] == now["base_sha256"] else ["the base"]
    for section in ("image", "head"):
        differing += [
            f"{section}.{name}"
            for name, value in now[section].items()
            if before[section].get(name) != json.loads(json.dumps(value))
        ]
    # One sigmoid knows no third class, and the second may be another one now.
    if now["head"]["binary"] and sorted(before["labels"]) != sorted(now["labels"]):
        differing.append("the two classes")
    return differing


def _carry_over(
    weights: Mapping[str, np.ndarray],
    labels_before: Sequence[str],
    head: keras.Model,
    labels: Sequence[str],
) -> None:
    is_other = list(labels_before) != list(labels)
    column = {label: row for row, label in enumerate(labels_before)}
    common = [(row, column[label]) for row, label in enumerate(labels) if label in column]
    for layer in head.layers:
        for row, variable in enumerate(layer.weights):
            found = weights[f"{layer.name}/{row}"]
            if layer.name == LOGIT and is_other:
                found = -found  # the classes changed places, and p became 1 - p
            if layer.name == OUTPUT and is_other:
                value = np.array(variable)
                for now, before in common:
                    value[..., now] = found[..., before]
                found = value
            variable.assign(found)


def _label_changes(before: Sequence[str], now: Sequence[str]) -> str:
    new = [label for label in now if label not in set(before)]
    gone = [label for label in before if label not in set(now)]
    words = f" New classes start anew: {', '.join(new)}." if new else ""
    return words + (f" Classes that are gone were left out: {', '.join(gone)}." if gone else "")
