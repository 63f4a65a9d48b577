import json
import os
import time

import pytest

from components.errors import InputError
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.sources import list_images, read_place

HEADER = "path,label\n"


@pytest.fixture
def photos(tmp_path, fill):
    return fill(tmp_path / "photos", "a/1.jpg", "b/2.jpg", "c, d/3.jpg")


@pytest.fixture
def listed(photos, settings):
    """Lists a table with the given content that stands in the folder of photos."""

    def make(content: str | bytes, name: str = "labels.csv", **values):
        raw = content if isinstance(content, bytes) else content.encode()
        (photos / name).write_bytes(raw)
        return list_images(settings(photos / name, **values))

    return make


@pytest.fixture
def refused(listed):
    """Returns the error that a table is refused with, after the name of the table."""

    def make(content: str | bytes, name: str = "labels.csv", **values) -> str:
        with pytest.raises(InputError) as caught:
            listed(content, name, **values)
        return str(caught.value).split(name, 1)[1]

    return make


def rows_of(listing):
    return [(one.path, one.label, one.split, one.group) for one in listing.candidates]


def details(listing):
    return [(one.path, one.reason, one.detail) for one in listing.refused]


def test_a_table_gives_path_label_split_and_group(listed):
    listing = listed(
        "path,label,split,group\na/1.jpg,x,Train,p1\nb/2.jpg,y,val,\n" + '"c, d/3.jpg",x,,p1\n'
    )
    assert rows_of(listing) == [
        ("a/1.jpg", "x", "train", "p1"),
        ("b/2.jpg", "y", "validation", None),
        ("c, d/3.jpg", "x", None, "p1"),
    ]
    assert [read_place(one.place) for one in listing.candidates][2] == b"c, d/3.jpg"
    assert listing.labels == ("x", "y")
    assert listing.kind == "table"
    assert listing.refused == ()
    assert all(one.stamp and one.size == len(one.path) for one in listing.candidates)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfpath,label\r\na/1.jpg,x\r\nb/2.jpg,y\r\n",
        b"path;label\na/1.jpg;x\n\nb/2.jpg;y",
        b"label\tnote\tpath\nx\t,;\ta/1.jpg\ny\t\tb/2.jpg\n",
        b'"path","label"\na/1.jpg,x\nb/2.jpg,"y"\n',
        b"path,label\ra/1.jpg,x\rb/2.jpg,y\r",
        b"path,label,\na/1.jpg,x,\nb/2.jpg,y,\n,,\n",
        b'{"path": "a/1.jpg", "label": "x"}\n\n{"label": "y", "path": "b/2.jpg", "n": 1}\n',
        b'\xef\xbb\xbf{"path": "a/1.jpg", "label": "x"}\r\n{"label": "y", "path": "b/2.jpg"}\r\n',
    ],
    ids=["BOM and CRLF", "semicolons", "tabs", "quotes", "CR", "empty ends", "JSON", "JSON BOM"],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.TSV", "labels.jsonl", "labels.json"])
def test_byte_order_mark_line_ends_delimiter_and_form_are_taken_from_the_content(
    listed, content, name
):
    assert rows_of(listed(content, name)) == [
        ("a/1.jpg", "x", None, None),
        ("b/2.jpg", "y", None, None),
    ]


def test_columns_may_have_other_names(listed):
    columns = (("path", "file name"), ("label", "Klasse"), ("group", "patient"))
    listing = listed("file name,Klasse,patient,split\na/1.jpg,x,7,test\n", columns=columns)
    assert rows_of(listing) == [("a/1.jpg", "x", "test", "7")]


def test_json_numbers_and_truths_are_texts(listed):
    lines = [
        {"path": "a/1.jpg", "label": 7, "group": 1.5},
        {"path": "b/2.jpg", "label": True, "group": None},
    ]
    listing = listed("\n".join(map(json.dumps, lines)), "labels.ndjson")
    assert rows_of(listing) == [("a/1.jpg", "7", None, "1.5"), ("b/2.jpg", "true", None, None)]


