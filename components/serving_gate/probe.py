"""Asks an exported model as a server would: in a process of its own, without any of our code.

Called as `python -I probe.py FOLDER`. The folder holds `request.json`: `model` (a SavedModel's
folder), `signatures` that it must have, `queries` by name (`signature`, `input`, `files` to give as
strings or `array` to give as it is, and `then`, a signature that is given the embedding) and
`timed` (files that are asked one by one). Beside it come the answers, `NAME.npz`, and
`result.json`, which holds `signatures` alone where one is missing.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Answers `request.json` in its folder."""
    import numpy as np
    import tensorflow as tf

    request = json.loads((folder / "request.json").read_text())
    model = tf.saved_model.load(request["model"])
    if not set(request["signatures"]) <= set(model.signatures):
        # What lacks one cannot be asked; the gate tells which.
        (folder / "result.json").write_text(json.dumps({"signatures": sorted(model.signatures)}))
        return
    for name, query in request["queries"].items():
        answer = _ask(model, query, folder)
        np.savez(folder / f"{name}.npz", **{key: _plain(one) for key, one in answer.items()})
    result = {
        "signatures": sorted(model.signatures),
        "seconds": _time(model, [(folder / name).read_bytes() for name in request["timed"]]),
        "peak_mb": _peak_memory(),
        "ours": sorted(name for name in sys.modules if name.split(".")[0] == "components"),
    }
    (folder / "result.json").write_text(json.dumps(result))


def _peak_memory() -> float:
    """Returns the most memory of this process, MB of 10^6 bytes.

    `getrusage` would tell that of the process which started it, where that was more.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _ask(model: Any, query: dict[str, Any], folder: Path) -> dict[str, Any]:
    import numpy as np
    import tensorflow as tf

    if "array" in query:
        given = tf.constant(np.load(folder / query["array"]))
    else:
        contents = [(folder / name).read_bytes() for name in query["files"]]
        given = tf.constant(contents, tf.string)
    answer = model.signatures[query["signature"]](**{query["input"]: given})
    if "then" in query:
        answer = model.signatures[query["then"]](embedding=answer["embedding"])
    return {key: value.numpy() for key, value in answer.items()}


def _plain(values: Any) -> Any:
    """Returns an array that is written without pickle: bytes become text."""
    import numpy as np

    if values.dtype != object:
        return values
    texts = [one.decode("utf-8", "replace") for one in values.ravel().tolist()]
    return np.array(texts, str).reshape(values.shape)


def _time(model: Any, contents: list[bytes]) -> list[float]:
    """Returns the seconds of each request of one file, after one that sets up."""
    import tensorflow as tf

    serve = model.signatures["serving_default"]
    seconds = []
    for content in contents[:1] + contents:
        begun = time.perf_counter()
        serve(image_bytes=tf.constant([content]))
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
