"""Chapter 10: maps against independent references, properties, bad input, and the models on worlds."""
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import example, given, settings, strategies as st

from interest_book.baselines import Popularity, RatingMean, UnsupportedError
from interest_book.core import DataError, ShapeError, rng
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.linear_mapping import (
    EMCDR, MAPPINGS, BiasBridge, FusedEMCDR, PlainBridge, bias_slope, canonical_correlations, cca_map, choose_alpha, field_models, fit_bridge, fit_mapping, fuse,
    interest_matrix, least_squares_map, loo_error, loo_residuals, procrustes_map, rating_variances, ratings_record, reduced_rank_map, residual_matrix, reshrink,
    ridge_map, score_ridge_map, truncated_svd)
from interest_book.splits import cold_start_split
from interest_book.worlds import make_world


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"tests/linear_mapping/{name}", seed).standard_normal(shape))

X, Y = draw(60, 5), draw(60, 4, name="y")
same = lambda a, b, tol=1e-9: torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=tol, atol=tol)

# shapes (users, source factors, target factors, seed) of small normal tables
tables = st.tuples(st.integers(3, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
fat_or_tall = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(0, 10**6))      # as often fewer users than factors as more


def table(shape):
    n, d, k, seed = shape
    return draw(n, d, name="hx", seed=seed), draw(n, k, name="hy", seed=seed)


class TestReferences:
    def test_least_squares_is_lstsq(self): same(least_squares_map(X, Y), np.linalg.lstsq(X.numpy(), Y.numpy(), rcond=None)[0])

    def test_least_squares_with_few_users_is_the_smallest(self):
        w = least_squares_map(X[:3], Y[:3])
        same(w, np.linalg.lstsq(X[:3].numpy(), Y[:3].numpy(), rcond=None)[0])
        same(X[:3] @ w, Y[:3])

    @pytest.mark.parametrize("rows", [60, 3])      # primal and dual
    @pytest.mark.parametrize("alpha", [1e-3, 1.0, 50.0])
    def test_ridge_is_sklearn(self, rows, alpha):
        from sklearn.linear_model import Ridge
        same(ridge_map(X[:rows], Y[:rows], alpha), Ridge(alpha=alpha, fit_intercept=False, solver="svd").fit(X[:rows].numpy(), Y[:rows].numpy()).coef_.T, 1e-7)

    def test_ridge_on_six_numbers(self):
        same(ridge_map(torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[2.0], [3.0]]).double(), 3.0), torch.tensor([[1.0]]).double())   # (2 + 6) / (1 + 4 + 3)

    def test_procrustes_is_scipy(self):
        from scipy.linalg import orthogonal_procrustes
        same(procrustes_map(X, X.flip(1) + Y[:, :1]), orthogonal_procrustes(X.numpy(), (X.flip(1) + Y[:, :1]).numpy())[0])

    def test_canonical_correlations_are_sklearns(self):
        from sklearn.cross_decomposition import CCA
        xc, yc = X - X.mean(0), Y - Y.mean(0)
        a, b = CCA(3, scale=False, max_iter=5000, tol=1e-12).fit_transform(xc.numpy(), yc.numpy())
        left, right, rho = canonical_correlations(xc, yc)
        same(rho[:3], [np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(3)], 1e-5)
        same((xc @ left).T @ (xc @ left), torch.eye(4).double(), 1e-7)
        same((xc @ left).T @ (yc @ right), torch.diag(rho), 1e-7)

    def test_svd_small_is_exact(self):
        m = sp.random_array((40, 30), density=0.3, rng=rng("tests/svd"), format="csr")
        f, s = truncated_svd(m, 5), np.linalg.svd(m.toarray(), compute_uv=False)
        same(f.users.norm(dim=0), s[:5], 1e-7)
        assert ((m.toarray() - (f.users @ f.items.T).numpy()) ** 2).sum() == pytest.approx((s[5:] ** 2).sum(), rel=1e-9)
        assert (f.items[f.items.abs().argmax(0), torch.arange(5)] > 0).all()

    @pytest.mark.parametrize("shape", [(600, 900), (900, 600)])
    def test_svd_large_is_near_the_best(self, shape):
        m = sp.random_array(shape, density=0.05, rng=rng("tests/svd-large"), format="csr")
        f, s = truncated_svd(m, 10), np.linalg.svd(m.toarray(), compute_uv=False)
        lost = ((m.toarray() - (f.users @ f.items.T).numpy()) ** 2).sum()
        assert (s[10:] ** 2).sum() * (1 - 1e-9) <= lost <= (s[10:] ** 2).sum() * 1.003
        same(f.items.T @ f.items, torch.eye(10).double())
        again = truncated_svd(m, 10)
        assert torch.equal(again.items, f.items) and torch.equal(again.users, f.users)

    def test_score_ridge_is_the_kronecker_system(self):
        q = draw(30, 4, name="q")
        system = torch.kron(X.T @ X, q.T @ q) + 2.0 * torch.eye(20)
        same(score_ridge_map(X, Y, q, 2.0), torch.linalg.solve(system, (X.T @ Y @ q.T @ q).flatten()).reshape(5, 4))

    def test_score_ridge_with_orthonormal_items_is_ridge(self):
        q = torch.linalg.qr(draw(30, 4, name="q"))[0]
        same(score_ridge_map(X, Y, q, 2.0), ridge_map(X, Y, 2.0))

    def test_reduced_rank_beats_an_optimiser(self):
        l, r = (draw(*s, name="opt").requires_grad_() for s in ((5, 2), (2, 4)))
        for _ in range(300):     # alternating least squares on the same problem
            with torch.no_grad():
                r = torch.linalg.lstsq(X @ l, Y).solution
                l = torch.linalg.pinv(X) @ Y @ r.T @ torch.linalg.inv(r @ r.T)
        w = reduced_rank_map(X, Y, 2)
        assert torch.linalg.matrix_rank(w) == 2
        assert (X @ w - Y).square().sum().item() == pytest.approx((X @ l @ r - Y).square().sum().item(), rel=1e-6)


