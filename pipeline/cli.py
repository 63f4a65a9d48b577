"""The `graft` command: parses, calls, prints. TFX and TensorFlow are imported only where needed.

Readable text goes to standard output, progress and logs to standard error; `--json` prints one JSON
object on standard output instead.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from components.errors import GraftError, RefusedError
from pipeline.kubeflow.commands import kubeflow
from pipeline.options import configured, json_option

REFUSED_STATUS = RefusedError.exit_status
TRACEBACK = "GRAFT_TRACEBACK"


class Group(click.Group):
    """Ends with the exit status of our own errors and one message, without a traceback.

    With `--json` every error is a JSON object on standard output too.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remembers whether JSON is asked for, as a wrong command line must be told in it too."""
        ctx.obj = {"as_json": "--json" in args}
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; see the class."""
        try:
            with unexpected_told():
                return super().invoke(ctx)
        except click.UsageError as error:
            _tell_as_json(ctx, error.format_message(), error.exit_code)
            raise
        except GraftError as error:
            _tell_as_json(ctx, str(error), error.exit_status)
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_status)
        except KeyboardInterrupt:
            _tell_as_json(ctx, "stopped; the next run goes on where this one stopped", 130)
            click.echo("Stopped. The next run goes on where this one stopped.", err=True)
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="graft-tfx", prog_name="graft")
def main() -> None:
    """Production transfer learning for images, as a TFX pipeline.

    Exit status: 0 done; 1 unexpected failure, or another run is under way; 2 wrong configuration or
    command line; 3 the data gate or the model gate refused; 130 stopped with Ctrl-C.
    """
    # Keras 2 behind TensorFlow's back would load another model format; TFX's image sets it.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def unexpected_told() -> Iterator[None]:
    """Turns an error that is not ours into one message; `GRAFT_TRACEBACK=1` shows the rest."""
    try:
        yield
    except (GraftError, click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        raise  # the reader of a pipe, `head` say, has seen enough; click ends quietly
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        raise GraftError(
            f"Expected no failure of Graft itself. Received: {type(error).__name__}: {error}. "
            f"Call it again with {TRACEBACK}=1 and report what it prints."
        ) from error


def _tell_as_json(ctx: click.Context, message: str, exit_status: int) -> None:
    if ctx.obj["as_json"]:
        click.echo(json.dumps({"error": message, "exit_status": exit_status}))


@main.command()
@click.argument("photos")
@click.option(
    "--base",
    metavar="NAME_OR_PATH",
    help="A name that graft bases lists, a .keras file, or the folder of a KerasHub preset or a "
    "SavedModel.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Default: NAME.yaml, here.")
@json_option
def init(photos: str, base: str | None, output: Path | None, as_json: bool) -> None:
    """Look at PHOTOS and write a commented configuration that runs as it is.

    PHOTOS is whatever data.source may be: a folder, a table, an archive, a pattern or a URI.
    """
    from pipeline import present
    from pipeline.init import write_config
    from pipeline.noise import quiet

    with quiet(Path(os.devnull)):
        result = {"config": str(write_config(photos, base, output))}
    present.show(as_json, result, present.init_text)


@main.command()
@click.argument("name", required=False)
@json_option
def bases(name: str | None, as_json: bool) -> None:
    """List the known bases; of NAME its blocks, and the lines for the configuration."""
    from pipeline import bases as known
    from pipeline import present
    from pipeline.noise import quiet

    if name is None:
        present.show(as_json, {"bases": known.list_bases()}, present.bases_text)
        return
    with quiet(Path(os.devnull)):
        result = known.describe_base(name)
    present.show(as_json, result, present.bases_text)


verify_option = click.option(
    "--verify-content",
    is_flag=True,
    help="Read every file again instead of trusting size and times.",
)


@main.command()
@configured
@verify_option
def check(config: Path, overrides: tuple[str, ...], as_json: bool, verify_content: bool) -> None:
    """Scan the data without running, and say whether the data gate would pass.

    Writes a contact sheet, an HTML page with images of every class and what was refused.
    """
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.check import check_data
    from pipeline.noise import quiet

    loaded = configuration.load(config, overrides)
    with quiet(Path(os.devnull)):
        result = check_data(loaded, verify_content=verify_content)
    present.show(as_json, result, present.check_text)
    if not result["passed"]:
        sys.exit(REFUSED_STATUS)


@main.command()
@configured
@verify_option
def run(config: Path, overrides: tuple[str, ...], as_json: bool, verify_content: bool) -> None:
    """Run the whole pipeline on this machine."""
    from pipeline import config as configuration
    from pipeline import local, present

    loaded = configuration.load(config, overrides)
    if verify_content:
        from pipeline.check import forget_stamps

        forget_stamps(loaded)
    summary = local.run(loaded, present.Screen)
    present.show(as_json, summary, present.run_text)
    if summary["outcome"] == local.REFUSED:
        sys.exit(REFUSED_STATUS)


run_option = click.option("--run", "run_id", metavar="ID", help="Default: the last run.")


@main.command()
@configured
@run_option
@click.option(
    "--served", "is_served", is_flag=True, help="Say what the served model was made of instead."
)
def explain(
    config: Path, overrides: tuple[str, ...], as_json: bool, run_id: str | None, is_served: bool
) -> None:
    """Say of every stage of the last run whether it ran or was cached, and why.

    With --served: the run that pushed the served model, its photos, configuration, code, base and
    package versions.
    """
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.explain import explain_run
    from pipeline.history import History

    if run_id and is_served:
        raise click.UsageError("Give --run or --served, not both.")
    loaded = configuration.load(config, overrides, check_inputs=False)
    history = History(loaded.metadata_path)
    if is_served:
        from pipeline.lineage import trace_served

        present.show(as_json, trace_served(loaded, history), present.lineage_text)
        return
    run_id = run_id or history.last_run_id()
    stages = [vars(stage) for stage in explain_run(history, run_id)]
    present.show(as_json, {"run_id": run_id, "stages": stages}, present.explain_text)


@main.command()
@configured
def history(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """List runs, outcomes, metrics and models, and say which model is served."""
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.history import list_runs

    loaded = configuration.load(config, overrides, check_inputs=False)
    present.show(as_json, list_runs(loaded), present.history_text)


@main.command()
@configured
@run_option
@click.option("--open", "is_opened", is_flag=True, help="Show it in the browser.")
def report(
    config: Path, overrides: tuple[str, ...], as_json: bool, run_id: str | None, is_opened: bool
) -> None:
    """Say where the page of a run is: verdict, data, training, evaluation, photos, lineage."""
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.noise import quiet
    from pipeline.report_files import find_report, open_report

    loaded = configuration.load(config, overrides, check_inputs=False)
    with quiet(Path(os.devnull)):
        found = find_report(loaded, run_id)
    present.show(as_json, found, present.report_text)
    if is_opened:
        open_report(found["report"])


@main.command()
@configured
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
def compare(
    config: Path, overrides: tuple[str, ...], as_json: bool, run_a: str, run_b: str
) -> None:
    """Say what differs between two runs: settings, photos, code, figures, verdicts, time.

    RUN_A and RUN_B are ids as `graft history` lists them, `last` or `previous`.
    """
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.compare import compare_runs
    from pipeline.history import History

    loaded = configuration.load(config, overrides, check_inputs=False)
    result = compare_runs(History(loaded.metadata_path), loaded.reports, (run_a, run_b))
    present.show(as_json, result, present.compare_text)


@main.command()
@configured
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/NAME/serving."
)
def serving(config: Path, overrides: tuple[str, ...], as_json: bool, output: Path | None) -> None:
    """Write files to serve the model with: docker run, Compose, Kubernetes, KServe, batching."""
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.serving_files import write_files

    loaded = configuration.load(config, overrides, check_inputs=False)
    present.show(as_json, write_files(loaded, output), present.serving_text)


@main.command()
@configured
@click.option("--to", type=int, metavar="VERSION", help="Default: the last other model.")
def rollback(config: Path, overrides: tuple[str, ...], as_json: bool, to: int | None) -> None:
    """Serve an earlier version again, as a new version on top, which servers take.

    The version is checked file by file first. What was served is not pushed again by a run until a
    rollback returns to it.
    """
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.rollback import roll_back

    loaded = configuration.load(config, overrides, check_inputs=False)
    present.show(as_json, roll_back(loaded, to), present.rollback_text)


@main.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="PEM", help="Public key of the signature."
)
@json_option
def verify(folder: str, key: Path | None, as_json: bool) -> None:
    """Check that a version is, file by file, what was pushed; with --key also who pushed it.

    DIR is a version's folder, or push.directory for the version that is served.
    """
    from components.places import to_place
    from pipeline import present
    from pipeline import rollback as rolling

    result = rolling.verify(to_place(folder), key)
    present.show(as_json, result, present.verify_text)
    if result["faults"]:
        sys.exit(REFUSED_STATUS)


