"""Chapter 11: nonlinear maps, personalised bridges, fusion."""
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

from interest_book.core import DataError, ShapeError, rng
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.evaluation import evaluate
from interest_book.factorization import Factors
from interest_book.linear_mapping import EMCDR, FusedEMCDR, choose_alpha, fuse, loo_error, ridge_map
from interest_book.nonlinear_mapping import (FUSIONS, LOSSES, NETWORKS, PAD, AttentionMap, ConcatFusion, FusedNonlinearEMCDR, GatedFusion, LowRankMap, MLPMap, NonlinearEMCDR,
                                             Observed, PersonalisedMap, Schedule, _bent_map, _best_observed_share, _fold_of, _hide_rows, _kernel, _left_out_maps, _make_map, _start, _weigh, _with_shared, _world_results, best_share,
                                             cross_fit, fit_fusion, fit_map, kernel_map, masked_softmax, pad_histories, score_metric)
from interest_book.splits import cold_start_split, ratio_split
from interest_book.worlds import make_world


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_nonlinear/{name}", seed).standard_normal(shape))

ITEMS = draw(9, 6, name="items")
HISTORY = torch.tensor([[0, 3, 5, 8], [2, PAD, PAD, PAD], [PAD, PAD, PAD, PAD], [1, 7, PAD, PAD]])
NETS = {"mlp": lambda **k: MLPMap(4, 3, 8, **k), "attention": lambda **k: AttentionMap(ITEMS, 4, 3, 8, **k), "personalised": lambda **k: PersonalisedMap(ITEMS, 4, 3, 5, **k),
        "constant": lambda **k: PersonalisedMap(ITEMS, 4, 3, 5, constant=True, **k), "low_rank": lambda **k: LowRankMap(ITEMS, 4, 3, 5, **k)}
every = pytest.mark.parametrize("name", NETS)
X = draw(4, 4).float()


