"""Which photos a person should see, and small pictures of them, found in the run's own examples.

The examples hold what was trained and evaluated on, whatever has become of the source since.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from components import features
from components.evaluator.photos import BASELINE, CANDIDATE, Photos
from components.examples_files import (
    list_files,
    read_bytes,
    read_images,
    read_records,
    read_text,
)
from components.model_gate.comparison import Paired
from components.thumbnails import Thumbnail, make_thumbnail

MOST = 24  # photos of a kind
PER_CLASS = 5  # samples of a class
CLASSES = 40  # of which samples are shown
SIDE = 176  # pixels of a picture's longer side


@dataclass(frozen=True)
class Shown:
    """A photo on the page.

    Attributes:
        sha256: content key.
        path: relative to the source.
        label: its class.
        said: the class that the new model chooses; empty where no model was asked.
        score: the probability that it gives this class, in [0, 1].
        baseline_said: the class that the served model chooses; empty where it was not asked.
        baseline_score: the probability that this one gives its class.
    """

    sha256: str
    path: str
    label: str
    said: str = ""
    score: float = 0.0
    baseline_said: str = ""
    baseline_score: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether the new model chooses the photo's class."""
        return self.said == self.label


def choose_wrong(photos: Photos) -> list[Shown]:
    """Returns photos that the new model gets wrong, those first of which it is surest."""
    scores = photos.probabilities[CANDIDATE]
    said = scores.argmax(axis=1)
    wrong = np.flatnonzero(said != photos.label_index)
    ranked = wrong[np.argsort(-scores[wrong].max(axis=1), kind="stable")]
    return [_shown(photos, row, said[row]) for row in ranked[:MOST]]


def choose_unsure(photos: Photos) -> list[Shown]:
    """Returns photos for which the new model's two best classes are closest."""
    scores = photos.probabilities[CANDIDATE]
    if scores.shape[1] < 2:
        return []
    best = np.sort(scores, axis=1)
    ranked = np.argsort(best[:, -1] - best[:, -2], kind="stable")
    return [_shown(photos, row, scores[row].argmax()) for row in ranked[:MOST]]


def choose_changed(photos: Photos, paired: Paired, fixed: bool) -> list[Shown]:
    """Returns photos that only one of the models gets right, the new one's surest answers first.

    Args:
        photos: of the evaluation.
        paired: what each model says of those that are compared.
        fixed: whether the new one gets them right, or the served one.
    """
    right, other = paired.candidate, paired.baseline
    places = np.flatnonzero(right & ~other if fixed else other & ~right)
    chosen = paired.said[CANDIDATE][places]
    scores = photos.probabilities[CANDIDATE][paired.rows[places], chosen]
    ranked = places[np.argsort(-scores, kind="stable")][:MOST]
    return [
        _shown(
            photos, paired.rows[place], paired.said[CANDIDATE][place], paired.said[BASELINE][place]
        )
        for place in ranked
    ]


def choose_samples(photos: Photos) -> dict[str, list[Shown]]:
    """Returns a few photos of each of the largest classes, chosen by content.

    See `PER_CLASS` and `CLASSES`.
    """
    counts = Counter(photos.labels.union[column] for column in photos.label_index if column >= 0)
    samples: defaultdict[str, list[Shown]] = defaultdict(list)
    for row, column in enumerate(photos.label_index):
        label = photos.labels.union[column] if column >= 0 else ""
        if label and len(samples[label]) < PER_CLASS:
            samples[label].append(Shown(photos.sha256[row], photos.paths[row], label))
    largest = sorted(samples, key=lambda label: -counts[label])[:CLASSES]
    return {label: samples[label] for label in sorted(largest)}


def _shown(photos: Photos, row: int, said: int, baseline_said: int | None = None) -> Shown:
    labels, column = photos.labels.union, photos.label_index[row]
    baseline = (
        (labels[baseline_said], float(photos.probabilities[BASELINE][row, baseline_said]))
        if baseline_said is not None
        else ("", 0.0)
    )
    return Shown(
        photos.sha256[row],
        photos.paths[row],
        # What no model knows stands in the photo's slices alone.
        labels[column] if column >= 0 else _label_slice(photos.slices[row]),
        labels[said],
        float(photos.probabilities[CANDIDATE][row, said]),
        *baseline,
    )


def _label_slice(names: Iterable[str]) -> str:
    prefix = "label="
    return next((name.removeprefix(prefix) for name in names if name.startswith(prefix)), "")


def read_thumbnails(folder: str, wanted: Collection[str], max_pixels: int) -> dict[str, Thumbnail]:
    """Returns small pictures of photos by content key; those that cannot be shown are left out.

    Only the files that hold a wanted photo are read, each once.

    Args:
        folder: URI of the examples of one split.
        wanted: content keys.
        max_pixels: no image with more is decoded, at least 1.
    """
    found: dict[str, Thumbnail] = {}
    for sha256, content in read_images(folder, wanted):
        with warnings.catch_warnings():
            # Pillow warns of large images and odd metadata, which the limit settles.
            warnings.simplefilter("ignore")
            thumbnail = make_thumbnail(content, max_pixels, SIDE)
        if thumbnail:
            found[sha256] = thumbnail
    return found


def read_samples(
    folder: str, max_pixels: int
) -> tuple[dict[str, list[Shown]], dict[str, Thumbnail]]:
    """Returns a few photos of each class and their pictures, of a split that was not evaluated.

    They come from the first file of the split, as each file is a random part of it.

    Args:
        folder: URI of the examples of one split.
        max_pixels: no image with more is decoded, at least 1.
    """
    samples: defaultdict[str, list[Shown]] = defaultdict(list)
    pictures: dict[str, Thumbnail] = {}
    for file in list_files(folder)[:1]:
        for values in read_records(file):
            label = read_text(values, features.LABEL)
            is_full = label not in samples and len(samples) == CLASSES
            if is_full or len(samples[label]) >= PER_CLASS:
                continue
            sha256 = read_text(values, features.SHA256)
            samples[label].append(Shown(sha256, read_text(values, features.PATH), label))
            thumbnail = make_thumbnail(read_bytes(values, features.IMAGE), max_pixels, SIDE)
            if thumbnail:
                pictures[sha256] = thumbnail
    return {label: samples[label] for label in sorted(samples)[:CLASSES]}, pictures
