"""Worlds: what is promised about them holds for any settings, the truth is the truth, and the oracles are the best there is."""
from itertools import combinations, permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from interest_book import worlds
from interest_book.core import BookError, rng
from interest_book.interactions import DomainPair, UnknownUserError
from interest_book.worlds import (RELATIONS, Oracle, WorldError, carried_share, gap_closed, inclusion_probability, linear_share, make_relation, make_world,
                                  random_rotation, sample_without_replacement, topic_words, write_texts)

some = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
setting = st.fixed_dictionaries({
    "n_users": st.integers(1, 60), "n_source_items": st.integers(1, 25), "n_target_items": st.integers(1, 25), "factors": st.integers(1, 10),
    "relation": st.sampled_from(RELATIONS), "overlap": st.floats(0, 1), "feedback": st.sampled_from(["implicit", "explicit"]),
    "activity_spread": st.floats(0, 1.5), "popularity_skew": st.floats(0, 2), "noise": st.floats(0.05, 5), "own": st.floats(0, 1), "bend": st.floats(0, 1),
    "drift": st.sampled_from([0.0, 0.4, 1.0]), "groups": st.sampled_from([0.0, 0.3, 1.0]), "seed": st.integers(0, 5)})


def world_of(s, share=0.3): return make_world(**s, interactions_per_user=(1 + share * (s["n_source_items"] - 1), 1 + share * (s["n_target_items"] - 1)))


def cold(world, share=0.25):
    target, shared = world.pair.target, np.flatnonzero(world.pair.shared)
    is_test = np.isin(target.user_codes, shared[: int(share * len(shared))])
    return SimpleNamespace(train=DomainPair(world.pair.source, target.rows(~is_test)), valid=None, test=target.rows(is_test))


# --- any settings ------------------------------------------------------------------------------------------------------

@some
@given(setting)
def test_shapes_degrees_overlap_and_no_duplicates(s):
    world = world_of(s)
    n, n_shared = s["n_users"], round(s["overlap"] * s["n_users"])
    assert world.source_interests.shape == world.target_interests.shape == (n, s["factors"])
    assert len(world.pair.users) == n and world.pair.shared.sum() == n_shared
    assert (world.pair.source.active_users | world.pair.target.active_users).all()
    for side, facts, m in ((world.pair.source, world.source_side, s["n_source_items"]), (world.pair.target, world.target_side, s["n_target_items"])):
        assert side.n_items == m and side.is_explicit == (s["feedback"] == "explicit")
        assert (np.bincount(side.user_codes, minlength=n) == facts.degrees).all()
        assert len({*zip(side.user_codes.tolist(), side.item_codes.tolist())}) == len(side)
        assert (np.diff(side.timestamps) >= 0).all()
    assert world.oracle.score(world.pair.users).shape == world.truth.shape == (n, s["n_target_items"])
    assert torch.isfinite(world.truth).all()


@some
@given(setting)
def test_same_seed_same_world_other_seed_another(s):
    s = s | {"n_users": max(s["n_users"], 20), "n_source_items": 20, "n_target_items": 20}
    a, b, c = world_of(s), world_of(s), world_of(s | {"seed": s["seed"] + 1})
    assert torch.equal(a.target_interests, b.target_interests) and a.item_texts.equals(b.item_texts)
    assert a.pair.source.fingerprint() == b.pair.source.fingerprint() and a.pair.target.fingerprint() == b.pair.target.fingerprint()
    assert not torch.equal(a.source_interests, c.source_interests)
    assert a.pair.source.fingerprint() != c.pair.source.fingerprint()
    redrawn = a.redraw(99)
    assert torch.equal(a.truth, redrawn.truth) and a.pair.source.fingerprint() != redrawn.pair.source.fingerprint()


