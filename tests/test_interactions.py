"""Chapter 01: reading, cleaning, vocabularies, matrices, k-cores, pairs; bad input of every kind."""
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings, strategies as st

from interest_book.core import BookError, DataError, UnknownIdError, rng, six_users
from interest_book.interactions import *

FORMATS = (".csv", ".tsv", ".parquet", ".pq", ".csv.gz", ".tsv.gz", ".parquet.gz")
QUIET = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def six():
    films, books = six_users()
    return Interactions.from_frame(films, name="films"), Interactions.from_frame(books, name="books")

def read_text(folder, text, **options):
    path = folder / "x.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Interactions.read(path, **options)

NULLS = {"", "nan", "NaN", "NAN", "<NA>", "None", "null", "NULL", "NA", "N/A", "n/a"}
IDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6).filter(lambda s: s not in NULLS and not s.endswith(".0"))

@st.composite
def domains(draw, explicit=None, timed=None):
    "Any small domain: distinct pairs, odd ids, with or without ratings and times."
    pairs = draw(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=12, unique=True))
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    if draw(st.booleans()) if explicit is None else explicit: frame["rating"] = np.array([draw(st.floats(-1e6, 1e6, width=32)) for _ in pairs], np.float32)
    if draw(st.booleans()) if timed is None else timed: frame["timestamp"] = [draw(st.integers(-2**40, 2**40)) for _ in pairs]
    return Interactions.from_frame(frame)


# --- the object ----------------------------------------------------------------------------------------------------------------
def test_six_users_by_hand(six):
    films, _ = six
    assert (films.n_users, films.n_items, len(films), films.is_explicit) == (6, 4, 19, True)
    assert list(films.users) == ["Ada", "Bo", "Cy", "Di", "Ed", "Flo"] and list(films.items) == ["Alien", "Solaris", "Casablanca", "Notorious"]
    assert films.matrix().toarray()[1].tolist() == [5, 5, 0, 2] and films.matrix().dtype == np.float32
    assert films.matrix("binary").toarray()[1].tolist() == [1, 1, 0, 1]
    assert films.user_index(["Flo", "Bo"]).tolist() == [5, 1] and films.item_index("Solaris").tolist() == [1]
    assert films.user_codes.dtype == films.item_codes.dtype == np.int32 and films.matrix().indices.dtype == np.int32

@settings(**QUIET, max_examples=60)
@given(domains(), st.randoms(use_true_random=False))
def test_fingerprint_ignores_order_of_rows_and_vocabularies(x, random):
    order = list(range(len(x))); random.shuffle(order)
    shuffled = x.frame.iloc[order]
    assert x.rows(np.array(order)).fingerprint() == x.fingerprint() == Interactions.from_frame(shuffled).fingerprint()

@settings(**QUIET, max_examples=60)
@given(domains(explicit=True, timed=True), st.integers(0, 10**6), st.sampled_from(["user_id", "item_id", "rating", "timestamp", "drop"]))
def test_fingerprint_sees_every_change(x, where, what):
    frame = x.frame.copy(); at = where % len(frame)
    if what == "drop": frame = frame.drop(index=at)
    else: frame[what] = frame[what].astype(object); frame.loc[at, what] = frame.loc[at, what] + ("!" if what.endswith("_id") else 1)
    if what == "rating" and np.float32(frame.loc[at, what]) == x.ratings[at]: return       # 1 was lost in float32
    if not len(frame): return
    y = Interactions.from_frame(frame, duplicates="first")
    if len(y) == len(frame): assert y.fingerprint() != x.fingerprint()

def test_fingerprint_is_pinned(six):
    "Records hold fingerprints; a change of the function would orphan them."
    assert six[0].fingerprint() == "d00df6fe661c5cf2"

@settings(**QUIET, max_examples=60)
@given(domains(explicit=True, timed=False))
def test_matrix_round_trip(x):
    m = x.matrix().tocoo()
    back = {(x.users[u], x.items[i]): v for u, i, v in zip(*m.coords, m.data)}
    assert back == {(u, i): r for u, i, r in zip(x.frame.user_id, x.frame.item_id, x.frame.rating)}
    loop = np.zeros(m.shape, np.float32)
    for u, i, r in zip(x.user_codes, x.item_codes, x.ratings): loop[u, i] += r
    assert (x.matrix().toarray() == loop).all()

