import dataclasses
import hashlib
import io

import pytest
from PIL import Image

from components.errors import InputError
from components.image_example_gen import outcomes
from components.image_example_gen.examine import DecodeError, Limits, Properties
from components.image_example_gen.listing import MAX_BYTES, Candidate, Listing, Place
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    check_leakage,
    count_outcomes,
    examine_file,
    judge_content,
    judge_copies,
    refuse_content,
    settle,
    settle_all,
    twin_to_json,
    unreadable,
)
from components.image_example_gen.quarantine import Counts, Fault, Refusal
from components.image_example_gen.reencode import to_served
from components.image_example_gen.splits import Dealer

SHARES = {"train": 0.7, "validation": 0.3}
DEALER = Dealer(SHARES, "")
GIVEN = Dealer(SHARES, "", ("train", "validation", "test"))
LIMITS = Limits(100_000, 1)


def candidate(path: str, split: str | None = None, group: str | None = None) -> Candidate:
    return Candidate(path, path.partition("/")[0], 5, Place(f"/{path}"), split=split, group=group)


@pytest.fixture
def accepted(properties):
    def make(path: str, split: str | None = None, sha256: str = "a") -> Examined:
        return Examined(candidate(path, split), sha256, properties(sha256))

    return make


def test_a_file_that_vanished_after_it_was_listed_is_unreadable(pillow):
    gone = candidate("a/1")
    assert examine_file(gone, LIMITS, pillow) == Examined(
        gone, None, Fault("unreadable", "No such file or directory.")
    )


def test_an_error_without_a_number_says_what_it_has_to_say():
    assert unreadable(OSError("The bucket is gone.")) == Fault("unreadable", "The bucket is gone.")


def test_a_file_too_large_for_an_example_is_refused_unread(monkeypatch, pillow):
    monkeypatch.setattr(outcomes, "read_place", lambda place: pytest.fail("it was read"))
    large = Candidate("a/1", "a", MAX_BYTES + 1, Place("/a/1"))
    examined = examine_file(large, LIMITS, pillow)
    assert isinstance(examined.verdict, Fault)
    assert (examined.sha256, examined.verdict.reason) == (None, "too_many_bytes")


def test_a_file_is_judged_by_its_content_and_carries_its_digest(tmp_path, listed, image, pillow):
    path = tmp_path / "1.jpg"
    path.write_bytes(image(seed=3))
    examined = examine_file(listed(path), LIMITS, pillow)
    assert examined.sha256 == hashlib.sha256(image(seed=3)).hexdigest()
    assert isinstance(examined.verdict, Properties)
    path.write_bytes(b"no image")
    examined = examine_file(listed(path), LIMITS, pillow)
    assert examined.sha256 == hashlib.sha256(b"no image").hexdigest()
    assert isinstance(examined.verdict, Fault)
    assert examined.verdict.reason == "not_an_image"


def test_copies_under_one_class_are_kept(accepted):
    copies = [accepted("a/2"), accepted("a/1")]
    assert judge_copies(copies) == [copies[1], copies[0]]


def test_copies_under_two_classes_are_all_refused_each_naming_those_of_the_others(accepted):
    judged = judge_copies([accepted("b/1"), accepted("a/1"), accepted("a/2")])
    assert [(copy.candidate.path, copy.verdict) for copy in judged] == [
        ("a/1", Fault("label_conflict", "The same content as b/1.")),
        ("a/2", Fault("label_conflict", "The same content as b/1.")),
        ("b/1", Fault("label_conflict", "The same content as a/1, a/2.")),
    ]


def test_of_many_copies_under_other_classes_ten_are_named(accepted):
    copies = [accepted("a/1"), *(accepted(f"b/{n:02d}") for n in range(13))]
    judged = judge_copies(copies)
    names = ", ".join(f"b/{n:02d}" for n in range(10))
    assert judged[0].verdict.detail == f"The same content as {names} and 3 more."


