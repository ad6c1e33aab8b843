"""Small AVI files whose pictures say which frame and which half they are."""

import struct
from pathlib import Path

import cv2
import numpy as np

RATE = 30000 / 1001
WIDTH, HEIGHT, SQUARE = 720, 480, 224
BITS = 7


def picture(index: int) -> np.ndarray:
    """Draw frame `index` (below 128), blue-green-red: its bits as bars in both central squares.

    The right half carries the complement; the lowest quarter of each square is red, all around
    them is grey.
    """
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    top, bar = (HEIGHT - SQUARE) // 2, SQUARE // BITS
    for half, code in enumerate((index, 127 - index)):
        left = half * WIDTH // 2 + (WIDTH // 2 - SQUARE) // 2
        for bit in range(BITS):
            columns = slice(left + bit * bar, left + (bit + 1) * bar)
            image[top : top + SQUARE, columns] = 255 * (code >> bit & 1)
        image[top + SQUARE * 3 // 4 : top + SQUARE, left : left + SQUARE] = (0, 0, 255)
    return image


def code(square: np.ndarray) -> int:
    """Read the bars of a central square."""
    bar = SQUARE // BITS
    bars = square[SQUARE // 4, bar // 2 :: bar].mean(axis=-1)
    return int(sum(int(value > 128) << bit for bit, value in enumerate(bars)))


def index_of(image: np.ndarray) -> int:
    """Read the index of a whole frame."""
    top, left = (HEIGHT - SQUARE) // 2, (WIDTH // 2 - SQUARE) // 2
    return code(image[top : top + SQUARE, left : left + SQUARE])


def write_avi(path: Path, frames: int, codec: str = "XVID") -> Path:
    """Write `frames` pictures at `RATE`."""
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, RATE, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(picture(index))
    writer.release()
    return path


def leave_out(path: Path, frames: range) -> None:
    """Empty the chunks of frames in an AVI, as an encoder does that drops them."""
    content = bytearray(path.read_bytes())
    table, movie = content.index(b"idx1") + 8, content.index(b"movi")
    for frame in frames:
        entry = table + 16 * frame
        offset, size = struct.unpack_from("<II", content, entry + 8)
        struct.pack_into("<I", content, entry + 12, 0)
        struct.pack_into("<I4sI", content, movie + offset + 4, 0, b"JUNK", size - 8)
    path.write_bytes(content)


def state_frames(path: Path, frames: int) -> None:
    """Set the number of frames that the headers of an AVI state."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"avih") + 24, frames)
    struct.pack_into("<I", content, content.index(b"strh") + 40, frames)
    path.write_bytes(content)
