"""Every figure of the book that needs a GPU, in one record. Not a test: `python tests/bench/bench_gpu.py [PART ...]`, parts: training, vae, cross_domain_vae, closed_forms, movielens, finetuning, encoder.

First equality with the CPU (where a part has one answer), then wall seconds, on the GPU and on all cores of the same machine. A part that is named is measured anew, the others stay as they are in
nbs/records/gpu.json. `movielens` needs the data (INTEREST_BOOK_DATA), `encoder` the packaged encoder; what is not there is left out by name.
"""
import json, os, platform, sys, time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("INTEREST_BOOK_RECORDS", str(ROOT / "nbs" / "records"))
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import nn

import bench_cross_domain_vae, bench_finetuning, bench_training, bench_vae
from interest_book.baselines import EASE
from interest_book.core import UnavailableError, records_dir, rng, torch_rng, write_record
from interest_book.datasets import load, sheet
from interest_book.evaluation import evaluate
from interest_book.factorization import ImplicitALS
from interest_book.interactions import DomainPair, Interactions
from interest_book.splits import strong_split
from interest_book.text import load_encoder
from interest_book.training import train
from interest_book.vae import MultVAE

GB = 2**30


def wall(job, rounds=1):
    "Smallest wall seconds of a few calls, and the last answer."
    best = np.inf
    for _ in range(rounds):
        torch.cuda.synchronize(); start = time.perf_counter(); out = job(); torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, out


def wide_case():
    "Large enough for a GPU to have something to do."
    x, y = (torch.randn(50_000, 512, generator=torch_rng(f"bench/gpu/{k}")) for k in "xy")
    make = lambda: nn.Sequential(nn.Linear(512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 512))
    return make, lambda m, a, b: (m(a) - b).square().mean(), [x, y], 8192


def training():
    "Epochs a second of `train`, and its overhead beside the bare loop."
    for name, case in {**bench_training.CASES, "MLP 512-4,096-4,096-512, 50,000 rows, batch 8,192": wide_case}.items():
        make, loss, data, size = case()
        epochs = bench_training.EPOCHS = 2 if case is wide_case else 10
        def ours(device, precision="fp32"): return lambda: train(bench_training.built(make, device), loss, data, epochs=epochs, batch_size=size, device=device, precision=precision, progress=False)
        def bare(): return bench_training.bare(bench_training.built(make, "cuda"), loss, data, size, "cuda", fused=True)
        for job in (bare, ours("cuda"), ours("cuda", "bf16")): job()
        pairs = [(wall(bare)[0], wall(ours("cuda"))[0]) for _ in range(5)]
        row = {"case": name, "GPU fp32": epochs / min(t for _, t in pairs), "GPU bf16": epochs / wall(ours("cuda", "bf16"), 3)[0], "overhead": float(np.median([t / b for b, t in pairs])) - 1}
        yield row | {"CPU fp32": epochs / wall(ours("cpu"), 1 if case is wide_case else 3)[0]}


def passes(measure, sizes):
    "Passes over 8,192 people (2,048 where the catalogue is large) and memory, until it does not fit."
    for n_items in sizes:
        for precision in ("fp32", "bf16"):
            small = n_items <= 300_000
            row = {"items": n_items, "precision": precision, "people": 8192 if small else 2048, "batch": 1024 if small else 256}
            try: rate, memory = measure(n_items, precision, row["people"], row["batch"])
            except torch.OutOfMemoryError: rate = memory = None
            torch.cuda.empty_cache()
            yield row | {"passes a second": rate, "GiB": memory}


def vae(): return passes(lambda *a: bench_vae.one_pass(*a, passes=2), (3_500, 30_000, 300_000, 1_000_000, 3_000_000, 7_000_000, 8_000_000))
def cross_domain_vae(): return passes(bench_cross_domain_vae.one_pass, (3_000, 30_000, 300_000, 1_000_000, 3_000_000, 6_000_000, 11_000_000, 12_000_000))


