"""What a configuration holds: its keys with their types, units, ranges and defaults.

Every value is frozen, so that all stages see the same; a key that is not here is refused. What
only holds between keys, or against files, is in `checks.py`.
"""

import re
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo

from components.bases import BASES
from components.errors import InputError
from components.image_example_gen.listing import SourceSettings
from components.trainer.base_file import inspect_base
from components.trainer.preset_base import describe_preset
from pipeline.config.evaluation import Evaluate
from pipeline.config.fields import AnyPath, LocalPath, Section, number, section, to_path
from pipeline.config.kubeflow import Kubeflow
from pipeline.config.training import Base, FineTune, Head, Image, Train, Tune, seconds

MAX_NAME = 63  # what Kubernetes allows for the name of a job
REMOTE_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*/?")
IMAGE = r"^[^\s@]+(@sha256:[0-9a-f]{64})?$"
GIB = 1 << 30


def _to_source(value: Any, info: ValidationInfo) -> str:
    """Returns a URI as it is and anything else as an absolute path or pattern."""
    if isinstance(value, str) and REMOTE_PATH.match(value):
        return value.rstrip("/")
    return str(to_path(value, info))


class Splits(Section):
    """Shares of the images, decided by content; they add up to 1."""

    train: float = number("Share of the images that the head learns from", "share", gt=0, lt=1)
    validation: float = number("Share that the model gate judges by", "share", gt=0, lt=1)
    test: float | None = number(
        "Share that is reported on, never gated on; none by default", "share", None, gt=0, lt=1
    )

    def shares(self) -> dict[str, float]:
        """Returns the share of each split that is given, in the order train, validation, test."""
        shares = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: share for name, share in shares.items() if share is not None}


class Columns(Section):
    """Names of a table's columns; split and group may be absent from it."""

    path: str = Field("path", min_length=1, description="Path, relative to the table's folder.")
    label: str = Field("label", min_length=1, description="The class.")
    split: str = Field(
        "split", min_length=1, description="train, validation or test; empty: dealt by content."
    )
    group: str = Field(
        "group", min_length=1, description="What must stay in one split, such as a patient."
    )


class Keys(Section):
    """Names of the features in a TFRecord source; by default the usual ones are tried."""

    image: str | None = Field(None, min_length=1, description="The encoded image.")
    label: str | None = Field(None, min_length=1, description="The class, as text or a number.")


class Data(Section):
    """The labelled images and what is refused among them."""

    source: Annotated[str, BeforeValidator(_to_source)] = Field(
        description="A folder of class folders or of train/validation/test folders, a table (.csv, "
        ".tsv or .jsonl), an archive (.zip, .tar, .tar.gz) of one of these, or a pattern of "
        "TFRecord files (path relative to this file, or a URI such as gs://…); originals are only "
        "read."
    )
    columns: Columns = section(Columns)
    keys: Keys = section(Keys)
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
    max_refused: float = number(
        "Share of images that may be refused before the run stops", "share", 0.05, ge=0, le=1
    )
    max_pixels: int = number(
        "Largest image by width times height; larger ones are refused",
        "pixels",
        100_000_000,
        ge=1,
        le=10_000_000_000,
    )
    min_size: int = number(
        "Least width and height; smaller images are refused", "pixels", 1, ge=1, le=4096
    )
    max_unpacked: float = number(
        "Most that an archive or TFRecord files may unpack to", "GiB", 50.0, gt=0, le=1_000_000
    )
    split_salt: str = Field(
        "",
        max_length=100,
        description="Text that deals the splits anew when changed (up to 100 characters).",
    )


class Push(Section):
    """Where the served model stands."""

    directory: AnyPath = Field(
        description="Folder that TF Serving watches; each model gets a version folder in it "
        "(path, relative to this file, or a URI such as gs://…)."
    )
    keep: int = number(
        "Last models whose versions stay, older ones are removed", "models", 5, ge=2, le=1000
    )
    signing_key: LocalPath | None = Field(
        None,
        description="PEM file of an Ed25519 private key that signs each version's graft.json "
        "(path, relative to this file).",
    )
    infra_validator: Literal["none", "docker", "kubernetes"] = Field(
        "none",
        description="Where TFX's InfraValidator loads the model into a server before it is pushed: "
        "none, docker (on this machine), kubernetes (in Kubeflow Pipelines).",
    )
    serving_image: Annotated[str, StringConstraints(pattern=IMAGE)] | None = Field(
        None,
        description="Image of TF Serving, NAME:TAG or NAME@sha256:…, for infra_validator and graft "
        "serving; by default tensorflow/serving of this TensorFlow's version.",
    )


