"""Chapter 27: the runner survives what happens to runners, ranks agree with SciPy, thinning takes away what it says, the map and the blend keep their promises."""
import json, os, signal, subprocess, sys, time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats

from interest_book.baselines import EASE, ItemKNN, Popularity
from interest_book.benchmark import (GROWTH, Benchmark, BenchmarkError, Blend, Cell, advise, append_line, benchmark, best_by_validation, cliques, cpu_seconds, critical_difference, fit_blend, friedman_test,
                                     growing_pair, growth_exponent, growth_record, leak_share, left_open, mean_ranks, model_bytes, phase_split, quality_and_cost, quick_methods, read_lines, relatedness, row_information, scoreboard,
                                     standardise, stored_field, thin, time_left, transfer_gain, transfer_saves, verdict, within_budget)
from interest_book.core import DataError, ShapeError, UnknownIdError
from interest_book.evaluation import SplitMismatchError, comparison_table, run
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError
from interest_book.linear_mapping import EMCDR
from interest_book.splits import SplitError, cold_start_split, ratio_split
from interest_book.worlds import make_world

ROOT = Path(__file__).resolve().parent.parent


# --- functions that workers import by name -------------------------------------------------------------------------------

def small_split(seed, rows=8): return thin(ratio_split(make_world(n_users=120, n_source_items=40, n_target_items=40, seed=seed).pair, test=0.2, valid=0.1, seed=seed), rows=rows)

def noted(make, folder):
    "A maker that leaves a mark for every fit."
    Path(folder, f"{time.time_ns()}-{os.getpid()}").touch()
    return make()

def fatal(flag):
    "Dies like a process that the system kills, but only once."
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Popularity()

METHODS = {"popularity": {"": Popularity}, "item kNN": {f"k={k}": partial(ItemKNN, k) for k in (3, 10, 30)}, "EASE": {f"l2={l}": partial(EASE, l) for l in (30., 300.)}}
SETTINGS = {"few": partial(small_split, rows=3), "many": small_split}
def go(**more): return benchmark(**{"methods": METHODS, "settings": SETTINGS, "seeds": range(2), "metrics": ("ndcg@10",), "budget": 2, "say": lambda text: None} | more)
def essence(bench): return [{k: l.get(k) for k in ("setting", "seed", "method", "fingerprint", "chosen", "valid", "values", "users", "bytes", "error")} for l in bench.lines]

@pytest.fixture(scope="module")
def serial(): return go()


# --- the runner ------------------------------------------------------------------------------------------------------------

def test_it_gives_what_a_plain_loop_gives(serial):
    split = small_split(1)
    grid = within_budget(METHODS["EASE"], 2, "EASE")
    values = {label: run({"m": make}, [split.validation], ["ndcg@10"])[0].summary()["ndcg@10"] for label, make in grid.items()}
    best = max(values, key=values.get)
    line = next(l for l in serial.lines if (l["setting"], l["seed"], l["method"]) == ("many", 1, "EASE"))
    assert line["chosen"] == best and line["valid"] == pytest.approx(values[best]) and line["fingerprint"] == split.fingerprint
    direct = run({"EASE": grid[best]}, [split], ["ndcg@10"])[0]
    got = next(r for r in serial.results("many") if r.model == "EASE" and r.seed == 1)
    pd.testing.assert_frame_equal(got.values, direct.values)
    pd.testing.assert_series_equal(got.weights, direct.weights)
    assert got.params == direct.params and line["bytes"] == model_bytes(grid[best]().fit(split.train))
    table = serial.table("many", "popularity")
    pd.testing.assert_frame_equal(table["ndcg@10"], comparison_table(serial.results("many"), ["ndcg@10"], "popularity")["ndcg@10"])
    assert table.loc["item kNN", ("cost", "settings tried")] == 2 and table.loc["popularity", ("cost", "settings tried")] == 1


def test_two_processes_give_the_same_and_the_order_is_kept(serial, tmp_path):
    both = go(jobs=2, path=tmp_path / "lines")
    assert essence(both) == essence(serial)
    assert len(read_lines(tmp_path / "lines")[0]) == len(serial.lines)


