"""The comparison of outputs must catch a changed number and a changed word, and let formatting pass."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from run_book import compare, differs


@pytest.mark.parametrize("old, new", [("a 1.000 b", "a 1.005 b"), ("x    1.0\ny   22.0", "x 1.0\ny  22.0"), ("1e-3", "0.001"), ("", "")])
def test_same(old, new): assert differs(old, new) is None


@pytest.mark.parametrize("old, new", [("a 1.00 b", "a 1.03 b"), ("holds", "fails"), ("1 2 3", "1 2"), ("-1.0", "1.0"), ("", "x")])
def test_different(old, new): assert differs(old, new)


def cell(source, text, name="stdout"): return {"cell_type": "code", "source": source, "outputs": [{"output_type": "stream", "name": name, "text": text}]}


def test_a_changed_output_is_named_and_a_cell_can_opt_out():
    assert compare([cell("f()", "1.0")], [cell("f()", "2.0")]) == ["cell 0 (f()): 1 -> 2"]
    assert compare([cell("#| compare: false\nf()", "1.0")], [cell("#| compare: false\nf()", "2.0")]) == []
    assert compare([cell("f()", "1.0")], [cell("f()", "1.0", "stderr")])
