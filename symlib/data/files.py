"""Where the data lies, and the comparison of files with their published hashes before anything reads them."""

import hashlib
import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder named by SYMLIB_DATA, or `data` below the working directory."""
    return Path(os.environ.get("SYMLIB_DATA", "data")).expanduser()


def check_files(folder: Path, published: dict[str, str], algorithm: str, advice: str) -> str:
    """Compare files with their published hashes and return one SHA-256 over all of these.

    Args:
        folder: Holds the files.
        published: File name -> hexadecimal hash.
        algorithm: "sha256" or "md5", whichever was published.
        advice: How to get the files, the end of every message.

    Raises:
        FileNotFoundError: If a file is missing; names the first.
        ValueError: If a file is not the published one; names the first, with its size.
    """
    for name, expected in published.items():
        path = folder / name
        need_file(path, advice)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            label = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
            raise ValueError(
                f"{path} is damaged: {path.stat().st_size} bytes with {label} {found[:12]}..., expected "
                f"{expected[:12]}...; delete it and get it again. {advice}"
            )
    return hashlib.sha256("".join(published.values()).encode()).hexdigest()


def need_file(path: Path, advice: str) -> None:
    """Raise FileNotFoundError with the advice if there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. {advice}")
