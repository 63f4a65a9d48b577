"""Decides whether a model may be served; knows nothing of TFX.

Every check says its figure, its limit and, where it failed, what to do; the verdict says in a
sentence how much better or worse the model is than the served one, and how sure that is.
"""

import difflib
from collections.abc import Iterator, Mapping

import numpy as np

from components.errors import InputError
from components.evaluator.photos import BASELINE, CANDIDATE, Photos
from components.evaluator.results import (
    ACCURACY,
    AUC,
    BALANCED_ACCURACY,
    CALIBRATION_ERROR,
    LOG_LOSS,
    ROUNDING,
    Metrics,
)
from components.model_gate import comparison
from components.model_gate.comparison import CONFIDENCE, P_VALUE, Comparison, Paired
from components.model_gate.limits import Limits, SliceLimit
from components.verdict import Check, Verdict

MOST_CLASSES = 10  # that have become worse and are named
# Half the width of an interval that tells models apart which are 2 percentage points apart.
RESOLUTION = 0.02
# The checks of one figure each: name of the limit, of the metric, words, whether high is good.
FIGURES = (
    ("min_balanced_accuracy", BALANCED_ACCURACY, "balanced accuracy", True),
    ("min_auc", AUC, "AUC", True),
    ("max_log_loss", LOG_LOSS, "log loss", False),
    ("max_calibration_error", CALIBRATION_ERROR, "calibration error", False),
)


def judge(
    photos: Photos,
    metrics: Mapping[str, Metrics],
    limits: Limits,
    model_bytes: int,
    not_compared: str = "",
) -> Verdict:
    """Judges a model.

    Args:
        photos: what the models said of each validation photo.
        metrics: see `results.read_metrics`.
        limits: what is asked.
        model_bytes: of all the model's files.
        not_compared: why there is no baseline though a model is served. Default: none is.

    Raises:
        InputError: a limit names a class or a slice that no photo is of.
    """
    check_classes(limits, photos.labels.known[CANDIDATE])
    paired = comparison.pair(photos)
    compared = comparison.compare(photos, paired) if paired else None
    not_compared = not_compared or photos.labels.not_compared
    if BASELINE in photos.labels.known and not compared:
        not_compared = "the served model and this one have fewer than two classes in common"
    checks = (
        _check_accuracy(metrics[CANDIDATE], limits),
        *_check_figures(metrics[CANDIDATE], limits),
        *_check_classes(metrics[CANDIDATE], limits),
        *_check_comparison(compared, not_compared, limits),
        *(_check_slice(photos, paired, limit) for limit in limits.slice_limits),
        *_check_size(model_bytes, limits.max_model_size),
    )
    facts = {
        "comparison": compared.to_dict() if compared else None,
        "not_compared": not_compared or None,
        "notes": list(_notes(photos, compared)),
        "model_bytes": model_bytes,
    }
    headline = _headline(checks, len(photos), compared, not_compared)
    refusal = Verdict(checks).refusal
    words = f"{headline} {refusal}" if refusal else headline
    measures = {"headline": headline, "metrics": metrics[CANDIDATE].overall}
    return Verdict(checks, words, {**measures, **facts})


def check_classes(limits: Limits, labels: list[str]) -> None:
    """Raises an `InputError` where a limit names a class that there is not.

    Args:
        limits: what is asked.
        labels: the classes that there are.
    """
    for key in ("min_recall", "min_precision"):
        for label in getattr(limits, key):
            if label not in labels:
                near = difflib.get_close_matches(label, labels, 1)
                mend = f"Did you mean {near[0]}?" if near else f"They are {', '.join(labels)}."
                raise InputError(
                    f"Expected evaluate.{key} to name a class of the photos. Received: {label}. "
                    f"{mend}"
                )


def _check_accuracy(metrics: Metrics, limits: Limits) -> Check:
    accuracy = metrics.overall[ACCURACY]
    passed = accuracy >= limits.min_accuracy - ROUNDING
    words = f"accuracy {accuracy:.3f} (at least {limits.min_accuracy:.3f} is asked)"
    if not passed:
        words += "; train longer or on more photos, or lower evaluate.min_accuracy"
    return Check("min_accuracy", accuracy, limits.min_accuracy, passed, _sentence(words))


