"""Chapter 15: variational autoencoders."""
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

from interest_book.baselines import Popularity
from interest_book.core import ShapeError, rng
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair, Interactions
from interest_book.splits import ratio_split
from interest_book.training import gradient_check, seeded, train
from interest_book.vae import (DAE, VAE, Encoder, LinearVAE, MultDAE, MultVAE, SparseLinear, _PlainVAE, _bag, _presented, bernoulli_log_likelihood, beta_at, collapse_rule, gaussian_kl,
                               gaussian_log_likelihood, iwae_bound, ml1m_vae_record, multinomial_log_likelihood, ppca, reparameterize)
from interest_book.worlds import make_world


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_vae/{name}", seed).standard_normal(shape))
def history(n=8, m=11, density=0.4, seed=0, dtype=np.float32): return sp.csr_array((rng("test_vae/rows", seed).random((n, m)) < density).astype(dtype))


class TestDivergence:
    def test_by_hand(self):
        assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]
        assert gaussian_kl(torch.tensor([[1.0]]), torch.tensor([[-2.0]])).item() == pytest.approx(1 + 0.5 * math.exp(-2))     # -(1 - 2 - 1 - e^-2) / 2
        assert gaussian_kl(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 0.0]])).item() == pytest.approx(1.0)               # a sum over latent numbers, not a mean

    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10_000))
    def test_torch_agrees_and_it_is_never_negative(self, seed):
        m, lv, pm, plv = (draw(4, 3, name=n, seed=seed) for n in "abcd")
        reference = torch.distributions.kl_divergence(torch.distributions.Normal(m, (lv / 2).exp()), torch.distributions.Normal(pm, (plv / 2).exp())).sum(1)
        torch.testing.assert_close(gaussian_kl(m, lv, pm, plv), reference)
        assert (gaussian_kl(m, lv, pm, plv) >= 0).all() and gaussian_kl(m, lv, m, lv).abs().max() < 1e-12

    def test_broadcast_priors(self):
        m, lv = draw(4, 3), draw(4, 3, name="lv")
        torch.testing.assert_close(gaussian_kl(m, lv, 1.0, 0.5), gaussian_kl(m, lv, torch.ones(3).double(), torch.full((4, 3), 0.5).double()))

    def test_shapes_are_named(self):
        with pytest.raises(ShapeError, match="log_var"): gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 1))
        with pytest.raises(ShapeError, match="log_var"): reparameterize(torch.zeros(2, 3), torch.zeros(3))


class TestDraws:
    def test_sigma_is_the_standard_deviation(self):
        e = draw(100_000, 3)
        z = reparameterize(torch.full_like(e, 2.0), torch.tensor([0.25, 1.0, 9.0]).double().log().expand_as(e), e)
        torch.testing.assert_close(z.std(0), torch.tensor([0.5, 1.0, 3.0]).double(), rtol=0.015, atol=0)
        torch.testing.assert_close(z.mean(0), torch.full((3,), 2.0).double(), rtol=0, atol=0.05)

    def test_gradients_reach_both_parameters(self):
        m, lv, e = draw(3, 2).requires_grad_(), draw(3, 2, name="lv").requires_grad_(), draw(3, 2, name="e")
        reparameterize(m, lv, e).sum().backward()
        torch.testing.assert_close(m.grad, torch.ones(3, 2).double())
        torch.testing.assert_close(lv.grad, (0.5 * (0.5 * lv).exp() * e).detach())

    def test_noise_is_drawn_where_none_is_given(self):
        with seeded("test_vae/noise"): a = reparameterize(torch.zeros(4, 2), torch.zeros(4, 2))
        with seeded("test_vae/noise"): b = torch.randn(4, 2)
        assert torch.equal(a, b)


