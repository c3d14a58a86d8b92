"""Chapter 05: hand-made cases, properties, three independent libraries, bad input."""
import itertools, json, math, os, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sk

from interest_book import metrics as M
from interest_book.core import DataError, ShapeError, UnavailableError, read_record, rng

NAMES = ["precision", "recall", "capped_recall", "f1", "hit", "ndcg", "mrr", "map"]
few = settings(max_examples=20, deadline=None)


def crowd(n=50, m=80, density=0.1, seed=0, ties=False):
    "Scores (n, m) float64, relevance CSR, seen CSR (never relevant)."
    g = np.random.default_rng(seed)
    scores = g.standard_normal((n, m))
    u = g.random((n, m))
    return torch.from_numpy(np.round(scores) if ties else scores), sp.csr_array((u < density).astype(np.float32)), sp.csr_array((u > 0.9).astype(np.float32))


def by_hand(scores, relevant, seen, k):
    "Every metric at k for one user, as plainly as possible; position breaks ties."
    order = sorted((j for j in range(len(scores)) if not seen[j]), key=lambda j: (-scores[j], j))[:k]
    h, R = [int(relevant[j]) for j in order] + [0] * (k - len(order)), int(relevant.sum())
    if R == 0: return {n: math.nan for n in NAMES}
    at = [sum(h[:i + 1]) / (i + 1) for i in range(k) if h[i]]
    gain = lambda h: sum(x / math.log2(i + 2) for i, x in enumerate(h))
    p, r = sum(h) / k, sum(h) / R
    return {"precision": p, "recall": r, "capped_recall": sum(h) / min(k, R), "f1": 2 * p * r / (p + r) if p + r else 0.0, "hit": float(any(h)),
            "ndcg": gain(h) / gain([1] * min(k, R)), "mrr": next((1 / (i + 1) for i, x in enumerate(h) if x), 0.0), "map": sum(at) / min(k, R)}


# --- exact on hand-made cases ----------------------------------------------------------------------------------------

def test_flo():
    scores, relevant = torch.tensor([[4.5, 3.0, 3.5, 2.0]]), np.array([[1, 1, 0, 0]])
    got = M.ranking_metrics(scores, relevant, [f"{n}@3" for n in NAMES] + ["recall@1", "capped_recall@1", "auc"])
    want = [2 / 3, 1, 1, 4 / 5, 1, (1 + 1 / 2) / (1 + 1 / math.log2(3)), 1, 5 / 6, 1 / 2, 1, 3 / 4]
    assert [float(v) for v in got.values()] == pytest.approx(want, rel=1e-12)
    assert list(got)[:2] == ["precision@3", "recall@3"] and all(v.shape == (1,) for v in got.values())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 3, 10, 80])
def test_equals_the_plain_loop(k, ties):
    scores, relevant, seen = crowd(ties=ties)
    got = M.ranking_metrics(scores, relevant, [f"{n}@{k}" for n in NAMES], seen=seen)
    rows = [by_hand(s, r, x, k) for s, r, x in zip(scores.numpy(), relevant.toarray(), seen.toarray())]
    for name in NAMES: np.testing.assert_allclose(got[f"{name}@{k}"], [row[name] for row in rows], rtol=1e-12, equal_nan=True)


def test_user_with_nothing_relevant_is_nan_everywhere():
    got = M.ranking_metrics(torch.rand(2, 9), np.eye(2, 9) * [[1], [0]], [f"{n}@4" for n in NAMES] + ["auc"])
    assert all(v[0].isfinite() and v[1].isnan() for v in got.values())


def test_no_users_and_one_item():
    assert all(v.shape == (0,) for v in M.ranking_metrics(torch.zeros(0, 5), np.zeros((0, 5)), ["ndcg@2", "auc"]).values())
    one = M.ranking_metrics(torch.ones(1, 1), np.ones((1, 1)), ["ndcg@1", "auc"])
    assert float(one["ndcg@1"]) == 1 and one["auc"].isnan().all()      # nothing to compare with


def test_short_lists_keep_the_denominator():
    got = M.ranking_metrics(torch.tensor([[0.2, 0.9, 0.8, 0.5]]), np.array([[1, 0, 0, 0]]), ["precision@3", "mrr@3"], seen=np.array([[0, 1, 1, 0]]))
    assert float(got["precision@3"]) == pytest.approx(1 / 3) and float(got["mrr@3"]) == 0.5


