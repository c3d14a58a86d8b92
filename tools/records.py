"""Compute the field records anew, where the data is present (`INTEREST_BOOK_DATA`).

    python tools/records.py [--jobs N] [--only PREFIX ...] [--list] [--check | --add [--anew METHOD ...]]
    python tools/records.py --map | --picture          what is made from the records alone: the map in the package, the figure of the README

Every record is one file in `nbs/records/`, written whole or not at all. `--check` computes into a temporary folder and compares with the
committed records instead of replacing them; `--add` computes only what a field record does not hold yet: new methods, and of a changed grid
the settings that were not tried, on the same splits. A method whose numbers do not come again is computed whole; a baseline stops the record. `--anew`
names methods that are computed whole in any case: where the code of a method has changed, since a row with nothing new to try is kept as it stands.
An interrupted record takes up its finished cells from the temporary folder; delete them (`interest_book_*.jsonl`) if code has changed since. Settings are chosen on validation rows, split by split; test rows are measured once.
"""
import argparse, json, os, sys, tempfile, time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("INTEREST_BOOK_RECORDS", str(ROOT / "nbs" / "records"))
SEEDS = 10

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.stats import binom

from interest_book.alignment import anchors_record
from interest_book.baselines import EASE, ItemKNN, JointEASE, Popularity, TwinLookup, UserKNN, ml1m_record, ml100k_record
from interest_book.benchmark import benchmark, blend_record, growth_record, map_points, phase_record, size_record, thinning_record
from interest_book.cli import BUDGET, families
from interest_book.core import atomic_write, rng, write_record
from interest_book.cross_domain_vae import cross_worlds_record
from interest_book.datasets import data_record, load, published_parts, sheet
from interest_book.evaluation import bootstrap_interval, compare, field_record, grid, noise_record, sign_flip_test
from interest_book.factorization import ml1m_als_record, ml100k_mf_record
from interest_book.finetuning import finetuning_record, ties_record
from interest_book.graph import graph_worlds_record, ml1m_graph_record, strangers_record
from interest_book.interactions import DomainPair, Interactions
from interest_book.knowledge import bookcrossing_record, distillation_record, kmeans
from interest_book.language_model import facts_record, text_transfer_record, tuning_record, unseen_domain_record
from interest_book.linear_mapping import EMCDR, FusedEMCDR, ratings_record
from interest_book.metrics import ranks, sampled_ranking_record
from interest_book.multitask import multitask_record, sharing_record
from interest_book.nonlinear_mapping import tuned_baseline_record, worlds_record
from interest_book.portraits import movielens_portraits_record, office_portraits_record
from interest_book.splits import clean_test, cold_start_split, drop_leaked_edges, field_audit, field_pairs, find_twins, leaked_rows, leave_one_out_split, published_split, ratio_split
from interest_book.text import LSA, ItemTexts, bridge_record, encoder_record, films_to_books, item_texts, load_encoder, nobody_shared, same_titles, speed_record, text_worlds_record, tfidf
from interest_book.training import seeded, train
from interest_book.vae import ml1m_vae_record

def checksums(name): return {f.path: f.sha256 for f in sheet(name).files}

# --- pairs with shared users: ten random splits, cold and warm, rankings and ratings -----------------------------------

PAIRS = {"douban_book_music": ("douban_book_music", False), "douban_music_book": ("douban_book_music", True),
         "amazon_books_movies": ("amazon_books_movies", False), "amazon_movies_books": ("amazon_books_movies", True),
         "amazon_beauty_electronics": ("amazon_beauty_electronics", False), "amazon_electronics_beauty": ("amazon_beauty_electronics", True),
         "amazon_arts_office": ("urllm_arts_office", False), "amazon_office_arts": ("urllm_arts_office", True)}
RATED = list(PAIRS)[:4]                                                              # the others have no ratings: rankings only
NETWORKS = ("Mult-VAE", "Mult-DAE", "cross-domain VAE", "cross-domain VAE, mapped", "LightGCN", "two graphs")
SMALLER = {"amazon_beauty_electronics": (3, None), "amazon_electronics_beauty": (3, None),      # splits, and which slow methods (None: all), so that a record takes minutes, not hours
           "amazon_arts_office": (3, NETWORKS), "amazon_office_arts": (3, NETWORKS)}            # 8,574 people, and items by the thousand: a kernel bridge takes minutes there
def scope(pair_name): return SMALLER.get(pair_name, (SEEDS, None))
def field_methods(pair_name, setting, task):
    "The methods of a field record, with the settings they may try."
    every, quick, slow = families(task, setting), families(task, setting, "quick"), scope(pair_name)[1]
    return {m: grid for m, grid in every.items() if slow is None or m in quick or m in slow}
LIKED = 3      # rankings: ratings from 3 up count as interactions, then every user and item keeps at least CORE of them
CORE = 5

def random_splits(pair_name, setting, task):
    "Ten seeds; 20 % of the shared users are cold, or 10 % of every user's rows are held out; as many rows or half as many users for validation."
    name, swapped = PAIRS[pair_name]
    pair = load(name)
    if swapped: pair = pair.swap()
    if task == "ranking": pair = DomainPair(*((side.binarize(LIKED) if side.is_explicit else side).k_core(CORE, CORE) for side in (pair.source, pair.target)))
    pair, twins = without_twins(pair)
    make = (lambda s: cold_start_split(pair, test=0.2, valid=0.1, seed=s)) if setting == "cold" else (lambda s: ratio_split(pair, test=0.1, valid=0.1, seed=s))
    return name, [make(s) for s in range(scope(pair_name)[0])], twins

