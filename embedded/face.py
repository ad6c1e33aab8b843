"""Drawn faces whose brows, eyes, mouth, colour and tilt show an emotion.

A face fills the central 224 x 224 pixels of its half of the picture. Actors differ little and
expressions strongly, so that models generalise to unseen actors.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

WIDTH, HEIGHT = 360, 480
"""Size of one actor's half of the picture in pixels."""

_CENTRE = (WIDTH // 2, HEIGHT // 2)
_INK = (30, 25, 35)
_WHITE = (245, 245, 245)


@dataclass(frozen=True)
class Actor:
    """The appearance of an actor; colours are blue, green, red."""

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    wall: tuple[int, int, int]
    long_hair: bool


@dataclass(frozen=True)
class Expression:
    """The effect of an emotion on a face; lengths in pixels, angles in degrees.

    Attributes
    ----------
    brow_inner, brow_outer
        Raising of the ends of the brows.
    brow_weight
        Thickness of the brows.
    eye
        Openness of the eyes: 1 is neutral, 0 closed.
    smile
        Position of the corners of the mouth: up (positive) or down.
    mouth_width, mouth_open
        Half axes of the mouth without speech, which opens it further.
    teeth
        Whether an open mouth shows them.
    tint
        Added to the colour of the skin.
    cheeks
        Colour and radius of the cheeks.
    furrows
        Lines on the forehead: vertical, wavy or arched.
    tears
        Whether tears run.
    tilt
        Tilt of the head, to the left.
    """

    brow_inner: int = 0
    brow_outer: int = 0
    brow_weight: int = 6
    eye: float = 1.0
    smile: float = 0.0
    mouth_width: int = 34
    mouth_open: int = 0
    teeth: bool = False
    tint: tuple[int, int, int] = (0, 0, 0)
    cheeks: tuple[tuple[int, int, int], int] | None = None
    furrows: str = ""
    tears: bool = False
    tilt: float = 0.0


ACTORS = {
    "Ses01F": Actor((160, 186, 226), (40, 50, 70), (190, 186, 180), True),
    "Ses01M": Actor((150, 178, 220), (30, 36, 50), (190, 186, 180), False),
    "Ses02F": Actor((166, 192, 230), (60, 90, 120), (184, 190, 184), True),
    "Ses02M": Actor((156, 182, 222), (44, 60, 84), (184, 190, 184), False),
    "Ses03F": Actor((152, 180, 218), (28, 30, 40), (192, 188, 188), True),
    "Ses03M": Actor((164, 188, 224), (50, 70, 100), (192, 188, 188), False),
    "Ses04F": Actor((158, 184, 228), (36, 44, 90), (186, 184, 190), True),
    "Ses04M": Actor((148, 176, 216), (34, 34, 44), (186, 184, 190), False),
    "Ses05F": Actor((162, 190, 224), (70, 110, 140), (188, 192, 190), True),
    "Ses05M": Actor((154, 180, 226), (40, 46, 62), (188, 192, 190), False),
}

EXPRESSIONS = {
    "neu": Expression(),
    "ang": Expression(
        brow_inner=-24, brow_outer=16, brow_weight=15, eye=0.5, smile=-0.5, mouth_width=50,
        mouth_open=16, teeth=True, tint=(-70, -80, 15), furrows="vertical",
    ),
    "fru": Expression(
        brow_inner=-14, brow_outer=-6, brow_weight=12, eye=0.35, smile=-0.25, mouth_width=26,
        tint=(-60, -45, -60), furrows="wavy", tilt=14,
    ),
    "hap": Expression(
        brow_inner=6, brow_outer=6, eye=0.0, smile=1.0, mouth_width=58,
        cheeks=((150, 130, 250), 30),
    ),
    "exc": Expression(
        brow_inner=22, brow_outer=24, brow_weight=8, eye=1.35, smile=0.8, mouth_width=64,
        mouth_open=30, teeth=True, tint=(-60, 0, 25), cheeks=((60, 130, 255), 26), tilt=-10,
    ),
    "sad": Expression(
        brow_inner=22, brow_outer=-12, eye=0.6, smile=-0.9, mouth_width=30,
        tint=(35, -15, -50), tears=True, tilt=-14,
    ),
    "sur": Expression(
        brow_inner=18, brow_outer=12, eye=1.8, smile=0.0, mouth_width=22, mouth_open=34,
        tint=(75, 50, 22), furrows="arched",
    ),
}  # fmt: skip


def draw(
    actor: Actor, expression: Expression, strength: float, speech: float, offset: tuple[float, ...]
) -> np.ndarray:
    """Draw one actor's half of a picture.

    Parameters
    ----------
    strength
        Factor on the expression.
    speech
        Opening of the mouth by speech, 0 to 1.
    offset
        Displacement of the head: right, down (pixels) and tilt (degrees).

    Returns
    -------
    [480, 360, 3] uint8; blue, green, red.
    """
    picture = np.full((HEIGHT, WIDTH, 3), actor.wall, np.uint8)
    skin = _mix(actor.skin, expression.tint, strength)
    _head(picture, actor, skin)
    _furrows(picture, expression.furrows, strength)
    _cheeks(picture, expression)
    for side in (-1, 1):
        _eye(picture, expression, strength, side)
        _brow(picture, actor, expression, strength, side)
    _mouth(picture, expression, strength, speech)
    right, down, tilt = offset
    turn = cv2.getRotationMatrix2D(_CENTRE, strength * expression.tilt + tilt, 1.0)
    turn[:, 2] += np.array([right, down])
    return cv2.warpAffine(picture, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)


def _mix(
    colour: tuple[int, int, int], tint: tuple[int, int, int], strength: float
) -> tuple[int, ...]:
    return tuple(
        int(np.clip(channel + strength * change, 0, 255))
        for channel, change in zip(colour, tint, strict=True)
    )


def _head(picture: np.ndarray, actor: Actor, skin: tuple[int, ...]) -> None:
    x, y = _CENTRE
    if actor.long_hair:
        _ellipse(picture, (x, y + 10), (138, 190), actor.hair)
    cv2.rectangle(picture, (x - 42, y + 110), (x + 42, HEIGHT), skin, -1)
    _ellipse(picture, (x, HEIGHT), (150, 62), (110, 100, 96))
    _ellipse(picture, (x, y - 40), (128, 142), actor.hair)
    _ellipse(picture, (x, y + 4), (118, 150), skin)
    nose = np.array([(x - 4, y - 4), (x - 13, y + 28), (x + 9, y + 29)])
    cv2.polylines(picture, [nose], False, _shade(skin), 3, cv2.LINE_AA)


def _shade(colour: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(channel * 0.72) for channel in colour)


def _furrows(picture: np.ndarray, kind: str, strength: float) -> None:
    x, y = _CENTRE
    weight = round(4 * strength)
    if kind == "vertical":
        for step in range(-3, 4):
            line = np.array([(x + 9 * step, y - 104), (x + 6 * step, y - 62)])
            cv2.polylines(picture, [line], False, _INK, weight, cv2.LINE_AA)
    elif kind == "wavy":
        across = np.arange(-70, 71, 5)
        for row in range(4):
            heights = y - 108 + 11 * row + 3 * np.sin(across / 6)
            line = np.stack([x + across, heights], axis=1).round().astype(np.int32)
            cv2.polylines(picture, [line], False, _INK, weight, cv2.LINE_AA)
    elif kind == "arched":
        for row in range(2):
            _arc(picture, (x, y - 60 - 14 * row), (80, 34), (200, 340), weight)


def _cheeks(picture: np.ndarray, expression: Expression) -> None:
    x, y = _CENTRE
    if expression.cheeks:
        colour, radius = expression.cheeks
        for side in (-1, 1):
            _ellipse(picture, (x + 74 * side, y + 36), (radius, radius), colour)
    if expression.tears:
        for side in (-1, 1):
            for drop in (0, 26, 52):
                centre = (x + (48 + drop // 6) * side, y + 16 + drop)
                _ellipse(picture, centre, (10, 15), (255, 225, 150))


def _eye(picture: np.ndarray, expression: Expression, strength: float, side: int) -> None:
    x, y = _CENTRE[0] + 46 * side, _CENTRE[1] - 24
    openness = 1 + min(strength, 1.0) * (expression.eye - 1)
    if openness < 0.2:
        _arc(picture, (x, y + 6), (26, 18), (190, 350), 6)
        return
    axes = (round(24 + 4 * openness), max(4, round(17 * openness)))
    _ellipse(picture, (x, y), axes, _WHITE)
    pupil = min(10, axes[1])
    _ellipse(picture, (x, y + (3 if openness < 1 else 0)), (pupil, pupil), _INK)
    _arc(picture, (x, y), axes, (0, 360), 3)


def _brow(
    picture: np.ndarray, actor: Actor, expression: Expression, strength: float, side: int
) -> None:
    x, y = _CENTRE[0], _CENTRE[1] - 56
    inner = y - round(strength * expression.brow_inner)
    outer = y - round(strength * expression.brow_outer)
    middle = (inner + outer) // 2 - 5
    line = np.array([(x + 18 * side, inner), (x + 48 * side, middle), (x + 80 * side, outer)])
    cv2.polylines(picture, [line], False, actor.hair, expression.brow_weight, cv2.LINE_AA)


def _mouth(picture: np.ndarray, expression: Expression, strength: float, speech: float) -> None:
    x, y = _CENTRE[0], _CENTRE[1] + 74
    width = expression.mouth_width
    height = strength * expression.mouth_open + 14 * speech
    bend = 26 * strength * expression.smile
    across = np.linspace(-1, 1, 25)
    # a smile raises the corners, not the middle
    middle = y + bend * (0.4 - across**2)
    half = height * np.sqrt(1 - across**2)
    lips = [np.stack([x + width * across, middle + sign * half], axis=1) for sign in (-1, 1)]
    outline = np.concatenate([lips[0], lips[1][::-1]]).round().astype(np.int32)
    if height > 3:
        cv2.fillPoly(picture, [outline], (50, 20, 90), cv2.LINE_AA)
        if expression.teeth:
            inner = np.abs(across) < 0.85
            top = lips[0][inner]
            low = np.stack([top[:, 0], middle[inner] - 0.2 * half[inner]], axis=1)
            teeth = np.concatenate([top, low[::-1]]).round().astype(np.int32)
            cv2.fillPoly(picture, [teeth], _WHITE, cv2.LINE_AA)
    cv2.polylines(picture, [outline], True, (60, 60, 150), 6, cv2.LINE_AA)


def _ellipse(
    picture: np.ndarray, centre: tuple[int, int], axes: tuple[int, int], colour: tuple[int, ...]
) -> None:
    cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)


def _arc(
    picture: np.ndarray,
    centre: tuple[int, int],
    axes: tuple[int, int],
    angles: tuple[int, int],
    weight: int,
) -> None:
    cv2.ellipse(picture, centre, axes, 0, *angles, _INK, weight, cv2.LINE_AA)
