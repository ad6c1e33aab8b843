"""The embedded corpus: synthetic, in IEMOCAP's layout; see :mod:`.making`."""

from embedded.making import make

__all__ = ["make"]
