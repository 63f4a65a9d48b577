import os
import re
import threading

import pytest

from components.errors import InputError
from components.image_example_gen.listing import Place, SourceSettings
from components.image_example_gen.sources import (
    check_source,
    list_images,
    read_content,
    read_place,
    why_missing,
)
from components.image_example_gen.sources.storage import (
    LOCAL,
    in_threads,
    is_pattern,
    is_remote,
    join,
    parent_of,
    statuses,
    storage_of,
)


@pytest.fixture(scope="session")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(params=["file", "ram"])
def remote(request, tmp_path, tf):
    """An empty folder of a file system that only TensorFlow opens, as a URI."""
    folder = f"file://{tmp_path}/r" if request.param == "file" else f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(folder)
    return folder


@pytest.fixture
def put(tf):
    """Writes files at URIs."""

    def write(folder, **files):
        for name, content in files.items():
            path = f"{folder}/{name}"
            tf.io.gfile.makedirs(path.rpartition("/")[0])
            with tf.io.gfile.GFile(path, "wb") as file:
                file.write(content)

    return write


PHOTOS = {"a/1.jpg": b"one", "a/deep/2.jpg": b"two", "b/3.jpg": b"three", "b/4.jpg": b"four"}


def contents(listing):
    return {one.path: read_place(one.place) for one in listing.candidates}


def test_a_remote_folder_is_listed_and_read(remote, put, settings):
    put(remote, **PHOTOS, **{"loose.jpg": b"x", "a/.DS_Store": b""})
    listing = check_source(settings(remote))
    assert contents(listing) == PHOTOS
    assert [(one.label, one.size) for one in listing.candidates] == [
        ("a", 3),
        ("a", 3),
        ("b", 5),
        ("b", 4),
    ]
    first = listing.candidates[0]
    assert first.place == Place(f"{remote}/a/1.jpg")
    # TensorFlow's memory keeps no times, its local files whole seconds.
    assert re.fullmatch(r"3:\d+" if remote.startswith("file") else "", first.stamp)
    assert [(one.path, one.reason) for one in listing.refused] == [
        ("a/.DS_Store", "system_file"),
        ("loose.jpg", "no_label"),
    ]


def test_a_slash_at_the_end_of_a_remote_folder_changes_nothing(remote, put, settings):
    put(remote, **PHOTOS)
    assert list_images(settings(f"{remote}/")) == list_images(settings(remote))


def test_a_remote_table_names_remote_and_local_files(remote, put, settings, tmp_path):
    put(remote, **PHOTOS)
    (tmp_path / "local.jpg").write_bytes(b"local")
    rows = f"path,label\na/1.jpg,x\n{remote}/b/3.jpg,y\n{tmp_path}/local.jpg,y\ngone.jpg,x\na,x\n"
    put(remote, **{"labels.csv": rows.encode()})
    listing = list_images(settings(f"{remote}/labels.csv"))
    assert contents(listing) == {
        f"{tmp_path}/local.jpg": b"local",
        "a/1.jpg": b"one",
        "b/3.jpg": b"three",
    }
    assert [(one.path, one.detail) for one in listing.refused] == [
        ("a", "The table names it in row 6, but it is a folder."),
        (
            "gone.jpg",
            "The table names it in row 5, but it cannot be read: No such file or folder.",
        ),
    ]


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz"])
def test_a_remote_archive_is_copied_and_unpacked_once(
    remote, put, settings, tmp_path, write_zip, write_tar, name
):
    write = write_zip if name.endswith("zip") else write_tar
    put(remote, **{name: write(tmp_path / name, PHOTOS).read_bytes()})
    listing = list_images(settings(f"{remote}/{name}"))
    assert contents(listing) == PHOTOS
    unpacked = tmp_path / "cache" / "unpacked"
    (place,) = unpacked.iterdir()
    assert sorted(os.listdir(place)) == ["data.bin", "index.jsonl"]
    before = (place / "data.bin").stat().st_mtime_ns
    assert list_images(settings(f"{remote}/{name}")) == listing
    assert (place / "data.bin").stat().st_mtime_ns == before


def test_a_remote_archive_written_anew_is_unpacked_anew(remote, put, settings, tmp_path, write_zip):
    put(remote, **{"p.zip": write_zip(tmp_path / "1.zip", PHOTOS).read_bytes()})
    list_images(settings(f"{remote}/p.zip"))
    other = {**PHOTOS, "a/1.jpg": b"ONE"}
    put(remote, **{"p.zip": write_zip(tmp_path / "2.zip", other).read_bytes()})
    assert contents(list_images(settings(f"{remote}/p.zip"))) == other


