"""Sphinx build of the book: `sphinx-build -W -b html -c docs . _build/html`. The root `_quarto.yml` is the only table of contents."""
import json, re, shutil, sys
from importlib.util import find_spec
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]
from quarto_filter import clean

Q = yaml.safe_load((ROOT / '_quarto.yml').read_text(encoding='utf-8'))
BOOK, LIB = Q['book'], 'interest_book'
CHAPTERS = [c for part in BOOK['chapters'] if isinstance(part, dict) for c in part['chapters']]

project = html_title = BOOK['title']
author = BOOK.get('author', '')
copyright = author + '. Prose CC BY 4.0, code Apache 2.0'
root_doc = 'index'
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.viewcode', 'sphinx.ext.mathjax', 'sphinxcontrib.bibtex', 'sphinx_copybutton']
source_suffix = {'.md': 'myst-nb', '.ipynb': 'myst-nb'}
include_patterns = ['index.md', 'nbs/*.ipynb', 'docs/*.md']
exclude_patterns = ['**/.ipynb_checkpoints']

html_theme = 'sphinx_book_theme'
html_theme_options = {'show_toc_level': 2, 'navbar_persistent': [], 'use_download_button': True, 'use_fullscreen_button': False,
                      'home_page_in_toc': True, 'show_navbar_depth': 1}
html_context = {'default_mode': 'auto'}
html_static_path = ['_static']
html_css_files = ['book.css']
html_favicon = '_static/favicon.svg'
html_last_updated_fmt = None

nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_markdown_format = 'myst'
myst_enable_extensions = ['dollarmath', 'amsmath', 'html_image']
myst_dmath_double_inline = True
myst_heading_anchors = 4
suppress_warnings = ['myst.header']
bibtex_bibfiles = [str(ROOT / Q['bibliography'])]
autodoc_typehints = 'description'
autodoc_member_order = 'bysource'

# MathJax comes from a PyPI wheel and is copied into the site: the reader's browser fetches nothing from outside.
mathjax_path = 'mathjax/tex-chtml-full.js'
mathjax3_config = {'tex': {'tags': 'none'}}
MATHJAX = Path(find_spec('sphinx-mathjax-offline').origin).parent / 'static' / 'mathjax'

def _stem(f): return '/' + re.sub(r'\.(ipynb|qmd|md)$', '', f)

def _toctrees():
    "One toctree per `part:` of `_quarto.yml`, then appendices and the library reference."
    groups = [(c['part'], [_stem(o) for o in c['chapters']]) for c in BOOK['chapters'] if isinstance(c, dict)]
    if BOOK.get('appendices'): groups.append(('Appendices', [_stem(o) for o in BOOK['appendices']]))
    groups.append(('Reference', ['/docs/map', '/docs/exercises', '/docs/api', '/docs/execution', '/docs/references']))
    return ''.join(f'\n```{{toctree}}\n:hidden:\n:caption: {cap}\n\n' + '\n'.join(docs) + '\n```\n' for cap, docs in groups)

def _modules(): return sorted(p.stem for p in (ROOT / LIB).glob('*.py') if not p.stem.startswith('_'))

def _api():
    "An automodule block per exported module."
    return ''.join(f'\n## {LIB}.{m}\n\n```{{eval-rst}}\n.. automodule:: {LIB}.{m}\n   :members:\n   :undoc-members:\n```\n' for m in _modules())

def _title(nb): return next(''.join(c['source']).split('\n')[0].lstrip('# ') for c in nb['cells'] if c['cell_type'] == 'markdown')

def _map():
    "Chapter, module, what it exports, what it builds on: read off the notebooks and the modules, never typed."
    import ast
    rows = ['| chapter | module | builds on | exports |', '|---|---|---|---|']
    for c in CHAPTERS:
        nb = json.loads((ROOT / c).read_text(encoding='utf-8')); name = Path(c).stem.split('_', 1)[1]
        tree = ast.parse((ROOT / LIB / f'{name}.py').read_text(encoding='utf-8'))
        public = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == '__all__')
        needs = sorted({n.module.split('.')[1] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and (n.module or '').startswith(LIB + '.')})
        rows.append(f"| [{_title(nb)}](../{c}) | `{name}` | {', '.join(f'`{n}`' for n in needs) or '–'} | {', '.join(f'`{p}`' for p in public)} |")
    return '\n' + '\n'.join(rows) + '\n'

def _execution():
    "What each chapter cost in the run before this build (`make book`)."
    path = ROOT / '_build' / 'execution.json'
    if not path.is_file(): return '\nThe chapters were not run before this site was built: `make book` runs them.\n'
    run = json.loads(path.read_text())
    rows = ['| chapter | wall seconds | CPU seconds | peak memory, MB | cells | outputs |', '|---|---:|---:|---:|---:|---|']
    rows += [f"| {r['chapter']} | {r['seconds']} | {r.get('cpu_s', '')} | {r.get('peak_mb', '')} | {r['cells']} | {'as committed' if not r['problems'] else 'differ'} |"
             for r in run['chapters']]
    return f"\nPython {run['python']}, {run['jobs']} chapters at a time, one thread each.\n\n" + '\n'.join(rows) + '\n'

