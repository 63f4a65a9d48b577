"""The learning curves as a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.atomic import write_text
from components.plots import FIRST, GRID, INK, SECOND, SOFT, draw_svg, finish

STAGES = ("head", "fine_tune")  # in order
PANELS = {"loss": "Loss", "accuracy": "Accuracy"}
WATCHED = "val_"  # Keras's prefix of what is not trained on
SIZE = (9.0, 3.9)  # inches
FEW = 30  # epochs up to which each is marked by a point

TRAINED_LINE = {"color": FIRST, "linestyle": "-", "marker": "o"}
WATCHED_LINE = {"color": SECOND, "linestyle": "--", "marker": "s"}


@dataclass(frozen=True)
class _Stage:
    """A stage on the common axis: its curves, and the epochs, counted from 1, that it took."""

    curves: Mapping[str, list[float]]
    epochs: range


def plot_curves(curves: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    """Draws loss and accuracy of both stages over one axis of epochs, and marks the best epoch.

    The best epoch is the one with the least finite watched loss, of both stages. The same curves
    give the same file.

    Args:
        curves: of the stages `head` and `fine_tune`, either of which may be missing: `loss`,
            `accuracy`, `val_loss` and `val_accuracy`, one value an epoch.
        path: the SVG file; its folder is made where it is missing.

    Raises:
        ValueError: there is no epoch.
        OSError: the file cannot be written.
    """
    stages = _join(curves)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _draw(stages))


def _join(curves: Mapping[str, Mapping[str, list[float]]]) -> list[_Stage]:
    stages: list[_Stage] = []
    for name in STAGES:
        values = curves.get(name, {})
        if count := len(values.get("loss", ())):
            start = stages[-1].epochs.stop if stages else 1
            stages.append(_Stage(values, range(start, start + count)))
    if not stages:
        raise ValueError(
            f"Expected curves of at least one epoch. Received: curves={dict(curves)!r}. Train "
            "before drawing."
        )
    return stages


def _draw(stages: Sequence[_Stage]) -> str:
    def draw(figure: Any) -> None:
        best = _best_epoch(stages)
        panels = figure.subplots(1, len(PANELS))
        for axes, (name, title) in zip(panels, PANELS.items(), strict=True):
            _draw_panel(axes, name, title, stages, best)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)

    return draw_svg(SIZE, "Learning curves", draw)


def _draw_panel(
    axes: Any, name: str, title: str, stages: Sequence[_Stage], best: int | None
) -> None:
    last = stages[-1].epochs.stop - 1
    for index, stage in enumerate(stages):
        for key, line, label in (
            (name, TRAINED_LINE, "trained on"),
            (WATCHED + name, WATCHED_LINE, "watched"),
        ):
            # Nothing is drawn between stages: the second starts from the best epoch, not the last.
            axes.plot(
                stage.epochs,
                stage.curves[key],
                label="" if index else label,
                linewidth=1.8,
                markersize=4 if last <= FEW else 0,
                **line,
            )
    _mark_best(axes, name, stages, best)
    _mark_boundary(axes, stages)
    _finish(axes, name, title, stages)


def _best_epoch(stages: Sequence[_Stage]) -> int | None:
    losses = [
        (loss, epoch)
        for stage in stages
        for epoch, loss in zip(stage.epochs, stage.curves[WATCHED + "loss"], strict=True)
        if math.isfinite(loss)
    ]
    return min(losses)[1] if losses else None


def _mark_best(axes: Any, name: str, stages: Sequence[_Stage], best: int | None) -> None:
    for stage in stages:
        if best is not None and best in stage.epochs:
            value = stage.curves[WATCHED + name][stage.epochs.index(best)]
            axes.plot(
                [best],
                [value],
                label=f"best epoch ({best})",
                linestyle="none",
                marker="o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor=INK,
                markeredgewidth=1.6,
                clip_on=False,
            )


def _mark_boundary(axes: Any, stages: Sequence[_Stage]) -> None:
    if len(stages) < 2:
        return
    first, last = stages[-1].epochs.start, stages[-1].epochs.stop - 1
    is_late = first > last / 2
    axes.axvline(first - 0.5, color=SOFT, linewidth=1, linestyle=":")
    axes.annotate(
        f"fine-tuning from epoch {first}",
        (first - 0.5, 1.0),
        xycoords=("data", "axes fraction"),
        # The words stand on the side where there is room.
        xytext=(3 if is_late else -3, 4),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va="bottom",
        color=SOFT,
        fontsize=9,
    )


def _limits(name: str, stages: Sequence[_Stage]) -> tuple[float, float]:
    """Returns the ends of the vertical axis: loss from 0, accuracy up to 1."""
    drawn = [y for stage in stages for key in (name, WATCHED + name) for y in stage.curves[key]]
    values = [value for value in drawn if math.isfinite(value)] or [0.0]
    if name == "loss":
        return 0.0, 1.08 * max(values) or 1.0
    return max(-0.02, min(values) - 0.08), 1.02


def _finish(axes: Any, name: str, title: str, stages: Sequence[_Stage]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=20)
    axes.set_xlabel("epoch", color=INK)
    axes.set_xlim(0.5, stages[-1].epochs.stop - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(_limits(name, stages))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    finish(axes)
