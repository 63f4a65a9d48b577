"""A server that restates TF Serving's REST and gRPC contract, for the tests of the client.

It loads the folder that was pushed and answers with the paths, JSON and error texts of TensorFlow
Serving's documentation (https://www.tensorflow.org/tfx/serving/api_rest) and sources. The original
binary was never run beside it.
"""

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

BUSY, HTML, SLOW = "busy", "html", "slow"


@dataclass
class Server:
    """A running server.

    Attributes:
        rest: its REST address.
        grpc: its gRPC address.
        faults: what the next requests get instead of an answer, see `BUSY`.
        requests: how many came.
    """

    rest: str
    grpc: str
    faults: list[str] = field(default_factory=list)
    requests: int = 0


class _Models:
    def __init__(self, directory: Path, name: str, labels: dict[str, int]):
        import tensorflow as tf

        self.name, self.labels = name, labels
        self.versions = {
            int(folder.name): tf.saved_model.load(str(folder))
            for folder in directory.iterdir()
            if folder.name.isdecimal()
        }

    def find(self, name: str, version: int | None, label: str | None) -> tuple[int, Any] | str:
        """Returns a version with its model, or TF Serving's words for that there is none."""
        if label is not None:
            if label not in self.labels:
                return f"Unrecognized servable version label: {label}"
            version = self.labels[label]
        if name != self.name:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            return f"Servable not found for request: {wanted}"
        if version is None:
            version = max(self.versions)
        if version not in self.versions:
            return f"Servable not found for request: Specific({name}, {version})"
        return version, self.versions[version]


@contextmanager
def serve(directory: Path, name: str, labels: dict[str, int]) -> Iterator[Server]:
    """Serves the versions of a folder by REST and gRPC until the block ends."""
    from werkzeug.serving import make_server

    models = _Models(directory, name, labels)
    server = Server("", "")
    http = make_server("127.0.0.1", 0, _rest(models, server), threaded=True)
    rpc, port = _start_grpc(models, server)
    server.rest, server.grpc = f"http://127.0.0.1:{http.port}", f"grpc://127.0.0.1:{port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join(10)
        rpc.stop(0)


def _rest(models: _Models, server: Server) -> Any:
    from werkzeug.routing import Map, Rule
    from werkzeug.wrappers import Request, Response

    base = "/v1/models/<name>"
    routes = Map(
        [
            Rule(f"{base}{part}{verb}", endpoint=endpoint, methods=[method])
            for part in ("", "/versions/<int:version>", "/labels/<label>")
            for verb, endpoint, method in (
                (":predict", "predict", "POST"),
                ("", "status", "GET"),
                ("/metadata", "metadata", "GET"),
            )
        ]
    )

    def answer(status: int, body: Any) -> Response:
        return Response(json.dumps(body, indent=4), status, content_type="application/json")

    @Request.application
    def application(request: Request) -> Response:
        server.requests += 1
        if server.faults:
            fault = server.faults.pop(0)
            if fault == HTML:
                return Response("<html><body>Welcome to nginx!</body></html>", 200)
            return answer(503, {"error": "Server overloaded"})
        try:
            endpoint, given = routes.bind_to_environ(request.environ).match()
        except Exception:
            words = f"Malformed request: {request.method} {request.path}"
            return answer(404, {"error": words})
        found = models.find(given["name"], given.get("version"), given.get("label"))
        if isinstance(found, str):
            return answer(404, {"error": found})
        version, model = found
        if endpoint == "status":
            status = {"error_code": "OK", "error_message": ""}
            row = {"version": str(version), "state": "AVAILABLE", "status": status}
            return answer(200, {"model_version_status": [row]})
        if endpoint == "metadata":
            spec = {"name": models.name, "signature_name": "", "version": str(version)}
            names = {name: {} for name in model.signatures}
            metadata = {"signature_def": {"signature_def": names}}
            return answer(200, {"model_spec": spec, "metadata": metadata})
        return answer(*_predict(model, request.get_json(force=True)))

    return application


def _predict(model: Any, body: dict[str, Any]) -> tuple[int, Any]:
    import tensorflow as tf

    name = body.get("signature_name", "serving_default")
    if name not in model.signatures:
        return 400, {"error": f'Serving signature name: "{name}" not found in signature def'}
    instances = body["instances"]
    for place, instance in enumerate(instances):
        for key in instance:
            if key != "image_bytes":
                words = (
                    f"Failed to process element: {place} key: {key} of 'instances' list. Error: "
                    f"Invalid argument: JSON object: does not have named input: {key}"
                )
                return 400, {"error": words}
    contents = [base64.b64decode(one["image_bytes"]["b64"]) for one in instances]
    outputs = model.signatures[name](image_bytes=tf.constant(contents, tf.string))
    columns = {key: _plain(value.numpy()) for key, value in outputs.items()}
    rows = [{key: column[row] for key, column in columns.items()} for row in range(len(instances))]
    # With one output alone a row is its value, not an object.
    if len(columns) == 1:
        rows = [next(iter(row.values())) for row in rows]
    return 200, {"predictions": rows}


def _plain(values: np.ndarray) -> Any:
    if values.dtype == object:
        decoded = [one.decode() for one in values.ravel()]
        return np.array(decoded, object).reshape(values.shape).tolist()
    return values.tolist()


def _start_grpc(models: _Models, server: Server) -> tuple[Any, int]:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:
            server.requests += 1
            if server.faults:
                server.faults.pop(0)
                context.abort(grpc.StatusCode.UNAVAILABLE, "Server overloaded")
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else None
            found = models.find(spec.name, version, spec.version_label or None)
            if isinstance(found, str):
                context.abort(grpc.StatusCode.NOT_FOUND, found)
            number, model = found
            name = spec.signature_name or "serving_default"
            if name not in model.signatures:
                words = f'Serving signature name: "{name}" not found in signature def'
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
            given = {key: tf.constant(tf.make_ndarray(one)) for key, one in request.inputs.items()}
            response = predict_pb2.PredictResponse()
            response.model_spec.name, response.model_spec.version.value = spec.name, number
            for key, value in model.signatures[name](**given).items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return response

    rpc = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), rpc)
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    return rpc, port
