"""A folder is there whole or not at all."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.atomic import publish, write_text, written_aside


def test_what_is_published_stands_at_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    with written_aside(tmp_path / "deep") as aside:
        (aside / "file").write_text("content")
        publish(aside, tmp_path / "deep" / "place")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["place"]
    assert (tmp_path / "deep" / "place" / "file").read_text() == "content"


def test_another_user_may_read_what_is_published(tmp_path: Path) -> None:
    with written_aside(tmp_path) as aside:
        (aside / "private").mkdir(mode=0o700)
        (aside / "private" / "file").touch(mode=0o600)
        publish(aside, tmp_path / "place")
    private = tmp_path / "place" / "private"
    assert {path.stat().st_mode & 0o055 for path in (private, private.parent)} == {0o055}
    assert (private / "file").stat().st_mode & 0o044 == 0o044


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stopped"), written_aside(tmp_path) as aside:
        (aside / "half").write_text("half")
        raise ValueError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / ".graft-killed").mkdir()
    (tmp_path / "other").mkdir()
    with written_aside(tmp_path) as aside:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([aside.name, "other"])


def test_a_place_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "old").write_text("old")
    with pytest.raises(OSError), written_aside(tmp_path) as aside:
        (aside / "new").write_text("new")
        publish(aside, tmp_path / "place")
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["old"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    with written_aside(tmp_path) as first:
        (first / "half").write_text("half")
        with written_aside(tmp_path) as second:
            publish(second, tmp_path / "second")
        publish(first, tmp_path / "first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
    assert (tmp_path / "first" / "half").read_text() == "half"


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from components.atomic import publish, written_aside
parent = Path(sys.argv[1])
for number in range(10**9):
    with written_aside(parent) as aside:
        for name in range(5):
            (aside / str(name)).write_bytes(b"x" * 50_000)
        publish(aside, parent / str(number))
"""


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment_only_whole_folders_are_shown(tmp_path: Path, moment: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)])
    while not (tmp_path / "0").exists():
        time.sleep(0.001)
    time.sleep(random.Random(moment).uniform(0, 0.1))
    writer.kill()
    writer.wait()
    shown = [path for path in tmp_path.iterdir() if path.name.isdecimal()]
    assert shown
    for folder in shown:
        assert [path.stat().st_size for path in folder.iterdir()] == [50_000] * 5
    with written_aside(tmp_path):
        pass
    assert all(path.name.isdecimal() for path in tmp_path.iterdir())


def test_a_text_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    write_text(path, "first")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
