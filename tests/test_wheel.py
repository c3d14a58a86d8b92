"""A stranger installs the wheel into an empty environment and does what the README says."""
import os, re, subprocess, sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheel
ROOT = Path(__file__).resolve().parent.parent


def sh(*cmd, **kw):
    done = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, **kw)
    assert done.returncode == 0, f"{' '.join(map(str, cmd))}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    "An empty environment with the wheel and its run-time dependencies, nothing else."
    home = tmp_path_factory.mktemp("wheel")
    sh(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", home, ROOT, cwd=home)
    wheel, = home.glob("*.whl")
    sh(sys.executable, "-m", "venv", home / "env")
    python = home / "env" / "bin" / "python"
    sh(python, "-m", "pip", "install", "-q", "torch==2.13.0")
    sh(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    return python, home


def test_dependencies_are_consistent_and_few(installed):
    python, _ = installed
    sh(python, "-m", "pip", "check")
    names = {line.split("==")[0].lower() for line in sh(python, "-m", "pip", "freeze").split("\n") if "==" in line}
    assert not names & {"nbdev", "fastcore", "jupyterlab", "transformers", "scikit-learn", "ipython", "pytest", "sphinx"}


def test_every_module_imports_without_the_development_tools(installed):
    python, home = installed
    modules = sorted(p.stem for p in (ROOT / "interest_book").glob("*.py") if not p.stem.startswith("_"))
    sh(python, "-c", "import importlib\nfor m in " + repr(modules) + ": importlib.import_module('interest_book.' + m)", cwd=home)


def test_the_command_works(installed):
    python, home = installed
    exe = python.parent / "interest-book"
    assert "torch" in sh(exe, "doctor", cwd=home)
    out = sh(exe, "compare", "--setting", "cold", "--seeds", "1", cwd=home)
    assert "EMCDR" in out and "On the map: cold people" in out and (home / "interest-book-report.html").stat().st_size > 5000


def test_the_readme_runs(installed):
    python, home = installed
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    (home / "films.csv").unlink(missing_ok=True)
    sh(python, "-c", "\n".join(blocks), cwd=home, env={k: v for k, v in os.environ.items() if k != "INTEREST_BOOK_DATA"})