class TestLikelihoods:
    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10_000), st.floats(0.0, 1.0))
    def test_multinomial_is_the_dense_formula_and_so_is_its_gradient(self, seed, density):
        rows = history(5, 9, density, seed)
        rows.data *= rng("test_vae/counts", seed).integers(1, 4, rows.nnz)                     # counts, empty rows and full rows
        f, weight, x = draw(5, 9, seed=seed).requires_grad_(), draw(5, name="w", seed=seed), torch.from_numpy(rows.toarray()).double()
        ours, dense = multinomial_log_likelihood(f, rows), (f.log_softmax(1) * x).sum(1)
        torch.testing.assert_close(ours, dense)
        torch.testing.assert_close(*(torch.autograd.grad((out * weight).sum(), f)[0] for out in (ours, dense)))

    def test_multinomial_gradient_by_differences_and_its_sum(self):
        f, rows = draw(4, 6).requires_grad_(), history(4, 6)
        assert gradient_check(lambda: multinomial_log_likelihood(f, rows).square().sum(), [f]) < 1e-7
        assert torch.autograd.grad(multinomial_log_likelihood(f, rows).sum(), f)[0].sum(1).abs().max() < 1e-12

    def test_multinomial_wants_the_same_catalogue(self):
        with pytest.raises(ShapeError, match="rows"): multinomial_log_likelihood(torch.zeros(4, 6), history(4, 7))

    def test_bernoulli(self):
        f, x = draw(3, 4), torch.from_numpy(history(3, 4).toarray()).double()
        torch.testing.assert_close(bernoulli_log_likelihood(f, x), torch.distributions.Bernoulli(logits=f).log_prob(x).sum(1))
        assert bernoulli_log_likelihood(torch.tensor([[-1e4]]), torch.ones(1, 1)).item() == -1e4

    def test_gaussian(self):
        f, x, v = draw(3, 4), draw(3, 4, name="y"), draw(3, 4, name="v").exp()
        for variance in (0.3, v): torch.testing.assert_close(gaussian_log_likelihood(f, x, variance), torch.distributions.Normal(f, torch.as_tensor(variance).double().sqrt()).log_prob(x).sum(1))


class TestBounds:
    def test_one_draw_is_the_elbo_and_equal_weights_lose_nothing(self):
        w = draw(1, 5)
        assert torch.equal(iwae_bound(w), w[0])
        torch.testing.assert_close(iwae_bound(w.expand(7, 5)), w[0])
        torch.testing.assert_close(iwae_bound(draw(6, 5)), draw(6, 5).exp().mean(0).log())
        assert torch.isfinite(iwae_bound(torch.tensor([[-2000.0], [-1000.0]]))).all()

    def test_more_draws_are_tighter_and_stay_below_the_evidence(self):
        "x | z ~ N(z, 1), z ~ N(0, 1), so x ~ N(0, 2); q = N(.3, .9²)."
        x, truth = 1.3, float(torch.distributions.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.3)))
        z = 0.3 + 0.9 * draw(100, 10_000)
        normal = lambda t, m, s: -0.5 * ((t - m) / s)**2 - math.log(s) - 0.5 * math.log(2 * math.pi)
        w = normal(torch.tensor(x).double(), z, 1.0) + normal(z, 0.0, 1.0) - normal(z, 0.3, 0.9)
        bounds = [iwae_bound(w[:k]) for k in (1, 2, 5, 20, 100)]
        means, errors = [float(b.mean()) for b in bounds], [float(b.std()) / 100 for b in bounds]
        assert all(b > a for a, b in zip(means, means[1:])) and means[0] < truth - 0.1 and abs(means[-1] - truth) < 4 * errors[-1] + 0.003

    def test_annealing(self):
        assert [beta_at(t, 10, 0.4, 0.5) for t in (0, 1, 5, 9)] == pytest.approx([0, 0.08, 0.4, 0.4])
        assert beta_at(0, 10, 0.4, 0.0) == 0.4 and beta_at(9, 10, 0.4, 1.0) == pytest.approx(0.36)


LAMBDAS = torch.tensor([4.0, 2.5, 1.5, 0.8, 0.4, 0.3], dtype=torch.float64)
TURN = torch.linalg.qr(draw(6, 6, name="turn"))[0]
AXES = (6 * LAMBDAS).sqrt()[:, None] * TURN.T
DATA = torch.cat([AXES, -AXES])                                # mean 0, covariance TURN diag(LAMBDAS) TURN'

def loglik(w, noise, x=DATA): return torch.distributions.MultivariateNormal(torch.zeros(x.shape[1]).double(), w @ w.T + noise * torch.eye(x.shape[1]).double()).log_prob(x).mean()


