import hashlib
import os
import socket
from pathlib import Path

import pytest

from components.errors import InputError
from components.image_example_gen import sources
from components.image_example_gen.quarantine import format_refusals, path_text
from components.image_example_gen.sources import (
    Candidate,
    check_source,
    combine_digests,
    content_fingerprint,
    find_images,
    read_content,
)


def fill(root: Path, *paths: str) -> Path:
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.encode())
    return root


def reasons(root: Path) -> dict[str, str]:
    return {refusal.path: refusal.reason for refusal in find_images(root).refused}


def test_the_class_is_the_first_level_folder_and_every_regular_file_a_candidate(tmp_path):
    listing = find_images(fill(tmp_path, "b/x.jpg", "a/deep/er/y.txt", "a/no_extension"))
    assert listing.candidates == (
        Candidate("a/deep/er/y.txt", "a", 15),
        Candidate("a/no_extension", "a", 14),
        Candidate("b/x.jpg", "b", 7),
    )
    assert listing.labels == ("a", "b")
    assert listing.refused == ()


def test_a_file_beside_the_class_folders_has_no_label(tmp_path):
    fill(tmp_path, "a/1", "loose.jpg")
    assert reasons(tmp_path) == {"loose.jpg": "no_label"}
    assert find_images(tmp_path).found == 2


def test_system_files_are_named_but_not_counted(tmp_path):
    names = (".DS_Store", "a/Thumbs.db", "a/desktop.ini", "a/._1.jpg", ".git/config", "__MACOSX/x")
    fill(tmp_path, "a/1", *names)
    assert reasons(tmp_path) == {
        path: "system_file"
        for path in (".DS_Store", ".git", "__MACOSX", "a/._1.jpg", "a/Thumbs.db", "a/desktop.ini")
    }
    assert find_images(tmp_path).found == 1
    assert find_images(tmp_path).labels == ("a",)


def test_broken_links_pipes_and_sockets_are_refused_without_being_opened(tmp_path, monkeypatch):
    fill(tmp_path, "a/1")
    (tmp_path / "a/broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a/pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a/socket")
        assert reasons(tmp_path) == {
            "a/broken": "unreadable",
            "a/pipe": "unreadable",
            "a/socket": "unreadable",
        }


def test_a_folder_that_cannot_be_listed_is_refused_by_name(tmp_path, monkeypatch):
    fill(tmp_path, "a/1", "a/locked/2", "b/3")
    listdir = os.listdir

    def deny(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(sources.os, "listdir", deny)
    assert reasons(tmp_path) == {"a/locked": "unreadable"}


def test_linked_files_and_folders_are_followed_under_their_own_names(tmp_path):
    fill(tmp_path / "elsewhere", "1", "2")
    source = fill(tmp_path / "source", "a/0")
    (source / "b").symlink_to(tmp_path / "elsewhere")
    (source / "a/link").symlink_to(tmp_path / "elsewhere/1")
    listing = find_images(source)
    assert [entry.path for entry in listing.candidates] == ["a/0", "a/link", "b/1", "b/2"]
    assert listing.labels == ("a", "b")


def test_a_link_to_a_folder_above_it_ends_the_walk_there(tmp_path):
    fill(tmp_path, "a/1", "a/deep/2")
    (tmp_path / "a/deep/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/self").symlink_to("self")
    assert [entry.path for entry in find_images(tmp_path).candidates] == ["a/1", "a/deep/2"]
    assert reasons(tmp_path) == {"a/deep/up": "unreadable", "a/self": "unreadable"}


def test_a_name_that_is_not_utf_8_is_listed_read_and_written_down(tmp_path):
    (tmp_path / "a").mkdir()
    name = os.path.join(os.fsencode(tmp_path), b"a", b"caf\xe9.jpg")
    with open(name, "wb") as file:
        file.write(b"content")
    (candidate,) = find_images(tmp_path).candidates
    assert os.fsencode(candidate.path) == b"a/caf\xe9.jpg"
    assert read_content(os.path.join(tmp_path, candidate.path)) == b"content"
    assert path_text(candidate.path) == "a/caf\\xe9.jpg"
    assert len(content_fingerprint(tmp_path, find_images(tmp_path))) == 64


def test_no_two_names_give_the_same_text():
    assert path_text(os.fsdecode(b"\xe9")) == "\\xe9"
    assert path_text("\\xe9") == "\\\\xe9"
    assert path_text("é") == "é"


@pytest.mark.parametrize(
    ("paths", "received", "mend"),
    [
        (["file"], "file, which is a file", "Name the folder"),
        (["file/a.jpg", "file/b.jpg"], "files only, e.g. 'a.jpg', 'b.jpg'", "Sort the images"),
        (["file/a/1", "file/a/2"], "with only 'a'", "every other class"),
        (["file/a/1", "file/a/2", "file/b/1"], "with 'b' \\(1\\)", "Add images"),
        (["file/a/1", "file/a/2", "file/b/.x"], "with 'b' \\(0\\)", "Add images"),
        (["file/.DS_Store"], "which is empty", "Put one folder"),
        (["file/a\nb/1", "file/a\nb/2", "file/b/1", "file/b/2"], "a.+nb", "Rename the folder"),
    ],
)
def test_a_source_that_cannot_be_trained_on_is_refused_with_value_and_mend(
    tmp_path, paths, received, mend
):
    fill(tmp_path, *paths)
    with pytest.raises(InputError, match=f"(?s)Expected .*{received}.*{mend}") as caught:
        check_source(tmp_path / "file")
    assert caught.value.exit_status == 2
    assert str(tmp_path / "file") in str(caught.value)


def test_a_missing_source_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"Received: data.source=.*/missing, which does not"):
        check_source(str(tmp_path / "missing"))


