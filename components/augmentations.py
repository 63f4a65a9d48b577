"""Augmentations as data: what may be named and how far it may go, known without Keras.

The configuration is checked by this table; `components/trainer/augmentation.py` makes Keras layers
of it. An amount of 0 would change nothing and is refused.
"""

from collections.abc import Mapping

Amount = float | str

FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")

# Largest amount of each, and what an amount means.
AMOUNTS: Mapping[str, tuple[float, str]] = {
    "rotation": (0.5, "share of a full turn, either way"),
    "zoom": (0.9, "share of the side, in or out"),
    "translation": (0.9, "share of the side, in each direction"),
    "brightness": (1.0, "share of the range, brighter or darker"),
    "contrast": (1.0, "share, more or less"),
    "saturation": (1.0, "share, more or less"),
    "hue": (0.5, "share of the colour circle, either way"),
}

PRESETS: Mapping[str, tuple[tuple[str, Amount], ...]] = {
    "none": (),
    "light": (("flip", "horizontal"), ("rotation", 0.03), ("zoom", 0.1), ("contrast", 0.1)),
    "strong": (
        ("flip", "horizontal"),
        ("rotation", 0.08),
        ("zoom", 0.25),
        ("translation", 0.1),
        ("brightness", 0.15),
        ("contrast", 0.25),
        ("saturation", 0.25),
    ),
}


def parse_augment(value: object) -> str | tuple[dict[str, Amount], ...]:
    """Returns a preset's name, or a list of augmentations with one name and amount each.

    Args:
        value: `"none"`, `"light"`, `"strong"`, or a list such as
            `[{"flip": "horizontal"}, {"rotation": 0.1}]`.

    Raises:
        ValueError: it is none of these; an amount is out of range; the list is empty.
    """
    if isinstance(value, str) and value in PRESETS:
        return value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("Expected a preset or a list of augmentations.")
    return tuple(_parse_one(item) for item in value)


def resolve_augment(augment: str | tuple[dict[str, Amount], ...]) -> list[tuple[str, Amount]]:
    """Returns (name, amount) of each augmentation in order; empty for none."""
    if isinstance(augment, str):
        return list(PRESETS[augment])
    return [pair for item in augment for pair in item.items()]


def _parse_one(item: object) -> dict[str, Amount]:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise ValueError("Expected one name with its amount.")
    [(name, amount)] = item.items()
    if name == "flip":
        if amount not in FLIPS:
            raise ValueError("Expected a direction.")
        return {name: amount}
    if name not in AMOUNTS or isinstance(amount, bool) or not isinstance(amount, int | float):
        raise ValueError("Expected a known augmentation and a number.")
    if not 0 < amount <= AMOUNTS[name][0]:
        raise ValueError("Expected an amount in range.")
    return {name: float(amount)}
