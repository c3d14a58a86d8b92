"""What the benchmarks of chapters 17, 18 and 19 share: CPU time of a call."""
import time

import numpy as np
import torch


def clock(f, rounds=3):
    "Smallest CPU time of a few calls, in seconds, and the last answer."
    best = np.inf
    for _ in range(rounds):
        start = time.process_time(); out = f()
        if torch.cuda.is_available(): torch.cuda.synchronize()
        best = min(best, time.process_time() - start)
    return best, out
