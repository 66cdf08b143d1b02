"""A person from photos or a clip (Sec. 3.3): personalise, preview, and publish for TensorFlow Serving.

    python -m scripts.personalize --weights=demo --person=ann --images=photos/ann,clip.mp4 --models=avatars

The next version of <models>/<person>/ appears when all is done; <models>/.work/<person>/ holds preview.png, preview.mp4
and what `scripts.export` needs. A killed run is taken up by the same command.
"""

from absl import flags

from scripts import command

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "weights",
    None,
    '"demo", a run directory of meta_train or one of its snapshots (RUN/checkpoints/step-...).',
    required=True,
)
flags.DEFINE_string("person", None, "Name: the folder and the served model's name.", required=True)
flags.DEFINE_multi_string(
    "images", None, "Photos, folders, videos; comma-separated or repeated.", required=True
)
flags.DEFINE_string("models", None, "Folder of all models.", required=True)
flags.DEFINE_integer(
    "shots", None, "How many images to use; by default 8, or all where there are fewer."
)
flags.DEFINE_string("mode", "fine_tune", "fine_tune, feed_forward or vector.")
flags.DEFINE_integer("steps", None, "Generator updates; by default the recipe's.")
flags.DEFINE_integer("keep_versions", None, "Remove all but the newest N versions afterwards.")
flags.DEFINE_string(
    "work_dir", None, "Folder for people's work folders, instead of <models>/.work."
)
flags.DEFINE_string("dtype", "float32", "Of the weights on disk: float32, float16 or bfloat16.")
flags.DEFINE_bool(
    "force", False, "Take the largest of several faces, and images that look like different people."
)


def main(argv):
    command.no_arguments(argv)
    images = [path for item in FLAGS.images for path in item.split(",") if path]

    command.load("tensorflow")
    from tf_talkinghead.export.workflow import make_person

    made = make_person(
        FLAGS.weights,
        FLAGS.person,
        images,
        FLAGS.models,
        shots=FLAGS.shots,
        mode=FLAGS.mode,
        steps=FLAGS.steps,
        keep_versions=FLAGS.keep_versions,
        work_dir=FLAGS.work_dir,
        dtype=FLAGS.dtype,
        force=FLAGS.force,
    )
    for look in made.avatar.history:
        error = (
            "no face found"
            if look["landmark_error"] is None
            else f"{100 * look['landmark_error']:.1f} % of the eye distance"
        )
        likeness = "held-out image" if look["held_out"] else "images given"
        print(
            f"step {look['step']}: SSIM {look['ssim']:.3f} ({likeness}), "
            f"face similarity {look['face_similarity']:.2f}, landmarks off by {error}"
        )
    if made.in_bank:
        print(f"{FLAGS.person} is in the bank too")
    if made.pruned:
        print(f"removed versions {', '.join(map(str, made.pruned))}")
    print("\n".join(f"{path}" for path in made.previews))
    print(
        f"{made.version}: published in {made.avatar.facts['seconds']:.0f} s from {made.avatar.facts['images']} images"
    )


if __name__ == "__main__":
    command.run(main)
