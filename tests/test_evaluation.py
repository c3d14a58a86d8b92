"""Evaluation: hand cases, independent references, properties, bad input."""
import json, pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats

from interest_book.core import DataError, ShapeError, UnavailableError, UnknownIdError, rng, write_record
from interest_book.evaluation import (Comparison, MissingMetricError, Result, ScoreError, SplitMismatchError, bootstrap_interval, choose, compare,
    clear_of_zero, compare_all, comparison_table, cross_validate, evaluate, field_record, grid, holm, ips, is_error, noise_record, peeking, planning, power_paired, record_table, run, sample_size, side_by_side,
    read_field, seed_spread, sign_flip_test, snips, t_interval, users_needed, welch_test, who_is_ahead)
from interest_book.interactions import DomainPair, Interactions
from interest_book.splits import cold_start_split, published_split, ratio_split, strong_split


def domain(n_users, n_items, gen, prefix, share=0.3, stars=True):
    u, i = np.nonzero(gen.random((n_users, n_items)) < share)
    users, items = pd.Index([f"u{k:02d}" for k in range(n_users)]), pd.Index([f"{prefix}{k}" for k in range(n_items)])
    return Interactions(users, items, u, i, gen.integers(1, 6, len(u)) if stars else None, name=prefix)

def make_pair(seed=0, n_users=40, n_items=15, stars=True):
    gen = rng("test/evaluation", seed)
    return DomainPair(domain(n_users, n_items, gen, "f", stars=stars), domain(n_users, n_items, gen, "b", stars=stars))

class Table:
    "A fixed random score for every user and item."
    def __init__(self, pair, seed=0, name="table"):
        self.name, self.users, self.items = name, pair.users, pair.target.items
        self.scores = torch.as_tensor(rng("test/table", seed).standard_normal((len(pair.users), pair.target.n_items)))
        self.largest = 0
    def score(self, users):
        self.largest = max(self.largest, len(users))
        return self.scores[self.users.get_indexer(users)]
    def predict(self, users, items): return 3 + self.scores[self.users.get_indexer(users), self.items.get_indexer(items)]

class Popular:
    def fit(self, train): self.counts = torch.as_tensor(train.target.matrix("binary").sum(0)); return self
    def score(self, users): return self.counts.expand(len(users), -1)
    def score_history(self, matrix): return self.counts.expand(matrix.shape[0], -1)
    def params(self): return {"k": 1}

class Spread:
    "Predicts the same number of stars for everything; the number is a setting."
    def __init__(self, stars): self.stars = stars
    def fit(self, train): return self
    def predict(self, users, items): return torch.full((len(users),), float(self.stars))

def fake(values, name="m", fingerprint="f", metric="ndcg@10", ids=None, weights=None):
    ids = pd.Index(ids if ids is not None else [f"u{i:04d}" for i in range(len(values))], name="user_id")
    return Result(name, "s", fingerprint, 0, pd.DataFrame({metric: np.asarray(values, float)}, index=ids), pd.Series(1 if weights is None else weights, index=ids))


# --- evaluate ------------------------------------------------------------------------------------------------------

def slow_ndcg(scores, relevant, seen, k):
    order = sorted((i for i in range(len(scores)) if i not in seen), key=lambda i: (-scores[i], i))[:k]
    dcg = sum(1 / np.log2(place + 2) for place, i in enumerate(order) if i in relevant)
    return dcg / sum(1 / np.log2(place + 2) for place in range(min(k, len(relevant))))

@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), cold=st.booleans(), validation=st.booleans(), batch=st.sampled_from([1, 3, 1000]))
def test_evaluate_equals_a_slow_loop(seed, cold, validation, batch):
    pair = make_pair(seed)
    split = (cold_start_split if cold else ratio_split)(pair, test=0.25, valid=0.25, seed=seed)
    asked = split.validation if validation else split
    model = Table(pair, seed)
    result = evaluate(model, asked, ["ndcg@5", "rmse", "mae"], batch=batch)
    train, valid, test = (part.frame for part in (split.train.target, split.valid, asked.test))
    assert sorted(result.values.index) == sorted(test.user_id.unique())
    for user, rows in test.groupby("user_id"):
        place = lambda frame: set(pair.target.items.get_indexer(frame.item_id[frame.user_id == user]))
        seen = place(train) | (set() if validation else place(valid))       # validation rows are hidden when we test, asked for when we validate
        scores = model.scores[pair.users.get_loc(user)].numpy()
        assert result.values.loc[user, "ndcg@5"] == pytest.approx(slow_ndcg(scores, place(rows), seen, 5))
        gaps = np.array([3 + scores[pair.target.items.get_loc(i)] - r for i, r in zip(rows.item_id, rows.rating)])
        assert result.values.loc[user, "rmse"] == pytest.approx((gaps**2).mean()) and result.values.loc[user, "mae"] == pytest.approx(abs(gaps).mean())
        assert result.weights[user] == len(rows)
    assert model.largest <= batch

