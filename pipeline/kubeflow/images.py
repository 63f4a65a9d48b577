"""The name of a container image, and what a cluster may make of it."""

import re

from components.errors import InputError

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_NAME = re.compile(r"^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$")
_HOST = re.compile(r"^(localhost|[A-Za-z0-9.-]+(\.[A-Za-z0-9-]+|:[0-9]+))$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
MAX_NAME = 255
MEND = "Give --image NAME@sha256:…, as docker push and graft kubeflow image tell it."


def check_image(image: str | None) -> bool:
    """Checks an image's name, and says whether it can only ever mean one image.

    Args:
        image: `[HOST/]NAME[:TAG][@sha256:DIGEST]`.

    Returns:
        True with a digest. Without one results must not be reused, as the image may be another.

    Raises:
        InputError: there is none, or no registry takes the name.
    """
    if not image:
        raise InputError(f"Expected an image for the stages. Received: none. {MEND}")
    rest, at, digest = image.partition("@")
    host, slash, path = rest.partition("/")
    if not slash or not _HOST.match(host):
        path = rest
    path, colon, tag = path.partition(":")
    wrong = ""
    if "://" in image:
        wrong = f"an address, {image}"
    elif path != path.lower():
        wrong = f"upper-case letters in '{path}'"
    elif len(path) > MAX_NAME:
        wrong = f"a name of {len(path)} characters, of which {MAX_NAME} are allowed"
    elif not _NAME.match(path):
        wrong = f"the name '{path}'"
    elif colon and not _TAG.match(tag):
        wrong = f"the tag '{tag}'"
    elif at and not _DIGEST.match(digest):
        wrong = f"'{digest}', which is no sha256: and 64 hexadecimal digits"
    if wrong:
        raise InputError(f"Expected an image, NAME@sha256:DIGEST. Received: {wrong}. {MEND}")
    return bool(at)


def unpinned_warning(image: str) -> str:
    """Returns what is said of an image that has no digest."""
    return (
        f"{image} has no digest, so the image may change under the same name: no stage's result is "
        f"reused. {MEND}"
    )
