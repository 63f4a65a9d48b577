import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from hashlib import sha256

import pytest

from components.errors import InputError
from components.image_example_gen import listing as listing_module
from components.image_example_gen.sources import archive as archive_module
from components.image_example_gen.sources import list_images, read_place
from components.image_example_gen.sources.archive import member_path

PHOTOS = {"a/1.jpg": b"one", "b/deep/2.jpg": b"two", "b/3.jpg": b"three"}


def contents(listing):
    return {one.path: read_place(one.place) for one in listing.candidates}


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_member(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.fixture(params=["photos.zip", "photos.tar", "photos.tar.gz", "photos.dat"])
def archive(request, tmp_path, write_zip, write_tar):
    """Writes members into an archive of each kind; the last is a zip by another name."""

    def write(members):
        write = write_tar if "tar" in request.param else write_zip
        return write(tmp_path / request.param, members)

    return write


def test_an_archive_of_class_folders_is_listed_with_contents_and_digests(archive, settings):
    path = archive(PHOTOS)
    listing = list_images(settings(path))
    assert contents(listing) == PHOTOS
    assert [(one.path, one.label, one.size, one.sha256) for one in listing.candidates] == [
        (name, name[0], len(content), sha256(content).hexdigest())
        for name, content in sorted(PHOTOS.items())
    ]
    assert listing.refused == ()
    assert listing.labels == ("a", "b")
    assert listing.kind.endswith(" archive: folder of class folders")


def test_one_wrapping_folder_is_looked_through(archive, settings):
    listing = list_images(settings(archive({f"photos/{name}": PHOTOS[name] for name in PHOTOS})))
    assert [(one.path, one.label) for one in listing.candidates] == [
        ("photos/a/1.jpg", "a"),
        ("photos/b/3.jpg", "b"),
        ("photos/b/deep/2.jpg", "b"),
    ]


def test_a_file_in_the_wrapping_folder_has_no_label_and_system_files_do_not_hinder_it(
    archive, settings, reasons
):
    members = {"__MACOSX/photos/._1": b"", "__MACOSX/x": b"", ".DS_Store": b"", "p/a/1": b"x"}
    listing = list_images(settings(archive({**members, "p/README": b"r", "p/b/2": b"y"})))
    assert reasons(listing) == {
        "__MACOSX": "system_file",
        ".DS_Store": "system_file",
        "p/README": "no_label",
    }
    assert listing.labels == ("a", "b")
    assert listing.found == 3


@pytest.mark.parametrize("stray", ["README.md", "wrap\\a\\1.jpg"])
def test_a_file_beside_the_wrapping_folder_is_refused_alone(archive, settings, reasons, stray):
    members = {f"photos/{name}": content for name, content in PHOTOS.items()}
    listing = list_images(settings(archive({**members, stray: b"r"})))
    assert reasons(listing) == {stray: "no_label"}
    assert listing.labels == ("a", "b")


def test_a_folder_of_images_alone_is_a_class_and_not_looked_through(archive, settings):
    listing = list_images(settings(archive({"daisy/1.jpg": b"x", "daisy/2.jpg": b"y"})))
    assert listing.labels == ("daisy",)


def test_an_archive_of_split_folders_gives_splits(archive, settings):
    listing = list_images(settings(archive({"d/train/a/1": b"x", "d/val/a/2": b"y"})))
    assert {one.path: (one.label, one.split) for one in listing.candidates} == {
        "d/train/a/1": ("a", "train"),
        "d/val/a/2": ("a", "validation"),
    }


def test_names_that_lead_out_are_refused_and_written_nowhere(archive, settings, tmp_path, reasons):
    names = ("../x", "a/../../x", "/etc/x", "C:/x", "a/..")
    listing = list_images(settings(archive({**PHOTOS, **dict.fromkeys(names, b"evil")})))
    assert reasons(listing) == dict.fromkeys(names, "unsafe")
    assert contents(listing) == PHOTOS
    assert listing.found == len(PHOTOS) + len(names)
    assert not (tmp_path / "x").exists()
    written = {entry.name for entry in tmp_path.rglob("*") if entry.is_file()}
    assert written <= {"data.bin", "index.jsonl", "stamps.json", "photos.zip", "photos.dat"} | {
        "photos.tar",
        "photos.tar.gz",
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_counts_once(tmp_path, settings, reasons):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name, content in (("a/1", "first"), ("./a//1", "second"), ("a/1", "third")):
            archive.writestr(zipfile.ZipInfo(name), content)
    listing = list_images(settings(tmp_path / "photos.zip"))
    assert contents(listing) == {"a/1": b"first"}
    assert reasons(listing) == {"a/1 (member 2)": "repeated", "a/1 (member 3)": "repeated"}


def test_a_name_that_a_refused_member_would_get_may_be_there_already(tmp_path, settings, reasons):
    path = tmp_path / "p.zip"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for name in ("a/1", "a/1 (member 3)", "a/1"):
            archive.writestr(zipfile.ZipInfo(name), b"x")
    listing = list_images(settings(path))
    assert [one.path for one in listing.candidates] == ["a/1", "a/1 (member 3)"]
    assert reasons(listing) == {"a/1 (member 3) (member 3)": "repeated"}


def test_links_pipes_and_devices_in_a_tar_are_refused(tmp_path, write_tar, settings):
    path = write_tar(
        tmp_path / "photos.tar",
        PHOTOS,
        special("a/out.jpg", tarfile.SYMTYPE, "/etc/hostname"),
        special("a/hard.jpg", tarfile.LNKTYPE, "a/1.jpg"),
        special("a/pipe", tarfile.FIFOTYPE),
        special("a/null", tarfile.CHRTYPE),
        special("a/disk", tarfile.BLKTYPE),
        special("a/odd", b"V"),
    )
    listing = list_images(settings(path))
    assert contents(listing) == PHOTOS
    assert [(one.path, one.reason, one.detail) for one in listing.refused] == [
        ("a/disk", "unsafe", "It is a device."),
        ("a/hard.jpg", "unsafe", "It is a link, which is never followed."),
        ("a/null", "unsafe", "It is a device."),
        ("a/odd", "unsafe", "It is no regular file."),
        ("a/out.jpg", "unsafe", "It is a link, which is never followed."),
        ("a/pipe", "unsafe", "It is a pipe."),
    ]


def test_links_and_devices_in_a_zip_are_refused(tmp_path, settings, reasons):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr(zip_member("a/1.jpg", stat.S_IFREG | 0o644), b"one")
        archive.writestr(zip_member("a/link", stat.S_IFLNK | 0o777), b"/etc/hostname")
        archive.writestr(zip_member("a/device", stat.S_IFCHR), b"")
        archive.writestr(zip_member("b/", stat.S_IFDIR), b"")
    listing = list_images(settings(tmp_path / "photos.zip"))
    assert contents(listing) == {"a/1.jpg": b"one"}
    assert reasons(listing) == {"a/device": "unsafe", "a/link": "unsafe"}
    assert listing.labels == ("a", "b")


def test_an_encrypted_member_is_refused_alone(tmp_path, write_zip, settings):
    path = write_zip(tmp_path / "photos.zip", PHOTOS)
    raw = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + flags] |= 1
    path.write_bytes(raw)
    listing = list_images(settings(path))
    (refusal,) = listing.refused
    assert (refusal.path, refusal.reason) == ("a/1.jpg", "unreadable")
    assert refusal.detail == "It is encrypted; pack it without a password."
    assert sorted(contents(listing)) == ["b/3.jpg", "b/deep/2.jpg"]


def test_a_damaged_member_is_refused_alone_and_leaves_nothing_of_it(tmp_path, write_zip, settings):
    path = write_zip(tmp_path / "photos.zip", PHOTOS)
    path.write_bytes(path.read_bytes().replace(b"one", b"two", 1))
    listing = list_images(settings(path))
    (refusal,) = listing.refused
    assert (refusal.path, refusal.reason) == ("a/1.jpg", "corrupt")
    assert refusal.detail == "It cannot be unpacked: Bad CRC-32 for file 'a/1.jpg'."
    assert contents(listing) == {name: PHOTOS[name] for name in PHOTOS if name != "a/1.jpg"}


def test_damaged_and_unknown_compression_is_refused(tmp_path, settings):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.jpg", os.urandom(1000))
        archive.writestr("a/2.jpg", b"x" * 1000)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"a/1.jpg") + 7] ^= 0x07  # the type of the first block
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 10] = 97  # a method that nobody has
    path.write_bytes(raw)
    listing = list_images(settings(path))
    assert [(one.path, one.reason) for one in listing.refused] == [
        ("a/1.jpg", "corrupt"),
        ("a/2.jpg", "unreadable"),
    ]
    assert "compressed in a way that is not known here" in listing.refused[1].detail


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_archive_is_an_error_wherever_it_ends(archive, settings, share):
    big = {f"{label}/{n}": os.urandom(3000) for n in range(5) for label in "ab"}
    path = archive(big)
    raw = path.read_bytes()
    # Behind its last member a plain tar has padding, which it can do without.
    whole = 10 * (512 + 3072) if path.suffix == ".tar" else len(raw)
    path.write_bytes(raw[: max(600, int(whole * share))])
    with pytest.raises(InputError, match=rf"data\.source=.*{path.name}, which is .*damaged.*again"):
        list_images(settings(path))
    assert not list((path.parent / "cache").rglob("data.bin"))


