"""The typed, strict configuration of a pipeline: read, overridden, checked, resolved.

A wrong key or value is told here, with its line, before TensorFlow is imported or a photo is
read; what passes is frozen, so that every stage sees the same values. `python -m pipeline.config`
prints the JSON schema that is kept in `schemas/config.schema.json`.
"""

import copy
import difflib
import functools
import glob
import json
import os
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticUndefinedType

from components.bases import BASES, nearest_base
from components.errors import InputError
from components.trainer.base_file import SUFFIX, check_fits, inspect_base

Preprocessing = Literal["rescale_0_1", "rescale_-1_1", "imagenet_mean_std", "caffe", "none"]
IMAGENET = "imagenet"
NO_WEIGHTS = "none"
WEIGHTS_SUFFIXES = (".h5", SUFFIX)  # .weights.h5 ends in .h5
MAX_NAME = 63  # what Kubernetes allows for the name of a job
SHARE_TOLERANCE = 1e-6

Key = tuple[str, ...]
Fault = tuple[Key, str]  # where, and what is wrong there


# --- the models -----------------------------------------------------------------------------------


def _number(text: str, unit: str, default: Any = ..., **bounds: float) -> Any:
    """Returns a field whose description tells its unit and range from the bounds themselves.

    Of the bounds, one is a lower (`ge` or `gt`) and one an upper (`le` or `lt`).
    """
    return Field(
        default,
        description=f"{text} ({unit}, {_range(bounds)}).",
        json_schema_extra={"unit": unit},
        **bounds,
    )  # type: ignore[call-overload]


def _range(bounds: Mapping[str, float]) -> str:
    """Returns bounds in words, such as "from 1 to 16" or "above 0 and at most 0.5"."""
    shown = {name: f"{bound:.12g}" for name, bound in bounds.items()}
    if "ge" in shown:
        end = f"to {shown['le']}" if "le" in shown else f"to below {shown['lt']}"
        return f"from {shown['ge']} {end}"
    end = f"at most {shown['le']}" if "le" in shown else f"below {shown['lt']}"
    return f"above {shown['gt']} and {end}"


