"""The frame of pages."""

from components.page import render_page


def test_the_title_is_escaped_and_parts_are_kept_in_order() -> None:
    page = render_page("<b> & co", ["<p>one</p>", "", "<p>two</p>"], ".own { color: red; }")
    assert "<title>&lt;b&gt; &amp; co</title>" in page
    assert "<main>\n<p>one</p>\n<p>two</p>\n</main>" in page
    assert ".own { color: red; }</style>" in page


def test_it_fetches_and_runs_nothing() -> None:
    page = render_page("title", [])
    assert not any(word in page for word in ("<script", "<link", "http", "@import", "url("))


def test_it_has_colours_for_light_and_dark() -> None:
    page = render_page("title", [])
    assert page.count("--page: #") == 2
    assert "prefers-color-scheme: dark" in page
