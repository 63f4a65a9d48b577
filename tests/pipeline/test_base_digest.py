"""What a base is known by between runs: its content, or its name."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pipeline.base_digest import AT_RUN, base_digest, postponed, settle
from pipeline.config import Config

LEAST = {"name": "tiny", "data": {"source": "photos"}, "push": {"directory": "served"}}


def digest(base: dict[str, Any], **sections: Any) -> str:
    config = Config.model_validate({**LEAST, "base": base, **sections})
    return base_digest(config.base, config.train.seed)


@pytest.mark.parametrize("kind", ["preset", "saved_model"])
def test_a_folder_is_known_by_its_content_wherever_it_lies(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "one"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "data").write_bytes(b"weights")
    before = digest({kind: str(folder)})
    folder.rename(tmp_path / "other")
    assert digest({kind: str(tmp_path / "other")}) == before
    (tmp_path / "other" / "variables" / "data").write_bytes(b"others!")
    assert digest({kind: str(tmp_path / "other")}) != before


def test_a_preset_by_name_is_known_by_it() -> None:
    assert (
        digest({"preset": "resnet_50_imagenet"})
        == f"preset:resnet_50_imagenet by keras-hub=={version('keras-hub')}"
    )


def test_random_weights_are_known_by_their_seed() -> None:
    base = {"name": "VGG16", "weights": "none"}
    assert digest(base, train={"seed": 3}) == "VGG16:random with seed 3"
    assert digest({"name": "VGG16"}) == "VGG16:imagenet"


def test_a_file_that_is_not_here_yet_is_known_by_its_content_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "base.keras"
    base = {"path": str(path), "preprocessing": "none"}
    config = Config.model_validate({**LEAST, "base": base})
    put_off = postponed(config.base, config.train.seed)
    assert put_off.startswith(AT_RUN)
    path.write_bytes(b"weights")
    assert settle(put_off) == base_digest(config.base, config.train.seed)


def test_a_base_by_name_is_known_at_once() -> None:
    config = Config.model_validate({**LEAST, "base": {"name": "VGG16"}})
    assert postponed(config.base, 0) == "VGG16:imagenet"
    assert settle("VGG16:imagenet") == "VGG16:imagenet"
