"""Features on disk: computed once an image, whole or not at all, bounded, checked and shared."""

import errno
import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import atomic
from components.errors import GraftError
from components.trainer import feature_cache, feature_segments, feature_space
from components.trainer.feature_cache import Collected, collect
from components.trainer.feature_segments import row_bytes

WIDTH = 6
ROW = row_bytes(WIDTH, "float32")


def keys_of(*numbers: int) -> np.ndarray:
    digests = [hashlib.sha256(str(number).encode()).hexdigest().encode() for number in numbers]
    return np.array(digests, "S64")


def vectors_of(keys: np.ndarray) -> np.ndarray:
    """Returns the first bytes of each key, which float16 holds exactly."""
    return np.array([list(bytes.fromhex(key.decode()))[:WIDTH] for key in keys], np.float32)


class Base:
    """Stands for the base: counts what it is asked for, and yields it in its own order."""

    def __init__(self, scale: float = 1.0, batch: int = 3, lacks: Sequence[bytes] = ()):
        self.scale, self.batch, self.lacks = scale, batch, lacks
        self.asked: list[frozenset[bytes]] = []

    def __call__(self, keys: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.asked.append(keys)
        ordered = sorted(keys - set(self.lacks), reverse=True)
        for start in range(0, len(ordered), self.batch):
            batch = np.array(ordered[start : start + self.batch], "S64")
            yield vectors_of(batch) * self.scale, batch


def must_not_extract(keys: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    raise AssertionError(f"{len(keys)} features were there")


def take(cache: Path, numbers: Sequence[int], base: Any = None, **options: Any) -> Collected:
    options = {"space": "space", "verified": 0, **options}
    keys = keys_of(*numbers)
    return collect(cache, options.pop("space"), keys, WIDTH, base or Base(), **options)


def assert_right(found: Collected, numbers: Sequence[int], scale: float = 1.0) -> None:
    assert len(found.vectors) == len(numbers)
    rows = found.vectors.gather(np.arange(len(numbers)))
    np.testing.assert_array_equal(rows, vectors_of(keys_of(*numbers)) * scale)
    assert rows.dtype == np.float32


def segments(cache: Path, space: str = "space-float32") -> list[Path]:
    folder = cache / feature_space.LAYOUT / space
    return sorted(folder.iterdir()) if folder.exists() else []


def spaces(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / feature_space.LAYOUT).iterdir())


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "features"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "PART_ROWS", 4)


# What is computed and what is reused


def test_features_come_in_the_order_of_the_keys(cache: Path) -> None:
    found = take(cache, [5, 1, 4, 2])
    assert_right(found, [5, 1, 4, 2])
    assert (found.reused, found.computed, found.notes) == (0, 4, ())


def test_rows_are_gathered_in_any_order_and_repeatedly(cache: Path, small_parts: None) -> None:
    found = take(cache, range(10))
    rows = found.vectors.gather(np.array([7, 0, 7, 9]))
    np.testing.assert_array_equal(rows, vectors_of(keys_of(7, 0, 7, 9)))
    assert found.vectors.gather(np.array([], np.int64)).shape == (0, WIDTH)


def test_an_image_that_repeats_is_computed_once(cache: Path) -> None:
    base = Base()
    found = take(cache, [1, 2, 1, 1], base)
    assert_right(found, [1, 2, 1, 1])
    assert (found.computed, base.asked) == (2, [frozenset(keys_of(1, 2).tolist())])


