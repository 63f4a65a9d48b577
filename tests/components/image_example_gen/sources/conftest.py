"""Files that many tests of sources write."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from components.image_example_gen.listing import Listing, SourceSettings


def fill_folder(root: Path, *paths: str) -> Path:
    """Writes files that hold their own path."""
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.encode())
    return root


def zip_file(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def tar_file(path: Path, members: Mapping[str, bytes], *special: tarfile.TarInfo) -> Path:
    """Writes a tar, compressed where the name ends in gz."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in special:
            archive.addfile(info)
    return path


def refused_in(listing: Listing) -> dict[str, str]:
    return {refusal.path: refusal.reason for refusal in listing.refused}


@pytest.fixture(scope="session")
def fill() -> Callable[..., Path]:
    return fill_folder


@pytest.fixture(scope="session")
def write_zip() -> Callable[..., Path]:
    return zip_file


@pytest.fixture(scope="session")
def write_tar() -> Callable[..., Path]:
    return tar_file


@pytest.fixture(scope="session")
def reasons() -> Callable[[Listing], dict[str, str]]:
    """Reason by path of what a listing refused."""
    return refused_in


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., SourceSettings]:
    """Settings of a source, with a cache of the test's own."""

    def make(source: object, **values: object) -> SourceSettings:
        return SourceSettings(str(source), **{"cache": str(tmp_path / "cache"), **values})  # type: ignore[arg-type]

    return make
