"""Chapter 04: splits, fingerprints, twins and the audit."""
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import Phase, assume, given, settings, strategies as st

from interest_book.core import six_users
from interest_book.interactions import DomainPair, Interactions
from interest_book.splits import (LeakError, Split, SplitError, audit, clean_test, cold_start_split, drop_leaked_edges, expected_best, expected_twins, field_audit, field_pairs,
                                  find_twins, kfold_splits, leaked_rows, leave_one_out_split, plant_twins, published_split, ratio_split, strong_split, temporal_split, twin_survival)

QUICK = (Phase.explicit, Phase.reuse, Phase.generate)      # no shrinking: it takes minutes on these tables
RECORDS = Path(__file__).resolve().parent.parent / "nbs" / "records"


def six():
    films, books = six_users()
    return DomainPair(Interactions.from_frame(films, name="films"), Interactions.from_frame(books, name="books"))


def table(rows, times=None, prefix="i"):
    frame = pd.DataFrame([(f"u{u}", f"{prefix}{i}") for u, i in rows], columns=["user_id", "item_id"])
    if times is not None: frame["timestamp"] = times
    return Interactions.from_frame(frame)


@st.composite
def pairs(draw, times=False):
    "Small random pairs; user 0..5 always shared, so that every protocol has somebody to hold out."
    def side(prefix):
        cells = draw(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 8)), min_size=8, max_size=70)) | {(u, i) for u in range(6) for i in (0, 1, 2)}
        cells = sorted(cells)
        seed = draw(st.integers(0, 2**31))
        g = np.random.default_rng(seed)
        cells = [cells[k] for k in g.permutation(len(cells))]
        return table(cells, g.integers(0, 30, len(cells)) if times else None, prefix)
    return DomainPair(side("s"), side("t"))


def cells(rows): return set(zip(rows.users[rows.user_codes], rows.items[rows.item_codes]))
def users(rows): return set(rows.users[rows.active_users])

def made(make, *arguments):
    "The split, or the next example where the draw leaves nothing to test."
    try: return make(*arguments)
    except SplitError as error:
        assert "no hidden test row" in str(error) or "no test rows remain" in str(error)
        assume(False)

PROTOCOLS = {
    "cold": lambda p, s: cold_start_split(p, 0.3, 0.2, s), "ratio": lambda p, s: ratio_split(p, 0.3, 0.2, s), "given": lambda p, s: leave_one_out_split(p, "given"),
    "random": lambda p, s: leave_one_out_split(p, "random", s), "time": lambda p, s: leave_one_out_split(p, "time"), "temporal": lambda p, s: temporal_split(p, 0.3, 0.2),
    "strong": lambda p, s: strong_split(p, 2, 2, 0.5, s), "fold": lambda p, s: kfold_splits(p, 3, s)[s % 3]}


# ---------------------------------------------------------------- what holds for every protocol
@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(pair=pairs(times=True), seed=st.integers(0, 50))
@settings(max_examples=15, deadline=None, phases=QUICK)
def test_parts_are_disjoint_and_make_the_whole(protocol, pair, seed):
    split = made(PROTOCOLS[protocol], pair, seed)
    parts = [cells(p) for p in (split.train.target, split.valid, split.test, split.history) if p is not None]
    assert sum(map(len, parts)) == len(set().union(*parts))                         # no row twice
    whole = cells(pair.target)
    known = {i for _, i in cells(split.train.target)}
    if protocol == "strong": whole = {c for c in whole if c[0] in users(split.train.target) or c[1] in known}
    assert set().union(*parts) == whole
    assert len(split.test) > 0 and cells(split.train.source) <= cells(pair.source)
    for part in (split.valid, split.test):
        assert part.users.equals(pair.target.users) and part.items.equals(pair.target.items)


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if p not in ("given", "time")])
@given(pair=pairs(times=True), seed=st.integers(0, 50), order=st.integers(0, 1000))
@settings(max_examples=12, deadline=None, phases=QUICK)
def test_order_of_the_file_does_not_matter(protocol, pair, seed, order):
    g = np.random.default_rng(order)
    frames = [d.frame.iloc[g.permutation(len(d))] for d in (pair.source, pair.target)]
    other = DomainPair(*(Interactions.from_frame(f, name=d.name) for f, d in zip(frames, (pair.source, pair.target))))
    a, b = made(PROTOCOLS[protocol], pair, seed), made(PROTOCOLS[protocol], other, seed)
    assert a.fingerprint == b.fingerprint and cells(a.test) == cells(b.test)


