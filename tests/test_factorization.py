"""Factor models: hand cases, dense references, objectives that never rise, folding in, identifiability, the implicit library, bad input."""
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from interest_book.baselines import BiasModel, Popularity, UnsupportedError
from interest_book.core import DataError, NotFittedError, ShapeError, rng, six_users
from interest_book.evaluation import evaluate
from interest_book.factorization import (BPR, BiasedMF, Factors, ImplicitALS, TruncatedSVD, _Library, _blocks, _bpr_gradient, _fold_models, _inner, _pairs, _pick, implicit_objective, mf_objective, rotate,
                                         solve_rows, truncated_svd)
from interest_book.interactions import DomainPair, Interactions
from interest_book.splits import kfold_splits, ratio_split
from interest_book.worlds import make_world

library = pytest.mark.skipif(importlib.util.find_spec("implicit") is None, reason="the implicit library is not installed")


def sparse(n, m, density=0.2, seed=0, choices=False):
    x = sp.random_array((n, m), density=density, rng=rng("tests/factorization", seed), format="csr")
    if choices: x.data[:] = 1
    return x


def normal(*shape, seed=0): return torch.from_numpy(rng("tests/normal", seed).standard_normal(shape))


def dense_ridge(x, q, l2, weight=1.0, gram=0.0):
    "Row by row with numpy.linalg.solve."
    out = np.zeros((x.shape[0], q.shape[1]))
    for u in range(x.shape[0]):
        own = slice(x.indptr[u], x.indptr[u + 1])
        of = q[x.indices[own]]
        if len(of): out[u] = np.linalg.solve(gram + weight * of.T @ of + l2[u] * np.eye(q.shape[1]), of.T @ x.data[own])
    return out


@pytest.fixture(scope="module")
def choices(): return make_world(n_users=150, n_target_items=50, seed=1).pair

@pytest.fixture(scope="module")
def ratings(): return make_world(n_users=150, n_target_items=50, feedback="explicit", seed=1).pair


# --- truncated SVD ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_svd_of_a_small_matrix_is_numpys(shape):
    x = sparse(*shape)
    f, (u, s, vh) = truncated_svd(x, 5), np.linalg.svd(x.toarray(), full_matrices=False)
    np.testing.assert_allclose((f.users @ f.items.T).numpy(), (u[:, :5] * s[:5]) @ vh[:5], atol=1e-10)
    assert (f.items[f.items.abs().argmax(0), range(5)] > 0).all()


def test_svd_of_a_large_matrix_finds_the_leading_directions_and_depends_on_nothing_else():
    planted = normal(900, 6).numpy() @ (np.array([30, 25, 20, 16, 12, 9])[:, None] * normal(6, 700, seed=1).numpy())
    x = sp.csr_array(planted + 0.1 * normal(900, 700, seed=2).numpy())
    f, s = truncated_svd(x, 6), np.linalg.svd(x.toarray(), compute_uv=False)
    np.testing.assert_allclose(f.users.norm(dim=0).numpy(), s[:6], rtol=1e-6)
    again = truncated_svd(x, 6, seed=3)
    np.testing.assert_allclose(again.items.numpy(), f.items.numpy(), atol=1e-6)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_svd_refuses_impossible_ranks(k):
    with pytest.raises(ValueError, match="between 1 and 5"): truncated_svd(sparse(9, 5), k)


def test_pure_svd_scores_are_the_projection(choices):
    m = TruncatedSVD(5, user_power=0, item_power=0, popularity=0).fit(choices)
    x = choices.target.matrix("binary").toarray()
    v = np.linalg.svd(x, full_matrices=False)[2][:5].T
    active = choices.target.active_users
    np.testing.assert_allclose(m.score(choices.users).numpy()[active], (x @ v @ v.T)[active], atol=1e-4)


# --- the solver --------------------------------------------------------------------------------------------------------

