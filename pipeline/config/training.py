"""The keys of a configuration that say what is trained: base, image, head, training, tuning."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from components.augmentations import AMOUNTS, PRESETS, parse_augment
from components.bases import BASES
from components.trainer.base_file import SUFFIX
from pipeline.config.fields import LocalPath, Section, number, section, to_path

Preprocessing = Literal["rescale_0_1", "rescale_-1_1", "imagenet_mean_std", "caffe", "none"]
IMAGENET = "imagenet"
NO_WEIGHTS = "none"
WEIGHTS_SUFFIXES = (".h5", SUFFIX)  # .weights.h5 ends in .h5
MAX_LAYERS = 100_000
MAX_HIDDEN = 16  # layers
MAX_UNITS = 65_536
DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def _to_weights(value: Any, info: ValidationInfo) -> str | Path:
    """Returns `imagenet`, `none` (also for null) or the absolute path of a weights file."""
    if value is None or value in (IMAGENET, NO_WEIGHTS):
        return value or NO_WEIGHTS
    if not str(value).endswith(WEIGHTS_SUFFIXES):
        raise ValueError(f"Expected {IMAGENET}, {NO_WEIGHTS} or a weights file.")
    return to_path(value, info)


def _check_base_name(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and value in BASES):
        raise ValueError("Expected the name of a base.")
    return value


def _to_preset(value: Any, info: ValidationInfo) -> str:
    """Returns a preset's name or URI as it is, and a folder as an absolute path."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("Expected a preset.")
    folder = Path((info.context or {}).get("folder", "."), Path(value).expanduser())
    return str(to_path(value, info)) if "://" not in value and folder.is_dir() else value


