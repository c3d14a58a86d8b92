"""Chapter 16: cross-domain variational autoencoders."""
import copy
import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

from interest_book.baselines import Popularity
from interest_book.core import DataError, NotFittedError, ShapeError, rng
from interest_book.cross_domain_vae import (JOINTS, CrossDomainVAE, CrossVAE, Expert, _Both, _blank, _latent_maps, _visible, cross_worlds_record, linear_posterior, mixture_of_experts,
                                            product_of_experts, rigid_decoder, wasserstein2)
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair, NoSharedUsersError, UnknownUserError
from interest_book.splits import cold_start_split
from interest_book.training import seeded
from interest_book.worlds import make_world


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_cross_domain_vae/{name}", seed).standard_normal(shape))
def history(n=8, m=11, density=0.4, seed=0): return sp.csr_array((rng("test_cross_domain_vae/rows", seed).random((n, m)) < density).astype(np.float32))
def empty(n, m): return sp.csr_array((n, m), dtype=np.float32)


class TestExperts:
    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10_000))
    def test_product_is_bayes_rule(self, seed):
        "Reading each expert's mean as an observation with its precision gives the linear model with W = 1."
        m, t = draw(3, 4, 1, seed=seed), draw(3, 4, 1, name="t", seed=seed).exp()
        mean, log_var = product_of_experts(m, t)
        for u in range(4):
            exact, cov = linear_posterior([(m[k, u:u + 1], torch.ones(1, 1).double(), float(1 / t[k, u, 0])) for k in range(3)])
            torch.testing.assert_close((mean[u, 0], log_var[u, 0].exp()), (exact[0, 0], cov[0, 0]))

    def test_prior_counts_once_and_silence_drops_out(self):
        m, t = draw(4, 5, 2), draw(4, 5, 2, name="t").exp()
        mean, log_var = product_of_experts(m, torch.zeros_like(t))
        assert torch.equal(mean, torch.zeros(5, 2).double()) and torch.equal(log_var, torch.zeros(5, 2).double())     # not log(1 / 4)
        quiet = t.clone(); quiet[1] = 0
        torch.testing.assert_close(product_of_experts(m, quiet), product_of_experts(m[[0, 2, 3]], t[[0, 2, 3]]))
        agree = product_of_experts(m[:1].repeat(2, 1, 1), t[:1].repeat(2, 1, 1))
        torch.testing.assert_close(agree[1].exp(), 1 / (1 + 2 * t[0]))                                                # two who agree are surer than one

    def test_mixture_moments_by_sampling_free_algebra(self):
        m, v = draw(2, 3, 2), draw(2, 3, 2, name="v")
        mean, log_var = mixture_of_experts(m, v)
        torch.testing.assert_close(mean, m.mean(0))
        torch.testing.assert_close(log_var.exp(), (m**2 + v.exp()).mean(0) - m.mean(0)**2)                            # E z^2 - (E z)^2
        one = mixture_of_experts(m, v, torch.tensor([[0.0] * 3, [1.0] * 3]).double())
        torch.testing.assert_close(one, (m[1], v[1]))

    def test_never_surer_than_its_surest_member(self):
        m, v = draw(2, 50, 4), draw(2, 50, 4, name="v")
        assert (mixture_of_experts(m, v)[1] >= v.min(0).values - 1e-12).all()

    def test_shapes_are_named(self):
        m = draw(2, 3, 4)
        with pytest.raises(ShapeError, match="precisions"): product_of_experts(m, m[:1])
        with pytest.raises(ShapeError, match="log_vars"): mixture_of_experts(m, m[..., :1])
        with pytest.raises(ShapeError, match="weights"): mixture_of_experts(m, m, m[..., 0].T)