def test_rows_keep_vocabularies_and_compact_drops_them(six):
    films, _ = six
    part = films.rows(films.ratings == 1)
    assert part.n_users == 6 and part.n_items == 4 and part.active_users.tolist() == [True, False, True, True, True, True]
    small = part.compact()
    assert list(small.users) == ["Ada", "Cy", "Di", "Ed", "Flo"] and list(small.items) == ["Alien", "Solaris", "Casablanca", "Notorious"]
    assert small.fingerprint() == part.fingerprint() and small.compact().users.equals(small.users)
    assert films.rows(np.array([], int)).compact().matrix().shape == (0, 0)

def test_with_users(six):
    films, books = six
    wider = films.with_users(["Zoe", *films.users[::-1]])
    assert wider.fingerprint() == films.fingerprint() and wider.user_index("Flo").tolist() == [1] and wider.matrix().shape == (7, 4)
    with pytest.raises(UnknownUserError): films.with_users(films.users[1:])

def test_unknown_ids_are_named_errors(six):
    films, _ = six
    with pytest.raises(UnknownUserError, match=r"first \['ada', '7'\].*known ids look like"): films.user_index(["ada", 7, "Bo"])
    with pytest.raises(UnknownItemError): films.item_index("Dune")
    assert issubclass(UnknownUserError, (UnknownIdError, KeyError))
    with pytest.raises(ValueError, match="binary"): films.matrix("ratings")


# --- files -------------------------------------------------------------------------------------------------------------------
@settings(**QUIET, max_examples=40)
@given(domains(), st.sampled_from(FORMATS))
def test_read_gives_back_what_was_written(tmp_path, x, ending):
    if ending == ".pq": ending = ".parquet"
    back = Interactions.read(x.write(tmp_path / f"x{ending}"))
    pd.testing.assert_frame_equal(back.frame, x.frame)
    assert back.users.equals(x.users) and back.items.equals(x.items) and back.fingerprint() == x.fingerprint()

@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_and_name(six, tmp_path, ending):
    path = six[0].write(tmp_path / f"my.films{ending}")
    back = Interactions.read(str(path))
    assert back.fingerprint() == six[0].fingerprint() and back.name == "my" and back.report.origin == str(path)
    assert Interactions.read(path, name="films").name == "films"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]

def test_written_gzip_is_the_same_bytes_each_time(six, tmp_path):
    assert six[0].write(tmp_path / "a.csv.gz").read_bytes() == six[0].write(tmp_path / "a.csv.gz").read_bytes()

@pytest.mark.parametrize("text, options", [
    ("who;what;stars\nAda;Dune;5\n", dict(user="who", item="what", rating="stars", separator=";")),
    ("who|what|x|stars\nAda|Dune|9|5\n", dict(user="who", item="what", rating="stars", separator="|")),
    ('"who","what","stars"\n"Ada","Dune","5.0"\n', dict(user="who", item="what", rating="stars")),
    ("Ada,Dune,5\n", dict(names=["user_id", "item_id", "rating"])),
    ("\ufeffuser_id,item_id,rating\r\nAda,Dune,5\r\n", {}),
    ('user_id,item_id,rating,review\nAda,Dune,5,"two\nlines, quoted"\n', {}),
])
def test_shapes_of_text(tmp_path, text, options):
    x = read_text(tmp_path, text, **options)
    assert x.frame.to_dict("list") == {"user_id": ["Ada"], "item_id": ["Dune"], "rating": [5.0]}

@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_other_encodings(tmp_path, encoding):
    path = tmp_path / "x.csv"; path.write_bytes("user_id,item_id\nZoé,Dune\n".encode(encoding))
    assert list(Interactions.read(path, encoding=encoding).users) == ["Zoé"]
    with pytest.raises(EncodingError, match="encoding="): Interactions.read(path)

