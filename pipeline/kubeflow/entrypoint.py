"""What a stage's container runs on Kubeflow Pipelines: `python -m pipeline.kubeflow.entrypoint`.

TFX's own entry point was written for another backend. This one mends what it is given, lets TFX run
the stage's executor, and mends what it gives back.

The contract, as the backend's driver and launcher have it (kubeflow/pipelines, backend/src/v2):

- `--json_serialized_invocation_args` is an ExecutorInput. An input artifact comes with an empty
  `instanceSchema`, or a type of the backend's own; `--json_serialized_inputs_spec_args` tells it.
- An artifact at `gs://`, `minio://` or `s3://` lies, for the stage, below `/gcs/`, `/minio/` or
  `/s3/`; the launcher fetches and stores it. The output file names the remote URIs again.
- `executor-logs`, an output that the launcher injects and fills itself, is no artifact of TFX's.
- A driver (`--driver_class_path`) is not run by the backend, so it is run here, before the
  executor; what it adds reaches the executor and the output.
- An input whose artifact is marked absent is left out.
- Parameters of the run come beside the stage's own and are put into their places.
- The output file is an ExecutorOutput without null, written whole or not at all. When the stage
  fails there is none, the last line of the log says why, and the exit status is that of the error;
  with `--must_pass` a verdict that has not passed is a failure with exit status 3.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.atomic import write_text
from components.cluster import ABSENT, REMOTE_URI, RUN_ID
from components.errors import GraftError, RefusedError
from pipeline.base_digest import AT_RUN, settle
from pipeline.beam_options import build_flags
from pipeline.kubeflow import parameters

# What stands on TFX's side, private functions among it; a test tells when one of them moves.
RUN_EXECUTOR = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
ENTRYPOINT_UTILS = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils"
COMPILER_UTILS = "tfx.orchestration.kubeflow.v2.compiler_utils"
PRIVATE = (
    (RUN_EXECUTOR, "_run_executor", ("args", "beam_args")),
    (ENTRYPOINT_UTILS, "parse_raw_artifact_dict", ("inputs_dict", "name_from_id")),
    (COMPILER_UTILS, "TITLE_TO_CLASS_PATH", None),
)
OWN_TYPES = {
    "graft.Quarantine": "components.artifacts.Quarantine",
    "graft.Verdict": "components.artifacts.Verdict",
}
LOCAL_ROOTS = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}
INJECTED = "executor-logs"
# What a package adds to TFX's own flags.
DRIVER_FLAG, MUST_PASS_FLAG, PIPELINE_FLAG = "--driver_class_path", "--must_pass", "--pipeline_name"
Json = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one stage; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run_stage(sys.argv[1:] if argv is None else argv)
    except GraftError as error:
        logging.error("%s", error)
        return error.exit_status
    except Exception as error:
        logging.exception("The stage failed.")
        logging.error("%s: %s", type(error).__name__, error)
        return 1
    return 0


def run_stage(argv: Sequence[str]) -> None:
    """Runs one stage; see the module.

    Raises:
        GraftError: our own errors, for the user to mend.
        RefusedError: a verdict that must pass did not.
    """
    options, beam_args = _parse(argv)
    given: Json = json.loads(options.json_serialized_invocation_args)
    spec: Json = json.loads(options.json_serialized_inputs_spec_args or "{}")
    output_file = Path(given["outputs"]["outputFile"])
    uris = dict(_local_uris(given))
    _mend_input(given, spec, uris, options.pipeline_name)
    with tempfile.TemporaryDirectory() as folder:
        # Not at its place until it is whole.
        given["outputs"]["outputFile"] = str(Path(folder, "task", "output.json"))
        if options.driver_class_path:
            _drive(options.driver_class_path, given)
        _run_executor(options, given, build_flags(beam_args))
        written: Json = json.loads(Path(given["outputs"]["outputFile"]).read_text("utf-8"))
    output = mend_output(written, {local: remote for remote, local in uris.items()})
    if options.must_pass:
        _demand_passed(given)
    output_file.parent.mkdir(parents=True, exist_ok=True)
    write_text(output_file, json.dumps(output))


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns TFX's options and ours, and what is left: flags of Beam."""
    parser = argparse.ArgumentParser(prog="pipeline.kubeflow.entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="")
    parser.add_argument(PIPELINE_FLAG, default="")
    parser.add_argument(DRIVER_FLAG, default="")
    parser.add_argument(MUST_PASS_FLAG, action="store_true")
    return parser.parse_known_args(argv)


def to_local(uri: str) -> str:
    """Returns where the launcher puts what lies at a URI; another path as it is."""
    for scheme, root in LOCAL_ROOTS.items():
        if uri.startswith(scheme):
            return root + uri.removeprefix(scheme)
    return uri


def _artifacts(given: Json, side: str) -> Iterator[tuple[str, Json]]:
    for name, listed in given.get(side, {}).get("artifacts", {}).items():
        for artifact in listed.get("artifacts", []):
            yield name, artifact


def _local_uris(given: Json) -> Iterator[tuple[str, str]]:
    for side in ("inputs", "outputs"):
        for _, artifact in _artifacts(given, side):
            yield artifact["uri"], to_local(artifact["uri"])


def _mend_input(given: Json, spec: Json, uris: Mapping[str, str], pipeline_name: str) -> None:
    """Turns an ExecutorInput of the backend's into one that TFX understands."""
    inputs, outputs = given.setdefault("inputs", {}), given["outputs"]
    outputs.get("artifacts", {}).pop(INJECTED, None)
    artifacts = inputs.get("artifacts", {})
    for name, listed in list(artifacts.items()):
        found = listed.get("artifacts", [])
        if not found or any(one.get("metadata", {}).get(ABSENT) for one in found):
            del artifacts[name]
    for name, artifact in _artifacts(given, "inputs"):
        artifact["type"] = spec["artifacts"][name]["artifactType"]
        artifact.setdefault("metadata", {})[REMOTE_URI] = artifact["uri"]
    for side in ("inputs", "outputs"):
        for _, artifact in _artifacts(given, side):
            artifact["uri"] = uris[artifact["uri"]]
            # Object stores know no empty folders, and TFX expects those of its outputs.
            os.makedirs(artifact["uri"], exist_ok=True)
    for _, artifact in _artifacts(given, "outputs"):
        os.environ.setdefault(RUN_ID, run_id(artifact["uri"], pipeline_name))
    values = inputs.setdefault("parameterValues", {})
    parameters.apply(values)
    for name, value in values.items():
        if isinstance(value, str) and AT_RUN in value:
            values[name] = json.dumps(_settled(json.loads(value)))


def run_id(uri: str, pipeline_name: str) -> str:
    """Returns the run's id, which the backend tells in the outputs' URIs alone; empty without."""
    # The last, as the root may hold the name too.
    _, found, rest = uri.rpartition(f"/{pipeline_name}/")
    return rest.partition("/")[0] if found and pipeline_name else ""


def _settled(value: Any) -> Any:
    """Returns JSON with the digests in it that were put off until now."""
    if isinstance(value, str):
        return settle(value)
    if isinstance(value, dict):
        return {name: _settled(one) for name, one in value.items()}
    return [_settled(one) for one in value] if isinstance(value, list) else value


def _drive(class_path: str, given: Json) -> None:
    """Runs a stage's driver and puts what it adds into the ExecutorInput."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils
    from tfx.orchestration.portable import data_types
    from tfx.utils import import_utils

    _register_types()
    message = pipeline_spec_pb2.ExecutorInput()
    json_format.ParseDict(given, message, ignore_unknown_fields=True)
    values = given["inputs"]["parameterValues"]
    driver = import_utils.import_class_by_path(class_path)(None)
    driven = driver.run(
        data_types.ExecutionInfo(
            exec_properties=dict(values),
            input_dict={},
            output_dict=utils.parse_raw_artifact_dict(message.outputs.artifacts, {}),
        )
    )
    for name, value in driven.exec_properties.items():
        values.setdefault(name, getattr(value, value.WhichOneof("value")))
    for name, artifacts in driven.output_artifacts.items():
        listed = given["outputs"]["artifacts"][name]["artifacts"]
        for artifact, added in zip(listed, artifacts.artifacts, strict=True):
            metadata = artifact.setdefault("metadata", {})
            for key, value in added.custom_properties.items():
                metadata[key] = getattr(value, value.WhichOneof("value"))


def _register_types() -> None:
    """Tells TFX where our artifact types are; it knows its own by title alone."""
    from tfx.orchestration.kubeflow.v2 import compiler_utils

    compiler_utils.TITLE_TO_CLASS_PATH.update(OWN_TYPES)


def _run_executor(options: argparse.Namespace, given: Json, beam_args: list[str]) -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    _register_types()
    options.json_serialized_invocation_args = json.dumps(given)
    kubeflow_v2_run_executor._run_executor(options, beam_args)


def mend_output(output: Json, remote: Mapping[str, str]) -> Json:
    """Returns an ExecutorOutput with remote URIs and without null, which the launcher refuses.

    Args:
        output: as TFX wrote it.
        remote: URI by local path; of longer paths that begin so too.
    """
    mended: Json = _mended(output, sorted(remote.items(), key=lambda pair: -len(pair[0])))
    return mended


def _mended(value: Any, remote: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, dict):
        return {key: _mended(one, remote) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_mended(one, remote) for one in value if one is not None]
    if isinstance(value, str):
        for local, uri in remote:
            if value == local or value.startswith(local + "/"):
                return uri + value.removeprefix(local)
    return value


def _demand_passed(given: Json) -> None:
    """Raises `RefusedError` with the verdict's words where a gate's verdict is no."""
    from components.artifacts import read_verdict
    from components.verdict import VERDICT

    (artifact,) = given["outputs"]["artifacts"][VERDICT]["artifacts"]
    verdict = read_verdict(artifact["uri"])
    if not verdict.passed:
        raise RefusedError(verdict.refusal, "data")


if __name__ == "__main__":
    sys.exit(main())
