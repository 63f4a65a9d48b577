"""Digests: golden values, what changes them and what does not."""

import hashlib
import os
from pathlib import Path

import pytest

from components.digests import code_digest, file_digest, folder_digest, reachable_modules


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of its own: stage -> helper -> deep, and a module that nobody imports."""
    package = tmp_path / "components"
    write(package / "__init__.py", "")
    write(package / "stage" / "__init__.py", "")
    write(
        package / "stage" / "run.py",
        "import os\nfrom components import constants\n\n"
        "def late():\n    from components.stage.helper import work\n    return work\n",
    )
    write(package / "stage" / "helper.py", "import components.stage.deep\n")
    write(package / "stage" / "deep.py", "from components.stage import run\n")
    write(package / "stage" / "unused.py", "")
    write(package / "constants.py", "import pipeline.config\n")
    return tmp_path


def test_a_files_digest_is_its_sha256(tmp_path: Path) -> None:
    path = write(tmp_path / "file", "abc")
    # FIPS 180-2, appendix B.1.
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_longer_than_a_block_is_digested_whole(tmp_path: Path) -> None:
    content = b"ab" * (1 << 20) + b"c"
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_folders_digest_is_the_same_wherever_and_whenever_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a", "1")
    write(tmp_path / "one" / "sub" / "b", "2")
    write(tmp_path / "two" / "sub" / "b", "2")
    os.utime(write(tmp_path / "two" / "a", "1"), (0, 0))
    (tmp_path / "two" / "empty").mkdir()
    assert folder_digest(tmp_path / "one") == folder_digest(tmp_path / "two")


def test_a_folders_digest_does_not_depend_on_the_order_of_its_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write(tmp_path / name, name)
    digests = set()
    for names in ("abc", "cab"):
        listed = [tmp_path / name for name in names]
        monkeypatch.setattr(Path, "rglob", lambda *_, listed=listed: iter(listed))
        digests.add(folder_digest(tmp_path))
    assert len(digests) == 1


def test_a_folders_digest_sees_names_places_and_contents(tmp_path: Path) -> None:
    write(tmp_path / "original" / "a", "1")
    write(tmp_path / "content" / "a", "2")
    write(tmp_path / "name" / "b", "1")
    write(tmp_path / "place" / "sub" / "a", "1")
    write(tmp_path / "more" / "a", "1")
    write(tmp_path / "more" / "c", "")
    assert len({folder_digest(folder) for folder in tmp_path.iterdir()}) == 5


def test_a_module_reaches_what_it_imports_at_any_depth_also_within_functions(tree: Path) -> None:
    assert reachable_modules("components.stage.run", tree) == {
        "components",
        "components.constants",
        "components.stage",
        "components.stage.run",
        "components.stage.helper",
        "components.stage.deep",
    }


def test_modules_that_import_each_other_are_followed_once(tree: Path) -> None:
    assert "components.stage.run" in reachable_modules("components.stage.deep", tree)


def test_a_stages_digest_changes_with_a_module_it_reaches_and_no_other(tree: Path) -> None:
    def digest() -> str:
        return code_digest("components.stage.run", tree)

    before = digest()
    write(tree / "components" / "stage" / "unused.py", "changed = True\n")
    assert digest() == before
    helper = tree / "components" / "stage" / "helper.py"
    helper.write_text(helper.read_text() + "# one more line\n")
    assert digest() != before


def test_a_relative_import_is_refused_as_it_would_be_missed(tree: Path) -> None:
    (tree / "components" / "stage" / "run.py").write_text("from . import helper\n")
    with pytest.raises(ValueError, match="Expected absolute imports"):
        code_digest("components.stage.run", tree)


def test_a_module_that_is_not_there_has_no_digest() -> None:
    with pytest.raises(ValueError, match="module=components.nowhere"):
        code_digest("components.nowhere")


def test_a_stages_digest_changes_with_the_version_of_tensorflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = code_digest("components.transform.preprocessing")
    monkeypatch.setattr("components.digests.metadata.version", lambda name: "99")
    assert code_digest("components.transform.preprocessing") != before


def test_transform_reaches_its_image_operations_and_not_the_trainer() -> None:
    reached = reachable_modules("components.transform.preprocessing")
    assert {"components.transform.image_ops", "components.features"} <= reached
    assert not any(name.startswith("components.trainer") for name in reached)


def test_the_trainer_reaches_every_module_that_shapes_the_model() -> None:
    wanted = ("backbones", "dataset", "feature_cache", "early_stopping", "model", "signatures")
    reached = reachable_modules("components.trainer.run")
    assert {f"components.trainer.{name}" for name in wanted} <= reached