@pytest.mark.parametrize("kind", [str, "category"])
def test_parquet_in_many_row_groups(tmp_path, kind):
    "Each row group has a dictionary of its own, of equal length and other content."
    import pyarrow as pa, pyarrow.parquet as pq
    frame = pd.DataFrame({"user_id": list("abcdab"), "item_id": list("xyzwyx"), "rating": [1.0, 2, 3, 4, 5, 6]})
    with pq.ParquetWriter(tmp_path / "x.parquet", pa.Table.from_pandas(frame.iloc[:2].astype({"user_id": kind, "item_id": kind}), preserve_index=False).schema) as w:
        for at in (0, 2, 4): w.write_table(pa.Table.from_pandas(frame.iloc[at:at + 2].astype({"user_id": kind, "item_id": kind}), preserve_index=False))
    pd.testing.assert_frame_equal(Interactions.read(tmp_path / "x.parquet").frame, Interactions.from_frame(frame).frame)

def test_text_in_many_blocks(tmp_path):
    "Longer than one block of the reader, with ids that first appear late."
    n = 300_000
    frame = pd.DataFrame({"user_id": "a-rather-long-user-id-" + pd.Series(range(n)).floordiv(3).astype(str), "item_id": pd.Series(range(n)) % 1000, "rating": 1.0})
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert (tmp_path / "x.csv").stat().st_size > 1 << 23
    x = Interactions.read(tmp_path / "x.csv")
    assert x.n_users == n // 3 and x.fingerprint() == Interactions.from_frame(frame).fingerprint()

def test_implicit_explicit_and_times(tmp_path):
    text = "user_id,item_id,rating,timestamp\nAda,Dune,5,100\nBo,Emma,4,200\n"
    assert read_text(tmp_path, text).timestamps.tolist() == [100, 200]
    assert not read_text(tmp_path, text, rating=None).is_explicit and read_text(tmp_path, text, timestamp=None).timestamps is None
    dated = read_text(tmp_path, "user_id,item_id,when\nAda,Dune,1970-01-02\nBo,Emma,1970-01-01 00:01:00\n", timestamp="when")
    assert dated.timestamps.tolist() == [86400, 60] and not dated.is_explicit
    frame = pd.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": pd.to_datetime(["1970-01-01 00:00:05"])})
    assert Interactions.from_frame(frame).timestamps.tolist() == [5]


