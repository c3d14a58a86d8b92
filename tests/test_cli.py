"""The command as a user meets it: files in, table and report out, errors in words."""
import json, subprocess, sys
from pathlib import Path

import pandas as pd
import pytest

from interest_book.cli import MODELS, TEXT_MODELS, compare_pair, doctor, example_pair, families, main, read_pair, read_texts, recommend_lists, show_table
from interest_book.core import DataError, six_users
from interest_book.interactions import DomainPair, NoSharedUsersError, UnknownUserError
from interest_book.text import ItemTexts
from interest_book.worlds import make_world


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
    study, = json.loads(capsys.readouterr().out)
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
    assert all(1 <= len(grid) <= 8 for grid in every.values())
    with pytest.raises(DataError, match="effort"): families(task, setting, "some")


def test_leaking_data_is_said_in_front_of_the_table():
    import numpy as np
    pair = make_world(n_users=300, n_source_items=60, n_target_items=60, seed=0).pair
    from interest_book.interactions import Interactions
    t = pair.target       # every third book is also sold as a film
    copied = t.frame[t.item_codes % 3 == 0].assign(item_id=lambda f: "copy of " + f.item_id)
    films = Interactions.from_frame(pd.concat([pair.source.frame, copied])[["user_id", "item_id"]], rating=None, timestamp=None, name="films")
    study = compare_pair(DomainPair(films, t), "cold", seeds=1, effort="quick")
    assert "leaks" in study.verdict() and study.table["ndcg@10"]["mean"].idxmax() in ("copy the twin", "joint EASE", "EMCDR", "user kNN, source")


@pytest.mark.parametrize("extra, status, words", [
    (["--source", "nowhere.csv", "--target", "nothing.csv"], 2, "nowhere.csv"),
    (["--source", "only-one.csv"], 2, "neither"),
    (["--seeds", "0"], 2, "at least 1"),
])
def test_bad_input_is_one_message_and_status_2(extra, status, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *extra]) == status
    said = capsys.readouterr()
    assert words in said.err and "Traceback" not in said.err and said.out == "" and list(tmp_path.iterdir()) == []


def test_too_few_shared_users_are_refused(tmp_path):
    for name, frame in zip(("f", "b"), six_users()): frame.to_csv(tmp_path / f"{name}.csv", index=False)
    pair = read_pair(tmp_path / "f.csv", tmp_path / "b.csv")
    with pytest.raises(NoSharedUsersError, match="at least 20"): compare_pair(pair, "cold")


@pytest.mark.parametrize("text", ["reader", "user=", "reader=user", "user=a,rate=b"])
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
    assert main(["recommend", "--user", str(pair.users[0]), "--k", "3", "--json"]) == 0 and len(json.loads(capsys.readouterr().out)) == 3


def test_grids_are_of_like_size():
    for task in ("ranking", "rating"):
        for setting in ("cold", "warm"):
            assert max(len(c) for c in families(task, setting).values()) <= 8
    with pytest.raises(DataError, match="warm"): families("ranking", "lukewarm")


def test_doctor_names_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("INTEREST_BOOK_DATA", str(tmp_path))
    state = doctor()
    assert state["data"]["ml-100k"] == "not here" and state["packages"]["torch"][0].isdigit()
    assert main(["doctor", "--json"]) == 0 and json.loads(capsys.readouterr().out)["data"] == state["data"]


def test_help_teaches(capsys):
    for verb in ([], ["compare"], ["recommend"], ["doctor"]):
        with pytest.raises(SystemExit) as stop: main([*verb, "--help"])
        assert stop.value.code == 0
    assert "embedded world" in capsys.readouterr().out


def test_an_interrupted_report_leaves_no_half_file(files, tmp_path, monkeypatch):
    import interest_book.cli as cli
    monkeypatch.setattr(cli, "report_html", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt): main(["compare", *arguments(files), "--seeds", "1", "--setting", "cold", "--task", "rating", "--out", str(tmp_path / "r.html")])
    assert list(tmp_path.iterdir()) == []


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
    assert json.loads(capsys.readouterr().out)[0]["item_id"] in ("b1", "b2", "b5")


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
    said = capsys.readouterr()
    assert "TF-IDF" in said.err and "pip install" in said.err and "Traceback" not in said.err and "Starship" in said.out
    assert main(["recommend", *club_arguments(clubs), "--user", "u17", "--vectors", "packaged"]) == 2 and "EncoderError" in capsys.readouterr().err


def test_compare_with_text_columns_adds_the_text_methods(tmp_path, capsys):
    world = make_world(n_users=260, n_source_items=60, n_target_items=60, interactions_per_user=12, seed=3)
    names = dict(zip(world.item_texts["item_id"], world.item_texts["text"]))
    for name, side in (("films", world.pair.source), ("books", world.pair.target)): side.frame[["user_id", "item_id"]].assign(title=lambda f: f["item_id"].map(names)).to_csv(tmp_path / f"{name}.csv", index=False)
    files = ["--source", str(tmp_path / "films.csv"), "--target", str(tmp_path / "books.csv"), "--source-columns", "text=title", "--target-columns", "text=title", "--vectors", "tfidf"]
    assert main(["compare", *files, "--seeds", "1", "--setting", "cold", "--json", "--out", str(tmp_path / "r.html")]) == 0
    study, = json.loads(capsys.readouterr().out)
    table = study["table"]["ndcg@10"]
    assert {"text bridge, words", "text factors, words", "text EASE, words"} <= set(table) and not any("encoder" in m for m in table)
    assert table["text EASE, words"]["mean"] > table["popularity"]["mean"]
    assert not any("text" in m for m in families("rating", "cold", texts=ItemTexts(pd.Series(names), pd.Series(names)))) and "text bridge, words" in families("ranking", "warm", "quick", ItemTexts(pd.Series(names), pd.Series(names)))


def test_compare_without_shared_people_says_what_cannot_be_measured(clubs, tmp_path, capsys):
    status = main(["compare", *club_arguments(clubs), "--vectors", "tfidf", "--seeds", "1", "--out", str(tmp_path / "r.html")])
    said = capsys.readouterr()
    assert status in (0, 2) and "no answer to measure cold start by" in said.err and "Traceback" not in said.err