def _to_layers(value: Any) -> int | str:
    """Returns a number of layers, `all` or the name of a block."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LAYERS:
        return value
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError("Expected a number of layers, all, or a block.")


def _to_duration(value: Any) -> str | None:
    """Returns a time such as `90s`, `30m` or `1h30m` as it is written."""
    if value is None or (isinstance(value, str) and DURATION.fullmatch(value) and seconds(value)):
        return value
    raise ValueError("Expected a time.")


def seconds(duration: str) -> float:
    """Returns the seconds of a time such as `90s`, `30m` or `1h30m`."""
    match = DURATION.fullmatch(duration)
    parts = match.groups() if match else ()
    return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False) if part)


def _choices(check: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """Returns a validator of a list of values to choose from, at least one, none twice."""

    def validate(value: Any) -> Any:
        values = [tuple(x) if isinstance(x, list) else x for x in _listed(value)]
        if not values or len(set(values)) < len(values) or not all(map(check, values)):
            raise ValueError("Expected a list of values.")
        return tuple(values)

    return validate


def _choices_or_range(low: float, high: float) -> Callable[[Any], Any]:
    """Returns a validator of a list of numbers, or of `{min, max}`, from `low` to `high`."""

    def in_range(number: Any) -> bool:
        return type(number) in (int, float) and low <= number <= high

    def validate(value: Any) -> Any:
        if not isinstance(value, dict):
            return _choices(in_range)(value)
        if set(value) != {"min", "max"} or not all(map(in_range, value.values())):
            raise ValueError("Expected min and max.")
        if value["min"] >= value["max"]:
            raise ValueError("Expected min below max.")
        return value

    return validate


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("Expected a list.")
    return list(value)


def _is_hidden(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_HIDDEN
        and all(type(units) is int and 1 <= units <= MAX_UNITS for units in value)
    )


def _is_layers(value: Any) -> bool:
    try:
        return bool(_to_layers(value))
    except ValueError:
        return False


def _described(json_type: str | list[str] | dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(json_type if isinstance(json_type, dict) else {"type": json_type})


CHOICES_OR_RANGE_SCHEMA = {
    "oneOf": [
        {"type": "array", "items": {"type": "number"}, "minItems": 1},
        {
            "type": "object",
            "properties": {"min": {"type": "number"}, "max": {"type": "number"}},
            "required": ["min", "max"],
            "additionalProperties": False,
        },
    ]
}


class Base(Section):
    """The pre-trained network that the head is grafted onto; name, path, preset or saved_model."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["name"]},
                {"required": ["path"]},
                {"required": ["preset"]},
                {"required": ["saved_model"]},
            ]
        }
    )

    name: Annotated[str | None, BeforeValidator(_check_base_name)] = Field(
        None,
        description="Name in keras.applications (one of the known names; graft bases lists them).",
        json_schema_extra={"enum": [*BASES, None]},
    )
    path: LocalPath | None = Field(
        None, description="A .keras file that takes one image (path, relative to this file)."
    )
    preset: Annotated[str | None, BeforeValidator(_to_preset)] = Field(
        None,
        validate_default=False,
        description="A KerasHub preset of an image backbone, such as resnet_50_imagenet, or a "
        "local preset folder (path, relative to this file); needs the extra keras-hub.",
    )
    saved_model: LocalPath | None = Field(
        None,
        description="A SavedModel folder that gives a feature vector, as from TensorFlow Hub "
        "(path, relative to this file); it stays frozen.",
    )
    weights: Annotated[str | Path | None, BeforeValidator(_to_weights)] = Field(
        None,
        validate_default=False,
        description="imagenet (the default with a name), none (random), or a weights file "
        "(.weights.h5, .h5 or .keras; path, relative to this file); only with name.",
    )
    preprocessing: Preprocessing | None = Field(
        None,
        description="How pixels from 0 to 255 are scaled for a base given by path or saved_model: "
        "rescale_0_1 (to 0..1), rescale_-1_1 (to -1..1), imagenet_mean_std (RGB standardised), "
        "caffe (BGR less the mean), none (left as they are). A name's and a preset's are known.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_weights(cls, data: Any) -> Any:
        named = isinstance(data, dict) and data.get("name") is not None
        return {"weights": IMAGENET, **data} if named else data


class Image(Section):
    """What an image becomes before the base sees it."""

    size: int | None = number(
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


class Head(Section):
    """The layers that are trained on top of the base."""

    pooling: Literal["average", "max", "flatten"] = Field(
        "average",
        description="How the base's feature map becomes one vector: average, max, or flatten "
        "(every position kept; many more weights and larger features).",
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=MAX_UNITS)], ...] = Field(
        (128,),
        strict=False,  # a list of YAML's becomes a tuple, which cannot be changed
        max_length=MAX_HIDDEN,
        description="Widths of the hidden layers (units, each from 1 to 65536, up to 16 layers; "
        "[] for none).",
    )
    activation: Literal["relu", "gelu", "elu", "selu", "silu", "tanh", "leaky_relu"] = Field(
        "relu", description="Activation of the hidden layers, by Keras's name."
    )
    batch_normalization: bool = Field(
        False, description="Batch normalisation after each hidden layer, before its activation."
    )
    dropout: float = number("Dropout before each layer of the head", "share", 0.2, ge=0, lt=1)
    l2: float = number("L2 penalty on the weights of the head", "factor", 0.0, ge=0, le=10)
    label_smoothing: float = number(
        "Share of certainty that is taken from the true class and spread over all",
        "share",
        0.0,
        ge=0,
        lt=1,
    )
    binary: bool = Field(
        False,
        description="For two classes: one sigmoid instead of a softmax over both. What is served "
        "has the same outputs either way.",
    )


