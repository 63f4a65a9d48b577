"""Errors of libraries in one line."""

import pytest

from components.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one"), "one"),
        (ValueError("\n  one\ntwo"), "one"),
        (KeyError(), "KeyError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_an_error_becomes_its_first_line_or_the_name_of_its_class(
    error: Exception, line: str
) -> None:
    assert first_line(error) == line