class TestLeaveOneOut:
    def brute(self, x, y, alpha, centred):
        out = []
        for i in range(len(x)):
            k = torch.arange(len(x)) != i
            mx, my = (x[k].mean(0), y[k].mean(0)) if centred else (0, 0)
            out.append(y[i] - my - (x[i] - mx) @ ridge_map(x[k] - mx, y[k] - my, alpha))
        return torch.stack(out)

    @settings(max_examples=25, deadline=None)
    @given(tables, st.floats(0.1, 20), st.booleans())
    def test_is_brute_force(self, shape, alpha, centred):
        x, y = table(shape)
        a, b = (x - x.mean(0), y - y.mean(0)) if centred else (x, y)
        same(loo_residuals(a, b, alpha, centred), self.brute(x, y, alpha, centred), 1e-7)

    def test_choice_is_the_minimum(self):
        alphas = [0.1, 1.0, 10.0, 100.0]
        assert choose_alpha(X, Y, alphas) == min(alphas, key=lambda a: self.brute(X, Y, a, False).square().sum())

    def test_choice_follows_the_units(self): assert choose_alpha(10 * X, Y) == pytest.approx(100 * choose_alpha(X, Y))

    def test_no_relation_explains_nothing(self):
        y = draw(60, 40, name="unrelated")
        alpha = choose_alpha(X, y)
        assert alpha > X.square().sum() / 5 and abs(1 - loo_error(X, y, alpha) / y.square().sum(1).mean()) < 0.02

    def test_clear_relation_asks_for_little(self): assert choose_alpha(X, X @ draw(5, 4, name="m")) < 1e-2 * X.square().sum() / 5


