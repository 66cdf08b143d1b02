"""Publishes a new version of an avatar or the avatar bank, or removes a person.

    python -m scripts.export --models=avatars --person=ann --dtype=float16
    python -m scripts.export --models=avatars --person=ann --size=512
    python -m scripts.export --models=avatars --bank --weights=demo --people=ann,bob
    python -m scripts.export --models=avatars --delete=ann [--server=HOST:8500]

A new version of an avatar is made from the files that scripts.personalize left in its work folder.
"""

from absl import flags

from scripts import command, tls_flags
from tf_talkinghead.config_checks import CHOICES
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(tls_flags)  # --help lists them
flags.DEFINE_string("models", None, "Folder of all models.", required=True)
flags.DEFINE_string("person", None, "Publish this person's latest avatar as a new version.")
flags.DEFINE_enum(
    "dtype",
    None,
    CHOICES["export.dtype"],
    "Storage dtype of the exported weights; default: as personalized (--person) or the run's "
    "(--bank).",
)
flags.DEFINE_bool(
    "bfloat16_compute",
    None,
    "Compute convolutions in bfloat16: faster on some CPUs, errors of a few grey levels; default: "
    "as personalized (--person) or the run's (--bank).",
)
flags.DEFINE_integer(
    "size",
    None,
    "Side of the frames in pixels: that of the weights, or for guided avatars twice that (512), "
    "which needs no training; default: as before. Frames are only as sharp as the photos, whose "
    "size the card names.",
)
flags.DEFINE_integer("keep_versions", None, "Remove all but the newest N versions afterwards.")
flags.DEFINE_string("work_dir", None, "The --work_dir given to scripts.personalize.")
flags.DEFINE_bool(
    "bank", False, "Publish the shared generator of --weights with the avatars of --people."
)
flags.DEFINE_string(
    "weights",
    None,
    'Weights of the bank\'s generator: "guided", "demo", or a run directory of meta_train.',
)
flags.DEFINE_list(
    "people",
    [],
    "Members of the bank; default: all feed_forward and vector avatars made with --weights.",
)
flags.DEFINE_string(
    "delete",
    None,
    "Remove this person: versions, work folders and the bank versions that hold them.",
)
flags.DEFINE_list(
    "server",
    [],
    "With --delete: HOST:PORT of all servers. Their labels move to a bank version without the "
    "person before the versions with the person are removed.",
)
flags.DEFINE_bool(
    "watermark",
    None,
    "Mark every frame invisibly, inside the served graph; the card says whether. Default: "
    "as personalized, or the run's.",
)
flags.DEFINE_string(
    "watermark_key",
    None,
    "File of 16 random bytes or more, the key of the watermark; with --delete, the key that the "
    "bank is marked with. Default: the public key, with which anybody can verify the mark, and "
    "remove or forge it.",
)


def main(argv):
    command.no_arguments(argv)
    chosen = [bool(FLAGS.person), FLAGS.bank, bool(FLAGS.delete)]
    if sum(chosen) != 1:
        raise InputError("expected exactly one of --person=NAME, --bank and --delete=NAME")
    if FLAGS.size is not None and FLAGS.delete:
        raise InputError("--size needs --person or --bank")
    if FLAGS.server and not FLAGS.delete:
        raise InputError("--server needs --delete; scripts.serve rolls versions out")
    if FLAGS.bank and not FLAGS.weights:
        raise InputError(
            '--bank needs --weights: "guided", "demo", or the run directory its people were made '
            "with"
        )

    command.load("tensorflow")
    from tf_talkinghead.export import bank_workflow, workflow
    from tf_talkinghead.watermark.keys import read_key

    if FLAGS.delete:
        follow = _servers_follow if FLAGS.server else None
        key = read_key(FLAGS.watermark_key)
        removed = workflow.delete_person(FLAGS.models, FLAGS.delete, follow, key)
        print(f"{FLAGS.delete}: removed {', '.join(removed)}")
        if any("versions" in text and "of the bank" in text for text in removed) and not follow:
            print(
                "models.config has no labels for those versions any more; once the servers have "
                "loaded the new version, scripts.serve --write_config_only sets the labels again"
            )
        return
    options = {
        "dtype": FLAGS.dtype,
        "bfloat16_compute": FLAGS.bfloat16_compute,
        "keep_versions": FLAGS.keep_versions,
        "size": FLAGS.size,
        "watermark": FLAGS.watermark,
        "watermark_key": read_key(FLAGS.watermark_key),
    }
    if FLAGS.bank:
        bank = bank_workflow.publish_bank(FLAGS.weights, FLAGS.models, FLAGS.people, **options)
        if bank.left_out:
            print(f"left out, made with other weights: {', '.join(bank.left_out)}")
        members = ", ".join(bank.people) or "nobody yet"
        print(f"{bank.version}: published with {len(bank.people)} people: {members}")
    else:
        version = workflow.publish_again(
            FLAGS.models, FLAGS.person, work_dir=FLAGS.work_dir, **options
        )
        print(f"{version}: published")


def _servers_follow(version, removed):
    """Moves the bank's labels on all of --server from `removed` versions to `version`.

    Raises:
      InputError: a server did not move its labels in time.
    """
    from serving import models_config, rollout

    config = models_config.read_if_there(FLAGS.models)
    stable = models_config.labels_of(config).get("bank", {}).get(models_config.STABLE)
    left = rollout.roll_out(
        FLAGS.models,
        FLAGS.server,
        pin={"bank": version} if stable in removed else None,
        served_from=models_config.served_from(FLAGS.models),
        tls=tls_flags.tls(),
    )
    if left:
        raise InputError(
            f"{'; '.join(left)}. Nothing of the bank was removed yet: run the same command again"
        )


if __name__ == "__main__":
    command.run(main)
