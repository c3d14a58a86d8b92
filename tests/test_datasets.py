"""Chapter 03: the registry, checksums, downloads (against a server on this machine), the publishers' formats, every quirk, and the field's facts."""
import dataclasses, gzip, hashlib, http.server, json, os, re, ssl, threading, urllib.error, zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import interest_book.datasets as D
from interest_book.core import DataError, UnavailableError, read_record
from interest_book.datasets import *
from interest_book.interactions import DomainPair, Interactions

_FIELD = Path(os.environ.get("INTEREST_BOOK_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
field_data = [pytest.mark.field, pytest.mark.skipif(not (_FIELD / "ml-1m").is_dir(), reason="real data is not here: set INTEREST_BOOK_DATA")]
def field(f):
    for mark in field_data: f = mark(f)
    return f

@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch, request):
    "Every test has its own cache; only field tests see the real data."
    monkeypatch.setenv("INTEREST_BOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INTEREST_BOOK_OFFLINE", raising=False)
    if request.node.get_closest_marker("field"): monkeypatch.setenv("INTEREST_BOOK_DATA", str(_FIELD))
    else: monkeypatch.delenv("INTEREST_BOOK_DATA", raising=False)

sha = lambda b: hashlib.sha256(b).hexdigest()
frame = lambda columns, *rows: pd.DataFrame(rows, columns=columns.split())

# ---------------------------------------------------------------- registry and sheets
def test_registry_is_whole():
    paths = [f.path for s in DATASETS.values() for f in s.files]
    sizes = [f.bytes for s in DATASETS.values() for f in s.files]
    assert len(sizes) == len(set(sizes))                                # exercise 3.1 says so
    assert len(paths) == len(set(paths)) == 24
    for name, s in DATASETS.items():
        assert name == s.name and s.title and s.source and s.terms and s.citation and s.quirks and s.address.startswith("http")
        assert {Path(f.path).stem for f in s.files} == set(s.columns)
        assert all(re.fullmatch("[0-9a-f]{64}", f.sha256) and f.bytes > 0 and f.rows > 0 for f in s.files)
        assert set(s.options) <= {"time", "part", "duplicates"}
        assert (name in D._LOADERS) or name == "goodbooks10k_items"
        text = s._repr_markdown_()
        for f in s.files: assert f.sha256[:12] in text and f"{f.bytes:,}" in text
        for quirk, answer in s.quirks: assert quirk in text and answer in text

def test_unknown_names_and_options_are_named_errors():
    with pytest.raises(DataError, match="known are ml-100k"): sheet("ml-99")
    with pytest.raises(DataError, match="known are"): load("ml-99")
    with pytest.raises(DataError, match="offers no part='main'"): load("ml-1m", part="main")
    with pytest.raises(DataError, match="'none', 'block', 'seconds'"): load("ml-1m", time="year")
    with pytest.raises(DataError, match="load_items"): load("goodbooks10k_items")
    with pytest.raises(DataError, match="no table 'u'"): load_table("ml-1m", "u")
    with pytest.raises(DataError, match="ids only"): load_items("douban_book_music")
    with pytest.raises(DataError, match="ids only"): load_users("douban_book_music")
    with pytest.raises(DataError, match="sport or cloth"): published_parts("cdrib_sport_cloth", "books")
    with pytest.raises(DataError, match="no published split"): published_parts("douban_book_music", "music")
    with pytest.raises(DataError, match="choose 'published'"): published_parts("cdrib_sport_cloth", "sport", test="original")
    with pytest.raises(DataError, match="1 to 5"): movielens_fold(6)
    with pytest.raises(DataError, match="not 'bad'"): bookcrossing_prefix("keep")

@field
def test_registry_agrees_with_the_readme():
    readme = (_FIELD / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\| `([\w\-/]+\.parquet)` \| ([\d,]+) \| ([\d,]+) \| .* \| `([0-9a-f]{64})` \|", readme)
    number = lambda t: int(t.replace(",", ""))
    assert {(p, number(n), number(b), h) for p, n, b, h in listed} == {(f.path, f.rows, f.bytes, f.sha256) for s in DATASETS.values() for f in s.files}

# ---------------------------------------------------------------- folders and checksums
def test_folder_order(tmp_path, monkeypatch):
    assert data_folder() == cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("INTEREST_BOOK_CACHE"); monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "interest-book"
    monkeypatch.setenv("INTEREST_BOOK_DATA", str(tmp_path)); assert data_folder() == tmp_path
    monkeypatch.setenv("INTEREST_BOOK_DATA", str(tmp_path / "no")); 
    with pytest.raises(UnavailableError, match="not a folder"): data_folder()

def test_absent_data_is_one_clear_error():
    with pytest.raises(UnavailableError, match="INTEREST_BOOK_DATA.*github.com/fengzhu1.*terms"): load("douban_book_music")

def test_check_file_sees_every_change(tmp_path):
    path = tmp_path / "a.txt"; path.write_bytes(b"six users")
    assert check_file(path, sha(b"six users"), 9) == path
    with pytest.raises(DataError, match="9 bytes, expected 8"): check_file(path, sha(b"six users"), 8)
    with pytest.raises(DataError, match="sha256"): check_file(path, sha(b"six userz"), 9)
    path.write_bytes(b"six userz"); os.utime(path, ns=(1, 1))          # same size, other content
    with pytest.raises(DataError, match="sha256"): check_file(path, sha(b"six users"), 9)

def test_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"; path.write_bytes(b"x" * 100)
    now = D.time.time_ns()
    monkeypatch.setattr(D.time, "time_ns", lambda: now + 10**9)         # a second later: old enough to be remembered
    first = file_sha256(path)
    monkeypatch.setattr(D.hashlib, "file_digest", lambda *a: pytest.fail("read twice"))
    assert file_sha256(path) == first

def test_a_file_that_was_just_written_is_not_remembered(tmp_path, monkeypatch):
    "Two changes within one tick of the file system's clock leave size and times alike; so the checksum of a young file is not kept."
    path = tmp_path / "a.txt"; path.write_bytes(b"x")
    written = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    monkeypatch.setattr(D, "_HASHED", {})
    for age, kept in ((0, 0), (5 * 10**7, 0), (10**9, 1)):              # nanoseconds
        monkeypatch.setattr(D.time, "time_ns", lambda: written + age)
        assert file_sha256(path) == sha(b"x") and len(D._HASHED) == kept

def test_a_wrong_file_in_the_folder_is_refused(tmp_path):
    tables = {f"{d}_ratings": frame("user_id item_id rating", (1, 1, 5)) for d in ("book", "music")}
    with stand_in("douban_book_music", tmp_path, tables):
        assert len(load("douban_book_music").source) == 1
        path = tmp_path / "douban_book_music/book_ratings.parquet"
        raw = bytearray(path.read_bytes()); raw[20] ^= 1; path.write_bytes(raw)
        with pytest.raises(DataError, match="book_ratings.parquet has sha256"): load("douban_book_music")
        path.write_bytes(raw[:-1])
        with pytest.raises(DataError, match="bytes, expected"): load("douban_book_music")

def test_data_folder_wins_over_cache(tmp_path):
    tables = {f"{d}_ratings": frame("user_id item_id rating", (1, 1, 5)) for d in ("book", "music")}
    with stand_in("douban_book_music", tmp_path / "data", tables) as s:
        (tmp_path / "cache/douban_book_music").mkdir(parents=True)
        (tmp_path / "cache/douban_book_music/book_ratings.parquet").write_bytes(b"broken")
        assert len(load("douban_book_music").target) == 1               # the broken copy in the cache is never opened
        (tmp_path / "data/douban_book_music/book_ratings.parquet").unlink()
        with pytest.raises(DataError, match="6 bytes"): load("douban_book_music")

def test_available(tmp_path):
    assert available().loc[["ml-1m", "douban_book_music"], "status"].tolist() == ["can be fetched", "absent"]
    tables = {f"{d}_ratings": frame("user_id item_id rating", (1, 1, 5)) for d in ("book", "music")}
    with stand_in("douban_book_music", tmp_path / "d", tables):
        assert available().loc["douban_book_music", "status"] == "data folder"
        (tmp_path / "d/douban_book_music/book_ratings.parquet").write_bytes(b"cut")
        assert available().loc["douban_book_music", "status"] == "absent"
    place = cache_folder() / "ml-1m"; place.mkdir(parents=True); (place / "ml-1m.zip").write_bytes(b"x")
    assert available().loc["ml-1m", "status"] == "cache (publisher's archive)"

@field
def test_everything_is_available(): assert set(available()["status"]) == {"data folder"}

def test_stand_in_leaves_no_trace(tmp_path):
    before = DATASETS["ml-1m"]
    with pytest.raises(RuntimeError):
        with stand_in("ml-1m", tmp_path, {}): raise RuntimeError
    assert DATASETS["ml-1m"] is before and "INTEREST_BOOK_DATA" not in os.environ

# ---------------------------------------------------------------- fetching
BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()

class Shop(http.server.BaseHTTPRequestHandler):
    mode, log = "good", []
    def log_message(self, *args): pass
    def do_GET(self):
        asked, shop = self.headers.get("Range"), type(self)
        shop.log.append(asked)
        mode = shop.mode(len(shop.log)) if callable(shop.mode) else shop.mode
        if isinstance(mode, int): return self.send_error(mode)
        body = {"other": BODY[::-1], "long": BODY + b"more", "much longer": BODY * 5}.get(mode, BODY)
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and mode != "no range" else 0
        if start >= len(body) > 0: return self.send_error(416)
        self.send_response(206 if start else 200)
        if start: self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start)); self.end_headers()
        piece = body[start:start + 100_000] if mode == "cut" else body[start:]
        self.wfile.write(piece)

