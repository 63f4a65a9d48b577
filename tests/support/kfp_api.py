"""A server that speaks Kubeflow Pipelines' v2 REST API: its paths, bodies and error bodies.

Bodies are made and read by the models of kfp-server-api, which are generated from the API's own
description; a field that they do not know is refused, as the real server's strict reading does.
Restated from kubeflow/pipelines, backend/api/v2beta1/*.proto and backend/src/apiserver.
"""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import kfp_server_api as api
import yaml
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

ROOT = "/apis/v2beta1"
RULES = Map(
    [
        Rule(f"{ROOT}/healthz", endpoint="healthz", methods=["GET"]),
        Rule(f"{ROOT}/pipelines", endpoint="create_pipeline", methods=["POST"]),
        Rule(f"{ROOT}/pipelines", endpoint="list_pipelines", methods=["GET"]),
        Rule(f"{ROOT}/pipelines/upload_version", endpoint="upload_version", methods=["POST"]),
        Rule(f"{ROOT}/pipelines/<one>/versions", endpoint="list_versions", methods=["GET"]),
        Rule(f"{ROOT}/experiments", endpoint="create_experiment", methods=["POST"]),
        Rule(f"{ROOT}/experiments", endpoint="list_experiments", methods=["GET"]),
        Rule(f"{ROOT}/experiments/<one>", endpoint="get_experiment", methods=["GET"]),
        Rule(f"{ROOT}/runs", endpoint="create_run", methods=["POST"]),
        Rule(f"{ROOT}/runs", endpoint="list_runs", methods=["GET"]),
        Rule(f"{ROOT}/runs/<one>", endpoint="get_run", methods=["GET"]),
        Rule(f"{ROOT}/recurringruns", endpoint="create_recurring_run", methods=["POST"]),
        Rule(f"{ROOT}/recurringruns", endpoint="list_recurring_runs", methods=["GET"]),
        Rule(f"{ROOT}/recurringruns/<one>", endpoint="delete_recurring_run", methods=["DELETE"]),
        Rule(f"{ROOT}/recurringruns/<one>:enable", endpoint="enable", methods=["POST"]),
        Rule(f"{ROOT}/recurringruns/<one>:disable", endpoint="disable", methods=["POST"]),
    ]
)


