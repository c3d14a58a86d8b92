"""Graded exercises from one source each (`nbs/exercises/*.ipynb`, nbgrader's format).

    python tools/exercises.py release [--to FOLDER]     student copies: no solutions, no hidden tests, no outputs
    python tools/exercises.py grade FILE.ipynb [--json]  run a student's notebook with the hidden tests put back

A solution cell and the test cell after it form an exercise; the test cell's id is `test-` + the solution's id.
A failing assertion's message is the hint: it says what is wrong and where the book explains it.
"""
import argparse, json, os, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "nbs" / "exercises"

def read(path):
    "A notebook, or a clear error."
    import nbformat
    try: return nbformat.read(path, 4)
    except FileNotFoundError: sys.exit(f"no such file: {path}")
    except Exception as e: sys.exit(f"{path} is not a notebook: {type(e).__name__}: {e}")

def grader(cell): return cell["metadata"].get("nbgrader", {})
def grade_id(cell): return grader(cell).get("grade_id")
def is_test(cell): return bool(grader(cell).get("grade"))
def is_solution(cell): return bool(grader(cell).get("solution"))

def student_copy(nb):
    "What a student gets, made by nbgrader's own preprocessors."
    from nbgrader.preprocessors import ClearHiddenTests, ClearOutput, ClearSolutions, LockCells
    from traitlets.config import Config
    config = Config(); config.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
    for step in (LockCells, ClearSolutions, ClearHiddenTests, ClearOutput): nb, _ = step(config=config).preprocess(nb, {})
    for c in nb.cells:
        if c.cell_type == "code": c.execution_count = None
    return nb

def release(folder, quiet=False):
    "Write a student copy of every source into `folder`."
    import nbformat
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(SOURCES.glob("*.ipynb")):
        tmp = folder / f".{path.name}"
        nbformat.write(student_copy(read(path)), tmp); os.replace(tmp, folder / path.name)
        if not quiet: print(folder / path.name)

def assemble(source, student):
    "The source notebook with the student's solutions, and the student's own extra cells before the solution that follows them."
    answers = {grade_id(c): c.source for c in student.cells if is_solution(c)}
    known = {grade_id(c) for c in source.cells if grade_id(c)}
    extra, pending = {}, []
    locked = {c.source for c in student_copy(read_again(source)).cells}
    for c in student.cells:
        if is_solution(c): extra[grade_id(c)], pending = pending, []
        elif c.cell_type == "code" and grade_id(c) not in known and c.source not in locked: pending.append(c)
    cells = []
    for c in source.cells:
        if is_solution(c):
            cells += extra.get(grade_id(c), [])
            c.source = answers.get(grade_id(c), "raise NotImplementedError()  # this cell is missing from the notebook")
        cells.append(c)
    source.cells = cells
    return source

def read_again(nb):
    import nbformat
    return nbformat.reads(nbformat.writes(nb), 4)

def message(cell):
    "None if a test cell passed, else its hint."
    for o in cell.outputs:
        if o.output_type == "error": return f"{o.evalue}" if o.ename == "AssertionError" and o.evalue else f"{o.ename}: {o.evalue}".strip(": ")
    return None

def grade(path, timeout=120):
    "A row per exercise: id, points, passed, hint."
    from nbclient import NotebookClient
    student = read(path)
    ids = {grade_id(c) for c in student.cells if is_solution(c)}
    known = {p: ids & {grade_id(c) for c in read(p).cells if is_solution(c)} for p in sorted(SOURCES.glob("*.ipynb"))}
    best = max(known, key=lambda p: len(known[p]))
    if not known[best]: sys.exit(f"{path} holds no exercise of this book (no solution cell that a source in {SOURCES.relative_to(ROOT)} knows)")
    nb = assemble(read(best), student)
    NotebookClient(nb, timeout=timeout, kernel_name="python3", allow_errors=True, interrupt_on_timeout=True,
                   resources={"metadata": {"path": str(SOURCES)}}).execute()
    rows, written = [], {grade_id(c): message(c) for c in nb.cells if is_solution(c)}
    for c in nb.cells:
        if is_test(c):
            solution, hint = written.get(grade_id(c).removeprefix("test-")), message(c)
            if hint and solution: hint = f"{solution} (in the answer itself)"
            rows.append({"exercise": grade_id(c).removeprefix("test-"), "points": grader(c)["points"], "passed": hint is None, "hint": hint or ""})
    return rows

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    r = sub.add_parser("release"); r.add_argument("--to", type=Path, default=ROOT / "_build" / "exercises"); r.add_argument("--quiet", action="store_true")
    g = sub.add_parser("grade"); g.add_argument("file", type=Path); g.add_argument("--json", action="store_true")
    args = ap.parse_args()
    if args.what == "release": return release(args.to, args.quiet)
    rows = grade(args.file)
    if args.json: print(json.dumps(rows, indent=1))
    else:
        for row in rows: print(f"{'pass' if row['passed'] else 'FAIL'}  {row['exercise']:<24} {row['points'] if row['passed'] else 0}/{row['points']}  {re.sub(chr(10), ' ', row['hint'])}")
        print(f"{sum(x['points'] for x in rows if x['passed'])} of {sum(x['points'] for x in rows)} points")
    sys.exit(0 if all(x["passed"] for x in rows) else 1)

if __name__ == "__main__": main()