def test_one_row_by_hand():
    x = sp.csr_array(np.array([[2.0, 0, -1], [0, 0, 0]]))
    q = torch.tensor([[1.0], [5.0], [2.0]], dtype=torch.float64)
    out = solve_rows(x, q, 3.0)
    assert out.tolist() == [[0.0], [0.0]]                                     # 2*1 - 1*2 = 0 over 1 + 4 + 3
    assert float(solve_rows(sp.csr_array(np.array([[2.0, 0, 1]])), q, 3.0)) == pytest.approx(0.5)    # 4 / 8


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 30), m=st.integers(1, 12), d=st.integers(1, 6), weight=st.floats(0.1, 9), seed=st.integers(0, 99), shared=st.booleans())
def test_all_rows_at_once_equal_a_dense_solve_for_each(n, m, d, weight, seed, shared):
    x, q, l2 = sparse(n, m, 0.4, seed), normal(m, d, seed=seed), 0.1 + rng("tests/l2", seed).random(n)
    gram = q.T @ q if shared else None
    found = solve_rows(x, q, torch.from_numpy(l2), weight, gram)
    np.testing.assert_allclose(found.numpy(), dense_ridge(x, q.numpy(), l2, weight, q.numpy().T @ q.numpy() if shared else 0.0), rtol=1e-5, atol=1e-6)
    exact_cg = solve_rows(x, q, torch.from_numpy(l2), weight, gram, steps=4 * d)
    np.testing.assert_allclose(exact_cg.numpy(), found.numpy(), rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40), cells=st.integers(1, 60), most=st.integers(1, 8))
def test_blocks_hold_every_entry_once_and_stay_small(lengths, cells, most):
    x = sp.csr_array(np.array([[float(10 * u + i + 1) if i < n else 0.0 for i in range(9)] for u, n in enumerate(lengths)]))
    back = np.zeros((len(lengths), 10), np.float32)
    seen = []
    for b in _blocks(x, cells=cells, most=most):
        assert len(b.rows) <= most and (b.columns.numel() <= cells or len(b.rows) == 1)
        back[b.rows.numpy()[:, None], b.columns.numpy()] += b.values.numpy()
        seen += b.rows.tolist()
    assert sorted(seen) == [u for u, n in enumerate(lengths) if n] and not back[:, 9].any()
    np.testing.assert_array_equal(back[:, :9], x.toarray().astype(np.float32))


@pytest.mark.parametrize("change, error, words", [(dict(l2=0.0), ValueError, "> 0"), (dict(l2=torch.tensor([1.0, -1, 1])), ValueError, "-1"), (dict(items=torch.ones(4, 2)), ShapeError, "items"),
                                                  (dict(gram=torch.eye(3)), ShapeError, "gram"), (dict(start=torch.ones(1, 2)), ShapeError, "start")])
def test_solver_refuses(change, error, words):
    with pytest.raises(error, match=words): solve_rows(**(dict(rows=sparse(3, 5), items=torch.ones(5, 2), l2=1.0) | change))


# --- ratings ---------------------------------------------------------------------------------------------------------

def test_objective_is_the_plain_double_sum(ratings):
    t, m = ratings.target, BiasedMF(3, l2=0.7, count_power=0.3, bias_l2=0.2, epochs=2).fit(ratings)
    p, q, loss = m.interests_.double().numpy(), m.traits_.double().numpy(), 0.0
    for u, i, r in zip(t.user_codes, t.item_codes, t.ratings): loss += (r - m.mean_ - p[u, 3] - q[i, 3] - p[u, :3] @ q[i, :3]) ** 2
    for x, n in ((p, np.bincount(t.user_codes, minlength=t.n_users)), (q, np.bincount(t.item_codes, minlength=t.n_items))):
        loss += sum(0.7 * max(c, 1)**0.3 * ((row[:3]**2).sum() + 0.2 * row[3]**2) for row, c in zip(x, n))
    assert mf_objective(m, t) == pytest.approx(loss, rel=1e-9)


