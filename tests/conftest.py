"""Shared fixtures: where the book lies, where real data lies, which browser there is."""
import os, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("INTEREST_BOOK_DEVICE", "cpu")      # what "auto" means in the tests; those marked gpu name the device


def data_folder():
    "The real data, if it is on this machine: INTEREST_BOOK_DATA, else a folder shared/data beside the repository."
    candidates = [os.environ.get("INTEREST_BOOK_DATA"), ROOT.parent / "shared" / "data"]
    return next((Path(c).resolve() for c in candidates if c and (Path(c) / "README.md").is_file()), None)


@pytest.fixture(autouse=True)
def _field(request, monkeypatch):
    "Tests marked `field` read real data and skip, by name, where there is none."
    if request.node.get_closest_marker("field"):
        if data_folder() is None: pytest.skip("no real data here: set INTEREST_BOOK_DATA to a folder that holds it")
        monkeypatch.setenv("INTEREST_BOOK_DATA", str(data_folder()))


@pytest.fixture(autouse=True)
def _gpu(request):
    "Tests marked `gpu` skip, by name, where PyTorch sees no CUDA device."
    if request.node.get_closest_marker("gpu"):
        import torch
        if not torch.cuda.is_available(): pytest.skip("no CUDA device here")


@pytest.fixture(scope="session")
def chromium():
    "Path of a Chromium on this machine."
    path = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if path is None: pytest.skip("no Chromium on this machine: install it (Debian: apt-get install chromium) to run the browser tests")
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    "A headless Chromium that is told to stay off the network."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                                                              "--disable-component-update", "--disable-sync", "--disable-quic"])
        yield b
        b.close()


@pytest.fixture(scope="session")
def site():
    "The built site (built now; Sphinx rebuilds only what changed)."
    subprocess.run([sys.executable, "tools/exercises.py", "release", "--quiet"], cwd=ROOT, check=True)
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", "_build/doctrees", "-c", "docs", ".", "_build/html"],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return ROOT / "_build" / "html"
