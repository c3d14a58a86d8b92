"""Fail if the library is not what the notebooks export, or if a notebook is not clean. Changes nothing."""
import ast, json, shutil, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def exported(folder):
    "What the notebooks export now: a copy of nbs/ is exported beside itself, so that paths and relative imports come out as in the repository."
    from nbdev.export import nb_export
    (folder / "interest_book").mkdir()
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "records", "img"))
    for nb in sorted((folder / "nbs").glob("*.ipynb")): nb_export(nb, lib_path=folder / "interest_book")
    return {p.name: p.read_text(encoding="utf-8") for p in (folder / "interest_book").glob("*.py")}

def main():
    problems = []
    with tempfile.TemporaryDirectory() as tmp: fresh = exported(Path(tmp))
    have = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "interest_book").glob("*.py") if not p.name.startswith("_")}
    for name in sorted(fresh.keys() | have.keys()):
        if name.startswith("_"): continue
        if fresh.get(name) != have.get(name): problems.append(f"interest_book/{name} is not what its notebook exports: run `make export`")
    import interest_book._modidx as index
    for name, text in fresh.items():
        listed = {s.rsplit(".", 1)[1] for s in index.d["syms"].get(f"interest_book.{Path(name).stem}", {})}
        defined = {n.name for n in ast.parse(text).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        if not defined <= listed: problems.append(f"interest_book/_modidx.py lacks {sorted(defined - listed)} of {name}: run `make export`")
    from nbdev.clean import clean_nb
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts: continue
        before = json.loads(path.read_text(encoding="utf-8"))
        nb = json.loads(path.read_text(encoding="utf-8"))
        clean_nb(nb, allowed_cell_metadata_keys=["tags", "nbgrader"])
        if nb != before: problems.append(f"{path.relative_to(ROOT)} is not clean: run `nbdev_clean`")
    if problems: sys.exit("\n".join(problems))
    print(f"export in step, notebooks clean ({len(fresh)} modules)")

if __name__ == "__main__": main()
