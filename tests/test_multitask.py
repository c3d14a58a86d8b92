"""Chapter 14: collective factorisation, networks for two domains, weighting of losses, judging both domains."""
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

from interest_book.baselines import Popularity, UnsupportedError
from interest_book import multitask
from interest_book.core import DataError, ShapeError, rng
from interest_book.evaluation import evaluate, record_table
from interest_book.factorization import ImplicitALS, solve_rows, truncated_svd
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.linear_mapping import BiasBridge, residual_matrix
from interest_book.multitask import (NETWORKS, WEIGHTINGS, CollectiveMF, CoNet, CrossStitch, Histories, MultiTask, SharedBottom, Towers, _fit_collective, _hidden_parts, _histories, _penalties, audit_both,
                                     both_domains_split, likelihood_loss, multitask_record, project_conflict, sharing_record, surgery_loss, uncertainty_loss)
from interest_book.splits import LeakError, SplitError, cold_start_split, ratio_split
from interest_book.training import gradient_check, seeded, train
from interest_book.worlds import make_world


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_multitask/{name}", seed).standard_normal(shape))

_worlds = {}
def world(**kw):
    key = tuple(sorted(kw.items()))
    if key not in _worlds: _worlds[key] = make_world(**{"n_users": 120, "n_source_items": 30, "n_target_items": 25, "interactions_per_user": (10, 6), **kw})
    return _worlds[key]

def mixed(): return world(overlap=0.6, seed=1).pair          # people in both domains, in the source only, in the target only


