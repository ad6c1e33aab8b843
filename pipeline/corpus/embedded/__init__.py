"""The embedded corpus: made by the project, in IEMOCAP's layout; see :mod:`.making`."""

from pipeline.corpus.embedded.making import make

__all__ = ["make"]