class Train(Section):
    """Training of the head on the frozen base's features."""

    epochs: int = number("Passes over the training images at most", "epochs", 20, ge=1, le=100_000)
    batch_size: int = number("Images in one step", "images", 32, ge=1, le=65_536)
    learning_rate: float = number("Step size of Adam", "per step", 0.001, gt=0, le=10)
    patience: int = number(
        "Epochs without improvement, and not less than 60 steps, before training stops early",
        "epochs",
        3,
        ge=0,
        le=100_000,
    )
    seed: int = number("Seed of everything random", "integer", 0, ge=0, le=2**31 - 1)
    watch: float = number(
        "Share of train that is carved out for early stopping to watch, and at least 30 images or "
        "a quarter of few; the validation split is never seen in training",
        "share",
        0.1,
        gt=0,
        le=0.5,
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="How much an image of each class counts: none (all the same), balanced (rare "
        "classes more, so that all classes count the same in all).",
    )
    augment: Annotated[
        Any,
        PlainValidator(parse_augment),
        _described(
            {
                "oneOf": [
                    {"enum": list(PRESETS)},
                    {"type": "array", "items": {"type": "object"}, "minItems": 1},
                ]
            }
        ),
    ] = Field(
        "none",
        description="Random changes of training images, never of served ones: none, light, strong, "
        "or a list such as [{flip: horizontal}, {rotation: 0.1}] of "
        f"{', '.join(('flip', *AMOUNTS))}.",
    )
    augment_copies: int = number(
        "With augmentation: changed copies of each image whose features are kept, one of them "
        "drawn in each epoch; 0 changes every image anew in every epoch, a pass of the base each",
        "copies",
        4,
        ge=0,
        le=1000,
    )
    cache_limit: int = number(
        "Most that the kept features may take on disk; the longest unused are removed first",
        "bytes",
        10_000_000_000,
        ge=0,
        le=10**15,
    )
    cache_dtype: Literal["float32", "float16"] = Field(
        "float32",
        description="How features are kept: float32, or float16 (half the space, about three "
        "digits).",
    )
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "float32",
        description="What the base computes in: float32, mixed_float16 (faster on newer GPUs), "
        "mixed_bfloat16. The served model computes in float32.",
    )
    xla: bool = Field(False, description="Whether training is compiled by XLA.")
    time_budget: Annotated[
        str | None, PlainValidator(_to_duration), _described(["string", "null"])
    ] = Field(
        None,
        description="Time after which training ends with the best so far, such as 90s, 30m or "
        "1h30m; by default none.",
    )
    warm_start: bool = Field(
        False,
        description="Whether the head starts from the served model's instead of random weights.",
    )


class FineTune(Section):
    """Further training of the base's last layers, at a lower rate."""

    layers: Annotated[int | str, PlainValidator(_to_layers), _described(["integer", "string"])] = (
        Field(
            0,
            description="What of the base is trained further, batch normalisation left as it is: a "
            f"number of its last layers (from 0 to {MAX_LAYERS}; 0 leaves the base frozen), the "
            "name of a block from which on, or all.",
        )
    )
    epochs: int = number("Passes over the training images at most", "epochs", 5, ge=1, le=100_000)
    learning_rate: float = number(
        "Highest step size of Adam, after the warm-up", "per step", 0.00001, gt=0, le=10
    )
    warmup: float = number(
        "Share of the steps in which the step size rises from 0; it falls by a cosine to 0 after",
        "share",
        0.1,
        ge=0,
        lt=1,
    )


class Space(Section):
    """What the tuner chooses from: a list of values, or for numbers {min, max}."""

    hidden: Annotated[
        Any,
        PlainValidator(_choices(_is_hidden)),
        _described(
            {
                "type": "array",
                "items": {"type": "array", "items": {"type": "integer"}},
                "minItems": 1,
            }
        ),
    ] = Field(
        ((), (128,), (256,), (512,), (256, 128)),
        description="Values of head.hidden (a list of lists).",
    )
    dropout: Annotated[
        Any, PlainValidator(_choices_or_range(0, 0.95)), _described(CHOICES_OR_RANGE_SCHEMA)
    ] = Field(
        {"min": 0.0, "max": 0.6}, description="Values of head.dropout (share, from 0 to 0.95)."
    )
    learning_rate: Annotated[
        Any, PlainValidator(_choices_or_range(1e-9, 10)), _described(CHOICES_OR_RANGE_SCHEMA)
    ] = Field(
        {"min": 0.0001, "max": 0.01},
        description="Values of train.learning_rate (per step, from 1e-9 to 10; a range is drawn "
        "from by its logarithm).",
    )
    fine_tune_layers: Annotated[
        Any,
        PlainValidator(lambda value: _choices(_is_layers)(value) if value else ()),
        _described({"type": "array", "items": {"type": ["integer", "string"]}}),
    ] = Field(
        (),
        description="Values of fine_tune.layers; each is tried once, with the best head, by a "
        "fine-tuning over the images. [] leaves fine_tune.layers as it is.",
    )


class Tune(Section):
    """Search for the head's settings on kept features, before training; off by default."""

    trials: int = number(
        "Heads that are tried; 0 leaves the tuner out", "trials", 0, ge=0, le=100_000
    )
    algorithm: Literal["random", "bayesian", "hyperband"] = Field(
        "random",
        description="How trials are chosen: random, bayesian (by what earlier ones reached), "
        "hyperband (many short ones, the best go on).",
    )
    space: Space = section(Space)
    every_run: bool = Field(
        False,
        description="Whether each run searches anew; otherwise the best values are kept and used "
        "as long as the search space, the base and the classes stay.",
    )
