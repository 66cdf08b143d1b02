"""Trains E, G and D on a prepared dataset by meta-learning (Sec. 3.2), or resumes a run.

    python -m scripts.meta_train --data=datasets/mine --run_dir=runs/mine --preset=demo

All GPUs of the machine are used. To train on several machines, set TF_CONFIG on each and pass the
same flags and a shared --run_dir. SIGTERM saves a checkpoint and exits with 0; the same command
resumes the run. TensorBoard: `tensorboard --logdir=RUN_DIR`.
"""

import json
import pathlib

from absl import flags

from scripts import command
from tf_talkinghead import config as configs
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Dataset folder, the --output of prepare_dataset.", required=True)
flags.DEFINE_string("run_dir", None, "Folder of the run; a run in it is resumed.", required=True)
flags.DEFINE_enum("preset", "paper", configs.PRESETS, "Configuration to start from.")
flags.DEFINE_integer(
    "steps", None, "Total number of E+G updates, including those before a resume.", lower_bound=1
)
flags.DEFINE_integer(
    "epochs",
    None,
    "Episodes per video, if --steps is not given. The paper's are 75 (ft) and 150 (ff).",
    lower_bound=1,
)
flags.DEFINE_integer("batch_size", None, "Episodes per update, over all replicas.", lower_bound=1)
flags.DEFINE_integer("shots", None, "Context frames per episode, K.", lower_bound=1)
flags.DEFINE_enum("perceptual", None, ["vgg", "dlib"], "Networks of the content loss.")
flags.DEFINE_string(
    "vgg19_weights", None, "File of VGG19's Caffe weights; default: the file that Keras downloads."
)
flags.DEFINE_string(
    "vggface_weights", None, "File of VGG16-Face's Caffe weights (see models/perceptual.py)."
)
flags.DEFINE_string(
    "holdout_people",
    None,
    "Number of people to hold out for evaluation, or a file with one name per line.",
)
flags.DEFINE_integer("checkpoint_every", None, "Steps between checkpoints.", lower_bound=1)
flags.DEFINE_integer("seed", None, "Random seed of initial weights and episodes.", lower_bound=0)
flags.DEFINE_bool(
    "deterministic",
    False,
    "Bitwise reproducible training (CPU, float32, same machine and thread count).",
)
flags.DEFINE_integer(
    "logical_replicas",
    0,
    "Split the CPU into this many replicas, to test distributed training.",
    lower_bound=0,
)
flags.DEFINE_string(
    "init_from",
    None,
    'Trained weights to start a new run from: "guided", "demo", a run directory or a snapshot.',
)
flags.DEFINE_multi_string(
    "set", [], "Sets a configuration field, as in --set=meta.learning_rate=1e-4; may be repeated."
)


def main(argv):
    command.no_arguments(argv)
    holdout, people = _holdout(FLAGS.holdout_people)
    changes = dict(_assignment(text) for text in FLAGS.set)
    for name in ("steps", "epochs", "batch_size", "shots", "checkpoint_every", "seed"):
        if FLAGS[name].value is not None:
            changes[f"meta.{name}"] = FLAGS[name].value
    # --epochs overrides the preset's number of steps.
    if "meta.epochs" in changes:
        changes.setdefault("meta.steps", 0)
    for name in ("vgg19_weights", "vggface_weights"):
        if FLAGS[name].value is not None:
            changes[f"losses.{name}"] = FLAGS[name].value
    if people is not None:
        changes["meta.holdout_people"] = people
    config = configs.preset(FLAGS.preset)
    if FLAGS.perceptual:
        config = configs.with_perceptual(config, FLAGS.perceptual)
    config = configs.replace(config, changes)

    command.load("tensorflow")
    from tf_talkinghead.training.run import meta_train
    from tf_talkinghead.weights.store import load_trained

    result = meta_train(
        config,
        FLAGS.data,
        FLAGS.run_dir,
        holdout=holdout,
        deterministic=FLAGS.deterministic,
        logical_replicas=FLAGS.logical_replicas,
        initial=load_trained(FLAGS.init_from) if FLAGS.init_from else None,
    )
    print(
        f"{FLAGS.run_dir}: {'stopped' if result.interrupted else 'finished'} at step {result.step}"
    )


def _assignment(text):
    """Parses one --set as (field, value)."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set={text}: expected FIELD=VALUE, such as meta.learning_rate=1e-4")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # a string


def _holdout(value):
    """Parses --holdout_people (a number, a file of names, or None) as (names, count)."""
    if value is None:
        return None, None
    if value.isdigit():
        return None, int(value)
    path = pathlib.Path(value)
    if not path.is_file():
        raise InputError(f"--holdout_people={value}: neither a number nor a file of names")
    names = sorted({line.strip() for line in path.read_text().splitlines() if line.strip()})
    return names, len(names)


if __name__ == "__main__":
    command.run(main)
