"""Chapter 12: discrepancies, transport, adversaries and anchors against independent references; what no method can find; bad input."""
import builtins
from itertools import permutations, product

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import jensenshannon
from torch import nn

from interest_book.alignment import (
    METHODS, AlignedEMCDR, _anchor_rows, _distance_profiles, _symmetric_power, align, anchored_rotation, anchors_record, barycentric_projection, choose_trust,
    coral_loss, coral_map, fit_adversarial_map, fit_gan_map, fit_mmd_map, gaussian_ot_map, gaussian_w2, gromov_wasserstein, joint_error_bound, js_divergence,
    mmd2, pairing_cost, permutation_test, reverse_gradient, ridge_towards, sinkhorn)
from interest_book.baselines import Popularity
from interest_book.core import DataError, ShapeError, UnavailableError, rng
from interest_book.evaluation import evaluate, record_table
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.linear_mapping import ridge_map
from interest_book.splits import cold_start_split
from interest_book.worlds import make_world, random_rotation


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"tests/alignment/{name}", seed).standard_normal(shape))
def rotation(d, seed=0): return torch.from_numpy(random_rotation(d, rng("tests/alignment/rotation", seed)))
def same(a, b, tol=1e-8): torch.testing.assert_close(torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64), rtol=tol, atol=tol)
def error(guess, real): return ((guess - real).square().sum() / (real - real.mean(0)).square().sum()).item()

def squared_distances(x, y): return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")**2
def covariance(x): return torch.from_numpy(np.atleast_2d(np.cov(x.T.numpy())))

X, Y = draw(40, 3), draw(30, 3, name="y") @ draw(3, 3, name="mix") + 1
clouds = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4), st.integers(0, 10**6))
def two(shape):
    n, m, d, seed = shape
    return draw(n, d, name="hx", seed=seed), draw(m, d, name="hy", seed=seed)


class TestDiscrepancy:
    @settings(max_examples=12, deadline=None)
    @given(clouds, st.floats(0.3, 3))
    def test_is_the_double_loop(self, shape, h):
        x, y = two(shape)
        k = lambda a, b: np.exp(-((a - b)**2).sum() / (2 * h**2))
        a, b = x.numpy(), y.numpy()
        within = lambda z: sum(k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / (len(z) * (len(z) - 1))
        across = np.mean([k(i, j) for i in a for j in b])
        same(mmd2(x, y, bandwidth=h), within(a) + within(b) - 2 * across)
        biased = mmd2(x, y, bandwidth=h, unbiased=False)
        same(biased, np.mean([k(i, j) for i in a for j in a]) + np.mean([k(i, j) for i in b for j in b]) - 2 * across)
        assert biased > -1e-12 and biased > mmd2(x, y, bandwidth=h)

    def test_expectation_over_all_samples(self):
        points, p, q = torch.tensor([[0.0], [1.0], [3.0]]).double(), np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.4, 0.5])
        def mean(p, q, unbiased): return sum(p[[a, b]].prod() * q[[c, d]].prod() * mmd2(points[[a, b]], points[[c, d]], bandwidth=1.0, unbiased=unbiased).item() for a, b, c, d in product(range(3), repeat=4))
        k = np.exp(-squared_distances(points, points).numpy() / 2)
        assert mean(p, p, True) == pytest.approx(0, abs=1e-12)
        assert mean(p, q, True) == pytest.approx((p - q) @ k @ (p - q))
        assert mean(p, p, False) == pytest.approx(1 - p @ k @ p) and mean(p, p, False) > 0.1

    def test_linear_kernel_sees_only_means(self):
        same(mmd2(X, Y, kernel="linear", unbiased=False), (X.mean(0) - Y.mean(0)).square().sum())
        z = torch.cat([X, -X])
        same(mmd2(z, 5 * z, kernel="linear", unbiased=False), 0.0)
        assert mmd2(z, 5 * z) > 0.1

    def test_bandwidth_is_the_median(self):
        z = torch.cat([X, Y])
        i, j = torch.triu_indices(70, 70, 1)
        same(mmd2(X, Y), mmd2(X, Y, bandwidth=squared_distances(z, z)[i, j].sqrt().median().item()))
        same(mmd2(torch.ones(3, 2), torch.ones(4, 2)), 0.0)
        same(mmd2(10 * X, 10 * Y), mmd2(X, Y))

    def test_gradient(self):
        x = X[:6].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda z: mmd2(z, Y[:5], bandwidth=1.3), x)

    def test_permutation_test(self):
        found, p = permutation_test(X, Y, permutations=99)
        same(found, mmd2(X, Y))
        assert p == pytest.approx(0.01) and permutation_test(X, Y, permutations=99) == (found, p)
        values = np.array([permutation_test(draw(20, 2, seed=s), draw(25, 2, name="null", seed=s), permutations=39, seed=s)[1] for s in range(200)])
        assert (values <= 0.05).mean() < 0.05 + 3 * (0.05 * 0.95 / 200)**0.5
        assert 0.4 < np.mean(values) < 0.6