def test_paths_are_relative_to_the_table_absolute_or_without_detours(listed, photos, tmp_path):
    (tmp_path / "out.jpg").write_bytes(b"out")
    content = f"{HEADER}{photos}/a/1.jpg,x\n./b/../b/2.jpg,y\n../out.jpg,x\n{tmp_path}/out.jpg,y\n"
    listing = listed(content)
    assert [one.path for one in listing.candidates] == [
        "../out.jpg",
        f"{tmp_path}/out.jpg",
        "a/1.jpg",
        "b/2.jpg",
    ]
    assert read_place(listing.candidates[0].place) == b"out"


def test_a_path_with_bytes_that_are_not_utf_8_is_found(listed, photos):
    with open(os.path.join(os.fsencode(photos), b"caf\xe9.jpg"), "wb") as file:
        file.write(b"coffee")
    (candidate,) = listed(b"path,label\ncaf\xe9.jpg,x\n").candidates
    assert os.fsencode(candidate.path) == b"caf\xe9.jpg"
    assert read_place(candidate.place) == b"coffee"


def test_rows_without_a_file_or_a_label_are_refused_each(listed, photos):
    os.mkfifo(photos / "pipe")
    content = HEADER + "gone.jpg,x\na,x\npipe,x\n,x\nb/2.jpg,\na\\1.jpg,x\na/1.jpg,  \n"
    listing = listed(content)
    assert listing.candidates == ()
    assert details(listing) == [
        (
            "a",
            "unreadable",
            "The table names it in row 3, but it is a folder.",
        ),
        ("a/1.jpg", "no_label", "The table gives it no label in row 8."),
        (
            "a\\1.jpg",
            "unreadable",
            "The table names it in row 7, but it cannot be read: No such file or directory. "
            "Write / between its folders.",
        ),
        ("b/2.jpg", "no_label", "The table gives it no label in row 6."),
        (
            "gone.jpg",
            "unreadable",
            "The table names it in row 2, but it cannot be read: No such file or directory.",
        ),
        ("labels.csv (row 5)", "unreadable", "Row 5 of the table names no file."),
        (
            "pipe",
            "unreadable",
            "The table names it in row 4, but it is a pipe, socket or device.",
        ),
    ]
    assert listing.found == 7


@pytest.mark.parametrize(
    "content",
    [
        "path,label,note\n\na/1.jpg,x,\n  \n,,\nb/2.jpg,y,\n,,by hand\n,\n",
        '{"path": "a/1.jpg", "label": "x"}\n \n{}\n{"path": "b/2.jpg", "label": "y"}\n'
        '{"path": "", "note": "by hand"}\n{"path": null, "label": " "}\n',
    ],
    ids=["CSV", "JSON"],
)
def test_a_row_of_empty_fields_is_refused_and_a_blank_line_is_no_row(listed, content):
    listing = listed(content)
    assert [one.path for one in listing.candidates] == ["a/1.jpg", "b/2.jpg"]
    numbers = (5, 7, 8) if content.startswith("path") else (3, 5, 6)
    assert details(listing) == [
        (
            f"labels.csv (row {number})",
            "no_label",
            f"Row {number} of the table has neither a path nor a label.",
        )
        for number in numbers
    ]
    assert listing.found == 5


def test_a_file_that_is_called_as_a_refused_row_would_be_keeps_its_name(listed, fill, photos):
    fill(photos, "a.jpg", "a.jpg (row 3)", "a.jpg (row 3) (row 3)")
    rows = "a.jpg,x\na.jpg,x\na.jpg (row 3),y\na.jpg (row 3) (row 3),y\n"
    listing = listed(HEADER + rows)
    assert [one.path for one in listing.candidates] == [
        "a.jpg",
        "a.jpg (row 3)",
        "a.jpg (row 3) (row 3)",
    ]
    assert details(listing) == [
        ("a.jpg (row 3) (row 3) (row 3)", "repeated", "Row 3 names it again; row 2 counts.")
    ]


def test_a_path_named_twice_counts_once_under_one_label(listed):
    listing = listed(HEADER + "a/1.jpg,x\nb/2.jpg,y\n./a/1.jpg,x\na/1.jpg,\n")
    assert [one.path for one in listing.candidates] == ["a/1.jpg", "b/2.jpg"]
    assert details(listing) == [
        ("a/1.jpg (row 4)", "repeated", "Row 4 names it again; row 2 counts."),
        ("a/1.jpg (row 5)", "no_label", "The table gives it no label in row 5."),
    ]
    assert listing.found == 4


