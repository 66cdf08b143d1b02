"""Evaluates weights by the paper's protocol (Sec. 4), with model-free baselines for comparison.

    python -m scripts.evaluate --weights=demo --data=held_out --limit=8 --output=reports/demo
    python -m scripts.evaluate --weights=runs/mine --data=clips --manifest=clips/people.csv \\
        --output=reports/mine
    python -m scripts.evaluate --mode=nearest,warp --data=clips --output=reports/baselines

Writes report.md, report.json, images and a user study to --output. After an interruption the same
command continues after the last finished person.
"""

import dataclasses
import shlex
import sys

from absl import flags

from scripts import command
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import InputError

_DEFAULT = EvaluationConfig()
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "guided, demo, a run directory or one of its snapshots; not needed for --mode=nearest,warp.",
)
_DATA = flags.DEFINE_string(
    "data", None, "A prepared dataset (records of 96 frames or more), or a folder of videos."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the report.")
_SHOTS = flags.DEFINE_list(
    "shots", [str(T) for T in _DEFAULT.shots], "Numbers of images T to personalize with."
)
_MODE = flags.DEFINE_string(
    "mode",
    "all",
    "Methods, comma-separated: nearest, warp, warp_aligned, feed_forward, vector, fine_tune and "
    "direct; or all, which leaves out direct.",
)
_PEOPLE = flags.DEFINE_list(
    "people",
    None,
    "Names of the people to evaluate; choose or report name the groups behind the project's own "
    "figures; default: all.",
)
_LIMIT = flags.DEFINE_integer("limit", None, "Maximum number of people.", lower_bound=1)
_SEED = flags.DEFINE_integer(
    "seed", _DEFAULT.seed, "Random seed of the frame choice.", lower_bound=0
)
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "Fine-tuning steps per person; default: the weights' configuration.",
    lower_bound=1,
)
_SIZE = flags.DEFINE_integer(
    "size", None, "Image size in pixels if no --weights are given; default: 128.", lower_bound=16
)
_HOLDOUT = flags.DEFINE_integer(
    "holdout", _DEFAULT.holdout, "Number of frames to score.", lower_bound=1
)
_GAP = flags.DEFINE_integer(
    "gap", _DEFAULT.gap, "Frames between the training and the scored frames.", lower_bound=0
)
_SMOOTH = flags.DEFINE_boolean(
    "smooth", _DEFAULT.smooth, "Drive by landmarks smoothed as scripts.drive smooths them."
)
_CROSS = flags.DEFINE_integer(
    "cross_shots",
    _DEFAULT.cross_shots,
    "Number of images T for cross-person driving; 0 omits it.",
    lower_bound=0,
)
_MANIFEST = flags.DEFINE_string(
    "manifest", None, "CSV with the columns file and person_id, for a folder of videos."
)
_WHERE = flags.DEFINE_string("where", None, "column=value: take only these rows of the manifest.")
_GALLERY = flags.DEFINE_string(
    "gallery", None, "Data of other people (40 or more) for rank-1 identification; default: --data."
)
_EMBEDDING = flags.DEFINE_string(
    "face_embedding", None, "package.module:function for CSIM instead of dlib's network."
)
_INCEPTION = flags.DEFINE_string(
    "inception",
    "auto",
    "Weights for FID and KID: auto (Keras's cached file, if any), imagenet (may download), "
    "a file, or none.",
)
_LPIPS = flags.DEFINE_string(
    "lpips",
    None,
    "Frozen graph of an LPIPS network, such as lpips-tensorflow's net-lin_alex_v0.1.pb.",
)
_VGG19 = flags.DEFINE_string(
    "vgg19_weights",
    None,
    "File of VGG19's Caffe weights, for weights trained with --perceptual=vgg; default: the run's.",
)
_VGGFACE = flags.DEFINE_string(
    "vggface_weights", None, "The same for VGG16-Face's Caffe weights; default: the run's."
)
_DIRECT = flags.DEFINE_string(
    "direct_weights",
    None,
    "Weights of the method direct, such as demo. They run in their own mode and size; their frames "
    "are enlarged to be scored.",
)
_ALLOW_TRAINED = flags.DEFINE_boolean(
    "allow_trained",
    False,
    "Also evaluate people that the weights were trained on; the report states it.",
)
flags.mark_flags_as_required(["data", "output"])


def main(argv):
    command.no_arguments(argv)
    config = dataclasses.replace(
        _DEFAULT,
        shots=tuple(_shots(_SHOTS.value)),
        holdout=_HOLDOUT.value,
        gap=_GAP.value,
        smooth=_SMOOTH.value,
        cross_shots=_CROSS.value,
        seed=_SEED.value,
    )
    command.load("tensorflow")
    from tf_talkinghead.evaluation.run import run_evaluation

    report = run_evaluation(
        _DATA.value,
        _OUTPUT.value,
        weights=_WEIGHTS.value,
        mode=_MODE.value,
        config=config,
        people=_PEOPLE.value,
        limit=_LIMIT.value,
        size=_SIZE.value,
        steps=_STEPS.value,
        manifest=_MANIFEST.value,
        where=_WHERE.value,
        gallery=_GALLERY.value,
        face_embedding=_EMBEDDING.value,
        inception=_INCEPTION.value,
        allow_trained=_ALLOW_TRAINED.value,
        vgg19_weights=_VGG19.value,
        vggface_weights=_VGGFACE.value,
        direct_weights=_DIRECT.value,
        lpips=_LPIPS.value,
        command=shlex.join(["python", "-m", "scripts.evaluate", *_given()]),
    )
    measured = len({row.person for row in report.results})
    print(f"{_OUTPUT.value}/report.md: {measured} people, {len(report.problems)} problems")
    return 0 if measured else 1


def _shots(texts):
    try:
        shots = sorted({int(text) for text in texts})
    except ValueError:
        shots = []
    if not shots or shots[0] < 1:
        raise InputError(
            f"--shots={','.join(texts)}: expected whole numbers from 1, as in --shots=1,8,32"
        )
    return shots


def _given():
    """The command line flags that were given."""
    return [
        flag.serialize()
        for flag in flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
        if flag.present
    ]


if __name__ == "__main__":
    command.run(main)
