"""The tool that computes the field records: what `--add` leaves standing must be what a whole computation gives."""
import importlib.util, json
from functools import partial
from pathlib import Path

import pytest

from interest_book.baselines import JointEASE, Popularity, UserKNN
from interest_book.core import write_record
from interest_book.evaluation import grid
from interest_book.linear_mapping import EMCDR
from interest_book.splits import cold_start_split
from interest_book.worlds import make_world

NAME = "field_toy_cold_ranking"


@pytest.fixture
def records(monkeypatch, tmp_path):
    "The tool on three splits of a small world, with methods that a test can set, in a folder of its own."
    for name, value in (("INTEREST_BOOK_RECORDS", tmp_path / "nbs" / "records"), ("OMP_NUM_THREADS", 1), ("TQDM_DISABLE", 1)): monkeypatch.setenv(name, str(value))      # the tool sets what is not set
    spec = importlib.util.spec_from_file_location("records_tool", Path(__file__).resolve().parent.parent / "tools" / "records.py")
    tool = importlib.util.module_from_spec(spec); spec.loader.exec_module(tool)
    pair = make_world(n_users=150, n_source_items=30, n_target_items=30, feedback="implicit", overlap=1.0, interactions_per_user=(8, 6), seed=4).pair
    splits = [cold_start_split(pair, test=0.2, valid=0.2, seed=s) for s in range(3)]
    monkeypatch.setattr(tool, "ROOT", tmp_path); monkeypatch.setattr(tool, "lines", lambda name: tmp_path / f"{name}.jsonl")
    monkeypatch.setattr(tool, "PAIRS", {"toy": ("toy", False)}); monkeypatch.setattr(tool, "RATED", []); monkeypatch.setattr(tool, "families", lambda task, setting: tool.methods)
    monkeypatch.setattr(tool, "field_methods", lambda *a: tool.methods); monkeypatch.setattr(tool, "checksums", lambda name: {"toy": "0"})
    monkeypatch.setattr(tool, "random_splits", lambda *a: ("toy", splits, 0))
    def compute(add):
        monkeypatch.setenv("INTEREST_BOOK_ADD", "1") if add else monkeypatch.delenv("INTEREST_BOOK_ADD", raising=False)
        record = tool.random_record("toy", "cold", "ranking")
        write_record(NAME, record); tool.lines(NAME).unlink(missing_ok=True)
        return record
    tool.make = compute
    return tool

def small(**emcdr):
    return {"popularity": {"": Popularity}, "user kNN, source": grid(partial(UserKNN, "source"), neighbours=(5, 20)), "joint EASE": grid(partial(JointEASE, rows="shared"), l2=(10., 100.)), "EMCDR": grid(EMCDR, **emcdr)}


@pytest.mark.parametrize("before, after", [
    (dict(factors=(2, 4)), dict(factors=(2, 4))),            # nothing new
    (dict(factors=(2,)), dict(factors=(2, 4, 8))),           # settings added to a baseline: everything is compared with it anew
    (dict(factors=(2, 4, 8)), dict(factors=(2, 8))),         # and taken away
])
def test_adding_gives_the_record_of_a_whole_computation(records, before, after):
    records.methods = small(**before)
    records.make(add=False)
    records.methods = small(**after) | {"user kNN, source": grid(partial(UserKNN, "source"), neighbours=(20, 40)), "another": {"": partial(EMCDR, 3)}}
    added, whole = records.make(add=True), records.make(add=False)
    assert not list(records.differences(added, whole)) and len(whole["results"]) == 15 and whole["settings"]["grids"]["EMCDR"] == list(records.methods["EMCDR"])


@pytest.mark.parametrize("model", ["EMCDR", "user kNN, source"])       # one of the baselines, and not
def test_a_committed_number_that_does_not_come_again(records, model):
    records.methods = small(factors=(2, 4)) | {"user kNN, source": grid(partial(UserKNN, "source"), neighbours=(5,))}
    record = records.make(add=False)
    next(r for r in record["results"] if r["model"] == model)["metrics"]["ndcg@10"] += 0.01
    write_record(NAME, record)
    records.methods = records.methods | {"user kNN, source": grid(partial(UserKNN, "source"), neighbours=(5, 20))}
    if model == "EMCDR":
        with pytest.raises(RuntimeError, match="EMCDR.* not what the committed record says"): records.make(add=True)
    else: assert not list(records.differences(records.make(add=True), records.make(add=False)))


def test_only_what_is_open_is_tried(records):
    four = grid(EMCDR, factors=(2, 4, 8, 16))
    assert list(records.to_try(four, ["factors=2", "factors=4"], "factors=4")) == ["factors=4", "factors=8", "factors=16"]
    assert list(records.to_try(four, list(four), "factors=2")) == ["factors=2"]
    assert list(records.to_try(four, ["factors=2", "factors=4", "factors=9"], "factors=9")) == list(four)
