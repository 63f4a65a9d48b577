"""One pipeline on tiny images, run as a user runs it, again and again with one thing changed.

The tests share its state and are run in their order, as the days of one pipeline.
"""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from graft_command import SIDE, graft, served_versions, states, write_base, write_photos
from PIL import Image

pytestmark = pytest.mark.e2e

COLOURS = {"blue": (30, 40, 220), "green": (30, 200, 60), "red": (220, 40, 30)}
PHOTOS = 30  # per class
STAGES = [
    "ImageExampleGen",
    "CuratedSchema",
    "StatisticsGen",
    "BaselineStatistics",
    "ExampleValidator",
    "DataGate",
    "Transform",
    "Trainer",
    "Baseline",
    "Evaluator",
    "ModelGate",
    "ServingGate",
    "Pusher",
]
LOOKS_OUTSIDE = {"Baseline", "BaselineStatistics", "Pusher"}  # ask in every run what is served
INGESTION = {"ImageExampleGen", "CuratedSchema", "StatisticsGen", "ExampleValidator", "DataGate"}


def reasons(config):
    _, explained, _ = graft("explain", config)
    return {stage["stage"]: stage["reasons"] for stage in explained["stages"]}


def write_configuration(folder, name="tiny"):
    config = folder / f"{name}.yaml"
    config.write_text(
        f"name: {name}\n"
        "data: {source: photos, splits: {train: 0.7, validation: 0.3}}\n"
        "base: {path: base.keras, preprocessing: rescale_-1_1}\n"
        "head: {hidden: [16]}\n"
        "train: {epochs: 40, batch_size: 8, learning_rate: 0.01, patience: 40}\n"
        "evaluate: {min_accuracy: 0.8}\n"
        f"push: {{directory: served/{name}}}\n"
    )
    return config


