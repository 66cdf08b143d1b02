"""Scores the answers of a user study: detection rate of generated images, with 95 % interval.

    python -m scripts.score_user_study --key=reports/demo/user_study_key.json \\
        --answers=answers-1.json,answers-2.json
"""

import json
import pathlib

from absl import flags

from scripts import command

_KEY = flags.DEFINE_string("key", None, "user_study_key.json, written by scripts.evaluate.")
_ANSWERS = flags.DEFINE_list(
    "answers", None, "Answer files saved by the study's page, or one folder of them."
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write the scores to as JSON.")
flags.mark_flags_as_required(["key", "answers"])


def main(argv):
    command.no_arguments(argv)
    from tf_talkinghead.evaluation.user_study import score

    paths = [pathlib.Path(name) for name in _ANSWERS.value]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(paths[0].glob("*.json"))
    scores = score(paths, _KEY.value)
    if _OUTPUT.value:
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(scores, indent=1) + "\n")
    print(f"{scores['participants']} participants; fakes found, chance is {scores['chance']:.2f}")
    for row in [*scores["methods"], scores["all"]]:
        name = row["method"] if row["T"] is None else f"{row['method']}, T = {row['T']}"
        print(
            f"{name:24} {row['found']:.2f}  95 % {row['low']:.2f} to {row['high']:.2f}"
            f"  p of chance {row['p_of_chance']:.3f}  ({row['answers']} answers)"
        )


if __name__ == "__main__":
    command.run(main)