# --- ids ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ids, expected", [
    (["0441013597", "007"], ["0441013597", "007"]),           # leading zeros stay
    ([" a", "b "], ["a", "b"]), (["1.0", "2.0"], ["1", "2"]), (["1.0", "2"], ["1", "2"]),
    (["1.0", "x"], ["1.0", "x"]), (["1.5", "2.0"], ["1.5", "2.0"]), (["v1.0", "v2.0"], ["v1.0", "v2.0"]), (["True", "1"], ["True", "1"]),
])
def test_text_ids(tmp_path, ids, expected):
    frame = pd.DataFrame({"user_id": ids, "item_id": ["i", "j"]})
    assert list(Interactions.from_frame(frame).users) == expected
    assert list(read_text(tmp_path, "user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i in zip(ids, "ij"))).users) == expected

@pytest.mark.parametrize("ids", [np.array([1, 20]), np.array([1.0, 20.0]), pd.array([1, 20], dtype="Int64"), pd.Categorical([1, 20]), np.array([1, 20], object), np.array(["1", 20.0], object)])
def test_numbers_as_ids(tmp_path, ids):
    frame = pd.DataFrame({"user_id": ids, "item_id": ["i", "j"]})
    assert list(Interactions.from_frame(frame).users) == ["1", "20"]
    if frame.user_id.dtype != object:
        frame.to_parquet(tmp_path / "x.parquet")
        assert list(Interactions.read(tmp_path / "x.parquet").users) == ["1", "20"]

def test_rewritten_ids_are_in_the_report(tmp_path):
    x = read_text(tmp_path, "user_id,item_id\n1.0, i\n2.0,i\n")
    assert x.report.table.step.tolist() == ["read", "whole-number user ids", "trim item ids"] and x.n_items == 1
    assert x.report.table.why.tolist()[1:] == ["2 ids were written like 1.0", "1 ids had spaces around them"]


# --- bad input: the error's name and what the message must tell -----------------------------------------------------------------
HEAD = "user_id,item_id,rating\n"
BAD = {
    "missing user column": ("who,item_id,rating\na,b,1\n", {}, ColumnError, r"'user_id'.*present: \['who', 'item_id', 'rating'\].*pass user="),
    "missing item column": ("user_id,what\na,b\n", {}, ColumnError, "pass item="),
    "missing rating column": (HEAD + "a,b,1\n", dict(rating="stars"), ColumnError, "'stars'.*pass rating="),
    "missing time column": (HEAD + "a,b,1\n", dict(timestamp="when"), ColumnError, "pass timestamp="),
    "other separator": ("user_id;item_id\na;b\n", {}, ColumnError, "separator=';'"),
    "column twice": ("user_id,item_id,item_id\na,b,c\n", {}, ColumnError, "2 columns named 'item_id'"),
    "one column two jobs": (HEAD + "a,b,1\n", dict(item="user_id"), ColumnError, "two jobs"),
    "null user": (HEAD + "a,b,1\n,b,2\n", {}, NullIdError, "without a user.*row 2.*missing='drop'"),
    "null item": (HEAD + "a,nan,1\n", {}, NullIdError, "without an item.*row 1"),
    "empty rating": (HEAD + "a,b,\n", {}, RatingError, "without a rating.*row 1.*missing='drop'.*rating=None"),
    "nan rating": (HEAD + "a,b,1\nc,d,NaN\n", {}, RatingError, "row 2"),
    "infinite rating": (HEAD + "a,b,inf\n", {}, RatingError, "infinite.*row 1"),
    "minus infinity": (HEAD + "a,b,-inf\n", dict(missing="drop"), RatingError, "infinite"),
    "too large": (HEAD + "a,b,1e300\n", {}, RatingError, "infinite"),
    "mixed types": (HEAD + "a,b,5\nc,d,five\n", {}, RatingError, "mixes types.*1 of 2.*'five' in row 2"),
    "decimal comma": ("user_id;item_id;rating\na;b;4,5\n", dict(separator=";"), RatingError, "'4,5'.*decimal point"),
    "bad time": ("user_id,item_id,timestamp\na,b,soon\n", {}, TimestampError, "'soon'.*timestamp=None"),
    "infinite time": ("user_id,item_id,timestamp\na,b,inf\n", {}, TimestampError, "1 infinite time.*row 1.*timestamp=None"),
    "time beyond int64": ("user_id,item_id,timestamp\na,b,1\nc,d,1e19\n", {}, TimestampError, "infinite.*row 2"),
    "no time": ("user_id,item_id,timestamp\na,b,\n", {}, TimestampError, "without a timestamp"),
    "empty file": (b"", {}, EmptyDataError, "0 bytes"),
    "header only": (HEAD, {}, EmptyDataError, "no rows"),
    "header without newline": (b"user_id,item_id", {}, EmptyDataError, "no rows"),
    "empty lines": (b"\n\n  \n", {}, EmptyDataError, "begins with an empty line"),
    "only a byte-order mark": (b"\xef\xbb\xbf", {}, EmptyDataError, "begins with an empty line"),
    "utf-16 without its mark": ("user_id,item_id\na,b\n".encode("utf-16-le"), {}, EncodingError, "utf-16-le"),
    "gzip in disguise": (gzip.compress(HEAD.encode()), {}, EncodingError, "not readable as utf-8"),
    "no user column wanted": (HEAD + "a,b,1\n", dict(user=None), ColumnError, "user=None.*pass user="),
    "all rows incomplete": (HEAD + ",b,1\n", dict(missing="drop"), EmptyDataError, "no complete row"),
    "not utf-8": ("user_id,item_id\nZoé,b\n".encode("latin-1"), {}, EncodingError, "encoding='latin-1'"),
    "header not utf-8": ("usér,item_id\na,b\n".encode("latin-1"), {}, EncodingError, "encoding="),
    "utf-16": ("user_id,item_id\na,b\n".encode("utf-16"), {}, EncodingError, "utf-16"),
    "unknown encoding": (HEAD + "a,b,1\n", dict(encoding="klingon"), EncodingError, "klingon"),
    "ragged rows": (HEAD + "a,b,1\nc,d\n", {}, FileFormatError, "3"),
    "parquet in disguise": (b"PAR1....PAR1", {}, FileFormatError, "is a Parquet file"),
    "copies": (HEAD + "a,b,1\na,b,1\n", {}, DuplicateRowsError, "1 exact and 0 contradicting.*duplicates='exact'"),
    "contradiction": (HEAD + "a,b,1\na,b,2\n", dict(duplicates="exact"), DuplicateRowsError, "0 exact and 1 contradicting.*'first'"),
}

@pytest.mark.parametrize("case", BAD)
def test_bad_text_is_a_named_error(tmp_path, case):
    content, options, error, message = BAD[case]
    with pytest.raises(error, match=message) as e: read_text(tmp_path, content, **options)
    assert isinstance(e.value, DataError) and isinstance(e.value, BookError)

@pytest.mark.parametrize("case", [c for c, (text, options, *_) in BAD.items() if isinstance(text, str) and not {"separator", "encoding"} & set(options)
                                  and c not in ("other separator", "ragged rows", "one column two jobs", "column twice", "all rows incomplete")])
def test_from_frame_makes_the_same_checks(tmp_path, case):
    text, options, error, _ = BAD[case]
    (tmp_path / "x.csv").write_text(text)
    frame = pd.read_csv(tmp_path / "x.csv")
    with pytest.raises(error): Interactions.from_frame(frame, **options)

def test_bad_paths(tmp_path, six):
    with pytest.raises(FileFormatError, match="is a folder"): Interactions.read(tmp_path)
    (tmp_path / "books.csv").write_text(HEAD)
    with pytest.raises(MissingFileError, match=r"holds \['books.csv'\]"): Interactions.read(tmp_path / "film.csv")
    with pytest.raises(FileNotFoundError): Interactions.read(tmp_path / "no/where.csv")
    for name in ("x.xlsx", "x", "x.gz"):
        (tmp_path / name).write_bytes(b"a")
        with pytest.raises(FileFormatError, match="extension"): Interactions.read(tmp_path / name)
        with pytest.raises(FileFormatError, match="extension"): six[0].write(tmp_path / name)
    (tmp_path / "x.txt").write_text(HEAD)
    with pytest.raises(FileFormatError, match="separator="): Interactions.read(tmp_path / "x.txt")

def test_damaged_files(tmp_path, six):
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(FileFormatError, match="gzip"): Interactions.read(tmp_path / "a.csv.gz")
    whole = six[0].write(tmp_path / "b.csv.gz").read_bytes()
    (tmp_path / "b.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError): Interactions.read(tmp_path / "b.csv.gz")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and nothing that follows")
    with pytest.raises(FileFormatError, match="damaged"): Interactions.read(tmp_path / "c.parquet")
    (tmp_path / "d.parquet").write_text(HEAD)
    with pytest.raises(FileFormatError, match="is not a Parquet"): Interactions.read(tmp_path / "d.parquet")

@pytest.mark.parametrize("ending", [".csv.gz", ".parquet", ".parquet.gz"])
def test_a_file_damaged_anywhere_is_a_named_error_or_reads(tmp_path, ending):
    "Thirty bytes are overwritten at many places: never an unnamed error."
    films = Interactions.from_frame(pd.DataFrame({"user_id": np.arange(3000) % 301, "item_id": np.arange(3000) // 301, "rating": np.arange(3000) % 5}))
    whole, refused = films.write(tmp_path / f"x{ending}").read_bytes(), 0
    for at in np.linspace(0, len(whole) - 30, 25).astype(int):
        (tmp_path / f"x{ending}").write_bytes(whole[:at] + b"\x55" * 30 + whole[at + 30:])
        try: Interactions.read(tmp_path / f"x{ending}")
        except DataError: refused += 1
    assert refused > 5
    (tmp_path / f"x{ending}").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(FileFormatError): Interactions.read(tmp_path / f"x{ending}")

@pytest.mark.parametrize("columns, message", [
    (([0, 0], [0]), "lengths"), (([0], [0], [1.0, 2.0]), "lengths"), (([0], [0], None, [1, 2]), "lengths"), (([1], [0]), "user codes run from 1 to 1"), (([0], [-1]), "item codes run from -1")])
def test_the_constructor_checks_codes(columns, message):
    with pytest.raises(DataError, match=message): Interactions(["a"], ["b"], *columns)

def test_things_that_are_no_table(tmp_path, six):
    with pytest.raises(DataError, match="got str.*Interactions.read"): Interactions.from_frame("films.csv")
    with pytest.raises(DataError, match="got DataFrame.*from_frame"): DomainPair(*six_users())
    lists = pd.DataFrame({"user_id": [["a"], ["b"]], "item_id": ["i", "j"]})
    with pytest.raises(DataError, match="'user_id' cannot hold ids"): Interactions.from_frame(lists)
    lists.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="'user_id' cannot hold ids"): Interactions.read(tmp_path / "x.parquet")
    with pytest.raises(EncodingError, match="no UTF-8"): Interactions.from_frame(pd.DataFrame({"user_id": [b"\xff"], "item_id": ["i"]}))
    with pytest.raises(NullIdError): Interactions.from_frame(pd.DataFrame({"user_id": [np.inf, 1.0], "item_id": ["i", "j"]}))
    with pytest.raises(UnknownUserError, match="1 unknown"): six[0].user_index(1.5)

def test_bad_options_are_refused():
    frame = six_users()[0]
    with pytest.raises(ValueError, match="first"): Interactions.from_frame(frame, duplicates="latest")
    with pytest.raises(ValueError, match="drop"): Interactions.from_frame(frame, missing="fill")

@pytest.mark.parametrize("ratings", [[5, "five"], [5, None], [5.0, np.inf], ["5", "x"]])
def test_bad_rating_columns_in_a_frame(ratings):
    frame = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["i", "i"], "rating": pd.Series(ratings, dtype=object)})
    with pytest.raises(RatingError): Interactions.from_frame(frame)

@pytest.mark.parametrize("ratings", [["5", "4.5"], pd.array([5, 4], dtype="Int64"), pd.Categorical([5, 4]), [True, False]])
def test_ratings_that_are_numbers_after_all(ratings):
    x = Interactions.from_frame(pd.DataFrame({"user_id": ["a", "b"], "item_id": ["i", "i"], "rating": ratings}))
    assert x.ratings.tolist() == [float(r) for r in ratings]


# --- cleaning ----------------------------------------------------------------------------------------------------------------
LOG = pd.DataFrame({"user_id": list("aaabbc"), "item_id": list("xxxyyz"), "rating": [4.0, 4.0, 1.0, 2.0, 2.0, 5.0], "timestamp": [30, 30, 10, 5, 6, 7]})

@pytest.mark.parametrize("policy, ratings, times", [
    ("first", [1, 2, 5], [10, 5, 7]), ("last", [4, 2, 5], [30, 6, 7]), ("mean", [2.5, 2, 5], [30, 6, 7]), ("max", [4, 2, 5], [30, 6, 7]), ("sum", [9, 4, 5], [30, 6, 7])])
def test_duplicate_policies_by_hand(policy, ratings, times):
    x = Interactions.from_frame(LOG, duplicates=policy)
    assert {(r.user_id, r.item_id): (r.rating, r.timestamp) for r in x.frame.itertuples()} == dict(zip([("a", "x"), ("b", "y"), ("c", "z")], zip(ratings, times)))
    line = x.report.table.iloc[-1]
    assert line.step == f"duplicates: {policy}" and (line["rows before"], line["rows after"]) == (6, 3) and line.why == "2 pair(s) stood in 5 rows: 1 exact copies, 2 contradictions"

def test_duplicates_without_times_go_by_row_order():
    log = LOG.drop(columns="timestamp")
    assert Interactions.from_frame(log, duplicates="first").ratings.tolist() == [4, 2, 5]
    assert sorted(Interactions.from_frame(log, duplicates="last").ratings.tolist()) == [1, 2, 5]

def test_duplicates_of_implicit_rows():
    log = LOG[["user_id", "item_id"]]
    assert not Interactions.from_frame(log, duplicates="exact").is_explicit and len(Interactions.from_frame(log, duplicates="exact")) == 3
    counts = Interactions.from_frame(log, duplicates="sum")
    assert counts.is_explicit and counts.matrix().toarray().diagonal().tolist() == [3, 2, 1]
    assert Interactions.from_frame(LOG.iloc[[0, 1, 5]], duplicates="exact").ratings.tolist() == [4, 5]

def test_no_duplicates_no_line():
    x = Interactions.from_frame(six_users()[0], duplicates="last")
    assert x.report.table.step.tolist() == ["read"]

@settings(**QUIET, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 5)), min_size=1, max_size=15), st.sampled_from(["first", "last", "mean", "max", "sum"]))
def test_duplicate_policies_against_pandas(rows, policy):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    x = Interactions.from_frame(frame, duplicates=policy).frame.set_index(["user_id", "item_id"]).rating
    reference = (frame if policy == "sum" else frame.drop_duplicates()).groupby(["user_id", "item_id"]).rating.agg(policy)
    if policy == "last": reference = frame.drop_duplicates().drop_duplicates(["user_id", "item_id"], keep="last").set_index(["user_id", "item_id"]).rating
    assert np.allclose(x.sort_index(), reference.sort_index()) and len(x) == len(reference)

