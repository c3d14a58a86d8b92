"""The built site, as a reader's browser sees it."""
import functools, http.server, re, threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parent.parent
PAGES = ["index.html", *(f"nbs/{p.stem}.html" for p in sorted((ROOT / "nbs").glob("*.ipynb"))),
         "docs/map.html", "docs/exercises.html", "docs/api.html", "docs/execution.html", "docs/references.html"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def address(site):
    "The site on a local port."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(browser, address):
    "A page that notes console errors, failed requests and requests that leave this machine."
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)       # a loaded machine is no fault of the page
    page.trouble = []
    page.on("console", lambda m: page.trouble.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.trouble.append(str(e)))
    page.on("requestfailed", lambda r: page.trouble.append(f"failed: {r.url}"))
    page.on("response", lambda r: page.trouble.append(f"{r.status}: {r.url}") if r.status >= 400 and "favicon" not in r.url else None)
    page.on("request", lambda r: page.trouble.append(f"outside: {r.url}") if not r.url.startswith((address, "data:", "blob:")) else None)
    yield page
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_loads_clean_and_math_is_typeset(page, address, name):
    page.goto(f"{address}/{name}", wait_until="load")
    assert page.locator("h1").count() >= 1
    if page.locator("div.math").count():
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.evaluate("MathJax.startup.promise")
        assert page.locator("mjx-merror").count() == 0
        assert page.locator("div.math:not(:has(mjx-container))").count() == 0
        left = "e => e.getBoundingClientRect().left"
        cut = page.evaluate(f"(() => {{ const left = {left}; return [...document.querySelectorAll('div.math mjx-container')].filter(e => left(e) < left(e.closest('div.math')) - 2).length }})()")
        assert cut == 0, "equations whose left edge cannot be scrolled to"
    body = page.inner_text("article")
    assert not re.search(r"\\tag\{|\$\$|\\begin\{", body.replace("\\tag{…}", "")) or "core" in name, "raw LaTeX on the page"
    assert not re.search(r"\[[^\]]*@\w+\d{4}", body), "a citation was not resolved"
    assert "#| export" not in body or name == "nbs/00_core.html"
    assert page.trouble == []


def test_pictures_and_local_links_resolve(site):
    broken = []
    for html in site.rglob("*.html"):
        if "_static" in html.parts: continue
        source = html.read_text(encoding="utf-8")
        for ref in re.findall(r'(?:src|href)="([^"#?]+)', source):
            if re.match(r"[a-z]+:|//|data:", ref): continue
            if not (html.parent / ref).exists(): broken.append(f"{html.relative_to(site)} -> {ref}")
    assert broken == []


def test_fragments_resolve(site):
    ids = {p: set(re.findall(r'\bid="([^"]+)"', p.read_text(encoding="utf-8"))) for p in site.rglob("*.html") if "_static" not in p.parts}
    broken = []
    for p in ids:
        if p.name in ("genindex.html", "search.html") or "_modules" in p.parts: continue
        for ref, frag in re.findall(r'href="([^"#?:]*)#([^"]+)"', p.read_text(encoding="utf-8")):
            target = (p.parent / ref).resolve() if ref else p
            if target in ids and frag not in ids[target]: broken.append(f"{p.relative_to(site)} -> {ref}#{frag}")
    assert broken == []


def test_nothing_is_fetched_from_outside(site):
    for html in site.rglob("*.html"):
        if "_static" in html.parts: continue
        assert not re.search(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//(?!creativecommons)', html.read_text(encoding="utf-8")), html.name


@pytest.mark.parametrize("word, where", [("ridge_map", "linear_mapping"), ("find_twins", "splits"), ("ndcg", "metrics")])
def test_search_finds_a_function(page, address, word, where):
    page.goto(f"{address}/search.html?q={word}")
    page.wait_for_selector("#search-results li a")
    hits = page.eval_on_selector_all("#search-results li a", "els => els.map(e => e.href)")
    assert any(where in h or "api" in h for h in hits)


def test_narrow_screen_has_no_sideways_scroll(browser, address):
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(f"{address}/nbs/10_linear_mapping.html")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 2")
    page.close()
