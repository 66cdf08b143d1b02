"""The scripts by name, found without importing them: the modules that run themselves.

describe()["drive"]   # the first line of its docstring
"""

import ast
import pathlib


def describe():
    """{script's name: what it does, one line}, in alphabetical order."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py")):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":' in text:
            found[path.stem] = ast.get_docstring(ast.parse(text)).splitlines()[0]
    return found