@pytest.mark.parametrize("protocol", ["cold", "ratio", "random", "strong", "fold"])
def test_seeds_repeat_and_differ(protocol, medium):
    make = PROTOCOLS[protocol]
    assert make(medium, 3).fingerprint == make(medium, 3).fingerprint
    assert len({make(medium, s).fingerprint for s in range(6)}) == 6


@pytest.fixture(scope="module")
def medium():
    g = np.random.default_rng(0)
    side = lambda prefix: table(sorted({(u, int(i)) for u in range(80) for i in g.integers(0, 60, 3 + u % 12)}), None, prefix)
    return DomainPair(side("s"), side("t"))


# ---------------------------------------------------------------- each protocol
@given(pair=pairs(), seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None, phases=QUICK)
def test_cold_start_hides_all_target_rows_and_keeps_the_source(pair, seed):
    split = cold_start_split(pair, 0.3, 0.2, seed)
    assert split.setting == "cold" and not users(split.test) & (users(split.train.target) | users(split.valid))
    assert cells(split.train.source) == cells(pair.source) and users(split.test) <= set(pair.shared_users)
    n = int(pair.shared.sum())
    assert len(users(split.test)) == max(1, round(0.3 * n)) and len(users(split.valid)) == max(1, round(0.2 * n))
    assert not audit(split).errors.finding.str.contains("training").any()


def test_test_users_do_not_depend_on_the_validation_share(medium):
    assert all(cells(cold_start_split(medium, 0.2, v, 1).test) == cells(cold_start_split(medium, 0.2, 0.1, 1).test) for v in (0, 0.05, 0.4))


def test_every_shared_user_is_drawn_equally_often(medium):
    drawn = np.sum([cold_start_split(medium, 0.25, 0.0, s).test.active_users[medium.shared] for s in range(400)], axis=0)
    p, n = 0.25, 400
    z = (drawn - n * p) / np.sqrt(n * p * (1 - p))
    assert np.abs(z).max() < 4.5 and abs(drawn.sum() - n * p * len(drawn)) < 1e-9      # exact total, binomial counts


@given(pair=pairs(), seed=st.integers(0, 50), test=st.floats(0.05, 0.6), valid=st.floats(0, 0.3))
@settings(max_examples=40, deadline=None, phases=QUICK)
def test_ratio_gives_every_user_the_share_to_within_one_row(pair, seed, test, valid):
    try: split = ratio_split(pair, test, valid, seed)
    except SplitError: return
    n = np.bincount(pair.target.user_codes, minlength=len(pair.users))
    got = np.bincount(split.test.user_codes, minlength=len(n))
    left = np.bincount(split.train.target.user_codes, minlength=len(n))
    assert (np.abs(got - test * n)[n > 0] < 1 + 1e-6).all() and (left[n > 0] >= 1).all()


def test_ratio_shares_are_exact_on_average():
    pair = DomainPair(table([(u, u) for u in range(300)], prefix="s"), table([(u, i) for u in range(300) for i in range(7)], prefix="t"))
    shares = [(len(s.test), len(s.valid)) for s in (ratio_split(pair, 0.2, 0.1, k) for k in range(40))]
    test, valid = np.mean(shares, axis=0) / 300
    se = 0.5 / np.sqrt(300 * 40)                                                       # a rounding has variance at most 1/4
    assert abs(test - 1.4) < 4 * se and abs(valid - 0.7) < 4 * se * 2**0.5


