"""Download data: `python -m symlib.data mnist cora` fetches both into the data folder."""

import sys

from symlib.data import arxiv, images, planetoid
from symlib.data.files import data_folder

DOWNLOADS = dict.fromkeys(images.SOURCES, images.download) | dict.fromkeys(planetoid.FOLDERS, planetoid.download)

if __name__ == "__main__":
    names = sys.argv[1:]
    if not names or set(names) - {*DOWNLOADS, "ogbn-arxiv"}:
        sys.exit(f"usage: python -m symlib.data NAME..., each one of {', '.join([*DOWNLOADS, 'ogbn-arxiv'])}")
    for name in names:
        if name == "ogbn-arxiv":
            print(arxiv.how_to_get(data_folder().resolve()))
            continue
        try:
            DOWNLOADS[name](name, data_folder())
        except (FileNotFoundError, ValueError) as error:
            sys.exit(str(error))
        print(f"{name} is in {data_folder().resolve()}")
