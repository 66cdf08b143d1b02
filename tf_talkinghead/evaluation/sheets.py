"""Pictures of an evaluation: what is kept of each person's frames, and the sheets made of them.

In a person's folder: `input_N.png` (the first learned-from images), `truth_NNN.png` and `METHOD_T_NNN.png`
(judged frame NNN), `METHOD_T_worst.png`, and `landmarks.npy` [judged,68,2].
"""

import hashlib
import pathlib

import cv2
import numpy as np

from tf_talkinghead import metrics
from tf_talkinghead.evaluation.methods import MODEL_METHODS


def save_pictures(folder, clip, chosen, frames, count):
    """PNGs of some judged frames by every method, the inputs, and each method's worst frame.

    The numbers of both: {"pictures": [row, ...], "worst": {method_T: row}}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.unique(np.linspace(0, len(chosen.judge) - 1, count).round().astype(int))
    np.save(folder / "landmarks.npy", clip.landmarks[chosen.judge])
    for place, index in enumerate(chosen.learn[:8]):
        _write_png(folder / f"input_{place}.png", clip.images[index])
    truth, worst = frames["truth", 0], {}
    for (name, T), images in frames.items():
        label = name if name == "truth" else f"{name}_{T}"
        for row in rows:
            _write_png(folder / f"{label}_{row:03d}.png", images[row])
        if name != "truth":
            least = int(metrics.ssim(truth, images).argmin())
            worst[label] = least
            _write_png(folder / f"{label}_worst.png", images[least])
            _write_png(folder / f"truth_{least:03d}.png", truth[least])
    return {"pictures": rows.tolist(), "worst": worst}


def _write_png(path, image):
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"{path}: cannot be written")


def leading(rows):
    """(method, T) a report leads with: the best model method by mean SSIM, at T = 8 if that was done; else the warp."""
    own = [row for row in rows if row["protocol"] == "self" and row["T"]]
    if not own:
        return "warp", 0
    shots = sorted({row["T"] for row in own})
    T = 8 if 8 in shots else shots[-1]
    scores = {}
    for row in own:
        if row["T"] == T:
            scores.setdefault(row["method"], []).append(row["ssim"])
    model = [name for name in scores if name in MODEL_METHODS]
    method = (
        max(model, key=lambda name: np.mean(scores[name]))
        if model
        else max(scores, key=lambda name: np.mean(scores[name]))
    )
    return method, T


def person_sheet(result, output, most_rows=4):
    """A sheet of one person: a column each of drawing, truth and the methods by T, inputs on top; its name within `output`.

    Rows are judged frames, the worst of the leading method first.
    """
    folder = person_folder(output, result["person"])
    method, T = leading(result["results"])
    columns = [
        f"{row['method']}_{row['T']}"
        for row in result["results"]
        if row["protocol"] == "self" and row["T"]
    ]
    ssim = {
        f"{row['method']}_{row['T']}": row["per_frame_ssim"]
        for row in result["results"]
        if "per_frame_ssim" in row
    }
    order = sorted(
        result["pictures"],
        key=lambda row: ssim.get(f"{method}_{T}", {row: 0 for row in result["pictures"]})[row],
    )
    landmarks = np.load(folder / "landmarks.npy")
    rows = []
    for row in order[:most_rows]:
        truth = _read_png(folder / f"truth_{row:03d}.png")
        cells = [drawing(landmarks[row], truth.shape[0]), truth]
        rows.append(cells + [_read_png(folder / f"{column}_{row:03d}.png") for column in columns])
    inputs = [_read_png(path) for path in sorted(folder.glob("input_*.png"))[: len(columns) + 2]]
    blank = np.full_like(rows[0][0], 255)
    top = inputs + [blank] * (len(columns) + 2 - len(inputs))
    names = [
        "drawing",
        "truth",
        *(f"{column.rpartition('_')[0]} {column.rpartition('_')[2]}" for column in columns),
    ]
    sheet = np.concatenate([_labels(["inputs"] + [""] * (len(names) - 1), blank.shape[0]), np.concatenate(top, 1),
                            _labels(names, blank.shape[0]), *(np.concatenate(cells, 1) for cells in rows)])  # fmt: skip
    name = folder.relative_to(output) / "sheet.png"
    _write_png(output / name, sheet)
    return name.as_posix()


def worst_sheet(results, output, most=8):
    """Truth and result side by side for the worst judged frame of each person, worst first; None without results."""
    rows = [row for result in results for row in result["results"]]
    method, T = leading(rows)
    label = f"{method}_{T}"
    cases = []
    for result in results:
        found = [
            row
            for row in result["results"]
            if (row["method"], row["T"], row["protocol"]) == (method, T, "self")
        ]
        if found:
            cases.append((min(found[0]["per_frame_ssim"]), result))
    if not cases:
        return None
    columns, names = [], []
    for ssim, result in sorted(cases, key=lambda case: case[0])[:most]:
        folder = person_folder(output, result["person"])
        row = result["worst"][label]
        truth = _read_png(folder / f"truth_{row:03d}.png")
        drawn = drawing(np.load(folder / "landmarks.npy")[row], truth.shape[0])
        columns.append(np.concatenate([drawn, truth, _read_png(folder / f"{label}_worst.png")]))
        names.append(f"{result['person'][:9]} {ssim:.2f}")
    _write_png(
        output / "worst.png",
        np.concatenate([_labels(names, columns[0].shape[1]), np.concatenate(columns, 1)]),
    )
    return "worst.png"


def drawing(landmarks, size):
    """The drawing the networks see, uint8 [size,size,3], of landmarks [68,2]."""
    from tf_talkinghead.data.drawing import draw_landmarks

    return np.uint8(np.round(np.asarray(draw_landmarks(landmarks[None], size))[0] * 255))


def _labels(names, width, height=18):
    strip = np.full((height, width * len(names), 3), 255, np.uint8)
    for place, name in enumerate(names):
        cv2.putText(
            strip,
            name,
            (place * width + 3, 13),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.38,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    return strip


def _read_png(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def person_folder(output, person):
    """Where a person's results lie; names are made safe for a file system and stay distinct."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in person).lstrip(".")
    mark = "" if safe == person else f"-{hashlib.sha256(person.encode()).hexdigest()[:8]}"
    return pathlib.Path(output) / "people" / (safe + mark)