def test_leave_one_out_takes_the_last_and_the_one_before():
    rows = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 5), (2, 4), (2, 3)]
    times = [5, 9, 1, 9, 1, 2, 3, 3, 3]
    pair = DomainPair(table([(0, 0), (1, 0), (2, 1)], [0, 0, 0], "s"), table(rows, times))
    split = leave_one_out_split(pair)
    assert cells(split.test) == {("u0", "i3"), ("u2", "i3")} and cells(split.valid) == {("u0", "i1"), ("u2", "i4")}   # ties: later row is later
    given_ = leave_one_out_split(pair, "given")
    assert cells(given_.test) == {("u0", "i3"), ("u2", "i3")} and cells(given_.valid) == {("u0", "i2"), ("u2", "i4")}
    assert ("u1", "i1") in cells(split.train.target)                                     # two rows: stays whole
    random = leave_one_out_split(pair, "random", 0)
    assert len(random.test) == len(random.valid) == 2


@given(pair=pairs(times=True), test=st.floats(0.05, 0.4), valid=st.floats(0.05, 0.4))
@settings(max_examples=40, deadline=None, phases=QUICK)
def test_temporal_never_trains_on_the_future(pair, test, valid):
    split = made(temporal_split, pair, test, valid)
    newest = max(d.timestamps.max() for d in (split.train.source, split.train.target) if len(d))
    assert split.test.timestamps.min() > max(newest, split.valid.timestamps.max(initial=-1))
    n = len(pair.target)
    assert len(split.test) <= round(test * n) and len(split.test) + len(split.valid) <= round(test * n) + round(valid * n) and (split.valid.timestamps > newest).all()
    found = audit(split).table.set_index("finding")["count"]
    assert found[[f for f in found.index if "older" in f]].sum() == 0


def test_what_ties_take_from_the_test_goes_to_validation():
    pair = DomainPair(table([(0, i) for i in range(2)], [0, 0], "s"), table([(i % 10, i) for i in range(100)], np.repeat([0, 1, 2, 3], [80, 5, 10, 5])))
    split = temporal_split(pair, 0.1, 0.1)
    assert [len(p) for p in (split.train.target, split.valid, split.test)] == [80, 15, 5]


def test_temporal_on_blocks_is_exact():
    times = np.repeat([0, 1, 2], [80, 10, 10])
    pair = DomainPair(table([(0, i) for i in range(4)], [0, 0, 1, 2], "s"), table([(i % 10, i) for i in range(100)], times))
    split = temporal_split(pair, 0.1, 0.1)
    assert [len(p) for p in (split.train.source, split.train.target, split.valid, split.test)] == [2, 80, 10, 10]


@given(pair=pairs(), seed=st.integers(0, 30))
@settings(max_examples=30, deadline=None, phases=QUICK)
def test_strong_users_are_in_no_training_table(pair, seed):
    split = made(strong_split, pair, 2, 2, 0.5, seed)
    held = users(split.test) | users(split.valid) | users(split.history)
    assert not held & (users(split.train.target) | users(split.train.source)) and not users(split.test) & users(split.valid)
    assert users(split.test) | users(split.valid) <= users(split.history)
    known = {i for _, i in cells(split.train.target)}
    assert {i for part in (split.test, split.valid, split.history) for _, i in cells(part)} <= known
    if len(split.valid): assert split.validation.test is split.valid and split.validation.history is split.history


def test_folds_are_those_of_a_given_permutation():
    pair = DomainPair.single(table([(u, i) for u in range(20) for i in range(5)]))
    order = np.random.RandomState(42).permutation(100)
    folds = kfold_splits(pair, 5, order=order, valid=0)
    for f, split in enumerate(folds):
        expected = sorted(order[i] for i in range(100) if i % 5 == f)
        assert cells(split.test) == {(f"u{r // 5}", f"i{r % 5}") for r in expected} and len(split.valid) == 0 and len(split.train.target) == 80
    assert len(set().union(*(cells(s.test) for s in folds))) == 100
    assert [len(s.test) for s in kfold_splits(six(), 5)] == [4, 3, 3, 3, 3]