class TestStart:
    @every
    def test_a_residual_net_is_its_matrix_before_training(self, name):
        net, w = NETS[name](seed=3), draw(4, 3, name="w").float()
        net.matrix.copy_(w)
        assert torch.equal(net(X, HISTORY), X @ w) and net.correction(X, HISTORY).abs().max() == 0

    @every
    def test_a_plain_net_is_not(self, name): assert NETS[name](residual=False)(X, HISTORY).abs().max() > 0.01

    @every
    def test_the_start_is_named_and_moves_no_global_stream(self, name):
        before = torch.get_rng_state()
        a, b, c = (NETS[name](residual=False, seed=s)(X, HISTORY) for s in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(torch.get_rng_state(), before)

    @every
    def test_training_leaves_the_start(self, name):
        net = NETS[name]()
        net.matrix.copy_(draw(4, 3, name="w"))
        net.correction(X, HISTORY).sum().backward()
        assert net.out.weight.grad.abs().max() > 0 if hasattr(net, "out") else net.decoder.weight.grad.abs().max() > 0


class TestHistories:
    @every
    def test_padding_batch_mates_and_order_change_nothing(self, name):
        net = NETS[name](residual=False)
        alone = net(X[:1], HISTORY[:1])
        for other in (net(X, HISTORY)[:1], net(X[:1], F.pad(HISTORY[:1], (0, 40), value=PAD)), net(X[:1], HISTORY[:1, [2, 0, 3, 1]]), net(X[:1], F.pad(HISTORY[:1], (3, 0), value=PAD))):
            torch.testing.assert_close(other, alone, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", [n for n in NETS if n not in ("mlp", "constant")])
    def test_the_history_matters(self, name):
        net = NETS[name](residual=False)
        assert not torch.allclose(net(X[:1], HISTORY[:1]), net(X[:1], HISTORY[3:]))

    @every
    def test_an_empty_history_is_finite_and_so_is_its_gradient(self, name):
        net = NETS[name](residual=False)
        net(X[2:3], HISTORY[2:3]).sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)

    @pytest.mark.parametrize("name", [n for n in NETS if n != "mlp"])
    def test_a_missing_history_is_named(self, name):
        with pytest.raises(ShapeError, match="histor"): NETS[name]()(X)
        with pytest.raises(ShapeError): NETS[name]()(X, HISTORY[:2])

    def test_table_holds_the_items(self):
        rows = Interactions.from_frame(pd.DataFrame({"user_id": list("aaabcc"), "item_id": list("xyzxyz")}), name="t")
        table = pad_histories(rows, 3)
        own = [{rows.items[i] for i in r if i != PAD} for r in table.tolist()]
        assert own == [{"x", "y", "z"}, {"x"}, {"y", "z"}] and table.shape == (3, 3)
        short = pad_histories(rows, 2)
        assert (short != PAD).sum(1).tolist() == [2, 1, 2] and torch.equal(short, pad_histories(rows, 2))
        with pytest.raises(ValueError, match="longest"): pad_histories(rows, 0)

    def test_of_ratings_only_the_liked_count(self):
        w = make_world(feedback="explicit", n_users=60, seed=0)
        counts = (pad_histories(w.pair.source, 200) != PAD).sum(1).numpy()
        assert 0.2 < counts.sum() / len(w.pair.source) < 0.8


class TestMaskedSoftmax:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 7))
    def test_is_softmax_on_the_places_that_exist(self, seed, n, m):
        g = rng("test_nonlinear/softmax", seed)
        logits, mask = torch.from_numpy(g.standard_normal((n, m)) * 50), torch.from_numpy(g.random((n, m)) < 0.6)
        out = masked_softmax(logits, mask)
        for row, l, k in zip(out, logits, mask):
            assert (row[~k] == 0).all()
            torch.testing.assert_close(row[k], torch.softmax(l[k], 0)) if k.any() else None

    def test_nothing_there_gives_zeros(self): assert masked_softmax(draw(2, 3), torch.zeros(2, 3, dtype=bool)).abs().sum() == 0

    def test_attention_is_pytorchs(self):
        q, k, v = (draw(3, 5, 4, name=n) for n in "qkv")
        mask = torch.rand(3, 1, 5, generator=torch.Generator().manual_seed(0)) < 0.7
        mask[..., 0] = True
        torch.testing.assert_close(masked_softmax(q @ k.mT / 2, mask.expand(3, 5, 5)) @ v, F.scaled_dot_product_attention(q, k, v, mask))

    def test_block_is_pytorchs_encoder_layer(self):
        net = AttentionMap(ITEMS, 4, 3, hidden=8, heads=4, residual=False, seed=5)
        block = nn.TransformerEncoderLayer(8, 4, 16, dropout=0.0, norm_first=True, batch_first=True).eval()
        with torch.no_grad():
            for norm, own in ((block.norm1, net.norm_1), (block.norm2, net.norm_2)):
                own.weight.copy_(1 + 0.3 * torch.randn(8, generator=torch.Generator().manual_seed(1))); norm.load_state_dict(own.state_dict())
            block.self_attn.in_proj_weight.copy_(torch.cat([l.weight for l in (net.query, net.key, net.value)]))
            block.self_attn.in_proj_bias.copy_(torch.cat([l.bias for l in (net.query, net.key, net.value)]))
            for theirs, ours in ((block.self_attn.out_proj, net.join), (block.linear1, net.wide), (block.linear2, net.narrow)): theirs.load_state_dict(ours.state_dict())
            tokens = torch.cat([net.user(X)[:, None], net.item(net.items)[HISTORY.clamp_min(0)]], 1)
            absent = torch.cat([torch.zeros(4, 1, dtype=bool), HISTORY == PAD], 1)
            torch.testing.assert_close(net(X, HISTORY), net.out(block(tokens, src_key_padding_mask=absent)[:, 0]), rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="heads"): AttentionMap(ITEMS, 4, 3, hidden=8, heads=3)


