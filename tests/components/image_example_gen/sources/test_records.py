import gzip
import io
import os
import struct
from hashlib import sha256

import pytest

from components.errors import InputError
from components.image_example_gen import listing as listing_module
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.quarantine import Fault
from components.image_example_gen.sources import list_images, read_place, unpacked
from components.image_example_gen.sources import records as records_module
from components.image_example_gen.sources.recognition import masked_crc
from components.image_example_gen.sources.records import find_keys, read_records

tf = pytest.importorskip("tensorflow")

OUT_OF_REACH = "Its length is damaged; what follows in the file is out of reach."


def example(**features) -> bytes:
    """Returns a serialized tf.train.Example; `__` in a name stands for a slash."""
    made = {}
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        if values and isinstance(values[0], bytes):
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif values and isinstance(values[0], float):
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        made[name.replace("__", "/")] = feature
    features = tf.train.Features(feature=made)
    return tf.train.Example(features=features).SerializeToString()


def write(path, records, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


PAIR = [example(image=b"one", label=b"x"), example(image=b"two", label=b"y")]


def rows_of(listing):
    return [(one.path, one.label, read_place(one.place)) for one in listing.candidates]


def details(listing):
    return [(one.path, one.reason, one.detail) for one in listing.refused]


@pytest.mark.parametrize("compression", ["", "GZIP"])
@pytest.mark.parametrize("name", ["data.tfrecord", "data.gz", "anything"])
def test_a_file_of_records_is_known_by_its_content(tmp_path, settings, compression, name):
    listing = list_images(settings(write(tmp_path / name, PAIR, compression)))
    assert rows_of(listing) == [
        (f"{name}#00000", "x", b"one"),
        (f"{name}#00001", "y", b"two"),
    ]
    assert [one.sha256 for one in listing.candidates] == [
        sha256(content).hexdigest() for content in (b"one", b"two")
    ]
    assert listing.kind == "TFRecord files"
    assert listing.labels == ("x", "y")


def test_a_pattern_gives_the_records_of_all_that_it_matches(tmp_path, settings):
    for folder, records in (("p", PAIR[:1]), ("q", PAIR[1:]), ("r", [])):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "d-0.tfrecord", records)
    listing = list_images(settings(tmp_path / "*" / "d-?.tf*"))
    assert rows_of(listing) == [
        ("p/d-0.tfrecord#00000", "x", b"one"),
        ("q/d-0.tfrecord#00000", "y", b"two"),
    ]


@pytest.mark.parametrize(
    ("features", "label"),
    [
        ({"image__encoded": b"i", "image__class__text": b"t", "image__class__label": 3}, "t"),
        ({"image__encoded": b"i", "image__class__label": 3, "label": b"l"}, "3"),
        ({"image__encoded": b"i", "label": b"l"}, "l"),
        ({"image": b"i", "label": -7}, "-7"),
        ({"image_raw": b"i", "label": 0}, "0"),
    ],
)
def test_the_usual_names_of_features_are_found(tmp_path, settings, features, label):
    listing = list_images(settings(write(tmp_path / "d", [example(**features)])))
    assert rows_of(listing) == [("d#00000", label, b"i")]


def test_configured_names_come_first(tmp_path, settings):
    path = write(tmp_path / "d", [example(image=b"no", label=b"no", photo=b"i", kind="é".encode())])
    both = (("image", "photo"), ("label", "kind"))
    assert rows_of(list_images(settings(path, keys=both))) == [("d#00000", "é", b"i")]
    one = (("image", "photo"),)
    assert rows_of(list_images(settings(path, keys=one))) == [("d#00000", "no", b"i")]


@pytest.mark.parametrize(
    ("features", "keys", "told"),
    [
        (
            {"image__encoded": b"i", "height": 3},
            (),
            "Expected tf.train.Example records with features for an image and a label. Received: "
            "data.source=S with the features 'height', 'image/encoded'. Name them in "
            "data.keys.image and data.keys.label.",
        ),
        (
            {"image": b"i", "label": b"l"},
            (("image", "photo"),),
            "Expected tf.train.Example records with features for photo and a label. Received: "
            "data.source=S with the features 'image', 'label'. Name them in data.keys.image and "
            "data.keys.label.",
        ),
        (
            {},
            (),
            "Expected tf.train.Example records with features for an image and a label. Received: "
            "data.source=S with the features none. Name them in data.keys.image and "
            "data.keys.label.",
        ),
    ],
)
def test_records_without_the_features_are_an_error_naming_those_there_are(
    tmp_path, settings, features, keys, told
):
    path = write(tmp_path / "d", [example(**features)])
    with pytest.raises(InputError) as caught:
        list_images(settings(path, keys=keys))
    assert str(caught.value) == told.replace("=S ", f"={path} ")


