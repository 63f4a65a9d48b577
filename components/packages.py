"""The versions of the packages that decide what a model becomes."""

import platform
from importlib import metadata

PACKAGES = (
    "graft-tfx",
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "tensorflow-data-validation",
    "apache-beam",
    "ml-metadata",
    "numpy",
    "pillow",
    "scipy",
)


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of `PACKAGES` in this environment."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