class TestCovariances:
    def test_coral(self):
        same(coral_loss(X, Y), ((np.cov(X.T) - np.cov(Y.T))**2).sum() / 36)
        a, b = (covariance(z) + 0.5 * covariance(z).trace() / 3 * torch.eye(3) for z in (X, Y))          # the damped covariances are matched
        w = coral_map(X, Y, damping=0.5)
        same(w.T @ a @ w, b, 1e-6)

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10**6))
    def test_every_rotation_matches_the_covariances(self, seed):
        w = coral_map(X, Y, rotation(3, seed))
        same(covariance(X @ w), covariance(Y), 1e-7)
        assert coral_loss(X @ w, Y) < 1e-12

    def test_a_matrix_that_is_no_rotation_does_not(self): assert coral_loss(X @ coral_map(X, Y, draw(3, 3, name="no")), Y) > 1e-3

    def test_powers_are_scipys(self):
        c = covariance(Y)
        same(_symmetric_power(c, 0.5), sqrtm(c.numpy()).real, 1e-7)
        same(_symmetric_power(c, -1.0), np.linalg.inv(c.numpy()), 1e-7)
        flat = torch.diag(torch.tensor([4.0, 0.0]).double())
        same(_symmetric_power(flat, -0.5), torch.diag(torch.tensor([0.5, 0.0]).double()))

    def test_gaussian_transport_is_pots(self):
        w, shift = ot.gaussian.empirical_bures_wasserstein_mapping(X.numpy(), Y.numpy(), reg=0.0)
        scale = 39 / 40, 29 / 30                                        # POT divides by n
        t = gaussian_ot_map(X, Y)
        same(covariance(X @ t), covariance(Y), 1e-7)
        same(t, t.T)
        same(t * (scale[1] / scale[0])**0.5, w, 1e-6)
        ends = X - X.mean(0)
        w2 = (X.mean(0) - Y.mean(0)).square().sum() + (ends @ t - ends).square().sum() / 39
        same(gaussian_w2(X, Y), w2, 1e-7)
        same(gaussian_w2(X, X), 0.0, 1e-6)
        assert all((ends @ coral_map(X, Y, rotation(3, s)) - ends).square().sum() >= (ends @ t - ends).square().sum() for s in range(100))


class TestTransport:
    @pytest.mark.parametrize("epsilon", [0.05, 0.5, 5.0])
    def test_is_pots(self, epsilon):
        a, b = torch.from_numpy(rng("tests/a").dirichlet(np.ones(8))), torch.from_numpy(rng("tests/b").dirichlet(np.ones(6)))
        cost = squared_distances(X[:8], Y[:6]) / 5
        plan = sinkhorn(cost, epsilon, a, b, iterations=5000, tolerance=1e-11)
        same(plan, ot.bregman.sinkhorn_log(a.numpy(), b.numpy(), cost.numpy(), epsilon, stopThr=1e-13, numItermax=50_000), 1e-7)

    @settings(max_examples=12, deadline=None)
    @given(clouds, st.floats(0.3, 5))
    def test_sums(self, shape, epsilon):
        x, y = two(shape)
        cost = squared_distances(x, y)
        plan = sinkhorn(cost / cost.mean(), epsilon, iterations=5000)
        assert (plan >= 0).all()
        same(plan.sum(0), torch.full((len(y),), 1 / len(y), dtype=torch.float64), 1e-9)
        assert (plan.sum(1) - 1 / len(x)).abs().sum() < 1e-5

    def test_small_epsilon_is_the_assignment(self):
        cost = squared_distances(X[:8], draw(8, 3, name="match"))
        rows, best = linear_sum_assignment(cost.numpy())
        plan = sinkhorn(cost, 0.02, iterations=5000)
        assert torch.isfinite(plan).all() and (plan * cost).sum().item() == pytest.approx(cost.numpy()[rows, best].mean(), rel=1e-2)

    def test_barycentre(self):
        plan = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
        same(barycentric_projection(plan, torch.tensor([[0.0], [4.0]])), [[2.0], [0.0]])

    def test_float32_and_tiny_epsilon_do_not_underflow(self):
        plan = sinkhorn(squared_distances(X, Y).float(), 1e-3, iterations=200)
        assert plan.dtype == torch.float32 and torch.isfinite(plan).all() and plan.sum().item() == pytest.approx(1, abs=1e-4)