def test_an_unreadable_class_folder_says_why_the_class_is_empty(tmp_path, monkeypatch):
    fill(tmp_path, "a/1", "a/2", "b/1", "b/2")
    listdir = os.listdir

    def deny(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(sources.os, "listdir", deny)
    with pytest.raises(InputError, match=r"'b' \(0\).*'b': .*Permission denied"):
        check_source(tmp_path)


def test_two_classes_of_two_files_are_enough(tmp_path):
    assert check_source(fill(tmp_path, "a/1", "a/2", "b/1", "b/2")).found == 4


def fingerprint(root: Path) -> str:
    return content_fingerprint(root, find_images(root))


def test_the_fingerprint_is_that_of_sorted_names_and_contents(tmp_path):
    fill(tmp_path, "a/1", "b/2")
    one, two = (hashlib.sha256(content).hexdigest().encode() for content in (b"a/1", b"b/2"))
    parts = [b"a/", b"", b"a/1", one, b"b/", b"", b"b/2", two]
    expected = hashlib.sha256(b"".join(part + b"\0" for part in parts)).hexdigest()
    assert fingerprint(tmp_path) == expected


def test_a_touched_file_and_a_system_file_leave_the_fingerprint_as_it_was(tmp_path):
    before = fingerprint(fill(tmp_path, "a/1", "b/2"))
    os.utime(tmp_path / "a/1", (1, 1))
    fill(tmp_path, "a/.DS_Store")
    assert fingerprint(tmp_path) == before


def test_one_changed_byte_of_equal_size_and_time_changes_the_fingerprint(tmp_path):
    before = fingerprint(fill(tmp_path, "a/1", "b/2"))
    status = (tmp_path / "a/1").stat()
    (tmp_path / "a/1").write_bytes(b"a/2")
    os.utime(tmp_path / "a/1", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(tmp_path) != before


def test_a_renamed_moved_or_added_file_changes_the_fingerprint(tmp_path):
    seen = {fingerprint(fill(tmp_path, "a/1", "b/2"))}
    (tmp_path / "a/1").rename(tmp_path / "a/3")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "a/3").rename(tmp_path / "b/3")
    seen.add(fingerprint(tmp_path))
    fill(tmp_path, "b/4")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "loose").write_bytes(b"")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 5


def test_a_file_that_cannot_be_read_has_a_fingerprint_of_its_own(tmp_path):
    listing = find_images(fill(tmp_path, "a/1"))
    before = content_fingerprint(tmp_path, listing)
    (tmp_path / "a/1").unlink()
    assert content_fingerprint(tmp_path, listing) == combine_digests(listing, {"a/1": None})
    assert content_fingerprint(tmp_path, listing) != before


def test_a_pipe_in_a_listed_file_s_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        read_content(tmp_path / "pipe")


def test_refusals_are_written_sorted_one_json_object_a_line(tmp_path):
    fill(tmp_path, "z.jpg", ".x", "a/1")
    assert format_refusals(reversed(find_images(tmp_path).refused)) == (
        '{"path": ".x", "reason": "system_file", '
        '"detail": "Left by an operating system or a tool."}\n'
        '{"path": "z.jpg", "reason": "no_label", '
        '"detail": "Move it into the folder of its class."}\n'
    )


def test_a_source_that_may_not_be_entered_is_told(locked):
    with pytest.raises(InputError, match=r"data\.source=.*/photos, which may not be read\."):
        check_source(locked / "photos")
