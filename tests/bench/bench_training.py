"""The training loop beside a bare PyTorch loop on the same model, data, order and optimiser, in turns. Not a test: `python tests/bench/bench_training.py [cpu|cuda]`.

Prints seconds per epoch (best of the rounds), epochs per second and the overhead of `train` beside the bare loop, which checks nothing and reports nothing.
Both loops use the same fused AdamW; the last column gives PyTorch's default AdamW in the bare loop. The bare loop takes its rows the usual way, `x[index]`;
`train` uses `index_select`, which is two to three times as fast for rows and pays for a part of what it checks.
"""
import os, sys, time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from interest_book.core import rng, torch_rng
from interest_book.training import batches, seeded, train

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
ROUNDS, EPOCHS = 9, 10


class Factors(nn.Module):
    "Scores as products of user and item vectors."
    def __init__(self, n_users, n_items, d):
        super().__init__()
        self.users, self.items = nn.Embedding(n_users, d), nn.Embedding(n_items, d)
    def forward(self, u, i): return (self.users(u) * self.items(i)).sum(1)


def map_case():
    x, y = (torch.randn(8000, 64, generator=torch_rng(f"bench/training/{k}")) for k in "xy")
    make = lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    return make, lambda m, a, b: (m(a) - b).square().mean(), [x, y], 256


def pairs_case():
    g = torch_rng("bench/training/pairs")
    u, i, j = (torch.randint(0, n, (50_000,), generator=g) for n in (6000, 3700, 3700))
    return lambda: Factors(6000, 3700, 64), lambda m, u, i, j: -nn.functional.logsigmoid(m(u, i) - m(u, j)).mean(), [u, i, j], 4096


def sparse_case():
    x = sp.random_array((2000, 1500), density=0.02, format="csr", dtype=np.float32, rng=rng("bench/training/sparse"))
    make = lambda: nn.Sequential(nn.Linear(1500, 200), nn.Tanh(), nn.Dropout(0.5), nn.Linear(200, 1500))
    return make, lambda m, x: -(nn.functional.log_softmax(m(x), 1) * x).sum(1).mean(), [x], 256


CASES = {"MLP map 64-128-64, 8,000 users, batch 256": map_case, "BPR 6,000 x 3,700 x 64, 50,000 pairs, batch 4,096": pairs_case, "denoising autoencoder, 2,000 sparse rows x 1,500, batch 256": sparse_case}


def built(make, device):
    with seeded("bench/training"): return make().to(device)


def bare(model, loss, data, size, device, **options):
    "What a textbook loop does, and nothing else. The data lie in memory as they are given to `train`."
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, **options)
    n = data[0].shape[0]
    for epoch in range(1, EPOCHS + 1):
        for index in batches(n, size, 0, epoch):
            batch = [torch.from_numpy(p[index.numpy()].toarray()).to(device) if sp.issparse(p) else p[index].to(device) for p in data]
            optimizer.zero_grad()
            loss(model, *batch).backward()
            optimizer.step()


def seconds(job, device):
    "Process CPU seconds on a CPU (others share the machine), wall seconds on a GPU."
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    job()
    if device != "cpu": torch.cuda.synchronize()
    return clock() - start


def main(device):
    threads = os.environ["OMP_NUM_THREADS"]
    print(f"torch {torch.__version__}, {device}" + (f" ({torch.cuda.get_device_name()})" if device == "cuda" else f", {threads} thread(s), CPU seconds") + f", best and median of {ROUNDS} rounds of {EPOCHS} epoch(s)")
    for name, case in CASES.items():
        make, loss, data, size = case()
        jobs = {"bare": lambda: bare(built(make, device), loss, data, size, device, fused=True),
                "train": lambda: train(built(make, device), loss, data, epochs=EPOCHS, batch_size=size, device=device, progress=False),
                "default": lambda: bare(built(make, device), loss, data, size, device)}
        if device == "cuda": jobs["bf16"] = lambda: train(built(make, device), loss, data, epochs=EPOCHS, batch_size=size, device=device, precision="bf16", progress=False)
        took = {k: [] for k in jobs}
        for job in jobs.values(): job()                                 # once to warm up
        for r in range(ROUNDS):
            for k, job in (list(jobs.items()) if r % 2 else reversed(jobs.items())):        # each goes first in every other round
                if k in ("bare", "train") or len(took[k]) < 3: took[k].append(seconds(job, device) / EPOCHS)
        ratios = np.array(took["train"]) / np.array(took["bare"])
        best = {k: min(v) for k, v in took.items()}
        print(f"{name}\n  bare {best['bare']:.4f} s/epoch, train {best['train']:.4f} s/epoch ({1 / best['train']:.1f} epochs/s), overhead {np.median(ratios) - 1:+.1%} (median of paired rounds; ratio of the best rounds {best['train'] / best['bare'] - 1:+.1%}); "
              f"bare loop with the default AdamW {best['default']:.4f} s/epoch" + (f"; train in bf16 {best['bf16']:.4f} s/epoch" if "bf16" in best else ""))


if __name__ == "__main__": main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
