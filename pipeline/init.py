"""Writes a first configuration from a look at the photos, one that runs as it is.

Every key is in it with its default and what it means, so that the file is its own manual.
"""

import math
import os
import textwrap
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from components.atomic import write_text
from components.bases import BASES, GRAPH_FILE, NONE, RESCALE_0_1, RESCALE_1_1, nearest_base
from components.errors import InputError
from components.features import SPLITS
from components.trainer import preset_base
from components.trainer.base_file import SUFFIX, BaseFile, check_fits, inspect_base
from pipeline.config import Config, load, section_of, slug
from pipeline.first_look import Photos, look

VALIDATION = 0.2  # share of the photos that the written configuration leaves for validation
DEFAULT_BASE = "MobileNetV2"
ANY_SIZE = "The base takes any size; its accuracy is best at the one it was made at."
OPEN_SIZE = 224  # pixels, for a base that takes any size: what most bases were trained on
# What a key without a default may look like; written commented out.
EXAMPLES: dict[str, Any] = {
    "data.keys.image": "image/encoded",
    "data.keys.label": "image/class/text",
    "data.group": "patient_([0-9]+)",
    "data.splits.test": 0.1,
    "base.name": DEFAULT_BASE,
    "base.path": f"base{SUFFIX}",
    "base.preset": "resnet_50_imagenet",
    "base.saved_model": "feature_vector",
    "base.weights": "imagenet",
    "base.preprocessing": RESCALE_1_1,
    "image.size": OPEN_SIZE,
    "train.time_budget": "30m",
    "push.signing_key": "key.pem",
    "push.serving_image": "tensorflow/serving:2.16.1",
    "evaluate.min_balanced_accuracy": 0.6,
    "evaluate.min_auc": 0.9,
    "evaluate.max_log_loss": 1.0,
    "evaluate.max_memory": 4000.0,
    "evaluate.max_calibration_error": 0.1,
}
MODEL_SUFFIXES = (SUFFIX, ".h5", ".hdf5", ".pb")
WIDTH = 100
ELSEWHERE = (
    "kubeflow"  # a section that no run on this machine reads; configs/kubeflow.yaml shows it
)
SHOWN = 20  # classes and suffixes named in the header


def write_config(photos: str | Path, base: str | None = None, output: Path | None = None) -> Path:
    """Writes a commented configuration for labelled photos and checks that it loads.

    Args:
        photos: whatever `data.source` may be.
        base: a name in `components.bases.BASES`, a `.keras` file, or the folder of a KerasHub
            preset or a SavedModel; MobileNetV2 by default.
        output: file to write, which must not exist; `NAME.yaml` in the current folder by default,
            where NAME follows from the photos' name.

    Returns:
        The file written.

    Raises:
        InputError: the photos, the base or the output cannot be used; nothing is written then.
    """
    seen = look(photos)
    name = slug(seen.name)
    output = Path(os.path.abspath(output if output is not None else f"{name}.yaml"))
    _check_output(output, seen)
    keys, comments = _base_keys(base or DEFAULT_BASE, output.parent, seen)
    keys |= {
        "name": name,
        "data.source": _relative(seen.source, output.parent),
        **{f"data.columns.{meaning}": column for meaning, column in seen.columns.items()},
        "evaluate.min_accuracy": accuracy_floor(list(seen.classes.values())),
        "evaluate.max_accuracy_drop": drop_by_chance(sum(seen.classes.values())),
        "push.directory": f"served/{name}",
        "runtime.root": "runs",
    }
    comments["evaluate.min_accuracy"] = (
        f"Guessing the commonest class reaches {_commonest_share(seen):.2f}; this is a third of "
        "the way from there to 1. Raise it to what you need."
    )
    comments["evaluate.max_accuracy_drop"] = (
        "How far accuracy may fall below the served model's; this is what chance alone moves it by "
        "with so many validation photos (one standard error at most)."
    )
    _write(output, "\n".join([*_header(seen, output), "", *_render(Config, keys, comments)]) + "\n")
    return output


