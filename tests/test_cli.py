"""The command as a user meets it: files in, table and report out, errors in words."""
import contextlib, html, io, json, os, pickle, re, shlex, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interest_book import cli
from interest_book.benchmark import BenchmarkError, map_points, read_lines
from interest_book.cli import (BUDGET, MODELS, TEXT_MODELS, audit_splits, bench_table, check_data, check_exercises, compare_pair, data_sheets, doctor, example_pair, exercise_list, families, main,
                               places, read_pair, read_texts, recommend_lists, show_table, stored_map)
from interest_book.core import DataError, UnavailableError, six_users
from interest_book.datasets import DATASETS, stand_in
from interest_book.evaluation import evaluate, is_error
from interest_book.interactions import DomainPair, Interactions, NoSharedUsersError, UnknownUserError
from interest_book.splits import cold_start_split, plant_twins, ratio_split
from interest_book.text import ItemTexts
from interest_book.worlds import make_world

ROOT = Path(__file__).resolve().parent.parent
VERBS = ("compare", "recommend", "audit", "bench", "data", "exercises", "doctor")


@pytest.fixture(autouse=True)
def _records(monkeypatch): monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(ROOT / "nbs" / "records"))


def said(capsys):
    "Standard output as the one JSON object it must be."
    out = capsys.readouterr().out
    found = json.loads(out)
    assert isinstance(found, dict) and {"verb", "version", "status"} <= set(found)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    "Two files of an explicit world with ratings, with odd column names on one side."
    folder = tmp_path_factory.mktemp("files")
    pair = make_world(n_users=260, n_source_items=60, n_target_items=60, feedback="explicit", interactions_per_user=15, seed=3).pair
    pair.source.frame[["user_id", "item_id", "rating"]].to_csv(folder / "films.csv", index=False)
    pair.target.frame[["user_id", "item_id", "rating"]].rename(columns={"user_id": "reader", "item_id": "isbn", "rating": "stars"}).to_csv(folder / "books.tsv", sep="\t", index=False)
    return folder


def arguments(files): return ["--source", str(files / "films.csv"), "--target", str(files / "books.tsv"), "--target-columns", "user=reader,item=isbn,rating=stars"]


def test_compare_on_two_files_writes_table_and_report(files, tmp_path, capsys):
    assert main(["compare", *arguments(files), "--seeds", "1", "--setting", "cold", "--out", str(tmp_path / "r.html")]) == 0
    out = capsys.readouterr().out
    for word in ("ranking, cold users", "rating, cold users", "popularity", "EMCDR", "joint EASE", "bias bridge", "against", "nonlinear EMCDR", "aligned, transport plan"): assert word in out
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 2 and "<script" not in page and "src=" not in page and "films to books" in page
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_json_is_json_and_agrees_with_the_table(files, tmp_path, capsys):
    assert main(["compare", *arguments(files), "--seeds", "1", "--setting", "cold", "--task", "rating", "--json", "--out", str(tmp_path / "r.html")]) == 0
    study, = said(capsys)["studies"]
    assert study["setting"] == "cold" and study["baseline"] == "item mean" and len(study["fingerprints"]) == 1
    direct = compare_pair(read_pair(files / "films.csv", files / "books.tsv", target_columns="user=reader,item=isbn,rating=stars"), "cold", "rating", seeds=1)
    assert study["table"]["rmse"]["bias bridge"]["mean"] == pytest.approx(direct.table["rmse"].loc["bias bridge", "mean"])


def test_transfer_wins_in_the_embedded_world_and_not_without_a_relation():
    lead = lambda pair: compare_pair(pair, "cold", seeds=2, effort="quick").table["ndcg@10"].loc["EMCDR"]
    assert lead(example_pair())["low"] > 0.05
    assert lead(make_world(n_users=400, n_source_items=80, n_target_items=80, relation="none", seed=1).pair)["high"] < 0.05


@pytest.mark.parametrize("task", ["ranking", "rating"])
@pytest.mark.parametrize("setting", ["cold", "warm"])
def test_quick_methods_are_some_of_all_and_hold_the_baselines(task, setting):
    quick, every = families(task, setting, "quick"), families(task, setting)
    assert set(quick) <= set(every) and all(list(quick[m]) == list(every[m]) for m in quick)
    assert {"rating": "item mean", "ranking": {"cold": "popularity", "warm": "EASE"}[setting]}[task] in quick
    assert {m for m, grid in every.items() if len(grid) != BUDGET} == {"ranking": {"popularity"}, "rating": {"mean of all", "bias bridge"}}[task]      # they have nothing to choose
    with pytest.raises(DataError, match="effort"): families(task, setting, "some")


def test_leaking_data_is_said_in_front_of_the_table():
    pair = make_world(n_users=300, n_source_items=60, n_target_items=60, seed=0).pair
    t = pair.target       # every third book is also sold as a film
    copied = t.frame[t.item_codes % 3 == 0].assign(item_id=lambda f: "copy of " + f.item_id)
    films = Interactions.from_frame(pd.concat([pair.source.frame, copied])[["user_id", "item_id"]], rating=None, timestamp=None, name="films")
    study = compare_pair(DomainPair(films, t), "cold", seeds=1, effort="quick")
    assert "leaks" in study.verdict() and study.table["ndcg@10"].loc["copy the twin", "low"] > 0.1        # copying pays, which it never does on clean data


@pytest.mark.parametrize("extra, status, words", [
    (["--source", "nowhere.csv", "--target", "nothing.csv"], 2, "nowhere.csv"),
    (["--source", "only-one.csv"], 2, "neither"),
    (["--seeds", "0"], 2, "at least 1"),
])
def test_bad_input_is_one_message_and_status_2(extra, status, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *extra]) == status
    heard = capsys.readouterr()
    assert words in heard.err and "Traceback" not in heard.err and heard.out == "" and list(tmp_path.iterdir()) == []