def test_published_parts_come_onto_one_vocabulary():
    train = DomainPair(table([(0, 0), (1, 1), (2, 2)], prefix="s"), table([(1, 0), (2, 1)], prefix="t"))
    split = published_split(train, None, table([(0, 1), (0, 7), (9, 0)], prefix="t"), "theirs")
    assert split.setting == "cold" and "t7" in split.train.target.items and "u9" in split.train.users and len(split.valid) == 0
    assert cells(split.test) == {("u0", "t1"), ("u0", "t7"), ("u9", "t0")} and cells(split.train.target) == {("u1", "t0"), ("u2", "t1")}
    found = audit(split).table.set_index("finding")["count"]
    assert found["test rows whose item is only in the test"] == 1 and found["test users with no row to go by"] == 1
    assert published_split(train, None, table([(1, 1)], prefix="t")).setting == "warm"
    assert published_split(train, None, table([(1, 1)], prefix="t"), setting="cold").setting == "cold"
    assert published_split(train, None, table([(5, 1)], prefix="t"), history=table([(5, 0)], prefix="t")).setting == "strong"


# ---------------------------------------------------------------- fingerprint and the object
def test_fingerprint_changes_when_any_row_moves_between_parts(medium):
    split = cold_start_split(medium, seed=0)
    first = np.zeros(len(split.test), bool); first[0] = True
    moved = Interactions(split.valid.users, split.valid.items, np.append(split.valid.user_codes, split.test.user_codes[0]), np.append(split.valid.item_codes, split.test.item_codes[0]))
    others = [replace(split, test=split.test.rows(~first)), replace(split, test=split.test.rows(~first), valid=moved), replace(split, valid=moved), replace(split, test=split.valid, valid=split.test),
              replace(split, train=DomainPair(split.train.source.rows(slice(1, None)), split.train.target)), replace(split, train=DomainPair(split.train.source, split.train.target.rows(slice(1, None)))),
              replace(split, history=split.test.rows(first)), replace(split, setting="warm")]
    assert len({s.fingerprint for s in others} | {split.fingerprint}) == len(others) + 1
    assert all(len(s.fingerprint) == 16 and int(s.fingerprint, 16) >= 0 for s in others)


def test_fingerprint_knows_the_catalogue_but_not_the_order(medium):
    split = cold_start_split(medium, seed=0)
    mixed = replace(split, test=split.test.rows(np.arange(len(split.test))[::-1]), train=DomainPair(split.train.source.rows(np.arange(len(split.train.source))[::-1]), split.train.target))
    assert mixed.fingerprint == split.fingerprint and replace(split, name="other", seed=9).fingerprint == split.fingerprint
    more = published_split(split.train, split.valid, Interactions(split.test.users, split.test.items.append(pd.Index(["new"])), split.test.user_codes, split.test.item_codes), setting="cold")
    assert more.fingerprint != split.fingerprint


def test_validation_split():
    split = cold_start_split(six(), 0.2, 0.2)
    tune = split.validation
    assert tune.test is split.valid and len(tune.valid) == 0 and tune.train is split.train and tune.fingerprint != split.fingerprint
    assert list(split.test_users) == sorted(users(split.test))
    with pytest.raises(SplitError, match="no validation rows"): tune.validation
    with pytest.raises(Exception): split.seed = 4


@pytest.mark.parametrize("call, error, words", [
    (lambda p: cold_start_split(p, test=0), ValueError, "shares"), (lambda p: cold_start_split(p, test=0.9, valid=0.2), ValueError, "shares"),
    (lambda p: cold_start_split(DomainPair.single(p.target)), SplitError, "0 users can be held out"), (lambda p: cold_start_split(p, test=0.8, valid=0.1), SplitError, "at least one must remain"),
    (lambda p: ratio_split(p, valid=-0.1), ValueError, "shares"), (lambda p: leave_one_out_split(p, "newest"), ValueError, "expected"),
    (lambda p: leave_one_out_split(p), SplitError, "no timestamps"), (lambda p: temporal_split(p), SplitError, "no timestamps"),
    (lambda p: strong_split(p, hidden=1.0), ValueError, "hidden"), (lambda p: strong_split(p, test=4, valid=4), SplitError, "remain"),
    (lambda p: kfold_splits(p, k=1), ValueError, "folds"), (lambda p: kfold_splits(p, k=17), ValueError, "folds"), (lambda p: kfold_splits(p, order=np.zeros(16, int)), SplitError, "permutation"),
    (lambda p: kfold_splits(p, valid=1), ValueError, "valid"), (lambda p: published_split(p, None, p.target.rows(np.zeros(16, bool))), SplitError, "no test rows"),
    (lambda p: find_twins(p.source, p.target, jaccard=0), ValueError, "jaccard"), (lambda p: find_twins(p.source, p.target, support=0), ValueError, "support"),
    (lambda p: plant_twins(p, n=50), SplitError, "three shared users"), (lambda p: expected_best(0), ValueError, "at least one"),
    (lambda p: replace(cold_start_split(p), setting="lukewarm"), SplitError, "lukewarm"), (lambda p: replace(cold_start_split(p), test=p.source), SplitError, "published_split"),
    (lambda p: temporal_split(DomainPair(table([(0, 0)], [1], "s"), table([(0, 0), (0, 1)], [5, 5]))), SplitError, "no test rows")])
