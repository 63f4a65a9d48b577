"""The frame that pages of Graft share: one file that fetches nothing, light or dark.

Such a page can be mailed, archived and opened anywhere.
"""

from collections.abc import Iterable
from html import escape


def render_page(title: str, parts: Iterable[str], style: str = "", script: str = "") -> str:
    """Returns a whole HTML page.

    Args:
        title: of the browser's tab, text.
        parts: what stands below each other in the page, HTML; empty ones are left out.
        style: rules that are added to `STYLE`, CSS. Default: none.
        script: what runs when the page is loaded, JavaScript. Default: none.
    """
    scripts = f"<script>{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n{scripts}</body>\n</html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --page: #f4f4f1; --card: #fff; --mat: #e9e9e4; --ink: #1d1f21;
  --soft: #5c6066; --line: #dddcd5; --good: #176b3a; --bad: #b3261e; --warn: #8a5a00;
  --train: #3a6ea5; --validation: #d98a2b; --test: #8a68b0; }
@media (prefers-color-scheme: dark) { :root { --page: #141517; --card: #1e2023; --mat: #2a2d31;
  --ink: #e8e8e6; --soft: #a3a8ae; --line: #34373c; --good: #6fcf97; --bad: #ff8a80;
  --warn: #f2c063; --train: #6ea3dc; --validation: #e9a552; --test: #b395d8; } }
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
small { font-weight: 400; color: var(--soft); font-variant-numeric: tabular-nums; }
.verdict, .warn { margin-top: 1rem; border-left: .3rem solid var(--good); }
.verdict.bad { border-left-color: var(--bad); }
.warn { border-left-color: var(--warn); }
.warn h2 { color: var(--warn); }
.verdict ul, .warn ul { padding: 0; list-style: none; margin-top: .5rem; font-size: .95rem; }
.verdict li { display: flex; gap: .1rem; overflow-wrap: anywhere; }
.verdict span, .warn li { min-width: 0; overflow-wrap: anywhere; }
.verdict i { font-style: normal; width: 1.4rem; flex: none; display: inline-block; }
.good > i, .good > h2 { color: var(--good); }
.bad > i, .bad > h2 { color: var(--bad); }
h2 > i { color: inherit; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2.25rem; margin-top: 1.5rem;
  padding: 0 .25rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { font-weight: 600; font-variant-numeric: tabular-nums; }
.head { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between;
  gap: .1rem 1.5rem; }
section > .head, section > h2 { margin-bottom: .9rem; }
section > h2 + .soft { margin: -.7rem 0 .9rem; }
.row { display: grid; gap: .9rem; grid-template-columns: repeat(5, minmax(0, 1fr)); }
.wide { margin-top: .9rem; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr)); }
.row:not(.wide) figcaption b { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.legend { display: flex; gap: 1.1rem; font-size: .9rem; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: .7rem; height: .7rem;
  margin-right: .4rem; border-radius: .2rem; background: var(--color); }
.train { --color: var(--train); } .validation { --color: var(--validation); }
.test { --color: var(--test); }
.bar { display: flex; gap: 2px; height: .5rem; margin: .45rem 0 .9rem; border-radius: .25rem;
  background: var(--mat); overflow: hidden; }
.bar i { flex: none; min-width: 2px; background: var(--color); }
.more { margin-top: .9rem; }
.none { border: 1px dashed var(--soft); color: var(--soft); font-size: .85rem; }
figcaption { margin-top: .4rem; font-size: .8rem; line-height: 1.4; }
figcaption b { display: block; font-weight: 500; overflow-wrap: anywhere; }
figcaption span { display: block; color: var(--soft); overflow-wrap: anywhere; }
@media (max-width: 46rem) {
  main { padding: 1.5rem .9rem 3rem; }
  h1 { font-size: 1.8rem; }
  .card { padding: .9rem; }
  .row { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .7rem; }
  .wide { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .facts { display: grid; grid-template-columns: repeat(3, auto); gap: .75rem 1.25rem; }
}
"""
