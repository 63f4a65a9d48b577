"""What augmentations may be named, and how they are told."""

import json

import pytest

from components.augmentations import (
    AMOUNTS,
    FLIPS,
    PRESETS,
    augment_text,
    parse_augment,
    resolve_augment,
)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_kept_as_its_name(preset: str) -> None:
    assert parse_augment(preset) == preset
    assert resolve_augment(preset) == list(PRESETS[preset])


def test_a_list_keeps_its_order_and_gives_pairs() -> None:
    parsed = parse_augment([{"zoom": 0.5}, {"flip": "vertical"}, {"brightness": 1}])
    assert parsed == ({"zoom": 0.5}, {"flip": "vertical"}, {"brightness": 1.0})
    expected = [("zoom", 0.5), ("flip", "vertical"), ("brightness", 1.0)]
    assert resolve_augment(parsed) == expected
    assert resolve_augment(json.loads(json.dumps(parsed))) == expected


@pytest.mark.parametrize("name", AMOUNTS)
def test_the_largest_amount_is_taken_and_more_or_none_is_not(name: str) -> None:
    largest = AMOUNTS[name][0]
    assert parse_augment([{name: largest}]) == ({name: largest},)
    for amount in (largest * 1.001, 0, -0.1, float("nan"), float("inf"), True, "0.1", None):
        with pytest.raises(ValueError):
            parse_augment([{name: amount}])


@pytest.mark.parametrize(
    "value",
    [
        "medium",
        "",
        None,
        3,
        {},
        [],
        ["flip"],
        [{}],
        [{"flip": "horizontal", "zoom": 0.1}],
        [{"flip": "diagonal"}],
        [{"flip": True}],
        [{"flip": ["horizontal"]}],
        [{"blur": 0.1}],
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_augment(value)


def test_presets_can_be_written_as_lists() -> None:
    for pairs in PRESETS.values():
        if pairs:
            given = [{name: amount} for name, amount in pairs]
            assert parse_augment(given) == tuple(given)


def test_light_does_nothing_that_strong_does_not_do_further() -> None:
    strong = dict(PRESETS["strong"])
    light = dict(PRESETS["light"])
    flip = light.pop("flip")
    assert flip == strong["flip"]
    assert all(float(amount) < float(strong[name]) for name, amount in light.items())


def test_words_tell_every_amount_on_a_line_of_its_own() -> None:
    assert augment_text("none") == ""
    assert augment_text("light").splitlines() == [
        "Mirrored left to right, half of the images",
        "Turned by up to 10.8° either way",
        "Zoomed in or out by up to 10 % of the side",
        "Contrast up to 10 % more or less",
    ]
    rest = [{"translation": 0.125}, {"brightness": 0.15}, {"saturation": 1.0}, {"hue": 0.5}]
    assert augment_text(rest).splitlines() == [
        "Moved by up to 12.5 % of the side, each direction",
        "Brighter or darker by up to 15 % of the range",
        "Saturation up to 100 % more or less",
        "Hue moved by up to 180° of the colour circle either way",
    ]


def test_everything_that_may_be_named_has_words_of_its_own() -> None:
    flips = [augment_text([{"flip": flip}]) for flip in FLIPS]
    others = [augment_text([{name: amount}]) for name, (amount, _) in AMOUNTS.items()]
    assert len({*flips, *others} - {""}) == len(FLIPS) + len(AMOUNTS)