class TestLinear:
    def test_conditioning_agrees(self):
        w = [draw(5, 3, name="w1"), draw(4, 3, name="w2")]
        z = draw(6, 3, name="z")
        x = [z @ a.T + draw(6, len(a), name="e") for a in w]
        both, noise = torch.cat(w), torch.diag(torch.tensor([0.5] * 5 + [2.0] * 4)).double()
        gain = torch.linalg.solve(both @ both.T + noise, both)
        mean, cov = linear_posterior([(x[0], w[0], 0.5), (x[1], w[1], 2.0)])
        torch.testing.assert_close(mean, torch.cat(x, 1) @ gain)
        torch.testing.assert_close(cov, torch.eye(3).double() - both.T @ gain)

    def test_refusals(self):
        x, w = draw(6, 5), draw(5, 3, name="w")
        with pytest.raises(ShapeError): linear_posterior([(x, w[:4], 1.0)])
        with pytest.raises(ShapeError): linear_posterior([(x, w, 1.0), (x[:3], w, 1.0)])
        with pytest.raises(ValueError, match="noise"): linear_posterior([(x, w, 0.0)])
        with pytest.raises(ValueError, match="at least one domain"): linear_posterior([])

    def test_rigid_decoder_is_a_minimum_of_the_expected_error(self):
        m, s, x = draw(20, 3), draw(20, 3, name="s").exp(), draw(20, 4, name="x")
        best = rigid_decoder(m, s, x)
        def error(w): return (x - m @ w.T).square().sum() + (s.sum(0) * w**2).sum()
        w = best.clone().requires_grad_()
        assert torch.autograd.grad(error(w), w)[0].abs().max() < 1e-9
        with pytest.raises(ShapeError): rigid_decoder(m, s[:, :2], x)
        with pytest.raises(ShapeError): rigid_decoder(m, s, x[:5])
        torch.testing.assert_close(rigid_decoder(m, 0 * s, x), torch.linalg.lstsq(m, x).solution.T)

    def test_wasserstein(self):
        m, v, k, u = (draw(4, 3, name=n) for n in "abcd")
        assert wasserstein2(m, v, m, v).abs().max() == 0
        torch.testing.assert_close(wasserstein2(m, v, k, u), wasserstein2(k, u, m, v))
        assert wasserstein2(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2), torch.full((1, 2), 2 * math.log(3.0))).item() == pytest.approx(8.0)   # widths 1 and 3, twice
        common = draw(200_000, name="common")                        # the same noise for both is the best plan in one dimension
        moved = ((m[0, 0] + (v[0, 0] / 2).exp() * common) - (k[0, 0] + (u[0, 0] / 2).exp() * common)).square()
        assert abs(moved.mean() - wasserstein2(m[:1, :1], v[:1, :1], k[:1, :1], u[:1, :1]).item()) < 4 * moved.std() / len(common)**0.5
        with pytest.raises(ShapeError, match="other_mean"): wasserstein2(m, v, k[:2], u)


