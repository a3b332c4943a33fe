import dataclasses
import gzip
import hashlib
import pickle
import shutil
from pathlib import Path

import pytest
import scipy.sparse
import torch

from symlib.data import arxiv, planetoid
from symlib.data.files import data_folder
from symlib.data.graphs import blocks, load_graph, undirected, verify_graph
from symlib.data.torch_geometric_import import torch_geometric

from .test_data import Detonator


def small(**changes):
    """A triangle with a tail and a node on its own, with links in one direction, some twice, one to itself."""
    parts = {
        "x": torch.randn(5, 2),
        "edges": torch.tensor([[0, 1, 2, 2, 1, 3, 1], [1, 2, 0, 0, 0, 2, 1]]),
        "y": torch.tensor([0, 1, 2, 0, 1]),
        "train": torch.tensor([4, 0]),
        "valid": torch.tensor([1]),
        "test": torch.tensor([3]),
    }
    return undirected("small", **parts | changes, sha256="")


def check_invariants(graph):
    pairs = set(map(tuple, graph.edges.T.tolist()))
    assert len(pairs) == graph.edges.shape[1]
    assert all((b, a) in pairs and a != b for a, b in pairs)
    assert graph.x.dtype == torch.float32 and graph.edges.dtype == graph.y.dtype == torch.int64
    assert len(graph.x) == len(graph.y) and graph.edges.max() < len(graph.x)


def test_links_become_edges_in_both_directions_once():
    graph = small()
    assert set(map(tuple, graph.edges.T.tolist())) == {(a, b) for a, b in [(0, 1), (1, 2), (0, 2), (2, 3)]} | {
        (b, a) for a, b in [(0, 1), (1, 2), (0, 2), (2, 3)]
    }
    check_invariants(graph)
    assert graph.n_classes == 3 and len(graph.x) == 5


def test_task_holds_node_indices_and_their_labels():
    task = small().task
    assert task.train.x.tolist() == [4, 0] and task.train.y.tolist() == [1, 0]
    assert task.test.x.tolist() == [3] and task.test.y.tolist() == [0]


def test_graph_moves_to_a_device_whole():
    moved = small().to("meta")
    tensors = [getattr(moved, field.name) for field in dataclasses.fields(moved)]
    assert all(t.device.type == "meta" for t in tensors if isinstance(t, torch.Tensor)) and moved.name == "small"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": torch.tensor([[0, 1], [0, 1]])}, "small has no edges between different nodes"),
        ({"edges": torch.zeros(2, 0, dtype=torch.int64)}, "small has no edges"),
        ({"edges": torch.tensor([[0], [5]])}, "edges of small name nodes 0 to 5, but the graph has nodes 0 to 4"),
        ({"edges": torch.tensor([[-1], [2]])}, "edges of small name nodes -1 to 2"),
        ({"test": torch.tensor([5])}, "test of small name nodes 5 to 5"),
        ({"valid": torch.tensor([-1])}, "valid of small name nodes -1 to -1"),
        ({"train": torch.tensor([3, 4])}, "more than one of train, valid and test"),
        ({"y": torch.tensor([0, 1])}, "features for 5 nodes and labels for 2"),
    ],
)
def test_graph_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_blocks_have_the_stated_chances_and_features():
    graph = blocks()
    check_invariants(graph)
    assert graph.x.shape == (2000, 32) and graph.y.bincount().tolist() == [200] * 10
    assert [len(nodes) for nodes in (graph.train, graph.valid, graph.test)] == [1000, 400, 600]
    assert len(torch.cat([graph.train, graph.valid, graph.test]).unique()) == 2000
    assert graph.train.float().mean() == pytest.approx(999.5, abs=60)  # spread over all classes
    assert graph.edges.shape[1] / 2000 == pytest.approx(199 * 0.02 + 1800 * 0.0025, abs=0.3)
    same = (graph.y[graph.edges[0]] == graph.y[graph.edges[1]]).sum() / (2000 * 199)
    assert same == pytest.approx(0.02, rel=0.05)
    means = torch.stack([graph.x[graph.y == k].mean(0) for k in range(10)])
    assert means.std() == pytest.approx((0.45**2 + 1 / 200) ** 0.5, rel=0.1)
    assert (graph.x - means[graph.y]).std() == pytest.approx(1, rel=0.02)


def test_blocks_are_always_the_same_and_disturb_no_random_stream():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = load_graph("blocks")
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(1)
    again = load_graph("blocks")
    assert torch.equal(first.edges, again.edges) and torch.equal(first.x, again.x) and first.sha256 == again.sha256