def _check_figures(metrics: Metrics, limits: Limits) -> Iterator[Check]:
    for key, metric, name, is_high_good in FIGURES:
        limit: float | None = getattr(limits, key)
        if limit is None:
            continue
        figure = metrics.overall.get(metric)
        side = "at least" if is_high_good else "at most"
        if figure is None:
            yield Check(key, None, limit, False, f"The {name} could not be measured.")
            continue
        passed = figure >= limit - ROUNDING if is_high_good else figure <= limit + ROUNDING
        words = f"{name} {figure:.3f} ({side} {limit:.3f} is asked)"
        words += "" if passed else f"; train longer or on more photos, or change evaluate.{key}"
        yield Check(key, figure, limit, passed, _sentence(words))


def _check_classes(metrics: Metrics, limits: Limits) -> Iterator[Check]:
    for key, name in (("min_recall", "recall"), ("min_precision", "precision")):
        for label, limit in getattr(limits, key).items():
            figure = metrics.per_class[label][name]
            if figure is None:
                what = "no validation photo" if name == "recall" else "predicted for no photo"
                words = f"{name} of {label} cannot be told: {what}"
            else:
                words = f"{name} of {label} {figure:.3f} (at least {limit:.3f} is asked)"
            passed = figure is not None and figure >= limit - ROUNDING
            if not passed:
                words += f"; add photos of {label}, or lower evaluate.{key}"
            yield Check(f"{key}.{label}", figure, limit, passed, _sentence(words))


def _check_comparison(
    compared: Comparison | None, not_compared: str, limits: Limits
) -> Iterator[Check]:
    if not compared:
        if not_compared:
            words = f"Not compared: {not_compared}"
            passed = not limits.require_comparison
            words += "" if passed else "; evaluate.require_comparison: false lets it pass"
            yield Check("comparison", None, None, passed, _sentence(words))
        return
    limit = limits.max_accuracy_drop
    drop = -compared.difference
    passed, how = _is_allowed(drop, compared.interval, limit, limits.require_significance)
    words = (
        f"accuracy {compared.accuracy:.3f} is {_difference(compared)} the served model's "
        f"{compared.baseline_accuracy:.3f} "
        f"(a drop of up to {limit:.3f} is allowed{how})"
    )
    if not passed:
        words += f"; to allow it, raise evaluate.max_accuracy_drop to {drop:.4f} or more"
    yield Check("max_accuracy_drop", drop, limit, passed, _sentence(words))
    if limits.max_recall_drop is not None:
        yield from _check_recalls(compared.recall, limits.max_recall_drop)


def _is_allowed(
    drop: float, interval: tuple[float, float], limit: float, require_significance: bool
) -> tuple[bool, str]:
    """Returns whether a drop passes, and in words why a larger one does."""
    if drop <= limit + ROUNDING:
        return True, ""
    if not require_significance:
        return False, ""
    # Only where the whole interval of the difference is below what is allowed is it sure.
    is_sure = interval[1] < -limit - ROUNDING
    return not is_sure, ", and it is sure to be more" if is_sure else ", and this is within noise"


def _check_recalls(recalls: Mapping[str, Mapping[str, float]], limit: float) -> Iterator[Check]:
    """Yields a check of each class that has become worse, or one of all where none has.

    A class has few photos, so a drop counts only where it is beyond noise, and of many classes one
    may be so by chance: Bonferroni's correction.
    """
    drops = {label: one[BASELINE] - one[CANDIDATE] for label, one in recalls.items()}
    level = (1 - CONFIDENCE) / len(recalls)
    ranked = sorted(drops, key=lambda label: -drops[label])
    failed = [
        label
        for label in ranked
        if drops[label] > limit + ROUNDING and recalls[label][P_VALUE] < level
    ]
    for label in failed[:MOST_CLASSES]:
        one = recalls[label]
        words = (
            f"Recall of {label} {one[CANDIDATE]:.3f}, the served model's {one[BASELINE]:.3f}: a "
            f"drop of up to {limit:.3f} is allowed, and this one is no noise; look at its photos, "
            "or raise evaluate.max_recall_drop."
        )
        yield Check(f"max_recall_drop.{label}", drops[label], limit, False, words)
    if len(failed) > MOST_CLASSES:
        words = f"The recall of {len(failed) - MOST_CLASSES:,} more classes falls likewise."
        yield Check("max_recall_drop", drops[failed[MOST_CLASSES]], limit, False, words)
    if not failed:
        words = (
            f"No class's recall falls by more than {limit:.3f} beyond noise ({ranked[0]} "
            f"{_signed(-drops[ranked[0]])})."
        )
        yield Check("max_recall_drop", drops[ranked[0]], limit, True, words)