class TestNetwork:
    def test_expert_counts_rows_and_is_silent_without(self):
        with seeded("test"): expert = Expert(11, 6, 3).eval()
        rows = history()
        mean, precision = expert(rows)
        assert mean.shape == precision.shape == (8, 3) and (precision > 0).all()
        assert (expert(empty(2, 11))[1] == 0).all()
        doubled = sp.csr_array(sp.hstack([rows, rows]))              # the same direction of taste in twice as many rows
        with seeded("test"): wide = Expert(22, 6, 3).eval()
        with torch.no_grad():
            wide.first.weight.copy_(torch.cat([expert.first.weight] * 2) / 2**0.5); wide.first.bias.copy_(expert.first.bias); wide.out.load_state_dict(expert.out.state_dict())
        torch.testing.assert_close(wide(doubled)[1], 2 * precision); torch.testing.assert_close(wide(doubled)[0], mean)

    @pytest.mark.parametrize("joint", JOINTS)
    def test_gradients(self, joint):
        torch.manual_seed(0)
        with seeded("test"): net = CrossVAE((6, 5), 4, 2, joint, dropout=0.0).eval()
        rows = (history(7, 6, seed=1), history(7, 5, seed=2))
        def loss():
            with seeded("test/noise"): return net.loss(rows, 0.7)
        loss().backward()
        for name, p in net.named_parameters():
            index = tuple(int(i) for i in np.unravel_index(int(p.grad.abs().argmax()), p.shape))
            kept, h, values = p.data[index].item(), 1e-2, []
            for sign in (1, -1): p.data[index] = kept + sign * h; values.append(loss().item())
            p.data[index] = kept
            assert p.grad[index].item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=2e-2, abs=2e-3), name

    @pytest.mark.parametrize("joint", ["poe", "kl", "wasserstein", "mapped"])
    def test_loss_by_hand(self, joint):
        "Dense formulas with the same noise; the first person has no row in the target."
        with seeded("test"): net = CrossVAE((9, 7), 5, 3, joint, blind=0.0, align=0.7, weights=(0.6, 1.4)).eval()
        dense = [torch.from_numpy(history(6, n, seed=n).toarray()) for n in (9, 7)]
        dense[1][0] = 0
        with torch.no_grad(), seeded("test/noise"): ours = net.loss(tuple(sp.csr_array(x.numpy()) for x in dense), 0.3)
        with torch.no_grad(), seeded("test/noise"):
            if joint == "poe": torch.rand(6), torch.rand(6)
            experts = []
            for e, x in zip(net.encoders, dense):
                m, raw = (torch.tanh(torch.nn.functional.normalize(x) @ e.first.weight + e.first.bias) @ e.out.weight.T + e.out.bias).chunk(2, 1)
                experts.append((m, x.sum(1, keepdim=True) * torch.nn.functional.softplus(raw - 3)))
            alone = [torch.distributions.Normal(t * m / (1 + t), (1 + t) ** -0.5) for m, t in experts]
            total = 1 + experts[0][1] + experts[1][1]
            clouds = [torch.distributions.Normal(sum(t * m for m, t in experts) / total, total ** -0.5)] if joint == "poe" else alone
            draws = [c.mean + c.stddev * torch.randn(6, 3) for c in clouds] * (3 - len(clouds))
            explained = sum(w * (x * (z @ d[0].weight.T + d[0].bias).log_softmax(1)).sum(1) for w, x, z, d in zip((0.6, 1.4), dense, draws, net.decoders))
            moved = sum(torch.distributions.kl_divergence(c, torch.distributions.Normal(0.0, 1.0)).sum(1) for c in clouds)
            a, b = alone
            apart = {"kl": 0.5 * (torch.distributions.kl_divergence(a, b) + torch.distributions.kl_divergence(b, a)).sum(1),
                     "wasserstein": ((a.mean - b.mean)**2 + (a.stddev - b.stddev)**2).sum(1)}.get(joint, torch.zeros(6))
            apart[0] = 0
        assert ours.item() == pytest.approx((0.3 * moved - explained + 0.7 * apart).mean().item(), rel=1e-5)

    def test_who_is_visible(self):
        n = torch.tensor([[3, 0, 5, 0] * 50, [2, 4, 0, 0] * 50])
        here = n > 0
        with seeded("test"):
            assert torch.equal(_visible(n, "poe", 0.0), here) and torch.equal(_visible(n, "kl", 0.9), here)
            half, one = _visible(n, "poe", 0.5), _visible(n, "moe", 0.0)
        assert (half <= here).all() and (half.any(0) == here.any(0)).all()          # nobody loses the only history
        assert (one.sum(0) == here.any(0)).all()                                    # a mixture is trained one expert at a time
        both = here.all(0)
        assert 0.3 < (half[:, both].sum(0) == 1).double().mean() < 0.7 and one[0, both].any() and one[1, both].any()

    @pytest.mark.parametrize("joint", ["poe", "moe", "shared"])
    def test_a_hidden_domain_is_a_missing_domain(self, joint):
        with seeded("test"): net = CrossVAE((11, 9), 6, 3, joint).eval()
        rows, visible = (history(), history(8, 9, seed=3)), torch.tensor([[True] * 8, [False] * 4 + [True] * 4])
        kept = sp.csr_array(sp.vstack([empty(4, 9), rows[1][4:]]))
        torch.testing.assert_close(net.posterior(rows, visible), net.posterior((rows[0], kept)))
        alone = net.posterior((empty(8, 11), empty(8, 9)))
        assert torch.equal(alone[0], torch.zeros(8, 3)) and torch.allclose(alone[1], torch.zeros(8, 3), atol=1e-6)

    def test_product_of_both_is_narrower_and_mixture_is_not(self):
        rows = history(), history(8, 9, seed=3)
        for joint in ("poe", "moe"):
            with seeded("test"): net = CrossVAE((11, 9), 6, 3, joint).eval()
            both, one = net.posterior(rows)[1], net.posterior((rows[0], empty(8, 9)))[1]
            other = net.posterior((empty(8, 11), rows[1]))[1]
            if joint == "poe": assert (both < torch.minimum(one, other)).all()
            else: assert (both >= torch.minimum(one, other) - 1e-6).all()

    def test_mixture_weighs_only_who_speaks(self):
        with seeded("test"): net = CrossVAE((11, 9), 6, 3, "moe").eval()
        rows = history(), history(8, 9, seed=3)
        with torch.no_grad(): means, precisions = net.experts(rows)
        films, books = (product_of_experts(means[[k]], precisions[[k]]) for k in (0, 1))
        with torch.no_grad(): one, both = net.posterior((rows[0], empty(8, 9))), net.posterior(rows)
        torch.testing.assert_close(one, films)                       # not half films and half prior
        torch.testing.assert_close(both[0], (films[0] + books[0]) / 2)
        torch.testing.assert_close(both[1].exp(), (films[1].exp() + books[1].exp()) / 2 + ((films[0] - books[0]) / 2) ** 2)

    def test_slices_and_blanks(self):
        a, b = history(), history(8, 9, seed=3)
        part = _Both(a, b)[np.array([4, 1])]
        assert (part[0].toarray() == a.toarray()[[4, 1]]).all() and (part[1].toarray() == b.toarray()[[4, 1]]).all()
        assert _blank(a, np.array([True, False] * 4)).toarray()[1::2].sum() == 0


