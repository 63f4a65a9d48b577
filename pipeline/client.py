"""A client of TF Serving for models that Graft pushed, by REST or gRPC.

    from pipeline.client import Client

    client = Client("http://localhost:8501", "flowers")
    [answer] = client.predict([open("photo.jpg", "rb").read()])
    print(answer["label"], answer["score"])

Contract: https://www.tensorflow.org/tfx/serving/api_rest and TensorFlow Serving's
`prediction_service.proto`.
"""

import base64
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from components.errors import GraftError, InputError
from components.features import SERVE_BYTES

BATCH = 32  # photos a request: base64 of large ones fills the server's limits soon
TRIES = 5
PAUSE = 0.2  # seconds before the second try; doubled before each further one, and varied
DEADLINE = 60.0  # seconds for one request with all its tries
PORTS = {"http": 80, "https": 443, "grpc": 8500}
RETRIED_STATUS = (429, 502, 503, 504)
MOST_BYTES = 256 << 20  # of a gRPC message

Answer = dict[str, Any]


class ServerError(GraftError):
    """The server did not answer, or with an error; says which and what to do."""


class _Busy(Exception):
    """The server may answer a further try."""


class _Transport(Protocol):
    def ask(self, contents: Sequence[bytes], timeout: float) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature for some photos by name, or raises `_Busy`."""


class Client:
    """Asks a server about photos, in batches, again where it is busy.

    Args:
        url: `http://HOST:8501`, `https://…` or `grpc://HOST:8500`.
        model: the name under which the server knows the model.
        version: a version's number; None for the one that the server takes by itself.
        label: a version's label, such as `stable`; not with `version`.
        signature: one of those that take `image_bytes`.
        batch: photos of one request, at least 1.
        deadline: seconds that one request may take, with all its tries.

    Raises:
        InputError: the URL is none of these, or both version and label are given.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = SERVE_BYTES,
        batch: int = BATCH,
        deadline: float = DEADLINE,
    ):
        if version is not None and label is not None:
            raise InputError(
                f"Expected a version or a label. Received: both, {version} and {label}."
            )
        scheme, place = _check_url(url)
        kind = _Grpc if scheme == "grpc" else _Rest
        self._url, self._batch, self._deadline = url, batch, deadline
        self._transport: _Transport = kind(place, model, version, label, signature)

    def predict(self, contents: Sequence[bytes]) -> list[Answer]:
        """Returns what the server says of each photo, in their order.

        Args:
            contents: files as bytes: JPEG, PNG, GIF or BMP.

        Returns:
            The outputs of the signature by name, of `serving_default` `label`, `score`, `labels`,
            `scores`, `probabilities` and `decoded`, which is false for a file that is no image.

        Raises:
            ServerError: the server is down, busy for longer than the deadline, or refuses.
        """
        return [row for batch in _batches(contents, self._batch) for row in _rows(self.ask(batch))]

    def ask(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Returns the outputs for one batch of photos by name, [batch, …]; see `predict`."""
        begun, last = time.monotonic(), ""
        for attempt in range(TRIES):
            left = self._deadline - (time.monotonic() - begun)
            if left <= 0:
                break
            try:
                return self._transport.ask(contents, left)
            except _Busy as error:
                last = str(error)
                # Clients that were refused together must not come back together.
                pause = PAUSE * 2**attempt * random.uniform(0.5, 1.5)
                if attempt + 1 < TRIES:
                    time.sleep(max(0.0, min(pause, left)))
        raise ServerError(
            f"Expected an answer of {self._url} within {self._deadline:g} s. Received: {last}. "
            "Start the server, or look at its log."
        )


class _Rest:
    def __init__(
        self, url: str, model: str, version: int | None, label: str | None, signature: str
    ):
        import requests

        part = "" if version is None else f"/versions/{version}"
        part = part if label is None else f"/labels/{label}"
        self._address = f"{url}/v1/models/{model}{part}:predict"
        self._signature = signature
        self._session = requests.Session()

    def ask(self, contents: Sequence[bytes], timeout: float) -> dict[str, np.ndarray]:
        import requests

        instances = [
            {"image_bytes": {"b64": base64.b64encode(content).decode()}} for content in contents
        ]
        request = {"signature_name": self._signature, "instances": instances}
        try:
            response = self._session.post(self._address, json=request, timeout=timeout)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Busy(f"no answer ({type(error).__name__})") from error
        if response.status_code in RETRIED_STATUS:
            raise _Busy(f"status {response.status_code}: {_said(response)}")
        if response.status_code != 200:
            raise _refused(self._address, response.status_code, _said(response))
        try:
            rows = response.json()["predictions"]
            names = rows[0].keys()
            return {name: np.array([row[name] for row in rows]) for name in names}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise ServerError(
                f"Expected predictions as JSON. Received: {_said(response)!r} from "
                f"{self._address}. Is this TF Serving's REST port, 8501 by default?"
            ) from None


class _Grpc:
    def __init__(
        self, place: str, model: str, version: int | None, label: str | None, signature: str
    ):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        options = [("grpc.max_receive_message_length", MOST_BYTES)]
        options.append(("grpc.max_send_message_length", MOST_BYTES))
        channel = grpc.insecure_channel(place, options)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._place, self._model, self._signature = place, model, signature
        self._version, self._label = version, label

    def ask(self, contents: Sequence[bytes], timeout: float) -> dict[str, np.ndarray]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = self._signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        if self._label is not None:
            request.model_spec.version_label = self._label
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(contents), tf.string))
        try:
            response = self._service.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            code, said = error.code(), str(error.details())
            busy = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            if code in (*busy, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise _Busy(f"{code.name}: {said[:200]}") from error
            raise _refused(f"grpc://{self._place}", code.name, said) from error
        return {name: _to_text(tf.make_ndarray(one)) for name, one in response.outputs.items()}


def _check_url(url: str) -> tuple[str, str]:
    """Returns the scheme, and what the transport is to be given."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in PORTS and parts.hostname and (parts.port or True)
    except ValueError:
        known = False
    if not known:
        raise InputError(
            f"Expected the address of a server: http://HOST:8501, https://HOST or "
            f"grpc://HOST:8500. Received: {url}."
        )
    if parts.scheme == "grpc":
        return "grpc", parts.netloc if parts.port else f"{parts.netloc}:{PORTS['grpc']}"
    return parts.scheme, url.rstrip("/")


def _refused(address: str, status: object, said: str) -> ServerError:
    mends: tuple[tuple[str, str], ...] = (
        ("Servable not found", "Is the model's name right, and has the server loaded a version?"),
        ("signature", "The model lacks it; graft run pushes a new version of an older model."),
        ("label", "Start the server with models.config, which names the labels."),
    )
    mend = next((mend for mark, mend in mends if mark in said), "Look at the server's log.")
    return ServerError(
        f"Expected an answer of {address}. Received: {status}, {first_line_of(said)} {mend}"
    )


def first_line_of(text: str) -> str:
    """Returns the first line of a text, 200 characters at most, ending in a full stop."""
    line = (text.strip().splitlines() or ["nothing"])[0][:200]
    return line if line.endswith(".") else f"{line}."


def _said(response: Any) -> str:
    """Returns the error that a response holds, or the beginning of whatever it is."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200]


def _to_text(values: np.ndarray) -> np.ndarray:
    if values.dtype != object:
        return values
    return np.array([one.decode() for one in values.ravel()], object).reshape(values.shape)


def _batches(contents: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(contents), size):
        yield contents[start : start + size]


def _rows(outputs: dict[str, np.ndarray]) -> Iterator[Answer]:
    columns = {name: values.tolist() for name, values in outputs.items()}
    for row in range(len(next(iter(columns.values())))):
        yield {name: column[row] for name, column in columns.items()}