@pytest.fixture
def made_up_cora(tmp_path, monkeypatch):
    """A folder in Cora's layout whose hashes are accepted: 501 + 3 nodes, test nodes in another order."""
    raw = tmp_path / "planetoid/Cora/raw"
    raw.mkdir(parents=True)
    one_hot = torch.eye(3, dtype=torch.int32)
    rest = scipy.sparse.csr_matrix(torch.arange(501.0).repeat(2, 1).T.numpy())
    contents = {
        "x": rest[:1],
        "allx": rest,
        "tx": scipy.sparse.csr_matrix([[501.0, 0], [502, 0], [503, 0]]),
        "y": one_hot[:1].numpy(),
        "ally": one_hot[torch.arange(501) % 3].numpy(),
        "ty": one_hot.numpy(),
        "graph": {0: [1, 1, 0], 1: [0], 503: [2]} | {i: [] for i in range(2, 503)},
    }
    for part, content in contents.items():
        (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(content))
    (raw / "ind.cora.test.index").write_text("502\n501\n503\n")
    hashes = {
        part: hashlib.sha256((raw / f"ind.cora.{part}").read_bytes()).hexdigest() for part in [*contents, "test.index"]
    }
    monkeypatch.setitem(planetoid.SHA256, "cora", hashes)
    return tmp_path


def test_planetoid_files_become_a_graph_without_a_trace(made_up_cora):
    before = sorted(made_up_cora.rglob("*"))
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    graph = load_graph("cora", made_up_cora)
    for path in before:
        path.chmod(0o755)
    assert sorted(made_up_cora.rglob("*")) == before
    check_invariants(graph)
    assert set(map(tuple, graph.edges.T.tolist())) == {(0, 1), (1, 0), (2, 503), (503, 2)}
    assert graph.train.tolist() == [0] and graph.valid.tolist() == list(range(1, 501))
    assert graph.test.tolist() == [501, 502, 503]
    # The files list the test nodes as 502, 501, 503.
    assert graph.x[501:, 0].tolist() == [502, 501, 503] and graph.y[501:].tolist() == [1, 0, 2]


@pytest.mark.parametrize("part", ["x", "graph", "test.index"])
def test_damaged_planetoid_file_is_named_and_never_unpickled(made_up_cora, part):
    path = made_up_cora / f"planetoid/Cora/raw/ind.cora.{part}"
    path.write_bytes(pickle.dumps(Detonator()))
    for use in (load_graph, verify_graph):
        with pytest.raises(ValueError, match=rf"ind.cora.{part} is damaged: {path.stat().st_size} bytes with SHA-256"):
            use("cora", made_up_cora)


def test_missing_planetoid_names_both_ways_to_get_it(tmp_path):
    for use in (load_graph, verify_graph):
        with pytest.raises(FileNotFoundError, match=r"is missing. .*`make data DATA=pubmed`.* or set SYMLIB_DATA"):
            use("pubmed", tmp_path)


def test_planetoid_download_fetches_and_checks_every_file(made_up_cora, tmp_path, monkeypatch):
    source, there = made_up_cora / "planetoid/Cora/raw", tmp_path / "fresh"

    def fetch(url, folder, log):
        assert url.startswith("https://github.com/kimiyoung/planetoid/raw/master/data/ind.cora.")
        to = Path(folder, url.rpartition("/")[2])
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / to.name, to)

    monkeypatch.setattr(torch_geometric("data"), "download_url", fetch)
    planetoid.download("cora", there)
    assert len(load_graph("cora", there).y) == 504
    (source / "ind.cora.y").write_bytes(b"half")
    with pytest.raises(ValueError, match="ind.cora.y is damaged"):
        planetoid.download("cora", there)


def test_failed_planetoid_download_names_both_ways_too(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch_geometric("data"), "download_url", no_network)
    with pytest.raises(FileNotFoundError, match=r"`make data DATA=cora`.* or set SYMLIB_DATA .*no route to host"):
        planetoid.download("cora", tmp_path)


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "classes"),
    [("cora", 2_708, 5_278, 1_433, 7), ("citeseer", 3_327, 4_552, 3_703, 6), ("pubmed", 19_717, 44_324, 500, 3)],
)
def test_real_planetoid(name, nodes, edges, features, classes):
    if not (data_folder() / "planetoid" / planetoid.FOLDERS[name]).exists():
        pytest.skip(f"needs {name} in SYMLIB_DATA")
    graph = load_graph(name)
    check_invariants(graph)
    assert graph.x.shape == (nodes, features) and graph.edges.shape == (2, 2 * edges) and graph.n_classes == classes
    assert graph.y[graph.train].bincount().tolist() == [20] * classes
    assert len(graph.valid) == 500 and len(graph.test) == 1000
    blank = (graph.x == 0).all(dim=1).nonzero().flatten()
    assert len(blank) == (15 if name == "citeseer" else 0)
    # They lie among the test nodes of the files, but the public split leaves them out.
    assert not torch.isin(blank, torch.cat([graph.train, graph.valid, graph.test])).any()
    if name == "citeseer":
        assert graph.test.min() < blank.min() and blank.max() < graph.test.max()


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(",".join(map(str, row)) + "\n" for row in rows).encode()))


