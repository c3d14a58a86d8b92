"""Chapter 17, CPU-seconds: k-means beside scikit-learn's, a student beside its teacher. `python tests/bench/bench_knowledge.py [cpu|cuda]`."""
import os, sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from sklearn.cluster import KMeans

from clock import clock
from interest_book.baselines import EASE
from interest_book.core import rng
from interest_book.knowledge import Distilled, kmeans, served_bytes
from interest_book.splits import ratio_split
from interest_book.worlds import make_world


if __name__ == "__main__":
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.set_num_threads(1)
    x = torch.from_numpy(rng("bench/knowledge").standard_normal((20_000, 32)))
    ours, a = clock(lambda: kmeans(x.to(device), 16, starts=1, rounds=30), 3)
    theirs, b = clock(lambda: KMeans(16, n_init=1, max_iter=30, random_state=0, algorithm="lloyd").fit(x.numpy()), 3)
    print(f"k-means, 20,000 x 32, 16 groups, 30 rounds: ours {ours:.2f} s (inertia {a.inertia:.0f}), scikit-learn {theirs:.2f} s ({b.inertia_:.0f}), ratio {ours / theirs:.2f}")
    split = ratio_split(make_world(n_users=2000, n_source_items=50, n_target_items=1500, interactions_per_user=(5, 40), seed=0).pair, seed=0)
    teacher = EASE(400.0, device).fit(split.train)
    for size in (16, 64):
        fit, student = clock(lambda: Distilled(size, "EASE", device=device).fit(split.train), 2)
        slow, fast = (clock(lambda m=m: m.score(split.train.users))[0] for m in (teacher, student))
        print(f"student {size}: fit with teacher {fit:.2f} s, {served_bytes(student) / 2**20:.2f} MiB of {served_bytes(teacher) / 2**20:.2f}, scoring 2,000 people {1000 * fast:.0f} ms of {1000 * slow:.0f}")
