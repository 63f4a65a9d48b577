"""The configuration as an object: its folders, what is stored of it, and its schema."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.config import Config, dump_schema, load, section_of, slug

ROOT = Path(__file__).parents[3]
# Where configs/photos.yaml shows a choice in place of a default.
SHOWN = {"base.name": "MobileNetV2", "base.weights": "imagenet"}


def test_folders_of_a_pipeline_are_in_its_home(folder: Path, project: Any) -> None:
    config = load(project.write())
    home = folder / "runs" / "flowers"
    assert config.home == home
    assert config.metadata_path == home / "metadata.db"
    assert config.artifacts == home / "artifacts"
    assert config.cache == home / "cache"
    assert config.reports == home / "reports"
    assert config.quarantine == home / "quarantine"
    assert config.logs == home / "logs"
    assert config.lock_path == home / "run.lock"


def test_configuration_cannot_be_changed(project: Any) -> None:
    config = load(project.write())
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 3  # type: ignore[misc]


def test_name_made_of_nothing_valid_is_photos() -> None:
    assert slug("42 %") == "photos"


def test_resolved_configuration_is_json_and_loads_again_to_the_same(project: Any) -> None:
    config = load(project.write(), ["base.weights=none", "data.source=photos"])
    resolved = config.resolved()
    assert resolved["image"] == {"resize": "stretch", "size": 224}
    assert resolved["base"] == {"name": "MobileNetV2", "weights": "none"}
    assert json.loads(json.dumps(resolved)) == resolved
    again = load(project.write(config.to_yaml()))
    assert again.resolved() == resolved


def test_resolved_configuration_of_a_base_file_loads_again(project: Any) -> None:
    base = project.save_base(32, 32)
    config = load(project.write(project.with_base()))
    assert config.resolved()["base"] == {"path": str(base), "preprocessing": "rescale_0_1"}
    assert load(project.write(config.to_yaml())).resolved() == config.resolved()


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield prefix + name, field
        section = section_of(field)
        if section:
            yield from fields(section, f"{prefix}{name}.")


@pytest.mark.parametrize("key", [key for key, _ in fields(Config)])
def test_every_field_is_described_and_every_number_has_unit_and_range(key: str) -> None:
    field = dict(fields(Config))[key]
    assert field.description and field.description.endswith(".")
    if field.annotation in (int, float, int | None, float | None):
        unit = field.json_schema_extra["unit"]
        assert f"({unit}, from " in field.description or f"({unit}, above " in field.description


def test_schema_in_the_repository_is_fresh() -> None:
    text = (ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8")
    assert json.loads(text) == dump_schema(), (
        "run: python -m pipeline.config > schemas/config.schema.json"
    )


def test_schema_names_nothing_of_this_machine() -> None:
    text = json.dumps(dump_schema())
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


def test_schema_tells_the_four_keys_and_refuses_others() -> None:
    schema = dump_schema()
    assert schema["required"] == ["name", "data", "base", "push"]
    assert schema["$defs"]["Data"]["required"] == ["source"]
    assert schema["$defs"]["Push"]["required"] == ["directory"]
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    assert schema["$defs"]["Runtime"]["properties"]["root"]["default"] == "runs"


def test_example_for_own_photos_loads_and_shows_every_key_with_its_default() -> None:
    path = ROOT / "configs" / "photos.yaml"
    text = path.read_text(encoding="utf-8")
    config = load(path, check_inputs=False)
    for key, field in fields(Config):
        assert f"{key.split('.')[-1]}:" in text
        if not section_of(field) and not field.is_required() and key != "runtime.root":
            value: Any = config
            for part in key.split("."):
                value = getattr(value, part)
            assert value == SHOWN.get(key, field.default)


def test_digits_loads() -> None:
    config = load(ROOT / "configs" / "digits.yaml", check_inputs=False)
    assert (config.name, config.resolved_preprocessing) == ("digits", "rescale_0_1")


def test_errors_are_told_without_importing_tensorflow() -> None:
    code = (
        "import sys, pipeline.config, pipeline.init; "
        "print(sorted({'keras', 'tensorflow', 'tfx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
