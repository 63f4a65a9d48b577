"""Which model a warm start begins from, by the lineage that earlier runs left."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tfx")
pytestmark = pytest.mark.e2e  # imports TFX


class Lineage:
    """Records runs as TFX does, each with examples and a model that may start from another."""

    def __init__(self, metadata: Any, folder: Path):
        self._metadata, self._folder = metadata, folder
        self._runs = (f"run-{number}" for number in itertools.count())
        self.models: list[SimpleNamespace] = []

    def ingest(self) -> SimpleNamespace:
        recorded = self._metadata.record(next(self._runs), "ImageExampleGen", outputs=EXAMPLES)
        return SimpleNamespace(id=recorded["examples"])

    def train(self, examples: Any, base_model: Any = None) -> SimpleNamespace:
        inputs = {"examples": [examples.id]} | (
            {"base_model": [base_model.id]} if base_model else {}
        )
        run = next(self._runs)
        recorded = self._metadata.record(run, "Trainer", inputs=inputs, outputs={"model": {}})
        uri = self._folder / f"model-of-{run}"
        (uri / "Format-Serving").mkdir(parents=True)
        (uri / "Format-Serving" / "saved_model.pb").write_text(run)
        self.models.append(SimpleNamespace(id=recorded["model"], uri=str(uri)))
        return self.models[-1]

    def evaluate(self, model: Any, examples: Any) -> None:
        """Records a stage that takes a model and examples, but trained nothing."""
        inputs = {"model": [model.id], "examples": [examples.id]}
        self._metadata.record(next(self._runs), "Evaluator", inputs=inputs, outputs=EVALUATION)

    def push(self, model: Any) -> None:
        from components.digests import folder_digest
        from components.pusher import served

        source = Path(model.uri) / "Format-Serving"
        served.push(source, self._folder / "served", folder_digest(source), model.uri, "")

    def resolve(self, *examples: Any) -> Sequence[Any]:
        from components.trainer.warm_start_strategy import WarmStartStrategy

        strategy = WarmStartStrategy(str(self._folder / "served"))
        given: dict[str, Any] = {"model": self.models, "examples": list(examples)}
        resolved: dict[str, Any] = strategy.resolve_artifacts(self._metadata.store, given)
        assert resolved["examples"] == list(examples)
        return list(resolved["model"])


EXAMPLES: dict[str, Any] = {"examples": {}}
EVALUATION: dict[str, Any] = {"evaluation": {}}


@pytest.fixture
def lineage(metadata: Any, tmp_path: Path) -> Lineage:
    return Lineage(metadata, tmp_path)


def test_where_nothing_is_served_nothing_is_started_from(lineage: Lineage) -> None:
    examples = lineage.ingest()
    assert lineage.resolve(examples) == []
    lineage.train(examples)
    assert lineage.resolve(lineage.ingest()) == []


def test_new_photos_start_from_the_served_model(lineage: Lineage) -> None:
    served = lineage.train(lineage.ingest())
    lineage.push(served)
    lineage.train(lineage.ingest())
    assert lineage.resolve(lineage.ingest()) == [served]


def test_the_model_of_these_very_photos_that_began_anew_leaves_nothing_to_start_from(
    lineage: Lineage,
) -> None:
    examples = lineage.ingest()
    lineage.push(lineage.train(examples))
    assert lineage.resolve(examples) == []


def test_these_very_photos_start_again_from_what_the_served_model_started_from(
    lineage: Lineage,
) -> None:
    first = lineage.train(lineage.ingest())
    examples = lineage.ingest()
    second = lineage.train(examples, base_model=first)
    lineage.push(second)
    assert lineage.resolve(examples) == [first]
    assert lineage.resolve(lineage.ingest()) == [second]


def test_a_model_that_was_deleted_is_not_started_from(lineage: Lineage) -> None:
    first = lineage.train(lineage.ingest())
    examples = lineage.ingest()
    lineage.push(lineage.train(examples, base_model=first))
    lineage.models.remove(first)
    assert lineage.resolve(examples) == []


def test_photos_that_a_model_was_judged_by_are_not_those_that_it_learned_from(
    lineage: Lineage,
) -> None:
    served = lineage.train(lineage.ingest())
    lineage.push(served)
    examples = lineage.ingest()
    lineage.evaluate(served, examples)
    assert lineage.resolve(examples) == [served]


def test_after_an_older_model_is_served_again_new_photos_start_from_it(lineage: Lineage) -> None:
    old = lineage.train(lineage.ingest())
    lineage.push(old)
    lineage.push(lineage.train(lineage.ingest(), base_model=old))
    lineage.push(old)
    assert lineage.resolve(lineage.ingest()) == [old]
