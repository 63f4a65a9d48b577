"""What TFX's Tuner calls: KerasTuner's search for the head's settings on kept features.

A trial is scored by its lowest watched loss: by what the Trainer's early stopping watches, so that
the validation split, by which the model is judged, is never seen in tuning.
"""

import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import tensorflow_transform as tft
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from tfx.components.tuner.component import TunerFnResult

from components import features
from components.digests import parts_digest
from components.errors import GraftError, InputError
from components.trainer import blocks, extraction, preparation, stages, tuned
from components.trainer.preparation import Prepared
from components.trainer.progress import Budget, Keeper
from components.trainer.trials import HeadTrials
from components.trainer.tuned import Best, Journal, Outcome, apply

FOLDER = "tuning"  # of the best values of searches, in the pipeline's cache
OBJECTIVE = "val_loss"
EPOCHS = "tuner/epochs"  # what Hyperband calls the epochs of a trial
# Keys of `train` that decide where and how long, not what, a trial computes.
FREE = ("time_budget", "cache_limit", "warm_start", "learning_rate")


def tuner_fn(fn_args: Any) -> Any:
    """Returns what searches for the best values, as TFX's Tuner wants it.

    Args:
        fn_args: TFX's `FnArgs`: `custom_config` holds what `run.run_fn` is given, and the section
            `tune` of the configuration; `working_dir` takes KerasTuner's own files.

    Returns:
        TFX's `TunerFnResult`; its tuner is a `HeadTuner`.
    """
    settings = dict(fn_args.custom_config)
    tune = settings.pop("tune")
    vocabulary = tft.TFTransformOutput(fn_args.transform_graph_path).vocabulary_by_name(
        features.LABEL_VOCABULARY
    )
    tuner = HeadTuner(
        settings,
        tune,
        [label.decode() for label in vocabulary],
        lambda: preparation.prepare(fn_args, settings, all_features=True),
        Path(fn_args.working_dir),
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={})


