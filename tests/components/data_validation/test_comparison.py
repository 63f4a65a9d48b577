import pytest

from components.data_validation.comparison import (
    DIVERGENCE,
    LARGEST_CHANGE,
    MIN_COMPARED,
    Measurement,
    Summary,
    compare_runs,
    compare_splits,
    is_comparable,
    join_summaries,
    widen_limit,
)

BRIGHT = Measurement("image/brightness", DIVERGENCE, 0.41, 0.15)
NEAR = Measurement("image/contrast", DIVERGENCE, 0.15, 0.15)


def summary(images=300, labels=("a", "b"), formats=("jpeg",), width=(100.0, 200.0), mean=0.5):
    return Summary(
        images=images,
        values={"label": frozenset(labels), "image/format": frozenset(formats)},
        ranges={"image/width": width, "image/height": (50.0, 60.0)},
        means={"image/width": 150.0, "image/height": 55.0, "image/brightness": mean},
    )


def runs(now: Summary, before: Summary, measurements=()):
    return compare_runs({"train": now}, {"train": before}, measurements, "train", "today")


def test_equal_images_depart_in_nothing():
    found = runs(summary(), summary(), [NEAR])
    assert (found.departures, found.told, found.compared) == ((), (), 1)


def test_a_distance_above_its_limit_is_told_with_both_means():
    found = runs(summary(mean=0.13), summary(mean=0.44), [NEAR, BRIGHT])
    assert found.subject == "this run's train and that of the served model (today)"
    assert found.departures == (
        "feature 'image/brightness': Jensen-Shannon divergence 0.41, limit 0.15 (mean 0.13 against "
        "0.44)",
    )


def test_a_feature_without_a_mean_is_told_without():
    label = Measurement("label", LARGEST_CHANGE, 0.3, 0.2)
    assert runs(summary(), summary(), [label]).departures == (
        "feature 'label': largest change of a share 0.3, limit 0.2",
    )


def test_the_farthest_above_its_limit_comes_first():
    wide = Measurement("image/width", DIVERGENCE, 0.31, 0.3)
    found = runs(summary(), summary(), [wide, BRIGHT])
    assert [clause.split("'")[1] for clause in found.departures] == [
        "image/brightness",
        "image/width",
    ]


def test_new_labels_gone_labels_and_new_formats_are_named():
    found = runs(summary(labels="ac", formats=("jpeg", "png")), summary(labels="ab"))
    assert found.departures == ("new label 'c'", "label 'b' is gone", "new format 'png'")


def test_a_label_that_moved_to_another_split_is_not_new():
    now = {"train": summary(labels="a"), "validation": summary(labels="ab")}
    before = {"train": summary(labels="ab"), "validation": summary(labels="a")}
    assert compare_runs(now, before, [], "train", "today").departures == ()


def test_many_new_labels_are_counted():
    found = runs(summary(labels="abcdefgh"), summary(labels="a"))
    assert found.departures[4:] == ("new label 'f'", "2 more like 'h'")


def test_labels_that_statistics_do_not_list_wholly_are_not_compared():
    found = runs(summary(labels="abc"), Summary(300, {}, {}, {}))
    assert found.departures == ()


def test_sizes_outside_the_range_seen_before_are_told_and_held_against_nobody():
    found = runs(summary(width=(100.0, 4000.0)), summary())
    assert found.departures == ()
    assert found.told == (
        "feature 'image/width' goes from 100 to 4,000 pixels, outside the 100 to 200 seen before",
    )


def test_sizes_within_the_range_seen_before_are_not_told():
    assert runs(summary(width=(150.0, 160.0)), summary()).told == ()


def test_few_images_are_not_compared_and_the_words_say_so():
    found = runs(summary(images=29), summary(images=5000))
    assert found.told == (
        "distributions are not compared with 29 images and 5,000 there, as below 30 either way "
        "they differ by chance",
    )


def test_thirty_images_on_both_sides_are_comparable():
    assert MIN_COMPARED == 30
    assert is_comparable(30, 30)
    assert not is_comparable(29, 30)
    assert not is_comparable(30, 29)


def test_limits_widen_with_chance_below_two_hundred_images():
    assert widen_limit(0.2, 200, 5000) == widen_limit(0.2, 5000, 5000) == 0.2
    assert widen_limit(0.2, 50, 5000) == widen_limit(0.2, 5000, 50) == pytest.approx(0.4)


def test_a_distance_within_the_widened_limit_is_no_departure():
    few = Summary(50, {}, {}, {})
    held = Measurement("image/brightness", DIVERGENCE, 0.39, 0.2)
    above = Measurement("image/entropy", DIVERGENCE, 0.41, 0.2)
    found = compare_splits(few, few, [held, above], ("validation", "train"))
    assert found.departures == (
        "feature 'image/entropy': Jensen-Shannon divergence 0.41, limit 0.4, widened for 50 images",
    )


def test_splits_are_compared_by_distances_alone():
    found = compare_splits(
        summary(labels="ab"), summary(labels="a"), [BRIGHT], ("validation", "train")
    )
    assert found.subject == "this run's validation and train"
    assert [clause.split(",")[0] for clause in found.departures] == [
        "feature 'image/brightness': Jensen-Shannon divergence 0.41"
    ]


def test_joined_summaries_hold_all_values_and_the_whole_range():
    joined = join_summaries(
        [
            summary(images=300, labels="a", width=(10.0, 20.0)),
            summary(images=100, labels="b", width=(5.0, 15.0)),
            Summary(0, {}, {}, {}),
        ]
    )
    assert joined.images == 400
    assert joined.values["label"] == {"a", "b"}
    assert joined.ranges["image/width"] == (5.0, 20.0)


def test_an_incomplete_list_of_values_stays_incomplete_when_joined():
    incomplete = Summary(5, {"image/format": frozenset({"png"})}, {}, {})
    assert set(join_summaries([summary(), incomplete]).values) == {"image/format"}