def without_twins(pair):
    "The pair without those source items that are a target item under another id, and how many there were: nobody's answer may stand in the source."
    twins = find_twins(pair.source, pair.target)
    keep = ~np.isin(pair.source.item_codes, pair.source.item_index(list(twins.source_item.unique()))) if len(twins) else slice(None)
    return DomainPair(pair.source.rows(keep), pair.target), int(twins.source_item.nunique())

BASELINES = {("ranking", "cold"): ["popularity", "EMCDR"], ("ranking", "warm"): ["EASE", "popularity"], ("rating", "cold"): ["plain bridge", "EMCDR", "item mean"], ("rating", "warm"): ["bias model", "item mean"]}

def random_record(pair_name, setting, task, anew=()):
    "Every method on every split with every setting of its grid; with `--add`, with what is still to be tried. A record holds no failures: the first one stops it."
    name, splits, twins = random_splits(pair_name, setting, task)
    metrics = ("rmse", "mae") if task == "rating" else ("ndcg@10", "recall@10", "hit@10")
    seeds, methods, record_name = len(splits), field_methods(pair_name, setting, task), f"field_{pair_name}_{setting}_{task}"
    add, anew = bool(os.environ.get("INTEREST_BOOK_ADD")), (*anew, *json.loads(os.environ.get("INTEREST_BOOK_ANEW", "[]")))
    old = {m: was for m, was in kept(record_name, methods, checksums(name), seeds).items() if m not in anew} if add else {}
    grids = {m: [to_try(grid, *old[m]["tried"][i]) if m in old else grid for i in range(seeds)] for m, grid in methods.items()}
    stands = [m for m in old if all(list(grids[m][i]) == [old[m]["chosen"][i]] for i in range(seeds))]      # nothing to try
    same_baselines = all(m in stands for m in BASELINES[task, setting])      # else everything is compared with them anew, from a fit of what was chosen
    fitted = [m for m in methods if not (same_baselines and m in stands and m not in BASELINES[task, setting])]
    bench = benchmark(lambda _, seed: {m: grids[m][seed] for m in fitted}, {"all": splits.__getitem__}, range(seeds), metrics, budget=BUDGET, path=lines(record_name), label=json.dumps(checksums(name)), say=lambda line: None)
    if len(bench.failures): raise RuntimeError(bench.failures.to_string())
    results, labels = bench.results("all"), {m: old[m]["chosen"] if m not in fitted else list(bench.chosen[m]) for m in methods}
    by = {m: [r for r in results if r.model == m] for m in fitted}
    if moved := [m for m in old if not as_committed(labels[m], by.get(m, ()), old[m])]:
        if set(moved) & set(BASELINES[task, setting]): raise RuntimeError(f"{moved} are not what the committed record says; compute the whole record again, without --add")
        show(f"{record_name}: {moved} are not what the committed record says: computed again from their whole grids")
        return random_record(pair_name, setting, task, (*anew, *moved))
    comparisons = [compare(by[m], by[b], metric) for b in BASELINES[task, setting] for metric in metrics for m in fitted if m != b]
    few = [m for m in families(task, setting) if m not in methods]
    settings = {"setting": setting, "task": task, "seeds": seeds, "budget": BUDGET, **({"left out, slow": few} if few else {}), "chosen": {str(i + 1): {m: labels[m][i] for m in methods} for i in range(seeds)}, "grids": {m: list(g) for m, g in methods.items()},
                "tuned on": f"validation rows, {metrics[0]}", "source items removed as twins": twins}
    if task == "ranking": settings |= {"rating from": LIKED if pair_name in RATED else None, "core": CORE}
    record = field_record(record_name, results, comparisons, checksums(name), f"python tools/records.py --only {record_name}", settings)
    for part, key in (("results", lambda r: (r["seed"], list(methods).index(r["model"]))), ("comparisons", lambda c: (BASELINES[task, setting].index(c["baseline"]), metrics.index(c["metric"]), list(methods).index(c["model"])))):
        record[part] = sorted(record[part] + [r for m in methods if m not in fitted for r in old[m][part]], key=key)
    return record

def kept(record_name, methods, data, seeds):
    "Method -> its committed results and comparisons, the settings chosen, and for every split those that were tried with the one chosen; empty without a record of the same data."
    path = ROOT / "nbs" / "records" / f"{record_name}.json"
    record = json.loads(path.read_text()) if path.is_file() else {}
    if record.get("data") != data or record["settings"]["seeds"] != seeds: return {}
    chosen, grids = [record["settings"]["chosen"][str(i + 1)] for i in range(seeds)], record["settings"]["grids"]
    return {m: {"results": [r for r in record["results"] if r["model"] == m], "comparisons": [c for c in record["comparisons"] if c["model"] == m],
                "chosen": [c[m] for c in chosen], "tried": [(grids[m], c[m]) for c in chosen]} for m in methods if m in grids}

def to_try(grid, tried, chosen):
    "Of the settings of a grid those not tried before and, of the others, the one that was chosen, or all where that is not offered any more."
    return {label: make for label, make in grid.items() if label not in tried or label == chosen or chosen not in grid}

def as_committed(labels, results, old):
    "Whether every split that chose again what it had chosen gives the committed numbers, but for what another processor rounds."
    return all(r.fingerprint == was["fingerprint"] and all(alike(v, was["metrics"][m]) for m, v in r.summary().items())
               for label, chosen, r, was in zip(labels, old["chosen"], results, old["results"]) if label == chosen)

