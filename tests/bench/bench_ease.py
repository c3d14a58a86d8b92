"""EASE on MovieLens-1M (weak protocol): our fit beside its peers, in turn, in one process. Not a test: `python tests/bench/bench_ease.py`.

Prints CPU seconds (user + system of this process, best of `ROUNDS`) and ratios to the limit: a sparse product for X'X and LAPACK's Cholesky inverse, nothing else.
Cornac is measured where it is installed. Needs the data (INTEREST_BOOK_DATA).
"""
import os, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("INTEREST_BOOK_DATA", str(ROOT.parent / "shared" / "data"))
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from scipy.linalg import lapack

from interest_book.baselines import EASE, ease_weights, gram
from interest_book.datasets import load
from interest_book.interactions import DomainPair
from interest_book.splits import ratio_split

ROUNDS, L2 = 5, 400.0
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def plain(x):
    "What most libraries do: sparse product, numpy.linalg.inv, in float32."
    g = (x.T @ x).toarray()
    g[np.diag_indices_from(g)] += L2
    p = np.linalg.inv(g)
    b = p / -np.diag(p)
    np.fill_diagonal(b, 0)
    return b


def limit(x):
    "Sparse product and LAPACK potrf + potri on it: the arithmetic that the closed form cannot do without."
    g = (x.T @ x).toarray()
    g[np.diag_indices_from(g)] += L2
    return lapack.spotri(lapack.spotrf(g, lower=1, overwrite_a=1)[0], lower=1, overwrite_c=1)[0]


def cornac_fit(split):
    import cornac
    rows = split.train.target.frame
    data = cornac.data.Dataset.from_uir([(u, i, 1.0) for u, i in zip(rows.user_id, rows.item_id)])
    return lambda: cornac.models.EASE(lamb=L2, posB=False, verbose=False).fit(data)


def main():
    split = ratio_split(DomainPair.single(load("ml-1m").binarize(min_rating=4).k_core(user=5, item=1)), test=0.2, valid=0, seed=0)
    x = split.train.target.matrix("binary")
    dense = torch.from_numpy((x.T @ x).toarray())
    jobs = {"limit: sparse product + potrf + potri": lambda: limit(x), "EASE.fit (ours)": lambda: EASE(L2).fit(split.train),
            "  of it X'X": lambda: gram(x), "  of it the inverse": lambda: ease_weights(dense, L2),
            "sparse product alone": lambda: (x.T @ x).toarray(), "plain numpy.linalg.inv": lambda: plain(x)}
    try: jobs["Cornac EASE.fit"] = cornac_fit(split)
    except ImportError: print("Cornac is not installed: left out")
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            best[name] = min(best[name], time.process_time() - start)
    base = best["limit: sparse product + potrf + potri"]
    print(f"{x.shape[0]} x {x.shape[1]}, {x.nnz} interactions, {os.environ['OMP_NUM_THREADS']} thread(s), best of {ROUNDS}")
    for name, s in best.items(): print(f"{name:40s} {s:6.2f} CPU-s  {s / base:5.2f} x the limit")
    ours = EASE(L2).fit(split.train).weights_.numpy()
    print(f"largest difference from the plain weights: {np.abs(ours - plain(x)).max():.1e}")


if __name__ == "__main__": main()