def test_worlds_that_differ_in_one_setting_share_the_rest():
    a, b = make_world(own=0.2), make_world(own=0.7)
    assert torch.equal(a.source_interests, b.source_interests) and torch.equal(a.target_factors, b.target_factors)
    assert a.pair.source.fingerprint() == b.pair.source.fingerprint() and a.pair.target.fingerprint() != b.pair.target.fingerprint()
    few, many = (make_world(overlap=o).pair.shared for o in (0.3, 0.6))
    assert (few <= many).all()                                        # who is shared at 0.3 is shared at 0.6
    ten = make_world(n_users=10, overlap=0.3).pair                    # the odd person goes to the source
    assert [ten.shared.sum(), (~ten.target.active_users).sum(), (~ten.source.active_users).sum()] == [3, 4, 3]


@some
@given(setting)
def test_texts_are_topic_words(s):
    table, vocabulary = world_of(s).item_texts, {w for end in topic_words(s["factors"]) for w in end}
    assert list(table.columns) == ["item_id", "domain", "text"] and len(table) == s["n_source_items"] + s["n_target_items"]
    assert all(len(t.split()) == 12 and set(t.split()) <= vocabulary for t in table["text"])


def test_topic_vocabulary_has_no_word_twice():
    words = [w for end in topic_words(12) for w in end]
    assert len(words) == len(set(words)) == 2 * 12 * 6
    assert set(" ".join(write_texts(np.zeros((200, 12)), np.random.default_rng(0))).split()) == set(words)


# --- the relation ------------------------------------------------------------------------------------------------------

@given(st.integers(1, 12), st.integers(0, 1000))
@some
def test_rotations_are_orthogonal_and_carried_variance_is_d(d, seed):
    q = random_rotation(d, np.random.default_rng(seed))
    np.testing.assert_allclose(q.T @ q, np.eye(d), atol=1e-12)
    relation = make_relation("linear", d, own=0.0, seed=seed)
    np.testing.assert_allclose((relation.linear_map ** 2).sum(), d)
    assert linear_share(make_relation("rotated", d, own=0.3, seed=seed)) == pytest.approx(0.7)
    assert linear_share(make_relation("nonlinear", d, own=0.3, bend=0.4, seed=seed)) == pytest.approx(0.7 * 0.6)


def test_random_rotation_is_uniform():
    entries = np.array([random_rotation(3, g) for g in [np.random.default_rng(0)] for _ in range(4000)])
    se = entries.std(0) / 4000 ** 0.5
    assert (np.abs(entries.mean(0)) < 4 * se).all()                   # without the sign correction the diagonal is biased
    np.testing.assert_allclose((entries ** 2).mean(0), np.full((3, 3), 1 / 3), atol=0.02)


@pytest.mark.parametrize("kind", RELATIONS)
def test_moments_of_interests(kind):
    n, d = 40_000, 3
    world = make_world(n_users=n, factors=d, relation=kind, own=0.3, bend=0.6, n_source_items=2, n_target_items=2, interactions_per_user=1)
    s, t = world.interests_at(1.0)
    cross = s[:, :, None] * t[:, None]
    assert (np.abs(cross.mean(0) - world.relation.linear_map) < 4.5 * cross.std(0) / n ** 0.5).all()
    if kind == "none": assert not world.relation.linear_map.any() and carried_share(world.relation) == 0
    squared = (t ** 2).sum(1)
    assert abs(squared.mean() - d) < 4 * squared.std() / n ** 0.5
    own = ((t - world.relation.expected(s)) ** 2).sum(1) / d
    assert abs(own.mean() - (1.0 if kind == "none" else 0.3)) < 4 * own.std() / n ** 0.5


def test_map_is_given_where_it_is_the_truth():
    for kind in RELATIONS:
        world = make_world(relation=kind, n_users=50)
        assert (world.map_ is None) == (kind in ("nonlinear", "personalised"))
        if world.map_ is not None:
            torch.testing.assert_close(world.source_interests @ world.map_, torch.from_numpy(world.relation.expected(world.source_interests)).float(), rtol=1e-4, atol=1e-5)