# --- published splits of sport and cloth: as published, leaked edges removed, clean rows ---------------------------------

NEGATIVES = 999

def row_ranks(model, split, batch=512):
    "Full rank of every test row among the items its user has no other row on, the number of those candidates, and the row's user."
    users = np.unique(split.test.user_codes)
    relevant, seen = split.test.matrix("binary"), split.train.target.matrix("binary")
    out = []
    for start in range(0, len(users), batch):
        u = users[start:start + batch]
        rel, hide = relevant[u], seen[u]
        hide = (hide - hide.multiply(rel)).tocsr(); hide.eliminate_zeros()
        r = ranks(model.score(list(split.test.users[u])), rel, hide).numpy()
        n = np.diff(rel.indptr)
        row = np.repeat(np.arange(len(u)), n)
        order = np.lexsort((r, row))
        ahead = np.empty(len(r), int); ahead[order] = np.arange(len(r)) - np.repeat(np.cumsum(n) - n, n)      # the user's other test items ranked higher
        free = split.test.n_items - np.diff(hide.indptr)[row] - n[row] + 1
        out.append(np.stack([u[row], r - ahead, free]))
    return np.concatenate(out, axis=1)

def row_metrics(rank, n, negatives=NEGATIVES):
    "Full-ranking metrics of one held-out item each, and their exact expectation when it meets uniform negatives instead."
    p, j = (rank - 1) / np.maximum(n - 1, 1), np.arange(10)
    chance = binom.pmf(j[:, None], negatives, p)
    with np.errstate(invalid="ignore", divide="ignore"): mrr = np.where(p > 0, (1 - (1 - p)**(negatives + 1)) / ((negatives + 1) * p), 1.0)
    return {"hit@10": (rank <= 10) * 1.0, "ndcg@10": (rank <= 10) / np.log2(rank + 1), "mrr": 1 / rank,
            "sampled hit@10": chance.sum(0), "sampled ndcg@10": (chance / np.log2(j + 2)[:, None]).sum(0), "sampled mrr": mrr}

def published_families(setting):
    "Four settings for whoever has something to choose. The look-up has the thresholds of the audit."
    out = {"popularity": {"": Popularity}, "copy the twin": {"": lambda: TwinLookup(0.6, 2)}}
    if setting == "warm":
        return out | {"item kNN": grid(ItemKNN, neighbours=(10, 30, 100, 300)), "EASE": grid(EASE, l2=(50., 100., 200., 400.)),
                      "joint EASE": grid(partial(JointEASE, rows="shared"), together=True, l2=(50., 200., 50., 200.), source_weight=(0.25, 0.5, 1.0, 1.0)),
                      "fused EMCDR": grid(FusedEMCDR, factors=(64, 128), prior_rows=(2., 5.))}
    return out | {"user kNN, source": grid(partial(UserKNN, "source"), neighbours=(100, 200, 400, 800)), "joint EASE": grid(partial(JointEASE, source_weight=0.5, rows="shared"), l2=(400., 1600., 6400., 25600.)),
                  "SVD + ridge bridge": grid(partial(EMCDR, item_power=0.0, popularity=0.0), factors=(32, 64, 128, 256)), "EMCDR": grid(EMCDR, factors=(64, 256), popularity=(0.75, 1.0))}

def held_out(split, users=2000, seed=0):
    "One random training row of some users, to choose settings where a publication has no validation rows; source rows that answer it through a twin are taken out. The test is not looked at."
    rows, gen = split.train.target, rng("records/held_out", seed)
    order = np.lexsort((gen.random(len(rows)), rows.user_codes))
    first = order[np.flatnonzero(np.diff(rows.user_codes[order], prepend=-1))]                 # one row of every user
    many = np.bincount(rows.user_codes, minlength=rows.n_users)[rows.user_codes[first]] >= 2     # who keeps at least one
    out = np.zeros(len(rows), bool); out[gen.choice(first[many], min(users, many.sum()), replace=False)] = True
    inner = published_split(DomainPair(split.train.source, rows.rows(~out)), None, rows.rows(out), name=f"{split.name}, rows held out of training")
    return drop_leaked_edges(inner, find_twins(inner.train.source, inner.train.target, jaccard=0.6, support=2))

def tuned_before(record_name, data):
    "With --add: the validation scores that the committed record holds already."
    path = ROOT / "nbs" / "records" / f"{record_name}.json"
    record = json.loads(path.read_text()) if os.environ.get("INTEREST_BOOK_ADD") and path.is_file() else {}
    return record["settings"].get("validation", {}) if record.get("data") == data else {}

def published_record(data, target):
    return replayed(f"published_{data}_{target}", published_split(*published_parts(data, target), name=f"{data} to {target}"), checksums(data))

def beauty_electronics(name, target):
    "The authors' leave-one-out: the last row of a person's merged sequence is the test, the one before it chooses."
    return replayed(name, published_split(*published_parts("amazon_beauty_electronics", target), name=f"amazon_beauty_electronics to {target}"), checksums("amazon_beauty_electronics"))

def douban_last_row(name, swapped):
    "Every rating a choice; the last row of a person in the file is the test, the one before it chooses, against 99 negatives: the protocol published with these files."
    pair = load("douban_book_music").swap() if swapped else load("douban_book_music")
    return replayed(name, leave_one_out_split(DomainPair(pair.source.binarize(1), pair.target.binarize(1)), order="given"), checksums("douban_book_music"), negatives=99)