def digest_of_folder(folder):
    from components.digests import folder_digest

    return folder_digest(folder)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with photos, a base and a configuration."""
    folder = tmp_path_factory.mktemp("workshop")
    write_photos(folder / "photos", COLOURS, PHOTOS)
    write_base(folder / "base.keras", SIDE)
    return folder


@pytest.fixture(scope="module")
def config(workshop):
    return write_configuration(workshop)


@pytest.fixture(scope="module")
def first(config):
    from components.trainer import signatures

    originals = digest_of_folder(config.parent / "photos")
    trained = []
    genuine = signatures.export
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            signatures, "export", lambda *given: (trained.append(given[0]), genuine(*given))
        )
        status, summary, _ = graft("run", config)
    return {
        "status": status,
        "summary": summary,
        "trained": trained[0],
        "states": states(config),
        "reasons": reasons(config),
        "versions": served_versions(config),
        "untouched": originals == digest_of_folder(config.parent / "photos"),
    }


@pytest.fixture(scope="module")
def second(first, config):
    status, summary, _ = graft("run", config)
    return {"status": status, "summary": summary, "states": states(config)}


def test_the_first_run_pushes_a_model(first):
    assert (first["status"], first["summary"]["outcome"]) == (0, "pushed"), first["summary"]
    assert first["versions"] == [first["summary"]["model_version"]]


def test_the_first_run_runs_every_stage_once(first):
    assert first["states"] == dict.fromkeys(STAGES, "ran")
    assert {name: why for name, why in first["reasons"].items() if name not in LOOKS_OUTSIDE} == {
        name: ["first run"] for name in STAGES if name not in LOOKS_OUTSIDE
    }


def test_the_summary_counts_images_and_classes(first):
    assert first["summary"]["images"] == {
        "accepted": 90,
        "refused": 0,
        "ignored": 0,
        "reasons": {},
    }
    assert first["summary"]["classes"] == {"blue": 30, "green": 30, "red": 30}


def test_colours_are_told_apart(first):
    assert first["summary"]["metrics"]["accuracy"] >= 0.9
    assert sorted(first["summary"]["accuracy_by_label"]) == ["blue", "green", "red"]


def test_the_gate_judges_by_the_validation_split_alone(first, workshop):
    counts = next((workshop / "runs/tiny/artifacts/ImageExampleGen/quarantine").iterdir())
    validation = json.loads((counts / "counts.json").read_text())["splits"]["validation"]
    assert first["summary"]["metrics"]["example_count"] == sum(validation.values())


def test_the_trainer_never_reads_the_validation_split(first, workshop):
    counts = next((workshop / "runs/tiny/artifacts/ImageExampleGen/quarantine").iterdir())
    training = json.loads((counts / "counts.json").read_text())["splits"]["train"]
    record = training_record(workshop)
    assert record["trained_on"] + record["watched"] == sum(training.values())


def test_originals_are_untouched(first):
    assert first["untouched"]


def test_the_resolved_configuration_is_stored_with_the_run(first, config):
    from pipeline.config import load

    stored = config.parent / "runs/tiny/reports" / first["summary"]["run_id"] / "configuration.yaml"
    assert load(stored).resolved() == load(config).resolved()
    assert "size: 16" in stored.read_text()


def test_trainer_evaluator_and_served_model_see_the_same_probabilities(first, config, workshop):
    """The same bytes through the Trainer's model, TFMA's signature and the pushed SavedModel."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from components import features

    artifacts = workshop / "runs/tiny/artifacts"
    photos = [workshop / "photos/red/0.png", workshop / "photos/blue/1.png"]
    contents = tf.constant([photo.read_bytes() for photo in photos])
    graph = next((artifacts / "Transform/transform_graph").iterdir())
    layer = tft.TFTransformOutput(str(graph)).transform_features_layer()
    pixels = layer({"image": contents})["pixels"]
    by_hand = np.asarray(Image.open(photos[0]), np.float32) / 127.5 - 1
    np.testing.assert_allclose(pixels[0], by_hand, atol=1e-6)

    exported = next((artifacts / "Trainer/model").glob("*/Format-Serving"))
    evaluated = tf.saved_model.load(str(exported)).signatures[features.SERVE_EXAMPLES](
        examples=tf.constant([to_example(tf, photo.read_bytes()) for photo in photos])
    )
    pushed = tf.saved_model.load(str(workshop / "served/tiny" / first["versions"][0]))
    served = pushed.signatures[features.SERVE_BYTES](image_bytes=contents)["probabilities"]
    trained = first["trained"]
    np.testing.assert_allclose(trained.head(trained.embedder(pixels)), served, atol=1e-5)
    np.testing.assert_allclose(evaluated["probabilities"], served, atol=1e-5)


def to_example(tf, content):
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    return tf.train.Example(
        features=tf.train.Features(feature={"image": value})
    ).SerializeToString()


def test_the_served_model_answers_without_our_code(first, workshop):
    """Another process, in another folder, loads what was pushed and asks every signature."""
    script = (
        "import sys, json, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "image = tf.constant([open(sys.argv[2], 'rb').read()])\n"
        "answer = model.signatures['serving_default'](image_bytes=image)\n"
        "embedding = model.signatures['embed'](image_bytes=image)['embedding']\n"
        "assert 'components' not in sys.modules\n"
        "print(json.dumps({'label': answer['label'][0].numpy().decode(),"
        " 'labels': [x.decode() for x in answer['labels'][0].numpy()],"
        " 'scores': answer['scores'][0].numpy().tolist(), 'width': embedding.shape[-1],"
        " 'signatures': sorted(model.signatures)}))\n"
    )
    version = workshop / "served/tiny" / first["versions"][0]
    answer = subprocess.run(
        [sys.executable, "-I", "-c", script, version, workshop / "photos/green/3.png"],
        capture_output=True,
        cwd=workshop,
        check=True,
        text=True,
    )
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["label"] == "green"
    assert told["labels"][0] == "green" and sorted(told["labels"]) == ["blue", "green", "red"]
    assert told["scores"] == sorted(told["scores"], reverse=True)
    assert told["width"] == 8
    assert told["signatures"] == [
        "classify_features",
        "embed",
        "serving_default",
        "serving_examples",
        "serving_pixels",
    ]