def test_als_never_raises_the_objective_and_sgd_reaches_the_same_value(ratings):
    als = [mf_objective(BiasedMF(4, l2=2.0, epochs=e).fit(ratings), ratings.target) for e in (1, 2, 3, 5, 8, 60)]
    assert (np.diff(als) <= 1e-6 * als[0]).all()
    sgd = mf_objective(BiasedMF(4, l2=2.0, solver="sgd", epochs=80).fit(ratings), ratings.target)
    assert sgd == pytest.approx(als[-1], rel=0.01)
    assert als[0] > 1.01 * als[-1], "nothing was left to go down"


def test_a_fitted_point_is_stationary(ratings):
    "The gradient of (9.3) vanishes for the people, who were solved last; a wrong penalty or a forgotten bias would show."
    t, m = ratings.target, BiasedMF(4, l2=1.5, bias_l2=0.3, epochs=3).fit(ratings)
    p = m.interests_.double().requires_grad_()
    m.interests_ = p
    q = m.traits_.double()
    e = torch.from_numpy(t.ratings) - m.mean_ - p[t.user_codes, -1] - q[t.item_codes, -1] - (p[t.user_codes, :-1] * q[t.item_codes, :-1]).sum(1)
    n = torch.from_numpy(np.maximum(np.bincount(t.user_codes, minlength=t.n_users), 1)) ** 0.5
    loss = e.square().sum() + 1.5 * (n[:, None] * torch.tensor([1, 1, 1, 1, 0.3]) * p.square()).sum()
    gradient, = torch.autograd.grad(loss, p)
    assert gradient.abs().max() < 1e-3 * 2 * t.ratings.sum() / t.n_users


def test_folding_in_ratings_gives_the_training_answer(ratings):
    m = BiasedMF(4).fit(ratings)
    active = ratings.target.active_users
    torch.testing.assert_close(m.score_ratings(ratings.target.matrix())[active], m.score(ratings.users)[active], rtol=1e-4, atol=1e-4)
    stranger = m.score_ratings(sp.csr_array((1, ratings.target.n_items)))
    torch.testing.assert_close(stranger[0], m.mean_ + m.traits_[:, -1])
    with pytest.raises(ShapeError, match="ratings"): m.score_ratings(sp.csr_array((1, 3)))
    with pytest.raises(NotFittedError): BiasedMF().score_ratings(sp.csr_array((1, 3)))


def test_without_factors_worth_having_it_is_the_bias_model(ratings):
    "A penalty that kills the tastes and leaves the biases."
    t = ratings.target
    m = BiasedMF(2, l2=1e6, count_power=0.0, bias_l2=10.0 / 1e6, epochs=60).fit(ratings)
    reference = BiasModel(10.0, 10.0).fit(ratings)
    torch.testing.assert_close(m.predict(t.users, [t.items[0]] * t.n_users), reference.predict(t.users, [t.items[0]] * t.n_users), rtol=1e-3, atol=1e-3)


def test_planted_low_rank_is_recovered_and_noise_is_not():
    def rmse(model, taste, seed):
        draw = rng("tests/planted", seed)
        full = 3 + 0.5 * draw.standard_normal((150, 1)) + 0.5 * draw.standard_normal(60) + taste(draw)
        mask = draw.random(full.shape) < 0.4
        rows = Interactions([f"u{k}" for k in range(150)], [f"i{k}" for k in range(60)], *np.nonzero(mask), ratings=full[mask], name="planted")
        return float(np.square(model.fit(DomainPair.single(rows)).score(rows.users).numpy() - full)[~mask].mean() ** 0.5)
    planted, noise = (lambda g: g.standard_normal((150, 3)) @ g.standard_normal((3, 60)) / 3**0.5), (lambda g: g.standard_normal((150, 60)))
    for seed in range(3):
        assert rmse(BiasedMF(6, l2=0.3), planted, seed) < 0.45 * rmse(BiasModel(5, 5), planted, seed)
        assert rmse(BiasedMF(6, l2=1.0), noise, seed) > 0.99 * rmse(BiasModel(5, 5), noise, seed)
        assert rmse(BiasedMF(6, l2=1e-3), noise, seed) > 1.2 * rmse(BiasModel(5, 5), noise, seed)


