"""BUILD, executed as the Python it nearly is, and compared with the files and imports it speaks of.

Bazel itself is not needed.
"""

import ast
import copy
import functools
import pathlib
import re
import sys
import tomllib

import pytest

from tests.only_extra import ROOT, name_of

FOLDERS = ("tf_talkinghead", "serving", "scripts", "tests")
PYTEST = "tests/pytest_main.py"  # the entry of every py_test
RULES = ("py_library", "py_binary", "py_test")
# Where a module's name differs from its package's.
PACKAGES = {
    "absl": "absl_py",
    "c2pa": "c2pa_python",
    "cv2": "opencv_python_headless",
    "dlib": "dlib_bin",
    "google": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio_health_checking",
    "grpc_reflection": "grpcio_reflection",
    "importlinter": "import_linter",
    "PIL": "pillow",
    "skimage": "scikit_image",
    "tensorflow_serving": "tensorflow_serving_api",
    "yaml": "pyyaml",
}


def targets_of(text):
    """Execute a BUILD file: {target: {rule, srcs, deps, ...}} and {rule: file it was loaded
    from}.
    """
    targets, loaded = {}, {}

    def rule(kind):
        def declare(name, **attributes):
            assert name not in targets, f"two targets are called {name}"
            targets[name] = {"rule": kind, "srcs": [], "deps": [], "data": [], **attributes}

        return declare

    known = {
        "load": lambda file, *names: loaded.update(dict.fromkeys(names, file)),
        "glob": glob,
        "package": lambda **_: None,
        "exports_files": lambda _: None,
        **{kind: rule(kind) for kind in (*RULES, "filegroup")},
    }
    exec(text, known)
    return targets, loaded


def glob(include, exclude=()):
    """Bazel's glob from the root; one that finds nothing is an error, as in Bazel."""
    found = matching(include) - matching(exclude)
    assert found, f"glob({include}) finds nothing"
    return sorted(found)


def matching(patterns):
    paths = {path for pattern in patterns for path in ROOT.glob(bare(pattern))}
    return {str(path.relative_to(ROOT)) for path in paths if path.is_file()}


def bare(pattern):
    """A trailing ** is all files below in Bazel, and folders only in pathlib before 3.13."""
    return pattern + "/*" if pattern.endswith("**") else pattern


def sources():
    return sorted(matching(f"{folder}/**/*.py" for folder in FOLDERS))


@functools.cache
def imports(source):
    """(our files, others' top modules) that a file imports anywhere in it.

    Where it imports by name (scripts/benchmark.py), the modules that its strings name count too.
    """
    ours, others = set(), set()
    text = (ROOT / source).read_text()
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif "import_module(" in text and re.fullmatch(
            r"\w+(\.\w+)+", str(getattr(node, "value", ""))
        ):
            file = str(node.value).replace(".", "/") + ".py"
            names = [node.value] if (ROOT / file).is_file() else []
        for name in names:
            if name.split(".")[0] in FOLDERS:
                ours.add(file_of(name))
            elif name.split(".")[0] not in sys.stdlib_module_names:
                others.add(name.split(".")[0])
    return frozenset(ours - {source, None}), frozenset(others)


def file_of(name):
    """The file of a dotted name: a module, or the module that holds the attribute."""
    while name:
        for candidate in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py"):
            if (ROOT / candidate).is_file():
                return candidate
        name = name.rpartition(".")[0]
    return None


def needed(target, owner):
    """The deps that a target's sources call for, as labels."""
    labels = set()
    for source in target["srcs"]:
        ours, others = imports(source)
        labels |= {f":{owner[file]}" for file in ours - set(target["srcs"])}
        labels |= {f"@pip//{PACKAGES.get(name, name.lower())}" for name in others}
    return labels


def owners(targets):
    """{source: its library}."""
    libraries = {name: it for name, it in targets.items() if it["rule"] == "py_library"}
    return {source: name for name, library in libraries.items() for source in library["srcs"]}


def missing(targets):
    """{target: deps that its sources need and it does not declare}."""
    owner = owners(targets)
    found = {
        name: sorted(needed(target, owner) - set(target["deps"]))
        for name, target in targets.items()
        if target["rule"] in RULES
    }
    return {name: labels for name, labels in found.items() if labels}


@pytest.fixture(scope="module")
def targets():
    return targets_of((ROOT / "BUILD").read_text())[0]