class TestPersonalised:
    def test_matrices_are_a_family_of_the_bottlenecks_dimension(self):
        net = PersonalisedMap(draw(40, 6, name="many"), 7, 6, hidden=4, residual=False)
        h = torch.from_numpy(rng("test_nonlinear/h").integers(0, 40, (200, 5)))
        maps = net.matrices(h).flatten(1).double()
        assert torch.linalg.matrix_rank(maps - maps.mean(0), rtol=1e-5) <= 4

    def test_output_is_the_users_matrix(self):
        net = NETS["personalised"](residual=False)
        torch.testing.assert_close(net(X, HISTORY), torch.stack([x @ m for x, m in zip(X, net.matrices(HISTORY))]), rtol=1e-5, atol=1e-6)

    def test_constant_is_one_matrix(self):
        maps = NETS["constant"](residual=False).matrices(HISTORY)
        torch.testing.assert_close(maps, maps[:1].expand_as(maps), rtol=1e-5, atol=1e-6)      # rows of one product differ in the last digit on some processors
        assert maps.abs().max() > 0.1

    def test_low_rank_is_its_tensor(self):
        net = NETS["low_rank"](residual=False)
        c = net.context(HISTORY)
        table = torch.einsum("ar,ri,rj->aij", net.out.weight, net.user.weight, net.gate.weight)
        torch.testing.assert_close(net(X, HISTORY), torch.einsum("aij,ni,nj->na", table, X, c), rtol=1e-4, atol=1e-5)       # biases start at 0


