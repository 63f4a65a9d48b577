"""The lines that build the stages' image and put it where a cluster finds it, by digest."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from components.digests import ROOT
from components.errors import GraftError, InputError

DOCKERFILE = "kubeflow/Dockerfile"
BASE = "debian:trixie-slim"
ENGINES = ("docker", "podman", "buildah")
ACCELERATORS = ("cpu", "cuda")
PLATFORM = "linux/amd64"  # all that TFX has wheels for
_DESCRIBE = ("git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")
_PINNED = re.compile(r"^[^@\s]+@sha256:[0-9a-f]{64}$")


def build_command(
    tag: str, base: str, accelerator: str = "cpu", engine: str = "docker", revision: str = "unknown"
) -> list[str]:
    """Returns the command that builds the image in the repository's root.

    Args:
        tag: name that the image gets, such as `registry.example/graft:1`.
        base: Debian 13 by digest.
        accelerator: one of `ACCELERATORS`; `cuda` adds NVIDIA's libraries.
        engine: one of `ENGINES`.
        revision: of the code, for the image's labels.

    Raises:
        InputError: the base has no digest.
    """
    if not _PINNED.match(base):
        raise InputError(
            f"Expected the base by digest, {BASE}@sha256:…. Received: --base {base}. Find it with "
            f"docker pull {BASE} && {_digest_line('docker', BASE)}."
        )
    build = ["build"] if engine != "buildah" else ["build", "--layers"]
    arguments = {"BASE": base, "ACCELERATOR": accelerator, "REVISION": revision}
    given = [
        part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")
    ]
    return [
        engine, *build, "--platform", PLATFORM, "--file", DOCKERFILE, *given, "--tag", tag, "."
    ]  # fmt: skip


def lines(command: Sequence[str], tag: str) -> list[str]:
    """Returns what to type: build, push, and how to ask for the digest that was pushed."""
    engine = command[0]
    return [shlex.join(command), f"{engine} push {tag}", _digest_line(engine, tag)]


def build(command: Sequence[str], root: Path = ROOT) -> None:
    """Runs the build, its output on the terminal.

    Raises:
        InputError: there is no such engine, or no checkout to build from.
        GraftError: the build failed.
    """
    require_checkout(root)
    engine = command[0]
    if shutil.which(engine) is None:
        raise InputError(
            f"Expected the container engine {engine}. Received: none of that name on PATH. Install "
            f"it, or choose another with --engine: {', '.join(ENGINES)}."
        )
    status = subprocess.run(command, cwd=root, check=False).returncode
    if status:
        raise GraftError(
            f"Expected {engine} to build the image. Received: exit status {status}, see above."
        )


def require_checkout(root: Path = ROOT) -> None:
    """Does nothing where there is something to build from.

    Raises:
        InputError: Graft is installed as a package, without the Dockerfile.
    """
    if not (root / DOCKERFILE).is_file():
        raise InputError(
            f"Expected {DOCKERFILE} beside the code. Received: none in {root}, as Graft is "
            "installed as a package. Clone the repository and call graft from there."
        )


def revision(root: Path = ROOT) -> str:
    """Returns the commit of the checkout, `-dirty` after it where tracked files were changed.

    It is `unknown` where there is none.
    """
    if shutil.which("git") is None:
        return "unknown"
    asked = subprocess.run(_DESCRIBE, cwd=root, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def _digest_line(engine: str, tag: str) -> str:
    if engine == "buildah":
        return f"skopeo inspect --format '{{{{.Name}}}}@{{{{.Digest}}}}' docker://{tag}"
    return f"{engine} inspect --format '{{{{index .RepoDigests 0}}}}' {tag}"
