"""One contract, every recommender: this file finds all subclasses of Recommender in the package, whichever chapter they are in."""
import functools, importlib, inspect, json, pkgutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import interest_book
from interest_book.baselines import ModelFileError, Popularity, RatingMean, Recommender, UnsupportedError
from interest_book.core import DataError, NotFittedError, ShapeError
from interest_book.evaluation import evaluate
from interest_book.interactions import DomainPair, Interactions, UnknownItemError, UnknownUserError
from interest_book.splits import cold_start_split, ratio_split
from interest_book.worlds import make_world


def find_models():
    "Every public subclass that can be fitted."
    for m in pkgutil.iter_modules(interest_book.__path__):
        if not m.name.startswith("_"): importlib.import_module(f"interest_book.{m.name}")
    found, queue = set(), [Recommender]
    while queue:
        for c in queue.pop().__subclasses__():
            queue.append(c)
            if not c.__name__.startswith("_") and c.__module__.startswith("interest_book.") and c._fit is not Recommender._fit: found.add(c)
    return sorted(found, key=lambda c: (c.__module__, c.__name__))


# Models that read what items are called take `texts` as their first argument. Here such a class, made without any, is given the texts of the
# first world, so the same tests hold it to the same contract; the test over several worlds hands each its own (`make`). Counted words are the
# default, so nothing here needs a language model. A subclass of the same name keeps `save`, `load` and the tables of names below as they are.
def takes_texts(cls): return "texts" in inspect.signature(cls.__init__).parameters

def with_texts(cls):
    "The class, given this file's texts where it is made without any."
    @functools.wraps(cls.__init__)
    def init(self, texts=None, *args, **settings): cls.__init__(self, world("implicit").item_texts if texts is None else texts, *args, **settings)
    return type(cls.__name__, (cls,), {"__init__": init, "__module__": cls.__module__, "__doc__": cls.__doc__})

def make(cls, w): return cls(texts=w.item_texts) if takes_texts(cls) else cls()

MODELS = [with_texts(c) if takes_texts(c) else c for c in find_models()]
every = pytest.mark.parametrize("cls", MODELS, ids=lambda c: c.__name__)

# Models that know the target's rows only cannot rank for a cold user; they must win where users are warm.
TARGET_ONLY = {"ItemKNN", "EASE", "TruncatedSVD", "ImplicitALS", "BPR", "MultVAE", "MultDAE", "InterestNetwork"}
# These cannot beat popularity on these worlds by nature.
NO_TASTE = {"Popularity": "it is the floor", "TwinLookup": "without twins it is popularity (tests/test_baselines.py plants twins)"}

_worlds = {}
def world(feedback, seed=0):
    if (feedback, seed) not in _worlds: _worlds[feedback, seed] = make_world(n_users=400, n_source_items=80, n_target_items=70, feedback=feedback, seed=seed)
    return _worlds[feedback, seed]

_fitted = {}
def fitted(cls):
    "The model with its defaults, fitted on the cold-start split of an implicit world, or of an explicit one if it needs ratings."
    if cls not in _fitted:
        for feedback in ("implicit", "explicit"):
            split = cold_start_split(world(feedback).pair, seed=0)
            try: _fitted[cls] = cls().fit(split.train), split, feedback
            except DataError as e:
                if feedback == "explicit" or "rating" not in str(e): raise
            else: break
    return _fitted[cls]


def predicts(cls): return cls._predict is not Recommender._predict


def rater(cls):
    "The model fitted on ratings."
    model, split, feedback = fitted(cls)
    if feedback == "explicit": return model, split
    split = cold_start_split(world("explicit").pair, seed=0)
    return cls().fit(split.train), split


def test_models_of_all_chapters_are_found():
    assert {"Popularity", "EASE", "JointEASE", "ItemKNN", "UserKNN", "BiasModel", "TwinLookup"} <= {c.__name__ for c in MODELS}


@every
def test_fit_returns_self_and_leaves_the_data_alone(cls):
    _, split, _ = fitted(cls)
    before = split.train.source.fingerprint(), split.train.target.fingerprint()
    model = cls()
    assert model.fit(split.train) is model
    assert (split.train.source.fingerprint(), split.train.target.fingerprint()) == before