def test_a_second_run_trains_nothing_and_says_unchanged(first, second):
    assert (second["status"], second["summary"]["outcome"]) == (0, "unchanged")
    assert second["states"] == {
        name: "ran" if name in LOOKS_OUTSIDE else "cached" for name in STAGES
    }
    assert second["summary"]["model_version"] == first["summary"]["model_version"]
    assert second["summary"]["metrics"] == first["summary"]["metrics"]


def test_predict_labels_files_and_names_the_bad_one(first, config, workshop):
    bad = workshop / "bad.png"
    bad.write_text("no image")
    output = workshop / "answers.csv"
    status, _, _ = graft("predict", config, workshop / "photos/red", bad, "--output", output)
    rows = output.read_text().splitlines()
    assert status == 0
    assert rows[0] == "path,label,score,error"
    assert len(rows) == 1 + PHOTOS + 1
    assert sum(",red," in row for row in rows) >= PHOTOS - 3
    assert "not_an_image" in rows[-1]


def test_history_lists_the_runs_and_marks_the_served_one(first, second, config):
    status, told, _ = graft("history", config)
    assert status == 0
    assert [run["outcome"] for run in told["runs"][:2]] == ["pushed", "unchanged"]
    assert told["runs"][0]["served"] and told["served"] == first["versions"][0]


def test_beam_options_are_no_part_of_the_cache(second, config):
    status, summary, _ = graft("run", config, "--set", "runtime.beam_args=[--direct_num_workers=2]")
    assert (status, summary["outcome"]) == (0, "unchanged")
    assert states(config) == second["states"]


def test_a_changed_limit_asks_only_the_gate_again(second, config):
    _, summary, _ = graft("run", config, "--set", "evaluate.min_auc=0.01")
    ran = {name for name, state in states(config).items() if state == "ran"}
    assert ran == {"ModelGate", *LOOKS_OUTSIDE}
    assert summary["outcome"] == "unchanged"
    assert reasons(config)["ModelGate"] == ["evaluate.min_auc changed: none → 0.01"]


def test_another_head_reuses_the_features(second, config, workshop):
    status, summary, _ = graft("run", config, "--set", "head.hidden=[8]", "--set", PERMISSIVE)
    ran = {name for name, state in states(config).items() if state == "ran"}
    assert status == 0
    assert ran == {"Trainer", "Evaluator", "ModelGate", "ServingGate", *LOOKS_OUTSIDE}
    assert any("head.hidden" in reason for reason in reasons(config)["Trainer"])
    assert training_record(workshop)["features"]["computed"] == 0
    assert summary["baseline_metrics"] is not None


PERMISSIVE = "evaluate.max_accuracy_drop=1.0"


def test_the_verdict_is_an_artifact_and_in_the_summary(first):
    verdict = first["summary"]["verdict"]
    assert verdict["passed"] and verdict["words"] == first["summary"]["reason"]
    assert "no served model to compare with" in verdict["words"]
    assert [check["name"] for check in verdict["checks"]] == [
        "min_accuracy",
        "max_model_size",
        "signatures",
        "parity",
        "bad_files",
        "warmup",
        "max_latency",
        "max_memory",
    ]
    assert verdict["latency_ms"]["p99"] >= verdict["latency_ms"]["p50"] > 0
    assert verdict["model_bytes"] > 1000
    assert "are needed" in verdict["notes"][0]


def test_tfmas_figures_are_those_of_the_photos_rows(first, config, workshop):
    from sklearn import metrics

    from components.evaluator.photos import read_photos

    summary = first["summary"]
    folder = workshop / "runs/tiny/artifacts/Evaluator/evaluation"
    photos = read_photos(str(sorted(folder.iterdir(), key=lambda path: int(path.name))[0]))
    said = photos.probabilities["candidate"]
    truth, predicted = photos.label_index, said.argmax(axis=1)
    figures = summary["metrics"]
    assert figures["example_count"] == len(photos)
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "macro_f1": metrics.f1_score(truth, predicted, average="macro"),
        "log_loss": metrics.log_loss(truth, said.astype("float64"), labels=range(said.shape[1])),
        "auc": metrics.roc_auc_score(truth, said, multi_class="ovr"),
    }
    for name, value in expected.items():
        # TFMA's curve has 200 thresholds, its sums are of float32.
        assert figures[name] == pytest.approx(value, abs=0.01 if name == "auc" else 1e-4), name
    for name, figures in summary["slices"].items():
        is_in = photos.is_in(name)
        assert figures["example_count"] == is_in.sum()
        assert figures["accuracy"] == pytest.approx((truth == predicted)[is_in].mean(), abs=1e-6)
    recalls = metrics.recall_score(truth, predicted, average=None)
    found = [summary["per_class"][label]["recall"] for label in photos.labels.union]
    assert found == pytest.approx(list(recalls))