class TestLinear:
    def test_ppca_is_a_maximum(self):
        w, noise = ppca(DATA, 3)
        assert noise == pytest.approx(float(LAMBDAS[3:].mean()))
        torch.testing.assert_close((w**2).sum(0), LAMBDAS[:3] - noise)
        best = float(loglik(w, noise))
        for seed in range(20):
            assert float(loglik(w + 0.02 * draw(6, 3, seed=seed), noise)) < best and float(loglik(w, noise * (1 + 0.05 * (-1) ** seed))) < best

    def test_scikit_learn_agrees(self):
        from sklearn.decomposition import PCA
        x = draw(50, 5) @ draw(5, 5, name="mix")
        w, noise = ppca(x, 2)
        pca = PCA(2).fit(x.numpy())
        np.testing.assert_allclose(noise * 50 / 49, pca.noise_variance_, rtol=1e-6)
        np.testing.assert_allclose((w @ w.T + noise * torch.eye(5).double()).numpy() * 50 / 49, pca.get_covariance(), rtol=1e-6)

    def test_factors_out_of_range(self):
        for bad in (0, 6):
            with pytest.raises(ValueError, match="factors"): ppca(DATA, bad)

    def test_the_bound_at_ppca_is_the_likelihood(self):
        w, noise = ppca(DATA, 3)
        net, m = LinearVAE(6, 3).double(), w.T @ w + noise * torch.eye(3).double()
        with torch.no_grad(): net.decoder.copy_(w); net.encoder.copy_(w @ torch.linalg.inv(m)); net.log_var.copy_((noise / m.diagonal()).log()); net.log_noise.fill_(math.log(noise))
        torch.testing.assert_close(net.bound(DATA).mean(), loglik(w, noise))
        assert net.bound(DATA, beta=2.0).mean() < net.bound(DATA).mean()

    def test_the_bound_is_below_the_likelihood_everywhere(self):
        for seed in range(10):
            net = LinearVAE(6, 3, noise=0.5, seed=seed).double()
            assert net.bound(DATA).mean() < loglik(net.decoder.detach(), 0.5)

    def test_training_follows_the_rule(self):
        for beta in (2.5, 4.0):
            net = LinearVAE(6, 4, noise=0.5).double()
            train(net, lambda net, x: -net.bound(x, beta).mean(), [DATA], epochs=250, batch_size=12, lr=0.2, schedule="cosine", device="cpu", progress=False)
            lengths = torch.linalg.eigvalsh((net.decoder.T @ net.decoder).detach()).flip(0)
            torch.testing.assert_close(lengths, collapse_rule(LAMBDAS[:4], beta, 0.5), rtol=0, atol=0.02)

    def test_rule_by_search_in_one_direction(self):
        a = np.linspace(0, 6, 60_001)
        for lam, beta, noise in ((3.0, 1.0, 0.8), (3.0, 2.0, 0.8), (0.5, 1.0, 0.8), (3.0, 5.0, 0.8)):
            c = beta * noise
            best = a[np.argmin(lam * c / (a + c) + c * np.log((a + c) / c))]
            assert best == pytest.approx(float(collapse_rule(torch.tensor([lam]), beta, noise)), abs=2e-4)

    def test_fixed_noise_stays(self):
        net = LinearVAE(6, 2, noise=0.7)
        assert not net.log_noise.requires_grad and float(net.log_noise.exp()) == pytest.approx(0.7) and LinearVAE(6, 2).log_noise.requires_grad
        assert torch.equal(LinearVAE(6, 2, seed=1).encoder, LinearVAE(6, 2, seed=1).encoder) and not torch.equal(LinearVAE(6, 2, seed=1).encoder, LinearVAE(6, 2).encoder)


