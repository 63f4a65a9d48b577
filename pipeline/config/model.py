"""What a configuration holds: its keys with their types, units, ranges and defaults.

Every value is frozen, so that all stages see the same; a key that is not here is refused. What
only holds between keys, or against files, is in `checks.py`.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from components.bases import BASES
from components.errors import InputError
from components.image_example_gen.listing import SourceSettings
from components.trainer.base_file import SUFFIX, inspect_base

Preprocessing = Literal["rescale_0_1", "rescale_-1_1", "imagenet_mean_std", "caffe", "none"]
IMAGENET = "imagenet"
NO_WEIGHTS = "none"
WEIGHTS_SUFFIXES = (".h5", SUFFIX)  # .weights.h5 ends in .h5
MAX_NAME = 63  # what Kubernetes allows for the name of a job
REMOTE_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*/?")
GIB = 1 << 30
REMOTE = "remote"  # the type of pydantic's error for a path that is not on this machine


def _number(text: str, unit: str, default: Any = ..., **bounds: Any) -> Any:
    """Returns a field that tells its unit and its range, a lower and an upper bound, in words."""
    lower, at_most = "above {gt:.12g} and", "at most "
    if "ge" in bounds:
        lower, at_most = "from {ge:.12g} to", ""
    upper = "below {lt:.12g}" if "lt" in bounds else at_most + "{le:.12g}"
    words = f"{lower} {upper}".format(**bounds)
    extra: dict[str, Any] = {"unit": unit, "range": words}
    described = f"{text} ({unit}, {words})."
    return Field(default, description=described, json_schema_extra=extra, **bounds)


def _section(model: type[BaseModel]) -> Any:
    """Returns a field for a section that may be left out, described as the section itself is."""
    return Field(default_factory=dict, description=model.__doc__)


def _to_path(value: Any, info: ValidationInfo) -> Path:
    """Makes a path absolute against the folder in the context, the current one by default."""
    value = str(value) if isinstance(value, Path) else value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("Expected a path.")
    if "://" in value:
        raise PydanticCustomError(REMOTE, "Expected a path on this machine.")
    folder = (info.context or {}).get("folder", ".")
    return Path(os.path.abspath(os.path.join(folder, os.path.expanduser(value))))


def _to_source(value: Any, info: ValidationInfo) -> str:
    """Returns a URI as it is and anything else as an absolute path or pattern."""
    if isinstance(value, str) and REMOTE_PATH.match(value):
        return value.rstrip("/")
    return str(_to_path(value, info))


def _to_weights(value: Any, info: ValidationInfo) -> str | Path:
    """Returns `imagenet`, `none` (also for null) or the absolute path of a weights file."""
    if value is None or value in (IMAGENET, NO_WEIGHTS):
        return value or NO_WEIGHTS
    if not str(value).endswith(WEIGHTS_SUFFIXES):
        raise ValueError(f"Expected {IMAGENET}, {NO_WEIGHTS} or a weights file.")
    return _to_path(value, info)


def _check_base_name(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and value in BASES):
        raise ValueError("Expected the name of a base.")
    return value


LocalPath = Annotated[Path, BeforeValidator(_to_path)]


class _Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _open(cls, data: Any) -> Any:
        """Takes a section whose keys are all commented out for an empty one."""
        return {} if data is None else data


class Splits(_Section):
    """Shares of the images, decided by content; they add up to 1."""

    train: float = _number("Share of the images that the head learns from", "share", gt=0, lt=1)
    validation: float = _number("Share that the model gate judges by", "share", gt=0, lt=1)
    test: float | None = _number(
        "Share that is reported on, never gated on; none by default", "share", None, gt=0, lt=1
    )

    def shares(self) -> dict[str, float]:
        """Returns the share of each split that is given, in the order train, validation, test."""
        shares = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: share for name, share in shares.items() if share is not None}


class Columns(_Section):
    """Names of a table's columns; split and group may be absent from it."""

    path: str = Field("path", min_length=1, description="Path, relative to the table's folder.")
    label: str = Field("label", min_length=1, description="The class.")
    split: str = Field(
        "split", min_length=1, description="train, validation or test; empty: dealt by content."
    )
    group: str = Field(
        "group", min_length=1, description="What must stay in one split, such as a patient."
    )


class Keys(_Section):
    """Names of the features in a TFRecord source; by default the usual ones are tried."""

    image: str | None = Field(None, min_length=1, description="The encoded image.")
    label: str | None = Field(None, min_length=1, description="The class, as text or a number.")