def test_copies_in_several_given_splits_are_refused_but_for_those_of_the_latest(accepted):
    copies = [
        accepted("a/1", "train"),
        accepted("a/2", "test"),
        accepted("a/3", "validation"),
        accepted("a/4", "test"),
        accepted("a/5", "train"),
    ]
    content = judge_content(copies, GIVEN, "remove")
    leak = Fault("leak", "The same content as test's a/2.")
    assert [copy.verdict for copy in content.copies] == [
        leak,
        copies[1].verdict,
        leak,
        copies[3].verdict,
        leak,
    ]
    assert content.item is not None
    assert (content.item.path, content.item.split) == ("a/2", "test")
    assert [(twin.first.path, twin.second.path, twin.distance) for twin in content.leaks] == [
        ("a/1", "a/2", 0),
        ("a/3", "a/2", 0),
        ("a/5", "a/2", 0),
    ]


@pytest.mark.parametrize("leakage", ["fail", "report"])
def test_copies_in_several_splits_stay_but_are_told_unless_they_are_to_be_removed(
    accepted, leakage
):
    copies = [accepted("a/1", "train"), accepted("a/2", "test")]
    content = judge_content(copies, GIVEN, leakage)
    assert content.copies == tuple(copies)
    assert len(content.leaks) == 1


def test_copies_that_their_groups_take_apart_leak_too(properties):
    def split_of(group: str) -> str:
        return DEALER.split_of(candidate("a/1", group=group), "a")

    names = {split_of(name): name for name in map(str, range(20))}
    copies = [
        Examined(candidate(f"a/{split}", group=names[split]), "a", properties()) for split in SHARES
    ]
    content = judge_content(copies, DEALER, "remove")
    assert content.copies[0].verdict == Fault(
        "leak", "The same content as validation's a/validation."
    )
    assert content.copies[1] == copies[1]


def test_a_content_under_two_classes_stands_for_nothing_and_leaks_nowhere(accepted):
    content = judge_content([accepted("a/1", "train"), accepted("b/1", "test")], GIVEN, "remove")
    assert (content.item, content.leaks) == (None, ())
    assert {copy.verdict.reason for copy in content.copies} == {"label_conflict"}


def test_a_content_is_refused_as_a_whole_but_what_was_refused_keeps_its_reason(accepted):
    refused = dataclasses.replace(accepted("a/2"), verdict=Fault("leak", "x"))
    fault = Fault("label_conflict", "y")
    assert [copy.verdict for copy in refuse_content([accepted("a/1"), refused], fault)] == [
        fault,
        refused.verdict,
    ]
    assert refuse_content([refused], None) == [refused]


def test_an_accepted_file_goes_where_its_content_s_digest_says(accepted):
    # SHA-256("a") is 0.7914 of 2^64.
    assert settle(accepted("x/1"), DEALER) == Outcome("x/1", "x", "a", "validation", None)


def test_outcomes_survive_being_written_also_with_undecodable_paths():
    outcome = Outcome("a/\udce9", "a", None, None, Fault("corrupt", "é"))
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert outcome.to_json().isascii()


def test_a_pair_is_written_with_names_that_are_valid_text(accepted):
    (twin,) = judge_content(
        [accepted("a/\udce9", "train"), accepted("a/2", "test")], GIVEN, "report"
    ).leaks
    assert twin_to_json(twin) == (
        '{"first": {"path": "a/\\\\xe9", "label": "a", "split": "train"}, '
        '"second": {"path": "a/2", "label": "a", "split": "test"}, "distance": 0}'
    )


def test_an_unknown_setting_for_leaks_is_refused_with_those_there_are():
    assert check_leakage("fail") == "fail"
    with pytest.raises(InputError, match=r"remove, fail, report\. Received: data\.leakage='drop'"):
        check_leakage("drop")


LISTING = Listing(
    candidates=(
        candidate("a/1", group="g"),
        candidate("a/2", group="g"),
        candidate("b/1", group="h"),
    ),
    refused=(
        Refusal(".x", "system_file", ""),
        Refusal("loose", "no_label", ""),
    ),
    labels=("a", "b"),
    kind="table",
    warnings=("Look here.",),
)
OUTCOMES = [
    Outcome("a/1", "a", "1", "train", None),
    Outcome("a/2", "a", "1", "validation", None),
    Outcome("b/1", "b", "3", None, Fault("corrupt", "")),
]


