"""Run every chapter from a clean kernel, compare its text outputs with the committed ones, and say what it cost.

    python tools/run_book.py [--jobs N] [--update] [--no-cache] [CHAPTER ...]

Writes `_build/execution.json` (seconds, CPU seconds, peak memory per chapter). A chapter whose notebook, library, records and
pinned versions have not changed since a run that passed is taken from the cache in `_build/cache`.
Outputs are compared as text: words must be equal, numbers may differ by one per cent. A cell that begins with
`#| compare: false` (times, memory, versions) is left out.
"""
import argparse, hashlib, json, os, platform, re, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, BUILD = ROOT / "nbs", ROOT / "_build"
RTOL, ATOL = 0.01, 1e-9
LIMIT_S = 60          # a chapter must run in less on two cores; more is reported as a failure
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
PROBE = """
import json as _j, time as _t
try:
    with open('/proc/self/status') as _f: _kb = next(int(l.split()[1]) for l in _f if l.startswith('VmHWM'))
except OSError:
    import resource as _r; _kb = _r.getrusage(_r.RUSAGE_SELF).ru_maxrss
print(_j.dumps({'peak_mb': round(_kb / 1024), 'cpu_s': round(_t.process_time(), 2)}))
"""

def texts(cell):
    "The text outputs of a cell: standard output and plain-text values. Pictures and HTML twins of a table are left out."
    out = []
    for o in cell.get("outputs", []):
        if o["output_type"] == "stream" and o["name"] == "stdout": out.append("".join(o["text"]))
        elif o["output_type"] in ("execute_result", "display_data"):
            data = o["data"]
            if not any(k.startswith("image/") for k in data):
                out.append("".join(data.get("text/markdown") or data.get("text/plain", "")))
    return "\n".join(out)

def differs(old, new):
    "None if two texts agree (words equal, numbers within the tolerance), else what differs first."
    if old == new: return None
    a, b = NUMBER.split(old), NUMBER.split(new)
    squeeze = lambda parts: [re.sub(r"[\s-]+", " ", p).strip() for p in parts]     # column widths follow the numbers
    if squeeze(a) != squeeze(b):
        i = next((i for i, (x, y) in enumerate(zip(squeeze(a), squeeze(b))) if x != y), min(len(a), len(b)) - 1)
        return f"text changed near {a[min(i, len(a) - 1)][-60:]!r} -> {b[min(i, len(b) - 1)][-60:]!r}"
    for x, y in zip(map(float, NUMBER.findall(old)), map(float, NUMBER.findall(new))):
        if abs(x - y) > ATOL + RTOL * max(abs(x), abs(y)): return f"{x:g} -> {y:g}"
    return None

def compare(committed, fresh):
    "One line per cell whose text output is not reproduced."
    problems = []
    for i, (c, f) in enumerate(zip(committed, fresh)):
        if c["cell_type"] != "code": continue
        source = "".join(c["source"])
        if any(o.get("name") == "stderr" for o in f.get("outputs", [])): problems.append(f"cell {i}: writes to stderr")
        if re.search(r"^#\|\s*compare:\s*false", source, re.M): continue
        if d := differs(texts(c), texts(f)): problems.append(f"cell {i} ({source.strip().splitlines()[0][:50]}): {d}")
    return problems

def key(path):
    "Everything a chapter's outputs depend on."
    h = hashlib.sha256(f"{platform.python_version()} {platform.machine()}".encode())
    for p in [path, Path(__file__), ROOT / "constraints.txt", *sorted((ROOT / "interest_book").glob("*.py")), *sorted((NBS / "records").glob("*.json"))]:
        h.update(p.name.encode() + p.read_bytes())
    return h.hexdigest()