def test_bad_input_is_a_named_error(call, error, words):
    with pytest.raises(error, match=words): call(six())


# ---------------------------------------------------------------- twins
@given(pair=pairs(), jaccard=st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]), support=st.integers(1, 4))
@settings(max_examples=40, deadline=None, phases=QUICK)
def test_find_twins_equals_a_loop_over_sets(pair, jaccard, support):
    shared = set(pair.shared_users)
    fans = lambda d: {i: {u for u, j in cells(d) if j == i and u in shared} for i in d.items}
    expected = {(i, j, len(a & b)) for (i, a), (j, b) in itertools.product(fans(pair.source).items(), fans(pair.target).items()) if len(a & b) >= support and len(a & b) / len(a | b) >= jaccard - 1e-12}
    found = find_twins(pair.source, pair.target, jaccard, support)
    assert set(zip(found.source_item, found.target_item, found.support)) == expected and found.jaccard.is_monotonic_decreasing


def test_blocks_and_different_vocabularies_give_the_same(monkeypatch):
    g = np.random.default_rng(1)
    source, target = (table(sorted({(int(u), int(i)) for u, i in zip(g.integers(0, 40, 400), g.integers(0, 30, 400))}), prefix=p) for p in "st")
    whole = find_twins(source, target, 0.3, 2)
    shuffled = Interactions.from_frame(target.frame.sample(frac=1, random_state=0))
    assert set(map(tuple, find_twins(source, shuffled, 0.3, 2).values)) == set(map(tuple, whole.values)) and len(whole)
    import interest_book.splits as module
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert set(map(tuple, find_twins(source, target, 0.3, 2).values)) == set(map(tuple, whole.values))


def test_no_shared_users_and_empty_source_give_no_twins():
    a, b = table([(0, 0), (1, 0)], prefix="s"), table([(5, 0), (6, 0)], prefix="t")
    assert len(find_twins(a, b)) == 0 and expected_twins(a, b) == 0
    pair = DomainPair.single(b)
    assert len(find_twins(pair.source, pair.target)) == 0


def test_expected_twins_is_the_mean_over_all_renamings():
    pair, shared = six(), np.arange(5)
    def renamed(order):
        names = np.arange(6); names[shared] = shared[list(order)]
        return Interactions(pair.users, pair.target.items, names[pair.target.user_codes], pair.target.item_codes)
    for jaccard, support in ((0.8, 3), (0.6, 2)):
        counts = [len(find_twins(pair.source, renamed(o), jaccard, support)) for o in itertools.permutations(range(5))]
        assert np.mean(counts) == pytest.approx(expected_twins(pair.source, pair.target, jaccard, support))


def test_twin_survival_equals_enumeration():
    for n, h in ((2, 0.1), (3, 0.3), (5, 0.3), (8, 0.5)):
        by_hand = sum((1 - h) ** sum(k) * h ** (n - sum(k)) for k in itertools.product((0, 1), repeat=n) if sum(k) >= 3 and sum(k) / n >= 0.8 - 1e-12)
        assert float(twin_survival(n, h)) == pytest.approx(by_hand)


