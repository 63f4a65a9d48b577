"""The search for the best head: which trials are made, what is kept, how it ends."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras_tuner")
keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow_transform")
pytest.importorskip("tfx")

from components.errors import GraftError, InputError  # noqa: E402
from components.trainer import tuned, tuning  # noqa: E402
from components.trainer.tuned import Outcome  # noqa: E402
from components.trainer.tuning import HeadTuner  # noqa: E402

pytestmark = pytest.mark.e2e

SIZE = 8
LABELS = ["blue", "red"]
SPACE: dict[str, Any] = {
    "hidden": [[], [8], [8, 4]],
    "dropout": {"min": 0.0, "max": 0.5},
    "learning_rate": {"min": 0.0001, "max": 0.01},
    "fine_tune_layers": [],
}
FINITE = {"hidden": [[], [8]], "dropout": [0, 0.5], "learning_rate": [0.001]}
TUNE: dict[str, Any] = {"trials": 7, "algorithm": "random", "space": SPACE, "every_run": False}
ALGORITHMS = ["random", "bayesian", "hyperband"]


class Heads:
    """Stands in the place of `HeadTrials`: a trial's loss is that of a formula.

    Attributes:
        made: the values and the epochs of the trials, in their order.
    """

    def __init__(self) -> None:
        self.made: list[tuple[tuple[int, ...], float, float, int | None]] = []
        self.stop_at = math.inf
        self.failing: Callable[[float], bool] = lambda rate: False

    def outcome(self, settings: Mapping[str, Any], epochs: int | None, rivals: Any) -> Outcome:
        if len(self.made) == self.stop_at:
            raise KeyboardInterrupt
        head, rate = settings["head"], settings["train"]["learning_rate"]
        self.made.append((tuple(head["hidden"]), head["dropout"], rate, epochs))
        if self.failing(rate):
            raise GraftError(f"Expected a finite loss. Received: train.learning_rate={rate}.")
        score = 1 + len(head["hidden"]) + head["dropout"] + abs(math.log10(rate) + 3)
        return Outcome(score, course=(score + 1, score))


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> Heads:
    stub = Heads()
    monkeypatch.setattr(tuning, "HeadTrials", lambda prepared: stub)
    return stub


@pytest.fixture
def new_tuner(tmp_path: Path) -> Callable[..., HeadTuner]:
    """Returns a tuner of some settings, whose features are not read by `Heads`."""

    def build(
        tune: Mapping[str, Any] = TUNE,
        seed: int = 0,
        time_budget: float | None = None,
        photos: str = "photos",
        labels: list[str] = LABELS,
        cache: str = "cache",
    ) -> HeadTuner:
        settings = {
            "base": {"path": "base.keras"},
            "image": {"size": SIZE},
            "head": {"pooling": "average", "hidden": [128], "dropout": 0.2},
            "train": {
                "epochs": 9,
                "seed": seed,
                "learning_rate": 0.1,
                "time_budget": time_budget,
            },
            "fine_tune": {"layers": 0, "epochs": 5},
            "base_sha256": "base",
            "transform_sha256": "transform",
            "code_sha256": "code",
            "cache": str(tmp_path / cache),
        }
        index = SimpleNamespace(keys=np.array([photos], "S64"), label_index=np.array([0]))
        prepared: Any = SimpleNamespace(index=index, watched=np.array([True]), base=None)
        return HeadTuner(settings, tune, labels, lambda: prepared, tmp_path / "work")

    return build


def results(tuner: HeadTuner) -> list[tuple[Any, ...]]:
    """Returns what TFX lists: (trial_id, score, values) from the best on."""
    trials = tuner.oracle.get_best_trials(tuner.oracle.max_trials)
    return [
        (one.trial_id, one.score, dict(one.hyperparameters.values))
        for one in trials
        if one.status == "COMPLETED"
    ]


def best(tuner: HeadTuner) -> dict[str, Any]:
    values: dict[str, Any] = tuner.get_best_hyperparameters()[0].get_config()["values"]
    return values


# Which trials are made


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_search_makes_its_trials_and_finds_the_best(
    new_tuner: Any, heads: Heads, algorithm: str
) -> None:
    tuner = new_tuner({**TUNE, "trials": 40 if algorithm == "hyperband" else 7}, seed=3)
    tuner.search()
    found = results(tuner)
    assert len(found) == (40 if algorithm == "hyperband" else 7)
    assert best(tuner) == found[0][2]
    assert found[0][1] == min(score for _, score, _ in found)
    for hidden, dropout, rate, _ in heads.made:
        assert list(hidden) in SPACE["hidden"]
        assert 0 <= dropout <= 0.5
        assert 0.0001 <= rate <= 0.01


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_seed_makes_the_same_search(
    new_tuner: Any, heads: Heads, algorithm: str, seed: int
) -> None:
    tune = {**TUNE, "algorithm": algorithm, "every_run": True, "trials": 11}
    tuners = [new_tuner(tune, seed=seed) for _ in range(2)]
    for tuner in tuners:
        tuner.search()
    assert results(tuners[0]) == results(tuners[1])


def test_another_seed_makes_another_search(new_tuner: Any, heads: Heads) -> None:
    first, second = new_tuner(seed=0), new_tuner(seed=1)
    first.search()
    second.search()
    assert results(first) != results(second)


def test_hyperband_gives_short_trials_first_and_no_more_epochs_than_asked(
    new_tuner: Any, heads: Heads
) -> None:
    new_tuner({**TUNE, "algorithm": "hyperband", "trials": 30}).search()
    epochs = [one[3] for one in heads.made]
    assert epochs[0] == 1
    assert max(map(int, epochs)) == 9  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_combination_of_a_small_space_is_tried_once(
    new_tuner: Any, heads: Heads, algorithm: str
) -> None:
    new_tuner(
        {**TUNE, "algorithm": algorithm, "space": {**FINITE, "fine_tune_layers": []}, "trials": 9}
    ).search()
    assert sorted(heads.made) == [
        ((), 0.0, 0.001, None),
        ((), 0.5, 0.001, None),
        ((8,), 0.0, 0.001, None),
        ((8,), 0.5, 0.001, None),
    ]


def test_the_learning_rate_is_drawn_by_its_logarithm(new_tuner: Any, heads: Heads) -> None:
    space = {**SPACE, "learning_rate": {"min": 1e-6, "max": 1e-2}}
    new_tuner({**TUNE, "space": space, "trials": 60}).search()
    rates = [rate for _, _, rate, _ in heads.made]
    assert 15 <= sum(rate < 1e-4 for rate in rates) <= 45


# What is kept


def test_a_later_run_takes_the_kept_values(
    new_tuner: Any, heads: Heads, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = new_tuner(), new_tuner(photos="others")
    first.search()
    with caplog.at_level(logging.INFO):
        second.search()
    assert len(heads.made) == 7
    score = results(first)[0][1]
    place = f"tuning/{first.kept_path.name}"
    assert results(second) == [(place, score, best(first))]
    assert best(second) == best(first)
    assert str(first.kept_path) in caplog.text


def test_every_run_searches_anew_where_it_is_asked_for(new_tuner: Any, heads: Heads) -> None:
    new_tuner().search()
    new_tuner({**TUNE, "every_run": True}).search()
    assert len(heads.made) == 14


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["blue", "green"]},
        {"seed": 1},
        {"tune": {**TUNE, "trials": 6}},
        {"tune": {**TUNE, "space": {**SPACE, "hidden": [[4]]}}},
        {"tune": {**TUNE, "algorithm": "hyperband"}},
    ],
)
def test_another_search_is_kept_apart(new_tuner: Any, changed: Any) -> None:
    assert new_tuner(**changed).kept_path != new_tuner().kept_path


def test_a_search_of_another_keras_tuner_is_kept_apart(
    new_tuner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = new_tuner().kept_path
    monkeypatch.setattr(tuning, "version", {"keras-tuner": "0"}.__getitem__)
    assert new_tuner().kept_path != kept


def test_a_damaged_file_is_searched_anew_and_replaced(
    new_tuner: Any, heads: Heads, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = new_tuner(), new_tuner()
    first.search()
    kept = first.kept_path.read_bytes()
    first.kept_path.write_bytes(kept[:-20])
    second.search()
    assert len(heads.made) == 14
    assert first.kept_path.read_bytes() == kept
    assert "The search is made again." in caplog.text


def test_a_cache_that_cannot_be_written_ends_no_search(
    new_tuner: Any, heads: Heads, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    tuner = new_tuner(cache="file")
    tuner.search()
    assert len(results(tuner)) == 7


# How it ends


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_killed_search_goes_on_where_it_was(new_tuner: Any, heads: Heads, algorithm: str) -> None:
    tune = {**TUNE, "algorithm": algorithm, "trials": 12}
    heads.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        new_tuner(tune).search()
    heads.stop_at = math.inf
    resumed, unbroken = new_tuner(tune), new_tuner({**tune, "every_run": True})
    resumed.search()
    made = len(heads.made)
    unbroken.search()
    assert made == 12
    assert results(resumed) == results(unbroken)
    assert [path.name for path in resumed.kept_path.parent.iterdir()] == [resumed.kept_path.name]


def test_a_killed_search_on_other_photos_begins_anew(new_tuner: Any, heads: Heads) -> None:
    heads.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        new_tuner().search()
    heads.stop_at = math.inf
    new_tuner(photos="others").search()
    assert len(heads.made) == 4 + 7


def test_a_trial_that_fails_does_not_end_the_search(new_tuner: Any, heads: Heads) -> None:
    heads.failing = lambda rate: rate > 0.0003
    tuner = new_tuner({**TUNE, "trials": 20})
    tuner.search()
    assert len(heads.made) == 20
    assert 0 < len(results(tuner)) < 20
    assert best(tuner)["train.learning_rate"] <= 0.0003


def test_a_search_in_which_all_fails_is_one_error(new_tuner: Any, heads: Heads) -> None:
    heads.failing = lambda rate: True
    tuner = new_tuner()
    with pytest.raises(GraftError, match=r"Received: 7 trials that all failed.*Lower the values"):
        tuner.search()
    assert not tuner.kept_path.exists()


def test_a_fault_of_the_program_ends_the_search(new_tuner: Any, heads: Heads) -> None:
    def fail(rate: float) -> bool:
        raise ZeroDivisionError

    heads.failing = fail
    with pytest.raises(ZeroDivisionError):
        new_tuner().search()


def test_a_time_budget_ends_the_search_after_one_trial_at_least(
    new_tuner: Any, heads: Heads
) -> None:
    tuner = new_tuner(time_budget=1e-9)
    tuner.search()
    assert len(results(tuner)) == 1
    new_tuner(time_budget=1e-9).search()
    assert len(heads.made) == 1
    new_tuner(time_budget=1e9).search()
    assert len(heads.made) == 8
    new_tuner(time_budget=1e-9).search()
    assert len(heads.made) == 8


# With TFX, on images


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / "base.keras"
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3))
    outputs = keras.layers.Conv2D(6, 3, activation="relu", name="first")(pixels)
    outputs = keras.layers.Conv2D(5, 3, activation="relu", name="second")(outputs)
    keras.Model(pixels, outputs).save(path)
    return str(path)


@pytest.fixture
def arguments(
    tmp_path: Path, examples_file: Path, transform_output: Any, base_file: str
) -> Callable[..., SimpleNamespace]:
    """Returns what TFX gives to a search over four images of each of two classes."""

    def build(layers: list[Any], rate: float = 0.01) -> SimpleNamespace:
        train = {
            "epochs": 2,
            "batch_size": 4,
            "learning_rate": 0.01,
            "patience": 0,
            "seed": 2,
            "watch": 0.25,
            "class_weights": "none",
            "augment": "light",
            "augment_copies": 0,
            "cache_limit": 10**9,
            "cache_dtype": "float32",
            "precision": "float32",
            "xla": False,
            "time_budget": None,
            "warm_start": False,
        }
        head = {"activation": "relu", "batch_normalization": False, "l2": 0.0, "binary": False}
        head |= {"pooling": "average", "hidden": [2], "dropout": 0.1, "label_smoothing": 0.0}
        space = {"hidden": [[]], "dropout": [0.0], "learning_rate": [0.001, 0.05]}
        config = {
            "base": {"path": base_file},
            "image": {"size": SIZE, "resize": "stretch", "preprocessing": "rescale_0_1"},
            "head": head,
            "train": train,
            "fine_tune": {"layers": 0, "epochs": 1, "learning_rate": rate, "warmup": 0.0},
            "tune": {**TUNE, "space": {**space, "fine_tune_layers": layers}},
            "base_sha256": "base",
            "transform_sha256": "transform",
            "code_sha256": "code",
            "cache": str(tmp_path / "cache"),
        }
        return SimpleNamespace(
            train_files=[str(examples_file)],
            transform_graph_path=str(Path(transform_output.transform_savedmodel_dir).parent),
            custom_config=config,
            working_dir=str(tmp_path / "work"),
        )

    return build


def test_tfx_is_given_the_best_head_and_depth(arguments: Any, tmp_path: Path) -> None:
    from tfx.components.tuner.executor import write_best_hyperparameters
    from tfx.types import standard_artifacts

    given = arguments(layers=[1, "first"])
    result = tuning.tuner_fn(given)
    result.tuner.search_space_summary()
    result.tuner.search(**result.fit_kwargs)
    result.tuner.results_summary()
    outputs: dict[str, Any] = {
        "best_hyperparameters": [standard_artifacts.HyperParameters()],
        "tuner_results": [standard_artifacts.TunerResults()],
    }
    for name, (artifact,) in outputs.items():
        artifact.uri = str(tmp_path / name)
    write_best_hyperparameters(result.tuner, outputs)

    rows = json.loads((tmp_path / "tuner_results" / "tuner_results.json").read_text())
    depths = {row["trial_id"]: row.get("fine_tune.layers") for row in rows}
    assert len(rows) == 4
    assert depths["fine_tune.layers-0"] == 1
    assert depths["fine_tune.layers-1"] == "first"
    file = tmp_path / "best_hyperparameters" / "best_hyperparameters.txt"
    _, taken = tuned.apply(given.custom_config, json.loads(file.read_text()))
    assert taken == {
        "head.hidden": json.loads(rows[0]["head.hidden"]),
        "head.dropout": rows[0]["head.dropout"],
        "train.learning_rate": rows[0]["train.learning_rate"],
        "fine_tune.layers": rows[0]["fine_tune.layers"],
    }
    assert rows[0]["score"] == min(row["score"] for row in rows)


def test_a_fine_tuning_that_does_not_help_leaves_the_base_frozen(arguments: Any) -> None:
    tuner = tuning.tuner_fn(arguments(layers=[1], rate=10.0)).tuner
    tuner.search()
    assert best(tuner)["fine_tune.layers"] == 0


def test_a_depth_that_the_base_lacks_is_told_before_any_trial(arguments: Any) -> None:
    tuner = tuning.tuner_fn(arguments(layers=["frist"])).tuner
    with pytest.raises(InputError, match="Did you mean first"):
        tuner.search()
    assert not tuner.oracle.trials
