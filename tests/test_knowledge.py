"""Chapter 17: knowledge transfer."""
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from interest_book.baselines import EASE, JointEASE, Popularity
from interest_book.core import DataError, ShapeError, rng
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.knowledge import (ClusterPrior, CodebookTransfer, Distilled, LaplacianPrior, _alternate, _costs, _low_rank, _memberships, _ridge_rows, adjusted_rand, apply_codebook,
                                     block_means, gaussian_mixture, given_split, interest_graph, kmeans, laplacian, learn_codebook, match_tables, pattern_world,
                                     ranking_distillation_loss, served_bytes, soft_targets_loss)
from interest_book.linear_mapping import EMCDR, BiasBridge
from interest_book.splits import audit, cold_start_split, ratio_split
from interest_book.training import gradient_check
from interest_book.worlds import make_world

quick = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 10_000)
def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_knowledge/{name}", seed).standard_normal(shape))
def known(n=20, m=15, share=0.4, seed=0):
    g = rng("test_knowledge/known", seed)
    mask = g.random((n, m)) < share
    return sp.csr_array(np.where(mask, g.standard_normal((n, m)) + 0.3, 0.0)), mask
def groups(n, k, seed=0): return rng("test_knowledge/groups", seed).dirichlet(np.ones(k), n)


class TestClusters:
    @quick
    @given(seeds)
    def test_sums_fall_and_centres_are_means(self, seed):
        x = draw(40, 3, seed=seed)
        found = kmeans(x, 4, seed=seed)
        assert all(b <= a + 1e-9 for a, b in zip(found.history, found.history[1:]))
        for a in range(4):
            if (found.labels == a).any(): torch.testing.assert_close(found.centres[a], x[found.labels == a].mean(0))
        assert torch.equal(found.labels, torch.cdist(x, found.centres).argmin(1))
        assert found.inertia == pytest.approx(float((x - found.centres[found.labels]).square().sum()))

    def test_scikit_learn_agrees_on_islands(self):
        x = torch.cat([draw(30, 2, name=str(a)) + 8 * a for a in range(3)])
        assert kmeans(x, 3).inertia == pytest.approx(KMeans(3, n_init=5, random_state=0).fit(x.numpy()).inertia_)

    def test_limits(self):
        x = draw(7, 2)
        assert kmeans(x, 1).inertia == pytest.approx(float((x - x.mean(0)).square().sum()))
        assert kmeans(x, 7, starts=10).inertia == pytest.approx(0, abs=1e-9)
        assert torch.equal(kmeans(x, 3, seed=5).labels, kmeans(x, 3, seed=5).labels)
        assert kmeans(torch.ones(5, 2), 2).inertia == 0

    @pytest.mark.parametrize("k", [0, 8, 2.5, True])
    def test_bad_numbers_of_groups(self, k):
        with pytest.raises(ValueError, match="whole number from 1 to 7"): kmeans(draw(7, 2), k)


class TestMixture:
    @quick
    @given(seeds)
    def test_the_likelihood_never_falls(self, seed):
        x = draw(120, 2, seed=seed)                             # heavy tails would let a group collapse on one row, which floor > 0 is for
        history = gaussian_mixture(x, 2, floor=0.0, rounds=25, seed=seed).history
        assert all(b >= a - 1e-7 * abs(a) for a, b in zip(history, history[1:]))

    def test_scipy_and_scikit_learn_agree(self):
        x = torch.cat([draw(80, 2, name="a"), draw(50, 2, name="b") + 4])
        mix = gaussian_mixture(x, 2, floor=0.0, rounds=500)
        density = sum(float(w) * multivariate_normal(m, c).pdf(x.numpy()) for w, m, c in zip(mix.weights, mix.means, mix.covariances))
        np.testing.assert_allclose(mix.log_likelihood(x), np.log(density), rtol=1e-8)
        library = GaussianMixture(2, tol=1e-10, max_iter=1000, reg_covar=0, random_state=0).fit(x.numpy())
        assert mix.bic(x) == pytest.approx(library.bic(x.numpy()), rel=1e-6)
        np.testing.assert_allclose(mix.responsibilities(x).sum(1), 1)
        with pytest.raises(ShapeError): mix.joint(draw(3, 3))

    def test_the_floor_keeps_a_group_from_collapsing(self):
        x = torch.cat([draw(40, 2), torch.full((3, 2), 50.0, dtype=torch.float64)])        # three equal rows far away: no variance of their own
        assert torch.isfinite(gaussian_mixture(x, 2).log_likelihood(x)).all()
        with pytest.raises(torch.linalg.LinAlgError): gaussian_mixture(x, 2, floor=0.0)

    def test_one_group_is_the_gaussian(self):
        x = draw(50, 3)
        mix = gaussian_mixture(x, 1, floor=0.0)
        torch.testing.assert_close(mix.covariances[0], torch.from_numpy(np.cov(x.numpy().T, bias=True)))