class TestProperties:
    @settings(max_examples=25, deadline=None)
    @given(tables)
    def test_norm_falls_with_the_penalty(self, shape):
        x, y = table(shape)
        norms = [ridge_map(x, y, a).norm().item() for a in (0.1, 1.0, 10.0, 100.0)]
        assert all(a >= b - 1e-12 for a, b in zip(norms, norms[1:]))

    @settings(max_examples=25, deadline=None)
    @given(fat_or_tall, st.floats(0.01, 10))
    @example((3, 7, 2, 0), 1.0).via("fewer users than factors: the dual branch")
    @example((7, 3, 2, 0), 1.0).via("more users than factors: the primal branch")
    def test_primal_is_dual(self, shape, alpha):
        x, y = table(shape)
        w = ridge_map(x, y, alpha)
        same(w, x.T @ torch.linalg.solve(x @ x.T + alpha * torch.eye(len(x)), y), 1e-7)
        same(w, torch.linalg.solve(x.T @ x + alpha * torch.eye(x.shape[1]), x.T @ y), 1e-7)

    @settings(max_examples=25, deadline=None)
    @given(tables, st.floats(0.1, 10))
    def test_order_of_users_does_not_matter(self, shape, alpha):
        x, y = table(shape)
        p = torch.from_numpy(rng("tests/perm", shape[3]).permutation(len(x)))
        same(ridge_map(x[p], y[p], alpha), ridge_map(x, y, alpha), 1e-9)

    def test_rotations_pass_through_ridge_and_only_they(self):
        a, b = draw(5, 5, name="a"), draw(4, 4, name="b")
        qa, qb = torch.linalg.qr(a)[0], torch.linalg.qr(b)[0]
        same(ridge_map(X @ qa, Y @ qb, 3.0), qa.T @ ridge_map(X, Y, 3.0) @ qb)
        assert (a @ ridge_map(X @ a, Y, 3.0) - ridge_map(X, Y, 3.0)).norm() > 1e-2
        same(a @ least_squares_map(X @ a, Y @ b), least_squares_map(X, Y) @ b)

    def test_procrustes_finds_the_rotation_and_keeps_lengths(self):
        q = torch.linalg.qr(draw(5, 5, name="q"))[0]
        same(procrustes_map(X[:5], X[:5] @ q), q)
        noisy = procrustes_map(X, X @ q + 0.3 * draw(60, 5, name="e"))
        same((X @ noisy).norm(dim=1), X.norm(dim=1))

    def test_correlations_ignore_coordinates(self):
        same(canonical_correlations(X @ draw(5, 5, name="a"), Y @ draw(4, 4, name="b"))[2], canonical_correlations(X, Y)[2], 1e-6)

    def test_cca_survives_a_column_without_variance(self):
        x = torch.hstack([X, torch.zeros(60, 1)])
        same(cca_map(x, Y)[:5], least_squares_map(X, Y), 1e-7)
        assert (cca_map(x, Y)[5] == 0).all()

    def test_full_rank_is_no_restriction(self):
        same(reduced_rank_map(X, Y, 4, 2.0), ridge_map(X, Y, 2.0))
        same(cca_map(X, Y), least_squares_map(X, Y), 1e-7)


class TestNoise:
    def test_reshrink(self):
        c, e, f = (m @ m.T + torch.eye(3) for m in (draw(3, 3, name=n) for n in "cef"))
        w = draw(3, 2, name="w")
        same(reshrink(torch.linalg.solve(c + e, c @ w), c + e, e, f), torch.linalg.solve(c + f, c @ w))
        same(reshrink(w, c + e, e, e), w)

    def test_noise_cannot_exceed_the_whole(self):
        with pytest.raises(ValueError, match="noise is larger"): reshrink(torch.eye(2), torch.eye(2), 2 * torch.eye(2), torch.eye(2))

    def test_variances_come_back(self):
        found = []
        for seed in range(20):
            g = rng("tests/variances", seed)
            rows = np.argwhere(g.random((150, 80)) < 0.2)
            r = 3 + g.normal(0, 0.5, 150)[rows[:, 0]] + g.normal(0, 0.7, 80)[rows[:, 1]] + g.normal(0, 1, len(rows))
            v = rating_variances(Interactions([f"u{i}" for i in range(150)], [f"i{i}" for i in range(80)], *rows.T, ratings=r))
            found.append((v.noise, v.user, v.item))
        mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / 20**0.5
        assert (np.abs(mean - [1, 0.25, 0.49]) < 4 * error).all(), (mean, error)

    def test_moment_equations_are_traces(self):
        """E[r'Mr] = trace(M Cov r) for the three quadratic forms, on a lopsided pattern."""
        from interest_book.linear_mapping import _moment_equations
        rows = np.argwhere(rng("tests/pattern").random((15, 6)) < np.linspace(0.1, 0.9, 15)[:, None])
        inter = Interactions([f"u{i}" for i in range(15)], [f"i{i}" for i in range(6)], *rows.T, ratings=np.zeros(len(rows)))
        same_ = [np.equal.outer(c, c).astype(float) for c in rows.T]
        centre = np.eye(len(rows)) - 1 / len(rows)
        forms = [centre @ m @ centre for m in (np.eye(len(rows)), *(s / s.sum(1, keepdims=True) for s in same_))]
        same(_moment_equations(inter, np.zeros(len(rows)))[0], np.array([[np.trace(m @ c) for c in (np.eye(len(rows)), *same_)] for m in forms]))

    def test_slope_by_hand(self):
        # weights 1 / (0 + 1 / n) = n: sum n b m / sum n b^2 = (1 * 1 * 2 + 3 * 2 * 1) / (1 + 3 * 4)
        assert bias_slope(np.array([1.0, 2.0]), np.array([2.0, 3.0]), np.array([1, 3]), 1.0, 0.0) == pytest.approx(8 / 13)

    def test_fuse_by_hand_and_in_the_limits(self):
        m, o, eye = torch.tensor([[1.0, 1.0]]), torch.tensor([[4.0, 0.0]]), torch.eye(2)
        same(fuse(m, o, 2 * eye, eye), torch.tensor([[2.0, 2 / 3]]), 1e-6)
        same(fuse(m, o, eye, 0 * eye), m)
        same(fuse(m, o, 1e-9 * eye, eye), o, 1e-6)
        same(fuse(m, o, eye, torch.stack([eye])), fuse(m, o, eye, eye))


