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


def state_main_rate(path: Path, rate: float) -> None:
    """Set the rate that the main header of an AVI states; each stream has its own beside it."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"avih") + 8, round(1e6 / rate))
    path.write_bytes(content)


def write_b_frames(path: Path, frames: int, *, packed: bool) -> Path:
    """Write `frames` frames at `RATE`, an odd number: pictures, and B-frames between each two.

    Frame k is picture k for an even k; for an odd one it is a B-frame, the mean of both
    neighbours. OpenCV's encoder writes no B-frames as MPEG-4, so they are made by hand (ISO/IEC
    14496-2, 6.2.5): all their macroblocks are of direct mode without a residual, one bit each.

    Parameters
    ----------
    packed
        As DivX and XviD pack them: a B-frame in the chunk of the frame that it refers to ahead,
        and a frame that is not coded in its place.
    """
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"XVID"), RATE / 2, (WIDTH, HEIGHT)
    )
    assert writer.isOpened()
    for index in range(0, frames, 2):
        # brighter and darker by turns, so that no macroblock is skipped: B-frames skip it as well
        writer.write(np.clip(picture(index), 32, 223) + np.uint8(32 * (index // 2 % 2)) - 16)
    writer.release()

    content = path.read_bytes()
    anchors = _chunks(content)
    for anchor in anchors:
        if (layer := anchor.find(b"\x00\x00\x01\x20")) >= 0:
            anchor[layer + 7] &= 0x7F  # low_delay, which rules B-frames out
    if packed:
        start = anchors[0].index(_PICTURE)
        anchors[0][start:start] = b"\x00\x00\x01\xb2DivX503b1393p\x00"
    chunks = [bytes(anchors[0])]
    for number, anchor in enumerate(anchors[1:]):
        between = _b_frame(number)
        chunks += [bytes(anchor) + between, _not_coded()] if packed else [bytes(anchor), between]
    path.write_bytes(_with_chunks(content, chunks))
    state_frames(path, len(chunks))
    return path


_PICTURE = b"\x00\x00\x01\xb6"
_TICKS, _STEP = 2997, 200  # a second, and between two frames, as the encoder states RATE / 2
_MACROBLOCKS = (WIDTH // 16) * (HEIGHT // 16)


def _b_frame(number: int) -> bytes:
    """Make the B-frame half way between frames `number` and `number` + 1 of the encoder."""
    before = number * _STEP
    seconds, ticks = divmod(before + _STEP // 2, _TICKS)
    seconds -= before // _TICKS
    # kind, time, coded, quantisers, ranges of motion, macroblocks
    return _bits(f"10{'1' * seconds}01{ticks:012b}11" + "00000010001001" + "1" * _MACROBLOCKS)


def _not_coded() -> bytes:
    """Make a frame that holds nothing."""
    return _bits(f"0101{0:012b}10")


def _bits(bits: str) -> bytes:
    """Pack the bits of a picture, with its start code and stuffing."""
    bits += "0"
    bits += "1" * (-len(bits) % 8)
    return _PICTURE + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _chunks(content: bytes) -> list[bytearray]:
    """Take the frames out of an AVI."""
    table, movie = content.index(b"idx1") + 8, content.index(b"movi")
    count = struct.unpack_from("<I", content, table - 4)[0] // 16
    places = [struct.unpack_from("<II", content, table + 16 * k + 8) for k in range(count)]
    return [bytearray(content[movie + at + 8 :][:size]) for at, size in places]


def _with_chunks(content: bytes, chunks: list[bytes]) -> bytes:
    """Replace the frames of an AVI, at `RATE`."""
    movie = content.index(b"movi")
    head = bytearray(content[: movie + 4])
    struct.pack_into("<I", head, head.index(b"avih") + 8, round(1e6 / RATE))
    stream = head.index(b"strh")
    struct.pack_into("<II", head, stream + 28, 1001, 30000)
    body, table = b"", b""
    for chunk in chunks:
        table += struct.pack("<4sIII", b"00dc", 16, 4 + len(body), len(chunk))
        body += struct.pack("<4sI", b"00dc", len(chunk)) + chunk + b"\x00" * (len(chunk) % 2)
    struct.pack_into("<I", head, movie - 4, 4 + len(body))
    index = struct.pack("<4sI", b"idx1", len(table)) + table
    struct.pack_into("<I", head, 4, len(head) + len(body) + len(index) - 8)
    return bytes(head) + body + index
