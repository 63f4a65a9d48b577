"""Factors and summands of three channels as text and back."""

import pytest

from components.transform.affine import from_text, to_text


def test_text_keeps_every_digit() -> None:
    scales, offsets = (1 / 3, 0.1, 2e-9), (-1.0, 0.0, 1 / 7)
    assert from_text(to_text(scales, offsets)) == (scales, offsets)
    assert to_text([1, 2, 3], [0, -1, 0.5]) == "affine:1.0,2.0,3.0:0.0,-1.0,0.5"


@pytest.mark.parametrize(
    "text",
    [
        "affine",
        "affine:1,1,1",
        "affine:1,1:0,0",
        "affine:1,0,1:0,0,0",
        "affine:1,nan,1:0,0,0",
        "affine:1,1,1:0,0,inf",
        "affine:1,1,1:0,0,x",
        "affine:1,1,1:0,0,0:0,0,0",
        "scale:1,1,1:0,0,0",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Expected affine:s,s,s:o,o,o"):
        from_text(text)
