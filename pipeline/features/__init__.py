"""Feature extractors of all modalities, and the incremental extraction that they share."""
