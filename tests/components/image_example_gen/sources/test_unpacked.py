import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.errors import GraftError, InputError
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.sources import forget_stamps, list_images, read_place
from components.image_example_gen.sources import unpacked as unpacked_module

PHOTOS = {"a/1.jpg": b"one", "b/2.jpg": b"two"}
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def archive(tmp_path, write_zip):
    """A zip archive written an hour ago, as far as the clock that is looked at tells."""
    return write_zip(tmp_path / "photos.zip", PHOTOS)


@pytest.fixture
def calls(monkeypatch):
    """Counts how often something is unpacked and how often a file is digested."""
    counted = {"unpack": 0, "digest": 0}

    def count(name, key):
        original = getattr(unpacked_module, name)

        def counting(*args):
            counted[key] += 1
            return original(*args)

        monkeypatch.setattr(unpacked_module, name, counting)

    count("_unpack", "unpack")
    count("_digest", "digest")
    return counted


@pytest.fixture
def settled(monkeypatch):
    """Takes every file for one that was written long ago."""
    monkeypatch.setattr(unpacked_module, "SETTLED_SECONDS", -1e6)


def contents(listing):
    return {one.path: read_place(one.place) for one in listing.candidates}


def test_an_unchanged_archive_is_neither_unpacked_nor_read_again(archive, settings, calls, settled):
    first = list_images(settings(archive))
    second = list_images(settings(archive))
    assert first == second
    assert calls == {"unpack": 1, "digest": 1}


def test_an_archive_that_was_written_just_now_is_digested_again(archive, settings, calls):
    list_images(settings(archive))
    list_images(settings(archive))
    assert calls == {"unpack": 1, "digest": 2}


def test_forgotten_stamps_make_the_content_decide(archive, settings, calls, settled):
    list_images(settings(archive))
    forget_stamps(settings(archive).cache)
    list_images(settings(archive))
    assert calls == {"unpack": 1, "digest": 2}
    forget_stamps("")


def test_a_touched_archive_is_not_unpacked_again(archive, settings, calls, settled):
    list_images(settings(archive))
    os.utime(archive, (1, 1))
    list_images(settings(archive))
    assert calls == {"unpack": 1, "digest": 2}


def test_an_archive_of_other_content_under_restored_times_is_unpacked_anew(
    archive, settings, calls, settled, write_zip
):
    list_images(settings(archive))
    before = archive.stat()
    write_zip(archive, {**PHOTOS, "a/1.jpg": b"ONE"})
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert archive.stat().st_size == before.st_size
    assert contents(list_images(settings(archive)))["a/1.jpg"] == b"ONE"
    assert calls["unpack"] == 2


@pytest.mark.parametrize("name", ["data.bin", "index.jsonl"])
def test_what_was_cut_short_since_is_unpacked_again(archive, settings, calls, name):
    first = list_images(settings(archive))
    (path,) = (archive.parent / "cache").rglob(name)
    path.write_bytes(path.read_bytes()[:-2])
    assert list_images(settings(archive)) == first
    assert contents(first) == PHOTOS
    assert calls["unpack"] == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', '{"x": [1, 2, 3]}'])
def test_damaged_stamps_are_not_trusted(archive, settings, calls, settled, text):
    list_images(settings(archive))
    stamps = archive.parent / "cache" / "unpacked" / "stamps.json"
    stamps.write_text(text)
    list_images(settings(archive))
    assert calls == {"unpack": 1, "digest": 2}
    assert list(json.loads(stamps.read_text()))[-1:] == [str(archive)]


def test_a_lower_cap_holds_for_what_was_unpacked_before(archive, settings):
    list_images(settings(archive))
    with pytest.raises(InputError, match=r"at most 4\.65661e-09 GiB.*Raise data\.max_unpacked"):
        list_images(settings(archive, max_unpacked=5))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, write_zip, settings, file_limit):
    archive = write_zip(tmp_path / "photos.zip", {"a/1": os.urandom(9000), "b/2": b"x"})
    with file_limit(8192), pytest.raises(GraftError, match="File too large. Free space there"):
        list_images(settings(archive))
    assert list((tmp_path / "cache").rglob("*")) == [tmp_path / "cache" / "unpacked"]
    assert list_images(settings(archive)).found == 2


KILLED = """
import os, signal, sys
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.sources import list_images, unpacked
write = unpacked.Writer._write
def die(self, block):
    write(self, block)
    os.kill(os.getpid(), signal.SIGKILL)
unpacked.Writer._write = die
list_images(SourceSettings(sys.argv[1], cache=sys.argv[2]))
"""


def test_what_a_killed_process_left_is_not_used_and_removed(archive, settings, tmp_path):
    cache = tmp_path / "cache"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(archive), str(cache)], cwd=ROOT, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    (left,) = (cache / "unpacked").iterdir()
    assert contents(list_images(settings(archive))) == PHOTOS
    assert not left.exists()


def test_without_a_cache_a_folder_of_the_process_is_used(archive):
    listing = list_images(SourceSettings(str(archive)))
    assert contents(listing) == PHOTOS
    folder = Path(listing.candidates[0].place.file).parents[2]
    assert folder.name.startswith("graft-")
    assert list_images(SourceSettings(str(archive))) == listing


PROCESS = """
import sys
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.sources import list_images
print(list_images(SourceSettings(sys.argv[1])).candidates[0].place.file)
print("tensorflow" in sys.modules)
"""


def test_the_folder_of_a_process_ends_with_it_and_needs_no_tensorflow(archive):
    told = subprocess.run(
        [sys.executable, "-c", PROCESS, str(archive)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    data, has_tensorflow = told.stdout.split()
    assert not Path(data).parents[2].exists()
    assert has_tensorflow == "False"


def test_an_archive_that_changes_while_it_is_unpacked_is_an_error(archive, settings, monkeypatch):
    original = unpacked_module._unpack

    def change(*args):
        original(*args)
        archive.write_bytes(b"PK\x03\x04")

    monkeypatch.setattr(unpacked_module, "_unpack", change)
    with pytest.raises(InputError, match="which changed. Run again when it is written completely."):
        list_images(settings(archive))


def test_two_processes_that_unpack_the_same_at_once_both_find_it(archive, settings, monkeypatch):
    original, listings = unpacked_module.publish, []

    def be_slower(aside, place):
        monkeypatch.setattr(unpacked_module, "publish", original)
        listings.append(list_images(settings(archive)))
        original(aside, place)

    monkeypatch.setattr(unpacked_module, "publish", be_slower)
    assert list_images(settings(archive)) == listings[0]
    assert contents(listings[0]) == PHOTOS


def test_what_nobody_asked_for_in_a_week_is_removed(archive, settings, write_zip):
    list_images(settings(archive))
    (old,) = (path.parent for path in (archive.parent / "cache").rglob("data.bin"))
    kept = old.with_name("kept")
    kept.mkdir()
    long_ago = time.time() - 8 * 86_400
    os.utime(old, (long_ago, long_ago))
    write_zip(archive, {**PHOTOS, "c/3": b"three"})
    list_images(settings(archive))
    assert not old.exists()
    assert kept.exists()