class TestAgreement:
    @quick
    @given(seeds)
    def test_scikit_learn_agrees_and_names_mean_nothing(self, seed):
        g = rng("test_knowledge/labels", seed)
        a, b = g.integers(0, 4, 30), g.integers(0, 3, 30)
        assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
        assert adjusted_rand(g.permutation(4)[a], b) == pytest.approx(adjusted_rand(a, b)) and adjusted_rand(a, g.permutation(4)[a]) == pytest.approx(1)

    def test_unequal_lengths(self):
        with pytest.raises(ShapeError): adjusted_rand([0, 1], [0, 1, 1])
        assert adjusted_rand([0, 0, 0], [1, 1, 1]) == 1


class TestCodebook:
    def test_block_means_are_least_squares(self):
        values, mask = known()
        at, of = np.arange(20) % 3, np.arange(15) % 2
        table = block_means(values, np.eye(3)[at], np.eye(2)[of])
        for a in range(3):
            for b in range(2): assert table[a, b] == pytest.approx(values.toarray()[at == a][:, of == b][mask[at == a][:, of == b]].mean())

    def test_trust_goes_from_own_to_given(self):
        values, _ = known()
        u, v, prior = groups(20, 3), groups(15, 2, 1), np.arange(6.0).reshape(3, 2)
        own = block_means(values, u, v)
        np.testing.assert_allclose(block_means(values, u, v, prior, 1e-12), own, atol=1e-9)
        np.testing.assert_allclose(block_means(values, u, v, prior, 1e12), prior, atol=1e-6)
        np.testing.assert_array_equal(block_means(values, u, v, prior, np.inf), prior)
        empty = sp.csr_array((20, 15))
        np.testing.assert_array_equal(block_means(empty, u, v, prior, 0.0), prior)
        with pytest.raises(ShapeError): block_means(values, u[:-1], v)

    @quick
    @given(seeds, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 5.0, np.inf]))
    def test_the_objective_never_rises(self, seed, noise, trust):
        values, _ = known(seed=seed)
        prior = rng("test_knowledge/prior", seed).standard_normal((3, 2))
        history = _alternate(values, groups(20, 3, seed), groups(15, 2, seed + 1), prior, trust, noise, 12).history
        assert all(b <= a + 1e-8 * abs(a) for a, b in zip(history, history[1:]))

    def test_costs_and_memberships_by_loops(self):
        values, mask = known(6, 5)
        x, soft, table = values.toarray(), groups(5, 2), np.array([[1.0, -1.0], [0.5, 0.2], [0.0, 2.0]])
        costs = _costs(values, sp.csr_array(mask.astype(float)), soft, table)
        slow = [[sum(soft[i, b] * ((x[u, i] - table[a, b]) ** 2 - x[u, i] ** 2) for i in np.flatnonzero(mask[u]) for b in range(2)) for a in range(3)] for u in range(6)]
        np.testing.assert_allclose(costs, slow, atol=1e-12)
        q = _memberships(costs, np.array([0.5, 0.25, 0.25]), 0.7)
        p = np.array([0.5, 0.25, 0.25]) * np.exp(-costs / 1.4)
        np.testing.assert_allclose(q, p / p.sum(1, keepdims=True))
        hard = _memberships(costs, np.full(3, 1 / 3), 0.0)
        assert (hard.argmax(1) == costs.argmin(1)).all() and set(hard.ravel()) == {0.0, 1.0}
        np.testing.assert_allclose(_memberships(costs, np.full(3, 1 / 3), 1e-6), hard, atol=1e-9)

    @settings(deadline=None, max_examples=5)
    @given(seeds)
    def test_tables_are_matched(self, seed):
        g = rng("test_knowledge/match", seed)
        wanted = g.standard_normal((4, 5))
        mixed = wanted[g.permutation(4)][:, g.permutation(5)]
        rows, columns = match_tables(mixed, wanted, starts=1500)      # 120 orders of five columns: every one is tried a dozen times
        np.testing.assert_allclose(mixed[rows][:, columns], wanted)
        assert sorted(rows) == list(range(4)) and sorted(columns) == list(range(5))

    def test_planted_groups_are_found(self):
        from interest_book.knowledge import _centred
        w = pattern_world(n_users=300, rows=30, noise=0.3, seed=0)
        values = _centred(w.pair.target, True)[-1]
        active = w.pair.target.active_users
        own = learn_codebook(sp.csr_array(values[active]), 4, 4, 0.3, starts=8)
        order = w.pair.users[active].get_indexer(w.users)
        assert adjusted_rand(own.users.argmax(1)[order], w.groups[0]) > 0.9 and adjusted_rand(own.items.argmax(1), w.groups[1]) > 0.9
        same = apply_codebook(sp.csr_array(values[active]), w.tables[0] / 0.6, noise=0.3)
        assert adjusted_rand(same.users.argmax(1)[order], w.groups[0]) > 0.9
        np.testing.assert_array_equal(same.table, w.tables[0] / 0.6)

    def test_bad_input(self):
        values, _ = known()
        with pytest.raises(ValueError, match="user_groups"): learn_codebook(values, 21, 3)
        with pytest.raises(ValueError, match="item_groups"): learn_codebook(values, 2, 0)
        with pytest.raises(ValueError, match="table"): apply_codebook(values, np.zeros((30, 2)))
        with pytest.raises(ShapeError): match_tables(np.zeros((2, 3)), np.zeros((3, 2)))


