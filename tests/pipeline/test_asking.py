"""Which files below given paths are asked about; the asking is tested by its commands."""

from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.asking import find_files


def test_folders_give_all_files_below_them_in_order(tmp_path: Path) -> None:
    folder, single = tmp_path / "photos", tmp_path / "single.png"
    files = [folder / name for name in ("b/2.png", "b/1.png", "a.txt")]
    (folder / "b").mkdir(parents=True)
    for file in (*files, single):
        file.touch()
    assert find_files([single, folder]) == [single, files[2], files[1], files[0]]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received: .*gone\.png, which does not exist"):
        find_files([tmp_path / "gone.png"])


def test_a_path_that_may_not_be_reached_is_named(locked: Path) -> None:
    with pytest.raises(InputError, match=r"Received: .*a\.png, which may not be read"):
        find_files([locked / "a.png"])


def test_a_folder_that_may_not_be_read_is_kept_to_get_a_row_of_its_own(locked: Path) -> None:
    assert find_files([locked.parent]) == [locked]


def test_a_folder_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="with no file"):
        find_files([tmp_path])