class TestSparse:
    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    def test_there_and_back(self, seed, density):
        rows = history(6, 10, density, seed)
        layer, x = SparseLinear(10, 4).double(), torch.from_numpy(rows.toarray()).double()
        out, pull = layer(rows), draw(6, 4, seed=seed)
        torch.testing.assert_close(out, x @ layer.weight + layer.bias)
        g = torch.autograd.grad((out * pull).sum(), [layer.weight, layer.bias])
        torch.testing.assert_close(g[0], x.T @ pull); torch.testing.assert_close(g[1], pull.sum(0))

    def test_presented_rows_have_length_one_and_empty_ones_stay_empty(self):
        rows = history(5, 9)
        rows = sp.csr_array(sp.vstack([rows, sp.csr_array((1, 9), dtype=np.float32), 3 * rows]))
        out = _presented(rows)
        np.testing.assert_allclose(np.sqrt(out.multiply(out).sum(1)), (np.diff(rows.indptr) > 0).astype(float), rtol=1e-6)
        np.testing.assert_allclose(out[:5].toarray(), out[6:].toarray(), rtol=1e-6)
        assert out.dtype == np.float32

    def test_dropout_hides_the_share_and_keeps_the_mean(self):
        rows = history(200, 50)
        full = _presented(rows)
        with seeded("test_vae/drop"): thin = [_presented(rows, 0.25) for _ in range(200)]
        share = np.mean([t.nnz for t in thin]) / rows.nnz
        assert abs(share - 0.75) < 4 * (0.75 * 0.25 / (200 * rows.nnz)) ** 0.5
        mean = sum(t.toarray() for t in thin) / 200
        assert np.abs(mean - full.toarray()).mean() < 0.05 * full.toarray()[full.toarray() > 0].mean()
        for t in thin[:3]: np.testing.assert_allclose(t.toarray()[t.toarray() > 0], full.toarray()[t.toarray() > 0] / 0.75, rtol=1e-6)

    def test_encoder_hides_only_in_training(self):
        net, rows = Encoder(11, 6, 3), history()
        net.eval(); assert torch.equal(net(rows), net(rows))
        net.train(); assert not torch.equal(net(rows), net(rows))


class TestNetworks:
    def test_shapes_and_depth(self):
        rows = history()
        for net, hidden in ((DAE(11, 5, 3), 0), (VAE(11, 5, 3), 0), (VAE(11, 5, 3, decoder_hidden=4), 4)):
            assert net(rows).shape == (8, 11) and net.latent(rows).shape == (8, 3) and len(net.decoder) == (3 if hidden else 1)
        mean, log_var = VAE(11, 5, 3).posterior(rows)
        assert mean.shape == log_var.shape == (8, 3)

    def test_loss_is_minus_the_elbo_by_the_dense_formula(self):
        net, rows = VAE(11, 5, 3).eval(), history()
        with seeded("test_vae/loss"): ours = net.loss(rows)
        x, (mean, log_var) = torch.from_numpy(rows.toarray()), net.posterior(rows)
        with seeded("test_vae/loss"): z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        kl = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (log_var / 2).exp()), torch.distributions.Normal(0.0, 1.0)).sum(1)
        torch.testing.assert_close(ours, (kl - (net.decoder(z).log_softmax(1) * x).sum(1)).mean())
        with seeded("test_vae/loss"): torch.testing.assert_close(net.loss(rows, beta=0.0), ours - kl.mean())

    def test_all_gradients_arrive(self):
        net, rows = VAE(11, 5, 3, decoder_hidden=4), history()
        net.loss(rows).backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())

    def test_no_person_depends_on_the_batch(self):
        net, rows = VAE(11, 5, 3).eval(), history()
        other = rows.tolil(); other[5] = 1 - other[5].toarray(); other = sp.csr_array(other)
        torch.testing.assert_close(net(rows)[:5], net(other)[:5])
        torch.testing.assert_close(net(rows)[2:3], net(rows[2:3]))


W = make_world(n_users=300, n_target_items=60, feedback="implicit", seed=3)
SPLIT = ratio_split(W.pair, seed=0)
ndcg = lambda model: float(evaluate(model, SPLIT, ("ndcg@10",)).summary()["ndcg@10"])
both = pytest.mark.parametrize("cls", [MultDAE, MultVAE])
SMALL = dict(factors=8, hidden=32, epochs=30, lr=1e-2)