def test_rules_are_loaded_from_rules_python():
    _, loaded = targets_of((ROOT / "BUILD").read_text())
    assert set(loaded) == set(RULES)
    assert all(file.startswith("@rules_python//python:") for file in loaded.values())
    assert 'bazel_dep(name = "rules_python"' in (ROOT / "MODULE.bazel").read_text()


def test_every_source_is_in_exactly_one_library(targets):
    libraries = [target for target in targets.values() if target["rule"] == "py_library"]
    listed = [source for library in libraries for source in library["srcs"]]
    assert sorted([*listed, PYTEST]) == sources()


def test_every_room_is_a_library(targets):
    for room in sorted(path.parent for path in ROOT.glob("tf_talkinghead/*/__init__.py")):
        files = matching([f"tf_talkinghead/{room.name}/*.py"])
        names = {owners(targets)[file] for file in files}
        # The client takes the bank's member file without the rest of its room.
        if room.name == "export":
            names.remove("bank_files")
            files -= set(targets["bank_files"]["srcs"])
        (name,) = names
        assert set(targets[name]["srcs"]) == files
        assert name.removesuffix("_lib") == room.name


def test_every_script_has_a_binary_and_every_test_file_a_test(targets):
    for source in sources():
        name = pathlib.Path(source).stem
        if source.startswith("tests/test_"):
            assert targets[name]["rule"] == "py_test"
            assert (targets[name]["main"], targets[name]["args"]) == (PYTEST, [source])
        elif source.startswith("scripts/") and '\nif __name__ == "' in (ROOT / source).read_text():
            name = name.replace("__main__", "talkinghead")
            assert targets[name]["rule"] == "py_binary"
            assert targets[name]["srcs"] == [targets[name]["main"]] == [source]


def test_dependencies_are_the_imports(targets):
    """None is missing, and none is declared that no source needs."""
    assert missing(targets) == {}
    owner = owners(targets)
    dynamic = {"talkinghead": {":scripts"}}  # it runs scripts by name
    for name, target in targets.items():
        if target["rule"] in ("py_library", "py_binary"):
            extra = set(target["deps"]) - needed(target, owner) - dynamic.get(name, set())
            assert not extra, f"{name} declares what it does not need"
        if target["rule"] == "py_test":
            assert ":testing" in target["deps"]


def test_labels_are_targets_or_required_packages(targets):
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = {name_of(line) for line in lines if not line.startswith("#")}
    lock = (ROOT / ".ci/requirements_lock.txt").read_text().splitlines()
    pinned = {name_of(line) for line in lock if re.fullmatch(r"[\w.-]+==[\w.+]+", line)}
    assert required <= pinned, "Bazel installs what the lock file lists"
    for name, target in targets.items():
        for label in [*target["deps"], *target["data"]]:
            if label.startswith(":"):
                assert label[1:] in targets, f"{name}: {label}"
            elif label.startswith("@pip//"):
                assert label[6:].replace("_", "-") in required, f"{name}: {label}"
            else:
                assert (ROOT / label).is_file(), f"{name}: {label}"


def test_no_target_depends_on_itself(targets):
    ordered = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path, name])
        if name not in ordered:
            for label in targets[name]["deps"]:
                if label.startswith(":"):
                    visit(label[1:], [*path, name])
            ordered.add(name)

    for name in targets:
        visit(name, [])


def test_data_files_are_in_bazel_and_in_the_wheel(targets):
    """Whatever lies in a room beside Python is some target's data and pyproject's package data."""
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packaged = matching(
        f"{package.replace('.', '/')}/{pattern}"
        for package, patterns in globs["package-data"].items()
        for pattern in patterns
    )
    declared = {item for target in targets.values() for item in target["data"]}
    files = matching(f"{folder}/**/*" for folder in FOLDERS[:3])
    for file in sorted(files):
        if not file.endswith((".py", ".pyc")) and "node_modules" not in file:
            assert file in packaged and file in declared, file


def test_a_dependency_left_out_is_noticed(targets):
    """Every single one of the libraries and binaries; the tests have theirs through `testing`."""
    for name, target in targets.items():
        if target["rule"] not in ("py_library", "py_binary"):
            continue
        for label in set(target["deps"]) - {":scripts"}:
            broken = copy.deepcopy(target)
            broken["deps"].remove(label)
            assert missing({**targets, name: broken}) == {name: [label]}
