"""Reading a configuration file: what is no YAML, and what is refused in it."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.document import read_document


def test_missing_file_is_told(folder: Path, project: Any) -> None:
    assert project.refusal(folder / "none.yaml") == (
        "Expected a configuration file that can be read. Received: none.yaml: No such file or "
        "directory. Correct the path, or write one: graft init PHOTOS."
    )


def test_folder_in_place_of_the_file_is_told(folder: Path, project: Any) -> None:
    assert "Received: photos: Is a directory." in project.refusal(folder / "photos")


def test_file_that_is_not_utf8_is_told(folder: Path, project: Any) -> None:
    path = folder / "flowers.yaml"
    path.write_bytes("name: blüten".encode("latin-1"))
    assert project.refusal(path) == (
        "flowers.yaml: Expected text in UTF-8. Received: byte 0xfc at position 8. Save the file as "
        "UTF-8."
    )


def test_byte_order_mark_is_skipped(folder: Path, project: Any) -> None:
    path = folder / "flowers.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + project.least.encode())
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
    project: Any, text: str, line: int, received: str
) -> None:
    message = project.refusal(project.write(text))
    assert message.startswith(f"flowers.yaml, line {line}: Expected YAML. Received: {received}")


def test_tabs_are_told_to_be_spaces(project: Any) -> None:
    message = project.refusal(project.write("data:\n\tsource: x\n"))
    assert "Indent with spaces, not tabs." in message


@pytest.mark.parametrize("text", ["name: a\x00b\n", "name: a\x07b\n"])
def test_control_characters_are_told(project: Any, text: str) -> None:
    assert project.refusal(project.write(text)).startswith(
        "flowers.yaml: Expected YAML. Received: unacc"
    )


@pytest.mark.parametrize(
    ("text", "received"),
    [("", "nothing"), ("# only\n", "nothing"), ("- a\n", "['a']"), ("flowers\n", "'flowers'")],
)
def test_file_without_keys_is_told(project: Any, text: str, received: str) -> None:
    assert project.refusal(project.write(text)) == (
        f"flowers.yaml: Expected keys and values. Received: {received}. Write one with: graft init "
        "PHOTOS."
    )


def test_key_given_twice_is_told_with_both_lines(project: Any) -> None:
    text = project.least + "train:\n  epochs: 1\n  seed: 2\n  epochs: 3\n"
    assert project.refusal(project.write(text)) == (
        "flowers.yaml, line 11: Expected each key once. Received: train.epochs again, first on "
        "line 9. Keep one of them."
    )


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("!!python/object/apply:os.system ['true']\n", 1, "the tag tag:yaml.org,2002:python/objec"),
        ("train: {seed: !!int '3'}\n", 1, "the tag tag:yaml.org,2002:int."),
        ("head: &head {}\ntrain: *head\n", 2, "an alias."),
    ],
)
def test_tags_and_aliases_are_refused(project: Any, text: str, line: int, received: str) -> None:
    message = project.refusal(project.write(text))
    assert message.startswith(
        f"flowers.yaml, line {line}: Expected plain values. Received: {received}"
    )


def test_key_that_is_no_word_is_refused(project: Any) -> None:
    assert "line 8: Expected a key that is a word." in project.refusal(
        project.write(project.least + "[a]: 1\n")
    )
