import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import InputError
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.sources import list_images
from components.image_example_gen.sources.recognition import masked_crc, starts_record

ROOT = Path(__file__).resolve().parents[4]
KNOWN = "a folder of class folders, a table, a .zip, .tar or .tar.gz archive or TFRecord files"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def error_of(source) -> str:
    with pytest.raises(InputError) as caught:
        list_images(SourceSettings(str(source)))
    assert caught.value.exit_status == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "which is empty. Fetch it again, or name another source."),
        (PNG, "which is a single image (png). Name the folder above the class folders."),
        (
            b"\xff\xd8\xff\xe0" + bytes(20),
            "which is a single image (jpeg). Name the folder above the class folders.",
        ),
        (
            b"hello\n",
            "which is a text file. If it is a table, give it the ending .csv, .tsv or .jsonl.",
        ),
        (
            "path,label".encode("utf-16"),
            "which is text of UTF-16. Save it as UTF-8 with the ending .csv.",
        ),
        (b"\0\1\2" * 200, "which is a file of another kind. Name one of these."),
        (
            b"BZh91AY" + bytes(20),
            "which is packed by bzip2. Pack it as .zip or .tar.gz, or name an unpacked folder.",
        ),
        (
            b"Rar!\x1a\x07\0",
            "which is a RAR archive. Pack it as .zip or .tar.gz, or name an unpacked folder.",
        ),
        (
            gzip.compress(b"path,label\n", mtime=0),
            "which is a gzip file of neither tar nor TFRecord. Unpack it and name what was in it.",
        ),
        (b"\x1f\x8b" + bytes(30), "which is a damaged gzip file. Fetch it again."),
    ],
)
@pytest.mark.parametrize("name", ["source", "photos.zip"])
def test_a_file_that_is_no_source_is_an_error_that_says_what_it_is(tmp_path, content, told, name):
    (tmp_path / name).write_bytes(content)
    assert error_of(tmp_path / name) == (
        f"Expected {KNOWN}. Received: data.source={tmp_path}/{name}, {told}"
    )


def test_a_missing_source_is_an_error(tmp_path):
    assert error_of(tmp_path / "gone") == (
        f"Expected {KNOWN}. Received: data.source={tmp_path}/gone, which does not exist. Correct "
        "data.source; relative paths are relative to the configuration."
    )


def test_a_path_below_a_file_does_not_exist(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert "file/photos, which does not exist." in error_of(tmp_path / "file" / "photos")


def test_a_source_that_may_not_be_entered_is_told(locked):
    assert error_of(locked / "photos").endswith(
        "/photos, which may not be read. Change its permissions or name another."
    )


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert error_of(tmp_path / "pipe").endswith(
        "/pipe, which is a pipe, socket or device. Name a folder or a file."
    )


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path):
    assert error_of(tmp_path / "*.tfrecord") == (
        f"Expected a pattern of TFRecord files. Received: data.source={tmp_path}/*.tfrecord, which "
        "matches nothing. Correct the pattern; relative ones are relative to the configuration."
    )


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.write_bytes(PNG), "a single image (png)"),
        (lambda path: path.mkdir(), "no file that can be read"),
        (lambda path: os.mkfifo(path), "no file that can be read"),
    ],
)
def test_a_pattern_of_other_things_is_an_error_that_names_one(tmp_path, make, what):
    make(tmp_path / "a")
    name = os.listdir(tmp_path)[0]
    assert error_of(tmp_path / "a*") == (
        f"Expected a pattern of TFRecord files. Received: data.source={tmp_path}/a*, which matches "
        f"'{tmp_path}/{name}', {what}. Narrow the pattern. To use images in folders, name the "
        "folder above the class folders."
    )


def test_a_pattern_of_tables_or_archives_is_told_to_name_one(tmp_path, write_zip):
    (tmp_path / "a.csv").write_bytes(b"path,label\n")
    write_zip(tmp_path / "b.zip", {"a/1": b"x"})
    for name, kind in (("a.csv", "table"), ("b.zip", "zip archive")):
        pattern = f"{tmp_path}/{name[:2]}*"
        assert error_of(pattern) == (
            f"Expected a pattern of TFRecord files. Received: data.source={pattern}, which matches "
            f"'{tmp_path}/{name}', a {kind}. Narrow the pattern. A {kind} is named alone: write "
            f"data.source: {tmp_path}/{name}."
        )


def test_a_pattern_of_empty_files_is_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert error_of(tmp_path / "?").endswith(
        "/?, which matches empty files only. Fetch them again."
    )


def test_a_folder_whose_name_has_the_marks_of_a_pattern_is_a_folder(tmp_path, fill):
    folder = fill(tmp_path / "photos[1]*", "a/1", "b/2")
    assert list_images(SourceSettings(str(folder))).labels == ("a", "b")


def test_the_checksum_of_an_empty_record_s_length_is_known():
    # As TensorFlow's TFRecordWriter writes it.
    assert starts_record(bytes(8) + struct.pack("<I", masked_crc(bytes(8))))
    assert masked_crc(b"") == 0xA282EAD8
    assert not starts_record(bytes(12))
    assert not starts_record(b"short")


def test_no_tensorflow_is_imported_for_local_folders_and_tables(tmp_path, fill):
    photos = fill(tmp_path / "photos", "a/1", "b/2")
    (photos / "t.csv").write_text("path,label\na/1,x\n")
    code = (
        "import sys\n"
        "from components.image_example_gen.listing import SourceSettings\n"
        "from components.image_example_gen.sources import list_images\n"
        "for source in sys.argv[1:]: list_images(SourceSettings(source))\n"
        "print('tensorflow' in sys.modules, 'tfx' in sys.modules)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(photos), str(photos / "t.csv")],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == "False False\n"