def test_missing_rows_dropped_with_a_report(tmp_path):
    x = read_text(tmp_path, HEAD + "a,i,1\n,i,2\nb,,3\nc,j,\nd,k,4\n", missing="drop")
    assert list(x.users) == ["a", "d"] and list(x.items) == ["i", "k"] and x.ratings.tolist() == [1, 4]
    t = x.report.table
    assert t.step.tolist() == ["read", "drop rows without user", "drop rows without item", "drop rows without rating"]
    assert t["rows after"].tolist() == [5, 4, 3, 2] and t["users after"].tolist() == [4, 4, 3, 2]
    assert "<table" in x.report._repr_html_()

def test_swapped_columns_known_by_their_users(six, tmp_path):
    films, books = six
    path = books.write(tmp_path / "books.csv")
    assert len(Interactions.read(path, known_users=films.users)) == 16
    with pytest.raises(SwappedColumnsError, match="user='user_id', item='item_id'"): Interactions.read(path, user="item_id", item="user_id", known_users=films.users)
    with pytest.raises(SwappedColumnsError): Interactions.from_frame(pd.DataFrame({"user_id": list("xyz"), "item_id": [1, 2, 3]}), known_users=[1, 2, 3])
    with pytest.raises(SwappedColumnsError): DomainPair(films, Interactions.read(path, user="item_id", item="user_id"))
    with pytest.raises(SwappedColumnsError): DomainPair(Interactions.read(path, user="item_id", item="user_id"), films)

