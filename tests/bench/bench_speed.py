"""The speed rows in one run: ours and the peers, each in a process of its own, in turn, one thread; kept as the record `27_speed`.

    python tests/bench/bench_speed.py [ROW ...]

CPU seconds (user + system of the job alone, least of up to three calls), the most memory that the job took above what was loaded before it began, and what the result is worth, where that can be said.
With names of rows only those are measured, and the others stay what they were in the record. A peer that is not installed gets a row that says so.
Needs the data (INTEREST_BOOK_DATA); peers: `pip install implicit cornac polars`.
"""
import json, os, subprocess, sys, tempfile, time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT, HERE = Path(__file__).resolve().parents[2], Path(__file__).resolve().parent
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1"))
os.environ.setdefault("INTEREST_BOOK_DATA", str(ROOT.parent / "shared" / "data"))
os.environ.setdefault("INTEREST_BOOK_RECORDS", str(ROOT / "nbs" / "records"))
sys.path[:0] = [str(ROOT), str(HERE)]

import numpy as np
import torch

torch.set_num_threads(1)


def likes(kind):
    "MovieLens-1M, the first split of the weak or the strong protocol."
    from interest_book.datasets import load
    from interest_book.interactions import DomainPair
    from interest_book.splits import ratio_split, strong_split
    pair = DomainPair.single(load("ml-1m").binarize(min_rating=4).k_core(user=5, item=1))
    return ratio_split(pair, test=0.2, valid=0, seed=0) if kind == "weak" else strong_split(pair, test=603, valid=603, hidden=0.2, seed=0)


def fit(make, split, metric="ndcg@100"):
    "A recommender of our contract: fit it, judge it on the test rows."
    from interest_book.evaluation import evaluate
    return lambda: make().fit(split.train), lambda model: float(evaluate(model, split, (metric,)).summary()[metric])


def only(job): return job, lambda result: None

# --- EASE, ALS, BPR, Mult-VAE, biased factors ------------------------------------------------------------------------------

def ease():
    def ours():
        from interest_book.baselines import EASE
        return fit(lambda: EASE(400.0, device="cpu"), likes("weak"))
    def cornac():
        from bench_ease import cornac_fit
        return only(cornac_fit(likes("weak")))
    def numpy_inverse():
        import bench_ease
        x = likes("weak").train.target.matrix("binary")
        return only(lambda: bench_ease.plain(x))
    return {"ours": ours, "Cornac": cornac, "sparse product and numpy.linalg.inv": numpy_inverse}

def als():
    def ours():
        from interest_book.factorization import ImplicitALS
        return fit(lambda: ImplicitALS(64, device="cpu"), likes("weak"))
    def implicit():
        import implicit.als
        from interest_book.factorization import _Library
        return fit(lambda: _Library("als", 64, 60.0, 6.0), likes("weak"))
    return {"ours": ours, "implicit": implicit}

def bpr():
    def ours():
        from interest_book.factorization import BPR
        return fit(lambda: BPR(64, device="cpu"), likes("weak"))
    def implicit():
        import implicit.bpr
        from interest_book.factorization import _Library
        return fit(lambda: _Library("bpr", 64, 0.01, lr=0.05, iterations=100), likes("weak"))
    return {"ours": ours, "implicit": implicit}

def vae():
    def ours():
        from interest_book.vae import MultVAE
        return fit(lambda: MultVAE(device="cpu"), likes("strong"))
    def plain():
        from interest_book.vae import _PlainVAE
        return fit(_PlainVAE, likes("strong"))
    def cornac():
        import cornac
        from bench_vae import _Cornac
        return fit(_Cornac, likes("strong"))
    return {"ours": ours, "Cornac VAECF": cornac, "plain PyTorch loop": plain}

def fold():
    "MovieLens-100K, the first of the five folds."
    from interest_book.datasets import load
    from interest_book.interactions import DomainPair
    from interest_book.splits import kfold_splits
    pair = DomainPair.single(load("ml-100k"))
    return kfold_splits(pair, k=5, order=np.random.RandomState(42).permutation(len(pair.target)), valid=0)[0]

