"""The libraries whose version may change what is read out of an image, besides TensorFlow."""

from importlib import metadata

DECODERS = ("numpy", "pillow", "pillow-heif")
ABSENT = "absent"


def decoder_versions() -> tuple[str, ...]:
    """Returns `name==version` of each, or `name==absent`."""
    return tuple(f"{name}=={_version(name)}" for name in DECODERS)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ABSENT