class TestCollectiveMF:
    @pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
    def test_gold_choices_without_weights_and_penalty_are_the_svd_of_both_tables(self, weight):
        pair = world().pair
        m = CollectiveMF(3, l2=1e-5, alpha=1e-7, source_weight=weight, sweeps=100, steps=None).fit(pair)
        wide = sp.csr_array(sp.hstack([weight**0.5 * m.source_, (1 - weight)**0.5 * m.seen_]))
        best = truncated_svd(wide, 3)
        mine = m.interests_ @ torch.cat([weight**0.5 * m.source_traits_, (1 - weight)**0.5 * m.traits_]).T
        torch.testing.assert_close(mine, (best.users @ best.items.T).float(), rtol=0, atol=2e-3)
        assert (best.users @ best.items.T).abs().max() > 0.3

    def test_gold_complete_ratings_are_the_svd_of_both_residual_tables(self):
        def full(n, name):
            at = np.indices((40, n)).reshape(2, -1)
            return Interactions([f"u{i}" for i in range(40)], [f"{name}{i}" for i in range(n)], *at, ratings=3 + draw(40 * n, name=name).numpy(), name=name)
        pair = DomainPair(full(12, "a"), full(9, "b"))
        m = CollectiveMF(2, l2=1e-5, source_weight=0.3, sweeps=400, steps=None).fit(pair)
        wide = np.hstack([0.3**0.5 * residual_matrix(pair.source).toarray(), 0.7**0.5 * residual_matrix(pair.target).toarray()])
        u, s, v = np.linalg.svd(wide)
        mine = m.interests_ @ torch.cat([0.3**0.5 * m.source_traits_, 0.7**0.5 * m.traits_]).T
        np.testing.assert_allclose(mine.numpy(), (u[:, :2] * s[:2]) @ v[:2], atol=5e-3)

    def test_the_ends_are_the_domains_alone(self):
        pair, same_scores = mixed(), lambda a, b: torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)      # equal but for the order of sums, which is the processor's
        for model in (lambda p: CollectiveMF(6, source_weight=0.0).fit(p), lambda p: CollectiveMF(6, source_weight=1.0).fit(p.swap()).mirror()):
            users = list(pair.users[pair.target.active_users])
            same_scores(model(pair).score(users), ImplicitALS(6, 30.0, 3.0).fit(pair).score(users))
        single = DomainPair.single(pair.target)
        same_scores(CollectiveMF(6).fit(single).score(pair.target.users[:9]), ImplicitALS(6, 30.0, 3.0).fit(single).score(pair.target.users[:9]))

    def test_a_weight_between_is_neither_end(self):
        pair = world().pair
        a, b, c = (CollectiveMF(6, source_weight=w).fit(pair).score(pair.users[:9]) for w in (0.0, 0.5, 1.0))
        assert min((a - b).abs().max(), (b - c).abs().max()) > 0.01

    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
    def test_half_step_by_loops_for_the_three_kinds_of_people(self, weight):
        pair, d = mixed(), 4
        m = CollectiveMF(d, l2=5.0, alpha=2.0, source_weight=weight, count_power=0.5).fit(pair)
        here, there = pair.source.active_users, pair.target.active_users
        for who in (here & there, here & ~there, there & ~here):
            u = int(np.flatnonzero(who)[0])
            w = {(True, True): (weight, 1 - weight), (True, False): (1.0, 0.0), (False, True): (0.0, 1.0)}[here[u], there[u]]
            left, right = torch.zeros(d, d), torch.zeros(d)
            for a, rows, traits in zip(w, (m.source_, m.seen_), (m.source_traits_, m.traits_)):
                active = rows[np.diff(rows.indptr) > 0]
                mean = (rows.shape[1] + 2.0 * np.diff(active.indptr)).mean()
                x = rows[[u]].toarray()[0]
                left += a * 5.0 * ((len(x) + 2.0 * x.sum()) / mean)**0.5 * torch.eye(d)
                for i, choice in enumerate(x):
                    left += a * (1 + 2.0 * float(choice)) * torch.outer(traits[i], traits[i]); right += a * 3.0 * float(choice) * traits[i]
            torch.testing.assert_close(m.interests_[u], torch.linalg.solve(left, right), rtol=2e-3, atol=1e-4)

    def test_a_cold_user_is_folded_in_from_source_rows_alone(self):
        split = cold_start_split(world().pair, seed=0)
        m = CollectiveMF(5, source_weight=0.4).fit(split.train)
        u = split.train.users.get_indexer(split.test_users)
        own = m.mirror().score_history(m.source_[u])                                              # as newcomers, in the source
        torch.testing.assert_close(own, m.interests_[u] @ m.source_traits_.T, rtol=1e-3, atol=1e-4)
        assert not m.seen_[u].nnz and m.score(split.test_users).std(0).mean() > 0.01

    def test_an_empty_row_is_no_row_of_zeros(self):
        "People of the source alone leave the target's items as they are when the source has no say."
        pair = mixed()
        without = DomainPair(pair.source.rows(pair.target.active_users[pair.source.user_codes]), pair.target)
        a, b = (CollectiveMF(5, source_weight=0.0).fit(p) for p in (pair, without))
        torch.testing.assert_close(a.traits_, b.traits_, rtol=1e-4, atol=1e-5)

    def test_folding_in_a_training_row_of_the_target_gives_its_scores(self):
        pair = DomainPair.single(world().pair.target)
        m = CollectiveMF(5).fit(pair)
        torch.testing.assert_close(m.score_history(m.seen_[:7]), m.score(pair.users[:7]), rtol=1e-4, atol=1e-5)

    def test_more_sweeps_never_raise_the_objective(self):
        from interest_book.factorization import Factors, implicit_objective
        pair, values = world().pair, []
        for sweeps in (1, 2, 3, 5, 9):
            m = CollectiveMF(4, l2=5.0, source_weight=0.7, sweeps=sweeps, steps=None).fit(pair)
            total = 0
            for w, rows, traits in ((0.7, m.source_, m.source_traits_), (0.3, m.seen_, m.traits_)):
                on = np.diff(rows.indptr) > 0
                total += w * implicit_objective(Factors(m.interests_[on], traits), sp.csr_array(rows[on]), m.alpha, _penalties(m, rows[on]), _penalties(m, sp.csr_array(rows[on].T)))
            values.append(total)
        assert (np.diff(values) < 1e-6 * values[0]).all() and values[-1] < 0.99 * values[0]

    def test_ratings_beat_the_bridge_where_interests_are_shared(self):
        for seed in range(2):
            s = cold_start_split(make_world(n_users=300, n_source_items=60, n_target_items=60, feedback="explicit", seed=seed).pair, seed=0)
            mine, bridge = (evaluate(m.fit(s.train), s, "rmse").summary()["rmse"] for m in (CollectiveMF(4), BiasBridge()))
            assert mine < 0.92 * bridge

    def test_ratings_mirror(self):
        pair = world(feedback="explicit").pair
        m = CollectiveMF(3).fit(pair)
        back, again = m.mirror(), CollectiveMF(3, source_weight=0.5).fit(pair.swap())
        assert torch.isfinite(back.predict(pair.users[:5], pair.source.items[:5])).all() and back.range_ == again.range_
        torch.testing.assert_close(back.item_mean_, again.item_mean_)

    @pytest.mark.parametrize("bad", [{"factors": 0}, {"l2": 0.0}, {"l2": -1.0}, {"alpha": 0.0}, {"source_weight": -0.1}, {"source_weight": 1.1}, {"sweeps": 0}, {"steps": 0}])
    def test_bad_settings(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))): CollectiveMF(**bad)

    def test_bad_data(self):
        with pytest.raises(NoSharedUsersError): CollectiveMF().fit(world(overlap=0.0).pair)
        rated = world(feedback="explicit").pair
        with pytest.raises(DataError, match="binarize"): CollectiveMF().fit(DomainPair(rated.source.binarize(), rated.target))
        with pytest.raises(UnsupportedError): CollectiveMF(4).fit(world().pair).predict(world().pair.users[:1], world().pair.target.items[:1])


