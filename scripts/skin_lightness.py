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

_REPORT = flags.DEFINE_string("report", None, "Folder of scripts.evaluate.", required=True)
_DATA = flags.DEFINE_string(
    "data", None, "Prepared dataset or folder of videos of its people; default: the report's."
)
_METHOD = flags.DEFINE_list("method", [], "Methods to show; default: all.")
_DECIMALS = {"l1": 4}  # 3 for the others


def main(argv):
    command.no_arguments(argv)
    from tf_talkinghead.evaluation import skin_lightness

    table = skin_lightness.by_lightness(_REPORT.value, _DATA.value, _METHOD.value)
    people = {
        name: {**dataclasses.asdict(found), "class": found.name}
        for name, found in table.people.items()
    }
    text = f"{_groups(table.rows)}\n{_people(people)}"
    folder = pathlib.Path(_REPORT.value)
    (folder / "skin_lightness.md").write_text(text)
    tree = {"classes": skin_lightness.CLASSES, "people": people, "rows": table.rows}
    (folder / "skin_lightness.json").write_text(json.dumps(tree, indent=1) + "\n")
    print(text)


def _groups(rows):
    names = list(rows[0]) if rows else []
    lines = [names, ["---"] * len(names)]
    lines += [[_text(name, row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _people(people):
    lines = ["| person | ITA, degrees | between quartiles | class |", "|---|---|---|---|"]
    for name, found in sorted(people.items(), key=lambda item: -(item[1]["angle"] or -91)):
        angle, spread = ("-" if found[key] is None else found[key] for key in ("angle", "spread"))
        lines.append(f"| {name} | {angle} | {spread} | {found['class']} |")
    return "\n".join(lines) + "\n"


def _text(name, value):
    if value is None:
        return "-"
    return f"{value:.{_DECIMALS.get(name, 3)}f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    command.run(main)