def test_a_remote_pattern_of_records_is_read(remote, tf, settings):
    for number in range(2):
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"i%d" % number])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        with tf.io.TFRecordWriter(f"{remote}/d-{number}") as writer:
            writer.write(example.SerializeToString())
    listing = list_images(settings(f"{remote}/d-*"))
    assert contents(listing) == {"d-0#00000": b"i0", "d-1#00000": b"i1"}


def test_a_remote_source_that_is_missing_is_told(remote, settings):
    with pytest.raises(InputError, match=rf"data\.source={remote}/gone, which does not exist\."):
        list_images(settings(f"{remote}/gone"))
    with pytest.raises(InputError, match="which matches nothing"):
        list_images(settings(f"{remote}/gone-*"))


def test_a_file_system_that_tensorflow_does_not_know_is_told(tf, settings):
    with pytest.raises(InputError, match=r"which TensorFlow cannot open: .*nowhere.*Correct data"):
        list_images(settings("nowhere://bucket/photos"))


def test_a_remote_file_that_vanished_is_an_os_error(remote, put, tf):
    with pytest.raises(FileNotFoundError):
        read_place(Place(f"{remote}/gone"))
    put(remote, one=b"12345")
    assert read_place(Place(f"{remote}/one", 1, 3)) == b"234"


def test_a_remote_folder_with_a_name_that_is_not_utf_8_is_refused_by_name(
    tmp_path, tf, fill, settings
):
    photos = fill(tmp_path / "photos", "a/1", "b/2", "b/3")
    with open(os.path.join(os.fsencode(photos), b"a", b"caf\xe9"), "wb") as file:
        file.write(b"x")
    listing = list_images(settings(f"file://{photos}"))
    assert [one.path for one in listing.candidates] == ["b/2", "b/3"]
    assert [(one.path, one.detail) for one in listing.refused] == [
        ("a", "The folder cannot be read: It holds a name that is not UTF-8.")
    ]


def test_a_pipe_in_a_listed_file_s_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (read_content, lambda path: read_place(Place(str(path)))):
        with pytest.raises(OSError, match="Not a regular file"):
            read(tmp_path / "pipe")


def test_a_place_that_ends_too_early_is_an_error_and_never_half_an_image(tmp_path):
    (tmp_path / "data").write_bytes(b"0123456789")
    data = str(tmp_path / "data")
    assert read_place(Place(data)) == b"0123456789"
    assert read_place(Place(data, 7, 3)) == b"789"
    assert read_place(Place(data, 3, 0)) == b""
    with pytest.raises(OSError, match="The file ends before the image is complete"):
        read_place(Place(data, 7, 4))


def test_a_stamp_changes_with_content_of_equal_size_and_restored_times(tmp_path):
    path = tmp_path / "1"
    path.write_bytes(b"one")
    before = path.stat()
    stamp = LOCAL.status(str(path)).stamp
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert LOCAL.status(str(path)).stamp.split(":")[:2] == stamp.split(":")[:2]
    assert LOCAL.status(str(path)).stamp != stamp


def test_a_name_that_no_file_can_have_is_an_os_error():
    (error,) = statuses(["/\0"])
    assert isinstance(error, OSError)
    assert error.strerror == "No file can have this name"


def test_what_is_asked_in_threads_comes_back_in_order_from_several():
    seen = set()

    def ask(number):
        seen.add(threading.get_ident())
        return number * number

    assert in_threads(ask, range(10_000)) == [number * number for number in range(10_000)]
    assert threading.get_ident() not in seen
    assert in_threads(ask, []) == []
    assert in_threads(ask, [3]) == [9]


def test_paths_are_told_apart_and_joined():
    assert [is_remote(path) for path in ("gs://b/x", "/a://b", "C:/x", "s3://b")] == [
        True,
        False,
        False,
        True,
    ]
    assert [is_pattern(path) for path in ("/a/*.x", "/a/b?", "/a[1]", "/a")] == [True] * 3 + [False]
    assert [join("/a", "b"), join("/", "b"), join("gs://b/", "c"), join("/a", "")] == [
        "/a/b",
        "/b",
        "gs://b/c",
        "/a",
    ]
    assert [parent_of("/a/b"), parent_of("/a"), parent_of("gs://b/c")] == ["/a", "/", "gs://b"]
    assert storage_of("/a") is LOCAL


def test_what_is_missing_is_told_from_what_may_not_be_read(locked):
    assert why_missing(locked.parent) == ""
    assert why_missing(locked.parent / "gone") == "does not exist"
    assert why_missing(locked / "photos") == "may not be read"
    assert why_missing("/\0") == "does not exist"


def test_a_source_may_be_a_relative_path(tmp_path, fill, monkeypatch):
    fill(tmp_path / "photos", "a/1", "b/2")
    monkeypatch.chdir(tmp_path)
    (first, _) = list_images(SourceSettings("photos")).candidates
    assert first.place.file == str(tmp_path / "photos/a/1")
