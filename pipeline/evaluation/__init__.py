"""Evaluation: predictions, figures, attention, calibration and significance."""
