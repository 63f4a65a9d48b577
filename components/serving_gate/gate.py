"""Decides whether an exported model may be served; knows nothing of TFX or TensorFlow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components import features
from components.verdict import Check, Verdict

SIGNATURES = (
    features.SERVE_BYTES,
    features.SERVE_EXAMPLES,
    features.SERVE_PIXELS,
    features.EMBED,
    features.CLASSIFY_FEATURES,
)
BAD = "bad"  # query: files that are no images between two that are


@dataclass(frozen=True)
class ServingLimits:
    """What is asked of a model that is to be served.

    Attributes:
        max_difference: between probabilities as evaluated and as served.
        max_latency: median of requests of one photo, milliseconds; None for any.
        max_memory: of the process that serves, MB of 10^6 bytes; None for any.
    """

    max_difference: float = 1e-5
    max_latency: float | None = 1000.0
    max_memory: float | None = None

    def to_json(self) -> str:
        """Returns the limits as a JSON object."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Answers:
    """What a process without our code was answered.

    Attributes:
        signatures: that the model has.
        probabilities: by query float32 [photos, classes].
        expected: by query what was evaluated for the same photos.
        bad: the outputs of the query `BAD` by name, of which the first and the last row are of
            photos.
        seconds: of requests of one photo.
        peak_mb: most memory of the process, MB of 10^6 bytes.
        warmed: requests of the warm-up file that were replayed.
        formats: photos that were asked about, by format.
    """

    signatures: Sequence[str]
    probabilities: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    bad: Mapping[str, np.ndarray]
    seconds: Sequence[float]
    peak_mb: float
    warmed: int
    formats: Mapping[str, int]

    @property
    def latency_ms(self) -> dict[str, float]:
        """Milliseconds of a photo: half of the requests take at most `p50`, all but 1 % `p99`."""
        shares = {"p50": 0.5, "p99": 0.99}
        return {
            name: 1000 * float(np.quantile(self.seconds, share)) for name, share in shares.items()
        }


def judge(answers: Answers, limits: ServingLimits) -> Verdict:
    """Judges what a model answered."""
    checks = (
        check_signatures(answers.signatures),
        _check_parity(answers, limits.max_difference),
        _check_bad(answers.bad),
        _check_warmup(answers.warmed),
        *_check_costs(answers, limits),
    )
    return Verdict(checks)


def failure(reason: str) -> Verdict:
    """Returns the verdict on a model that could not be asked.

    Args:
        reason: what the process said last.
    """
    words = (
        f"The exported model does not answer in a process of its own: {reason}. The log tells "
        "more; a base whose layers need code of their own cannot be served."
    )
    return Verdict((Check("served_alone", None, None, False, words),))


def check_signatures(found: Sequence[str]) -> Check:
    """Judges by the signatures that a model has."""
    missing = [name for name in SIGNATURES if name not in found]
    if missing:
        words = (
            f"The model lacks the signatures {', '.join(missing)}, which clients call; the trainer "
            "did not export it."
        )
        return Check("signatures", len(missing), 0, False, words)
    words = f"The model has all of the {len(SIGNATURES)} signatures that clients call."
    return Check("signatures", 0, 0, True, words)


def _check_parity(answers: Answers, limit: float) -> Check:
    differences = {
        # What is no number is as different as can be.
        name: float(np.nan_to_num(np.abs(values - answers.expected[name]), nan=np.inf).max())
        for name, values in answers.probabilities.items()
    }
    worst = max(differences, key=lambda name: differences[name])
    figure = differences[worst]
    formats = ", ".join(f"{name} {count:,}" for name, count in sorted(answers.formats.items()))
    words = (
        f"Served probabilities differ by {figure:.1g} from those evaluated (at most {limit:.1g} "
        f"may be), asked in {len(differences)} ways about {sum(answers.formats.values()):,} "
        f"photos ({formats})"
    )
    passed = figure <= limit
    words += "." if passed else f"; the largest by {worst}. What is served is not what was judged."
    return Check("parity", figure, limit, passed, words)


def _check_bad(bad: Mapping[str, np.ndarray]) -> Check:
    decoded = np.asarray(bad[features.DECODED], bool)
    rows = np.asarray(bad[features.PROBABILITIES])[1:-1]
    right = decoded[0] and decoded[-1] and not decoded[1:-1].any() and not rows.any()
    passed = bool(right) and not any(np.asarray(bad["label"])[1:-1])
    words = (
        f"{len(decoded) - 2} files that are no images get an empty row each, and their "
        "neighbours are answered."
    )
    if not passed:
        words = "Files that are no images disturb their neighbours or get a label."
    return Check("bad_files", None, None, passed, words)


def _check_warmup(warmed: int) -> Check:
    words = f"{warmed} requests to warm a server up were replayed."
    if not warmed:
        words = "There are no requests to warm a server up."
    return Check("warmup", warmed, None, warmed > 0, words)


def _check_costs(answers: Answers, limits: ServingLimits) -> list[Check]:
    half, most = answers.latency_ms.values()
    words = f"A photo takes {half:.0f} ms, one in a hundred {most:.0f} ms"
    slow = limits.max_latency is not None and half > limits.max_latency
    if limits.max_latency is not None:
        words += f" (at most {limits.max_latency:g} ms are allowed for half of them)"
    words += "; take a smaller base or raise evaluate.max_latency." if slow else "."
    memory = f"Serving takes {answers.peak_mb:,.0f} MB of memory"
    large = limits.max_memory is not None and answers.peak_mb > limits.max_memory
    if limits.max_memory is not None:
        memory += f" (at most {limits.max_memory:,.0f} MB are allowed)"
    memory += "; take a smaller base or raise evaluate.max_memory." if large else "."
    return [
        Check("max_latency", half, limits.max_latency, not slow, words),
        Check("max_memory", answers.peak_mb, limits.max_memory, not large, memory),
    ]


def to_facts(answers: Answers) -> dict[str, Any]:
    """Returns the measures for the verdict's facts."""
    return {"latency_ms": answers.latency_ms, "peak_mb": answers.peak_mb}