def biased():
    def ours():
        from interest_book.factorization import BiasedMF
        return fit(lambda: BiasedMF(32, 4.0, 0.25, 0.25, device="cpu"), fold(), "rmse")
    def cornac():
        import cornac
        split = fold()
        data = cornac.data.Dataset.from_uir([*split.train.target.frame[["user_id", "item_id", "rating"]].itertuples(index=False, name=None)])
        def rmse(model):
            rows = split.test.frame
            known = [(model.rate(data.uid_map[u], data.iid_map[i]) if u in data.uid_map and i in data.iid_map else data.global_mean, r) for u, i, r in zip(rows.user_id, rows.item_id, rows.rating)]
            return float(np.sqrt(np.mean([(np.clip(float(p), 1, 5) - r) ** 2 for p, r in known])))
        return lambda: cornac.models.MF(k=64, max_iter=50, learning_rate=0.01, lambda_reg=0.1, use_bias=True, seed=0, num_threads=1).fit(data), rmse
    return {"ours": ours, "Cornac MF": cornac}

# --- metrics, training loop, text, clusters, transport, reading ---------------------------------------------------------------

def metrics():
    import bench_metrics as b
    def side(f, n=None):
        def prepare():
            scores, relevant = b.data()
            return lambda: f(scores, relevant) if n is None else f(scores, relevant, n), lambda out: out[f"ndcg@{b.K}"] if n is None else None
        return prepare, b.USERS / n if n else 1.0
    from interest_book.metrics import ranking_metrics
    return {"ours": side(lambda s, r: {k: float(v.mean()) for k, v in ranking_metrics(s, r, b.NAMES).items()}), "torch.topk, 2 metrics": side(b.with_torch_topk),
            "scikit-learn, NDCG": side(b.with_sklearn, 1510), "torchmetrics, 2 metrics": side(b.with_torchmetrics, 151)}

def loop():
    def side(trained):
        def prepare():
            import bench_training as b
            make, loss, data, size = next(iter(b.CASES.values()))()
            return only(lambda: b.train(b.built(make, "cpu"), loss, data, epochs=b.EPOCHS, batch_size=size, device="cpu", progress=False) if trained else b.bare(b.built(make, "cpu"), loss, data, size, "cpu", fused=True))
        return prepare
    return {"ours": side(True), "bare PyTorch loop": side(False)}

def titles():
    def texts():
        from interest_book.core import rng
        from interest_book.worlds import topic_words
        g, words = rng("bench/text"), np.concatenate(topic_words(8))
        return [" ".join(g.choice(words, int(g.integers(2, 14)))) for _ in range(400)]
    def ours():
        from interest_book.text import load_encoder
        encoder, x = load_encoder("packaged", device="cpu"), texts()
        return only(lambda: encoder.encode(x))
    def plain():
        from interest_book.text import load_encoder
        encoder, x = load_encoder("packaged", device="cpu"), texts()
        def job():
            "The usual loop: as they come, 32 at a time."
            with torch.no_grad():
                for a in range(0, len(x), 32):
                    t = encoder.tokenizer(x[a:a + 32], padding=True, truncation=True, max_length=64, return_tensors="pt")
                    h, m = encoder.model(**t).last_hidden_state, t["attention_mask"][..., None]
                    torch.nn.functional.normalize((h * m).sum(1) / m.sum(1))
        return only(job)
    return {"ours": ours, "transformers, as they come": plain}

def words():
    def texts():
        from interest_book.core import rng
        from interest_book.worlds import topic_words
        g, vocabulary = rng("bench/text"), np.concatenate(topic_words(8))
        return [" ".join(g.choice(vocabulary, 8)) for _ in range(10_000)]
    def ours():
        from interest_book.text import tfidf
        x = texts()
        return only(lambda: tfidf(x))
    def sklearn():
        from sklearn.feature_extraction.text import TfidfVectorizer
        x = texts()
        return only(lambda: TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(x))
    return {"ours": ours, "scikit-learn": sklearn}

def points():
    from interest_book.core import rng
    return rng("bench/knowledge").standard_normal((20_000, 32))

def clusters():
    def ours():
        from interest_book.knowledge import kmeans
        x = torch.from_numpy(points())
        return lambda: kmeans(x, 16, starts=1, rounds=30), lambda k: float(k.inertia) / len(x)
    def sklearn():
        from sklearn.cluster import KMeans
        x = points()
        return lambda: KMeans(16, n_init=1, max_iter=30, random_state=0, algorithm="lloyd").fit(x), lambda k: float(k.inertia_) / len(x)
    return {"ours": ours, "scikit-learn": sklearn}

def transport():
    def cost():
        from interest_book.core import rng
        x, y = (torch.from_numpy(rng(f"bench/{n}").standard_normal((400, 16))) for n in "xy")
        c = torch.cdist(x, y) ** 2
        return c / c.mean()
    def ours():
        from interest_book.alignment import sinkhorn
        c = cost()
        return only(lambda: sinkhorn(c, 0.05))
    def pot():
        import ot
        c, mass = cost().numpy(), np.full(400, 1 / 400)
        return only(lambda: ot.bregman.sinkhorn_log(mass, mass, c, 0.05, stopThr=1e-6))
    return {"ours": ours, "POT": pot}

