"""Emotion classifiers over sequences of several modalities; :mod:`pipeline.registry` names them."""