class TestFit:
    x = draw(80, 4, name="fit")
    w = draw(4, 3, name="fit-w")

    def bent(self, noise=0.1):
        y = (self.x @ self.w).square() + noise * draw(80, 3, name="noise")
        return self.x - self.x.mean(0), y - y.mean(0)

    def test_it_starts_as_ridge_by_leave_one_out(self):
        x, y = self.bent()
        net = MLPMap(4, 3, 8)
        fit_map(net, x, y, schedule=Schedule(epochs=1, lr=1e-12, weight_decay=0))
        torch.testing.assert_close(net.matrix, ridge_map(x, y, choose_alpha(x, y, centred=True)).float())
        torch.testing.assert_close(net(x.float()), x.float() @ net.matrix, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("seed", range(4))
    def test_never_worse_than_ridge_on_those_who_decide(self, seed):
        x, y = draw(60, 4, seed=seed), draw(60, 3, name="y", seed=seed)
        out = _fold_of(60, 3, seed) == 0
        net = MLPMap(4, 3, 16, seed=seed)
        fit_map(net, x, y, held_out=out, schedule=Schedule(lr=0.05))
        error = lambda f: (f - y[out]).square().sum().item()
        assert error(net(x[out].float())) <= error(x[out] @ net.matrix.double()) * (1 + 1e-6)

    def test_it_bends_where_the_truth_does(self):
        x, y = self.bent()
        out = _fold_of(80, 4) == 0
        net = MLPMap(4, 3, 32)
        fit_map(net, x, y, held_out=out, schedule=Schedule(epochs=100, lr=0.02))
        error = lambda f: (f - y[out]).square().sum().item()
        assert error(net(x[out].float())) < 0.7 * error(x[out] @ net.matrix.double())

    def test_held_out_users_are_not_trained_on(self):
        x, y = self.bent()
        out = _fold_of(80, 4) == 0
        nets = [MLPMap(4, 3, 8), MLPMap(4, 3, 8)]
        changed = torch.where(out[:, None], -y, y)
        for net, t in zip(nets, (y, changed)): fit_map(net, x, t, held_out=out, schedule=Schedule(epochs=1))
        assert torch.equal(nets[0].matrix, nets[1].matrix) and torch.equal(nets[0].unit_target, nets[1].unit_target)

    def test_the_task_loss_weighs_directions(self):
        x, y = self.bent(0.0)
        g = torch.diag(torch.tensor([1e-6, 1e-6, 100.0], dtype=x.dtype))     # the direction with the least variance, which the mapping loss neglects
        fits = {}
        for name, metric in (("mapping", None), ("task", g)):
            net = MLPMap(4, 3, 4, residual=False)
            fit_map(net, x, y, metric=metric, schedule=Schedule(epochs=40, lr=0.05))
            fits[name] = (net(x.float()) - y)[:, 2].square().mean().item()
        assert fits["task"] < 0.7 * fits["mapping"]
        q, e = draw(7, 3, name="q"), draw(5, 3, name="e")
        torch.testing.assert_close(((e @ score_metric(q)) * e).sum(1), (e @ q.T).square().sum(1))

    def test_bad_rows_are_named(self):
        with pytest.raises(ShapeError, match="target"): fit_map(MLPMap(4, 3), draw(5, 4), draw(6, 3))
        with pytest.raises(ShapeError, match="held_out"): fit_map(MLPMap(4, 3), draw(5, 4), draw(5, 3), held_out=torch.zeros(4, dtype=bool))
        with pytest.raises(ShapeError, match="hold out fewer"): fit_map(MLPMap(4, 3), draw(5, 4), draw(5, 3), held_out=torch.ones(5, dtype=bool))
        with pytest.raises(ShapeError, match="folds"): cross_fit(lambda k: MLPMap(4, 3), draw(5, 4), draw(5, 3))

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6))
    def test_best_share_is_best(self, seed):
        c, r = draw(12, 3, name="c", seed=seed), draw(12, 3, name="r", seed=seed)
        error = lambda g: (r - g * c).square().sum().item()
        best = best_share(c, r)
        assert 0 <= best <= 1 and all(error(best) <= error(g) + 1e-9 for g in np.linspace(0, 1, 21))

    def test_observed_losses(self):
        logits, rows = draw(3, 5), torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0.0]])
        logp = torch.log_softmax(logits, 1)
        assert _weigh(logits, rows, False).item() == pytest.approx(-(((logp[0, 0] + logp[0, 2]) / 2 + logp[2, 1]) / 3).item())
        stars = torch.tensor([[1.5, 0, -0.5, 0, 0]])
        assert _weigh(logits[:1], stars, True).item() == pytest.approx((((logits[0, 0] - 1.5)**2 + (logits[0, 2] + 0.5)**2) / 2).item())

    @pytest.mark.parametrize("metric", [None, torch.diag(torch.tensor([1.0, 4.0, 0.1], dtype=torch.float64))])
    def test_a_share_is_nothing_or_more_than_half(self, metric):
        shares = []
        for seed in range(4):
            x, y = draw(40, 4, name="sx", seed=seed), draw(40, 3, name="sy", seed=seed)
            shares.append(cross_fit(lambda k: MLPMap(4, 3, 4, seed=k), x - x.mean(0), y - y.mean(0), metric=metric, schedule=Schedule(epochs=10, patience=2), seed=seed)[1])
        assert all(s == 0 or 0.5 < s <= 1 for s in shares) and 0 < sum(s == 0 for s in shares) < 4

    def test_the_share_is_asked_of_users_the_net_was_not_trained_on(self, monkeypatch):
        import interest_book.nonlinear_mapping as m
        seen, fit = [], m.fit_map
        def watch(net, source, target, history, out, *rest):
            trained = torch.zeros(len(source), dtype=torch.bool)
            monkeypatch.setattr(m, "train_loop", lambda net, loss, data, **k: trained.__setitem__(torch.tensor([(source.float() == r).all(1).nonzero()[0, 0] for r in data[0]]), True))
            fit(net, source, target, history, out, *rest)
            assert torch.equal(trained, ~out)
            seen.append(out)
        monkeypatch.setattr(m, "fit_map", watch)
        x, y = self.bent()
        cross_fit(lambda k: MLPMap(4, 3, 4), x, y, folds=3)
        assert torch.equal(torch.stack(seen).sum(0), torch.ones(80))

    def test_a_trained_constant_bridge_is_one_matrix(self):
        x, y = self.bent()
        h = torch.from_numpy(rng("test_nonlinear/ch").integers(-1, 9, (80, 5)))
        nets = {name: NETS[name]() for name in ("constant", "personalised")}
        for net in nets.values(): fit_map(net, x, y, h, schedule=Schedule(epochs=15, lr=0.05))
        added = {name: net.correction(x.float(), h).detach().double() for name, net in nets.items()}
        missed = {name: (c - x @ torch.linalg.lstsq(x, c).solution).square().sum() / c.square().sum() for name, c in added.items()}
        assert added["constant"].abs().max() > 0.01 and missed["constant"] < 1e-8 and missed["personalised"] > 1e-3

    def test_the_correction_learns_what_ridge_misses_on_left_out_users(self):
        x, y = self.bent()
        base, rest, alpha = _start(MLPMap(4, 3, 4), x, y, None), torch.arange(80) != 5, choose_alpha(x, y, centred=True)
        a, z = x[rest] - x[rest].mean(0), y[rest] - y[rest].mean(0)
        torch.testing.assert_close(base[5], y[rest].mean(0) + (x[5] - x[rest].mean(0)) @ ridge_map(a, z, alpha))

    @pytest.mark.parametrize("explicit", [False, True])
    def test_the_observed_share_is_the_best_of_five(self, explicit):
        truth, items = draw(50, 3, name="ot"), draw(3, 40, name="oi")
        rows = truth @ items if explicit else torch.zeros(50, 40, dtype=truth.dtype).scatter(1, (truth @ items).topk(8, 1).indices, 1.0)
        observed, nothing = Observed(sp.csr_array(rows.float().numpy()), torch.zeros(3, dtype=truth.dtype), items, explicit), torch.zeros(50, 3, dtype=truth.dtype)
        assert _best_observed_share(0.5 * truth, 0.5 * truth, observed) == (1.0 if explicit else 0.0)       # half the truth ranks as the truth does, and is half the stars
        assert _best_observed_share(-truth, truth, observed) == 0.0 and _best_observed_share(truth, -0.5 * truth, observed) >= 0.75

    def test_folds_are_equal_and_complete(self):
        assert torch.bincount(_fold_of(11, 3)).tolist() == [4, 4, 3] and not torch.equal(_fold_of(50, 5, 0), _fold_of(50, 5, 1))