class TestGromov:
    @pytest.mark.parametrize("seed", range(3))
    def test_exhaustive_pairing_of_six(self, seed):
        a = draw(6, 2, name="gw", seed=seed)
        order = rng("tests/gw-order", seed).permutation(6)
        b = (a @ rotation(2, seed))[order]
        d, e = (squared_distances(z, z).sqrt() for z in (a, b))
        best = min(permutations(range(6)), key=lambda p: (d - e[list(p)][:, list(p)]).square().sum().item())
        assert list(order[list(best)]) == list(range(6))
        assert gromov_wasserstein(a, b).argmax(1).tolist() == list(best)

    def test_spaces_of_different_size(self):
        wide = torch.hstack([X, torch.zeros(40, 2)]) @ rotation(5)
        assert gromov_wasserstein(X, wide).argmax(1).tolist() == list(range(40))

    def test_cost_decides_a_symmetric_cloud(self):
        square = torch.tensor([[1.0, 2.0], [1.0, -2.0], [-1.0, 2.0], [-1.0, -2.0]]).double()
        for target in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]):
            plan = gromov_wasserstein(square, square, 1 - torch.eye(4).double()[target])
            assert plan.argmax(1).tolist() == target

    def test_profiles_do_not_know_axes(self): same(_distance_profiles(X), _distance_profiles(3 * X @ rotation(3) + 1), 1e-6)

    def test_without_pot_it_says_what_to_install(self, monkeypatch):
        real = builtins.__import__
        monkeypatch.setattr(builtins, "__import__", lambda name, *a, **k: (_ for _ in ()).throw(ImportError(name)) if name == "ot" else real(name, *a, **k))
        with pytest.raises(UnavailableError, match=r"interest-book\[ot\]"): gromov_wasserstein(X, Y)
        assert sinkhorn(squared_distances(X, Y), 1.0).shape == (40, 30)


class TestAdversaries:
    @settings(max_examples=15, deadline=None)
    @given(st.floats(0, 5), st.integers(0, 1000))
    def test_gradient_is_turned(self, strength, seed):
        z = draw(4, 2, seed=seed).requires_grad_()
        straight, = torch.autograd.grad(z.tanh().sum(), z)
        turned, = torch.autograd.grad(reverse_gradient(z, strength).tanh().sum(), z)
        same(turned, -strength * straight)
        same(reverse_gradient(z, strength), z)

    @pytest.mark.parametrize("fit", [fit_mmd_map, fit_adversarial_map])
    def test_anchors_find_a_rotation(self, fit):
        x, other, turn = draw(300, 3), draw(250, 3, name="other"), rotation(3, 5)
        anchors = (x[:10], x[:10] @ turn)
        found = fit(x, other @ turn, anchors=anchors, epochs=60, lr=0.05)
        assert error(x @ found, x @ turn) < 0.1 < error(x, x @ turn)
        assert torch.equal(fit(x, other @ turn, anchors=anchors, epochs=60, lr=0.05), found)

    def test_they_leave_the_global_generator_alone(self):
        torch.manual_seed(3)
        before = torch.random.get_rng_state()
        fit_adversarial_map(X, Y, epochs=1)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_mmd_map_brings_clouds_together(self):
        x, y = draw(200, 2), draw(200, 2, name="far") * torch.tensor([3.0, 0.5])
        w = fit_mmd_map(x, y, epochs=40)
        assert mmd2(x @ w, y) < 0.1 * mmd2(x, y)

    def test_the_critic_pulls_the_cloud_over_and_does_not_push_it_away(self):
        for seed in range(3):
            x, y = draw(400, 2, seed=seed), draw(400, 2, name="far", seed=seed) * torch.tensor([3.0, 0.5])
            w = fit_adversarial_map(x, y, epochs=60, seed=seed)
            assert mmd2(x @ w, y) < 0.2 * mmd2(x * y.std() / x.std(), y)

    def test_both_ways_of_the_gan_come_in_the_units_of_where_they_lead(self):
        x, y = 10 * draw(300, 2), draw(300, 2, name="iso") / 10
        there, back = fit_gan_map(x, y, start=0.01 * torch.eye(2, dtype=x.dtype), epochs=10)
        assert 0.5 < (x @ there).std() / y.std() < 2 and 0.5 < (y @ back).std() / x.std() < 2

    def test_cycle_closes_whatever_the_start(self):
        x, y = draw(300, 2), draw(300, 2, name="iso")
        for seed in range(2):
            there, back = fit_gan_map(x, y, start=rotation(2, seed), epochs=10, seed=seed)
            assert error(x @ there @ back, x) < 0.02

    def test_best_critic(self):
        p, q = (torch.from_numpy(rng("tests/gan", s).dirichlet(np.ones(5))) for s in (1, 2))
        value = lambda d: (p * d.log()).sum() + (q * (1 - d).log()).sum()
        same(value(p / (p + q)), -np.log(4) + 2 * np.log(2) * js_divergence(p, q))
        assert all(value(p / (p + q)) >= value(torch.from_numpy(rng("tests/critic", s).random(5))) for s in range(200))


