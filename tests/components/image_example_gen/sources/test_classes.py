import pytest

from components.errors import InputError
from components.image_example_gen.listing import Candidate, Listing, Place, SourceSettings
from components.image_example_gen.sources import check_source, list_images
from components.image_example_gen.sources.classes import class_warnings


def listing_of(**sizes):
    candidates = tuple(
        Candidate(f"{label}/{number}", label, 1, Place("/x"))
        for label, size in sizes.items()
        for number in range(size)
    )
    return Listing(candidates, (), tuple(sorted(sizes)))


def warnings_of(**sizes):
    return list(class_warnings(listing_of(**sizes)))


def test_classes_that_differ_only_in_case_or_spaces_are_named():
    sizes = {"Daisy": 20, "daisy": 20, " daisy": 20, "rose red": 20, "rose  Red ": 20, "tulip": 20}
    assert warnings_of(**sizes) == [
        "Some classes differ only in case or spaces: ' daisy' and 'Daisy' and 'daisy'; 'rose  Red '"
        " and 'rose red'. Rename them where they are one."
    ]


def test_of_many_such_groups_five_are_named_and_the_others_counted():
    sizes = {name: 20 for number in range(7) for name in (f"a{number}", f"A{number}")}
    (warning,) = warnings_of(**sizes)
    assert warning.count(" and ") == 6
    assert "'A4' and 'a4' and 2 more. Rename" in warning


def test_classes_of_fewer_than_twenty_images_are_named_smallest_first():
    assert warnings_of(a=20, b=19, c=3) == [
        "2 classes have fewer than 20 images: 'c' (3), 'b' (19)."
    ]
    assert warnings_of(a=20, b=19) == ["1 class has fewer than 20 images: 'b' (19)."]
    assert warnings_of(a=20, b=21) == []


def test_of_many_small_classes_five_are_named():
    (warning,) = warnings_of(**{f"c{number}": 1 for number in range(8)})
    assert warning == (
        "8 classes have fewer than 20 images: 'c0' (1), 'c1' (1), 'c2' (1), 'c3' (1), 'c4' (1) and "
        "3 more."
    )


def test_case_twins_of_a_folder_are_warned_of(tmp_path, fill, settings):
    photos = fill(tmp_path / "photos", "Daisy/1", "daisy/2")
    assert (
        list_images(settings(photos))
        .warnings[0]
        .startswith("Some classes differ only in case or spaces: 'Daisy' and 'daisy'.")
    )