@dataclass
class Api:
    """The server's state, and what a test sets.

    Attributes:
        token: what `Authorization: Bearer` must hold; None lets everybody in.
        cookie: likewise of the cookie header.
        multi_user: whether it knows namespaces; without that a request with one is refused.
        failures: HTTP statuses that the next requests get, in order, before anything is done.
        delay: seconds before each answer.
        requests: method and path of every request.
    """

    token: str | None = None
    cookie: str | None = None
    multi_user: bool = False
    failures: list[int] = field(default_factory=list)
    delay: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    pipelines: list[Any] = field(default_factory=list)
    versions: list[Any] = field(default_factory=list)
    experiments: list[Any] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)
    recurring: list[Any] = field(default_factory=list)
    host: str = ""

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._client = api.ApiClient()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        self.requests.append((request.method, request.path))
        time.sleep(self.delay)
        try:
            answer = self._answer(request)
        except _Refusal as refusal:
            answer = _error(refusal.status, refusal.message)
        except HTTPException as error:
            answer = Response(error.description, status=error.code, mimetype="text/plain")
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if self.failures:
            raise _Refusal(self.failures.pop(0), "set by the test")
        sent = request.headers.get("Authorization")
        if self.token is not None and sent != f"Bearer {self.token}":
            raise _Refusal(401, "Request header error: there is no user identity header.")
        if self.cookie is not None and request.headers.get("Cookie") != self.cookie:
            raise _Refusal(401, "Request header error: there is no user identity header.")
        namespace = request.args.get("namespace")
        if namespace and not self.multi_user:
            raise _Refusal(400, "In single-user mode, the namespace must be empty.")
        if namespace == "forbidden":
            raise _Refusal(403, "User is not authorized with reason: no access to forbidden")
        endpoint, values = RULES.bind_to_environ(request.environ).match()
        made = getattr(self, f"_{endpoint}")(request, **values)
        return Response(
            json.dumps(self._client.sanitize_for_serialization(made)), mimetype="application/json"
        )

    def _body(self, request: Request, kind: type) -> Any:
        """Reads a body strictly: a field that the model does not have is refused."""
        given = request.get_json()
        unknown = set(given) - set(kind.attribute_map.values())
        if unknown:
            raise _Refusal(400, f"unknown field {unknown}")
        return self._client._ApiClient__deserialize(given, kind)

    def _new(self) -> str:
        return f"id-{next(self._ids)}"

    def _page(self, request: Request, found: list[Any]) -> tuple[list[Any], str | None]:
        start, size = (
            int(request.args.get("page_token") or 0),
            int(request.args.get("page_size") or 20),
        )
        rest = start + size
        return found[start:rest], str(rest) if rest < len(found) else None

    def _healthz(self, request: Request) -> Any:
        return api.V2beta1GetHealthzResponse(multi_user=self.multi_user)

    def _create_pipeline(self, request: Request) -> Any:
        body = self._body(request, api.V2beta1Pipeline)
        if any(one.display_name == body.display_name for one in self.pipelines):
            raise _Refusal(409, f"The name {body.display_name} already exist.")
        body.pipeline_id = self._new()
        self.pipelines.append(body)
        return body

    def _list_pipelines(self, request: Request) -> Any:
        found, token = self._page(request, self.pipelines)
        return api.V2beta1ListPipelinesResponse(pipelines=found, next_page_token=token)

    def _upload_version(self, request: Request) -> Any:
        documents = list(yaml.safe_load_all(request.files["uploadfile"].read()))
        if documents[0].get("schemaVersion") != "2.1.0":
            raise _Refusal(400, "Failed to create a pipeline version: unknown template format")
        version = api.V2beta1PipelineVersion(
            pipeline_id=request.args["pipelineid"],
            pipeline_version_id=self._new(),
            display_name=request.args["name"],
        )
        self.versions.append(version)
        return version

    def _list_versions(self, request: Request, one: str) -> Any:
        found = [version for version in self.versions if version.pipeline_id == one]
        page, token = self._page(request, found)
        return api.V2beta1ListPipelineVersionsResponse(
            pipeline_versions=page, next_page_token=token
        )

    def _create_experiment(self, request: Request) -> Any:
        body = self._body(request, api.V2beta1Experiment)
        body.experiment_id = self._new()
        self.experiments.append(body)
        return body

    def _list_experiments(self, request: Request) -> Any:
        found = self.experiments
        if request.args.get("filter"):
            wanted = json.loads(request.args["filter"])["predicates"][0]
            name = wanted.get("stringValue", wanted.get("string_value"))
            found = [one for one in found if one.display_name == name]
        page, token = self._page(request, found)
        return api.V2beta1ListExperimentsResponse(experiments=page, next_page_token=token)

    def _get_experiment(self, request: Request, one: str) -> Any:
        return self._find(self.experiments, "experiment_id", one)

    def _create_run(self, request: Request) -> Any:
        body = self._body(request, api.V2beta1Run)
        body.run_id, body.state = self._new(), "RUNNING"
        body.created_at = datetime(2026, 1, 1, 0, 0, len(self.runs), tzinfo=timezone.utc)
        self.runs.append(body)
        return body

    def _list_runs(self, request: Request) -> Any:
        wanted = request.args.get("experiment_id")
        found = [one for one in self.runs if wanted in (None, one.experiment_id)]
        if request.args.get("sort_by") == "created_at desc":
            found.sort(key=lambda one: one.created_at, reverse=True)
        page, token = self._page(request, found)
        return api.V2beta1ListRunsResponse(runs=page, next_page_token=token)

    def _get_run(self, request: Request, one: str) -> Any:
        return self._find(self.runs, "run_id", one)

    def _create_recurring_run(self, request: Request) -> Any:
        body = self._body(request, api.V2beta1RecurringRun)
        if len(body.trigger.cron_schedule.cron.split()) not in (1, 6):
            raise _Refusal(400, "invalid cron")
        body.recurring_run_id = self._new()
        body.service_account = body.service_account or "pipeline-runner"
        body.status = "ENABLED" if body.mode == "ENABLE" else "DISABLED"
        self.recurring.append(body)
        return body

    def _list_recurring_runs(self, request: Request) -> Any:
        wanted = request.args.get("experiment_id")
        found = [one for one in self.recurring if wanted in (None, one.experiment_id)]
        page, token = self._page(request, found)
        return api.V2beta1ListRecurringRunsResponse(recurring_runs=page, next_page_token=token)

    def _delete_recurring_run(self, request: Request, one: str) -> Any:
        self.recurring.remove(self._find(self.recurring, "recurring_run_id", one))
        return {}

    def _enable(self, request: Request, one: str) -> Any:
        self._find(self.recurring, "recurring_run_id", one).status = "ENABLED"
        return {}

    def _disable(self, request: Request, one: str) -> Any:
        self._find(self.recurring, "recurring_run_id", one).status = "DISABLED"
        return {}

    def _find(self, among: list[Any], key: str, wanted: str) -> Any:
        for one in among:
            if getattr(one, key) == wanted:
                return one
        raise _Refusal(404, f"{wanted} not found.")


class _Refusal(Exception):
    def __init__(self, status: int, message: str):
        self.status, self.message = status, message


def _error(status: int, message: str) -> Response:
    """Returns an error as grpc-gateway writes it: `google.rpc.Status`."""
    codes = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 503: 14}
    body = {"error": message, "code": codes.get(status, 13), "message": message, "details": []}
    return Response(json.dumps(body), status=status, mimetype="application/json")


@contextmanager
def serve(**given: Any) -> Iterator[Api]:
    """Runs the server on a free port of loopback; see `Api` for what may be given."""
    state = Api(**given)
    server = make_server("127.0.0.1", 0, state, threaded=True)
    state.host = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
