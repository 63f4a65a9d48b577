import pytest

from components.errors import InputError
from components.image_example_gen.listing import Candidate, Place
from components.image_example_gen.sources import compile_group, list_images
from components.image_example_gen.sources.groups import assign_groups


def candidates(*paths, group=None):
    return tuple(Candidate(path, "x", 1, Place(f"/{path}"), group=group) for path in paths)


def groups_of(found):
    return [one.group for one in found]


def test_the_first_match_in_a_path_is_the_group():
    found, warnings = assign_groups(candidates("a/p12-p3.jpg", "b/p12.jpg"), r"p(\d+)")
    assert groups_of(found) == ["12", "12"]
    assert warnings == ()


def test_a_group_of_the_source_s_own_is_kept():
    found, _ = assign_groups(candidates("a/p1.jpg", group="own"), r"p(\d+)")
    assert groups_of(found) == ["own"]


def test_without_a_pattern_nothing_is_grouped():
    given = candidates("a/p1.jpg")
    assert assign_groups(given, "") == (given, ())


def test_a_pattern_that_matches_some_paths_only_is_warned_of_with_counts():
    found, warnings = assign_groups(candidates("a/p1", "a/x", "b/p"), r"p(\d*)")
    assert groups_of(found) == ["1", None, None]
    assert warnings == (
        "data.group matches 1 of 3 paths; the others are dealt one by one, e.g. 'a/x'.",
    )


def test_a_pattern_that_matches_none_is_an_error():
    with pytest.raises(InputError) as caught:
        assign_groups(candidates("a/1", "b/2"), "p(.)")
    assert str(caught.value) == (
        "Expected a pattern that is found in paths. Received: data.group='p(.)', which matches "
        "none of 2, e.g. 'a/1'. Correct it or leave it out."
    )


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("p(", "which is none: missing ), unterminated subpattern at position 1. Correct it, e.g."),
        ("p", "which has 0. Put parentheses around what names the group and write the others as"),
        ("(p)(q)", "which has 2. Put parentheses"),
    ],
)
def test_what_is_no_expression_with_one_group_is_an_error(pattern, told):
    with pytest.raises(InputError) as caught:
        compile_group(pattern)
    assert str(caught.value).startswith(
        f"Expected a regular expression with one group. Received: data.group={pattern!r}, {told}"
    )


def test_other_parentheses_are_allowed():
    assert compile_group(r"(?:patient|case)-(\d+)").search("case-7").group(1) == "7"


def test_a_listing_carries_the_groups_and_the_warning(tmp_path, fill, settings):
    photos = fill(tmp_path / "photos", "a/p1-1.jpg", "a/p1-2.jpg", "b/x.jpg")
    listing = list_images(settings(photos, group=r"/p(\d)-"))
    assert groups_of(listing.candidates) == ["1", "1", None]
    assert listing.warnings[-1].startswith("data.group matches 2 of 3 paths")


def test_a_wrong_pattern_is_told_before_anything_is_listed(settings):
    with pytest.raises(InputError, match="data.group="):
        list_images(settings("/nothing/there", group="("))