class TestBadInput:
    @pytest.mark.parametrize("fit", [least_squares_map, ridge_map, procrustes_map, cca_map, canonical_correlations, choose_alpha, lambda a, b: reduced_rank_map(a, b, 1)])
    def test_rows(self, fit):
        with pytest.raises(ShapeError, match="same shared user"): fit(X[:-1], Y)
        with pytest.raises(ShapeError, match="no rows"): fit(X[:0], Y[:0])
        with pytest.raises(ShapeError): fit(X[0], Y)
        bad = Y.clone()
        bad[0, 0] = float("inf")
        with pytest.raises(ValueError, match="NaN or infinity"): fit(X, bad)

    @pytest.mark.parametrize("alpha", [-1.0, float("nan")])
    def test_penalty(self, alpha):
        for fit in (ridge_map, loo_residuals, lambda x, y, a: score_ridge_map(x, y, draw(9, 4), a), lambda x, y, a: cca_map(x, y, alpha=a)):
            with pytest.raises(ValueError, match="alpha"): fit(X, Y, alpha)
        with pytest.raises(ValueError, match="alpha"): EMCDR(alpha=alpha)

    def test_zero_penalty_has_no_left_out_error(self):
        with pytest.raises(ValueError, match="alpha must be > 0"): loo_error(X, Y, 0.0)
        for alphas in ([], [0.0, 1.0]):
            with pytest.raises(ValueError, match="alphas"): choose_alpha(X, Y, alphas)

    @pytest.mark.parametrize("rank", [0, 5, 99])
    def test_rank(self, rank):
        with pytest.raises(ValueError, match="rank must be between 1 and 4"): reduced_rank_map(X, Y, rank)
        with pytest.raises(ValueError, match="rank must be between 1 and 4"): cca_map(X, Y, rank)

    def test_sizes(self):
        with pytest.raises(ShapeError): procrustes_map(X, Y)
        with pytest.raises(ShapeError, match="items"): score_ridge_map(X, Y, draw(9, 3))
        with pytest.raises(ShapeError, match="own_precision"): fuse(X, X, torch.eye(5), torch.eye(4))
        for factors in (0, 31):
            with pytest.raises(ValueError, match="factors must be between 1 and 30"): truncated_svd(sp.eye_array(30, format="csr"), factors)

    def test_settings(self):
        with pytest.raises(ValueError, match="mapping"): EMCDR(mapping="magic")
        with pytest.raises(ValueError, match="mapping"): fit_mapping(X, Y, "magic")
        with pytest.raises(ValueError, match="factors"): EMCDR(factors=0)
        with pytest.raises(ValueError, match="prior_rows"): FusedEMCDR(prior_rows=-1)
        with pytest.raises(ValueError, match="damping"): PlainBridge(-1.0)
        with pytest.raises(ValueError, match="feedback"): field_models("stars")


@pytest.fixture(scope="module")
def linear():
    world = make_world(seed=1)
    return world, cold_start_split(world.pair, seed=1)

@pytest.fixture(scope="module")
def rated():
    world = make_world(feedback="explicit", seed=1)
    return world, cold_start_split(world.pair, seed=1)

def value(model, split, metric="ndcg@10"): return evaluate(model.fit(split.train), split, metric).summary()[metric]