def test_numbered_ids_are_not_taken_for_swapped():
    number = lambda seed: Interactions.from_frame(pd.DataFrame({"user_id": range(40), "item_id": rng("test/numbers", seed).permutation(40)}))
    assert DomainPair(number(0), number(1)).shared.all()

def test_binarize(six):
    films, _ = six
    yes = films.binarize(4)
    assert not yes.is_explicit and len(yes) == (films.ratings >= 4).sum() and yes.users.equals(films.users) and yes.items.equals(films.items)
    assert (yes.matrix().toarray() == (films.matrix().toarray() >= 4)).all() and len(films.binarize()) == 19
    assert films.is_explicit and yes.report.table.step.tolist() == ["read", "binarize"] and len(films.report.steps) == 1
    with pytest.raises(RatingError): yes.binarize(4)


# --- k-core ------------------------------------------------------------------------------------------------------------------
def core_by_single_rows(rows, p, q, random):
    rows = set(rows)
    while True:
        bad = sorted(r for r in rows if sum(x[0] == r[0] for x in rows) < p or sum(x[1] == r[1] for x in rows) < q)
        if not bad: return rows
        rows.remove(random.choice(bad))

@settings(**QUIET, max_examples=80)
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_k_core_is_the_unique_largest_and_idempotent(rows, p, q, random):
    x = Interactions.from_frame(pd.DataFrame(sorted(rows), columns=["user_id", "item_id"]))
    core = x.k_core(p, q)
    as_set = lambda y: set(zip(y.frame.user_id.astype(int), y.frame.item_id.astype(int)))
    assert as_set(core) == core_by_single_rows(rows, p, q, random)
    assert core.k_core(p, q).fingerprint() == core.fingerprint()
    order = list(range(len(x))); random.shuffle(order)
    assert x.rows(np.array(order)).k_core(p, q).fingerprint() == core.fingerprint()
    m = core.matrix("binary")
    assert len(core) == 0 or (m.sum(axis=1).min() >= p and m.sum(axis=0).min() >= q)