def test_items_and_users_without_ratings_get_means(ratings):
    t = ratings.target
    lonely = Interactions([*t.users, "nobody"], [*t.items, "new"], t.user_codes, t.item_codes, ratings=t.ratings, name="lonely")
    m = BiasedMF(4).fit(DomainPair.single(lonely))
    assert m.score(["nobody"])[0, -1] == pytest.approx(m.mean_, abs=1e-6)
    assert float(m.traits_[-1].abs().max()) == 0


# --- choices -----------------------------------------------------------------------------------------------------------

@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), alpha=st.floats(0.1, 20), d=st.integers(1, 4))
def test_gram_trick_equals_the_sum_over_all_cells(seed, alpha, d):
    x, f = sparse(9, 6, 0.3, seed, choices=True), Factors(normal(9, d, seed=seed), normal(6, d, seed=seed + 1))
    full, s = x.toarray(), (f.users @ f.items.T).numpy()
    lu, li = torch.arange(1, 10.0), torch.arange(2, 8.0)
    slow = ((1 + alpha * full) * (full - s)**2).sum() + float(lu.double() @ f.users.square().sum(1) + li.double() @ f.items.square().sum(1))
    assert implicit_objective(f, x, alpha, lu, li) == pytest.approx(slow, rel=1e-9)
    dense = np.stack([np.linalg.solve((f.items.numpy().T * (1 + alpha * row)) @ f.items.numpy() + 0.5 * np.eye(d), (f.items.numpy().T * (1 + alpha * row)) @ row) for row in full])
    np.testing.assert_allclose(solve_rows((1 + alpha) * x, f.items, 0.5, alpha, f.items.T @ f.items).numpy(), dense, rtol=1e-5, atol=1e-6)


def implicit_loss(m, rows):
    x = rows.matrix("binary")[np.flatnonzero(rows.active_users)]
    l2 = []
    for s in (x, sp.csr_array(x.T)):
        w = s.shape[1] + m.alpha * np.diff(s.indptr)
        l2.append(torch.from_numpy(m.l2 * (w / w.mean()) ** m.count_power))
    return implicit_objective(Factors(m.interests_[torch.from_numpy(rows.active_users)], m.traits_), x, m.alpha, *l2)


@pytest.mark.parametrize("steps", [1, 3, None])
def test_implicit_objective_never_rises(choices, steps):
    losses = [implicit_loss(ImplicitALS(8, l2=5.0, steps=steps, sweeps=s).fit(choices), choices.target) for s in (1, 2, 3, 5, 9)]
    assert (np.diff(losses) <= 1e-6 * losses[0]).all() and losses[-1] < losses[0]


def test_folding_in_choices_gives_the_training_answer(choices):
    m = ImplicitALS(8).fit(choices)
    active = choices.target.active_users
    torch.testing.assert_close(m.score_history(choices.target.matrix())[active], m.score(choices.users)[active], rtol=1e-3, atol=1e-4)


@library
def test_a_half_step_is_the_implicit_librarys():
    "Their confidence c is our 1 + alpha; same items, same penalty, same users."
    from implicit.cpu.als import AlternatingLeastSquares
    x, q = sparse(60, 40, 0.15, choices=True), normal(40, 8).float()
    theirs = AlternatingLeastSquares(factors=8, regularization=2.5, alpha=7.0, use_cg=False, num_threads=1)
    theirs.item_factors, theirs._YtY = q.numpy().copy(), None
    found = theirs.recalculate_user(np.arange(60), sp.csr_matrix(x.astype(np.float32)))
    ours = solve_rows(7.0 * x.astype(np.float32), q, 2.5, 6.0, q.T @ q)
    np.testing.assert_allclose(ours.numpy(), found, rtol=1e-3, atol=1e-4)


