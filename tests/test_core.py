"""Chapter 00: `close`, generators, shapes, atomic files, records, devices."""
import json, os, subprocess, sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from interest_book import core
from interest_book.core import (BookError, DataError, NotFittedError, ShapeError, UnavailableError, UnknownIdError, atomic_write, check_shape, close,
                                chapter_setup, figure_style, pick_device, read_record, records_dir, rng, six_users, torch_rng, write_record)

NAMES = st.text(min_size=1, max_size=20)


# --- close -------------------------------------------------------------------------------------------------------------------
def test_close_says_what_it_checked(capsys):
    close(1.0, 1.0, eq="0.3")
    close([1, 2], torch.tensor([1.0, 2.0]))
    close(1.0, 1.0, eq="0.4", rtol=0, atol=1e-12)
    close(1.0, 1.0, eq="0.5", rtol=0.02)
    close(2, 2, rtol=0, atol=0)
    assert capsys.readouterr().out == ("(0.3) holds (relative tolerance 1e-06)\nequality holds (relative tolerance 1e-06)\n(0.4) holds (absolute tolerance 1e-12)\n"
                                       "(0.5) holds (relative tolerance 0.02)\nequality holds (absolute tolerance 0)\n")

@pytest.mark.parametrize("shift, ok", [(0.99, True), (1.01, False), (-1.01, False)])
def test_close_boundary_is_relative_to_the_largest_entry(shift, ok):
    b = np.array([1.0, -200.0, 3.0])
    a = b + np.array([0, 0, shift * (1e-9 + 1e-6 * 200)])
    if ok: close(a, b)
    else: pytest.raises(AssertionError, close, a, b)

@pytest.mark.parametrize("a, b", [(np.nan, np.nan), (np.nan, 1.0), (1.0, np.nan), (np.inf, np.inf), ([1.0, np.nan], [1.0, np.nan]), (1.0, np.inf), (np.inf, 1.0), ([1.0, -np.inf], [1.0, np.inf])])
def test_close_never_accepts_nan_or_infinity(a, b):
    with pytest.raises(AssertionError): close(a, b)

def test_close_does_not_broadcast():
    with pytest.raises(ShapeError, match=r"\(5, 1\).*\(5,\)"): close(np.ones((5, 1)), np.ones(5))

def test_close_takes_tensors_with_gradients_and_empty_arrays():
    close(torch.ones(3, requires_grad=True), np.ones(3))
    close(torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.int32))
    close(np.zeros((0, 3)), np.zeros((0, 3)))

@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_close_accepts_itself_and_refuses_a_visible_change(xs, factor):
    x = np.array(xs)
    close(x, x)
    with pytest.raises(AssertionError): close(x + (abs(x).max() + 1) * 1e-3 * (1 + factor), x)


# --- generators --------------------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=50)
@given(NAMES, st.integers(0, 2**31))
def test_same_name_and_seed_give_the_same_stream(name, seed):
    assert (rng(name, seed).integers(2**62, size=4) == rng(name, seed).integers(2**62, size=4)).all()
    assert torch.equal(torch.randn(3, generator=torch_rng(name, seed)), torch.randn(3, generator=torch_rng(name, seed)))

@settings(deadline=None, max_examples=50)
@given(NAMES, NAMES, st.integers(0, 100), st.integers(0, 100))
def test_another_name_or_seed_gives_another_stream(a, b, i, j):
    same = (a, i) == (b, j)
    assert (rng(a, i).integers(2**62, size=4) == rng(b, j).integers(2**62, size=4)).all() == same

def test_streams_are_pinned():
    "A change of the hashing would silently change every result of the book."
    assert rng("core/pinned", 7).integers(0, 1000, 5).tolist() == PINNED
    assert torch_rng("core/pinned", 7).initial_seed() == PINNED_TORCH

PINNED, PINNED_TORCH = [276, 667, 523, 480, 138], 6154922713990395087

def test_generators_leave_global_state_alone():
    np.random.seed(0); torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    rng("core/test").normal(size=3); torch.randn(3, generator=torch_rng("core/test"))
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])

@pytest.mark.parametrize("name, seed", [("", 0), (None, 0), (3, 0), ("core/x", -1), ("core/x", 0.5), ("core/x", None), ("core/x", "0"), ("core/x", np.nan), ("core/x", np.inf)])
def test_bad_generators_are_refused(name, seed):
    with pytest.raises(ValueError): rng(name, seed)


# --- shapes, errors, devices -------------------------------------------------------------------------------------------------
def test_check_shape():
    x = np.zeros((5, 3))
    assert check_shape("x", x, None, 3) is x
    with pytest.raises(ShapeError, match=r"interests has shape \(3, 5\), expected \(any, 3\).*transposed"): check_shape("interests", x.T, None, 3)
    with pytest.raises(ShapeError, match="2 axes instead of 1"): check_shape("x", torch.zeros(3), None, 3)
    with pytest.raises(ShapeError): check_shape("x", x, 5, 4)