@pytest.fixture
def made_up_arxiv(tmp_path, monkeypatch):
    """A folder in the layout of the ogb package with 6 papers and 5 citations, whose sizes are accepted."""
    monkeypatch.setattr(arxiv, "SIZES", {"nodes": 6, "features": 2, "edges": 5, "train": 3, "valid": 1, "test": 2})
    contents = {
        "x": [(i / 4, -i) for i in range(6)],
        "edges": [(1, 0), (2, 0), (0, 1), (5, 4), (3, 3)],
        "y": [(0,), (39,), (2,), (3,), (4,), (5,)],
        "train": [(5,), (0,), (1,)],
        "valid": [(2,)],
        "test": [(4,), (3,)],
    }
    for part, rows in contents.items():
        write_csv(tmp_path / "ogbn_arxiv" / arxiv.FILES[part], rows)
    return tmp_path


def test_arxiv_is_read_from_the_layout_of_ogb(made_up_arxiv):
    graph = load_graph("ogbn-arxiv", made_up_arxiv)
    check_invariants(graph)
    assert set(map(tuple, graph.edges.T.tolist())) == {(0, 1), (1, 0), (0, 2), (2, 0), (4, 5), (5, 4)}
    assert graph.x[3].tolist() == [0.75, -3] and graph.y.tolist() == [0, 39, 2, 3, 4, 5] and graph.n_classes == 40
    assert [part.tolist() for part in (graph.train, graph.valid, graph.test)] == [[5, 0, 1], [2], [4, 3]]
    assert load_graph("ogbn-arxiv", made_up_arxiv).sha256 == graph.sha256
    write_csv(made_up_arxiv / "ogbn_arxiv/raw/node-feat.csv.gz", [(i, i) for i in range(6)])
    assert load_graph("ogbn-arxiv", made_up_arxiv).sha256 != graph.sha256


def test_arxiv_has_its_published_size():
    assert arxiv.SIZES["train"] + arxiv.SIZES["valid"] + arxiv.SIZES["test"] == arxiv.SIZES["nodes"] == 169_343
    assert arxiv.SIZES["edges"] == 1_166_243 and arxiv.SIZES["features"] == 128 and arxiv.N_CLASSES == 40


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        ("edges", [(1, 0)] * 4, r"edge.csv.gz holds 4 rows of 2, expected 5 of 2; delete it and get it again"),
        ("x", [(1, 2, 3)] * 6, r"node-feat.csv.gz holds 6 rows of 3, expected 6 of 2"),
        ("test", [(4,)], r"test.csv.gz holds 1 rows of 1, expected 2 of 1"),
        ("y", [(40,)] * 6, r"node-label.csv.gz holds labels from 40 to 40, expected 0 to 39"),
        ("y", [("x",)] * 6, r"node-label.csv.gz cannot be read"),
        ("edges", [(1, 6)] * 5, r"edges of ogbn-arxiv name nodes 1 to 6, but the graph has nodes 0 to 5"),
    ],
)
def test_arxiv_file_of_another_size_is_named(made_up_arxiv, part, rows, message):
    write_csv(made_up_arxiv / "ogbn_arxiv" / arxiv.FILES[part], rows)
    with pytest.raises(ValueError, match=message):
        load_graph("ogbn-arxiv", made_up_arxiv)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "garbled", "empty", "text"])
def test_damaged_arxiv_file_is_named_with_its_size(made_up_arxiv, damage):
    path = made_up_arxiv / "ogbn_arxiv/raw/node-feat.csv.gz"
    whole = path.read_bytes()
    flipped = whole[:20] + bytes([whole[20] ^ 255]) + whole[21:]
    garbled = whole[:10] + b"\xff" + whole[11:]  # no such type of compressed block
    damaged = {"truncated": whole[:-9], "flipped": flipped, "garbled": garbled, "empty": b"", "text": b"0,1\n"}
    path.write_bytes(damaged[damage])
    size = path.stat().st_size
    with pytest.raises(ValueError, match=rf"node-feat.csv.gz cannot be read \({size} bytes; .*get it again"):
        load_graph("ogbn-arxiv", made_up_arxiv)


def test_missing_arxiv_says_how_to_get_it(tmp_path):
    for use in (load_graph, verify_graph):
        with pytest.raises(
            FileNotFoundError, match=r"node-feat.csv.gz is missing\. To get ogbn-arxiv: unpack .*or set SYMLIB_DATA"
        ):
            use("ogbn-arxiv", tmp_path)


@pytest.mark.parametrize("use", [load_graph, verify_graph])
def test_unknown_graph_is_refused(use):
    verify_graph("blocks")
    with pytest.raises(ValueError, match="unknown graph 'coar': expected one of blocks, cora, citeseer, pubmed, ogbn"):
        use("coar")
