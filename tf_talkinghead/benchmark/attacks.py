"""Attacks on watermarked films and pictures: re-encoding, resizing, cropping, pasting, turning.

attacked = ATTACKS["crf28"](frames)    # lists of uint8 RGB frames [S, S, 3]
"""

import io

import av
import cv2
import numpy as np

_FPS = 25


def encoded(frames, codec: str = "libx264", crf: int = 23) -> list[np.ndarray]:
    """The frames after a video encoder; codec "libx264" (preset medium) or "libvpx-vp9"."""
    options = {"crf": str(crf)}
    if codec == "libvpx-vp9":
        options |= {"b:v": "0", "deadline": "realtime", "cpu-used": "6"}
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4" if codec == "libx264" else "webm") as out:
        stream = out.add_stream(codec, rate=_FPS, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def resized(frames, factor: float) -> list[np.ndarray]:
    """The frames at `factor` times their size, even numbers of pixels."""
    size = round(frames[0].shape[0] * factor / 2) * 2
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return [cv2.resize(frame, (size, size), interpolation=way) for frame in frames]


def cropped(frames, share: float = 0.8) -> list[np.ndarray]:
    """The frames cropped to a square of `share` of their side, off centre."""
    size = frames[0].shape[0]
    kept = round(size * share / 2) * 2
    top, left = round((size - kept) * 0.3), round((size - kept) * 0.7)
    return [frame[top : top + kept, left : left + kept] for frame in frames]


def pasted(frames, factor: float = 1.15) -> list[np.ndarray]:
    """The frames, enlarged by `factor` and pasted into a larger picture of soft shapes."""
    side = round(frames[0].shape[0] * factor)
    height, width = round(1.4 * side / 2) * 2, round(2.4 * side / 2) * 2
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    ground = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    top, left = round(0.2 * side), round(0.6 * side)
    shown = []
    for frame in frames:
        picture = ground.copy()
        picture[top : top + side, left : left + side] = cv2.resize(frame, (side, side))
        shown.append(picture)
    return shown


def jpeg(frames, quality: int = 85) -> list[np.ndarray]:
    """The middle frame alone, compressed as JPEG: a list of one frame."""
    frame = frames[len(frames) // 2]
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return [cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]]


def turned(frames, degrees: float) -> list[np.ndarray]:
    """The frames turned in the plane about their middle."""
    size = frames[0].shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), degrees, 1.0)
    return [
        cv2.warpAffine(frame, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
        for frame in frames
    ]


def denoised(frames) -> list[np.ndarray]:
    """The frames after a strong denoiser."""
    return [cv2.fastNlMeansDenoisingColored(frame, None, 6, 6, 5, 11) for frame in frames]


# First the REQUIRED attacks, which the watermark has to survive, then those only reported.
ATTACKS = {
    "crf23": encoded,
    "crf28": lambda frames: encoded(frames, crf=28),
    "vp9": lambda frames: encoded(frames, "libvpx-vp9", 33),
    "half": lambda frames: encoded(resized(frames, 0.5)),
    "double": lambda frames: encoded(resized(frames, 2.0)),
    "crop": lambda frames: encoded(cropped(frames)),
    "paste": lambda frames: encoded(pasted(frames)),
    "jpeg85": jpeg,
    "half_crf28": lambda frames: encoded(resized(frames, 0.5), crf=28),
    "crf35": lambda frames: encoded(frames, crf=35),
    "turn2": lambda frames: encoded(turned(frames, 2.0)),
    "crop_turn": lambda frames: encoded(cropped(turned(frames, 2.0))),
    "denoise": denoised,
}
REQUIRED = tuple(ATTACKS)[:8]