def _to_path(value: Any, info: ValidationInfo) -> Path:
    """Makes a path absolute against the folder in the context, the current one by default."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise PydanticCustomError("wrong_type", "")
    if "://" in value:
        raise PydanticCustomError("remote", "")
    folder = (info.context or {}).get("folder", ".")
    return Path(os.path.abspath(os.path.join(folder, os.path.expanduser(value))))


def _to_weights(value: Any, info: ValidationInfo) -> str | Path:
    """Returns `imagenet`, `none` (also for null) or the absolute path of a weights file."""
    if value is None or value == NO_WEIGHTS:
        return NO_WEIGHTS
    if value == IMAGENET:
        return IMAGENET
    if not isinstance(value, str | Path) or not str(value).endswith(WEIGHTS_SUFFIXES):
        raise PydanticCustomError("wrong_value", "")
    return _to_path(value, info)


def _to_base_name(value: Any) -> Any:
    if value is not None and value not in BASES:
        raise PydanticCustomError("wrong_value", "")
    return value


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


LocalPath = Annotated[Path, BeforeValidator(_to_path)]


class _Section(BaseModel):
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
    )


class Splits(_Section):
    """Shares of the images, decided by content; they add up to 1."""

    train: float = _number("Share of the images that the head learns from", "share", gt=0, lt=1)
    validation: float = _number("Share that the model gate judges by", "share", gt=0, lt=1)
    test: float | None = _number(
        "Share that is reported on, never gated on; none by default", "share", None, gt=0, lt=1
    )

    @model_validator(mode="after")
    def _check_sum(self) -> "Splits":
        total = sum(self.shares().values())
        if abs(total - 1) > SHARE_TOLERANCE:
            parts = ", ".join(f"{name}={share:g}" for name, share in self.shares().items())
            raise _fault(
                "data.splits",
                f"Expected the shares in data.splits to add up to 1. Received: {parts}, which add "
                f"up to {total:g}. Change one of them by {1 - total:+g}.",
            )
        return self

    def shares(self) -> dict[str, float]:
        """Returns the share of each split that is given, in the order train, validation, test."""
        shares = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: share for name, share in shares.items() if share is not None}


class Data(_Section):
    """The labelled images and what is refused among them."""

    source: LocalPath = Field(
        description="Folder of class folders (path, relative to this file); originals are only "
        "read."
    )
    splits: Splits = Field(
        default=Splits(train=0.8, validation=0.2),
        description="Shares of the images, decided by content; they add up to 1.",
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
    split_salt: Annotated[str, StringConstraints(max_length=100)] = Field(
        default="",
        description="Text that deals the splits anew when changed (up to 100 characters).",
    )


class Base(_Section):
    """The pre-trained network that the head is grafted onto: a name or a file."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["name"]}, {"required": ["path"]}]}
    )

    name: Annotated[str | None, BeforeValidator(_to_base_name)] = Field(
        default=None,
        description="Name in keras.applications (one of the known names); or give path.",
        json_schema_extra={"enum": [*BASES, None]},
    )
    path: LocalPath | None = Field(
        default=None,
        description="A .keras file that takes one image (path, relative to this file).",
    )
    weights: Annotated[str | Path | None, BeforeValidator(_to_weights)] = Field(
        default=None,
        validate_default=False,
        description="imagenet (the default with a name), none (random), or a weights file "
        "(.weights.h5, .h5 or .keras; path, relative to this file); not with path.",
    )
    preprocessing: Preprocessing | None = Field(
        default=None,
        description="How pixels from 0 to 255 are scaled for a base given by path: rescale_0_1 "
        "(to 0..1), rescale_-1_1 (to -1..1), imagenet_mean_std (RGB standardised), caffe (BGR "
        "less the mean), none (left as they are). A name's is known.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_weights(cls, data: Any) -> Any:
        named = isinstance(data, dict) and data.get("name") is not None
        return {"weights": IMAGENET, **data} if named else data

    @model_validator(mode="after")
    def _check_kind(self) -> "Base":
        if (self.name is None) == (self.path is None):
            both = f"base.name='{self.name}' and base.path='{self.path}'"
            raise _fault(
                "base",
                "Expected exactly one of base.name and base.path. Received: "
                f"{both if self.name is not None else 'neither'}. Write "
                f"base: {{name: MobileNetV2}} or base: {{path: FILE{SUFFIX}, preprocessing: …}}.",
            )
        return self._check_name() if self.name is not None else self._check_path()

    def _check_name(self) -> "Base":
        if self.preprocessing is not None:
            raise _fault(
                "base.preprocessing",
                "Expected no base.preprocessing with base.name, whose own is "
                f"{BASES[str(self.name)].preprocessing}. Received: "
                f"base.preprocessing='{self.preprocessing}'. Take the key out.",
            )
        return self

    def _check_path(self) -> "Base":
        if self.weights is not None:
            raise _fault(
                "base.weights",
                "Expected no base.weights with base.path, whose file holds its weights. "
                f"Received: base.weights='{self.weights}'. Take the key out.",
            )
        if self.preprocessing is None:
            literals = ", ".join(typing.get_args(Preprocessing))
            raise _fault(
                "base",
                f"Expected base.preprocessing with base.path: one of {literals}. Received: none "
                f"given with base.path='{self.path}'. Add how the base's images were scaled when "
                "it was trained.",
            )
        return self


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
        default="stretch",
        description="How an image that is not square is made so: stretch (whole image, "
        "distorted), crop (its middle), pad (whole image, black borders).",
    )


