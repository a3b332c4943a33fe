"""Build the book: run the notebooks, gather the sources, render the pages.

Every product is kept beside the hash of all it was made from and takes its place by one rename, so a build
that was stopped leaves nothing that a later one could mistake for whole.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import gallery
import nbformat
import pandas as pd
import provenance
import reference
import scoreboard
import status

from symlib import claims
from symlib.records import RESULTS
from symlib.studies import bayesian, connectivity

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
# What any notebook may read. Its versions stand for the embedded data sets too.
SHARED = ("symlib", "results", "notebooks/profiles", "claims.toml", "constraints.txt", "pyproject.toml")
SLOTS = 2  # notebooks at a time, one thread each


class BuildError(Exception):
    """Something in the book that its author has to repair; the message says what."""


def files(*places: Path) -> list[Path]:
    """Return the files at or below these places, without Python's caches."""
    found = (path for place in places for path in (place, *place.rglob("*")))
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def digest(paths: Iterable[Path], *words: str) -> str:
    """Return one SHA-256 for the names and contents of these files and for these words."""
    total = hashlib.sha256(repr(words).encode())
    for path in paths:
        total.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def holds(key_file: Path, key: str) -> bool:
    """Tell whether the product beside this file was made from what the key stands for."""
    return key_file.exists() and key_file.read_text() == key


def last_lines(output: bytes) -> str:
    """Return the end of a program's output, where it says what went wrong."""
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-12:])


async def execute(notebook: Path, label: str, slots: asyncio.Semaphore) -> None:
    """Run one notebook with its own defaults, the quick profile, unless the same run is already there."""
    name = notebook.stem
    done, part, failed = (EXECUTED / f"{name}{end}.ipynb" for end in ("", ".part", ".failed"))
    key_file = EXECUTED / f"{name}.key"
    sources = files(notebook, notebook.with_suffix(".py"), *(ROOT / place for place in SHARED))
    key = digest(sources, os.environ.get("SYMLIB_DATA", ""))
    if done.exists() and holds(key_file, key):
        print(f"  {label} {name:32} up to date", flush=True)
        return
    async with slots:
        start = time.monotonic()
        # In the notebook's own folder, as Jupyter and nbval do; in a process each, as papermill goes there.
        options = ["--kernel", "python3", "--cwd", notebook.parent, "--no-progress-bar"]
        command = [sys.executable, "-m", "papermill", notebook, part, *options]
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            raise
    if process.returncode:
        if part.exists():
            part.replace(failed)
        raise BuildError(f"{name} stopped; {failed} holds its output so far.\n{last_lines(errors)}")
    # The key goes first and comes back last, so it never vouches for another run's outputs.
    key_file.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    part.replace(done)
    key_file.write_text(key)
    print(f"  {label} {name:32} {time.monotonic() - start:4.0f} s", flush=True)


async def execute_all(notebooks: list[Path]) -> None:
    """Run the notebooks, a few at a time; the first failure stops the rest."""
    EXECUTED.mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(SLOTS)
    labels = [f"{number}/{len(notebooks)}" for number in range(1, len(notebooks) + 1)]
    await asyncio.gather(*map(execute, notebooks, labels, [slots] * len(notebooks)))


def stage(source: Path, notebooks: list[Path]) -> None:
    """Gather all that the pages are made of in one fresh folder."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "book", source / "book", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copytree(RESULTS, source / "book" / "_static" / "results", ignore=shutil.ignore_patterns(".*"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, source)
    (source / "notebooks").mkdir()
    kept, read = provenance.by_table(), {path.stem: nbformat.read(path, as_version=4) for path in notebooks}
    verdicts = claims.scoreboard()
    for name, notebook in read.items():
        page = scoreboard.headed(provenance.annotated(notebook, name, kept), name, verdicts)
        nbformat.write(page, source / "notebooks" / f"{name}.ipynb")
    reference.add_to(source, ROOT / "symlib")
    pages = {
        "scoreboard": scoreboard.page(verdicts),
        "counts": scoreboard.counts(verdicts),
        "status": status.page(read),
    }
    generated = source / "book" / "_generated"
    generated.mkdir()
    for name, text in pages.items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")
    said = gallery.said(verdicts, pd.concat([connectivity.readings(), bayesian.recorded_readings()]))
    written = {path: path.read_text(encoding="utf-8") for path in (source / "book").glob("*.md")}
    for path, text in written.items():
        path.write_text(gallery.filled(text, said), encoding="utf-8")
    for name, picture in gallery.pictures(written.values(), read.values()).items():
        (generated / name).write_bytes(picture)


def render(source: Path, work: Path, html: Path) -> None:
    """Render the staged sources, where any warning is an error, unless the same pages are already there."""
    # The reference is made from the docstrings of the library.
    key = digest(files(source, ROOT / "symlib", ROOT / "constraints.txt", ROOT / "book" / "build.py"))
    if holds(html / ".key", key):
        print("book up to date")
        return
    print("Rendering the pages ...", flush=True)
    # From clean: a second rendering on top of a first one repeats none of its warnings.
    shutil.rmtree(work, ignore_errors=True)
    program = Path(sys.executable).with_name("jupyter-book")
    run = subprocess.run(
        [program, "build", source, "--path-output", work, "-W", "-n", "--keep-going"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"NO_COLOR": "1"},
    )
    if run.returncode:
        raise BuildError(f"The pages have warnings:\n{last_lines(run.stderr)}")
    fresh = work / "_build" / "html"
    (fresh / ".key").write_text(key)
    if html.exists():
        html.rename(work / "previous")
    fresh.rename(html)
    shutil.rmtree(work)


def main() -> None:
    """Build the book with freshly run notebooks, or with their committed outputs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--committed", action="store_true", help="keep the notebooks' stored outputs")
    committed = parser.parse_args().committed
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    out = BUILD / "committed" if committed else BUILD
    if not committed:
        print(f"Running {len(notebooks)} notebooks (quick profile) ...", flush=True)
        asyncio.run(execute_all(notebooks))
        notebooks = [EXECUTED / path.name for path in notebooks]
    stage(out / "source", notebooks)
    render(out / "source", out / "render", out / "html")
    print(out / "html" / "index.html")


if __name__ == "__main__":
    # `make` passes on a kill as SIGTERM; treated like Ctrl-C, it stops the notebooks too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except (BuildError, ValueError) as error:  # a changed record, or a page that asks for what is not there
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped")
