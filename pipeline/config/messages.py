"""Words what is wrong with a configuration in one voice: expected, received, and the mend.

pydantic finds a wrong key or value; its own words know neither units nor the keys that were meant.
"""

import difflib
import functools
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.augmentations import AMOUNTS, FLIPS, PRESETS
from components.bases import BASES, nearest_base
from components.errors import InputError
from components.trainer.base_file import SUFFIX
from pipeline.config import kubeflow
from pipeline.config.document import Document, Key, read_scalar, show
from pipeline.config.evaluation import SLICED
from pipeline.config.fields import REMOTE, section_of
from pipeline.config.model import MAX_NAME, Columns, Config, Keys, slug
from pipeline.config.training import IMAGENET, MAX_LAYERS, NO_WEIGHTS

Fault = tuple[Key, str]  # the key that is wrong, and what to say of it

_AUGMENTATIONS = ", ".join(
    [f"flip: {', '.join(FLIPS)}", *(f"{name}: up to {most}" for name, (most, _) in AMOUNTS.items())]
)
# What is expected where the field's type and bounds do not tell it.
EXPECTED = {
    "name": f"lower case letters, digits and dashes, starting with a letter, up to {MAX_NAME} "
    "characters",
    "base.name": "the name of a base",
    "base.weights": f"{IMAGENET}, {NO_WEIGHTS} or a weights file (.weights.h5, .h5 or {SUFFIX})",
    "data.source": "a path or a URI",
    "push.directory": "a path or a URI",
    "push.serving_image": "an image, NAME:TAG or NAME@sha256:DIGEST",
    "data.group": "a regular expression with one group",
    "data.split_salt": "text of up to 100 characters",
    **{f"data.columns.{name}": "the name of a column" for name in Columns.model_fields},
    **{f"data.keys.{name}": "the name of a feature" for name in Keys.model_fields},
    "base.preset": "a preset's name, such as resnet_50_imagenet, or a preset folder",
    "train.augment": f"{', '.join(PRESETS)}, or a list of augmentations with an amount each "
    f"({_AUGMENTATIONS})",
    "train.time_budget": "a time such as 90s, 30m or 1h30m",
    "fine_tune.layers": f"a number of layers from 0 to {MAX_LAYERS}, the name of a block, or all",
    "tune.space.hidden": "a list of at least one list of widths, none twice, such as [[], [128]]",
    "tune.space.dropout": "a list of at least one share from 0 to 0.95, none twice, or {min, max}",
    "tune.space.learning_rate": "a list of at least one step size from 1e-9 to 10, none twice, or "
    "{min, max}",
    "tune.space.fine_tune_layers": "a list of values of fine_tune.layers above 0, none twice",
    "head.hidden": "a list of up to 16 widths, each a whole number from 1 to 65536",
    **dict.fromkeys(
        (
            "evaluate.max_recall_drop",
            "evaluate.min_balanced_accuracy",
            "evaluate.min_auc",
            "evaluate.max_calibration_error",
        ),
        "a number from 0 to 1 (share)",
    ),
    "evaluate.max_log_loss": "a number above 0 and at most 100 (nats)",
    "evaluate.max_memory": "a number above 0 and at most 10000000 (MB)",
    **dict.fromkeys(
        ("evaluate.min_recall", "evaluate.min_precision"),
        "a share from 0 to 1 for each class that is named",
    ),
    "evaluate.slices": f"a list of slices, each either a property ({', '.join(SLICED)}) with "
    "ascending edges, or a name with a path that is a regular expression",
    "evaluate.slice_limits": "a list of limits, each a slice with any of min_accuracy and "
    "max_accuracy_drop (shares from 0 to 1) and min_examples (a whole number from 1)",
    "runtime.beam_args": "a list of flags, each beginning with --",
    **{f"kubeflow.{key}": expected for key, expected in kubeflow.EXPECTED.items()},
}
# What a key that must be given may look like.
EXAMPLES = {
    "name": "flowers",
    "data": "{source: photos/}",
    "data.source": "photos/",
    "data.splits.train": "0.8",
    "data.splits.validation": "0.2",
    "base": "{name: MobileNetV2}",
    "train.augment": "light",
    "train.time_budget": "30m",
    "fine_tune.layers": "20",
    "tune.space.hidden": "[[], [128]]",
    "tune.space.dropout": "{min: 0, max: 0.6}",
    "tune.space.learning_rate": "{min: 0.0001, max: 0.01}",
    "tune.space.fine_tune_layers": "[10, 20]",
    "evaluate.max_recall_drop": "0.1",
    "evaluate.min_balanced_accuracy": "0.6",
    "evaluate.min_auc": "0.9",
    "evaluate.max_calibration_error": "0.1",
    "evaluate.max_log_loss": "1.0",
    "evaluate.max_memory": "4000",
    "evaluate.min_recall": "{tulip: 0.8}",
    "evaluate.min_precision": "{tulip: 0.8}",
    "evaluate.slices": "[{property: brightness, edges: [0.1]}]",
    "evaluate.slice_limits": "[{slice: brightness<0.25, min_accuracy: 0.5}]",
    "runtime.beam_args": "[--direct_num_workers=1]",
    "push": "{directory: served/flowers}",
    "push.directory": "served/flowers",
    "push.serving_image": "tensorflow/serving:2.16.1",
    **{f"kubeflow.{key}": example for key, example in kubeflow.EXAMPLES.items()},
}


