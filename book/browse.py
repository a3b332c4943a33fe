"""Open every page of the built book in a browser without network, and report what a reader would stumble over.

`python book/browse.py _build/html` needs Chromium or Chrome. It looks for errors in the console, requests to elsewhere,
formulas that were not set, pictures without content or words, links that lead nowhere, headings out of order, faint
text, light and dark, paths of this machine, and pages that scroll sideways on a telephone. Then it searches for a
theorem and chooses among the rows of the scoreboard.
"""

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urldefrag

import aiohttp
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, DESKTOP = (390, 844), (1280, 900)
PATIENCE = 30  # seconds for one page
SETTLED = """new Promise(async done => {
  if (document.readyState !== "complete") await new Promise(r => addEventListener("load", r));
  if (window.MathJax?.startup) await MathJax.startup.promise;
  document.querySelectorAll("img").forEach(i => i.loading = "eager");
  await Promise.all([...document.images].map(i => i.decode().catch(() => {})));
  done(true);
})"""
LOOK = """(() => {
  const main = document.querySelector("article") || document.body;
  const seen = e => e.offsetParent !== null;
  const levels = [...main.querySelectorAll("h1,h2,h3,h4,h5,h6")].filter(seen).map(h => +h.tagName[1]);
  return {
    unset: [...main.querySelectorAll(".math")].filter(m => seen(m) && !m.querySelector("mjx-container")).length
      + main.querySelectorAll("mjx-merror, [data-mjx-error]").length,
    empty: [...main.querySelectorAll("img")].filter(i => seen(i) && !i.naturalWidth).map(i => i.src),
    wordless: [...main.querySelectorAll("img")].filter(i => !i.alt.trim()).map(i => i.src),
    skipped: levels.some((level, i) => level > (i ? levels[i - 1] : 0) + 1),
    links: [...document.querySelectorAll("a[href]")].map(a => a.href).filter(h => h.startsWith("file:")),
    anchors: [...document.querySelectorAll("[id]")].map(e => e.id),
  };
})()"""
# Of text against what lies behind it, as WCAG 2 defines it; large text needs less.
CONTRAST = """(theme => {
  document.documentElement.dataset.theme = theme;
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (top, below) => [0, 1, 2].map(i => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
  const behind = e => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), theme === "dark" ? [20, 24, 30] : [255, 255, 255]);
  };
  const light = c => c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const faint = new Set();
  const texts = document.createTreeWalker(document.querySelector("article") || document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, style = getComputedStyle(e);
    const shown = e.offsetParent && style.visibility !== "hidden" && !e.closest("mjx-container, svg");
    if (!shown || !texts.currentNode.data.trim()) continue;
    const back = behind(e), [a, b] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) faint.add(`${e.tagName.toLowerCase()}.${e.className} ${ratio.toFixed(1)}`);
  }
  return [...faint];
})"""
NAMED = f"document.body.textContent.includes({json.dumps(str(ROOT))})"
SIDEWAYS = f"document.documentElement.scrollWidth - {PHONE[0]}"
SEARCH = """new Promise(done => {
  const look = () => document.querySelectorAll("#search-results li a").length;
  const wait = left => look() || !left ? done(look()) : setTimeout(() => wait(left - 1), 100);
  wait(100);
})"""
CHOOSE = """(() => {
  const rows = () => [...document.querySelectorAll("table.scoreboard tbody tr")].filter(r => !r.hidden).length;
  const select = document.querySelector('[data-filter="verdict"]'), before = rows();
  select.value = "not run";
  select.dispatchEvent(new Event("input", { bubbles: true }));
  return before > rows() && rows() > 0;
})()"""


class NoBrowser(ValueError):
    """There is no browser on this machine, or none that starts."""