@every
def test_score_has_one_row_per_user_and_one_column_per_target_item(cls):
    model, split, _ = fitted(cls)
    users = list(split.train.users[[5, 0, 17]])
    scores = model.score(users)
    assert isinstance(scores, torch.Tensor) and scores.shape == (3, split.train.target.n_items) and scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    for row, u in zip(scores, users): torch.testing.assert_close(model.score([u])[0], row, rtol=1e-4, atol=1e-5 * float(scores.abs().max()))
    assert torch.equal(model.score(users[0]), model.score([users[0]])) and torch.equal(model.score(pd.Index(users)), scores)
    assert model.score([]).shape == (0, split.train.target.n_items)
    copy = scores.clone(); scores += 1e9                                     # what a caller does to the answer must not change the model
    assert torch.equal(model.score(users), copy)


@every
def test_recommend_is_the_order_of_score_without_what_was_seen(cls):
    model, split, _ = fitted(cls)
    target, warm = split.train.target, split.train.users[split.train.target.active_users][:8]
    seen = target.matrix("binary").toarray()[target.user_index(warm)] > 0
    out = model.recommend(warm, k=5)
    assert list(out.columns) == ["user_id", "item_id", "rank", "score"] and len(out) == 40
    for u, mask in zip(warm, seen):
        mine = out[out.user_id == u]
        scores = model.score([u])[0].cpu().numpy().astype(float)
        scores[mask] = -np.inf
        place = target.item_index(mine.item_id)
        assert list(mine["rank"]) == [1, 2, 3, 4, 5] and not mask[place].any()
        assert (np.diff(mine.score) <= 0).all() and mine.score.iloc[0] == pytest.approx(scores.max(), rel=1e-4)
        assert np.sort(scores)[-5] <= scores[place].min() + 1e-4 * abs(scores[place]).max()


@every
def test_recommend_stops_at_the_catalogue(cls):
    model, split, _ = fitted(cls)
    u, n = split.train.users[split.train.target.active_users][0], split.train.target.n_items
    n_seen = int(split.train.target.matrix("binary")[split.train.target.user_index([u])].sum())
    assert len(model.recommend(u, k=10**6)) == n - n_seen
    every_item = model.recommend(u, k=10**6, exclude_seen=False)
    assert len(every_item) == every_item.item_id.nunique() == n and list(every_item["rank"]) == list(range(1, n + 1))
    with pytest.raises(ValueError, match="k must be at least 1"): model.recommend(u, k=0)
    assert len(model.recommend([], k=3)) == 0


@every
def test_unknown_ids_are_named(cls):
    model, split, _ = fitted(cls)
    for call in (model.score, model.recommend, lambda u: model.predict(u, [split.train.target.items[0]])):
        with pytest.raises(UnknownUserError, match="stranger"): call(["stranger"])
    if predicts(cls):
        with pytest.raises(UnknownItemError, match="no such item"): model.predict([split.train.users[0]], ["no such item"])


@every
def test_nothing_works_before_fit(cls, tmp_path):
    model = cls()
    for call in (lambda: model.score(["u"]), lambda: model.recommend(["u"]), lambda: model.predict(["u"], ["i"]),
                 lambda: model.score_history(sp.csr_array((1, 3))), lambda: model.save(tmp_path / "m")):
        with pytest.raises(NotFittedError, match="fit"): call()
    assert not (tmp_path / "m").exists()


@every
def test_fit_refuses_what_is_not_a_pair_and_an_empty_target(cls):
    _, split, _ = fitted(cls)
    with pytest.raises(DataError, match="DomainPair"): cls().fit(split.train.target)
    empty = DomainPair(split.train.source, split.train.target.rows(np.zeros(len(split.train.target), bool)))
    with pytest.raises(DataError, match="no rows"): cls().fit(empty)


@every
def test_same_settings_same_result_and_refit_forgets(cls):
    model, split, feedback = fitted(cls)
    users = list(split.train.users[:20])
    again = cls().fit(cold_start_split(world(feedback).pair, seed=1).train).fit(split.train)
    assert torch.equal(again.score(users), model.score(users))


@every
def test_params_make_the_same_model(cls):
    p = cls().params()
    assert repr(cls(**p)) == repr(cls()) and cls(**p).params() == p
    json.dumps(p, allow_nan=False)
    assert repr(cls()).startswith(cls.__name__ + "(") and cls().name


