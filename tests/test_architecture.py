"""The rules of the house: imports point backward, every equation is checked, nothing is typed that should be measured, every public name is documented."""
import ast, importlib, inspect, json, re, subprocess, sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
NBS = sorted((ROOT / "nbs").glob("*.ipynb"))
CHAPTERS = [p for p in NBS if p.stem[0].isdigit()]                          # 00_core: a chapter, exported as a module
APPENDICES = [p for p in NBS if not p.stem[0].isdigit()]                    # B_claims: run and compared like a chapter, exports nothing, may import every module
NUMBER = {p.stem.split("_", 1)[1]: int(p.stem[:2]) for p in CHAPTERS}     # module -> chapter number
MODULES = sorted(NUMBER)
notebook = pytest.mark.parametrize("path", NBS, ids=lambda p: p.stem)
chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
appendix = pytest.mark.parametrize("path", APPENDICES, ids=lambda p: p.stem)
module = pytest.mark.parametrize("name", MODULES)


def label(path): return path.stem.split("_", 1)[0].lstrip("0") or "0"      # what the notebook's tags begin with: 0, 10, B
def cells(path, kind=None): return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if kind in (None, c["cell_type"])]
def text(cell): return "".join(cell["source"])
def prose(path): return "\n".join(text(c) for c in cells(path, "markdown"))
def code_lines(cell): return [l for l in text(cell).split("\n") if l.strip() and not l.lstrip().startswith("#")]


def book_imports(source):
    "Modules of the library that some Python source imports."
    out = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("interest_book."): out.add(node.module.split(".")[1])
        if isinstance(node, ast.Import): out |= {a.name.split(".")[1] for a in node.names if a.name.startswith("interest_book.")}
        if isinstance(node, ast.ImportFrom) and node.module == "interest_book": out |= {a.name for a in node.names}
    return out


@notebook
def test_imports_point_backward(path):
    own = int(path.stem[:2]) if path in CHAPTERS else max(NUMBER.values())
    for c in cells(path, "code"):
        source = "\n".join(l for l in text(c).split("\n") if not l.startswith(("%", "!")))
        for name in book_imports(source):
            assert name in NUMBER, f"{path.stem} imports {name}, which is no chapter"
            limit = own if "#| export" not in source else own - 1     # a chapter may import its own module for show, never export that
            assert NUMBER[name] <= limit, f"{path.stem} imports {name} (chapter {NUMBER[name]}): the arrow points forward"


@notebook
def test_every_equation_is_bound_to_a_check(path):
    tags = re.findall(r"\\tag\{([^}]+)\}", prose(path))
    bound = set(re.findall(r"""eq\s*=\s*f?["']([^"']+)["']""", "\n".join(text(c) for c in cells(path, "code"))))
    displayed = len(re.findall(r"^\$\$\s*$", prose(path), re.M)) // 2
    assert displayed == len(tags), f"{displayed} displayed equations, {len(tags)} tags"
    assert sorted(set(tags) - bound) == [], "equations without an executed check"
    assert all(t.split(".")[0] == label(path) for t in tags), "a tag must begin with the chapter's number or the appendix's letter"
    printed = "\n".join("".join(o.get("text", "")) for c in cells(path, "code") for o in c["outputs"])
    assert [t for t in tags if f"({t})" not in printed] == [], "a check is written but its cell was not run"


def test_equation_tags_and_anchors_are_unique_in_the_book():
    tags = Counter(t for p in NBS for t in re.findall(r"\\tag\{([^}]+)\}", prose(p)))
    anchors = Counter(a for p in NBS for a in re.findall(r'<a id="([^"]+)"></a>', prose(p)))
    assert [t for t, n in (tags + anchors).items() if n > 1] == []


FENCE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)|https?://\S+|<[^>]*>", re.S)
RESULT = re.compile(r"(?<![\w.\-(])(?:0?\.\d{2,}|\d+\.\d+ ?%|\d{1,2}(?:\.\d+)?×|\d+(?:\.\d+)? ?(?:times|percent) (?:faster|better|higher|lower|worse))")

@notebook
def test_no_typed_results(path):
    assert [m.group(0) for c in cells(path, "markdown") for m in RESULT.finditer(FENCE.sub(" ", text(c)))] == []


