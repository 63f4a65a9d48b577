"""What the keys of a configuration are made of: numbers with unit and range, sections, paths."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from components.places import RemotePath, is_remote, to_place

REMOTE = "remote"  # the type of pydantic's error for a path that is not on this machine


def number(text: str, unit: str, default: Any = ..., **bounds: Any) -> Any:
    """Returns a field that tells its unit and its range, a lower and an upper bound, in words."""
    lower, at_most = "above {gt:.12g} and", "at most "
    if "ge" in bounds:
        lower, at_most = "from {ge:.12g} to", ""
    upper = "below {lt:.12g}" if "lt" in bounds else at_most + "{le:.12g}"
    words = f"{lower} {upper}".format(**bounds)
    extra: dict[str, Any] = {"unit": unit, "range": words}
    described = f"{text} ({unit}, {words})."
    return Field(default, description=described, json_schema_extra=extra, **bounds)


def section(model: type[BaseModel]) -> Any:
    """Returns a field for a section that may be left out, described as the section itself is."""
    return Field(default_factory=dict, description=model.__doc__)


def to_path(value: Any, info: ValidationInfo) -> Path:
    """Makes a path absolute against the folder in the context, the current one by default."""
    value = str(value) if isinstance(value, Path) else value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("Expected a path.")
    if "://" in value:
        raise PydanticCustomError(REMOTE, "Expected a path on this machine.")
    folder = (info.context or {}).get("folder", ".")
    return Path(os.path.abspath(os.path.join(folder, os.path.expanduser(value))))


LocalPath = Annotated[Path, BeforeValidator(to_path)]


def _to_place(value: Any, info: ValidationInfo) -> Path | RemotePath:
    """Returns a URI of TensorFlow's file systems as it is, anything else as `to_path` does."""
    if isinstance(value, RemotePath):
        return value
    if isinstance(value, str) and is_remote(value) and value.partition("://")[2].strip("/"):
        return to_place(value)
    return to_path(value, info)


AnyPath = Annotated[
    Path | RemotePath,
    PlainValidator(_to_place),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "format": "path"}),
]


class Section(BaseModel):
    """A part of the configuration: strict, frozen, without unknown keys."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _open(cls, data: Any) -> Any:
        """Takes a section whose keys are all commented out for an empty one."""
        return {} if data is None else data


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Returns the model of a field that is a section, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
