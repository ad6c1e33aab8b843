"""The corpora: reading the IEMOCAP release, and making the embedded stand-in for it."""