def test_keys_may_lie_in_different_records(tmp_path, settings):
    records = [example(image=b"i"), example(label=b"l"), example(image=b"i", label=b"l")]
    listing = list_images(settings(write(tmp_path / "d", records)))
    assert rows_of(listing) == [("d#00002", "l", b"i")]


def test_records_without_a_label_or_an_image_are_refused_each(tmp_path, settings):
    records = [
        PAIR[0],
        example(image=b"i"),
        example(image=b"i", label=b" "),
        example(image=b"i", label=[b"x", b"y"]),
        example(image=b"i", label=1.5),
        example(image=b"i", label=b"\xff"),
        example(label=b"x"),
        example(image=[1, 2], label=b"x"),
        example(image=b"", label=b"x"),
        b"\xff\xff\xff",
    ]
    listing = list_images(settings(write(tmp_path / "d", records)))
    assert rows_of(listing) == [("d#00000", "x", b"one")]
    missing = "Its feature 'label' is missing or empty."
    no_image = "Its feature 'image' holds 0 values of bytes, where one is expected."
    assert details(listing) == [
        ("d#00001", "no_label", missing),
        ("d#00002", "no_label", missing),
        ("d#00003", "no_label", "Its feature 'label' holds 2 values, where one is expected."),
        (
            "d#00004",
            "no_label",
            "Its feature 'label' holds a fraction, where a name or number is expected.",
        ),
        ("d#00005", "no_label", "Its feature 'label' is not UTF-8."),
        ("d#00006", "not_an_image", no_image),
        ("d#00007", "not_an_image", no_image),
        ("d#00008", "empty", "Its feature 'image' holds no bytes."),
        ("d#00009", "corrupt", "It is no tf.train.Example."),
    ]
    assert listing.found == len(records)


def test_split_and_group_are_read_where_they_are(tmp_path, settings):
    records = [
        example(image=b"1", label=b"x", split=b"TRAIN", group=b"p1"),
        example(image=b"2", label=b"y", split=b"val", group=7),
        example(image=b"3", label=b"y", split=b"", subset=b"test", patient=b"p3"),
    ]
    path = write(tmp_path / "d", records)
    found = [(one.split, one.group) for one in list_images(settings(path)).candidates]
    assert found == [("train", "p1"), ("validation", "7"), (None, None)]
    columns = (("split", "subset"), ("group", "patient"))
    found = [
        (one.split, one.group) for one in list_images(settings(path, columns=columns)).candidates
    ]
    assert found == [(None, None), (None, None), ("test", "p3")]


def test_an_unknown_split_is_an_error_with_its_record(tmp_path, settings):
    path = write(tmp_path / "d", [PAIR[0], example(image=b"1", label=b"x", split=b"trian")])
    with pytest.raises(InputError, match=r"record d#00001 with the split 'trian'\. Correct it"):
        list_images(settings(path))


def test_a_record_of_wrong_checksum_is_refused_alone(tmp_path, settings):
    path = write(tmp_path / "d", [*PAIR, PAIR[0]])
    raw = bytearray(path.read_bytes())
    raw[12 + len(PAIR[0]) + 4 + 12 + 5] ^= 1
    path.write_bytes(raw)
    listing = list_images(settings(path))
    assert [one.path for one in listing.candidates] == ["d#00000", "d#00002"]
    assert details(listing) == [("d#00001", "corrupt", "Its checksum does not fit its content.")]


def test_what_lies_behind_a_damaged_length_is_told_out_of_reach(tmp_path, settings):
    path = write(tmp_path / "d", [*PAIR, PAIR[0]])
    raw = bytearray(path.read_bytes())
    raw[12 + len(PAIR[0]) + 4] ^= 1
    path.write_bytes(raw)
    listing = list_images(settings(path))
    assert [one.path for one in listing.candidates] == ["d#00000"]
    assert details(listing) == [("d#00001", "corrupt", OUT_OF_REACH)]


@pytest.mark.parametrize("cut", [1, 4, 5, 30, 35, 36, 46])
def test_a_file_that_ends_within_a_record_refuses_that_one(tmp_path, settings, cut):
    path = write(tmp_path / "d", PAIR)
    size = 12 + len(PAIR[1]) + 4
    assert cut < size
    path.write_bytes(path.read_bytes()[:-cut])
    listing = list_images(settings(path))
    assert [one.path for one in listing.candidates] == ["d#00000"]
    assert details(listing) == [("d#00001", "corrupt", "The file ends in the middle of it.")]