def test_rmse_is_pooled_over_rows_as_scikit_learn_does():
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error
    pair = make_pair(1)
    split, model = ratio_split(pair, seed=1), Table(pair, 1)
    rows = split.test.frame
    predicted = model.predict(rows.user_id, rows.item_id).numpy()
    found = evaluate(model, split, ["rmse", "mae"]).summary()
    assert found["rmse"] == pytest.approx(root_mean_squared_error(rows.rating, predicted)) and found["mae"] == pytest.approx(mean_absolute_error(rows.rating, predicted))

def test_history_is_shown_and_masked():
    split = strong_split(make_pair(2), test=0.3, valid=0.1, hidden=0.3, seed=0)
    shown = []
    class Echo(Popular):
        def score_history(self, matrix): shown.append(matrix); return torch.as_tensor(matrix.toarray() > 0).double() * 100 + self.counts
    result = evaluate(Echo().fit(split.train), split, "recall@10")
    plain = evaluate(Popular().fit(split.train), split, "recall@10")
    assert shown[0].shape[0] == len(result.values) and shown[0].sum() > 0
    pd.testing.assert_frame_equal(result.values, plain.values)              # repeating the history earns nothing

def test_an_item_outside_training_is_a_miss_for_a_model_that_cannot_rank_it():
    train = DomainPair(Interactions.from_frame(pd.DataFrame({"user_id": ["a", "b"], "item_id": ["f", "f"]}), name="films"),
                       Interactions.from_frame(pd.DataFrame({"user_id": ["a"] * 2, "item_id": ["x", "y"]}), name="books"))
    split = published_split(train, None, Interactions.from_frame(pd.DataFrame({"user_id": ["b", "b"], "item_id": ["x", "new"]})), "two")
    class Half:
        def score(self, users): return torch.tensor([[1.0, 0.0, -torch.inf]]).expand(len(users), -1)
    assert list(split.test.items) == ["x", "y", "new"]
    assert evaluate(Half(), split, "recall@3").summary()["recall@3"] == pytest.approx(0.5)

@pytest.mark.parametrize("change, error, words", [
    (lambda s: s.masked_fill(s == s.max(), float("nan")), ScoreError, "1 NaN"),
    (lambda s: s[:, :-1], ShapeError, "expected"),
    (lambda s: s[0], ShapeError, "expected"),
])
def test_bad_scores_are_named_errors(change, error, words):
    pair = make_pair(3)
    split, model = cold_start_split(pair, seed=0), Table(pair)
    bad = type("Bad", (), {"score": lambda self, users: change(model.score(users)), "predict": lambda self, u, i: model.predict(u, i)[:-1]})()
    with pytest.raises(error, match=words): evaluate(bad, split, "ndcg@5")
    with pytest.raises(ShapeError): evaluate(bad, split, "rmse")

def test_requests_that_cannot_be_answered():
    implicit, pair = make_pair(4, stars=False), make_pair(4)
    with pytest.raises(DataError, match="need ratings"): evaluate(Table(implicit), ratio_split(implicit, seed=0), ["ndcg@5", "rmse"])
    split = ratio_split(pair, seed=0)
    with pytest.raises(DataError, match="no rows"): evaluate(Table(pair), replace(split, test=split.test.rows(np.zeros(len(split.test), bool))), "ndcg@5")
    with pytest.raises(DataError, match="no metrics"): evaluate(Table(pair), split, [])
    with pytest.raises(ValueError, match="batch"): evaluate(Table(pair), split, "ndcg@5", batch=0)
    with pytest.raises(ValueError): evaluate(Table(pair), split, "ndgc@5")
    with pytest.raises(MissingMetricError, match="ask evaluate"): evaluate(Table(pair), split, "ndcg@5").interval("recall@5")