class TestKernel:
    x, y = draw(40, 3, name="kx"), draw(40, 2, name="ky") - draw(40, 2, name="ky").mean(0)

    def test_left_out_error_is_that_of_refitting(self):
        fitted = kernel_map(self.x, self.y, (2.0,))
        k, n = _kernel(self.x, self.x, 2.0).numpy(), 40
        y = self.y.numpy()
        kc = k - k.mean(0) - k.mean(1, keepdims=True) + k.mean()
        alpha = np.median((y - kc @ fitted.weights.numpy()) / fitted.weights.numpy())
        misses = []
        for u in range(n):
            rest = np.arange(n) != u
            kr = k[np.ix_(rest, rest)]
            cross = k[u, rest] - k[u, rest].mean() - kr.mean(0) + kr.mean()
            kr = kr - kr.mean(0) - kr.mean(1, keepdims=True) + kr.mean()
            ybar = y[rest].mean(0)
            misses.append(((y[u] - ybar - cross @ np.linalg.solve(kr + alpha * np.eye(n - 1), y[rest] - ybar))**2).sum())
        assert fitted.error == pytest.approx(np.mean(misses), rel=1e-6)

    def test_linear_kernel_is_ridge(self):
        fitted, x = kernel_map(self.x, self.y, (None,)), self.x - self.x.mean(0)
        size = self.x.square().sum(1).mean()
        k = x @ x.T / size
        alpha = ((self.y - k @ fitted.weights) / fitted.weights).median().item()
        torch.testing.assert_close(fitted(self.x), x @ ridge_map(x, self.y, alpha * size.item()))
        assert fitted.error == pytest.approx(loo_error(x, self.y, alpha * size.item(), centred=True))

    def test_against_scikit_learn(self):
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.metrics.pairwise import rbf_kernel
        from sklearn.preprocessing import KernelCenterer
        x, new, fitted = self.x.numpy(), draw(6, 3, name="new"), kernel_map(self.x, self.y, (1.5,))
        gamma, centre = 1 / (2 * 1.5**2 * (x**2).sum(1).mean()), KernelCenterer()
        k = centre.fit_transform(rbf_kernel(x, gamma=gamma))
        alpha = np.median((self.y.numpy() - k @ fitted.weights.numpy()) / fitted.weights.numpy())
        theirs = KernelRidge(alpha=alpha, kernel="precomputed").fit(k, self.y.numpy())
        np.testing.assert_allclose(fitted(new).numpy(), theirs.predict(centre.transform(rbf_kernel(new.numpy(), x, gamma=gamma))), rtol=1e-6, atol=1e-9)

    def test_lines_keep_it_straight_and_curves_bend_it(self):
        straight = (self.x - self.x.mean(0)) @ draw(3, 2, name="kw")
        assert kernel_map(self.x, straight).bandwidth is None
        assert kernel_map(self.x, self.x.square() - self.x.square().mean(0)).bandwidth is not None

    def test_everybody_alike_gives_the_mean_and_one_user_is_named(self):
        fitted = kernel_map(torch.ones(5, 3, dtype=torch.float64), self.y[:5])
        assert fitted(torch.ones(2, 3, dtype=torch.float64)).abs().max() < 1e-9
        with pytest.raises(ShapeError, match="at least 2"): kernel_map(self.x[:1], self.y[:1])