@chapter
def test_a_chapter_is_a_module(path):
    assert re.fullmatch(r"\d\d_[a-z]\w*", path.stem), "a chapter's file is named by two digits and its module"
    assert text(cells(path)[1]) == f"#| default_exp {path.stem.split('_', 1)[1]}", "second cell: default_exp alone"


@appendix
def test_an_appendix_is_no_module(path):
    assert re.fullmatch(r"[A-Z]_[a-z]\w*", path.stem), "an appendix's file is named by one capital letter and a word"
    assert [text(c)[:60] for c in cells(path, "code") if re.search(r"^#\s*\|\s*(default_exp|export)", text(c), re.M)] == []


@notebook
def test_form(path):
    assert re.fullmatch(rf"# {path.stem.split('_', 1)[0]} · [^\n]+", text(cells(path)[0])), "first cell: the title alone, with the chapter's number or the appendix's letter"
    for c in cells(path, "code"):
        s = text(c)
        assert len(code_lines(c)) <= 30, f"a cell of {len(code_lines(c))} lines: {s[:60]}"
        assert not re.search(r"\.cuda\(\)|^\s*[!%]pip|import \*|#\| \w+:$", s, re.M), s[:80]
        assert not re.search(r"""["'](?:/(?:root|home|work|tmp|Users|opt|mnt)/|[A-Z]:\\\\)""", s), f"absolute path: {s[:80]}"
        assert not any(o.get("name") == "stderr" or o["output_type"] == "error" for o in c["outputs"]), f"stderr or error in an output: {s[:80]}"
        for o in c["outputs"]:
            shown = "".join(o.get("text", "")) + "".join(o.get("data", {}).get("text/plain", ""))
            assert not re.search(r"/(?:root|home|work|Users|tmp|opt)/\w", shown), f"machine path in an output: {shown[:200]}"


