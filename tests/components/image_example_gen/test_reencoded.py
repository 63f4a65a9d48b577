import pytest

from components.image_example_gen import reencoded as reencoded_module
from components.image_example_gen.reencoded import Reencoded, is_whole

FIRST, SECOND = "a" * 64, "b" * 64


@pytest.fixture
def png(image) -> bytes:
    return image(kind="PNG")


def test_a_png_is_read_as_it_was_kept_and_others_are_not_there(tmp_path, png):
    kept = Reencoded(tmp_path)
    kept.keep(FIRST, png)
    assert kept.read(FIRST) == png
    assert kept.read(SECOND) is None
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert (path.parent.name, path.name) == ("aa", f"{FIRST}.png")


def test_a_damaged_png_is_as_good_as_none(tmp_path, png):
    kept = Reencoded(tmp_path)
    kept.keep(FIRST, png)
    (path,) = tmp_path.rglob("*.png")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 1
    for damage in (b"", b"no image", png[:8], png[:-1], png[:-12], bytes(flipped), png + b"x"):
        path.write_bytes(damage)
        assert not is_whole(damage)
        assert kept.read(FIRST) is None
    assert is_whole(png)


def test_what_other_code_made_is_neither_read_nor_left_behind(tmp_path, png, monkeypatch):
    Reencoded(tmp_path).keep(FIRST, png)
    monkeypatch.setattr(reencoded_module, "examination_digest", lambda: "other")
    kept = Reencoded(tmp_path)
    assert kept.read(FIRST) is None
    kept.keep_only([FIRST])
    assert list(tmp_path.rglob("*.png")) == []


def test_only_what_is_still_in_the_source_stays(tmp_path, png):
    kept = Reencoded(tmp_path)
    kept.keep(FIRST, png)
    kept.keep(SECOND, png)
    left_behind = next(tmp_path.rglob(f"{FIRST}.png")).with_name(f".{FIRST}.0123")
    left_behind.write_bytes(png)
    kept.keep_only([SECOND])
    assert kept.read(FIRST) is None
    assert kept.read(SECOND) == png
    assert not left_behind.exists()


@pytest.mark.parametrize("cache", ["", "gs://bucket/cache"])
def test_without_a_folder_on_this_machine_nothing_is_kept(cache, png, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = Reencoded(cache)
    kept.keep(FIRST, png)
    kept.keep_only([])
    assert kept.read(FIRST) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, png, caplog):
    (tmp_path / "file").write_text("")
    kept = Reencoded(tmp_path / "file")
    kept.keep(FIRST, png)
    kept.keep_only([])
    assert kept.read(FIRST) is None
    assert "cannot be kept" in caplog.text
