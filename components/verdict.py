"""What a gate says: its checks with figure, limit and words, and whether all of them passed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VERDICT = "verdict"  # output of a stage that is a gate
VERDICT_FILE = "verdict.json"


@dataclass(frozen=True)
class Check:
    """One question that a gate asks.

    Attributes:
        name: what is asked, for programs.
        figure: what was found; None where it could not be.
        limit: what it is held to; None where it is told and held to nothing.
        passed: the answer.
        words: figure and limit in a sentence, and when it failed, the mend.
    """

    name: str
    figure: float | None
    limit: float | None
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """All checks of a gate, in the order in which a person should read them.

    Attributes:
        checks: see `Check`.
        words: the whole verdict in a sentence or two; empty where the checks' words are enough.
        facts: what else a gate found, as JSON can hold it.
    """

    checks: tuple[Check, ...]
    words: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def refusal(self) -> str:
        """The words of the checks that failed; empty if none did."""
        return " ".join(check.words for check in self.checks if not check.passed)

    def joined(self, other: "Verdict") -> "Verdict":
        """Returns both verdicts as one; the words are this one's, and what the other refuses."""
        words = " ".join(part for part in (self.words, other.refusal) if part)
        return Verdict((*self.checks, *other.checks), words, {**self.facts, **other.facts})

    def to_dict(self) -> dict[str, Any]:
        """Returns `passed`, `words` where there are any, `checks` and the facts."""
        words = {"words": self.words} if self.words else {}
        checks = [asdict(check) for check in self.checks]
        return {"passed": self.passed, **words, "checks": checks, **self.facts}

    def to_json(self) -> str:
        """Returns what `to_dict` does, as an indented JSON object."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        """Returns the verdict that `to_json` wrote."""
        found = json.loads(text)
        del found["passed"]
        checks = tuple(Check(**check) for check in found.pop("checks"))
        return cls(checks, found.pop("words", ""), found)