def test_planted_twins_are_all_found_and_both_remedies_remove_the_leak(medium):
    pair, planted = plant_twins(medium, n=10, seed=0)
    found = find_twins(pair.source, pair.target)
    assert set(zip(planted.source_item, planted.target_item)) <= set(zip(found.source_item, found.target_item)) and (found.jaccard[found.target_item.isin(planted.target_item)] == 1).all()
    assert len(plant_twins(medium, n=10, copied=0.5, seed=0)[0].target) < len(pair.target)
    split = cold_start_split(pair, seed=0)
    twins = find_twins(split.train.source, split.train.target)
    link = set(zip(twins.source_item, twins.target_item))
    source = cells(split.train.source)
    expected = [any((u, s) in source for s, t in link if t == i) for u, i in zip(split.test.users[split.test.user_codes], split.test.items[split.test.item_codes])]
    assert leaked_rows(split, twins).tolist() == expected and sum(expected) > 0
    cut, clean = drop_leaked_edges(split, twins), clean_test(split, twins)
    assert cells(cut.test) == cells(split.test) and not leaked_rows(cut, twins).any() and not leaked_rows(cut.validation, twins).any()
    gone = source - cells(cut.train.source)
    held = cells(split.test) | cells(split.valid)
    assert gone == {(u, s) for u, s in source if any((u, t) in held for a, t in link if a == s)}
    assert len(clean.test) == len(split.test) - sum(expected) and cells(clean.train.source) == source and not leaked_rows(clean, twins).any()
    assert len({s.fingerprint for s in (split, cut, clean)}) == 3
    assert leaked_rows(split, twins.iloc[:0]).sum() == 0 and clean_test(split, twins.iloc[:0]).fingerprint == split.fingerprint
    with pytest.raises(LeakError, match="twin"): audit(split).raise_for_leaks()


def test_unrelated_domains_give_few_false_twins():
    from interest_book.worlds import make_world
    for seed in range(3):
        pair = make_world(n_users=300, relation="none", seed=seed).pair
        assert len(find_twins(pair.source, pair.target)) == 0
        assert audit(cold_start_split(pair, seed=seed)).raise_for_leaks().errors.empty


# ---------------------------------------------------------------- the audit
def counts(split, **more): return audit(split, **more).table.set_index("finding")["count"]


def test_audit_finds_each_planted_fault():
    pair = six()
    good = cold_start_split(pair, 0.2, 0.2, 0)
    assert audit(good).raise_for_leaks().split == "cold start"
    everything = replace(good, train=DomainPair(good.train.source, pair.target))
    found = counts(everything)
    assert found["test rows also in training"] == len(good.test) and found["validation rows also in training"] == len(good.valid) and found["target rows of test users in training"] == len(good.test)
    with pytest.raises(LeakError, match="target rows of test users in training: 3"): audit(everything).raise_for_leaks()
    found = counts(replace(good, valid=good.test))
    assert found["test rows also in validation"] == len(good.test) and found["test users who are also validation users"] == 1
    negatives = Interactions(pair.users, pair.target.items, [good.test.user_codes[0], 2, 3], [good.test.item_codes[0], 0, 1])
    found = counts(good, negatives=negatives)
    in_training = {(2, 0), (3, 1)} & set(zip(good.train.target.user_codes.tolist(), good.train.target.item_codes.tolist()))
    assert found["sampled negatives that are test rows"] == 1 and found["sampled negatives the user has in training"] == len(in_training)
    found = counts(good, same_person=["Cy", "Di"])
    assert found["ids in both domains that are different people"] == 1                  # Ed; the others have no books in training
    strong = strong_split(pair, 1, 1, 0.5, 0)
    assert audit(strong).errors.empty
    assert counts(replace(strong, train=DomainPair(pair.source, strong.train.target)))["source rows of test users in training"] > 0
    assert counts(replace(strong, history=strong.test))["test rows also in history"] == len(strong.test)


def test_audit_sees_time_travel():
    pair = DomainPair(table([(0, 0), (1, 0)], [1, 50], "s"), table([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)], [1, 2, 3, 11, 12, 13, 4, 5, 6]))
    found = counts(leave_one_out_split(pair))
    assert found["test rows older than a training row of the same user"] == 1            # user 1: a source row at time 50
    assert found["test rows older than the newest training row"] == 3
    assert not any("older" in f for f in counts(leave_one_out_split(DomainPair(table([(0, 0)], prefix="s"), pair.target))).index)