@pytest.fixture(scope="module")
def world(): return make_world(n_users=300, n_source_items=70, n_target_items=60, feedback="implicit", seed=5)

@pytest.fixture(scope="module")
def split(world): return cold_start_split(world.pair, seed=5)

@pytest.fixture(scope="module")
def model(split): return CrossDomainVAE(16, epochs=15).fit(split.train)

def ndcg(m, s): return float(evaluate(m, s, ("ndcg@10",)).summary()["ndcg@10"])


class TestRecommender:
    @pytest.mark.parametrize("joint", JOINTS)
    def test_every_construction_serves_cold_people_both_ways_and_without_a_source(self, joint, split):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted = CrossDomainVAE(8, joint, epochs=12).fit(split.train)
            assert ndcg(fitted, split) > ndcg(Popularity().fit(split.train), split)
            back = fitted.mirror()
            assert back.score(split.train.users[:3]).shape == (3, split.train.source.n_items) and torch.equal(back.mirror().score(split.train.users), fitted.score(split.train.users))
            alone = CrossDomainVAE(8, joint, epochs=2).fit(DomainPair.single(split.train.target))
            assert torch.isfinite(alone.score(split.train.users)).all()
            with pytest.raises(DataError, match="without a source"): alone.mirror()

    def test_mirror_is_the_other_decoder_on_the_same_cloud(self, model, split):
        users = split.train.users[:5]
        back, net = model.mirror(), model.network()
        torch.testing.assert_close(back.posterior(users), model.posterior(users))
        torch.testing.assert_close(back.posterior(users, "source"), model.posterior(users, "target"))
        torch.testing.assert_close(back.score(users), net.decoders[0](model.posterior(users)[0]).detach())
        assert list(back.recommend(users[:1], 3).item_id.isin(split.train.source.items)) == [True] * 3

    def test_saved_mirror_is_a_mirror(self, model, split, tmp_path):
        back = model.mirror()
        assert torch.equal(CrossDomainVAE.load(back.save(tmp_path / "m")).score(split.train.users[:9]), back.score(split.train.users[:9]))

    def test_posterior_of_parts(self, model, split):
        cold = split.test_users[:6]
        torch.testing.assert_close(model.posterior(cold, "both"), model.posterior(cold, "source"))                   # no target rows in training
        mean, sd = model.posterior(cold, "target")
        assert (mean == 0).all() and torch.allclose(sd, torch.ones_like(sd))
        warm = split.train.users[split.train.shared][:20]
        assert (model.posterior(warm)[1] < torch.minimum(model.posterior(warm, "source")[1], model.posterior(warm, "target")[1])).all()

    def test_score_is_decode_of_the_mean_and_the_ends_of_an_interpolation(self, model, split):
        a, b = split.train.users[:2]
        scores = model.score([a, b])
        torch.testing.assert_close(model.decode(model.posterior([a, b])[0]), scores)
        way = model.interpolate(a, b, steps=3)
        torch.testing.assert_close(way[[0, 2]], scores); torch.testing.assert_close(way[1], scores.mean(0), rtol=1e-4, atol=1e-4)

    def test_samples_scatter_as_the_cloud_says(self, model, split):
        users = split.test_users[:3]
        drawn = model.sample(users, draws=4000, seed=1)
        mean, sd = model.posterior(users)
        weight = model.network().decoders[1][0].weight
        wanted = (sd**2 @ (weight**2).T).detach()
        assert drawn.shape == (4000, 3, split.train.target.n_items)
        assert ((drawn.var(0) / wanted).log().abs() < 6 * (2 / 4000)**0.5).all()      # six standard errors of a log variance
        assert torch.equal(model.sample(users, 2, seed=7), model.sample(users, 2, seed=7)) and not torch.equal(model.sample(users, 2, seed=7), model.sample(users, 2, seed=8))

    def test_mapped_shuts_its_door_without_a_relation(self, split):
        w = make_world(n_users=300, n_source_items=70, n_target_items=60, relation="none", feedback="implicit", seed=1)
        s = cold_start_split(w.pair, seed=1)
        closed, opened = (CrossDomainVAE(8, "mapped", epochs=12).fit(t) for t in (s.train, split.train))
        reached, floor, ceiling = ndcg(closed, s), ndcg(Popularity().fit(s.train), s), ndcg(w.oracle, s)
        assert abs(reached - floor) < 0.15 * (ceiling - floor)
        assert (closed.left_ > 0.9).all() and opened.left_.mean() < 0.9               # lists alone would let joint training pass as well

    def test_latent_map_of_two_equal_domains_is_close_to_the_identity(self):
        with seeded("test"): net = CrossVAE((11, 11), 6, 3, "mapped").eval()
        net.encoders[1].load_state_dict(net.encoders[0].state_dict())
        rows = history(60, 11, seed=9)
        maps, offsets, left = _latent_maps(net, rows, rows)
        torch.testing.assert_close(maps[0], maps[1]); assert (maps[0] - torch.eye(3)).abs().max() < 0.05 and offsets.abs().max() < 0.05
        mean, t = net.experts((rows, rows))
        z = (t[0] * mean[0] / (1 + t[0])).detach()
        torch.testing.assert_close(left[0], (1 - ((z - z.mean(0)) @ maps[0]).var(0)).clamp(0.01, 1.0), rtol=1e-4, atol=1e-5)
        assert (left < 1).all()

    def test_starts_at_popularity(self, split):
        fresh = CrossDomainVAE(4, epochs=1, lr=1e-9, weight_decay=0.0).fit(split.train)
        popularity = np.asarray(split.train.target.matrix("binary").sum(0)).ravel()
        scores = fresh.decode(torch.zeros(1, 4))[0].numpy()
        np.testing.assert_allclose(scores, np.log(popularity + 1), atol=1e-4)

    def test_width_is_a_standard_deviation(self, model, split):
        users = split.train.users[:7]
        rows = tuple(side.matrix("binary")[side.user_index(users)] for side in (split.train.source, split.train.target))
        mean, precision = model.network().experts(rows)
        torch.testing.assert_close(model.posterior(users)[1], ((1 + precision.sum(0)) ** -0.5).detach())

    def test_mapped_weighs_the_carried_cloud_as_a_prior(self, split):
        fitted = CrossDomainVAE(6, "mapped", epochs=2).fit(split.train)
        users = split.train.users[split.train.shared][:9]
        mean, precision = fitted.network().experts(tuple(side.matrix("binary")[side.user_index(users)] for side in (split.train.source, split.train.target)))
        carried = (precision[0] * mean[0] / (1 + precision[0])) @ fitted.maps_[0] + fitted.offsets_[0]
        total = 1 / fitted.left_[0] + precision[1]
        got, width = fitted.posterior(users)
        torch.testing.assert_close(got, ((carried / fitted.left_[0] + precision[1] * mean[1]) / total).detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(width, (total ** -0.5).detach())

    def test_bad_settings_are_named(self, model, split):
        for bad in ({"joint": "both"}, {"factors": 0}, {"dropout": 1.0}, {"blind": 1.5}, {"source_weight": -0.1}, {"beta": -1.0}, {"align": -1.0}, {"anneal": 2.0}, {"epochs": 0}):
            with pytest.raises(ValueError, match=next(iter(bad)) if next(iter(bad)) not in ("beta", "align", "anneal") else "beta and align"): CrossDomainVAE(**bad)
        for call, error in ((lambda: model.posterior(["stranger"]), UnknownUserError), (lambda: model.posterior(split.train.users[:1], "films"), ValueError), (lambda: model.decode(torch.zeros(2, 3)), ShapeError),
                            (lambda: model.sample(split.train.users[:1], 0), ValueError), (lambda: model.interpolate(*split.train.users[:2], steps=1), ValueError)):
            with pytest.raises(error): call()
        for call in (lambda: CrossDomainVAE().decode(torch.zeros(1, 32)), lambda: CrossDomainVAE().posterior(["u"]), lambda: CrossDomainVAE().mirror(), lambda: CrossDomainVAE().network()):
            with pytest.raises(NotFittedError): call()

    def test_nobody_shared_is_refused(self):
        with pytest.raises(NoSharedUsersError): CrossDomainVAE(epochs=1).fit(make_world(n_users=60, overlap=0.0, feedback="implicit", seed=0).pair)

    def test_global_random_state_is_left_alone(self, split):
        torch.manual_seed(3); before = torch.get_rng_state()
        CrossDomainVAE(4, epochs=1).fit(split.train)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_network_on_gpu_agrees(model):
    rows = history(8, 70), history(8, 60, seed=3)
    here = copy.deepcopy(model.network()).cpu().posterior(rows)[0]
    torch.testing.assert_close(copy.deepcopy(model.network()).cuda().posterior(rows)[0].cpu(), here, rtol=1e-3, atol=1e-4)


def test_record(monkeypatch):
    "One tiny run of the experiment, and the stored one: the same kind of rows, popularity and oracle at the ends."
    from interest_book import cross_domain_vae
    from interest_book.core import read_record
    stored = read_record("16_worlds")
    assert {r["model"] for r in stored["results"]} >= {"popularity", "oracle", "joint EASE", "EMCDR", *JOINTS}
    assert set(cross_domain_vae._record_models("warm")) >= {"EASE", "Mult-VAE"}
    monkeypatch.setattr(cross_domain_vae, "_record_models", lambda setting: {"popularity": {"": Popularity}})
    tiny = cross_worlds_record(seeds=(100,))
    key = lambda r: (r["relation"], r["setting"], r["seed"], r["model"])
    assert len({key(r) for r in stored["results"]}) == len(stored["results"]) and tiny["command"] == stored["command"]
    kept = {key(r): r["ndcg@10"] for r in stored["results"]}
    assert len(tiny["results"]) == 6
    for r in tiny["results"]: assert kept[key(r)] == pytest.approx(r["ndcg@10"])
