"""Full tuning, LoRA and adapters on one larger network: seconds of a step, memory, and how many numbers move. Not a test: `python tests/bench/bench_finetuning.py [cpu|cuda]`.

The network is a stack of residual blocks, pretrained on nothing: only cost is measured here. Strategies take turns, best of the rounds. On a GPU memory is the peak that PyTorch
allocated in the step; on the CPU it is what must be kept: weights, gradients and two moments of AdamW for every number that moves.
"""
import os, sys, time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from interest_book.core import pick_device, torch_rng
from interest_book.finetuning import _open, add_adapters, add_lora, trainable
from interest_book.training import seeded

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
ROUNDS, STEPS = 3, 5


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.wide, self.narrow = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
    def forward(self, x): return x + self.narrow(torch.relu(self.wide(x)))


class Stack(nn.Module):
    def __init__(self, d, blocks, n_items):
        super().__init__()
        self.body, self.head = nn.Sequential(*(Block(d) for _ in range(blocks))), nn.Linear(d, n_items)
    def forward(self, x): return self.head(self.body(x))


PREPARE = {"full": lambda net: _open(net, ["body", "head"]), "head": lambda net: _open(net, ["head"]),
           "lora, rank 8": lambda net: _open(add_lora(net, 8, layers=["body"]), ["head"]), "adapter, width 16": lambda net: _open(add_adapters(net, 16, ["body"]), ["head"])}


def make(name, size, device):
    with seeded("bench/finetuning"): net = Stack(*size)
    PREPARE[name](net)
    return net.to(device)


def measure(name, size, rows, device):
    net = make(name, size, device)
    x, y = torch.randn(rows, size[0], generator=torch_rng("bench/finetuning/x")).to(device), torch.randint(size[2], (rows,), generator=torch_rng("bench/finetuning/y")).to(device)
    moving = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=1e-4)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    def step():
        optimizer.zero_grad(); nn.functional.cross_entropy(net(x), y).backward(); optimizer.step()
    step(); wait()
    if device.type == "cuda": torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(STEPS): step()
    wait()
    seconds = (time.perf_counter() - start) / STEPS
    total, moved = sum(p.numel() for p in net.parameters()), trainable(net)
    return seconds, torch.cuda.max_memory_allocated() if device.type == "cuda" else 4 * (total + 3 * moved), moved, total


if __name__ == "__main__":
    device = pick_device(sys.argv[1] if len(sys.argv) > 1 else "auto")
    size, rows = ((2048, 24, 20_000), 4096) if device.type == "cuda" else ((256, 4, 2000), 128)
    print(f"{size[1]} blocks of width {size[0]}, head of {size[2]} items, batches of {rows} on {device.type}")
    best = {}
    for _ in range(ROUNDS):
        for name in PREPARE:
            found = measure(name, size, rows, device)
            best[name] = found if name not in best or found[0] < best[name][0] else best[name]
    print(f"{'strategy':20}{'ms a step':>10}{'of full':>9}{'MB':>9}{'of full':>9}{'numbers that move':>20}")
    full = best["full"]
    for name, (seconds, memory, moved, total) in best.items(): print(f"{name:20}{1e3 * seconds:10.1f}{seconds / full[0]:9.2f}{memory / 1e6:9.0f}{memory / full[1]:9.2f}{moved:12,} of {total:,}")
