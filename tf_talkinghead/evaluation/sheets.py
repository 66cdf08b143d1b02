"""Pictures of an evaluation: frames stored for each person, and sheets composed of them.

A person's folder holds `input_N.png` (the first images learned from), `truth_NNN.png` and
`METHOD_T_NNN.png` (scored frame NNN), `METHOD_T_worst.png`, and `landmarks.npy` [scored,68,2].
"""

import cv2
import numpy as np

from tf_talkinghead import metrics
from tf_talkinghead.evaluation.results import SELF, TRUTH, method_label, person_folder
from tf_talkinghead.evaluation.summary import leading

_INPUTS = 8  # images learned from that are stored, at most
_LABEL_HEIGHT = 18  # pixels


def save_pictures(folder, clip, chosen, frames, count):
    """Writes PNGs of some scored frames by every method, the inputs, and each method's worst frame.

    Args:
      folder: the person's; created if missing.
      clip: PersonClip.
      chosen: Split.
      frames: {label: uint8 [scored,H,W,3]}, TRUTH included.
      count: number of scored frames to keep, evenly spread.

    Returns:
      (rows of the scored frames kept, {label: row of the worst frame by SSIM}).
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.unique(np.linspace(0, len(chosen.holdout) - 1, count).round().astype(int))
    np.save(folder / "landmarks.npy", clip.landmarks[chosen.holdout])
    for place, index in enumerate(chosen.learn[:_INPUTS]):
        _write_png(folder / f"input_{place}.png", clip.images[index])
    truth, worst = frames[TRUTH], {}
    for label, images in frames.items():
        for row in rows:
            _write_png(frame_path(folder, label, row), images[row])
        if label != TRUTH:
            least = int(metrics.ssim(truth, images).argmin())
            worst[label] = least
            _write_png(folder / f"{label}_worst.png", images[least])
            _write_png(frame_path(folder, TRUTH, least), truth[least])
    return rows.tolist(), worst


def frame_path(folder, label, row):
    """File of scored frame `row` by the method of `label`, in a person's folder."""
    return folder / f"{label}_{row:03d}.png"


def person_sheet(person, output, most_rows=4):
    """Draws one person's sheet: columns of drawing, truth and methods by T, inputs on top.

    Rows are scored frames, the worst of the leading method first.

    Args:
      person: PersonResult with at least one row.
      output: folder of the report.

    Returns:
      The sheet's path relative to `output`, as a string.
    """
    folder = person_folder(output, person.person)
    own = [row for row in person.results if row.protocol == SELF and row.T]
    lead = person.own_row(*leading(own))
    order = sorted(person.pictures, key=lambda row: lead.per_frame_ssim[row] if lead else row)
    landmarks = np.load(folder / "landmarks.npy")
    lines = []
    for row in order[:most_rows]:
        truth = _read_png(frame_path(folder, TRUTH, row))
        by_methods = [_read_png(frame_path(folder, one.label, row)) for one in own]
        lines.append([drawing(landmarks[row], truth.shape[0]), truth, *by_methods])
    names = ["drawing", "truth", *(f"{row.method} {row.T}" for row in own)]
    inputs = [_read_png(path) for path in sorted(folder.glob("input_*.png"))[: len(names)]]
    blank = np.full_like(lines[0][0], 255)
    inputs += [blank] * (len(names) - len(inputs))
    width = blank.shape[1]
    parts = [_labels(["inputs"] + [""] * (len(names) - 1), width), np.concatenate(inputs, 1)]
    parts += [_labels(names, width), *(np.concatenate(cells, 1) for cells in lines)]
    name = folder.relative_to(output) / "sheet.png"
    _write_png(output / name, np.concatenate(parts))
    return name.as_posix()


def worst_sheet(people, output, most=8):
    """Composes one picture of each person's worst frame: drawing, truth and result in a column.

    Columns are sorted, the worst first.

    Returns:
      The picture's name; None without results.
    """
    method, T = leading([row for person in people for row in person.results])
    label = method_label(method, T)
    found = [(person, person.own_row(method, T)) for person in people]
    cases = [(min(row.per_frame_ssim), person) for person, row in found if row]
    if not cases:
        return None
    columns, names = [], []
    for ssim, person in sorted(cases, key=lambda case: case[0])[:most]:
        folder = person_folder(output, person.person)
        row = person.worst[label]
        truth = _read_png(frame_path(folder, TRUTH, row))
        drawn = drawing(np.load(folder / "landmarks.npy")[row], truth.shape[0])
        columns.append(np.concatenate([drawn, truth, _read_png(folder / f"{label}_worst.png")]))
        names.append(f"{person.person[:9]} {ssim:.2f}")
    sheet = [_labels(names, columns[0].shape[1]), np.concatenate(columns, 1)]
    _write_png(output / "worst.png", np.concatenate(sheet))
    return "worst.png"


def drawing(landmarks, size):
    """The drawing that the networks see of landmarks [68,2] (fractions), uint8 [size,size,3]."""
    from tf_talkinghead.data.drawing import draw_landmarks

    return np.uint8(np.round(np.asarray(draw_landmarks(landmarks[None], size))[0] * 255))


def _labels(names, width):
    """A white strip uint8 [18, width * n, 3] with a name at the left of each `width` pixels."""
    strip = np.full((_LABEL_HEIGHT, width * len(names), 3), 255, np.uint8)
    font, black = cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0)
    for place, name in enumerate(names):
        cv2.putText(strip, name, (place * width + 3, 13), font, 0.38, black, 1, cv2.LINE_AA)
    return strip


def _read_png(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def _write_png(path, image):
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"{path}: cannot be written")