def drop_by_chance(images: int) -> float:
    """Returns the largest standard error of an accuracy on the validation split.

    It is sqrt(0.25 / n) rounded up to two digits, n the validation photos; at most 0.2.

    Args:
        images: photos in all, at least 1.
    """
    return min(0.2, math.ceil(100 * math.sqrt(0.25 / (VALIDATION * images))) / 100)


def accuracy_floor(counts: list[int]) -> float:
    """Returns a least accuracy that guessing the commonest class cannot reach.

    It is p + (1 - p) / 3 rounded down to two digits, p the commonest class's share; to more digits
    where two would fall to p. Computed in whole numbers, as 0.58 is not one in binary.

    Args:
        counts: images of each class, at least two classes, each count at least 1.

    Returns:
        A share, above p and below 1.
    """
    most, total = max(counts), sum(counts)
    scale = 100
    while True:
        floor = scale * (total + 2 * most) // (3 * total)
        if floor * total > most * scale:
            return floor / scale
        scale *= 10


def _render(
    model: type[BaseModel], keys: Mapping[str, Any], comments: Mapping[str, str], prefix: str = ""
) -> Iterator[str]:
    """Yields the lines of a section with every key, each under what it means.

    `keys` are values by dotted key, where not the default; a key with neither is written as an
    example that is commented out. `comments` are added to descriptions, by dotted key.
    """
    indent = "  " * prefix.count(".")
    for name, field in model.model_fields.items():
        dotted, section = prefix + name, section_of(field)
        if dotted == ELSEWHERE:
            continue
        required = field.is_required()
        default = None if required else field.get_default(call_default_factory=True)
        if not prefix and name != "name":
            yield ""
        yield from _comment(f"{field.description} {comments.get(dotted, '')}", indent)
        value = keys.get(dotted, default)
        if section:
            own = {f"{dotted}.{inner}": given for inner, given in dict(value or ()).items()}
            yield f"{indent}{name}:"
            yield from _render(section, {**own, **keys}, comments, f"{dotted}.")
        elif value is None:
            yield f"{indent}# {name}: {_text(EXAMPLES[dotted])}"
        else:
            yield f"{indent}{name}: {_text(value)}"


def _comment(text: str, indent: str = "") -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start)