class TestCodebookTransfer:
    def test_the_nested_control_and_what_helps(self):
        small = dict(n_users=40, n_items=40, rows=10, groups=(5, 5), noise=0.3)
        options = dict(user_groups=5, item_groups=5, noise=0.3)
        far = lambda m, w: float(np.sqrt(((m.fit(w.pair).score(w.users).double().numpy() - w.truth) ** 2).mean()))
        right, wrong, none = [], [], []
        for seed in range(4):
            w = pattern_world(True, seed=seed, **small)
            right.append(far(CodebookTransfer(**options), w)); wrong.append(far(CodebookTransfer("shuffled", **options), w)); none.append(far(CodebookTransfer(gain=0.0), w))
        assert np.mean(right) < np.mean(wrong) - 0.05 < np.mean(none) - 0.1
        m = CodebookTransfer(gain=0.0).fit(w.pair)
        assert m.table_.abs().max() == 0

    def test_needs_nobody_shared_and_the_source_only_where_it_says_so(self):
        w = pattern_world(seed=1, n_users=30, n_items=20, rows=8)
        assert not w.pair.shared.any()
        alone = DomainPair.single(w.pair.target)
        own = CodebookTransfer("target").fit(alone)
        assert torch.isfinite(own.score(alone.users[:3])).all()
        with pytest.raises(DataError, match="rating"): CodebookTransfer("target").fit(DomainPair.single(make_world(n_users=60, seed=0).pair.target))

    def test_units_do_not_matter(self):
        w = pattern_world(seed=3, n_users=40, n_items=30, rows=10)
        t = w.pair.target
        tens = Interactions.from_frame(t.frame.assign(rating=2 * t.frame["rating"]), name="tens")
        one, two = (CodebookTransfer().fit(p).predict(t.frame["user_id"][:50], t.frame["item_id"][:50]) for p in (w.pair, DomainPair(w.pair.source, tens)))
        torch.testing.assert_close(two, 2 * one, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("bad", [dict(codebook="films"), dict(noise=-1), dict(trust=-2.0), dict(user_groups=0), dict(starts=0)])
    def test_bad_settings(self, bad):
        with pytest.raises(ValueError): CodebookTransfer(**bad)


class TestDistillation:
    def test_gradient_and_limit(self):
        z, v = draw(3, 5, name="z").requires_grad_(), draw(3, 5, name="v")
        for T in (0.5, 1.0, 4.0): assert gradient_check(lambda: soft_targets_loss(z, v, T), [z]) < 1e-6
        (g,) = torch.autograd.grad(soft_targets_loss(z, v, 1e5), z)
        centred = lambda x: x - x.mean(1, keepdim=True)
        torch.testing.assert_close(g, (centred(z) - centred(v)).detach() / 15, rtol=1e-3, atol=1e-6)
        assert soft_targets_loss(v, v, 2.0).abs() < 1e-12 and soft_targets_loss(v + 3, v) < 1e-12      # a constant changes nothing

    def test_bad_losses(self):
        with pytest.raises(ShapeError): soft_targets_loss(draw(2, 3), draw(2, 4))
        with pytest.raises(ValueError, match="temperature"): soft_targets_loss(draw(2, 3), draw(2, 3), 0.0)
        with pytest.raises(ShapeError): ranking_distillation_loss(draw(2, 3), torch.zeros(3, 1, dtype=torch.long))

    def test_lists_by_hand(self):
        z, best = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[2, 1]])
        w = np.array([1, np.exp(-1)]); w /= w.sum()
        log = np.log(np.exp([2.0, 1.0]) / np.exp([0.0, 1.0, 2.0]).sum())
        assert ranking_distillation_loss(z, best, 1.0).item() == pytest.approx(-(w * log).sum())
        assert ranking_distillation_loss(z, best, softmax=False).item() == pytest.approx(np.mean(np.log1p(np.exp([-2.0, -1.0]))))

    def test_closed_form_pieces(self):
        s = draw(30, 20)
        users, items = _low_rank(s, 5, 0, sweeps=60)
        assert float((s - users @ items.T).square().sum()) == pytest.approx(float(torch.linalg.svdvals(s)[5:].square().sum()), rel=1e-6)
        z = sp.csr_array((rng("test_knowledge/z").random((30, 40)) < 0.3).astype(np.float64))
        full = torch.from_numpy(z.toarray())
        centred, users = full - full.mean(0), users - users.mean(0)
        for rows, dense in ((z, centred), (sp.csr_array(z[:, :12]), centred[:, :12])):      # fewer people than columns, and more
            torch.testing.assert_close(_ridge_rows(rows, users, 2.0), torch.linalg.solve(dense.T @ dense + 2 * torch.eye(dense.shape[1]).double(), dense.T @ users).float(), rtol=1e-4, atol=1e-5)

    def test_a_wide_student_repeats_a_linear_teacher(self):
        split = ratio_split(make_world(n_users=150, n_source_items=40, n_target_items=30, seed=0).pair, seed=0)
        student, teacher = Distilled(30, l2=100.0, ridge=1e-3).fit(split.train), JointEASE(100.0, 0.5, "all").fit(split.train)
        u = split.train.users[split.train.source.active_users & split.train.target.active_users]
        a, b = student.score(u), teacher.score(u)
        assert float((a - b).square().mean() / b.var()) < 1e-3

    def test_without_a_teacher_unknown_choices_teach_nothing(self):
        split = cold_start_split(make_world(n_users=150, n_source_items=40, n_target_items=30, seed=0).pair, seed=0)
        t, warm = split.train, split.train.target.active_users
        alone = DomainPair(t.source.rows(warm[t.source.user_codes]), t.target)          # the cold people's source rows are gone
        assert not warm.all() and len(alone.source) < len(t.source)
        one, other = (Distilled(8, hard=1.0).fit(pair).score(t.users[warm]) for pair in (t, alone))
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        from interest_book.knowledge import _lesson
        half, taught = (_lesson(Distilled(8, hard=h).fit(t), t, np.arange(len(t.users))) for h in (0.5, 0.0))
        moved = (half - taught).abs().amax(1).numpy()
        assert (moved[~warm] == 0).all() and moved[warm].min() > 0.01

    @pytest.mark.parametrize("loss", ["soft", "ranking"])
    def test_gradients_lower_the_loss_they_are_meant_to_lower(self, loss):
        split = cold_start_split(make_world(n_users=200, n_source_items=40, n_target_items=35, seed=1).pair, seed=1)
        make = partial(Distilled, 8, l2=300.0, source_weight=1.0, rows="shared", ridge=100.0, lr=0.01)
        teacher = JointEASE(300.0, 1.0, "shared").fit(split.train).score(split.train.users)
        teacher = teacher / teacher.std()
        measure = (lambda s: soft_targets_loss(s, teacher)) if loss == "soft" else (lambda s: ranking_distillation_loss(s, torch.topk(teacher, 35, 1).indices[:, :10]))
        start = make().fit(split.train).score(split.train.users)
        trained = make(loss=loss, epochs=15, top=10).fit(split.train).score(split.train.users)
        assert measure(trained) < min(measure(start), measure(start / start.std()))

    def test_bytes_are_exact(self):
        split = ratio_split(make_world(n_users=100, n_source_items=40, n_target_items=30, seed=0).pair, seed=0)
        assert served_bytes(Distilled(8).fit(split.train)) == 4 * ((40 + 2 * 30) * 8 + 30)
        assert served_bytes(EASE(100.0).fit(split.train)) == 4 * (30 * 30 + 30)

    @pytest.mark.parametrize("bad", [dict(teacher="me"), dict(loss="hard"), dict(hard=1.5), dict(factors=0), dict(ridge=0.0), dict(rows="some"), dict(temperature=0)])
    def test_bad_settings(self, bad):
        with pytest.raises(ValueError): Distilled(**bad)