def test_personalised_map_depends_on_the_person():
    relation = make_relation("personalised", 2, own=0.0)
    s = np.array([[1.0, 0.5]])
    np.testing.assert_allclose(relation.expected(s), s @ relation.maps[0])
    np.testing.assert_allclose(relation.expected(-s), -s @ relation.maps[1])


def test_drift_turns_interests():
    still, moving = make_world(), make_world(drift=1.0, n_users=20_000, n_source_items=5, n_target_items=5, interactions_per_user=2)
    np.testing.assert_array_equal(still.interests_at(0.0)[1], still.interests_at(1.0)[1])
    start, end = moving.interests_at(0.0)[1], moving.interests_at(1.0)[1]
    assert abs((start * end).mean()) < 4 / (20_000 * 4) ** 0.5 * 1.5 and end.var() == pytest.approx(1, abs=0.05)


def test_groups():
    world = make_world(n_users=4000, groups=0.25)
    quiet = world.groups == 1
    assert quiet.sum() == 1000
    assert world.target_side.degrees[quiet].mean() == pytest.approx(world.target_side.degrees[~quiet].mean() / 2, rel=0.06)
    s = world.source_interests.numpy()
    assert s[quiet, 0].mean() - s[~quiet, 0].mean() > 1 and s[:, 0].std() == pytest.approx(1, abs=0.05)


# --- sampling ----------------------------------------------------------------------------------------------------------

def by_enumeration(weights, k):
    "Probability of each set of k items drawn one by one."
    def one(order):
        left, p = sum(weights), 1.0
        for i in order: p, left = p * weights[i] / left, left - weights[i]
        return p
    return {c: sum(one(o) for o in permutations(c)) for c in combinations(range(len(weights)), k)}


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0.05, 5), min_size=3, max_size=5), st.integers(1, 2), st.integers(0, 100))
def test_gumbel_top_k_is_sampling_without_replacement(weights, k, seed):
    n = 20_000
    rows, cols = sample_without_replacement(np.tile(np.log(weights), (n, 1)), np.full(n, k), np.random.default_rng(seed))
    assert (np.bincount(rows) == k).all()
    drawn = np.sort(cols.reshape(n, k), axis=1)
    for items, p in by_enumeration(weights, k).items():
        assert abs((drawn == items).all(1).mean() - p) < 5 * (p * (1 - p) / n) ** 0.5 + 1e-12


def test_sampling_respects_counts_and_forbidden_items():
    log_weights = np.zeros((3, 6)); log_weights[:, 4] = -np.inf
    rows, cols = sample_without_replacement(log_weights, np.array([0, 5, 2]), np.random.default_rng(0))
    assert rows.tolist() == [1] * 5 + [2] * 2 and 4 not in cols and sorted(cols[:5]) == [0, 1, 2, 3, 5]
    with pytest.raises(WorldError, match="positive weight"): sample_without_replacement(log_weights, np.array([0, 6, 2]), np.random.default_rng(0))
    with pytest.raises(BookError, match="counts has shape"): sample_without_replacement(log_weights, np.array([0, 1]), np.random.default_rng(0))


@some
@given(st.integers(2, 40), st.floats(0.02, 0.98), st.floats(0, 12), st.integers(0, 100))
def test_inclusion_probabilities_sum_to_the_count_and_keep_the_order(m, share, spread, seed):
    log_weights = spread * np.random.default_rng(seed).standard_normal(m)
    pi = inclusion_probability(log_weights, np.array(share * m))
    assert pi.sum() == pytest.approx(share * m, rel=1e-6) and ((pi >= 0) & (pi <= 1)).all()
    assert (np.diff(pi[np.argsort(log_weights)]) >= -1e-12).all()