class Head(_Section):
    """The layers that are trained on top of the base."""

    pooling: Literal["average", "max"] = Field(
        default="average",
        description="How the base's feature map becomes one vector: average or max.",
    )
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65536)], ...],
        BeforeValidator(_to_tuple, json_schema_input_type=list[int]),
    ] = Field(
        default=(128,),
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
        "Epochs without improvement before training stops early", "epochs", 3, ge=0, le=100_000
    )
    seed: int = _number("Seed of everything random", "integer", 0, ge=0, le=2**31 - 1)
    watch: float = _number(
        "Share of train that is carved out for early stopping to watch; the validation split is "
        "never seen in training",
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
        default=Path("runs"),
        description="Folder of every pipeline's metadata, artifacts, cache and reports (path, "
        "relative to this file).",
    )
    runner: Literal["local"] = Field(
        default="local", description="What runs the stages: local (this machine)."
    )
    beam_args: Annotated[
        tuple[str, ...], BeforeValidator(_to_tuple, json_schema_input_type=list[str])
    ] = Field(
        default=(), description="Beam flags given as they are, such as [--direct_num_workers=1]."
    )


class Config(_Section):
    """The whole configuration; made by `load`, or from a dictionary by `Config.model_validate`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=MAX_NAME)] = (
        Field(
            description="The pipeline's name (lower case letters, digits and dashes, starting "
            f"with a letter, up to {MAX_NAME} characters)."
        )
    )
    data: Data = Field(description="The labelled images and what is refused among them.")
    base: Base = Field(description="The pre-trained network: a name or a file.")
    image: Image = Field(
        default=Image(), description="What an image becomes before the base sees it."
    )
    head: Head = Field(
        default=Head(), description="The layers that are trained on top of the base."
    )
    train: Train = Field(default=Train(), description="Training of the head on the frozen base.")
    fine_tune: FineTune = Field(
        default=FineTune(),
        description="Further training of the base's last layers, at a lower rate.",
    )
    evaluate: Evaluate = Field(
        default=Evaluate(), description="What a model must reach on validation before it is pushed."
    )
    push: Push = Field(description="Where the served model stands.")
    # Not Runtime(): its root is made absolute against the file's folder when it is validated.
    runtime: Runtime = Field(  # type: ignore[assignment]
        default_factory=dict, description="Where and by what the pipeline runs."
    )

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
        base_file = inspect_base(str(self.base.path))
        extents = [extent for extent in base_file.input_shape[:2] if extent is not None]
        if not extents:
            raise InputError(
                "Expected image.size with a base whose input has no fixed size. Received: no "
                f"image.size with base.path={self.base.path}. Write image.size: 224, or the size "
                "that the base was trained on."
            )
        return extents[0]

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


def _fault(key: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("fault", "{message}", {"message": message, "key": key})


# --- loading --------------------------------------------------------------------------------------


def load(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), check_inputs: bool = True
) -> Config:
    """Reads a configuration file, applies overrides and checks all of it.

    Args:
        path: the YAML file. Relative paths in it and in `overrides` are relative to its folder,
            `~` is the user's home.
        overrides: `"section.key=value"` each, the value written as in YAML; `"section={…}"`
            replaces the whole section, such as `"base={name: VGG16}"`.
        check_inputs: whether to look at `data.source`, `base.path` and `base.weights` too.
            Commands that only look back at earlier runs leave that out.

    Returns:
        The frozen configuration, its paths absolute.

    Raises:
        InputError: everything that is wrong, a line each: the file, the line or override, the
            key, what was received, what was expected, and the mend.
    """
    document = _open_sections(_override(_read(Path(path)), overrides))
    folder = Path(os.path.abspath(path)).parent
    try:
        config = Config.model_validate(document.data, context={"folder": folder})
    except ValidationError as error:
        faults = [_tell(document, found) for found in error.errors(include_url=False)]
        raise _together(document, faults) from None
    faults = list(_layout_faults(config))
    if check_inputs:
        faults += _input_faults(config)
    if faults:
        raise _together(document, faults)
    return config


def slug(text: str) -> str:
    """Returns a valid pipeline name that is nearest to `text`; `"photos"` where nothing is left."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower())
    return re.sub(r"^[^a-z]+", "", plain)[:MAX_NAME].strip("-") or "photos"