@pytest.fixture(scope="module")
def bent():
    w = make_world(relation="nonlinear", n_users=400, seed=0)
    return w, cold_start_split(w.pair, seed=0)


class TestModel:
    @pytest.mark.parametrize("network", NETWORKS)
    def test_every_network_scores(self, bent, network):
        _, split = bent
        model = NonlinearEMCDR(8, network, epochs=2, folds=2, device="cpu").fit(_with_shared(split, 90).train)
        assert torch.isfinite(model.score(split.test_users)).all() and 0 <= model.share_ <= 1

    @pytest.mark.parametrize("network", ["mlp", "constant", "kernel"])
    def test_only_shared_training_users_decide(self, bent, network):
        train = bent[1].train
        lone, model = torch.from_numpy(~train.shared), NonlinearEMCDR(4, network, epochs=2, device="cpu")
        assert not set(train.shared_users) & (set(bent[1].test_users) | set(bent[1].validation.test_users)) and lone.sum() > 50
        def run(spoil):
            parts = [Factors(draw(len(lone), 4, name=n) + spoil * 9 * lone[:, None] * draw(len(lone), 4, name="spoil"), draw(d.n_items, 4, name="t")) for n, d in (("s", train.source), ("t", train.target))]
            return _bent_map(model, train, *parts), model.share_
        ((a, mean_a), share_a), ((b, mean_b), share_b) = run(0), run(1)
        assert share_a == share_b and torch.equal(mean_a, mean_b)
        torch.testing.assert_close(a[~lone], b[~lone])

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("feedback", ["implicit", "explicit"])
    def test_every_loss_fits(self, loss, feedback):
        split = cold_start_split(make_world(n_users=200, feedback=feedback, seed=1).pair, seed=1)
        model = NonlinearEMCDR(6, loss=loss, epochs=4, device="cpu").fit(split.train)
        assert torch.isfinite(model.score(split.test_users)).all()

    def test_share_zero_is_linear_emcdr(self, bent, monkeypatch):
        import interest_book.nonlinear_mapping as m
        _, split = bent
        monkeypatch.setattr(m, "best_share", lambda *_: 0.0)
        torch.testing.assert_close(NonlinearEMCDR(8, epochs=2, device="cpu").fit(split.train).score(split.test_users), EMCDR(8, device="cpu").fit(split.train).score(split.test_users), rtol=1e-4, atol=1e-5)

    def test_bending_pays_where_the_truth_is_bent(self, bent):
        _, split = bent
        ndcg = lambda m: evaluate(m.fit(split.train), split, "ndcg@10").summary()["ndcg@10"]
        linear = ndcg(EMCDR(8, device="cpu"))
        assert ndcg(NonlinearEMCDR(8, device="cpu")) > linear + 0.01 and ndcg(NonlinearEMCDR(8, "kernel", device="cpu")) > linear + 0.01

    def test_the_task_loss_counts_scores_with_popularity(self, bent, monkeypatch):
        import interest_book.nonlinear_mapping as m
        got = []
        monkeypatch.setattr(m, "cross_fit", lambda make, x, y, history, folds, metric, *rest: (got.append(metric), ([make(0)], 0.0))[1])
        target, model = bent[1].train.target, NonlinearEMCDR(4, loss="task", popularity=1.0, device="cpu").fit(bent[1].train)
        weighted = model.traits_.double() * torch.from_numpy(np.bincount(target.item_codes, minlength=target.n_items)).clamp_min(1)[:, None]
        torch.testing.assert_close(got[0], weighted.T @ weighted, rtol=1e-4, atol=1e-3)

    def test_bad_settings_are_named(self):
        for bad, word in ((dict(network="magic"), "network"), (dict(loss="hope"), "loss"), (dict(folds=1), "folds"), (dict(hidden=0), "hidden"), (dict(epochs=1.5), "epochs"), (dict(lr=0.0), "lr"),
                          (dict(network="attention", hidden=7), "even")):
            with pytest.raises(ValueError, match=word): NonlinearEMCDR(**bad)
        for bad, word in ((dict(fusion="glue"), "fusion"), (dict(prior_rows=0.0), "prior_rows"), (dict(drop=2.0), "drop")):
            with pytest.raises(ValueError, match=word): FusedNonlinearEMCDR(**bad)
        with pytest.raises(ValueError, match="network"): _make_map("kernel", ITEMS, 4, 3)

    def test_no_shared_users(self, bent):
        _, split = bent
        source = split.train.source
        with pytest.raises(NoSharedUsersError): NonlinearEMCDR(8, device="cpu").fit(DomainPair(source.rows(~split.train.shared[source.user_codes]), split.train.target))


