"""The emotion of a clip, by models that the pipeline trained.

:class:`Predictor` extracts the streams that the models read, by the same code as the pipeline, and
averages the probabilities of the models. ``python -m pipeline.predict --help`` is its command.
"""

from pipeline.predict.prediction import Hop, Prediction
from pipeline.predict.predictor import Predictor

__all__ = ["Hop", "Prediction", "Predictor"]
