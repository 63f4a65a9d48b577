"""The files of a segment, and rows that are not kept."""

import hashlib
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.trainer.feature_segments import (
    KEY,
    DamagedError,
    Scratch,
    Segment,
    checksums_of,
    merged,
    new_blocks,
    open_segment,
    row_bytes,
    to_binary,
    to_digits,
    write_segment,
)

DIGESTS = sorted(hashlib.sha256(bytes([number])).digest() for number in range(5))
KEYS = np.frombuffer(b"".join(DIGESTS), KEY)
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3)


def write(folder: Path, rows: slice, dtype: str = "float32") -> Segment:
    folder.mkdir()
    vectors = VECTORS[rows].astype(dtype)
    write_segment(folder, dtype, KEYS[rows], new_blocks(KEYS[rows], vectors))
    return open_segment(folder, 3)


def test_a_segment_is_three_files_of_known_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "segment"
    write(folder, slice(0, 5))
    assert (folder / "keys.bin").read_bytes() == b"".join(DIGESTS)
    assert (folder / "vectors.float32").read_bytes() == VECTORS.tobytes()
    sums = [zlib.crc32(key + row.tobytes()) for key, row in zip(DIGESTS, VECTORS, strict=True)]
    assert (folder / "checksums.bin").read_bytes() == np.array(sums, "<u4").tobytes()
    assert len(list(folder.iterdir())) == 3
    assert sum(path.stat().st_size for path in folder.iterdir()) == 5 * row_bytes(3, "float32")


def test_rows_are_read_in_any_order_as_they_were_written(tmp_path: Path) -> None:
    segment = write(tmp_path / "segment", slice(0, 5), "float16")
    for rows in ([0, 1, 2, 3, 4], [4, 1, 2, 1], []):
        found = segment.read(np.array(rows, np.int64))
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, VECTORS[rows])


def test_rows_that_follow_each_other_are_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = write(tmp_path / "segment", slice(0, 5))
    preadv, reads = os.preadv, []

    def count(descriptor: int, buffers: list[memoryview], place: int) -> int:
        reads.append((place, len(buffers[0])))
        return preadv(descriptor, buffers, place)

    monkeypatch.setattr(os, "preadv", count)
    segment.read(np.array([3, 4, 0, 1, 2, 2]))
    assert reads == [(36, 24), (0, 36), (24, 12)]


def test_a_read_that_gives_less_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = write(tmp_path / "segment", slice(0, 5))
    preadv = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda file, buffers, place: preadv(file, [buffers[0][:5]], place)
    )
    np.testing.assert_array_equal(segment.read(np.arange(5)), VECTORS)


def test_a_file_that_is_cut_off_while_it_is_open_is_damage(tmp_path: Path) -> None:
    segment = write(tmp_path / "segment", slice(0, 5))
    os.truncate(tmp_path / "segment" / "vectors.float32", 30)
    np.testing.assert_array_equal(segment.read(np.array([0, 1])), VECTORS[:2])
    with pytest.raises(DamagedError, match="segment ends early"):
        segment.read(np.array([2]))


def test_rows_of_another_width_are_damage(tmp_path: Path) -> None:
    write(tmp_path / "segment", slice(0, 5))
    with pytest.raises(DamagedError, match="same number of rows"):
        open_segment(tmp_path / "segment", 5)


def test_only_rows_asked_for_are_checked(tmp_path: Path) -> None:
    segment = write(tmp_path / "segment", slice(0, 5))
    checksums = segment.checksums.copy()
    checksums[2] ^= 1
    other = replace(segment, checksums=checksums, name="other")
    other.check(np.array([0, 1, 3, 4]))
    with pytest.raises(DamagedError, match="1 rows of other have a wrong checksum"):
        other.check(np.arange(5))


def test_merged_segments_have_each_image_once_in_the_order_of_keys(tmp_path: Path) -> None:
    parts = [write(tmp_path / str(at), slice(at, at + 3)) for at in (2, 0)]
    keys, blocks = merged(parts)
    assert keys.tobytes() == KEYS.tobytes()
    [(vectors, checksums)] = list(blocks)
    np.testing.assert_array_equal(vectors, VECTORS)
    np.testing.assert_array_equal(checksums, checksums_of(KEYS, VECTORS))


def test_merging_can_leave_images_out(tmp_path: Path) -> None:
    keys, blocks = merged([write(tmp_path / "segment", slice(0, 5))], only=KEYS[[4, 1]])
    assert keys.tobytes() == KEYS[[1, 4]].tobytes()
    [(vectors, _)] = list(blocks)
    np.testing.assert_array_equal(vectors, VECTORS[[1, 4]])


def test_hexadecimal_keys_and_binary_ones_are_the_same_keys() -> None:
    digits = [digest.hex().encode() for digest in DIGESTS]
    assert to_binary(np.array(digits, "S64")).tobytes() == KEYS.tobytes()
    assert to_binary(np.array(digits, object)).tobytes() == KEYS.tobytes()
    assert to_digits(KEYS) == digits
    ends_in_zero = np.array([b"ab" * 30 + b"0000"], "S64")
    assert to_digits(to_binary(ends_in_zero)) == ends_in_zero.tolist()


def test_scratch_gives_rows_of_both_dtypes_once() -> None:
    scratch = Scratch()
    scratch.add(KEYS[:1], VECTORS[:1].astype(np.float16))
    scratch.add(KEYS[1:], VECTORS[1:])
    first, second = scratch.take()
    assert (first.dtype, second.dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(first.read(np.arange(1)), VECTORS[:1])
    np.testing.assert_array_equal(second.read(np.arange(4)), VECTORS[1:])
    assert scratch.take() == []
    scratch.add(KEYS[:2], VECTORS[:2])
    [third] = scratch.take()
    np.testing.assert_array_equal(third.read(np.arange(2)), VECTORS[:2])


def test_scratch_without_a_folder_for_temporary_files_is_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    scratch = Scratch()
    scratch.add(KEYS, VECTORS)
    [segment] = scratch.take()
    assert segment.file is None
    np.testing.assert_array_equal(segment.read(np.arange(5)), VECTORS)
