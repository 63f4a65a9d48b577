"""`graft kubeflow …`: the same pipeline on a cluster. TFX is imported only where needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from components.errors import InputError
from pipeline.kubeflow import building
from pipeline.kubeflow import present as texts
from pipeline.options import configured, json_option

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.kubeflow.client import Access, Server
    from pipeline.kubeflow.sending import Order


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
    from pipeline.kubeflow.placement import notes
    from pipeline.noise import quiet

    loaded = configuration.load(config, overrides, check_inputs=False)
    if output.is_dir() or output.resolve() == config.resolve():
        raise InputError(
            f"Expected --output to be a file of its own. Received: {output}, which is "
            f"{'a folder' if output.is_dir() else 'the configuration'}. Choose another name."
        )
    image = image or loaded.kubeflow.image
    told = notes(loaded, image)
    with quiet(Path(os.devnull)):
        from pipeline.kubeflow.compiler import compile_package, describe, write_package

        packed = compile_package(loaded, image)
        write_package(packed, output)
        result = {"package": str(output), **describe(packed), "image": image, "notes": told}
    _show(as_json, result, texts.package_text)


def _file_option(name: str, metavar: str, text: str) -> Callable[..., Any]:
    return click.option(name, type=click.Path(path_type=Path), metavar=metavar, help=text)


def reached(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds CONFIG, `--set`, `--json`, and how to reach the server."""
    command = click.option(
        "--host",
        metavar="URL",
        help="Address of the Kubeflow Pipelines API. Default: kubeflow.host.",
    )(command)
    command = _file_option(
        "--token-file",
        "FILE",
        "A file with a bearer token. Default: the variable GRAFT_KFP_TOKEN.",
    )(command)
    command = _file_option("--ca-file", "PEM", "Authorities to trust.")(command)
    return configured(command)


def sending(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what is sent: a package or the image to compile one with, parameters, and a dry run."""
    command = image_option(command)
    command = _file_option(
        "--package",
        "FILE",
        "What graft kubeflow compile wrote. Default: it is compiled now.",
    )(command)
    command = click.option(
        "--parameter",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Override a parameter of the package; may be given again.",
    )(command)
    command = click.option(
        "--dry-run", is_flag=True, help="Print what would be sent, and send nothing."
    )(command)
    return reached(command)


@kubeflow.command()
@sending
def submit(config: Path, overrides: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Send the package, as a new version where it changed, and start a run of it."""
    from pipeline.kubeflow import sending as sends

    order = _order(config, overrides, given)
    _show(as_json, sends.submit(order, given["dry_run"]), texts.submit_text)


@kubeflow.command()
@sending
@click.option(
    "--cron",
    required=True,
    metavar="CRON",
    help='Six fields, seconds first, such as "0 0 2 * * *", or @daily; in the server\'s time zone.',
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1, 10),
    default=1,
    show_default=True,
    help="Runs at a time.",
)
@click.option(
    "--catch-up",
    is_flag=True,
    help="After a pause run once for every time that was missed, not for the last alone.",
)
def schedule(
    config: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    cron: str,
    max_concurrency: int,
    catch_up: bool,
    **given: Any,
) -> None:
    """Run the package again and again; called again it changes the schedule that is there."""
    from pipeline.kubeflow import sending as sends
    from pipeline.kubeflow.client import Times
    from pipeline.kubeflow.cron import check_cron

    times = Times(check_cron(cron), max_concurrency, catch_up)
    order = _order(config, overrides, given)
    _show(as_json, sends.schedule(order, times, given["dry_run"]), texts.schedule_text)


@kubeflow.command()
@reached
@click.option("--last", type=click.IntRange(1, 1000), default=10, show_default=True)
def runs(config: Path, overrides: tuple[str, ...], as_json: bool, last: int, **given: Any) -> None:
    """List the newest runs, and the schedule."""
    loaded, server = _connect(config, overrides, given)
    result = {"runs": server.runs(loaded.name, last), "schedules": server.schedules(loaded.name)}
    _show(as_json, result, texts.runs_text)