def test_too_few_shared_users_are_refused(tmp_path):
    for name, frame in zip(("f", "b"), six_users()): frame.to_csv(tmp_path / f"{name}.csv", index=False)
    pair = read_pair(tmp_path / "f.csv", tmp_path / "b.csv")
    with pytest.raises(NoSharedUsersError, match="at least 20"): compare_pair(pair, "cold")


@pytest.mark.parametrize("text", ["reader", "user=", "reader=user", "user=a,rate=b", "user=a,user=b", "item=None=,x="])
def test_columns_in_another_form_are_refused(text, files):
    with pytest.raises(DataError, match="user=NAME"): read_pair(files / "films.csv", files / "books.tsv", target_columns=text)


@pytest.mark.parametrize("method", sorted(MODELS))
def test_recommend_gives_ids_and_nothing_seen(method):
    pair = example_pair(1)
    users = [pair.shared_users[0], pair.shared_users[5]]
    lists = recommend_lists(pair, users, method, k=5)
    assert lists.groupby("user_id").size().to_dict() == dict.fromkeys(users, 5)
    seen = set(map(tuple, pair.target.frame[["user_id", "item_id"]].to_numpy()))
    assert not seen & set(map(tuple, lists[["user_id", "item_id"]].to_numpy())) and set(lists.item_id) <= set(pair.target.items)


def test_recommend_serves_the_cold_by_default_and_names_strangers(capsys):
    pair = example_pair(1)
    assert set(recommend_lists(pair, []).user_id) == set(pair.users[~pair.target.active_users])
    with pytest.raises(UnknownUserError, match="nobody"): recommend_lists(pair, ["nobody"])
    with pytest.raises(DataError, match="popularity"): recommend_lists(pair, [], method="magic")
    assert main(["recommend", "--user", str(pair.users[0]), "--k", "3", "--json"]) == 0
    found = said(capsys)
    assert len(found["lists"]) == 3 and found["method"] == "emcdr"


def test_another_setting_is_refused():
    with pytest.raises(DataError, match="warm"): families("ranking", "lukewarm")


def test_doctor_names_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("INTEREST_BOOK_DATA", str(tmp_path))
    state = doctor()
    assert state["data"]["ml-100k"] == "not here" and state["packages"]["torch"][0].isdigit()
    assert main(["doctor", "--json"]) == 0 and said(capsys)["data"] == state["data"]


def raising(error):
    def fail(*a): raise error
    return fail


def test_an_interrupted_report_leaves_no_half_file(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "report_html", raising(KeyboardInterrupt()))
    assert main(["compare", *arguments(files), "--seeds", "1", "--setting", "cold", "--task", "rating", "--out", str(tmp_path / "r.html")]) == 130
    assert list(tmp_path.iterdir()) == [] and "stopped" in capsys.readouterr().err


# --- files as strangers have them ------------------------------------------------------------------------------------------

TINY = pd.DataFrame({"user_id": ["a", "a", "b", "c"], "item_id": ["x", "y", "x", "z"], "rating": [1, 2, 3, 4]})


@pytest.fixture()
def odd(tmp_path, monkeypatch):
    "A folder with films.csv, and a way to write the other domain."
    monkeypatch.chdir(tmp_path)
    TINY.assign(item_id="f" + TINY.item_id).to_csv("films.csv", index=False)
    return lambda frame=TINY, name="books.csv", **how: frame.to_csv(name, index=False, **how)


def recommended(columns, *more, name="books.csv"): return main(["recommend", "--source", "films.csv", "--target", name, "--target-columns", columns, "--method", "popularity", "--user", "b", "--k", "1", "--json", *more])


HEADS = {"user_id": "Reader, by card", "item_id": "title=full", "rating": "stars"}
@pytest.mark.parametrize("frame, how, columns", [
    (TINY.rename(columns=HEADS), {"encoding": "utf-8-sig"}, "user=Reader, by card,item=title=full,rating=stars"),
    (TINY, {"sep": ";"}, "separator=;"), (TINY, {"sep": "\t"}, "separator=\\t"), (TINY, {"sep": "\t"}, "separator=\t"), (TINY, {"name": "books.txt"}, "separator=,"),
    (TINY.assign(item_id=["x", "y", "x", "caf\u00e9"]), {"encoding": "latin-1"}, "encoding=latin-1"),
    (TINY.assign(user_id=["a", "a", "b", None]), {}, "missing=drop"), (TINY.assign(rating=["one", "2", "3", "4"]), {}, "rating=None"),
], ids=["names", "semicolon", "tab, written", "tab", "txt", "latin", "missing", "words"])
def test_what_a_message_asks_for_can_be_said_on_the_command_line(odd, frame, how, columns, capsys):
    odd(frame, **how)
    name = how.get("name", "books.csv")
    assert recommended("", name=name) == 2                                     # as it is, it cannot be read, and the message says which option helps
    heard = capsys.readouterr().err
    assert "--target-columns" in heard and heard.count("\n") == 1 and "Traceback" not in heard
    assert recommended(columns, name=name) == 0 and len(said(capsys)["lists"]) == 1


def test_other_remedies_name_their_option_too(odd, capsys):
    odd(pd.concat([TINY, TINY.head(1)]))
    assert recommended("") == 2 and "--duplicates" in capsys.readouterr().err
    odd(TINY.assign(user_id="other " + TINY.user_id))
    assert main(["recommend", "--source", "films.csv", "--target", "books.csv", "--user", "b"]) == 2 and "--method popularity" in capsys.readouterr().err
    assert recommended("text=plot", "--source-columns", "text=item_id") == 2 and "'plot' for the text" in capsys.readouterr().err


@pytest.mark.parametrize("more, words", [(["--core", "50"], "core=50 leaves nothing of films"), (["--min-rating", "9"], "min_rating=9 leaves no row of films"), (["--min-rating", "nan"], "a number is needed"),
                                         (["--user", ""], "is a variable not set"), (["--lines", "x"], "unrecognized")])