@pytest.mark.parametrize("error, standard", [(ShapeError, ValueError), (DataError, ValueError), (UnknownIdError, KeyError), (NotFittedError, RuntimeError), (UnavailableError, OSError)])
def test_errors_are_book_errors_and_standard_ones(error, standard):
    assert issubclass(error, BookError) and issubclass(error, standard)
    assert str(error("what was given")) == "what was given"          # KeyError would add quotes

def test_pick_device(monkeypatch):
    assert pick_device("cpu").type == "cpu" and pick_device(torch.device("cpu")).type == "cpu"
    monkeypatch.setenv("INTEREST_BOOK_DEVICE", "cpu")
    assert pick_device().type == "cpu"
    monkeypatch.setenv("INTEREST_BOOK_DEVICE", "cpuu")
    with pytest.raises(ValueError, match="cpuu"): pick_device()
    monkeypatch.delenv("INTEREST_BOOK_DEVICE")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")

def test_pick_device_refuses_what_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda:1", "cuda", "mps", "gpu"):
        with pytest.raises(ValueError, match=f'device="{device}".*device="auto"'): pick_device(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True); monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0").index == 0
    with pytest.raises(ValueError, match="sees 1 CUDA device"): pick_device("cuda:1")

@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_close_and_pick_device_on_a_gpu():
    x = torch.arange(6.0, device=pick_device("cuda"))
    assert x.is_cuda
    close(x, np.arange(6.0))


# --- files and records -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode, old, new", [("w", "alt", "neü"), ("wb", b"old", b"\x00new")])
def test_atomic_write_replaces_whole_or_not_at_all(tmp_path, mode, old, new):
    path = tmp_path / "deep" / "file"
    with atomic_write(path, mode) as f: f.write(old)
    for crash in (KeyboardInterrupt, ValueError):
        with pytest.raises(crash):
            with atomic_write(path, mode) as f:
                f.write(new); raise crash
    read = lambda: path.read_bytes() if "b" in mode else path.read_text(encoding="utf-8")
    assert read() == old and [p.name for p in path.parent.iterdir()] == ["file"]
    with atomic_write(path, mode) as f: f.write(new)
    assert read() == new

def test_atomic_write_gives_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("x")
    with atomic_write(tmp_path / "atomic") as f: f.write("x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode

def test_records(tmp_path, monkeypatch):
    monkeypatch.setenv("INTEREST_BOOK_RECORDS", str(tmp_path))
    assert records_dir() == tmp_path
    path = write_record("x", {"b": [1.5, None], "a": "é"})
    assert read_record("x") == {"a": "é", "b": [1.5, None]} and path.read_text(encoding="utf-8").index('"a"') < path.read_text(encoding="utf-8").index('"b"')
    assert write_record("x", {"a": "é", "b": [1.5, None]}).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
    with pytest.raises(UnavailableError, match="make records"): read_record("y")
    with pytest.raises(ValueError): write_record("x", {"a": float("nan")})
    assert read_record("x")["a"] == "é"                                # the failed write left the old record

def test_records_dir_follows_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("INTEREST_BOOK_RECORDS", raising=False); monkeypatch.chdir(tmp_path)
    assert records_dir() == Path("records")
    (tmp_path / "nbs/records").mkdir(parents=True)
    assert records_dir() == Path("nbs/records")


# --- the friends, figures, import --------------------------------------------------------------------------------------------
def test_six_users():
    films, books = six_users()
    assert films.shape == (19, 3) and books.shape == (16, 3)
    assert not films.duplicated(["user_id", "item_id"]).any() and not books.duplicated(["user_id", "item_id"]).any()
    assert set(films.user_id) - set(books.user_id) == {"Flo"} and films.rating.between(1, 5).all() and books.rating.between(1, 5).all()

def test_figure_style_works_without_the_inline_backend(monkeypatch):
    import matplotlib as mpl
    with mpl.rc_context():
        monkeypatch.setitem(sys.modules, "matplotlib_inline", None); monkeypatch.setitem(sys.modules, "matplotlib_inline.backend_inline", None)
        mpl.rcParams["svg.hashsalt"] = None
        figure_style()
        assert mpl.rcParams["svg.hashsalt"] == "interest_book"

def test_chapter_setup_leaves_a_chosen_device_alone(monkeypatch):
    import matplotlib as mpl
    with mpl.rc_context():
        monkeypatch.setenv("INTEREST_BOOK_DEVICE", "cuda:7"); chapter_setup()
        assert os.environ["INTEREST_BOOK_DEVICE"] == "cuda:7"
        monkeypatch.delenv("INTEREST_BOOK_DEVICE"); chapter_setup()
        assert pick_device().type == "cpu"

def test_import_is_light():
    code = "import sys, interest_book.core; print(sorted({'torch', 'matplotlib', 'scipy', 'pyarrow.csv'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(core.__file__).parents[1]).stdout
    assert out.strip() == "[]"