@pytest.mark.parametrize("make", [lambda: CollectiveMF(4, source_weight=0.3), lambda: MultiTask(epochs=2, source_weight=0.3)], ids=["collective", "towers"])
class TestMirror:
    def test_twice_is_the_model(self, make):
        pair = world().pair
        m = make().fit(pair)
        before = m.score(pair.users[:6]).clone()
        back = m.mirror()
        assert back.score(pair.users[:6]).shape == (6, 30) and torch.equal(back.mirror().score(pair.users[:6]), before) and torch.equal(m.score(pair.users[:6]), before)
        assert back.source_weight == 0.7 and back.mirror().source_weight == 0.3 and m.source_weight == 0.3

    def test_it_recommends_source_items_that_the_user_has_not(self, make):
        pair = world().pair
        lists = make().fit(pair).mirror().recommend(pair.users[:6], k=30)
        assert set(lists.item_id) <= set(pair.source.items)
        seen = set(zip(pair.source.users[pair.source.user_codes], pair.source.items[pair.source.item_codes]))
        assert not seen & set(zip(lists.user_id, lists.item_id))

    def test_it_survives_a_folder(self, make, tmp_path):
        pair = world().pair
        m = make().fit(pair)
        kind = type(m)
        there = kind.load(m.save(tmp_path / "m")).mirror()
        again = kind.load(m.mirror().save(tmp_path / "mirror"))
        assert torch.equal(there.score(pair.users), m.mirror().score(pair.users)) and torch.equal(again.score(pair.users), there.score(pair.users))

    def test_without_a_source_there_is_no_other_side(self, make):
        with pytest.raises(DataError, match="without a source"): make().fit(DomainPair.single(world().pair.target)).mirror()


PARTS = [sp.csr_array((draw(20, n, name=f"rows{n}") > 0.4).float().numpy()) for n in (11, 7)]
def bags(at): return [_histories(x, np.asarray(at), "cpu") for x in PARTS]
def net_of(kind, **kw):
    with seeded("test_multitask/net"): return kind((11, 7), 6, **kw)
every = pytest.mark.parametrize("kind", NETWORKS.values(), ids=list(NETWORKS))