def _text(value: Any) -> str:
    """Returns a value as it is written in YAML, on one line."""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _base_keys(base: str, folder: Path, seen: Photos) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the keys of `base` and `image`, and what is said of them."""
    typical = "" if seen.size is None else f" The photos have about {seen.size[0]}x{seen.size[1]}."
    if base in BASES:
        size = BASES[base].size
        return {"base.name": base, "base.weights": "imagenet"}, {
            "base.weights": "Keras downloads imagenet once; without network give a file.",
            "image.size": f"{base} takes {size}x{size} if nothing is given.{typical}",
        }
    if os.path.isfile(os.path.join(base, GRAPH_FILE)):
        return _saved_model_keys(base, folder, typical)
    if os.path.isfile(os.path.join(base, preset_base.CONFIG)):
        return _preset_keys(base, folder, typical)
    if not base.endswith(MODEL_SUFFIXES) and not os.path.exists(base):
        near = nearest_base(base)
        raise InputError(
            f"Expected the name of a base, a {SUFFIX} file, or the folder of a KerasHub preset or "
            f"of a SavedModel. Received: --base {base}. "
            f"{f'Did you mean {near}? ' if near else ''}Known are {', '.join(BASES)}."
        )
    base_file = inspect_base(base)
    keys: dict[str, Any] = {"base.path": _relative(Path(os.path.abspath(base)), folder)}
    keys["base.preprocessing"], scaling = _file_scaling(base_file)
    keys["image.size"], size_said = _file_size(base_file)
    return keys, {"base.preprocessing": scaling, "image.size": size_said + typical}


def _saved_model_keys(
    base: str, folder: Path, typical: str
) -> tuple[dict[str, Any], dict[str, str]]:
    from components.trainer.saved_model_base import inspect_saved_model

    size = inspect_saved_model(base).size
    keys = {
        "base.saved_model": _relative(Path(os.path.abspath(base)), folder),
        "base.preprocessing": RESCALE_0_1,
        "image.size": OPEN_SIZE if size is None else None,
    }
    return keys, {
        "base.preprocessing": f"CHECK THIS: TensorFlow Hub's take {RESCALE_0_1}, a SavedModel does "
        "not tell it, and a wrong one costs accuracy without an error.",
        "image.size": _size_said(size) + typical,
    }


def _preset_keys(base: str, folder: Path, typical: str) -> tuple[dict[str, Any], dict[str, str]]:
    preset = preset_base.describe_preset(base)
    keys: dict[str, Any] = {"base.preset": _relative(Path(os.path.abspath(base)), folder)}
    comments = {"image.size": f"{_size_said(preset.size)}{typical}"}
    if preset.size is None:
        keys["image.size"] = OPEN_SIZE
    if preset.preprocessing is None:
        keys["base.preprocessing"] = RESCALE_1_1
        comments["base.preprocessing"] = (
            "CHECK THIS: the preset has no image converter to tell it, and a wrong one costs "
            "accuracy without an error."
        )
    return keys, comments


def _size_said(size: int | None) -> str:
    return ANY_SIZE if size is None else f"The base takes {size}x{size} if nothing is given."


def _file_scaling(base_file: BaseFile) -> tuple[str, str]:
    """Returns the preprocessing to write, and what is said of it."""
    if base_file.scales_input:
        return NONE, "The file scales pixels by itself, in a layer near its input."
    return RESCALE_1_1, (
        "CHECK THIS: a file does not tell it, and a wrong one costs accuracy without an error."
    )


def _file_size(base_file: BaseFile) -> tuple[int | None, str]:
    """Returns the size to write, None where the file tells it, and what is said of it."""
    height, width, _ = base_file.input_shape
    size = height or width
    if size is None:
        return OPEN_SIZE, ANY_SIZE
    check_fits(base_file, size)
    return None, f"The base takes {size}x{size} only."


def _commonest_share(seen: Photos) -> float:
    return max(seen.classes.values()) / sum(seen.classes.values())


def _header(seen: Photos, output: Path) -> Iterator[str]:
    classes = _counted(seen.classes)
    kinds = _counted({suffix or "no suffix": count for suffix, count in seen.suffixes.items()})
    count = sum(seen.classes.values())
    about = f"A {seen.kind}. {count} files in {len(seen.classes)} classes: {classes}. "
    about += f"By suffix: {kinds}."
    if seen.size:
        about += f" Typical size: {seen.size[0]}x{seen.size[1]} pixels."
    given = [split for split in SPLITS if split in seen.predefined]
    if given:
        about += f" The source itself gives the splits {', '.join(given)}; "
        about += "data.splits deals all other images."
    lines = [
        f"Written by `graft init` for {seen.name}. Run it: graft run {output.name}",
        about,
        "Every key is here; those commented out are examples. Relative paths are relative to this "
        "file.",
    ]
    for line in lines:
        printable = "".join(letter if letter.isprintable() else "?" for letter in line)
        yield from _comment(printable)


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count}" for name, count in list(counts.items())[:SHOWN]]
    rest = [f"and {len(counts) - SHOWN:,} more"] if len(counts) > SHOWN else []
    return ", ".join(shown + rest)


def _relative(path: str | Path, folder: Path) -> str:
    """Returns a path relative to the configuration's folder where they share more than the root."""
    if "://" in str(path):
        return str(path)
    common = os.path.commonpath([path, folder])
    return str(path) if common == os.path.sep else os.path.relpath(path, folder)


def _check_output(output: Path, seen: Photos) -> None:
    if os.path.exists(output):
        raise InputError(
            f"Expected a new file. Received: {output}, which exists and is never overwritten. "
            "Choose another by --output FILE."
        )
    if os.path.isdir(seen.source) and output.resolve().is_relative_to(seen.source):
        raise InputError(
            f"Expected an output outside the photos, as runs are kept beside it. Received: {output}"
            f" in PHOTOS={seen.source}. Write --output {Path(seen.source).parent / output.name}."
        )


def _write(output: Path, text: str) -> None:
    try:
        output.touch(exist_ok=False)  # takes the name, so that nobody's file is overwritten
        try:
            write_text(output, text)
            load(output)
        except BaseException:
            output.unlink()
            raise
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"Expected a file that can be written. Received: {output} ({why}). "
            "Make its folder first, or choose another by --output FILE."
        ) from error