def test_inclusion_probability_is_exact_for_equal_weights_and_near_enumeration_otherwise():
    np.testing.assert_allclose(inclusion_probability(np.zeros((2, 10)), np.array([3, 5])), [[0.3] * 10, [0.5] * 10])
    weights = np.exp(np.random.default_rng(0).standard_normal(9))
    chance = by_enumeration(weights, 3)
    exact = [sum(p for c, p in chance.items() if i in c) for i in range(9)]
    np.testing.assert_allclose(inclusion_probability(np.log(weights), np.array(3)), exact, atol=0.02)
    for bad in (0, 9): 
        with pytest.raises(WorldError, match="number of items"): inclusion_probability(np.zeros(9), np.array(bad))


def test_truth_agrees_with_redraws():
    world = make_world(n_users=40, n_target_items=30, interactions_per_user=6)
    counts = sum(world.redraw(k).pair.target.matrix("binary") for k in range(200)).toarray() / 200
    pi = world.truth.numpy()
    np.testing.assert_allclose(pi.sum(1), world.target_side.degrees, rtol=1e-4)
    z = (counts - pi) / np.maximum((pi * (1 - pi) / 200) ** 0.5, 0.01)
    assert np.abs(counts - pi).mean() < 0.02 and (np.abs(z) < 5).mean() > 0.995


@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_order_of_rows_tells_nothing_of_what_was_wanted_most(drift):
    world = make_world(n_users=3000, drift=drift, interactions_per_user=30)
    target, half = world.pair.target, world.interests_at(0.5)[1]
    wanted = (half @ world.target_side.factors.T + 0.5 * world.target_side.popularity)[target.user_codes, target.item_codes]
    place = np.argsort(np.argsort(target.user_codes, kind="stable"))               # rows of one user side by side, in stored order
    starts = np.r_[0, np.bincount(target.user_codes).cumsum()[:-1]][target.user_codes]
    within = (place - starts) / world.target_side.degrees[target.user_codes]
    early, late = wanted[within < 0.2], wanted[within >= 0.8]
    assert abs(early.mean() - late.mean()) < 4 * (early.var() / len(early) + late.var() / len(late)) ** 0.5


def test_popularity_follows_the_power_law_when_interests_do_not_matter():
    world = make_world(n_users=20_000, n_target_items=10, n_source_items=10, noise=1e6, popularity_skew=1.0, interactions_per_user=1, activity_spread=0)
    counts = np.sort(np.bincount(world.pair.target.item_codes))[::-1] / 20_000
    p = (1 / np.arange(1, 11)) / (1 / np.arange(1, 11)).sum()
    assert (np.abs(counts - p) < 4 * (p * (1 - p) / 20_000) ** 0.5).all()


# --- oracles -----------------------------------------------------------------------------------------------------------

def test_sorted_by_weight_is_best_for_every_metric_in_every_tiny_case():
    def ndcg(r, rel): return sum(1 / np.log2(r.index(i) + 2) for i in rel if r.index(i) < 3)
    def hit(r, rel): return float(bool(set(r[:2]) & rel))
    def mrr(r, rel): return 1 / (1 + min(r.index(i) for i in rel))
    def auc(r, rel): return sum(r.index(i) < r.index(j) for i in rel for j in set(r) - rel)
    for seed in range(4):
        weights = np.random.default_rng(seed).gamma(0.5, size=5) + 0.01
        chance = by_enumeration(weights, 2)
        for metric in (ndcg, hit, mrr, auc):
            value = {r: sum(p * metric(list(r), set(c)) for c, p in chance.items()) for r in permutations(range(5))}
            assert value[tuple(np.argsort(-weights))] >= max(value.values()) - 1e-12


@pytest.mark.parametrize("metric", ["ndcg@10", "precision@5", "recall@20", "hit@1"])
def test_oracle_beats_any_perturbed_ranking_in_expectation(metric):
    differences = []
    for seed in range(6):
        world = make_world(n_users=300, seed=seed)
        split, g = cold(world, 0.9), rng("test/perturb", seed)
        other = SimpleNamespace(score=lambda users: world.oracle.score(users) + torch.from_numpy(0.7 * g.standard_normal((len(users), 120))).float())
        differences.append(world.best_score(split, metric) - worlds._values(other, split, metric).mean())
    assert np.mean(differences) > 3 * np.std(differences, ddof=1) / 6 ** 0.5 > 0