def test_what_leaves_nothing_is_named(odd, more, words, capsys):
    odd()
    assert recommended("", *more) == 2
    heard = capsys.readouterr().err
    assert words in heard and "Traceback" not in heard


def test_options_of_files_without_files_are_refused(capsys):
    for more, word in ((["--core", "2"], "--core"), (["--source-columns", "user=a"], "--source-columns"), (["--min-rating", "3"], "neither domain has ratings"), (["--source", "", "--target", ""], "variable")):
        assert main(["recommend", "--method", "popularity", *more]) == 2 and word in capsys.readouterr().err
    assert main(["audit", "--test", ""]) == 2                                  # not an audit of another split, with status 0


def test_ids_that_are_titles_are_texts(odd):
    odd(TINY.rename(columns={"item_id": "title"}))
    texts = read_texts("films.csv", "books.csv", "text=item_id", "item=title,text=title")
    assert texts.target.to_dict() == {"x": "x", "y": "y", "z": "z"} and texts.source["fx"] == "fx"


@pytest.mark.parametrize("verb, option, path", [("compare", "--out", "films.csv"), ("compare", "--out", "sub/../books.csv"), ("compare", "--lines", "books.csv"), ("bench", "--lines", "films.csv"),
                                                ("bench", "--lines", "notes.txt"), ("compare", "--out", "sub"), ("bench", "--lines", "sub"), ("compare", "--out", "films.csv/r.html")])
