import dataclasses
import json

from components.image_example_gen.quarantine import (
    REASONS,
    Counts,
    Refusal,
    format_refusals,
    path_text,
)

COUNTS = Counts(
    found=3,
    accepted=2,
    refused=1,
    ignored=1,
    reasons={"empty": 1, "system_file": 1},
    splits={"train": {"a": 1, "b": 0}, "validation": {"a": 0, "b": 1}},
    shares={"train": 0.8, "validation": 0.2},
    kind="archive",
    warnings=("caf\u00e9",),
    split_groups=("g",),
    predefined=("test",),
)


def test_counts_come_back_as_they_were_written():
    assert Counts.from_json(COUNTS.to_json()) == COUNTS


def test_counts_that_an_earlier_version_wrote_can_still_be_read():
    first = ("found", "accepted", "refused", "ignored", "reasons", "splits", "shares")
    values = {name: getattr(COUNTS, name) for name in first}
    assert Counts.from_json(json.dumps(values)) == Counts(**values)


def test_totals_and_summary_are_of_the_accepted_and_the_refused():
    assert COUNTS.totals == {"a": 1, "b": 1}
    assert COUNTS.summary() == {
        "accepted": 2,
        "refused": 1,
        "ignored": 1,
        "reasons": {"empty": 1},
    }
    assert dataclasses.replace(COUNTS, splits={}).totals == {}


def test_names_that_are_no_valid_text_are_written_so_that_each_stays_itself():
    names = ["a\\b", "a\udce9", "a\\xe9", "a\ud800", "a\\ud800", "a\udc7f", "é", "a\nb"]
    texts = [path_text(name) for name in names]
    assert texts == [
        "a\\\\b",
        "a\\xe9",
        "a\\\\xe9",
        "a\\ud800",
        "a\\\\ud800",
        "a\\udc7f",
        "é",
        "a\nb",
    ]
    assert all(text.encode("utf-8") for text in texts)


def test_refusals_are_one_line_each_sorted_whatever_the_names_hold():
    text = format_refusals(
        [Refusal("b\n\udce9", "corrupt", "é"), Refusal("a", "empty", "0 bytes.")]
    )
    lines = text.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"path": "a", "reason": "empty", "detail": "0 bytes."},
        {"path": "b\n\\xe9", "reason": "corrupt", "detail": "é"},
    ]
    assert format_refusals([]) == ""


def test_every_reason_is_said_in_a_sentence():
    assert all(words.endswith(".") and words[0].isupper() for words in REASONS.values())
    assert {"leak", "label_conflict", "unsafe", "repeated"} <= set(REASONS)
