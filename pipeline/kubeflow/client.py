"""Talks to a Kubeflow Pipelines server: packages, runs and recurring runs; imports no TFX.

All is found by name, so that what was done before is not done twice: a pipeline has the
configuration's name, a version the digest of its package, a recurring run the pipeline's name.
"""

import contextlib
import functools
import hashlib
import io
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import GraftError, InputError
from pipeline.config.kubeflow import Kubeflow

TOKEN, COOKIES = "GRAFT_KFP_TOKEN", "GRAFT_KFP_COOKIES"
CLUSTER_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # as Kubeflow mounts it into pods
TIMEOUT = (10.0, 60.0)  # seconds to connect, and to answer
RETRIES, FIRST_WAIT = 4, 0.5  # attempts after the first, and seconds before it; doubled each time
PAGE = 100
DONE = ("SUCCEEDED", "SKIPPED")
ENDED = (*DONE, "FAILED", "CANCELED")
INSTALL = "Install it: pip install 'graft-tfx[kubeflow]'."


@dataclass(frozen=True)
class Access:
    """How to reach a server and be let in.

    Attributes:
        host: its address; None for the cluster that this process is in, or kubeconfig's.
        token_file: a file with a bearer token; without one `GRAFT_KFP_TOKEN` is taken, then
            cookies of `GRAFT_KFP_COOKIES`, then the service account of the pod.
        ca_file: certificates of authorities, in PEM; the system's by default.
    """

    host: str | None
    token_file: Path | None = None
    ca_file: Path | None = None

    def token(self) -> str | None:
        """Returns the bearer token, or None; raises `InputError` for a file that has none."""
        if self.token_file is None:
            return from_environment(TOKEN)
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(
                f"Expected --token-file to be readable. Received: {self.token_file}: {error}. "
                "Correct the path."
            ) from error
        if not token:
            raise InputError(
                f"Expected a token in --token-file. Received: {self.token_file}, which is empty. "
                "Write a new one into it."
            )
        return token


@dataclass(frozen=True)
class Sent:
    """A package at the server.

    Attributes:
        pipeline_id: of the pipeline of its name.
        version_id: of the version that holds these bytes.
        is_new: whether it was sent just now.
    """

    pipeline_id: str
    version_id: str
    is_new: bool


@dataclass(frozen=True)
class Times:
    """When runs start.

    Attributes:
        cron: as `cron.check_cron` returns it; in the server's time zone.
        max_concurrency: runs at a time, at least 1.
        catch_up: whether every time that was missed in a pause is made up for.
    """

    cron: str
    max_concurrency: int
    catch_up: bool