def test_audit_table_has_the_promised_columns():
    report = audit(cold_start_split(six(), 0.2, 0.2))
    assert list(report.table.columns) == ["finding", "count", "of", "share", "severity", "examples", "remedy"]
    assert set(report.table.severity) <= {"error", "warning", "note"} and (report.table["count"] <= report.table["of"]).all() and "<table" in report._repr_html_()


def test_bare_numbers_are_noted():
    pair = DomainPair(*(Interactions.from_frame(pd.DataFrame({"user_id": range(12), "item_id": [f"{p}{i % 4}" for i in range(12)]})) for p in "st"))
    assert counts(cold_start_split(pair))["shared ids that are bare numbers"] > 0


def test_optimism_of_the_best():
    assert expected_best(1) == pytest.approx(0, abs=1e-9) and expected_best(2) == pytest.approx(1 / np.sqrt(np.pi)) and expected_best(50) == pytest.approx(2.249, abs=5e-4)


# ---------------------------------------------------------------- real data
def _same(a, b):
    "Counts exactly; the chance numbers to one in a thousand."
    if isinstance(a, dict): assert a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    elif isinstance(a, list): assert len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b))
    elif isinstance(a, float) or isinstance(b, float): assert a == pytest.approx(b, rel=2e-3)
    else: assert a == b
    return True


def test_users_in_both_parts_if_rows_were_divided():
    from interest_book.splits import _both_if_rows
    users_of = np.array([0, 0, 0, 1, 1, 2])                                              # every way to put 2 of 6 rows into the test
    both = [len(set(users_of[list(c)]) & set(np.delete(users_of, c))) for c in itertools.combinations(range(6), 2)]
    whole = table(list(zip(users_of, range(6))))
    assert _both_if_rows(whole.rows([0, 1, 2, 3]), whole.rows([4, 5])) == pytest.approx(np.mean(both), abs=0.051)


@pytest.fixture(scope="module")
def stored(): return json.loads((RECORDS / "04_twin_audit.json").read_text())


def test_the_record_says_what_the_targets_say(stored):
    rows = {(r["data"].split("_")[0], r["target"]): r for r in stored["results"]}
    assert [(rows["disencdr", t]["strict"]["answered"], rows["disencdr", t]["strict"]["named"], rows["disencdr", t]["strict"]["right"]) for t in ("sport", "cloth")] == [(314, 314, 314), (259, 259, 259)]
    assert [round(100 * rows["disencdr", t]["loose"]["answered"] / rows["disencdr", t]["test_rows"], 1) for t in ("sport", "cloth")] == [13.0, 12.0]
    assert [(rows["disencdr", t]["whole"]["answered"], rows["disencdr", t]["test_rows"]) for t in ("sport", "cloth")] == [(1358, 8326), (1130, 7540)]
    assert [(rows["cdrib", t]["valid_test_users"], rows["cdrib", t]["test_users"]) for t in ("sport", "cloth")] == [(827, 897), (832, 907)]
    assert [rows["cdrib", t]["loose"]["answered"] for t in ("sport", "cloth")] == [445, 452]


@pytest.mark.field
def test_the_twin_record_can_be_made_again(stored):
    fresh = field_audit()
    for key in ("name", "command", "data", "settings", "results"): _same(fresh[key], stored[key])


@pytest.mark.field
def test_the_audit_refuses_the_published_split():
    from interest_book.datasets import published_parts
    split = published_split(*published_parts("disencdr_sport_cloth", "sport"), name="DisenCDR")
    with pytest.raises(LeakError, match="strict: Jaccard ≥ 0.8, support ≥ 3.*: 314 of 8326"): audit(split).raise_for_leaks()


@pytest.mark.field
def test_the_pairs_record_can_be_made_again():
    stored, fresh = json.loads((RECORDS / "04_twin_pairs.json").read_text()), field_pairs(("urllm_arts_office",))
    assert _same(fresh["results"], [r for r in stored["results"] if r["data"] == "urllm_arts_office"]) and _same(fresh["titles"], stored["titles"])