def dump_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of the file, as in `schemas/config.schema.json`."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _layout_faults(config: Config) -> Iterator[Fault]:
    """Yields what is wrong between folders: outputs among photos would be found as photos."""
    source = config.data.source.resolve()
    for key, folder in (
        (("push", "directory"), config.push.directory),
        (("runtime", "root"), config.runtime.root),
    ):
        if folder.resolve().is_relative_to(source):
            where = "in" if folder.resolve() != source else "equal to"
            name = ".".join(key)
            yield (
                key,
                f"Expected {name} outside data.source, where what a run writes would be taken "
                f"for photos. Received: {name}='{folder}', {where} data.source="
                f"'{config.data.source}'. Choose a folder beside the photos.",
            )
    for name, folder in (("runtime.root", config.runtime.root), ("runtime.root/name", config.home)):
        if config.push.directory.resolve() == folder.resolve():
            yield (
                ("push", "directory"),
                f"Expected push.directory to be a folder of its own. Received: push.directory="
                f"'{config.push.directory}', equal to {name}. Choose another, such as "
                f"served/{config.name}.",
            )


def _input_faults(config: Config) -> Iterator[Fault]:
    """Yields what is wrong with the files that the configuration names."""
    source = config.data.source
    if not source.exists() and not (glob.has_magic(str(source)) and glob.glob(str(source))):
        yield (
            ("data", "source"),
            f"Expected data.source to exist. Received: data.source='{source}'. Correct the path: "
            "a folder with one folder of images for each class.",
        )
    weights = config.base.weights
    if isinstance(weights, Path) and not weights.is_file():
        yield (
            ("base", "weights"),
            f"Expected base.weights to be an existing file, {IMAGENET} or {NO_WEIGHTS}. Received: "
            f"base.weights='{weights}'. Correct the path, or put the file there.",
        )
    yield from _size_faults(config)


def _size_faults(config: Config) -> Iterator[tuple[Key, str]]:
    size, name = config.image.size, config.base.name
    if name is not None:
        least = BASES[name].min_size
        if size is not None and size < least:
            yield (
                ("image", "size"),
                f"Expected image.size to be at least {least} pixels, the least that {name} takes. "
                f"Received: image.size={size}. Write image.size: {BASES[name].size}, or choose "
                "another base.",
            )
        return
    key = ("base", "path")
    try:
        base_file = inspect_base(str(config.base.path))
        key = key if size is None else ("image", "size")
        check_fits(base_file, config.resolved_image_size)
    except InputError as error:
        yield key, f"{'.'.join(key)}: {error}"


# --- reading YAML with places ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Document:
    """What was read, and where each key stands: its line, or the override that gave it."""

    file: Path
    data: dict[str, Any]
    lines: dict[Key, int]
    overrides: tuple[Key, ...] = ()

    def place(self, key: Key) -> str:
        """Returns the file with the line or override of the key, or of the section around it."""
        override, line = self.rank(key)
        if override:
            return f"{self.file}, --set {'.'.join(self.overrides[override - 1])}"
        return f"{self.file}, line {line}" if line else str(self.file)

    def rank(self, key: Key) -> tuple[int, int]:
        """Returns (number of the override, 0 for the file; line, 0 for none), which sorts."""
        within = [given[: len(key)] == key for given in self.overrides]
        if any(within):
            return within.index(True) + 1, 0
        for length in range(len(key), 0, -1):
            if key[:length] in self.overrides:
                return self.overrides.index(key[:length]) + 1, 0
            if key[:length] in self.lines:
                return 0, self.lines[key[:length]]
        return 0, 0


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: 1e-5 is a number, `no` and dates are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?[0-9]{1,40}(_[0-9]{1,40}){0,9}$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def _read(path: Path) -> _Document:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"Expected a configuration file that can be read. Received: {path}: "
            f"{error.strerror or error}. Correct the path, or write one: graft init PHOTOS."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: Expected text in UTF-8. Received: byte 0x{error.object[error.start]:02x} at "
            f"position {error.start}. Save the file as UTF-8."
        ) from error
    data, lines = _parse(text, str(path))
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: Expected keys and values. Received: {_shown(data)}. "
            "Write one with: graft init PHOTOS."
        )
    return _Document(path, data, lines)