def test_a_model_made_worse_is_refused_with_how_much_and_how_sure(second, config):
    worse = ("--set", "train.epochs=1", "--set", "train.learning_rate=0.000000001")
    status, summary, _ = graft("run", config, *worse, "--set", "evaluate.min_accuracy=0.0")
    assert (status, summary["outcome"], summary["refused_by"]) == (3, "refused", "model")
    compared = summary["verdict"]["comparison"]
    assert compared["difference"] < -0.2 and compared["interval"][1] < 0
    assert compared["broken"] > compared["fixed"] and compared["p_value"] < 0.05
    drop = -compared["difference"]
    assert f"is {drop:.3f} below the served model (95 % interval −" in summary["reason"]
    assert "; worst: " in summary["reason"]
    failed = [check["name"] for check in summary["verdict"]["checks"] if not check["passed"]]
    assert failed[0] == "max_accuracy_drop"
    # The classes that it never predicts have fallen beyond noise.
    assert failed[1:] and all(name.startswith("max_recall_drop.") for name in failed[1:])


def test_a_limit_for_a_class_that_there_is_not_ends_the_run_before_training(second, config):
    before = states(config)
    status, _, error = graft("run", config, "--set", "evaluate.min_recall={blu: 0.5}")
    assert status == 2
    assert "evaluate.min_recall to name a class of the photos. Received: blu." in error
    assert "Did you mean blue?" in error
    assert states(config) == before  # no stage of another run


def test_a_slice_without_photos_is_named_with_the_known_ones(second, config):
    limit = "evaluate.slice_limits=[{slice: format=gif, min_accuracy: 0.5}]"
    status, _, error = graft("run", config, "--set", limit)
    assert status == 2 and "Received: format=gif. Those with photos are: " in error


def training_record(workshop):
    runs = sorted(
        (workshop / "runs/tiny/artifacts/Trainer/model_run").iterdir(), key=lambda p: int(p.name)
    )
    return json.loads((runs[-1] / "training.json").read_text())


def test_a_changed_line_in_transform_runs_it_and_what_follows(second, config, monkeypatch):
    from components import digests

    genuine = digests.code_digest
    monkeypatch.setattr(
        digests,
        "code_digest",
        lambda module: "0" * 64 if "transform" in module else genuine(module),
    )
    graft("run", config, "--set", PERMISSIVE)
    assert {name for name, state in states(config).items() if state == "cached"} == INGESTION
    assert any("own code" in reason for reason in reasons(config)["Transform"])


def test_features_are_made_again_when_the_code_that_makes_them_changes(
    second, config, monkeypatch, workshop
):
    from components import digests

    genuine = digests.code_digest
    changed = ("components.trainer.run", "components.trainer.extraction")
    for place in ("components.digests", "components.trainer.extraction"):
        monkeypatch.setattr(
            f"{place}.code_digest",
            lambda module: "1" * 64 if module in changed else genuine(module),
        )
    graft("run", config, "--set", PERMISSIVE)
    assert states(config)["Trainer"] == "ran"
    features = training_record(workshop)["features"]
    assert (features["reused"], features["computed"]) == (0, sum(features.values()))


def test_the_base_counts_by_content(second, config, workshop):
    elsewhere = workshop / "base.keras"
    before = elsewhere.read_bytes()
    write_other_base(elsewhere)
    graft("run", config, "--set", PERMISSIVE)
    elsewhere.write_bytes(before)
    assert any("base's content" in reason for reason in reasons(config)["Trainer"])
    assert states(config)["Transform"] == "cached"


