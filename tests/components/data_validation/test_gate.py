import dataclasses
import json

import pytest

from components.data_validation.gate import Check, GateLimits, images_needed, judge
from components.errors import InputError
from components.image_example_gen.quarantine import Counts

GOOD = Counts(
    found=100,
    accepted=96,
    refused=4,
    ignored=7,
    reasons={"corrupt": 3, "system_file": 7, "too_small": 1},
    splits={"train": {"a": 40, "b": 36}, "validation": {"a": 12, "b": 8}},
    shares={"train": 0.8, "validation": 0.2},
)


def check(counts: Counts, name: str, max_refused: float = 0.05, anomalies=None) -> Check:
    verdict = judge(counts, anomalies or {}, GateLimits(max_refused))
    return next(check for check in verdict.checks if check.name == name)


def with_splits(**splits: dict[str, int]) -> Counts:
    shares = {"train": 0.7, "validation": 0.2, "test": 0.1}
    return dataclasses.replace(GOOD, splits=splits, shares={name: shares[name] for name in splits})


def test_good_data_pass_every_check():
    verdict = judge(GOOD, {"train": [], "validation": []}, GateLimits(0.05))
    assert verdict.passed
    assert verdict.refusal == ""
    assert [(c.name, c.figure, c.limit) for c in verdict.checks] == [
        ("refused_share", 0.04, 0.05),
        ("classes", 2, 2),
        ("images_per_class", 8, 1),
        ("schema", 0, 0),
    ]


def test_a_share_at_the_limit_passes_and_just_above_it_does_not():
    assert check(GOOD, "refused_share", 0.04).passed
    failed = check(GOOD, "refused_share", 0.0399)
    assert not failed.passed
    assert failed.words == (
        "4 of 100 images were refused (4.0%; at most 4.0% may be): 3 corrupt, 1 too_small. The "
        "image is damaged and cannot be decoded. Mend or remove the files that the quarantine "
        "names, or raise data.max_refused."
    )


def test_a_source_of_which_nothing_is_left_is_refused():
    empty = dataclasses.replace(
        GOOD,
        accepted=0,
        refused=100,
        reasons={"empty": 100},
        splits={"train": {"a": 0, "b": 0}, "validation": {"a": 0, "b": 0}},
    )
    verdict = judge(empty, {}, GateLimits(1.0))
    assert [c.name for c in verdict.checks if not c.passed] == ["classes", "images_per_class"]


def test_fewer_than_two_classes_with_images_are_refused():
    failed = check(with_splits(train={"a": 9, "b": 0}, validation={"a": 2, "b": 0}), "classes")
    assert not failed.passed
    assert "1 classes have accepted images (at least 2 must); left: 'a'." in failed.words


def test_a_class_without_a_photo_in_a_split_is_named_with_what_would_do():
    failed = check(
        with_splits(train={"a": 9, "b": 5}, validation={"a": 2, "b": 0}), "images_per_class"
    )
    assert (failed.figure, failed.limit, failed.passed) == (0, 1, False)
    assert "'b' has none in validation" in failed.words
    assert "data.splits.validation=0.2, about 21 accepted images" in failed.words
    assert "the smallest of these has 5" in failed.words


def test_the_test_split_is_never_gated_on():
    counts = with_splits(train={"a": 9, "b": 5}, validation={"a": 2, "b": 1}, test={"a": 0, "b": 0})
    assert judge(counts, {"test": ["No examples."]}, GateLimits(0.05)).passed


def test_a_departure_from_the_schema_refuses_and_is_quoted():
    found = {"train": ["feature 'image/format': Unexpected string values: webp."]}
    failed = check(GOOD, "schema", anomalies=found)
    assert (failed.figure, failed.passed) == (1, False)
    assert "train: feature 'image/format': Unexpected string values: webp." in failed.words


def test_all_failed_checks_stand_in_the_refusal_and_no_other():
    verdict = judge(GOOD, {"train": ["x."]}, GateLimits(0.0))
    assert "4 of 100 images were refused" in verdict.refusal
    assert "1 departures from the schema" in verdict.refusal
    assert "classes have accepted" not in verdict.refusal


def test_a_verdict_is_written_with_every_check():
    told = json.loads(judge(GOOD, {}, GateLimits(0.0)).to_json())
    assert (told["passed"], len(told["checks"])) == (False, 4)
    assert told["checks"][1] == {
        "name": "classes",
        "figure": 2,
        "limit": 2,
        "passed": True,
        "words": "2 classes have accepted images (at least 2 must).",
    }


@pytest.mark.parametrize(("share", "images"), [(0.2, 21), (0.5, 7), (0.1, 44), (1.0, 1)])
def test_images_needed_leave_a_split_empty_in_one_case_of_a_hundred(share, images):
    # (1 - share)^n <= 0.01 < (1 - share)^(n - 1)
    assert images_needed(share) == images


@pytest.mark.parametrize("max_refused", [-0.1, 1.1, 5])
def test_a_limit_that_is_no_share_is_refused(max_refused):
    with pytest.raises(InputError, match=f"data.max_refused={max_refused}"):
        GateLimits(max_refused)
