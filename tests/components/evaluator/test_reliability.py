import numpy as np
import pytest

from components.evaluator.reliability import calibration_error, reliability

# Confidences 0.95, 0.95, 0.65 and 1; the second and third are wrong.
SAID = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.0, 1.0]], np.float32)
TRUE = np.array([0, 1, 0, 1])


def test_photos_are_sorted_by_confidence() -> None:
    found = reliability(SAID, TRUE)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]
    assert found.confidence[9] == pytest.approx((0.95 + 0.95 + 1) / 3)
    assert found.accuracy[9] == pytest.approx(2 / 3)
    assert np.isnan(found.accuracy[0]) and found.accuracy[6] == 0


def test_the_error_is_the_mean_distance_weighted_by_photos() -> None:
    expected = (3 * abs(2.9 / 3 - 2 / 3) + 1 * 0.65) / 4
    assert calibration_error(SAID, TRUE) == pytest.approx(expected)


def test_no_photos_have_no_error() -> None:
    assert calibration_error(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)) == 0