def test_counts_name_every_class_in_every_split_and_leave_system_files_out():
    counts = count_outcomes(LISTING, OUTCOMES, DEALER, "report", 2, 1)
    assert counts == Counts(
        found=4,
        accepted=2,
        refused=2,
        ignored=1,
        reasons={"corrupt": 1, "no_label": 1, "system_file": 1},
        splits={"train": {"a": 1, "b": 0}, "validation": {"a": 1, "b": 0}},
        shares=SHARES,
        kind="table",
        warnings=("Look here.",),
        duplicates=2,
        twins=2,
        leaks=1,
        leakage="report",
        split_groups=("g",),
        groups=1,
        predefined=(),
    )
    assert Counts.from_json(counts.to_json()) == counts
    assert counts.totals == {"a": 2, "b": 0}


def test_where_the_source_gives_every_image_its_split_nothing_has_a_share():
    given = dataclasses.replace(
        LISTING, candidates=tuple(dataclasses.replace(c, split="train") for c in LISTING.candidates)
    )
    counts = count_outcomes(given, OUTCOMES, Dealer(SHARES, "", given.predefined), "fail", 0, 0)
    assert counts.shares == {}
    assert counts.predefined == ("train",)
    assert list(counts.splits) == ["train", "validation"]


def test_at_most_twenty_groups_that_lie_in_several_splits_are_named():
    candidates = tuple(candidate(f"a/{n:02d}", group=f"{n // 2:02d}") for n in range(60))
    outcomes = [
        Outcome(one.path, "a", str(n), ("train", "validation")[n % 2], None)
        for n, one in enumerate(candidates)
    ]
    counts = count_outcomes(Listing(candidates, (), ("a",)), outcomes, DEALER, "fail", 0, 0)
    assert counts.split_groups == tuple(f"{n:02d}" for n in range(20))
    assert counts.groups == 30


def test_the_summary_tells_ignored_files_apart_from_refused_ones():
    assert count_outcomes(LISTING, OUTCOMES, DEALER, "remove", 0, 0).summary() == {
        "accepted": 2,
        "refused": 2,
        "ignored": 1,
        "reasons": {"corrupt": 1, "no_label": 1},
    }


@pytest.mark.parametrize("wrong", [OUTCOMES[1:], [*OUTCOMES, OUTCOMES[0]]])
def test_an_outcome_that_is_missing_or_there_twice_stops_the_run(wrong):
    with pytest.raises(RuntimeError, match=r"accepted=\d, refused=2, found=4"):
        count_outcomes(LISTING, wrong, DEALER, "remove", 0, 0)


def test_one_outcome_in_the_place_of_another_stops_the_run_though_the_numbers_add_up():
    with pytest.raises(RuntimeError, match="accepted=2, refused=2, found=4"):
        count_outcomes(LISTING, [OUTCOMES[0], *OUTCOMES[::2]], DEALER, "remove", 0, 0)


def reencode(content: bytes) -> bytes:
    copy = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(copy, "JPEG", quality=80)
    return copy.getvalue()


@pytest.fixture
def collection(tmp_path, scene, listed, listing_of, pillow):
    """Leaks of every kind between splits that the source gives, each beside innocent pictures."""
    files = {
        "a/alone": (1, "train"),
        "a/exact-test": (2, "test"),
        "a/exact-train": (2, "train"),
        "a/near-train": (-3, "train"),
        "a/near-validation": (3, "validation"),
        "a/same-split-1": (4, "train"),
        "a/same-split-2": (4, "train"),
        "b/alone": (5, "validation"),
        "a/conflict": (6, "train"),
        "b/conflict": (6, "test"),
        "a/near-conflict": (7, "train"),
        "b/near-conflict": (-7, "train"),
    }
    candidates = []
    for path, (seed, split) in files.items():
        content = scene(abs(seed))
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(reencode(content) if seed < 0 else content)
        candidates.append(listed(file, split=split))
    (tmp_path / "a/empty").write_bytes(b"")
    candidates.append(listed(tmp_path / "a/empty", split="train"))
    listing = listing_of(*candidates)
    examined = [examine_file(one, LIMITS, pillow) for one in listing.candidates]
    return listing, examined


