__version__ = "0.7.0"


def __getattr__(name):
    "Every chapter's module and its public functions and classes, imported on first use: `import interest_book` itself costs nothing."
    from importlib import import_module
    from ._modidx import d
    for module, symbols in d["syms"].items():
        if module == f"interest_book.{name}": return import_module(module)
        if f"{module}.{name}" in symbols and not name.startswith("_"): return getattr(import_module(module), name)
    raise AttributeError(f"module 'interest_book' has no attribute {name!r}")