GENERATED = {'docs/api': _api, 'docs/map': _map, 'docs/execution': _execution}

KINDS = {'info': 'note', 'success': 'tip', 'warning': 'warning', 'danger': 'danger'}
def _box(m):
    body = re.sub(r'^\*\*(?:Note|Tip|Warning|Danger)[.:]?\*\*\s*', '', m[2].strip())
    return f'```````{{{KINDS[m[1]]}}}\n{body}\n```````'

def _md(s):
    "The book's portable Markdown -> MyST."
    s = re.sub(r'<div class="alert alert-(info|success|warning|danger)">\n\n(.*?)\n\n</div>', _box, s, flags=re.S)
    s = re.sub(r'^<a id="([\w:-]+)"></a>[ \t]*$', r'(\1)=', s, flags=re.M)
    s = re.sub(r'\[@([\w:-]+(?:; ?@[\w:-]+)*)\]', lambda m: '{cite:p}`' + re.sub(r'; ?@', ',', m[1]) + '`', s)
    s = re.sub(r'^\$\$[ \t]*\n(.*?)\n[ \t]*\$\$[ \t]*$', lambda m: '\\begin{equation*}\n' + m[1].strip() + '\n\\end{equation*}',
               s, flags=re.S | re.M)                # Sphinx would wrap `\\` in `split`, which breaks `\tag`
    return re.sub(r'^(#+ .*?)\s*\{[.#][^}]*\}\s*$', r'\1', s, flags=re.M)

OPT = re.compile(r'^#\s*\|\s*([\w-]+)\s*:\s*(.*?)\s*$')
TAGS = {('echo', 'false'): 'remove-input', ('output', 'false'): 'remove-output', ('include', 'false'): 'remove-cell', ('code-fold', 'true'): 'hide-input'}

def _code(c):
    "Quarto cell options -> myst-nb tags."
    lines, tags = ''.join(c['source']).split('\n'), c['metadata'].setdefault('tags', [])
    while lines and (m := OPT.match(lines[0])):
        if t := TAGS.get((m[1], m[2])): tags.append(t)
        lines.pop(0)
    c['source'] = '\n'.join(lines)
    for o in c.get('outputs', []):
        md = o.get('data', {}).get('text/markdown')
        if md: o['data']['text/markdown'] = re.sub(r'\A---\n+', '', ''.join(md))   # show_doc's rule
    return c

def source_read(app, docname, source):
    if str(app.env.doc2path(docname)).endswith('.ipynb'):
        nb = clean(json.loads(source[0]))
        for c in nb['cells']:
            if c['cell_type'] == 'markdown': c['source'] = _md(''.join(c['source']))
            elif c['cell_type'] == 'code': _code(c)
        source[0] = json.dumps(nb)
    else: source[0] = _md(source[0])
    if docname == root_doc: source[0] += _toctrees()
    if docname in GENERATED: source[0] += GENERATED[docname]()

def stale(app, env, added, changed, removed):
    "Pages made from other files are read anew in every build."
    return list(GENERATED.keys() & env.found_docs)

PARTS = re.compile(r'(`[^`]+`|\$[^$]+\$)')
def _rst(text):
    "`code` and $math$ in a docstring -> reST; everything else is literal."
    out = ['']
    for p in PARTS.split(text):
        if (code := p[:1] == '`') or (p[:1] == '$' and len(p) > 2):
            out.append(('\\ ' if out[-1][-1:].isalnum() else '') + (f'``{p[1:-1]}``' if code else f':math:`{p[1:-1]}`'))
        else: out.append(('\\ ' if len(out) > 1 and p[:1].isalnum() else '') + re.sub(r'([*|`\\]|_(?!\w))', r'\\\1', p))
    return ''.join(out)

def docstrings(app, what, name, obj, options, lines):
    "Markdown-flavoured docstrings and `# comment` parameter notes (fastcore docments) -> reST."
    lines[:] = [_rst(l) for l in lines]
    if what not in ('function', 'method', 'class'): return
    from fastcore.docments import docments
    try: notes = docments(obj.__init__ if what == 'class' else obj)
    except Exception: return
    lines.append('')
    lines += [f':returns: {_rst(" ".join(str(v).split()))}' if k == 'return' else f':param {k}: {_rst(" ".join(str(v).split()))}'
              for k, v in notes.items() if v and k != 'self']

def copy_mathjax(app, exc):
    if exc or app.builder.format != 'html': return
    dst = Path(app.outdir) / '_static' / 'mathjax'
    shutil.copytree(MATHJAX / 'output/chtml/fonts', dst / 'output/chtml/fonts', dirs_exist_ok=True)
    shutil.copy2(MATHJAX / 'tex-chtml-full.js', dst)
    if (ROOT / '_build' / 'exercises').is_dir(): shutil.copytree(ROOT / '_build' / 'exercises', Path(app.outdir) / 'exercises', dirs_exist_ok=True)

def setup(app):
    app.add_config_value('contents', (ROOT / '_quarto.yml').read_text(encoding='utf-8'), 'env')     # another table of contents: every page is made anew
    app.connect('source-read', source_read)
    app.connect('env-get-outdated', stale)
    app.connect('autodoc-process-docstring', docstrings)
    app.connect('build-finished', copy_mathjax)