@library
def test_our_fit_is_as_good_as_the_librarys_on_a_world():
    scores = {"ours": [], "theirs": []}
    for seed in range(3):
        s = ratio_split(make_world(n_users=300, seed=seed).pair, seed=seed)
        for name, m in (("ours", ImplicitALS(16, l2=20.0, alpha=5.0, count_power=0.0)), ("theirs", _Library("als", 16, 20.0, 6.0))):
            scores[name].append(float(evaluate(m.fit(s.train), s, ("ndcg@10",)).summary()["ndcg@10"]))
    assert np.mean(scores["ours"]) > np.mean(scores["theirs"]) - 0.02


# --- pairs -------------------------------------------------------------------------------------------------------------

def test_bpr_gradient_is_autograds():
    p, q = torch.cat([normal(7, 3), torch.ones(7, 1)], 1).requires_grad_(), normal(9, 4, seed=1).requires_grad_()
    pairs = _pairs(sp.csr_array(sparse(7, 9, 0.4, choices=True)), torch.Generator().manual_seed(0), None, "cpu")
    u, i, j = pairs
    value = (torch.nn.functional.logsigmoid((p[u] * (q[i] - q[j])).sum(1)) - 0.15 * (p[u].square() .sum(1) + q[i].square().sum(1) + q[j].square().sum(1))).sum()
    for ours, auto in zip(_bpr_gradient(p.detach(), q.detach(), pairs, 0.3), torch.autograd.grad(value, [p, q])): torch.testing.assert_close(ours, auto)


def test_sampled_items_are_never_the_users_and_follow_the_weights():
    x = sp.csr_array(np.tile([1.0, 1, 0, 0, 0], (4000, 1)))
    u, i, j = _pairs(x, torch.Generator().manual_seed(0), torch.tensor([1.0, 1, 1, 2, 4]).double().cumsum(0), "cpu")
    assert set(i.tolist()) == {0, 1} and set(j.tolist()) == {2, 3, 4}
    share = np.bincount(j.numpy(), minlength=5)[2:] / len(j)
    np.testing.assert_allclose(share, np.array([1, 2, 4]) / 7, atol=4 * (0.25 / len(j)) ** 0.5)


def test_bpr_learns_order_and_popular_negatives_take_popularity_out():
    s = ratio_split(make_world(n_users=300, popularity_skew=1.0, seed=0).pair, seed=0)
    found = {p: BPR(8, epochs=15, negative_power=p).fit(s.train) for p in (0.0, 1.0)}
    value = {p: float(evaluate(m, s, ("auc",)).summary()["auc"]) for p, m in found.items()}
    floor = float(evaluate(Popularity().fit(s.train), s, ("auc",)).summary()["auc"])
    assert value[0.0] > floor
    count = torch.from_numpy(np.asarray(s.train.target.matrix("binary").sum(0)).ravel())
    leaning = {p: float(np.corrcoef(m.score(s.train.users).mean(0), count)[0, 1]) for p, m in found.items()}
    assert leaning[1.0] < leaning[0.0] - 0.1


# --- identifiability -----------------------------------------------------------------------------------------------------

