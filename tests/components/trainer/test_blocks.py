"""From which layer on a base is fine-tuned."""

from collections.abc import Iterator
from typing import Any

import pytest

keras = pytest.importorskip("keras")

from components.bases import BASES  # noqa: E402
from components.errors import InputError  # noqa: E402
from components.trainer.backbones import load_base  # noqa: E402
from components.trainer.blocks import block_starts, first_trainable  # noqa: E402

FILE = {"path": "base.keras", "name": None}


def named(name: str) -> dict[str, Any]:
    return {"name": name, "weights": "none", "path": None}


@pytest.fixture(scope="module")
def base() -> Any:
    """Six layers with names as an author gives them."""
    outputs = pixels = keras.Input((4, 4, 3), name="image")
    for name in ("stem", "stage1_a", "stage1_b", "stage2_a", "conv2d_7"):
        outputs = keras.layers.Conv2D(2, 1, name=name)(outputs)
    return keras.Model(pixels, outputs)


@pytest.fixture(scope="module", params=["MobileNet", "VGG16"])
def known(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Any], Any]]:
    settings = named(request.param)
    yield settings, load_base(settings, BASES[request.param].min_size)
    keras.backend.clear_session()


@pytest.mark.parametrize(
    ("layers", "first"),
    [
        ("all", 0),
        (0, 6),
        (1, 5),
        (5, 1),
        (6, 0),
        (100, 0),
        ("stem", 1),
        ("stage1", 2),
        ("stage2", 4),
        ("stage1_b", 3),
        ("conv2d_7", 5),
    ],
)
def test_layers_are_counted_from_the_output_or_found_by_name_or_its_start(
    base: Any, layers: int | str, first: int
) -> None:
    assert first_trainable(base, FILE, layers) == first


@pytest.mark.parametrize("layers", ["stage", "stage1_", "a", "STEM"])
def test_another_name_is_refused(base: Any, layers: str) -> None:
    with pytest.raises(InputError, match=f"Received: fine_tune.layers='{layers}'"):
        first_trainable(base, FILE, layers)


def test_the_nearest_names_are_told_and_where_all_are(base: Any) -> None:
    with pytest.raises(InputError) as caught:
        first_trainable(base, FILE, "stage3")
    message = str(caught.value)
    assert "Did you mean stage2 or stage1" in message
    assert message.endswith("`base.summary()` in Keras lists them.")


def test_where_no_name_is_near_the_last_ones_are_told(base: Any) -> None:
    with pytest.raises(InputError) as caught:
        first_trainable(base, FILE, "qqq")
    assert "Did you mean" not in str(caught.value)
    assert "The last are " in str(caught.value)


BLOCKS = {
    "MobileNet": ("conv_dw_13", "conv_dw_13", "conv_pw_13"),
    "VGG16": ("block5", "block5_conv1", "block4_conv1"),
}


def test_a_block_begins_at_its_first_layer(known: tuple[dict[str, Any], Any]) -> None:
    settings, base = known
    block, first, other = BLOCKS[settings["name"]]
    assert base.layers[first_trainable(base, settings, block)].name == first
    assert base.layers[first_trainable(base, settings, other)].name == other


def test_the_start_of_several_names_means_the_first(known: tuple[dict[str, Any], Any]) -> None:
    settings, base = known
    start, first = {"MobileNet": ("conv_dw", "conv_dw_1"), "VGG16": ("block4", "block4_conv1")}[
        settings["name"]
    ]
    assert base.layers[first_trainable(base, settings, start)].name == first


def test_an_unknown_block_of_a_named_base_is_told_with_the_command_that_lists_them(
    known: tuple[dict[str, Any], Any],
) -> None:
    settings, base = known
    with pytest.raises(InputError) as caught:
        first_trainable(base, settings, "block6")
    assert str(caught.value).endswith(f"`graft bases {settings['name']}` lists them.")


def test_blocks_do_not_depend_on_what_was_built_before() -> None:
    settings = named("InceptionV3")
    keras.layers.Conv2D(1, 1)  # takes an automatic name
    base = load_base(settings, 75)
    names = [layer.name for layer in base.layers]
    assert "conv2d" not in names
    starts = block_starts(base, "InceptionV3")
    assert list(starts) == [f"mixed{number}" for number in range(11)]
    # mixed10 ends its block, which begins after mixed9.
    assert names[starts["mixed10"] - 1] == "mixed9"
    automatic = next(name for name in names if name.startswith("conv2d"))
    with pytest.raises(InputError, match=f"Received: fine_tune.layers='{automatic}'"):
        first_trainable(base, settings, automatic)
    keras.backend.clear_session()