class TestPriors:
    def test_laplacian(self):
        rows = sp.csr_array((rng("test_knowledge/rows").random((15, 12)) < 0.4).astype(np.float32))
        w = interest_graph(rows, 5)
        assert (abs(w - w.T) > 1e-12).nnz == 0 and w.diagonal().max() == 0 and np.asarray(w.sum(1)).mean() == pytest.approx(1)
        L, f = laplacian(w), rng("test_knowledge/f").standard_normal(15)
        assert f @ L @ f == pytest.approx(0.5 * sum(w[a, b] * (f[a] - f[b]) ** 2 for a in range(15) for b in range(15)))
        np.testing.assert_allclose(L @ np.ones(15), 0, atol=1e-12)
        assert interest_graph(sp.csr_array((4, 3), dtype=np.float32), 2).nnz == 0

    def test_choices_are_predicted_without_the_own_row(self):
        split = cold_start_split(make_world(n_users=80, n_source_items=30, n_target_items=25, seed=2).pair, seed=0)
        model = LaplacianPrior(2.0, 0.4, 10, 1.0).fit(split.train)
        kernel = np.linalg.inv(2.0 * (laplacian(interest_graph(split.train.source.matrix("binary"), 10)) + 0.4 * np.eye(80)))
        y, warm = split.train.target.matrix("binary").toarray().astype(float), np.flatnonzero(split.train.target.active_users)
        mean = y[warm].mean(0)
        for u in range(0, 80, 9):
            o = np.setdiff1d(warm, [u])
            np.testing.assert_allclose(model.score([split.train.users[u]])[0], mean + kernel[u, o] @ np.linalg.solve(kernel[np.ix_(o, o)] + np.eye(len(o)), y[o] - mean), rtol=1e-3, atol=1e-5)

    def test_ratings_are_a_gaussian_process_on_the_bridge(self):
        split = cold_start_split(make_world(n_users=80, n_source_items=30, n_target_items=25, feedback="explicit", seed=2).pair, seed=0)
        model, bridge = LaplacianPrior(1.0, 0.2, 10).fit(split.train), BiasBridge().fit(split.train)
        kernel = np.linalg.inv(laplacian(interest_graph(split.train.source.matrix("binary"), 10)) + 0.2 * np.eye(80))
        t = split.train.target
        base = bridge.score(split.train.users).double().numpy()
        i = 3
        raters = t.user_codes[t.item_codes == i]
        rest = t.ratings[t.item_codes == i] - base[raters, i]
        expected = base[:, i] + kernel[:, raters] @ np.linalg.solve(kernel[np.ix_(raters, raters)] + np.eye(len(raters)), rest)
        np.testing.assert_allclose(model.score(split.train.users)[:, i], expected, rtol=1e-4)

    def test_endless_pull_is_popularity(self):
        split = cold_start_split(make_world(n_users=80, n_source_items=30, n_target_items=25, seed=2).pair, seed=0)
        model, pop = LaplacianPrior(1.0, 1e6, 10, 1.0).fit(split.train), Popularity().fit(split.train)
        u = split.train.users[~split.train.target.active_users]
        np.testing.assert_allclose(model.score(u), pop.score(u) / split.train.target.active_users.sum(), atol=1e-4)

    def test_relations_help_where_there_are_any(self):
        gain = {}
        for relation in ("linear", "none"):
            for name, make in (("laplace", LaplacianPrior), ("kinds", ClusterPrior)):
                d = []
                for seed in range(3):
                    split = cold_start_split(make_world(n_users=300, n_source_items=60, n_target_items=50, relation=relation, seed=seed).pair, seed=seed)
                    d.append(float((evaluate(make().fit(split.train), split, ("ndcg@10",)).summary() - evaluate(Popularity().fit(split.train), split, ("ndcg@10",)).summary()).iloc[0]))
                gain[relation, name] = np.mean(d)
        assert min(gain["linear", n] for n in ("laplace", "kinds")) > 0.05 and max(gain["none", n] for n in ("laplace", "kinds")) < 0.02

    def test_one_kind_is_the_mean(self):
        split = cold_start_split(make_world(n_users=100, n_source_items=30, n_target_items=25, seed=2).pair, seed=0)
        model = ClusterPrior(6, groups=1).fit(split.train)
        cold = torch.from_numpy(~split.train.target.active_users)
        torch.testing.assert_close(model.interests_[cold], model.mean_.expand(int(cold.sum()), -1), rtol=1e-4, atol=1e-5)

    def test_bad_settings_and_nobody_shared(self):
        for bad in (dict(pull=0), dict(alone=-1), dict(neighbours=0), dict(popularity=-0.1)):
            with pytest.raises(ValueError): LaplacianPrior(**bad)
        for bad in (dict(groups=0), dict(damping=-1), dict(prior_rows=-1)):
            with pytest.raises(ValueError): ClusterPrior(**bad)
        with pytest.raises(NoSharedUsersError): ClusterPrior().fit(pattern_world(n_users=20, n_items=15, rows=5).pair)


