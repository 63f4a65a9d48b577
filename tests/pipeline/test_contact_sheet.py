"""The page that a person opens after `graft check`: what is on it, and what never is."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen.listing import MAX_BYTES, Place
from pipeline.contact_sheet import CLASSES, PAIRS, PER_CLASS, REFUSED, Picture, write_sheet

LIMIT = 10_000  # pixels
ODD = ["<script>alert(1)</script>", "\"><img src=x>'", "&amp;", "a\nb", "\x1b[31m", "\u202egnp"]
VOID = {"meta", "img", "wbr"}


class Page(HTMLParser):
    """Reads a page and refuses one whose elements are not closed in order."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def alternatives(self) -> list[str]:
        return [image["alt"] for image in self.all("img")]


@pytest.fixture
def files(tmp_path: Path, encode: Callable[..., bytes], noise: Callable[..., np.ndarray]) -> Any:
    """Writes a small image and returns it as a picture of the source."""

    def make(path: str, label: str = "cat", split: str | None = "train", seed: int = 0) -> Picture:
        digest = hashlib.sha256(path.encode()).hexdigest()
        place = tmp_path / "source" / digest
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(encode(noise(seed)))
        return Picture(path, label, Place(str(place)), 1, digest, split, "12×10 png")

    return make


def found(**changed: Any) -> dict[str, Any]:
    classes = changed.pop("classes", {"cat": 1, "dog": 3})
    return {
        "name": "pets",
        "source": "/photos",
        "kind": "folder of class folders",
        "passed": True,
        "checks": [{"name": "classes", "passed": True, "words": "2 classes are there."}],
        "images": {"accepted": 4, "refused": 0, "ignored": 0, "reasons": {}},
        "classes": classes,
        "splits": {"train": classes, "validation": dict.fromkeys(classes, 0)},
        "sizes": {"min": [1, 2], "median": [10, 20], "max": [1000, 2000]},
        "formats": {"jpeg": 3, "webp": 1},
        "reencoded": 1,
        "refused": [],
        "duplicates": [],
        "conflicts": [],
        "leaks": [],
        "label_twins": [],
        "warnings": [],
        **changed,
    }


def read(place: Place) -> bytes:
    return Path(place.file).read_bytes()


def shown(tmp_path: Path, result: dict[str, Any], pictures: list[Picture]) -> Page:
    page = tmp_path / "reports" / "check" / "index.html"
    write_sheet(page, result, pictures, read, LIMIT)
    return Page(page)


def test_the_page_tells_what_was_found(tmp_path: Path) -> None:
    page = shown(tmp_path, found(warnings=["A class is small."]), [])
    for words in (
        "pets",
        "/photos (folder of class folders)",
        "The data gate would pass",
        "2 classes are there.",
        "A class is small.",
        "smallest1×2",
        "median10×20",
        "largest1,000×2,000",
        "jpeg 3, webp 1; 1 will be re-encoded as PNG",
        "3 train, 0 validation",
    ):
        assert words in re.sub(r"\n", "", page.text)
    assert [name for name, _ in page.elements if name in ("h1", "h2")] == ["h1", *["h2"] * 3]


def test_a_refusal_and_a_check_that_failed_are_told_in_words_and_for_those_who_listen(
    tmp_path: Path,
) -> None:
    failed = {"name": "leaks", "passed": False, "words": "One leak."}
    page = shown(tmp_path, found(passed=False, checks=[failed]), [])
    assert "The data gate would refuse" in page.text
    assert [mark["aria-label"] for mark in page.all("i") if "aria-label" in mark] == ["failed"] * 2


def test_the_page_needs_no_network_and_no_script(tmp_path: Path, files: Any) -> None:
    page = shown(tmp_path, found(), [files("cat/1.png")])
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert "url(" not in page.source and "@import" not in page.source
    addresses = re.findall(r"""(?:src|href)="([^"]*)""", page.source)
    assert [address[:23] for address in addresses] == ["data:image/jpeg;base64,"]


