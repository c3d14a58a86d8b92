"""Chapter 13: tuning any network, LoRA, adapters, penalties, the closed-form head, and the recommender built of them."""
import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from interest_book.core import DataError, NotFittedError, ShapeError, rng
from interest_book.evaluation import evaluate
from interest_book.finetuning import (STRATEGIES, Adapter, FineTuned, InterestNetwork, LoRALinear, _held_out, _share_of, _stages,
                                      add_adapters, add_lora, fine_tune, finetuning_record, fisher, merge_lora, newton_head, pull_back, trainable, tune)
from interest_book.interactions import DomainPair
from interest_book.nonlinear_mapping import Schedule
from interest_book.splits import cold_start_split, ratio_split
from interest_book.training import seeded
from interest_book.worlds import make_world


def draw(*shape, name="x", seed=0): return torch.from_numpy(rng(f"test_finetuning/{name}", seed).standard_normal(shape))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)
    def forward(self, x): return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def net(seed=0):
    with seeded("test_finetuning/net", seed): return Net().double()

squared = lambda n, x, y: (n(x) - y).square().mean()
X, Y = draw(40, 6), draw(40, 2, name="y")
QUICK = Schedule(4, 20, 1e-2, 0.0)


class TestWalk:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0.01, 0.9))
    def test_a_stopped_descent_is_a_matrix_penalty(self, seed, steps, rate):
        X, y, start = (draw(*s, name=n, seed=seed) for s, n in (((15, 4), "X"), ((15,), "y"), ((4,), "s")))
        H = X.T @ X / 15
        rate = rate / torch.linalg.eigvalsh(H)[-1]
        bottom, theta = torch.linalg.lstsq(X, y).solution, start.clone()
        for _ in range(steps): theta = theta - rate * X.T @ (X @ theta - y) / 15
        h, V = torch.linalg.eigh(H)
        Q = V @ torch.diag(h / torch.expm1(-steps * torch.log1p(-rate * h))) @ V.T
        torch.testing.assert_close(torch.linalg.solve(H + Q, H @ bottom + Q @ start), theta, rtol=1e-8, atol=1e-8)

    def test_flat_directions_do_not_move(self):
        x = X[:3]                                                     # three rows, six weights
        line = nn.Linear(6, 1, bias=False).double()
        start = line.weight.detach().clone()
        for _ in range(200):
            line.zero_grad(); squared(line, x, Y[:3, :1]).backward()
            with torch.no_grad(): line.weight -= 0.1 * line.weight.grad
        moved = (line.weight - start)[0].detach()
        assert moved.norm() > 0.1
        torch.testing.assert_close(moved, x.T @ torch.linalg.lstsq(x.T, moved[:, None]).solution[:, 0], rtol=1e-9, atol=1e-10)


class TestPenalties:
    def test_pull_back_by_hand(self):
        n = net()
        start = {k: p.detach() + 1.0 for k, p in n.named_parameters() if k.startswith("first")}
        assert pull_back(n, start, 0.5).item() == pytest.approx(0.25 * (48 + 8))
        weights = {k: torch.full_like(v, 3.0) for k, v in start.items()}
        assert pull_back(n, start, 0.5, weights).item() == pytest.approx(0.75 * 56)

    def test_a_strong_pull_keeps_the_body_and_not_the_head(self):
        for strategy in ("l2sp", "ewc"):
            free, held = net(), net()
            importance = {k: torch.ones_like(p) for k, p in free.named_parameters()}
            for n, strength in ((free, 0.0), (held, 1e3)): tune(n, squared, [X, Y], strategy, schedule=Schedule(30, 40, 3e-3, 0.0), penalty=strength, importance=importance, device="cpu")
            far = lambda n, part: (getattr(n, part).weight - getattr(net(), part).weight).abs().max().item()
            assert far(held, "second") < 0.2 * far(free, "second") and far(held, "head") > 0.5 * far(free, "head")

    def test_an_importance_protects_where_it_is_large(self):
        n = net()
        importance = {k: torch.ones_like(p) for k, p in n.named_parameters()}
        importance["first.weight"][:, 0] = 1e4
        tune(n, squared, [X, Y], "ewc", schedule=Schedule(60, 40, 3e-3, 0.0), penalty=10.0, importance=importance, device="cpu")
        change = (n.first.weight - net().first.weight).abs().mean(0)
        assert change[0] < 0.3 * change[1:].mean()

    def test_fisher_is_the_mean_of_squared_row_gradients(self):
        line = nn.Linear(6, 1).double()
        loss = lambda n, x, y: 0.5 * (n(x)[:, 0] - y).square().mean()
        found, rest = fisher(line, loss, [X, Y[:, 0]]), (line(X)[:, 0] - Y[:, 0]).detach()
        torch.testing.assert_close(found["weight"][0], (rest[:, None] * X).square().mean(0))
        torch.testing.assert_close(found["bias"][0], rest.square().mean())
        assert line.weight.grad is None

    def test_fisher_leaves_out_what_is_frozen_takes_some_rows_and_csr(self):
        n = net()
        n.first.requires_grad_(False)
        assert set(fisher(n, squared, [X, Y], rows=5)) == {"second.weight", "second.bias", "head.weight", "head.bias"}
        dense, sparse = fisher(n.float(), squared, [X.float(), Y.float()]), fisher(n, squared, [sp.csr_array(X.float().numpy()), Y.float()])
        for k in dense: torch.testing.assert_close(dense[k], sparse[k])

    def test_fisher_moves_no_global_stream_and_repeats(self):
        noisy = lambda n, x, y: squared(n, x * (torch.rand(x.shape) < 0.5), y)
        before = torch.get_rng_state()
        a, b = (fisher(net(), noisy, [X, Y], seed=3) for _ in range(2))
        assert all(torch.equal(a[k], b[k]) for k in a) and torch.equal(torch.get_rng_state(), before)