def write_other_base(path):
    import keras

    model = keras.saving.load_model(path)
    model.set_weights([weight * 1.01 for weight in model.get_weights()])
    model.save(path)


@pytest.fixture(scope="module")
def tuned(second, config, workshop):
    """A run with fine-tuning and a test split."""
    splits = "data.splits={train: 0.5, validation: 0.3, test: 0.2}"
    status, summary, _ = graft(
        "run",
        config,
        *("--set", "fine_tune={layers: 1, epochs: 2}", "--set", splits, "--set", PERMISSIVE),
    )
    return {
        "status": status,
        "summary": summary,
        "record": training_record(workshop),
        "states": states(config),
    }


def test_fine_tuning_trains_the_top_layers_and_still_serves(tuned):
    assert (tuned["status"], tuned["summary"]["outcome"]) == (0, "pushed")
    assert len(tuned["record"]["stages"]["fine_tune"]["curves"]["loss"]) == 2
    assert tuned["summary"]["training"]["kept"] in ("head", "fine_tune")


def test_a_test_split_is_reported_on(tuned):
    assert tuned["states"]["TestEvaluator"] == "ran"
    assert 5 <= tuned["summary"]["test_metrics"]["example_count"] <= 35
    assert 0 <= tuned["summary"]["test_metrics"]["accuracy"] <= 1


def test_a_worse_model_is_refused_and_the_served_one_stays(second, config, workshop):
    before = served_versions(config)
    status, summary, _ = graft(
        "run", config, "--set", "train.epochs=1", "--set", "train.learning_rate=0.0000001"
    )
    assert status == 3
    assert (summary["outcome"], summary["refused_by"]) == ("refused", "model")
    assert summary["reason"].startswith("Refused: accuracy")
    assert served_versions(config) == before


def test_one_byte_changed_is_ingested_again_even_with_size_and_time_kept(config, second, workshop):
    photo = workshop / "photos/red/5.png"
    before, times = photo.read_bytes(), photo.stat()
    changed = bytearray(before)
    changed[-1] ^= 1  # in the checksum of the last chunk, which decoders do not look at
    photo.write_bytes(bytes(changed))
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    graft("run", config, "--set", PERMISSIVE)
    photo.write_bytes(before)
    assert states(config)["ImageExampleGen"] == "ran"
    assert any("photos' content" in reason for reason in reasons(config)["ImageExampleGen"])


def test_a_bad_file_among_good_ones_is_refused_by_name(config, second, workshop):
    bad = workshop / "photos/red/holiday.jpg"
    bad.write_text("this is no photo")
    status, summary, _ = graft("run", config, "--set", PERMISSIVE)
    bad.unlink()
    lines = Path(summary["quarantine"]).read_text().splitlines()
    assert status == 0
    assert summary["images"]["accepted"] == 90
    assert summary["images"]["reasons"] == {"not_an_image": 1}
    assert [json.loads(line)["path"] for line in lines] == ["red/holiday.jpg"]


def test_a_class_may_come_and_go_and_both_are_said(config, second, workshop):
    graft("run", config, "--set", PERMISSIVE)
    (workshop / "photos/red").rename(workshop / "red")
    status, summary, _ = graft("run", config, "--set", PERMISSIVE)
    (workshop / "red").rename(workshop / "photos/red")
    assert (status, summary["outcome"]) == (0, "pushed")
    assert "Classes of the served model that this one does not know: red." in summary["reason"]

    status, summary, _ = graft("run", config, "--set", PERMISSIVE)
    assert (status, summary["outcome"]) == (0, "pushed")
    assert "New classes: red." in summary["reason"]
    assert summary["baseline_metrics"]["accuracy"] < summary["metrics"]["accuracy"]