def _parse(text: str, place: str) -> tuple[Any, dict[Key, int]]:
    """Returns the value of a YAML text and the line of each of its keys."""
    lines: dict[Key, int] = {}
    try:
        _refuse_references(text, place)
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else _construct(node, (), lines, place)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        tab = " Indent with spaces, not tabs." if "'\\t'" in str(error.problem) else ""
        raise InputError(
            f"{place}{line}: Expected YAML. Received: {error.problem or error.context}.{tab} "
            "Correct the line, or the one before it."
        ) from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{place}: Expected YAML. Received: {reason}. Correct the text."
        ) from error


def _refuse_references(text: str, place: str) -> None:
    """Refuses tags, which construct objects, and aliases, which can nest without end."""
    for event in yaml.parse(text, Loader=_Loader):
        tag, alias = getattr(event, "tag", None), isinstance(event, yaml.AliasEvent)
        if tag is not None or alias:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InputError(
                f"{place}, line {line}: Expected plain values. Received: "
                f"{'an alias' if alias else f'the tag {tag}'}. Write the value itself."
            )


def _construct(node: yaml.Node, key: Key, lines: dict[Key, int], place: str) -> Any:
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            inner = (*key, str(index))
            lines[inner] = item.start_mark.line + 1
            items.append(_construct(item, inner, lines, place))
        return items
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(node, key, lines, place)
    return _construct_scalar(node)


def _construct_mapping(
    node: yaml.MappingNode, key: Key, lines: dict[Key, int], place: str
) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(
                f"{place}, line {line}: Expected a key that is a word. Received: a list or a "
                "mapping as key. Write key: value."
            )
        inner = (*key, key_node.value)
        if key_node.value in mapping:
            raise InputError(
                f"{place}, line {line}: Expected each key once. Received: {'.'.join(inner)} again, "
                f"first on line {lines[inner]}. Keep one of them."
            )
        lines[inner] = line
        mapping[key_node.value] = _construct(value_node, inner, lines, place)
    return mapping


def _construct_scalar(node: yaml.Node) -> Any:
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _override(document: _Document, overrides: Sequence[str]) -> _Document:
    """Returns the document with each `"a.b=value"` in it, the last one winning."""
    data, lines, keys = copy.deepcopy(document.data), dict(document.lines), []
    for override in overrides:
        dotted, equals, text = override.partition("=")
        key = tuple(part.strip() for part in dotted.split("."))
        if not equals or not all(key):
            raise InputError(
                f"Expected --set section.key=value. Received: --set '{override}'. "
                "For example: --set train.epochs=5."
            )
        value, _ = _parse(text, f"--set {dotted}")
        _put(data, key, value)
        lines = {known: line for known, line in lines.items() if known[: len(key)] != key}
        keys.append(key)
    return _Document(document.file, data, lines, tuple(keys))


def _put(data: dict[str, Any], key: Key, value: Any) -> None:
    for depth, part in enumerate(key[:-1], start=1):
        inner = data.setdefault(part, {})
        if inner is None:
            inner = data[part] = {}
        if not isinstance(inner, dict):
            raise InputError(
                f"--set {'.'.join(key)}: Expected {'.'.join(key[:depth])} to be a section. "
                f"Received: {'.'.join(key[:depth])}={_shown(inner)}. Correct the key."
            )
        data = inner
    data[key[-1]] = value