class TestLoRAAndAdapters:
    @pytest.mark.parametrize("add", [add_lora, add_adapters])
    def test_the_start_is_the_identity_and_the_old_layer_is_inside(self, add):
        n, plain = net(), net()
        add(n, 3)
        assert torch.equal(n(X), plain(X)) and torch.equal(n.first.base.weight, plain.first.weight)

    def test_lora_equals_its_merged_matrix(self):
        for alpha, scale in ((None, 1.0), (6.0, 3.0)):
            n = add_lora(net(), 2, alpha, layers=["first", "second"])
            for m in (n.first, n.second): m.up.data = draw(*m.up.shape, name="up")
            out, weight = n(X), n.first.base.weight + scale * n.first.up @ n.first.down
            merge_lora(n)
            torch.testing.assert_close(n(X), out, rtol=1e-12, atol=1e-12)
            assert isinstance(n.first, nn.Linear) and set(n.state_dict()) == set(net().state_dict())
            torch.testing.assert_close(n.first.weight, weight)

    def test_alpha_scales_the_change(self):
        assert LoRALinear(nn.Linear(3, 3), rank=4, alpha=8.0).scale == 2.0

    def test_the_change_has_the_rank(self):
        n = net()
        tune(n, squared, [X, Y], "lora", schedule=QUICK, rank=2, device="cpu")
        change = n.second.weight - net().second.weight
        assert torch.linalg.matrix_rank(change, atol=1e-10) == 2

    def test_gradient_at_the_start(self):
        layer = LoRALinear(nn.Linear(6, 2).double(), 2)
        (layer(X) - Y).square().mean().backward()
        assert layer.down.grad.abs().max() == 0 and layer.up.grad.abs().max() > 0

    @pytest.mark.parametrize("bad", [lambda: add_lora(net(), layers=["decoder"]), lambda: add_lora(add_adapters(net())), lambda: add_adapters(add_lora(net()))])
    def test_named_errors(self, bad):
        with pytest.raises(DataError, match="no linear layer|already"): bad()

    @pytest.mark.parametrize("bad", [lambda: LoRALinear(nn.Linear(2, 2), 0), lambda: Adapter(nn.Linear(2, 2), 0)])
    def test_sizes(self, bad):
        with pytest.raises(ValueError, match="at least 1"): bad()

    def test_nested_names_and_dtype(self):
        n = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 1)).to(torch.float64)
        add_lora(n, 2, layers=["0"])
        assert isinstance(n[0][0], LoRALinear) and isinstance(n[1], nn.Linear) and n[0][0].up.dtype == torch.float64
        add = add_lora(nn.Sequential(nn.Linear(4, 4)), layers="0")
        assert isinstance(add[0], LoRALinear)