def test_result_round_trip(tmp_path):
    pair = make_pair(5)
    result = evaluate(Popular().fit(pair), cold_start_split(pair, seed=0), ["ndcg@5", "recall@3"])
    result.values.iloc[0, 0] = np.nan
    result.save(tmp_path / "r.json")
    back = Result.load(tmp_path / "r.json")
    pd.testing.assert_frame_equal(back.values, result.values, check_exact=True)
    pd.testing.assert_series_equal(back.weights, result.weights)
    assert (back.params, back.fingerprint, back.seed) == ({"k": 1}, result.fingerprint, 0)
    for text in ("", "[]", "{}", '{"users": 1}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match="not a saved Result"): Result.load(tmp_path / "bad.json")
    with pytest.raises(DataError): Result.load(tmp_path / "absent.json")


# --- intervals and tests -------------------------------------------------------------------------------------------

values = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40)

@settings(max_examples=40, deadline=None)
@given(a=values, data=st.data())
def test_compare_properties(a, data):
    b = data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(a), max_size=len(a)))
    x, y = fake(a, "x"), fake(b, "y")
    one, other = compare(x, y, "ndcg@10", n_boot=400, n_perm=200), compare(y, x, "ndcg@10", n_boot=400, n_perm=200)
    assert one.difference == pytest.approx(-other.difference, abs=1e-12)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9) and one.p_value == pytest.approx(other.p_value)
    assert one.difference == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert one.low - 1e-9 <= one.difference <= one.high + 1e-9
    order = data.draw(st.permutations(range(len(a))))
    mixed = fake(np.array(a)[order], "x", ids=x.values.index[order])
    assert compare(mixed, y, "ndcg@10", n_boot=400, n_perm=200) == one
    same = compare(x, fake(a, "z"), "ndcg@10", n_boot=50)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)

@settings(max_examples=30, deadline=None)
@given(d=st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_sign_flip_lists_all_patterns(d):
    sums = [abs(np.dot(s, d)) for s in product([1, -1], repeat=len(d))]
    assert sign_flip_test(np.array(d) / 7) == pytest.approx(np.mean(np.array(sums) >= abs(sum(d))))

def test_sign_flip_agrees_with_scipy_when_drawn():
    d = rng("test/flip", 0).normal(0.25, 1, 40)
    theirs = stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)).pvalue
    ours = sign_flip_test(d, n_perm=20_000)
    assert abs(ours - theirs) < 5 * np.sqrt(2 * theirs * (1 - theirs) / 20_000)
    assert sign_flip_test(np.ones(100), n_perm=99) == 0.01                  # never zero
    assert sign_flip_test(np.zeros(100)) == 1

def test_bootstrap_has_the_right_spread_and_place():
    x = rng("test/boot", 0).exponential(size=400)
    low, high = bootstrap_interval(x, n_boot=20_000)
    half = 1.96 * x.std() / 20
    assert (low, high) == (pytest.approx(x.mean() - half, abs=0.1 * half), pytest.approx(x.mean() + half, abs=0.1 * half))
    assert bootstrap_interval(x, seed=1) == bootstrap_interval(x, seed=1) != bootstrap_interval(x, seed=2)
    narrow = bootstrap_interval(x, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    with pytest.raises(DataError): bootstrap_interval([])
    with pytest.raises(DataError): t_interval([1.0])

def test_weighted_bootstrap_resamples_users_with_all_their_rows():
    gen = rng("test/weights", 0)
    weights, mse = gen.integers(1, 20, 50), gen.gamma(2, 1, 50)
    low, high = bootstrap_interval(mse, weights, root=True, n_boot=4000)
    slow = []
    for _ in range(4000):
        pick = gen.integers(0, 50, 50)
        slow.append(np.sqrt(np.average(mse[pick], weights=weights[pick])))
    assert (low, high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.1 * (high - low))
    result = fake(mse, metric="rmse", weights=weights)
    assert result.interval("rmse", n_boot=4000) == (low, high) and low < result.summary()["rmse"] < high

def test_interval_covers_as_promised():
    gen, hits = rng("test/coverage", 0), 0
    for i in range(200):
        a, b = gen.normal(0.5, 0.2, 150), gen.normal(0.45, 0.3, 150)
        c = compare(fake(a), fake(b), "ndcg@10", n_boot=300, n_perm=10, seed=i)
        hits += c.low <= 0.05 <= c.high
    assert abs(hits / 200 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)

def test_swapping_names_tests_rmse():
    gen = rng("test/rmse", 0)
    a, b, w = gen.gamma(2, 1, 8), gen.gamma(2, 1.5, 8), gen.integers(1, 9, 8)
    gap = lambda keep: np.sqrt((w * np.where(keep, a, b)).sum() / w.sum()) - np.sqrt((w * np.where(keep, b, a)).sum() / w.sum())
    found = compare(fake(a, metric="rmse", weights=w), fake(b, metric="rmse", weights=w), "rmse", n_boot=50)
    assert found.difference == pytest.approx(gap(np.ones(8, bool)))
    assert found.p_value == pytest.approx(np.mean([abs(gap(k)) >= abs(found.difference) - 1e-12 for k in product([True, False], repeat=8)]))

def test_interval_of_an_rmse_difference_equals_a_slow_bootstrap():
    gen = rng("test/rmse interval", 0)
    w = gen.integers(1, 9, 60)
    a, b = gen.gamma(2, 1.0, 60), gen.gamma(2, 2.0, 60)
    found, slow = compare(fake(a, metric="rmse", weights=w), fake(b, metric="rmse", weights=w), "rmse", n_boot=4000, n_perm=10), []
    for _ in range(4000):
        pick = gen.integers(0, 60, 60)
        slow.append(np.sqrt(np.average(a[pick], weights=w[pick])) - np.sqrt(np.average(b[pick], weights=w[pick])))
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.1 * (found.high - found.low))