def test_nothing_is_written_over_what_is_read_and_that_is_said_before_the_work(odd, verb, option, path, tmp_path, monkeypatch, capsys):
    odd(); Path("sub").mkdir(); Path("notes.txt").write_text("call the shop\n")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    monkeypatch.setattr(cli, "compare_pair", raising(AssertionError("the work has begun"))); monkeypatch.setattr(cli, "benchmark", raising(AssertionError("the work has begun")))
    assert main([verb, "--source", "films.csv", "--target", "books.csv", "--setting", "warm", option, path]) == 2
    heard = capsys.readouterr().err
    assert heard.count("\n") == 1 and {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before and not list(Path("sub").iterdir())


def test_the_report_and_the_lines_need_two_names(odd, capsys):
    odd()
    assert main(["compare", "--source", "films.csv", "--target", "books.csv", "--setting", "warm", "--out", "one", "--lines", "one"]) == 2 and not Path("one").exists()


def test_an_interrupt_in_the_middle_leaves_nothing(odd, tmp_path, monkeypatch):
    odd()
    monkeypatch.setattr(cli, "compare_pair", raising(KeyboardInterrupt()))
    assert main(["compare", "--source", "films.csv", "--target", "books.csv", "--setting", "warm", "--out", "new/r.html"]) == 130
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["books.csv", "films.csv"]


def test_table_object_and_report_say_the_same_and_the_report_needs_nothing_else(desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["compare", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv"), "--setting", "cold", "--seeds", "2", "--lines", "l.jsonl"]
    assert main([*asked, "--out", "new/one.html", "--json"]) == 0
    study, = said(capsys)["studies"]
    assert main([*asked, "--out", "two.html"]) == 0
    text, page = capsys.readouterr().out, Path("two.html").read_text(encoding="utf-8")
    assert Path("new/one.html").read_text(encoding="utf-8") == page
    cells = {row[0].strip(): row[1:] for row in (re.findall(r"<t[hd]>(.*?)</t[hd]>", r, re.S) for r in re.findall(r"<tr>(.*?)</tr>", page.split("<h3>The table</h3>")[1].split("</table>")[0], re.S)) if row}
    columns = [(m, k) for m in study["table"] for k in next(iter(study["table"][m].values()))]
    for method in study["table"]["ndcg@10"]:
        line, = (l for l in text.split("\n") if re.match(re.escape(method) + r" +[\d.]+ ", l))
        for metric, rows in study["table"].items():
            r = rows[method]
            assert f"{r['mean']:.4f}" in line and (r["difference"] is None or f"{r['difference']:+.4f} [{r['low']:+.4f}, {r['high']:+.4f}]" in line)
        assert [c and float(c) for c in cells[html.escape(method)]] == [(v := study["table"][m][method][k]) is not None and float(f"{v:.4f}") or (0.0 if v is not None else "") for m, k in columns]
    assert study["verdict"] in text and html.escape(study["verdict"]) in page and all(line in text and html.escape(line) in page for line in study["advice"])
    assert not [a for a in re.findall(r"(?:src|href|action|poster|data)\s*=\s*[\"']([^\"']*)", page) if not a.startswith("#")] and not re.findall(r"url\((?![\"']?#)|@import|<(?:script|link|iframe|object|embed|base)\b", page)
    assert main(["audit", *asked[1:5], "--json"]) == 0
    assert said(capsys)["fingerprints"]["cold"] in study["fingerprints"]          # the split that compare makes is the one that audit looks at


def test_names_from_files_are_escaped_in_the_report(desk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.read_csv(desk / "films.csv").assign(**{"<i>stars": 3}).to_csv("<b>films.csv", index=False)
    assert main(["compare", "--source", "<b>films.csv", "--source-columns", "rating=<i>stars", "--target", str(desk / "books.csv"), "--setting", "cold", "--seeds", "1", "--out", "r.html"]) == 0
    page = Path("r.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;films" in page and "&lt;i&gt;stars" in page and "<b>" not in page and "<i>" not in page


# --- the three promises: one object, a status, help that runs -------------------------------------------------------------

def help_of(verb):
    out = io.StringIO()
    with contextlib.redirect_stdout(out): assert main([*verb, "--help"]) == 0
    return out.getvalue()


EXAMPLES = [(verb, line.strip()) for verb in VERBS for line in help_of([verb]).split("\n") if line.startswith("  interest-book ")]


def test_help_teaches():
    for verb in VERBS:
        text = help_of([verb])
        more = text.split("\n\n")[1]
        assert 1 <= more.count("\n") <= 4 and len(more.split()) > 15 and "--json" in text and sum(v == verb for v, _ in EXAMPLES) >= 2, verb
    top = help_of([])
    assert all(verb in top for verb in VERBS) and all(re.search(rf"^ +{n}  ", top, re.M) for n in (0, 1, 2, 3, 130))


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    "A folder as the help has it: films.csv, books.csv, test.csv, a student copy."
    folder = tmp_path_factory.mktemp("desk")
    pair = make_world(n_users=200, n_source_items=60, n_target_items=60, interactions_per_user=12, overlap=0.8, seed=5).pair
    split = ratio_split(pair, test=0.2, valid=0.0, seed=0)
    for name, rows in (("films", pair.source), ("books", split.train.target), ("test", split.test)): rows.frame[["user_id", "item_id"]].to_csv(folder / f"{name}.csv", index=False)
    sys.path.insert(0, str(ROOT / "tools"))
    import exercises, nbformat
    nbformat.write(exercises.student_copy(exercises.read(ROOT / "nbs" / "exercises" / "27_benchmark.ipynb")), folder / "27_benchmark.ipynb")
    return folder


@pytest.mark.parametrize("verb, example", EXAMPLES, ids=lambda v: v)
def test_examples_of_the_help_run(verb, example, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    looking = {"data check ml-100k": (0, 1), "exercises check 27_benchmark.ipynb": (1,)}       # is the data here? an untouched copy is not solved
    status = main(shlex.split(example)[1:])
    assert status in next((s for e, s in looking.items() if example.endswith(e)), (0,)), capsys.readouterr().err
    assert capsys.readouterr().out.strip()


QUICK = {"compare": ["--setting", "cold", "--seeds", "1"], "recommend": ["--k", "2"], "audit": [], "bench": ["--setting", "cold", "--method", "EMCDR", "--seeds", "2", "--budget", "1"], "data": [], "exercises": [], "doctor": []}


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_one_object_on_standard_output_and_nothing_else(verb, desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = ["--source", str(desk / "films.csv"), "--target", str(desk / "books.csv")] if verb in ("compare", "recommend", "audit", "bench") else []
    assert main([verb, *files, *QUICK[verb], "--json"]) == 0
    found = said(capsys)
    assert found["verb"] == verb and found["status"] == 0 and "NaN" not in json.dumps(found)


@pytest.mark.parametrize("error, status, kind", [(DataError("no good"), 2, "DataError"), (FileNotFoundError("gone"), 2, "FileNotFoundError"), (ZeroDivisionError("fault"), 3, "ZeroDivisionError"), (KeyboardInterrupt(), 130, "Interrupted")])
def test_every_end_has_its_status_and_json_says_it_too(error, status, kind, monkeypatch, capsys):
    monkeypatch.setitem(cli._VERBS, "doctor", raising(error))
    assert main(["doctor"]) == status
    text = capsys.readouterr()
    assert text.out == "" and kind in text.err and ("Traceback" in text.err) == (status == 3)
    assert main(["doctor", "--json"]) == status
    found = said(capsys)
    assert found["status"] == status and found["error"]["kind"] == kind


def test_wrong_options_are_status_2(capsys):
    for wrong in ([], ["compose"], ["compare", "--seeds", "none"], ["compare", "--duplicates", "some"], ["audit", "--core", "0"], ["exercises", "check"]): assert main(wrong) == 2, wrong
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("interest-book ")


def test_as_a_module_it_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "interest_book", "data", "--json"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and {d["name"] for d in json.loads(done.stdout)["data"]} == set(DATASETS)


def child(*arguments, **how):
    "The command as a process of its own, with buffered output as users have it."
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | how.pop("env", {})
    return subprocess.Popen([sys.executable, "-m", "interest_book", *arguments], env=clean, cwd=ROOT, **how)


@pytest.mark.parametrize("asked", [["data"], ["compare", "--help"], ["recommend", "--method", "popularity"]], ids=lambda a: a[0])
def test_a_closed_pipe_is_no_error(asked):
    process = child(*asked)
    process.stdout.close()                                                  # whoever listened has gone before the first letter
    err = process.stderr.read()
    assert process.wait(60) == 0 and err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_a_full_disk_is_no_finding():
    for asked in (["data"], ["data", "--json"]):
        with open("/dev/full", "w") as full: process = child(*asked, stdout=full)
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 2 and err.count("\n") == 1 and "No space left" in err


def test_a_terminal_that_knows_few_letters_gets_escapes(desk):
    out, err = child("audit", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv"), "--test", str(desk / "books.csv"), env={"PYTHONIOENCODING": "ascii"}).communicate(timeout=60)
    assert "test rows also in training" in out and "\\xd7" in out and err == ""            # the sign between user and item
    for verb in ([], *([v] for v in VERBS)): assert help_of(verb).isascii(), verb


# --- choosing: the benchmark of chapter 27 gives what a plain loop gives ----------------------------------------------------

@pytest.mark.parametrize("task", ["ranking", "rating"])
def test_figures_are_those_of_a_plain_loop(task, tmp_path):
    pair = make_world(n_users=260, n_source_items=60, n_target_items=60, feedback="explicit", interactions_per_user=15, seed=3).pair
    study = compare_pair(pair, "cold", task, seeds=2, effort="quick", path=tmp_path / "cells.jsonl")
    again = compare_pair(pair, "cold", task, seeds=2, effort="quick", path=tmp_path / "cells.jsonl")
    assert len(read_lines(tmp_path / "cells.jsonl")[0]) == 2 * len(study.table)                        # the second time everything was there
    pd.testing.assert_frame_equal(study.table, again.table)
    choices = pair if task == "rating" else DomainPair(pair.source.binarize(), pair.target.binarize())
    metric, sign = study.metrics[0], -1 if is_error(study.metrics[0]) else 1
    for name in ("EMCDR", "collective MF", study.baseline):
        for seed in range(2):
            split, best = cold_start_split(choices, test=0.2, valid=0.1, seed=seed), None
            for label, make in families(task, "cold", "quick")[name].items():
                model = make().fit(split.train)
                value = sign * evaluate(model, split.validation, [metric]).summary()[metric]
                if best is None or value > best[0]: best = value, label, model
            result, = [r for r in study.results if r.model == name and r.seed == seed]
            assert study.bench.chosen.loc[("cold", seed), name] == best[1]
            pd.testing.assert_frame_equal(result.values, evaluate(best[2], split, study.metrics).values, rtol=1e-12)


@pytest.mark.parametrize("task", ["ranking", "rating"])
@pytest.mark.parametrize("setting", ["cold", "warm"])
def test_methods_can_be_sent_to_other_processes(task, setting): pickle.dumps(families(task, setting))


def test_two_processes_give_the_same_study(tmp_path):
    pair = example_pair(2)
    one, two = (compare_pair(pair, "warm", seeds=1, effort="quick", jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table)


class _Breaks:
    name = "breaks"
    def fit(self, train): raise RuntimeError("out of luck")


def test_a_method_that_fails_costs_its_own_row(monkeypatch, desk, tmp_path, capsys):
    real = families
    monkeypatch.setattr(cli, "families", lambda *a, **kw: real(*a, **kw) | {"breaks": {"": _Breaks}})
    assert main(["compare", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv"), "--setting", "cold", "--seeds", "1", "--out", str(tmp_path / "r.html")]) == 1
    assert "Failed: breaks, cold, seed 0: RuntimeError: out of luck." in capsys.readouterr().out and "out of luck" in (tmp_path / "r.html").read_text()
    monkeypatch.setattr(cli, "families", lambda *a, **kw: real(*a, **kw) | {"popularity": {"": _Breaks}})
    with pytest.raises(BenchmarkError, match="baseline 'popularity' failed.*out of luck"): compare_pair(example_pair(), "cold", seeds=1, effort="quick")


def test_a_cell_that_failed_is_tried_again(monkeypatch, desk, tmp_path, capsys):
    real, broken = families, {"breaks": {"": _Breaks}}
    monkeypatch.setattr(cli, "families", lambda *a, **kw: real(*a, **kw) | broken)
    asked = ["bench", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv"), "--setting", "cold", "--seeds", "1", "--method", "breaks", "--lines", str(tmp_path / "l.jsonl"), "--json"]
    assert main(asked) == 1 and said(capsys)["failures"][0]["method"] == "breaks"
    monkeypatch.setattr(_Breaks, "score", lambda self, users: real("ranking", "cold")["popularity"][""]().fit(self.seen).score(users), raising=False)
    monkeypatch.setattr(_Breaks, "fit", lambda self, train: setattr(self, "seen", train) or self)
    assert main(asked) == 0
    table = said(capsys)["settings"]["cold"]["table"]["ndcg@10"]
    assert table["breaks"]["mean"] == table["popularity"]["mean"]


def test_a_line_of_another_encoder_is_another_line(desk):
    args = cli._parser().parse_args(["bench", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv")])
    class Encoder:
        def __init__(self, name): self.name = name
    assert len({cli._label(args, v) for v in ("tfidf", Encoder("one"), Encoder("two"), Encoder("two"))}) == 3


def test_a_misspelt_method_and_a_slow_one_are_named_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--setting", "cold", "--method", "LightGCN"]) == 2 and "--effort all" in capsys.readouterr().err
    assert main(["bench", "--setting", "cold", "--method", "emcdr"]) == 2 and "EMCDR" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- advice ----------------------------------------------------------------------------------------------------------------

def test_the_map_in_the_package_is_that_of_the_records():
    carried, computed = stored_map(), map_points()
    numbers = ["shared", "rows", "relatedness", "gain", "low", "high"]
    assert set(carried) == set(computed), "python tools/records.py --map"
    pd.testing.assert_frame_equal(carried[computed.columns], computed, rtol=1e-5, check_dtype=False, obj="python tools/records.py --map")
    assert carried[numbers].notna().all(axis=None)


def test_advice_says_where_what_and_how_sure_and_where_it_cannot_speak(monkeypatch, tmp_path):
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(tmp_path))                        # as for somebody who installed the package
    study = compare_pair(example_pair(), "cold", seeds=2, effort="quick")
    where, use = study.advice().split("\n")
    assert f"{int(study.pair.shared.sum() * 0.7)} shared people" in where and study.place.sureness in where and "relatedness" in where
    assert re.match(r"What to use: (.+)\. Validation picks \1 on [12] of 2 splits( \(and .+\))?; .* clear of zero\.", use)
    rated = make_world(n_users=260, n_source_items=60, n_target_items=60, feedback="explicit", interactions_per_user=15, seed=3).pair
    assert "about ratings it cannot speak" in compare_pair(rated, "cold", "rating", seeds=1, effort="quick").advice()
    assert "counted as choices" in compare_pair(rated, "cold", seeds=1, effort="quick").advice() and "counted as choices" not in where
    far = make_world(n_users=40, n_source_items=200, n_target_items=400, interactions_per_user=(100, 250), seed=3).pair
    assert "Nothing on the map is near" in str(cli._placed(far, "warm", "ranking"))
    few = make_world(n_users=200, n_source_items=60, n_target_items=60, interactions_per_user=12, overlap=0.02, seed=3).pair
    assert few.shared.sum() < 10 and "Fewer than ten people" in compare_pair(few, "warm", seeds=1, effort="quick").advice()


def test_without_a_relation_the_advice_does_not_sell_transfer():
    study = compare_pair(make_world(n_users=400, n_source_items=80, n_target_items=80, relation="none", seed=1).pair, "cold", seeds=2, effort="quick")
    assert study.place.pays is not True
    assert "What to use: popularity." in study.advice() or float(re.search(r"is ([+-][\d.]+) \[", study.advice())[1]) < 0.05


# --- audit -----------------------------------------------------------------------------------------------------------------

def write(folder, **tables):
    for name, rows in tables.items(): rows.frame[["user_id", "item_id"]].to_csv(folder / f"{name}.csv", index=False)


def test_audit_finds_planted_twins_and_says_so_by_its_status(tmp_path, capsys):
    clean = make_world(n_users=300, n_source_items=60, n_target_items=60, seed=0).pair
    t = clean.target
    copied = t.frame[t.item_codes % 3 == 0].assign(item_id=lambda f: "copy of " + f["item_id"])
    films = Interactions.from_frame(pd.concat([clean.source.frame, copied])[["user_id", "item_id"]], name="films")
    write(tmp_path, films=clean.source, books=t, leaky=films)
    files = lambda name: ["--source", str(tmp_path / f"{name}.csv"), "--target", str(tmp_path / "books.csv")]
    assert main(["audit", *files("films"), "--json"]) == 0 and said(capsys)["clean"]
    assert main(["audit", *files("leaky"), "--json"]) == 1
    found = said(capsys)
    assert not found["clean"] and {"copy of t0000", "t0000"} <= {v for r in found["twins"] for v in r.values()} and len(found["twins"]) == 20
    errors = [f for f in found["findings"] if f["severity"] == "error" and f["count"]]
    assert {f["part"] for f in errors} == {"cold", "warm"} and all("twin" in f["finding"] for f in errors)
    assert main(["audit", *files("leaky")]) == 1
    text = capsys.readouterr().out
    assert "forbid" in text and found["twins"][0]["source_item"] in text


def test_audit_of_a_ready_split_finds_rows_that_stand_twice(desk, tmp_path, capsys):
    books, test = (pd.read_csv(desk / f"{n}.csv") for n in ("books", "test"))
    pd.concat([test, books.head(7)]).to_csv(tmp_path / "test.csv", index=False)
    pd.concat([books, books.head(3)]).to_csv(tmp_path / "books.csv", index=False)
    ready = lambda books, test, *more: main(["audit", "--source", str(desk / "films.csv"), "--target", str(books), "--test", str(test), "--json", *more])
    assert ready(desk / "books.csv", desk / "test.csv") == 0
    found = said(capsys)
    assert list(found["fingerprints"]) == ["warm, as given"]
    assert ready(tmp_path / "books.csv", tmp_path / "test.csv") == 1
    found = said(capsys)
    hit = {f["finding"]: f["count"] for f in found["findings"] if f["count"]}
    assert hit["test rows also in training"] == 7 and hit["duplicates: first"] == 3
    assert ready(desk / "books.csv", desk / "test.csv", "--setting", "cold") == 1                     # it claims to be cold, and its people are in training
    assert "target rows of test users in training" in {f["finding"] for f in said(capsys)["findings"] if f["count"]}
    assert main(["audit", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv"), "--valid", str(desk / "test.csv")]) == 2 and "--test" in capsys.readouterr().err
    assert main(["audit", "--test", str(desk / "test.csv")]) == 2 and "--source" in capsys.readouterr().err


# --- bench -----------------------------------------------------------------------------------------------------------------

def bench(desk, lines, *more): return main(["bench", "--source", str(desk / "films.csv"), "--target", str(desk / "books.csv"), "--setting", "cold", "--method", "EMCDR", "--method", "joint EASE", "--seeds", "2", "--budget", "2", "--lines", str(lines), "--json", *more])


def test_bench_goes_on_where_it_was_stopped_and_takes_no_line_of_other_data(desk, tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    assert bench(desk, lines) == 0
    first = said(capsys)
    stored = lines.read_bytes()
    assert stored.count(b"\n") == 6
    lines.write_bytes(b"\n".join(stored.split(b"\n")[:4]) + b'\n{"key": "half')
    assert bench(desk, lines) == 0
    second = said(capsys)
    assert second["broken_lines"] == 1 and second["settings"]["cold"]["table"] == first["settings"]["cold"]["table"] and len(read_lines(lines)[0]) == 6
    table = first["settings"]["cold"]
    assert set(table["table"]["ndcg@10"]) == {"popularity", "EMCDR", "joint EASE"} and table["cost"]["EMCDR"]["settings tried"] == 2
    assert table["critical_difference"] is None and set(table["places"]) == set(table["table"]["ndcg@10"])      # splits of one data set
    assert bench(desk, lines, "--core", "5") == 0 and len(read_lines(lines)[0]) == 12                  # read in another way: other cells


def test_bench_on_worlds_gives_a_critical_difference_and_names_unknown_methods(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    worlds = ["bench", "--setting", "warm", "--method", "item kNN", "--seeds", "2", "--budget", "1"]
    assert main([*worlds, "--json"]) == 0
    found = said(capsys)["settings"]["warm"]
    assert found["baseline"] == "EASE" and found["critical_difference"] > 0 and set(found["places"]) == {"EASE", "item kNN"}
    assert main(worlds) == 0
    assert "Critical difference" in capsys.readouterr().out and (tmp_path / "interest-book-bench.jsonl").read_text().count("\n") == 4
    assert main(["bench", "--method", "magic", "--setting", "warm"]) == 2 and "magic" in capsys.readouterr().err


def test_ctrl_c_is_status_130_and_the_rest_is_computed_by_the_next_call(tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    asked = ["bench", "--setting", "cold", "--seeds", "2", "--budget", "1", "--lines", str(lines), "--json"]
    process = subprocess.Popen([sys.executable, "-m", "interest_book", *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    until = time.time() + 240
    while len(read_lines(lines)[0]) < 3 and process.poll() is None and time.time() < until: time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    finished = len(read_lines(lines)[0])
    assert process.returncode == 130 and json.loads(out)["error"]["kind"] == "Interrupted" and "Traceback" not in err and 3 <= finished < 24
    assert main(asked) == 0
    n_cells = 2 * len(said(capsys)["settings"]["cold"]["table"]["ndcg@10"])
    found, broken = read_lines(lines)
    assert len(found) == len({l["key"] for l in found}) == n_cells and broken == 0


# --- data and exercises ----------------------------------------------------------------------------------------------------

def test_data_lists_terms_and_check_sees_a_changed_byte(tmp_path, monkeypatch, capsys):
    for name in ("INTEREST_BOOK_DATA", "INTEREST_BOOK_CACHE"): monkeypatch.setenv(name, str(tmp_path))
    assert set(data_sheets().index) == set(DATASETS) and data_sheets().terms.str.len().min() > 10 and not len(check_data())
    assert main(["data", "check", "ml-100k", "--json"]) == 1 and {f["state"] for f in said(capsys)["files"]} == {"absent"}
    assert main(["data", "--json", "check", "ml-100k"]) == 1 and said(capsys)["status"] == 1
    assert main(["data", "check", "nothing"]) == 2 and "ml-100k" in capsys.readouterr().err
    tiny = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1], "rating": [4, 5, 3], "timestamp": [0, 1, 2]})
    with stand_in("ml-100k", tmp_path / "here", {"ratings": tiny}) as s:
        assert main(["data", "check", "ml-100k"]) == 0 and "whole" in capsys.readouterr().out
        assert list(check_data().name.unique()) == ["ml-100k"]
        path = tmp_path / "here" / s.files[0].path
        raw = bytearray(path.read_bytes()); raw[10] ^= 1; path.write_bytes(raw)
        assert main(["data", "check", "ml-100k"]) == 1 and "sha256" in capsys.readouterr().out


def test_exercises_are_listed_and_checked_with_hidden_tests_in_a_clone(desk, monkeypatch, tmp_path, capsys):
    source = ROOT / "nbs" / "exercises" / "27_benchmark.ipynb"
    assert len(exercise_list(source.parent)) > 40 and exercise_list(desk).exercise.tolist() == ["mean-places", "cd-bars", "whole-lines", "source-saves"]
    rows, hidden = check_exercises(source)
    assert hidden and rows.passed.all() and rows.points.sum() == exercise_list(desk).points.sum()
    rows, hidden = check_exercises(source, hidden=False)
    assert not hidden and rows.passed.all()
    rows, _ = check_exercises(desk / "27_benchmark.ipynb", hidden=False)
    assert not rows.passed.any() and rows.hint.str.contains("NotImplementedError").all()
    monkeypatch.setattr(cli, "_hidden_tests", lambda: None)                                                 # an installed package
    assert main(["exercises", "check", str(desk / "27_benchmark.ipynb")]) == 1 and "in a clone of it" in capsys.readouterr().out
    with pytest.raises(UnavailableError, match="clone"): check_exercises(source, hidden=True)
    (tmp_path / "none.ipynb").write_text('{"cells": []}'); (tmp_path / "torn.ipynb").write_text('{"cells": [')
    with pytest.raises(DataError, match="no exercise"): check_exercises(tmp_path / "none.ipynb")
    with pytest.raises(DataError, match="not a notebook"): check_exercises(tmp_path / "torn.ipynb")
    with pytest.raises(DataError, match="there is no notebook"): check_exercises(tmp_path / "gone.ipynb")


def test_a_wrong_answer_gets_its_hint_and_an_endless_one_is_ended(tmp_path):
    cell = lambda source, **marks: {"cell_type": "code", "metadata": {"nbgrader": marks}, "source": source}
    exercise = lambda name, answer: [cell(answer, solution=True, grade_id=name), cell(f"print('noise')\nassert {name}(3) == 6, 'twice three is six'", grade=True, grade_id=f"test-{name}", points=2)]
    def hints(how={}, **answers):
        (tmp_path / "x.ipynb").write_text(json.dumps({"cells": [c for a in answers.items() for c in exercise(*a)]}))
        return check_exercises(tmp_path / "x.ipynb", hidden=False, **how)[0].set_index("exercise").hint
    found = hints(wrong="def wrong(x): return x * x", right="def right(x): return 2 * x", torn="def torn(x) return x", missing="")
    assert found.wrong == "twice three is six" and found.right == "" and "SyntaxError" in found.torn and "in the answer itself" in found.torn and "NameError" in found.missing
    with pytest.raises(BenchmarkError, match="did not finish"): hints({"timeout": 5}, endless="while True: pass")


def test_installed_as_a_command():
    exe = Path(sys.executable).parent / "interest-book"
    if not exe.exists(): pytest.skip("the package is not installed in this environment")
    done = subprocess.run([exe, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("interest-book ")


# --- texts: two files that share nobody ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def clubs(tmp_path_factory):
    "A film club and a book club without a common member; every item has a title. Two circles: space and weddings. Robots share no word with any film."
    folder = tmp_path_factory.mktemp("clubs")
    films = {"f1": "Space pirates", "f2": "The last starship in space", "f3": "A wedding in June", "f4": "Love and weddings"}
    books = {"b1": ("A space opera of pirates", "Le Guin"), "b2": ("Starship captains", ""), "b3": ("The June wedding", "Austen"), "b4": ("Love letters", "Austen"), "b5": ("Robots", "Asimov")}
    seen = [(f"v{i}", f) for i in range(6) for f in (("f1", "f2") if i % 2 else ("f3", "f4"))] + [("u17", "f1"), ("u17", "f2")]
    read = [(f"r{i}", b) for i in range(12) for b in (("b1", "b2", "b5") if i % 2 else ("b3", "b4"))]
    pd.DataFrame([(u, f, films[f]) for u, f in seen], columns=["user_id", "item_id", "title"]).to_csv(folder / "films.csv", index=False)
    pd.DataFrame([(u, b, *books[b]) for u, b in read], columns=["reader", "isbn", "name", "author"]).to_csv(folder / "books.csv", index=False)
    return folder


def club_arguments(folder): return ["--source", str(folder / "films.csv"), "--target", str(folder / "books.csv"), "--source-columns", "text=title", "--target-columns", "user=reader,item=isbn,text=name"]


def test_two_files_with_titles_and_no_shared_user_one_command(clubs, capsys):
    assert main(["recommend", *club_arguments(clubs), "--user", "u17", "--k", "2", "--vectors", "tfidf"]) == 0
    assert {line.split("\t")[2] for line in capsys.readouterr().out.strip().split("\n")[1:]} == {"A space opera of pirates", "Starship captains"}
    assert main(["recommend", *club_arguments(clubs), "--user", "u17", "--k", "3", "--vectors", "tfidf", "--method", "text-ease"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.strip().split("\n")]
    assert lines[0] == ["user_id", "item_id", "text", "rank", "score"] and {line[1] for line in lines[1:]} == {"b1", "b2", "b5"}
    assert {line[2] for line in lines[1:]} == {"A space opera of pirates", "Starship captains", "Robots"}       # robots: what readers of the others read
    assert main(["recommend", *club_arguments(clubs), "--user", "r0", "--k", "1", "--vectors", "tfidf", "--json"]) == 0     # somebody who is in the book file only
    assert said(capsys)["lists"][0]["item_id"] in ("b1", "b2", "b5")


@pytest.mark.parametrize("method", sorted(TEXT_MODELS))
def test_every_text_method_serves_the_film_club(clubs, method):
    pair, texts = read_pair(*(clubs / f for f in ("films.csv", "books.csv")), "text=title", "user=reader,item=isbn,text=name"), read_texts(*(clubs / f for f in ("films.csv", "books.csv")), "text=title", "user=reader,item=isbn,text=name")
    assert pair.shared.sum() == 0 and recommend_lists(pair, ["u17"], method, 1, texts).item_id[0] in ("b1", "b2", "b5")
    assert set(recommend_lists(pair, [], method, 2, texts).user_id) == {"u17", *(f"v{i}" for i in range(6))}
    with pytest.raises(DataError, match="text column"): recommend_lists(pair, ["u17"], method)


def test_titles_may_be_two_columns_and_are_cleaned_as_ids_are(clubs, tmp_path):
    texts = read_texts(clubs / "films.csv", clubs / "books.csv", "text=title", "user=reader,item=isbn,text=name+author")
    assert texts.target["b3"] == "The June wedding Austen" and texts.target["b2"] == "Starship captains" and len(texts.source) == 4
    pd.DataFrame({"user_id": ["a", "b", "c"], "item_id": [" 1.0", "1.0", "2.0"], "title": ["", "Emma", None]}).to_csv(tmp_path / "x.csv", index=False)
    assert read_texts(tmp_path / "x.csv", clubs / "books.csv", "text=title", "item=isbn,text=name").source.to_dict() == {"1": "Emma"}
    assert read_texts(clubs / "films.csv", clubs / "books.csv") is None
    with pytest.raises(DataError, match="only one of the two files"): read_texts(clubs / "films.csv", clubs / "books.csv", "text=title")
    with pytest.raises(DataError, match="plot"): read_texts(clubs / "films.csv", clubs / "books.csv", "text=plot", "user=reader,item=isbn,text=name")


def test_without_an_encoder_words_are_used_and_that_is_said(clubs, capsys, monkeypatch):
    import interest_book.text as text
    monkeypatch.delenv("INTEREST_BOOK_ENCODER", raising=False)
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    assert main(["recommend", *club_arguments(clubs), "--user", "u17", "--k", "3"]) == 0
    heard = capsys.readouterr()
    assert "TF-IDF" in heard.err and "pip install" in heard.err and "Traceback" not in heard.err and "Starship" in heard.out
    assert main(["recommend", *club_arguments(clubs), "--user", "u17", "--vectors", "packaged"]) == 2 and "EncoderError" in capsys.readouterr().err


def test_compare_with_text_columns_adds_the_text_methods(tmp_path, capsys):
    world = make_world(n_users=260, n_source_items=60, n_target_items=60, interactions_per_user=12, seed=3)
    names = dict(zip(world.item_texts["item_id"], world.item_texts["text"]))
    for name, side in (("films", world.pair.source), ("books", world.pair.target)): side.frame[["user_id", "item_id"]].assign(title=lambda f: f["item_id"].map(names)).to_csv(tmp_path / f"{name}.csv", index=False)
    files = ["--source", str(tmp_path / "films.csv"), "--target", str(tmp_path / "books.csv"), "--source-columns", "text=title", "--target-columns", "text=title", "--vectors", "tfidf"]
    assert main(["compare", *files, "--seeds", "1", "--setting", "cold", "--json", "--out", str(tmp_path / "r.html")]) == 0
    study, = said(capsys)["studies"]
    table = study["table"]["ndcg@10"]
    assert {"text bridge, words", "text factors, words", "text EASE, words"} <= set(table) and not any("encoder" in m for m in table)
    assert table["text EASE, words"]["mean"] > table["popularity"]["mean"]
    assert not any("text" in m for m in families("rating", "cold", texts=ItemTexts(pd.Series(names), pd.Series(names)))) and "text bridge, words" in families("ranking", "warm", "quick", ItemTexts(pd.Series(names), pd.Series(names)))


def test_compare_without_shared_people_says_what_cannot_be_measured(clubs, tmp_path, capsys):
    status = main(["compare", *club_arguments(clubs), "--vectors", "tfidf", "--seeds", "1", "--out", str(tmp_path / "r.html")])
    heard = capsys.readouterr()
    assert status in (0, 1, 2) and "no answer to measure cold start by" in heard.err and "Traceback" not in heard.err