def test_nothing_is_computed_twice(tmp_path):
    (marks := tmp_path / "marks").mkdir()
    methods = {m: {label: partial(noted, make, marks) for label, make in grid.items()} for m, grid in METHODS.items()}
    first = go(methods=methods, path=tmp_path / "lines", seeds=range(1))
    n = len(list(marks.iterdir()))
    assert n == 2 * (1 + 2 + 2)                                  # two settings; the budget holds item kNN to two of three
    again = go(methods=methods, path=tmp_path / "lines", seeds=range(1))
    assert len(list(marks.iterdir())) == n and essence(again) == essence(first)
    go(methods=methods, path=tmp_path / "lines", seeds=range(2))
    assert len(list(marks.iterdir())) == 2 * n
    go(methods=methods, path=tmp_path / "lines", seeds=range(1), label="other data")
    assert len(list(marks.iterdir())) == 3 * n
    go(methods=methods, path=tmp_path / "lines", seeds=range(1), budget=1)
    assert len(list(marks.iterdir())) > 3 * n


def test_an_interrupt_loses_the_running_cell_only(serial, tmp_path):
    def stop(text):
        if text.startswith("3 of 12"): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): go(path=tmp_path / "lines", say=stop)
    assert len(read_lines(tmp_path / "lines")[0]) == 3
    said = []
    assert essence(go(path=tmp_path / "lines", say=said.append)) == essence(serial) and len(said) == 9


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_parent_loses_running_cells_only(serial, tmp_path):
    "The whole process is killed in the middle; what is in the file is whole, and the rest is computed on the second attempt."
    code = "import sys; sys.path.insert(0, 'tests')\nfrom test_benchmark import go\nif __name__ == '__main__': go(jobs=2, path=sys.argv[1])"
    p = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lines")], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while time.time() < deadline and len(read_lines(tmp_path / "lines")[0]) < 2 and p.poll() is None: time.sleep(0.1)
    p.kill(); p.wait()
    time.sleep(1.0)                                              # workers finish the cell they are at, write it, find nobody and go
    before, broken = read_lines(tmp_path / "lines")
    assert before and broken == 0
    said = []
    assert essence(go(path=tmp_path / "lines", say=said.append)) == essence(serial)
    assert len(said) <= len(serial.lines) - 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_worker_is_a_failure_and_can_be_tried_again(serial, tmp_path):
    methods = METHODS | {"deadly": {"": partial(fatal, tmp_path / "flag")}}
    found = go(methods=methods, jobs=2, path=tmp_path / "lines")
    assert len(found.failures) == 1 and "WorkerDied: exit code -9" in found.failures.error.iloc[0] and found.failures.method.iloc[0] == "deadly"
    assert [e for e in essence(found) if e["method"] != "deadly"] == essence(serial)
    assert len(go(methods=methods, path=tmp_path / "lines").failures) == 1          # it stays what it is ...
    said = []
    assert go(methods=methods, path=tmp_path / "lines", retry=True, say=said.append).failures.empty and len(said) == 1     # ... until it is tried again


def test_errors_are_results():
    bench = go(methods=METHODS | {"faulty": {"": partial(EASE, -1.0)}})
    assert len(bench.failures) == 4 and bench.failures.error.str.contains("ValueError: l2").all() and bench.failures["where"].str.contains("baselines.py").all()
    assert "faulty" in bench.table("many").index and bench.table("many").loc["faulty"].isna().all()
    assert {r.model for r in bench.results("many")} == set(METHODS)
    with pytest.raises(UnknownIdError, match="no setting 'x'"): bench.results("x")


def test_half_lines_do_no_harm(serial, tmp_path):
    file = tmp_path / "lines"
    go(path=file, seeds=range(1))
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:40])        # the last one torn
    found, broken = read_lines(file)
    assert len(found) == 3 and broken == 1
    said = []
    bench = go(path=file, seeds=range(1), say=said.append)
    assert len(said) == 3 and bench.broken == 1
    assert essence(bench) == [e for e in essence(serial) if e["seed"] == 0]
    assert len(read_lines(file)[0]) == 6 and read_lines(file)[1] == 1               # the torn line stands alone and is counted
    file.write_bytes(b"[1]\nnull\n\n{}\n" + whole)
    assert len(read_lines(file)[0]) == 6 and read_lines(file)[1] == 3


