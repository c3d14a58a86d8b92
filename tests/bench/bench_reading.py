"""Reading 10 million rows into a sparse matrix, beside two peers in the same run.

    python tests/bench/bench_reading.py [rows] [rounds]

Every side runs in its own process, in turn, three rounds unless told otherwise; the table shows the median of CPU-seconds (user + system), of wall seconds and
of the peak memory of the process, and the ratio to `Interactions.read`. CPU-seconds and memory are those of the whole process, imports included, for every side alike; wall seconds
are those of importing, reading and building the matrix. All sides must arrive at the same matrix: the number of users, items, entries and the sum of ratings are compared.
The peers do the work and not the checks: no duplicates policy, no nulls, no report.
"""
import json, os, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET_S, TARGET_GB = 20, 3


def write_file(folder, rows, n_users=400_000, n_items=40_000):
    "A long-tailed file of distinct (user, item) pairs with text ids, as CSV and as Parquet."
    sys.path.insert(0, str(ROOT))
    import numpy as np, pyarrow as pa, pyarrow.csv as pc, pyarrow.parquet as pq
    from interest_book.core import rng
    g = rng("bench/reading")
    key = np.zeros(0, np.int64)
    while len(key) < rows:                       # draw until there are enough distinct pairs
        u = (n_users * g.random(rows // 2) ** 1.5).astype(np.int64)
        i = (n_items * g.random(rows // 2) ** 2.5).astype(np.int64)
        key = np.unique(np.concatenate([key, u * n_items + i]))
    key = g.permutation(key)[:rows]
    user, item = (pa.array(np.char.add(mark, c.astype(str))) for mark, c in (("u", key // n_items), ("i", key % n_items)))
    table = pa.table({"user_id": user, "item_id": item, "rating": pa.array(g.integers(1, 11, rows) / 2), "timestamp": pa.array(g.integers(10**9, 17 * 10**8, rows))})
    pc.write_csv(table, folder / "ratings.csv", pc.WriteOptions(quoting_style="none"))
    pq.write_table(table, folder / "ratings.parquet")


def ours(path):
    from interest_book.interactions import Interactions
    return Interactions.read(path).matrix()


def with_pandas(path):
    import pandas as pd, scipy.sparse as sp
    text = {"user_id": str, "item_id": str}
    t = pd.read_csv(path, dtype={**text, "rating": "float32"}) if path.suffix == ".csv" else pd.read_parquet(path)
    (u, users), (i, items) = pd.factorize(t.user_id), pd.factorize(t.item_id)
    return sp.csr_array((t.rating.to_numpy("float32"), (u, i)), shape=(len(users), len(items)))


def with_polars(path):
    import polars as pl, scipy.sparse as sp
    t = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    def codes(name):
        ids = t[name].unique(maintain_order=True)
        return t[name].cast(pl.Enum(ids)).to_physical().to_numpy(), len(ids)
    (u, n_users), (i, n_items) = codes("user_id"), codes("item_id")
    return sp.csr_array((t["rating"].to_numpy().astype("float32"), (u.astype("int32"), i.astype("int32"))), shape=(n_users, n_items))


SIDES = {"interest_book": ours, "pandas": with_pandas, "polars": with_polars}


def one(side, path):
    "In the child: read once, print what it took."
    sys.path.insert(0, str(ROOT))
    start = time.perf_counter()
    matrix = SIDES[side](Path(path))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"wall": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime, "gb": usage.ru_maxrss / 2**20,
                      "shape": list(matrix.shape), "nnz": int(matrix.nnz), "sum": float(matrix.sum(dtype="float64"))}))


def main(rows, rounds):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        subprocess.run([sys.executable, __file__, "write", str(folder), str(rows)], check=True)
        for file in ("ratings.csv", "ratings.parquet"):
            runs = {side: [] for side in SIDES}
            for _ in range(rounds):
                for side in SIDES:
                    out = subprocess.run([sys.executable, __file__, side, str(folder / file)], check=True, capture_output=True, text=True).stdout
                    runs[side].append(json.loads(out.splitlines()[-1]))
            print(f"\n{file}: {rows:,} rows, {(folder / file).stat().st_size / 2**20:.0f} MiB, {os.cpu_count()} cores")
            if len({(*r["shape"], r["nnz"], round(r["sum"])) for rs in runs.values() for r in rs}) != 1: sys.exit(f"the sides disagree: {runs}")
            median = {side: {k: statistics.median(r[k] for r in rs) for k in ("cpu", "wall", "gb")} for side, rs in runs.items()}
            us = median["interest_book"]
            for side, m in median.items():
                print(f"  {side:14} {m['cpu']:6.1f} CPU-s  x{m['cpu'] / us['cpu']:4.2f}   {m['wall']:6.1f} s  x{m['wall'] / us['wall']:4.2f}   {m['gb']:5.2f} GiB  x{m['gb'] / us['gb']:4.2f}")
            if rows >= 10_000_000: print(f"  target: under {TARGET_S} s and {TARGET_GB} GB: {'held' if us['wall'] < TARGET_S and us['gb'] * 2**30 < TARGET_GB * 1e9 else 'MISSED'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]: write_file(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] and sys.argv[1] in SIDES: one(*sys.argv[1:3])
    else: main(*(int(a) for a in [*sys.argv[1:], *("10000000", "3")[len(sys.argv) - 1:]]))
