"""A folder is there whole or not at all."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from components import atomic
from components.atomic import publish, remove, write_text, written_aside


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


def test_a_new_folder_that_another_writer_takes_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = atomic.tempfile.mkdtemp
    stolen = []

    def make_and_lose_twice(**options: Any) -> str:
        name = made(**options)
        if len(stolen) < 2:
            os.rmdir(name)
            stolen.append(name)
        return name

    monkeypatch.setattr(atomic.tempfile, "mkdtemp", make_and_lose_twice)
    with written_aside(tmp_path) as aside:
        assert aside.is_dir()
        publish(aside, tmp_path / "place")
    assert len(stolen) == 2


def test_a_new_folder_that_another_writer_is_removing_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = atomic.fcntl.flock
    refusals = iter([BlockingIOError(), None])

    def refuse_once(descriptor: int, operation: int) -> None:
        if refusal := next(refusals):
            raise refusal
        flock(descriptor, operation)

    monkeypatch.setattr(atomic.fcntl, "flock", refuse_once)
    with written_aside(tmp_path) as aside:
        others = [path for path in tmp_path.iterdir() if path != aside]
        assert len(others) == 1


def test_a_file_system_without_locks_keeps_nobody_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    (tmp_path / ".graft-other").mkdir()
    with written_aside(tmp_path) as aside:
        publish(aside, tmp_path / "place")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".graft-other", "place"]


def test_what_is_removed_is_out_of_sight_before_its_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "file").touch()
    seen: list[str] = []
    delete = atomic.shutil.rmtree

    def look_and_delete(path: Path, **options: Any) -> None:
        seen.extend(path.name for path in tmp_path.iterdir())
        delete(path, **options)

    monkeypatch.setattr(atomic.shutil, "rmtree", look_and_delete)
    remove(tmp_path / "place")
    assert len(seen) == 1
    assert seen[0].startswith(atomic.ASIDE_PREFIX)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove(tmp_path / "place")


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