def join_faults(document: Document, faults: Sequence[Fault]) -> InputError:
    """Returns one error with a line for each fault, in the order of the file's lines."""
    ordered = sorted(faults, key=lambda fault: document.find(fault[0]))
    return InputError("\n".join(f"{document.place(key)}: {text}" for key, text in ordered))


def tell(error: ErrorDetails) -> Fault:
    """Returns one error of pydantic's in our words."""
    key = tuple(str(part) for part in error["loc"])
    dotted, value = ".".join(key), error["input"]
    # Without the place in a list, and what is inside it.
    known = next((key[:end] for end in range(len(key), 0, -1) if key[:end] in _fields()), ())
    inside_a_list = bool(known) and not section_of(_fields()[known])
    if error["type"] == "extra_forbidden" and not inside_a_list:
        return key, _tell_unknown(key, value)
    expected, received, mend = _expected(known), f"{dotted}={show(value)}", _mend(known, value)
    if error["type"] == "missing" and known == key:
        expected, received, mend = f"given: {expected}", f"no {dotted}", f"Add it{_example(key)}."
    if error["type"] == REMOTE:
        expected = "a path on this machine"
        mend = "Remote paths are not read yet: copy or mount it here."
    return key, f"Expected {'.'.join(known)} to be {expected}. Received: {received}. {mend}"


def _tell_unknown(key: Key, value: Any) -> str:
    section, near = key[:-1], _nearest_keys(key)
    where = f"in {'.'.join(section)}" if section else "at the top"
    known = ", ".join(name[-1] for name in _fields() if name[:-1] == section)
    mend = f"Did you mean {' or '.join(near)}?" if near else f"The keys {where} are {known}."
    received = f"the unknown key {'.'.join(key)}={show(value)}"
    return f"Expected a known key {where}. Received: {received}. {mend}"


def _nearest_keys(key: Key) -> list[str]:
    """Returns the known keys that may have been meant, in the same section or in another."""
    leaf = key[-1].lower().replace("-", "_")
    names = {".".join(name): name for name in _fields()}
    if leaf in names:
        return [leaf]
    leaves = [name[-1] for name in names.values()]
    beside = {name[-1]: dotted for dotted, name in names.items() if name[:-1] == key[:-1]}
    near = difflib.get_close_matches(leaf, beside, n=1)
    if near and (near[0] == leaf or leaf not in leaves):
        return [beside[near[0]]]
    near = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.75)
    return [dotted for dotted, name in names.items() if name[-1] in near]


def _expected(key: Key) -> str:
    """Returns what the key takes, in words."""
    dotted, field = ".".join(key), _fields()[key]
    if dotted in EXPECTED:
        return EXPECTED[dotted]
    section = section_of(field)
    if section:
        return f"a section with {', '.join(section.model_fields)}"
    if field.annotation is bool:
        return "true or false"
    if _choices(field):
        return f"one of {', '.join(_choices(field))}"
    number = _number_of(field)
    if not number:
        return "a path"
    kind = "a whole number" if field.annotation in (int, int | None) else "a number"
    return f"{kind} {number['range']} ({number['unit']})"


def _mend(key: Key, value: Any) -> str:
    """Returns how the value can be corrected."""
    dotted, field = ".".join(key), _fields()[key]
    if dotted == "name":
        return f"For example name: {slug(str(value))}."
    if dotted == "base.name":
        near = nearest_base(str(value))
        return (f"Did you mean {near}? " if near else "") + f"Known are {', '.join(BASES)}."
    if _number_of(field) and isinstance(value, str) and type(read_scalar(value)) in (int, float):
        return f"Write it without quotes: {key[-1]}: {value}."
    choices = (IMAGENET, NO_WEIGHTS) if dotted == "base.weights" else _choices(field)
    near_choices = difflib.get_close_matches(str(value).lower(), choices, n=1)
    if near_choices:
        return f"Did you mean {near_choices[0]}?"
    return f"Correct it{_example(key)}."


def _example(key: Key) -> str:
    """Returns ", for example key: value" where an example or a number's default is known."""
    field = _fields()[key]
    value = EXAMPLES.get(".".join(key), field.default if _number_of(field) else None)
    return "" if value is None else f", for example {key[-1]}: {value}"


@functools.cache
def _fields(model: type[BaseModel] = Config, prefix: Key = ()) -> dict[Key, FieldInfo]:
    """Returns every key of the configuration, sections included, in their order."""
    fields: dict[Key, FieldInfo] = {}
    for name, field in model.model_fields.items():
        key, section = (*prefix, name), section_of(field)
        fields |= {key: field, **(_fields(section, key) if section else {})}
    return fields


def _number_of(field: FieldInfo) -> dict[str, Any]:
    """Returns the unit and range of a number, in words; empty for other fields."""
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) and "unit" in extra else {}


def _choices(field: FieldInfo) -> tuple[str, ...]:
    """Returns the words of a field that takes one of several, none for other fields."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