class TestBounds:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10**6))
    def test_divergence_is_scipys_and_a_metric(self, seed):
        p, q, r = torch.from_numpy(rng("tests/js", seed).dirichlet(np.ones(4), 3))
        assert js_divergence(p, q).item() == pytest.approx(jensenshannon(p, q, base=2)**2, abs=1e-9)
        root = lambda a, b: js_divergence(a, b).clamp_min(0).sqrt().item()
        assert root(p, r) <= root(p, q) + root(q, r) + 1e-9 and js_divergence(p, q) <= (p - q).abs().sum() / 2 + 1e-9

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 10**6), st.booleans())
    def test_no_classifier_undercuts_it(self, seed, aligned):
        g = rng("tests/zhao", seed)
        z = g.dirichlet(np.full(3, 0.4), 2)
        if aligned: z[1] = z[0]
        like = g.random((2, 3)).round(int(g.integers(0, 3)))
        rules = np.array(list(product((0, 1), repeat=3)))
        errors = sum((z[d] * np.where(rules == 1, 1 - like[d], like[d])).sum(1) for d in (0, 1))
        labels = [torch.tensor([1 - (z[d] * like[d]).sum(), (z[d] * like[d]).sum()]).clamp(0, 1) for d in (0, 1)]
        assert errors.min() >= joint_error_bound(*labels, *map(torch.from_numpy, z)).item() - 1e-9

    def test_by_hand(self):
        sure, never, point = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.ones(1)
        assert js_divergence(sure, never).item() == pytest.approx(1) and joint_error_bound(sure, never, point, point).item() == pytest.approx(0.5)
        assert joint_error_bound(sure, sure, sure, never) == 0