def test_two_writers_do_not_mix(tmp_path):
    code = "import sys\nfrom interest_book.benchmark import append_line\nfor i in range(150): append_line(sys.argv[1], {'key': f'{sys.argv[2]}-{i}', 'text': sys.argv[2] * (200 + 97 * (i % 50))})"
    ps = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lines"), who], cwd=ROOT) for who in "ab"]
    assert [p.wait() for p in ps] == [0, 0]
    found, broken = read_lines(tmp_path / "lines")
    assert broken == 0 and sorted(l["key"] for l in found) == sorted(f"{w}-{i}" for w in "ab" for i in range(150))
    assert all(set(l["text"]) == {l["key"][0]} for l in found)


def test_other_data_under_the_same_name_is_found_out(tmp_path):
    go(path=tmp_path / "lines", seeds=range(1), settings={"s": partial(small_split, rows=3)}, methods={"popularity": METHODS["popularity"]})
    with pytest.raises(SplitMismatchError, match="setting 's', seed 0"): go(path=tmp_path / "lines", seeds=range(1), settings={"s": partial(small_split, rows=5)})


def test_plans_that_cannot_be_run():
    with pytest.raises(BenchmarkError, match="0 settings"): go(settings={})
    with pytest.raises(BenchmarkError, match="0 seeds"): go(seeds=[])
    with pytest.raises(BenchmarkError, match="without methods"): go(methods={})
    with pytest.raises(ValueError, match="budget=0"): go(budget=0)
    with pytest.raises(BenchmarkError, match="cannot be sent"): go(methods={"mine": {"": lambda: Popularity()}}, jobs=2)
    with pytest.raises(DataError, match="no settings"): within_budget({}, 2, "m")


