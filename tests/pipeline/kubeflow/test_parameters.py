"""Parameters of a run reach the place that the configuration gives them."""

import json
from typing import Any

import pytest

from components.errors import InputError
from pipeline.config import Config
from pipeline.kubeflow.parameters import BY_NAME, PARAMETERS, apply, default

CONFIG = Config.model_validate(
    {
        "name": "flowers",
        "data": {"source": "/photos"},
        "base": {"name": "VGG16"},
        "push": {"directory": "/served"},
        "train": {"epochs": 7},
    }
)


def test_a_default_is_what_the_configuration_says() -> None:
    assert default(BY_NAME["train_epochs"], CONFIG) == 7
    assert default(BY_NAME["data_source"], CONFIG) == "/photos"


def test_a_parameter_takes_its_place_in_the_stages_json() -> None:
    training = json.dumps(CONFIG.training_settings)
    values: dict[str, Any] = {"custom_config": training, "train_epochs": 3.0, "splits": "[]"}
    apply(values)
    settings = json.loads(values["custom_config"])
    assert set(values) == {"custom_config", "splits"}
    assert settings["train"]["epochs"] == 3
    assert isinstance(settings["train"]["epochs"], int)
    assert settings["train"]["seed"] == CONFIG.train.seed


def test_a_parameter_may_be_the_stages_own() -> None:
    values: dict[str, Any] = {"max_refused": 0.05, "data_max_refused": 0.5}
    apply(values)
    assert values == {"max_refused": 0.5}


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_epochs", 0), ("train_epochs", 2.5), ("data_max_refused", 7), ("train_seed", "x")],
)
def test_a_value_that_the_configuration_refuses_is_told(name: str, value: Any) -> None:
    values = {
        "custom_config": json.dumps(CONFIG.training_settings),
        "max_refused": 0.1,
        name: value,
    }
    with pytest.raises(InputError, match=f"Received: {name}={value}"):
        apply(values)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_the_configurations_own_value_is_accepted_for_every_parameter(parameter: Any) -> None:
    values: dict[str, Any] = {
        "custom_config": json.dumps(CONFIG.training_settings),
        "settings": CONFIG.source_settings.to_json(),
        "limits": CONFIG.evaluate.limits,
        "max_refused": CONFIG.data.max_refused,
    }
    before = {name: json.loads(str(value)) for name, value in values.items()}
    values[parameter.name] = default(parameter, CONFIG)
    apply(values)
    assert {name: json.loads(str(value)) for name, value in values.items()} == before
