"""Raw IEMOCAP recordings to a trained and evaluated three-modality emotion classifier."""
