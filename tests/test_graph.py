"""Chapter 18: graphs."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from scipy.sparse.csgraph import laplacian as scipy_laplacian

from interest_book.baselines import EASE, Popularity
from interest_book.core import DataError, ShapeError, rng, six_users, torch_rng
from interest_book.evaluation import evaluate
from interest_book.graph import (GraphFilter, LightGCN, TwoGraphs, _exchange, _Filtered, _hidden, _pair_loss, _reached, _scaled, _sparse, bipartite_graph, graph_filter, graph_worlds_record,
                                 normalised_adjacency, strangers_record, topic_graph, topic_scores)
from interest_book.interactions import DomainPair, Interactions
from interest_book.splits import cold_start_split, ratio_split
from interest_book.worlds import make_world

quick = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 10_000)
def table(n=9, m=7, share=0.4, seed=0, weights=(1.0, 2.0, 0.5)):
    g = rng("test_graph/table", seed)
    return sp.csr_array((g.random((n, m)) < share) * g.choice(weights, (n, m)))
def ndcg(model, split): return float(evaluate(model.fit(split.train), split, ("ndcg@10",)).summary().iloc[0])

_splits = {}
def splits(setting, relation="linear", overlap=1.0):
    if (setting, relation) not in _splits:
        make = {"cold": cold_start_split, "warm": ratio_split}[setting]
        _splits[setting, relation] = [make(make_world(n_users=300, n_source_items=70, n_target_items=60, relation=relation, seed=s).pair, seed=s) for s in range(5)]
    return _splits[setting, relation]


class TestAdjacency:
    @quick
    @given(seeds)
    def test_spectrum_is_plus_and_minus_the_singular_values(self, seed):
        rows = table(seed=seed)
        a = normalised_adjacency(bipartite_graph(rows)).toarray()
        s = np.linalg.svd(a[:9, 9:], compute_uv=False)
        np.testing.assert_allclose(np.linalg.eigvalsh(a), np.sort(np.concatenate([s, -s, [0, 0]])), atol=1e-10)
        assert np.abs(np.linalg.eigvalsh(a)).max() <= 1 + 1e-12

    @quick
    @given(seeds)
    def test_scipy_has_the_same_laplacian(self, seed):
        graph = bipartite_graph(table(seed=seed, share=0.6))
        alive = np.asarray(graph.sum(1)).ravel() > 0
        ours = np.eye(16) - normalised_adjacency(graph).toarray()
        np.testing.assert_allclose(ours[alive][:, alive], scipy_laplacian(graph.toarray(), normed=True)[alive][:, alive], atol=1e-12)

    @quick
    @given(seeds)
    def test_roots_of_degrees_stay(self, seed):
        graph = bipartite_graph(table(seed=seed))
        root = np.sqrt(np.asarray(graph.sum(1)).ravel())
        np.testing.assert_allclose(normalised_adjacency(graph) @ root, root, atol=1e-12)

    def test_a_node_alone_keeps_an_empty_row(self):
        rows = table().toarray(); rows[2], rows[:, 3] = 0, 0
        a = normalised_adjacency(bipartite_graph(sp.csr_array(rows))).toarray()
        assert np.isfinite(a).all() and not a[2].any() and not a[9 + 3].any()
        assert bipartite_graph(sp.csr_array((4, 0))).shape == (4, 4)

    def test_bad_graphs(self):
        with pytest.raises(ShapeError, match="square"): normalised_adjacency(table())
        with pytest.raises(DataError, match="not symmetric"): normalised_adjacency(sp.csr_array(np.triu(np.ones((3, 3)))))
        with pytest.raises(DataError, match="negative or not finite"): bipartite_graph(-table())
        with pytest.raises(DataError, match="negative or not finite"): bipartite_graph(sp.csr_array([[np.nan, 1.0]]))
        with pytest.raises(DataError, match="sparse matrix"): bipartite_graph(np.ones((2, 2)))


class TestFilter:
    @quick
    @given(seeds, st.lists(st.floats(-2, 2), min_size=1, max_size=6))
    def test_it_is_its_response_on_the_spectrum(self, seed, c):
        a = normalised_adjacency(bipartite_graph(table(seed=seed)))
        x = rng("test_graph/x", seed).standard_normal((16, 3))
        values, vectors = np.linalg.eigh(a.toarray())
        np.testing.assert_allclose(graph_filter(a, x, c), vectors @ np.diag(sum(k * values**j for j, k in enumerate(c))) @ vectors.T @ x, atol=1e-9)

    def test_tensors_and_arrays_agree(self):
        a, x = normalised_adjacency(bipartite_graph(table())), rng("test_graph/x").standard_normal((16, 3)).astype(np.float32)
        out = graph_filter(_sparse(a, "cpu"), torch.from_numpy(x), [0.1, 0.2, 0.7])
        np.testing.assert_allclose(out.numpy(), graph_filter(a, x, [0.1, 0.2, 0.7]), rtol=1e-5, atol=1e-6)

    def test_bad_input(self):
        a = normalised_adjacency(bipartite_graph(table()))
        with pytest.raises(ValueError, match="at least one"): graph_filter(a, np.ones((16, 1)), [])
        with pytest.raises(ShapeError): graph_filter(a, np.ones((15, 1)), [1.0])

    def test_gradient_of_an_unsymmetric_matrix_is_the_transposed_filter(self):
        g = rng("test_graph/m")
        dense = torch.from_numpy((g.random((7, 7)) * (g.random((7, 7)) < 0.5)).astype(np.float32))
        x, c = torch.from_numpy(g.standard_normal((7, 2)).astype(np.float32)).requires_grad_(), [0.3, 0.5, 0.2]
        ours = torch.autograd.grad(_Filtered.apply(x, *(_sparse(sp.csr_array(m.numpy()), "cpu") for m in (dense, dense.T)), c).square().sum(), x)[0]
        free = sum(k * torch.linalg.matrix_power(dense, j) @ x for j, k in enumerate(c)).square().sum()
        torch.testing.assert_close(ours, torch.autograd.grad(free, x)[0], rtol=1e-4, atol=1e-5)

    def test_far_away_everybody_is_alike(self):
        rows = sp.csr_array(np.ones((5, 4)) - np.eye(5, 4))
        a, x = normalised_adjacency(bipartite_graph(rows)), rng("test_graph/x").standard_normal((9, 2))
        root = np.sqrt(np.asarray(bipartite_graph(rows).sum(1)).ravel())
        far = graph_filter(a, x, [0.0] * 100 + [1.0]) / root[:, None]
        assert np.ptp(far[:5], axis=0).max() < 1e-9 and np.ptp(far[5:], axis=0).max() < 1e-9 and np.abs(far).max() > 1e-3


class TestTopics:
    def test_blocks(self):
        m, w = table(5, 3), rng("test_graph/w").random((5, 5))
        w = sp.csr_array(w + w.T)
        out = topic_graph(m, w).toarray()
        np.testing.assert_allclose(out[:5, 5:], m.toarray())
        np.testing.assert_allclose(out, out.T)
        np.testing.assert_allclose(out[:5, :5], w.toarray() - np.diag(w.diagonal()))
        assert not out[5:, 5:].any() and (topic_graph(m) != bipartite_graph(m)).nnz == 0
        assert np.abs(np.linalg.eigvalsh(normalised_adjacency(topic_graph(m, w)).toarray())).max() <= 1 + 1e-12

    def test_bad_input(self):
        m = table(5, 3)
        with pytest.raises(ShapeError): topic_graph(m, sp.csr_array(np.ones((4, 4))))
        with pytest.raises(DataError, match="symmetric"): topic_graph(m, sp.csr_array(np.triu(np.ones((5, 5)))))
        with pytest.raises(DataError, match="negative"): topic_graph(-m)
        with pytest.raises(DataError, match="sparse"): topic_graph(m.toarray())


class TestTopicScores:
    pair = make_world(n_users=60, n_source_items=12, n_target_items=9, overlap=0.5, interactions_per_user=4, seed=3).pair
    topics = sp.csr_array(rng("test_graph/topics").random((21, 4)) * (rng("test_graph/which").random((21, 4)) < 0.6))

    def test_by_walking(self):
        "Three steps of a walk on the dense graph, with shared people whose paths count too."
        rows = np.hstack([self.pair.target.matrix("binary").toarray(), self.pair.source.matrix("binary").toarray()])
        n = len(rows)
        whole = np.zeros((n + 25, n + 25))
        whole[:n, n:n + 21], whole[n:n + 21, :n], whole[n:n + 21, n + 21:], whole[n + 21:, n:n + 21] = rows, rows.T, 3 * self.topics.toarray(), 3 * self.topics.toarray().T
        d = np.where(whole.sum(1) > 0, whole.sum(1), 1)
        walked = np.linalg.matrix_power(whole / np.sqrt(np.outer(d, d)), 3)[[4, 0, 7], n:n + 9] * rows.sum(0)[:9] * np.sqrt(d[n:n + 9])
        np.testing.assert_allclose(topic_scores(self.pair, self.topics, np.array([4, 0, 7]), 3.0), walked, rtol=1e-5, atol=1e-9)

    def test_bad_input(self):
        with pytest.raises(ShapeError, match="memberships"): topic_scores(self.pair, self.topics[:-1], np.array([0]))
        with pytest.raises(DataError, match="negative"): topic_scores(self.pair, -self.topics, np.array([0]))
        with pytest.raises(ValueError, match="weight"): topic_scores(self.pair, self.topics, np.array([0]), 0.0)

    def test_the_record_of_strangers(self):
        "Nobody shared: the joint graph is popularity to the last digit; with the world's true topics the interest graph is ahead, and shuffled it is not."
        w = make_world(n_users=300, n_source_items=50, n_target_items=40, seed=5)
        split = cold_start_split(w.pair, test=0.3, valid=0.2, seed=0)
        other = np.arange(300) % 2 == 0
        train = DomainPair(split.train.source.rows(~(split.train.shared & other)[split.train.source.user_codes]), split.train.target.rows(~(split.train.shared & ~other)[split.train.target.user_codes]))
        split = replace(split, train=train, name="nobody shared")
        assert not split.train.shared.any()
        said = pd.concat([w.item_texts[w.item_texts["domain"] == d] for d in ("target", "source")])["text"].str.get_dummies(" ").to_numpy(float)
        record = strangers_record("test", [split], {"words": sp.csr_array(said)}, weights=(1.0, 10.0))
        found = {r["model"]: r["metrics"]["ndcg@10"] for r in record["results"]}
        assert found["joint graph filter"] == found["popularity"] < found["words"] and found["words, shuffled"] < found["words"]
        assert {(c["model"], c["baseline"]) for c in record["comparisons"]} >= {("words", "popularity"), ("words", "words, shuffled")}


class TestReached:
    @quick
    @given(seeds, st.integers(1, 6))
    def test_against_counting_walks(self, seed, n_target):
        rows = table(12, 8, share=0.12, seed=seed)
        whole = np.eye(20) + (bipartite_graph(rows).toarray() > 0)
        walks = np.linalg.matrix_power(whole, 24)[:12, 12:12 + n_target] > 0
        walks[:, np.asarray(rows.sum(0)).ravel()[:n_target] == 0] = False
        assert (_reached(rows, n_target) == walks.any(1)).all()


class TestGraphFilter:
    def test_dense_reference(self):
        split = splits("cold")[0]
        model = GraphFilter(0.5, (0.2, 1.0, 0.3), 0.7, factors=5, popularity=0.4).fit(split.train)
        z = np.concatenate([split.train.target.matrix("binary").toarray(), 0.5 * split.train.source.matrix("binary").toarray()], 1).astype(float)
        d = np.where(z.sum(0) > 0, z.sum(0), 1)
        block = z / np.sqrt(z.sum(1, keepdims=True) * d)
        G, V = block.T @ block, np.linalg.svd(block)[2][:5].T
        S = (z / np.sqrt(z.sum(1, keepdims=True) * d)) @ (0.2 * np.eye(len(G)) + G + 0.3 * G @ G) + 0.7 * (z / np.sqrt(z.sum(1, keepdims=True) * d)) @ V @ V.T
        counts = split.train.target.matrix("binary").toarray().sum(0)
        np.testing.assert_allclose(model.score(split.train.users).numpy(), S[:, :60] * counts**0.4, rtol=2e-3, atol=1e-5)

    def test_six_users(self):
        films, books = (Interactions.from_frame(t[t["rating"] >= 2][["user_id", "item_id"]], name=n) for t, n in zip(six_users(), ("films", "books")))
        lists = GraphFilter(1.0, (0.0, 1.0), 0.0, popularity=0.0).fit(DomainPair(films, books)).recommend(["Flo"], k=4)
        assert list(lists["item_id"]) == ["Neuromancer", "Dune", "Emma", "Persuasion"]
        assert lists["score"].iloc[1] == pytest.approx((4 / 20 + 1 / 16) / 8**0.5, rel=1e-5) and lists["score"].iloc[3] == pytest.approx(0.025, rel=1e-5)

    def test_unseen_people_are_served_from_target_rows(self):
        split = splits("warm")[0]
        model = GraphFilter(0.0, popularity=0.2).fit(split.train)
        rows = split.train.target.matrix("binary")
        torch.testing.assert_close(model.score_history(rows), model.score(split.train.users), rtol=1e-4, atol=1e-6)
        nobody = model.score_history(sp.csr_array((1, rows.shape[1])))
        assert torch.equal(nobody[0], model.counts_)

    def test_bad_settings(self):
        for bad in (dict(source_weight=-1.0), dict(low_pass=-0.1), dict(factors=0), dict(coefficients=())):
            with pytest.raises(ValueError): GraphFilter(**bad)


class TestNetworks:
    def test_hidden_edges_are_out_of_the_graph(self):
        split = splits("cold")[0]
        model = LightGCN(4, hide=1.0, epochs=1).fit(split.train)
        people = np.flatnonzero(split.train.target.active_users)[5:9]
        asked, (matrix, back) = _hidden(model, model.seen_, split.train.source.matrix("binary"), people, torch_rng("test_graph"))
        assert (asked != model.seen_[people]).nnz == 0 and float(matrix.to_dense()[people, 300:360].abs().sum()) == 0
        assert float(matrix.to_dense()[people].abs().sum()) > 0 and torch.equal(matrix.to_dense(), back.to_dense().T)
        model.hide = 0.4
        asked, _ = _hidden(model, model.seen_, split.train.source.matrix("binary"), np.flatnonzero(split.train.target.active_users), torch_rng("test_graph"))
        assert 0.3 < asked.nnz / model.seen_.nnz < 0.5 and (asked.data == 1).all()

    def test_pairs_never_hold_what_somebody_has(self):
        has = sp.csr_array(np.array([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0]], dtype=np.float32))
        asked = sp.csr_array(np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=np.float32))
        users = torch.ones(2, 1)
        items = torch.tensor([[0.0], [50.0], [50.0], [50.0], [-50.0]])          # had items would give a loss of 50
        losses = [float(_pair_loss(users, items, asked, has, torch_rng("test_graph/pairs", s))) for s in range(40)]
        assert max(losses) < 1e-6
        full = sp.csr_array(np.ones((2, 5), dtype=np.float32))
        assert float(_pair_loss(users, items, full, full, torch_rng("test_graph"))) == 0

    def test_the_loss_is_bpr(self):
        g = rng("test_graph/bpr")
        users, items = (torch.from_numpy(g.standard_normal((n, 3))) for n in (4, 2))
        asked = sp.csr_array(np.array([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=np.float32))
        draws = [float(_pair_loss(users, items, asked, asked, torch_rng("test_graph/bpr", s))) for s in range(60)]
        a = [float(torch.nn.functional.softplus(-(users[u] @ (items[i] - items[1 - i])))) for u, i in ((0, 0), (1, 1), (2, 0))]
        subsets = {round(float(np.mean([a[k] for k in range(3) if m >> k & 1])), 6) for m in range(1, 8)} | {0.0}
        assert {round(d, 6) for d in draws} <= subsets and len(set(draws)) > 3

    def test_joint_graph_is_full_exchange_at_the_people(self):
        split = splits("cold")[0]
        t, s = split.train.target.matrix("binary"), split.train.source.matrix("binary")
        x = rng("test_graph/items").standard_normal((130, 2))
        joint = _scaled(sp.csr_array(sp.hstack([t, 2.0 * s]))) @ x
        both = _exchange(t, s, 2.0, 1.0) @ np.concatenate([np.zeros((300, 2)), x[:60], np.zeros((300, 2)), x[60:]])
        np.testing.assert_allclose(both[:300], joint, atol=1e-5)
        np.testing.assert_allclose(both[360:660], joint, atol=1e-5)
        alone = _exchange(t, s, 2.0, 0.0)
        assert abs(alone[:360, 360:]).sum() == 0 and abs(alone[360:, :360]).sum() == 0

    @pytest.mark.parametrize("cls", [LightGCN, TwoGraphs])
    def test_bad_settings(self, cls):
        for bad in (dict(layers=-1), dict(layers=1.5), dict(hide=1.2), dict(start="zero"), dict(factors=0), dict(source_loss=-1.0), dict(source_weight=-1.0)):
            with pytest.raises(ValueError): cls(**bad)
    def test_settings_that_would_leave_nodes_without_vectors(self):
        with pytest.raises(ValueError, match="exchange"): TwoGraphs(exchange=1.5)
        with pytest.raises(ValueError, match="source_weight"): TwoGraphs(source_weight=0.0)
        with pytest.raises(ValueError, match="source_loss needs source_weight"): LightGCN(source_weight=0.0, source_loss=1.0)

    @pytest.mark.parametrize("make", [lambda: LightGCN(layers=0, epochs=1), lambda: TwoGraphs(layers=0, epochs=1)], ids=["net", "two"])
    def test_without_steps_a_path_carries_nothing(self, make):
        "People without target edges have a random vector then, or one that no loss ever compared with the target's; they get popularity and not its products."
        split = splits("cold")[0]
        cold = split.train.users[~split.train.target.active_users]
        assert torch.equal(make().fit(split.train).score(cold), Popularity().fit(split.train).score(cold))
        told = LightGCN(layers=0, source_loss=1.0, epochs=1).fit(split.train).score(cold)                     # the source's pairs have moved them
        assert not torch.equal(told, Popularity().fit(split.train).score(cold))

    @pytest.mark.parametrize("make", [lambda: GraphFilter(0.0), lambda: LightGCN(source_weight=0.0, epochs=2), lambda: TwoGraphs(exchange=0.0, epochs=2)], ids=["filter", "net", "two"])
    def test_without_a_path_there_is_popularity(self, make):
        split = splits("cold")[0]
        cold = split.train.users[~split.train.target.active_users]
        assert torch.equal(make().fit(split.train).score(cold), Popularity().fit(split.train).score(cold))

    @pytest.mark.parametrize("make", [GraphFilter, lambda: LightGCN(epochs=2), lambda: TwoGraphs(epochs=2)], ids=["filter", "net", "two"])
    def test_strangers_get_popularity(self, make):
        pair = make_world(n_users=200, n_source_items=40, n_target_items=40, overlap=0.0, seed=1).pair
        strangers = pair.users[~pair.target.active_users]
        assert torch.equal(make().fit(pair).score(strangers), Popularity().fit(pair).score(strangers))

    def test_spectral_start_spans_the_leading_singular_vectors(self):
        split = splits("warm")[0]
        model = LightGCN(3, source_weight=0.0, start="spectral", epochs=1, lr=1e-12).fit(split.train)
        block = _scaled(model.seen_).toarray().astype(float)
        V = np.linalg.svd(block, full_matrices=False)[2][:3].T
        traits = model.traits_.numpy().astype(float)
        np.testing.assert_allclose(V @ (V.T @ traits), traits, atol=1e-4 * np.abs(traits).max())


class TestLaboratory:
    "Five worlds each; differences against their own standard errors."
    def gains(self, make, setting, relation, base=Popularity):
        d = np.array([ndcg(make(), s) - ndcg(base(), s) for s in splits(setting, relation)])
        return d.mean(), d.std(ddof=1) / len(d)**0.5

    @pytest.mark.parametrize("make", [GraphFilter, LightGCN, lambda: LightGCN(hide=1.0), TwoGraphs], ids=["filter", "net", "hidden", "two"])
    def test_cold_people_are_carried_where_the_relation_is_linear_and_not_where_there_is_none(self, make):
        gain, se = self.gains(make, "cold", "linear")
        assert gain > 4 * se and gain > 0.05
        gain, se = self.gains(make, "cold", "none")
        assert gain < 2 * se

    def test_warm_people(self):
        gain, se = self.gains(LightGCN, "warm", "linear")
        assert gain > 4 * se and gain > 0.1


def test_the_record_of_worlds_has_its_variants_and_honest_rows():
    record = graph_worlds_record(seeds=1, layers=(0, 1))
    assert {r["variant"] for r in record["results"]} == {"linear, cold", "linear, warm", "none, cold", "none, warm", "layers"}
    cold = {r["model"]: r["metrics"]["ndcg@10"] for r in record["results"] if r["variant"] == "linear, cold"}
    assert cold["LightGCN, target only"] == cold["graph filter, target only"] == cold["two graphs, no exchange"] == cold["popularity"] < cold["LightGCN"]
    assert len({r["fingerprint"] for r in record["results"] if r["variant"] == "layers"}) == 1


@pytest.mark.gpu
class TestOnAGPU:
    "Sums are taken in another order there, so equal means up to rounding; after training, up to what rounding grows to. The contract test does the same for every model with its defaults."
    def test_the_filter_and_its_gradient(self):
        a, c = normalised_adjacency(bipartite_graph(table(200, 150, share=0.05))), [0.1, 0.4, 0.3, 0.2]
        x = torch.from_numpy(rng("test_graph/x").standard_normal((350, 8)).astype(np.float32))
        found = []
        for device in ("cpu", "cuda"):
            leaf, matrix = x.to(device).requires_grad_(), _sparse(a, device)
            out = _Filtered.apply(leaf, matrix, matrix, c)
            assert out.device.type == device
            found.append((out.detach().cpu(), torch.autograd.grad(out.square().sum(), leaf)[0].cpu()))
        for here, there in zip(*found): torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("make", [lambda d: GraphFilter(0.5, (0.2, 1.0), 0.7, factors=5, device=d), lambda d: LightGCN(8, hide=0.5, start="spectral", source_loss=0.5, epochs=3, device=d),
                                      lambda d: TwoGraphs(8, exchange=0.3, hide=1.0, epochs=3, device=d)], ids=["filter", "net", "two"])
    def test_models_beyond_their_defaults(self, make):
        split = splits("cold")[0]
        here, there = (make(d).fit(split.train).score(split.train.users) for d in ("cpu", "cuda"))
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, rtol=2e-3, atol=2e-4 * float(here.abs().max()))
