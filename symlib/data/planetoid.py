"""Cora, CiteSeer and PubMed as their authors published them: eight files each, seven of which are pickles."""

from pathlib import Path

from torch import Tensor

from symlib.data.files import check_files
from symlib.data.torch_geometric_import import torch_geometric

FOLDERS = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
# Of the files in https://github.com/kimiyoung/planetoid, folder data; each is called ind.<name>.<part>.
SHA256 = {
    "cora": {
        "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
        "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    },
    "citeseer": {
        "x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
        "ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    },
    "pubmed": {
        "x": "fbe9cb5c47200d1b7769a26e579be3b7130b556831f9d850e77c4c74f2599b33",
        "tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
        "allx": "508e538e2abdccdd54c4d3e9f49d638b4af7107d85845f66ddea5a5152658b7e",
        "y": "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
        "ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
        "ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
        "graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
        "test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
    },
}


def read(name: str, folder: Path) -> dict[str, Tensor | str]:
    """Return what `undirected` makes a graph with the public split from, without writing anything.

    The features stay as they are in the files (words present or absent; tf-idf in PubMed): unlike most examples,
    we do not divide each node's features by their sum. CiteSeer's 15 nodes without features get zeros.

    Raises:
        FileNotFoundError: If a file is missing; says both ways to get it.
        ValueError: If a file is not the published one.

    Source: Yang, Cohen and Salakhutdinov (2016), public split.
    """
    sha256 = verify(name, folder)
    found = torch_geometric("io").read_planetoid_data(str(_raw(name, folder)), name)
    parts = {"train": found.train_mask, "valid": found.val_mask, "test": found.test_mask}
    nodes = {part: mask.nonzero().flatten() for part, mask in parts.items()}
    return {"x": found.x, "edges": found.edge_index, "y": found.y, **nodes, "sha256": sha256}


def verify(name: str, folder: Path) -> str:
    """Compare all files with the published ones before anything unpickles one; return a SHA-256 over their hashes.

    Raises:
        FileNotFoundError: If a file is missing; says both ways to get it.
        ValueError: If a file is not the published one.
    """
    raw, hashes = _raw(name, folder), {f"ind.{name}.{part}": sha256 for part, sha256 in SHA256[name].items()}
    return check_files(raw, hashes, "sha256", _how_to_get(name, folder))


def download(name: str, folder: Path) -> None:
    """Download the eight files into `planetoid/<Name>/raw/` below a folder, then check them.

    Raises:
        FileNotFoundError: If there is no network; says the other way to get it.
        ValueError: If a file is not the published one.
    """
    url, fetch = torch_geometric("datasets").Planetoid.url, torch_geometric("data").download_url
    try:
        for part in SHA256[name]:
            fetch(f"{url}/ind.{name}.{part}", str(_raw(name, folder)), log=False)
    except OSError as error:
        raise FileNotFoundError(f"{_how_to_get(name, folder)} (the download failed: {error})") from error
    verify(name, folder)


def _raw(name: str, folder: Path) -> Path:
    return folder / "planetoid" / FOLDERS[name] / "raw"


def _how_to_get(name: str, folder: Path) -> str:
    return (
        f"Two ways to get {FOLDERS[name]}: `make data DATA={name}` downloads it from the Planetoid repository into "
        f"{folder}, or set SYMLIB_DATA to a folder that holds planetoid/{FOLDERS[name]}/raw/ with the eight files"
    )