class TestTune:
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_what_may_move(self, strategy):
        n, old = net(), net()
        report = tune(n, squared, [X, Y], strategy, schedule=QUICK, importance={k: torch.ones_like(p) for k, p in n.named_parameters()}, rank=2, width=3, device="cpu")
        base = {k.replace(".base", ""): v for k, v in n.state_dict().items()}
        moved = {k.split(".")[0] for k, v in old.state_dict().items() if not torch.equal(v, base[k])}
        expected = {"features": set(), "head": {"head"}, "adapter": {"head"}}.get(strategy, {"first", "second", "head"})
        assert moved == expected and report.strategy == strategy and all(p.requires_grad for p in n.parameters())
        head, body = 18, 56 + 72
        assert report.trainable == {"features": 0, "head": head, "adapter": head + 2 * (8 * 3 + 3 + 3 * 8 + 8), "lora": head + 2 * (6 + 8) + 2 * (8 + 8)}.get(strategy, head + body)
        assert report.epochs == {"features": 0, "gradual": 12}.get(strategy, 4)

    def test_gradual_opens_from_the_output(self): assert _stages("gradual", ["head"], ["a", "b"]) == [["head"], ["head", "b"], ["head", "a", "b"]]

    def test_layerwise_moves_less_towards_the_input(self):
        n = net()
        tune(n, squared, [X, Y], "layerwise", schedule=Schedule(3, 40, 1e-3, 0.0), decay=0.1, device="cpu")
        step = [(getattr(n, k).weight - getattr(net(), k).weight).abs().max().item() for k in ("first", "second", "head")]
        assert step[2] == pytest.approx(3e-3, rel=0.2) and step[1] == pytest.approx(3e-4, rel=0.2) and step[0] == pytest.approx(3e-5, rel=0.2)

    def test_scratch_forgets_the_start_and_the_seed_decides(self):
        a, b, c = (tune(n, squared, [X, Y], "scratch", schedule=QUICK, seed=s, device="cpu") and n for n, s in ((net(0), 1), (net(5), 1), (net(0), 2)))
        assert torch.equal(a.first.weight, b.first.weight) and not torch.equal(a.first.weight, c.first.weight)

    def test_a_start_that_was_better_is_put_back(self):
        n, report = net(), None
        report = tune(n, squared, [X, Y], "full", schedule=Schedule(3, 20, 1e-2, 0.0, 2), validate=lambda m: float((m.head.weight - net().head.weight).abs().sum()), device="cpu")
        assert report.epochs == 0 and all(torch.equal(a, b) for a, b in zip(n.state_dict().values(), net().state_dict().values()))

    def test_the_best_epoch_is_kept(self):
        X2 = draw(60, 6, name="x2")
        Y2 = X2[:, :2] + 0.3 * draw(60, 2, name="y2")
        n, start = net(), squared(net(), X2[30:], Y2[30:]).item()
        report = tune(n, squared, [X2[:30], Y2[:30]], "full", schedule=Schedule(40, 10, 1e-2, 0.0, 3), validate=lambda m: squared(m, X2[30:], Y2[30:]).item(), device="cpu")
        assert squared(n, X2[30:], Y2[30:]).item() < start and 0 < report.epochs <= 40

    def test_any_module_embeddings_and_parameters_by_name(self):
        class Factors(nn.Module):
            def __init__(self):
                super().__init__()
                self.users, self.items = nn.Embedding(10, 4), nn.Parameter(torch.zeros(7, 4))
            def forward(self, who): return self.users(who) @ self.items.T
        with seeded("test_finetuning/factors"): f = Factors()
        before, rows = f.users.weight.detach().clone(), (draw(10, 7, name="rows") > 0).float()
        report = tune(f, lambda n, who, y: (n(who) - y).square().mean(), [torch.arange(10), rows], "head", new="items", body="users", schedule=Schedule(5, 10, 1e-2, 0.0), device="cpu")
        assert torch.equal(f.users.weight, before) and f.items.abs().max() > 0 and report.trainable == 28
        with pytest.raises(DataError, match="no linear layer"): tune(f, lambda n, who, y: (n(who) - y).square().mean(), [torch.arange(10), rows], "lora", new="items", body="users", device="cpu")

    def test_rates_of_frozen_parts_are_no_error(self):
        assert tune(net(), squared, [X, Y], "head", schedule=QUICK, lr_scale={"first": 2.0, "head": 3.0}, device="cpu").epochs == 4

    @pytest.mark.parametrize("bad, error, words", [(dict(strategy="magic"), ValueError, "choose one of"), (dict(new="decoder"), DataError, "decoder"), (dict(body=["first", "third"]), DataError, "third"), (dict(strategy="ewc"), DataError, "importance")])
    def test_named_errors_before_any_work(self, bad, error, words):
        n = net()
        with pytest.raises(error, match=words): tune(n, squared, [X, Y], **bad)
        assert torch.equal(n.first.weight, net().first.weight)

    def test_trainable_counts_what_is_not_frozen(self):
        n = net()
        n.first.requires_grad_(False)
        assert trainable(n) == 72 + 18