def test_three_maps_differ():
    h, R = torch.tensor([[1, 1, 1, 0, 1, 0, 0, 0, 0, 0.0]], dtype=torch.float64), torch.tensor([40.0], dtype=torch.float64)
    assert float(M.average_precision(h, R)) == pytest.approx((1 + 1 + 1 + 4 / 5) / 10)


# --- the list --------------------------------------------------------------------------------------------------------

def stable(s, k): return np.argsort(-np.asarray(s), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("k", [1, 10, 50])
@pytest.mark.parametrize("kind", ["normal", "few values", "constant", "sparse", "clipped", "negative zero"])
def test_top_k_breaks_ties_by_position(kind, k):
    g = np.random.default_rng(1)
    s = g.standard_normal((120, 2500)).astype(np.float32)
    s = {"normal": s, "few values": np.round(2 * s), "constant": 0 * s, "sparse": np.where(s > 2.5, s, 0), "clipped": np.minimum(s, 1.5), "negative zero": np.where(s > 0, 0.0, -0.0)}[kind].astype(np.float32)
    for scores in (torch.from_numpy(s), torch.from_numpy(s).double(), torch.from_numpy(np.asfortranarray(s))): assert (M.top_k(scores, k).numpy() == stable(s, k)).all()
    assert (M._top_k_torch(torch.from_numpy(s), k).numpy() == stable(s, k)).all()          # the path a GPU takes
    assert (M._top_k_exact(s, k) == stable(s, k)).all()


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 6), st.sampled_from([2, 5, 1000]))
@few
def test_top_k_on_any_small_input(seed, m, n, values):
    g = np.random.default_rng(seed)
    s = g.integers(0, values, (n, m)).astype(np.float64)
    k = int(g.integers(1, m + 1))
    assert (M.top_k(torch.from_numpy(s), k).numpy() == stable(s, k)).all()


@pytest.mark.parametrize("n_items", [40, 3000])
def test_masked_items_never_appear(n_items):
    scores, _, seen = crowd(60, n_items, ties=True)
    dense = seen.toarray()
    dense[:5, 3:] = 1                                       # five users with at most three candidates left
    seen = sp.csr_array(dense)
    lists = M.top_k(scores, 40, seen=seen)
    shown = lists >= 0
    masked = np.where(seen.toarray() > 0, -np.inf, scores.numpy())
    want = stable(masked, 40)
    assert (lists.numpy() == np.where(np.take_along_axis(masked, want, 1) == -np.inf, -1, want)).all()     # the best of what is left, in order
    assert not seen.toarray()[np.nonzero(shown.numpy())[0], lists[shown].numpy()].any()
    assert (shown.sum(1).numpy() == np.minimum(40, n_items - seen.sum(1))).all()
    assert all(len(set(row[row >= 0].tolist())) == int((row >= 0).sum()) for row in lists)


def test_scores_are_not_changed_and_infinity_is_a_score():
    scores, relevant, seen = crowd()
    before = scores.clone()
    M.ranking_metrics(scores, relevant, ["ndcg@5", "auc"], seen=seen); M.ranks(scores, relevant, seen)
    assert torch.equal(scores, before)
    assert M.top_k(torch.tensor([[-torch.inf, 0.0, torch.inf]]), 3).tolist() == [[2, 1, -1]]


def test_auc_of_items_at_minus_infinity():
    "A model may refuse to score a candidate; seen items, which also stand at -inf inside, must not be counted as beaten or tied."
    scores, seen = torch.tensor([[-torch.inf, 1, 2, 0], [-torch.inf, -torch.inf, 2, 0]]), np.array([[0, 0, 0, 1], [0, 0, 0, 1]])
    assert M.auc(scores, np.array([[1, 0, 0, 0]] * 2), seen).tolist() == [0, 0.25]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_any_number_type(dtype):
    scores = (torch.rand(30, 40) * 9).to(dtype)
    assert (M.top_k(scores, 7).numpy() == stable(scores.double(), 7)).all()