def test_k_core_report_counts_rounds():
    chain = pd.DataFrame({"user_id": ["a", "a", "b", "b", "c", "c"], "item_id": ["x", "y", "y", "z", "z", "w"]})     # x-a-y-b-z-c-w
    core = Interactions.from_frame(chain, name="chain").k_core(2, 2)
    line = core.report.table.iloc[-1]
    assert len(core) == 0 and core.n_users == 0 and line.why == "user >= 2, item >= 2: stable after 3 rounds"
    assert line[["rows before", "rows after", "users before", "users after", "items before", "items after"]].tolist() == [6, 0, 3, 0, 4, 0]


# --- summaries and pairs -------------------------------------------------------------------------------------------------------
def test_describe(six):
    line = six[0].describe().loc["films"]
    assert line["density"] == 19 / 24 and line["feedback"] == "explicit" and line["median per item"] == 5 and line["mean rating"] == pytest.approx(62 / 19)
    assert Interactions(["a"], ["b"], [], []).describe()["rows"].item() == 0

def test_pair_by_hand(six):
    pair = DomainPair(*six)
    assert pair.source.users is pair.target.users or pair.source.users.equals(pair.target.users)
    assert pair.source.matrix().shape == pair.target.matrix().shape == (6, 4)
    assert list(pair.shared_users) == ["Ada", "Bo", "Cy", "Di", "Ed"] and pair.target.matrix().toarray()[5].sum() == 0
    told = pair.describe()
    assert told["shared users"].tolist() == [5, 5] and told["share of its users"].tolist() == [5 / 6, 1] and told["jaccard"].tolist() == [5 / 6] * 2
    assert pair.swap().source.fingerprint() == six[1].fingerprint() and pair.require_shared(5) is pair
    with pytest.raises(NoSharedUsersError, match="5 users.*at least 6"): pair.require_shared(6)