@given(st.integers(1, 12), st.integers(1, 12), st.text(min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_budget(n, budget, name):
    grid = {str(i): i for i in range(n)}
    kept = list(within_budget(grid, budget, name))
    assert len(kept) == min(n, budget) and kept == sorted(kept, key=list(grid).index) and kept == list(within_budget(grid, budget, name))


def test_time_left_without_knowledge_is_nan():
    assert np.isnan(time_left([], [Cell("a", 0, "m")])) and time_left([], []) == 0
    assert time_left([dict(setting="a", method="m", wall_s=2.0)], [Cell("a", 1, "m"), Cell("b", 0, "x")], jobs=4) == pytest.approx(1.0)


def test_methods_may_depend_on_setting_and_seed():
    world = lambda seed: make_world(n_users=100, n_source_items=40, n_target_items=40, seed=seed)
    bench = benchmark(lambda setting, seed: {"popularity": {"": Popularity}, "oracle": {"": lambda: world(seed).oracle}}, {"w": lambda seed: ratio_split(world(seed).pair, seed=seed)}, range(2), ("ndcg@10",), say=lambda t: None)
    t = bench.table("w", "popularity")
    assert t.loc["oracle", ("ndcg@10", "difference")] > 0 and np.isnan(t.loc["oracle", ("cost", "bytes")])


def test_best_by_validation_reads_validation_not_test(serial):
    for r in best_by_validation(serial, "many", list(METHODS)):
        lines = [l for l in serial.lines if (l["setting"], l["seed"]) == ("many", r.seed)]
        assert max(lines, key=lambda l: l["valid"])["method"] == r.model
    with pytest.raises(DataError, match="none of"): best_by_validation(serial, "many", ["nobody"])


# --- ranks -------------------------------------------------------------------------------------------------------------------

tables = st.tuples(st.integers(3, 8), st.integers(3, 6), st.integers(0, 10_000)).map(lambda t: pd.DataFrame(np.random.default_rng(t[2]).integers(0, 5, (t[0], t[1])) + 0.1 * np.arange(t[1])))

@given(tables)
@settings(max_examples=40, deadline=None)
def test_friedman_is_scipys(t):
    chi2, p = stats.friedmanchisquare(*t.T.to_numpy())
    found = friedman_test(t)
    assert found["chi2"] == pytest.approx(chi2) and found["p of chi2"] == pytest.approx(p)
    flipped = friedman_test(-t, higher=False)
    assert flipped["chi2"] == pytest.approx(chi2)
    r = mean_ranks(t)
    assert r.sum() == pytest.approx(t.shape[1] * (t.shape[1] + 1) / 2) and r.is_monotonic_increasing
    np.testing.assert_allclose(r[t.columns], stats.rankdata(-t.to_numpy(), axis=1).mean(0))


def test_critical_difference_is_demsars_table():
    printed = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for k, q in printed.items(): assert critical_difference(k, 12) / np.sqrt(k * (k + 1) / 72) == pytest.approx(q, abs=1e-3)      # the table was cut, not rounded
    assert critical_difference(5, 40) == pytest.approx(critical_difference(5, 10) / 2)
    for bad in ((1, 5), (5, 1)):
        with pytest.raises(ValueError, match="two methods and two data sets"): critical_difference(*bad)


def test_false_alarms_of_the_critical_difference():
    g, k, n = np.random.default_rng(0), 6, 30
    alarms = [np.ptp(mean_ranks(pd.DataFrame(g.random((n, k)))).to_numpy()) > critical_difference(k, n) for _ in range(1500)]
    assert abs(np.mean(alarms) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 1500)


def test_cliques_by_brute_force():
    g = np.random.default_rng(1)
    for _ in range(50):
        r, cd = pd.Series(g.random(6) * 6, list("abcdef")), g.random() * 3
        s = r.sort_values()
        runs = [tuple(s.index[i:j]) for i in range(6) for j in range(i + 2, 7) if s.iloc[j - 1] - s.iloc[i] <= cd]
        whole = [a for a in runs if not any(set(a) < set(b) for b in runs)]
        assert cliques(r, cd) == whole


def test_tables_that_cannot_be_ranked():
    with pytest.raises(DataError, match="needs a value"): mean_ranks(pd.DataFrame([[1, np.nan], [1, 2]]))
    with pytest.raises(DataError, match="two data sets and two methods"): mean_ranks(pd.DataFrame([[1, 2]]))
    with pytest.raises(DataError, match="nothing to test"): friedman_test(pd.DataFrame(np.ones((3, 3))))


# --- records -------------------------------------------------------------------------------------------------------------------

def record(means, versus, seeds=3):
    "A small field record: model -> mean, (model, baseline) -> (low, high, p)."
    return {"name": "toy", "results": [{"model": m, "seed": s, "fingerprint": f"f{s}", "metrics": {"ndcg@10": v}, "cpu_s": c} for m, (v, c) in means.items() for s in range(seeds)],
            "comparisons": [{"model": a, "baseline": b, "metric": "ndcg@10", "difference": (l + h) / 2, "low": l, "high": h, "p_value": p} for (a, b), (l, h, p) in versus.items()]}

def test_verdict_with_and_without_a_stored_difference():
    r = record({"popularity": (0.1, 0.1), "EASE": (0.3, 1), "EMCDR": (0.5, 2), "fused EMCDR": (0.4, 3)}, {("popularity", "EASE"): (-0.3, -0.1, 1e-4), ("EMCDR", "EASE"): (0.1, 0.3, 0.02), ("fused EMCDR", "EASE"): (0.05, 0.15, 0.04)})
    v = verdict(r, "ndcg@10")
    assert (v["transfer"], v["single"], v["low"], v["high"], v["p (Holm)"], v["clear"]) == ("EMCDR", "EASE", 0.1, 0.3, pytest.approx(0.04), True)
    r = record({"popularity": (0.1, 0.1), "EASE": (0.3, 1), "item kNN": (0.35, 1), "EMCDR": (0.5, 2)}, {("popularity", "EASE"): (-0.3, -0.1, 1e-4), ("item kNN", "EASE"): (0.02, 0.08, 1e-3), ("EMCDR", "EASE"): (0.05, 0.3, 1e-3)})
    v = verdict(r, "ndcg@10")
    assert v["single"] == "item kNN" and v["low"] == pytest.approx(0.05 - 0.08) and v["high"] == pytest.approx(0.3 - 0.02) and np.isnan(v["p (Holm)"]) and not v["clear"]
    with pytest.raises(DataError, match="lacks transfer rows"): verdict(record({"popularity": (0.1, 1), "EASE": (0.2, 1)}, {("popularity", "EASE"): (-1, 0, 1)}), "ndcg@10")


def test_frontier_and_scoreboard():
    r = record({"popularity": (0.2, 0.1), "EASE": (0.3, 1), "EMCDR": (0.25, 2), "BPR": (0.4, 5)}, {})
    q = quality_and_cost({"x": r}, "ndcg@10")
    assert list(q.index) == ["popularity", "EASE", "EMCDR", "BPR"] and list(q.frontier) == [True, True, False, True] and q.quality.max() == 1
    other = record({"popularity": (0.3, 0.1), "EASE": (0.2, 1), "new": (0.9, 1)}, {})
    s = scoreboard({"x": r, "y": other}, "ndcg@10")
    assert set(s.index[:2]) == {"popularity", "EASE"} and np.isnan(s.loc["new", "x"]) and s.loc["new", "y"] == pytest.approx(0.9)
    with pytest.raises(ValueError, match="above zero"): leak_share(0, 0)


def test_committed_records_can_be_read(monkeypatch):
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(ROOT / "nbs" / "records"))
    for setting in ("cold", "warm"):
        found = stored_field(setting)
        assert len(found) >= 4
        for r in found.values():
            v = verdict(r, "ndcg@10")
            assert v["low"] <= v["difference"] <= v["high"]
            assert {"popularity", "copy the twin", "joint EASE"} <= {x["model"] for x in r["results"]}


# --- thinning, the map ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("make", [partial(ratio_split, test=0.2, valid=0.1), cold_start_split])
def test_thin_takes_links_and_rows_and_nothing_else(make):
    split = make(make_world(n_users=150, n_source_items=40, n_target_items=40, overlap=0.8, seed=2).pair, seed=0)
    less, least = thin(split, 50, 4, seed=1), thin(split, 20, 2, seed=1)
    rows = lambda x: set(zip(x.users[x.user_codes], x.items[x.item_codes]))
    assert less.train.shared.sum() == 50 and set(least.train.shared_users) < set(less.train.shared_users) < set(split.train.shared_users)
    assert rows(least.train.target) < rows(less.train.target) < rows(split.train.target)
    assert np.bincount(less.train.target.user_codes).max() == 4
    assert {(u.removesuffix(" (other account)"), i) for u, i in rows(less.train.source)} == rows(split.train.source)
    gone = set(split.train.shared_users) - set(less.train.shared_users)
    assert rows(less.test) == {(u, i) for u, i in rows(split.test) if u not in gone} and less.setting == split.setting
    if split.setting == "cold": assert rows(less.test) == rows(split.test) and not gone & set(split.test_users)
    same = thin(split)
    assert same.fingerprint == split.fingerprint
    for bad in (dict(shared=1), dict(rows=0)):
        with pytest.raises(ValueError, match="at least"): thin(split, **bad)


def test_thin_with_nobody_left():
    split = ratio_split(make_world(n_users=100, n_source_items=40, n_target_items=40, interactions_per_user=(10, 3), seed=2).pair, test=0.05, valid=0.01, seed=0)
    with pytest.raises(SplitError, match="nobody is linked"): thin(split, shared=2)


def test_relatedness_falls_with_the_own_part():
    found = [np.mean([relatedness(make_world(own=own, seed=s).pair) for s in range(3)]) for own in (0.0, 0.5, 1.0)]
    assert found[0] > found[1] + 0.1 > found[2] + 0.2 and abs(found[2]) < 0.08      # activity is shared, tastes are not
    with pytest.raises(NoSharedUsersError): relatedness(make_world(overlap=0.01, seed=0).pair)


def test_limits_of_the_theory():
    assert transfer_saves(1e9, 1, 0.5) == pytest.approx(0, abs=1e-8)              # who has said everything needs no source
    assert transfer_saves(1e-9, 1, 0.3) == pytest.approx(0.7)                     # who has said nothing is saved what the source knows
    assert transfer_saves(5, 1, 1.0) == 0 and transfer_saves(5, 1, 1.5) < 0
    assert left_open(0.0, 1e12, 1, 1e12, 4) == pytest.approx(0, abs=1e-9) and left_open(1.0, 20, 1, 1e12, 4) == pytest.approx(1)
    assert left_open(0.3, 20, 1, 5, 4) == np.inf and left_open(0.3, 20, 1, 50, 4) > left_open(0.3, 20, 1, 500, 4)
    w = make_world(noise=0.5, seed=1)
    assert row_information(make_world(noise=1.0, seed=1)) == pytest.approx(row_information(w) / 4)


def points(gain, low, n=12, setting="warm"):
    g = np.random.default_rng(0)
    return pd.DataFrame({"record": "toy", "pair": "toy", "setting": setting, "shared": np.geomspace(50, 900, n), "rows": np.full(n, 8.0), "relatedness": g.uniform(0.1, 0.3, n), "gain": gain, "low": low, "high": gain + 0.1, "transfer": "fused EMCDR", "single": "EASE"})

def test_advice():
    pair = phase_split(0, rows=9).train
    yes = advise(pair, points=points(0.2, 0.1))
    assert yes.pays and yes.sureness == "sure" and yes.method == "fused EMCDR" and yes.gain == pytest.approx(0.2) and "Transfer pays (sure)" in str(yes)
    no = advise(pair, points=points(-0.01, -0.05))
    assert no.pays is False and no.sureness == "sure" and no.method == "EASE" and "does not pay" in str(no)
    mixed = points(0.05, np.where(np.arange(12) % 3 == 0, 0.01, -0.01))
    assert advise(pair, points=mixed, neighbours=12, reach=99).sureness == "open" and "cannot say" in str(advise(pair, points=mixed, neighbours=12, reach=99))
    assert advise(pair, points=points(0.2, 0.1), reach=1e-6).sureness == "off the map"
    assert advise(pair, points=points(0.2, 0.1, setting="cold")).sureness == "off the map"
    with pytest.raises(DataError, match="cold"): advise(pair, "luke", points(0.2, 0.1))


def test_quick_methods():
    for kind in ("cold", "warm"):
        assert max(len(g) for g in quick_methods(kind).values()) == 2
        split = phase_split(0, kind, rows=9)
        bench = benchmark(lambda s, i: quick_methods(kind, 8), {kind: partial(phase_split, setting=kind, rows=9)}, range(1), ("ndcg@10",), budget=2, say=lambda t: None)
        assert bench.failures.empty
        gain = transfer_gain(bench, kind)
        assert gain["difference"] == pytest.approx(np.mean(gain["transfer"]) - np.mean(gain["single"])) and gain["low"] <= gain["difference"] <= gain["high"] and gain["fingerprints"] == [split.fingerprint]
        json.dumps(gain)
    with pytest.raises(DataError, match="setting is"): quick_methods("luke")


# --- the blend -----------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def members():
    split = phase_split(3, rows=9)
    return split, {m: next(iter(g.values()))().fit(split.train) for m, g in quick_methods("warm", 8).items()}

def test_blend_is_blind_to_scale_and_shift(members):
    split, models = members
    users = list(split.test_users[:6])
    class Bent:
        def __init__(self, model): self.model = model
        def score(self, users): return 7 * self.model.score(users) - 3
    a = Blend(models, {"EASE": 1.0, "item kNN": 3.0})
    b = Blend({m: Bent(x) for m, x in models.items()}, {"EASE": 2.0, "item kNN": 6.0})
    torch.testing.assert_close(a.score(users), b.score(users), rtol=1e-3, atol=1e-4)
    assert a.params() == {"EASE": 0.25, "item kNN": 0.75}
    z = standardise(models["EASE"].score(users))
    torch.testing.assert_close(z.mean(1), torch.zeros(6), atol=1e-5, rtol=0); torch.testing.assert_close(z.square().mean(1), torch.ones(6), atol=1e-4, rtol=0)
    assert torch.equal(standardise(torch.ones(2, 5)), torch.zeros(2, 5))


def test_blend_is_at_least_the_best_member_on_validation(members):
    from interest_book.evaluation import evaluate
    split, models = members
    value = lambda m: evaluate(m, split.validation, ["ndcg@10"]).summary()["ndcg@10"]
    blend = fit_blend(models, split)
    assert value(blend) >= max(map(value, models.values())) - 1e-6 and sum(blend.weights.values()) == pytest.approx(1)
    assert fit_blend(models, split, steps=1).weights == {max(models, key=lambda m: value(models[m])): 1.0}
    assert fit_blend({"popularity": models["popularity"]}, split).weights == {"popularity": 1.0}


def test_bad_blends(members):
    split, models = members
    for bad in ({}, {"EASE": -1.0}, {"EASE": 0.0}):
        with pytest.raises(ValueError, match="not all 0"): Blend(models, bad)
    with pytest.raises(UnknownIdError, match="nobody"): Blend(models, {"nobody": 1.0})
    with pytest.raises(ShapeError): standardise(torch.zeros(3))
    with pytest.raises(SplitError, match="no validation rows"): fit_blend(models, split.validation)


# --- cost ----------------------------------------------------------------------------------------------------------------------

@given(st.lists(st.floats(1, 1e4), min_size=3, max_size=6, unique=True), st.floats(-1, 3), st.floats(1e-3, 10), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_growth_exponent_is_the_slope_of_logarithms(sizes, power, scale, seed):
    n = np.round(sizes, 3)
    if len(set(n)) < len(n) or np.log(n).std() < 0.1: return
    assert growth_exponent(n, scale * n ** power) == pytest.approx(power, abs=1e-6)
    noisy = n ** power * np.exp(np.random.default_rng(seed).standard_normal(len(n)))
    assert growth_exponent(n, noisy) == pytest.approx(stats.linregress(np.log(n), np.log(noisy)).slope, abs=1e-6)
    assert growth_exponent(7 * n, 3 * noisy) == pytest.approx(growth_exponent(n, noisy), abs=1e-6)


@pytest.mark.parametrize("sizes, seconds", [([1, 2], [1, 0]), ([0, 2], [1, 1]), ([2, 2], [1, 1]), ([1, 2], [1, 2, 3])])
def test_costs_that_have_no_exponent(sizes, seconds):
    with pytest.raises(DataError, match="two different sizes"): growth_exponent(sizes, seconds)


def test_growing_pair_has_the_sizes_it_says():
    pair = growing_pair(300, 40, 7)
    for side in (pair.source, pair.target):
        x = side.matrix("binary").toarray()
        assert x.shape == (300, 40) and (x.sum(1) == 7).all() and len(side) == 2100
        assert x[:, :10].sum() > 1.5 * x[:, -10:].sum()                       # some items are much more common
    assert pair.shared.all() and (pair.source.item_codes != pair.target.item_codes).any()
    assert (growing_pair(300, 40, 7).target.item_codes == pair.target.item_codes).all() and (growing_pair(300, 40, 7, seed=1).target.item_codes != pair.target.item_codes).any()
    assert (np.bincount(growing_pair(5, 4, 4).target.user_codes) == 4).all()
    for rows in (0, 41):
        with pytest.raises(ValueError, match="at most n_items"): growing_pair(300, 40, rows)


def test_cpu_seconds_takes_the_fastest_of_a_few_calls():
    calls = []
    def job():
        calls.append(1)
        end = time.process_time() + (0.05 if len(calls) == 1 else 0.01)
        while time.process_time() < end: pass
    assert 0.009 < cpu_seconds(job, enough=10, most=4) < 0.04 and len(calls) == 4
    calls.clear(); cpu_seconds(job, enough=0.02)
    assert len(calls) == 1


def test_growth_record_measures_every_method_at_every_size():
    r = growth_record({"people": [(30, 20, 3), (60, 20, 3)]}, "toy")
    assert {(x["people"], x["model"]) for x in r["rows"]} == {(n, m) for n in (30, 60) for m in ("popularity", "item kNN", "EASE", "implicit ALS", "EMCDR", "ranking metrics")}
    assert all(x["cpu_s"] > 0 for x in r["rows"])


def test_committed_costs_and_published_protocols():
    read = lambda name: json.loads((ROOT / "nbs" / "records" / f"{name}.json").read_text())
    growth = pd.DataFrame(read("27_growth")["rows"])
    sizes = {what: part[["people", "items", "rows a person"]].drop_duplicates().to_numpy().tolist() for what, part in growth.groupby("grows")}
    assert sizes == {what: [list(s) for s in size] for what, size in GROWTH.items()}
    for r in read("27_speed")["rows"]: assert "cpu_s" in r["sides"]["ours"] and len(r["sides"]) > 1
    for name in ("douban_music", "douban_books", "beauty", "electronics"):
        r = read(f"27_published_{name}")
        assert r["command"].endswith(r["name"]) and r["settings"]["negatives"] == (99 if "douban" in name else 999)
        means = {(x["model"], x["variant"]): x["metrics"] for x in r["results"]}
        for c in r["comparisons"]:
            gap = means[c["model"], c["variant"]][c["metric"]] - means[c["baseline"], c["variant"]][c["metric"]]
            assert c["difference"] == pytest.approx(gap, abs=1e-9) and c["low"] <= c["difference"] <= c["high"]
    epochs = pd.DataFrame(read("27_published_epochs")["results"])
    for (part, _), rows in epochs.groupby(["part", "seed"]):
        valid, test = (rows[rows.model == f"epoch chosen on {where}"].metrics.iloc[0] for where in ("validation", "the test"))
        for m in valid: assert (test[m] <= valid[m] if m in ("rmse", "mae") else test[m] >= valid[m])          # the test's choice cannot look worse on the test


def test_bytes_are_about_what_is_saved(tmp_path):
    pair = make_world(n_users=150, n_source_items=50, n_target_items=50, seed=0).pair
    for model in (Popularity(), EMCDR(8), EASE()):
        on_disk = sum(f.stat().st_size for f in model.fit(pair).save(tmp_path / type(model).__name__).iterdir())
        assert model_bytes(model) == pytest.approx(on_disk, rel=0.15)


def test_the_stored_map_names_its_methods_rightly(monkeypatch):
    from interest_book.benchmark import SINGLE_DOMAIN, map_points
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(ROOT / "nbs" / "records"))
    m = map_points()
    assert set(m.setting) == {"cold", "warm"} and (m.low <= m.gain).all() and (m.gain <= m.high).all()
    assert m.single.isin(SINGLE_DOMAIN).all() and not m.transfer.isin(SINGLE_DOMAIN).any()
    assert advise(phase_split(11, rows=9, own=0.1).train).pays is not None


def test_rows_of_one_domain_do_not_read_the_source():
    "Every method of the warm table is fitted twice, the second time with everybody's source rows given to somebody else: only rows of one domain may stay as they were, with all their settings."
    from interest_book.benchmark import SINGLE_DOMAIN
    from interest_book.cli import families
    pair = make_world(n_users=150, n_source_items=40, n_target_items=40, feedback="implicit", overlap=1.0, interactions_per_user=(10, 8), seed=3).pair
    source = pair.source
    other = Interactions(source.users, source.items, np.roll(np.arange(source.n_users), 1)[source.user_codes], source.item_codes, name=source.name)
    quick, every = families("ranking", "warm", "quick"), families("ranking", "warm")
    for name in [*quick, "LightGCN", "two graphs"]:
        if name in ("copy the twin", "EMCDR"): continue            # one reads the source for ids, not for taste; the other serves known people by their own rows, and new people by the source
        scores = lambda make: [make().fit(p).score(pair.users[:20]) for p in (pair, DomainPair(other, pair.target))]
        reads = any(not torch.allclose(*scores(make), atol=1e-5) for make in reversed(every[name].values()))      # with some setting
        assert reads != (name in SINGLE_DOMAIN), name