# --- refusals ------------------------------------------------------------------------------------------------------

def test_unequal_splits_are_refused():
    pair = make_pair(6)
    one, two = (cold_start_split(pair, seed=s) for s in (0, 1))
    a, b = (evaluate(Table(pair), s, "ndcg@5") for s in (one, two))
    with pytest.raises(SplitMismatchError, match="different splits"): compare(a, b, "ndcg@5")
    with pytest.raises(SplitMismatchError): comparison_table([a, replace(b, model="other")])
    with pytest.raises(SplitMismatchError): compare([a, b], [a], "ndcg@5")
    with pytest.raises(SplitMismatchError): record_table(field_record("x", [a, replace(b, model="other")]))
    with pytest.raises(SplitMismatchError, match="different users"): compare(a, replace(a, values=a.values.iloc[1:]), "ndcg@5")
    with pytest.raises(SplitMismatchError, match="different users"): compare(a, replace(a, values=a.values.rename(index={a.values.index[0]: "stranger"})), "ndcg@5")
    with pytest.raises(SplitMismatchError, match="different users"): compare(fake([1, 2], metric="mae", weights=[1, 2]), fake([1, 2], metric="mae", weights=[1, 3]), "mae")
    with pytest.raises(UnknownIdError, match="no result of the baseline"): comparison_table([a], baseline="x")
    with pytest.raises(DataError): comparison_table([])
    with pytest.raises(DataError): compare([], a, "ndcg@5")


def test_input_that_would_give_a_wrong_answer_is_refused():
    hole = np.array([0.1, np.nan] * 20)
    for ask in (sign_flip_test, t_interval, bootstrap_interval):
        with pytest.raises(DataError, match="20 of 40 values are NaN"): ask(hole)   # a NaN sum once gave the smallest possible p-value
    for level in (0, 1, 95, float("nan")):
        for ask in (lambda: t_interval([1, 2], level), lambda: bootstrap_interval([1, 2], level=level), lambda: compare(fake([1, 2]), fake([2, 1]), "ndcg@10", level=level)):
            with pytest.raises(ValueError, match="between 0 and 1"): ask()
    with pytest.raises(DataError, match="several models"): compare([fake([1, 2], "a"), fake([1, 2], "b")], fake([2, 1], "c"), "ndcg@10")
    for p in ([0.1, 1.2], [-0.1], [np.nan, 0.5]):
        with pytest.raises(ValueError, match="p-values"): holm(p)
    with pytest.raises(ValueError, match="difference=0"): users_needed(0, 1)
    with pytest.raises(ValueError, match="sd=0"): power_paired(0.1, 0, 10)
    with pytest.raises(ValueError, match="two or more runs"): welch_test(1, 0.1, 1, 2, 0.1, 10)


# --- splits, seeds, tables -----------------------------------------------------------------------------------------

def many(gen, effect=0.0, S=4, people=60, per=25):
    "Two models on S splits; a person's difficulty is the same in all of them."
    hard, out = gen.normal(0, 1, people), []
    for s in range(S):
        who = np.sort(gen.choice(people, per, replace=False))
        ids = [f"u{i:03d}" for i in who]
        for name, shift in (("a", effect), ("b", 0.0)): out.append(fake(hard[who] * (1 if name == "a" else -1) + shift + gen.normal(0, 0.1, per), name, f"s{s}", ids=ids))
    return out

