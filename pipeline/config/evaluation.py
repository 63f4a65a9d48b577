"""What a model is measured by and must reach before it is pushed."""

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from components.evaluator.slices import DEFAULT, Bins, Matching, Slice
from pipeline.config.fields import Section, number

Share = Annotated[float, Field(ge=0, le=1)]


Property = Literal[
    "width", "height", "size", "bytes", "brightness", "contrast", "sharpness", "entropy"
]
SLICED = get_args(Property)


class OwnSlice(Section):
    """Photos that are measured by themselves: bins of a property, or those with a path."""

    property: Property | None = Field(None, description="Property whose bins are slices.")
    edges: tuple[float, ...] = Field((), strict=False, description="Ascending edges of the bins.")
    name: str | None = Field(None, min_length=1, description="Name of a slice by the path.")
    path: str | None = Field(
        None, min_length=1, description="Regular expression that is searched in the path."
    )

    @field_validator("path")
    @classmethod
    def _compiles(cls, path: str | None) -> str | None:
        try:
            re.compile(path or "")
        except re.error as error:
            raise ValueError(f"Expected a regular expression ({error}).") from error
        return path

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "OwnSlice":
        by_bins = self.property is not None and len(self.edges) > 0
        by_path = self.name is not None and self.path is not None
        if by_bins == by_path or (by_path and (self.property or self.edges)):
            raise ValueError("Expected either property and edges, or name and path.")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("Expected edges that ascend.")
        return self

    def to_slice(self) -> Slice:
        """Returns the slice as the evaluation knows it."""
        if self.property is not None:
            return Bins(self.property, self.edges)
        assert self.name is not None and self.path is not None
        return Matching(self.name, self.path)


class SliceLimit(Section):
    """What is asked of the photos of one slice."""

    slice: str = Field(min_length=1, description="Its name, as in `brightness<0.25`.")
    min_accuracy: Share | None = Field(None, description="Least accuracy.")
    max_accuracy_drop: Share | None = Field(
        None, description="How far it may fall below the served model's."
    )
    min_examples: int = Field(30, ge=1, description="With fewer photos it is not judged.")


class Evaluate(Section):
    """What a model must reach on the validation split before it is pushed."""

    min_accuracy: float = number("Least accuracy on validation", "share", 0.6, ge=0, le=1)
    max_accuracy_drop: float = number(
        "How far accuracy may fall below the served model's", "share", 0.0, ge=0, le=1
    )
    max_recall_drop: Share | None = Field(
        0.1,
        description="How far any class's recall may fall below the served model's, beyond noise "
        "(share).",
    )
    require_significance: bool = Field(
        False, description="Whether a drop within noise passes (95 % interval of the difference)."
    )
    require_comparison: bool = Field(
        False,
        description="Whether a model is refused that cannot be compared with the served one.",
    )
    min_balanced_accuracy: Share | None = Field(
        None, description="Least mean recall of the classes (share)."
    )
    min_auc: Share | None = Field(
        None, description="Least mean area under the curve of a class against the rest (share)."
    )
    max_log_loss: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="Highest log loss (nats)."
    )
    max_calibration_error: Share | None = Field(
        None, description="Highest expected calibration error (share)."
    )
    min_recall: dict[str, Share] = Field(
        {}, description="Least recall by class, as in {tulip: 0.8}."
    )
    min_precision: dict[str, Share] = Field(
        {}, description="Least precision by class, as in {tulip: 0.8}."
    )
    slices: tuple[OwnSlice, ...] = Field(
        (),
        strict=False,
        description="Own slices beside those by label, format, brightness and size, such as "
        "[{property: brightness, edges: [0.1]}, {name: studio, path: ^studio/}].",
    )
    slice_limits: tuple[SliceLimit, ...] = Field(
        (),
        strict=False,
        description="What is asked of slices, such as [{slice: brightness<0.25, "
        "min_accuracy: 0.5, min_examples: 30}].",
    )
    max_latency: float = number(
        "Longest that serving one photo may take, by the median",
        "ms",
        1000.0,
        gt=0,
        le=1_000_000,
    )
    max_memory: Annotated[float, Field(gt=0, le=10_000_000)] | None = Field(
        None, description="Most memory that a process may take that serves the model (MB)."
    )
    max_model_size: float = number(
        "Most that the model's files may take", "MB", 2000.0, gt=0, le=1_000_000
    )

    @property
    def all_slices(self) -> tuple[Slice, ...]:
        """The slices of every evaluation beside those by label and by format."""
        return (*DEFAULT, *(one.to_slice() for one in self.slices))

    @property
    def limits(self) -> str:
        """What the model gate asks, as JSON."""
        return self.model_dump_json(exclude={"slices", "max_latency", "max_memory"})
