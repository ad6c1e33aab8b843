"""The embedded corpus: made by the project, in IEMOCAP's layout; see :mod:`.making`."""

from embedded.making import make

__all__ = ["make"]