def test_a_damaged_served_version_is_pushed_again(config, second, workshop):
    graft("run", config, "--set", PERMISSIVE)
    before = served_versions(config)
    (workshop / "served/tiny" / before[-1] / "variables/variables.index").unlink()
    status, summary, _ = graft("run", config, "--set", PERMISSIVE)
    assert (status, summary["outcome"]) == (0, "pushed")
    assert served_versions(config)[-2:] == [before[-1], summary["model_version"]]
    assert states(config)["Trainer"] == "cached"


def test_a_failure_in_the_setup_is_shown_as_the_end_of_it(second, config, monkeypatch):
    from components.errors import InputError
    from pipeline import local, preflight
    from pipeline.config import load

    class Recorder:
        events = []

        def __init__(self, stream):
            pass

        def starting(self, stage):
            self.events.append((stage, "starting"))

        def ended(self, stage, state, seconds):
            self.events.append((stage, state))

    def fails(config):
        raise InputError("bad base")

    monkeypatch.setattr(preflight, "check_base", fails)
    with pytest.raises(InputError, match="bad base"):
        local.run(load(config), Recorder)
    assert Recorder.events == [("setup", "starting"), ("setup", "failed")]


def test_the_served_model_is_not_called_unknown_when_it_is_refused_itself(config, second):
    graft("run", config, "--set", PERMISSIVE)
    status, summary, _ = graft("run", config, "--set", "evaluate.min_accuracy=1.0")
    if summary["metrics"]["accuracy"] < 1.0:
        assert (status, summary["outcome"]) == (3, "refused")
    assert "is not in this pipeline's metadata" not in summary["reason"]


def test_too_many_bad_files_stop_the_run_before_training(config, second, workshop):
    bad = [workshop / f"photos/red/{number}.jpg" for number in range(9)]
    for path in bad:
        path.write_bytes(b"\xff\xd8\xff\xe0 not much of a photo")
    before = served_versions(config)
    status, summary, _ = graft("run", config)
    for path in bad:
        path.unlink()
    assert (status, summary["outcome"], summary["refused_by"]) == (3, "refused", "data")
    assert "data.max_refused" in summary["reason"]
    assert states(config)["DataGate"] == "refused"
    assert "Trainer" not in states(config)
    assert len(Path(summary["quarantine"]).read_text().splitlines()) == 9
    assert served_versions(config) == before


def test_two_runs_at_once_give_one_clear_error(second, config):
    from pipeline.config import load
    from pipeline.lock import run_lock

    with run_lock(load(config).lock_path):
        status, told, _ = graft("run", config)
    assert status == 1
    assert f"held by process {os.getpid()}" in told["error"]


def test_ten_new_photos_compute_ten_features(first, second, config, workshop):
    known = first["summary"]["training"]["features"]["computed"]
    new = [workshop / f"photos/blue/new{number}.png" for number in range(10)]
    for number, path in enumerate(new):
        Image.fromarray(np.full((SIDE, SIDE, 3), (30, 40, 200 + number), np.uint8)).save(path)
    status, summary, _ = graft("run", config, "--set", PERMISSIVE, "--set", "data.leakage=report")
    for path in new:
        path.unlink()
    features = summary["training"]["features"]
    assert status == 0
    # Those that are dealt to validation are not the Trainer's.
    assert 1 <= features["computed"] <= len(new)
    assert features["reused"] == known


@pytest.fixture(scope="module")
def searched(second, config):
    """A run with the tuner, and another one with another learning stage after it."""
    tune = "tune={trials: 3, space: {hidden: [[4], [8]], dropout: [0.0, 0.2]}}"
    runs = []
    for more in ([], ["--set", "fine_tune={layers: 1, epochs: 1}"]):
        _, summary, _ = graft("run", config, "--set", tune, "--set", PERMISSIVE, *more)
        runs.append({"summary": summary, "states": states(config), "reasons": reasons(config)})
    return runs


def test_the_tuner_gives_the_trainer_its_values(searched, workshop):
    first = searched[0]
    assert first["states"]["Tuner"] == first["states"]["Trainer"] == "ran"
    tuned = first["summary"]["training"]["tuned"]
    assert tuned["head.hidden"] in ([4], [8])
    assert tuned["head.dropout"] in (0.0, 0.2)
    assert 0.0001 <= tuned["train.learning_rate"] <= 0.01
    assert first["summary"]["training"]["features"]["computed"] == 0


