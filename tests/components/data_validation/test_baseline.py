"""Which statistics a run is compared with, by the lineage that earlier runs left."""

from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.e2e


class Lineage:
    """Records runs as TFX does, each with statistics, a verdict and a model."""

    def __init__(self, metadata, folder):
        self.metadata, self.folder = metadata, folder
        self.statistics, self.models = [], []

    def ingest(self, run_id):
        recorded = self.metadata.record(run_id, "StatisticsGen", outputs={"statistics": {}})
        return self._keep(self.statistics, recorded["statistics"], run_id)

    def judge(self, run_id, statistics, baseline=None, drift="report"):
        inputs = {"statistics": [statistics.id]}
        if baseline:
            inputs["baseline_statistics"] = [baseline.id]
        outputs = {"verdict": {"passed": 1}}
        self.metadata.record(run_id, "DataGate", "COMPLETE", {"drift": drift}, inputs, outputs)

    def train(self, run_id):
        recorded = self.metadata.record(run_id, "Trainer", outputs={"model": {}})
        model = self._keep(self.models, recorded["model"], f"model-of-{run_id}")
        serving = Path(model.uri) / "Format-Serving"
        serving.mkdir()
        (serving / "saved_model.pb").write_text(model.uri)
        return model

    def run(self, run_id, baseline=None):
        statistics = self.ingest(run_id)
        self.judge(run_id, statistics, baseline)
        return statistics, self.train(run_id)

    def hand_on(self, run_id, stage, event, channel, artifact):
        """Records a stage that gave an artifact of an earlier run again."""
        metadata, store = self.metadata, self.metadata.store
        execution = metadata._proto.Execution(
            type_id=metadata._type("Execution", f"tfx.components.{stage}"),
            last_known_state=metadata._proto.Execution.CACHED,
        )
        given = (store.get_artifacts_by_id([artifact.id])[0], metadata._event(event, channel, 0))
        run = metadata._context("pipeline_run", run_id)
        store.put_execution(execution, [given], [run], reuse_context_if_already_exist=True)

    def push(self, model):
        from components.digests import folder_digest
        from components.pusher import served

        source = Path(model.uri) / "Format-Serving"
        served.push(source, self.folder / "served", folder_digest(source), model.uri, "")

    def resolve(self, current, drift="report"):
        from components.data_validation.baseline import ServedStatisticsStrategy

        strategy = ServedStatisticsStrategy(str(self.folder / "served"), drift)
        given = {"model": self.models, "statistics": self.statistics, "current": [current]}
        resolved = strategy.resolve_artifacts(self.metadata.store, given)
        assert resolved["current"] == [current]
        return resolved["statistics"]

    def _keep(self, kept, identity, name):
        uri = self.folder / name
        uri.mkdir()
        kept.append(SimpleNamespace(id=identity, uri=str(uri)))
        return kept[-1]


@pytest.fixture
def lineage(metadata, tmp_path):
    return Lineage(metadata, tmp_path)


def test_a_first_run_has_nothing_to_compare_with(lineage):
    assert lineage.resolve(lineage.ingest("one")) == []


def test_new_images_are_compared_with_those_of_the_served_model(lineage):
    statistics, model = lineage.run("one")
    lineage.push(model)
    assert lineage.resolve(lineage.ingest("two")) == [statistics]


def test_a_run_that_pushed_nothing_is_no_baseline(lineage):
    first, model = lineage.run("one")
    lineage.push(model)
    lineage.run("refused", first)
    assert lineage.resolve(lineage.ingest("three")) == [first]


def test_a_model_that_was_never_pushed_is_no_baseline(lineage):
    lineage.run("one")
    assert lineage.resolve(lineage.ingest("two")) == []


def test_after_an_older_model_is_served_again_its_images_are_the_baseline(lineage):
    first, old = lineage.run("one")
    lineage.push(old)
    _, new = lineage.run("two", first)
    lineage.push(new)
    lineage.push(old)
    assert lineage.resolve(lineage.ingest("three")) == [first]


def test_unchanged_images_of_a_first_model_have_no_baseline_again(lineage):
    statistics, model = lineage.run("one")
    lineage.push(model)
    assert lineage.resolve(statistics) == []


def test_unchanged_images_are_compared_again_with_what_the_gate_compared_them_with(lineage):
    first, old = lineage.run("one")
    lineage.push(old)
    second, new = lineage.run("two", first)
    lineage.push(new)
    assert lineage.resolve(second) == [first]


def test_images_that_were_let_pass_for_once_are_not_held_against_their_predecessors(lineage):
    first, old = lineage.run("one")
    lineage.push(old)
    second = lineage.ingest("two")
    lineage.judge("two", second, first, drift="report")
    model = lineage.train("two")
    lineage.push(model)
    assert lineage.resolve(second, drift="fail") == []
    lineage.hand_on("three", "StatisticsGen", "OUTPUT", "statistics", second)
    lineage.judge("three", second, drift="fail")
    lineage.hand_on("three", "Trainer", "OUTPUT", "model", model)
    assert lineage.resolve(second, drift="fail") == []


def test_statistics_that_were_cached_in_the_run_that_trained_are_found(lineage):
    statistics, _ = lineage.run("one")
    lineage.hand_on("two", "StatisticsGen", "OUTPUT", "statistics", statistics)
    lineage.push(lineage.train("two"))
    assert lineage.resolve(lineage.ingest("three")) == [statistics]


def test_images_that_came_back_are_compared_again_with_those_that_they_replaced(lineage):
    first, old = lineage.run("one")
    lineage.push(old)
    second, new = lineage.run("two", first)
    lineage.push(new)
    lineage.hand_on("three", "StatisticsGen", "OUTPUT", "statistics", first)
    lineage.judge("three", first, second)
    lineage.hand_on("three", "Trainer", "OUTPUT", "model", old)
    lineage.push(old)
    assert lineage.resolve(first) == [second]


def test_what_a_resolver_hands_on_is_not_taken_for_the_runs_own_statistics(lineage):
    first, _ = lineage.run("one")
    lineage.hand_on("two", "BaselineStatistics", "INTERNAL_OUTPUT", "statistics", first)
    second, model = lineage.run("two", first)
    lineage.push(model)
    assert lineage.resolve(lineage.ingest("three")) == [second]


def test_statistics_that_were_deleted_are_no_baseline(lineage):
    statistics, model = lineage.run("one")
    lineage.push(model)
    Path(statistics.uri).rmdir()
    assert lineage.resolve(lineage.ingest("two")) == []


def test_a_model_of_another_history_is_no_baseline(lineage):
    _, model = lineage.run("one")
    lineage.push(model)
    (Path(model.uri) / "Format-Serving" / "saved_model.pb").write_text("another's")
    assert lineage.resolve(lineage.ingest("two")) == []