def _open_sections(document: _Document) -> _Document:
    """Reads a section whose keys are all commented out as an empty one, so defaults hold."""
    sections = {name for name, field in Config.model_fields.items() if section_of(field)}
    data = {
        key: {} if value is None and key in sections else value
        for key, value in document.data.items()
    }
    return replace(document, data=data)


# --- telling what is wrong ------------------------------------------------------------------------

MAX_SHOWN = 80  # characters of a value in a message

# What a required key may look like.
_EXAMPLES = {
    "name": "flowers",
    "data": "{source: photos/}",
    "data.source": "photos/",
    "data.splits": "{train: 0.8, validation: 0.2}",
    "data.splits.train": "0.8",
    "data.splits.validation": "0.2",
    "base": "{name: MobileNetV2}",
    "base.path": f"base{SUFFIX}",
    "push": "{directory: served/flowers}",
    "push.directory": "served/flowers",
    "image.size": "224",
}

# What is expected where the type and the bounds do not tell it.
_EXPECTED = {
    "name": f"lower case letters, digits and dashes, starting with a letter, up to {MAX_NAME} "
    "characters",
    "base.name": "the name of a base",
    "base.weights": f"{IMAGENET}, {NO_WEIGHTS} or a weights file (.weights.h5, .h5 or {SUFFIX})",
    "data.split_salt": "text of up to 100 characters",
    "head.hidden": "a list of up to 16 widths, each a whole number from 1 to 65536",
    "runtime.beam_args": "a list of texts",
}


def _together(document: _Document, faults: Sequence[Fault]) -> InputError:
    """Returns one error with a line for each fault, in the order of the file's lines."""
    ordered = sorted(faults, key=lambda fault: document.rank(fault[0]))
    return InputError("\n".join(f"{document.place(key)}: {text}" for key, text in ordered))


def _tell(document: _Document, error: ErrorDetails) -> Fault:
    """Returns one fault in our words for one error of pydantic's."""
    key = tuple(str(part) for part in error["loc"])
    context = error.get("ctx", {})
    if error["type"] == "fault":
        key = tuple(str(context["key"]).split("."))
        return key, context["message"]
    dotted = ".".join(key)
    value = _value_at(document.data, key)
    if error["type"] == "extra_forbidden":
        text = _tell_unknown(key, value)
    elif error["type"] == "missing":
        text = (
            f"Expected {dotted} to be given: {_expected(key)}. Received: no {dotted}. "
            f"Add it{_example(key)}."
        )
    elif error["type"] == "remote":
        text = (
            f"Expected {dotted} to be a path on this machine. Received: {dotted}={_shown(value)}. "
            "Remote paths are not read yet: copy or mount it here."
        )
    else:
        text = (
            f"Expected {'.'.join(_known(key))} to be {_expected(key)}. "
            f"Received: {dotted}={_shown(value)}. {_mend(key, value)}"
        )
    return key, text


def _tell_unknown(key: Key, value: Any) -> str:
    dotted, section = ".".join(key), key[:-1]
    where = f"in {'.'.join(section)}" if section else "at the top"
    near = _nearest_keys(key)
    known = ", ".join(name[-1] for name in _fields() if name[:-1] == section)
    mend = f"Did you mean {' or '.join(near)}?" if near else f"The keys {where} are {known}."
    return (
        f"Expected a known key {where}. Received: the unknown key {dotted}={_shown(value)}. {mend}"
    )


def _nearest_keys(key: Key) -> list[str]:
    """Returns the known keys that may have been meant, dotted in full."""
    leaf = key[-1].lower().replace("-", "_")
    dotted = {".".join(name): name[-1] for name in _fields()}
    beside = {name[-1]: ".".join(name) for name in _fields() if name[:-1] == key[:-1]}
    if leaf in beside or leaf in dotted:
        return [beside.get(leaf, leaf)]
    elsewhere = [name for name, last in dotted.items() if last == leaf]
    if elsewhere:
        return elsewhere
    near = difflib.get_close_matches(leaf, beside, n=1)
    if near:
        return [beside[near[0]]]
    near = difflib.get_close_matches(leaf, dotted.values(), n=1, cutoff=0.75)
    return [name for name, last in dotted.items() if last in near]


