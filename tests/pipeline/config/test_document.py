"""Reading a configuration file: what is no YAML, and what is refused in it."""

from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.config.document import read_document

LEAST = """\
name: flowers
data:
  source: photos/
base:
  name: MobileNetV2
push:
  directory: served/flowers
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "flowers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """Returns the message without the folder that the test runs in."""
    with pytest.raises(InputError) as caught:
        read_document(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_missing_file_is_told(folder: Path) -> None:
    assert refusal(folder / "none.yaml") == (
        "Expected a configuration file that can be read. Received: none.yaml: No such file or "
        "directory. Correct the path, or write one: graft init PHOTOS."
    )


def test_folder_in_place_of_the_file_is_told(folder: Path) -> None:
    assert "Received: photos: Is a directory." in refusal(folder / "photos")


def test_file_that_is_not_utf8_is_told(folder: Path) -> None:
    path = folder / "flowers.yaml"
    path.write_bytes("name: blüten".encode("latin-1"))
    assert refusal(path) == (
        "flowers.yaml: Expected text in UTF-8. Received: byte 0xfc at position 8. Save the file as "
        "UTF-8."
    )


def test_byte_order_mark_is_skipped(folder: Path) -> None:
    path = folder / "flowers.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.encode())
    assert read_document(path).data["name"] == "flowers"


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("name: a: b\n", 1, "mapping values are not allowed here."),
        ("name: flowers\ndata:\n\tsource: x\n", 3, "found character '\\t' that cannot start any"),
        ("name: flowers\ndata: {source: x\n", 3, "expected ',' or '}', but got"),
        ("name: a\n---\nname: b\n", 2, "but found another document."),
    ],
)
def test_yaml_error_is_told_with_its_line(
    folder: Path, text: str, line: int, received: str
) -> None:
    message = refusal(write(folder, text))
    assert message.startswith(f"flowers.yaml, line {line}: Expected YAML. Received: {received}")


def test_tabs_are_told_to_be_spaces(folder: Path) -> None:
    message = refusal(write(folder, "data:\n\tsource: x\n"))
    assert "Indent with spaces, not tabs." in message


@pytest.mark.parametrize("text", ["name: a\x00b\n", "name: a\x07b\n"])
def test_control_characters_are_told(folder: Path, text: str) -> None:
    assert refusal(write(folder, text)).startswith("flowers.yaml: Expected YAML. Received: unacc")


@pytest.mark.parametrize(
    ("text", "received"),
    [("", "nothing"), ("# only\n", "nothing"), ("- a\n", "['a']"), ("flowers\n", "'flowers'")],
)
def test_file_without_keys_is_told(folder: Path, text: str, received: str) -> None:
    assert refusal(write(folder, text)) == (
        f"flowers.yaml: Expected keys and values. Received: {received}. Write one with: graft init "
        "PHOTOS."
    )


def test_key_given_twice_is_told_with_both_lines(folder: Path) -> None:
    text = LEAST + "train:\n  epochs: 1\n  seed: 2\n  epochs: 3\n"
    assert refusal(write(folder, text)) == (
        "flowers.yaml, line 11: Expected each key once. Received: train.epochs again, first on "
        "line 9. Keep one of them."
    )


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("!!python/object/apply:os.system ['true']\n", 1, "the tag tag:yaml.org,2002:python/objec"),
        (LEAST + "train: {seed: !!int '3'}\n", 8, "the tag tag:yaml.org,2002:int."),
        (LEAST + "head: &head {}\ntrain: *head\n", 9, "an alias."),
    ],
)
def test_tags_and_aliases_are_refused(folder: Path, text: str, line: int, received: str) -> None:
    message = refusal(write(folder, text))
    assert message.startswith(
        f"flowers.yaml, line {line}: Expected plain values. Received: {received}"
    )


def test_key_that_is_no_word_is_refused(folder: Path) -> None:
    assert "line 8: Expected a key that is a word." in refusal(write(folder, LEAST + "[a]: 1\n"))