def reading():
    import bench_reading as b
    def side(name):
        def prepare():
            if name == "polars": import polars
            path = Path(tempfile.gettempdir()) / "interest_book_ratings"
            if not (path / "ratings.csv").is_file(): path.mkdir(exist_ok=True); b.write_file(path, 1_000_000)
            return only(lambda: b.SIDES[name](path / "ratings.csv"))
        return prepare
    return {"ours": side("interest_book"), "pandas": side("pandas"), "polars": side("polars")}

ROWS = {"EASE, MovieLens-1M weak": (ease, "NDCG@100"), "implicit ALS, 64 factors, MovieLens-1M weak": (als, "NDCG@100"), "BPR, 64 factors, MovieLens-1M weak": (bpr, "NDCG@100"),
        "Mult-VAE, MovieLens-1M strong": (vae, "NDCG@100"), "biased factors, MovieLens-100K, one fold": (biased, "RMSE"), "8 ranking metrics, 6,040 x 3,706": (metrics, "NDCG@10"),
        "training loop, 10 epochs of a small network": (loop, ""), "400 titles through the encoder": (titles, ""), "TF-IDF, 10,000 texts": (words, ""),
        "k-means, 20,000 x 32, 16 groups": (clusters, "inertia a point"), "Sinkhorn, 400 x 400": (transport, ""), "1,000,000 rows of CSV into a matrix": (reading, "")}

# --- one side, and all of them --------------------------------------------------------------------------------------------------

def memory(field):
    "A line of the process's status in MiB; nan where the system has none."
    status = Path("/proc/self/status")
    return next((int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(field)), np.nan) if status.exists() else np.nan

def one(row, side):
    "In the child: the job up to three times, its memory, its worth."
    found = ROWS[row][0]()[side]
    prepare, scale = found if isinstance(found, tuple) else (found, 1.0)
    job, judge = prepare()
    if Path("/proc/self/clear_refs").exists(): Path("/proc/self/clear_refs").write_text("5")     # the peak begins anew
    before, seconds = memory("VmRSS"), []
    while len(seconds) < 3 and sum(seconds) < 15:
        start = time.process_time(); out = job(); seconds.append(time.process_time() - start)
    print(json.dumps({"cpu_s": round(min(seconds) * scale, 4), "calls": len(seconds), "mib": round(memory("VmHWM") - before, 1), "quality": judge(out), "scaled": scale != 1}))

def installed():
    out = {}
    for package in ("implicit", "cornac", "scikit-learn", "torchmetrics", "POT", "polars", "pandas", "transformers"):
        try: out[package] = version(package)
        except PackageNotFoundError: pass
    return out

def main(names):
    from interest_book.baselines import _ratings_file
    from interest_book.core import UnavailableError, read_record, write_record
    from interest_book.evaluation import field_record
    try: old = {r["row"]: r for r in read_record("27_speed")["rows"]}
    except UnavailableError: old = {}
    for row, (sides, unit) in ROWS.items():
        if names and row not in names: continue
        found = {}
        for side in sides():
            ran = subprocess.run([sys.executable, __file__, "one", row, side], capture_output=True, text=True)
            found[side] = json.loads(ran.stdout.splitlines()[-1]) if ran.returncode == 0 else {"error": ran.stderr.splitlines()[-1]}
            print(f"{row:48} {side:36} {found[side]}", flush=True)
        old[row] = {"row": row, "unit of quality": unit, "sides": found}
        settings = {"threads": 1, "seconds": "CPU seconds of the job alone, least of up to three calls; every side in its own process", "peers": installed()}
        write_record("27_speed", field_record("27_speed", [], [], _ratings_file("ml-1m") | _ratings_file("ml-100k"), "python tests/bench/bench_speed.py", settings) | {"rows": [old[r] for r in ROWS if r in old]})
        for side, s in found.items():
            if side != "ours" and "error" not in s and "error" not in found["ours"]: print(f"    {side} / ours: {s['cpu_s'] / found['ours']['cpu_s']:.2f} CPU, {s['mib'] / max(found['ours']['mib'], 0.1):.2f} memory")

if __name__ == "__main__": one(*sys.argv[2:4]) if sys.argv[1:2] == ["one"] else main(sys.argv[1:])