@settings(**QUIET, max_examples=40)
@given(st.sets(st.sampled_from("abcdefgh"), min_size=1), st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_rows_of_a_pair_are_people(source, target):
    make = lambda users, mark: Interactions.from_frame(pd.DataFrame({"user_id": sorted(users), "item_id": [mark + u for u in sorted(users)]}))
    pair = DomainPair(make(source, "s"), make(target, "t"))
    assert set(pair.users) == source | target and set(pair.shared_users) == source & target and pair.users.is_unique
    for domain, users in ((pair.source, source), (pair.target, target)):
        m = domain.matrix().toarray()
        assert {u for u, row in zip(pair.users, m) if row.any()} == users
        assert all(domain.items[row.argmax()][1:] == u for u, row in zip(pair.users, m) if row.any())

def test_one_domain_twice(six, tmp_path):
    films, _ = six
    with pytest.raises(SameDomainError, match="same Interactions object"): DomainPair(films, films)
    with pytest.raises(SameDomainError, match="one domain was given twice"): DomainPair(films, films.rows(np.arange(19)[::-1]))
    path = films.write(tmp_path / "films.csv")
    with pytest.raises(SameDomainError): DomainPair(Interactions.read(path), Interactions.read(path, name="books"))
    with pytest.raises(SameDomainError, match="films.csv"): DomainPair(Interactions.read(path), Interactions.read(path).binarize(4))

def test_single(six):
    pair = DomainPair.single(six[0])
    assert pair.source.n_items == 0 and len(pair.source) == 0 and pair.source.matrix().shape == (6, 0) and pair.target.fingerprint() == six[0].fingerprint()
    with pytest.raises(NoSharedUsersError): pair.require_shared()
    assert DomainPair.single(pair.target.rows(slice(0, 0))).shared.sum() == 0