def run_one(path, update):
    "Execute one notebook in a fresh kernel; JSON of what happened on the last line of standard output."
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError
    nb = nbformat.read(path, 4)
    committed = json.loads(path.read_text(encoding="utf-8"))["cells"]
    nb.cells.append(nbformat.v4.new_code_cell(PROBE))
    start, problems, stats = time.time(), [], {}
    try:
        NotebookClient(nb, timeout=600, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": str(NBS)}}).execute()
        stats = json.loads(nb.cells.pop().outputs[0]["text"])
    except (CellExecutionError, CellTimeoutError) as e:
        nb.cells.pop()
        problems.append(re.sub(r"\x1b\[[0-9;]*m", "", str(e))[-1500:])
    seconds = time.time() - start
    if not problems:
        if update:
            nb.metadata.pop("widgets", None)            # progress bars of a live notebook: a page would fetch scripts for them
            for c in nb.cells:
                if c.cell_type == "code": c.outputs = [o for o in c.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
            tmp = path.with_suffix(".tmp")
            nbformat.write(nb, tmp); os.replace(tmp, path)
            subprocess.run([str(Path(sys.executable).parent / "nbdev_clean"), "--fname", str(path)], cwd=ROOT, check=True)
        else: problems += compare(committed, nb.cells)
        if min(seconds, stats["cpu_s"]) > LIMIT_S: problems.append(f"took {seconds:.0f} s and {stats['cpu_s']:.0f} CPU s, more than {LIMIT_S} s")   # wall time alone counts the neighbours on a shared machine
    print(json.dumps({"chapter": path.stem, "seconds": round(seconds, 1), **stats, "cells": len(nb.cells), "problems": problems}))

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("chapters", nargs="*"); ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--update", action="store_true", help="store the outputs in the notebooks instead of comparing")
    ap.add_argument("--no-cache", action="store_true"); ap.add_argument("--one", help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.one: return run_one(Path(args.one), args.update)
    paths = sorted(p for p in NBS.glob("*.ipynb") if not args.chapters or any(p.stem.startswith(c) for c in args.chapters))
    if not paths: sys.exit(f"no chapter matches {args.chapters}")
    (BUILD / "cache").mkdir(parents=True, exist_ok=True)
    # No network for chapters: every proxy-aware client is sent to a closed port. One thread per kernel, as `jobs` kernels share the cores.
    # A backend set from outside would leave the notebooks without figures.
    env = {k: v for k, v in os.environ.items() if k not in ("INTEREST_BOOK_DATA", "MPLBACKEND")} | {
        "OMP_NUM_THREADS": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1,localhost",
        "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}

    def work(path):
        cache, k = BUILD / "cache" / f"{path.stem}.json", key(path)
        if cache.is_file() and not (args.no_cache or args.update):
            old = json.loads(cache.read_text())
            if old["key"] == k: return old["row"] | {"cached": True}
        cmd = [sys.executable, __file__, "--one", str(path)] + (["--update"] if args.update else [])
        done = subprocess.run(cmd, capture_output=True, text=True, env=env)
        try: row = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError): row = {"chapter": path.stem, "seconds": 0, "cells": 0, "problems": [done.stderr[-1500:] or "no output"]}
        if not row["problems"] and not args.update: cache.write_text(json.dumps({"key": k, "row": row}))
        return row | {"cached": False}

    rows = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for n, done in enumerate(as_completed([pool.submit(work, p) for p in paths]), 1):
            r = done.result(); rows.append(r)
            print(f"[{n}/{len(paths)}] {r['chapter']:<22} {r['seconds']:6.1f} s  {r.get('peak_mb', 0):5d} MB  "
                  f"{'FAILED' if r['problems'] else 'stored' if args.update else 'same outputs'}{' (cached)' if r['cached'] else ''}", flush=True)
            for p in r["problems"]: print("    " + p.replace("\n", "\n    "))
    if not args.chapters:
        rows.sort(key=lambda r: r["chapter"])
        (BUILD / "execution.json").write_text(json.dumps({"python": platform.python_version(), "jobs": args.jobs, "chapters": rows}, indent=1))
    bad = [r["chapter"] for r in rows if r["problems"]]
    if bad: sys.exit(f"{len(bad)} of {len(rows)} chapters failed: {', '.join(bad)}")
    print(f"{len(rows)} chapters run, outputs as committed" if not args.update else f"{len(rows)} chapters run and stored")

if __name__ == "__main__": main()
