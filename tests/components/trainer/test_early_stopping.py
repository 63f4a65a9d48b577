"""Which training images early stopping watches, and how long it waits."""

import hashlib

import numpy as np
import pytest

from components.trainer.early_stopping import patience_in_epochs, watched

KEYS = [hashlib.sha256(bytes([number])).hexdigest().encode() for number in range(20)]


def watch_alike(keys: list[bytes], share: float) -> np.ndarray:
    """Chooses among images of one label."""
    return watched(keys, [0] * len(keys), share)


def chosen(keys: list[bytes], share: float) -> set[bytes]:
    return {key for key, watch in zip(keys, watch_alike(keys, share), strict=True) if watch}


def test_the_choice_is_the_share_with_the_lowest_salted_hashes() -> None:
    mask = watch_alike([b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"], 0.25)
    assert mask.dtype == bool
    # sha256 of b"watch" + key begins with 47 for c, with 4c for a; the next is d with 62.
    assert np.flatnonzero(mask).tolist() == [0, 2]


def test_copies_of_an_image_stay_on_one_side() -> None:
    keys = [*KEYS, *KEYS, *KEYS[:7]]
    mask = watch_alike(keys, 0.3)
    for key in KEYS:
        assert len({watch for other, watch in zip(keys, mask, strict=True) if other == key}) == 1


def test_the_share_is_of_distinct_images() -> None:
    assert len(chosen([*KEYS, *([KEYS[0]] * 500)], 0.3)) == 6


def test_the_order_does_not_matter() -> None:
    assert chosen(KEYS, 0.25) == chosen(KEYS[::-1], 0.25)
    assert len(chosen(KEYS, 0.25)) == 5


def test_an_image_that_is_watched_stays_so_in_a_larger_share() -> None:
    assert chosen(KEYS, 0.1) < chosen(KEYS, 0.3) < chosen(KEYS, 0.5)


def test_keys_as_the_feature_cache_gives_them_are_chosen_alike() -> None:
    stored = list(np.array(KEYS, "S64"))
    np.testing.assert_array_equal(watch_alike(stored, 0.2), watch_alike(KEYS, 0.2))


@pytest.mark.parametrize("share", [0.0001, 0.5])
def test_of_two_images_one_is_watched_and_one_trained_on(share: float) -> None:
    assert watch_alike(KEYS[:2], share).tolist() in ([True, False], [False, True])


def test_of_few_images_a_quarter_is_watched_and_of_more_at_least_thirty() -> None:
    many = [hashlib.sha256(str(number).encode()).hexdigest().encode() for number in range(1000)]
    assert len(chosen(KEYS, 0.0001)) == 5
    assert len(chosen(many[:200], 0.1)) == 30
    assert len(chosen(many, 0.1)) == 100


@pytest.mark.parametrize(
    ("patience", "images", "batch_size", "epochs"),
    [
        (3, 10_000, 32, 3),  # 313 steps an epoch
        (3, 640, 32, 3),  # 20 steps an epoch: 60 steps
        (3, 96, 32, 20),  # 3 steps an epoch
        (3, 97, 32, 15),  # the last, smaller batch is a step too
        (30, 96, 32, 30),
        (3, 1, 32, 60),
        (0, 96, 32, 0),
    ],
)
def test_patience_is_at_least_sixty_steps_unless_there_is_none(
    patience: int, images: int, batch_size: int, epochs: int
) -> None:
    assert patience_in_epochs(patience, images, batch_size) == epochs


@pytest.mark.parametrize("salt", range(20))
def test_one_image_of_each_label_stays_to_be_trained_on(salt: int) -> None:
    keys = [hashlib.sha256(f"{salt}.{number}".encode()).hexdigest().encode() for number in range(9)]
    labels = [0, 0, 1, 1, 1, 2, 3, 3, 3]
    mask = watched(keys, labels, 0.5)
    trained = {label for label, watch in zip(labels, mask, strict=True) if not watch}
    assert trained == {0, 1, 2, 3}
    assert mask.sum() == 4


@pytest.mark.parametrize("salt", range(20))
def test_a_label_that_stands_only_in_groups_with_others_stays_to_be_trained_on(salt: int) -> None:
    groups = [f"{salt}.{number}".encode() for number in range(6)]
    keys = [group for group in groups for _ in range(2)]
    labels = [0, 1] * 4 + [1, 1] * 2  # of four groups each has both labels, label 1 as its last
    mask = watched(keys, labels, 0.5)
    assert {label for label, watch in zip(labels, mask, strict=True) if not watch} == {0, 1}
    assert mask.any()


def test_where_splits_cut_is_not_where_the_watched_are_cut() -> None:
    # The validation split takes one end of SHA-256(key); the watched must not be its neighbours.
    by_split_hash = sorted(KEYS, key=lambda key: hashlib.sha256(key).digest())
    assert chosen(KEYS, 0.25) not in (set(by_split_hash[:5]), set(by_split_hash[-5:]))