def test_gradients_are_not_needed():
    assert M.top_k(torch.rand(3, 5, requires_grad=True), 2).shape == (3, 2)


# --- properties ------------------------------------------------------------------------------------------------------

ALL = [f"{n}@7" for n in NAMES] + ["auc"]
seeds = st.integers(0, 10**6)


@given(seeds, st.booleans())
@few
def test_ranges_and_orders(seed, ties):
    scores, relevant, seen = crowd(20, 30, 0.2, seed, ties)
    got = {n: v[~v.isnan()] for n, v in M.ranking_metrics(scores, relevant, ALL, seen).items()}
    assert all(((v >= 0) & (v <= 1 + 1e-12)).all() for v in got.values())
    for name in NAMES: assert (got[f"{name}@7"] <= got["hit@7"] + 1e-12).all()
    assert (got["recall@7"] <= got["capped_recall@7"]).all() and (got["mrr@7"] >= got["hit@7"] / 7 - 1e-12).all()


@given(seeds, st.sampled_from([lambda s: 3 * s + 7, torch.exp, torch.atan, lambda s: s**3]))
@few
def test_monotone_transformations_change_nothing(seed, f):
    scores, relevant, seen = crowd(15, 30, 0.2, seed)
    a, b = (M.ranking_metrics(s, relevant, ALL, seen) for s in (scores, f(scores)))
    for n in ALL: torch.testing.assert_close(a[n], b[n], equal_nan=True, rtol=0, atol=0)


@given(seeds)
@few
def test_permuting_items_changes_nothing_without_ties(seed):
    scores, relevant, seen = crowd(15, 30, 0.2, seed)
    p = np.random.default_rng(seed).permutation(30)
    a, b = M.ranking_metrics(scores, relevant, ALL, seen), M.ranking_metrics(scores[:, p], relevant[:, p], ALL, seen[:, p])
    for n in ALL: torch.testing.assert_close(a[n], b[n], equal_nan=True)


@given(seeds, st.booleans())
@few
def test_users_do_not_see_each_other(seed, ties):
    scores, relevant, seen = crowd(17, 30, 0.2, seed, ties)
    whole = M.ranking_metrics(scores, relevant, ALL, seen)
    parts = [M.ranking_metrics(scores[a:b], relevant[a:b], ALL, seen[a:b]) for a, b in [(0, 1), (1, 9), (9, 17)]]
    for n in ALL: torch.testing.assert_close(torch.cat([p[n] for p in parts]), whole[n], equal_nan=True, rtol=1e-12, atol=1e-12)      # sums of one row may be added in another order


def test_block_size_plays_no_part(monkeypatch):
    scores, relevant, seen = crowd(60, 1200, 0.02, ties=True)
    whole, order = M.ranking_metrics(scores, relevant, ALL, seen), M.ranks(scores, relevant, seen)
    monkeypatch.setattr(M, "_BLOCK", 2500)
    for n, v in M.ranking_metrics(scores, relevant, ALL, seen).items(): torch.testing.assert_close(v, whole[n], equal_nan=True, rtol=0, atol=0)
    assert torch.equal(M.ranks(scores, relevant, seen), order)


@given(seeds, st.integers(1, 12))
@few
def test_one_exactly_for_ideal_lists(seed, k):
    scores, relevant, _ = crowd(12, 20, 0.25, seed)
    got = M.ranking_metrics(scores, relevant, [f"ndcg@{k}", f"map@{k}", f"capped_recall@{k}", "auc"])
    best = M.ranking_metrics(torch.from_numpy(relevant.toarray()) * 10 + scores.clamp(-4, 4), relevant, list(got))
    have = torch.from_numpy(np.diff(relevant.indptr)) > 0
    for v in best.values(): torch.testing.assert_close(v[have], torch.ones_like(v[have]))
    dense = relevant.toarray()
    ideal = torch.tensor([bool(r[t].sum() == min(k, r.sum())) and bool(r[t[:int(min(k, r.sum()))]].all()) for r, t in zip(dense, stable(scores, k))])
    for n in (f"ndcg@{k}", f"map@{k}"): assert torch.equal((got[n][have] > 1 - 1e-9), ideal[have])


