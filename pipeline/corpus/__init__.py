"""Corpora: the readers, and the table of utterances that each of them produces."""
