"""`graft kubeflow …`: the same pipeline on a cluster. TFX is imported only where needed."""

import os
from pathlib import Path

import click

from pipeline.options import configured


@click.group()
def kubeflow() -> None:
    """Compile the pipeline for Kubeflow Pipelines, submit it, schedule it, look at its runs."""


image_option = click.option(
    "--image", metavar="NAME@sha256:DIGEST", help="Image of every stage. Default: kubeflow.image."
)


@kubeflow.command("compile")
@configured
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Write there."
)
@image_option
def compile_(
    config: Path, overrides: tuple[str, ...], as_json: bool, output: Path, image: str | None
) -> None:
    """Write a package that Kubeflow Pipelines runs; needs no cluster, no photos and no base.

    Paths in CONFIG are those in the pods: below the paths of kubeflow.volumes, or gs://.
    """
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.kubeflow import present as texts
    from pipeline.kubeflow.placement import notes
    from pipeline.noise import quiet

    loaded = configuration.load(config, overrides, check_inputs=False)
    image = image or loaded.kubeflow.image
    told = notes(loaded, image)
    with quiet(Path(os.devnull)):
        from pipeline.kubeflow.compiler import compile_package, describe, write_package

        packed = compile_package(loaded, image)
        write_package(packed, output)
        result = {"package": str(output), **describe(packed), "image": image, "notes": told}
    present.show(as_json, result, texts.package_text)
