import dataclasses
import json

import pytest

from components.data_validation.comparison import Comparison
from components.data_validation.gate import GateLimits, images_needed, judge
from components.errors import InputError
from components.image_example_gen.quarantine import Counts
from components.verdict import Check, Verdict

GOOD = Counts(
    found=100,
    accepted=96,
    refused=4,
    ignored=7,
    reasons={"corrupt": 3, "system_file": 7, "too_small": 1},
    splits={"train": {"a": 40, "b": 36}, "validation": {"a": 12, "b": 8}},
    shares={"train": 0.8, "validation": 0.2},
)


def limits(max_refused: float = 0.05, leakage: str = "remove", drift: str = "report") -> GateLimits:
    return GateLimits(max_refused, leakage, drift)


def check(counts: Counts, name: str, held_to: GateLimits | None = None, **found) -> Check:
    verdict = judge(counts, held_to or limits(), **found)
    return next(check for check in verdict.checks if check.name == name)


def with_splits(**splits: dict[str, int]) -> Counts:
    shares = {"train": 0.7, "validation": 0.2, "test": 0.1}
    return dataclasses.replace(GOOD, splits=splits, shares={name: shares[name] for name in splits})


def test_good_data_pass_every_check():
    verdict = judge(GOOD, limits(), {"train": [], "validation": []})
    assert verdict.passed
    assert verdict.refusal == ""
    assert [(c.name, c.figure, c.limit) for c in verdict.checks] == [
        ("refused_share", 0.04, 0.05),
        ("classes", 2, 2),
        ("images_per_class", 8, 1),
        ("leaks", 0, None),
        ("schema", 0, 0),
    ]


def test_a_share_at_the_limit_passes_and_just_above_it_does_not():
    assert check(GOOD, "refused_share", limits(0.04)).passed
    failed = check(GOOD, "refused_share", limits(0.0399))
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
    verdict = judge(empty, limits(1.0), {})
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
    assert "a share of 0.2 (data.splits.validation), about 21 accepted images" in failed.words
    assert "the smallest of these has 5" in failed.words


def test_the_test_split_is_never_gated_on():
    counts = with_splits(train={"a": 9, "b": 5}, validation={"a": 2, "b": 1}, test={"a": 0, "b": 0})
    assert judge(counts, limits(), {"test": ["No examples."]}).passed


def test_a_departure_from_the_schema_refuses_and_is_quoted():
    found = {"train": ["feature 'image/format': Unexpected string values: webp."]}
    failed = check(GOOD, "schema", anomalies=found)
    assert (failed.figure, failed.passed) == (1, False)
    assert "train: feature 'image/format': Unexpected string values: webp." in failed.words


def test_all_failed_checks_stand_in_the_refusal_and_no_other():
    verdict = judge(GOOD, limits(0.0), {"train": ["x."]})
    assert "4 of 100 images were refused" in verdict.refusal
    assert "1 departures from the schema" in verdict.refusal
    assert "classes have accepted" not in verdict.refusal


def test_a_verdict_is_written_with_every_check():
    told = json.loads(judge(GOOD, limits(0.0), {}).to_json())
    assert (told["passed"], len(told["checks"])) == (False, 5)
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
        limits(max_refused)


@pytest.mark.parametrize(("name", "value"), [("leakage", "drop"), ("drift", "remove")])
def test_a_setting_that_is_none_of_the_known_is_refused(name, value):
    with pytest.raises(InputError, match=f"data.{name}={value}"):
        limits(**{name: value})


def test_what_was_not_looked_at_is_no_check():
    names = [check.name for check in judge(GOOD, limits()).checks]
    assert names == ["refused_share", "classes", "images_per_class", "leaks"]


def test_a_verdict_is_read_as_it_was_written():
    verdict = judge(GOOD, limits(0.0), {"train": ["x."]})
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_a_class_that_a_split_of_the_source_lacks_is_mended_in_the_source():
    counts = dataclasses.replace(
        with_splits(train={"a": 9, "b": 5}, validation={"a": 2, "b": 0}),
        shares={},
        predefined=("train", "validation"),
    )
    words = check(counts, "images_per_class").words
    assert "'b' has none in validation. The source itself says what belongs to validation" in words
    assert "share" not in words


def test_gaps_in_a_dealt_and_in_a_given_split_are_mended_each_its_way():
    counts = dataclasses.replace(
        with_splits(train={"a": 9, "b": 0}, validation={"a": 2, "b": 0}),
        shares={"train": 1.0},
        predefined=("validation",),
    )
    words = check(counts, "images_per_class").words
    assert "With a share of 1 (data.splits.train), about 1 accepted" in words
    assert "belongs to validation: put images of the class there" in words