@pytest.mark.parametrize(
    ("paths", "received", "mend"),
    [
        (["a.jpg", "b.jpg"], "files only, e.g. 'a.jpg', 'b.jpg'", "Sort the images"),
        (["a/1", "a/2"], "with only 'a'", "Add a folder for every other class"),
        (["a/1", "a/2", "b/1"], "with 'b' \\(1\\)", "Add images"),
        (["a/1", "a/2", "b/.x"], "with 'b' \\(0\\)", "Add images"),
        ([".DS_Store"], "which is empty", "Put one folder"),
        (["a\nb/1", "a\nb/2", "b/1", "b/2"], "a.+nb", "Rename the folder"),
        (["images/1", "labels.csv"], "with only 'images'", "write data.source: .*/labels.csv"),
        (["val/a/1", "val/a/2", "train/a/1"], "with only 'a'", "Add a folder"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused_with_value_and_mend(
    tmp_path, fill, settings, paths, received, mend
):
    photos = fill(tmp_path / "photos", *paths)
    with pytest.raises(InputError, match=f"(?s)Expected .*{received}.*{mend}") as caught:
        check_source(settings(photos))
    assert caught.value.exit_status == 2
    assert f"data.source={photos}" in str(caught.value)


def test_a_folder_of_images_alone_is_told_how_they_are_classified_without_labels(
    tmp_path, fill, settings
):
    photos = fill(tmp_path / "photos", "a.jpg")
    with pytest.raises(InputError) as caught:
        check_source(settings(photos))
    assert str(caught.value) == (
        f"Expected one folder per class. Received: data.source={photos} with files only, e.g. "
        "'a.jpg'. Sort the images into one folder per class. Images without labels cannot be "
        f"trained on, but a trained model classifies them: graft predict CONFIG {photos}."
    )
    (photos / "a.jpg").rename(photos / "a.csv")
    with pytest.raises(InputError, match=r"one folder per class\. 'a\.csv': To use it as a table"):
        check_source(settings(photos))


def test_an_unreadable_class_folder_says_why_the_class_is_empty(locked, fill):
    fill(locked.parent, "a/1", "a/2", "b/1", "b/2")
    with pytest.raises(InputError, match=r"'locked' \(0\)\. 'locked': .*Permission denied"):
        check_source(SourceSettings(str(locked.parent)))


def test_a_source_folder_that_may_not_be_listed_is_told(locked):
    with pytest.raises(InputError, match="Received: .*The folder cannot be read: Permission den"):
        check_source(SourceSettings(str(locked)))


def test_loose_files_that_are_sources_are_told_how_they_are_read(tmp_path, write_zip, settings):
    from components.image_example_gen.sources.recognition import masked_crc

    length = bytes(8)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "d-0").write_bytes(length + masked_crc(length).to_bytes(4, "little") + bytes(4))
    told = "is of the kind TFRecord files; to read it write data.source: "
    with pytest.raises(InputError, match=rf"'d-0' {told}{photos}/\*\.$"):
        check_source(settings(photos))
    write_zip(photos / "a.zip", {"a/1": b"x"})
    with pytest.raises(
        InputError, match=rf"'a.zip' is of the kind zip archive; .*: {photos}/a\.zip"
    ):
        check_source(settings(photos))


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({".DS_Store": b""}, "which is empty"),
        ({"1.jpg": b"x"}, "none has both, e.g. '1.jpg': Move it into the folder of its class."),
        ({"a/1": b"x", "a/2": b"y"}, "with only 'a'. Add the other classes."),
    ],
)
def test_an_archive_that_cannot_be_trained_on_is_refused(
    tmp_path, write_zip, settings, members, told
):
    with pytest.raises(InputError) as caught:
        check_source(settings(write_zip(tmp_path / "p.zip", members)))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("gone,x\nb/3,y\nb/4,y\n", "with 'x' (0). Add images to the class or leave the class out."),
        ("a/1,x\na/2,x\n", "Expected at least two classes. Received: "),
        ("a/1,x\na/2,x\nb/3,y\n", "with 'y' (1). Add images to the class or leave the class out."),
        ("a/1,\n", "of which none has both, e.g. 'a/1': The table gives it no label in row 2."),
        (
            'a/1,"x\ny"\na/2,"x\ny"\nb/3,z\nb/4,z\n',
            "with ['x\\ny']. Rename the class.",
        ),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(tmp_path, fill, settings, rows, told):
    photos = fill(tmp_path / "photos", "a/1", "a/2", "b/3", "b/4")
    (photos / "t.csv").write_text("path,label\n" + rows)
    with pytest.raises(InputError) as caught:
        check_source(settings(photos / "t.csv"))
    assert told in str(caught.value)


def test_a_source_of_which_nothing_may_be_trained_on_is_refused(tmp_path, fill, settings):
    photos = fill(tmp_path / "photos", "a/1", "a/2", "b/3", "b/4")
    rows = "a/1,x,test\na/2,x,val\nb/3,y,test\nb/4,y,val\n"
    (photos / "t.csv").write_text("path,label,split\n" + rows)
    with pytest.raises(InputError) as caught:
        check_source(settings(photos / "t.csv"))
    assert str(caught.value) == (
        f"Expected images to train on. Received: data.source={photos}/t.csv, whose images are all "
        "of the splits test, validation. Add images of the split train, or leave the split of some "
        "empty."
    )


def test_two_classes_of_two_files_are_enough(tmp_path, fill, settings):
    assert check_source(settings(fill(tmp_path / "p", "a/1", "a/2", "b/1", "b/2"))).found == 4