class TestNetworks:
    @every
    def test_gradients(self, kind):
        net = net_of(kind).double()
        h = [Histories(b.items, b.owners, b.weights.double(), b.n) for b in bags(range(4))]
        assert gradient_check(lambda: sum(f.square().sum() for f in net(h)), list(net.parameters())) < 1e-6

    @every
    def test_batch_mates_and_order_change_nothing(self, kind):
        net = net_of(kind)
        whole, turned = net(bags(range(20))), net(bags(range(20)[::-1]))
        for k in range(2):
            torch.testing.assert_close(turned[k].flip(0), whole[k])
            torch.testing.assert_close(net(bags([5]))[k], whole[k][5:6])

    @every
    def test_without_history_only_popularity_speaks(self, kind):
        net = net_of(kind)
        with torch.no_grad():
            net.popularity1.copy_(torch.arange(7.0))
            for layer in net.deep: layer.bias.zero_()
        empty = [_histories(sp.csr_array((2, n), dtype=np.float32), np.arange(2), "cpu") for n in (11, 7)]
        torch.testing.assert_close(net(empty)[1], torch.arange(7.0).expand(2, 7))

    @every
    def test_both_histories_are_read_by_both_heads(self, kind):
        net, other = net_of(kind), bags([3])
        for side in range(2):
            half = [b if k != side else Histories(b.items, b.owners, 0 * b.weights, b.n) for k, b in enumerate(other)]
            for a, b in zip(net(half), net(other)): assert (a - b).abs().max() > 1e-4

    def test_two_towers_share_nothing(self):
        net = net_of(Towers)
        source, target = net(bags(range(4)))
        for mine, other in ((source, 1), (target, 0)):
            grads = torch.autograd.grad(mine.square().sum(), [*net.read[other].parameters(), *net.deep[other].parameters()], allow_unused=True, retain_graph=True)
            assert all(g is None for g in grads)

    def test_a_shared_bottom_shares_everything_below_the_heads(self):
        net = net_of(SharedBottom)
        for f in net(bags(range(4))):
            grads = torch.autograd.grad(f.square().sum(), [*net.read.parameters(), *net.deep.parameters()], retain_graph=True)
            assert all(g.abs().max() > 0 for g in grads)

    @pytest.mark.parametrize("kind,switch,off", [(CrossStitch, "units", {"lent": 0.0}), (CoNet, "cross", {})], ids=["cross_stitch", "conet"])
    def test_switched_off_and_trained_it_is_two_separate_towers(self, kind, switch, off):
        def trained(kind, frozen=None, **kw):
            net = net_of(kind, **kw)
            if frozen: getattr(net, frozen).requires_grad_(False)
            train(net, lambda net, at: sum(likelihood_loss(f, b) for f, b in zip(net(bags(at)), bags(at))), [torch.arange(20)], epochs=3, batch_size=8, lr=0.02, device="cpu", progress=False)
            return torch.cat(net(bags(range(20))), 1)
        apart = trained(Towers)
        assert torch.equal(trained(kind, switch, **off), apart)
        assert (trained(kind) - apart).abs().max() > 1e-3

    def test_units_mix_and_start_near_the_identity(self):
        net = net_of(CrossStitch, lent=0.25)
        a, b = draw(3, 6, name="a").float(), draw(3, 6, name="b").float()
        torch.testing.assert_close(net.join(1, [a, b])[0], 0.75 * a + 0.25 * b)
        torch.testing.assert_close(net.join(0, [a, b])[1], 0.25 * a + 0.75 * b)

    def test_conet_crosses_with_one_matrix(self):
        net = net_of(CoNet)
        net.cross.data = draw(6, 6, name="h").float()
        a, b = draw(3, 6, name="a").float(), draw(3, 6, name="b").float()
        torch.testing.assert_close(net.deepen([a, b])[1] - net.deep[1](b), a @ net.cross)
        torch.testing.assert_close(net.deepen([a, b])[0] - net.deep[0](a), b @ net.cross)


class TestLosses:
    def test_likelihood_is_cross_entropy_over_rows(self):
        h, f = bags(range(20))[0], draw(20, 11, name="f")
        torch.testing.assert_close(likelihood_loss(f, h), F.cross_entropy(f[h.owners], h.items))
        torch.testing.assert_close(likelihood_loss(f + 100, h), likelihood_loss(f, h))

    def test_likelihood_without_rows_is_zero_with_a_gradient(self):
        f = draw(3, 5).requires_grad_()
        value = likelihood_loss(f, _histories(sp.csr_array((3, 5), dtype=np.float32), np.arange(3), "cpu"))
        value.backward()
        assert value == 0 and (f.grad == 0).all()

    @given(st.lists(st.floats(0.01, 100), min_size=2, max_size=4))
    @settings(max_examples=30, deadline=None)
    def test_uncertainty_is_the_smallest_value_over_the_noise(self, losses):
        x = torch.tensor(losses, dtype=torch.float64)
        value = uncertainty_loss(list(x))
        joint = lambda tau: 0.5 * (torch.exp(-tau) * x + tau).sum() - 0.5 * len(losses)
        assert torch.isclose(value, joint(x.log())) and all(value <= joint(x.log() + s) for s in (-0.1, 0.1))
        assert torch.isclose(uncertainty_loss([1000 * x[0], *x[1:]]) - value, torch.tensor(0.5 * np.log(1000), dtype=torch.float64))

    def test_uncertainty_at_zero_is_finite(self): assert torch.isfinite(uncertainty_loss([torch.zeros(()), torch.ones(())]))

    @given(st.integers(0, 10_000))
    @settings(max_examples=60, deadline=None)
    def test_surgery_harms_no_task_and_is_the_sum_without_conflict(self, seed):
        a, b = draw(5, name="a", seed=seed), draw(5, name="b", seed=seed)
        g = project_conflict(a, b)
        assert g @ a > -1e-12 and g @ b > -1e-12
        torch.testing.assert_close(project_conflict(b, a), g)
        if a @ b >= 0: assert torch.equal(g, a + b)
        else:
            mine, its = a - (a @ b) / (b @ b) * b, b - (a @ b) / (a @ a) * a
            torch.testing.assert_close(g, mine + its)
            assert abs(mine @ b) < 1e-10 and abs(its @ a) < 1e-10

    def test_surgery_edges(self):
        zero = torch.zeros(3)
        assert torch.equal(project_conflict(zero, torch.ones(3)), torch.ones(3))
        torch.testing.assert_close(project_conflict(torch.ones(3), -torch.ones(3)), zero)
        with pytest.raises(ShapeError, match="second"): project_conflict(torch.ones(3), torch.ones(2))

    def test_the_loss_has_the_wanted_gradient_and_value(self):
        both, first, second, unused = (draw(n, name=str(n)).requires_grad_() for n in (4, 3, 2, 5))
        losses = lambda: [(both - 2).square().sum() + first.square().sum(), 3 * (both + 2).square().sum() + (second**3).sum()]
        value = surgery_loss(losses(), [both, first, second, unused])
        got = torch.autograd.grad(value, [both, first, second])
        a, b = (torch.autograd.grad(x, both)[0] for x in losses())
        assert a @ b < 0
        for g, want in zip(got, (project_conflict(a, b), 2 * first, 3 * second**2)): torch.testing.assert_close(g, want)
        torch.testing.assert_close(value, sum(losses()))

    def test_where_nothing_is_shared_surgery_is_the_sum(self):
        a, b = draw(3, name="a").requires_grad_(), draw(3, name="b").requires_grad_()
        got = torch.autograd.grad(surgery_loss([a.square().sum(), b.pow(4).sum()], [a, b]), [a, b])
        torch.testing.assert_close(got[0], 2 * a); torch.testing.assert_close(got[1], 4 * b**3)


