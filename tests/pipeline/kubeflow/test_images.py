"""Names of images: what no registry takes is refused, what may change is told."""

import pytest

from components.errors import InputError
from pipeline.kubeflow.images import check_image, unpinned_warning

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    [
        f"graft@{DIGEST}",
        f"registry.example/team/graft@{DIGEST}",
        f"localhost:5000/graft:1.0@{DIGEST}",
        f"Registry.Example:443/graft@{DIGEST}",
    ],
)
def test_an_image_with_a_digest_is_pinned(image: str) -> None:
    assert check_image(image)


@pytest.mark.parametrize("image", ["graft", "graft:latest", "localhost:5000/graft:1.0"])
def test_an_image_without_a_digest_is_not_pinned(image: str) -> None:
    assert not check_image(image)
    assert image in unpinned_warning(image)
    assert "no stage's result is reused" in unpinned_warning(image)


@pytest.mark.parametrize(
    ("image", "received"),
    [
        (None, "none"),
        ("", "none"),
        (f"registry.example/Graft@{DIGEST}", "upper-case letters in 'Graft'"),
        ("a" * 256, "a name of 256 characters"),
        ("graft@sha256:12", "'sha256:12', which is no sha256:"),
        ("graft@latest", "'latest', which is no sha256:"),
        ("graft:", "the tag ''"),
        ("gra ft", "the name 'gra ft'"),
        ("http://registry.example/graft", "an address, http://"),
    ],
)
def test_a_wrong_image_is_told(image: str | None, received: str) -> None:
    with pytest.raises(InputError, match="Expected an image") as error:
        check_image(image)
    assert f"Received: {received}" in str(error.value)
    assert "--image NAME@sha256:" in str(error.value)
