"""Predictions for TFMA from kept features, of a tiny model that was exported as in a run."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import export_models

tf = pytest.importorskip("tensorflow")
tfma = pytest.importorskip("tensorflow_model_analysis")

from components import features  # noqa: E402
from components.evaluator import extraction, photos, slices  # noqa: E402
from components.evaluator.feature_facts import FeatureFacts, write_facts  # noqa: E402
from components.evaluator.photos import BASELINE, CANDIDATE, Labels  # noqa: E402

pytestmark = pytest.mark.e2e

SPACE = "5" * 64


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, transform_output: Any, image_settings: dict[str, Any]
) -> Path:
    """Two models with one base and different heads, `one` and `other`."""
    folder = tmp_path_factory.mktemp("models")
    names = ("one", "other")
    export_models(folder, names, transform_output, image_settings, width=5)
    for name in names:
        write_facts(str(folder / name), FeatureFacts(SPACE, 5))
    return folder


@pytest.fixture
def serialized(examples_file: Path) -> np.ndarray:
    records = tf.data.TFRecordDataset(str(examples_file), compression_type="GZIP")
    return np.array(list(records.as_numpy_iterator()), object)


def predict(cache: Path | None, serialized: np.ndarray, **models: Path) -> Any:
    """Returns the predictions that a batch of extracts gets, and the images that were passed."""
    answers, passed = answer(cache, serialized, **models)
    predictions = [one[tfma.PREDICTIONS_KEY] for one in answers]
    if len(models) > 1:
        return {name: joined([one[name] for one in predictions]) for name in models}, passed
    return joined(predictions), passed


def answer(
    cache: Path | None, serialized: np.ndarray, labels: Labels | None = None, **models: Path
) -> tuple[list[dict[str, Any]], list[int]]:
    """Returns the extracts that become of batches, and the images that were passed."""
    names = [CANDIDATE, BASELINE][: len(models)]
    facts = {
        "cache": {"folder": str(cache), "limit": 10**9} if cache else {},
        "evaluation": tempfile.mkdtemp(),
        "labels": (labels or Labels({name: ["blue", "red"] for name in names})).to_json(),
        "slices": slices.to_json(slices.DEFAULT),
    }
    shared = [
        tfma.default_eval_shared_model(str(path), model_name=name, tags=[tf.saved_model.SERVING])
        for name, path in models.items()
    ]
    photos.write_labels(facts["evaluation"], Labels.from_json(facts["labels"]))
    step = extraction._Answer(shared, facts)
    step.setup()
    passed = []
    for one in step._models.values():
        genuine = one._signatures[features.EMBED]

        def counted(image_bytes: Any, genuine: Any = genuine) -> Any:
            passed.append(len(image_bytes))
            return genuine(image_bytes=image_bytes)

        one._signatures = {**one._signatures, features.EMBED: counted}
    step.start_bundle()
    # TFMA's batches are small; what is given in one order must come back in it.
    parts = [{tfma.INPUT_KEY: part} for part in np.array_split(serialized, 3)]
    answers = [one for part in parts for one in step.process(part)]
    answers += [one.value for one in step.finish_bundle()]
    return [{**one, "evaluation": facts["evaluation"]} for one in answers], passed


def joined(parts: Sequence[Any]) -> dict[str, np.ndarray]:
    """Joins batches, less the column of labels that no model knows."""
    whole = np.concatenate([one[features.PROBABILITIES] for one in parts])
    assert not whole[:, -1].any()
    return {features.PROBABILITIES: whole[:, :-1]}


def served(folder: Path, serialized: np.ndarray) -> np.ndarray:
    serve = tf.saved_model.load(str(folder)).signatures[features.SERVE_EXAMPLES]
    return np.asarray(serve(examples=tf.constant(serialized))[features.PROBABILITIES])


def test_predictions_are_those_of_the_served_model(
    exported: Path, serialized: np.ndarray, tmp_path: Path
) -> None:
    predictions, passed = predict(tmp_path, serialized, candidate=exported / "one")
    np.testing.assert_allclose(
        predictions[features.PROBABILITIES], served(exported / "one", serialized), atol=1e-6
    )
    assert passed == [8]


def test_another_head_passes_only_a_sample_through_the_base(
    exported: Path, serialized: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "VERIFIED", 2)
    predict(tmp_path, serialized, candidate=exported / "one")
    predictions, passed = predict(tmp_path, serialized, candidate=exported / "other")
    np.testing.assert_allclose(
        predictions[features.PROBABILITIES], served(exported / "other", serialized), atol=1e-6
    )
    assert passed == [2]


def test_of_two_models_both_are_asked_on_the_same_features(
    exported: Path, serialized: np.ndarray, tmp_path: Path
) -> None:
    models = {"candidate": exported / "one", "baseline": exported / "other"}
    predictions, _ = predict(tmp_path, serialized, **models)
    for name, folder in models.items():
        np.testing.assert_allclose(
            predictions[name][features.PROBABILITIES], served(folder, serialized), atol=1e-6
        )


def test_features_of_another_base_under_the_same_name_are_noticed(
    exported: Path, serialized: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [
        tf.train.Example.FromString(one).features.feature["image/sha256"].bytes_list.value[0]
        for one in serialized
    ]

    def wrong(wanted: frozenset[bytes]) -> Any:
        rows = np.array(sorted(wanted)).astype("S64")
        yield np.ones((len(rows), 5), np.float32), rows

    extraction.feature_cache.collect(tmp_path, SPACE, np.array(keys).astype("S64"), 5, wrong)
    predictions, _ = predict(tmp_path, serialized, candidate=exported / "one")
    np.testing.assert_allclose(
        predictions[features.PROBABILITIES], served(exported / "one", serialized), atol=1e-6
    )
    assert caplog.records


@pytest.mark.parametrize("reason", ["no note", "no cache", "an earlier version"])
def test_without_kept_features_the_model_is_asked_as_a_server_would(
    reason: str,
    exported: Path,
    serialized: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if reason == "no note":
        monkeypatch.setattr(extraction, "read_facts", lambda path: None)
    if reason == "an earlier version":
        monkeypatch.setattr(features, "CLASSIFY_FEATURES", "none_of_these")
    cache = None if reason == "no cache" else tmp_path / "cache"
    predictions, passed = predict(cache, serialized, candidate=exported / "one")
    np.testing.assert_allclose(
        predictions[features.PROBABILITIES], served(exported / "one", serialized), atol=1e-6
    )
    assert passed == [] and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"space": "a"})])
def test_a_damaged_note_counts_as_none(tmp_path: Path, content: str) -> None:
    from components.evaluator import feature_facts

    path = tmp_path / feature_facts.FACTS_FILE
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert feature_facts.read_facts(str(tmp_path)) is None


def test_what_is_held_back_is_answered_when_there_is_enough(
    exported: Path, serialized: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "HELD", 5)
    predictions, passed = predict(tmp_path, serialized, candidate=exported / "one")
    np.testing.assert_allclose(
        predictions[features.PROBABILITIES], served(exported / "one", serialized), atol=1e-6
    )
    assert passed[0] == 6  # of two parts of three


def test_an_evaluation_never_pushes_out_what_training_keeps(
    exported: Path, serialized: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    genuine = extraction.feature_cache.collect

    def collect(*arguments: Any, **settings: Any) -> Any:
        asked.append(settings["evicts"])
        return genuine(*arguments, **settings)

    monkeypatch.setattr(extraction.feature_cache, "collect", collect)
    predict(tmp_path, serialized, candidate=exported / "one")
    assert asked == [False]


def test_a_batch_is_passed_in_parts_that_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: Sequence[np.ndarray] = list(extraction._split(np.arange(150)))
    assert [len(part) for part in parts] == [64, 64, 22]


def test_the_cache_is_known_after_tfx_has_loaded_the_extractors_anew(tmp_path: Path) -> None:
    from tfx.utils import import_utils

    from components.evaluator import executor
    from components.evaluator.feature_facts import FACTS

    FACTS.update({"evaluation": str(tmp_path)})
    module, _, name = executor.EXTRACTORS.rpartition(".")
    function = import_utils.import_func_from_module(module, name)
    assert function.__globals__["FACTS"] == {"evaluation": str(tmp_path)}
    FACTS.clear()


def test_models_of_different_classes_answer_in_the_classes_of_both(
    exported: Path, serialized: np.ndarray
) -> None:
    labels = Labels({CANDIDATE: ["blue", "red"], BASELINE: ["red", "green"]})
    models = {CANDIDATE: exported / "one", BASELINE: exported / "other"}
    answers, _ = answer(None, serialized, labels, **models)
    [one] = answers
    said = one[tfma.PREDICTIONS_KEY]
    # Columns: blue, red, green, and one for labels that neither knows.
    one_served, other_served = (served(folder, serialized) for folder in models.values())
    expected = np.zeros((len(serialized), 4))
    expected[:, [0, 1]] = one_served
    np.testing.assert_allclose(said[CANDIDATE][features.PROBABILITIES], expected, atol=1e-6)
    expected = np.zeros((len(serialized), 4))
    expected[:, [1, 2]] = other_served
    np.testing.assert_allclose(said[BASELINE][features.PROBABILITIES], expected, atol=1e-6)
    found = photos.read_photos(one["evaluation"])
    assert len(found) == len(serialized) and found.labels == labels
    order = np.argsort(found.probabilities[BASELINE][:, 1])
    np.testing.assert_allclose(
        found.probabilities[BASELINE][order, 1], np.sort(other_served[:, 0]), atol=1e-6
    )


def test_a_label_that_no_model_knows_has_a_column_of_its_own(
    exported: Path, serialized: np.ndarray
) -> None:
    labels = Labels({CANDIDATE: ["blue", "purple"]})
    [one], _ = answer(None, serialized, labels, candidate=exported / "one")
    named = [
        tf.train.Example.FromString(example).features.feature["label"].bytes_list.value[0]
        for example in serialized
    ]
    assert one[tfma.LABELS_KEY].tolist() == [0 if name == b"blue" else 2 for name in named]
    assert {0, 2} == set(one[tfma.LABELS_KEY].tolist())
