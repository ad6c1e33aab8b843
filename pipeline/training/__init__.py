"""Training: splits of a corpus, the models of its folds, and checkpoints."""
