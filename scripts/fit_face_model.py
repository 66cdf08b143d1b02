"""Fits the linear face model of expression parameters to the clips of a prepared dataset.

    python -m scripts.fit_face_model --data=datasets/train

The shipped file was made from clips whose people consent (`demo_weights_ok` in the data's manifest,
prepared with --where=split=train). Photos (clips of one frame) are ignored.
"""

from absl import flags

from scripts import command
from tf_talkinghead import files
from tf_talkinghead.driving import face_model

_DATA = flags.DEFINE_string("data", None, "Folder of the prepared dataset.")
_OUTPUT = flags.DEFINE_string("output", None, "File to write; by default the shipped one.")
flags.mark_flag_as_required("data")


def main(argv):
    command.no_arguments(argv)
    from tf_talkinghead.data.dataset import load_dataset
    from tf_talkinghead.driving.face_model_fit import fit_face_model
    from tf_talkinghead.faces.pupils import find_pupils

    dataset = load_dataset(_DATA.value)
    clips, people, frames = [], set(), 0
    for entry in dataset.clips:
        if entry.frames < 2:
            continue
        record = dataset.read(entry)
        pupils = record.pupils
        if pupils is None:
            pupils = find_pupils(record.images(), record.landmarks)
        clips.append((record.landmarks, pupils))
        people.add(record.identity)
        frames += entry.frames
    made_of = (
        f"68 landmarks and pupils of {frames} frames of {len(clips)} clips of {len(people)} people"
    )
    model = fit_face_model(clips, made_of)
    path = _OUTPUT.value or face_model.PATH
    files.write_atomically(path, face_model.to_json(model).encode())
    print(f"{path}: {made_of}")
    for name in face_model.NAMES:
        low, high = model.ranges[name]
        print(f"{name:12} {low:8.3f} to {high:7.3f}")


if __name__ == "__main__":
    command.run(main)