def random_pair(n_users, n_items, each):
    g = rng("bench/gpu/rows", n_users)
    pairs = np.unique(np.repeat(np.arange(n_users), each) * n_items + (n_items * g.random(n_users * each)**2).astype(np.int64))
    return DomainPair.single(Interactions([f"u{u}" for u in range(n_users)], [f"i{i}" for i in range(n_items)], pairs // n_items, pairs % n_items, name="random"))


def closed_forms():
    "ALS and EASE: the same scores, and seconds."
    for name, make, size in (("implicit ALS, 64 factors, 8 sweeps", lambda d: ImplicitALS(64, device=d), (50_000, 20_000, 100)), ("EASE", lambda d: EASE(400.0, device=d), (50_000, 10_000, 100)), ("EASE", lambda d: EASE(400.0, device=d), (50_000, 20_000, 100))):
        pair = random_pair(*size)
        make("cuda").fit(pair)
        torch.cuda.reset_peak_memory_stats()
        fast, there = wall(lambda: make("cuda").fit(pair))
        memory = torch.cuda.max_memory_allocated() / GB
        slow, here = wall(lambda: make("cpu").fit(pair))
        a, b = (m.score(pair.users[:500]).cpu() for m in (there, here))
        yield {"method": name, "people": size[0], "items": size[1], "interactions": len(pair.target), "GPU": fast, "CPU": slow, "GiB": memory, "largest difference": float((a - b).abs().max() / b.abs().max())}


def movielens():
    "Mult-VAE, ALS and EASE on MovieLens-1M, strong generalisation, the first split: NDCG@100 on validation people and wall seconds of a fit."
    split = strong_split(DomainPair.single(load("ml-1m").binarize(min_rating=4).k_core(user=5, item=1)), test=603, valid=603, hidden=0.2, seed=0)
    makers = {"EASE": lambda d: EASE(800.0, device=d), "implicit ALS": lambda d: ImplicitALS(device=d), "Mult-VAE": lambda d: MultVAE(device=d), "Mult-VAE, bf16": lambda d: MultVAE(device=d, precision="bf16")}
    for name, make in makers.items():
        row = {"method": name}
        for device in ("cuda", "cpu"):
            if device == "cuda": make(device).fit(split.train)
            seconds, model = wall(lambda: make(device).fit(split.train))
            row |= {f"{device} seconds": seconds, f"{device} ndcg@100": evaluate(model, split.validation, ["ndcg@100"]).summary()["ndcg@100"]}
        yield row


def finetuning():
    "A step of full tuning, of the head, LoRA and adapters on a network of about 0.8 thousand million numbers."
    size, rows = (2048, 24, 20_000), 4096
    for name in bench_finetuning.PREPARE:
        seconds, memory, moved, total = min((bench_finetuning.measure(name, size, rows, torch.device("cuda")) for _ in range(2)), key=lambda f: f[0])
        torch.cuda.empty_cache()
        yield {"strategy": name, "ms a step": 1e3 * seconds, "GiB": memory / GB, "numbers that move": moved, "numbers": total}


def encoder():
    "Titles of about eight words through the packaged encoder."
    from interest_book.worlds import topic_words
    g, words = rng("bench/gpu/titles"), np.concatenate(topic_words(8))
    texts = [" ".join(g.choice(words, g.integers(3, 14))) for _ in range(20_000)]
    full = None
    for device, dtype, n in (("cuda", "float32", 20_000), ("cuda", "bfloat16", 20_000), ("cpu", "float32", 4000), ("cpu", "bfloat16", 4000)):
        model = load_encoder("packaged", device=device, dtype=dtype)
        size = 1024 if device == "cuda" else 64
        model.encode(texts[:2048], batch_size=size)
        seconds, vectors = wall(lambda: model.encode(texts[:n], batch_size=size), 2)
        full = vectors if full is None else full
        yield {"device": device, "format": dtype, "titles": n, "batch": size, "titles a second": n / seconds, "worst cosine to float32 on the GPU": float((vectors * full[:n]).sum(1).min())}


PARTS = {f.__name__: f for f in (training, vae, cross_domain_vae, closed_forms, movielens, finetuning, encoder)}


if __name__ == "__main__":
    if not torch.cuda.is_available(): sys.exit("no CUDA device here")
    if unknown := set(sys.argv[1:]) - set(PARTS): sys.exit(f"no part {sorted(unknown)}; parts are {list(PARTS)}")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    path = records_dir() / "gpu.json"
    record = json.loads(path.read_text()) if path.is_file() else {"name": "gpu", "parts": {}}
    record |= {"command": "python tests/bench/bench_gpu.py", "data": {f.path: f.sha256 for f in sheet("ml-1m").files}, "versions": {"torch": torch.__version__, "python": platform.python_version()},
               "settings": {"GPU": torch.cuda.get_device_name(), "GiB": torch.cuda.get_device_properties(0).total_memory / GB, "CPU threads": torch.get_num_threads()}}
    for name in sys.argv[1:] or PARTS:
        rows = []
        try:
            for row in PARTS[name]():
                print(name, json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
                rows.append(row)
                record["parts"][name] = rows
                write_record("gpu", record)
        except (UnavailableError, FileNotFoundError) as e: print(f"{name}: left out: {e}")
