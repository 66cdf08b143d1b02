"""Makes an avatar from images of a person (Sec. 3.3) and publishes it for TensorFlow Serving.

    python -m scripts.personalize --weights=demo --person=ann --models=avatars \\
        --images=photos/ann,clip.mp4
    python -m scripts.personalize --weights=guided --models=avatars --refresh=all

The new version of <models>/<person>/ is published atomically at the end. <models>/.work/<person>/
holds preview.png, preview.mp4 and the input of `scripts.export`. After an interruption the same
command continues. Settings without a flag are those of the run's config.json.

--refresh makes avatars again with other weights, from the crops kept in their work folders. Avatars
that were already made with these weights are left as they are.
"""

from absl import flags

from scripts import command
from tf_talkinghead import provenance
from tf_talkinghead.config_checks import CHOICES
from tf_talkinghead.errors import InputError
from tf_talkinghead.watermark.keys import read_key

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "weights",
    None,
    '"guided" (256 px), "demo" (128 px), a run directory of meta_train or one of its snapshots '
    "(RUN/checkpoints/step-...).",
    required=True,
)
flags.DEFINE_string("person", None, "Name of the avatar, its folder and served model.")
flags.DEFINE_multi_string(
    "images", None, "Photos, videos or folders of them; comma-separated or repeated."
)
flags.DEFINE_string(
    "refresh", None, "Person whose avatar to make again with --weights from the kept crops, or all."
)
flags.DEFINE_string("models", None, "Folder of all models.", required=True)
flags.DEFINE_integer(
    "shots", None, "Number of images to use; default: the run's (8), or all if there are fewer."
)
flags.DEFINE_enum(
    "mode",
    None,
    CHOICES["personalize.mode"],
    "How the avatar is fitted; default: the run's (guided weights feed_forward, others fine_tune).",
)
flags.DEFINE_integer("steps", None, "Fine-tuning steps; default: the run's.")
flags.DEFINE_integer("keep_versions", None, "Remove all but the newest N versions afterwards.")
flags.DEFINE_string("work_dir", None, "Parent of the work folders; default: <models>/.work.")
flags.DEFINE_enum(
    "dtype",
    None,
    CHOICES["export.dtype"],
    "Storage dtype of the exported weights; default: the run's (float32).",
)
flags.DEFINE_string(
    "vgg19_weights",
    None,
    "File of VGG19's Caffe weights, for weights trained with --perceptual=vgg; default: the run's.",
)
flags.DEFINE_string(
    "vggface_weights", None, "The same for VGG16-Face's Caffe weights; default: the run's."
)
flags.DEFINE_bool(
    "force",
    False,
    "Accept images with several faces (the largest is used) and images of different people.",
)
flags.DEFINE_string(
    "consent",
    None,
    "Statement of the consent of the person shown, for the card and the manifests of films; "
    "without it they say that none was stated.",
)
flags.DEFINE_string("consent_by", None, "Name of whoever states the consent.")
flags.DEFINE_bool(
    "watermark",
    None,
    "Mark every frame invisibly, inside the served graph; the card says whether. Default: the "
    "run's (on).",
)
flags.DEFINE_string(
    "watermark_key",
    None,
    "File of 16 random bytes or more, the key of the watermark. Default: the public key, with "
    "which anybody can verify the mark, and remove or forge it.",
)


def main(argv):
    command.no_arguments(argv)
    settings = {
        "mode": FLAGS.mode,
        "steps": FLAGS.steps,
        "keep_versions": FLAGS.keep_versions,
        "work_dir": FLAGS.work_dir,
        "dtype": FLAGS.dtype,
        "vgg19_weights": FLAGS.vgg19_weights,
        "vggface_weights": FLAGS.vggface_weights,
        "watermark": FLAGS.watermark,
        "watermark_key": read_key(FLAGS.watermark_key) if FLAGS.watermark_key else None,
    }
    if FLAGS.consent_by and not FLAGS.consent:
        raise InputError("--consent_by needs --consent=STATEMENT")
    consent = provenance.stated_consent(FLAGS.consent, FLAGS.consent_by)
    if FLAGS.refresh:
        if FLAGS.person or FLAGS.images or FLAGS.shots or FLAGS.force or FLAGS.consent:
            raise InputError(
                "--refresh uses the kept crops and consent: leave out --person, --images, --shots, "
                "--force and --consent"
            )
        _refresh(settings)
        return
    if not FLAGS.person or not FLAGS.images:
        raise InputError("expected --person=NAME and --images=FILES, or --refresh=NAME (or all)")
    images = [path for item in FLAGS.images for path in item.split(",") if path]

    command.load("tensorflow")
    from tf_talkinghead.export.workflow import make_person

    made = make_person(
        FLAGS.weights,
        FLAGS.person,
        images,
        FLAGS.models,
        shots=FLAGS.shots,
        force=FLAGS.force,
        **settings,
        consent=consent,
    )
    _report(FLAGS.person, made)


def _refresh(settings):
    command.load("tensorflow")
    from tf_talkinghead.export import refresh

    people = [FLAGS.refresh]
    if FLAGS.refresh == "all":
        people = refresh.kept_people(FLAGS.models)
        if not people:
            raise InputError(f"--refresh=all: no avatars with kept crops in {FLAGS.models}")
    for person in people:
        made = refresh.refresh_person(FLAGS.weights, person, FLAGS.models, **settings)
        if made is None:
            print(f"{person}: made with these weights already")
        else:
            _report(person, made)


def _report(person, made):
    for scores in made.avatar.history:
        error = scores["landmark_error"]
        error = "no face found" if error is None else f"{100 * error:.1f} % of the eye distance"
        compared = "held-out image" if scores["held_out"] else "images given"
        print(
            f"step {scores['step']}: SSIM {scores['ssim']:.3f} ({compared}), "
            f"face similarity {scores['face_similarity']:.2f}, landmark error {error}"
        )
    if made.in_bank:
        print(f"{person} is in the bank too")
    if made.pruned:
        print(f"removed versions {', '.join(map(str, made.pruned))}")
    print("\n".join(f"{path}" for path in made.previews))
    facts = made.avatar.facts
    print(f"{made.version}: published in {facts.seconds:.0f} s from {facts.images} images")


if __name__ == "__main__":
    command.run(main)