class TestFusion:
    m, o, n = draw(5, 3, name="m").float(), draw(5, 3, name="o").float(), torch.tensor([0.0, 1, 2, 7, 50])

    @pytest.mark.parametrize("name", FUSIONS)
    def test_all_start_as_the_rule(self, name):
        out = FUSIONS[name](3, 5.0)(self.m, self.o, self.n)
        torch.testing.assert_close(out, fuse(self.m, self.o, 5.0 * torch.eye(3), self.n[:, None, None] * torch.eye(3)))
        torch.testing.assert_close(out[0], self.m[0])                                    # nobody's rows: the mapped interests

    def test_a_fusion_learns_to_trust_the_better_part(self):
        g = rng("test_nonlinear/fusion")
        truth, items = torch.from_numpy(g.standard_normal((400, 3))).float(), torch.from_numpy(g.standard_normal((3, 30))).float()
        best = (truth @ items).topk(6, 1).indices
        rows = torch.zeros(400, 30).scatter(1, best, 1.0)
        seen, hidden = rows.clone(), rows.clone()
        seen.scatter_(1, best[:, ::2], 0.0); hidden.scatter_(1, best[:, 1::2], 0.0)
        net = GatedFusion(3, 3.0)
        fit_fusion(net, torch.from_numpy(g.standard_normal((400, 3))), truth.double(), sp.csr_array(seen.numpy()), sp.csr_array(hidden.numpy()), items, schedule=Schedule(epochs=60, lr=0.05))
        gate = torch.sigmoid(net.bias + net.slope * np.log(3.0))
        assert gate.min() > 0.65                                                        # the rule says 0.5 at 3 rows; the mapped part is noise

    def test_cold_users_get_the_mapped_interests(self, bent, monkeypatch):
        import interest_book.nonlinear_mapping as m
        _, split = bent
        monkeypatch.setattr(m, "fit_fusion", lambda net, *_: net.join.weight.data.fill_(1.0))              # a fusion that would change everybody
        a, b = (m.fit(split.train).score(split.test_users) for m in (FusedNonlinearEMCDR(8, "kernel", "concat", device="cpu"), NonlinearEMCDR(8, "kernel", device="cpu")))
        assert torch.equal(a, b)

    @pytest.mark.parametrize("fusion", FUSIONS)
    def test_untrained_fusion_is_chapter_tens(self, bent, fusion, monkeypatch):
        import interest_book.nonlinear_mapping as m
        _, split = bent
        monkeypatch.setattr(m, "fit_fusion", lambda *_: None)
        monkeypatch.setattr(m, "best_share", lambda *_: 0.0)
        warm = split.train.users[split.train.shared][:30]
        torch.testing.assert_close(FusedNonlinearEMCDR(8, fusion=fusion, epochs=1, device="cpu").fit(split.train).score(warm), FusedEMCDR(8, device="cpu").fit(split.train).score(warm), rtol=1e-3, atol=1e-4)

    def test_what_was_learned_is_carried_into_the_models_coordinates(self, bent, monkeypatch):
        import interest_book.nonlinear_mapping as m
        train, turned = bent[1].train, m._learn_fusion
        monkeypatch.setattr(m, "fit_fusion", lambda net, *_: net.bias.data.fill_(50.0))                   # a gate that is open: own interests only
        spin = torch.linalg.qr(draw(4, 4, name="spin")).Q
        monkeypatch.setattr(m, "_learn_fusion", lambda *a: (turned(*a)[0], spin))                         # coordinates as foreign as can be
        model, warm = FusedNonlinearEMCDR(4, "kernel", device="cpu"), train.users[train.shared][:30]
        torch.testing.assert_close(model.fit(train).score(warm), FusedEMCDR(4, prior_rows=0.0, device="cpu").fit(train).score(warm), rtol=1e-3, atol=1e-3)
        seen, whole = (m._factors(rows, model).items for rows in (_hide_rows(train.target)[0], train.target))
        torch.testing.assert_close(turned(model, train)[1], torch.linalg.lstsq(seen, whole).solution)

    def test_hidden_and_visible_are_all(self, bent):
        rows = bent[1].train.target
        seen, hidden = _hide_rows(rows, 0.3)
        assert len(seen) + len(hidden) == len(rows) and 0.25 < len(hidden) / len(rows) < 0.35
        with pytest.raises(ValueError, match="share"): _hide_rows(rows, 1.0)

    def test_bad_rows_are_named(self):
        with pytest.raises(ShapeError, match="own"): fit_fusion(ConcatFusion(3), self.m, self.o[:4], sp.csr_array((5, 8)), sp.csr_array((5, 8)), draw(3, 8))
        with pytest.raises(ShapeError, match="at least 5"): fit_fusion(ConcatFusion(3), self.m[:4], self.o[:4], sp.csr_array((4, 8)), sp.csr_array((4, 8)), draw(3, 8))
        once = Interactions.from_frame(pd.DataFrame({"user_id": [f"u{i}" for i in range(12)], "item_id": [f"i{i % 4}" for i in range(12)]}), name="once")
        other = Interactions.from_frame(pd.DataFrame({"user_id": [f"u{i}" for i in range(12)] * 2, "item_id": [f"j{i % 5}" for i in range(24)]}), name="other")
        with pytest.raises(DataError, match="FusedEMCDR"): FusedNonlinearEMCDR(2, "kernel", device="cpu").fit(DomainPair(other, once))

    def test_maps_for_learning_leave_each_user_out(self):
        source, target = draw(30, 3, name="ls"), draw(30, 2, name="lt")
        shared = torch.arange(30) < 25
        mapped = _left_out_maps(source, target, shared)
        x, y = source[shared] - source[shared].mean(0), target[shared] - target[shared].mean(0)
        alpha = choose_alpha(x, y, centred=True)
        rest = torch.arange(25) != 3
        a, z = source[:25][rest], target[:25][rest]
        torch.testing.assert_close(mapped[3], z.mean(0) + (source[3] - a.mean(0)) @ ridge_map(a - a.mean(0), z - z.mean(0), alpha))
        torch.testing.assert_close(mapped[25:], target[shared].mean(0).expand(5, -1))