def test_a_tar_that_ends_between_members_is_an_error(tmp_path, write_tar, settings):
    path = write_tar(tmp_path / "photos.tar", PHOTOS)
    path.write_bytes(path.read_bytes()[: 4 * 512])
    with pytest.raises(InputError, match="It ends without the mark that closes an archive"):
        list_images(settings(path))


def test_joined_tars_are_an_error_and_not_half_read(tmp_path, write_tar, settings):
    path = write_tar(tmp_path / "photos.tar", PHOTOS)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="More follows the mark that closes an archive"):
        list_images(settings(path))


def test_a_damaged_header_within_a_tar_is_an_error(tmp_path, write_tar, settings):
    path = write_tar(tmp_path / "photos.tar", PHOTOS)
    raw = bytearray(path.read_bytes())
    raw[1024] ^= 1  # the second member's name, which its checksum covers
    path.write_bytes(raw)
    with pytest.raises(InputError, match="truncated or damaged"):
        list_images(settings(path))


def test_a_damaged_gzip_stream_is_an_error(tmp_path, write_tar, settings):
    path = write_tar(tmp_path / "p.tar.gz", {"a/1": os.urandom(90_000), "b/2": b"x"})
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1  # the checksum of the whole stream, which lies after the last member
    path.write_bytes(raw)
    with pytest.raises(InputError, match="truncated or damaged: CRC check failed"):
        list_images(settings(path))


