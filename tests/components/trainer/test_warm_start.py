"""A head that starts from an earlier model's, with labels that came, went or moved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras")

from components.trainer import warm_start
from components.trainer.head import new_head

HEAD = {
    "pooling": "average",
    "hidden": [5],
    "activation": "relu",
    "batch_normalization": False,
    "dropout": 0.2,
    "l2": 0.0,
    "binary": False,
}
IMAGE = {"size": 8, "resize": "stretch", "preprocessing": "none"}
STARTS = "Warm start: the head starts from the served model's."


def settings(**changed: Any) -> dict[str, Any]:
    sections: dict[str, Any] = {"base_sha256": "abc", "image": IMAGE, "head": HEAD}
    return {**sections, **changed}


def earlier(folder: Path, labels: list[str], **changed: Any) -> Any:
    """Saves a head as an earlier run does; returns it."""
    given = settings(**changed)
    head = new_head(4, len(labels), given["head"], seed=1)
    warm_start.save(str(folder), head, warm_start.facts_of(given, labels))
    return head


def started(folder: Path | None, labels: list[str], **changed: Any) -> tuple[Any, Any, str]:
    """Returns a new head, the same one as it was before the warm start, and what is said."""
    given = settings(**changed)
    heads = [new_head(4, len(labels), given["head"], seed=2) for _ in range(2)]
    facts = warm_start.facts_of(given, labels)
    words = warm_start.start_from(str(folder) if folder else None, heads[0], facts)
    return heads[0], heads[1], words


def weights(head: Any, layer: str) -> list[np.ndarray]:
    return [np.array(variable) for variable in head.get_layer(layer).weights]


def assert_equal(one: Any, other: Any) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_same_classes_take_all_weights_over(tmp_path: Path) -> None:
    before = earlier(tmp_path, ["a", "b", "c"])
    head, _, words = started(tmp_path, ["a", "b", "c"])
    assert words == STARTS
    assert_equal(head.get_weights(), before.get_weights())


def test_a_new_class_starts_anew_and_the_others_keep_their_columns(tmp_path: Path) -> None:
    before = earlier(tmp_path, ["a", "c"])
    head, new, words = started(tmp_path, ["a", "b", "c"])
    assert words == STARTS + " New classes start anew: b."
    assert_equal(weights(head, "hidden_0"), weights(before, "hidden_0"))
    kernel, bias = weights(head, "probabilities")
    kernel_before, bias_before = weights(before, "probabilities")
    np.testing.assert_array_equal(kernel[:, [0, 2]], kernel_before)
    np.testing.assert_array_equal(bias[[0, 2]], bias_before)
    np.testing.assert_array_equal(kernel[:, 1], weights(new, "probabilities")[0][:, 1])


def test_classes_that_are_gone_are_left_out_by_name(tmp_path: Path) -> None:
    before = earlier(tmp_path, ["a", "b", "c"])
    head, _, words = started(tmp_path, ["c", "a"])
    assert words == STARTS + " Classes that are gone were left out: b."
    np.testing.assert_array_equal(
        weights(head, "probabilities")[0], weights(before, "probabilities")[0][:, [2, 0]]
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"base_sha256": "def"}, "the base"),
        ({"image": {**IMAGE, "size": 16}}, "image.size"),
        ({"head": {**HEAD, "hidden": [7]}}, "head.hidden"),
        ({"head": {**HEAD, "pooling": "max", "activation": "gelu"}}, "head.pooling"),
    ],
)
def test_a_head_of_another_kind_starts_anew_and_says_why(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    earlier(tmp_path, ["a", "b"])
    head, new, words = started(tmp_path, ["a", "b"], **changed)
    assert words.startswith(f"Warm start: {named}") and words.endswith("the head starts anew.")
    assert_equal(head.get_weights(), new.get_weights())


def test_dropout_and_penalty_may_change(tmp_path: Path) -> None:
    earlier(tmp_path, ["a", "b"])
    _, _, words = started(tmp_path, ["a", "b"], head={**HEAD, "dropout": 0.0, "l2": 0.1})
    assert words == STARTS


def test_one_sigmoid_does_not_pass_from_one_pair_of_classes_to_another(tmp_path: Path) -> None:
    binary = {**HEAD, "binary": True}
    before = earlier(tmp_path, ["a", "b"], head=binary)
    head, _, words = started(tmp_path, ["a", "b"], head=binary)
    assert words == STARTS
    assert_equal(head.get_weights(), before.get_weights())
    head, new, words = started(tmp_path, ["a", "c"], head=binary)
    assert words == "Warm start: the two classes changed since; the head starts anew."
    assert_equal(head.get_weights(), new.get_weights())


def test_one_sigmoid_is_turned_round_where_the_two_classes_changed_places(tmp_path: Path) -> None:
    binary = {**HEAD, "binary": True}
    before = earlier(tmp_path, ["a", "b"], head=binary)
    head, _, words = started(tmp_path, ["b", "a"], head=binary)
    assert words == STARTS
    vectors = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    np.testing.assert_allclose(head(vectors), np.array(before(vectors))[:, ::-1], atol=1e-6)


def test_without_a_served_model_the_head_starts_anew() -> None:
    head, new, words = started(None, ["a", "b"])
    assert words.startswith("Warm start: there is no model to start from")
    assert_equal(head.get_weights(), new.get_weights())


@pytest.mark.parametrize("damage", ["missing", "no json", "cut off"])
def test_a_model_that_carries_no_head_is_no_reason_to_fail(tmp_path: Path, damage: str) -> None:
    earlier(tmp_path, ["a", "b"])
    folder = tmp_path / warm_start.FOLDER
    if damage == "missing":
        (folder / warm_start.FACTS_FILE).unlink()
    elif damage == "no json":
        (folder / warm_start.FACTS_FILE).write_text("{")
    else:
        path = folder / warm_start.WEIGHTS_FILE
        path.write_bytes(path.read_bytes()[:50])
    head, new, words = started(tmp_path, ["a", "b"])
    assert words.startswith("Warm start: the served model carries no head to start from")
    assert_equal(head.get_weights(), new.get_weights())


def test_what_is_saved_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "other"):
        earlier(tmp_path / name, ["a", "b"])
    files = [sorted((tmp_path / name / warm_start.FOLDER).iterdir()) for name in ("one", "other")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
