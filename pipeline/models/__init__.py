"""Emotion classifiers over sequences of several modalities; listed in :mod:`pipeline.registry`."""