def test_removing_leaks_refuses_the_earlier_copy_and_both_of_two_classes(collection):
    listing, examined = collection
    settled = settle_all(listing, examined, GIVEN, "remove")
    refused = {one.path: one.fault.reason for one in settled.outcomes if one.fault}
    assert refused == {
        "a/conflict": "label_conflict",
        "a/empty": "empty",
        "a/exact-train": "leak",
        "a/near-conflict": "label_conflict",
        "a/near-train": "leak",
        "b/conflict": "label_conflict",
        "b/near-conflict": "label_conflict",
    }
    details = {one.path: one.fault.detail for one in settled.outcomes if one.fault}
    assert details["a/exact-train"] == "The same content as test's a/exact-test."
    assert "validation's a/near-validation" in details["a/near-train"]
    assert [one.path for one in settled.outcomes] == sorted(one.path for one in settled.outcomes)
    pairs = [(twin.first.path, twin.second.path) for twin in settled.twins]
    assert pairs == [
        ("a/exact-train", "a/exact-test"),
        ("a/near-conflict", "b/near-conflict"),
        ("a/near-train", "a/near-validation"),
    ]
    assert settled.duplicates == (("a/same-split-1", "a/same-split-2"),)
    assert len(settled.properties) == len(examined) - 1
    counts = settled.counts
    assert (counts.found, counts.accepted, counts.refused) == (13, 6, 7)
    assert (counts.twins, counts.leaks, counts.duplicates) == (3, 2, 2)
    assert counts.reasons == {"empty": 1, "label_conflict": 4, "leak": 2}
    assert counts.predefined == ("train", "validation", "test")


@pytest.mark.parametrize("leakage", ["fail", "report"])
def test_leaks_that_are_not_removed_are_told_and_stay(collection, leakage):
    listing, examined = collection
    settled = settle_all(listing, examined, GIVEN, leakage)
    refused = {one.path: one.fault.reason for one in settled.outcomes if one.fault}
    assert refused == {
        "a/conflict": "label_conflict",
        "a/empty": "empty",
        "b/conflict": "label_conflict",
    }
    assert (settled.counts.twins, settled.counts.leaks) == (3, 2)
    assert settled.counts.leakage == leakage
    assert settled.duplicates == (
        ("a/exact-test", "a/exact-train"),
        ("a/same-split-1", "a/same-split-2"),
    )


def test_the_order_of_the_files_changes_nothing(collection):
    listing, examined = collection
    assert settle_all(listing, reversed(examined), GIVEN, "remove") == settle_all(
        listing, examined, GIVEN, "remove"
    )


def test_a_candidate_that_was_not_examined_stops_the_run(collection):
    listing, examined = collection
    with pytest.raises(RuntimeError, match="This is a fault of Graft"):
        settle_all(listing, examined[1:], GIVEN, "remove")


def test_one_picture_in_thousands_of_folders_is_judged_at_once(accepted):
    copies = [accepted(f"class{number // 2:05d}/{number}") for number in range(40_000)]
    judged = judge_copies(copies)
    assert all(isinstance(copy.verdict, Fault) for copy in judged)
    assert judged[-1].verdict.detail.endswith("class00004/9 and 39,988 more.")


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "JPEG"])
def test_what_examining_had_to_re_encode_is_handed_over_to_be_kept(
    tmp_path, image, pillow, listed, kind
):
    content = image(seed=1, kind=kind)
    path = tmp_path / "cat" / "1"
    path.parent.mkdir()
    path.write_bytes(content)
    kept = {}
    examined = examine_file(listed(path), Limits(10_000, 1), pillow, kept.__setitem__)
    served, _ = to_served(content, kind.lower())
    assert kept == ({} if served is content else {examined.sha256: served})
    assert bool(kept) == (kind == "WEBP")


def test_what_is_refused_is_not_kept(tmp_path, image, listed):
    def refuse(content):
        raise DecodeError("no")

    path = tmp_path / "cat" / "1"
    path.parent.mkdir()
    path.write_bytes(image(kind="WEBP"))
    kept = {}
    examined = examine_file(listed(path), Limits(10_000, 1), refuse, kept.__setitem__)
    assert isinstance(examined.verdict, Fault)
    assert kept == {}