def test_oracles_are_ordered_by_what_they_know():
    for relation in RELATIONS:
        made = [make_world(relation=relation, seed=seed) for seed in range(3)]
        marks = [[world.best_score(cold(world), "ndcg@10", name) for name in ("crowd oracle", "transfer oracle", "oracle")] for world in made]
        crowd, transfer, best = np.mean(marks, axis=0)
        assert crowd + 0.1 < best
        if relation == "none": assert crowd == transfer
        else: assert crowd + 0.05 < transfer < best


@pytest.mark.parametrize("kind", ["rotated", "nonlinear", "personalised"])
def test_rating_floors(kind):
    noise, own = 0.4, 0.3
    world = make_world(n_users=4000, relation=kind, feedback="explicit", noise=noise, own=own)
    rows = world.pair.target
    users, items = rows.users[rows.user_codes], rows.items[rows.item_codes]
    def squared(oracle): return (oracle.predict(users, items).numpy() - rows.ratings) ** 2
    assert squared(world.oracle).mean() == pytest.approx(noise ** 2, rel=4 * (2 / len(rows)) ** 0.5)
    floor = noise ** 2 + own * (0.4 ** 2 + 0.6 ** 2 * (world.target_side.factors ** 2).sum(1)[rows.item_codes].mean())
    assert squared(world.transfer_oracle).mean() == pytest.approx(floor, rel=0.03)
    split = cold(world)
    assert world.best_score(split, "rmse") == pytest.approx(noise, rel=0.03)
    assert world.best_score(split, "mae") == pytest.approx(noise * (2 / np.pi) ** 0.5, rel=0.03)
    assert world.best_score(split, "rmse", "crowd oracle") > world.best_score(split, "rmse", "transfer oracle") > world.best_score(split, "rmse")


@pytest.mark.parametrize("kind", RELATIONS)
def test_crowd_oracle_is_the_best_list_for_everybody(kind):
    stars = make_world(n_users=2000, relation=kind, feedback="explicit")                # personalised: mean interests are not zero
    crowd = stars.crowd_oracle.score(stars.pair.users[:3])
    torch.testing.assert_close(crowd, stars.truth.mean(0).expand(3, -1), rtol=1e-5, atol=1e-5)
    picks = make_world(n_users=300, relation=kind)
    torch.testing.assert_close(picks.crowd_oracle.score(picks.pair.users[:1])[0], picks.truth.mean(0), rtol=1e-4, atol=1e-6)


def test_transfer_oracle_is_the_oracle_where_nothing_is_the_users_own():
    world = make_world(n_users=50, own=0.0)
    torch.testing.assert_close(world.transfer_oracle.score(world.pair.users), world.truth, rtol=1e-4, atol=1e-6)


def test_transfer_oracle_averages_over_the_own_part():
    world, g = make_world(n_users=60, own=0.5, noise=0.3), np.random.default_rng(0)
    side, known = world.target_side, world.relation.expected(world.interests_at(1.0)[0])
    def probability(t): return inclusion_probability(side.popularity + t @ side.factors.T / 0.3, side.degrees)
    average = np.mean([probability(known + 0.5 ** 0.5 * g.standard_normal(known.shape)) for _ in range(400)], axis=0)
    score = world.transfer_oracle.score(world.pair.users).numpy()
    assert np.abs(score - average).mean() < 0.025 < np.abs(probability(known) - average).mean()
    assert (score - average).std() < 0.04 and score.std() == pytest.approx(average.std(), rel=0.04)
    crowd = world.crowd_oracle.score(["u00001"]).numpy()[0]
    np.testing.assert_allclose(crowd, world.truth.numpy().mean(0), rtol=1e-4)