def test_an_extraction_may_repeat_images_and_give_others(cache: Path) -> None:
    def extract(keys: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for numbers in ((3, 1, 1), (1, 2), (3, 9)):
            yield vectors_of(keys_of(*numbers)), keys_of(*numbers)

    assert_right(take(cache, [1, 2, 3], extract), [1, 2, 3])


def test_no_images_need_no_extraction(cache: Path) -> None:
    found = take(cache, [], must_not_extract)
    assert (len(found.vectors), found.reused, found.computed) == (0, 0, 0)


def test_a_second_call_computes_nothing(cache: Path) -> None:
    take(cache, range(5))
    found = take(cache, [4, 0, 2], must_not_extract)
    assert_right(found, [4, 0, 2])
    assert (found.reused, found.computed) == (3, 0)


def test_ten_new_images_among_many_compute_ten_features(cache: Path) -> None:
    take(cache, range(500))
    base = Base()
    found = take(cache, range(510), base)
    assert base.asked == [frozenset(keys_of(*range(500, 510)).tolist())]
    assert (found.reused, found.computed) == (500, 10)
    assert_right(found, range(510))


def test_another_space_shares_nothing(cache: Path) -> None:
    take(cache, [1, 2])
    found = take(cache, [1, 2], Base(scale=2), space="other")
    assert_right(found, [1, 2], scale=2)
    assert spaces(cache) == ["other-float32", "space-float32"]


def test_rows_stay_readable_when_the_cache_is_deleted(cache: Path) -> None:
    take(cache, range(5))
    found = take(cache, range(5), must_not_extract)
    feature_space.Space(cache, "space", "float32", WIDTH, 0, keys_of()).remove()
    assert segments(cache) == []
    assert_right(found, range(5))


@pytest.mark.parametrize("key", [b"x" * 64, b"12", b"1 " * 32])
def test_a_key_that_is_no_digest_is_refused(cache: Path, key: bytes) -> None:
    with pytest.raises(ValueError):
        collect(cache, "space", np.array([key], "S64"), WIDTH, Base())


def test_an_unknown_dtype_is_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match="dtype.*Received: float64"):
        take(cache, [1], dtype="float64")


def test_vectors_of_another_width_are_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected vectors of shape \(1, 5\). Received: \(1, 6\)"):
        collect(cache, "space", keys_of(1), 5, Base())


