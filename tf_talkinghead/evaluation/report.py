"""The report of an evaluation on disk: `report.json`, `report.md`, curves and sheets.

report = write_report(people, output, about)       # people as `person.evaluate` returns them
"""

import json
import pathlib

from tf_talkinghead.evaluation import plots, sheets
from tf_talkinghead.evaluation.markdown import markdown
from tf_talkinghead.evaluation.results import About, Pictures, Report
from tf_talkinghead.evaluation.summary import set_distances, summarise
from tf_talkinghead.files import write_atomically


def write_report(people, output, about=None):
    """Writes the report into `output`, the folder that holds the people's folders.

    Args:
      people: list of PersonResult.
      output: folder.
      about: an About; empty by default.

    Returns:
      The Report.
    """
    output = pathlib.Path(output)
    summary = summarise(people)
    pictures = Pictures(
        sheets={p.person: sheets.person_sheet(p, output) for p in people if p.results},
        worst=sheets.worst_sheet(people, output),
        curves=plots.against_shots(summary, output),
        steps=plots.against_steps(people, output),
    )
    report = Report(
        about=about or About(),
        people=people,
        summary=summary,
        set_distances=set_distances(people, output),
        pictures=pictures,
    )
    text = json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n"
    write_atomically(output / "report.json", text.encode())
    write_atomically(output / "report.md", markdown(report).encode())
    return report
