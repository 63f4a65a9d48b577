"""The pictures of a run's page, read as SVG."""

import re
import xml.etree.ElementTree as ElementTree
from html import unescape

import numpy as np
import pytest

from components.evaluator.reliability import reliability
from components.report import figures


def words_of(svg: str) -> list[str]:
    ElementTree.fromstring(svg)
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_the_confusion_matrix_tells_every_count_and_class() -> None:
    counts = np.array([[90, 10, 0], [0, 7, 0], [1, 2, 0]])
    words = words_of(figures.draw_confusion(counts, ["<script>", "$x$", "写真"]))
    for word in ("90", "10", "7", "1", "2", "predicted", "true"):
        assert word in words
    assert "0" not in words
    for label in ("<script>", "$x$", "写真"):
        assert words.count(label) == 2


def test_a_long_name_is_shortened() -> None:
    words = words_of(figures.draw_confusion(np.eye(2, dtype=np.int64), ["a" * 60, "b"]))
    assert words.count("a" * 23 + "…") == 2


def test_a_count_on_a_dark_cell_is_light() -> None:
    svg = figures.draw_confusion(np.array([[9, 1], [6, 4]]), ["a", "b"])
    assert svg.count("fill: #fdfdfd") == 1


@pytest.mark.parametrize(("classes", "has_names"), [(26, True), (61, False)])
def test_of_many_classes_counts_are_left_out_and_then_names(classes: int, has_names: bool) -> None:
    labels = [f"class {number}" for number in range(classes)]
    svg = figures.draw_confusion(7 * np.eye(classes, dtype=np.int64), labels)
    words = words_of(svg)
    assert "7" not in words
    assert ("class 1" in words) == has_names
    assert len(svg) < 500_000


def test_a_class_without_photos_is_drawn() -> None:
    figures.draw_confusion(np.zeros((2, 2), np.int64), ["a", "b"])


def test_the_reliability_has_a_line_for_each_model() -> None:
    probabilities = np.array([[0.9, 0.1], [0.35, 0.65], [0.2, 0.8]], np.float32)
    bins = reliability(probabilities, np.array([0, 0, 1]))
    alone, both = figures.draw_reliability(bins, None), figures.draw_reliability(bins, bins)
    assert alone.count("#d55e00") == 0
    assert both.count("#d55e00") > 0


def test_the_trend_tells_pushed_runs_from_others() -> None:
    svg = figures.draw_trend([0.5, 0.7, 0.6], [True, True, False])
    ElementTree.fromstring(svg)
    assert "#d55e00" in svg
    assert "#d55e00" not in figures.draw_trend([0.5, 0.7], [True, True])
