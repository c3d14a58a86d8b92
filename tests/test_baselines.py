"""Chapter 08: hand cases, independent references (SciPy, scikit-learn, plain NumPy), properties, bad input."""
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from scipy.linalg import inv
from scipy.sparse.linalg import spsolve
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity

from interest_book import baselines as b
from interest_book.core import DataError, ShapeError, rng, six_users
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError


def domain(matrix, name, users=None, ratings=None):
    "Interactions from a dense 0/1 matrix."
    u, i = np.nonzero(matrix)
    users = pd.Index([f"u{j}" for j in range(matrix.shape[0])] if users is None else users)
    return Interactions(users, pd.Index([f"{name}{j}" for j in range(matrix.shape[1])]), u, i, None if ratings is None else ratings[u, i], name=name)


def random_pair(n, m_source, m_target, seed=0, density=0.15):
    g = rng("tests/baselines", seed)
    s, t = (g.random((n, m)) < density for m in (m_source, m_target))
    return DomainPair(domain(s, "s"), domain(t, "t")), s.astype(float), t.astype(float)


def books():
    films, books = six_users()
    return DomainPair(Interactions.from_frame(films, name="films"), Interactions.from_frame(books, name="books"))


def ease_by_hand(x, l2):
    p = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    return np.eye(len(p)) - p / np.diag(p)


# --- counts and means -------------------------------------------------------------------------------------------------

def test_popularity_counts_users():
    model = b.Popularity().fit(books())
    assert model.score(["Flo", "Ada"]).tolist() == [[5, 4, 4, 3]] * 2
    assert model.recommend("Flo", k=2).item_id.tolist() == ["Dune", "Neuromancer"]          # Emma has 4 as well and stands later
    assert model.recommend("Ada", k=4).item_id.tolist() == ["Persuasion"]


def test_rating_mean_by_hand():
    pair = books()
    mean = 53 / 16
    dune = (5 + 5 + 4 + 1 + 2 + 5 * mean) / 10
    assert b.RatingMean(damping=5).fit(pair).predict(["Flo"], ["Dune"]).item() == pytest.approx(dune)
    assert b.RatingMean(damping=0).fit(pair).predict(["Flo"], ["Dune"]).item() == pytest.approx(17 / 5)
    assert b.RatingMean(by="all").fit(pair).score(["Flo"]).tolist()[0] == pytest.approx([mean] * 4)


def test_an_item_without_ratings_gets_the_mean_of_all():
    target = Interactions(["u", "v"], ["a", "never"], [0, 1], [0, 0], [4.0, 2.0], name="t")
    pair = DomainPair.single(target)
    for model in (b.RatingMean(), b.RatingMean(damping=0), b.BiasModel(), b.BiasModel(0, 0)):
        assert model.fit(pair).predict(["u"], ["never"]).item() == pytest.approx(3 + (float(model.user_bias_[0]) if hasattr(model, "user_bias_") else 0))


def biases_by_one_solve(u, i, r, n_users, n_items, damp_user, damp_item):
    design = sp.hstack([sp.csr_array((np.ones(len(r)), (np.arange(len(r)), u)), shape=(len(r), n_users)),
                        sp.csr_array((np.ones(len(r)), (np.arange(len(r)), i)), shape=(len(r), n_items))]).tocsr()
    penalty = sp.diags_array(np.r_[np.full(n_users, damp_user), np.full(n_items, damp_item)])
    x = spsolve((design.T @ design + penalty).tocsc(), design.T @ (r - r.mean()))
    return x[:n_users], x[n_users:]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 30), st.floats(0.5, 30))
def test_biases_solve_the_normal_equations(seed, damp_user, damp_item):
    g = rng("tests/baselines/biases", seed)
    u, i, r = g.integers(0, 12, 60), g.integers(0, 9, 60), g.integers(1, 6, 60).astype(float)
    _, user, item = b.fit_biases(u, i, r, 12, 9, damp_user, damp_item)
    user_ref, item_ref = biases_by_one_solve(u, i, r, 12, 9, damp_user, damp_item)
    np.testing.assert_allclose(user, user_ref, atol=1e-6)
    np.testing.assert_allclose(item, item_ref, atol=1e-6)


