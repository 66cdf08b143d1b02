"""List of the scripts with their descriptions, read from the source without importing it.

    describe()["drive"]   # the first line of its docstring

A script is a module of this package with a `__main__` guard.
"""

import ast
import pathlib


def describe():
    """Returns {script name: first line of its docstring}, in alphabetical order."""
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py")):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":' in text:
            found[path.stem] = ast.get_docstring(ast.parse(text)).splitlines()[0]
    return found