def _check_slice(photos: Photos, paired: Paired | None, limit: SliceLimit) -> Check:
    is_in = photos.is_in(limit.slice)
    count = int(is_in.sum())
    if not count:
        known = sorted({name for names in photos.slices for name in names})
        raise InputError(
            f"Expected evaluate.slice_limits to name a slice with validation photos. Received: "
            f"{limit.slice}. Those with photos are: {', '.join(known)}."
        )
    right = photos.probabilities[CANDIDATE].argmax(axis=1) == photos.label_index
    accuracy = float(right[is_in].mean())
    words = [f"slice {limit.slice}: accuracy {accuracy:.3f} on {count:,} photos"]
    passed, is_judged = True, count >= limit.min_examples
    if not is_judged:
        words.append(f"fewer than {limit.min_examples:,}, so not judged")
    if limit.min_accuracy is not None:
        passed = accuracy >= limit.min_accuracy - ROUNDING
        words.append(f"at least {limit.min_accuracy:.3f} is asked")
    inside = is_in[paired.rows] if paired else np.zeros(0, bool)
    if limit.max_accuracy_drop is not None and paired and inside.any():
        drop = float(paired.baseline[inside].mean() - paired.candidate[inside].mean())
        passed = passed and drop <= limit.max_accuracy_drop + ROUNDING
        words.append(f"{drop:+.3f} of at most {limit.max_accuracy_drop:.3f} below the served model")
    if is_judged and not passed:
        words.append("add such photos, or change evaluate.slice_limits")
    name = f"slice_limits.{limit.slice}"
    return Check(
        name, accuracy, limit.min_accuracy, passed or not is_judged, _sentence("; ".join(words))
    )


def _check_size(model_bytes: int, limit: float | None) -> Iterator[Check]:
    if limit is None:
        return
    size = model_bytes / 1e6
    passed = size <= limit
    words = f"the model takes {size:.1f} MB (at most {limit:g} MB are allowed)"
    words += "" if passed else "; take a smaller base or raise evaluate.max_model_size"
    yield Check("max_model_size", size, limit, passed, _sentence(words))


def _notes(photos: Photos, compared: Comparison | None) -> Iterator[str]:
    right = photos.probabilities[CANDIDATE].argmax(axis=1) == photos.label_index
    low, high = comparison.accuracy_interval(int(right.sum()), len(photos))
    if (high - low) / 2 > RESOLUTION:
        needed = comparison.photos_needed(float(right.mean()), RESOLUTION)
        yield (
            f"{len(photos):,} validation photos are few: accuracy is only known to lie between "
            f"{low:.3f} and {high:.3f}; to know it to ±{RESOLUTION:g}, about {needed:,} are needed."
        )
    if compared and compared.photos < len(photos):
        yield (
            f"The classes differ from the served model's: compared were {compared.photos:,} photos "
            f"of those that both know ({', '.join(compared.classes)})."
        )


def _headline(
    checks: tuple[Check, ...], photos: int, compared: Comparison | None, not_compared: str
) -> str:
    """Returns the verdict in a sentence."""
    outcome = "Passed" if all(check.passed for check in checks) else "Refused"
    accuracy = compared.accuracy if compared else checks[0].figure
    head = f"accuracy {accuracy:.3f} "
    if compared:
        interval = " … ".join(_signed(end) for end in compared.interval)
        head += (
            f"is {_difference(compared)} the served model (95 % interval {interval}, "
            f"{compared.photos:,} photos)"
        )
        head += _worst(compared)
    else:
        head += f"on {photos:,} validation photos (at least {checks[0].limit:.3f} is asked); "
        head += (
            f"not compared: {not_compared}" if not_compared else "no served model to compare with"
        )
    return f"{outcome}: {head}."


def _difference(compared: Comparison) -> str:
    if not compared.difference:
        return "as high as"
    side = "above" if compared.difference > 0 else "below"
    return f"{abs(compared.difference):.3f} {side}"


def _worst(compared: Comparison) -> str:
    changes = {label: one[CANDIDATE] - one[BASELINE] for label, one in compared.recall.items()}
    worst = min(changes, key=lambda label: changes[label])
    if changes[worst] >= 0:
        return ""
    return f"; worst: {worst} recall {_signed(changes[worst])}"


def _signed(value: float) -> str:
    """Returns a number with its sign, a minus as long as a plus."""
    return f"{value:+.3f}".replace("-", "−")


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
