"""The pictures of a run's page: which classes are mixed up, how well confidence is earned, a trend.

Each is returned as the text of an SVG file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.evaluator.reliability import BINS, Reliability
from components.plots import FIRST, GRID, INK, SECOND, SOFT, draw_svg, finish
from components.text import visible

MOST_COUNTED = 25  # classes up to which each cell tells its count
MOST_NAMED = 60  # classes up to which rows and columns have names
NAME_LENGTH = 24  # characters
SHORT = 5  # characters of names that stand upright below their columns
DARK = 0.75  # share from which words on a cell are nearly white, on a light page and a dark one
ON_DARK = "#FDFDFD"
TREND_SIZE = (7.0, 1.9)  # inches
NO_MATH = {"parse_math": False}  # a dollar sign in a class's name is one


def draw_confusion(counts: np.ndarray, labels: Sequence[str]) -> str:
    """Draws how often each class was taken for each, darker for a greater share of its photos.

    Args:
        counts: int64 [true, predicted], at least one class.
        labels: names of the classes in that order.
    """
    classes = len(labels)
    side = min(9.0, 2.6 + 0.55 * classes)
    names = [_shorten(label) for label in labels]
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.pcolormesh(shares, cmap=_colours(), vmin=0, vmax=1, rasterized=classes > MOST_COUNTED)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        if classes <= MOST_COUNTED:
            _write_counts(axes, counts, shares)
        places = np.arange(classes) + 0.5 if classes <= MOST_NAMED else []
        shown = names if classes <= MOST_NAMED else []
        size = 10 if classes <= MOST_COUNTED else 6
        turn = 90 if max(map(len, names)) > SHORT else 0
        axes.set_xticks(places, shown, rotation=turn, fontsize=size, **NO_MATH)
        axes.set_yticks(places, shown, fontsize=size, **NO_MATH)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        finish(axes)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    return draw_svg((side, side), "Confusion matrix", draw, with_names=True)


def _colours() -> Any:
    """Returns shades from nothing, whatever the page's colour is, to the first colour."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    red, green, blue = to_rgb(FIRST)
    ends = [(red, green, blue, 0.04), (red, green, blue, 1.0)]
    return LinearSegmentedColormap.from_list("shares", ends)


def _write_counts(axes: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            axes.text(
                predicted + 0.5,
                true + 0.5,
                f"{count:,}",
                ha="center",
                va="center",
                color=ON_DARK if shares[true, predicted] >= DARK else INK,
                fontsize=10 if counts.max() < 1000 else 8,
                fontweight="bold" if true == predicted else "normal",
            )


def _shorten(name: str) -> str:
    # XML has no place for control characters.
    name = visible(name)
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def draw_reliability(candidate: Reliability, baseline: Reliability | None) -> str:
    """Draws how often the model is right at each confidence, beside how often it should be.

    Args:
        candidate: of the new model.
        baseline: of the served one; None where none was evaluated.
    """

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2, label="exact")
        if baseline:
            _plot_bins(upper, baseline, SECOND, "s", "served model")
        _plot_bins(upper, candidate, FIRST, "o", "this model")
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
        upper.grid(color=GRID, linewidth=0.8)
        upper.legend(frameon=False, loc="upper left", labelcolor=INK)
        middles = (np.arange(BINS) + 0.5) / BINS
        lower.bar(middles, candidate.counts, width=0.9 / BINS, color=FIRST)
        lower.set(xlabel="confidence", ylabel="photos")
        for axes in (upper, lower):
            finish(axes)

    return draw_svg((5.4, 5.2), "Reliability", draw)


def _plot_bins(axes: Any, bins: Reliability, colour: str, marker: str, label: str) -> None:
    filled = bins.counts > 0
    axes.plot(
        bins.confidence[filled],
        bins.accuracy[filled],
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.8,
        label=label,
    )


def draw_trend(values: Sequence[float], pushed: Sequence[bool]) -> str:
    """Draws the accuracy of one run after the other; a full point is a run that was pushed.

    Args:
        values: in [0, 1], oldest first, at least one.
        pushed: of each value.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        runs = np.arange(1, len(values) + 1)
        axes.plot(runs, values, color=FIRST, linewidth=1.5)
        is_pushed = np.array(pushed, bool)
        measured = np.array(values)
        axes.plot(runs[is_pushed], measured[is_pushed], "o", color=FIRST, markersize=6)
        axes.plot(
            runs[~is_pushed],
            measured[~is_pushed],
            "o",
            color=SECOND,
            markersize=6,
            fillstyle="none",
        )
        _frame_trend(axes, measured)

    return draw_svg(TREND_SIZE, "Accuracy over runs", draw)


def _frame_trend(axes: Any, values: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    margin = max(0.02, 0.1 * float(values.max() - values.min()))
    axes.set(ylim=(values.min() - margin, values.max() + margin), xlabel="run", ylabel="accuracy")
    axes.set_xlim(0.5, max(2.5, len(values) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    finish(axes)