class HeadTuner(BaseTuner):
    """Searches for the head, its learning rate and how deep to fine-tune, or takes kept values.

    Args:
        settings: see `run.run_fn`.
        tune: the section `tune`: `trials`, `algorithm`, `space` and `every_run`.
        labels: the classes in vocabulary order.
        prepare: prepares the features, where a search is made.
        folder: takes KerasTuner's own files.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        tune: Mapping[str, Any],
        labels: Sequence[str],
        prepare: Callable[[], Prepared],
        folder: Path,
    ):
        oracle = new_oracle(tune, settings["train"])
        oracle.verbose = 0
        super().__init__(oracle, directory=str(folder), project_name="tuner", overwrite=True)
        self._settings, self._tune, self._prepare = settings, tune, prepare
        kept = Path(settings["cache"], FOLDER)
        key = _key(settings, tune, labels)
        self.kept_path, self._journal_path = kept / f"{key}.json", kept / f"{key}.trials"

    def search(self) -> None:
        """Makes the trials, or takes the values that an earlier run has kept.

        Raises:
            GraftError: every trial failed.
            InputError: a value of `tune.space.fine_tune_layers` names no block of the base.
        """
        budget = Budget(self._settings["train"]["time_budget"])
        best = None if self._tune["every_run"] else tuned.load_best(self.kept_path)
        # What one time budget cut short says little under another.
        if best and best.time_budget in (None, budget.seconds):
            self._take(best)
            return
        prepared = self._prepare()
        depths = self._tune["space"]["fine_tune_layers"]
        for depth in depths:
            blocks.first_trainable(
                prepared.base, self._settings["base"], depth, "tune.space.fine_tune_layers"
            )
        journal = Journal(self._journal_path, _photos_key(prepared))
        if len(journal):
            logging.info("%d trials of a search that was stopped are used again.", len(journal))
        was_cut = self._try_heads(HeadTrials(prepared), journal, budget)
        best_head = self._best()
        was_cut |= self._try_depths(depths, prepared, best_head, journal, budget)
        self._keep(budget.seconds if was_cut else None)
        journal.forget()

    def run_trial(self, trial: Trial, journal: Journal, measure: Callable[[], Outcome]) -> Outcome:
        """Gives a trial its outcome, and returns it.

        Args:
            trial: the trial.
            journal: the outcomes that are known.
            measure: makes the trial; a `GraftError` is its failure.
        """
        values = trial.hyperparameters.values
        outcome = journal.find(values)
        if outcome is None:
            try:
                outcome = measure()
            except InputError:
                raise
            except GraftError as error:
                outcome = Outcome(None, str(error))
            journal.add(values, outcome)
        self._finish(trial, outcome)
        return outcome

    def _try_heads(self, heads: HeadTrials, journal: Journal, budget: Budget) -> bool:
        """Makes the trials of heads; says whether the time was over before the last one."""
        courses: list[tuple[float, ...]] = []
        while not (self.oracle.trials and budget.is_over):
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status != TrialStatus.RUNNING:
                return False
            settings, _ = apply(self._settings, trial.hyperparameters.get_config())
            epochs = trial.hyperparameters.values.get(EPOCHS)
            # Hyperband gives up trials by itself, and compares only those of equal epochs.
            rivals = () if epochs else tuple(courses)
            measure = functools.partial(heads.outcome, settings, epochs, rivals)
            outcome = self.run_trial(trial, journal, measure)
            if outcome.course:
                courses.append(outcome.course)
        logging.warning(
            "The time budget ended the search after %d trials.", len(self.oracle.trials)
        )
        return len(self.oracle.trials) < self.oracle.max_trials

    def _try_depths(
        self,
        depths: Sequence[int | str],
        prepared: Prepared,
        best: Trial,
        journal: Journal,
        budget: Budget,
    ) -> bool:
        """Fine-tunes the best head to each depth; says whether the time was over before the end.

        The best head itself is the trial of depth 0: what did not gain by any fine-tuning is not
        fine-tuned by the Trainer either.
        """
        fine_tuning = _FineTuning(self._settings, prepared, best)
        for number, depth in enumerate(depths):
            if budget.is_over:
                logging.warning("The time budget ended the search before all depths were tried.")
                return True
            values = best.hyperparameters.copy()
            values.values[tuned.LAYERS] = depth
            trial = Trial(values, trial_id=f"{tuned.LAYERS}-{number}")
            self.oracle.trials[trial.trial_id] = trial
            self.run_trial(trial, journal, functools.partial(fine_tuning.outcome, depth))
            best.hyperparameters.values[tuned.LAYERS] = 0
        return False

    def _finish(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.score is None:
            trial.status, trial.message = TrialStatus.FAILED, outcome.message
        else:
            trial.status = TrialStatus.COMPLETED
            self.oracle.update_trial(trial.trial_id, {OBJECTIVE: outcome.score})
        self.oracle.end_trial(trial)
        reached = outcome.message if outcome.score is None else f"{OBJECTIVE}={outcome.score:.4f}"
        logging.info("Trial %s, %s: %s", trial.trial_id, trial.hyperparameters.values, reached)

    def _best(self) -> Trial:
        """Returns the trial with the lowest watched loss, the earliest of several."""
        best = self.oracle.get_best_trials(1)[0]
        if best.status != TrialStatus.COMPLETED:
            raise GraftError(
                f"Expected a finite loss in at least one trial. Received: "
                f"{len(self.oracle.trials)} trials that all failed, the first with: {best.message} "
                "Lower the values of tune.space.learning_rate."
            )
        return best

    def _keep(self, time_budget: float | None) -> None:
        """Keeps the best values for later runs, and lets TFX list every trial."""
        best = self._best()
        trials = self.oracle.max_trials = len(self.oracle.trials)
        values = best.hyperparameters.values
        tuned.save_best(self.kept_path, Best(values, best.score, trials, time_budget))
        logging.info("The best of %d trials is %s: %s", trials, best.trial_id, values)

    def _take(self, best: Best) -> None:
        """Takes kept values as the only trial, named after the file they come from."""
        place = f"{FOLDER}/{self.kept_path.name}"
        logging.info(
            "The best values of an earlier search (%d trials) are taken from %s: %s. Set "
            "tune.every_run to true to search in each run.",
            best.trials,
            self.kept_path,
            best.values,
        )
        values = self.oracle.get_space()
        values.values = dict(best.values)
        trial = Trial(values, trial_id=place, status=TrialStatus.COMPLETED)
        trial.score = best.score
        self.oracle.trials[place] = trial
        self.oracle.max_trials = 1


class _FineTuning:
    """Fine-tunes one head to several depths, each time from the same weights."""

    def __init__(self, settings: Mapping[str, Any], prepared: Prepared, best: Trial):
        self._prepared = prepared
        self._settings, _ = apply(settings, best.hyperparameters.get_config())
        self._context = stages.Context(Keeper(None, ""), Budget())
        self._first: tuple[list[np.ndarray], list[np.ndarray]] | None = None

    def outcome(self, depth: int | str) -> Outcome:
        """Returns the lowest watched loss of a fine-tuning."""
        section = {**self._settings[stages.FINE_TUNE], "layers": depth}
        prepared = replace(self._prepared, settings={**self._settings, stages.FINE_TUNE: section})
        return Outcome(stages.fine_tune(prepared, self._head(), self._context).best_loss)

    def _head(self) -> Any:
        """Returns the trained head; the base has its first weights again."""
        if self._first is None:
            self._first = self._train()
        base_weights, head_variables = self._first
        self._prepared.base.set_weights(base_weights)
        head = stages.build_head(self._prepared, self._settings["head"])
        for variable, value in zip(head.variables, head_variables, strict=True):
            variable.assign(value)
        return head

    def _train(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Trains the head on features, even where the Trainer changes images anew."""
        train = self._settings["train"]
        if extraction.changes_anew(train):
            train = {**train, "augment": "none"}
        prepared = replace(self._prepared, settings={**self._settings, "train": train})
        head = stages.build_head(prepared, self._settings["head"])
        stages.train_head(prepared, head, self._context)
        return prepared.base.get_weights(), [np.array(one) for one in head.variables]


