"""Augmentations as data: what may be named and how far it may go, known without Keras.

The configuration is checked by this table; `components/trainer/augmentation.py` makes Keras layers
of it. An amount of 0 would change nothing and is refused.
"""

from collections.abc import Callable, Mapping, Sequence

Amount = float | str
Augment = str | Sequence[Mapping[str, Amount]]

# `horizontal_and_vertical` draws both by themselves, so that four views of an image are possible.
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

FLIP_WORDS: Mapping[Amount, str] = {
    "horizontal": "Mirrored left to right, half of the images",
    "vertical": "Mirrored top to bottom, half of the images",
    "horizontal_and_vertical": "Mirrored left to right and top to bottom, each half of the images",
}
WORDS: Mapping[str, Callable[[float], str]] = {
    "rotation": lambda amount: f"Turned by up to {360 * amount:.3g}° either way",
    "zoom": lambda amount: f"Zoomed in or out by up to {_percent(amount)} of the side",
    "translation": lambda amount: f"Moved by up to {_percent(amount)} of the side, each direction",
    "brightness": lambda amount: f"Brighter or darker by up to {_percent(amount)} of the range",
    "contrast": lambda amount: f"Contrast up to {_percent(amount)} more or less",
    "saturation": lambda amount: f"Saturation up to {_percent(amount)} more or less",
    "hue": lambda amount: f"Hue moved by up to {360 * amount:.3g}° of the colour circle either way",
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


def resolve_augment(augment: Augment) -> list[tuple[str, Amount]]:
    """Returns (name, amount) of each augmentation in order; empty for none.

    Args:
        augment: what `parse_augment` returns, or the same as it comes out of JSON.
    """
    if isinstance(augment, str):
        return list(PRESETS[augment])
    return [pair for item in augment for pair in item.items()]


def augment_text(augment: Augment) -> str:
    """Returns what is done to an image in words, one line an augmentation, in order.

    Args:
        augment: what `parse_augment` returns, or the same as it comes out of JSON.

    Returns:
        Lines such as `Turned by up to 10.8° either way`; empty for none.
    """
    return "\n".join(
        FLIP_WORDS[amount] if name == "flip" else WORDS[name](float(amount))
        for name, amount in resolve_augment(augment)
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


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