@pytest.mark.parametrize("kind", RELATIONS)
def test_error_of_the_transfer_oracle_is_unrelated_to_all_it_knows(kind):
    n = 4000
    world = make_world(n_users=n, relation=kind, feedback="explicit", own=0.3)
    missed = (world.oracle.score(world.pair.users) - world.transfer_oracle.score(world.pair.users)).numpy()
    known = np.c_[world.source_side.user_bias, world.source_interests, world.relation.expected(world.source_interests)]
    for column in known.T[known.std(0) > 0]:
        for error in (missed.mean(1), missed[:, 0], missed[:, 1]): assert abs(np.corrcoef(column, error)[0, 1]) < 4 / n ** 0.5


def test_best_score_masks_training_rows_and_counts_by_hand():
    world = make_world(n_users=3, n_source_items=4, n_target_items=5, interactions_per_user=3, activity_spread=0)
    target = world.pair.target
    mine = np.flatnonzero(target.user_codes == 0)
    split = SimpleNamespace(train=DomainPair(world.pair.source, target.rows(np.setdiff1d(np.arange(len(target)), mine[:1]))), valid=None, test=target.rows(mine[:1]))
    scores = world.oracle.score(["u00000"])[0].numpy().copy()
    answer, seen = target.item_codes[mine[0]], target.item_codes[mine[1:]]
    scores[seen] = -np.inf
    rank = 1 + (scores > scores[answer]).sum()
    assert world.best_score(split, "ndcg@5") == pytest.approx(1 / np.log2(rank + 1))
    assert world.best_score(split, "precision@5") == pytest.approx(0.2)
    assert world.best_score(split, "hit@1") == float(rank == 1)
    assert world.best_score(split, "recall@50") == 1.0
    assert world.best_score(split, lambda scores, relevant, seen: seen.sum(1) + relevant.sum(1)) == 3.0


def test_scores_follow_the_order_of_users():
    for feedback in ("implicit", "explicit"):
        world = make_world(n_users=30, feedback=feedback)
        for name in ("oracle", "transfer oracle", "crowd oracle"):
            oracle = Oracle(world, name)
            torch.testing.assert_close(oracle.score(["u00007", "u00003"]), oracle.score(world.pair.users)[[7, 3]])
    torch.testing.assert_close(world.oracle.predict(["u00003", "u00007", "u00003"], ["t0001", "t0000", "t0002"]), world.truth[[3, 7, 3], [1, 0, 2]])
    torch.testing.assert_close(world.true_scores(["u00003"]), world.truth[[3]])


def test_gap_closed():
    assert gap_closed(0.3, 0.2, 0.4) == pytest.approx(0.5) and gap_closed(0.9, 1.0, 0.5) == pytest.approx(0.2) and gap_closed(0.1, 0.2, 0.4) < 0
    torch.testing.assert_close(gap_closed(torch.tensor([0.2, 0.4]), 0.2, 0.4), torch.tensor([0.0, 1.0]))
    with pytest.raises(WorldError, match="no gap"): gap_closed(0.3, 0.2, 0.2)


def topic_profiles(texts, factors):
    "(n, factors): words of the high end minus words of the low end."
    ends = [set(end) for end in topic_words(factors)]
    return np.array([[sum(w in ends[2 * k] for w in t.split()) - sum(w in ends[2 * k + 1] for w in t.split()) for k in range(factors)] for t in texts], float)


@pytest.mark.parametrize("seed", range(3))
def test_text_is_a_bridge_where_there_is_a_relation_and_none_where_there_is_none(seed):
    for kind, low, high in (("rotated", 0.65, 1), ("linear", 0.6, 1), ("none", -0.1, 0.1)):
        world = make_world(n_users=500, relation=kind, own=0.1, popularity_skew=0.0, noise=0.3, seed=seed)
        profiles = topic_profiles(world.item_texts["text"], 4)
        score = world.pair.source.matrix("binary") @ profiles[:120] @ profiles[120:].T      # likes rockets in films -> books on rockets
        truth = world.target_interests.numpy() @ world.target_factors.numpy().T
        assert low < np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(score, truth)]) < high


