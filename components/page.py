"""The frame that pages of Graft share: one file without scripts or anything fetched, light or dark.

Such a page can be mailed, archived and opened anywhere.
"""

from collections.abc import Iterable
from html import escape


def render_page(title: str, parts: Iterable[str], style: str = "") -> str:
    """Returns a whole HTML page.

    Args:
        title: of the browser's tab, text.
        parts: what stands below each other in the page, HTML; empty ones are left out.
        style: rules that are added to `STYLE`, CSS. Default: none.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --page: #f4f4f1; --card: #fff; --mat: #e9e9e4; --ink: #1d1f21;
  --soft: #5c6066; --line: #dddcd5; }
@media (prefers-color-scheme: dark) { :root { --page: #141517; --card: #1e2023; --mat: #2a2d31;
  --ink: #e8e8e6; --soft: #a3a8ae; --line: #34373c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h2, h3, p, ul, dl, dd, figure { margin: 0; }
h1 { font-size: 2.25rem; line-height: 1.15; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; }
h3 { font-size: 1.05rem; overflow-wrap: anywhere; }
.kicker { color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; }
.soft { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
header { margin-bottom: 1.75rem; }
section { margin-top: 2.5rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1.1rem 1.25rem; }
.card + .card { margin-top: .9rem; }
.mat { aspect-ratio: 1; display: grid; place-items: center; overflow: hidden;
  background: var(--mat); border-radius: .5rem; }
.mat img { display: block; width: 100%; height: 100%; object-fit: contain; }
.mat .tiny { image-rendering: pixelated; }
@media (max-width: 46rem) {
  main { padding: 1.5rem .9rem 3rem; }
  h1 { font-size: 1.8rem; }
  .card { padding: .9rem; }
}
"""
