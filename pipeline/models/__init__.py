"""Emotion classifiers over sequences of several modalities."""