@given(seeds)
@few
def test_longer_lists_keep_their_hits(seed):
    scores, relevant, _ = crowd(10, 25, 0.2, seed)
    for kind in ("recall", "hit", "mrr"):
        v = torch.stack(list(M.ranking_metrics(scores, relevant, [f"{kind}@{k}" for k in range(1, 26)]).values())).nan_to_num()
        assert (v.diff(dim=0) >= -1e-12).all()


def test_random_order_expectations_by_enumeration():
    orders = torch.tensor(list(itertools.permutations(range(5)))).double()
    relevant = np.tile([1, 0, 1, 0, 0], (len(orders), 1))
    d = 1 / np.log2(np.arange(2, 5))
    got = M.ranking_metrics(orders, relevant, ["precision@3", "recall@3", "hit@3", "ndcg@3", "auc", "map@3"])
    ap = 2 / (5 * 2) * sum((1 + (i - 1) / 4) / i for i in (1, 2, 3))
    want = [2 / 5, 3 / 5, 1 - math.comb(3, 3) / math.comb(5, 3), 2 / 5 * d.sum() / d[:2].sum(), 1 / 2, ap]
    assert [float(v.mean()) for v in got.values()] == pytest.approx(want, rel=1e-12)


# --- other libraries -------------------------------------------------------------------------------------------------

def test_agrees_with_scikit_learn():
    scores, relevant, _ = crowd(40, 60, 0.15)
    coarse = scores.round()
    keep = [u for u in range(40) if 0 < relevant[[u]].sum() < 60]
    np.testing.assert_allclose(M.auc(coarse, relevant)[keep], [sk.roc_auc_score(relevant[[u]].toarray()[0], coarse[u]) for u in keep], rtol=1e-12)
    np.testing.assert_allclose(M.ranking_metrics(scores, relevant, ["ndcg@10"])["ndcg@10"][keep], [sk.ndcg_score(relevant[[u]].toarray(), scores[[u]], k=10) for u in keep], rtol=1e-12)
    np.testing.assert_allclose(M.ranking_metrics(scores, relevant, ["map@60"])["map@60"][keep], [sk.average_precision_score(relevant[[u]].toarray()[0], scores[u]) for u in keep], rtol=1e-12)
    p, a = scores[0], scores[1]
    assert M.rating_errors(p, a) == pytest.approx({"rmse": sk.root_mean_squared_error(a, p), "mae": sk.mean_absolute_error(a, p)})
    assert M.accuracy(coarse[0], coarse[1]) == pytest.approx(sk.accuracy_score(coarse[1].long(), coarse[0].long()))


