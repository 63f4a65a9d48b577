import pytest

from components.image_example_gen.examine import Limits, Properties
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    count_outcomes,
    examine_file,
    judge_copies,
    settle,
)
from components.image_example_gen.quarantine import Counts, Fault, Refusal
from components.image_example_gen.sources import MAX_BYTES, Candidate, Listing

SHARES = {"train": 0.7, "validation": 0.3}
PROPERTIES = Properties("png", 9, 9, 3, 100, 0.5, 0.1, 0.2, "a")


def accepted(path: str) -> Examined:
    return Examined(path, path.partition("/")[0], "a", PROPERTIES)


def test_a_file_that_vanished_after_it_was_listed_is_unreadable(tmp_path, pillow):
    examined = examine_file(tmp_path, Candidate("a/1", "a", 5), Limits(1_000, 1), pillow)
    assert examined == Examined("a/1", "a", None, Fault("unreadable", "No such file or directory."))


def test_a_file_too_large_for_an_example_is_refused_unread(tmp_path, pillow):
    examined = examine_file(
        tmp_path, Candidate("a/1", "a", MAX_BYTES + 1), Limits(1_000, 1), pillow
    )
    assert isinstance(examined.verdict, Fault)
    assert examined.verdict.reason == "too_many_bytes"


def test_copies_under_one_class_are_kept():
    copies = [accepted("a/2"), accepted("a/1")]
    assert judge_copies(copies) == [copies[1], copies[0]]


def test_copies_under_two_classes_are_all_refused_each_naming_those_of_the_others():
    judged = judge_copies([accepted("b/1"), accepted("a/1"), accepted("a/2")])
    assert [(copy.path, copy.verdict) for copy in judged] == [
        ("a/1", Fault("label_conflict", "The same content as b/1.")),
        ("a/2", Fault("label_conflict", "The same content as b/1.")),
        ("b/1", Fault("label_conflict", "The same content as a/1, a/2.")),
    ]


def test_an_accepted_file_goes_where_its_content_s_digest_says():
    # SHA-256("a") is 0.7914 of 2^64.
    assert settle(accepted("x/1"), SHARES, "") == Outcome("x/1", "x", "a", "validation", None)


def test_outcomes_survive_being_written_also_with_undecodable_paths():
    outcome = Outcome("a/\udce9", "a", None, None, Fault("corrupt", "é"))
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert outcome.to_json().isascii()


LISTING = Listing(
    candidates=(Candidate("a/1", "a", 1), Candidate("a/2", "a", 1), Candidate("b/1", "b", 1)),
    refused=(
        Refusal(".x", "system_file", ""),
        Refusal("loose", "no_label", ""),
    ),
    labels=("a", "b"),
)
OUTCOMES = [
    Outcome("a/1", "a", "1", "train", None),
    Outcome("a/2", "a", "2", "validation", None),
    Outcome("b/1", "b", "3", None, Fault("corrupt", "")),
]


def test_counts_name_every_class_in_every_split_and_leave_system_files_out():
    counts = count_outcomes(LISTING, OUTCOMES, SHARES)
    assert counts == Counts(
        found=4,
        accepted=2,
        refused=2,
        ignored=1,
        reasons={"corrupt": 1, "no_label": 1, "system_file": 1},
        splits={"train": {"a": 1, "b": 0}, "validation": {"a": 1, "b": 0}},
        shares=SHARES,
    )
    assert Counts.from_json(counts.to_json()) == counts
    assert counts.totals == {"a": 2, "b": 0}


def test_the_summary_tells_ignored_files_apart_from_refused_ones():
    assert count_outcomes(LISTING, OUTCOMES, SHARES).summary() == {
        "accepted": 2,
        "refused": 2,
        "ignored": 1,
        "reasons": {"corrupt": 1, "no_label": 1},
    }


def test_an_outcome_that_is_missing_stops_the_run():
    with pytest.raises(RuntimeError, match="accepted=1, refused=2, found=4"):
        count_outcomes(LISTING, OUTCOMES[1:], SHARES)