class TestRecommenders:
    @both
    def test_it_closes_a_third_of_the_gap(self, cls):
        floor, ceiling = ndcg(Popularity().fit(SPLIT.train)), ndcg(W.oracle)
        assert ndcg(cls(**SMALL).fit(SPLIT.train)) > floor + (ceiling - floor) / 3

    @both
    def test_folding_in_equals_training_rows_and_the_network(self, cls):
        model, rows = cls(**SMALL | {"epochs": 2}).fit(SPLIT.train), SPLIT.train.target.matrix("binary")[:20]
        torch.testing.assert_close(model.score_history(rows), model.score(SPLIT.train.users[:20]))
        with torch.no_grad(): torch.testing.assert_close(model.score_history(rows), model.network()(rows))
        assert not model.network().training

    @both
    def test_no_history_is_popularity_and_before_training_too(self, cls):
        model = cls(**SMALL | {"epochs": 1, "lr": 1e-9}).fit(SPLIT.train)
        counts = np.bincount(SPLIT.train.target.item_codes, minlength=60)
        np.testing.assert_array_equal(model.score_history(sp.csr_array((1, 60)))[0].numpy(), counts)
        np.testing.assert_allclose(model.decoder_0_bias_.numpy(), np.log(counts + 1), atol=1e-6)

    @both
    def test_seeds(self, cls):
        a, b, c = (cls(**SMALL | {"epochs": 2}, seed=s).fit(SPLIT.train).score(W.pair.users[:3]) for s in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c)

    def test_depth_and_half_precision(self):
        rows = SPLIT.train.target.matrix("binary")[:30]
        full, half = (MultVAE(**SMALL, decoder_hidden=16, precision=p).fit(SPLIT.train).score_history(rows) for p in ("fp32", "bf16"))
        assert full.dtype == half.dtype == torch.float32 and torch.isfinite(half).all() and torch.corrcoef(torch.stack([full.flatten(), half.flatten()]))[0, 1] > 0.9

    def test_a_heavy_price_collapses_the_code(self):
        spread = {}
        for beta in (0.1, 20.0):
            model = MultVAE(**SMALL, beta=beta, anneal=0.0).fit(SPLIT.train)
            with torch.no_grad(): spread[beta] = float(model.network().posterior(SPLIT.train.target.matrix("binary"))[0].var(0).sum())
        assert spread[20.0] < 0.01 < 1 < spread[0.1]

    @pytest.mark.parametrize("bad", [dict(factors=0), dict(hidden=0), dict(dropout=1.0), dict(dropout=-0.1), dict(epochs=0), dict(lr=0.0), dict(batch_size=0), dict(beta=-1.0), dict(anneal=1.5)])
    def test_bad_settings_are_named_before_any_work(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))): MultVAE(**bad)
        if not {"beta", "anneal"} & set(bad):
            with pytest.raises(ValueError, match=next(iter(bad))): MultDAE(**bad)

    def test_one_person_one_item(self):
        rows = Interactions(["u", "v"], ["i"], [0], [0], name="tiny")
        assert torch.isfinite(MultVAE(2, 3, epochs=1).fit(DomainPair.single(rows)).score(["u", "v"])).all()

    def test_the_plain_loop_learns_too(self):
        assert ndcg(_PlainVAE(epochs=15, batch_size=64).fit(SPLIT.train)) > ndcg(Popularity().fit(SPLIT.train))

    def test_record_part_is_named(self):
        with pytest.raises(ValueError, match="strong"): ml1m_vae_record("weak")

    @pytest.mark.gpu
    def test_gpu_agrees(self):
        model, rows = MultVAE(**SMALL, device="cpu").fit(SPLIT.train), SPLIT.train.target.matrix("binary")[:30]
        on_gpu = model.network().to("cuda")
        with torch.no_grad(): torch.testing.assert_close(on_gpu(rows).cpu(), model.score_history(rows), rtol=1e-3, atol=1e-3)
        assert torch.isfinite(MultVAE(**SMALL, device="cuda").fit(SPLIT.train).score_history(rows)).all()


@pytest.mark.field
def test_record_holds_the_same_splits_and_beats_the_plain_loop():
    from interest_book.core import read_record
    ours, before = read_record("15_ml1m_strong"), read_record("08_ml1m_strong")
    assert {r["fingerprint"] for r in ours["results"]} <= {r["fingerprint"] for r in before["results"]}
    mean = lambda model, key: np.mean([r["metrics"][key] if key in r["metrics"] else r[key] for r in ours["results"] if r["model"] == model])
    assert mean("Mult-VAE", "ndcg@100") > mean("Mult-VAE, plain loop", "ndcg@100")
    assert mean("Mult-VAE", "ndcg@100") / mean("EASE", "ndcg@100") > 0.415 / 0.4401
    assert mean("Mult-VAE", "cpu_s") / mean("Mult-VAE, plain loop", "cpu_s") < 0.43