class TestNewtonHead:
    z, rows = draw(60, 3, name="z"), sp.csr_array((rng("test_finetuning/choices").random((60, 8)) < np.linspace(0.05, 0.6, 8)).astype(np.float32))

    def test_item_by_item(self):
        w, b = newton_head(self.z, self.rows, 5.0)
        x, n = torch.from_numpy(self.rows.toarray()).double(), torch.from_numpy(self.rows.toarray().sum(1)).double()
        share = (x.sum(0) + 0.5) / (x.sum(0) + 0.5).sum()
        for j in range(8):
            S = sum(n[u] * torch.outer(self.z[u], self.z[u]) for u in range(60))
            g = sum((x[u, j] - n[u] * share[j]) * self.z[u] for u in range(60))
            torch.testing.assert_close(w[j].double(), torch.linalg.solve(share[j] * S + 5.0 * torch.eye(3, dtype=torch.float64), g), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(b.double(), share.log(), rtol=1e-6, atol=1e-6)

    def test_limits(self):
        assert newton_head(self.z, self.rows, 1e12)[0].abs().max() < 1e-9                       # no dose: popularity
        norms = [newton_head(self.z, self.rows, l2)[0].norm().item() for l2 in (1.0, 10.0, 100.0)]
        assert norms[0] > norms[1] > norms[2]

    def test_the_penalised_likelihood_rises(self):
        x = torch.from_numpy(self.rows.toarray()).double()
        w, b = newton_head(self.z, self.rows, 20.0)
        value = lambda weight: ((x * (self.z @ weight.double().T + b.double()).log_softmax(1)).sum() - 10 * weight.double().square().sum()).item()
        assert value(w) > value(0 * w)

    def test_bad_input(self):
        with pytest.raises(ShapeError, match="rows"): newton_head(self.z[:5], self.rows)
        with pytest.raises(ValueError, match="l2"): newton_head(self.z, self.rows, 0.0)


WORLD = make_world(n_users=300, n_source_items=60, n_target_items=50, seed=0)
SPLIT = cold_start_split(WORLD.pair, seed=0)

@pytest.fixture(scope="module")
def pretrained(): return InterestNetwork(16, epochs=3).fit(DomainPair.single(SPLIT.train.source))

def score(model, split=SPLIT): return evaluate(model, split, ("ndcg@10",)).summary().iloc[0]


class TestRecommenders:
    def test_pretraining_has_not_seen_the_people_it_is_watched_by(self, pretrained):
        rows = SPLIT.train.source.matrix("binary")
        assert len(pretrained.watched_) == 30
        other = rows.copy().tolil()
        other[pretrained.watched_] = 0
        other[pretrained.watched_, 0] = 1                                        # they have something else altogether
        changed = DomainPair.single(type(SPLIT.train.source)(SPLIT.train.source.users, SPLIT.train.source.items, *other.nonzero()))
        again = InterestNetwork(16, epochs=3).fit(changed)
        assert np.array_equal(again.watched_, pretrained.watched_)
        one = lambda m: InterestNetwork(16, epochs=1).fit(m).network().embed.weight
        torch.testing.assert_close(one(changed), one(DomainPair.single(SPLIT.train.source)))

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_every_strategy_beats_popularity_for_cold_people(self, pretrained, strategy):
        model = fine_tune(pretrained, SPLIT.train, strategy, epochs=4)
        floor = np.bincount(SPLIT.train.target.item_codes, minlength=50)
        popularity = type("P", (), {"name": "p", "score": lambda self, u: torch.from_numpy(floor).float().expand(len(u), -1)})()
        assert score(model) > score(popularity) + 0.03
        report = model.report_
        assert report["strategy"] == strategy and 0 < report["source_before"] < 1
        if strategy in ("features", "head"): assert report["source_after"] == report["source_before"]
        if strategy == "scratch": assert report["source_after"] < report["source_before"] - 0.1

    def test_fit_is_fine_tune_with_its_own_pretraining(self):
        a = FineTuned("head", 16, epochs=3).fit(SPLIT.train)
        b = fine_tune(InterestNetwork(16).fit(DomainPair.single(SPLIT.train.source)), SPLIT.train, "head", epochs=3)
        assert torch.equal(a.score(SPLIT.test_users), b.score(SPLIT.test_users))

    def test_a_lent_pretraining_is_given_back_and_not_changed(self, pretrained):
        before = pretrained.weights_.clone()
        model = fine_tune(pretrained, SPLIT.train, "full", epochs=2)
        assert model._given is None and torch.equal(pretrained.weights_, before)

    def test_tuning_starts_as_the_pretrained_model(self, pretrained):
        net = fine_tune(pretrained, SPLIT.train, "features").network()
        read = torch.from_numpy(SPLIT.train.source.matrix("binary")[:7].toarray())
        old = pretrained.network()
        assert torch.equal(net.interests(read, torch.ones(7, 50)), old.interests(read)) and net.own.weight.abs().max() == 0

    def test_target_history_is_read_after_tuning(self, pretrained):
        warm = ratio_split(WORLD.pair, seed=0)
        model = fine_tune(InterestNetwork(16, epochs=3).fit(DomainPair.single(warm.train.source)), warm.train, "head", epochs=4)
        u = warm.test_users[0]
        rows = warm.train.target.matrix("binary")[warm.train.target.user_index([u])]
        assert not torch.equal(model._read(model.source_[:1], rows), model._read(model.source_[:1], 0 * rows))
        assert model.score_history(rows).shape == (1, 50)

    def test_somebody_unknown_everywhere_gets_popularity(self, pretrained):
        model = fine_tune(pretrained, SPLIT.train, "features")
        nobody = sp.csr_array((1, 50), dtype=np.float32)
        assert torch.equal(model.score_history(nobody)[0], model.counts_)

    def test_loaded_models_can_be_tuned(self, pretrained, tmp_path):
        again = InterestNetwork.load(pretrained.save(tmp_path / "p"))
        for strategy in ("adapter", "lora"):
            a, b = (fine_tune(p, SPLIT.train, strategy, epochs=2) for p in (pretrained, again))
            assert torch.equal(a.score(SPLIT.test_users), b.score(SPLIT.test_users))
            loaded = FineTuned.load(a.save(tmp_path / strategy))
            assert torch.equal(loaded.score(SPLIT.test_users), a.score(SPLIT.test_users)) and loaded.report_ == a.report_

    def test_few_people_are_no_crash(self):
        keep = np.isin(SPLIT.train.target.user_codes, np.flatnonzero(SPLIT.train.target.active_users)[:6])
        few = DomainPair(SPLIT.train.source, SPLIT.train.target.rows(keep))
        assert not _held_out(6, 0).any() and _held_out(30, 0).sum() == 3
        for strategy in ("features", "full", "gradual"): assert torch.isfinite(FineTuned(strategy, 8, epochs=2).fit(few).score(SPLIT.test_users)).all()

    def test_named_errors(self, pretrained):
        with pytest.raises(DataError, match="another|catalogue|not the"): fine_tune(pretrained, SPLIT.train.swap())
        with pytest.raises(DataError, match="source rows"): FineTuned().fit(DomainPair.single(SPLIT.train.target))
        with pytest.raises(NotFittedError): fine_tune(InterestNetwork(), SPLIT.train)
        for bad in (dict(strategy="magic"), dict(l2=0.0), dict(lr=-1.0), dict(rank=0), dict(width=0), dict(penalty=-1.0), dict(epochs=0)):
            with pytest.raises(ValueError): FineTuned(**bad)
        with pytest.raises(ValueError, match="factors"): InterestNetwork(0)


class TestRecord:
    def test_shares_are_nested(self):
        parts = [set(zip(t.target.user_codes, t.target.item_codes)) for t in (_share_of(SPLIT.train, s, 0) for s in (0.05, 0.2, 1.0))]
        assert parts[0] < parts[1] < parts[2] and len(parts[2]) == len(SPLIT.train.target)
        assert abs(len(parts[1]) / len(parts[2]) - 0.2) < 0.05

    def test_a_record_holds_every_model_and_share(self):
        small = make_world(n_users=120, n_source_items=40, n_target_items=30, seed=1)
        record = finetuning_record(small.pair, "13_test", "cold", seeds=(0,), shares=(0.2,))
        models = [r["model"] for r in record["results"]]
        assert set(models) == {"popularity", "EMCDR", "joint EASE", *STRATEGIES} and len(models) == 13
        assert {r["variant"] for r in record["results"]} == {"20 %"} == {c["variant"] for c in record["comparisons"]}
        rows = {r["model"]: r for r in record["results"]}
        assert rows["lora"]["params"]["trainable"] < rows["full"]["params"]["trainable"] and {c["baseline"] for c in record["comparisons"]} == {"popularity", "EMCDR", "joint EASE", "features", "scratch"}
        assert len({r["fingerprint"] for r in record["results"]}) == 1
        with pytest.raises(ValueError, match="setting"): finetuning_record(WORLD.pair, "x", "hot")
