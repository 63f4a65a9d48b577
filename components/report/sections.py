"""What each section of a run's page tells, as the templates take it; knows nothing of TFX."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluator import results
from components.evaluator.photos import BASELINE, CANDIDATE, Photos
from components.evaluator.reliability import reliability
from components.image_example_gen.quarantine import REASONS, SYSTEM_FILE, Counts
from components.model_gate.comparison import Paired, accuracy_interval
from components.plots import to_data_uri
from components.report import figures, gallery
from components.report.gallery import Shown
from components.report.render import count, ratio, share, signed

CLASSES = 60  # of which the data section tells
REFUSED = 50  # files of one reason
CONFUSIONS = 10
STAGE_NAMES = {"head": "head", "fine_tune": "fine-tuning"}
FIGURES = {
    results.ACCURACY: "accuracy",
    results.BALANCED_ACCURACY: "balanced accuracy",
    results.TOP_K.format(3): "right among the best 3",
    results.TOP_K.format(2): "right among the best 2",
    results.AUC: "AUC, one against the rest",
    results.MACRO_F1: "F1, mean of the classes",
    results.LOG_LOSS: "log loss",
    results.CALIBRATION_ERROR: "calibration error",
}
# Headings of the tables, and whether their columns hold figures.
FIGURE_HEADINGS = {"figure": False, "this model": True, "served model": True, "test photos": True}
CLASS_HEADINGS = {
    "class": False,
    "photos": True,
    "precision": True,
    "recall": True,
    "F1": True,
    "AUC": True,
    "served recall": True,
    "change": True,
}
CONFUSION_HEADINGS = {"true class": False, "taken for": False, "photos": True, "share": True}
SLICE_HEADINGS = {
    "slice": False,
    "photos": True,
    "accuracy": True,
    "95 % interval": False,
    "served model": True,
}
Cell = tuple[Any, str]


def headline(run: Mapping[str, Any]) -> str:
    """Returns what a run came to in a sentence without its end.

    Args:
        run: a run's summary, see `pipeline.local.run`.
    """
    version, gate = run["model_version"], run["refused_by"]
    refused = "Not pushed: this model was rolled back"
    if gate != "rollback":
        refused = f"Refused by the {gate} gate"
    return {
        "pushed": f"Pushed as version {version}",
        "unchanged": f"Unchanged: version {version} is served already",
        "refused": f"{refused}; what was served still is",
        "failed": "Failed",
        "interrupted": "Interrupted; the next run goes on where this one stopped",
    }[run["outcome"]]


def key_figures(run: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Returns the figures that stand below the verdict; None where there is none."""
    metrics, images = run["metrics"] or {}, run["images"] or {}
    compared = (run["verdict"] or {}).get("comparison") or {}
    return [
        ("accuracy", ratio(metrics["accuracy"]) if metrics else None),
        ("against the served model", signed(compared["difference"]) if compared else None),
        ("validation photos", count(metrics["example_count"]) if metrics else None),
        ("images accepted", count(images["accepted"]) if images else None),
        ("refused", count(images["refused"]) if images else None),
        ("time", f"{run['seconds']:,.0f} s"),
    ]


def notes(run: Mapping[str, Any]) -> list[str]:
    """Returns what the gate and the training noted."""
    training = run["training"] or {}
    return [*(run["verdict"] or {}).get("notes", ()), *training.get("notes", ())]


def data_section(
    run: Mapping[str, Any],
    counts: Counts,
    source: str,
    refused: Iterable[Mapping[str, str]],
    samples: Mapping[str, Sequence[Shown]],
    classes_before: Mapping[str, int],
) -> dict[str, Any]:
    """Returns the photos by class and split, and those that were refused, by reason.

    Args:
        run: the run's summary.
        counts: what ingestion found.
        source: where the photos are, for a person.
        refused: lines of the quarantine.
        samples: photos by class.
        classes_before: images of each class in the run before; empty where there is none.
    """
    totals = counts.totals
    shown = sorted(totals, key=lambda label: (-totals[label], label))[:CLASSES]
    most = max(totals.values(), default=0)
    return {
        "source": source,
        "splits": list(counts.splits),
        "passed": all(check["passed"] for check in run["data"]),
        "warnings": list(counts.warnings),
        "classes": [
            _class_row(label, counts, most, samples.get(label, ()), classes_before)
            for label in sorted(shown)
        ],
        "more_classes": len(totals) - len(shown),
        "refused": _by_reason(refused),
    }