def test_difference_over_splits_is_the_mean_of_the_splits():
    results = many(rng("test/many", 0), 0.3)
    a, b = ([r for r in results if r.model == m] for m in "ab")
    c = compare(a, b, "ndcg@10")
    assert c.difference == pytest.approx(np.mean([compare(x, y, "ndcg@10", n_boot=2).difference for x, y in zip(a, b)]))
    assert c.n_splits == 4 and c.n_users == len(set().union(*(r.values.index for r in a)))
    assert compare(a, b[::-1], "ndcg@10").difference == pytest.approx(c.difference)      # order of the splits does not matter
    table = comparison_table(results, baseline="b")["ndcg@10"]
    assert table.loc["a", ["difference", "low", "high"]].tolist() == pytest.approx([c.difference, c.low, c.high])
    assert table.loc["a", "mean"] == pytest.approx(np.mean([r.summary().iloc[0] for r in a])) and table.loc["a", "sd"] == pytest.approx(np.std([r.summary().iloc[0] for r in a], ddof=1))
    assert table.loc["b", ["difference", "low", "high", "p (Holm)"]].isna().all()
    assert [str(c) for c in compare_all(results, "b")] == [str(c)]

def test_people_in_several_splits_count_once():
    "False alarms: flipping every appearance by itself would give far too many."
    gen, joint, apart = rng("test/cluster", 0), [], []
    for i in range(100):
        results = many(gen, S=4, people=40, per=30)
        a, b = ([r for r in results if r.model == m] for m in "ab")
        c = compare(a, b, "ndcg@10", n_boot=200, n_perm=200, seed=i)
        joint.append((c.p_value < 0.05, c.low <= 0 <= c.high))
        apart.append(sign_flip_test(np.concatenate([x.values.iloc[:, 0] - y.values.iloc[:, 0] for x, y in zip(a, b)]), 200, seed=i) < 0.05)
    alarms, covers = np.mean(joint, axis=0)
    assert alarms < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 100) and covers > 0.88
    assert np.mean(apart) > 0.15

def test_repeated_runs_on_one_split_are_averaged_by_user():
    gen = rng("test/repeat", 0)
    runs, base = [fake(gen.random(30), "a") for _ in range(3)], fake(gen.random(30), "b")
    mean = fake(np.mean([r.values["ndcg@10"] for r in runs], axis=0), "a")
    assert compare(runs, base, "ndcg@10") == compare(mean, base, "ndcg@10")

def test_run_choose_and_cross_validate():
    pair = make_pair(7)
    split = ratio_split(pair, seed=0)
    results = run({"one": Popular, "two": lambda: Table(pair)}, [split, ratio_split(pair, seed=1)], ["ndcg@5"])
    assert [(r.model, r.seed) for r in results] == [("one", 0), ("two", 0), ("one", 1), ("two", 1)] and all(r.fit_cpu_s >= 0 and r.score_cpu_s >= 0 for r in results)
    stars = split.valid.ratings.mean()
    assert choose({"far": lambda: Spread(stars + 2), "near": lambda: Spread(stars)}, split, "rmse") == "near"
    assert choose({"first": Popular, "again": Popular}, split, "ndcg@5") == "first"
    with pytest.raises(DataError, match="no candidates"): choose({}, split)
    with pytest.raises(DataError, match="validation"): choose({"a": Popular}, split.validation)
    folds = cross_validate({"one": Popular, "mean": lambda: Table(pair)}, pair, k=3, metrics=["rmse", "ndcg@5"][1:])
    assert len(folds) == 6 and sum(r.weights.sum() for r in folds if r.model == "one") == len(pair.target)
    assert comparison_table(folds, baseline="one").shape == (2, 6)

def test_grid_writes_down_all_combinations_or_the_listed_ones():
    made = lambda settings: {label: make() for label, make in settings.items()}
    assert made(grid(dict, a=(1, 2), b=(0.5, 1.0))) == {f"a={a}, b={b}": {"a": a, "b": b} for a in (1, 2) for b in (0.5, 1.0)}
    assert made(grid(dict, together=True, a=(1, 2), b=(0.5, 1.0))) == {"a=1, b=0.5": {"a": 1, "b": 0.5}, "a=2, b=1.0": {"a": 2, "b": 1.0}}
    assert pickle.loads(pickle.dumps(grid(Popular, k=(3,))))["k=3"].keywords == {"k": 3} and grid(dict, a=()) == {}
    with pytest.raises(ValueError, match="'a': 2, 'b': 1"): grid(dict, together=True, a=(1, 2), b=(1,))