def test_the_next_run_uses_the_values_that_were_found(searched, workshop):
    first, second_run = searched
    assert second_run["summary"]["training"]["tuned"] == first["summary"]["training"]["tuned"]
    # The same seed finds the same values again, so that only the trial tells where they come from.
    searches = workshop / "runs/tiny/artifacts/Tuner/tuner_results"
    newest = max(searches.iterdir(), key=lambda execution: int(execution.name))
    results = list(newest.rglob("tuner_results.json"))
    assert len(results) == 1
    trials = json.loads(results[0].read_text())
    assert [trial["trial_id"].split("/")[0] for trial in trials] == ["tuning"]


@pytest.fixture(scope="module")
def warm(second, config):
    """Runs with a warm start: on known photos, with nothing changed, and with a new photo."""
    more = ["--set", PERMISSIVE, "--set", "data.leakage=report"]
    graft("run", config, *more)
    told = []
    photo = config.parent / "photos/green/warm.png"
    for new in (False, False, True):
        if new:
            Image.fromarray(np.full((SIDE, SIDE, 3), (30, 180, 70), np.uint8)).save(photo)
        _, summary, _ = graft("run", config, *more, "--set", "train.warm_start=true")
        told.append({"summary": summary, "states": states(config)})
    photo.unlink()
    return told


def test_a_model_that_learned_from_these_very_photos_is_not_started_from(warm):
    assert warm[0]["states"]["WarmStart"] == "ran"
    notes = warm[0]["summary"]["training"]["notes"]
    assert any("learned from these very images" in note for note in notes)


def test_a_warm_start_with_nothing_changed_trains_nothing(warm):
    assert warm[1]["states"]["Trainer"] == "cached"
    assert warm[1]["summary"]["outcome"] == "unchanged"


def test_new_photos_are_trained_on_from_where_the_served_model_ended(warm):
    assert warm[2]["states"]["Trainer"] == "ran"
    assert any("starts from the served" in n for n in warm[2]["summary"]["training"]["notes"])


def test_curves_and_record_stand_in_the_report_of_every_run(first, second, config):
    for run in (first, second):
        report = config.parent / "runs/tiny/reports" / run["summary"]["run_id"]
        assert (report / "curves.svg").is_file()
        assert json.loads((report / "training.json").read_text())["kept"] == "head"