@notebook
def test_long_cells_are_rare(path):
    lengths = [len(code_lines(c)) for c in cells(path, "code")]
    assert sum(n > 20 for n in lengths) <= max(2, len(lengths) // 8), f"cells over 20 lines: {[n for n in lengths if n > 20]}"


@notebook
def test_prose_carries_the_chapter(path):
    words = len(re.findall(r"[A-Za-z]{2,}", FENCE.sub(" ", prose(path))))
    lines = sum(len(code_lines(c)) for c in cells(path, "code"))
    assert words >= 4 * lines, f"{words} words for {lines} lines of code"


@notebook
def test_sections(path):
    heads = "\n".join(l.lower() for l in prose(path).split("\n") if l.startswith("#"))
    needed = {"at a glance": "at a glance", "six users": "six users", "limits": "does not show", "recap": "recap", "exercises": "exercises", "sources": "sources"}
    if path in APPENDICES: needed = {"limits": "does not show", "sources": "sources"}      # an appendix teaches nothing new: it says what it does not show and where it comes from
    assert [k for k, v in needed.items() if v not in heads] == []


@notebook
def test_every_figure_has_a_caption(path):
    figures = sum(any(k.startswith("image/") for k in o.get("data", {})) for c in cells(path, "code") for o in c["outputs"])
    assert len(re.findall(r"\*\*Figure [\w.]+\*\*", prose(path))) >= figures


def test_citations_and_bibliography_agree():
    bib = (ROOT / "references.bib").read_text(encoding="utf-8")
    keys = Counter(re.findall(r"^@\w+\{([^,\s]+),", bib, re.M))
    assert [k for k, n in keys.items() if n > 1] == []
    cited = {k.strip(" @") for p in [*NBS, ROOT / "index.md"] for group in re.findall(r"\[(@[\w:;@ -]+)\]", prose(p) if p.suffix == ".ipynb" else p.read_text())
             for k in group.split(";")}
    assert sorted(cited - set(keys)) == [], "cited but not in references.bib"
    assert sorted(set(keys) - cited) == [], "in references.bib but never cited"


@notebook
def test_links_between_chapters_resolve(path):
    for target in re.findall(r"\]\(([\w./-]+\.ipynb)(?:#[\w-]+)?\)", prose(path)): assert (path.parent / target).is_file(), target


def test_table_of_contents_is_the_folder():
    book = yaml.safe_load((ROOT / "_quarto.yml").read_text())["book"]
    listed = [c for part in book["chapters"] if isinstance(part, dict) for c in part["chapters"]]
    assert listed == [f"nbs/{p.name}" for p in CHAPTERS]
    assert book.get("appendices", []) == [f"nbs/{p.name}" for p in APPENDICES]
    assert MODULES == sorted(p.stem for p in (ROOT / "interest_book").glob("*.py") if not p.stem.startswith("_"))


# --- the library -----------------------------------------------------------------------------------------------------

def public(name):
    mod = importlib.import_module(f"interest_book.{name}")
    return [(n, getattr(mod, n)) for n in mod.__all__ if getattr(getattr(mod, n), "__module__", mod.__name__) == mod.__name__]


@module
def test_all_is_explicit_and_complete(name):
    mod = importlib.import_module(f"interest_book.{name}")
    tree = ast.parse(Path(mod.__file__).read_text(encoding="utf-8"))
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")}
    assert defined <= set(mod.__all__) and not any(n.startswith("_") for n in mod.__all__)


def undocumented(qualname, func):
    "What a public function does not say. `grid` alone takes any keyword: names of settings are what it writes down."
    from fastcore.docments import docments
    notes, bad = docments(func), []
    for p in inspect.signature(func).parameters.values():
        if p.name in ("self", "cls"): continue
        if p.kind is p.VAR_KEYWORD:
            if qualname != "grid": bad.append(f"{qualname}: **{p.name} passes anything through")
            continue
        if not notes.get(p.name): bad.append(f"{qualname}: parameter {p.name} has no comment")
    return bad


@module
def test_public_names_are_documented(name):
    bad = []
    for n, obj in public(name):
        if not (inspect.isclass(obj) or inspect.isfunction(obj)): continue
        if not (obj.__doc__ or "").strip() or (inspect.isclass(obj) and obj.__doc__.startswith(f"{n}(")): bad.append(f"{n}: no docstring")
        if inspect.isfunction(obj): bad += undocumented(n, obj)
        elif not issubclass(obj, BaseException):
            if "__init__" in vars(obj) and inspect.isfunction(vars(obj)["__init__"]) and not hasattr(obj, "__dataclass_fields__"): bad += undocumented(n, obj.__init__)
            for m, member in vars(obj).items():
                f = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member.fget if isinstance(member, property) else member
                if m.startswith("_") or not inspect.isfunction(f): continue
                inherited = next((getattr(b, m).__doc__ for b in obj.__mro__[1:] if hasattr(b, m)), None)
                if not (f.__doc__ or inherited): bad.append(f"{n}.{m}: no docstring")
    assert bad == []


@module
def test_metrics_state_their_convention(name):
    if name != "metrics": pytest.skip("only metrics have conventions")
    per_metric = ("precision", "recall", "ndcg", "mrr", "hit_rate", "average_precision", "auc", "rmse", "mae", "coverage", "novelty", "diversity", "gini")
    for n, obj in public(name):
        if inspect.isfunction(obj) and n.startswith(per_metric): assert "Convention:" in obj.__doc__, n


def test_import_is_light():
    code = "import time; t = time.perf_counter(); import interest_book, sys; d = time.perf_counter() - t; print(d, 'torch' in sys.modules, 'pandas' in sys.modules)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split() for _ in range(3)]
    assert min(float(r[0]) for r in runs) < 0.1
    assert runs[0][1:] == ["False", "False"]


def test_top_level_names_are_lazy_and_complete():
    import interest_book
    from interest_book.interactions import Interactions
    assert interest_book.Interactions is Interactions
    with pytest.raises(AttributeError, match="no attribute 'nothing'"): interest_book.nothing


@module
def test_no_pickle_and_no_work_at_import(name):
    tree = ast.parse((ROOT / "interest_book" / f"{name}.py").read_text(encoding="utf-8"))
    allowed = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    assert all(isinstance(n, allowed) for n in tree.body), "only definitions and constants at module level"
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "joblib", "dill"} & set(names)
        if isinstance(node, ast.Attribute) and node.attr in ("set_default_dtype", "manual_seed_all") : pytest.fail(f"{name} changes a global: {node.attr}")
