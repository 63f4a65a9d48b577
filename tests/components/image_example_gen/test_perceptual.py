"""The small picture and the hash that copies of one picture share."""

import numpy as np
import pytest

from components.image_example_gen.perceptual import SIDE, TINT_BYTES, describe, describe_tint


def distance(one: int, other: int) -> int:
    return bin(one ^ other).count("1")


def patches(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A picture of soft patches, luma in [0, 1]."""
    coarse = np.random.default_rng(seed).random((8, 8))
    rows, columns = np.linspace(0, 7, height), np.linspace(0, 7, width)
    along = np.array([np.interp(columns, range(8), row) for row in coarse])
    return np.array([np.interp(rows, range(8), column) for column in along.T]).T.astype(np.float32)


def test_cells_hold_the_mean_luma_of_their_part_of_the_picture():
    luma = np.zeros((SIDE * 2, SIDE * 3), np.float32)
    luma[:2, :3] = 1
    luma[2:4, 3:6] = 0.5
    _, thumbnail = describe(luma)
    cells = np.frombuffer(thumbnail, np.uint8).reshape(SIDE, SIDE)
    assert (cells[0, 0], cells[1, 1]) == (255, 128)
    assert cells.sum() == 255 + 128


def test_a_resized_picture_has_nearly_the_same_hash():
    halved = patches(1).reshape(48, 2, 64, 2).mean(axis=(1, 3))
    assert distance(describe(patches(1))[0], describe(halved)[0]) <= 2


def test_other_pictures_have_other_hashes():
    hashes = [describe(patches(seed))[0] for seed in range(40)]
    apart = [distance(a, b) for index, a in enumerate(hashes) for b in hashes[:index]]
    assert min(apart) > 8
    assert 28 <= np.mean(apart) <= 36


def test_brightness_and_contrast_do_not_change_the_hash():
    luma = patches(2)
    assert describe(luma)[0] == describe(luma * 0.5)[0] == describe(luma * 0.5 + 0.25)[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (7, 3), (SIDE, SIDE), (1000, 17)])
def test_any_size_is_described(shape: tuple[int, int]):
    hash_, thumbnail = describe(np.full(shape, 0.4, np.float32))
    assert len(thumbnail) == SIDE * SIDE
    assert set(thumbnail) == {102}
    assert 0 <= hash_ < 1 << 64


@pytest.mark.parametrize("shape", [(4,), (0, 3), (2, 2, 3)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="Expected luma of one or more rows"):
        describe(np.zeros(shape, np.float32))


def test_a_tint_tells_where_which_colours_are():
    pixels = np.full((8, 8, 3), 90, np.uint8)
    pixels[:2, :2] = (255, 0, 0)
    tint = np.frombuffer(describe_tint(pixels), np.uint8)
    assert len(tint) == TINT_BYTES
    blue, red = tint[:16], tint[16:]
    assert (blue[0], red[0]) == (85, 255)
    assert set(blue[1:]) == set(red[1:]) == {128}