@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), d=st.integers(1, 6))
def test_rotation_changes_everything_but_the_scores(seed, d):
    f = Factors(normal(12, d, seed=seed), normal(8, d, seed=seed + 1))
    a = normal(d, d, seed=seed + 2) + 3 * torch.eye(d)
    g = rotate(f, a)
    torch.testing.assert_close(g.users @ g.items.T, f.users @ f.items.T, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(g.users, f.users @ a)


def test_rotate_refuses():
    f = Factors(normal(5, 2), normal(4, 2))
    with pytest.raises(ValueError, match="no inverse"): rotate(f, torch.ones(2, 2))
    with pytest.raises(ShapeError, match="matrix"): rotate(f, torch.eye(3))


def test_two_seeds_agree_in_scores_and_not_in_factors_and_their_average_is_broken(choices):
    a, b = (ImplicitALS(8, l2=5.0, sweeps=30, seed=s).fit(choices) for s in (0, 1))
    one, two = (m.interests_ @ m.traits_.T for m in (a, b))
    middle = (a.interests_ + b.interests_) / 2 @ ((a.traits_ + b.traits_) / 2).T
    assert (one - two).norm() < 0.1 * one.norm() < (middle - one).norm()
    assert (a.interests_ - b.interests_).norm() > 0.5 * a.interests_.norm()


# --- settings ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("make, words", [(lambda: BiasedMF(0), "factors"), (lambda: BiasedMF(l2=-1), "l2"), (lambda: BiasedMF(solver="adam"), "solver"), (lambda: ImplicitALS(alpha=0), "alpha"),
                                         (lambda: ImplicitALS(l2=0), "l2"), (lambda: BPR(lr=0), "lr"), (lambda: BPR(negative_power=-0.5), "negative_power"), (lambda: ImplicitALS(steps=0), "steps"), (lambda: TruncatedSVD(0), "factors"), (lambda: BiasedMF(l2=float("nan")), "l2")])
def test_bad_settings_are_named(make, words):
    with pytest.raises(ValueError, match=words): make()


def test_models_say_what_they_cannot_do(choices, ratings):
    with pytest.raises(DataError, match="needs ratings"): BiasedMF().fit(choices)
    with pytest.raises(UnsupportedError, match="training"): BPR(4, epochs=1).fit(choices).score_history(choices.target.matrix()[:2])


@pytest.fixture(scope="module")
def fold():
    return kfold_splits(DomainPair.single(make_world(n_users=120, feedback="explicit", seed=2).pair.target), k=5, valid=0)[0]


def test_settings_are_chosen_on_training_rows_only(fold):
    "Where a split has no validation rows, a tenth of its training rows stands in; no test row is in either part, and test rows that flatter the bad setting change nothing."
    inner = _inner(fold)
    cells = lambda rows: set(zip(rows.user_codes, rows.item_codes))
    held_out, kept = cells(inner.validation.test), cells(inner.train.target)
    assert not held_out & kept and held_out | kept == cells(fold.train.target) and len(held_out) == pytest.approx(0.1 * len(fold.train.target), rel=0.2)
    tiny, good = (lambda: BiasedMF(8, l2=1e-4)), (lambda: BiasedMF(8, l2=2.0))
    t = fold.test
    flattery = tiny().fit(fold.train).predict(t.users[t.user_codes], t.items[t.item_codes]).double().numpy()          # a test that the bad setting would win
    for split in (fold, replace(fold, test=Interactions(t.users, t.items, t.user_codes, t.item_codes, ratings=flattery, name="flattery"))):
        found = _pick({"mf": {"tiny": tiny, "good": good}, "alone": {"": tiny}}, split, "rmse")
        assert found["mf"] is good and found["alone"] is tiny


def test_a_split_with_validation_rows_is_used_as_it_is():
    split = ratio_split(make_world(n_users=120, seed=2).pair, seed=0)
    assert _inner(split) is split


def test_both_solvers_get_the_same_penalties():
    little = DomainPair.single(make_world(n_users=40, n_target_items=20, feedback="explicit", seed=2).pair.target)
    made = {name: make() for name, make in _fold_models(kfold_splits(little, k=5, valid=0)[0]).items()}
    als, sgd = made["biased MF, ALS"].params(), made["biased MF, SGD"].params()
    assert sgd == als | {"solver": "sgd", "epochs": 20} and als["solver"] == "als"
