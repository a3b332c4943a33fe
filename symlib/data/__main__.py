"""Download data: `python -m symlib.data mnist` fetches MNIST into the data folder."""

import sys

from symlib.data.images import data_folder, download_mnist

if __name__ == "__main__":
    if sys.argv[1:] != ["mnist"]:
        sys.exit("usage: python -m symlib.data mnist")
    try:
        download_mnist(data_folder())
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    print(f"MNIST is in {data_folder().resolve()}")
