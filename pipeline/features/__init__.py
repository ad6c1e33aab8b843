"""Features of each modality, and the resumable extraction that all of them share."""