def test_a_picture_is_a_small_jpeg_with_its_class_and_name_for_those_who_cannot_see(
    tmp_path: Path, files: Any, encode: Callable[..., bytes]
) -> None:
    picture = files("cat/1.png")
    red = np.zeros((10, 12, 3), np.uint8)
    red[..., 0] = 255
    Path(picture.place.file).write_bytes(encode(red))
    (image,) = shown(tmp_path, found(), [picture]).all("img")
    assert (image["alt"], image["width"], image["height"]) == ("cat: cat/1.png", "12", "10")
    content = base64.b64decode(image["src"].partition(",")[2])
    with Image.open(io.BytesIO(content)) as decoded:
        assert (decoded.format, decoded.size) == ("JPEG", (12, 10))
        assert np.abs(np.asarray(decoded).astype(int) - [255, 0, 0]).max() < 10


def test_what_is_re_encoded_is_shown_as_training_sees_it(tmp_path: Path) -> None:
    content, place = io.BytesIO(), tmp_path / "inverted.tiff"
    # 262 is PhotometricInterpretation and 0 "white is zero", which Pillow leaves to its caller.
    grey = Image.fromarray(np.full((8, 8), 65535, np.uint16))
    grey.save(content, "TIFF", tiffinfo={262: 0})
    place.write_bytes(content.getvalue())
    picture = Picture("cat/1.tiff", "cat", Place(str(place)), 1, "ab" * 32, "train", "8×8 tiff")
    (image,) = shown(tmp_path, found(), [picture]).all("img")
    with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as decoded:
        assert np.asarray(decoded).mean() < 5


def test_five_accepted_images_of_a_class_are_shown_the_first_by_digest(
    tmp_path: Path, files: Any
) -> None:
    pictures = [files(f"cat/{number}.png") for number in range(9)]
    pictures.append(files("cat/refused.png", split=None))
    first = sorted(pictures[:9], key=lambda one: one.sha256 or "")[:PER_CLASS]
    expected = [f"cat: {one.path}" for one in first]
    assert len(expected) == 5
    assert shown(tmp_path, found(), pictures).alternatives() == expected
    assert shown(tmp_path, found(), pictures[::-1]).alternatives() == expected


def test_of_many_classes_the_largest_are_shown_and_the_rest_counted(
    tmp_path: Path, files: Any
) -> None:
    classes = {f"class{number:02d}": number for number in range(CLASSES + 3)}
    page = shown(tmp_path, found(classes=classes), [files("class00/1.png", "class00")])
    assert f"class{CLASSES + 2}" in page.text
    assert "class03" in page.text and "class02" not in page.text
    assert "and 3 more smaller classes" in page.text
    assert page.alternatives() == []


def test_refused_files_are_shown_by_reason_so_that_every_reason_is_seen(
    tmp_path: Path, files: Any
) -> None:
    refused = [
        {"path": f"cat/{number}.png", "reason": "truncated", "detail": f"Detail {number}."}
        for number in range(40)
    ]
    refused.append({"path": "dog/e.png", "reason": "empty", "detail": "0 bytes."})
    refused.append({"path": "Thumbs.db", "reason": "system_file", "detail": "Left."})
    reasons = {"truncated": 40, "empty": 1}
    result = found(
        refused=refused,
        images={"accepted": 4, "refused": 41, "ignored": 1, "reasons": reasons},
    )
    page = shown(tmp_path, result, [files("cat/0.png", split=None)])
    assert "Detail 0." in page.text and "0 bytes." in page.text
    assert "The image ends before it is complete" in page.text
    assert page.text.count("Detail ") == REFUSED - 1
    assert f"and {40 - (REFUSED - 1)} more refused as truncated" in page.text
    assert "Thumbs.db" not in page.text
    assert page.alternatives() == ["cat: cat/0.png"]
    assert page.text.count("no picture") == REFUSED - 1


@pytest.mark.parametrize("spoil", ["gone", "text", "bomb", "bytes"])
def test_what_has_no_picture_is_a_tile_without_one(
    tmp_path: Path,
    files: Any,
    encode: Callable[..., bytes],
    noise: Callable[..., np.ndarray],
    spoil: str,
) -> None:
    picture = files("cat/1.png")
    place = Path(picture.place.file)
    if spoil == "gone":
        place.unlink()
    elif spoil == "text":
        place.write_text("hello")
    elif spoil == "bomb":
        place.write_bytes(encode(noise(1, 101, 100)))  # one row beyond the limit
    else:
        picture = Picture(**{**vars(picture), "size": MAX_BYTES + 1})
    page = shown(tmp_path, found(), [picture])
    assert page.alternatives() == []
    assert page.text.count("no picture") == 1
    assert "1.png" in page.text


