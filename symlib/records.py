"""The results store: one folder per record, a CSV table and arrays beside a JSON file that vouches for them.

`python -m symlib.records RUN` keeps the record of a finished run by copying it to `results/`.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load, save

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
ARRAYS = "arrays.safetensors"
OLDER = ".older"


@dataclass(frozen=True)
class Record:
    """What one run of a study found.

    Attributes:
        table: One row per measured value.
        about: Study, config, seeds, versions, device, compute time, commit, date, and hashes of table and arrays.
        arrays: Name -> array, for what no table holds well; often empty.
        folder: Where it was read from; None for one that was just made.
    """

    table: pd.DataFrame
    about: dict
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def config(self) -> dict:
        """The parameters of the run."""
        return self.about["config"]


def key(facts: Mapping) -> str:
    """Return a hash of plain facts, such as a configuration, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def provenance() -> dict:
    """Return where and with what the running program works: its commit, versions, machine, device, date."""
    packages = ("torch", "numpy", "scipy", "pandas")
    return {
        "commit": COMMIT,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version()} | {p: version(p).split("+")[0] for p in packages},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if torch.cuda.is_initialized() else "CPU",
    }


def make(
    study: str, config: Mapping, table: pd.DataFrame, facts: Mapping, arrays: Mapping[str, np.ndarray] | None = None
) -> Record:
    """Return a record of a study; `facts` are further entries of `about` and may replace its provenance."""
    # Through text, so that a record in memory equals the same record read back.
    table = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    about = {"study": study, "key": key(config), "config": dict(config), **provenance(), **facts}
    about["table_sha256"] = hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()
    if arrays:
        about["arrays_sha256"] = hashlib.sha256(save(dict(arrays))).hexdigest()
    return Record(table, json.loads(json.dumps(about)), dict(arrays or {}))


def write(folder: Path, record: Record) -> None:
    """Write a record beside its place and rename it, setting an older one aside first; never leaves half a record."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    sealed = record.about | {"about_sha256": key(record.about)}
    _put(beside / "record.json", (json.dumps(sealed, indent=1) + "\n").encode())
    _put(beside / "table.csv", record.table.to_csv(index=False).encode())
    if record.arrays:
        _put(beside / ARRAYS, save(record.arrays))
    beside.chmod(0o755)
    if folder.exists():
        _remove(_older(folder))
        folder.rename(_older(folder))
    beside.rename(folder)
    _remove(_older(folder))


def read(folder: Path) -> Record:
    """Read a record and verify it; the older one if its replacement was killed between two renames.

    Raises:
        ValueError: If it is not whole, or its table or anything said about it is not what was recorded.
    """
    if not folder.exists() and _older(folder).exists():
        folder = _older(folder)
    advice = "restore it from version control, or delete the folder and run the study again"
    try:
        about = json.loads((folder / "record.json").read_text())
        sealed = {"table.csv": about["table_sha256"]}
        if "arrays_sha256" in about:
            sealed[ARRAYS] = about["arrays_sha256"]
        contents = {file: (folder / file).read_bytes() for file in sealed}
        sealed["record.json"] = about.pop("about_sha256")
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{folder} holds no whole record ({type(error).__name__}: {error}): {advice}") from error
    found = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    found["record.json"] = key(about)
    for file, digest in found.items():
        if digest != sealed[file]:
            raise ValueError(f"{folder / file} was changed after it was written (its hash is {digest[:16]}): {advice}")
    table = pd.read_csv(io.BytesIO(contents["table.csv"]))
    return Record(table, about, load(contents[ARRAYS]) if ARRAYS in contents else {}, folder)


def find(study: str, results: Path = RESULTS) -> list[Record]:
    """Return all kept records of a study, verified, in order of their names."""
    there = {f.name for f in (results / study).glob("*/") if f.is_dir()}
    # A dot marks the folder of a write that was killed, which may have set the older record aside.
    names = {n for n in there if n[0] != "."} | {n[1 : -len(OLDER)] for n in there if n[0] == "." and n.endswith(OLDER)}
    return [read(results / study / name) for name in sorted(names)]


def keep(run: Path, runs: Path = ROOT / "runs", results: Path = RESULTS) -> Path:
    """Copy the record of a finished run to the results store and return its new folder.

    Args:
        run: Folder below `runs`; its path there becomes the record's name.
        runs: Where runs are made.
        results: Where records are kept.

    Raises:
        ValueError: If there is no whole record in the folder, or it is not below `runs`.
    """
    if runs.resolve() not in run.resolve().parents:
        raise ValueError(f"{run} is no folder below {runs}: name the run whose record is to be kept")
    record = read(run / "record")
    target = results / record.about["study"] / "-".join(run.resolve().relative_to(runs.resolve()).parts)
    write(target, record)
    return target


def origin(named: Mapping[str, Record]) -> str:
    """Return as text where records come from: commit, date, machine, time of all processes, versions, table.

    Args:
        named: What each record is called on the page, such as "shown" or "live".
    """
    lines = []
    for name, about in ((name, record.about) for name, record in named.items()):
        lines += [
            f"{name}: commit {about['commit']}, {about['date']}",
            f"  {about['device']} ({about['machine']}), {about['compute_s']:,.0f} s",
            "  " + ", ".join(f"{package} {number}" for package, number in about["versions"].items()),
            f"  table {about['table_sha256'][:16]}",
        ]
    return "\n".join(lines)


def _older(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{OLDER}")


def _remove(folder: Path) -> None:
    """Remove a folder if it is there, first from its name: half of it must not be found."""
    if folder.exists():
        nameless = folder.rename(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        shutil.rmtree(nameless, ignore_errors=True)


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file


def checked_out() -> str:
    """Return the checked-out commit, marked if files differ from it, or "unknown" outside a checkout."""
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=-modified"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


COMMIT = checked_out()  # now: a long run outlives commits, and goes on with the code that was imported

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m symlib.records RUN, with RUN a folder below runs/ whose notebook has finished")
    try:
        print(f"kept {keep(Path(sys.argv[1]))}")
    except ValueError as error:
        sys.exit(str(error))
