import os
import socket
import time
from pathlib import Path

import pytest

from components.image_example_gen.listing import Candidate, Place, SourceSettings
from components.image_example_gen.quarantine import format_refusals, path_text
from components.image_example_gen.sources import list_images, read_content, read_place
from components.image_example_gen.sources.folders import is_system_name, split_named, system_part


def stamp_of(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def paths_of(listing) -> list[str]:
    return [candidate.path for candidate in listing.candidates]


def splits_of(listing) -> dict[str, tuple[str, str | None]]:
    return {one.path: (one.label, one.split) for one in listing.candidates}


def test_the_class_is_the_first_level_folder_and_every_regular_file_a_candidate(
    tmp_path, fill, settings
):
    names = ("a/deep/er/y.txt", "a/no_extension", "b/x.jpg")
    listing = list_images(settings(fill(tmp_path / "photos", *names)))
    places = [tmp_path / "photos" / name for name in names]
    assert listing.candidates == tuple(
        Candidate(name, name[0], len(name), Place(str(place)), stamp=stamp_of(place))
        for name, place in zip(names, places, strict=True)
    )
    assert listing.labels == ("a", "b")
    assert listing.refused == ()
    assert listing.kind == "folder of class folders"
    assert [read_place(one.place) for one in listing.candidates] == [n.encode() for n in names]


def test_a_file_beside_the_class_folders_has_no_label(tmp_path, fill, settings, reasons):
    listing = list_images(settings(fill(tmp_path / "photos", "a/1", "loose.jpg")))
    assert reasons(listing) == {"loose.jpg": "no_label"}
    assert listing.found == 2


def test_a_table_beside_class_folders_is_told_how_it_would_be_used(tmp_path, fill, settings):
    folder = fill(tmp_path / "photos", "a/1", "labels.csv", "a/notes.csv")
    listing = list_images(settings(folder))
    (refusal,) = listing.refused
    assert refusal.detail == f"To use it as a table write data.source: {folder}/labels.csv."
    assert paths_of(listing) == ["a/1", "a/notes.csv"]


def test_of_two_tables_beside_class_folders_none_is_proposed(tmp_path, fill, settings):
    listing = list_images(settings(fill(tmp_path / "photos", "a/1", "one.csv", "two.jsonl")))
    assert {one.detail for one in listing.refused} == {"Move it into the folder of its class."}


def test_system_files_are_named_but_not_counted(tmp_path, fill, settings, reasons):
    names = (".DS_Store", "a/Thumbs.db", "a/desktop.ini", "a/._1.jpg", ".git/config", "__MACOSX/x")
    listing = list_images(settings(fill(tmp_path / "photos", "a/1", *names)))
    assert reasons(listing) == {
        path: "system_file"
        for path in (".DS_Store", ".git", "__MACOSX", "a/._1.jpg", "a/Thumbs.db", "a/desktop.ini")
    }
    assert listing.found == 1
    assert listing.labels == ("a",)


@pytest.mark.parametrize(("name", "is_system"), [("Thumbs.db", True), ("thumbs.jpg", False)])
def test_system_names_are_known_in_any_case(name, is_system):
    assert is_system_name(name) is is_system
    assert is_system_name(name.upper()) is is_system


def test_a_path_is_cut_at_its_first_system_part():
    assert system_part("a/.git/x/.y") == "a/.git"
    assert system_part("a/b.jpg") == ""


def test_broken_links_pipes_and_sockets_are_refused_without_being_opened(
    tmp_path, fill, settings, reasons, monkeypatch
):
    photos = fill(tmp_path / "photos", "a/1")
    (photos / "a/broken").symlink_to("nowhere")
    os.mkfifo(photos / "a/pipe")
    monkeypatch.chdir(photos)  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a/socket")
        assert reasons(list_images(settings(photos))) == {
            "a/broken": "unreadable",
            "a/pipe": "unreadable",
            "a/socket": "unreadable",
        }


def test_a_folder_without_permission_is_refused_by_name(locked, fill, reasons):
    source = locked.parent
    fill(source, "a/1", "b/2")
    (source / "a/closed").mkdir(mode=0)
    try:
        listing = list_images(SourceSettings(str(source)))
    finally:
        (source / "a/closed").chmod(0o700)
    assert reasons(listing) == {"a/closed": "unreadable", "locked": "unreadable"}
    assert {one.detail for one in listing.refused} == {
        "The folder cannot be read: Permission denied."
    }
    assert listing.labels == ("a", "b", "locked")


def test_linked_files_and_folders_are_followed_under_their_own_names(tmp_path, fill, settings):
    fill(tmp_path / "elsewhere", "1", "2")
    source = fill(tmp_path / "source", "a/0")
    (source / "b").symlink_to(tmp_path / "elsewhere")
    (source / "a/link").symlink_to(tmp_path / "elsewhere/1")
    listing = list_images(settings(source))
    assert paths_of(listing) == ["a/0", "a/link", "b/1", "b/2"]
    assert listing.labels == ("a", "b")


def test_a_link_to_a_folder_above_it_ends_the_walk_there(tmp_path, fill, settings, reasons):
    photos = fill(tmp_path / "photos", "a/1", "a/deep/2")
    (photos / "a/deep/up").symlink_to(photos / "a")
    (photos / "a/self").symlink_to("self")
    (photos / "a/top").symlink_to(photos)
    listing = list_images(settings(photos))
    assert paths_of(listing) == ["a/1", "a/deep/2"]
    assert reasons(listing) == dict.fromkeys(["a/deep/up", "a/self", "a/top"], "unreadable")


def test_names_with_bytes_that_are_not_utf_8_spaces_and_newlines_are_listed_and_read(
    tmp_path, settings
):
    names = [b"caf\xe9/\xff .jpg", b"caf\xe9/two\nlines.jpg", b"with space/1.jpg"]
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), b"photos", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name)
    listing = list_images(settings(tmp_path / "photos"))
    assert [os.fsencode(path) for path in paths_of(listing)] == sorted(names)
    assert [read_place(one.place) for one in listing.candidates] == sorted(names)
    assert [read_content(one.place.file) for one in listing.candidates] == sorted(names)
    assert path_text(listing.candidates[0].path) == "caf\\xe9/two\nlines.jpg"