class TestWhatNobodyCanFind:
    @pytest.mark.parametrize("method", METHODS[1:])
    def test_symmetric_cloud(self, method):
        "Target rows in the order of the source rows: who used that order for a pairing would be right in both worlds. Nobody may be better than the mean."
        base = draw(40, 3, name="base") * torch.tensor([2.0, 1.0, 0.5])
        cloud, w = torch.cat([base, -base]), draw(3, 3, name="true")
        none, truth = torch.zeros(0, 3).double(), cloud @ w
        size = lambda z: (z.square().sum(1).mean() / truth.square().sum(1).mean()).item()
        moved = [cloud @ align(cloud, sign * truth, method, none, none) for sign in (1, -1)]
        average = (size(moved[0] - truth) + size(moved[1] + truth)) / 2
        if method == "gromov":               # its solver leaves the saddle by rounding, and so by the order of the rows: the mean over orders is what nobody can beat
            orders = [torch.from_numpy(rng("tests/symmetric", seed).permutation(80)) for seed in range(12)]
            average = np.mean([size(cloud @ align(cloud, (sign * truth)[order], method, none, none) - sign * truth) for order in orders for sign in (1, -1)])
        assert average > 0.95
        if method in ("coral", "gaussian_ot"):
            same(moved[0], moved[1], 1e-6)
            assert average == pytest.approx(2, rel=1e-2)                 # honest spread loses the variance twice

    def test_skewed_interests_of_other_people_can_be_paired(self):
        errors = {False: [], True: []}
        for seed in range(6):
            for skewed in errors:
                g = rng("tests/skew", seed)
                z = [torch.from_numpy(((g.gamma(0.5, size=(200, 3)) - 0.5) / 0.5**0.5 if skewed else g.standard_normal((200, 3))) * [1.5, 1.0, 0.6]) for _ in range(2)]
                x, y, turn = z[0] - z[0].mean(0), (z[1] - z[1].mean(0)) @ rotation(3, seed), rotation(3, seed)
                errors[skewed].append(error(x @ align(x, y, "gromov", x[:0], y[:0]), x @ turn))
        assert np.mean(errors[True]) < 0.5 < 0.9 < np.mean(errors[False])

    @pytest.mark.parametrize("method", METHODS[1:])
    def test_a_few_anchors_are_enough(self, method):
        x, turn = draw(300, 3), rotation(3, 7)
        y = draw(300, 3, name="others") @ turn + 0.1 * draw(300, 3, name="turn")
        assert error(x @ align(x, y, method, x[:12], x[:12] @ turn), x @ turn) < 0.35


class TestAnchors:
    def test_rotation(self):
        turn = rotation(4, 3)
        a = draw(6, 4, name="anchor")
        same(anchored_rotation(a, a @ turn, prior=0.0), turn)
        same(anchored_rotation(a[:0], a[:0]), torch.eye(4))
        r = anchored_rotation(a[:2], (a @ turn)[:2], prior=1e-6)
        same(r.T @ r, torch.eye(4)); same(a[:2] @ r, (a @ turn)[:2], 1e-4)

    def test_profiles_and_cost(self):
        a, turn = X[:4], rotation(3, 1)
        c = pairing_cost(X, 3 * X @ turn, a, a @ turn)
        assert c.mean().item() == pytest.approx(1) and c.diagonal().abs().max() < 1e-9
        cosine = lambda z, k: (z @ k.T / z.norm(dim=1)[:, None] / k.norm(dim=1)).numpy()
        by_hand = ((cosine(X, a)[:, None] - cosine(Y, Y[:4])[None])**2).sum(-1)
        same(pairing_cost(X, Y, a, Y[:4]), by_hand / by_hand.mean())
        none = pairing_cost(X, 5 * Y, X[:0], Y[:0])                        # positions, each cloud in units of its spread
        by_hand = squared_distances(X / X.square().sum(1).mean().sqrt(), Y / Y.square().sum(1).mean().sqrt())
        same(none, by_hand / by_hand.mean())

    @settings(max_examples=15, deadline=None)
    @given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.1, 10))
    def test_ridge_towards(self, k, seed, alpha):
        a, b, w0 = draw(k, 3, seed=seed), draw(k, 2, name="b", seed=seed), draw(3, 2, name="w0", seed=seed)
        stacked = torch.linalg.lstsq(torch.cat([a, alpha**0.5 * torch.eye(3)]), torch.cat([b, alpha**0.5 * w0])).solution
        same(ridge_towards(a, b, w0, alpha), stacked, 1e-7)
        same(ridge_towards(a, b, 0 * w0, alpha), ridge_map(a, b, alpha))

    def test_trust(self):
        a, w0 = draw(30, 3, name="trust"), draw(3, 3, name="truth")
        assert choose_trust(a, a @ w0, lambda x, y: w0)[1] == pytest.approx(1, abs=1e-3)
        assert choose_trust(a, -(a @ w0), lambda x, y: w0)[1] == pytest.approx(0, abs=1e-3)
        seen = []
        choose_trust(a, a @ w0, lambda x, y: seen.append(len(x)) or w0, folds=3)
        assert seen == [20, 20, 20]
        alpha, t = choose_trust(a, a @ w0 + draw(30, 3, name="e"), lambda x, y: 2 * w0)
        loss = lambda t: sum((y - x @ ridge_towards(a[k], (a @ w0 + draw(30, 3, name="e"))[k], t * 2 * w0, alpha)).square().sum().item()
                             for p in range(3) for k in [torch.arange(30) % 3 != p] for x, y in [(a[~k], (a @ w0 + draw(30, 3, name="e"))[~k])])
        assert t == pytest.approx(min(np.linspace(0, 1, 201), key=loss), abs=3e-3)

    def test_a_given_trust_has_its_own_penalty(self):
        a, w0 = draw(12, 5, name="given"), draw(5, 2, name="given-w")
        b = a @ w0 + draw(12, 2, name="given-e")
        grid = np.logspace(-3, 3, 13) * a.square().sum().item() / 5
        folds = [torch.arange(12) % 3 != p for p in range(3)]
        for t in (0.0, 0.5, 1.0):
            loss = lambda alpha: sum((b[~k] - a[~k] @ ridge_towards(a[k], b[k], t * w0, alpha)).square().sum().item() for k in folds)
            alpha, kept = choose_trust(a, b, lambda x, y: w0, trust=t)
            assert kept == t and alpha == pytest.approx(min(grid, key=loss))


