"""Batches of inputs of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_PADDING = 0.05  # largest share of a batch


def batches(lengths: Sequence[int], *, most: int, room: int, padded: bool) -> Iterator[list[int]]:
    """Yield the indices of each batch: similar lengths, and a twentieth of padding at most.

    Parameters
    ----------
    lengths
        Steps of each input.
    most
        Maximum number of inputs in a batch.
    room
        Maximum number of steps in a batch, with padding; one input may have more.
    padded
        Whether inputs of a batch may differ in length.
    """
    batch: list[int] = []
    steps = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[index]
        whole = length * (len(batch) + 1)  # it is the longest
        padding = whole - steps - length
        too_much = padding > (_PADDING * whole if padded else 0)
        if batch and (len(batch) == most or whole > room or too_much):
            yield batch
            batch, steps = [], 0
        batch.append(index)
        steps += length
    if batch:
        yield batch
