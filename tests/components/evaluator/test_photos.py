from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluator.photos import (
    BASELINE,
    CANDIDATE,
    Labels,
    read_photos,
    write_labels,
    write_rows,
)
from components.evaluator.slices import PROPERTIES

LABELS = Labels({CANDIDATE: ["daisy", "tulip"], BASELINE: ["tulip", "rose"]})


def row(key: str, **changes: Any) -> dict[str, Any]:
    texts = {"sha256": key, "path": f"{key}.jpg", "label": "tulip", "format": "jpeg"}
    numbers = {name: float(number) for number, name in enumerate(PROPERTIES, 10)}
    said = {CANDIDATE: [0.25, 0.75, 0.0], BASELINE: [0.0, 0.5, 0.5]}
    return {**texts, **numbers, "slices": ["label=tulip"], **said, **changes}


def test_the_union_has_the_candidates_classes_first() -> None:
    assert LABELS.union == ["daisy", "tulip", "rose"]
    assert LABELS.columns(CANDIDATE) == [0, 1]
    assert LABELS.columns(BASELINE) == [1, 2]


def test_rows_are_read_sorted_and_a_repeated_bundle_counts_once(tmp_path: Path) -> None:
    evaluation = str(tmp_path / "evaluation")
    write_labels(evaluation, LABELS)
    write_rows(evaluation, [row("b"), row("c", label="orchid", slices=["dark"])])
    write_rows(evaluation, [row("b"), row("a")])
    write_rows(evaluation, [row("b"), row("a")])
    photos = read_photos(evaluation)
    assert len(photos) == 3 and photos.paths == ["a.jpg", "b.jpg", "c.jpg"]
    assert photos.label_index.tolist() == [1, 1, -1]
    assert photos.is_in("label=tulip").tolist() == [True, True, False]
    np.testing.assert_allclose(photos.probabilities[CANDIDATE], [[0.25, 0.75, 0]] * 3)
    np.testing.assert_allclose(photos.probabilities[BASELINE], [[0, 0.5, 0.5]] * 3)
    assert photos.properties["size"].tolist() == [10.0] * 3  # the smaller of 10 and 11
    assert sorted(path.name[:5] for path in (tmp_path / "evaluation/photos").iterdir()) == [
        "part-",
        "part-",
    ]


def test_a_photo_without_a_baseline_has_the_candidates_answer_alone(tmp_path: Path) -> None:
    write_labels(str(tmp_path), Labels({CANDIDATE: ["daisy", "tulip"]}, "It is lost."))
    write_rows(str(tmp_path), [row("a", candidate=[0.5, 0.5], baseline=None)])
    photos = read_photos(str(tmp_path))
    assert list(photos.probabilities) == [CANDIDATE]
    assert photos.labels.not_compared == "It is lost."


def test_an_evaluation_without_photos_is_empty_and_one_without_labels_is_none(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError):
        read_photos(str(tmp_path))
    write_labels(str(tmp_path), LABELS)
    photos = read_photos(str(tmp_path))
    assert len(photos) == 0 and photos.probabilities[CANDIDATE].shape == (0, 3)
