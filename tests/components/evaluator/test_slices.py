import pytest

from components.evaluator.slices import (
    DEFAULT,
    Bins,
    Matching,
    from_json,
    slices_of,
    to_json,
)

DARK = Bins("brightness", (0.1, 0.25))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.0, "brightness<0.1"),
        (0.1, "brightness 0.1-0.25"),
        (0.2499, "brightness 0.1-0.25"),
        (0.25, "brightness>=0.25"),
        (1.0, "brightness>=0.25"),
    ],
)
def test_a_bin_holds_its_lower_edge(value: float, name: str) -> None:
    assert DARK.name_of(value) == name
    assert DARK.names == ["brightness<0.1", "brightness 0.1-0.25", "brightness>=0.25"]


def test_a_photo_is_in_a_bin_of_each_property_and_in_what_matches_its_path() -> None:
    slices = (DARK, Bins("size", (256,)), Matching("studio", "^studio/"), Matching("x", "x/"))
    found = slices_of("tulip", "png", "studio/1.png", {"brightness": 0.5, "size": 128}, slices)
    assert found == ["label=tulip", "format=png", "brightness>=0.25", "size<256", "studio"]


def test_slices_survive_json() -> None:
    slices = (*DEFAULT, Matching("studio", "^studio/"))
    assert from_json(to_json(slices)) == slices
