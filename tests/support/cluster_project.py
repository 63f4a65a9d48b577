"""A tiny collection, and the configuration of its pipeline for pods that see it on one claim."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from graft_command import SIDE, graft, write_base, write_photos

COLOURS = {"blue": (30, 40, 220), "green": (30, 200, 60), "red": (220, 40, 30)}
PHOTOS = 30  # of each colour
CLAIM = "data"
IMAGE = "registry.example/graft@sha256:" + "0" * 64


@dataclass(frozen=True)
class Project:
    """The folder that pods mount, and where it is for them."""

    folder: Path
    config: Path

    @property
    def served(self) -> Path:
        return self.folder / "served"

    def manifests(self) -> list[dict]:
        """What every version says of itself, oldest first."""
        versions = sorted(int(one.name) for one in self.served.glob("[0-9]*"))
        return [
            json.loads((self.served / str(version) / "graft.json").read_text())
            for version in versions
        ]

    def compile(self, *options: str) -> Path:
        """Compiles the package by the command, in a process of its own."""
        output = self.config.with_suffix(".package.yaml")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pipeline.cli",
                "kubeflow",
                "compile",
                str(self.config),
                "--output",
                str(output),
                "--image",
                IMAGE,
                *options,
            ],
            check=True,
        )
        return output


def write_project(folder: Path, mount: str | None = None, extra: str = "") -> Project:
    """Makes the collection, an untrained base, and the configuration.

    Args:
        folder: made; what pods mount.
        mount: where pods see it. Default: at the same path.
        extra: further lines of the configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_photos(folder / "photos", COLOURS, PHOTOS)
    write_base(folder / "base.keras", SIDE)
    mount = mount or str(folder)
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(
        "name: tiny\n"
        f"data: {{source: {mount}/photos, splits: {{train: 0.7, validation: 0.3}}}}\n"
        f"base: {{path: {mount}/base.keras, preprocessing: rescale_-1_1}}\n"
        f"image: {{size: {SIDE}}}\n"
        "head: {hidden: [16]}\n"
        "train: {epochs: 40, batch_size: 8, learning_rate: 0.01, patience: 40}\n"
        "evaluate: {min_accuracy: 0.5}\n"
        f"push: {{directory: {mount}/served}}\n"
        f"runtime: {{root: {mount}/runs}}\n"
        f"kubeflow: {{volumes: [{{claim: {CLAIM}, path: {mount}}}]}}\n{extra}"
    )
    return Project(folder, config)


def run_locally(folder: Path, base: Path) -> dict:
    """Returns what the same pipeline's run on this machine pushes, as its manifest says."""
    project = write_project(folder)
    shutil.copy(base, project.folder / base.name)  # a saved model's bytes tell its time
    status, summary, _ = graft("run", project.config)
    assert status == 0, summary
    return project.manifests()[-1]