def _class_row(
    label: str,
    counts: Counts,
    most: int,
    samples: Sequence[Shown],
    classes_before: Mapping[str, int],
) -> dict[str, Any]:
    by_split = {split: by_label.get(label, 0) for split, by_label in counts.splits.items()}
    total = sum(by_split.values())
    change = total - classes_before.get(label, 0) if classes_before else 0
    return {
        "label": label,
        "total": total,
        "change": f"{change:+,}" if change else "",
        "words": ", ".join(f"{number:,} {split}" for split, number in by_split.items()),
        "bars": [
            (split, f"{100 * number / most:.2f}") for split, number in by_split.items() if number
        ],
        "samples": samples,
    }


def _by_reason(refused: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    by_reason: dict[str, list[Mapping[str, str]]] = {}
    for file in refused:
        if file["reason"] != SYSTEM_FILE:
            by_reason.setdefault(file["reason"], []).append(file)
    return [
        {
            "reason": reason,
            "meaning": REASONS.get(reason, ""),
            "total": len(files),
            "files": files[:REFUSED],
            "more": max(0, len(files) - REFUSED),
        }
        for reason, files in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def training_section(record: Mapping[str, Any], curves: str, samples: str) -> dict[str, Any]:
    """Returns the curves and what they came to.

    Args:
        record: see `components.trainer.record.read_record`.
        curves: the text of their SVG file; empty where there is none.
        samples: link to the page of augmented samples; empty where there is none.
    """
    stages = [
        (
            STAGE_NAMES[name],
            f"best of {stage['epochs']:,} epochs: {stage['best_epoch']:,}; ended: {stage['ended']}",
        )
        for name, stage in record["stages"].items()
    ]
    reused, computed = record["features"]["reused"], record["features"]["computed"]
    seconds = ", ".join(f"{name} {value:,.1f} s" for name, value in record["seconds"].items())
    told = [f"{name} {words}" for name, words in stages]
    return {
        "curves": to_data_uri(curves) if curves else "",
        "words": f"Loss and accuracy by epoch, trained on and watched. {'. '.join(told)}.",
        "samples": samples,
        "facts": [
            *stages,
            ("kept", STAGE_NAMES[record["kept"]] if len(stages) > 1 else None),
            ("trained on", count(record["trained_on"])),
            ("watched", count(record["watched"])),
            ("features", f"{computed:,} computed, {reused:,} from the cache"),
            ("time", seconds),
            *((f"tuned: {key}", f"{value}") for key, value in record["tuned"].items()),
        ],
    }


def evaluation_section(
    run: Mapping[str, Any], photos: Photos, paired: Paired | None
) -> dict[str, Any]:
    """Returns figures, classes, slices, pictures, and the photos to look at."""
    labels = sorted(photos.labels.union)
    confusion = _confusion(photos)
    wrong = int((photos.probabilities[CANDIDATE].argmax(axis=1) != photos.label_index).sum())
    bins = {
        model: reliability(probabilities, photos.label_index)
        for model, probabilities in photos.probabilities.items()
    }
    # With other classes the served model's confidence is not in the same choice.
    served = bins.get(BASELINE) if paired and len(paired.rows) == len(photos) else None
    return {
        "photos": len(photos),
        "figures": _table(FIGURE_HEADINGS, _figure_rows(run)),
        "classes": _table(CLASS_HEADINGS, _class_rows(run)),
        "confusion": to_data_uri(figures.draw_confusion(confusion, labels)),
        "confusion_words": f"Counts of true against predicted class, {len(labels)} classes; "
        "those most frequently mixed up are in the table below.",
        "confusions": _table(CONFUSION_HEADINGS, _confusion_rows(confusion, labels)),
        "reliability": to_data_uri(figures.draw_reliability(bins[CANDIDATE], served)),
        "reliability_words": _reliability_words(run["metrics"]),
        "slices": _table(SLICE_HEADINGS, _slice_rows(photos, paired)),
        "wrong": gallery.choose_wrong(photos),
        "wrong_count": wrong,
        "unsure": gallery.choose_unsure(photos),
    }


def _table(headings: Mapping[str, bool], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """Returns a table without the columns that tell nothing.

    Args:
        headings: of each column, and whether it holds figures.
        rows: of as many cells, each what it is sorted by and what it shows.
    """
    told = [
        index
        for index in range(len(headings))
        if not rows or any(row[index][0] is not None for row in rows)
    ]
    columns = list(headings.items())
    return {
        "columns": [columns[index] for index in told],
        "rows": [[row[index] for index in told] for row in rows],
    }


def _figure_rows(run: Mapping[str, Any]) -> list[list[Cell]]:
    models = [run["metrics"] or {}, run["baseline_metrics"] or {}, run["test_metrics"] or {}]
    return [
        [(words, words), *((model.get(name), ratio(model.get(name))) for model in models)]
        for name, words in FIGURES.items()
        if any(name in model for model in models)
    ]


def _class_rows(run: Mapping[str, Any]) -> list[list[Cell]]:
    compared = (run["verdict"] or {}).get("comparison") or {}
    recalls = compared.get("recall", {})
    rows = []
    for label, one in sorted(run["per_class"].items()):
        recall = recalls.get(label)
        change = recall[CANDIDATE] - recall[BASELINE] if recall else None
        before = recall[BASELINE] if recall else None
        names = ("precision", "recall", "f1", "auc")
        rows.append(
            [
                (label, label),
                (one["support"], count(one["support"])),
                *((one[name], ratio(one[name])) for name in names),
                (before, ratio(before)),
                (change, signed(change)),
            ]
        )
    return rows


def _confusion(photos: Photos) -> np.ndarray:
    """Returns counts, int64 [true, predicted] by sorted label, of photos of a known class."""
    classes = len(photos.labels.union)
    counts = np.zeros((classes, classes), np.int64)
    known = photos.label_index >= 0
    said = photos.probabilities[CANDIDATE].argmax(axis=1)
    np.add.at(counts, (photos.label_index[known], said[known]), 1)
    order = np.argsort(photos.labels.union)
    return counts[np.ix_(order, order)]


def _confusion_rows(counts: np.ndarray, labels: Sequence[str]) -> list[list[Cell]]:
    mixed = counts.copy()
    np.fill_diagonal(mixed, 0)
    order = np.argsort(-mixed, axis=None, kind="stable")[:CONFUSIONS]
    rows = []
    for place in order:
        true, said = (int(one) for one in np.unravel_index(place, mixed.shape))
        number = int(mixed[true, said])
        if number:
            part = number / counts[true].sum()
            rows.append(
                [
                    (labels[true], labels[true]),
                    (labels[said], labels[said]),
                    (number, count(number)),
                    (part, share(part)),
                ]
            )
    return rows


def _reliability_words(metrics: Mapping[str, float]) -> str:
    error = metrics[results.CALIBRATION_ERROR]
    return f"Share that is right by confidence; the mean distance of the two is {error:.3f}."


def _slice_rows(photos: Photos, paired: Paired | None) -> list[list[Cell]]:
    right = photos.probabilities[CANDIDATE].argmax(axis=1) == photos.label_index
    names = sorted({name for one in photos.slices for name in one})
    rows = []
    for name in names:
        if name.startswith(results.LABEL_PREFIX):
            continue
        is_in = photos.is_in(name)
        number, hits = int(is_in.sum()), int(right[is_in].sum())
        low, high = accuracy_interval(hits, number)
        inside = is_in[paired.rows] if paired else np.zeros(0, bool)
        served = float(paired.baseline[inside].mean()) if paired and inside.any() else None
        rows.append(
            [
                (name, name),
                (number, count(number)),
                (hits / number, ratio(hits / number)),
                (low, f"{low:.3f} to {high:.3f}"),
                (served, ratio(served)),
            ]
        )
    return rows


def comparison_section(
    compared: Mapping[str, Any], photos: Photos, paired: Paired
) -> dict[str, Any]:
    """Returns how the new model differs from the served one, and on which photos.

    Args:
        compared: the verdict's `comparison`, see `components.model_gate.comparison.Comparison`.
        photos: of the evaluation.
        paired: what each model says of those that are compared.
    """
    low, high = compared["interval"]
    fixed, broken = (gallery.choose_changed(photos, paired, fixed) for fixed in (True, False))
    words = f"On the same {compared['photos']:,} photos"
    if len(compared["classes"]) < len(photos.labels.union):
        words += f" of the {len(compared['classes']):,} classes that both know"
    return {
        "words": f"{words}, the new model gets {compared['fixed']:,} right that the served one "
        f"gets wrong, and {compared['broken']:,} the other way round.",
        "facts": [
            ("accuracy", ratio(compared["accuracy"])),
            ("served model", ratio(compared["baseline_accuracy"])),
            ("difference", signed(compared["difference"])),
            ("95 % interval", f"{signed(low)} to {signed(high)}"),
            ("p value (McNemar)", f"{compared['p_value']:.2g}"),
        ],
        "changed": [
            ("Photos fixed", fixed, compared["fixed"]),
            ("Photos broken", broken, compared["broken"]),
        ],
    }