def test_a_cold_user_gets_the_item_mean_and_shifts_move_predictions():
    pair = books()
    model = b.BiasModel(2, 3).fit(pair)
    torch.testing.assert_close(model.predict(["Flo"] * 4, pair.target.items), model.mean_ + model.item_bias_)
    t = pair.target
    moved = DomainPair(pair.source, Interactions(t.users, t.items, t.user_codes, t.item_codes, t.ratings + 10, name="books"))
    torch.testing.assert_close(b.BiasModel(2, 3).fit(moved).score(["Ada"]), model.score(["Ada"]) + 10)


def test_predictions_stay_in_the_range_of_the_ratings():
    ratings = np.array([[5, 5, 5], [5, 5, 1.0], [5, 5, 1]])
    model = b.BiasModel(0.01, 0.01).fit(DomainPair.single(domain(np.ones((3, 3)), "t", ratings=ratings)))
    assert model.score(["u0"])[0, 0] > 5 and model.predict(["u0"], ["t0"]).item() == 5


@pytest.mark.parametrize("model", [b.RatingMean, b.BiasModel])
def test_ratings_are_needed(model):
    pair, _, _ = random_pair(10, 5, 6)
    with pytest.raises(DataError, match="needs ratings"): model().fit(pair)


@pytest.mark.field
def test_biases_on_movielens_100k_are_where_three_libraries_are():
    from interest_book.evaluation import record_table
    table = record_table(b.ml100k_record())
    assert 0.9415 <= table.loc["biases", ("rmse", "mean")] <= 0.9445 and 0.7425 <= table.loc["biases", ("mae", "mean")] <= 0.7485


# --- neighbours -------------------------------------------------------------------------------------------------------

def test_cosine_equals_scikit_learn():
    _, _, t = random_pair(30, 5, 12)
    w = b.weigh(sp.csr_array(t.T))
    np.testing.assert_allclose((w @ w.T).toarray(), cosine_similarity(t.T), atol=1e-6)


def test_bm25_equals_its_formula_entry_by_entry():
    _, _, t = random_pair(25, 5, 10)
    docs, out = t.T, np.zeros((10, 25))
    for d in range(10):
        for w in range(25):
            if docs[d, w]:
                idf = np.log(10 / (1 + docs[:, w].sum()))
                out[d, w] = idf * 1 * (1.2 + 1) / (1 + 1.2 * (1 - 0.75 + 0.75 * docs[d].sum() / docs.sum(1).mean()))
    np.testing.assert_allclose(b.weigh(sp.csr_array(docs), "bm25").toarray(), out, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.booleans())
def test_nearest_keeps_the_largest_of_every_row(seed, k, skip):
    g = rng("tests/baselines/nearest", seed)
    left, right = (sp.csr_array(g.random((n, 6)) * (g.random((n, 6)) < 0.6), dtype=np.float32) for n in (9, 13))
    own = g.integers(-1, 13, 9)
    out = b.nearest(left, right, k, own if skip else None).toarray()
    full = (left @ right.T).toarray()
    if skip: full[np.flatnonzero(own >= 0), own[own >= 0]] = 0
    for got, row in zip(out, full):
        best = np.sort(row[row > 0])[::-1][:k]
        np.testing.assert_allclose(np.sort(got[got > 0])[::-1], best, rtol=1e-6)
        assert np.allclose(got[got > 0], row[got > 0])


def test_item_knn_is_the_sum_of_similarities():
    pair, _, t = random_pair(40, 5, 15)
    similar = cosine_similarity(t.T)
    np.fill_diagonal(similar, 0)
    for column in similar.T: column[np.argsort(-column, kind="stable")[4:]] = 0            # the 4 nearest of each item i, which vote for i
    expected = t @ similar
    known = t.sum(1) > 0
    np.testing.assert_allclose(b.ItemKNN(4).fit(pair).score(pair.users).numpy()[known], expected[known], atol=1e-5)