@pytest.fixture
def shop():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    Shop.mode, Shop.log = "good", []
    yield f"http://127.0.0.1:{server.server_port}/file.zip"
    server.shutdown(); server.server_close()

get = lambda url, path, digest=sha(BODY), n=len(BODY), **kw: fetch(url, path, digest, n, pause=0.01, timeout=5, **kw)

def test_fetch_whole_and_not_again(shop, tmp_path):
    path = get(shop, tmp_path / "a/file.zip")
    assert path.read_bytes() == BODY and [p.name for p in path.parent.iterdir()] == ["file.zip"]
    assert get(shop, path) == path and len(Shop.log) == 1               # a good file is not fetched again
    path.write_bytes(BODY[:-1] + b"?")
    assert get(shop, path).read_bytes() == BODY and len(Shop.log) == 2  # a bad one is

def test_cut_connections_are_resumed_within_a_call(shop, tmp_path):
    Shop.mode = "cut"
    assert get(shop, tmp_path / "f").read_bytes() == BODY
    assert Shop.log == [None, "bytes=100000-", "bytes=200000-"]

def test_cut_connections_are_resumed_in_the_next_call(shop, tmp_path):
    Shop.mode = lambda n: "cut" if n == 1 else 404
    with pytest.raises(UnavailableError, match="404.*100,000 bytes are kept"): get(shop, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    Shop.mode = "good"
    assert get(shop, tmp_path / "f").read_bytes() == BODY and Shop.log[-1] == "bytes=100000-"
    assert not (tmp_path / "f.part").exists()

def test_server_that_ignores_range(shop, tmp_path):
    (tmp_path / "f.part").write_bytes(BODY[:5000]); Shop.mode = "no range"
    assert get(shop, tmp_path / "f").read_bytes() == BODY and Shop.log == ["bytes=5000-"]

def test_a_part_of_another_file_is_begun_anew(shop, tmp_path):
    (tmp_path / "f.part").write_bytes(b"z" * 5000)
    assert get(shop, tmp_path / "f").read_bytes() == BODY and Shop.log == ["bytes=5000-", None]

@pytest.mark.parametrize("part", [BODY, b"z" * len(BODY), BODY + b"too long"])
def test_a_part_as_long_as_the_file(shop, tmp_path, part):
    (tmp_path / "f.part").write_bytes(part)
    assert get(shop, tmp_path / "f").read_bytes() == BODY               # a wrong part is not the server's fault: begun anew in the same call
    assert Shop.log == {BODY: [], b"z" * len(BODY): [None]}.get(part, [f"bytes={len(part)}-", None])

@pytest.mark.parametrize("mode,message", [("other", "sha256"), ("long", "bytes, expected 300,000"), ("much longer", "bytes, expected 300,000")])
def test_another_file_is_refused_and_not_kept(shop, tmp_path, mode, message):
    Shop.mode = mode
    with pytest.raises(DataError, match=message): get(shop, tmp_path / "f")
    assert list(tmp_path.glob("f*")) == [] and len(Shop.log) == 1

def test_wrong_hash_without_known_size(shop, tmp_path):
    with pytest.raises(DataError, match="served another file"): fetch(shop, tmp_path / "f", "0" * 64)
    assert list(tmp_path.glob("f*")) == []

def test_errors_of_the_server(shop, tmp_path):
    Shop.mode = 404
    with pytest.raises(UnavailableError, match="404.*put the file there yourself"): get(shop, tmp_path / "f")
    assert len(Shop.log) == 1                                           # asking again would not help
    Shop.mode = lambda n: 503 if n < 4 else "good"
    assert get(shop, tmp_path / "f").read_bytes() == BODY

def test_no_connection(tmp_path):
    with pytest.raises(UnavailableError, match="cannot fetch.*Without a network"): fetch("http://127.0.0.1:9/x", tmp_path / "f", sha(BODY), tries=2, pause=0.01, timeout=2)
    assert list(tmp_path.glob("f*")) == []

@pytest.mark.parametrize("digest", [None, "abc"])
def test_nothing_is_fetched_without_a_checksum(shop, tmp_path, digest):
    with pytest.raises(DataError, match="no sha256"): fetch(shop, tmp_path / "f", digest)
    assert Shop.log == []

def test_bookcrossing_must_be_pinned(shop, tmp_path):
    with pytest.raises(DataError, match="no sha256 for BX-CSV-Dump.zip"): download("bookcrossing", urls=(shop,))
    assert download("bookcrossing", sha256=sha(BODY), urls=(shop,)).read_bytes() == BODY

def test_second_address_helps(shop, monkeypatch):
    monkeypatch.setattr(D.time, "sleep", lambda s: None)
    assert download("bookcrossing", sha256=sha(BODY), urls=("http://127.0.0.1:9/x", shop)).name == "BX-CSV-Dump.zip"

def test_a_dead_certificate_is_not_asked_again_but_the_bytes_may_come_another_way(tmp_path, monkeypatch):
    asked = []
    def pull(url, part, n_bytes, timeout):
        asked.append(url)
        if url.startswith("https"): raise urllib.error.URLError(ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired"))
        part.write_bytes(BODY); return True
    monkeypatch.setattr(D, "_pull", pull)
    monkeypatch.setitem(DATASETS, "ml-100k", dataclasses.replace(DATASETS["ml-100k"], archive=dataclasses.replace(DATASETS["ml-100k"].archive, bytes=len(BODY), sha256=sha(BODY))))
    assert download("ml-100k").read_bytes() == BODY
    assert [u.split(":")[0] for u in asked] == ["https", "http"]

def test_offline(monkeypatch):
    with pytest.raises(UnavailableError, match="switched off"): download("ml-100k", offline=True)
    monkeypatch.setenv("INTEREST_BOOK_OFFLINE", "1")
    with pytest.raises(UnavailableError, match="put ml-1m.zip in"): load("ml-1m")
    with pytest.raises(UnavailableError, match="no single file"): download("douban_book_music")

def test_known_archive_checksums_are_checked(tmp_path):
    place = cache_folder() / "ml-100k"; place.mkdir(parents=True); (place / "ml-100k.zip").write_bytes(b"not it")
    with pytest.raises(DataError, match="6 bytes, expected 4,924,029"): download("ml-100k")

# ---------------------------------------------------------------- the publishers' formats
def files_100k():
    flags = lambda *on: "|".join("1" if g in on else "0" for g in D._GENRES_100K)
    data = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t1\t5\t881250950\n"
    item = ("242|Kolya (1996)|24-Jan-1997||http://x|" + flags("Comedy") + "\n302|L\xe9on|01-Jan-1997||http://y|" + flags("Crime", "Thriller") + "\n1|unknown||||" + flags("unknown") + "\n").encode("latin-1")
    folds = {f"u{k}.test": b"" for k in ("2", "3", "4", "5", "b")} | {"u1.test": b"186\t302\t3\t891717742\n", "ua.test": b"196\t1\t5\t881250950\n"}
    return {"u.data": data, "u.item": item, "u.user": b"196|49|M|writer|55105\n186|39|F|executive|T8H1N\n"}, folds

def pack(path, files, top="ml-100k"):
    with zipfile.ZipFile(path, "w") as z:
        for name, raw in files.items(): z.writestr(f"{top}/{name}", raw)
    return path

@pytest.mark.parametrize("how", ["zip", "folder"])
def test_movielens_100k_format(tmp_path, how):
    files, _ = files_100k()
    if how == "zip": path = pack(tmp_path / "a.zip", files)
    else:
        path = tmp_path / "ml-100k"; path.mkdir()
        for name, raw in files.items(): (path / name).write_bytes(raw)
    t = read_movielens_100k(path)
    assert t["ratings"].to_numpy().tolist() == [[196, 242, 3, 881250949], [186, 302, 3, 891717742], [196, 1, 5, 881250950]]
    assert t["items"]["title"].tolist() == ["Kolya (1996)", "L\xe9on", "unknown"] and t["items"]["genres"].tolist() == ["Comedy", "Crime|Thriller", "unknown"]
    assert t["users"]["zip_code"].tolist() == ["55105", "T8H1N"] and t["items"]["release_date"].isna().tolist() == [False, False, True]

def test_movielens_100k_from_its_archive(tmp_path, monkeypatch):
    files, folds = files_100k()
    folds = {k: v or b"196\t242\t3\t881250949\n" for k, v in folds.items()}
    place = cache_folder() / "ml-100k"; place.mkdir(parents=True)
    raw = pack(place / "ml-100k.zip", files | folds).read_bytes()
    archive = dataclasses.replace(DATASETS["ml-100k"].archive, bytes=len(raw), sha256=sha(raw))
    monkeypatch.setitem(DATASETS, "ml-100k", dataclasses.replace(DATASETS["ml-100k"], archive=archive))
    films = load("ml-100k")
    assert films.frame["user_id"].tolist() == ["196", "186", "196"] and films.timestamps.tolist() == [881250949, 891717742, 881250950]
    train, test = movielens_fold("a")
    assert test.frame["item_id"].tolist() == ["1"] and len(train) == 2 and train.items.equals(test.items)
    assert load_items("ml-100k")["title"].isna().tolist() == [False, False, True]      # film 'unknown' has no title
    raw = pack(place / "ml-100k.zip", files).read_bytes()                               # an archive without the folds
    archive = dataclasses.replace(archive, bytes=len(raw), sha256=sha(raw))
    monkeypatch.setitem(DATASETS, "ml-100k", dataclasses.replace(DATASETS["ml-100k"], archive=archive))
    with pytest.raises(DataError, match="fold 1 has no rows"): movielens_fold(1)

def test_movielens_1m_from_its_archive_has_every_time(tmp_path, monkeypatch):
    rows = "".join(f"{u}::{i}::{1 + (u + i) % 5}::{1000 + 10 * u + i}\n" for u in range(1, 6) for i in range(1, 5))
    files = {"ratings.dat": rows.encode(), "movies.dat": "1::Am\xe9lie (2001)::Comedy|Romance\n".encode("latin-1"), "users.dat": b"1::F::1::10::48067\n"}
    place = cache_folder() / "ml-1m"; place.mkdir(parents=True)
    raw = pack(place / "ml-1m.zip", files, "ml-1m").read_bytes()
    monkeypatch.setitem(DATASETS, "ml-1m", dataclasses.replace(DATASETS["ml-1m"], archive=dataclasses.replace(DATASETS["ml-1m"].archive, bytes=len(raw), sha256=sha(raw))))
    assert load("ml-1m", time="seconds").timestamps[0] == 1011
    assert np.bincount(load("ml-1m", time="block").timestamps).tolist() == [16, 2, 2]
    assert load_items("ml-1m")["title"].tolist() == ["Am\xe9lie (2001)"] and load_users("ml-1m")["age_bracket"].tolist() == ["under 18"]

@pytest.mark.parametrize("name,raw,message", [
    ("u.data", b"", "u.data is empty"), ("u.data", b"1 2 3 4\n", "line 1: 1 fields, expected 4"), ("u.data", b"1\t2\t3\t4\n1\t2\tx\t4\n", "'x' is not a number"),
    ("u.data", b"1\t2\t3.5\t4\n", "'3.5' is not a number of type int8"), ("u.data", b"1\t2\t300\t4\n", "'300' is not a number of type int8"), ("u.data", b"1\tinf\t3\t4\n", "'inf' is not a number of type int32"),
    ("u.item", b"1|Title\n", "u.item, line 1")])
def test_broken_movielens_files(tmp_path, name, raw, message):
    with pytest.raises(DataError, match=message): read_movielens_100k(pack(tmp_path / "a.zip", files_100k()[0] | {name: raw}))

def test_not_an_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match="neither a folder nor a zip"): read_movielens_1m(tmp_path / "a.zip")
    with pytest.raises(DataError, match="holds no ratings.dat"): read_movielens_1m(pack(tmp_path / "b.zip", {"u.data": b""}))

def bx(tmp_path, *rows, head='"User-ID";"ISBN";"Book-Rating"'):
    (tmp_path / "bx").mkdir(exist_ok=True)
    (tmp_path / "bx/BX-Book-Ratings.csv").write_bytes("\r\n".join([head, *rows]).encode("latin-1")); return tmp_path / "bx"

def test_bookcrossing_format(tmp_path):
    t = read_bookcrossing(bx(tmp_path, '"276725";"034545104X";"0"', '"276726";"0155061224";"5"', '"276727";"ISBN;with\xe9";"10"'))
    assert t["item_id"].tolist() == ["034545104X", "0155061224", "ISBN;with\xe9"] and t["rating"].tolist() == [0, 5, 10]
    explicit, implicit = split_zeros(t)
    assert explicit["rating"].tolist() == [5, 10] and implicit["item_id"].tolist() == ["034545104X"] and "rating" not in implicit
    with pytest.raises(DataError, match="begins with"): read_bookcrossing(bx(tmp_path, head="a,b,c"))
    with pytest.raises(DataError, match="line 2: 2 fields"): read_bookcrossing(bx(tmp_path, '"1";"2"'))
    with pytest.raises(DataError, match="not a number"): read_bookcrossing(bx(tmp_path, '"1";"2";"good"'))
    with pytest.raises(DataError, match="negative"): split_zeros(frame("rating", (-1,)))

def test_douban_format(tmp_path):
    path = tmp_path / "ratings.dat"; path.write_bytes(b"2\t3601\t3.0\n2\t2171\t5.0\n1\t9\t4.0\n")
    assert read_douban(path).to_numpy().tolist() == [[2, 3601, 3], [2, 2171, 5], [1, 9, 4]]
    path.write_bytes(b"1\t2\t3.5\t0\n")
    assert read_douban(path)["rating"].tolist() == [3.5]
    path.write_bytes(b"1\t2\t3\r\n4\t5\t1\r\n")
    assert read_douban(path)["rating"].tolist() == [3.0, 1.0]
    path.write_bytes(b"1\t2\t\xff\n")
    with pytest.raises(DataError, match="not utf-8 text: byte 0xff at place 4"): read_douban(path)
    path.write_bytes(b"1::2::3\n")
    with pytest.raises(DataError, match="fields"): read_douban(path)
    with pytest.raises(UnavailableError, match="no file"): read_douban(tmp_path / "no.dat")

def test_amazon_formats(tmp_path):
    text = b"A1X6VLJ3HXK7UQ,0001048791,5.0,1369008000\nA2DCS39GFBJV24,B00000JGVX,2.0,1000000000\n"
    path = tmp_path / "ratings_Books.csv"; path.write_bytes(text)
    with gzip.open(tmp_path / "r.csv.gz", "wb") as f: f.write(text)
    want = [["A1X6VLJ3HXK7UQ", "0001048791", 5.0, 1369008000], ["A2DCS39GFBJV24", "B00000JGVX", 2.0, 1000000000]]
    assert read_amazon_csv(path).to_numpy().tolist() == read_amazon_csv(tmp_path / "r.csv.gz").to_numpy().tolist() == want
    with pytest.raises(DataError, match="item_first=False"): read_amazon_csv(path, item_first=True)
    path.write_bytes(b"".join(b",".join((r.split(b",")[1], r.split(b",")[0], *r.split(b",")[2:])) + b"\n" for r in text.splitlines()))
    assert read_amazon_csv(path, item_first=True).to_numpy().tolist() == want
    with pytest.raises(DataError, match="item_first=True"): read_amazon_csv(path)

def test_amazon_json(tmp_path):
    row = lambda **kw: json.dumps({"reviewerID": "A1", "asin": "0001", "overall": 4.0, "unixReviewTime": 7, "reviewText": "long"} | kw)
    with gzip.open(tmp_path / "b.json.gz", "wt") as f: f.write(row() + "\n\n" + row(asin="B1", overall=1) + "\n")
    assert read_amazon_json(tmp_path / "b.json.gz").to_numpy().tolist() == [["A1", "0001", 4.0, 7], ["A1", "B1", 1.0, 7]]
    for bad in ("{'reviewerID': 'A1'}", '{"asin": "1"}'):               # the 2014 files are Python literals, not JSON, in the non-core edition
        (tmp_path / "c.json").write_text(row() + "\n" + bad)
        with pytest.raises(DataError, match="line 2"): read_amazon_json(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("")
    with pytest.raises(DataError, match="empty"): read_amazon_json(tmp_path / "c.json")

# ---------------------------------------------------------------- quirks, on small stand-ins
def test_ml1m_mixed_times_are_refused(tmp_path):
    t = frame("user_id item_id rating timestamp time_block", (1, 10, 5, 100, 0), (1, 11, 2, None, 0), (2, 10, 4, 300, 1)).astype({"timestamp": "Int32"})
    with stand_in("ml-1m", tmp_path, {"ratings": t}):
        assert load("ml-1m").timestamps is None and load("ml-1m", time="block").timestamps.tolist() == [0, 0, 1]
        with pytest.raises(DataError, match="1 of 3 timestamps.*not at random.*time='block'"): load("ml-1m", time="seconds")
        assert str(load_table("ml-1m", "ratings")["timestamp"].dtype) == "Int32"       # no floats

def test_bookcrossing_parts_and_prefix(tmp_path):
    r = frame("user_id item_id rating part", (1, "0001", 8, "main"), (2, "000X", 7, "new"))
    raw = frame("user_id item_id rating isbn_as_stored", (1, "034545104X", 0, "x"), (1, "0155061224", 5, "x"), (2, "6,30892E+11", 6, "x"), (2, "0000000000", 9, "0"), (3, "0155061224", 2, "x"), (3, "0155061224", 4, "x"))
    with stand_in("bookcrossing", tmp_path, {"ratings": r, "raw_prefix_ratings": raw}):
        assert load("bookcrossing").items.tolist() == ["0001"] and load("bookcrossing", part="new").items.tolist() == ["000X"] and len(load("bookcrossing", part="all")) == 2
        explicit, implicit = bookcrossing_prefix("drop"), bookcrossing_prefix("implicit")
        assert explicit.frame.to_numpy().tolist() == [["1", "0155061224", 5.0], ["3", "0155061224", 4.0]]
        assert not implicit.is_explicit and len(implicit) == 3
        assert [s["rows after"] for s in explicit.report.steps] == [4, 3, 2]

def test_bookcrossing_repairs(tmp_path):
    items = pd.DataFrame({"item_id": ["01", "02", "03"], "title": ["A", "B\ufffd", None], "year": np.array([0, 1999, 2037], np.int16)})
    users = pd.DataFrame({"user_id": [1, 2, 3], "age": pd.array([244, 30, None], "Int32")})
    with stand_in("bookcrossing", tmp_path, {"items": items, "users": users}):
        got = load_items("bookcrossing")
        assert got["year"].isna().tolist() == [True, False, True] and got["title_damaged"].tolist() == [False, True, False]
        assert load_users("bookcrossing")["age"].isna().tolist() == [True, False, True]

def test_douban_items_are_keyed_by_domain_and_rows_keep_their_order(tmp_path):
    with stand_in("douban_book_music", tmp_path, {"book_ratings": frame("user_id item_id rating", (7, 1, 5), (3, 2, 4), (7, 3, 1)), "music_ratings": frame("user_id item_id rating", (3, 1, 2))}):
        pair = load("douban_book_music")
    assert pair.source.frame.to_numpy().tolist() == [["7", "book:1", 5], ["3", "book:2", 4], ["7", "book:3", 1]]
    assert pair.target.frame.to_numpy().tolist() == [["3", "music:1", 2]] and pair.shared_users.tolist() == ["3"]
    assert (pair.source.name, pair.target.name) == ("books", "music")

@pytest.mark.parametrize("policy,rating", [(None, 3.0), ("mean", 3.0), ("first", 5.0), ("last", 1.0)])
def test_repeated_ratings(tmp_path, policy, rating):
    t = {"books_ratings": frame("user_id item_id rating", ("u", "b", 5), ("v", "b", 4), ("u", "b", 1)), "movies_ratings": frame("user_id item_id rating", ("u", "m", 2))}
    with stand_in("amazon_books_movies", tmp_path, t):
        books = load("amazon_books_movies", duplicates=policy).source.frame
        assert books.loc[books["user_id"] == "u", "rating"].tolist() == [rating] and len(books) == 2
        with pytest.raises(DataError, match="contradict"): load("amazon_books_movies", duplicates="error")

def sequences():
    rows = []
    def user(split, u, history, targets):
        for r, target in enumerate(targets):
            for p, (item, domain) in enumerate([*history, target]): rows.append((split, u, ord(u), r, p, item, domain, p == len(history)))
    user("train", "a", [(0, "arts"), (9, "office"), (0, "arts")], [(8, "office"), (1, "arts")])
    user("valid", "b", [(1, "arts"), (9, "office")], [(8, "office"), (2, "arts")])
    user("test", "c", [(2, "arts"), (8, "office")], [(8, "office"), (0, "arts")])       # buys item 8 again
    return frame("split user_id user_idx row position item_id domain is_target", *rows)

def test_arts_office_history_once(tmp_path):
    with stand_in("urllm_arts_office", tmp_path, {"sequences": sequences()}):
        pair = load("urllm_arts_office")
        assert pair.source.frame.to_numpy().tolist() == [["a", "0"], ["a", "1"], ["b", "1"], ["b", "2"], ["c", "2"], ["c", "0"]]
        assert pair.target.frame.to_numpy().tolist() == [["a", "9"], ["a", "8"], ["b", "9"], ["b", "8"], ["c", "8"]]
        assert pair.target.timestamps is None
        train, valid, test = published_parts("urllm_arts_office", "office")
        assert train.target.frame.to_numpy().tolist() == [["a", "9"], ["a", "8"], ["b", "9"], ["c", "8"]] and len(test) == 0    # the repeat is no test row
        assert valid.frame.to_numpy().tolist() == [["b", "8"]]
        assert ["b", "2"] not in train.source.frame.to_numpy().tolist()                 # held-out rows of the other domain do not train
        assert published_parts("urllm_arts_office", "arts")[2].frame.to_numpy().tolist() == [["c", "0"]]

def test_beauty_electronics_clocks(tmp_path):
    day = 86400
    t = frame("user_id item_id domain timestamp position split", ("u", "B1", "beauty", day, 0, "train"), ("u", "E1", "electronics", day, 1, "train"), ("u", "B2", "beauty", day, 2, "valid"), ("u", "E2", "electronics", 2 * day, 3, "test"))
    with stand_in("amazon_beauty_electronics", tmp_path, {"interactions": t}):
        assert load("amazon_beauty_electronics").source.timestamps.tolist() == [day, day]
        assert load("amazon_beauty_electronics", time="position").source.timestamps.tolist() == [0, 2]
        assert load("amazon_beauty_electronics", time="none").target.timestamps is None
        train, valid, test = published_parts("amazon_beauty_electronics", "electronics")
        assert valid is None and test.frame["item_id"].tolist() == ["E2"] and train.source.frame["item_id"].tolist() == ["B1"]

def test_disencdr_and_cdrib_parts(tmp_path):
    d = frame("domain split user_id item_id", ("sport", "train", 0, 5), ("cloth", "train", 0, 5), ("cloth", "train", 1, 6), ("sport", "test_original", 0, 6), ("sport", "test_original", 1, 5), ("sport", "test", 1, 5))
    with stand_in("disencdr_sport_cloth", tmp_path / "d", {"interactions": d}):
        train, valid, test = published_parts("disencdr_sport_cloth", "sport")
        assert valid is None and test.frame.to_numpy().tolist() == [["1", "sport:5"]] and train.source.frame["item_id"].tolist() == ["cloth:5", "cloth:6"]
        assert len(published_parts("disencdr_sport_cloth", "sport", test="original")[2]) == 2
        assert len(load("disencdr_sport_cloth").source) == 3                            # each row once
    c = frame("domain split user_id item_id shared_user user_key", ("sport", "train", 9828, 0, False, "sport:9828"), ("cloth", "train", 9828, 0, False, "cloth:9828"), ("cloth", "train", 1, 0, True, "shared:1"),
              ("sport", "valid", 1, 0, True, "shared:1"), ("sport", "test", 1, 1, True, "shared:1"))
    with stand_in("cdrib_sport_cloth", tmp_path / "c", {"interactions": c}):
        pair = load("cdrib_sport_cloth")
        assert pair.shared_users.tolist() == ["shared:1"] and len(pair.users) == 3      # two people are not merged
        train, valid, test = published_parts("cdrib_sport_cloth", "sport")
        assert valid.frame["item_id"].tolist() == ["sport:0"] and test.frame["item_id"].tolist() == ["sport:1"] and train.shared.sum() == 0
        assert test.users.equals(train.users) and test.items.equals(train.target.items) and test.item_codes.max() < train.target.n_items

# ---------------------------------------------------------------- small formulas
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_time_blocks_respect_time(times, valid, test):
    t = pd.Series(times); b = time_blocks(t, valid / 10, test / 10)
    assert b.dtype == np.int8 and len(b) == len(t)
    assert (b == 2).sum() == round(test / 10 * len(t)) and (b >= 1).sum() == round((valid + test) / 10 * len(t))
    order = sorted(range(len(times)), key=lambda i: times[i])                            # an independent stable sort
    assert all(b[i] <= b[j] for i, j in zip(order, order[1:]))

def test_time_blocks_refuse_gaps():
    with pytest.raises(DataError, match="1 of 2 times are missing"): time_blocks(pd.Series([1, None], dtype="Int32"))

@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_head_share(counts, q):
    got = head_share(np.array(counts), q)
    assert q - 1e-12 <= got <= 1 + 1e-12                                                # the head never has less than its share
    assert head_share(np.array(counts), 0) == 0 and head_share(np.array(counts), 1) == pytest.approx(1)
    assert head_share(np.full(10, 3), 0.2) == pytest.approx(0.2) and head_share(np.array([6, 1, 1, 1, 1]), 0.2) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="outside"): head_share(np.array(counts), 1.5)

def test_head_share_counts_whole_items_and_refuses_nothing():
    counts = np.r_[np.full(7, 10), 5, np.ones(92)]                                      # the eighth item must stay out
    assert head_share(counts, 0.07) == pytest.approx(70 / 167) and head_share(counts, 0.0701) == pytest.approx(75 / 167)
    for nothing in ([], [0, 0]):
        with pytest.raises(ValueError, match="no rows"): head_share(np.array(nothing))

def test_expected_coincidences_against_simulation():
    g = np.random.default_rng(3)
    seen = [len(set(g.choice(200, 30, replace=False)) & set(g.choice(200, 50, replace=False))) for _ in range(800)]
    assert abs(np.mean(seen) - expected_coincidences(30, 50, 200)) < 4 * np.std(seen) / np.sqrt(len(seen))

# ---------------------------------------------------------------- the field
COUNTS = {"ml-100k": [(100_000, 943, 1_682)], "ml-1m": [(1_000_209, 6_040, 3_706)], "bookcrossing": [(204_164, 48_299, 18_185)],
          "douban_book_music": [(96_041, 2_110, 6_777), (69_709, 1_672, 5_567), 1_566], "urllm_arts_office": [(110_016, 9_577, 18_639), (96_645, 9_577, 15_780), 9_577],
          "amazon_books_movies": [(32_489 - 985, 1_426, 723), (62_379 - 295, 1_381, 1_338), 1_329], "amazon_beauty_electronics": [(50_329, 4_474, 10_379), (63_800, 4_474, 14_188), 4_474],
          "disencdr_sport_cloth": [(92_612 + 9_928, 9_928, 32_310), (87_829 + 9_928, 9_928, 41_303), 9_928], "cdrib_sport_cloth": [(170_426, 27_328, 12_655), (194_121, 41_829, 17_943), 9_828]}

@field
@pytest.mark.parametrize("name", COUNTS)
def test_real_counts(name):
    data = load(name)
    if isinstance(data, DomainPair): found = [(len(x), int(x.active_users.sum()), x.n_items) for x in (data.source, data.target)] + [int(data.shared.sum())]
    else: found = [(len(data), data.n_users, data.n_items)]
    assert found == COUNTS[name]

@field
def test_the_numbers_in_the_sheets_are_true():
    "Every count that a quirk states, against the files."
    quirks = lambda name: " ".join(q for q, _ in sheet(name).quirks)
    def says(name, **facts):
        for text, value in facts.items():
            words = text.replace("_", " ")
            assert re.search(rf"(?<![\d,]){value:,}(?![\d,]).*?{words}" if words[0] != "x" else f"{value:,}", quirks(name)), (name, text, value)
    films = load_table("ml-100k", "items")["title"]
    says("ml-100k", titles_stand_under_two_ids=int(films.duplicated().sum()))
    ratings, items = load_table("ml-1m", "ratings"), load_table("ml-1m", "items")
    gaps = ratings["timestamp"].isna()
    says("ml-1m", rows=int(gaps.sum()), listed_films=int((~items["item_id"].isin(ratings["item_id"])).sum()))
    assert (ratings["rating"][gaps] <= 3).all() and (ratings["time_block"][gaps] == 0).all() and ratings["timestamp"][(ratings["time_block"] == 0) & (ratings["rating"] <= 3)].isna().all()
    rated, books, users, raw = (load_table("bookcrossing", t) for t in ("ratings", "items", "users", "raw_prefix_ratings"))
    each = rated.groupby("user_id").size()
    orphans = rated[~rated["user_id"].isin(users["user_id"])]
    says("bookcrossing", raters=int(orphans["user_id"].nunique()), books=int((books["year"] == 0).sum()), x_heaviest=int(each.max()), x_late=int((books["year"] > 2005).sum()),
         lost_a_byte=int(books["title"].str.contains("\ufffd").sum()), repeated_pairs=int(raw.duplicated(["user_id", "item_id"]).sum()))
    assert (each == 1).mean() > 0.5 and set(orphans["part"]) == {"new"} and f"{users['age'].isna().mean():.0%}" in quirks("bookcrossing")
    per_book = rated.groupby("item_id")["part"].agg(["size", "first"])
    assert per_book["size"][per_book["first"] == "main"].min() == 4 and set(per_book["size"][per_book["first"] == "new"]) == {3}
    sequences, office = load_table("urllm_arts_office", "sequences"), load_table("urllm_arts_office", "items")
    says("urllm_arts_office", office_items=int((~office["item_id"].isin(sequences["item_id"])).sum()))
    people = sequences.groupby("split")["user_id"].nunique()
    assert f"{people['train']:,} / {people['valid']:,} / {people['test']:,}" in quirks("urllm_arts_office")
    again = {d: int(load_table("amazon_books_movies", f"{d}_ratings").duplicated(["user_id", "item_id"]).sum()) for d in ("books", "movies")}
    says("amazon_books_movies", book=again["books"], film_rows=again["movies"])
    both = load_table("cdrib_sport_cloth", "interactions")
    says("cdrib_sport_cloth", on_one_user_id=int(both["user_id"][~both["shared_user"]].min()))
    assert both["user_id"][both["shared_user"]].max() < both["user_id"][~both["shared_user"]].min()

@field
def test_row_order_is_the_source_s():
    t, x = load_table("douban_book_music", "book_ratings"), load("douban_book_music").source.frame
    assert (x["item_id"] == "book:" + t["item_id"].astype(str)).all() and (x["user_id"] == t["user_id"].astype(str)).all() and (x["rating"] == t["rating"]).all()

@field
def test_movielens_folds_partition():
    tests = [movielens_fold(k)[1] for k in range(1, 6)]
    assert [len(t) for t in tests] == [20_000] * 5
    assert len(pd.concat([t.frame for t in tests]).drop_duplicates(["user_id", "item_id"])) == 100_000
    for k in "ab": assert set(np.bincount(movielens_fold(k)[1].user_codes)) == {10}

@field
@pytest.mark.parametrize("name", D._PART_LOADERS)
def test_published_parts_are_disjoint(name):
    for target in sheet(name).domains:
        train, valid, test = published_parts(name, target)
        parts = [p for p in (train.target, valid, test) if p is not None]
        keys = [set(zip(p.user_codes, p.item_codes)) for p in parts]
        assert sum(map(len, keys)) == len(set().union(*keys)) == sum(map(len, parts))
        assert all(p.users.equals(train.users) and p.items.equals(train.target.items) for p in parts)
        if name == "cdrib_sport_cloth":
            assert not (test.active_users & train.target.active_users).any() and (train.source.active_users[test.active_users]).all()

@field
def test_real_times_of_ml1m_are_refused():
    with pytest.raises(DataError, match="337,147 of 1,000,209"): load("ml-1m", time="seconds")
    assert np.bincount(load("ml-1m", time="block").timestamps).tolist() == [800_167, 100_021, 100_021]

@field
def test_item_tables_fit_the_vocabularies():
    for name in ("ml-100k", "ml-1m", "bookcrossing", "amazon_books_movies", "urllm_arts_office"):
        data, items = load(name), load_items(name)
        assert items["item_id"].is_unique
        for x in ((data.source, data.target) if isinstance(data, DomainPair) else (data,)): assert x.items.isin(items["item_id"]).all()

@field
def test_record_is_what_the_data_says():
    again, stored = data_record(), read_record("03_data_facts")
    for key in ("facts", "missing times", "identity", "rows", "data", "command"): assert json.loads(json.dumps(again[key])) == stored[key], key
