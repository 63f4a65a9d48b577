"""Text that comes from outside, made fit to be shown."""

import unicodedata

HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's control, format and line characters
JOINERS = "\u200c\u200d"  # format characters that scripts and emoji are spelt with


def visible(text: str) -> str:
    r"""Returns text in which whatever would move the cursor or hide is written as `\n` or `\x1b`.

    Names of files and folders may hold line breaks, escape sequences and marks that turn the
    direction of writing; a terminal or a page must show them and not obey them.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in HIDDEN_CATEGORIES and character not in JOINERS
        else character
        for character in text
    )