def test_pairs_stand_side_by_side_with_their_splits_and_what_became_of_them(
    tmp_path: Path, files: Any
) -> None:
    leak = {
        "paths": ["cat/1.png", "cat/2.png"],
        "splits": ["train", "validation"],
        "distance": 3,
        "kept": "cat/2.png",
        "refused": "cat/1.png",
    }
    twin = {
        "paths": ["cat/3.png", "dog/4.png"],
        "labels": ["cat", "dog"],
        "splits": ["train", "train"],
        "distance": 2,
    }
    result = found(
        leaks=[leak],
        label_twins=[twin],
        conflicts=[["cat/5.png", "dog/6.png"]],
        duplicates=[["cat/7.png", "cat/8.png", "cat/9.png"]],
    )
    pictures = [
        files("cat/1.png", split=None),
        files("cat/2.png", split="validation"),
        files("dog/4.png", "dog"),
    ]
    text = shown(tmp_path, result, pictures).text
    assert (
        "cat/1.pngcat · train · 12×10 png · refused"
        "cat/2.pngcat · validation · 12×10 png\n3 of 64 bits apart\n"
    ) in text
    assert "no picturecat/3.pngdog/4.pngdog · train · 12×10 png" in text
    assert "2 of 64 bits apart" in text
    assert "The same bytes\n" in text
    assert "The same bytes, 3 times in all" in text


def test_thirty_pairs_are_shown_of_every_kind_and_the_rest_is_counted(tmp_path: Path) -> None:
    copies = [[f"cat/{number}a.png", f"cat/{number}b.png"] for number in range(100)]
    conflicts = [["cat/x.png", "dog/x.png"]]
    text = shown(tmp_path, found(duplicates=copies, conflicts=conflicts), []).text
    assert "cat/x.png" in text
    assert text.count("a.png") == PAIRS - 1
    assert f"and {100 - (PAIRS - 1)} more duplicates" in text


@pytest.mark.parametrize("name", ODD)
def test_names_are_shown_and_never_obeyed(tmp_path: Path, files: Any, name: str) -> None:
    path = f"{name}/{name}.png"
    refused = [{"path": f"{path}2", "reason": "empty", "detail": f"{name}."}]
    result = found(
        name=name,
        source=name,
        classes={name: 1},
        warnings=[name],
        refused=refused,
        duplicates=[[path, f"{path}3"]],
        images={"accepted": 1, "refused": 1, "ignored": 0, "reasons": {"empty": 1}},
        checks=[{"name": "classes", "passed": True, "words": name}],
    )
    page = shown(tmp_path, result, [files(path, name)])
    assert page.all("script") == []
    assert len(page.all("img")) == 2  # as a sample and as one of a pair
    assert not set("\x1b\u202e") & set(page.source)
    visible = name.replace("\n", "\\n").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert page.text.count(visible) >= 9
    assert page.alternatives()[0] == f"{visible}: {visible}/{visible}.png"


def test_the_same_data_gives_the_same_page(tmp_path: Path, files: Any) -> None:
    pictures = [files(f"cat/{number}.png", seed=number) for number in range(9)]
    page = shown(tmp_path, found(), pictures).source
    assert shown(tmp_path, found(), pictures).source == page


def test_a_page_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, file_limit: Callable[[int], Any]
) -> None:
    before = shown(tmp_path, found(), []).source
    with file_limit(100), pytest.raises(OSError, match="large"):
        shown(tmp_path, found(name="other"), [])
    assert Page(tmp_path / "reports/check/index.html").source == before
    assert len(list((tmp_path / "reports/check").iterdir())) == 1


def test_a_class_without_any_accepted_image_says_so(tmp_path: Path, files: Any) -> None:
    text = shown(tmp_path, found(), [files("dog/1.png", "dog")]).text
    assert text.count("No image of it was accepted.") == 1


def test_without_any_image_there_is_still_a_page(tmp_path: Path) -> None:
    page = shown(tmp_path, found(classes={}, sizes=None, formats={}), [])
    assert "smallest" not in page.text
    assert page.alternatives() == []
