"""A real export asked by a process that has none of our code."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import export_models

tf = pytest.importorskip("tensorflow")

from components.evaluator.photos import CANDIDATE, Labels, Photos  # noqa: E402
from components.serving_gate.asked import MissingSignatures, ProbeError, ask, choose_photos  # noqa: E402
from components.serving_gate.gate import ServingLimits, check_signatures, judge  # noqa: E402
from components.trainer import warmup  # noqa: E402

LABELS = ["blue", "red"]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    transform_output: Any,
    image_settings: dict[str, Any],
    photo_contents: Sequence[bytes],
) -> Path:
    parent = tmp_path_factory.mktemp("exported")
    folder = parent / "model"
    export_models(parent, ["model"], transform_output, image_settings)
    warmup.write_requests(str(folder), photo_contents)
    return folder


@pytest.fixture(scope="module")
def contents(photo_contents: Sequence[bytes]) -> dict[str, bytes]:
    return {hashlib.sha256(content).hexdigest(): content for content in photo_contents[:4]}


@pytest.fixture(scope="module")
def photos(exported: Path, contents: dict[str, bytes]) -> Photos:
    """What an Evaluator would have found of them."""
    serve = tf.saved_model.load(str(exported)).signatures["serving_default"]
    answers = serve(image_bytes=tf.constant(list(contents.values())))["probabilities"].numpy()
    return Photos(
        labels=Labels({CANDIDATE: LABELS}),
        sha256=list(contents),
        paths=list(contents),
        formats=["png", "png", "jpeg", "png"],
        label_index=np.zeros(len(contents), np.int64),
        properties={},
        slices=[()] * len(contents),
        probabilities={CANDIDATE: answers},
    )


def test_of_every_format_some_photos_are_chosen() -> None:
    formats = ["jpeg"] * 500 + ["png"] * 3 + ["webp"]
    photos = Photos(
        labels=Labels({CANDIDATE: LABELS}),
        sha256=[str(number) for number in range(504)],
        paths=[""] * 504,
        formats=formats,
        label_index=np.zeros(504, np.int64),
        properties={},
        slices=[()] * 504,
        probabilities={},
    )
    chosen = choose_photos(photos)
    assert len(chosen) == len(set(chosen)) == 64
    assert {503, 500, 501, 502} <= set(chosen)


@pytest.mark.e2e
def test_a_model_without_a_signature_is_not_asked_and_the_gate_says_which(
    photos: Photos, contents: dict[str, bytes], tmp_path: Path
) -> None:
    module = tf.Module()
    function = tf.function(lambda image_bytes: {"label": image_bytes})
    serve = function.get_concrete_function(tf.TensorSpec([None], tf.string, "image_bytes"))
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    (tmp_path / "asked").mkdir()
    with pytest.raises(MissingSignatures) as caught:
        ask(str(tmp_path / "model"), photos, contents, tmp_path / "asked")
    assert caught.value.found == ["serving_default"]
    check = check_signatures(caught.value.found)
    assert not check.passed
    assert "lacks the signatures serving_examples, serving_pixels, embed, class" in check.words


@pytest.mark.e2e
def test_what_is_exported_answers_as_it_was_evaluated(
    exported: Path, photos: Photos, contents: dict[str, bytes], tmp_path: Path
) -> None:
    answers = ask(str(exported), photos, contents, tmp_path)
    verdict = judge(answers, ServingLimits())
    assert verdict.passed, verdict.refusal
    assert set(answers.expected) == {"bytes", "bytes, one", "examples", "embedding", "pixels"}
    assert answers.warmed == 4
    assert len(answers.seconds) == 50
    assert 100 < answers.peak_mb < 4000


@pytest.mark.e2e
def test_another_model_than_the_evaluated_one_is_found_out(
    exported: Path, photos: Photos, contents: dict[str, bytes], tmp_path: Path
) -> None:
    other = dict(photos.probabilities)
    other[CANDIDATE] = other[CANDIDATE][:, ::-1]
    answers = ask(
        str(exported),
        Photos(**{**vars(photos), "probabilities": other}),
        contents,
        tmp_path,
    )
    [check] = [check for check in judge(answers, ServingLimits()).checks if not check.passed]
    assert check.name == "parity"


@pytest.mark.e2e
def test_a_model_that_does_not_load_is_told_in_a_line(
    photos: Photos, contents: dict[str, bytes], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"damaged")
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(ProbeError, match="saved_model"):
        ask(str(model), photos, contents, place)


def test_the_warm_up_file_is_read_back_as_it_was_written(
    exported: Path, photo_contents: Sequence[bytes]
) -> None:
    requests = warmup.read_requests(str(exported))
    assert [(name, len(files)) for name, files in requests] == [
        ("serving_default", 1),
        ("serving_default", 4),
        ("embed", 1),
        ("embed", 4),
    ]
    assert requests[1][1] == list(photo_contents[:4])
    assert warmup.read_requests("missing") == []
