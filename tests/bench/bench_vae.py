"""Mult-VAE on MovieLens-1M (strong protocol, first split): ours, a plain dense PyTorch loop and Cornac's VAECF, in turn, in one process. Not a test: `python tests/bench/bench_vae.py [cpu|cuda]`.

cpu: CPU seconds (user + system of this process) of one fit each, the ratio to the plain loop, NDCG@100 of each on the validation people; then one training step split into its parts.
cuda: wall seconds of one pass in fp32 and bf16 at several sizes of catalogue, and the largest catalogue whose training step fits into the memory.
Needs the data (INTEREST_BOOK_DATA) for cpu and, for the comparison, `pip install cornac`. RecBole does not install beside current libraries.
"""
import os, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("INTEREST_BOOK_DATA", str(ROOT.parent / "shared" / "data"))
sys.path.insert(0, str(ROOT))

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from interest_book.baselines import Recommender
from interest_book.core import rng
from interest_book.datasets import load
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair
from interest_book.splits import strong_split
from interest_book.training import train
from interest_book.vae import VAE, MultVAE, SparseLinear, _PlainVAE, multinomial_log_likelihood

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def cpu(job):
    start = time.process_time()
    out = job()
    return time.process_time() - start, out


class _Cornac(Recommender):
    "Cornac's VAECF behind our contract: 600-200, tanh, multinomial."
    def __init__(self, epochs=60, batch_size=500, beta=0.2, seed=0): self.epochs, self.batch_size, self.beta, self.seed = epochs, batch_size, beta, seed

    def _fit(self, train):
        from cornac.data import Dataset
        from cornac.models import VAECF
        rows, columns = self.seen_[np.flatnonzero(train.target.active_users)].nonzero()
        data = Dataset.build(list(zip(rows.tolist(), columns.tolist(), [1.0] * len(rows))))
        model = VAECF(k=200, autoencoder_structure=[600], act_fn="tanh", likelihood="mult", n_epochs=self.epochs, batch_size=self.batch_size, learning_rate=1e-3, beta=self.beta, seed=self.seed)
        self._model, self._order = model.fit(data), np.array([data.iid_map[i] for i in range(self.seen_.shape[1]) if i in data.iid_map])
        self._known = np.array([i for i in range(self.seen_.shape[1]) if i in data.iid_map])

    def _score_rows(self, rows):
        x, out = np.zeros((rows.shape[0], len(self._order)), np.float32), np.full(rows.shape, -1e9, np.float32)
        x[:, self._order] = rows[:, self._known].toarray()
        with torch.no_grad(): logits = self._model.vae.decode(self._model.vae.encode(torch.from_numpy(x))[0]).numpy()
        out[:, self._known] = logits[:, self._order]
        return torch.from_numpy(out)


def parts(rows, hidden=400, factors=100, batch=128):
    "Milliseconds of the parts of one training step."
    part, g = sp.csr_array(rows[:batch]), torch.randn(batch, hidden)
    first, last = SparseLinear(rows.shape[1], hidden), torch.nn.Linear(factors, rows.shape[1])
    z, dense, logits = torch.randn(batch, factors, requires_grad=True), torch.from_numpy(part.toarray()), torch.randn(batch, rows.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([first.weight, *last.parameters()], fused=True)
    for p in (first.weight, *last.parameters()): p.grad = torch.randn_like(p)
    jobs = {"first layer, sparse": lambda: (first(part) * g).sum().backward(), "first layer, dense": lambda: ((dense @ first.weight) * g).sum().backward(), "last layer": lambda: last(z).sum().backward(),
            "likelihood, sparse": lambda: multinomial_log_likelihood(logits, part).sum().backward(), "likelihood, dense": lambda: (logits.log_softmax(1) * dense).sum().backward(), "AdamW": optimizer.step}
    for name, job in jobs.items():
        job()
        print(f"  {name:20s} {1000 * min(cpu(job)[0] for _ in range(5)):6.2f} ms")


def on_cpu():
    split = strong_split(DomainPair.single(load("ml-1m").binarize(min_rating=4).k_core(user=5, item=1)), test=603, valid=603, hidden=0.2, seed=0)
    rows = split.train.target.matrix("binary")
    print(f"one step on {rows.shape[1]} items, 400 and 100 units, 128 people:")
    parts(rows[np.flatnonzero(split.train.target.active_users)])
    seconds = {}
    for name, make in {"ours": MultVAE, "ours, bf16": lambda: MultVAE(precision="bf16"), "plain loop": _PlainVAE, "Cornac VAECF": _Cornac}.items():
        try: seconds[name], model = cpu(lambda: make().fit(split.train))
        except ImportError as e: print(f"{name}: {e}"); continue
        value = float(evaluate(model, split.validation, ("ndcg@100",)).summary()["ndcg@100"])
        print(f"{name:14s} {seconds[name]:7.1f} CPU-s, NDCG@100 {value:.4f}", flush=True)
    for name in seconds: print(f"{name} / plain loop: {seconds[name] / seconds['plain loop']:.2f}")


def one_pass(n_items, precision, n_users, batch, passes=3):
    "Passes a second on a GPU, and GiB at the peak: 600 and 200 units, people with about a hundred items each."
    rows = sp.random_array((n_users, n_items), density=min(0.03, 100 / n_items), rng=rng("bench/vae"), format="csr", dtype=np.float32)
    rows.data[:] = 1
    with torch.device("cuda"): net = VAE(n_items, 600, 200)
    def run(epochs): train(net, lambda net, i: net.loss(rows[i.cpu().numpy()], 0.2), [torch.arange(n_users)], epochs=epochs, batch_size=batch, precision=precision, device="cuda", progress=False)
    run(1); torch.cuda.synchronize(); torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter(); run(passes); torch.cuda.synchronize()
    return passes / (time.perf_counter() - start), torch.cuda.max_memory_allocated() / 2**30


def on_cuda():
    for n_items in (3_500, 30_000, 300_000, 1_000_000, 3_000_000, 10_000_000):
        for precision in ("fp32", "bf16"):
            try: rate, memory = one_pass(n_items, precision, n_users=8192 if n_items <= 300_000 else 2048, batch=1024 if n_items <= 300_000 else 256)
            except torch.OutOfMemoryError: print(f"{n_items:>10,} items, {precision}: does not fit"); torch.cuda.empty_cache(); continue
            print(f"{n_items:>10,} items, {precision}: {rate:6.2f} passes a second, {memory:.1f} GiB at the peak", flush=True)


if __name__ == "__main__": on_cuda() if sys.argv[1:] == ["cuda"] else on_cpu()