class TestWorlds:
    def test_results_hold_what_the_record_needs(self):
        out = _world_results("linear", 40, 0, {"ridge": lambda: EMCDR(4)})
        assert set(out[0]) == {"model", "relation", "shared", "seed", "gap_closed", "believed"} and out[0]["gap_closed"] < 1

    def test_with_shared_keeps_the_test(self, bent):
        _, split = bent
        few = _with_shared(split, 30)
        assert few.train.shared.sum() == 30 and list(few.test_users) == list(split.test_users)
        with pytest.raises(NoSharedUsersError): _with_shared(split, 10**6)


@pytest.mark.gpu
def test_cpu_agrees_with_gpu():
    if not torch.cuda.is_available(): pytest.skip("no CUDA device")
    x, y = draw(500, 8, name="gx"), draw(500, 6, name="gy")
    h = torch.from_numpy(rng("test_nonlinear/gh").integers(-1, 20, (500, 7)))
    for make in (lambda: MLPMap(8, 6, 16), lambda: AttentionMap(draw(20, 5, name="gi"), 8, 6, 16), lambda: PersonalisedMap(draw(20, 5, name="gi"), 8, 6, 8), lambda: LowRankMap(draw(20, 5, name="gi"), 8, 6, 8)):
        a, b = make(), make()
        fit_map(a, x, y, h, schedule=Schedule(epochs=2)), fit_map(b, x, y, h, schedule=Schedule(epochs=2), device="cuda")
        torch.testing.assert_close(b(x.float().cuda(), h.cuda()).cpu(), a(x.float(), h), rtol=5e-3, atol=5e-3)