@kubeflow.command()
@reached
def disable(config: Path, overrides: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Stop the schedule from starting runs; graft kubeflow schedule starts it again."""
    loaded, server = _connect(config, overrides, given)
    _show(as_json, {"disabled": server.disable(loaded.name)}, texts.ids_text)


@kubeflow.command()
@reached
def delete(config: Path, overrides: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Delete the schedule; the pipeline, its versions and its runs stay."""
    loaded, server = _connect(config, overrides, given)
    _show(as_json, {"deleted": server.delete(loaded.name)}, texts.ids_text)


@kubeflow.command()
@reached
@click.argument("run_id", required=False)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 1e6),
    default=86400,
    show_default=True,
    help="Seconds.",
)
def wait(
    config: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    run_id: str | None,
    timeout: float,
    **given: Any,
) -> None:
    """Wait for a run's end, by default the newest's; the exit status is 1 unless it succeeded."""
    from pipeline.kubeflow.client import DONE

    loaded, server = _connect(config, overrides, given)
    if run_id is None:
        newest = server.runs(loaded.name, 1)
        if not newest:
            raise InputError(
                f"Expected a run of {loaded.name}. Received: none. Start one with graft kubeflow "
                "submit."
            )
        run_id = newest[0]["run_id"]
    result = server.wait(str(run_id), timeout)
    _show(as_json, {"runs": [result], "schedules": []}, texts.runs_text)
    if result["state"] not in DONE:
        sys.exit(1)


@kubeflow.command()
@json_option
@click.option("--tag", required=True, metavar="NAME:TAG", help="Name that the image gets.")
@click.option(
    "--base", required=True, metavar="NAME@sha256:DIGEST", help="Debian 13 (debian:trixie-slim)."
)
@click.option(
    "--accelerator",
    type=click.Choice(building.ACCELERATORS),
    default="cpu",
    show_default=True,
    help="cuda adds NVIDIA's libraries.",
)
@click.option(
    "--engine",
    type=click.Choice(building.ENGINES),
    default="docker",
    show_default=True,
)
@click.option("--run", "is_run", is_flag=True, help="Build it now instead of printing how.")
def image(tag: str, base: str, accelerator: str, engine: str, is_run: bool, as_json: bool) -> None:
    """Print how to build the stages' image, push it and find its digest; with --run build it."""
    building.require_checkout()
    command = building.build_command(tag, base, accelerator, engine, building.revision())
    if is_run:
        building.build(command)
    result = {"commands": building.lines(command, tag), "built": is_run}
    _show(as_json, result, lambda given: "\n".join(given["commands"]) + "\n")


def _show(as_json: bool, result: Mapping[str, Any], text: Callable[[Any], str]) -> None:
    from pipeline import present

    present.show(as_json, result, text)


def _access(loaded: Config, given: Mapping[str, Any]) -> Access:
    from pipeline.kubeflow.client import Access

    return Access(given["host"] or loaded.kubeflow.host, given["token_file"], given["ca_file"])


def _connect(
    config: Path, overrides: tuple[str, ...], given: Mapping[str, Any]
) -> tuple[Config, Server]:
    from pipeline import config as configuration
    from pipeline.kubeflow.client import Server

    loaded = configuration.load(config, overrides, check_inputs=False)
    return loaded, Server(_access(loaded, given), loaded.kubeflow)


def _order(config: Path, overrides: tuple[str, ...], given: Mapping[str, Any]) -> Order:
    from pipeline import config as configuration
    from pipeline.kubeflow import sending as sends

    loaded = configuration.load(config, overrides, check_inputs=False)
    access = _access(loaded, given)
    return sends.make_order(loaded, access, given["package"], given["image"], given["parameters"])
