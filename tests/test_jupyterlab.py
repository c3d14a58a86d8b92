"""A reader opens a chapter in JupyterLab and runs it to the end."""
import json, os, re, shutil, socket, subprocess, sys, time, urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parent.parent
MARK = "the last cell ran:"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A JupyterLab of its own on a copy of the notebooks, each with a last cell that computes a marker."
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "nbs", home / "nbs")
    subprocess.run([sys.executable, ROOT / "tools" / "exercises.py", "release", "--quiet", "--to", home / "nbs" / "student"], check=True, cwd=ROOT)
    for path in [*home.glob("nbs/*.ipynb"), *home.glob("nbs/student/*.ipynb")]:
        nb = json.loads(path.read_text())
        nb["cells"].append({"cell_type": "code", "id": "marker", "metadata": {}, "execution_count": None, "outputs": [], "source": f"print('{MARK}', 6 * 7)"})
        path.write_text(json.dumps(nb))
    env = {**os.environ, **{f"JUPYTER_{k}_DIR": str(home / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")}, "IPYTHONDIR": str(home / "ipython"), "HOME": str(home)}
    port = free_port()
    log = open(home / "log", "w")
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
                               "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={home}", "--LabApp.news_url="],
                              env=env, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try: urllib.request.urlopen(f"{base}/api", timeout=2); break
        except OSError: time.sleep(0.5)
    else: pytest.fail("JupyterLab did not start:\n" + (home / "log").read_text()[-2000:])
    yield base
    server.terminate(); server.wait(20); log.close()


@pytest.mark.parametrize("notebook", ["nbs/01_interactions.ipynb", "nbs/student/10_linear_mapping.ipynb"])
def test_a_notebook_runs_in_jupyterlab(lab, browser, notebook):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/lab/tree/{notebook}?reset")
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
    if "student" in notebook:        # a student copy opens, its given cells run, and the first exercise waits for an answer
        page.wait_for_selector(".jp-Notebook >> text=YOUR CODE HERE", state="attached")
        page.click(".jp-Notebook .jp-Cell >> nth=0")
        page.keyboard.press("Escape")
        for _ in range(5): page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".jp-InputPrompt >> text=/\\[3\\]:/", state="attached", timeout=60_000)
        page.wait_for_selector(".jp-OutputArea >> text=NotImplementedError", state="attached")
    else:
        page.click("text=Run >> nth=0")
        page.click("[data-command='runmenu:run-all']")
        page.wait_for_function(f"document.body.innerText.includes('{MARK} 42')", timeout=120_000)
    page.close()
