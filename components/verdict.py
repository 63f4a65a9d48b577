"""What a gate says: its checks with figure, limit and words, and whether all of them passed."""

import json
from dataclasses import asdict, dataclass

VERDICT = "verdict"  # output of a stage that is a gate
VERDICT_FILE = "verdict.json"


@dataclass(frozen=True)
class Check:
    """One question that a gate asks.

    Attributes:
        name: what is asked, for programs.
        figure: what was found.
        limit: what it is held to; None where it is told and held to nothing.
        passed: the answer.
        words: figure and limit in a sentence, and when it failed, the mend.
    """

    name: str
    figure: float
    limit: float | None
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """All checks of a gate, in the order in which a person should read them."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def refusal(self) -> str:
        """The words of the checks that failed; empty if none did."""
        return " ".join(check.words for check in self.checks if not check.passed)

    def to_json(self) -> str:
        """Returns `{"passed", "checks"}` as an indented JSON object."""
        content = {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        """Returns the verdict that `to_json` wrote."""
        return cls(tuple(Check(**check) for check in json.loads(text)["checks"]))
