"""What the model gate asks."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SliceLimit:
    """What is asked of the photos of one slice.

    Attributes:
        slice: its name, see `components.evaluator.slices`.
        min_accuracy: least accuracy; None for any.
        max_accuracy_drop: how far it may fall below the served model's; None for any.
        min_examples: with fewer photos the slice is told and not judged.
    """

    slice: str
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None
    min_examples: int = 30


@dataclass(frozen=True)
class Limits:
    """All that the gate asks; None where something is measured and not asked.

    Attributes:
        min_accuracy: least accuracy, in [0, 1].
        max_accuracy_drop: how far accuracy may fall below the served model's, in [0, 1].
        max_recall_drop: the same for the recall of every class, where the drop is no noise.
        require_significance: whether a drop within noise passes.
        require_comparison: whether a model that cannot be compared with the served one is refused.
        min_balanced_accuracy: least mean recall of the classes.
        min_auc: least mean area under the curve of one class against the rest.
        max_log_loss: highest log loss, in nats.
        max_calibration_error: highest expected calibration error, in [0, 1].
        min_recall: least recall by class.
        min_precision: least precision by class.
        slice_limits: see `SliceLimit`.
        max_model_size: of the model's files, in MB of 10^6 bytes.
    """

    min_accuracy: float = 0.6
    max_accuracy_drop: float = 0.0
    max_recall_drop: float | None = 0.1
    require_significance: bool = False
    require_comparison: bool = False
    min_balanced_accuracy: float | None = None
    min_auc: float | None = None
    max_log_loss: float | None = None
    max_calibration_error: float | None = None
    min_recall: dict[str, float] = field(default_factory=dict)
    min_precision: dict[str, float] = field(default_factory=dict)
    slice_limits: tuple[SliceLimit, ...] = ()
    max_model_size: float | None = 2000.0

    @classmethod
    def from_json(cls, text: str) -> "Limits":
        """Returns the limits of the configuration's section as JSON."""
        found: dict[str, Any] = json.loads(text)
        limits = tuple(SliceLimit(**one) for one in found.pop("slice_limits", ()))
        return cls(**found, slice_limits=limits)
