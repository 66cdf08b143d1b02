"""BUILD says what the sources say: Bazel itself is not needed, since its language is a subset of Python's.

The file is executed with stand-ins for the rules, and compared with the files and imports it speaks of.
"""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("tf_talkinghead", "serving", "scripts", "tests")
PYTEST = "tests/pytest_main.py"  # the entry of every py_test, so in many targets
RULES = ("py_library", "py_binary", "py_test")
# Where a package's import name differs from the name it is installed by.
INSTALLED_AS = {
    "absl": "absl_py",
    "av": "av",
    "cv2": "opencv_python_headless",
    "dlib": "dlib_bin",
    "grpc": "grpcio",
    "grpc_health": "grpcio_health_checking",
    "grpc_reflection": "grpcio_reflection",
    "PIL": "pillow",
    "skimage": "scikit_image",
    "tensorflow_serving": "tensorflow_serving_api",
    "yaml": "pyyaml",
    "google": "protobuf",
    "kubernetes_validate": "kubernetes_validate",
}


def targets_of(text):
    """Execute a BUILD file's text: {target name: {rule, srcs, deps, ...}}, and {rule: file it was loaded from}."""
    targets, loaded = {}, {}

    def load(file, *names):
        loaded.update(dict.fromkeys(names, file))

    def rule(kind):
        def declare(name, **attributes):
            assert name not in targets, f"two targets are called {name}"
            targets[name] = {"rule": kind, "srcs": [], "deps": [], "data": [], **attributes}

        return declare

    def glob(include, exclude=()):
        found = {
            str(path.relative_to(ROOT))
            for pattern in include
            for path in ROOT.glob(pattern)
            if path.is_file()
        }
        found -= {str(path.relative_to(ROOT)) for pattern in exclude for path in ROOT.glob(pattern)}
        assert found, f"glob({include}) finds nothing"
        return sorted(found)

    names = {kind: rule(kind) for kind in (*RULES, "filegroup")}
    exec(
        text,
        {
            "load": load,
            "glob": glob,
            "package": lambda **_: None,
            "exports_files": lambda *_: None,
            **names,
        },
    )
    return targets, loaded


def sources():
    """Every Python file of the four folders, as paths from the root."""
    return sorted(
        str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    )


def imports(source):
    """What a file imports: (set of our files, set of other packages' top names), everywhere in it."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] in FOLDERS:
                ours.add(file_of(name))
            elif name.split(".")[0] not in sys.stdlib_module_names:
                others.add(name.split(".")[0])
    return ours - {source, None}, others


def file_of(name):
    """The file that defines a dotted name: a module, or the module that holds the attribute."""
    while name:
        for candidate in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py"):
            if (ROOT / candidate).is_file():
                return candidate
        name = name.rpartition(".")[0]
    return None


def needed(target, owner):
    """The deps a target's sources call for, as labels."""
    labels = set()
    for source in target["srcs"] if target["rule"] in RULES else ():
        ours, others = imports(source)
        labels |= {
            ":" + owner[file] for file in ours if file in owner and file not in target["srcs"]
        }
        labels |= {"@pip//" + INSTALLED_AS.get(name, name.lower()) for name in others}
    return labels


def owners(targets):
    return {
        source: name
        for name, target in targets.items()
        if target["rule"] in RULES
        for source in target["srcs"]
    }


@pytest.fixture(scope="module")
def build():
    return targets_of((ROOT / "BUILD").read_text())


def test_rules_are_loaded_from_rules_python(build):
    targets, loaded = build
    for target in targets.values():
        if target["rule"] in RULES:
            assert loaded[target["rule"]].startswith("@rules_python//python:"), target
    module = (ROOT / "MODULE.bazel").read_text()
    assert 'bazel_dep(name = "rules_python"' in module and "requirements.txt" in module


def test_every_source_is_in_exactly_one_target(build):
    targets, _ = build
    rules = [target for target in targets.values() if target["rule"] in RULES]
    listed = [source for target in rules for source in target["srcs"] if source != PYTEST]
    assert sorted(set(listed)) == sorted(listed), "a file is in two targets"
    assert sorted([*listed, PYTEST]) == sources()


def test_every_test_and_script_has_a_target_of_its_kind(build):
    targets, _ = build
    for source in sources():
        kind = "py_test" if source.startswith("tests/test_") else None
        text = (ROOT / source).read_text()
        if source.startswith("scripts/") and 'if __name__ == "__main__"' in text:
            kind = "py_binary"
        if kind:
            name = pathlib.Path(source).stem
            expected = {"py_binary": ([source], source), "py_test": ([source, PYTEST], PYTEST)}[
                kind
            ]
            assert (
                targets[name]["rule"] == kind
                and (targets[name]["srcs"], targets[name]["main"]) == expected
            ), source
            assert kind == "py_binary" or targets[name]["args"] == [source]


def test_every_file_named_exists(build):
    targets, _ = build
    for name, target in targets.items():
        for file in [
            *target["srcs"],
            *[item for item in target["data"] if not item.startswith((":", "@"))],
        ]:
            assert (ROOT / file).is_file(), f"{name}: {file} does not exist"


def test_every_import_is_a_declared_dependency(build):
    """Both ways: what is imported is declared, and what is declared is a target or a required package."""
    targets, _ = build
    owner = owners(targets)
    missing = {
        name: needed(target, owner) - set(target["deps"]) for name, target in targets.items()
    }
    assert not {name: sorted(labels) for name, labels in missing.items() if labels}
    packages = re.findall(r"^([A-Za-z0-9_.-]+)", (ROOT / "requirements.txt").read_text(), re.M)
    packages = {
        "@pip//" + package.lower().replace("-", "_").replace(".", "_") for package in packages
    }
    for name, target in targets.items():
        for label in [
            *target["deps"],
            *[item for item in target["data"] if item.startswith((":", "@"))],
        ]:
            assert label[1:] in targets if label.startswith(":") else label in packages, (
                f"{name}: {label}"
            )


def test_no_target_depends_on_itself(build):
    targets, _ = build
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for label in targets[name]["deps"]:
            if label.startswith(":"):
                visit(label[1:])
        path.pop()
        done.add(name)

    for name in targets:
        visit(name)


def test_the_checks_see_what_is_wrong():
    """A dependency left out, an import inside a function, and a name taken from a package are all noticed."""
    targets, _ = targets_of(
        'py_library(name = "driving", srcs = ["tf_talkinghead/driving/adaptation.py"])\n'
        'py_library(name = "errors", srcs = ["tf_talkinghead/errors.py"])'
    )
    assert needed(targets["driving"], owners(targets)) == {":errors", "@pip//numpy"}
    assert file_of("tf_talkinghead.errors.InputError") == "tf_talkinghead/errors.py"
    assert "skimage" in imports("tests/conftest.py")[1]
    with pytest.raises(AssertionError, match="two targets are called a"):
        targets_of('py_library(name = "a")\npy_library(name = "a")')