@pytest.fixture(scope="module")
def killed(workshop):
    """A run in a process of its own, killed while it trained."""
    config = write_configuration(workshop, "killed")
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "run", config, "--set", "train.epochs=100000"],
        stderr=stderr,
        stdout=stderr,
    )
    os.close(stderr)
    seen = []
    reader = threading.Thread(target=read_terminal, args=(terminal, seen))
    reader.start()
    wait_for(workshop / "runs/killed/artifacts/Trainer/model_run", process)
    time.sleep(2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    screen = b"".join(seen).decode()
    return {"config": config, "screen": screen, "versions": served_versions(config)}


def read_terminal(terminal, seen):
    """Collects what a terminal shows until its program has ended."""
    with contextlib.suppress(OSError):
        while block := os.read(terminal, 4096):
            seen.append(block)


def test_a_terminal_shows_stages_with_a_clock_and_no_noise(killed):
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", killed["screen"]).split("\n")
    lines = [line.split() for line in shown if line.strip()]
    ended = [line for line in lines if line[0] == "✓"]
    clocks = [line for line in lines if line[0] != "✓"]
    assert [line[1] for line in ended] == ["setup", *(s for s in launch_order() if s != "Trainer")]
    assert {line[2] for line in ended} == {"ran"}
    # Everything else is a spinner, the name of a stage, and its time: nothing that a library says.
    words = {word for line in clocks for word in line if word.isalpha()}
    assert {"setup", "Trainer"} <= words <= {"setup", *STAGES}, words


def launch_order():
    """The stages up to the killed one; the schema needs no photos and comes first."""
    before_training = STAGES[: STAGES.index("Trainer")]
    return ["CuratedSchema", *(stage for stage in before_training if stage != "CuratedSchema")]


def test_a_run_killed_while_training_pushes_nothing(killed):
    assert killed["versions"] == []


def test_the_run_after_a_kill_finishes_the_work(killed):
    config = killed["config"]
    status, summary, _ = graft("run", config)
    assert (status, summary["outcome"]) == (0, "pushed")
    assert {name for name, state in states(config).items() if state == "cached"} == {
        *INGESTION,
        "Transform",
    }
    assert [run["outcome"] for run in graft("history", config)[1]["runs"]] == [
        "interrupted",
        "pushed",
    ]


def test_lost_metadata_begin_anew_beside_the_old_artifacts(killed):
    """Runs last: afterwards nothing of the killed pipeline's history is left."""
    config = killed["config"]
    home = config.parent / "runs/killed"
    served = served_versions(config)[-1]
    (home / "metadata.db").unlink()
    status, summary, _ = graft("run", config)
    assert (status, summary["outcome"]) == (0, "pushed")
    assert (
        f"version {served}, which is served, is not in this pipeline's metadata"
        in (summary["reason"])
    )
    assert [path.name[:27] for path in home.glob("artifacts-*")] == ["artifacts-without-metadata-"]


def test_a_model_that_was_rolled_back_is_not_pushed_again_until_it_is_returned_to(config):
    """After all others, as it changes what is served."""
    other = ("--set", "head.hidden=[8]", "--set", PERMISSIVE, "--set", "evaluate.min_accuracy=0.0")
    graft("run", config)
    _, pushed, _ = graft("run", config, *other, "--set", "evaluate.max_recall_drop=null")
    assert pushed["outcome"] == "pushed", pushed["reason"]
    status, back, _ = graft("rollback", config)
    assert (status, str(back["from"])) == (0, pushed["model_version"])
    photo = config.parent / "photos/red/0.png"
    status, predicted, _ = graft("predict", config, photo)
    assert (status, predicted["predictions"][0]["error"]) == (0, None)
    status, again, _ = graft("run", config, *other, "--set", "evaluate.max_recall_drop=null")
    assert (status, again["outcome"], again["refused_by"]) == (3, "refused", "rollback")
    assert "It was served and rolled back" in again["reason"]
    # It was compared with what is truly served.
    assert again["verdict"]["comparison"] is not None
    assert Path(again["served"]).name == str(back["version"])
    history = graft("history", config)[1]
    assert [one["version"] for one in history["rollbacks"]] == [back["version"]]
    served = [run["model_version"] for run in history["runs"] if run["served"]]
    assert served and set(served) == {str(back["to"])}
    graft("rollback", config, "--to", back["from"])
    _, returned, _ = graft("run", config, *other, "--set", "evaluate.max_recall_drop=null")
    assert returned["outcome"] == "unchanged"


def test_a_folder_behind_a_uri_is_pushed_to_asked_and_verified(second, config):
    folder = config.parent / "served/remote"
    at = ("--set", f"push.directory=file://{folder}")
    status, summary, _ = graft("run", config, *at)
    assert (status, summary["outcome"]) == (0, "pushed"), summary["reason"]
    assert summary["served"] == f"file://{folder}/{summary['model_version']}"
    assert graft("run", config, *at)[1]["outcome"] == "unchanged"
    assert states(config)["Trainer"] == "cached"
    photo = config.parent / "photos/red/0.png"
    _, predicted, _ = graft("predict", config, photo, *at)
    assert predicted["predictions"][0]["error"] is None
    status, verified, _ = graft("verify", f"file://{folder}")
    assert (status, verified["faults"]) == (0, [])
    assert graft("history", config, *at)[1]["served"] == summary["model_version"]
    assert sorted(path.name for path in folder.iterdir()) == [
        summary["model_version"],
        "models.config",
        "statistics",
    ]


def wait_for(path, process, seconds=240):
    deadline = time.time() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before it trained"
        assert time.time() < deadline, f"{path} did not appear"
        time.sleep(0.1)
