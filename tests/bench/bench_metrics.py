"""Ranking metrics over 6,040 users x 3,706 items (the size of MovieLens-1M), ours beside other libraries, in one run on one machine.

    python tests/bench/bench_metrics.py [--skip ranx]

Prints CPU-seconds (user + system, all threads; best of several runs) and the ratio to ours. Slow peers run on some of the users and are scaled up; that is said in the row.
ranx compiles itself first, which takes minutes and is not counted.
"""
import argparse, os, sys, time
os.environ.setdefault("OMP_NUM_THREADS", "1")
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import scipy.sparse as sp
import torch

from interest_book.core import rng
from interest_book.metrics import auc, ranking_metrics, top_k

USERS, ITEMS, POSITIVES, K = 6040, 3706, 20, 10
NAMES = [f"{n}@{K}" for n in ("precision", "recall", "capped_recall", "f1", "hit", "ndcg", "mrr", "map")]


def data():
    g = rng("bench/metrics")
    scores = g.standard_normal((USERS, ITEMS), dtype=np.float32)
    items = np.concatenate([g.choice(ITEMS, POSITIVES, replace=False) for _ in range(USERS)])
    relevant = sp.csr_array((np.ones(len(items), np.float32), (np.repeat(np.arange(USERS), POSITIVES), items)), shape=scores.shape)
    scores[relevant.nonzero()] += 1                                                   # better than chance
    return torch.from_numpy(scores), relevant


def cpu(f, repeat):
    "Best CPU-seconds of several runs, and the result."
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        out = f()
        best = min(best, time.process_time() - start)
    return best, out


def with_torch_topk(scores, relevant):
    "What most code does: torch.topk, a dense 0/1 matrix, NDCG and recall."
    hits = torch.from_numpy(relevant.toarray()).gather(1, scores.topk(K).indices)
    d = 1 / torch.log2(torch.arange(2, K + 2))
    return {f"ndcg@{K}": float(((hits @ d) / d[:min(K, POSITIVES)].sum()).mean()), f"recall@{K}": float((hits.sum(1) / POSITIVES).mean())}


def with_sklearn(scores, relevant, n):
    from sklearn.metrics import ndcg_score
    return {f"ndcg@{K}": float(ndcg_score(relevant[:n].toarray(), scores[:n].numpy(), k=K))}


def with_torchmetrics(scores, relevant, n):
    from torchmetrics import retrieval as tm
    metrics = {f"ndcg@{K}": tm.RetrievalNormalizedDCG(top_k=K), f"recall@{K}": tm.RetrievalRecall(top_k=K)}
    index = torch.arange(n).repeat_interleave(ITEMS)
    truth = torch.from_numpy(relevant[:n].toarray()).bool().flatten()
    return {name: float(m(scores[:n].flatten(), truth, indexes=index)) for name, m in metrics.items()}


def ranx_inputs(scores, relevant, n):
    from ranx import Qrels, Run
    names = [f"i{j}" for j in range(ITEMS)]
    return (Qrels({f"u{u}": {names[j]: 1 for j in relevant[[u]].indices} for u in range(n)}), Run({f"u{u}": dict(zip(names, scores[u].tolist())) for u in range(n)}))


def with_ranx(qrels, run):
    from ranx import evaluate
    return {k: float(v) for k, v in evaluate(qrels, run, [f"ndcg@{K}", f"recall@{K}"]).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--skip", nargs="*", default=[], choices=["ranx", "sklearn", "torchmetrics"])
    skip = parser.parse_args().skip
    torch.set_num_threads(1)
    scores, relevant = data()
    few = np.round(scores.numpy() * 4)                                                # many ties
    rows, ours = [], lambda n=USERS: {k: float(v.mean()) for k, v in ranking_metrics(scores[:n], relevant[:n], NAMES).items()}
    base, values = cpu(ours, 9)
    rows.append(("interest_book, 8 metrics at 10 together", base, values, 1))
    seen = sp.csr_array((relevant.data, (relevant.indices + 1) % ITEMS, relevant.indptr), shape=relevant.shape)
    seen = seen - seen.multiply(relevant)
    seen.eliminate_zeros()
    rows.append(("interest_book, the same with seen items masked", cpu(lambda: ranking_metrics(scores, relevant, NAMES, seen=seen), 7)[0], {}, 1))
    rows.append(("interest_book, top 10 of scores with many ties", cpu(lambda: top_k(torch.from_numpy(few), K), 5)[0], {}, 1))
    rows.append(("interest_book, AUC over the whole ranking", cpu(lambda: auc(scores, relevant), 3)[0], {}, 1))
    rows.append(("NumPy argpartition alone, no metric", cpu(lambda: np.argpartition(scores.numpy(), ITEMS - K, axis=1), 5)[0], {}, 1))
    rows.append(("torch.topk alone, no metric", cpu(lambda: scores.topk(K), 5)[0], {}, 1))
    rows.append(("torch.topk, 2 metrics", *cpu(lambda: with_torch_topk(scores, relevant), 5), 1))
    if "sklearn" not in skip: rows.append(scaled("scikit-learn ndcg_score", lambda n: with_sklearn(scores, relevant, n), 1510, ours))
    if "torchmetrics" not in skip: rows.append(scaled("torchmetrics, 2 metrics", lambda n: with_torchmetrics(scores, relevant, n), 151, ours))
    if "ranx" not in skip:
        inputs = ranx_inputs(scores, relevant, 302)
        with_ranx(*ranx_inputs(scores, relevant, 3))                                  # compile
        start = time.process_time(); ranx_inputs(scores, relevant, 302); build = (time.process_time() - start) * USERS / 302
        row = scaled("ranx, 2 metrics", lambda n: with_ranx(*inputs), 302, ours)
        rows += [row, ("ranx, with building its input", row[1] + build, {}, USERS // 302)]
    print(f"{'':50} CPU-s    ratio to ours   (all {USERS:,} users x {ITEMS:,} items, float32, {POSITIVES} relevant each)")
    for name, seconds, _, part in rows: print(f"{name:50} {seconds:7.3f} {seconds / base:9.1f}{'   scaled up from one user in ' + str(part) if part > 1 else ''}")


def scaled(name, f, n, ours):
    "A slow peer on n users, scaled to all; its values must be ours on the same users."
    seconds, values = cpu(lambda: f(n), 2)
    mine = ours(n)
    for key, value in values.items(): assert abs(value - mine[key]) < 1e-5, f"{name} disagrees on {key}: {value} against {mine[key]}"
    return name, seconds * USERS / n, values, USERS // n


if __name__ == "__main__": main()
