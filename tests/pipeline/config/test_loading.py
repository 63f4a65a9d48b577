"""Loading a configuration: defaults, paths, the words for what is wrong, and overrides."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from components.evaluator.slices import DEFAULT, Bins, Matching
from pipeline.config import load

# Defaults and paths


def test_only_four_keys_must_be_given_and_the_rest_has_defaults(folder: Path, project: Any) -> None:
    assert load(project.write()).model_dump(mode="json") == {
        "name": "flowers",
        "data": {
            "source": f"{folder}/photos",
            "columns": {"path": "path", "label": "label", "split": "split", "group": "group"},
            "keys": {"image": None, "label": None},
            "splits": {"train": 0.8, "validation": 0.2, "test": None},
            "group": None,
            "leakage": "remove",
            "drift": "report",
            "max_refused": 0.05,
            "max_pixels": 100_000_000,
            "min_size": 1,
            "max_unpacked": 50.0,
            "split_salt": "",
        },
        "base": {
            "name": "MobileNetV2",
            "path": None,
            "preset": None,
            "saved_model": None,
            "weights": "imagenet",
            "preprocessing": None,
        },
        "image": {"size": None, "resize": "stretch"},
        "head": {
            "pooling": "average",
            "hidden": [128],
            "activation": "relu",
            "batch_normalization": False,
            "dropout": 0.2,
            "l2": 0.0,
            "label_smoothing": 0.0,
            "binary": False,
        },
        "train": {
            "epochs": 20,
            "batch_size": 32,
            "learning_rate": 0.001,
            "patience": 3,
            "seed": 0,
            "watch": 0.1,
            "class_weights": "none",
            "augment": "none",
            "augment_copies": 4,
            "cache_limit": 10_000_000_000,
            "cache_dtype": "float32",
            "precision": "float32",
            "xla": False,
            "time_budget": None,
            "warm_start": False,
        },
        "fine_tune": {"layers": 0, "epochs": 5, "learning_rate": 0.00001, "warmup": 0.1},
        "tune": {
            "trials": 0,
            "algorithm": "random",
            "space": {
                "hidden": [[], [128], [256], [512], [256, 128]],
                "dropout": {"min": 0.0, "max": 0.6},
                "learning_rate": {"min": 0.0001, "max": 0.01},
                "fine_tune_layers": [],
            },
            "every_run": False,
        },
        "evaluate": {
            "min_accuracy": 0.6,
            "max_accuracy_drop": 0.0,
            "max_recall_drop": 0.1,
            "require_significance": False,
            "require_comparison": False,
            "min_balanced_accuracy": None,
            "min_auc": None,
            "max_log_loss": None,
            "max_calibration_error": None,
            "min_recall": {},
            "min_precision": {},
            "slices": [],
            "slice_limits": [],
            "max_latency": 1000.0,
            "max_memory": None,
            "max_model_size": 2000.0,
        },
        "push": {
            "directory": f"{folder}/served/flowers",
            "keep": 5,
            "signing_key": None,
            "infra_validator": "none",
            "serving_image": None,
        },
        "runtime": {"root": f"{folder}/runs", "runner": "local", "beam_args": []},
        "kubeflow": {
            "host": None,
            "namespace": "kubeflow",
            "experiment": None,
            "service_account": None,
            "pipeline_root": None,
            "image": None,
            "image_pull_policy": "IfNotPresent",
            "volumes": [],
            "secrets": [],
            "shared_memory": None,
            "resources": {
                "cpu_request": None,
                "cpu_limit": None,
                "memory_request": None,
                "memory_limit": None,
                "accelerator": None,
                "node_selector": {},
                "tolerations": [],
            },
            "stages": {},
        },
    }


@pytest.mark.parametrize("missing", ["name", "data.source", "base", "push.directory"])
def test_each_of_the_four_keys_is_asked_for(project: Any, missing: str) -> None:
    data: dict[str, Any] = {
        "name": "flowers",
        "data": {"source": "photos"},
        "base": {"name": "VGG16"},
        "push": {"directory": "served"},
    }
    section, _, key = missing.rpartition(".")
    del (data[section] if section else data)[key]
    message = project.refusal(project.write(json.dumps(data)))
    assert f"Expected {missing} to be given:" in message
    assert f"Received: no {missing}. Add it, for example {key}: " in message
    assert len(message.splitlines()) == 1


def test_missing_key_is_told_at_the_line_of_its_section(project: Any) -> None:
    message = project.refusal(project.write(project.change("  directory: served/flowers\n", "")))
    assert message == (
        "flowers.yaml, line 6: Expected push.directory to be given: a path or a URI. Received: "
        "no push.directory. Add it, for example directory: served/flowers."
    )


def test_relative_paths_are_relative_to_the_file_also_in_overrides(
    folder: Path, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.write(project.change("photos/", "../elsewhere/./photos"))
    monkeypatch.chdir("/")
    config = load(path, ["push.directory=../served"], check_inputs=False)
    assert config.data.source == str(folder.parent / "elsewhere" / "photos")
    assert config.push.directory == folder.parent / "served"


def test_file_may_be_named_relative_to_the_current_folder(
    folder: Path, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write()
    monkeypatch.chdir(folder)
    assert load("flowers.yaml").data.source == str(folder / "photos")


def test_home_folder_is_expanded(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = load(project.write(), ["push.directory=~/served"])
    assert config.push.directory == Path("/home/someone/served")


def test_absolute_paths_are_kept(project: Any) -> None:
    config = load(project.write(), ["runtime.root=/var/graft"])
    assert config.home == Path("/var/graft/flowers")


def test_the_served_folder_may_be_a_uri_which_is_kept(folder: Path, project: Any) -> None:
    config = load(project.write(), ["push.directory=gs://bucket/served/"])
    assert str(config.push.directory) == "gs://bucket/served"
    assert config.model_dump(mode="json")["push"]["directory"] == "gs://bucket/served"
    again = folder / "again.yaml"
    again.write_text(config.to_yaml())
    assert load(again).push == config.push


def test_the_image_of_the_server_is_that_of_tensorflow_unless_it_is_named(project: Any) -> None:
    path = project.write()
    assert load(path).serving_image == f"tensorflow/serving:{metadata.version('tensorflow')}"
    named = load(path, ["push.serving_image=registry.example:5000/serving:2.16.1"])
    assert named.serving_image == "registry.example:5000/serving:2.16.1"
    assert "Expected push.serving_image to be an image, NAME:TAG or NAME@sha256:DIGEST." in (
        project.refusal(path, "push.serving_image='serving@sha256:12'")
    )


@pytest.mark.parametrize("key", ["push.signing_key", "runtime.root"])
def test_remote_paths_are_refused(project: Any, key: str) -> None:
    assert project.refusal(project.write(), f"{key}=gs://bucket/x") == (
        f"flowers.yaml, --set {key}: Expected {key} to be a path on this machine. Received: "
        f"{key}='gs://bucket/x'. Remote paths are not read yet: copy or mount it here."
    )


def test_empty_path_is_refused_and_not_the_current_folder(project: Any) -> None:
    message = project.refusal(project.write(), 'push.directory=""')
    assert "Expected push.directory to be a path or a URI. Received: push.directory=''." in message


def test_empty_section_has_its_defaults(project: Any) -> None:
    config = load(project.write(project.least + "train:\n  # epochs: 3\nhead:\n"))
    assert (config.train.epochs, config.head.hidden) == (20, (128,))


# Wrong keys and values


@pytest.mark.parametrize(
    ("text", "line", "received", "mend"),
    [
        ("train: {epoch: 5}", 8, "train.epoch=5", "Did you mean train.epochs?"),
        ("trian: {epochs: 5}", 8, "trian={'epochs': 5}", "Did you mean train?"),
        ("fine-tune: {}", 8, "fine-tune={}", "Did you mean fine_tune?"),
        (
            "learning_rate: 0.1",
            8,
            "learning_rate=0.1",
            "Did you mean train.learning_rate or fine_tune.learning_rate or "
            "tune.space.learning_rate?",
        ),
        ("min_acuracy: 0.1", 8, "min_acuracy=0.1", "Did you mean evaluate.min_accuracy?"),
        ("head:\n  seed: 1", 9, "head.seed=1", "Did you mean train.seed?"),
        ("train.epochs: 5", 8, "train.epochs=5", "Did you mean train.epochs?"),
        ("Train: {}", 8, "Train={}", "Did you mean train?"),
        ("runner: local", 8, "runner='local'", "Did you mean runtime.runner?"),
        ("fine_tune: {Epochs: 5}", 8, "fine_tune.Epochs=5", "Did you mean fine_tune.epochs?"),
        (
            "head: {zzz: 1}",
            8,
            "head.zzz=1",
            "The keys in head are pooling, hidden, activation, batch_normalization, dropout, l2, "
            "label_smoothing, binary.",
        ),
    ],
)
def test_unknown_key_is_told_with_its_line_and_the_nearest_one(
    project: Any, text: str, line: int, received: str, mend: str
) -> None:
    message = project.refusal(project.write(project.least + text))
    assert message.startswith(f"flowers.yaml, line {line}: Expected a known key ")
    assert message.endswith(f"Received: the unknown key {received}. {mend}")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epochs", "'20'", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "true", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "20.0", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "0", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "null", "a whole number from 1 to 100000 (epochs)"),
        ("train.epochs", "[20]", "a whole number from 1 to 100000 (epochs)"),
        ("train.patience", "-1", "a whole number from 0 to 100000 (epochs)"),
        ("train.learning_rate", "0", "a number above 0 and at most 10 (per step)"),
        ("train.learning_rate", ".nan", "a number above 0 and at most 10 (per step)"),
        ("train.learning_rate", "false", "a number above 0 and at most 10 (per step)"),
        ("train.watch", "0.51", "a number above 0 and at most 0.5 (share)"),
        ("head.dropout", "1", "a number from 0 to below 1 (share)"),
        ("evaluate.min_accuracy", "1.01", "a number from 0 to 1 (share)"),
        ("evaluate.min_auc", "90", "a number from 0 to 1 (share)"),
        ("evaluate.max_log_loss", "0", "a number above 0 and at most 100 (nats)"),
        ("head.dropout", "-0.1", "a number from 0 to below 1 (share)"),
        ("evaluate.min_accuracy", "60", "a number from 0 to 1 (share)"),
        ("evaluate.max_accuracy_drop", "-0.1", "a number from 0 to 1 (share)"),
        ("image.size", "7", "a whole number from 8 to 2048 (pixels)"),
        ("image.size", "2049", "a whole number from 8 to 2048 (pixels)"),
        ("image.resize", "fit", "one of stretch, crop, pad"),
        ("head.pooling", "mean", "one of average, max"),
        ("runtime.runner", "flink", "one of local"),
        ("data.max_refused", "1.1", "a number from 0 to 1 (share)"),
        ("data.max_pixels", "0", "a whole number from 1 to 10000000000 (pixels)"),
        ("data.min_size", "0", "a whole number from 1 to 4096 (pixels)"),
        ("data.split_salt", "5", "text of up to 100 characters"),
        ("data.source", "5", "a path or a URI"),
        ("data.group", "5", "a regular expression with one group"),
        ("data.leakage", "drop", "one of remove, fail, report"),
        ("data.drift", "remove", "one of report, fail"),
        ("data.max_unpacked", "0", "a number above 0 and at most 1000000 (GiB)"),
        ("data.columns.label", "5", "the name of a column"),
        ("data.keys.image", "[]", "the name of a feature"),
        (
            "data",
            "photos",
            "a section with source, columns, keys, splits, group, leakage, drift, max_re",
        ),
        ("head.hidden", "128", "a list of up to 16 widths, each a whole number from 1 to 65536"),
        ("runtime.beam_args", "--x=1", "a list of flags, each beginning with --"),
        ("base.name", "[VGG16]", "the name of a base"),
        ("base.name", "{VGG16: 1}", "the name of a base"),
        ("base.weights", "3", "imagenet, none or a weights file (.weights.h5, .h5 or .keras)"),
    ],
)
def test_wrong_value_is_told_with_what_is_expected(
    project: Any, key: str, value: str, expected: str
) -> None:
    message = project.refusal(project.write(), f"{key}={value}")
    assert message.startswith(f"flowers.yaml, --set {key}: Expected {key} to be {expected}")
    assert f"Received: {key}=" in message
    assert "Input should" not in message
    assert len(message.splitlines()) == 1


def test_number_in_quotes_is_told_to_be_written_without(project: Any) -> None:
    message = project.refusal(project.write(project.least + "train:\n  seed: 1\n  epochs: '20'\n"))
    assert message == (
        "flowers.yaml, line 10: Expected train.epochs to be a whole number from 1 to 100000 "
        "(epochs). Received: train.epochs='20'. Write it without quotes: epochs: 20."
    )


def test_wrong_item_of_a_list_is_named_by_its_place(project: Any) -> None:
    message = project.refusal(
        project.write(project.least + "head:\n  hidden:\n    - 64\n    - wide\n")
    )
    assert message.startswith("flowers.yaml, line 11: Expected head.hidden to be a list of up to")
    assert "Received: head.hidden.1='wide'." in message


def test_whole_number_is_taken_where_a_number_is_expected(project: Any) -> None:
    config = load(project.write(), ["train.learning_rate=1", "evaluate.min_accuracy=0"])
    assert (config.train.learning_rate, config.evaluate.min_accuracy) == (1.0, 0.0)


@pytest.mark.parametrize("value", ["1e-5", "1E-5", "0.00001", "1.0e-05", ".00001"])
def test_number_with_exponent_is_a_number(project: Any, value: str) -> None:
    config = load(project.write(project.least + f"train: {{learning_rate: {value}}}"))
    assert config.train.learning_rate == 0.00001


def test_words_that_older_yaml_takes_for_booleans_or_dates_are_text(project: Any) -> None:
    for word in ("no", "on", "2024-01-01", "1:30"):
        config = load(project.write(), [f"data.split_salt={word}"])
        assert config.data.split_salt == word


def test_underscores_group_digits(project: Any) -> None:
    assert load(project.write(), ["data.max_pixels=1_000_000"]).data.max_pixels == 1_000_000


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("Flowers", "flowers"),
        ("my flowers", "my-flowers"),
        ("2024-tulips", "tulips"),
        ("a" * 64, "a" * 63),
        ("'rosen\\n'", "rosen-n"),
        ("Blüten_1", "bl-ten-1"),
    ],
)
def test_wrong_name_is_told_with_a_valid_one(project: Any, name: str, valid: str) -> None:
    message = project.refusal(project.write(project.change("name: flowers", f"name: {name}")))
    assert message.startswith(
        "flowers.yaml, line 1: Expected name to be lower case letters, digits and dashes, starting "
        "with a letter, up to 63 characters. Received: name="
    )
    assert message.endswith(f"For example name: {valid}.")
    assert load(project.write(), [f"name={valid}"]).name == valid


def test_name_with_a_line_break_is_refused(project: Any) -> None:
    assert "Expected name to be" in project.refusal(
        project.write(project.change("name: flowers", 'name: "flowers\\n"'))
    )


def test_every_error_has_its_line_in_the_order_of_the_file(project: Any) -> None:
    text = (
        project.change("name: flowers", "name: Flowers")
        + "zzz: 1\ntrain:\n  epochs: 0\n  sead: 1\n"
    )
    lines = project.refusal(project.write(text), "head.dropout=2", "image.size=x").splitlines()
    places = [line.partition(": Expected")[0].removeprefix("flowers.yaml, ") for line in lines]
    assert places == [
        "line 1",
        "line 8",
        "line 10",
        "line 11",
        "--set head.dropout",
        "--set image.size",
    ]


def test_long_values_are_shortened_in_messages(project: Any) -> None:
    message = project.refusal(project.write(), f"image.resize={'x' * 500}")
    assert f"image.resize='{'x' * 78}…. " in message


# Overrides


def test_overrides_replace_values_and_the_last_wins(project: Any) -> None:
    overrides = ["train.epochs=3", "train.epochs=4", "head.hidden=[64, 32]", "name=roses"]
    config = load(project.write(project.least + "train: {seed: 9}"), overrides)
    assert (config.train.epochs, config.train.seed) == (4, 9)
    assert (config.head.hidden, config.name) == ((64, 32), "roses")


def test_override_corrects_a_wrong_value_of_the_file(project: Any) -> None:
    path = project.write(project.change("name: flowers", "name: Flowers"))
    assert load(path, ["name=flowers"]).name == "flowers"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.epochs",
            "Expected --set section.key=value. Received: --set 'train.epochs'. For example: "
            "--set train.epochs=5.",
        ),
        ("=5", "Expected --set section.key=value. Received: --set '=5'. For example"),
        ("train..epochs=5", "Expected --set section.key=value. Received: --set 'train..epochs=5'."),
        (
            "train.epochs.most=5",
            "flowers.yaml, --set train.epochs.most: Expected train.epochs to be a whole number",
        ),
        (
            "name.first=5",
            "--set name.first: Expected name to be a section. Received: name='flowers'.",
        ),
        ("head.hidden=[1", "--set head.hidden, line 1: Expected YAML. Received: "),
        (
            "train.epoch=5",
            "flowers.yaml, --set train.epoch: Expected a known key in train. Received: the unknown "
            "key train.epoch=5. Did you mean train.epochs?",
        ),
        ("train.epochs=", "flowers.yaml, --set train.epochs: Expected train.epochs to be a whole"),
    ],
)
def test_wrong_override_is_told(project: Any, override: str, message: str) -> None:
    assert project.refusal(project.write(), override).startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "received"),
    [
        ("min_recall", "{tulip: 2}", "min_recall.tulip=2"),
        ("slices", "[{property: brigtness, edges: [1]}]", "slices.0.property='brigtness'"),
        ("slices", "[{name: x, path: '('}]", "slices.0.path='('"),
        ("slices", "[{name: x, edges: [1]}]", "slices.0={'name': 'x', 'edges': [1]}"),
        ("slices", "[{property: size, edges: [2, 1]}]", "slices.0={'property': 'size', "),
        ("slice_limits", "[{slice: a, min_acuracy: 1}]", "slice_limits.0.min_acuracy=1"),
        ("slice_limits", "[{slice: a, min_accuracy: 1.5}]", "slice_limits.0.min_accuracy=1.5"),
    ],
)
def test_what_is_wrong_within_a_list_is_named_with_its_place(
    project: Any, key: str, value: str, received: str
) -> None:
    message = project.refusal(project.write(f"{project.least}evaluate: {{{key}: {value}}}"))
    assert f"Expected evaluate.{key} to be a " in message
    assert f"Received: evaluate.{received}" in message


def test_own_slices_join_those_of_every_evaluation(project: Any) -> None:
    text = "evaluate: {slices: [{property: size, edges: [64]}, {name: studio, path: ^studio/}]}"
    config = load(project.write(project.least + text), check_inputs=False)
    assert config.evaluate.all_slices == (
        *DEFAULT,
        Bins("size", (64.0,)),
        Matching("studio", "^studio/"),
    )
    assert "slices" not in config.evaluate.limits.replace("slice_limits", "")
