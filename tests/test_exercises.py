"""The exercises grade themselves: solutions pass, every planted wrong answer fails with its own hint, student copies hold no answers."""
import json, re, subprocess, sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import exercises as tool

SOURCES = sorted(tool.SOURCES.glob("*.ipynb"))
by_source = pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)


def wrong_answers(path):
    "Planted wrong answers of a source: (exercise, name, hint that must appear, code). The file sits beside the source."
    text = path.with_suffix(".wrong.py").read_text(encoding="utf-8")
    out = []
    for block in re.split(r"^# %% ", text, flags=re.M)[1:]:
        head, hint, code = block.split("\n", 2)
        exercise, name = (s.strip() for s in head.split(":", 1))
        out.append((exercise, name, hint.removeprefix("# hint:").strip(), code))
    return out


ALL_WRONG = [(p, *w) for p in SOURCES for w in wrong_answers(p)]


def run_to(path, exercise, answer):
    "Run the source up to the test of one exercise, with `answer` in the place of its solution; the error of the test cell or None."
    space = {"__name__": "student"}
    for c in nbformat.read(path, 4).cells:
        if c.cell_type != "code": continue
        here = tool.grade_id(c)
        if tool.is_test(c):
            if here != f"test-{exercise}": continue
            try: exec(compile(c.source, here, "exec"), space)
            except Exception as e: return e
            return None
        exec(compile(answer if here == exercise else c.source, here or "cell", "exec"), space)
    raise AssertionError(f"no test cell for {exercise}")


def ids(path): return [tool.grade_id(c) for c in nbformat.read(path, 4).cells if tool.is_solution(c)]


def test_exercise_ids_are_unique_in_the_book():
    every = [i for p in SOURCES for i in ids(p)]
    assert len(every) == len(set(every))


def test_these_chapters_have_exercises():
    assert {p.stem for p in SOURCES} == {"04_splits", "05_metrics", "07_training", "09_factorization", "10_linear_mapping", "11_nonlinear_mapping", "12_alignment", "13_finetuning", "14_multitask", "15_vae", "16_cross_domain_vae", "17_knowledge", "18_graph", "19_text", "20_language_model", "21_portraits", "27_benchmark", "28_cli"}
    page = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
    assert [p.stem for p in SOURCES if f'href="../exercises/{p.stem}.ipynb"' not in page] == [], "missing on the page of exercises"


@by_source
def test_every_exercise_has_three_planted_wrong_answers_with_hints_of_their_own(path):
    planted = wrong_answers(path)
    for exercise in ids(path):
        mine = [w for w in planted if w[0] == exercise]
        assert len(mine) >= 3, f"{exercise}: {len(mine)} planted wrong answers"
        assert len({w[2] for w in mine}) == len(mine), f"{exercise}: two wrong answers share a hint"
    assert {w[0] for w in planted} == set(ids(path))


@pytest.mark.parametrize("path, exercise, name, hint, code", ALL_WRONG, ids=lambda v: v.stem if isinstance(v, Path) else None)
def test_planted_wrong_answer_fails_with_its_own_hint(path, exercise, name, hint, code):
    error = run_to(path, exercise, code)
    assert isinstance(error, AssertionError), f"{exercise} / {name}: {'passed' if error is None else repr(error)}"
    assert hint in str(error), f"{exercise} / {name}: said {error!s}"
    assert re.search(rf"{path.stem}\.ipynb#[\w-]+", str(error)), "the hint must link to the section"


@by_source
def test_hints_link_to_sections_that_exist(path):
    chapter = (ROOT / "nbs" / path.name).read_text(encoding="utf-8")
    for anchor in re.findall(rf"{path.stem}\.ipynb#([\w-]+)", path.read_text(encoding="utf-8")): assert f'<a id=\\"{anchor}\\"></a>' in chapter, anchor


@by_source
def test_the_solution_passes_and_the_untouched_copy_fails(path, tmp_path):
    assert all(r["passed"] for r in tool.grade(path))
    student = tmp_path / path.name
    nbformat.write(tool.student_copy(tool.read(path)), student)
    rows = tool.grade(student)
    assert not any(r["passed"] for r in rows) and all("NotImplementedError" in r["hint"] for r in rows)


@by_source
def test_student_copy_holds_no_answers_and_matches_the_source(path):
    source, copy = tool.read(path), tool.student_copy(tool.read(path))
    text = "\n".join(c.source for c in copy.cells)
    assert "BEGIN SOLUTION" not in text and "HIDDEN" not in text and not any(c.get("outputs") for c in copy.cells)
    for c in source.cells:
        for body in re.findall(r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", c.source, re.S):
            for line in (l.strip() for l in body.split("\n")):
                if len(line) > 30: assert line not in text, line
    assert [tool.grade_id(c) for c in copy.cells] == [tool.grade_id(c) for c in source.cells]
    stubs = {tool.grade_id(c): c.source for c in copy.cells if tool.is_solution(c)}
    for c in source.cells:                                   # the stub keeps the signature of the solution
        if tool.is_solution(c):
            for line in re.findall(r"^def \w+\(", c.source, re.M): assert line in stubs[tool.grade_id(c)]


def test_a_student_cannot_pass_by_editing_the_tests(tmp_path):
    path = SOURCES[0]
    nb = tool.student_copy(tool.read(path))
    for c in nb.cells:
        if tool.is_test(c): c.source = "pass"
    nbformat.write(nb, tmp_path / path.name)
    assert not any(r["passed"] for r in tool.grade(tmp_path / path.name))


def test_grading_from_the_command_line(tmp_path):
    path = SOURCES[-1]
    run = lambda f, *a: subprocess.run([sys.executable, ROOT / "tools" / "exercises.py", "grade", f, *a], capture_output=True, text=True)
    done = run(path)
    assert done.returncode == 0 and "FAIL" not in done.stdout and "points" in done.stdout
    nbformat.write(tool.student_copy(tool.read(path)), tmp_path / "mine.ipynb")
    bad = run(tmp_path / "mine.ipynb", "--json")
    assert bad.returncode == 1 and not any(r["passed"] for r in json.loads(bad.stdout))
    (tmp_path / "x.ipynb").write_text("not a notebook")
    assert run(tmp_path / "x.ipynb").returncode == 1 and "not a notebook" in run(tmp_path / "x.ipynb").stderr
