"""Areas under the curve against counting pairs one by one."""

import numpy as np
import pytest

from components.evaluator.ranking import areas_under_curve


def test_it_is_the_share_of_pairs_in_the_right_order_and_ties_count_half() -> None:
    random = np.random.default_rng(0)
    # Rounded, so that there are ties.
    scores = random.random((60, 3)).round(1).astype(np.float32)
    labels = random.integers(-1, 3, 60)
    for place, area in enumerate(areas_under_curve(scores, labels)):
        inside, outside = scores[labels == place, place], scores[labels != place, place]
        pairs = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
        assert area == pytest.approx(pairs.mean())


def test_a_class_alone_or_without_a_photo_has_none() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    assert areas_under_curve(scores, np.array([0, 0])) == [None, None]


def test_a_perfect_order_is_one() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert areas_under_curve(scores, np.array([0, 1])) == [1.0, 1.0]