def test_choose_reads_validation_rows_and_not_test_rows():
    split = ratio_split(make_pair(8), test=0.2, valid=0.2, seed=0)
    class Knows:
        "Ranks the rows of one part first."
        def __init__(self, part): self.part = part
        def score(self, users): return torch.as_tensor(self.part.matrix("binary")[self.part.user_index(users)].toarray())
    candidates = {"knows test": lambda: Knows(split.test), "knows validation": lambda: Knows(split.valid)}
    assert choose(candidates, split, "ndcg@5") == "knows validation"
    assert evaluate(Knows(split.test), split, "recall@10").summary()["recall@10"] == 1

def test_seed_spread_finds_planted_variances():
    gen, found = rng("test/spread", 0), []
    for _ in range(100):
        y = 0.3 * gen.standard_normal((8, 1)) + 0.5 * gen.standard_normal((1, 40)) + 0.2 * gen.standard_normal((8, 40))
        results = []
        for s in range(8):
            who = np.sort(gen.choice(40, 25, replace=False))                 # unbalanced: other people in every seed
            results.append(fake(y[s, who], ids=[f"u{i:02d}" for i in who]))
        found.append(seed_spread(results, "ndcg@10")[["seeds", "users", "rest"]])
    found = np.array(found, float)
    assert found.mean(0) == pytest.approx([0.09, 0.25, 0.04], abs=4 * found.std(0).max() / np.sqrt(100))
    apart = seed_spread([fake([0, 1.0], ids=["a", "b"]), fake([2.0, 3.0], ids=["c", "d"])], "ndcg@10")
    assert np.isnan(apart["users"]) and apart["rest"] == pytest.approx(0.5) and apart["seeds"] == pytest.approx(np.mean([4, 9, 1, 4]) / 2 - 0.5)
    with pytest.raises(DataError): seed_spread([fake([0, 1])], "ndcg@10")


# --- planning, many questions, propensities ------------------------------------------------------------------------

def test_welch_equals_scipy_and_turns_the_claim_round():
    found = welch_test(0.5, 0.1, 12, 0.4, 0.3, 7)
    theirs = stats.ttest_ind_from_stats(0.5, 0.1, 12, 0.4, 0.3, 7, equal_var=False)
    assert (found[0], found[2]) == pytest.approx((theirs.statistic, theirs.pvalue))
    t_claimed, t_denied = welch_test(0.34, 0.01, 10, 0.32, 0.01, 10)[0], welch_test(0.32, 0.01, 10, 0.30, 0.0, 10)[0]
    assert round(t_claimed, 1) == 4.5 and round(t_denied, 1) == 6.3
    with pytest.raises(DataError): welch_test(1, 0, 10, 2, 0, 10)

def test_planning():
    assert sample_size(0.10, 0.105) == 57_760
    assert power_paired(0, 1, 10) == pytest.approx(0.05) and power_paired(0.1, 1, 5000) > 0.999
    n = users_needed(0.02, 0.2)
    assert power_paired(0.02, 0.2, n) >= 0.8 - 1e-9 > power_paired(0.02, 0.2, n - 2) - 1e-3
    for wrong in ((0.1, 0.1), (-0.1, 0.2), (0.5, 1.2)):
        with pytest.raises(ValueError): sample_size(*wrong)

def test_peeking_rates():
    found = peeking()
    known = pd.Series({1: 0.05, 2: 0.083, 5: 0.142, 10: 0.193, 20: 0.248})       # Armitage, McPherson and Rowe (1969), table 2
    assert ((found["rate"] - known).abs() < 4 * found["se"] + 0.0005).all()

@settings(max_examples=40, deadline=None)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p):
    k = len(p)
    sets = [[i for i in range(k) if bits >> i & 1] for bits in range(1, 2**k)]
    closed = [max(min(1.0, len(J) * min(p[j] for j in J)) for J in sets if i in J) for i in range(k)]
    assert holm(p) == pytest.approx(closed)

