"""The client against a server that restates TF Serving's contract, over an exported model."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_serving
from click.testing import CliRunner
from tiny_model import export_models

from components.errors import InputError
from pipeline import client as module
from pipeline.client import Client, ServerError

tf = pytest.importorskip("tensorflow")
pytest.importorskip("werkzeug")

pytestmark = pytest.mark.e2e

LABELS = ("blue", "<red>")


@pytest.fixture(scope="module")
def directory(
    tmp_path_factory: pytest.TempPathFactory, transform_output: Any, image_settings: dict[str, Any]
) -> Path:
    """Two versions, of different heads."""
    folder = tmp_path_factory.mktemp("served")
    export_models(folder, ("3", "20"), transform_output, image_settings, LABELS)
    return folder


@pytest.fixture(scope="module")
def running(directory: Path) -> Iterator[tf_serving.Server]:
    with tf_serving.serve(directory, "flowers", {"stable": 20, "previous": 3}) as server:
        yield server


@pytest.fixture
def server(running: tf_serving.Server, monkeypatch: pytest.MonkeyPatch) -> tf_serving.Server:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    running.faults.clear()
    running.requests = 0
    return running


def expected(directory: Path, version: int, contents: Sequence[bytes]) -> np.ndarray:
    serve = tf.saved_model.load(str(directory / str(version))).signatures["serving_default"]
    return serve(image_bytes=tf.constant(list(contents)))["probabilities"].numpy()


@pytest.mark.parametrize("way", ["rest", "grpc"])
@pytest.mark.parametrize(
    ("which", "version"), [({}, 20), ({"version": 3}, 3), ({"label": "previous"}, 3)]
)
def test_answers_are_those_of_the_version_in_order(
    server: tf_serving.Server,
    directory: Path,
    photo_contents: Sequence[bytes],
    way: str,
    which: dict[str, Any],
    version: int,
) -> None:
    contents = [*photo_contents[:3], b"no image"]
    client = Client(getattr(server, way), "flowers", batch=2, **which)
    answers = client.predict(contents)
    assert server.requests == 2
    assert [answer["decoded"] for answer in answers] == [True, True, True, False]
    found = np.array([answer["probabilities"] for answer in answers[:3]])
    np.testing.assert_allclose(found, expected(directory, version, contents[:3]), atol=1e-6)
    assert {answer["label"] for answer in answers[:3]} <= set(LABELS)
    assert answers[3]["label"] == ""


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_a_busy_server_is_asked_again(
    server: tf_serving.Server, photo_contents: Sequence[bytes], way: str
) -> None:
    server.faults += [tf_serving.BUSY] * 2
    assert len(Client(getattr(server, way), "flowers").predict(photo_contents[:1])) == 1
    assert server.requests == 3


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_a_server_that_stays_busy_is_given_up_with_what_it_said(
    server: tf_serving.Server, photo_contents: Sequence[bytes], way: str
) -> None:
    server.faults += [tf_serving.BUSY] * 9
    with pytest.raises(ServerError, match=r"within 60 s\. Received: .*Server overloaded"):
        Client(getattr(server, way), "flowers").predict(photo_contents[:1])
    assert server.requests == module.TRIES


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_a_server_that_is_down_is_told(
    server: tf_serving.Server, photo_contents: Sequence[bytes], url: str
) -> None:
    with pytest.raises(ServerError, match=rf"an answer of {url} within 2 s.*Start the server"):
        Client(url, "flowers", deadline=2).predict(photo_contents[:1])


@pytest.mark.parametrize("way", ["rest", "grpc"])
@pytest.mark.parametrize(
    ("name", "which", "told"),
    [
        ("roses", {}, r"Servable not found for request: Latest\(roses\)\. Is the model's name"),
        ("flowers", {"version": 7}, r"Servable not found for request: Specific\(flowers, 7\)\."),
        ("flowers", {"label": "best"}, r"version label: best\. Start the server with models\.conf"),
        ("flowers", {"signature": "own"}, 'Serving signature name: "own" not found'),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words_with_a_mend(
    server: tf_serving.Server,
    photo_contents: Sequence[bytes],
    way: str,
    name: str,
    which: dict[str, Any],
    told: str,
) -> None:
    with pytest.raises(ServerError, match=told):
        Client(getattr(server, way), name, **which).predict(photo_contents[:1])
    assert server.requests == 1


def test_something_else_than_tf_serving_is_told(
    server: tf_serving.Server, photo_contents: Sequence[bytes]
) -> None:
    server.faults.append(tf_serving.HTML)
    with pytest.raises(ServerError, match=r"Welcome to nginx.*Is this TF Serving's REST port"):
        Client(server.rest, "flowers").predict(photo_contents[:1])


@pytest.mark.parametrize(
    "url", ["localhost:8501", "ftp://host", "http://", "flowers", "grpc://h:abc", "http://[::1"]
)
def test_a_wrong_address_is_told(url: str) -> None:
    with pytest.raises(InputError, match=r"Expected the address of a server: http://HOST:8501"):
        Client(url, "flowers")


def test_version_and_label_exclude_each_other() -> None:
    with pytest.raises(InputError, match="both, 3 and stable"):
        Client("http://localhost:8501", "flowers", version=3, label="stable")


def test_the_command_asks_the_server(
    server: tf_serving.Server, photo_contents: Sequence[bytes], tmp_path: Path
) -> None:
    from pipeline.cli import main

    config = tmp_path / "flowers.yaml"
    config.write_text(
        "name: flowers\ndata: {source: photos}\nbase: {name: MobileNetV2, weights: null}\n"
        "push: {directory: nowhere}\n"
    )
    (tmp_path / "a.png").write_bytes(photo_contents[0])
    (tmp_path / "b.png").write_bytes(b"no image")
    photos = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    arguments = ["predict", str(config), *photos, "--server", server.rest, "--json"]
    result = CliRunner().invoke(main, arguments)
    good, bad = json.loads(result.stdout)["predictions"]
    assert good["label"] in LABELS and good["error"] is None
    assert bad["label"] is None and bad["error"].startswith("not_an_image")
    refused = CliRunner().invoke(main, [*arguments[:-3], "--server", "nowhere"])
    assert refused.exit_code == 2


def test_the_request_on_the_page_of_a_run_works_as_it_stands(
    server: tf_serving.Server, photo_contents: Sequence[bytes], tmp_path: Path
) -> None:
    from types import SimpleNamespace

    from pipeline.report import _serving

    push = SimpleNamespace(directory=tmp_path / "served")
    run = SimpleNamespace(config=SimpleNamespace(name="flowers", push=push))
    [line] = [command for title, command in _serving(run) if title == "A request"]
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    # Longer than an argument of a command may be.
    (tmp_path / "PHOTO.jpg").write_bytes(photo_contents[0] + bytes(1 << 20))
    line = line.replace("http://localhost:8501", server.rest)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    [answer] = json.loads(done.stdout)["predictions"]
    assert answer["label"] in LABELS
    assert "| curl " in line
