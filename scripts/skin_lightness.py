"""Groups an evaluation's figures by the people's skin lightness, measured as typology angle (ITA).

    python -m scripts.skin_lightness --report=reports/mine
    python -m scripts.skin_lightness --report=reports/mine --data=clips --method=feed_forward

Prints the tables and writes them into the report's folder: skin_lightness.md, skin_lightness.json.
Nobody is labelled by eye; tf_talkinghead/evaluation/skin_lightness.py says how it is measured.
"""

import dataclasses
import json
import pathlib

from absl import flags

from scripts import command
from tf_talkinghead.errors import InputError

_REPORT = flags.DEFINE_string(
    "report", None, "Folder of a report, the --output of scripts.evaluate.", required=True
)
_DATA = flags.DEFINE_string(
    "data", None, "Prepared dataset or folder of videos of its people; default: the report's."
)
_METHOD = flags.DEFINE_list("method", [], "Methods to show; default: all.")
_SHOTS = flags.DEFINE_list("shots", [], "Numbers of images T to show; default: all.")
_DECIMALS = {"l1": 4, "angle": 1}  # decimals of a figure; 3 for the others


def main(argv):
    command.no_arguments(argv)
    try:
        shots = [int(text) for text in _SHOTS.value]
    except ValueError as error:
        raise InputError(f"--shots={','.join(_SHOTS.value)}: expected whole numbers") from error
    from tf_talkinghead.evaluation import skin_lightness
    from tf_talkinghead.files import write_atomically

    table = skin_lightness.by_lightness(_REPORT.value, _DATA.value, _METHOD.value, shots)
    text = f"{_markdown(table.rows)}\n{_markdown(table.persons)}"
    people = {
        name: {**dataclasses.asdict(found), "class": found.name}
        for name, found in table.people.items()
    }
    tree = {"classes": skin_lightness.CLASSES, "people": people, "rows": table.rows}
    folder = pathlib.Path(_REPORT.value)
    write_atomically(folder / "skin_lightness.md", text.encode())
    write_atomically(folder / "skin_lightness.json", json.dumps(tree, indent=1).encode())
    print(text)


def _markdown(rows):
    """A table of the rows, dicts with the same keys."""
    names = list(rows[0]) if rows else []
    lines = [names, ["---"] * len(names)]
    lines += [[_text(name, row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _text(name, value):
    if value is None:
        return "-"
    return f"{value:.{_DECIMALS.get(name, 3)}f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    command.run(main)