def test_ips_and_snips():
    gen = rng("test/ips", 0)
    loss, pi = gen.random(2000), gen.uniform(0.05, 0.9, 2000)
    found = []
    for _ in range(600):
        o = gen.random(2000) < pi
        found.append([*ips(loss[o], pi[o], 2000), *snips(loss[o], pi[o])])
    found = np.array(found)
    for j in (0, 2):
        assert abs(found[:, j].mean() - loss.mean()) < 4 * found[:, j].std() / np.sqrt(600) + (1e-3 if j else 0)
        assert found[:, j + 1].mean() == pytest.approx(found[:, j].std(), rel=0.15)      # 600 samples: a sd is known to 3 %
    assert snips([0.7, 0.7], [0.1, 0.9])[0] == pytest.approx(0.7)
    assert ips([0.3, 0.5], [1, 1], 2) == pytest.approx((0.4, 0))
    for bad in ([0.0, 0.5], [1.5, 0.5], [float("nan"), 0.5]):
        with pytest.raises(ValueError, match="propensity"): snips([0.1, 0.2], bad)
    with pytest.raises(ShapeError): ips([0.1, 0.2], [0.5], 4)
    with pytest.raises(DataError): snips([], [])


# --- records -------------------------------------------------------------------------------------------------------

def test_record_holds_what_is_needed_and_gives_the_table_back():
    pair = make_pair(9)
    splits = [ratio_split(pair, seed=s) for s in range(3)]
    results = run({"pop": Popular, "table": lambda: Table(pair)}, splits, ["ndcg@5", "recall@3"])
    record = json.loads(json.dumps(field_record("x", results, compare_all(results, "pop"), {"f.csv": "00"}, "make records", {"k": 1}), allow_nan=False))
    assert {"name", "command", "data", "versions", "settings", "results", "comparisons"} == set(record)
    assert {"model", "seed", "fingerprint", "split", "params", "metrics", "n_users", "cpu_s"} == set(record["results"][0])
    ours, theirs = record_table(record), comparison_table(results, baseline="pop")
    for metric in ("ndcg@5", "recall@3"):
        for what in ("mean", "sd", "difference", "low", "high"): assert ours[(metric, what)].to_numpy() == pytest.approx(theirs[(metric, what)].to_numpy(), nan_ok=True)
    assert ("cost", "CPU s") in record_table(record, "ndcg@5", cpu=True)
    plain = record_table(field_record("y", results[:2]))
    assert list(plain.columns) == [("ndcg@5", "mean"), ("recall@3", "mean")]

def test_record_table_keeps_variants_and_baselines_apart():
    pair = make_pair(11)
    results = run({"a": Popular, "b": lambda: Table(pair), "c": lambda: Table(pair, 1)}, [ratio_split(pair, seed=0)], ["ndcg@5"])
    record = field_record("x", results, compare_all(results, "a") + compare_all(results, "b"))
    by = {base: record_table(record, baseline=base)["ndcg@5"]["difference"] for base in "ab"}
    assert by["a"].isna().tolist() == [True, False, False] and by["b"].isna().tolist() == [False, True, False]
    assert by["a"]["b"] == pytest.approx(-by["b"]["a"]) and record_table(record)["ndcg@5"]["difference"].equals(by["a"])
    with pytest.raises(UnknownIdError, match="no differences"): record_table(record, baseline="c")
    twice = record | {"results": [r | {"variant": v} for v in ("clean", "published") for r in record["results"]], "comparisons": []}
    with pytest.raises(DataError, match="say which"): record_table(twice)
    pd.testing.assert_frame_equal(record_table(twice, where={"variant": "clean"}), record_table(field_record("y", results)))
    with pytest.raises(DataError, match="no such"): record_table(twice, where={"variant": "other"})

def test_planning_and_noise_record():
    gen, n = rng("test/planning", 0), 4000
    common = gen.normal(0.5, 0.3, n)
    base, other = fake(common + gen.normal(0, 0.1, n), "base"), fake(common + gen.normal(0, 0.1, n) + 0.02, "other")
    row = planning([base, other], "base", "ndcg@10").loc["other"]
    assert row["correlation"] == pytest.approx(0.9, abs=0.02) and row["sd of difference"] == pytest.approx(0.02**0.5, rel=0.05)
    assert power_paired(row["smallest visible"], row["sd of difference"], n) == pytest.approx(0.8, abs=1e-3)
    assert power_paired(0.01 * base.values["ndcg@10"].mean(), row["sd of difference"], int(row["users needed"])) == pytest.approx(0.8, abs=1e-3)
    with pytest.raises(SplitMismatchError): planning([base, replace(other, fingerprint="g")], "base", "ndcg@10")
    pair = make_pair(12, n_items=25, stars=False)
    record = noise_record("n", pair, {"pop": Popular, "table": lambda: Table(pair)}, seeds=2, settings={"core": 5})
    assert json.loads(json.dumps(record, allow_nan=False))["settings"]["planning"].keys() == {"table"} and record["settings"]["core"] == 5
    assert len(record["results"]) == 4 and record_table(record).loc["pop", ("ndcg@10", "mean")] > 0

