"""Batch sizes that fit into the memory of a GPU, found before the first batch."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.features.pretrained import WeightsError


def fitted(run: Callable[[int], object], batch_size: int) -> int:
    """Halve a batch size until its largest batch fits into memory.

    Parameters
    ----------
    run
        Computes the largest batch of a given batch size.

    Raises
    ------
    WeightsError
        If not even batches of one fit.
    """
    import torch

    while batch_size:
        try:
            run(batch_size)
            return batch_size
        except torch.OutOfMemoryError:
            batch_size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # only here, since the error holds on to tensors
    raise WeightsError(
        "batch_size: the memory of the GPU is too small for the longest input alone; end what else "
        "runs on it, set precision to float16, or compute.device to cpu"
    )
