"""Requests with real photos that TF Serving replays before a version takes requests of its own.

Without them the first clients wait until TensorFlow has put the graph together. Format: a TFRecord
of `PredictionLog`, https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from components import features

FILE = "assets.extra/tf_serving_warmup_requests"
BATCHES = (1, 4)  # photos of a request


def write_requests(model_folder: str, contents: Sequence[bytes]) -> None:
    """Writes requests of one photo and of several to each signature that takes files.

    Args:
        model_folder: of the SavedModel.
        contents: encoded photos, at least one.
    """
    path = Path(model_folder, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in (features.SERVE_BYTES, features.EMBED):
            for count in BATCHES:
                writer.write(_log(signature, contents[:count]))


def read_requests(model_folder: str) -> list[tuple[str, list[bytes]]]:
    """Returns the requests of a model's warm-up file: signature and photos; none without a file."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = Path(model_folder, FILE)
    if not path.is_file():
        return []
    requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        contents = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
        requests.append((request.model_spec.signature_name, contents))
    return requests


def _log(signature: str, contents: Sequence[bytes]) -> bytes:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    # The server fills in its own name of the model; the signature counts.
    request.model_spec.name = "default"
    request.model_spec.signature_name = signature
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(contents), tf.string))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    return log.SerializeToString()