def test_a_path_under_two_labels_is_refused_in_every_row(listed):
    listing = listed(HEADER + "a/1.jpg,x\nb/2.jpg,y\na/1.jpg,y\n")
    assert [one.path for one in listing.candidates] == ["b/2.jpg"]
    detail = "The table gives it the labels 'x', 'y'."
    assert details(listing) == [
        ("a/1.jpg (row 2)", "label_conflict", detail),
        ("a/1.jpg (row 4)", "label_conflict", detail),
    ]
    assert listing.labels == ("x", "y")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "Path,lable\na/1.jpg,x\n",
            ", which has the columns 'Path', 'lable' (nearest: 'Path'). Put column names into its "
            "first row, or name the column in data.columns.path.",
        ),
        (
            "path,lable\na/1.jpg,x\n",
            ", which has the columns 'path', 'lable' (nearest: 'lable'). Put column names into its "
            "first row, or name the column in data.columns.label.",
        ),
        (
            "a/1.jpg,x\n",
            ", which has the columns 'a/1.jpg', 'x'. Put column names into its first row, or name "
            "the column in data.columns.path.",
        ),
        (
            '{"path": "a/1.jpg"}\n{"path": "b/2.jpg", "lbl": 1}\n',
            ", which has the columns 'path', 'lbl' (nearest: 'lbl'). Put column names into its "
            "first row, or name the column in data.columns.label.",
        ),
        ("path,label,path\na,x,b\n", ", which has it 2 times. Rename the others."),
        (HEADER, ", which has none. Write one row per image below the column names."),
        (
            HEADER + "a/1.jpg,x\nc, d/3.jpg,x\n",
            ", row 3 with 3 values where the first row has 2. Quote values that hold the "
            "delimiter.",
        ),
        (
            HEADER + '"a/1.jpg"z,x\n',
            ", row 2 with text that is no CSV (',' expected after '\"'). Mend its quotes.",
        ),
        (
            HEADER + '"a/1.jpg,x\nb/2.jpg,y\n',
            ", row 2 with text that is no CSV (unexpected end of data). Mend its quotes.",
        ),
        (
            "path,label,split\na/1.jpg,x,train\nb/2.jpg,y,trian\n",
            ", row 3 with the split 'trian'. Write one of train, validation, test, or nothing.",
        ),
        (
            b"path,label\na/1.jpg,x\nb/2.jpg,y\0\n",
            ", which has a zero byte in line 3. Export it again, as CSV or JSON lines in UTF-8.",
        ),
        ("path,label\n".encode("utf-16"), ", which is UTF-16. Save it as UTF-8."),
        (
            b"path,label\na/1.jpg,caf\xe9\n",
            ", row 2 with the text 'caf\\udce9', which is not UTF-8. Save it as UTF-8.",
        ),
        (
            '{"path": "a/1.jpg", "label": "x"}\n{"path": \n',
            ", row 2 with text that is no JSON (Expecting value: line 1 column 10 (char 9)). "
            "Write one object a line.",
        ),
        (
            '[{"path": "a/1.jpg", "label": "x"}]',
            ", row 1 with JSON that is no object. Write one object a line.",
        ),
        (
            '{"path": "a/1.jpg", "label": ["x", "y"]}',
            ', row 1 with the value ["x", "y"], which is no text or number. Give one text a '
            "column.",
        ),
        (
            '{"path": "a\\u0000", "label": "x"}',
            ", row 1 with a path with a zero byte. Correct it.",
        ),
        (
            '{"path": "a\\ud800", "label": "x"}',
            ", row 1 with the path 'a\\ud800', which no file can have. Correct it.",
        ),
    ],
)
def test_what_cannot_be_understood_is_an_error_with_its_row_and_mend(refused, content, told):
    assert refused(content) == told


@pytest.mark.parametrize("meaning", ["path", "label", "split", "group"])
def test_a_configured_column_must_be_there(refused, meaning):
    columns = ((meaning, "other"),)
    told = refused("path,label,split,group\na/1.jpg,x,,\n", columns=columns)
    assert told.endswith(f"or name the column in data.columns.{meaning}.")


