"""What can be changed from run to run without compiling again.

Stages take their settings as JSON; a parameter of the run is therefore handed to them beside it,
and the entry point puts it into its place.
"""

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from components.errors import InputError
from pipeline.config import Config
from pipeline.config.fields import section_of

INTEGER, DOUBLE, STRING = "NUMBER_INTEGER", "NUMBER_DOUBLE", "STRING"


@dataclass(frozen=True)
class Parameter:
    """A key of the configuration that a run may override.

    Attributes:
        key: in the configuration, dotted.
        kind: the type in a PipelineSpec.
        stages: which take it; those that a pipeline does not have are left out.
        target: the stages' own parameter that holds it.
        path: where in the JSON of `target`; empty where it is the value itself.
    """

    key: str
    kind: str
    stages: tuple[str, ...]
    target: str
    path: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that a run's user gives, such as `train_epochs`."""
        return self.key.replace(".", "_")


_TRAINING = (("Trainer", "Tuner"), "custom_config")
PARAMETERS = (
    Parameter("data.source", STRING, ("ImageExampleGen",), "settings", ("source",)),
    Parameter("data.max_refused", DOUBLE, ("DataGate",), "max_refused"),
    Parameter("train.epochs", INTEGER, *_TRAINING, ("train", "epochs")),
    Parameter("train.learning_rate", DOUBLE, *_TRAINING, ("train", "learning_rate")),
    Parameter("train.seed", INTEGER, *_TRAINING, ("train", "seed")),
    Parameter("fine_tune.epochs", INTEGER, *_TRAINING, ("fine_tune", "epochs")),
    Parameter("evaluate.min_accuracy", DOUBLE, ("ModelGate",), "limits", ("min_accuracy",)),
    Parameter(
        "evaluate.max_accuracy_drop", DOUBLE, ("ModelGate",), "limits", ("max_accuracy_drop",)
    ),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def default(parameter: Parameter, config: Config) -> Any:
    """Returns what the configuration says."""
    value: Any = config
    for part in parameter.key.split("."):
        value = getattr(value, part)
    return value


def apply(values: MutableMapping[str, Any]) -> None:
    """Takes the run's parameters out of a stage's, and puts each into its place.

    Args:
        values: the stage's parameters by name, as JSON holds them; changed.

    Raises:
        InputError: a value that the configuration would refuse.
    """
    for name in [name for name in values if name in BY_NAME]:
        parameter = BY_NAME[name]
        value = check(parameter, values.pop(name))
        if parameter.path:
            document = json.loads(values[parameter.target])
            _put(document, parameter.path, value)
            values[parameter.target] = json.dumps(document)
        else:
            values[parameter.target] = value


def check(parameter: Parameter, value: Any) -> Any:
    """Returns a value as the configuration holds it; raises `InputError` for a wrong one."""
    if parameter.kind == INTEGER and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of number
    if parameter.kind == STRING:
        return str(value)
    section, _, key = parameter.key.partition(".")
    model: Any = section_of(Config.model_fields[section])
    field = model.model_fields[key]
    constraints = TypeAdapter(_annotated(field))
    try:
        return constraints.validate_python(value)
    except ValidationError as error:
        words = (field.json_schema_extra or {}).get("range", "")
        raise InputError(
            f"Expected the parameter {parameter.name} to be a number {words}. "
            f"Received: {parameter.name}={value}. Start the run again with another value."
        ) from error


def _annotated(field: Any) -> Any:
    kind = field.annotation
    for constraint in field.metadata:
        kind = Annotated[kind, constraint]
    return kind


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        document = document[part]
    document[path[-1]] = value


def known_names(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the parameters that a compiled package takes, by name."""
    return dict(spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}))