@pytest.mark.e2e  # many files
def test_twenty_thousand_class_folders_are_listed_in_seconds(tmp_path, settings):
    photos = tmp_path / "photos"
    photos.mkdir()
    one = tmp_path / "one.jpg"
    one.write_bytes(b"x")
    for number in range(20_000):
        (photos / f"{number:05d}").mkdir()
        os.link(one, photos / f"{number:05d}" / "1.jpg")
    start = time.monotonic()
    listing = list_images(settings(photos))
    assert time.monotonic() - start < 20
    assert len(listing.labels) == len(listing.candidates) == 20_000


def test_folders_deeper_than_any_collection_end_the_walk(tmp_path, fill, settings, reasons):
    deep = "/".join(["d"] * 65)
    listing = list_images(settings(fill(tmp_path / "photos", "a/1", f"{deep}/d/1")))
    assert paths_of(listing) == ["a/1"]
    assert reasons(listing) == {deep: "unreadable"}


@pytest.mark.parametrize(
    ("train", "validation"),
    [("train", "validation"), ("Training", "VAL"), ("TRAIN", "valid"), ("train", "dev")],
)
def test_split_folders_give_the_split_under_any_of_their_names(
    tmp_path, fill, settings, train, validation
):
    names = (f"{train}/a/1", f"{train}/b/x/2", f"{validation}/a/3", "Testing/c/4")
    listing = list_images(settings(fill(tmp_path / "photos", *names)))
    assert splits_of(listing) == {
        names[0]: ("a", "train"),
        names[1]: ("b", "train"),
        names[2]: ("a", "validation"),
        names[3]: ("c", "test"),
    }
    assert listing.labels == ("a", "b", "c")
    assert listing.kind == "folder of split folders"
    assert listing.predefined == {"train", "validation", "test"}


def test_two_folders_of_one_split_both_belong_to_it(tmp_path, fill, settings):
    names = ("train/a/1", "val/a/2", "validation/a/3")
    listing = list_images(settings(fill(tmp_path / "photos", *names)))
    assert [one.split for one in listing.candidates] == ["train", "validation", "validation"]


def test_what_lies_beside_split_folders_or_their_classes_has_no_label(
    tmp_path, fill, settings, reasons
):
    names = ("train/a/1", "val/a/2", "other/a/3", "other/4", "loose", "val/5")
    listing = list_images(settings(fill(tmp_path / "photos", *names)))
    assert reasons(listing) == dict.fromkeys(["loose", "other/4", "other/a/3", "val/5"], "no_label")
    details = {one.path: one.detail for one in listing.refused}
    assert details["loose"] == "It lies in none of the split folders 'train', 'val'; move it there."
    assert details["val/5"] == "Move it into the folder of its class in the folder of its split."
    assert listing.found == len(names)


def test_train_without_validation_is_left_to_be_dealt(tmp_path, fill, settings):
    listing = list_images(settings(fill(tmp_path / "photos", "train/a/1", "test/a/2")))
    assert splits_of(listing) == {"test/a/2": ("a", "test"), "train/a/1": ("a", None)}
    assert listing.predefined == {"test"}


def test_an_empty_validation_folder_is_warned_of_and_dealt(tmp_path, fill, settings):
    photos = fill(tmp_path / "photos", "train/a/1", "val/.keep")
    listing = list_images(settings(photos))
    assert splits_of(listing) == {"train/a/1": ("a", None)}
    assert listing.warnings[0] == (
        "The split folder 'val' holds no image of a class; validation is dealt as if it were not "
        "there."
    )


@pytest.mark.parametrize(
    "names", [("train/a/1", "bus/a/2"), ("train/1", "test/2"), ("val/a/1", "test/a/2")]
)
def test_folders_that_are_not_train_and_another_split_are_classes(tmp_path, fill, settings, names):
    listing = list_images(settings(fill(tmp_path / "photos", *names)))
    assert listing.labels == tuple(sorted(name.split("/")[0] for name in names))
    assert listing.predefined == frozenset()


def test_split_names_are_known_by_their_usual_aliases():
    assert [split_named(name) for name in ("Dev", " val ", "TESTING", "eval")] == [
        "validation",
        "validation",
        "test",
        None,
    ]


def test_refusals_are_written_sorted_one_json_object_a_line(tmp_path, fill, settings):
    listing = list_images(settings(fill(tmp_path / "photos", "z.jpg", ".x", "a/1")))
    assert format_refusals(reversed(listing.refused)) == (
        '{"path": ".x", "reason": "system_file", '
        '"detail": "Left by an operating system or a tool."}\n'
        '{"path": "z.jpg", "reason": "no_label", '
        '"detail": "Move it into the folder of its class."}\n'
    )
