import asyncio
import re
import shutil
import sys

import pytest
import yaml

from symlib.records import ROOT

sys.path.insert(0, str(ROOT / "book"))
import browse
import pdf

needs_browser = pytest.mark.skipif(not any(map(shutil.which, browse.BROWSERS)), reason="there is no browser")
TOC = """
root: start
parts:
  - caption: Part
    chapters:
      - file: chapter
        sections:
          - file: section
"""
PAGES = {
    "start": '<p><a href="chapter.html">on</a> <a href="chapter.html#deep">deep</a> <a href="gone.html">gone</a></p>',
    "chapter": '<p><a href="#deep">down</a></p><p style="break-before: page" id="deep">Deep</p>',
    "section": '<p><a href="https://example.org/">out</a></p>',
}


def test_the_table_of_contents_is_read_from_top_to_bottom():
    text = (ROOT / "_toc.yml").read_text()
    found = pdf.reading_order(yaml.safe_load(text))
    assert [chapter.file for chapter in found] == re.findall(r"^(?:root| *- file): (\S+)", text, re.M)
    assert [c.opens for c in found if c.opens] == re.findall(r"caption: (.*)", text)


def test_a_book_that_was_not_built_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no page book/intro: build the book first, with `make book`"):
        pdf.make(tmp_path, tmp_path / "book.pdf")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    html = tmp_path_factory.mktemp("html")
    for name, body in PAGES.items():
        text = f"<!doctype html><article><h1>Title of {name}<a>#</a></h1>{body}</article>"
        (html / f"{name}.html").write_text(text)
    prints = asyncio.run(pdf.printed(html, pdf.reading_order(yaml.safe_load(TOC))))
    joined = pdf.joined(prints)
    asyncio.run(pdf.number(joined, [one.title for one in prints for _ in one.pdf.pages]))
    target = html / "book.pdf"
    joined.write(target)
    return pdf.PdfReader(target)


@needs_browser
def test_pages_come_in_order_and_carry_title_and_number(book):
    feet = [page.extract_text().splitlines()[-1].split() for page in book.pages]
    names = ("start", "chapter", "chapter", "section")
    assert [" ".join(foot) for foot in feet] == [f"Title of {name} {n}" for n, name in enumerate(names, 1)]


@needs_browser
def test_links_lead_to_pages_of_the_book_and_elsewhere_or_are_dropped(book):
    def leads(mark):
        return book.get_page_number(mark["/Dest"][0].get_object()) if "/Dest" in mark else mark["/A"]["/URI"]

    found = [[leads(mark) for mark in pdf.links(page)] for page in book.pages]
    assert found == [[1, 2], [2], [], ["https://example.org/"]]


@needs_browser
def test_bookmarks_show_parts_chapters_and_sections(book):
    def shown(outline):
        return [shown(o) if isinstance(o, list) else (o.title, book.get_destination_page_number(o)) for o in outline]

    chapter, section = ("Title of chapter", 1), ("Title of section", 3)
    assert shown(book.outline) == [("Title of start", 0), ("Part", 1), [chapter, [section]]]