def replayed(record_name, split, data, negatives=NEGATIVES):
    "A published split as published, without the leaked edges, and on clean rows."
    setting = split.setting
    twins = find_twins(split.train.source, split.train.target, jaccard=0.6, support=2)
    leaked = leaked_rows(split, twins)
    removed = drop_leaked_edges(split, twins)
    tuning = clean_test(split, twins).validation if len(split.valid) else held_out(split)
    rows, per_row, curves = [], {}, {}
    before, common = tuned_before(record_name, data), np.bincount(split.train.target.item_codes, minlength=split.test.n_items) >= 5
    variants = ("published", "edges removed", "clean rows") + (("clean rows of common items",) if setting == "warm" else ())
    for name, candidates in published_families(setting).items():
        label, start = next(iter(candidates)), time.process_time()
        if len(candidates) > 1:
            found = {}
            for c, make in candidates.items():
                if c in before.get(name, {}): found[c] = before[name][c]; continue
                u, r, n = row_ranks(make().fit(tuning.train), tuning)
                found[c] = float(row_metrics(r, n, negatives)["ndcg@10"].mean())
            label = max(found, key=found.get)
            curves[name] = found
        for variant, s in (("published", split), ("edges removed", removed)):
            if variant == "edges removed" and name in ("popularity", "item kNN", "EASE"): per_row[name, variant] = per_row[name, "published"]; continue    # they never see the source
            users, r, n = row_ranks(candidates[label]().fit(s.train), s)
            per_row[name, variant] = (users, row_metrics(r, n, negatives))
        order = np.lexsort((split.test.item_codes, split.test.user_codes))      # row-major, as `ranks` gives them
        users, m = per_row[name, "published"]
        for variant, keep in (("clean rows", ~leaked[order]), ("clean rows of common items", ~leaked[order] & common[split.test.item_codes[order]])): per_row[name, variant] = (users[keep], {k: v[keep] for k, v in m.items()})
        for variant in variants:
            users, m = per_row[name, variant]
            rows.append({"model": name, "variant": variant, "seed": None, "fingerprint": (removed if variant == "edges removed" else split).fingerprint + {"clean rows": "-clean", "clean rows of common items": "-common"}.get(variant, ""),
                         "split": split.name, "params": {"setting": label}, "metrics": {k: float(v.mean()) for k, v in m.items()}, "n_users": int(len(np.unique(users))),
                         "n_rows": int(len(users)), "cpu_s": round(time.process_time() - start, 1)})
    comparisons = []
    for variant in variants:
        for baseline in ("popularity", "EASE" if setting == "warm" else "SVD + ridge bridge"):
            for name in published_families(setting):
                if name == baseline: continue
                for metric in ("hit@10", "ndcg@10", "sampled hit@10", "sampled ndcg@10"):
                    (users, a), (_, b) = per_row[name, variant], per_row[baseline, variant]
                    _, at = np.unique(users, return_inverse=True)
                    gap, count = np.bincount(at, a[metric] - b[metric]), np.bincount(at)
                    low, high = bootstrap_interval(gap / count, count)
                    comparisons.append({"model": name, "baseline": baseline, "variant": variant, "metric": metric, "difference": float(gap.sum() / count.sum()),
                                        "low": low, "high": high, "p_value": sign_flip_test(gap), "n_users": int(len(count)), "n_splits": 1, "level": 0.95})
    settings = {"setting": setting, "task": "ranking", "negatives": negatives, "twins": "jaccard 0.6, support 2, from training rows", "leaked test rows": int(leaked.sum()), "test rows": int(len(leaked)),
                "why one split": "the split is published and fixed, and every method here is deterministic; uncertainty is over users", "unit": "mean over held-out rows; intervals resample users",
                "tuned on": "clean validation rows, ndcg@10" if len(split.valid) else "one training row of each of 2,000 users held out, source rows that answer it removed, ndcg@10"}
    return field_record(record_name, [], [], data, f"python tools/records.py --only {record_name}", settings | {"validation": curves}) | {"results": rows, "comparisons": comparisons}

# --- the epoch that the test likes best ---------------------------------------------------------------------------------------

class Dot(torch.nn.Module):
    "Factors without biases: the product of a person's and an item's vector."
    def __init__(self, n_users, n_items, d, scale=1.0):
        super().__init__()
        self.users, self.items = (torch.nn.Embedding(n, d) for n in (n_users, n_items))
        with torch.no_grad(): self.users.weight.mul_(scale); self.items.weight.mul_(scale)
    def forward(self, u, i): return (self.users(u) * self.items(i)).sum(1)

def rating_factors(rows, n_users, seed, d=10):
    with seeded(f"records/epochs/{rows.name}", seed): net = Dot(n_users, rows.n_items, d)
    data = [torch.from_numpy(x) for x in (rows.user_codes.astype(np.int64), rows.item_codes.astype(np.int64), rows.ratings.astype(np.float32))]
    train(net, lambda m, u, i, y: (m(u, i) - y).square().mean(), data, epochs=20, batch_size=1024, lr=0.01, seed=seed, device="cpu", progress=False)
    return net

def rated(rows, person, net):
    "RMSE and MAE of products with vectors of people, on rows of ratings."
    with torch.no_grad(): error = (person(torch.from_numpy(rows.user_codes.astype(np.int64))) * net.items(torch.from_numpy(rows.item_codes.astype(np.int64)))).sum(1) - torch.from_numpy(rows.ratings.astype(np.float32))
    return {"rmse": float(error.square().mean().sqrt()), "mae": float(error.abs().mean())}