class Data(_Section):
    """The labelled images and what is refused among them."""

    source: Annotated[str, BeforeValidator(_to_source)] = Field(
        description="A folder of class folders or of train/validation/test folders, a table (.csv, "
        ".tsv or .jsonl), an archive (.zip, .tar, .tar.gz) of one of these, or a pattern of "
        "TFRecord files (path relative to this file, or a URI such as gs://…); originals are only "
        "read."
    )
    columns: Columns = _section(Columns)
    keys: Keys = _section(Keys)
    splits: Splits = Field(Splits(train=0.8, validation=0.2), description=Splits.__doc__)
    group: str | None = Field(
        None,
        min_length=1,
        description="Regular expression with one group, searched in each path: images of which it "
        "finds the same text stay in one split.",
    )
    leakage: Literal["remove", "fail", "report"] = Field(
        "remove",
        description="What is done about nearly equal images in different splits: remove (the "
        "copy in the earlier split is refused), fail (the run stops), report.",
    )
    drift: Literal["report", "fail"] = Field(
        "report",
        description="What is done when the images differ from those that the served model was "
        "trained on, or validation from train: report, fail (the run stops).",
    )
    max_refused: float = _number(
        "Share of images that may be refused before the run stops", "share", 0.05, ge=0, le=1
    )
    max_pixels: int = _number(
        "Largest image by width times height; larger ones are refused",
        "pixels",
        100_000_000,
        ge=1,
        le=10_000_000_000,
    )
    min_size: int = _number(
        "Least width and height; smaller images are refused", "pixels", 1, ge=1, le=4096
    )
    max_unpacked: float = _number(
        "Most that an archive or TFRecord files may unpack to", "GiB", 50.0, gt=0, le=1_000_000
    )
    split_salt: str = Field(
        "",
        max_length=100,
        description="Text that deals the splits anew when changed (up to 100 characters).",
    )


class Base(_Section):
    """The pre-trained network that the head is grafted onto: a name or a file."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["name"]}, {"required": ["path"]}]}
    )

    name: Annotated[str | None, BeforeValidator(_check_base_name)] = Field(
        None,
        description="Name in keras.applications (one of the known names); or give path.",
        json_schema_extra={"enum": [*BASES, None]},
    )
    path: LocalPath | None = Field(
        None, description="A .keras file that takes one image (path, relative to this file)."
    )
    weights: Annotated[str | Path | None, BeforeValidator(_to_weights)] = Field(
        None,
        validate_default=False,
        description="imagenet (the default with a name), none (random), or a weights file "
        "(.weights.h5, .h5 or .keras; path, relative to this file); not with path.",
    )
    preprocessing: Preprocessing | None = Field(
        None,
        description="How pixels from 0 to 255 are scaled for a base given by path: rescale_0_1 "
        "(to 0..1), rescale_-1_1 (to -1..1), imagenet_mean_std (RGB standardised), caffe (BGR "
        "less the mean), none (left as they are). A name's is known.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_weights(cls, data: Any) -> Any:
        named = isinstance(data, dict) and data.get("name") is not None
        return {"weights": IMAGENET, **data} if named else data


class Image(_Section):
    """What an image becomes before the base sees it."""

    size: int | None = _number(
        "Height and width that images are resized to; by default what the base takes",
        "pixels",
        None,
        ge=8,
        le=2048,
    )
    resize: Literal["stretch", "crop", "pad"] = Field(
        "stretch",
        description="How an image that is not square is made so: stretch (whole image, "
        "distorted), crop (its middle), pad (whole image, black borders).",
    )


class Head(_Section):
    """The layers that are trained on top of the base."""

    pooling: Literal["average", "max"] = Field(
        "average", description="How the base's feature map becomes one vector: average or max."
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(
        (128,),
        strict=False,  # a list of YAML's becomes a tuple, which cannot be changed
        max_length=16,
        description="Widths of the hidden layers (units, each from 1 to 65536, up to 16 layers; "
        "[] for none).",
    )
    dropout: float = _number("Dropout before each layer of the head", "share", 0.2, ge=0, lt=1)


class Train(_Section):
    """Training of the head on the frozen base's features."""

    epochs: int = _number("Passes over the training images at most", "epochs", 20, ge=1, le=100_000)
    batch_size: int = _number("Images in one step", "images", 32, ge=1, le=65_536)
    learning_rate: float = _number("Step size of Adam", "per step", 0.001, gt=0, le=10)
    patience: int = _number(
        "Epochs without improvement, and not less than 60 steps, before training stops early",
        "epochs",
        3,
        ge=0,
        le=100_000,
    )
    seed: int = _number("Seed of everything random", "integer", 0, ge=0, le=2**31 - 1)
    watch: float = _number(
        "Share of train that is carved out for early stopping to watch, and at least 30 images or "
        "a quarter of few; the validation split is never seen in training",
        "share",
        0.1,
        gt=0,
        le=0.5,
    )


class FineTune(_Section):
    """Further training of the base's last layers, at a lower rate."""

    layers: int = _number(
        "How many of the base's last layers are trained further, batch normalisation left as it "
        "is; 0 leaves the base frozen",
        "layers",
        0,
        ge=0,
        le=100_000,
    )
    epochs: int = _number("Passes over the training images at most", "epochs", 5, ge=1, le=100_000)
    learning_rate: float = _number("Step size of Adam", "per step", 0.00001, gt=0, le=10)