class TestGivenRows:
    def test_roles(self):
        w = pattern_world(n_users=60, n_items=40, rows=15)
        target = Interactions.from_frame(w.pair.target.frame, name="books")
        split = given_split(w.pair.source, target, 5, 30, 20, seed=1)
        n = split.train.target.frame.groupby("user_id").size()
        asked = split.test.frame.groupby("user_id").size()
        assert len(asked) == 20 and (n[asked.index] == 5).all() and (asked == 10).all()
        assert not set(split.valid.frame["user_id"]) & set(asked.index)
        assert len(split.train.target) + len(split.valid) + len(split.test) == 50 * 15
        audit(split).raise_for_leaks()
        assert given_split(w.pair.source, target, 5, 30, 20, seed=1).fingerprint == split.fingerprint != given_split(w.pair.source, target, 5, 30, 20, seed=2).fingerprint
        with pytest.raises(ValueError, match="60 users"): given_split(w.pair.source, target, 5, 50, 20)


@pytest.mark.field
def test_the_record_can_be_made_again():
    if not os.environ.get("INTEREST_BOOK_DATA") and not (Path(__file__).resolve().parents[2] / "shared" / "data").is_dir(): pytest.skip("needs the data folder")
    from interest_book.knowledge import _prefixed
    from interest_book.datasets import load
    films, books = _prefixed(load("ml-100k"), "film", 100), _prefixed(load("bookcrossing"), "book", 20)
    split = given_split(films, books, 5)
    assert not split.train.shared.any() and not set(films.items) & set(books.items)


@pytest.mark.gpu
def test_the_same_clusters_on_a_gpu():
    if not torch.cuda.is_available(): pytest.skip("no CUDA device")
    x = draw(200, 4)
    torch.testing.assert_close(kmeans(x.to("cuda"), 5).centres.cpu(), kmeans(x, 5).centres)
