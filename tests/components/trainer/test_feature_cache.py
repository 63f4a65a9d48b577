"""Features on disk: computed once, whole or not at all, in an order of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from components.trainer.feature_cache import cache_key, load_or_extract

KEYS = [bytes([letter]) * 64 for letter in b"dbca"]
VECTORS = np.arange(8, dtype=np.float32).reshape(4, 2)
LABELS = np.array([0, 1, 2, 3])


def extraction(
    order: tuple[int, ...] = (0, 1, 2, 3), batch: int = 3
) -> Callable[[], Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Returns what yields the four images in an order, in batches of a size."""

    def extract() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for start in range(0, len(order), batch):
            rows = list(order[start : start + batch])
            yield VECTORS[rows], LABELS[rows], np.array(KEYS, object)[rows]

    return extract


def must_not_extract() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    raise AssertionError("the features were there")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_features_come_back_ordered_by_key_with_their_labels(tmp_path: Path) -> None:
    found, from_cache = load_or_extract(tmp_path / "features", "key", 2, extraction())
    assert not from_cache
    assert found.keys.tolist() == [b"a" * 64, b"b" * 64, b"c" * 64, b"d" * 64]
    np.testing.assert_array_equal(found.vectors, [[6, 7], [2, 3], [4, 5], [0, 1]])
    np.testing.assert_array_equal(found.label_index, [3, 1, 2, 0])
    assert (found.vectors.dtype, found.label_index.dtype) == (np.float32, np.int64)


def test_neither_order_nor_batches_of_the_records_matter(tmp_path: Path) -> None:
    one, _ = load_or_extract(tmp_path, "one", 2, extraction())
    other, _ = load_or_extract(tmp_path, "other", 2, extraction((3, 0, 2, 1), batch=1))
    np.testing.assert_array_equal(one.vectors, other.vectors)
    np.testing.assert_array_equal(one.label_index, other.label_index)


def test_a_second_call_extracts_nothing(tmp_path: Path) -> None:
    first, _ = load_or_extract(tmp_path, "key", 2, extraction())
    second, from_cache = load_or_extract(tmp_path, "key", 2, must_not_extract)
    assert from_cache
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(first.keys, second.keys)


def test_another_key_extracts_and_leaves_the_first(tmp_path: Path) -> None:
    load_or_extract(tmp_path, "key", 2, extraction())
    found, from_cache = load_or_extract(tmp_path, "another", 2, extraction((1, 2)))
    assert not from_cache
    assert len(found.vectors) == 2
    assert names(tmp_path) == ["another", "key"]


def test_an_extraction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield VECTORS[:2], LABELS[:2], np.array(KEYS[:2], object)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_extract(tmp_path, "key", 2, fails)
    assert names(tmp_path) == []
    assert not load_or_extract(tmp_path, "key", 2, extraction())[1]


def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    leftover = tmp_path / ".graft-abc"
    leftover.mkdir()
    (leftover / "raw.float32").write_bytes(b"half")
    load_or_extract(tmp_path, "key", 2, extraction())
    assert names(tmp_path) == ["key"]


def test_raw_copies_are_not_kept(tmp_path: Path) -> None:
    load_or_extract(tmp_path, "key", 2, extraction())
    assert names(tmp_path / "key") == ["keys.npy", "label_index.npy", "vectors.npy"]


def test_the_cache_key_sees_every_part_and_where_it_ends() -> None:
    assert cache_key(["ab", "c"]) == cache_key(iter(["ab", "c"]))
    assert (
        len({cache_key(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"])}) == 4
    )
