"""Cross-domain VAE beside two plain Mult-VAEs, one for each domain.

    python tests/bench/bench_cross_domain_vae.py          # fit and score on a world, one process
    python tests/bench/bench_cross_domain_vae.py cuda     # passes a second, bf16 against fp32, largest catalogue that fits

Seconds are CPU seconds of this process. Run it alone, with OMP_NUM_THREADS=1.
"""
import sys, time

import numpy as np
import scipy.sparse as sp
import torch

from interest_book.core import rng
from interest_book.cross_domain_vae import JOINTS, CrossDomainVAE, CrossVAE, _Both
from interest_book.interactions import DomainPair
from interest_book.training import train
from interest_book.vae import MultVAE
from interest_book.worlds import make_world

SETTINGS = dict(factors=32, hidden=100, epochs=10, lr=1e-2, batch_size=128)


def cpu(job):
    start = time.process_time()
    out = job()
    return time.process_time() - start, out


def on_cpu():
    torch.set_num_threads(1)
    pair = make_world(n_users=1200, n_source_items=3000, n_target_items=3000, feedback="implicit", interactions_per_user=40, seed=0).pair
    users = pair.users
    CrossDomainVAE(4, epochs=1).fit(pair)                                       # warm-up
    def two(): return [MultVAE(**SETTINGS).fit(DomainPair.single(side)) for side in (pair.source, pair.target)]
    plain, models = cpu(two)
    scored, _ = cpu(lambda: [m.score(users) for m in models])
    print(f"two Mult-VAEs          fit {plain:6.2f} s, {20 / plain:5.2f} passes a second, score {scored:5.2f} s", flush=True)
    for joint in JOINTS:
        fit, model = cpu(lambda: CrossDomainVAE(joint=joint, **SETTINGS).fit(pair))
        score, _ = cpu(lambda: (model.score(users), model.mirror().score(users)))
        print(f"{joint:22s} fit {fit:6.2f} s, {10 / fit:5.2f} passes a second, score {score:5.2f} s; fit / two Mult-VAEs {fit / plain:.2f}", flush=True)


def one_pass(n_items, precision, n_users, batch):
    "Passes a second, and GiB at the peak."
    rows = _Both(*(sp.random_array((n_users, n_items), density=min(0.03, 100 / n_items), rng=rng("bench/cross_domain_vae", k), format="csr", dtype=np.float32) for k in (0, 1)))
    for x in rows.parts: x.data[:] = 1
    with torch.device("cuda"): net = CrossVAE((n_items, n_items), 200, 64)
    def run(epochs): train(net, lambda net, i: net.loss(rows[i.cpu().numpy()], 0.2), [torch.arange(n_users)], epochs=epochs, batch_size=batch, precision=precision, device="cuda", progress=False)
    run(1); torch.cuda.synchronize(); torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter(); run(3); torch.cuda.synchronize()
    return 3 / (time.perf_counter() - start), torch.cuda.max_memory_allocated() / 2**30


def on_cuda():
    if not torch.cuda.is_available(): return print("no CUDA device here")
    for n_items in (3_000, 30_000, 300_000, 1_000_000, 3_000_000):
        small = n_items <= 300_000
        for precision in ("fp32", "bf16"):
            try: rate, memory = one_pass(n_items, precision, n_users=8192 if small else 2048, batch=1024 if small else 256)
            except torch.OutOfMemoryError: print(f"2 x {n_items:>9,} items, {precision}: does not fit"); torch.cuda.empty_cache(); continue
            print(f"2 x {n_items:>9,} items, {precision}: {rate:6.2f} passes a second, {memory:.1f} GiB at the peak", flush=True)


if __name__ == "__main__": on_cuda() if sys.argv[1:] == ["cuda"] else on_cpu()