# --- bad input -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrong, message", [
    ({"n_users": 0}, "n_users=0"), ({"n_users": 2.5}, "whole number"), ({"n_users": 600.0}, "whole number"), ({"factors": True}, "whole number"), ({"factors": -1}, "factors=-1"), ({"overlap": 1.01}, "from 0 to 1"), ({"overlap": float("nan")}, "from 0 to 1"),
    ({"overlap": "half"}, "must be a number"), ({"noise": -1}, "noise=-1"), ({"noise": 0}, "makes choices certain"), ({"noise": float("inf")}, "finite"), ({"drift": 2}, "drift=2"),
    ({"groups": -0.1}, "groups"), ({"own": 1.2}, "own=1.2"), ({"bend": -1}, "bend=-1"), ({"relation": "square"}, "choose one of"), ({"feedback": "stars"}, "implicit"),
    ({"interactions_per_user": 121}, "source domain"), ({"interactions_per_user": (5, 0)}, "target domain"), ({"interactions_per_user": (1, 2, 3)}, "one for"),
    ({"interactions_per_user": None}, "must be a number"), ({"popularity_skew": -1}, "popularity_skew"), ({"activity_spread": None}, "must be a number")])
def test_bad_settings_are_named_before_work(wrong, message, monkeypatch):
    monkeypatch.setattr(worlds, "_make_sides", lambda *a: pytest.fail("work was done before the check"))
    with pytest.raises(WorldError, match=message): make_world(**wrong)


def test_bad_requests_are_named():
    world = make_world(n_users=20)
    with pytest.raises(UnknownUserError): world.oracle.score(["nobody"])
    with pytest.raises(WorldError, match="ratings"): world.oracle.predict(["u00000"], ["t0000"])
    with pytest.raises(WorldError, match="not known"): Oracle(world, "prophet")
    with pytest.raises(WorldError, match="not known here"): world.best_score(cold(world), "ndcg")
    with pytest.raises(WorldError, match="judged in implicit"): world.best_score(cold(world), "rmse")
    with pytest.raises(WorldError, match="judged in implicit"): make_world(n_users=20, feedback="explicit").best_score(None, "ndcg@10")
    with pytest.raises(BookError, match="source has shape"): world.relation.expected(np.zeros((3, 7)))


def test_repr_is_short():
    assert len(repr(make_world(n_users=500))) < 500 and repr(make_world(seed=3)).startswith("World(n_users=600")


@pytest.mark.gpu
def test_oracle_scores_agree_on_the_gpu():
    world = make_world(n_users=500)
    factors, interests, bias = (x.to("cuda") for x in (world.target_factors, world.target_interests, world.target_bias))
    on_gpu = bias + interests @ factors.T / world.settings["noise"]
    torch.testing.assert_close(on_gpu.cpu(), world.oracle.score(world.pair.users), rtol=1e-4, atol=1e-4)


def test_best_score_is_what_the_evaluator_of_chapter_06_says():
    from interest_book.evaluation import evaluate
    from interest_book.splits import cold_start_split, ratio_split
    world = make_world(n_users=200, overlap=0.8)
    for split in (cold_start_split(world.pair), ratio_split(world.pair)):
        for oracle in (world.oracle, world.transfer_oracle, world.crowd_oracle):
            summary = evaluate(oracle, split, ("ndcg@10", "recall@20", "precision@5", "hit@3")).summary()
            for metric in ("ndcg@10", "recall@20", "precision@5", "hit@3"):
                assert world.best_score(split, metric, oracle.name) == pytest.approx(summary[metric], rel=1e-6)
    stars = make_world(n_users=200, feedback="explicit")
    split = ratio_split(stars.pair)
    summary = evaluate(stars.oracle, split, ("rmse", "mae")).summary()
    assert [stars.best_score(split, m) for m in ("rmse", "mae")] == pytest.approx([summary["rmse"], summary["mae"]], rel=1e-5)