class Browser:
    """One tab of a browser, spoken to by the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.numbers = socket, itertools.count(1)
        self.waiting: dict[int, asyncio.Future] = {}
        self.stumbles: list[str] = []
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            said = json.loads(message.data)
            if future := self.waiting.pop(said.get("id"), None):
                future.set_result(said)
            self._notice(said.get("method"), said.get("params", {}))

    def _notice(self, method: str | None, about: dict) -> None:
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.stumbles.append("error: " + details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.stumbles.append(f"console: {about['entry']['text']} {about['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.stumbles.append("console: " + " ".join(str(a.get("value", "")) for a in about["args"]))
        elif method == "Network.requestWillBeSent":
            address = about["request"]["url"]
            if not address.startswith(("file:", "data:", "blob:", "about:")):
                self.stumbles.append(f"asks for {address}")

    async def call(self, method: str, **params: object) -> dict:
        """Call a method of the protocol and return its result."""
        number = next(self.numbers)
        self.waiting[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": params})
        return (await asyncio.wait_for(self.waiting[number], PATIENCE)).get("result", {})

    async def value(self, expression: str) -> object:
        """Evaluate an expression in the page and return its value."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            self.stumbles.append("error: " + found["exceptionDetails"]["exception"].get("description", "unknown"))
        return found["result"].get("value")

    async def size(self, width: int, height: int) -> None:
        """Give the page a size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def open(self, address: str) -> None:
        """Open a page and wait until its formulas and pictures are there."""
        await self.call("Page.navigate", url=address)
        await asyncio.sleep(0.05)
        await self.value(SETTLED)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start a browser whose every request by name fails.

    Raises:
        NoBrowser: If there is none.
    """
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        raise NoBrowser("no Chromium or Chrome found: install one of them")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
        offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-sync"]
        command = [program, *options, *offline, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession() as session:
                target = await _tab(session, Path(profile) / "DevToolsActivePort")
                async with session.ws_connect(target, max_msg_size=0) as socket:
                    tab = Browser(socket)
                    for domain in ("Page", "Runtime", "Log", "Network"):
                        await tab.call(f"{domain}.enable")
                    yield tab
        finally:
            process.terminate()
            process.wait()


async def _tab(session: aiohttp.ClientSession, told: Path) -> str:
    """Return the address of the first tab, as soon as the browser has told its port."""
    for _ in range(10 * PATIENCE):
        if told.exists() and (lines := told.read_text().splitlines()):
            async with session.get(f"http://127.0.0.1:{lines[0]}/json") as answer:
                if pages := [p for p in await answer.json() if p["type"] == "page"]:
                    return pages[0]["webSocketDebuggerUrl"]
        await asyncio.sleep(0.1)
    raise NoBrowser(f"the browser did not start within {PATIENCE} seconds")


async def look(tab: Browser, page: Path) -> tuple[list[str], dict]:
    """Open one page; return what is wrong with it, and its links and anchors."""
    tab.stumbles = []
    await tab.size(*DESKTOP)
    await tab.open(page.as_uri())
    seen = await tab.value(LOOK)
    wrong = list(tab.stumbles)
    wrong += [f"{seen['unset']} formulas are not set"] * bool(seen["unset"])
    wrong += [f"picture without content: {source}" for source in seen["empty"]]
    wrong += [f"picture without words: {source}" for source in seen["wordless"]]
    wrong += ["a heading skips a level"] * seen["skipped"]
    wrong += [f"names {ROOT}, a path of this machine"] * await tab.value(NAMED)
    for theme in ("light", "dark"):
        faint = await tab.value(f'{CONTRAST}("{theme}")')
        wrong += [f"faint text in {theme} mode: {element}" for element in faint]
    await tab.size(*PHONE)
    sideways = await tab.value(SIDEWAYS)
    wrong += [f"scrolls {sideways} pixels sideways at a width of {PHONE[0]}"] * (sideways > 0)
    return wrong, seen


async def interactive(tab: Browser, html: Path) -> list[str]:
    """Return what does not respond."""
    tab.stumbles = []
    await tab.size(*DESKTOP)
    await tab.open((html / "search.html").as_uri() + "?q=automorphism")
    wrong = [] if await tab.value(SEARCH) else ["search does not find a theorem on automorphisms"]
    await tab.open((html / "book" / "scoreboard.html").as_uri())
    wrong += [] if await tab.value(CHOOSE) else ["the scoreboard does not choose rows by verdict"]
    return wrong + tab.stumbles


def broken_links(html: Path, seen: dict[Path, dict]) -> list[str]:
    """Return links to files that are not there, and to anchors that their page does not have."""
    wrong = []
    for page, found in seen.items():
        for link in dict.fromkeys(found["links"]):
            address, anchor = urldefrag(link)
            target = Path(unquote(address.removeprefix("file://").split("?")[0]))
            if not target.exists():
                wrong.append(f"{page.relative_to(html)}: link to {target}, which is not there")
            elif target in seen and anchor and "=" not in anchor and unquote(anchor) not in seen[target]["anchors"]:
                wrong.append(f"{page.relative_to(html)}: link to #{anchor}, which {target.name} does not have")
    return wrong


async def browse(html: Path) -> list[str]:
    """Return everything that is wrong with a book."""
    # Redirects and the theme's own pieces are no pages of ours.
    pages = sorted(p for p in html.rglob("*.html") if "_static" not in p.parts and p.stem not in ("index", "search"))
    wrong, seen = [], {}
    async with browser() as tab:
        for page in tqdm(pages, unit="page", disable=None):
            found, seen[page] = await look(tab, page)
            wrong += [f"{page.relative_to(html)}: {what}" for what in found]
        wrong += await interactive(tab, html)
    print(f"{len(pages)} pages opened without network, {sum(len(s['links']) for s in seen.values()):,} links followed")
    return wrong + broken_links(html, seen)


if __name__ == "__main__":
    try:
        stumbles = asyncio.run(browse(Path(sys.argv[1]).resolve()))
    except NoBrowser as error:
        sys.exit(print(f"The pages were not opened: {error}"))  # not this book's fault
    sys.exit("\n".join(stumbles) if stumbles else 0)