def bridge_curve(split, seed, epochs=60):
    "A network from source to target vectors of the shared people, without biases, as cold-start bridges are published; validation and test after every epoch."
    source, target = (rating_factors(side, len(split.train.users), seed) for side in (split.train.source, split.train.target))
    shared, curve = torch.from_numpy(np.flatnonzero(split.train.shared)), []
    with seeded("records/epochs/map", seed): net = torch.nn.Sequential(torch.nn.Linear(10, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
    def look(m):
        curve.append([rated(rows, lambda u: m(source.users(u)), target) for rows in (split.valid, split.test)])
        return curve[-1][0]["rmse"]
    pair = [e(shared).detach() for e in (source.users, target.users)]
    train(net, lambda m, x, y: (m(x) - y).square().mean(), pair, epochs=epochs, batch_size=64, lr=0.01, validate=look, seed=seed, device="cpu", progress=False)
    return curve

def pairs_curve(split, seed, epochs=40, d=32):
    "Factors trained on pairs of a chosen and a random item; validation and test after every epoch, against 99 negatives and in full."
    rows, curve = split.train.target, []
    with seeded("records/epochs/pairs", seed): net = Dot(rows.n_users, rows.n_items, d, 0.1)
    def loss(m, u, i): return -torch.nn.functional.logsigmoid(m(u, i) - m(u, torch.randint(rows.n_items, i.shape))).mean()
    class Scores:
        def score(self, users): return net.users.weight[torch.from_numpy(rows.user_index(users))] @ net.items.weight.T
    def look(m):
        curve.append([{k: float(v.mean()) for k, v in row_metrics(*row_ranks(Scores(), s)[1:], 99).items() if k in ("sampled hit@10", "sampled ndcg@10", "ndcg@10")} for s in (split.validation, split)])
        return curve[-1][0]["sampled hit@10"]
    train(net, loss, [torch.from_numpy(x.astype(np.int64)) for x in (rows.user_codes, rows.item_codes)], epochs=epochs, batch_size=2048, lr=0.01, weight_decay=0.1, validate=look, larger_is_better=True, seed=seed, device="cpu", progress=False)
    return curve

def chosen_epochs(curve, metrics, larger):
    "What is reported: at the epoch that validation likes best by the first metric, and for every metric at the epoch that the test likes best."
    best = max if larger else min
    at = best(range(len(curve)), key=lambda e: curve[e][0][metrics[0]])
    tops = {m: best(range(len(curve)), key=lambda e: curve[e][1][m]) for m in metrics}
    return {"epoch chosen on validation": ({m: curve[at][1][m] for m in metrics}, [at + 1]), "epoch chosen on the test": ({m: curve[e][1][m] for m, e in tops.items()}, [e + 1 for e in tops.values()])}

def epochs_record(name, seeds=10, inits=5):
    "What a published table gains when the epoch is chosen on the test: ratings of new people over ten splits, rankings over five starts on the last row of everybody."
    ratings, rows = load("douban_book_music"), []
    def keep(part, seed, split, curve, metrics, larger):
        for model, (values, at) in chosen_epochs(curve, metrics, larger).items():
            rows.append({"model": model, "part": part, "seed": seed, "fingerprint": split.fingerprint, "metrics": values, "epochs": at})
        show(f"{part}, {seed}: {rows[-2]['metrics']} {rows[-1]['metrics']}")
    for heading, pair in (("books to music", ratings), ("music to books", ratings.swap())):
        for seed in range(seeds):
            split = cold_start_split(pair, test=0.2, valid=0.1, seed=seed)
            keep(f"ratings of new people, {heading}", seed, split, bridge_curve(split, seed), ("rmse", "mae"), False)
    for heading, pair in (("music", ratings), ("books", ratings.swap())):
        split = leave_one_out_split(DomainPair(pair.source.binarize(1), pair.target.binarize(1)), order="given")
        for seed in range(inits): keep(f"last row of everybody, {heading}", seed, split, pairs_curve(split, seed), ("sampled hit@10", "sampled ndcg@10"), True)
    return field_record(name, [], [], checksums("douban_book_music"), f"python tools/records.py --only {name}", {"seeds": seeds, "starts": inits, "negatives": 99}) | {"results": rows}

# --- everything ------------------------------------------------------------------------------------------------------------

def douban_people(name):
    "Chapter 06: how far two baselines are apart, and how many people it takes to see it."
    pair = DomainPair(*(side.binarize(LIKED).k_core(CORE, CORE) for side in (lambda p: (p.source, p.target))(load("douban_book_music"))))
    models = {"popularity": Popularity, "neighbours by books": lambda: UserKNN("source", 100)}
    return noise_record(name, pair, models, SEEDS, checksums("douban_book_music"), f"python tools/records.py --only {name}", {"rating from": LIKED, "core": CORE})

def books_to_music(name): return ratings_record(load("douban_book_music"), name, data=checksums("douban_book_music"), command=f"python tools/records.py --only {name}")
def music_to_books(name): return ratings_record(load("douban_book_music").swap(), name, data=checksums("douban_book_music"), command=f"python tools/records.py --only {name}")

def choices(name, swapped):
    "A pair of ratings as choices, cleaned as for the field records."
    pair = load(name).swap() if swapped else load(name)
    return without_twins(DomainPair(*(side.binarize(LIKED).k_core(CORE, CORE) for side in (pair.source, pair.target))))[0]

def alignment_anchors(name, swapped): return anchors_record(choices("douban_book_music", swapped), name, data=checksums("douban_book_music"), command=f"python tools/records.py --only {name}")
def tuned_baseline(name): return tuned_baseline_record(choices("amazon_books_movies", True), name, data=checksums("amazon_books_movies"))

def tuning(name, data, swapped, setting):
    return finetuning_record(choices(data, swapped), name, setting, data=checksums(data), command=f"python tools/records.py --only {name}", progress=lambda line: print(line, flush=True))

def popularity_ties(name): return ties_record({"Douban books → music": choices("douban_book_music", False), "Amazon films → books": choices("amazon_books_movies", True)}, name, data=checksums("douban_book_music") | checksums("amazon_books_movies"))

def both_domains(name, data):
    return multitask_record(choices(data, False), name, data=checksums(data), command=f"python tools/records.py --only {name}", progress=lambda line: print(line, flush=True))

def show(line): print(line, flush=True)

def arts_and_office(core):
    "Choices of arts and office with so many rows for every person and item, and no product twice; their texts."
    pair = without_twins(load("urllm_arts_office"))[0]
    return DomainPair(*(side.k_core(core, core) for side in (pair.source, pair.target))), ItemTexts.from_frame(item_texts("urllm_arts_office", ("title",)))

def text_transfer(name): return text_transfer_record(*arts_and_office(7), name, data=checksums("urllm_arts_office"), progress=show)
def tuning_encoder(name): return tuning_record(*arts_and_office(7), name, data=checksums("urllm_arts_office"), progress=show)

def unseen_books(name):
    "Films rated from 4 and books rated from 7 as choices; readers and books with at least ten."
    films, books = load("ml-100k").binarize(4).k_core(5, 5), load("bookcrossing").binarize(7).k_core(10, 10)
    films, books = (Interactions.from_frame(side.frame[["user_id", "item_id"]].assign(user_id=f"{kind} " + side.frame["user_id"].astype(str)), name=side.name) for kind, side in (("viewer", films), ("reader", books)))
    texts = ItemTexts.from_frames(item_texts("ml-100k", ("title", "genres")), item_texts("bookcrossing", ("title", "author")))
    return unseen_domain_record(DomainPair(films, books), texts, name, data=checksums("ml-100k") | checksums("bookcrossing"), progress=show)

BRIDGE_SEEDS = 3      # splits of arts and office in chapter 19: all those of the field records
DRAWS = 3             # of the people of films to books, in chapters 18 and 19

def text_bridge(name, pair_name):
    "Chapter 19, on the splits of the field records: arts and office, everybody shared and nobody."
    data, splits, _ = random_splits(pair_name, "cold", "ranking")
    frame, train = item_texts(data), splits[0].train
    texts, titles = (ItemTexts.from_frame(frame, train.source.name, train.target.name, text=t) for t in ("text", "title"))
    return bridge_record(name, splits[:BRIDGE_SEEDS], texts, titles, load_encoder("packaged", device="cpu"), data=checksums(data), progress=lambda line: print(line, flush=True))

def text_films_to_books(name):
    "Chapter 19: MovieLens to Book-Crossing, readers who stand in as viewers, nobody shared in training."
    draws = [films_to_books(seed) for seed in range(DRAWS)]
    (split, texts, titles), train = draws[0], draws[0][0].train
    record = bridge_record(name, [s for s, _, _ in draws], texts, titles, load_encoder("packaged", device="cpu"), ("nobody",), data=checksums("ml-1m") | checksums("bookcrossing"), progress=lambda line: print(line, flush=True))
    held = {u for part in (split.test, split.valid) for u in part.users[np.unique(part.user_codes)]} | set(train.shared_users)
    record["settings"] |= {"films": train.source.n_items, "books": train.target.n_items, "stand-ins": len(held), "same titles in the two tables": len(same_titles(titles))}
    return record

def graph_films_to_books(name):
    "Chapter 18: the splits and the words of chapter 19, as nodes of an interest graph; and eight topics made from them."
    draws = [films_to_books(seed) for seed in range(DRAWS)]
    source, target = draws[0][1].align(draws[0][0].train)
    vectors = LSA(64).encode(target + source).double()
    likeness = (vectors @ kmeans(vectors, 8).centres.T).clamp_min(0).numpy() ** 2
    topics = likeness / np.maximum(likeness.sum(1, keepdims=True), 1e-12)
    return strangers_record(name, [nobody_shared(split, split.seed or 0) for split, _, _ in draws], {"topics": sparse.csr_array(topics), "words": tfidf(target + source)[0]}, data=checksums("ml-1m") | checksums("bookcrossing"), progress=show)

def office_portraits(name): return office_portraits_record(random_splits("amazon_arts_office", "cold", "ranking")[1], progress=lambda line: print(line, flush=True))
def of_pairs(pairs): return {heading: choices(*where) for heading, where in pairs.items()}, {k: v for data in {d for d, _ in pairs.values()} for k, v in checksums(data).items()}

def lines(name):
    "Where a long record keeps its finished cells, to be taken up again after an interrupt."
    return Path(tempfile.gettempdir()) / f"interest_book_{name}.jsonl"

def phase(name): return phase_record(name, path=lines(name), command=f"python tools/records.py --only {name}")

def thinning(name, pairs):
    pairs, data = of_pairs(pairs)
    return thinning_record(pairs, name, path=lines(name), data=data, command=f"python tools/records.py --only {name}")

def blends(name, pairs):
    pairs, data = of_pairs(pairs)
    return blend_record(pairs, name, data=data, command=f"python tools/records.py --only {name}", progress=lambda line: print(line, flush=True))

def sizes(name):
    "Every method of a field record with the settings chosen on its first split, fitted once on that split."
    makers, splits = {}, {}
    for setting in ("cold", "warm"):
        found, chosen = random_splits("amazon_movies_books", setting, "ranking")[1], json.loads((ROOT / "nbs" / "records" / f"field_amazon_movies_books_{setting}_ranking.json").read_text())["settings"]["chosen"]["1"]
        splits[setting], makers[setting] = found[0], {m: grid[chosen[m]] for m, grid in families("ranking", setting).items() if chosen.get(m) in grid}
    return size_record(makers, splits, name, checksums("amazon_books_movies"), f"python tools/records.py --only {name}")

CHAPTERS = {"03_data_facts": (data_record,), "04_twin_audit": (field_audit,), "04_twin_pairs": (field_pairs,), "05_sampled": (sampled_ranking_record,),
            "06_douban_people": (douban_people, "06_douban_people"), "08_ml100k": (ml100k_record,), "08_ml1m_strong": (ml1m_record, "strong"), "08_ml1m_weak": (ml1m_record, "weak"),
            "10_douban_cold_ratings_books_to_music": (books_to_music, "10_douban_cold_ratings_books_to_music"),
            "10_douban_cold_ratings_music_to_books": (music_to_books, "10_douban_cold_ratings_music_to_books"),
            "09_ml100k": (ml100k_mf_record,), "09_ml1m_strong": (ml1m_als_record, "strong"), "09_ml1m_weak": (ml1m_als_record, "weak", range(5)), "09_ml1m_pairs": (ml1m_als_record, "pairs", range(2)),
            "11_worlds": (worlds_record,), "11_tuned_baseline": (tuned_baseline, "11_tuned_baseline"),
            "12_douban_anchors_books_to_music": (alignment_anchors, "12_douban_anchors_books_to_music", False), "12_douban_anchors_music_to_books": (alignment_anchors, "12_douban_anchors_music_to_books", True),
            **{f"13_{pair}_{setting}": (tuning, f"13_{pair}_{setting}", data, swapped, setting)
               for pair, data, swapped in (("douban_books_to_music", "douban_book_music", False), ("amazon_movies_to_books", "amazon_books_movies", True)) for setting in ("cold", "warm")},
            "13_ties": (popularity_ties, "13_ties"),
            "14_worlds": (sharing_record,),
            "15_ml1m_strong": (ml1m_vae_record, "strong", (0, 1)), "15_ml1m_steps": (ml1m_vae_record, "steps", (0,)),
            "16_worlds": (cross_worlds_record,), "17_movielens_bookcrossing": (bookcrossing_record,), "17_distillation": (distillation_record,),
            "18_worlds": (graph_worlds_record,), "18_ml1m_weak": (ml1m_graph_record,), "18_movielens_bookcrossing": (graph_films_to_books, "18_movielens_bookcrossing"),
            "20_facts": (lambda: facts_record(progress=show),), "20_arts_office": (text_transfer, "20_arts_office"), "20_tuning": (tuning_encoder, "20_tuning"), "20_unseen_domain": (unseen_books, "20_unseen_domain"),
            "19_arts_office_cold": (text_bridge, "19_arts_office_cold", "amazon_arts_office"), "19_office_arts_cold": (text_bridge, "19_office_arts_cold", "amazon_office_arts"),
            "19_movielens_bookcrossing": (text_films_to_books, "19_movielens_bookcrossing"), "19_worlds": (text_worlds_record,), "19_encoder": (encoder_record,), "19_speed": (speed_record,),
            "21_movielens": (movielens_portraits_record,), "21_arts_office": (office_portraits, "21_arts_office"),
            "27_phase": (phase, "27_phase"), "27_growth": (lambda: growth_record(command="python tools/records.py --only 27_growth"),), "27_sizes": (sizes, "27_sizes"),
            "27_thinning_amazon": (thinning, "27_thinning_amazon", {"Amazon films → books": ("amazon_books_movies", True)}), "27_thinning_douban": (thinning, "27_thinning_douban", {"Douban books → music": ("douban_book_music", False)}),
            "27_blend_amazon": (blends, "27_blend_amazon", {"Amazon films → books": ("amazon_books_movies", True), "Amazon books → films": ("amazon_books_movies", False)}),
            "27_blend_douban": (blends, "27_blend_douban", {"Douban books → music": ("douban_book_music", False), "Douban music → books": ("douban_book_music", True)}),
            "27_published_douban_music": (douban_last_row, "27_published_douban_music", False), "27_published_douban_books": (douban_last_row, "27_published_douban_books", True),
            "27_published_epochs": (epochs_record, "27_published_epochs"), "27_published_beauty": (beauty_electronics, "27_published_beauty", "beauty"), "27_published_electronics": (beauty_electronics, "27_published_electronics", "electronics"),
            "14_both_domains_douban": (both_domains, "14_both_domains_douban", "douban_book_music"), "14_both_domains_amazon": (both_domains, "14_both_domains_amazon", "amazon_books_movies")}

EXPERIMENTS = {**{f"field_{p}_{s}_{t}": (random_record, p, s, t) for p in PAIRS for t, s in (("rating", "cold"), ("rating", "warm"), ("ranking", "cold"), ("ranking", "warm")) if t == "ranking" or p in RATED},
               **{f"published_{d}_{t}": (published_record, d, t) for d in ("cdrib_sport_cloth", "disencdr_sport_cloth") for t in ("sport", "cloth")},
               **CHAPTERS}

def compute(name):
    torch.set_num_threads(1)
    start = time.time()
    function, *args = EXPERIMENTS[name]
    write_record(name, function(*args))
    lines(name).unlink(missing_ok=True)
    return time.time() - start

def alike(a, b): return abs(a - b) <= 1e-6 + 1e-3 * abs(b)

def differences(a, b, path=""):
    "Where two records differ by more than a rounding; times and versions are left out."
    if isinstance(a, dict) and isinstance(b, dict):
        for k in a.keys() | b.keys():
            if k in ("versions", "cpu_s", "seconds"): continue
            if k not in a or k not in b: yield f"{path}/{k}: only in one"
            else: yield from differences(a[k], b[k], f"{path}/{k}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)): yield from differences(x, y, f"{path}/{i}")
    elif isinstance(a, float) and isinstance(b, float):
        if not alike(a, b): yield f"{path}: {a:.6g} and {b:.6g}"
    elif a != b: yield f"{path}: {a!r} and {b!r}"

def picture():
    "The figure of the README, from the records alone."
    import matplotlib; matplotlib.use("agg")
    import matplotlib.pyplot as plt
    folder = Path(os.environ["INTEREST_BOOK_RECORDS"])
    shown = [("amazon_movies_books", "films → books"), ("amazon_books_movies", "books → films"), ("amazon_electronics_beauty", "electronics → beauty"), ("amazon_beauty_electronics", "beauty → electronics"),
             ("amazon_office_arts", "office → arts"), ("amazon_arts_office", "arts → office"), ("douban_music_book", "music → books (Douban)"), ("douban_book_music", "books → music (Douban)")]
    marks = {"EMCDR": ("#0072B2", "o"), "user kNN, source": ("#E69F00", "s"), "joint EASE": ("#D55E00", "^")}
    fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for row, (pair, _) in enumerate(shown):
        found = {c["model"]: c for c in json.loads((folder / f"field_{pair}_cold_ranking.json").read_text())["comparisons"] if c["metric"] == "ndcg@10" and c["baseline"] == "popularity"}
        for i, (model, (color, marker)) in enumerate(marks.items()):
            c, y = found[model], row + 0.22 * (1 - i)
            ax.errorbar(c["difference"], y, xerr=[[c["difference"] - c["low"]], [c["high"] - c["difference"]]], fmt=marker, color=color, capsize=3, label=model if row == 0 else None)
    ax.axvline(0, color="black", linewidth=1)
    ax.text(0, len(shown) - 0.42, "popularity", ha="center", va="bottom", fontsize=9)
    ax.set_yticks(range(len(shown)), [label for _, label in shown]); ax.set_ylim(-0.5, len(shown) - 0.4)
    ax.set_xlabel("gain in NDCG@10 over popularity, people new to the target domain"); ax.spines[["top", "right"]].set_visible(False); ax.grid(axis="x", alpha=0.3)
    ax.legend(frameon=False, loc="upper right")
    fig.savefig(ROOT / "docs" / "_static" / "cold_start.png", dpi=160, metadata={"Software": None})

def carry_map():
    "The points of the map of chapter 27, from the records into the package: whoever installs it has no records."
    lines = ",\n".join(json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in p.items()}, ensure_ascii=False) for p in map_points().to_dict("records"))
    with atomic_write(ROOT / "interest_book" / "map_points.json") as f: f.write(f"[\n{lines}\n]\n")

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--jobs", type=int, default=2); ap.add_argument("--only", nargs="+", default=[""], metavar="PREFIX"); ap.add_argument("--list", action="store_true"); ap.add_argument("--check", action="store_true"); ap.add_argument("--add", action="store_true"); ap.add_argument("--anew", nargs="+", default=[], metavar="METHOD"); ap.add_argument("--picture", action="store_true", help="only draw the figure of the README from the records"); ap.add_argument("--map", action="store_true", help="only carry the points of the map from the records into the package")
    args = ap.parse_args()
    if args.picture: return picture()
    if args.map: return carry_map()
    names = [n for n in EXPERIMENTS if n.startswith(tuple(args.only))]
    if args.list: return print("\n".join(EXPERIMENTS))
    if not names: sys.exit(f"no experiment begins with {args.only!r}; there are:\n" + "\n".join(EXPERIMENTS))
    committed = Path(os.environ["INTEREST_BOOK_RECORDS"])
    if args.check: os.environ["INTEREST_BOOK_RECORDS"] = tempfile.mkdtemp()
    if args.add: os.environ |= {"INTEREST_BOOK_ADD": "1", "INTEREST_BOOK_ANEW": json.dumps(args.anew)}
    bad = 0
    with ProcessPoolExecutor(args.jobs) as pool:
        waiting = {pool.submit(compute, n): n for n in names}
        for i, done in enumerate(as_completed(waiting), 1):
            name = waiting[done]
            try: print(f"[{i}/{len(names)}] {name}: {done.result():.0f} s", flush=True)
            except Exception as e:
                bad += 1; print(f"[{i}/{len(names)}] {name}: {type(e).__name__}: {e}", flush=True); continue
            if args.check:
                new, old = (json.loads((Path(p) / f"{name}.json").read_text()) for p in (os.environ["INTEREST_BOOK_RECORDS"], committed))
                found = list(differences(old, new)); bad += bool(found)
                print("    equal to the committed record" if not found else "\n".join(f"    {d}" for d in found[:10]))
    if not args.check and not bad and all((committed / f"field_{p}_cold_ranking.json").is_file() for p in RATED): picture()
    if not args.check and not bad and any(n.startswith(("27_phase", "27_thinning")) for n in names): carry_map()
    sys.exit(bool(bad))

if __name__ == "__main__": main()