@functools.cache
def _fields() -> dict[Key, FieldInfo]:
    """Returns every key of the configuration, sections included, in their order."""
    return dict(_walk_fields(Config, ()))


def _walk_fields(model: type[BaseModel], prefix: Key) -> Iterator[tuple[Key, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield (*prefix, name), field
        section = section_of(field)
        if section:
            yield from _walk_fields(section, (*prefix, name))


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Returns the model of a field that is a section, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _value_at(data: Any, key: Key) -> Any:
    for part in key:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit():
            data = data[int(part)]
    return data


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _expected(key: Key) -> str:
    """Returns what the key takes, in words, from the field's type and bounds."""
    key = _known(key)
    if ".".join(key) in _EXPECTED:
        return _EXPECTED[".".join(key)]
    field = _fields()[key]
    section = section_of(field)
    if section:
        return f"a section with {', '.join(section.model_fields)}"
    choices = _choices(field)
    if choices:
        return f"one of {', '.join(choices)}"
    if _unit(field) is None:
        return "a path"
    kind = "a whole number" if int in _kinds(field) else "a number"
    return f"{kind} {_range(_bounds(field))} ({_unit(field)})"


def _known(key: Key) -> Key:
    """Returns the key without what lies inside a list or a text."""
    while key not in _fields():
        key = key[:-1]
    return key


def _kinds(field: FieldInfo) -> tuple[Any, ...]:
    kinds = typing.get_args(field.annotation) or (field.annotation,)
    return tuple(kind for kind in kinds if kind is not type(None))


def _choices(field: FieldInfo) -> tuple[str, ...]:
    """Returns the words of a field that takes one of several, none for other fields."""
    kinds = (field.annotation, *_kinds(field))
    literals = [kind for kind in kinds if typing.get_origin(kind) is Literal]
    return typing.get_args(literals[0]) if literals else ()


def _bounds(field: FieldInfo) -> dict[str, float]:
    marks = {"ge": Ge, "gt": Gt, "le": Le, "lt": Lt}
    return {
        name: getattr(item, name)
        for item in field.metadata
        for name, mark in marks.items()
        if isinstance(item, mark)
    }


def _unit(field: FieldInfo) -> str | None:
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) and "unit" in extra else None


def _mend(key: Key, value: Any) -> str:
    """Returns how the value can be corrected."""
    field, dotted = _fields()[_known(key)], ".".join(_known(key))
    if dotted == "name":
        return f"For example name: {slug(str(value))}."
    if dotted == "base.name":
        near = nearest_base(str(value))
        return (f"Did you mean {near}? " if near else "") + f"Known are {', '.join(BASES)}."
    if _unit(field) and isinstance(value, str) and _is_number(value):
        return f"Write it without quotes: {key[-1]}: {value}."
    choices = (IMAGENET, NO_WEIGHTS) if dotted == "base.weights" else _choices(field)
    near_choices = difflib.get_close_matches(str(value).lower(), choices, n=1)
    if near_choices:
        return f"Did you mean {near_choices[0]}?"
    return f"Correct it{_example(_known(key))}."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _example(key: Key) -> str:
    """Returns ", for example key: value" from the field's default or from `_EXAMPLES`."""
    field, dotted = _fields()[key], ".".join(key)
    value = _EXAMPLES.get(dotted, None if field.is_required() else field.default)
    if value is None or isinstance(value, BaseModel | PydanticUndefinedType):
        return ""
    if not isinstance(value, str):
        value = json.dumps(value, default=str)
    return f", for example {key[-1]}: {value}" if value else ""


if __name__ == "__main__":
    print(json.dumps(dump_schema(), indent=2, ensure_ascii=False))
