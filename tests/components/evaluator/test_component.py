"""The Evaluator's cache key: all code that decides what it measures."""

from typing import Any

import pytest

pytest.importorskip("tfx")

from components.evaluator import component

pytestmark = pytest.mark.e2e


def code_of() -> Any:
    from tfx.types import standard_artifacts
    from tfx.types.channel import Channel

    from components.evaluator.eval_config import build_eval_config

    evaluator = component.Evaluator(
        cache="features",
        cache_limit=1,
        examples=Channel(type=standard_artifacts.Examples),
        model=Channel(type=standard_artifacts.Model),
        eval_config=build_eval_config(),
    )
    return evaluator.spec.exec_properties["code_sha256"]


@pytest.mark.parametrize(
    "module", ["components.evaluator.executor", "components.evaluator.extraction"]
)
def test_edited_code_is_evaluated_with_again(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_of()
    genuine = component.code_digest
    monkeypatch.setattr(
        component, "code_digest", lambda name: "e" * 64 if name == module else genuine(name)
    )
    assert code_of() != before