def test_images_without_features_are_counted_and_one_is_named(cache: Path) -> None:
    lacking = keys_of(2, 3).tolist()
    with pytest.raises(GraftError, match=f"none for 2 of the 3 .* {min(lacking).decode()}"):
        take(cache, [1, 2, 3], Base(lacks=lacking))
    assert_right(take(cache, [1], must_not_extract), [1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_end_the_run_and_are_not_kept(cache: Path, bad: float) -> None:
    def extract(keys: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        vectors = vectors_of(keys_of(1, 2, 3))
        vectors[[0, 2], 4] = bad
        yield vectors, keys_of(1, 2, 3)

    with pytest.raises(GraftError, match="NaN or infinity for 2 of 3 images"):
        take(cache, [1, 2, 3], extract)
    found = take(cache, [1, 2, 3])
    assert found.computed == 2
    assert_right(found, [1, 2, 3])


def test_features_that_are_not_finite_are_told_before_the_end(
    cache: Path, small_parts: None
) -> None:
    base = Base(scale=np.nan, batch=2)
    with pytest.raises(GraftError, match="for 4 of 4 images"):
        take(cache, range(100), base)


# Parts, kills and several processes


def test_what_was_computed_before_a_failure_is_not_computed_again(
    cache: Path, small_parts: None
) -> None:
    def fails(keys: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, batch in enumerate(Base()(keys)):
            if number == 3:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        take(cache, range(20), fails)
    found = take(cache, range(20))
    assert (found.reused, found.computed) == (8, 12)  # of 9 computed, two parts of 4 were full
    assert_right(found, range(20))


def test_a_slow_extraction_is_kept_by_time_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "PART_SECONDS", 0.0)
    take(cache, range(9), Base(batch=3))
    assert len(segments(cache)) == 3


def test_a_part_is_bounded_by_its_bytes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "PART_BYTES", 2 * ROW)
    take(cache, range(5))
    assert len(segments(cache)) == 3


def test_small_segments_are_merged_and_nothing_is_lost(cache: Path) -> None:
    for number in range(24):
        take(cache, range(number + 1))
        assert len(segments(cache)) <= feature_space.MOST_SEGMENTS
    assert_right(take(cache, range(24), must_not_extract), range(24))


def test_a_merge_keeps_each_image_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):  # two processes that have not seen each other's
        with monkeypatch.context() as patch:
            patch.setattr(feature_space.Space, "_names", lambda _: [])
            with pytest.raises(AssertionError):
                take(cache, range(2), Twice())
    monkeypatch.setattr(feature_space, "MOST_SEGMENTS", 2)
    assert len(segments(cache)) == 2
    take(cache, range(9))
    assert sum((path / "keys.bin").stat().st_size for path in segments(cache)) == 9 * 32


class Twice(Base):
    """Fails where it is asked again, which is after the first part was kept."""

    def __call__(self, keys: frozenset[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        assert not self.asked
        yield from super().__call__(keys)


def test_a_merge_that_was_cut_off_leaves_nothing_wrong(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_space, "MOST_SEGMENTS", 2)
    monkeypatch.setattr(feature_space, "_remove", lambda place: False)
    for number in range(4):
        take(cache, range(number + 1))
    assert_right(take(cache, range(4), must_not_extract), range(4))


@pytest.mark.parametrize(("most", "publication", "kept"), [(16, 0, 3), (2, 1, 2)])
def test_a_segment_is_whole_though_its_space_is_removed_while_it_is_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch, most: int, publication: int, kept: int
) -> None:
    for number in range(2):
        take(cache, range(number + 1))
    publish, calls = atomic.publish, iter(range(9))

    def publish_late(aside: Path, place: Path) -> None:
        if next(calls) == publication:  # the new segment, or the one that two are merged into
            atomic.remove(place.parent)
        publish(aside, place)

    monkeypatch.setattr(feature_space, "MOST_SEGMENTS", most)
    monkeypatch.setattr(atomic, "publish", publish_late)
    assert_right(take(cache, range(5)), range(5))
    again = take(cache, range(5))
    assert_right(again, range(5))
    assert (again.reused, again.notes) == (kept, ())


def test_a_reader_that_meets_a_merge_looks_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(cache, range(3))
    before = [path.name for path in segments(cache)]
    take(cache, range(6))
    listed = feature_space.Space._names
    gone = iter([[*before, "merged-away"]])
    monkeypatch.setattr(
        feature_space.Space, "_names", lambda space: next(gone, None) or listed(space)
    )
    assert_right(take(cache, range(6), must_not_extract), range(6))


def test_rows_that_another_process_removes_at_once_are_computed_again_and_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = feature_space.Space.add

    def add_and_lose(space: feature_space.Space, *arguments: Any) -> None:
        add(space, *arguments)
        space.remove()

    monkeypatch.setattr(feature_space.Space, "add", add_and_lose)
    found = take(cache, range(5))
    assert_right(found, range(5))
    assert found.computed == 5
    assert "emptied by another process" in " ".join(found.notes)


SLOW = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from components.trainer import feature_cache
feature_cache.PART_ROWS = 8
cache = Path(sys.argv[1])

def vectors_of(keys):
    return np.array([list(bytes.fromhex(key.decode()))[:6] for key in keys], np.float32)

def collect(keys, order, seconds):
    def extract(wanted):
        for key in sorted(wanted, reverse=order == "down"):
            time.sleep(seconds)
            yield vectors_of([key]), np.array([key])
    found = feature_cache.collect(cache, "space", keys, 6, extract)
    assert (found.vectors.gather(np.arange(len(keys))) == vectors_of(keys)).all()
    assert not found.notes, found.notes
    return found
"""
ONE = """
found = collect(np.array(sys.stdin.read().encode().split(), "S64"), sys.argv[2], 0.003)
print(found.reused, found.computed)
"""
KILLED = """
every = np.array(sys.stdin.read().encode().split(), "S64")
reused = 0
for moment in range(10):
    keys = every[64 * moment : 64 * (moment + 1)]
    child = os.fork()
    if not child:
        collect(keys, "up", 0.003)
        time.sleep(60)
    time.sleep(random.Random(moment).uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    reused += collect(keys, "up", 0).reused
    assert not list(cache.rglob(".graft-*"))
print(reused)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts a process that loads NumPy and nothing heavier."""
    command = [sys.executable, "-c", SLOW + script, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe)


def lines(numbers: Sequence[int]) -> str:
    return "\n".join(key.decode() for key in keys_of(*numbers))


def test_two_processes_use_one_space_at_the_same_time(cache: Path) -> None:
    # In opposite orders, both compute rows that the other lacks.
    both = [start(ONE, cache, order) for order in ("up", "down")]
    for process in both:
        process.stdin.write(lines(range(100)))
        process.stdin.close()
    counts = [[int(number) for number in process.stdout.read().split()] for process in both]
    assert [process.wait() for process in both] == [0, 0]
    assert [sum(count) for count in counts] == [100, 100]
    assert list(cache.rglob(f"{atomic.ASIDE_PREFIX}*")) == []
    assert_right(take(cache, range(100), must_not_extract), range(100))


def test_a_writer_killed_at_any_moment_leaves_right_rows_to_go_on_from(cache: Path) -> None:
    process = start(KILLED, cache)
    output, _ = process.communicate(lines(range(640)))
    assert process.returncode == 0
    assert int(output) > 0
    assert_right(take(cache, range(640), must_not_extract), range(640))


MEASURED = """
WIDTH = 4096
feature_cache.PART_ROWS = 256
keys = np.array(sys.stdin.read().encode().split(), "S64")

def extract(wanted):
    for key in wanted:
        yield np.ones((1, WIDTH), np.float32), np.array([key])

for _ in range(2):
    found = feature_cache.collect(cache, "space", keys, WIDTH, extract)
    for start in range(0, len(keys), 32):
        found.vectors.gather(np.arange(start, min(start + 32, len(keys))))
assert found.reused == len(keys)
status = Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.e2e
@pytest.mark.parametrize("limit", [10**9, 0])
def test_memory_does_not_grow_with_the_images(tmp_path: Path, limit: int) -> None:
    script = (
        MEASURED
        if limit
        else MEASURED.replace("extract)", "extract, limit=0)").replace(
            "assert found.reused", "assert found.computed"
        )
    )
    peaks = []
    for images in (500, 4000):  # 8 and 66 MB of vectors
        process = start(script, tmp_path / str(images))
        output, _ = process.communicate(lines(range(images)))
        assert process.returncode == 0
        peaks.append(int(output) / 1024)
    assert peaks[1] - peaks[0] < 20, peaks  # MiB


# The limit


def test_the_space_that_was_not_used_for_longest_goes_first(cache: Path) -> None:
    limit = 10 * ROW
    for age, space in enumerate(("a", "b", "c")):
        take(cache, range(3), space=space, limit=limit)
        os.utime(cache / feature_space.LAYOUT / f"{space}-float32", (age, age))
    take(cache, range(3), must_not_extract, space="a", limit=limit)  # now the youngest
    found = take(cache, range(4), space="d", limit=limit)
    assert spaces(cache) == ["a-float32", "c-float32", "d-float32"]
    assert found.notes == ()
    assert feature_space.folder_bytes(cache) == limit


def test_what_is_not_of_this_layout_goes_before_all_spaces(cache: Path) -> None:
    take(cache, range(3), space="a")
    old = cache / ("0" * 64)
    old.mkdir()
    (old / "vectors.npy").write_bytes(b"x" * 1000)
    (cache / "stray").write_bytes(b"x" * 10)
    found = take(cache, range(3), space="b", limit=6 * ROW)
    assert spaces(cache) == ["a-float32", "b-float32"]
    assert [path.name for path in cache.iterdir()] == [feature_space.LAYOUT]
    assert found.notes == ()


def test_what_is_not_of_this_layout_stays_where_there_is_room(cache: Path) -> None:
    (cache / "old").mkdir(parents=True)
    take(cache, [1])
    assert (cache / "old").exists()


def test_a_link_in_the_cache_is_not_followed(cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photo").write_bytes(b"x" * 10_000)
    cache.mkdir(parents=True)
    (cache / "link").symlink_to(outside)
    (cache / "stray").write_bytes(b"x")  # what is sorted before it is enough to remove
    take(cache, range(3), limit=3 * ROW)
    assert (outside / "photo").exists()
    assert not (cache / "link").is_symlink()


def test_a_cache_behind_a_link_is_bounded_too(cache: Path, tmp_path: Path) -> None:
    cache.parent.mkdir()
    (tmp_path / "disk").mkdir()
    cache.symlink_to(tmp_path / "disk")
    for space in ("a", "b"):
        take(cache, range(3), space=space, limit=4 * ROW)
    assert spaces(cache) == ["b-float32"]


def test_a_lowered_limit_is_obeyed_without_computing(cache: Path) -> None:
    for space in ("a", "b"):
        take(cache, range(3), space=space)
    take(cache, range(3), must_not_extract, space="b", limit=3 * ROW)
    assert spaces(cache) == ["b-float32"]


def test_rows_of_its_own_space_that_a_call_does_not_use_go_last(cache: Path) -> None:
    limit = 10 * ROW
    take(cache, range(3), limit=limit)  # a segment of which nothing is used any more
    take(cache, range(3, 8), limit=limit)  # one of which half is used
    found = take(cache, range(5, 15), limit=limit)
    assert (found.reused, found.computed, found.notes) == (3, 7, ())
    assert_right(found, range(5, 15))
    assert feature_space.folder_bytes(cache) == limit
    assert_right(take(cache, range(5, 15), must_not_extract, limit=limit), range(5, 15))


def test_who_does_not_evict_keeps_what_has_room_and_removes_nothing(cache: Path) -> None:
    limit = 10 * ROW
    take(cache, range(4), space="other", limit=limit)
    take(cache, range(4), limit=limit)
    take(cache, range(4, 6), limit=limit, evicts=False)  # fills the last two places
    found = take(cache, range(6, 8), limit=limit, evicts=False)
    assert found.computed == 2 and found.notes
    take(cache, range(4), must_not_extract, space="other", limit=limit)
    assert_right(take(cache, range(6), must_not_extract, limit=limit), range(6))


def test_who_does_not_evict_reads_on_where_it_needs_more_than_the_limit(cache: Path) -> None:
    take(cache, range(3))
    found = take(cache, range(5), limit=4 * ROW, evicts=False)
    assert (found.reused, found.computed) == (3, 2)
    assert_right(take(cache, range(3), must_not_extract, limit=4 * ROW), range(3))


@pytest.mark.parametrize("limit", [0, 5 * ROW - 1])
def test_more_than_the_limit_is_not_kept_and_told(cache: Path, limit: int) -> None:
    found = take(cache, range(5), limit=limit)
    assert_right(found, range(5))
    assert found.notes == (
        f"Features are not kept for the next run: {5 * ROW} bytes are needed, and "
        f"train.cache_limit is {limit}. Raise train.cache_limit to keep them.",
    )
    assert not any(path.is_file() for path in cache.rglob("*"))
    assert take(cache, range(5)).computed == 5


def test_kept_rows_are_used_a_last_time_where_the_limit_was_lowered(cache: Path) -> None:
    take(cache, range(5))
    found = take(cache, range(5), must_not_extract, limit=0)
    assert_right(found, range(5))
    assert (found.reused, len(found.notes)) == (5, 1)
    assert feature_space.folder_bytes(cache) == 0


def test_rows_that_are_not_kept_leave_no_file_with_a_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    found = take(cache, range(11), limit=0)
    assert_right(found, range(11))
    assert list(scratch.iterdir()) == []
    assert all(one.file is not None for one in found.vectors._segments)


# A folder that cannot be used


def test_a_folder_that_may_not_be_written_is_told(locked: Path) -> None:
    locked.chmod(0o555)
    found = take(locked / "features", range(5))
    assert_right(found, range(5))
    assert found.notes == (
        f"The features computed now are not kept, as {locked / 'features'} cannot be written: "
        "Permission denied. The next run computes them again.",
    )


def test_a_folder_that_may_not_be_read_is_told(locked: Path) -> None:
    found = take(locked / "features", range(5))
    assert_right(found, range(5))
    assert len(found.notes) == 1
    assert "features cannot be read: Permission denied" in found.notes[0]


def test_a_folder_that_may_only_be_read_is_used(locked: Path) -> None:
    locked.chmod(0o755)
    take(locked / "features", range(5))
    space = locked / "features" / feature_space.LAYOUT / "space-float32"
    space.chmod(0o555)
    try:
        assert take(locked / "features", range(5), must_not_extract).notes == ()
        found = take(locked / "features", range(7))
        assert_right(found, range(7))
        assert (found.reused, found.computed, len(found.notes)) == (5, 2, 1)
    finally:
        space.chmod(0o755)
        space.parent.parent.rename(locked.parent / "features")


def test_a_disk_that_fills_up_midway_keeps_what_was_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    write = feature_space.write_segment
    free = iter([True, True])

    def write_while_free(*arguments: Any) -> None:
        if not next(free, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(feature_space, "write_segment", write_while_free)
    found = take(cache, range(20))
    assert_right(found, range(20))
    assert [note.split(". ")[0] for note in found.notes] == [
        f"The features computed now are not kept, as {cache} cannot be written: "
        "No space left on device"
    ]
    monkeypatch.undo()
    assert (take(cache, range(20)).reused, len(segments(cache))) == (8, 3)


def test_where_no_file_can_grow_features_stay_in_memory(
    cache: Path, file_limit: Any, small_parts: None
) -> None:
    with file_limit(ROW):
        found = take(cache, range(10))
        assert_right(found, range(10))
    assert "cannot be written: File too large" in found.notes[0]
    assert all(one.file is None for one in found.vectors._segments)
    assert not any(path.is_file() for path in cache.rglob("*"))


# Damage


def truncate(folder: Path) -> None:
    os.truncate(folder / "vectors.float32", 30)


def widen(folder: Path) -> None:
    with open(folder / "vectors.float32", "ab") as file:
        file.write(bytes(4 * WIDTH))


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        os.truncate(path, 0)


def disorder(folder: Path) -> None:
    keys = (folder / "keys.bin").read_bytes()
    (folder / "keys.bin").write_bytes(keys[32:64] + keys[:32] + keys[64:])


DAMAGES = {
    "a flipped byte": (lambda folder: flip(folder / "vectors.float32", 5), "wrong checksum"),
    "a flipped checksum": (lambda folder: flip(folder / "checksums.bin", 9), "wrong checksum"),
    "truncated vectors": (truncate, "not have the same number of rows"),
    "one row more": (widen, "not have the same number of rows"),
    "no rows": (empty, "not have the same number of rows"),
    "no keys": (lambda folder: (folder / "keys.bin").unlink(), "keys.bin of .* is gone"),
    "no vectors": (lambda folder: (folder / "vectors.float32").unlink(), "vectors. of .* is gone"),
    "keys in disorder": (disorder, "not in their order"),
    "a file for a folder": (
        lambda folder: (folder.rename(folder.parents[2] / "away"), folder.write_text("?")),
        "is gone",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_thrown_away_loudly_and_computed_again(
    cache: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    take(cache, range(5))
    do, reason = DAMAGES[damage]
    do(segments(cache)[0])
    with caplog.at_level(logging.WARNING):
        found = take(cache, range(5))
    assert_right(found, range(5))
    assert (found.reused, found.computed, len(found.notes)) == (0, 5, 1)
    pattern = f"^The kept features in .*space-float32 were thrown away: .*{reason}"
    assert re.search(pattern, found.notes[0])
    assert caplog.messages == [found.notes[0].removesuffix(" They are computed again.")]
    assert_right(take(cache, range(5), must_not_extract), range(5))


def test_a_row_at_anothers_place_is_noticed(cache: Path) -> None:
    take(cache, range(5))
    path = segments(cache)[0] / "vectors.float32"
    rows = np.fromfile(path, np.float32).reshape(5, WIDTH)
    rows[[0, 3]].tofile(path.with_name("swapped"))
    rows[[0, 3]] = rows[[3, 0]]
    path.with_name("swapped").unlink()
    rows.tofile(path)
    assert "2 rows" in take(cache, range(5)).notes[0]


def test_damage_of_rows_that_are_not_used_survives_a_merge_as_damage(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(cache, [0])
    flip(segments(cache)[0] / "vectors.float32", 5)
    monkeypatch.setattr(feature_space, "MOST_SEGMENTS", 2)
    for used in ([1, 2], [3, 4, 5]):
        assert take(cache, used).notes == ()
    assert len(segments(cache)) == 2
    assert "1 rows of" in take(cache, range(6)).notes[0]


def test_a_damaged_cache_that_may_not_be_removed_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(cache, range(5))
    flip(segments(cache)[0] / "vectors.float32", 5)

    def refuse(place: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic, "remove", refuse)
    found = take(cache, range(5))
    assert_right(found, range(5))
    assert [note.split(": ")[0] for note in found.notes] == [
        f"The kept features in {cache / feature_space.LAYOUT / 'space-float32'} were thrown away",
        f"The features computed now are not kept, as {cache} cannot be emptied",
    ]


def test_a_disk_that_damages_everything_is_not_used_for_ever(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = feature_space.open_segment

    def open_damaged(folder: Path, width: int) -> Any:
        opened(folder, width)
        raise feature_segments.DamagedError("garbled")

    monkeypatch.setattr(feature_space, "open_segment", open_damaged)
    found = take(cache, range(5))
    assert_right(found, range(5))
    assert found.notes[-1].startswith(f"The features computed now are not kept, as {cache} does")


# Verification


def test_a_sample_of_reused_rows_is_computed_again_with_the_missing_ones(cache: Path) -> None:
    take(cache, range(50))
    bases = [Base(), Base()]
    for base in bases:
        found = take(cache, range(50), base, verified=8)
        assert (found.reused, found.computed, found.notes) == (50, 0, ())
    assert len(bases[0].asked[0]) == 8
    assert bases[0].asked == bases[1].asked
    base = Base()
    found = take(cache, range(53), base, verified=8)
    assert (len(base.asked), len(base.asked[0])) == (1, 11)
    assert set(keys_of(50, 51, 52).tolist()) < base.asked[0]
    assert (found.reused, found.computed) == (50, 3)
    assert sum(path.stat().st_size for path in cache.rglob("*.*")) == 53 * ROW


def test_a_sample_is_never_larger_than_what_is_reused(cache: Path) -> None:
    take(cache, range(3))
    base = Base()
    take(cache, range(3), base, verified=8)
    assert base.asked == [frozenset(keys_of(0, 1, 2).tolist())]


def test_a_mismatch_throws_the_space_away_and_computes_everything(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(cache, range(20))
    take(cache, range(5), space="other")
    base = Base(scale=1.01)
    with caplog.at_level(logging.WARNING):
        found = take(cache, range(22), base, verified=8)
    scaled = vectors_of(keys_of(*range(22))) * 1.01
    np.testing.assert_array_equal(found.vectors.gather(np.arange(22)), scaled.astype(np.float32))
    assert (found.reused, found.computed) == (0, 22)
    assert [len(keys) for keys in base.asked] == [10, 22]
    assert "were thrown away: a vector of length" in found.notes[0]
    assert len(caplog.messages) == 1
    assert take(cache, range(5), must_not_extract, space="other").reused == 5


@pytest.mark.parametrize(
    ("dtype", "scale", "reused"),
    [("float32", 1.0005, 5), ("float32", 1.002, 0), ("float16", 1.001, 5), ("float16", 1.005, 0)],
)
def test_noise_of_the_order_of_sums_is_no_mismatch(
    cache: Path, dtype: str, scale: float, reused: int
) -> None:
    take(cache, range(5), dtype=dtype)
    assert take(cache, range(5), Base(scale), dtype=dtype, verified=8).reused == reused


def test_a_wider_tolerance_may_be_given(cache: Path) -> None:
    take(cache, range(5))
    assert take(cache, range(5), Base(1.015), verified=8, tolerance=0.02).reused == 5


def test_vectors_of_zeros_are_verified_too(cache: Path) -> None:
    take(cache, range(5), Base(0.0))
    assert take(cache, range(5), Base(0.0), verified=8).reused == 5
    assert take(cache, range(5), Base(1e-6), verified=8).reused == 0


# float16


def test_float16_takes_half_the_space_and_comes_back_as_float32(cache: Path) -> None:
    found = take(cache, range(5), dtype="float16")
    assert_right(found, range(5))
    assert_right(take(cache, range(5), must_not_extract, dtype="float16"), range(5))
    assert feature_space.folder_bytes(cache) == 5 * (2 * WIDTH + 36)


def test_float16_rows_are_not_given_where_float32_is_asked_for(cache: Path) -> None:
    take(cache, range(5), Base(1 / 3), dtype="float16")
    found = take(cache, range(5), Base(1 / 3))
    rows = found.vectors.gather(np.arange(5))
    expected = vectors_of(keys_of(*range(5))) * (1 / 3)
    np.testing.assert_array_equal(rows, expected.astype(np.float32))


@pytest.mark.parametrize("scale", [1e6, 1e-12])
def test_what_does_not_fit_float16_is_kept_as_float32(cache: Path, scale: float) -> None:
    found = take(cache, range(5), Base(scale), dtype="float16")
    assert found.notes == ("Some features do not fit float16. They are kept as float32.",)
    again = take(cache, range(5), must_not_extract, dtype="float16")
    expected = (vectors_of(keys_of(*range(5))) * scale).astype(np.float32)
    for one in (found, again):
        np.testing.assert_array_equal(one.vectors.gather(np.arange(5)), expected)


def test_segments_of_both_dtypes_are_merged_apart(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_space, "MOST_SEGMENTS", 2)
    for number in range(8):
        take(cache, range(number + 1), Base(1e4 if number % 2 else 1.0), dtype="float16")
    names = {path.name for one in segments(cache, "space-float16") for path in one.iterdir()}
    assert {"vectors.float16", "vectors.float32"} < names
    found = take(cache, range(8), must_not_extract, dtype="float16")
    scales = np.where(np.arange(8) % 2, 1e4, 1.0)[:, None]
    np.testing.assert_array_equal(
        found.vectors.gather(np.arange(8)), vectors_of(keys_of(*range(8))) * scales
    )
