"""Planted wrong answers: each must fail with its own hint. `# %% exercise: name`, then the hint that must appear, then the answer."""
# %% answered-rows: training rows only
# hint: only the training rows were compared
def my_answered(source, train, test, jaccard=0.9, support=3):
    both = source.T @ train
    either = source.sum(0)[:, None] + train.sum(0)[None, :] - both
    twins = (both >= support) & (both >= jaccard * either - 1e-9)
    return int(((source @ twins > 0) & (test > 0)).sum())
# %% answered-rows: all rows that a twin names
# hint: these are all rows that a twin names
def my_answered(source, train, test, jaccard=0.9, support=3):
    books = train + test
    both = source.T @ books
    either = source.sum(0)[:, None] + books.sum(0)[None, :] - both
    return int((source @ ((both >= support) & (both >= jaccard * either - 1e-9)) > 0).sum())
# %% answered-rows: share of the smaller item
# hint: compare with the people who have *either*
def my_answered(source, train, test, jaccard=0.9, support=3):
    books = train + test
    both = source.T @ books
    least = np.minimum(source.sum(0)[:, None], books.sum(0)[None, :])
    twins = (both >= support) & (both >= jaccard * least - 1e-9)
    return int(((source @ twins > 0) & (test > 0)).sum())
# %% answered-rows: no support
# hint: two people are no evidence
def my_answered(source, train, test, jaccard=0.9, support=3):
    books = train + test
    both = source.T @ books
    either = source.sum(0)[:, None] + books.sum(0)[None, :] - both
    twins = (both > 0) & (both >= jaccard * either - 1e-9)
    return int(((source @ twins > 0) & (test > 0)).sum())
# %% table-difference: one pot
# hint: all people were put into one pot
def my_difference(method, baseline): return np.concatenate(method).mean() - np.concatenate(baseline).mean()
# %% table-difference: turned
# hint: the sign is turned
def my_difference(method, baseline): return np.mean([b.mean() - m.mean() for m, b in zip(method, baseline)])
# %% table-difference: added up
# hint: were added up
def my_difference(method, baseline): return sum(m.mean() - b.mean() for m, b in zip(method, baseline))
# %% exit-status: every check is a finding
# hint: counted nothing is no finding
from interest_book.core import BookError
def my_status(findings, error=None):
    if isinstance(error, KeyboardInterrupt): return 130
    if error is not None: return 2 if isinstance(error, (BookError, OSError)) else 3
    return int(any(f["severity"] == "error" for f in findings))
# %% exit-status: warnings too
# hint: it does not forbid to report it
from interest_book.core import BookError
def my_status(findings, error=None):
    if isinstance(error, KeyboardInterrupt): return 130
    if error is not None: return 2 if isinstance(error, (BookError, OSError)) else 3
    return int(any(f["count"] > 0 for f in findings))
# %% exit-status: interrupts are faults
# hint: somebody pressed Ctrl-C
from interest_book.core import BookError
def my_status(findings, error=None):
    if error is not None: return 2 if isinstance(error, (BookError, OSError)) else 3
    return int(any(f["severity"] == "error" and f["count"] > 0 for f in findings))
# %% exit-status: a crash is a finding
# hint: a script would take it for a finding
from interest_book.core import BookError
def my_status(findings, error=None):
    if isinstance(error, KeyboardInterrupt): return 130
    if isinstance(error, (BookError, OSError)): return 2
    return int(error is not None or any(f["severity"] == "error" and f["count"] > 0 for f in findings))
# %% exit-status: only errors about data
# hint: ask for their common class BookError
from interest_book.core import DataError
def my_status(findings, error=None):
    if isinstance(error, KeyboardInterrupt): return 130
    if error is not None: return 2 if isinstance(error, (DataError, OSError)) else 3
    return int(any(f["severity"] == "error" and f["count"] > 0 for f in findings))
# %% exit-status: every ValueError
# hint: a plain ValueError is not raised by this book on purpose
from interest_book.core import BookError
def my_status(findings, error=None):
    if isinstance(error, KeyboardInterrupt): return 130
    if error is not None: return 2 if isinstance(error, (BookError, ValueError, OSError)) else 3
    return int(any(f["severity"] == "error" and f["count"] > 0 for f in findings))
