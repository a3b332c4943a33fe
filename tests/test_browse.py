import asyncio
import shutil
import sys

import pytest

from symlib.records import ROOT

sys.path.insert(0, str(ROOT / "book"))
import browse

SOUND = '<h1 id="top">Title</h1><h2>Part</h2><p>Words <a href="other.html#there">there</a>.</p>'
OTHER = '<h1 id="there">Other</h1>'
FAULTS = {
    "<script>throw new Error('broken')</script>": "broken",
    "<script>console.error('unhappy')</script>": "unhappy",
    '<img src="https://example.org/picture.png" alt="picture">': "asks for https://example.org/picture.png",
    '<span class="math">x^2</span>': "1 formulas are not set",
    '<img src="missing.png" alt="missing">': "picture without content",
    '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">': "picture without words",
    "<h4>Deep</h4>": "a heading skips a level",
    '<p style="color:#aaa;background:#fff">faint</p>': "faint text in light mode",
    f"<p>kept in {ROOT}/runs</p>": "a path of this machine",
    '<div style="width:900px">wide</div>': "pixels sideways at a width of 390",
}


def page(folder, name, body):
    (folder / name).write_text(
        '<!doctype html><html><head><meta name="viewport" content="width=device-width"><style>'
        "[data-theme=dark] :is(body, a) { background: #111; color: #eee }</style></head>"
        f"<body><article>{body}</article></body></html>"
    )
    return folder / name


@pytest.mark.skipif(not any(map(shutil.which, browse.BROWSERS)), reason="there is no browser")
def test_every_fault_of_a_page_is_seen_and_none_on_a_sound_one(tmp_path):
    async def looked():
        async with browse.browser() as tab:
            sound, _ = await browse.look(tab, page(tmp_path, "sound.html", SOUND))
            return sound, [
                (await browse.look(tab, page(tmp_path, f"fault-{i}.html", SOUND + fault)))[0]
                for i, fault in enumerate(FAULTS)
            ]

    sound, found = asyncio.run(looked())
    assert sound == []
    for what, wrong in zip(FAULTS.values(), found, strict=True):
        assert any(what in one for one in wrong), (what, wrong)


def test_links_are_followed_to_files_and_anchors(tmp_path):
    one, other = page(tmp_path, "one.html", SOUND), page(tmp_path, "other.html", OTHER)
    links = [f"{other.as_uri()}{end}" for end in ("", "#there", "#nowhere")] + [(tmp_path / "gone.html").as_uri()]
    seen = {one: {"links": links, "anchors": ["top"]}, other: {"links": [], "anchors": ["there"]}}
    found = browse.broken_links(tmp_path, seen)
    assert len(found) == 2 and "#nowhere" in found[0] and "gone.html, which is not there" in found[1]


def test_without_a_browser_the_message_says_so(monkeypatch):
    monkeypatch.setattr(browse.shutil, "which", lambda name: None)

    async def start():
        async with browse.browser():
            pass

    with pytest.raises(browse.NoBrowser, match="no Chromium or Chrome found"):
        asyncio.run(start())
