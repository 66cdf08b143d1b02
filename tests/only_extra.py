"""Runs a module as if only one extra of pyproject.toml were installed.

    python -m tests.only_extra drive scripts.drive --help

An import of a package that `pip install tf-talkinghead[drive]` would not install, directly or as a
requirement of another, fails as if the package were not installed.
"""

import importlib.abc
import importlib.metadata
import pathlib
import re
import runpy
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = "tf-talkinghead"


def extras():
    """{extra: its requirements, as text} of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


def expanded(extra):
    """The requirements of an extra with those of the extras that it names, as a set of lines."""
    lines = set()
    for line in extras()[extra]:
        if named := re.fullmatch(rf"{OURS}\[(.+)\]", line):
            lines = lines.union(*(expanded(name) for name in named[1].split(",")))
        else:
            lines.add(line)
    return lines


def name_of(requirement):
    """A requirement's package, as pip normalises names."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(extra):
    """The packages that an extra installs, with all their requirements, as normalised names."""
    waiting, found = [name_of(line) for line in expanded(extra)], set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found.add(name)
        waiting += [name_of(line) for line in required if "extra ==" not in line]
    return found


class Absent(importlib.abc.MetaPathFinder):
    """Import hook that refuses every package that `extra` does not install."""

    def __init__(self, extra):
        brought = installed_with(extra)
        self.refused = {
            module
            for module, packages in importlib.metadata.packages_distributions().items()
            if not brought & {name_of(package) for package in packages}
        }

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused - {"tests", "scripts", "serving"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    _, chosen, module, *arguments = sys.argv
    sys.meta_path.insert(0, Absent(chosen))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
