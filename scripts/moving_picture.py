"""Makes an animated WebP: an avatar's film beside the landmark drawing that moves the avatar.

    python -m scripts.drive --person=collins --expression=docs/pictures/collins.csv --fps=15 \\
        --output=collins.mp4
    python -m scripts.moving_picture --film=collins.mp4 --motion=docs/pictures/collins.csv \\
        --card=avatars/collins/1/card.json --output=docs/pictures/collins.webp
"""

from absl import flags

from scripts import command

FLAGS = flags.FLAGS
flags.DEFINE_string("film", None, "Film of an avatar.", required=True)
flags.DEFINE_string("motion", None, "The --expression file the film was made from.", required=True)
flags.DEFINE_string("card", None, "The avatar's card.json.", required=True)
flags.DEFINE_string("output", None, "The .webp to write.", required=True)
flags.DEFINE_integer("quality", 70, "Quality of the WebP.", lower_bound=1, upper_bound=100)


def main(argv):
    command.no_arguments(argv)
    command.load("tensorflow")
    from tf_talkinghead.personalization.moving_picture import write_moving_picture

    frames = write_moving_picture(FLAGS.film, FLAGS.motion, FLAGS.card, FLAGS.output, FLAGS.quality)
    print(f"{FLAGS.output}: {frames} frames")


if __name__ == "__main__":
    command.run(main)
