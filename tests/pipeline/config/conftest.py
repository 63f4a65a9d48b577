"""A folder with the least configuration, for all tests of configurations."""

import json
import zipfile
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config import load


class Project:
    """Writes `flowers.yaml`, and what it names, into a folder.

    Args:
        folder: where; it holds `photos/`.
    """

    least = (
        "name: flowers\n"
        "data:\n"
        "  source: photos/\n"
        "base:\n"
        "  name: MobileNetV2\n"
        "push:\n"
        "  directory: served/flowers\n"
    )

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, text: str = least) -> Path:
        path = self._folder / "flowers.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def change(self, old: str, new: str) -> str:
        """Returns the least configuration with one text in place of another."""
        changed = self.least.replace(old, new)
        assert changed != self.least
        return changed

    def with_base(self, path: str = "base.keras") -> str:
        return self.change("name: MobileNetV2", f"path: {path}\n  preprocessing: rescale_0_1")

    def save_base(self, height: int | None, width: int | None) -> Path:
        path = self._folder / "base.keras"
        inputs = {"name": "photo", "batch_shape": [None, height, width, 3]}
        layers = [{"module": "keras.layers", "class_name": "InputLayer", "config": inputs}]
        config = {"name": "tiny", "layers": layers, "input_layers": ["photo", 0, 0]}
        model = {"module": "keras", "class_name": "Functional", "config": config}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(model))
            archive.writestr("model.weights.h5", b"")
        return path

    def refusal(self, path: Path, *overrides: str) -> str:
        """Returns the message without the folder that the test runs in."""
        with pytest.raises(InputError) as caught:
            load(path, overrides)
        return str(caught.value).replace(f"{path.parent}/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path


@pytest.fixture
def project(folder: Path) -> Project:
    return Project(folder)