@pytest.mark.parametrize("where", ["source", "target", "both"])
def test_user_knn_sums_the_neighbours(where):
    pair, s, t = random_pair(40, 12, 15, seed=3)
    t[:8] = 0                                                                              # eight cold users
    pair = DomainPair(pair.source, domain(t, "t"))
    profile = {"source": s, "target": t, "both": np.hstack([s, t])}[where]
    like = cosine_similarity(profile)
    np.fill_diagonal(like, 0)
    like[:, t.sum(1) == 0] = 0
    expected, unknown = like @ t, like.sum(1) == 0
    expected[unknown] = t.sum(0)
    assert unknown[:8].all() == (where == "target")
    np.testing.assert_allclose(b.UserKNN(where, 40).fit(pair).score(pair.users).numpy(), expected, atol=1e-5)
    few = b.UserKNN(where, 6)
    few.fit(pair)
    assert (np.diff(b.nearest(few.profiles_, few.profiles_, 6, np.arange(40)).indptr) <= 6).all()


def test_user_knn_serves_newcomers_by_what_they_show():
    pair, _, t = random_pair(30, 8, 10)
    newcomer = sp.csr_array(t[:1])                                                         # a newcomer's own row is nobody's: u0, who is just alike, counts
    torch.testing.assert_close(b.UserKNN("target", 30).fit(pair).score_history(newcomer), torch.from_numpy(cosine_similarity(t[:1], t) @ t).float(), rtol=1e-5, atol=1e-5)
    with pytest.raises(b.UnsupportedError, match="by their source rows"): b.UserKNN("source").fit(pair).score_history(newcomer)


# --- EASE -------------------------------------------------------------------------------------------------------------

@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 30), st.integers(0, 35))
def test_gram_equals_the_dense_product(seed, n, m, head):
    x = (rng("tests/baselines/gram", seed).random((n, m)) < 0.3) * rng("tests/baselines/gram", seed + 1).random((n, m))
    np.testing.assert_allclose(b.gram(sp.csr_array(x, dtype=np.float32), head).numpy(), x.T @ x, rtol=1e-4, atol=1e-5)


def test_ease_is_ridge_regression_of_every_item_on_the_others():
    _, _, t = random_pair(60, 5, 12)
    weights = b.ease_weights(torch.from_numpy(t.T @ t), 7.0).numpy()
    assert (np.diag(weights) == 0).all()
    for j in range(12):
        others = np.delete(np.arange(12), j)
        ridge = Ridge(alpha=7.0, fit_intercept=False, solver="cholesky").fit(t[:, others], t[:, j])
        np.testing.assert_allclose(weights[others, j], ridge.coef_, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(40, 8, 9), (9, 30, 40), (20, 12, 20)]), st.floats(1, 500), st.sampled_from([0.0, 0.3, 1.0]))
def test_joint_ease_primal_and_dual_equal_the_closed_form(seed, sizes, l2, weight):
    pair, s, t = random_pair(*sizes, seed=seed, density=0.3)
    z, keep = np.hstack([t, weight**0.5 * s]), t.sum(1) > 0
    weights = ease_by_hand(z[keep], l2)
    expected, m = (z @ weights)[:, : t.shape[1]], t.shape[1]
    model = b.JointEASE(l2, weight).fit(pair)
    known = (t.sum(1) + (weight > 0) * s.sum(1)) > 0
    got = model.score(pair.users).numpy()
    np.testing.assert_allclose(got[known], expected[known], atol=2e-5)
    assert (got[~known] == t.sum(0)).all()
    has = t.sum(1) > 0
    np.testing.assert_allclose(model.score_history(sp.csr_array(t)).numpy()[has], (t @ weights[:m, :m])[has], atol=2e-5)


def test_weight_zero_is_ease_on_the_target():
    pair, _, _ = random_pair(30, 20, 10)
    assert torch.equal(b.JointEASE(20.0, 0).fit(pair).score(pair.users), b.EASE(20.0).fit(pair).score(pair.users))


@pytest.mark.parametrize("rows, count", [("target", 20), ("shared", 15), ("all", 25)])
def test_who_is_a_training_row(rows, count):
    g = rng("tests/baselines/rows")
    s, t = (g.random((25, 40)) < 0.3 for _ in range(2))
    s[20:], s[:20, 0], t[20:, 0], t[:, 1:] = s[20:], True, False, t[:, 1:]
    s[15:20], t[20:] = False, False
    s[20:, 0] = t[:20, 0] = True
    pair = DomainPair(domain(s, "s"), domain(t, "t"))
    assert len(b.JointEASE(5.0, 0.5, rows).fit(pair).fitted_rows_) == count


