"""Corpora: the readers, and the one table of utterances that they all become."""
