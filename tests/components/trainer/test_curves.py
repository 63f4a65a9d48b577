"""The picture of the learning curves, as matplotlib writes it."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from components import plots
from components.trainer.curves import plot_curves

HEAD = {
    "loss": [1.5, 0.8, 0.4],
    "val_loss": [1.4, 0.9, 1.0],
    "accuracy": [0.3, 0.7, 0.9],
    "val_accuracy": [0.4, 0.6, 0.65],
}
FINE_TUNE = {"loss": [0.3], "val_loss": [0.7], "accuracy": [0.95], "val_accuracy": [0.8]}


def draw(folder: Path, monkeypatch: pytest.MonkeyPatch, **curves: object) -> tuple[str, list[str]]:
    """Returns the picture, and its words as text."""
    monkeypatch.setitem(plots.SETTINGS, "svg.fonttype", "none")
    path = folder / "new" / "curves.svg"
    plot_curves(curves, path)
    picture = path.read_text()
    ElementTree.fromstring(picture)
    return picture, re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def test_both_stages_share_one_axis_with_a_boundary_and_the_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, words = draw(tmp_path, monkeypatch, head=HEAD, fine_tune=FINE_TUNE)
    assert words.count("fine-tuning from epoch 4") == 2
    assert "best epoch (4)" in words
    for word in ("Loss", "Accuracy", "trained on", "watched", "epoch"):
        assert word in words


@pytest.mark.parametrize("name", ["head", "fine_tune"])
def test_a_stage_alone_has_no_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _, words = draw(tmp_path, monkeypatch, **{name: HEAD})
    assert "best epoch (2)" in words
    assert not any("fine-tuning" in word for word in words)


def test_one_epoch_is_drawn_as_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, words = draw(tmp_path, monkeypatch, head=FINE_TUNE)
    assert "best epoch (1)" in words
    assert "#0072b2" in picture and "#d55e00" in picture


def test_a_loss_that_is_not_a_number_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan, infinite = float("nan"), float("inf")
    broken = {**HEAD, "loss": [1.5, nan, infinite], "val_loss": [nan, 0.8, infinite]}
    assert "best epoch (2)" in draw(tmp_path, monkeypatch, head=broken)[1]
    never = {name: [nan] for name in HEAD}
    assert not any("best" in word for word in draw(tmp_path, monkeypatch, head=never)[1])


def test_the_same_curves_give_the_same_file_without_a_date(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        plot_curves({"head": HEAD, "fine_tune": FINE_TUNE}, tmp_path / name)
    content = (tmp_path / "one.svg").read_bytes()
    assert content == (tmp_path / "two.svg").read_bytes()
    assert b"dc:date" not in content
    assert b"<text" not in content  # letters are shapes, so that no font is needed


@pytest.mark.parametrize("curves", [{}, {"head": {}}, {"head": {key: [] for key in HEAD}}])
def test_curves_without_an_epoch_are_refused(tmp_path: Path, curves: dict) -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_curves(curves, tmp_path / "curves.svg")
    assert not list(tmp_path.iterdir())