def test_a_cold_user_is_folded_in_through_the_source():
    "A user with Ada's films gets what Ada's books' neighbours say, without a target row."
    s = np.kron(np.eye(2), np.ones((10, 3)))
    t = np.kron(np.eye(2), np.ones((10, 3)))
    t[0] = 0
    for sizes in ("primal", "dual"):
        if sizes == "dual": s, t = np.hstack([s, np.zeros((20, 30))]), t
        scores = b.JointEASE(1.0, 0.5).fit(DomainPair(domain(s, "s"), domain(t, "t"))).score(["u0"])[0]
        assert scores[:3].min() > 10 * scores[3:].abs().max()


def test_the_dual_never_builds_items_squared():
    "60,000 squared floats are 14 GB: this would not end if they were made."
    g = rng("tests/baselines/dual")
    u, i = np.repeat(np.arange(30), 50), g.integers(0, 60_000, 1500)
    rows = pd.DataFrame({"user_id": u, "item_id": i}).drop_duplicates()
    target = Interactions([f"u{j}" for j in range(30)], [f"i{j}" for j in range(60_000)], rows.user_id, rows.item_id, name="t")
    model = b.EASE(10.0).fit(DomainPair.single(target))
    assert model.kernel_.shape == (30, 30) and model.score(["u3"]).shape == (1, 60_000)


def test_large_l2_ranks_like_co_occurrence():
    "As l2 grows, l2 * weights tends to X'X without its diagonal."
    _, _, t = random_pair(50, 5, 10)
    limit = t.T @ t * (1 - np.eye(10))
    np.testing.assert_allclose(b.ease_weights(torch.from_numpy(t.T @ t), 1e7).numpy() * 1e7, limit, atol=1e-3)


@pytest.mark.field
def test_ease_on_movielens_1m_equals_plain_float64_to_four_digits():
    from interest_book.datasets import load
    from interest_book.metrics import ranking_metrics
    from interest_book.splits import strong_split
    pair = DomainPair.single(load("ml-1m").binarize(min_rating=4).k_core(user=5, item=1))
    assert (pair.target.compact().n_users, pair.target.n_items, len(pair.target)) == (6034, 3533, 575_272)
    split = strong_split(pair, test=603, valid=603, seed=0)
    rows = np.flatnonzero(split.test.active_users)
    history, relevant, x = split.history.matrix()[rows], split.test.matrix()[rows], split.train.target.matrix().astype(np.float64)
    p = inv((x.T @ x).toarray() + 800.0 * np.eye(x.shape[1]), assume_a="pos")
    plain = torch.from_numpy(history @ (np.eye(len(p)) - p / np.diag(p)))
    ours = b.EASE(800.0).fit(split.train).score_history(history)
    names = ("ndcg@100", "ndcg@10", "capped_recall@20")
    for name, value in ranking_metrics(ours, relevant, names, seen=history).items():
        assert value.nanmean().item() == pytest.approx(ranking_metrics(plain, relevant, (name,), seen=history)[name].nanmean().item(), abs=5e-5)


# --- twins ------------------------------------------------------------------------------------------------------------

def test_twin_lookup_copies_the_twin():
    pair, s, t = random_pair(60, 10, 12, seed=5, density=0.3)
    t[:, 4] = s[:, 7]                                                                      # one product, listed twice
    t[:5, 4] = 0                                                                           # five users whose twin was held out
    model = b.TwinLookup(0.7).fit(DomainPair(domain(s, "s"), domain(t, "t")))
    scores, popularity = model.score(pair.users).numpy(), t.sum(0) / (t.sum(0).max() + 1)
    np.testing.assert_allclose(scores[:, 4], popularity[4] + s[:, 7], rtol=1e-6)
    np.testing.assert_allclose(np.delete(scores, 4, axis=1), np.tile(np.delete(popularity, 4), (60, 1)), rtol=1e-6)
    held = [f"u{j}" for j in range(5) if s[j, 7]]
    assert (model.recommend(held, k=1).item_id == "t4").all() and held


# --- all of them ------------------------------------------------------------------------------------------------------