def test_the_error_of_a_table_starts_with_what_is_expected(listed):
    with pytest.raises(InputError, match=r"^Expected a table with a column 'path'\. Received: "):
        listed("image,label\n1,2\n")


def test_a_table_that_may_not_be_read_is_told(locked):
    table = locked.parent / "labels.csv"
    table.write_text(HEADER)
    table.chmod(0)
    with pytest.raises(InputError, match=r"labels\.csv, which may not be read\. Change its perm"):
        list_images(SourceSettings(str(table)))


@pytest.mark.e2e  # many files
def test_a_hundred_thousand_rows_take_seconds(listed):
    rows = "".join(f"a/{number}.jpg,x\n" for number in range(99_999))
    start = time.monotonic()
    listing = listed(HEADER + "a/1.jpg,x\n" + rows)
    assert time.monotonic() - start < 20
    assert (len(listing.candidates), len(listing.refused)) == (1, 99_999)


def test_an_archive_with_one_table_on_top_is_a_table(tmp_path, write_zip, settings):
    members = {
        "photos/labels.csv": b"path,label,split\na/1.jpg,x,train\n./2.jpg,y,val\ngone.jpg,x,\n"
        b"/etc/hostname,x,\n../../out.jpg,x,\ngs://b/1.jpg,x,\nlabels.csv,x,\n",
        "photos/a/1.jpg": b"one",
        "photos/2.jpg": b"two",
        "photos/a/3.jpg": b"three",
    }
    listing = list_images(settings(write_zip(tmp_path / "photos.zip", members)))
    assert listing.kind == "zip archive: table"
    assert rows_of(listing) == [
        ("photos/2.jpg", "y", "validation", None),
        ("photos/a/1.jpg", "x", "train", None),
    ]
    assert [read_place(one.place) for one in listing.candidates] == [b"two", b"one"]
    outside = "The table names it in row {}; it is not in the archive."
    missing = "The table names it in row {}, but the archive holds no such file."
    assert details(listing) == [
        ("../out.jpg", "unsafe", outside.format(6)),
        ("/etc/hostname", "unsafe", outside.format(5)),
        ("gs://b/1.jpg", "unsafe", outside.format(7)),
        ("photos/a/3.jpg", "no_label", "The table does not name it."),
        ("photos/gone.jpg", "unreadable", missing.format(4)),
        ("photos/labels.csv", "unreadable", missing.format(8)),
    ]


def test_a_member_that_the_archive_refuses_is_counted_once_though_the_table_names_it(
    tmp_path, write_tar, settings
):
    import tarfile

    link = tarfile.TarInfo("2.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    members = {"t.csv": b"path,label\n1.jpg,x\n2.jpg,y\n1.jpg,z\n", "1.jpg": b"one"}
    listing = list_images(settings(write_tar(tmp_path / "photos.tar", members, link)))
    assert [(one.path, one.reason) for one in listing.refused] == [
        ("1.jpg (row 2)", "label_conflict"),
        ("1.jpg (row 4)", "label_conflict"),
        ("2.jpg", "unsafe"),
    ]
    assert listing.labels == ("x", "y", "z")


def test_a_table_in_an_archive_without_its_columns_is_no_table(tmp_path, write_zip, settings):
    members = {"info.csv": b"name,size\n1,2\n", "a/1.jpg": b"one", "b/2.jpg": b"two"}
    listing = list_images(settings(write_zip(tmp_path / "photos.zip", members)))
    assert listing.kind == "zip archive: folder of class folders"
    assert details(listing) == [
        (
            "info.csv",
            "no_label",
            "It lacks the columns of a table of paths and labels, so it was not used as one.",
        )
    ]


def test_a_member_that_is_called_as_a_refused_row_would_be_keeps_its_name(
    tmp_path, write_zip, settings
):
    members = {"t.csv": b"path,label\n1,x\n1,x\n", "1": b"one", "1 (row 3)": b"two"}
    listing = list_images(settings(write_zip(tmp_path / "photos.zip", members)))
    assert [(one.path, one.reason) for one in listing.refused] == [
        ("1 (row 3)", "no_label"),
        ("1 (row 3) (row 3)", "repeated"),
    ]