class TestMultiTask:
    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    def test_every_combination_fits_and_answers_in_both_domains(self, network, weighting):
        pair = mixed()
        m = MultiTask(network, weighting, epochs=2, hidden=8, sparsity=0.01).fit(pair)
        for side in (m, m.mirror()): assert torch.isfinite(side.score(pair.users)).all()
        assert m.losses_[-1] < m.losses_[0]

    def test_separate_towers_do_not_feel_weights_or_surgery(self):
        pair = world().pair
        fit = lambda *a: MultiTask(*a, epochs=5, hidden=8, lr=0.02).fit(pair).score(pair.users[:9])
        a, b, c, d, e = fit("separate", "fixed", 0.5), fit("separate", "fixed", 0.1), fit("separate", "surgery", 0.5), fit("shared_bottom", "fixed", 0.5), fit("shared_bottom", "fixed", 0.1)
        assert (b - a).abs().max() < 0.01 and (c - a).abs().max() < 1e-4       # Adam cancels a factor but for its epsilon
        assert (e - d).abs().max() > 0.1

    def test_cold_people_are_served_from_the_source(self):
        scores = []
        for seed in range(2):
            s = cold_start_split(make_world(n_users=400, n_source_items=80, n_target_items=70, seed=seed).pair, seed=seed)
            scores.append([evaluate(m.fit(s.train), s, "ndcg@10").summary()["ndcg@10"] for m in (MultiTask(), Popularity())])
        assert np.mean(scores, 0)[0] > np.mean(scores, 0)[1] + 0.05

    def test_newcomers_are_served_and_strangers_get_popularity(self):
        pair = world().pair
        m = MultiTask(epochs=3).fit(pair)
        rows = m.seen_[:4]
        assert (m.score_history(rows) - m.score_history(rows[::-1])).abs().max() > 0.01
        counts = torch.from_numpy(np.asarray(m.seen_.sum(0))).float()
        assert torch.equal(m.score_history(sp.csr_array((1, 25), dtype=np.float32))[0], counts)

    def test_only_people_with_both_histories_lose_one_and_never_both(self):
        both = torch.arange(10_000) % 2 == 0
        with seeded("test_multitask/blind"): source, target = _hidden_parts(10_000, both, 0.6)
        assert source[~both].all() and target[~both].all() and (source | target).all()
        for visible in (source, target): assert abs((~visible[both]).float().mean() - 0.3) < 0.03

    def test_one_domain_alone(self):
        pair = DomainPair.single(world().pair.target)
        for w in WEIGHTINGS: assert torch.isfinite(MultiTask(weighting=w, epochs=2).fit(pair).score(pair.users[:5])).all()

    @pytest.mark.parametrize("bad", [{"network": "deep"}, {"weighting": "equal"}, {"hidden": 0}, {"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"weight_decay": -1.0}, {"sparsity": -1.0}, {"dropout": 1.0},
                                     {"blind": 2.0}, {"source_weight": -0.5}])
    def test_bad_settings(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))): MultiTask(**bad)

    def test_bad_data(self):
        with pytest.raises(NoSharedUsersError): MultiTask().fit(world(overlap=0.0).pair)

    @pytest.mark.gpu
    def test_cpu_agrees_with_gpu(self):
        pair = world().pair
        a, b = (MultiTask(dropout=0.0, blind=0.0, epochs=2, device=d).fit(pair).score(pair.users[:9]).cpu() for d in ("cpu", "cuda"))
        torch.testing.assert_close(a, b, rtol=5e-3, atol=5e-3)