class Evaluate(_Section):
    """What a model must reach on the validation split before it is pushed."""

    min_accuracy: float = _number("Least accuracy on validation", "share", 0.6, ge=0, le=1)
    max_accuracy_drop: float = _number(
        "How far accuracy may fall below the served model's", "share", 0.0, ge=0, le=1
    )


class Push(_Section):
    """Where the served model stands."""

    directory: LocalPath = Field(
        description="Folder that TF Serving watches; each model gets a version folder in it "
        "(path, relative to this file)."
    )


class Runtime(_Section):
    """Where and by what the pipeline runs."""

    root: LocalPath = Field(
        Path("runs"),
        description="Folder of every pipeline's metadata, artifacts, cache and reports (path, "
        "relative to this file).",
    )
    runner: Literal["local"] = Field(
        "local", description="What runs the stages: local (this machine)."
    )
    beam_args: tuple[Annotated[str, StringConstraints(pattern="^--")], ...] = Field(
        (),
        strict=False,
        description="Beam flags given as they are, such as [--direct_num_workers=1].",
    )


class Config(_Section):
    """The whole configuration; made by `load`, or from a dictionary by `Config.model_validate`."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]*$",
        max_length=MAX_NAME,
        description="The pipeline's name (lower case letters, digits and dashes, starting "
        f"with a letter, up to {MAX_NAME} characters).",
    )
    data: Data = Field(description=Data.__doc__)
    base: Base = Field(description=Base.__doc__)
    image: Image = _section(Image)
    head: Head = _section(Head)
    train: Train = _section(Train)
    fine_tune: FineTune = _section(FineTune)
    evaluate: Evaluate = _section(Evaluate)
    push: Push = Field(description=Push.__doc__)
    runtime: Runtime = _section(Runtime)

    @property
    def home(self) -> Path:
        """The pipeline's own folder, `runtime.root/name`."""
        return self.runtime.root / self.name

    @property
    def metadata_path(self) -> Path:
        """ML Metadata's SQLite file."""
        return self.home / "metadata.db"

    @property
    def artifacts(self) -> Path:
        """Folder of the stages' outputs."""
        return self.home / "artifacts"

    @property
    def cache(self) -> Path:
        """Folder of what is kept between runs, such as the base's features."""
        return self.home / "cache"

    @property
    def reports(self) -> Path:
        """Folder of the pages, `RUN_ID/index.html` in it."""
        return self.home / "reports"

    @property
    def quarantine(self) -> Path:
        """Folder of `RUN_ID.jsonl`: one refused image a line."""
        return self.home / "quarantine"

    @property
    def logs(self) -> Path:
        """Folder of the runs' log files."""
        return self.home / "logs"

    @property
    def lock_path(self) -> Path:
        """The file that keeps two runs of one pipeline apart."""
        return self.home / "run.lock"

    @property
    def source_settings(self) -> SourceSettings:
        """Where the images are and how they are to be understood.

        Columns under their default names are left out: those may be absent from a table.
        """
        data = self.data
        return SourceSettings(
            source=data.source,
            columns=tuple((name, value) for name, value in data.columns if value != name),
            keys=tuple((name, value) for name, value in data.keys if value is not None),
            group=data.group or "",
            max_unpacked=int(data.max_unpacked * GIB),
            cache=str(self.cache),
        )

    @property
    def resolved_image_size(self) -> int:
        """Height and width in pixels: `image.size`, or else what the base takes.

        Raises:
            InputError: the base's file cannot be used, or leaves the size open and so does
                `image.size`.
        """
        if self.image.size is not None:
            return self.image.size
        if self.base.name is not None:
            return BASES[self.base.name].size
        height, width, _ = inspect_base(str(self.base.path)).input_shape
        size = height or width
        if size is None:
            raise InputError(
                "Expected image.size with a base whose input has no fixed size. Received: no "
                f"image.size with base.path={self.base.path}. Write image.size: 224, or the size "
                "that the base was trained on."
            )
        return size

    @property
    def resolved_preprocessing(self) -> str:
        """One of `components.bases.PREPROCESSINGS`: the base's, by name or as configured."""
        if self.base.name is not None:
            return BASES[self.base.name].preprocessing
        return str(self.base.preprocessing)

    def resolved(self) -> dict[str, Any]:
        """Returns every value that a run uses, JSON-serialisable, paths absolute.

        It can be loaded again: it holds `image.size` and no null.

        Raises:
            InputError: as `resolved_image_size`.
        """
        plain: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        plain["image"]["size"] = self.resolved_image_size
        return plain

    def to_yaml(self) -> str:
        """Returns `resolved()` as YAML, keys in the order of the configuration."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Returns the model of a field that is a section, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def slug(text: str) -> str:
    """Returns a valid pipeline name that is nearest to `text`; `"photos"` where nothing is left."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower())
    return re.sub(r"^[^a-z]+", "", plain)[:MAX_NAME].strip("-") or "photos"


def dump_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of the file, as in `schemas/config.schema.json`."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
