"""Seconds of one fit of every alignment method, with 0, 10 and all anchors, on 400 users and 64 factors; and Sinkhorn beside POT.

    OMP_NUM_THREADS=1 python tests/bench/bench_alignment.py
"""
import time

import numpy as np
import ot
import torch

from interest_book.alignment import METHODS, AlignedEMCDR, sinkhorn
from interest_book.core import rng
from interest_book.splits import cold_start_split
from interest_book.worlds import make_world


def seconds(work):
    start = time.process_time(); work()
    return time.process_time() - start


if __name__ == "__main__":
    train = cold_start_split(make_world(n_users=400, seed=0).pair, seed=0).train
    for method in METHODS: print(f"{method:12s}", *(f"{k if k is not None else 'all'} anchors {seconds(lambda: AlignedEMCDR(64, method, k).fit(train)):5.2f} s" for k in (0, 10, None)), sep="   ")
    x, y = (torch.from_numpy(rng(f"bench/{n}").standard_normal((400, 16))) for n in "xy")
    cost = torch.cdist(x, y)**2; cost /= cost.mean()
    mass = np.full(400, 1 / 400)
    print(f"sinkhorn, 400 x 400: ours {seconds(lambda: sinkhorn(cost, 0.05)):.3f} s, POT in the log domain {seconds(lambda: ot.bregman.sinkhorn_log(mass, mass, cost.numpy(), 0.05, stopThr=1e-6)):.3f} s")
