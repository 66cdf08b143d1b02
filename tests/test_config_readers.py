"""No dead field: each field of the configuration is read somewhere in the code."""

import ast
import pathlib

from tests.test_config import fields
from tf_talkinghead.config import SECTIONS

ROOT = pathlib.Path(__file__).parents[1]

# Section -> what code calls an object of it: anywhere, and in certain rooms or modules.
RECEIVERS = {
    "model": ({"model"}, {"config": ("models", "training/synthesis")}),
    "losses": ({"weights", "losses"}, {"config": ("training/content_loss",)}),
    "meta": ({"meta"}, {}),
    "data.augment": ({"augment"}, {"config": ("data/augment",)}),
    "data": ({"data"}, {"config": ("data/episodes", "data/guided_episodes")}),
    "preparation": ({"preparation"}, {"config": ("data/clip_worker", "data/prepare", "faces")}),
    "personalize": ({"personalize"}, {"config": ("personalization",)}),
    "export": ({"export"}, {"config": ("export/saved_model",)}),
    "evaluation": (set(), {"config": ("evaluation",)}),
}


def reads(tree, module):
    """{section.field} that a module's syntax tree reads: attributes of objects called as in
    RECEIVERS.

    Functions of a module are called, fields are not: `losses.match(...)` is no read of a field. In
    a section's own class the object is `self`.
    """
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    classes = {cls.__name__: section for cls, section in SECTIONS.items()}
    own = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            own.update({id(inner): classes[node.name] for inner in ast.walk(node)})
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if id(node) in called:
            continue
        receiver = getattr(node.value, "attr", getattr(node.value, "id", None))
        for section, (anywhere, here) in RECEIVERS.items():
            rooms = here.get(receiver, ())
            if receiver in anywhere or module.startswith(rooms):
                found.add(f"{section}.{node.attr}")
        if receiver == "self" and id(node) in own:
            found.add(f"{own[id(node)]}.{node.attr}")
    return found


def test_every_field_has_a_reader():
    """A field that nothing reads would promise what nothing does."""
    read = set()
    for folder in ("tf_talkinghead", "serving", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            module = str(path.relative_to(ROOT / folder))
            read |= reads(ast.parse(path.read_text()), module)
    unread = [f"{s}.{field.name}" for s, field, _ in fields() if f"{s}.{field.name}" not in read]
    assert not unread


def test_a_name_elsewhere_is_no_reader():
    code = """
print("meta.shots", values["shots"], other.shots, losses.match(a, b), config.shots)
meta.seed = 1
seed = config.meta.batch_size
"""
    assert reads(ast.parse(code), "training/run.py") == {"meta.batch_size"}
    assert reads(ast.parse("config.image_size"), "models/embedder.py") == {"model.image_size"}