@pytest.fixture(scope="module")
def split(): return cold_start_split(make_world(n_users=400, n_source_items=80, n_target_items=70, relation="rotated", seed=1).pair, seed=1)

def ndcg(model, split): return evaluate(model.fit(split.train), split, "ndcg@10").summary()["ndcg@10"]


class TestModel:
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_with_twenty_anchors_beats_popularity(self, split, method):
        model = AlignedEMCDR(8, method, 20)
        assert ndcg(model, split) > ndcg(Popularity(), split)
        assert 0 <= model.trust_ <= 1 and model.map_.shape == (8, 8)
        assert torch.equal(AlignedEMCDR(8, method, 20).fit(split.train).map_, model.map_)

    def test_no_shared_user_is_needed(self):
        pair = make_world(n_users=300, n_source_items=60, n_target_items=50, overlap=0.0, seed=2).pair
        for method in ("ridge", "coral", "sinkhorn"): assert torch.isfinite(AlignedEMCDR(8, method, 0).fit(pair).score(pair.users[:5])).all()
        with pytest.raises(NoSharedUsersError): AlignedEMCDR(8).fit(pair)
        with pytest.raises(NoSharedUsersError): AlignedEMCDR(8, anchors=5).fit(pair)

    def test_unknown_pairs_are_not_used(self, split):
        "With no anchors a shuffled target gives the same map: only the cloud was seen."
        train = split.train
        warm = np.unique(train.target.user_codes)
        swap = dict(zip(warm, rng("tests/swap").permutation(warm)))
        mixed = DomainPair(train.source, Interactions(train.users, train.target.items, np.array([swap[u] for u in train.target.user_codes]), train.target.item_codes, name="target"))
        for method in ("coral", "gaussian_ot"):
            a, b = (AlignedEMCDR(8, method, 0).fit(p) for p in (train, mixed))
            same(a.map_, b.map_, 1e-6)
            assert not torch.allclose(AlignedEMCDR(8, method, 30).fit(mixed).map_, AlignedEMCDR(8, method, 30).fit(train).map_, rtol=1e-2)

    def test_zero_trust_is_ridge_on_the_same_anchors(self, split):
        for k in (4, 10, None): same(AlignedEMCDR(8, "coral", k, trust=0.0).fit(split.train).map_, AlignedEMCDR(8, "ridge", k).fit(split.train).map_)
        same(AlignedEMCDR(8, "ridge", 0).fit(split.train).map_, torch.zeros(8, 8))

    def test_more_anchors_hold_the_fewer(self, split):
        few, many = (_anchor_rows(split.train, k, 0) for k in (5, 20))
        assert list(many[:5]) == list(few) and split.train.shared[many].all() and len(set(many)) == 20
        assert list(_anchor_rows(split.train, 5, 1)) != list(few)

    def test_sides_of_different_width(self):
        pair = make_world(n_users=200, n_source_items=40, n_target_items=12, interactions_per_user=(10, 4), seed=3).pair
        model = AlignedEMCDR(20, "coral", 30).fit(pair)
        assert model.map_.shape == (20, 12) and torch.isfinite(model.score(pair.users[:3])).all()

    def test_ratings(self):
        s = cold_start_split(make_world(n_users=300, n_source_items=60, n_target_items=50, feedback="explicit", seed=0).pair, seed=0)
        model = AlignedEMCDR(6, "coral", 50).fit(s.train)
        assert torch.isfinite(model.predict(s.test_users[:3], s.train.target.items[:3])).all()

    def test_record(self, split):
        pair = make_world(n_users=500, n_source_items=60, n_target_items=50, seed=4).pair
        record = anchors_record(pair, "x", seeds=(0, 1), methods=("ridge", "coral"), factors=4)
        table = record_table(record, ["ndcg@10"], baseline="popularity")
        assert len(table) == 11 and {c["baseline"] for c in record["comparisons"]} >= {"popularity", "ridge, 10 anchors", "ridge, all anchors"}


