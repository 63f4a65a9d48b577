"""How well a model's probabilities order the photos."""

import numpy as np
from scipy import stats


def areas_under_curve(probabilities: np.ndarray, label_index: np.ndarray) -> list[float | None]:
    """Returns the area under the ROC curve of each class against the rest.

    It is the share of pairs, a photo of the class and one of the rest, in which the first gets the
    higher probability; equal ones count half. Exact, by the ranks (Mann and Whitney, Annals of
    Mathematical Statistics 18, 1947). TFMA's approximation takes a second a class.

    Args:
        probabilities: float32 [photos, classes].
        label_index: int64 [photos], true column; others for photos of no class.

    Returns:
        One figure a class, None where there is no photo of it, or none of the rest.
    """
    return [_area(column, label_index == place) for place, column in enumerate(probabilities.T)]


def _area(scores: np.ndarray, is_class: np.ndarray) -> float | None:
    inside = int(is_class.sum())
    outside = len(is_class) - inside
    if not inside or not outside:
        return None
    above = stats.rankdata(scores)[is_class].sum() - inside * (inside + 1) / 2
    return float(above / (inside * outside))
