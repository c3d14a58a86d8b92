"""Chapter 18, CPU-seconds: a filter by sparse products beside dense powers, and a closed filter beside a trained network. `python tests/bench/bench_graph.py [cpu|cuda]`."""
import os, sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from clock import clock
from interest_book.core import rng
from interest_book.graph import GraphFilter, LightGCN, _sparse, bipartite_graph, graph_filter, normalised_adjacency
from interest_book.splits import ratio_split
from interest_book.worlds import make_world


if __name__ == "__main__":
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.set_num_threads(1)
    split = ratio_split(make_world(n_users=2000, n_source_items=50, n_target_items=1500, interactions_per_user=(5, 40), seed=0).pair, seed=0)
    a = normalised_adjacency(bipartite_graph(split.train.target.matrix("binary"))).astype(np.float32)
    x, c = torch.from_numpy(rng("bench/graph").standard_normal((a.shape[0], 64)).astype(np.float32)).to(device), [0.25] * 4
    matrix = _sparse(a, device)
    thin, out = clock(lambda: graph_filter(matrix, x, c))
    full = torch.from_numpy(a.toarray()).to(device)
    thick, same = clock(lambda: graph_filter(full, x, c))
    assert torch.allclose(out, same, atol=1e-5)
    print(f"three layers on {a.shape[0]:,} nodes, {a.nnz:,} entries, 64 signals: sparse {1000 * thin:.1f} ms, dense {1000 * thick:.1f} ms")
    for name, make in (("closed filter", lambda: GraphFilter(0.0, device=device)), ("LightGCN, 10 rounds", lambda: LightGCN(64, source_weight=0.0, epochs=10, device=device))):
        fit, model = clock(lambda: make().fit(split.train), 1)
        slow, _ = clock(lambda: model.score(split.train.users), 1)
        print(f"{name}: fit {fit:.2f} s, scoring 2,000 people {slow:.2f} s")