def test_a_compressed_file_that_is_cut_off_keeps_what_came_before(tmp_path, settings):
    records = [example(image=os.urandom(5000), label=b"x") for _ in range(4)]
    path = write(tmp_path / "d.gz", records, "GZIP")
    path.write_bytes(path.read_bytes()[:12_000])
    listing = list_images(settings(path))
    assert [one.path for one in listing.candidates] == ["d.gz#00000", "d.gz#00001"]
    assert details(listing) == [
        (
            "d.gz#00002",
            "corrupt",
            "The compressed file is damaged or cut off here; what follows in it is out of reach.",
        )
    ]


def frame(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    checksums = [struct.pack("<I", masked_crc(part)) for part in (length, content)]
    return length + checksums[0] + content + checksums[1]


def test_a_record_larger_than_the_limit_is_skipped_and_the_next_one_read():
    file = io.BytesIO(frame(b"x" * 100) + frame(b"small"))
    large, small = read_records(file, limit=50)
    assert isinstance(large, Fault)
    assert large.reason == "too_many_bytes"
    assert small == b"small"


def test_a_length_that_fits_its_checksum_and_no_memory_is_not_believed():
    length = struct.pack("<Q", 1 << 62)
    file = io.BytesIO(length + struct.pack("<I", masked_crc(length)) + b"rest")
    assert [fault.reason for fault in read_records(file)] == ["too_many_bytes"]


def test_framing_is_that_of_tensorflow(tmp_path):
    path = write(tmp_path / "d", [b"", b"content"])
    assert path.read_bytes() == frame(b"") + frame(b"content")
    assert list(read_records(io.BytesIO(path.read_bytes()))) == [b"", b"content"]


def test_an_image_larger_than_an_example_may_be_is_refused(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(listing_module, "MAX_BYTES", 3)
    path = write(tmp_path / "d", [PAIR[0], example(image=b"four", label=b"y")])
    listing = list_images(settings(path))
    assert details(listing) == [("d#00001", "too_many_bytes", "It has more than 3 bytes.")]


def test_unchanged_records_are_not_unpacked_again(tmp_path, settings, monkeypatch):
    path = write(tmp_path / "d", PAIR)
    first = list_images(settings(path))
    unpack, calls = unpacked._unpack, []
    monkeypatch.setattr(unpacked, "_unpack", lambda *args: calls.append(1) or unpack(*args))
    assert list_images(settings(path)) == first
    assert calls == []
    list_images(settings(path, keys=(("image", "image"),)))
    write(path, PAIR[:1])
    assert list_images(settings(path)).found == 1
    assert calls == [1, 1]


def test_records_count_against_the_cap(tmp_path, settings):
    with pytest.raises(InputError, match="data.max_unpacked"):
        list_images(settings(write(tmp_path / "d", PAIR, "GZIP"), max_unpacked=5))


def test_records_in_a_file_that_may_not_be_read_are_told(locked):
    path = write(locked.parent / "d", PAIR)
    path.chmod(0)
    with pytest.raises(InputError, match=r"data\.source=.*/d, which may not be read\."):
        list_images(SourceSettings(str(path)))


def test_a_disk_that_fails_under_records_is_told_as_the_source_s(tmp_path, settings, monkeypatch):
    class FailingDisk:
        def open(self, path):
            raise OSError(5, "Input/output error")

    path = write(tmp_path / "d", PAIR)
    monkeypatch.setattr(records_module, "LOCAL", FailingDisk())
    with pytest.raises(InputError, match=r"can be read\. Received: .*/d: Input/output error\."):
        list_images(settings(path))


def test_the_first_pair_that_is_complete_is_taken():
    settings = SourceSettings("/d")
    keys = find_keys(settings, ["image/encoded", "image", "label"])
    assert (keys.image, keys.label) == ("image/encoded", "label")
    assert (keys.split, keys.group) == ("split", "group")


def test_a_gzip_file_of_records_reads_like_a_plain_one(tmp_path, settings):
    plain = write(tmp_path / "d", PAIR)
    packed = tmp_path / "packed"
    packed.write_bytes(
        gzip.compress(plain.read_bytes()[:60]) + gzip.compress(plain.read_bytes()[60:])
    )
    assert [row[1:] for row in rows_of(list_images(settings(packed)))] == [
        ("x", b"one"),
        ("y", b"two"),
    ]
