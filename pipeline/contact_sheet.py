"""The page of `graft check`: a few images of every class, what was refused, and what is twice.

One file that needs neither network nor script, so that it can be mailed, archived and opened
anywhere. Its pictures are chosen by content, so the same data gives the same page.
"""

import heapq
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from components.atomic import write_text
from components.image_example_gen.listing import MAX_BYTES, Place
from components.image_example_gen.quarantine import REASONS, SYSTEM_FILE
from components.page import render_page
from components.report.render import to_picture
from components.text import visible
from components.thumbnails import Thumbnail, make_thumbnail
from pipeline.present import SIZES, formats_text, size_text

PER_CLASS = 5
CLASSES = 60
REFUSED = 30
PAIRS = 30
THREADS = 4  # each holds one file; of large images one is decoded at a time

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """A file of the source that the page may show.

    Attributes:
        path: its name as text, as in the results of `check.check_data`.
        label: its class, as text.
        place: where its bytes are.
        size: bytes.
        sha256: digest of the content; None where it could not be read.
        split: the split it was accepted into; None when it was refused.
        note: what it is, e.g. `"320×240 jpeg"`, if it was decoded within the limits; else empty.
    """

    path: str
    label: str
    place: Place
    size: int
    sha256: str | None
    split: str | None
    note: str


Pictures = Mapping[str, Picture]
Thumbnails = Mapping[str, Thumbnail | None]


@dataclass(frozen=True)
class _Selection:
    """What of everything is shown."""

    samples: Mapping[str, Sequence[Picture]]
    refused: Mapping[str, Sequence[Mapping[str, str]]]
    pairs: Mapping[str, Sequence["_Pair"]]

    def paths(self) -> set[str]:
        """Returns the paths of which a picture is to be made."""
        sampled = {picture.path for one in self.samples.values() for picture in one}
        refused = {file["path"] for files in self.refused.values() for file in files}
        paired = {path for pairs in self.pairs.values() for one in pairs for path in one.paths}
        return sampled | refused | paired


@dataclass(frozen=True)
class _Pair:
    """Two files of one picture, the split of each where that is the matter, and what is said."""

    paths: Sequence[str]
    splits: Sequence[str]
    words: str


def write_sheet(
    page: Path,
    result: Mapping[str, Any],
    pictures: Iterable[Picture],
    read: Callable[[Place], bytes],
    max_pixels: int,
) -> None:
    """Writes the page; its folder is made where it is missing.

    It shows at most 5 images of a class, 60 classes, 30 refused files and 30 pairs, and counts the
    rest. Refused files and pairs are chosen so that every reason and every kind is seen.

    Args:
        page: the HTML file; it is there whole or as it was before.
        result: what `check.check_data` found.
        pictures: the files of the source.
        read: returns the bytes at a place or raises `OSError`, which leaves a tile without picture.
        max_pixels: no image with more is opened, at least 1.

    Raises:
        OSError: the page cannot be written.
    """
    by_path = {picture.path: picture for picture in pictures}
    selection = _Selection(
        samples=_choose_samples(result["classes"], by_path.values()),
        refused=_choose_refused(result["refused"]),
        pairs=_share_out(_collect_pairs(result), PAIRS),
    )
    shown = {path: by_path[path] for path in selection.paths() if path in by_path}
    thumbnails = _make_thumbnails(shown, read, max_pixels)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, _render(result, selection, shown, thumbnails))


def _choose_samples(
    classes: Mapping[str, int], pictures: Iterable[Picture]
) -> dict[str, list[Picture]]:
    """Returns of each class that is shown the accepted pictures whose digests come first."""
    labels = sorted(classes, key=lambda label: (-classes[label], label))[:CLASSES]
    by_label: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.split is not None:
            by_label[picture.label].append(picture)
    return {
        label: heapq.nsmallest(PER_CLASS, by_label[label], key=lambda one: (one.sha256, one.path))
        for label in sorted(labels)
    }


