"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first.

Five fields are taken by its server without a word and mean another time, so they are refused here.
Source: https://pkg.go.dev/github.com/robfig/cron#hdr-CRON_Expression_Format.
"""

import re

from components.errors import InputError

DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY = re.compile(r"^@every ([0-9]+(\.[0-9]+)?(h|m|s))+$")
LEAST = 60  # seconds between runs
_PART = re.compile(r"^(\*|\?|[A-Za-z0-9]+(-[A-Za-z0-9]+)?)(/[0-9]+)?$")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Name, lowest and highest value, names of values, and whether ? stands for any.
FIELDS: tuple[tuple[str, int, int, tuple[str, ...], bool], ...] = (
    ("seconds", 0, 59, (), False),
    ("minutes", 0, 59, (), False),
    ("hours", 0, 23, (), False),
    ("day of month", 1, 31, (), True),
    ("month", 1, 12, _MONTHS, False),
    ("day of week", 0, 6, _DAYS, True),
)
EXAMPLE = '"0 0 2 * * *" is every night at two'


def check_cron(text: str) -> str:
    """Returns a cron expression as it is given, with single spaces.

    Args:
        text: six fields (seconds, minutes, hours, day of month, month, day of week), one of
            `DESCRIPTORS`, or `@every 1h30m`.

    Raises:
        InputError: it is none of these.
    """
    cron = " ".join(text.split())
    if cron.startswith("@"):
        if cron in DESCRIPTORS or _seconds(cron) >= LEAST:
            return cron
        raise InputError(
            f"Expected one of {', '.join(DESCRIPTORS)}, or @every 1h30m, a minute at least. "
            f"Received: --cron '{text}'. Correct it."
        )
    fields = cron.split(" ")
    if len(fields) == 5:
        raise InputError(
            "Expected six fields, seconds first, as Kubeflow Pipelines reads five as another time. "
            f"Received: --cron '{text}'. Write '0 {cron}'."
        )
    if len(fields) != len(FIELDS):
        raise InputError(
            "Expected six fields: seconds, minutes, hours, day of month, month, day of week. "
            f"Received: {len(fields) if cron else 0} in --cron '{text}'. For example: {EXAMPLE}."
        )
    for field, given in zip(FIELDS, fields, strict=True):
        if not all(_is_valid(part, *field[1:]) for part in given.split(",")):
            name, low, high, names, _ = field
            words = f"{low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
            raise InputError(
                f"Expected {name} from {words}, * or steps such as */2. Received: '{given}' in "
                f"--cron '{text}'. For example: {EXAMPLE}."
            )
    return cron


def _seconds(cron: str) -> float:
    """Returns the seconds of `@every 1h30m`; 0 for what is none."""
    if not _EVERY.match(cron):
        return 0.0
    parts = re.findall(r"([0-9.]+)([hms])", cron.partition(" ")[2])
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)


def _is_valid(part: str, low: int, high: int, names: tuple[str, ...], takes_any: bool) -> bool:
    found = _PART.match(part)
    if not found or (part.startswith("?") and not takes_any):
        return False
    _, _, step = part.partition("/")
    if step and not 1 <= int(step) <= high:
        return False
    span = found[1]
    if span in ("*", "?"):
        return True
    values = [_value(value, names, low) for value in span.split("-")]
    return all(low <= value <= high for value in values) and values == sorted(values)


def _value(text: str, names: tuple[str, ...], low: int) -> int:
    """Returns a field's number, one below all for text that is none."""
    if text.isdigit():
        return int(text)
    return names.index(text.upper()) + low if text.upper() in names else low - 1