class TestModels:
    @pytest.mark.parametrize("mapping", MAPPINGS)
    def test_every_map_beats_popularity_and_not_the_oracle(self, linear, mapping):
        world, split = linear
        found, floor = value(EMCDR(8, mapping, device="cpu"), split), value(Popularity(device="cpu"), split)
        assert floor + 0.05 < found < world.best_score(split, "ndcg@10")

    def test_nothing_to_carry_carries_nothing(self):
        gaps = []
        for seed in range(6):
            world = make_world(relation="none", seed=seed)
            split = cold_start_split(world.pair, seed=seed)
            gaps.append(value(EMCDR(8, device="cpu"), split) - value(Popularity(device="cpu"), split))
        assert np.mean(gaps) < 0.02

    def test_cold_users_do_not_reach_the_fit(self, linear):
        """Whatever the cold users' target rows are, the model is the same: they are not in training."""
        world, split = linear
        model = EMCDR(8, device="cpu").fit(split.train)
        users = split.test_users
        assert not split.train.target.active_users[split.train.target.user_index(users)].any()
        rows = torch.from_numpy(split.train.shared)
        source, target = (truncated_svd(interest_matrix(d), 8) for d in (split.train.source, split.train.target))
        a, b = source.users[rows], target.users[rows]
        alpha = choose_alpha(a - a.mean(0), b - b.mean(0), centred=True)
        w = ridge_map(a - a.mean(0), b - b.mean(0), alpha)
        same(model.map_, w)
        codes = split.train.target.user_index(users)
        same(model.interests_[codes], (b.mean(0) + (source.users[codes] - a.mean(0)) @ w).float(), 1e-5)

    def test_warm_users_keep_their_own_interests(self, linear):
        _, split = linear
        model = EMCDR(8, device="cpu").fit(split.train)
        warm = split.train.target.users[split.train.target.active_users][:5]
        rows = split.train.target.matrix("binary")[split.train.target.user_index(warm)]
        torch.testing.assert_close(model.score(warm), model.score_history(rows), rtol=1e-4, atol=1e-5)

    def test_unknown_person_gets_the_mean_interest(self, linear):
        _, split = linear
        model = EMCDR(8, device="cpu").fit(split.train)
        empty = sp.csr_array((1, split.train.target.n_items), dtype=np.float32)
        torch.testing.assert_close(model.score_history(empty)[0], (model.traits_ @ model.mean_) * model.gain_)

    def test_fusion_runs_from_own_to_mapped(self, linear):
        _, split = linear
        warm = split.train.users[split.train.shared][:20]
        score = lambda m: m.fit(split.train).score(warm)
        torch.testing.assert_close(score(FusedEMCDR(8, prior_rows=0.0, device="cpu")), score(EMCDR(8, device="cpu")))
        cold = split.test_users[:5]
        torch.testing.assert_close(FusedEMCDR(8, device="cpu").fit(split.train).score(cold), EMCDR(8, device="cpu").fit(split.train).score(cold))

    def test_same_seed_same_model(self, linear):
        _, split = linear
        a, b = (EMCDR(8, device="cpu").fit(split.train).score(split.test_users) for _ in range(2))
        assert torch.equal(a, b)

    def test_more_factors_than_the_matrix_has_are_cut(self, linear):
        _, split = linear
        assert EMCDR(5000, device="cpu").fit(split.train).interests_.shape[1] == 120

    def test_no_shared_users(self, linear):
        _, split = linear
        source = split.train.source
        apart = DomainPair(source.rows(~split.train.shared[source.user_codes]), split.train.target)
        with pytest.raises(NoSharedUsersError): EMCDR(device="cpu").fit(apart)

    def test_ranker_predicts_no_ratings(self, linear):
        _, split = linear
        model = EMCDR(4, device="cpu").fit(split.train)
        with pytest.raises(UnsupportedError, match="does not predict"): model.predict(split.test_users[:1], split.test.items[:1])
        for bridge in (BiasBridge(), PlainBridge()):
            with pytest.raises(DataError, match="no ratings"): bridge.fit(split.train)

    def test_ratings(self, rated):
        world, split = rated
        item, plain, bridge, both = (value(m, split, "rmse") for m in (RatingMean(device="cpu"), PlainBridge(device="cpu"), BiasBridge(device="cpu"), EMCDR(4, device="cpu")))
        assert world.best_score(split, "rmse") < both < bridge < item and plain < item

    def test_ratings_model_on_new_people(self, rated):
        _, split = rated
        model = EMCDR(4, device="cpu").fit(split.train)
        with pytest.raises(UnsupportedError): model.score_history(split.train.target.matrix()[:2])
        lo, hi = split.train.target.ratings.min(), split.train.target.ratings.max()
        p = model.predict(list(split.test.frame.user_id), list(split.test.frame.item_id))
        assert lo <= p.min() and p.max() <= hi

    def test_bridge_ends_where_evidence_ends(self, rated):
        """No source rows and no target rows: bias 0. Many target rows: own mean, whatever the source says."""
        _, split = rated
        bridge = fit_bridge(split.train)
        neither = ~split.train.source.active_users & ~split.train.target.active_users
        assert (bridge.user_bias[neither] == 0).all()
        cold = split.train.source.active_users & ~split.train.target.active_users
        assert np.corrcoef(bridge.user_bias[cold], [split.train.source.ratings[split.train.source.user_codes == u].mean() for u in np.flatnonzero(cold)])[0, 1] > 0.5

    def test_own_ratings_correct_what_is_carried_over(self, rated):
        """Among warm users the fused bias is nearer to the own mean residual than the carried one, the more so the longer the history."""
        _, split = rated
        bridge, target = fit_bridge(split.train), split.train.target
        own = target.ratings - bridge.mean - bridge.item_bias[target.item_codes]
        n = np.bincount(target.user_codes, minlength=target.n_users)
        mean = np.bincount(target.user_codes, own, target.n_users) / np.maximum(n, 1)
        gap = np.abs(bridge.user_bias - mean)
        lengths = np.quantile(n[n > 0], [0.25, 0.75])
        short, long = gap[(n > 0) & (n <= lengths[0])].mean(), gap[n >= lengths[1]].mean()
        assert long < short and long < 0.1 and np.corrcoef(bridge.user_bias[n > 0], mean[n > 0])[0, 1] > 0.9

    def test_residuals_have_no_biases_left(self, rated):
        _, split = rated
        left = residual_matrix(split.train.target)
        assert abs(left.sum()) / left.nnz < 0.01
        assert left.nnz == len(split.train.target)

    @pytest.mark.parametrize("make", [lambda: EMCDR(8, device="cpu"), lambda: FusedEMCDR(8, device="cpu"), ])
    def test_save_and_load(self, linear, make, tmp_path):
        _, split = linear
        model = make().fit(split.train)
        model.save(tmp_path / "m")
        again = type(model).load(tmp_path / "m", device="cpu")
        assert torch.equal(again.score(split.test_users), model.score(split.test_users)) and again.params() == model.params()

    def test_field_models_can_be_made(self):
        for feedback in ("implicit", "explicit"):
            for grid in field_models(feedback).values():
                for make in grid.values(): assert make().params()

    def test_interest_matrix_rows(self, linear):
        _, split = linear
        m = interest_matrix(split.train.target, 0.0)
        lengths = np.sqrt((m.multiply(m)).sum(1))
        assert np.allclose(lengths[split.train.target.active_users], 1) and (lengths[~split.train.target.active_users] == 0).all()


