"""The pages of real runs in a real browser: what a person sees and sorts, and cannot be harmed by.

One pipeline of five runs: pushed, refused by the model gate, refused by the data gate, pushed after
the served model was damaged, failed.
"""

import itertools
import json
import os
import re
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, chromium
from graft_command import SIDE, graft, write_base, write_photos

pytestmark = pytest.mark.e2e

EVIL = '"><img src=x onerror="window.harmed = 1"> <script>window.harmed = 1'
FORMULA = "$x^{2$ & {{ 7 * 7 }}"
COLOURS = {"blue": (30, 40, 220), EVIL: (30, 200, 60), FORMULA: (220, 40, 30)}
PHOTOS = 20  # per class
LINK = re.compile(r'(?:src|href|action|data)="([^"]*)"')


def runs(folder):
    write_photos(folder / "photos", COLOURS, PHOTOS)
    (folder / "photos/blue/<b>broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    write_base(folder / "base.keras", SIDE)
    config = folder / "tiny.yaml"
    config.write_text(
        "name: tiny\n"
        "data: {source: photos, splits: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "base: {path: base.keras, preprocessing: rescale_-1_1}\n"
        "head: {hidden: [16]}\n"
        "train: {epochs: 30, batch_size: 8, learning_rate: 0.01, patience: 30, augment: light}\n"
        "evaluate: {min_accuracy: 0.5, slices: [{name: odd, path: '[13579].png$'}]}\n"
        "push: {directory: served}\n"
    )
    yield graft("run", config)
    # An untrained head gets photos wrong that the served one gets right.
    yield graft("run", config, "--set", "train.learning_rate=1e-9", "--set", "train.epochs=1")
    yield graft("run", config, "--set", "data.max_refused=0")
    for model in (folder / "runs/tiny/artifacts/Trainer/model").glob("*/*/saved_model.pb"):
        model.write_bytes(b"damaged")
    other = ("--set", "head.hidden=[8]")
    yield graft("run", config, *other)
    night = "evaluate.slice_limits=[{slice: night, min_accuracy: 0.5}]"
    yield graft("run", config, *other, "--set", night)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The folder of all, the configuration and the summaries of the three runs."""
    folder = tmp_path_factory.mktemp("house")
    told = [(status, summary) for status, summary, _ in runs(folder)]
    assert [status for status, _ in told] == [0, 3, 3, 0, 2], told
    reports = sorted((folder / "runs/tiny/reports").glob("*/summary.json"))
    summaries = [json.loads(path.read_text()) for path in reports]
    outcomes = ["pushed", "refused", "refused", "pushed", "failed"]
    assert [one["outcome"] for one in summaries] == outcomes
    return {"folder": folder, "config": folder / "tiny.yaml", "summaries": summaries}


def page_of(house, number):
    return Path(house["summaries"][number]["report"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def refused(house, browser):
    """The page of the second run, in the browser."""
    browser.said.clear()
    browser.show(DESKTOP, "light")
    browser.open(page_of(house, 1))
    return browser


def texts(browser, selector):
    return browser.evaluate(
        f"[...document.querySelectorAll({selector!r})].map(one => one.textContent.trim())"
    )


def test_every_run_has_a_page_beside_its_configuration(house):
    for summary in house["summaries"]:
        page = Path(summary["report"])
        assert page == house["folder"] / "runs/tiny/reports" / summary["run_id"] / "index.html"
        assert (page.parent / "configuration.yaml").is_file()
        assert page.stat().st_size < 10_000_000


def test_nothing_is_fetched(house):
    for number in range(5):
        links = LINK.findall(page_of(house, number).read_text())
        allowed = ("data:image/", "#", "../index.html", "augmented.html")
        assert links
        assert [link for link in links if not link.startswith(allowed)] == []


def test_the_verdict_comes_first_and_says_why(refused, house):
    headings = texts(refused, "h2")
    assert headings[0] == "✗Refused by the model gate; what was served still is"
    card = texts(refused, "#verdict")[0]
    for check in house["summaries"][1]["verdict"]["checks"]:
        assert check["words"] in card
    assert headings[1:] == [
        "Notes",
        "Data",
        "Training",
        "Evaluation",
        "Photos it gets wrong",
        "Against the served model",
        "Serving",
        "Lineage and settings",
    ]


def test_what_a_class_is_called_is_shown_and_never_obeyed(refused):
    assert refused.evaluate("window.harmed") is None
    names = texts(refused, "#data article h3")
    assert [name for name in names if name.startswith(EVIL)]
    assert [name for name in names if name.startswith(FORMULA)]
    assert refused.evaluate("document.querySelectorAll('script').length") == 1
    assert "<b>broken.png" in texts(refused, "#data details")[0]


def test_a_click_and_a_key_sort_the_table_of_classes(refused):
    column = (
        "[...document.querySelectorAll('#evaluation table')[1].tBodies[0].rows]"
        ".map(row => row.cells[5].dataset.value)"
    )
    button = "document.querySelectorAll('#evaluation table')[1].tHead.rows[0].cells[5]"
    assert refused.evaluate(f"{button}.textContent") == "AUC"
    refused.evaluate(f"{button}.firstChild.click()")
    areas = [float(value) for value in refused.evaluate(column)]
    assert areas == sorted(areas, reverse=True)
    assert len(set(areas)) > 1
    assert refused.evaluate(f"{button}.getAttribute('aria-sort')") == "descending"
    refused.evaluate(f"{button}.firstChild.focus()")
    refused.press("Enter")
    assert [float(value) for value in refused.evaluate(column)] == sorted(areas)
    assert refused.evaluate(f"{button}.getAttribute('aria-sort')") == "ascending"


def test_photos_that_were_fixed_and_broken_are_shown_with_both_answers(refused, house):
    compared = house["summaries"][1]["verdict"]["comparison"]
    assert compared["broken"] > 0
    titles = texts(refused, "#comparison h3")
    assert titles == [f"Photos fixed {compared['fixed']}", f"Photos broken {compared['broken']}"]
    broken = refused.evaluate("document.querySelectorAll('#comparison figure').length")
    assert broken == min(24, compared["fixed"]) + min(24, compared["broken"])
    assert all("served: " in words for words in texts(refused, "#comparison figcaption"))


def test_the_figures_are_those_of_the_summary(refused, house):
    summary = house["summaries"][1]
    rows = dict(
        zip(
            texts(refused, "#evaluation table:first-of-type th[scope=row]")[:1],
            texts(refused, "#evaluation table tbody tr")[:1],
            strict=True,
        )
    )
    figures = (
        summary["metrics"]["accuracy"],
        summary["baseline_metrics"]["accuracy"],
        summary["test_metrics"]["accuracy"],
    )
    assert rows["accuracy"] == "accuracy" + "".join(f"{one:.3f}" for one in figures)
    assert "odd" in texts(refused, "#evaluation table:last-of-type th[scope=row]")


def test_it_can_be_read_by_keyboard_and_by_ear(refused):
    assert refused.evaluate("document.documentElement.lang") == "en"
    assert refused.evaluate("[...document.images].every(image => image.alt)")
    levels = [
        int(level)
        for level in refused.evaluate(
            "[...document.querySelectorAll('h1, h2, h3')].map(one => one.tagName[1]).join('')"
        )
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = refused.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    targets = refused.evaluate(
        "[...document.querySelectorAll('nav a[href^=\"#\"]')].map(one => one.hash.slice(1))"
    )
    assert set(targets) <= set(ids)


@pytest.mark.parametrize(("name", "size"), [("phone", PHONE), ("desktop", DESKTOP)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_desk_in_light_and_dark(house, browser, tmp_path, name, size, scheme):
    folder = Path(os.environ.get("GRAFT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    browser.said.clear()
    browser.show(size, scheme)
    pages = {"index": page_of(house, 1).parents[1] / "index.html"}
    pages |= {f"run-{number}": page_of(house, number) for number in range(5)}
    for title, page in pages.items():
        browser.open(page)
        browser.screenshot(folder / f"{title}-{name}-{scheme}.png")
        assert browser.evaluate("document.documentElement.scrollWidth") <= size[0], title
        assert browser.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(20, 21, 23)") == (scheme == "dark")
    assert browser.said == []


def test_a_run_that_the_data_gate_refused_says_so_and_names_the_files(house, browser):
    browser.open(page_of(house, 2))
    assert texts(browser, "h2")[0] == "✗Refused by the data gate; what was served still is"
    assert browser.evaluate("document.getElementById('evaluation')") is None
    assert "<b>broken.png" in texts(browser, "#data details")[0]
    assert browser.evaluate("document.querySelectorAll('#data figure img').length") > 0


def test_a_served_model_that_was_damaged_is_told_and_not_compared(house, browser):
    summary = house["summaries"][3]
    assert "or its artifact was changed." in summary["reason"]
    assert (summary["baseline_metrics"], summary["verdict"]["comparison"]) == (None, None)
    browser.open(page_of(house, 3))
    assert "✓Not compared: version " in texts(browser, "#verdict")[0]
    assert browser.evaluate("document.getElementById('comparison')") is None


def test_a_run_that_failed_has_a_page_that_says_why(house, browser):
    browser.open(page_of(house, 4))
    assert texts(browser, "h2")[0] == "✗Failed"
    card = texts(browser, "#verdict")[0]
    assert "Expected evaluate.slice_limits to name a slice with validation photos" in card
    assert house["summaries"][4]["log"] in card
    assert browser.evaluate("document.getElementById('training')") is not None


def test_the_index_links_every_run_and_draws_the_trend(house, browser):
    browser.open(page_of(house, 0).parents[1] / "index.html")
    ids = [summary["run_id"] for summary in house["summaries"]]
    assert texts(browser, "tbody th") == ids[::-1]
    links = browser.evaluate("[...document.querySelectorAll('tbody a')].map(one => one.href)")
    assert links == [page_of(house, number).as_uri() for number in (4, 3, 2, 1, 0)]
    assert browser.evaluate("document.images.length") == 1


def test_a_page_that_is_gone_is_made_again(house):
    page = page_of(house, 1)
    before = page.read_text()
    page.unlink()
    status, found, _ = graft("report", house["config"], "--run", house["summaries"][1]["run_id"])
    assert (status, found["report"]) == (0, str(page))
    assert page.read_text() == before


def test_the_served_model_is_traced_to_all_that_it_was_made_of(house):
    status, traced, _ = graft("explain", house["config"], "--served")
    pushed = house["summaries"][3]
    assert (status, traced["run_id"]) == (0, pushed["run_id"])
    assert traced["photos"]["source"] == str(house["folder"] / "photos")
    digests = [
        traced["photos"]["fingerprint"],
        traced["base"]["sha256"],
        traced["configuration"]["sha256"],
        traced["model"]["sha256"],
        *traced["code"].values(),
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert {"Trainer", "Transform", "Evaluator", "ModelGate"} <= set(traced["code"])
    assert str(traced["model"]["version"]) == Path(pushed["served"]).name
    assert {"tfx", "tensorflow", "keras", "python"} <= set(traced["packages"])
