"""ALS and BPR on MovieLens-1M (weak protocol): ours and the `implicit` library, in turn, in one process, one thread. Not a test: `python tests/bench/bench_factorization.py`.

Prints CPU seconds (user + system of this process, best of `ROUNDS`), the ratio ours / theirs, and NDCG@100 of both; then one sweep split into its parts, beside the arithmetic it cannot do without.
Needs the data (INTEREST_BOOK_DATA) and, for the comparison, `pip install implicit`.
"""
import os, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("INTEREST_BOOK_DATA", str(ROOT.parent / "shared" / "data"))
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from interest_book.core import UnavailableError
from interest_book.datasets import load
from interest_book.evaluation import evaluate
from interest_book.factorization import BPR, ImplicitALS, _Library, _blocks, _solve_blocks
from interest_book.interactions import DomainPair
from interest_book.splits import ratio_split

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def cpu(job):
    start = time.process_time()
    out = job()
    return time.process_time() - start, out


def one_sweep(x):
    "Seconds of one half step over the users: gathering traits, their products, everything with three conjugate gradient steps, everything exactly."
    d, blocks = 64, _blocks(4 * x)
    q, p, l2 = torch.randn(x.shape[1], d) * 0.1, torch.zeros(x.shape[0], d), torch.full((x.shape[0], 1), 30.0)
    padded = torch.cat([q, q.new_zeros(1, d)])
    gather = lambda: [padded.index_select(0, b.columns.flatten()).view(*b.columns.shape, d) for b in blocks]
    gathered = gather()
    dense = torch.randn(2048, 2048)
    parts = {"gathering traits": gather, "products of traits": lambda: [torch.bmm(g.transpose(1, 2), g) for g in gathered],
             "half step, 3 steps": lambda: _solve_blocks(blocks, len(p), q, l2, 3.0, q.T @ q, p, 3), "half step, exact": lambda: _solve_blocks(blocks, len(p), q, l2, 3.0, q.T @ q)}
    rate = 2 * 2048**3 / min(cpu(lambda: dense @ dense)[0] for _ in range(3))
    print(f"one half step over {x.shape[0]} users, {x.nnz} choices, {d} factors; limit: {2 * x.nnz * d * d / rate:.3f} CPU-s for the products at this machine's {rate / 1e9:.0f} GFLOP/s")
    for name, job in parts.items(): print(f"  {name:22s} {min(cpu(job)[0] for _ in range(3)):.3f} CPU-s")


def main():
    split = ratio_split(DomainPair.single(load("ml-1m").binarize(min_rating=4).k_core(user=5, item=1)), test=0.2, valid=0, seed=0)
    pairs = {"ALS": (lambda: ImplicitALS(64, device="cpu"), lambda: _Library("als", 64, 60.0, 6.0)), "BPR": (lambda: BPR(64, device="cpu"), lambda: _Library("bpr", 64, 0.01, lr=0.05, iterations=100))}
    one_sweep(split.train.target.matrix("binary"))
    for name, makers in pairs.items():
        best, quality = [np.inf, np.inf], [np.nan, np.nan]
        for _ in range(ROUNDS):
            for k, make in enumerate(makers):
                try: s, model = cpu(lambda: make().fit(split.train))
                except UnavailableError as e: print(e); continue
                best[k] = min(best[k], s)
                if np.isnan(quality[k]): quality[k] = float(evaluate(model, split, ("ndcg@100",)).summary()["ndcg@100"])
        print(f"{name}: ours {best[0]:.2f} CPU-s, NDCG@100 {quality[0]:.4f}; implicit {best[1]:.2f} CPU-s, NDCG@100 {quality[1]:.4f}; CPU ratio {best[0] / best[1]:.2f}")


if __name__ == "__main__": main()