@main.command()
@configured
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE.csv|FILE.jsonl", help="Write there."
)
@click.option(
    "--server",
    metavar="URL",
    help="Ask TF Serving, http://HOST:8501 or grpc://HOST:8500, under the pipeline's name.",
)
def predict(
    config: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    images: tuple[Path, ...],
    output: Path | None,
    server: str | None,
) -> None:
    """Classify IMAGES (files or folders) with the served model, loaded here or on a server."""
    from pipeline import asking, present
    from pipeline import config as configuration
    from pipeline import predict as prediction
    from pipeline.client import Client
    from pipeline.noise import quiet

    loaded = configuration.load(config, overrides, check_inputs=False)
    if output:
        prediction.check_output(output)
    files = asking.find_files(images)
    client, push = Client(server, loaded.name) if server else None, loaded.push
    with quiet(Path(os.devnull)):
        rows = list(prediction.predict(push.directory, files, client, push.signing_key))
    if output:
        prediction.write_rows(rows, output)
    result = {"predictions": rows, "output": str(output) if output else None}
    present.show(as_json, result, present.predict_text)


@main.command()
@configured
@click.argument("source")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.csv|FILE.jsonl|FILE.parquet",
    help="Write there.",
)
def batch(
    config: Path, overrides: tuple[str, ...], as_json: bool, source: str, output: Path
) -> None:
    """Classify any number of photos on Beam, in order, in flat memory.

    SOURCE is a folder, a CSV file with a column path, or TFRecord files by a pattern. Every input
    gets a row, one that is refused with its reason; where none could be read, exit status is 3.
    Called again after it was killed, it goes on where it stopped.
    """
    from pipeline import config as configuration
    from pipeline import present
    from pipeline.noise import quiet

    loaded = configuration.load(config, overrides, check_inputs=False)
    with quiet(Path(os.devnull)):
        from pipeline.batch import predict_all

        result = predict_all(loaded, source, output)
    present.show(as_json, result, present.batch_text)
    if result["refused"] == result["rows"]:
        sys.exit(REFUSED_STATUS)


@main.command()
@configured
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.npy|FILE.csv|FILE.parquet",
    help="Write there; see above.",
)
def embed(
    config: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    photos: tuple[Path, ...],
    output: Path,
) -> None:
    """Write the served model's features of PHOTOS (files or folders), a vector each.

    They are for search, clustering and plots. FILE.npy holds float32 [images, width], and
    FILE.paths.json beside it the paths in the same order; FILE.csv the columns path, f0, f1 and so
    on; FILE.parquet the columns path and embedding. A photo that cannot be read gets no vector and
    is named with its reason.
    """
    from pipeline import asking, present
    from pipeline import config as configuration
    from pipeline import embed as embedding
    from pipeline.noise import quiet

    push = configuration.load(config, overrides, check_inputs=False).push
    embedding.check_output(output)
    files = asking.find_files(photos)
    with quiet(Path(os.devnull)):
        result = embedding.embed(push.directory, files, output, push.signing_key)
    present.show(as_json, result, present.embed_text)


main.add_command(kubeflow)


if __name__ == "__main__":
    main()