class TestBothDomains:
    @pytest.mark.parametrize("overlap", [1.0, 0.6])
    def test_one_training_pair_that_holds_no_held_out_row(self, overlap):
        pair = world(overlap=overlap, seed=1).pair
        t, s = both_domains_split(pair, test=0.2, valid=0.1, seed=4)
        assert t.train.target.fingerprint() == s.train.source.fingerprint() and t.train.source.fingerprint() == s.train.target.fingerprint()
        for whole, part in ((pair.target, t), (pair.source, s)):
            cells = [set(zip(x.users[x.user_codes], x.items[x.item_codes])) for x in (part.train.target, part.valid, part.test)]
            assert sum(map(len, cells)) == len(whole) == len(set.union(*cells)) and min(map(len, cells)) > 0
        assert len(audit_both(t, s).raise_for_leaks().errors) == 0

    def test_the_target_half_is_the_plain_warm_split(self):
        pair = world().pair
        t, s = both_domains_split(pair, seed=2)
        assert t.test.fingerprint() == ratio_split(pair, 0.1, 0.1, 2).test.fingerprint() and s.test.fingerprint() == ratio_split(pair.swap(), 0.1, 0.1, 2).test.fingerprint()

    def test_two_splits_made_one_after_the_other_leak(self):
        pair = world().pair
        careless = ratio_split(pair, 0.2, 0.1, 0), ratio_split(pair.swap(), 0.2, 0.1, 0)
        report = audit_both(*careless)
        assert report.errors["count"].tolist() == [len(c.test) + len(c.valid) for c in careless]
        with pytest.raises(LeakError, match="both_domains_split"): report.raise_for_leaks()
        with pytest.raises(LeakError): audit_both(both_domains_split(pair, seed=0)[0], careless[1]).raise_for_leaks()

    def test_bad_shares(self):
        with pytest.raises(ValueError, match="shares"): both_domains_split(world().pair, test=0.9, valid=0.2)
        with pytest.raises(SplitError): both_domains_split(DomainPair.single(world().pair.target))

    def test_a_record_of_both_domains(self, monkeypatch):
        lines, every = [], multitask._record_models()
        assert len(every) == 13 and all(callable(m) for makers in every.values() for m in makers)
        monkeypatch.setattr(multitask, "_record_models", lambda: {k: every[k] for k in ("towers, separate", "shared bottom, uncertainty", "collective MF, source weight 0.3")})
        record = multitask_record(make_world(n_users=40, n_source_items=12, n_target_items=10, interactions_per_user=(6, 5), seed=0).pair, "try", seeds=1, progress=lines.append)
        variants = {r["variant"] for r in record["results"]}
        assert variants == {"source", "target"} and len(lines) == 1
        tables = [record_table(record, ["ndcg@10"], baseline=b, where={"variant": v}) for v in variants for b in ("EASE", "towers, separate")]
        assert all(len(t) == len(tables[0]) and t["ndcg@10", "mean"].notna().all() for t in tables)

    def test_the_stored_worlds_are_what_the_function_makes(self):
        from interest_book.core import read_record
        record = read_record("14_worlds")
        frame = pd.DataFrame(record["results"])
        cells = frame.groupby("model").size()
        assert (cells == 2 * record["settings"]["seeds"] * len(record["settings"]["shares"])).all() and frame["ndcg@10"].between(0, 1).all()
        assert record["command"].endswith(sharing_record.__defaults__[0])