def test_with_groups_as_many_groups_are_asked_for():
    counts = dataclasses.replace(
        with_splits(train={"a": 9, "b": 5}, validation={"a": 2, "b": 0}), groups=4
    )
    assert "about 21 accepted images of a class in as many groups" in (
        check(counts, "images_per_class").words
    )


SPLIT_GROUPS = dataclasses.replace(GOOD, groups=12, split_groups=("anna", "bo"))


@pytest.mark.parametrize("leakage", ["remove", "fail"])
def test_a_group_in_several_splits_is_refused_and_named(leakage):
    failed = check(SPLIT_GROUPS, "groups", limits(leakage=leakage))
    assert (failed.figure, failed.limit, failed.passed) == (2, 0, False)
    assert "2 of 12 groups lie in several splits (none may): 'anna', 'bo'." in failed.words


def test_under_report_a_group_in_several_splits_is_told():
    told = check(SPLIT_GROUPS, "groups", limits(leakage="report"))
    assert (told.figure, told.limit, told.passed) == (2, None, True)
    assert "'anna', 'bo'" in told.words


LEAKS = dataclasses.replace(GOOD, twins=5, leaks=3, reasons={"leak": 2})


def test_leaks_are_refused_under_fail_and_only_then():
    failed = check(LEAKS, "leaks", limits(leakage="fail"))
    assert (failed.figure, failed.limit, failed.passed) == (3, 0, False)
    assert "Nearly the same picture in different splits: 3 pairs (none may be)" in failed.words
    reported = check(LEAKS, "leaks", limits(leakage="report"))
    assert (reported.figure, reported.limit, reported.passed) == (3, None, True)


def test_removed_leaks_are_told():
    told = check(LEAKS, "leaks")
    assert told.passed
    assert told.words == (
        "Nearly the same picture in different splits: 3 pairs; refused: 2 leak. Of two classes in "
        "one split: 2."
    )


def test_no_leak_passes_under_fail():
    assert check(GOOD, "leaks", limits(leakage="fail")).passed


def test_warnings_of_the_source_are_told():
    counts = dataclasses.replace(GOOD, warnings=("Cat and cat differ in case.", "Another."))
    told = check(counts, "warnings")
    assert (told.figure, told.limit, told.passed) == (2, None, True)
    assert told.words == "Cat and cat differ in case. Another."


DRIFT = Comparison("this and that", ("new label 'x'", "label 'y' is gone"), ("few images",), 10)


def test_drift_is_told_under_report():
    told = check(GOOD, "drift", drift=DRIFT)
    assert (told.figure, told.limit, told.passed) == (2, None, True)
    assert told.words == (
        "Drift between this and that: new label 'x'; label 'y' is gone; few images (told, as "
        "data.drift is report)."
    )


@pytest.mark.parametrize("name", ["drift", "skew"])
def test_drift_and_skew_are_refused_under_fail(name):
    failed = check(GOOD, name, limits(drift="fail"), **{name: DRIFT})
    assert (failed.figure, failed.limit, failed.passed) == (2, 0, False)
    assert "new label 'x'; label 'y' is gone; few images (none may be)" in failed.words
    assert "--set data.drift=report" in failed.words


def test_what_is_only_told_refuses_nothing_under_fail():
    sizes = Comparison("this and that", (), ("image/width goes from 1 to 9",), 10)
    told = check(GOOD, "drift", limits(drift="fail"), drift=sizes)
    assert (told.figure, told.limit, told.passed) == (0, 0, True)
    assert told.words == (
        "Drift between this and that: none in 10 properties of the images; image/width goes from "
        "1 to 9."
    )


def test_a_first_run_says_that_there_is_nothing_to_compare_with():
    told = check(GOOD, "drift", limits(drift="fail"), drift=Comparison("", (), ("nothing there",)))
    assert (told.passed, told.words) == (True, "Drift: nothing there.")


def test_too_many_near_duplicates_tell_the_setting_that_keeps_them():
    many = dataclasses.replace(GOOD, refused=GOOD.found // 2, reasons={"leak": GOOD.found // 2})
    assert "data.leakage: report keeps" in check(many, "refused_share").words
    others = dataclasses.replace(many, reasons={"empty": GOOD.found // 2})
    assert "data.leakage" not in check(others, "refused_share").words