def test_agrees_with_torchmetrics():
    from torchmetrics.functional import retrieval as tm
    scores, relevant, _ = crowd(25, 40, 0.2)
    names = {"precision@8": tm.retrieval_precision, "recall@8": tm.retrieval_recall, "hit@8": tm.retrieval_hit_rate, "ndcg@8": tm.retrieval_normalized_dcg, "mrr@8": tm.retrieval_reciprocal_rank}
    got = M.ranking_metrics(scores, relevant, list(names))
    for n, f in names.items():
        theirs = [float(f(s, torch.tensor(r).bool(), top_k=8)) for s, r in zip(scores.float(), relevant.toarray())]
        np.testing.assert_allclose(got[n].nan_to_num(), theirs, atol=1e-6)


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
data = json.load(sys.stdin)
print(json.dumps({k: float(v) for k, v in evaluate(Qrels(data["qrels"]), Run(data["run"]), data["metrics"], make_comparable=True).items()}))
"""

def test_agrees_with_ranx():
    "In a process of its own with compilation off: compiling ranx takes minutes, running it milliseconds."
    scores, relevant, _ = crowd(25, 40, 0.2)
    keep = [u for u in range(25) if relevant[[u]].sum() > 0]
    data = {"qrels": {f"u{u}": {f"i{j}": 1 for j in relevant[[u]].indices} for u in keep}, "run": {f"u{u}": {f"i{j}": float(x) for j, x in enumerate(scores[u])} for u in keep},
            "metrics": ["precision@6", "recall@6", "f1@6", "hit_rate@6", "mrr@6", "map@6", "ndcg@6"]}
    done = subprocess.run([sys.executable, "-c", RANX], input=json.dumps(data), capture_output=True, text=True, env=os.environ | {"NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    got = {n: v[keep] for n, v in M.ranking_metrics(scores, relevant, [f"{n}@6" for n in NAMES]).items()}
    got["hit_rate@6"] = got["hit@6"]
    n_relevant = torch.from_numpy(np.diff(relevant.indptr))[keep]
    got["map@6"] = got["map@6"] * n_relevant.clamp(max=6) / n_relevant          # ranx divides by |rel|
    for n, v in json.loads(done.stdout.splitlines()[-1]).items(): assert float(got[n].mean()) == pytest.approx(v, abs=1e-9), n


# --- beyond accuracy, ratings ----------------------------------------------------------------------------------------

def test_coverage_and_gini_at_their_ends():
    everybody, one = torch.arange(6).view(3, 2), torch.zeros(5, 1, dtype=torch.int64)
    assert (M.coverage(everybody, 6), M.gini(everybody, 6)) == (1.0, 0.0)
    assert M.coverage(one, 4) == 0.25 and M.gini(one, 4) == pytest.approx(3 / 4)
    assert M.coverage(torch.tensor([[0, -1]]), 2) == 0.5 and math.isnan(M.gini(torch.tensor([[-1]]), 3))


@given(seeds)
@few
def test_gini_novelty_diversity_by_loops(seed):
    g = np.random.default_rng(seed)
    lists, v, pop = M.top_k(torch.from_numpy(g.random((9, 12))), 4), torch.from_numpy(g.standard_normal((12, 3))), torch.from_numpy(g.integers(0, 30, 12))
    v[3] = 0
    c = np.bincount(lists.flatten(), minlength=12)
    assert M.gini(lists, 12) == pytest.approx(np.abs(c[:, None] - c).sum() / (2 * 12 * c.sum()))
    np.testing.assert_allclose(M.novelty(lists, pop, 30), [np.mean([-np.log2(max(1, int(pop[j])) / 30) for j in row]) for row in lists])
    cosine = sk.pairwise.cosine_similarity(v)
    np.testing.assert_allclose(M.diversity(lists, v), [1 - np.mean([cosine[i, j] for i, j in itertools.combinations(row.tolist(), 2)]) for row in lists], atol=1e-12)


def test_lists_with_gaps():
    lists = torch.tensor([[1, -1, -1], [-1, -1, -1], [0, 2, -1]])
    novelty = M.novelty(lists, torch.tensor([1, 2, 4]), 4)
    assert novelty[0] == 1 and novelty[1].isnan() and novelty[2] == 1
    assert M.diversity(lists, torch.eye(3)).isnan().tolist() == [True, True, False]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30))
@few
def test_mean_wins_rmse_median_wins_mae(values):
    a = torch.tensor(values, dtype=torch.float64)
    mean, median = (M.rating_errors(c.expand(len(a)), a) for c in (a.mean(), a.median()))
    for c in torch.linspace(-6, 6, 13, dtype=torch.float64):
        other = M.rating_errors(c.expand(len(a)), a)
        assert mean["rmse"] <= other["rmse"] + 1e-12 and median["mae"] <= other["mae"] + 1e-12
    assert mean["mae"] <= mean["rmse"] + 1e-12


# --- sampled metrics -------------------------------------------------------------------------------------------------

def test_ranks_by_hand_and_auc():
    scores, relevant, seen = crowd(20, 30, 0.2, ties=True)
    got = M.ranks(scores, relevant, seen)
    dense = torch.where(torch.from_numpy(seen.toarray() > 0), -torch.inf, scores)
    rows, cols = relevant.nonzero()
    want = [1 + sum(float(x) > float(dense[u, j]) or (x == dense[u, j] and q < j) for q, x in enumerate(dense[u])) for u, j in zip(rows, cols)]
    assert got.tolist() == want
    scores, _, _ = crowd(20, 30)
    one = sp.csr_array((np.ones(20), (np.arange(20), np.arange(20))), shape=(20, 30))
    torch.testing.assert_close(1 - (M.ranks(scores, one).double() - 1) / 29, M.auc(scores, one))


@pytest.mark.parametrize("rank, want", [(11, 1), (100, 1), (500, 0.974), (1000, 0.466), (2000, 0.003)])
def test_sampled_hit_rate_of_known_ranks(rank, want):
    assert float(M.sampled_hit_rate(torch.tensor([rank]), 10_000, 99, 10)) == pytest.approx(want, abs=6e-4)


def test_sampled_closed_form_meets_real_negatives():
    "Not through the binomial: negatives are really drawn and counted."
    g, n, m = np.random.default_rng(0), 500, 60
    r = np.array([1, 4, 40, 90, 200, 500])
    drawn = np.stack([1 + (g.integers(1, n, (4000, m)) < x).sum(1) for x in r])          # the others' places 1..n-1; x-1 of them are ahead
    expected = M.sampled_hit_rate(torch.from_numpy(r), n, m, 10).numpy()
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert (np.abs((drawn <= 10).mean(1) - expected) <= 4 * error + 1e-12).all()
    ours = M.sampled_ranks(torch.from_numpy(np.repeat(r, 4000)), n, m, rng("test/sampled")).view(6, 4000).numpy()
    spread = ours.std(1) / 4000**0.5
    assert (np.abs(ours.mean(1) - 1 - m * (r - 1) / (n - 1)) <= 4 * spread + 1e-12).all() and ours.min() >= 1 and ours.max() <= m + 1


def test_order_turned_round():
    a, b = torch.tensor([5] * 100 + [9000] * 900), torch.full((1000,), 950)
    exact = [(x <= 10).double().mean() for x in (a, b)]
    sampled = [M.sampled_hit_rate(x, 10_000, 99).mean() for x in (a, b)]
    assert exact[0] > exact[1] and sampled[0] < sampled[1]


# --- impossible tables -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("table, word", [({"mrr@5": 1.0554}, "between 0 and 1"), ({"recall@20": .1046, "recall@50": .1017}, "longer list"), ({"precision@5": .3, "precision@10": .14}, "longer list"),
                                         ({"hit@10": .3, "ndcg@10": .31}, "above hit@10"), ({"hit@10": .3, "mrr@10": .02}, "below hit@10"), ({"accuracy": .82, "rmse_hard": .36}, "0.424"),
                                         ({"accuracy": .82, "rmse_soft": .7}, "between"), ({"accuracy": .82, "rmse_soft": .1}, "between"), ({"rmse": .8, "mae": .9}, "above rmse")])
def test_impossible_tables(table, word): assert len(found := M.impossible(table)) == 1 and word in found[0]


@given(seeds)
@few
def test_true_tables_are_never_called_impossible(seed):
    scores, relevant, _ = crowd(30, 25, 0.15, seed)
    table = {n: float(v.nanmean()) for n, v in M.ranking_metrics(scores, relevant, [f"{n}@{k}" for n in NAMES for k in (2, 5, 20)] + ["auc"]).items()}
    g = np.random.default_rng(seed)
    y, p = torch.from_numpy(g.integers(0, 2, 200)), torch.from_numpy(g.random(200))
    table |= {"accuracy": M.accuracy(p > 0.5, y), "rmse_soft": M.rating_errors(p, y)["rmse"], "rmse_hard": M.rating_errors(p > 0.5, y)["rmse"]} | M.rating_errors(p, y)
    for digits in (2, 3, 4): assert M.impossible({n: round(v, digits) for n, v in table.items()}, digits) == []


# --- bad input -------------------------------------------------------------------------------------------------------

good = torch.rand(3, 6)
ones = np.eye(3, 6)


@pytest.mark.parametrize("call, error, words", [
    (lambda: M.ranking_metrics(good, ones, ["ndgc@3"]), M.MetricNameError, "known are precision@k"),
    (lambda: M.ranking_metrics(good, ones, "ndcg"), M.MetricNameError, "cut-off"),
    (lambda: M.ranking_metrics(good, ones, "ndcg@2.5"), M.MetricNameError, "whole number"),
    (lambda: M.ranking_metrics(good, ones, "ndcg@0"), M.MetricNameError, ">= 1"),
    (lambda: M.ranking_metrics(good, ones, "ndcg@-4"), M.MetricNameError, ">= 1"),
    (lambda: M.ranking_metrics(good, ones, "ndcg@7"), M.MetricNameError, "catalogue of 6"),
    (lambda: M.top_k(good, 0), M.MetricNameError, ">= 1"),
    (lambda: M.top_k(good, True), M.MetricNameError, "whole number"),
    (lambda: M.top_k(good, 2.0), M.MetricNameError, "whole number"),
    (lambda: M.top_k(good[0], 2), ShapeError, "scores has shape"),
    (lambda: M.ranking_metrics(good * torch.nan, ones, "ndcg@2"), M.ScoreError, "NaN"),
    (lambda: M.auc(good * torch.nan, ones), M.ScoreError, "NaN"),
    (lambda: M.ranks(good * torch.nan, ones), M.ScoreError, "NaN"),
    (lambda: M.ranking_metrics(good, ones[:2], "ndcg@2"), ShapeError, "relevant has shape"),
    (lambda: M.ranking_metrics(good, ones.T, "ndcg@2"), ShapeError, "relevant has shape"),
    (lambda: M.ranking_metrics(good, ones, "ndcg@2", seen=ones[:, :5]), ShapeError, "seen has shape"),
    (lambda: M.ranking_metrics(good, ones * 4, "ndcg@2"), M.RelevanceError, "only 0 and 1, found 4"),
    (lambda: M.ranking_metrics(good, -ones, "ndcg@2"), M.RelevanceError, "only 0 and 1"),
    (lambda: M.ranking_metrics(good, ones * np.nan, "ndcg@2"), M.RelevanceError, "only 0 and 1"),
    (lambda: M.ranking_metrics(good, sp.coo_array((np.ones(2), ([0, 0], [1, 1])), shape=(3, 6)), "ndcg@2"), M.RelevanceError, "found 2|twice"),
    (lambda: M.ranking_metrics(good, ones, "ndcg@2", seen=ones), M.RelevanceError, "never be found"),
    (lambda: M.rating_errors([1.0, 2.0], [1.0]), ShapeError, "actual has shape"),
    (lambda: M.rating_errors([], []), M.ScoreError, "empty"),
    (lambda: M.rating_errors([np.nan], [1.0]), M.ScoreError, "NaN"),
    (lambda: M.accuracy([1], [np.inf]), M.ScoreError, "infinity"),
    (lambda: M.coverage(torch.tensor([[7]]), 6), ShapeError, "n_items=6"),
    (lambda: M.hit_table(torch.tensor([[7]]), sp.csr_array((1, 6))), ShapeError, "n_items=6"),
    (lambda: M.hit_table(torch.zeros(2, 3, dtype=torch.int64), sp.csr_array((3, 5))), ShapeError, "relevant has shape"),
    (lambda: M.sampled_hit_rate(torch.tensor([0]), 10, 5, 2), ValueError, "ranks run from 1"),
    (lambda: M.sampled_hit_rate(torch.tensor([11]), 10, 5, 2), ValueError, "ranks run from 1"),
    (lambda: M.sampled_hit_rate(torch.tensor([1]), 10, 0, 1), ValueError, "n_negatives"),
    (lambda: M.sampled_hit_rate(torch.tensor([1]), 10, 5, 9), M.MetricNameError, "larger than"),
])
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words): call()


def test_one_nan_anywhere_is_found():
    for m, at in [(50, 49), (3000, 0), (3000, 2999), (3000, 1234)]:
        scores = torch.randn(400, m); scores[399, at] = torch.nan
        with pytest.raises(M.ScoreError): M.top_k(scores, 10)


def test_relevance_may_be_sparse_dense_tensor_or_hold_zeros():
    scores, relevant, _ = crowd(10, 12)
    stored = relevant.copy(); stored.data[:3] = 0
    a = M.ranking_metrics(scores, stored, ["ndcg@4"])["ndcg@4"]
    for r in (stored.toarray(), torch.tensor(stored.toarray()), sp.coo_array(stored), stored.astype(bool), stored.tocsc()):
        torch.testing.assert_close(M.ranking_metrics(scores, r, ["ndcg@4"])["ndcg@4"], a, equal_nan=True)


# --- devices, field --------------------------------------------------------------------------------------------------

@pytest.mark.gpu
def test_gpu_agrees():
    for ties in (False, True):
        scores, relevant, seen = crowd(200, 3000, 0.02, ties=ties)
        here, there = (M.ranking_metrics(s.float(), relevant, ALL, seen) for s in (scores, scores.cuda()))
        for n in ALL: torch.testing.assert_close(there[n].cpu(), here[n], equal_nan=True)
        assert torch.equal(M.top_k(scores.cuda(), 20, seen).cpu(), M.top_k(scores, 20, seen))
        assert torch.equal(M.ranks(scores.cuda(), relevant, seen).cpu(), M.ranks(scores, relevant, seen))


def test_ease_scores_are_those_of_the_definition():
    x = sp.csr_array((np.random.default_rng(0).random((30, 20)) < 0.2).astype(np.float32))
    dense = x.toarray().astype(np.float64)
    p = np.linalg.inv(dense.T @ dense + 5 * np.eye(20))
    b = np.eye(20) - p / np.diag(p)
    unseen = dense[7:11] == 0
    np.testing.assert_allclose(M._ease_scorer(x, 5.0)(np.arange(7, 11)).numpy()[unseen], (dense[7:11] @ b)[unseen], atol=1e-5)


def test_sampled_field_study_on_a_small_table():
    g = np.random.default_rng(3)
    x = sp.csr_array((g.random((60, 40)) < 0.15).astype(np.float32))
    users = np.arange(60)
    items = np.array([g.choice(np.flatnonzero(x[[u]].toarray()[0] == 0)) for u in users])
    found = M.sampled_ranking_field(x, users, items, 30, range(20), 5.0)
    for r in found.values():
        assert r["full"].shape == (60,) and r["sampled"].shape == (20, 60) and (r["sampled"] <= 31).all() and (r["full"] <= r["candidates"]).all()
        expected = M.sampled_hit_rate(r["full"], r["candidates"], 30, 5)
        assert abs(float((r["sampled"] <= 5).double().mean() - expected.mean())) < 4 * float((expected * (1 - expected)).mean() / 1200) ** 0.5


def test_field_function_says_what_is_missing(tmp_path):
    with pytest.raises(UnavailableError, match="INTEREST_BOOK_DATA"): M.sampled_ranking_record(tmp_path)


def test_record_shows_the_order_turned_round(monkeypatch):
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(Path(__file__).resolve().parent.parent / "nbs" / "records"))
    differences = {c["metric"]: c for c in read_record("05_sampled")["comparisons"]}
    assert differences["hit@10 full, cloth"]["low"] > 0 > differences["hit@10 sampled, cloth"]["high"]


@pytest.mark.field
def test_popularity_of_the_record_is_reproduced(monkeypatch):
    "The cheap half of the record: popularity on full ranking, straight from the file."
    import pandas as pd
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(Path(__file__).resolve().parent.parent / "nbs" / "records"))
    frame = pd.read_parquet(Path(os.environ["INTEREST_BOOK_DATA"]) / "disencdr_sport_cloth" / "interactions.parquet").query("domain == 'cloth'")
    train, test = frame[frame.split == "train"], frame[frame.split == "test"].head(2000)
    x = sp.csr_array((np.ones(len(train)), (train.user_id, train.item_id)), shape=(frame.user_id.max() + 1, frame.item_id.max() + 1))
    x.sum_duplicates(); x.data[:] = 1
    pop = torch.from_numpy(np.asarray(x.sum(0), np.float32))
    hits = [float(M.ranking_metrics(pop[None], sp.csr_array((np.ones(1), ([0], [i])), shape=(1, x.shape[1])), "hit@10", seen=x[[u]])["hit@10"]) for u, i in zip(test.user_id[:200], test.item_id[:200])]
    rows = sp.csr_array((np.ones(len(test)), (np.arange(len(test)), test.item_id)), shape=(len(test), x.shape[1]))
    whole = M.ranking_metrics(pop.expand(len(test), -1), rows, "hit@10", seen=x[test.user_id.to_numpy()])["hit@10"]
    assert whole[:200].tolist() == hits
    recorded = next(r for r in read_record("05_sampled")["results"] if r["model"] == "popularity" and r["split"].endswith("cloth") and r["params"]["protocol"] == "full ranking")
    assert abs(float(whole.mean()) - recorded["metrics"]["hit@10"]) < 4 * (recorded["metrics"]["hit@10"] / 2000) ** 0.5