@every
def test_save_and_load_give_the_same_scores(cls, tmp_path):
    model, split, _ = fitted(cls)
    users = list(split.train.users[:50])
    model.save(tmp_path / "m"); model.save(tmp_path / "m")
    assert sorted(p.suffix for p in (tmp_path / "m").iterdir()) == [".json", ".safetensors"]
    loaded = cls.load(tmp_path / "m")
    assert type(loaded) is cls and repr(loaded) == repr(model)
    assert torch.equal(loaded.score(users), model.score(users))
    pd.testing.assert_frame_equal(loaded.recommend(users, k=4), model.recommend(users, k=4))
    if not predicts(cls): return
    model, split = rater(cls)
    users, items = list(split.train.users[:50]), list(split.train.target.items[:50])
    assert torch.equal(cls.load(model.save(tmp_path / "rater")).predict(users, items), model.predict(users, items))


@every
def test_a_damaged_model_never_loads(cls, tmp_path):
    model, _, _ = fitted(cls)
    folder = model.save(tmp_path / "m")
    weights, head = next(folder.glob("*.safetensors")), json.loads((folder / "model.json").read_text())
    other = next(c for c in MODELS if c is not cls)
    with pytest.raises(ModelFileError, match=f"holds a {cls.__name__}"): other.load(folder)
    (folder / "model.json").write_text(json.dumps(head | {"format": 99}))
    with pytest.raises(ModelFileError, match="format 99"): cls.load(folder)
    (folder / "model.json").write_text(json.dumps(head)[:40])
    with pytest.raises(ModelFileError, match="damaged"): cls.load(folder)
    (folder / "model.json").write_text(json.dumps(head))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="damaged"): cls.load(folder)
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="damaged"): cls.load(folder)
    weights.unlink()
    with pytest.raises(ModelFileError, match="missing"): cls.load(folder)
    (folder / "model.json").unlink()
    with pytest.raises(ModelFileError, match="no model.json"): cls.load(folder)


@every
def test_ratings_of_pairs(cls):
    model, split = rater(cls) if predicts(cls) else fitted(cls)[:2]
    users, items = list(split.train.users[:6]), list(split.train.target.items[:6])
    if not predicts(cls):
        with pytest.raises(UnsupportedError, match="BiasModel"): model.predict(users, items)
        return
    predicted = model.predict(users, items)
    assert predicted.shape == (6,) and torch.isfinite(predicted).all()
    torch.testing.assert_close(model.predict(users[2:3], items[2:3]), predicted[2:3])
    with pytest.raises(ShapeError, match="one item for each user"): model.predict(users, items[:2])


@every
def test_people_who_were_not_in_training(cls):
    model, split, _ = fitted(cls)
    rows = split.train.target.matrix()[np.flatnonzero(split.train.target.active_users)[:4]]
    with pytest.raises(ShapeError, match="history"): model.score_history(rows[:, :-1])
    try: scores = model.score_history(rows)
    except UnsupportedError as e: assert "training" in str(e)
    else: assert scores.shape == rows.shape and torch.isfinite(scores).all()


def mean(model, split, metric): return float(evaluate(model, split, (metric,)).summary()[metric])


@every
def test_between_popularity_and_the_oracle(cls):
    "On worlds where transfer is possible: above the floor, below the ceiling, mean of three worlds."
    _, _, feedback = fitted(cls)
    protocol = ratio_split if cls.__name__ in TARGET_ONLY else cold_start_split
    metric, floor = ("ndcg@10", Popularity) if feedback == "implicit" else ("rmse", lambda: RatingMean(by="all"))
    rows = []
    for seed in range(3):
        w = world(feedback, seed)
        split = protocol(w.pair, seed=seed)
        rows.append([mean(m, split, metric) for m in (floor().fit(split.train), make(cls, w).fit(split.train), w.oracle)])
    low, mine, high = np.mean(rows, axis=0) * (1 if metric == "ndcg@10" else -1)
    assert mine < high, "better than the truth: the model has seen the test rows"
    if cls.__name__ in NO_TASTE: assert mine == pytest.approx(low)
    else: assert mine > low + 0.1 * (high - low) if metric == "ndcg@10" else mine > low


@every
@pytest.mark.gpu
def test_cpu_agrees_with_gpu(cls):
    _, split, _ = fitted(cls)
    users = list(split.train.users[:40])
    if "device" not in cls().params(): pytest.skip("this model has no device")
    still = {"MultiTask": dict(dropout=0.0, blind=0.0)}.get(cls.__name__, {})      # dropout inside the network is drawn on the device
    on_cpu, on_gpu = (cls(device=d, **still).fit(split.train).score(users) for d in ("cpu", "cuda"))
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=2e-3, atol=2e-4 * float(on_cpu.abs().max()))