def _choose_refused(refused: Iterable[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """Returns refused files by reason, a few of each; what a system left is none of them."""
    by_reason: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
    for file in refused:
        if file["reason"] != SYSTEM_FILE:
            by_reason[file["reason"]].append(file)
    ranked = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return _share_out(dict(ranked), REFUSED)


def _collect_pairs(result: Mapping[str, Any]) -> dict[str, list[_Pair]]:
    twins = {
        name: [
            _Pair(twin["paths"], twin["splits"], f"{twin['distance']} of 64 bits apart")
            for twin in result[name]
        ]
        for name in ("leaks", "label_twins")
    }
    copies = {
        name: [_Pair(paths[:2], ("", ""), _describe_copies(paths)) for paths in result[name]]
        for name in ("conflicts", "duplicates")
    }
    return {**twins, **copies}


def _describe_copies(paths: Sequence[str]) -> str:
    return "The same bytes" + (f", {len(paths):,} times in all" if len(paths) > 2 else "")


def _share_out(groups: Mapping[str, Sequence[T]], count: int) -> dict[str, list[T]]:
    """Returns the first elements of every group, `count` in all, as evenly as they allow."""
    taken = dict.fromkeys(groups, 0)
    while count and (open_groups := [name for name in groups if taken[name] < len(groups[name])]):
        for name in open_groups[:count]:
            taken[name] += 1
            count -= 1
    return {name: list(groups[name][:number]) for name, number in taken.items() if number}


def _make_thumbnails(
    shown: Pictures, read: Callable[[Place], bytes], max_pixels: int
) -> dict[str, Thumbnail | None]:
    def make(picture: Picture) -> Thumbnail | None:
        if picture.size > MAX_BYTES:
            return None
        try:
            content = read(picture.place)
        except OSError:
            return None
        return make_thumbnail(content, max_pixels)

    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        # Pillow warns of large images and odd metadata, which the limit settles.
        warnings.simplefilter("ignore")
        return dict(zip(shown, pool.map(make, shown.values()), strict=True))


def _render(
    result: Mapping[str, Any], selection: _Selection, shown: Pictures, thumbnails: Thumbnails
) -> str:
    images = _Images(shown, thumbnails)
    parts = [
        _render_head(result),
        _render_verdict(result["passed"], result["checks"]),
        _render_facts(result),
        _render_warnings(result["warnings"]),
        _render_classes(result, selection.samples, images),
        _render_refused(result["images"]["reasons"], selection.refused, images),
        *(
            _render_pairs(name, len(result[name]), pairs, images)
            for name, pairs in selection.pairs.items()
        ),
    ]
    return render_page(visible(f"{result['name']} · contact sheet"), parts, STYLE)


@dataclass(frozen=True)
class _Images:
    """What is known of the files that are shown, and their small pictures."""

    shown: Pictures
    thumbnails: Thumbnails

    def tile(self, path: str, name: str, words: str) -> str:
        """Returns a picture, or a place without one, with a name and words below."""
        told = f"<span>{_breakable(_text(words))}</span>" if words else ""
        return (
            f"<figure>{self._picture(path)}<figcaption>"
            f'<b title="{_text(path)}">{_breakable(_text(name))}</b>{told}</figcaption></figure>'
        )

    def _picture(self, path: str) -> str:
        thumbnail = self.thumbnails.get(path)
        if thumbnail is None:
            return '<div class="mat none"><span>no picture</span></div>'
        shown = to_picture(thumbnail)
        picture = self.shown[path]
        alternative = _text(f"{picture.label}: {picture.path}")
        kind = ' class="tiny"' if shown.is_tiny else ""
        return (
            f'<div class="mat"><img{kind} src="{shown.uri}" alt="{alternative}" '
            f'width="{thumbnail.width}" height="{thumbnail.height}"></div>'
        )

    def sample(self, picture: Picture) -> str:
        """Returns the tile of an accepted image below its class, whose name is left out."""
        name = picture.path.removeprefix(f"{picture.label}/")
        return self.tile(picture.path, name, f"{picture.note} · {picture.split}")

    def member(self, path: str, split: str) -> str:
        """Returns the tile of one of a pair: its class, its split, what it is and became."""
        picture = self.shown.get(path)
        if picture is None:
            return self.tile(path, path, "")
        became = "" if picture.split else "refused"
        words = (picture.label, split or picture.split, picture.note, became)
        return self.tile(path, path, " · ".join(word for word in words if word))


def _render_head(result: Mapping[str, Any]) -> str:
    return (
        f'<header>\n<p class="kicker">graft check</p>\n<h1>{_text(result["name"])}</h1>\n'
        f'<p class="soft">{_breakable(_text(result["source"]))} '
        f"<span>({_text(result['kind'])})</span></p>\n</header>"
    )


def _render_verdict(passed: bool, checks: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<li class="{"good" if check["passed"] else "bad"}">{_mark(check["passed"])}'
        f"<span>{_text(check['words'])}</span></li>\n"
        for check in checks
    )
    return (
        f'<section class="card verdict {"good" if passed else "bad"}">\n<h2>'
        f"{_mark(passed)}The data gate would {'pass' if passed else 'refuse'}</h2>\n"
        f"<ul>\n{rows}</ul>\n</section>"
    )


def _mark(passed: bool) -> str:
    name, sign = ("passed", "✓") if passed else ("failed", "✗")
    return f'<i role="img" aria-label="{name}">{sign}</i>'


def _render_facts(result: Mapping[str, Any]) -> str:
    images = result["images"]
    facts = {
        "accepted": f"{images['accepted']:,}",
        "refused": f"{images['refused']:,}",
        "classes": f"{len(result['classes']):,}",
    }
    if result["sizes"]:
        facts |= {SIZES[name]: size_text(size) for name, size in result["sizes"].items()}
        facts["formats"] = formats_text(result["formats"], result["reencoded"])
    rows = "".join(
        f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>\n" for name, value in facts.items()
    )
    return f'<dl class="facts">\n{rows}</dl>'


def _render_warnings(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    rows = "".join(f"<li>{_text(sentence)}</li>\n" for sentence in sentences)
    return f'<section class="card warn">\n<h2>Warnings</h2>\n<ul>\n{rows}</ul>\n</section>'


def _render_classes(
    result: Mapping[str, Any], samples: Mapping[str, Sequence[Picture]], images: _Images
) -> str:
    classes, splits = result["classes"], result["splits"]
    most = max(classes.values(), default=0)
    legend = "".join(f'<span class="key {split}">{split}</span>' for split in splits)
    articles = "\n".join(
        _render_class(
            label,
            {split: by_label.get(label, 0) for split, by_label in splits.items()},
            most,
            [images.sample(picture) for picture in pictures],
        )
        for label, pictures in samples.items()
    )
    more = _render_more(len(classes) - len(samples), "smaller classes")
    head = f'<div class="head"><h2>Classes</h2><p class="legend">{legend}</p></div>'
    return f"<section>\n{head}\n{articles}\n{more}</section>"


def _render_class(label: str, by_split: Mapping[str, int], most: int, tiles: Sequence[str]) -> str:
    total = sum(by_split.values())
    told = ", ".join(f"{count:,} {split}" for split, count in by_split.items())
    segments = "".join(
        f'<i class="{split}" style="width:{100 * count / most:.2f}%"></i>'
        for split, count in by_split.items()
        if count
    )
    row = '<p class="soft">No image of it was accepted.</p>'
    if tiles:
        row = f'<div class="row">{"".join(tiles)}</div>'
    return (
        f'<article class="card">\n<div class="head"><h3>{_breakable(_text(label))} '
        f'<small>{total:,}</small></h3><p class="soft">{told}</p></div>\n'
        f'<div class="bar" role="img" aria-label="{told}">{segments}</div>\n'
        f"{row}\n</article>"
    )


def _render_refused(
    counts: Mapping[str, int],
    refused: Mapping[str, Sequence[Mapping[str, str]]],
    images: _Images,
) -> str:
    articles = []
    for reason, files in refused.items():
        tiles = "".join(images.tile(file["path"], file["path"], file["detail"]) for file in files)
        more = _render_more(counts[reason] - len(files), f"refused as {reason}")
        articles.append(
            f'<article class="card">\n<h3>{reason} <small>{counts[reason]:,}</small></h3>\n'
            f'<p class="soft">{_text(REASONS[reason])}</p>\n'
            f'<div class="row wide">{tiles}</div>\n{more}</article>'
        )
    return "<section>\n<h2>Refused</h2>\n" + "\n".join(articles) + "\n</section>" if refused else ""


PAIR_TITLES = {
    "leaks": ("Leaks", "Nearly the same picture in two splits."),
    "label_twins": ("Two labels", "Nearly the same picture under two classes."),
    "conflicts": ("Conflicts", "The same file under two classes."),
    "duplicates": ("Duplicates", "The same file more than once in a class."),
}


def _render_pairs(name: str, count: int, pairs: Sequence[_Pair], images: _Images) -> str:
    title, meaning = PAIR_TITLES[name]
    cards = "".join(
        '<article class="card">\n<div class="pair">'
        + "".join(map(images.member, pair.paths, pair.splits))
        + f'</div>\n<p class="soft">{_text(pair.words)}</p>\n</article>\n'
        for pair in pairs
    )
    more = _render_more(count - len(pairs), title.lower())
    return (
        f"<section>\n<h2>{title} <small>{count:,}</small></h2>\n"
        f'<p class="soft">{meaning}</p>\n<div class="pairs">{cards}</div>\n{more}</section>'
    )


def _render_more(count: int, of_what: str) -> str:
    return f'<p class="soft more">and {count:,} more {_text(of_what)}</p>\n' if count > 0 else ""


def _text(text: str) -> str:
    """Returns text as HTML shows it, whatever it holds."""
    return escape(visible(text), quote=True)


def _breakable(text: str) -> str:
    """Lets a line end within a path, HTML already, where a reader expects it."""
    return text.replace("/", "/<wbr>").replace("_", "_<wbr>")


STYLE = """
.pairs { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
.pairs .card { margin: 0; }
.pair { display: grid; gap: .9rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.pair + .soft { margin-top: .7rem; padding-top: .6rem; border-top: 1px solid var(--line); }
.wide .none { aspect-ratio: 3; }
@media (max-width: 46rem) {
  .facts div:nth-child(7) { grid-column: 1 / -1; }
  .pairs { grid-template-columns: minmax(0, 1fr); }
}
"""