class Runtime(Section):
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


class Config(Section):
    """The whole configuration; made by `load`, or from a dictionary by `Config.model_validate`."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]*$",
        max_length=MAX_NAME,
        description="The pipeline's name (lower case letters, digits and dashes, starting "
        f"with a letter, up to {MAX_NAME} characters).",
    )
    data: Data = Field(description=Data.__doc__)
    base: Base = Field(description=Base.__doc__)
    image: Image = section(Image)
    head: Head = section(Head)
    train: Train = section(Train)
    fine_tune: FineTune = section(FineTune)
    tune: Tune = section(Tune)
    evaluate: Evaluate = section(Evaluate)
    push: Push = Field(description=Push.__doc__)
    runtime: Runtime = section(Runtime)
    kubeflow: Kubeflow = section(Kubeflow)

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
    def serving_image(self) -> str:
        """The image of TF Serving: as configured, or that of the TensorFlow that is installed."""
        return self.push.serving_image or f"tensorflow/serving:{metadata.version('tensorflow')}"

    @property
    def is_exact(self) -> bool:
        """Whether the Evaluator's figures and a server's differ by float32's rounding alone."""
        return self.train.cache_dtype == self.train.precision == "float32"

    @property
    def training_settings(self) -> dict[str, Any]:
        """What Trainer and Tuner are told, as JSON holds it; the time budget in seconds."""
        sections = self.model_dump(mode="json", include={"base", "head", "train", "fine_tune"})
        budget = self.train.time_budget
        sections["train"]["time_budget"] = seconds(budget) if budget else None
        image = {
            "size": self.resolved_image_size,
            "resize": self.image.resize,
            "preprocessing": self.resolved_preprocessing,
        }
        return {**sections, "image": image, "cache": str(self.cache)}

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

        For a SavedModel TensorFlow is imported, for a preset by name KerasHub; what such a preset
        says is downloaded once. All others are known at once.

        Raises:
            InputError: the base cannot be used, or leaves the size open and so does `image.size`.
        """
        if self.image.size is not None:
            return self.image.size
        size = self._base_size()
        if size is None:
            kind, value = self._given_base()
            raise InputError(
                "Expected image.size with a base whose input has no fixed size. Received: no "
                f"image.size with base.{kind}={value}. Write image.size: 224, or the size "
                "that the base was trained on."
            )
        return size

    @property
    def resolved_preprocessing(self) -> str:
        """One of `components.bases.PREPROCESSINGS` or `affine:…`: the base's, or as configured.

        For a preset by name KerasHub is imported, as for `resolved_image_size`.

        Raises:
            InputError: a preset cannot be used, or both or neither of it and `base.preprocessing`
                tell how pixels are scaled.
        """
        base = self.base
        if base.name is not None:
            return BASES[base.name].preprocessing
        if base.preset is None:
            return str(base.preprocessing)
        known = describe_preset(base.preset).preprocessing
        if (known is None) == (base.preprocessing is None):
            given = f"base.preset={base.preset}" + (
                " without an image converter (one for text has none)"
                if known is None
                else f" and base.preprocessing={base.preprocessing}"
            )
            raise InputError(
                "Expected either the preset's image converter or base.preprocessing to tell how "
                f"pixels are scaled. Received: {given}. "
                + ("Add base.preprocessing." if known is None else "Take base.preprocessing out.")
            )
        return known or str(base.preprocessing)

    def _base_size(self) -> int | None:
        """Returns the height and width that the base takes; None where it does not say."""
        base = self.base
        if base.name is not None:
            return BASES[base.name].size
        if base.preset is not None:
            return describe_preset(base.preset).size
        if base.saved_model is not None:
            from components.trainer.saved_model_base import inspect_saved_model

            return inspect_saved_model(base.saved_model).size
        height, width, _ = inspect_base(str(base.path)).input_shape
        return height or width

    def _given_base(self) -> tuple[str, Any]:
        """Returns the key that gives the base, and its value."""
        given = self.base.model_dump(include={"name", "path", "preset", "saved_model"})
        return next((key, value) for key, value in given.items() if value is not None)

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


def slug(text: str) -> str:
    """Returns a valid pipeline name that is nearest to `text`; `"photos"` where nothing is left."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower())
    return re.sub(r"^[^a-z]+", "", plain)[:MAX_NAME].strip("-") or "photos"


def dump_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of the file, as in `schemas/config.schema.json`."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
