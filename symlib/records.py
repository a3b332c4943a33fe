"""The results store: one folder per record, a CSV table beside a JSON file that vouches for it.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


@dataclass(frozen=True)
class Record:
    """What one run of a study found.

    Attributes:
        table: One row per measured value.
        about: Study, config, seeds, hashes, versions, device, compute time, commit, date and SHA-256 of the table.
    """

    table: pd.DataFrame
    about: dict

    @property
    def config(self) -> dict:
        """The parameters of the run."""
        return self.about["config"]


def key(config: Mapping) -> str:
    """Return the hash that a configuration is found by."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def provenance() -> dict:
    """Return where and with what the running program works: commit, versions, processor, date."""
    packages = ("torch", "numpy", "scipy", "pandas")
    return {
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version()} | {p: version(p).split("+")[0] for p in packages},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def make(study: str, config: Mapping, table: pd.DataFrame, facts: Mapping) -> Record:
    """Return a record of a study; `facts` are further entries of `about` and may replace its provenance."""
    # Through text, so that a record in memory equals the same record read back.
    text = table.to_csv(index=False)
    about = {"study": study, "key": key(config), "config": dict(config), **provenance(), **facts}
    about["table_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return Record(pd.read_csv(io.StringIO(text)), json.loads(json.dumps(about)))


def write(folder: Path, record: Record) -> None:
    """Write a record beside its place and rename it, replacing an older one; never leaves half a record."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    (beside / "table.csv").write_text(record.table.to_csv(index=False))
    (beside / "record.json").write_text(json.dumps(record.about, indent=1) + "\n")
    beside.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)


def read(folder: Path) -> Record:
    """Read a record and verify it.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the table or the configuration is not what was recorded.
    """
    about = json.loads((folder / "record.json").read_text())
    text = (folder / "table.csv").read_text()
    found = hashlib.sha256(text.encode()).hexdigest()
    for what, now, then in (
        ("table", found, about["table_sha256"]),
        ("config", key(about["config"]), about["key"]),
    ):
        if now != then:
            raise ValueError(
                f"the {what} of record {folder} was changed after it was written: hash {now[:16]}, recorded "
                f"{then[:16]}; restore it from version control or run the study again"
            )
    return Record(pd.read_csv(io.StringIO(text)), about)


def find(study: str, results: Path = RESULTS) -> list[Record]:
    """Return all kept records of a study, verified, in order of their names."""
    return [read(path.parent) for path in sorted(results.glob(f"{study}/*/record.json"))]


def keep(run: Path, results: Path = RESULTS) -> Path:
    """Copy the record of a finished run to the results store and return its new folder."""
    record = read(run / "record")
    target = results / record.about["study"] / run.name
    write(target, record)
    return target


def _commit() -> str:
    """Return the checked-out commit, marked if files differ from it, or "unknown" outside a checkout."""
    describe = [
        "git",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty=-modified",
    ]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m symlib.records RUN, with RUN a folder below runs/ whose notebook has finished")
    try:
        print(f"kept {keep(Path(sys.argv[1]))}")
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