@pytest.mark.field
def test_the_record_is_what_the_data_gives():
    from interest_book.baselines import Popularity
    from interest_book.core import read_record
    from interest_book.datasets import load
    pair = load("douban_book_music")
    pair = DomainPair(*(side.binarize(3).k_core(5, 5) for side in (pair.source, pair.target)))
    stored = [r for r in read_record("06_douban_people")["results"] if r["model"] == "popularity"]
    for r in stored[:2]:
        fresh = evaluate(Popularity().fit((split := cold_start_split(pair, test=0.2, valid=0.1, seed=r["seed"])).train), split)
        assert fresh.fingerprint == r["fingerprint"] and fresh.summary().to_dict() == pytest.approx(r["metrics"])

def test_small_things():
    assert [m for m in ("rmse", "mae", "ndcg@10") if is_error(m)] == ["rmse", "mae"]
    text = str(Comparison("a", "b", "ndcg@10", 0.01, -0.01, 0.03, 0.2, 50, 2))
    assert "a - b" in text and "+0.0100 [-0.0100, +0.0300]" in text and "2 splits" in text


@pytest.mark.gpu
def test_scores_on_a_gpu_give_the_same_values():
    pair = make_pair(10)
    split, model = cold_start_split(pair, seed=0), Table(pair)
    there = type("There", (), {"name": "there", "score": lambda self, users: model.score(users).to("cuda")})()
    pd.testing.assert_frame_equal(evaluate(there, split, ["ndcg@5", "recall@3"]).values, evaluate(model, split, ["ndcg@5", "recall@3"]).values)


def test_records_stand_side_by_side_and_only_clear_gains_are_named():
    results = lambda metric, **by_model: [{"model": m, "seed": 0, "fingerprint": "f", "split": "s", "params": {}, "metrics": {metric: v}, "n_users": 3, "cpu_s": None} for m, v in by_model.items()]
    gap = lambda m, metric, d, low, high: {"model": m, "baseline": "pop", "metric": metric, "difference": d, "low": low, "high": high, "p_value": 0.5, "n_users": 3, "n_splits": 1, "level": 0.95}
    ranking = {"name": "r", "results": results("ndcg@10", pop=.2, a=.3, b=.25, c=.1), "comparisons": [gap("a", "ndcg@10", .1, .01, .2), gap("b", "ndcg@10", .05, -.01, .1), gap("c", "ndcg@10", -.1, -.2, -.01)]}
    errors = {"name": "e", "results": results("rmse", pop=1.0, a=.9, b=1.1, c=.8), "comparisons": [gap("a", "rmse", -.1, -.2, -.01), gap("b", "rmse", .1, .01, .2), gap("c", "rmse", -.2, -.3, -.1)]}
    assert clear_of_zero(ranking, "ndcg@10", "pop") == ["a"] and clear_of_zero(errors, "rmse", "pop") == ["c", "a"] and clear_of_zero(errors, "rmse", "pop", ["a", "b"]) == ["a"]
    nobody = {**ranking, "comparisons": [gap(m, "ndcg@10", 0, -.1, .1) for m in "abc"]}
    assert clear_of_zero(nobody, "ndcg@10", "pop") == []
    table = side_by_side({"one": ranking, "two": {**ranking, "results": ranking["results"][:3]}}, "ndcg@10", "pop", ["b", "pop", "c", "unknown"])
    assert list(table.index) == ["b", "pop", "c"] and table.loc["pop", "one"] == "0.2000 (baseline)" and table.loc["b", "one"] == "+0.0500 [-0.0100, +0.1000]" and table.loc["c", "two"] == ""
    lines = who_is_ahead({"one": ranking, "two": nobody, "three": {**ranking, "comparisons": []}}, "ndcg@10", "pop", ["a", "b"]).split("\n")
    assert lines == ["one: ahead of pop, clear of zero: a (of 2)", "two: ahead of pop, clear of zero: none (of 2)", "three: not in the record"]


def test_field_records_are_found_by_direction(tmp_path, monkeypatch):
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(tmp_path))
    write_record("field_x_y_warm_rating", {"results": [], "name": "here"})
    assert read_field("warm", "rating", {"x to y": "x_y"})["x to y"]["name"] == "here"
    assert list(read_field("warm", "rating", {"gone": "y_x", "x to y": "x_y"})) == ["x to y"]
    with pytest.raises(UnavailableError, match="field_x_y_cold_ranking"): read_field("cold", directions={"x to y": "x_y"})
