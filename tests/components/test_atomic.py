"""A folder is there whole or not at all."""

from pathlib import Path

import pytest

from components.atomic import publish, written_aside


def test_what_is_published_stands_at_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    with written_aside(tmp_path / "deep") as aside:
        (aside / "file").write_text("content")
        publish(aside, tmp_path / "deep" / "place")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["place"]
    assert (tmp_path / "deep" / "place" / "file").read_text() == "content"


def test_another_user_may_read_what_is_published(tmp_path: Path) -> None:
    with written_aside(tmp_path) as aside:
        publish(aside, tmp_path / "place")
    assert (tmp_path / "place").stat().st_mode & 0o055 == 0o055


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