def test_a_header_that_claims_gigabytes_is_refused_before_memory_is_spent(tmp_path, settings):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    first = tarfile.TarInfo("a/1").tobuf()
    path = tmp_path / "photos.tar.gz"
    path.write_bytes(gzip.compress(first + info.tobuf() + bytes(1 << 20)))
    with pytest.raises(InputError, match=r"A header claims 4,294,967,296 bytes"):
        list_images(settings(path))


def test_more_members_than_the_cap_are_an_error(archive, settings, monkeypatch):
    monkeypatch.setattr(listing_module, "MAX_MEMBERS", 2)
    with pytest.raises(InputError, match=r"Expected at most 2 files\. Received: data\.source="):
        list_images(settings(archive(PHOTOS)))


def test_more_bytes_than_the_cap_are_an_error_that_names_the_setting(archive, settings):
    path = archive(PHOTOS)
    assert list_images(settings(path, max_unpacked=11)).found == 3
    with pytest.raises(InputError, match=r"which unpacks to more\. Raise data\.max_unpacked if"):
        list_images(settings(path, max_unpacked=10))


@pytest.fixture
def bomb(tmp_path):
    """A zip of a few kilobytes that unpacks to 8 MiB."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.jpg", bytes(8 << 20))
    return path


def test_a_bomb_is_stopped_before_it_is_unpacked(bomb, settings, monkeypatch):
    monkeypatch.setattr(archive_module.zipfile.ZipFile, "open", None)  # would fail if it were
    with pytest.raises(InputError, match="data.max_unpacked"):
        list_images(settings(bomb, max_unpacked=1 << 20))


def test_a_bomb_that_claims_little_is_refused_as_damaged(bomb, settings):
    raw = bomb.read_bytes()
    bomb.write_bytes(raw.replace(struct.pack("<I", 8 << 20), struct.pack("<I", 10)))
    listing = list_images(settings(bomb, max_unpacked=1 << 20))
    assert [(one.path, one.reason) for one in listing.refused] == [("a/1.jpg", "corrupt")]


def test_a_bomb_in_a_compressed_tar_is_stopped_while_it_is_written(tmp_path, write_tar, settings):
    members = {f"a/{number}": bytes(1 << 20) for number in range(8)}
    path = write_tar(tmp_path / "bomb.tar.gz", members)
    with pytest.raises(InputError, match="data.max_unpacked"):
        list_images(settings(path, max_unpacked=3 << 20))
    assert not list((tmp_path / "cache").rglob("data.bin"))


def test_a_member_larger_than_an_example_is_refused_without_its_bytes(
    archive, settings, monkeypatch, reasons
):
    monkeypatch.setattr(listing_module, "MAX_BYTES", 4)
    listing = list_images(settings(archive(PHOTOS), max_unpacked=6))
    assert reasons(listing) == {"b/3.jpg": "too_many_bytes"}
    assert listing.refused[0].detail == "It has more than 4 bytes."
    assert contents(listing) == {"a/1.jpg": b"one", "b/deep/2.jpg": b"two"}


def test_an_empty_member_is_a_candidate_that_examination_judges(archive, settings):
    listing = list_images(settings(archive({"a/1": b"", "b/2": b"x"})))
    assert contents(listing) == {"a/1": b"", "b/2": b"x"}


def test_an_archive_of_nothing_is_an_error(tmp_path, write_zip, settings):
    with pytest.raises(InputError, match="which holds nothing. Pack the class folders into it."):
        list_images(settings(write_zip(tmp_path / "photos.zip", {})))


def rename_member(path, old, new, system):
    raw = path.read_bytes().replace(old, new)
    raw = bytearray(raw)
    raw[raw.index(b"PK\x01\x02") + 5] = system
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("name", "system", "path"),
    [
        (b"a/caf\xc3\xa9", 3, "a/café"),  # UTF-8 without saying so, as many tools write
        (b"a/caf\xe9+", 3, "a/caf\udce9+"),  # bytes of a Unix file name
        (b"a/caf\x82+", 0, "a/café+"),  # code page 437, the format's rule
        (b"a\\caf\xc3\xa9", 0, "a/café"),  # Windows' separators
    ],
)
def test_names_of_a_zip_are_read_as_their_maker_wrote_them(
    tmp_path, write_zip, settings, name, system, path
):
    archive = write_zip(tmp_path / "photos.zip", {"a/12345": b"x", "b/2": b"y"})
    rename_member(archive, b"a/12345", name, system)
    assert list_images(settings(archive)).candidates[0].path == path


def test_names_of_a_tar_that_are_not_utf_8_are_kept(tmp_path, write_tar, settings):
    name = os.fsdecode(b"a/caf\xe9\n.jpg")
    listing = list_images(settings(write_tar(tmp_path / "p.tar", {name: b"x", "b/1": b"y"})))
    assert contents(listing) == {name: b"x", "b/1": b"y"}


def test_sparse_and_long_names_of_a_tar_are_read(tmp_path, settings):
    long = "a/" + "n" * 300
    with tarfile.open(tmp_path / "p.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo(long)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert contents(list_images(settings(tmp_path / "p.tar"))) == {long: b"abc"}


@pytest.mark.parametrize(
    ("name", "path"),
    [("./a//b/", "a/b"), ("a/./b", "a/b"), (".", ""), ("a/../b", None), ("/a", None), ("..", None)],
)
def test_the_path_of_a_member_is_its_name_without_detours(name, path):
    assert member_path(name) == path


class FailingDisk:
    """Local storage that fails once what it holds has been recognised and digested."""

    def open(self, path):
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_under_an_archive_is_told_as_the_source_s(archive, settings, monkeypatch):
    path = archive(PHOTOS)
    monkeypatch.setattr(archive_module, "LOCAL", FailingDisk())
    with pytest.raises(InputError) as caught:
        list_images(settings(path))
    assert str(caught.value) == (
        f"Expected a source that can be read. Received: data.source={path}: Input/output error. "
        "Mend its permissions or the disk, or name another source."
    )
