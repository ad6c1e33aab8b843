"""Evaluation: predictions, metrics, attention, calibration and significance."""
