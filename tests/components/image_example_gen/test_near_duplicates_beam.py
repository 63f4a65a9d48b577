"""The Beam form finds what the in-memory form finds."""

import numpy as np
import pytest

from components.image_example_gen.near_duplicates import Item, find_twins
from components.image_example_gen.perceptual import SIDE, hash_thumbnail

pytestmark = pytest.mark.e2e


def make_items(families: int) -> list[Item]:
    """Families of three copies with a little noise, over splits and classes."""
    generator = np.random.default_rng(0)
    items = []
    for family in range(families):
        picture = generator.integers(40, 216, (SIDE, SIDE))
        for copy in range(3):
            noise = generator.integers(-3, 4, (SIDE, SIDE))
            thumbnail = (picture + noise).astype(np.uint8)
            number = 3 * family + copy
            split = ("train", "validation", "test")[number % 7 % 3]
            digest = f"{number * 7919 % 100_003:064x}"
            label = "ab"[number % 5 == 0]
            items.append(
                Item(
                    digest,
                    hash_thumbnail(thumbnail),
                    thumbnail.tobytes(),
                    f"{number}",
                    label,
                    split,
                )
            )
    return items


def test_beam_finds_the_same_twins_as_memory(tmp_path):
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.testing.util import assert_that, equal_to

    from components.image_example_gen.near_duplicates_beam import FindTwins

    items = make_items(40)
    expected = find_twins(items)
    assert len(expected) >= 40
    with beam.Pipeline(runner=FnApiRunner()) as root:
        twins = root | beam.Create(items) | FindTwins()
        assert_that(twins, equal_to(expected))