# so many neighbours that no tie falls at the cut, where equal similarities are kept by position
ALL = [b.Popularity(), b.ItemKNN(50), b.ItemKNN(50, "bm25"), b.UserKNN("source", 50), b.UserKNN("both", 50), b.EASE(3.0), b.JointEASE(3.0), b.JointEASE(3.0, rows="all"), b.TwinLookup()]

@pytest.mark.parametrize("model", ALL, ids=repr)
@pytest.mark.parametrize("sizes", [(40, 10, 12), (11, 30, 25)])
def test_the_order_of_users_and_rows_does_not_matter(model, sizes):
    pair, s, t = random_pair(*sizes, seed=8, density=0.3)
    g = rng("tests/baselines/order")
    order = g.permutation(sizes[0])
    names = pair.users[order]
    mixed = DomainPair(domain(s[order], "s", names), domain(t[order], "t", names))
    mixed = DomainPair(mixed.source.rows(g.permutation(len(mixed.source))), mixed.target.rows(g.permutation(len(mixed.target))))
    one, two = model.fit(pair).score(pair.users).clone(), model.fit(mixed).score(pair.users)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make, text", [
    (lambda: b.EASE(0), "l2 must be > 0"), (lambda: b.JointEASE(source_weight=-1), "source_weight must be >= 0"), (lambda: b.JointEASE(rows="cold"), "rows must be"),
    (lambda: b.ItemKNN(0), "neighbours must be > 0"), (lambda: b.UserKNN("films"), "domain must be"), (lambda: b.RatingMean(-1), "damping must be >= 0"),
    (lambda: b.RatingMean(by="user"), "by must be"), (lambda: b.BiasModel(user_damping=float("nan")), "user_damping must be"),
    (lambda: b.weigh(sp.csr_array(np.eye(2)), "tfidf"), "weighting must be"), (lambda: b.ease_weights(torch.eye(2), -1), "l2 must be"), (lambda: b.ItemKNN(weighting="tfidf"), "weighting must be")])
def test_bad_settings_are_refused_before_any_work(make, text):
    with pytest.raises(ValueError, match=text): make()


def test_an_interrupted_save_leaves_the_old_model(tmp_path, monkeypatch):
    pair = books()
    b.EASE(2.0).fit(pair).save(tmp_path)
    real, calls = b.atomic_write, []
    def breaks(path, mode="w"):
        calls.append(path)
        if len(calls) == 2: raise OSError("disk full")
        return real(path, mode)
    monkeypatch.setattr(b, "atomic_write", breaks)
    with pytest.raises(OSError, match="disk full"): b.EASE(9.0).fit(pair).save(tmp_path)
    assert b.EASE.load(tmp_path).l2 == 2.0


def test_a_pair_without_source_is_served():
    target = books().target
    pair = DomainPair.single(target)
    for model in (b.EASE(2.0), b.JointEASE(2.0), b.UserKNN("both"), b.UserKNN("source"), b.TwinLookup(), b.BiasModel()):
        assert torch.isfinite(model.fit(pair).score(["Ada"])).all()


def test_the_contract_class_is_no_model():
    with pytest.raises(b.UnsupportedError, match="contract"): b.Recommender().fit(books())


def test_shared_rows_need_shared_users():
    pair, s, t = random_pair(10, 5, 6, density=0.4)
    s[:5], t[5:] = 0, 0
    with pytest.raises(NoSharedUsersError): b.JointEASE(rows="shared").fit(DomainPair(domain(s, "s"), domain(t, "t")))


@pytest.mark.parametrize("first, second", [((60, 8, 9), (12, 30, 40)), ((12, 30, 40), (60, 8, 9))], ids=["primal then dual", "dual then primal"])
def test_refitting_forgets_the_other_form(first, second):
    one, two = random_pair(*first)[0], random_pair(*second)[0]
    model = b.JointEASE(5.0).fit(one).fit(two)
    assert torch.equal(model.score(two.users), b.JointEASE(5.0).fit(two).score(two.users))


def test_a_neighbour_must_have_something_to_tell():
    "u0 is cold; u1 is a perfect likeness but cold too; u2 is less alike and has a book."
    s, t = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1]]), np.array([[0, 0], [0, 0], [0, 1]])
    scores = b.UserKNN("source", 1).fit(DomainPair(domain(s, "s"), domain(t, "t"))).score(["u0"])[0]
    assert scores.tolist() == pytest.approx([0, 0.5])
