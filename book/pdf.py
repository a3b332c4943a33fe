"""The whole book as one PDF: a browser prints every page in reading order, and the prints are joined.

`python book/pdf.py _build/html _build/book.pdf` needs Chromium or Chrome. Links between pages lead to their place in
the PDF, links elsewhere stay as they are, and bookmarks show parts and chapters.
"""

import asyncio
import base64
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from browse import Browser, NoBrowser, browser
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NullObject
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
A4 = {"paperWidth": 8.27, "paperHeight": 11.69, "marginTop": 0.7, "marginBottom": 0.8}  # inches
SCALE = 0.78  # so that lines of code and wide tables fit
TITLE = "document.querySelector('article h1').firstChild.textContent"
FOOT = "height: 10.4in; display: flex; align-items: flex-end; justify-content: space-between; break-after: page"

Place = tuple[int, float | None]  # page of the PDF from 0, and height on it in points, None for its top


@dataclass(frozen=True)
class Chapter:
    """One page of the book in the order of reading."""

    file: str  # without ending
    depth: int  # of its bookmark
    opens: str = ""  # caption of the part that starts with it


@dataclass(frozen=True)
class Print:
    """A chapter on paper."""

    chapter: Chapter
    address: str  # of the page that was printed
    title: str
    pdf: PdfReader


def reading_order(toc: dict) -> list[Chapter]:
    """Return the pages of a table of contents in the order of reading."""
    found = [Chapter(toc["root"], 0)]
    for part in toc["parts"]:
        first, *others = (page for entry in part["chapters"] for page in _pages(entry, 1))
        found += [Chapter(first.file, first.depth, part["caption"]), *others]
    return found


def _pages(entry: dict, depth: int) -> Iterator[Chapter]:
    yield Chapter(entry["file"], depth)
    for section in entry.get("sections", []):
        yield from _pages(section, depth + 1)


async def printed(html: Path, chapters: Sequence[Chapter]) -> list[Print]:
    """Print all chapters.

    Args:
        html: Folder of the built book.
        chapters: What to print.
    """
    prints = []
    async with browser() as tab:
        for chapter in tqdm(chapters, unit="page", disable=None):
            address = (html / f"{chapter.file}.html").as_uri()
            await tab.open(address)
            pdf = await on_paper(tab, scale=SCALE, marginLeft=0.7, marginRight=0.7)
            prints.append(Print(chapter, address, str(await tab.value(TITLE)).strip(), pdf))
    return prints


async def on_paper(tab: Browser, **options: object) -> PdfReader:
    """Print what a tab shows."""
    answer = await tab.call("Page.printToPDF", printBackground=True, **A4 | options)
    return PdfReader(io.BytesIO(base64.b64decode(answer["data"])))


def joined(prints: Sequence[Print]) -> PdfWriter:
    """Return all prints as one document with bookmarks, in which links between pages work."""
    book, parents = PdfWriter(), {}
    places: dict[str, Place] = {}
    for one in prints:
        first = len(book.pages)
        places |= targets(one, first)
        for page in one.pdf.pages:
            name_targets(page, one.address)
            book.add_page(page)
        if one.chapter.opens:
            parents = {0: book.add_outline_item(title=one.chapter.opens, page_number=first)}
        depth = one.chapter.depth
        above = parents.get(depth - 1)
        parents[depth] = book.add_outline_item(title=one.title, page_number=first, parent=above)
    for page in book.pages:
        link(book, page, places)
    book.compress_identical_objects()
    return book


def targets(one: Print, first: int) -> dict[str, Place]:
    """Return where the addresses of a print are, which begins at page `first`."""
    found: dict[str, Place] = {one.address: (first, None)}
    for name, target in one.pdf.named_destinations.items():
        page = one.pdf.get_destination_page_number(target)
        if page is not None:
            found[f"{one.address}#{name.removeprefix('/')}"] = first + page, target.top
    return found


def links(page: DictionaryObject) -> list[DictionaryObject]:
    """Return the links on a page."""
    marks = (mark.get_object() for mark in page.get("/Annots", ArrayObject()))
    return [mark for mark in marks if mark.get("/Subtype") == "/Link"]


def name_targets(page: DictionaryObject, address: str) -> None:
    """Give links inside a chapter the same form as those to others: names are its own, addresses are the book's."""
    for mark in links(page):
        if "/Dest" in mark:
            uri = f"{address}#{str(mark.pop('/Dest')).removeprefix('/')}"
            mark[NameObject("/A")] = DictionaryObject({NameObject("/URI"): NameObject(uri)})


def link(book: PdfWriter, page: DictionaryObject, places: dict[str, Place]) -> None:
    """Let links to pages of the book lead to their place in it, and drop those to files that are not in it."""
    dead = []
    for mark in links(page):
        address, anchor = urldefrag(str(mark.get("/A", {}).get("/URI", "")))
        if not address.startswith("file:"):
            continue
        place = places.get(f"{address}#{unquote(anchor)}", places.get(address))
        if place is None:
            dead.append(mark)
            continue
        del mark["/A"]
        height = NullObject() if place[1] is None else FloatObject(place[1])
        way = [book.pages[place[0]].indirect_reference, NameObject("/XYZ"), NullObject(), height, NullObject()]
        mark[NameObject("/Dest")] = ArrayObject(way)
    if dead:
        page[NameObject("/Annots")] = ArrayObject(m for m in page["/Annots"] if m.get_object() not in dead)


async def number(book: PdfWriter, titles: Sequence[str]) -> None:
    """Print title and number below every page.

    Args:
        book: The joined prints.
        titles: One a page.
    """
    # Each on a page of its own, so high that its line stands in the lower margin of the prints.
    feet = "".join(f'<div style="{FOOT}"><i>{escape(title)}</i>{n}</div>' for n, title in enumerate(titles, 1))
    async with browser() as tab:
        await tab.value(f"document.body.style = 'margin: 0; font: 11px sans-serif'; document.body.innerHTML = {feet!r}")
        below = await on_paper(tab, marginBottom=0.4, marginLeft=0.7, marginRight=0.7)
    for page, foot in zip(book.pages, below.pages, strict=True):
        page.merge_page(foot)
        page.compress_content_streams()  # merging has unpacked them


def make(html: Path, target: Path) -> int:
    """Write the book and return how many pages it has.

    Args:
        html: Folder of the built book.
        target: The PDF.

    Raises:
        NoBrowser: If there is none.
        ValueError: If a page of the table of contents was not built.
    """
    chapters = reading_order(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    if missing := [c.file for c in chapters if not (html / f"{c.file}.html").exists()]:
        raise ValueError(f"{html} has no page {missing[0]}: build the book first, with `make book`")
    prints = asyncio.run(printed(html, chapters))
    book = joined(prints)
    asyncio.run(number(book, [one.title for one in prints for _ in one.pdf.pages]))
    about = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    book.add_metadata({"/Title": about["title"], "/Author": about["author"]})
    part = target.with_suffix(".part")
    book.write(part)
    part.replace(target)
    return len(book.pages)


if __name__ == "__main__":
    try:
        pages = make(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
    except (NoBrowser, ValueError) as error:
        sys.exit(f"No PDF was made: {error}")
    print(f"{sys.argv[2]}: {pages} pages")