class TestBadInput:
    @pytest.mark.parametrize("f", [mmd2, permutation_test, coral_loss, coral_map, gaussian_ot_map, gaussian_w2, fit_mmd_map, fit_adversarial_map, fit_gan_map])
    def test_clouds(self, f):
        with pytest.raises(ShapeError, match="one size"): f(X, Y[:, :2])
        with pytest.raises(ShapeError, match="at least two users"): f(X[:1], Y)
        with pytest.raises(ShapeError): f(X[0], Y)
        bad = Y.clone(); bad[0, 0] = float("nan")
        with pytest.raises(ValueError, match="NaN"): f(X, bad)

    def test_settings_of_functions(self):
        for call in (lambda: mmd2(X, Y, kernel="magic"), lambda: mmd2(X, Y, bandwidth=0.0), lambda: permutation_test(X, Y, permutations=0), lambda: coral_map(X, Y, damping=-1.0),
                     lambda: sinkhorn(squared_distances(X, Y), 0.0), lambda: sinkhorn(squared_distances(X, Y), 1.0, iterations=0), lambda: sinkhorn(squared_distances(X, Y), 1.0, source_mass=torch.ones(40)),
                     lambda: sinkhorn(torch.full((2, 2), float("inf")), 1.0), lambda: gromov_wasserstein(X, Y, weight=2.0), lambda: js_divergence(torch.ones(2), torch.ones(2)),
                     lambda: align(X, Y, "magic", X[:0], Y[:0])):
            with pytest.raises(ValueError): call()
        for call in (lambda: sinkhorn(squared_distances(X, Y), 1.0, target_mass=torch.ones(3) / 3), lambda: barycentric_projection(torch.ones(2, 3), Y),
                     lambda: coral_map(X, Y, torch.eye(2)), lambda: anchored_rotation(X[:3], Y[:4]), lambda: pairing_cost(X, Y, X[:3, :2], Y[:3]), lambda: pairing_cost(X, Y, X[:3], Y[:4]), lambda: pairing_cost(X, Y[:, :2], X[:0], Y[:0, :2]),
                     lambda: choose_trust(X[:2], X[:2], None),
                     lambda: ridge_towards(X, X, torch.eye(2), 1.0), lambda: js_divergence(torch.ones(2) / 2, torch.ones(3) / 3)):
            with pytest.raises(ShapeError): call()

    @pytest.mark.parametrize("bad", [{"method": "magic"}, {"anchors": -1}, {"anchors": 2.5}, {"anchors": "all"}, {"trust": 1.5}, {"trust": "all"}, {"factors": 0}])
    def test_settings_of_the_model(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))): AlignedEMCDR(**bad)

    def test_a_side_with_one_person(self, split):
        source, target = split.train.source, split.train.target
        alone = lambda side: side.rows(side.user_codes == side.user_codes[0])
        for pair in (DomainPair(alone(source), target), DomainPair(source, alone(target)), DomainPair(source.rows(np.zeros(len(source), bool)), target)):
            with pytest.raises(DataError, match="fewer than two users"): AlignedEMCDR(8, anchors=0).fit(pair)


@pytest.mark.gpu
def test_gpu_agrees():
    x, y = draw(200, 8), draw(150, 8, name="gpu")
    for f in (mmd2, coral_loss, coral_map, gaussian_ot_map, gaussian_w2, lambda a, b: sinkhorn(squared_distances(a, b), 5.0), lambda a, b: pairing_cost(a, b, a[:5], b[:5])):
        torch.testing.assert_close(f(x.cuda(), y.cuda()).cpu(), f(x, y), rtol=1e-5, atol=1e-7)
    assert permutation_test(x.cuda(), y.cuda())[1] == permutation_test(x, y)[1]
    z = nn.Parameter(x.cuda())
    reverse_gradient(z).sum().backward()
    assert (z.grad == -1).all()