class Server:
    """A Kubeflow Pipelines API server.

    Args:
        access: how to reach it.
        kubeflow: namespace, experiment and what else runs get.

    Raises:
        InputError: kfp is not installed, or there is no server to find.
        GraftError: the server does not answer.
    """

    def __init__(self, access: Access, kubeflow: Kubeflow):
        self._kubeflow = kubeflow
        self._client = _make_client(access, kubeflow.namespace)
        self.host = str(self._client._existing_config.host)
        health = self._call(_generated(self._client._healthz_api, "healthz_service", "get_healthz"))
        # Only servers for many users know namespaces; others refuse them.
        self._namespace = kubeflow.namespace if health.multi_user else None
        self._client._context_setting["namespace"] = self._namespace or ""

    def send(self, name: str, packed: bytes) -> Sent:
        """Makes a version of the pipeline of that name, unless one holds these bytes already."""
        pipeline_id = self._pipeline(name) or self._create_pipeline(name)
        version = version_name(name, packed)
        for known in self._pages(
            functools.partial(self._client.list_pipeline_versions, pipeline_id),
            "pipeline_versions",
        ):
            if known.display_name == version:
                return Sent(pipeline_id, known.pipeline_version_id, False)
        with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
            file.write(packed)
            file.flush()
            sent = self._make(
                self._client.upload_pipeline_version,
                file.name,
                pipeline_version_name=version,
                pipeline_id=pipeline_id,
            )
        return Sent(pipeline_id, sent.pipeline_version_id, True)

    def start(self, name: str, sent: Sent, parameters: Mapping[str, Any]) -> str:
        """Starts a run; returns its id."""
        run = self._make(
            self._client.run_pipeline,
            experiment_id=self._experiment(name),
            job_name=f"{name} {time.strftime('%Y-%m-%d %H:%M:%S')}",
            pipeline_id=sent.pipeline_id,
            version_id=sent.version_id,
            params=dict(parameters),
            pipeline_root=self._kubeflow.pipeline_root,
            service_account=self._kubeflow.service_account,
        )
        return str(run.run_id)

    def schedule(
        self,
        name: str,
        sent: Sent,
        times: Times,
        parameters: Mapping[str, Any],
    ) -> tuple[str, bool]:
        """Makes the pipeline's recurring run what is asked for; returns its id, and if it changed.

        A server cannot change a recurring run, so another takes its place: it is made without
        running, the old one is deleted, then it may run. At no moment do two of them run.
        """
        experiment = self._experiment(name)
        asked: dict[str, Any] = {
            "version": sent.version_id,
            "cron": times.cron,
            "parameters": dict(parameters),
            "root": self._kubeflow.pipeline_root,
            "max_concurrency": str(times.max_concurrency),
            "no_catchup": not times.catch_up,
            "enabled": True,
            "experiment": experiment,
        }
        if self._kubeflow.service_account:  # otherwise the server fills its own in
            asked["service_account"] = self._kubeflow.service_account
        old = self.recurring(name)
        if len(old) == 1 and asked.items() <= _described(old[0]).items():
            return str(old[0].recurring_run_id), False
        made = self._make(
            self._client.create_recurring_run,
            experiment_id=experiment,
            job_name=name,
            description="by graft kubeflow schedule",
            cron_expression=times.cron,
            max_concurrency=times.max_concurrency,
            no_catchup=not times.catch_up,
            params=dict(parameters),
            pipeline_id=sent.pipeline_id,
            version_id=sent.version_id,
            enabled=False,
            pipeline_root=self._kubeflow.pipeline_root,
            service_account=self._kubeflow.service_account,
        )
        for one in old:
            self._unless_gone(self._client.delete_recurring_run, one.recurring_run_id)
        self._call(self._client.enable_recurring_run, made.recurring_run_id)
        return str(made.recurring_run_id), True

    def recurring(self, name: str) -> list[Any]:
        """Returns the recurring runs of that name, of any experiment; several after a kill."""
        listed = functools.partial(self._client.list_recurring_runs, namespace=self._namespace)
        return [one for one in self._pages(listed, "recurring_runs") if one.display_name == name]

    def schedules(self, name: str) -> list[dict[str, Any]]:
        """Returns `recurring_run_id`, `cron` and `status` of the recurring runs of that name."""
        return [
            {
                "recurring_run_id": one.recurring_run_id,
                "cron": _cron_of(one),
                "status": one.status,
            }
            for one in self.recurring(name)
        ]

    def disable(self, name: str) -> list[str]:
        """Stops the recurring run from starting further runs; returns the ids of what it stopped.

        Raises:
            InputError: there is none.
        """
        return self._each_recurring(name, self._client.disable_recurring_run)

    def delete(self, name: str) -> list[str]:
        """Deletes the recurring run; pipeline, versions and runs stay. Returns the ids.

        Raises:
            InputError: there is none.
        """
        return self._each_recurring(name, self._client.delete_recurring_run)

    def runs(self, name: str, most: int) -> list[dict[str, Any]]:
        """Returns the newest runs of the pipeline in the experiment, newest first."""
        experiment = self._experiment(name, create=False)
        pipeline = self._pipeline(name)
        if experiment is None or pipeline is None:
            return []
        listed = functools.partial(
            self._client.list_runs, experiment_id=experiment, sort_by="created_at desc"
        )
        found = []
        for run in self._pages(listed, "runs"):
            reference = run.pipeline_version_reference
            if not reference or reference.pipeline_id != pipeline:
                continue  # an experiment may hold other pipelines' too
            found.append(_told_run(run))
            if len(found) == most:
                break
        return found

    def wait(self, run_id: str, timeout: float, poll: float = 5.0) -> dict[str, Any]:
        """Waits for a run's end.

        Args:
            run_id: the run's id.
            timeout: seconds.
            poll: seconds from one look to the next.

        Raises:
            InputError: there is no such run.
            GraftError: it has not ended in time.
        """
        until = time.monotonic() + timeout
        while True:
            run = _told_run(self._call(self._client.get_run, run_id))
            if run["state"] in ENDED:
                return run
            if time.monotonic() + poll > until:
                raise GraftError(
                    f"Expected the run to end within {timeout:.0f} s. Received: {run['state']}. It "
                    "goes on; call graft kubeflow wait again, with a longer --timeout."
                )
            time.sleep(poll)

    def _each_recurring(self, name: str, call: Callable[[str], Any]) -> list[str]:
        ids = [str(one.recurring_run_id) for one in self.recurring(name)]
        if not ids:
            raise InputError(
                f"Expected a recurring run named {name}. Received: none at {self.host}. Make one "
                "with graft kubeflow schedule."
            )
        for one in ids:
            self._unless_gone(call, one)
        return ids

    def _pipeline(self, name: str) -> str | None:
        found = [
            one.pipeline_id
            for one in self._pages(
                functools.partial(self._client.list_pipelines, namespace=self._namespace),
                "pipelines",
            )
            if one.display_name == name
        ]
        return found[0] if found else None

    def _create_pipeline(self, name: str) -> str:
        import kfp_server_api

        body = kfp_server_api.V2beta1Pipeline(display_name=name, namespace=self._namespace)
        if hasattr(body, "name"):  # of newer servers
            body.name = name
        create = _generated(self._client._pipelines_api, "pipeline_service", "create_pipeline")
        return str(self._call(create, body).pipeline_id)

    def _experiment(self, name: str, create: bool = True) -> Any:
        """Returns the id of the runs' experiment, which is made where it is missing."""
        wanted = self._kubeflow.experiment or name
        listed = functools.partial(self._client.list_experiments, namespace=self._namespace)
        for one in self._pages(listed, "experiments"):
            if one.display_name == wanted:
                return one.experiment_id
        if not create:
            return None
        made = self._call(self._client.create_experiment, wanted, namespace=self._namespace)
        return made.experiment_id

    def _pages(self, call: Callable[..., Any], field: str) -> Iterator[Any]:
        token = ""
        while True:
            page = self._call(call, page_token=token, page_size=PAGE)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _call(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Calls the server; again, after a wait, where it cannot be reached or is too busy."""
        for attempt in range(RETRIES + 1):
            try:
                return self._once(call, *arguments, **named)
            except _BusyError as busy:
                if attempt == RETRIES:
                    raise GraftError(str(busy)) from busy
                time.sleep(FIRST_WAIT * 2**attempt)

    def _make(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Calls the server to make something; again only where it was surely not made."""
        try:
            return self._once(call, *arguments, **named)
        except _UnreachedError:
            return self._call(call, *arguments, **named)
        except _BusyError as busy:
            raise GraftError(
                f"{busy} It may have been made all the same: see graft kubeflow runs first."
            ) from busy

    def _unless_gone(self, call: Callable[..., Any], identifier: str) -> None:
        """Deletes or stops something; that it is gone already, by an earlier try, is as good."""
        with contextlib.suppress(_MissingError):
            self._call(call, identifier)

    def _once(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with _told(self.host), contextlib.redirect_stdout(sys.stderr):
            return call(*arguments, **named)


def version_name(name: str, packed: bytes) -> str:
    """Returns the name of the version that holds a package."""
    return f"{name}-{hashlib.sha256(packed).hexdigest()[:12]}"


def from_environment(name: str) -> str | None:
    """Returns a secret from the environment, or None; an error never shows it.

    Raises:
        InputError: it holds what no header of HTTP can.
    """
    secret = os.environ.get(name, "").strip()
    if not secret.isprintable():
        raise InputError(
            f"Expected one line in the variable {name}. Received: a line break or other control "
            "characters in it (not shown). Set it again."
        )
    return secret or None


class _BusyError(Exception):
    """What may go away by itself."""


class _UnreachedError(_BusyError):
    """The server got nothing of the request."""


class _MissingError(InputError):
    """What was asked for is not there."""


@contextlib.contextmanager
def _told(host: str | None) -> Iterator[None]:
    """Turns what the client raises into one message."""
    import urllib3
    from kfp_server_api import ApiException

    where = host or "the cluster"
    try:
        yield
    except ApiException as error:
        raise _meaning(error.status, str(error.body or error.reason), where) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        # A time-out of the connection is one of these too.
        unreached = urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError
        raise (_UnreachedError if isinstance(reason, unreached) else _BusyError)(
            f"Expected a Kubeflow Pipelines server at {where}. Received: {_reason(error)}. Check "
            "kubeflow.host, or start: kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888."
        ) from error


def _meaning(status: int, said: str, where: str) -> Exception:
    """Returns the error that an HTTP status stands for, with its mend."""
    received = f"HTTP {status} from {where}: {' '.join(said.split())[:300]}"
    if status == 401:
        return InputError(
            f"Expected to be let in. Received: {received}. The token is missing or has expired: "
            f"put a new one into {TOKEN} or --token-file, or cookies into {COOKIES}."
        )
    if status == 403:
        return InputError(
            f"Expected the right to do this. Received: {received}. Check kubeflow.namespace, and "
            "what the account of the token may do there."
        )
    if status == 404:
        return _MissingError(
            f"Expected it to be there. Received: {received}. Check the id, and that kubeflow.host "
            "is the address of Kubeflow Pipelines 2, without a path of its user interface."
        )
    if status == 409:
        return InputError(
            f"Expected no other of that name. Received: {received}. Call it again; if it stays, "
            "another pipeline in the namespace has the name."
        )
    if status == 400:
        return InputError(f"Expected a valid request. Received: {received}. Correct it.")
    if status in (429, 502, 503, 504):
        return _BusyError(
            f"Expected the server to be ready. Received: {received}. Call it again later."
        )
    return GraftError(f"Expected an answer. Received: {received}. See the server's log.")


def _reason(error: Exception) -> str:
    """Returns the innermost reason of an error of the network, on one line."""
    reason: Any = getattr(error, "reason", None) or error
    # urllib3 begins with the object of the connection.
    return " ".join(str(reason).split()).rpartition(" object at 0x")[2].partition(">: ")[2] or str(
        reason
    )


def _make_client(access: Access, namespace: str) -> Any:
    """Returns kfp's client with our time limits.

    Without host it takes the cluster that this process is in, else kubeconfig's.
    """
    try:
        import kfp.client
    except ImportError as error:
        raise InputError(f"Expected the package kfp. Received: {error}. {INSTALL}") from error
    token, cookies = access.token(), from_environment(COOKIES)
    credentials = None
    if token is None and cookies is None and Path(CLUSTER_TOKEN).exists():
        credentials = kfp.client.ServiceAccountTokenVolumeCredentials(path=CLUSTER_TOKEN)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        client = _quick_client(kfp.client.Client)(
            host=access.host,
            namespace=namespace,
            existing_token=token,
            cookies=cookies,
            credentials=credentials,
            ssl_ca_cert=str(access.ca_file) if access.ca_file else None,
        )
    if client._existing_config.host == "http://localhost" and access.host is None:
        raise InputError(
            "Expected the address of a Kubeflow Pipelines server. Received: no kubeflow.host, no "
            "cluster around this process, and no kubeconfig. Write kubeflow.host or give --host."
        )
    rest = client._run_api.api_client.rest_client
    rest.request = functools.partial(_within_limits, rest.request)
    # Ours waits between attempts; urllib3's own would multiply them.
    rest.pool_manager.connection_pool_kw["retries"] = False
    return client


def _generated(api: Any, service: str, name: str) -> Callable[..., Any]:
    """Returns a generated method, whose name newer clients begin with the service's."""
    found: Callable[..., Any] = getattr(api, name, None) or getattr(api, f"{service}_{name}")
    return found


def _quick_client(kind: type) -> type:
    """Returns kfp's client class, which with a namespace does not ask the server when it is made.

    Nor does it take the namespace that another command left in `~/.config/kfp`.
    """

    class Client(kind):  # type: ignore[misc]
        def _load_context_setting_or_default(self) -> None:
            super()._load_context_setting_or_default()
            self._context_setting["namespace"] = "asked for later"

    return Client


def _within_limits(request: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    named["_request_timeout"] = named.get("_request_timeout") or TIMEOUT
    return request(*arguments, **named)


def _described(recurring: Any) -> dict[str, Any]:
    """Returns of a recurring run what `Server.schedule` asks for."""
    reference, config = recurring.pipeline_version_reference, recurring.runtime_config
    return {
        "version": reference.pipeline_version_id if reference else None,
        "cron": _cron_of(recurring),
        "parameters": dict((config.parameters if config else None) or {}),
        "root": (config.pipeline_root if config else None) or None,
        "service_account": recurring.service_account or None,
        "max_concurrency": str(recurring.max_concurrency),
        "no_catchup": bool(recurring.no_catchup),
        "enabled": recurring.status == "ENABLED",
        "experiment": recurring.experiment_id,
    }


def _cron_of(recurring: Any) -> str | None:
    schedule = recurring.trigger.cron_schedule
    return schedule.cron if schedule else None


def _told_run(run: Any) -> dict[str, Any]:
    error = getattr(run.error, "message", None) if run.error else None
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "state": run.state or "PENDING",
        "created": run.created_at.isoformat() if run.created_at else None,
        "finished": run.finished_at.isoformat() if run.finished_at else None,
        "error": error,
    }