def test_record_has_what_a_reader_needs(rated):
    world, _ = rated
    record = ratings_record(world.pair, "test", seeds=(0, 1))
    assert {r["model"] for r in record["results"]} == {"global mean", "item mean", "PlainBridge", "BiasBridge", "EMCDR"}
    assert len({r["fingerprint"] for r in record["results"]}) == 2 and len(record["comparisons"]) == 8
    assert record["command"] == "python tools/records.py --only test"
    assert ratings_record(world.pair, "test", seeds=(0,), command="by hand")["command"] == "by hand"


@pytest.mark.gpu
def test_cpu_agrees_with_gpu():
    if not torch.cuda.is_available(): pytest.skip("no CUDA device")
    for fit in (least_squares_map, lambda a, b: ridge_map(a, b, 2.0), lambda a, b: cca_map(a, b, 2), lambda a, b: reduced_rank_map(a, b, 2, 1.0)):
        same(fit(X.cuda(), Y.cuda()).cpu(), fit(X, Y), 1e-7)


@pytest.mark.field
def test_douban_record_is_reproduced():
    from interest_book.core import read_record
    folder = Path(os.environ.get("INTEREST_BOOK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "douban_book_music").is_dir(): pytest.skip("Douban data is not on this machine")
    os.environ.setdefault("INTEREST_BOOK_DATA", str(folder))
    os.environ.setdefault("INTEREST_BOOK_RECORDS", str(Path(__file__).parents[1] / "nbs" / "records"))
    from interest_book.datasets import load
    name = "10_douban_cold_ratings_books_to_music"
    new, old = ratings_record(load("douban_book_music"), name, seeds=(0,)), read_record(name)
    stored = {r["model"]: r for r in old["results"] if r["seed"] == 0}
    for r in new["results"]:
        assert r["fingerprint"] == stored[r["model"]]["fingerprint"]
        assert r["metrics"]["rmse"] == pytest.approx(stored[r["model"]]["metrics"]["rmse"], rel=1e-5)
