"""`preview.png` of a dataset: crops with landmarks, histograms of length, face size and angles."""

import io

import cv2
import numpy as np

from tf_talkinghead.data.dataset import Dataset

_COLUMNS, _ROWS, _TILE = 12, 6, 128
_PARTS = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
_CLOSED = (5, 6, 7, 8)


def draw(dataset: Dataset) -> bytes:
    """The preview as PNG bytes: up to 72 clips, evenly chosen, and histograms over all."""
    import matplotlib.figure

    crops = contact_sheet(dataset)
    height = 15.4 * crops.shape[0] / crops.shape[1] + 0.4  # inches
    figure = matplotlib.figure.Figure(figsize=(15.4, height + 3.3), dpi=100, layout="constrained")
    sheet, plots = figure.subfigures(2, 1, height_ratios=(height, 3.3))
    axes = sheet.subplots()
    axes.imshow(crops)
    axes.set_axis_off()
    axes.set_title(
        f"{len(dataset.clips)} clips of {len(dataset.identities)} people, "
        f"{dataset.rejected} files rejected"
    )
    lengths, faces, angles = plots.subplots(1, 3)
    lengths.hist([entry.frames for entry in dataset.clips], bins=30)
    lengths.set(xlabel="frames kept of a clip", ylabel="clips")
    faces.hist([entry.face for entry in dataset.clips], bins=30)
    faces.axvline(dataset.settings["min_face_size"], color="tab:red", linestyle=":")
    faces.set(xlabel="side of the face in the source, pixels")
    # The outermost bars include all larger angles.
    degrees = np.clip([entry.angles for entry in dataset.clips], -60, 60)
    angles.hist(degrees, bins=np.arange(-60, 61, 6), label=["yaw", "pitch", "roll"])
    angles.set(xlabel="median angle of the head, degrees (rough)")
    angles.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def contact_sheet(dataset: Dataset) -> np.ndarray:
    """The middle frames of up to 72 clips with their landmarks, uint8 RGB."""
    count = min(len(dataset.clips), _COLUMNS * _ROWS)
    chosen = [
        dataset.clips[i]
        for i in np.unique(np.linspace(0, len(dataset.clips) - 1, count).round().astype(int))
    ]
    sheet = np.full((-(-len(chosen) // _COLUMNS) * _TILE, _COLUMNS * _TILE, 3), 255, np.uint8)
    for place, entry in enumerate(chosen):
        record = dataset.read(entry)
        middle = len(record.frames) // 2
        tile = cv2.resize(record.images([middle])[0], (_TILE, _TILE), interpolation=cv2.INTER_AREA)
        top, left = place // _COLUMNS * _TILE, place % _COLUMNS * _TILE
        sheet[top : top + _TILE, left : left + _TILE] = with_landmarks(
            tile, record.landmarks[middle]
        )
    return sheet


def with_landmarks(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A copy of a uint8 picture [S, S, 3] with the 68 landmarks [68, 2] as thin lines."""
    image = np.ascontiguousarray(image)
    points = np.round((landmarks * image.shape[0] - 0.5) * 16).astype(np.int32)
    for part, (start, end) in enumerate(_PARTS):
        cv2.polylines(
            image, [points[start:end]], part in _CLOSED, (0, 255, 0), 1, cv2.LINE_AA, shift=4
        )
    return image