def search_space(space: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """Returns the section `tune.space` as KerasTuner has it, without the depths.

    Names are the configuration's keys. As KerasTuner chooses among single values only, a list of
    widths is a string of JSON.
    """
    found = keras_tuner.HyperParameters()
    found.Choice(tuned.HIDDEN, [json.dumps(widths) for widths in space["hidden"]])
    for key, name, sampling in (
        (tuned.DROPOUT, "dropout", "linear"),
        (tuned.LEARNING_RATE, "learning_rate", "log"),
    ):
        values = space[name]
        if isinstance(values, Mapping):
            limits = float(values["min"]), float(values["max"])
            found.Float(key, *limits, sampling=sampling)
        else:
            found.Choice(key, [float(value) for value in values])
    return found


def new_oracle(tune: Mapping[str, Any], train: Mapping[str, Any]) -> Any:
    """Returns KerasTuner's algorithm that chooses the trials.

    Where the space has no more combinations than there are trials, each is tried once, whatever
    the algorithm: drawing at random would miss some and Bayesian search would repeat some.

    Args:
        tune: see `HeadTuner`.
        train: the section `train`, of which `seed` and `epochs` are used.
    """
    space = tune["space"]
    lists = [space[name] for name in ("hidden", "dropout", "learning_rate")]
    is_finite = not any(isinstance(values, Mapping) for values in lists)
    options = {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "hyperparameters": search_space(space),
        "seed": train["seed"] + 1,  # KerasTuner takes 0 for none
        # A trial that fails is only a bad one, and does not end the search.
        "max_consecutive_failed_trials": tune["trials"] + 1,
    }
    if is_finite and math.prod(map(len, lists)) <= tune["trials"]:
        return keras_tuner.oracles.GridSearchOracle(max_trials=tune["trials"], **options)
    if tune["algorithm"] == "hyperband":
        oracle = keras_tuner.oracles.HyperbandOracle(
            max_epochs=train["epochs"], hyperband_iterations=None, **options
        )
        oracle.max_trials = tune["trials"]
        return oracle
    oracles = {
        "random": keras_tuner.oracles.RandomSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    }
    return oracles[tune["algorithm"]](max_trials=tune["trials"], **options)


def _key(settings: Mapping[str, Any], tune: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Identifies a search by all that its best values depend on but the photos."""
    head = {
        key: value for key, value in settings["head"].items() if key not in ("hidden", "dropout")
    }
    train = {key: value for key, value in settings["train"].items() if key not in FREE}
    fine_tune = settings["fine_tune"] if tune["space"]["fine_tune_layers"] else {}
    parts = {
        "tune": {key: value for key, value in tune.items() if key != "every_run"},
        "image": settings["image"],
        "head": head,
        "train": train,
        "fine_tune": {key: value for key, value in fine_tune.items() if key != "layers"},
        "labels": list(labels),
        "keras_tuner": version("keras-tuner"),
        **{name: settings[name] for name in ("base_sha256", "transform_sha256", "code_sha256")},
    }
    return parts_digest([json.dumps(parts, sort_keys=True)])


def _photos_key(prepared: Prepared) -> str:
    """Identifies what a trial's outcome depends on beyond `_key`: the photos and their split."""
    return parts_digest(
        [
            prepared.index.keys.tobytes(),
            prepared.index.label_index.tobytes(),
            prepared.watched.tobytes(),
        ]
    )
