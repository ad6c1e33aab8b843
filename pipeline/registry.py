"""The corpora, extractors and models that ``params.yaml`` may name, and their classes.

A module is imported only when its entry is loaded, so that reading parameters imports no heavy
library. A new corpus, extractor or model needs one file and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """The location of a class.

    Attributes
    ----------
    path
        ``module:class``.
    """

    path: str

    def load(self) -> Any:
        """Import and return the class."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class Corpus(Entry):
    """The reader of a corpus.

    Attributes
    ----------
    licence
        What its owners allow, for the card of a model; it decides no value, so it is not in the
        description that stages read. Empty if that is for the user to find out.
    """

    licence: str = ""


class Extractor(Entry):
    """An extractor of one modality."""


@dataclass(frozen=True)
class Model(Entry):
    """A model and its capabilities.

    Attributes
    ----------
    modalities
        Numbers of modalities that it accepts.
    hops
        Whether it takes ``hops`` and ``share_hops``.
    pooled
        Whether it classifies pooled statistics of each stream, of any kind, and is fitted by
        scikit-learn instead of by gradient descent.
    """

    modalities: tuple[int, ...] = (1, 2, 3)
    hops: bool = False
    pooled: bool = False


CORPORA = {
    "iemocap": Corpus(
        "pipeline.corpus.iemocap.reader:Iemocap",
        "It belongs to the SAIL laboratory of the University of Southern California, which gives "
        "it to researchers on request, under a licence of its own. That licence decides who may "
        "have this model.",
    ),
    "emodb": Corpus(
        "pipeline.corpus.emodb:EmoDB",
        "It is freely available; its authors ask to be cited, and no licence text comes with it.",
    ),
    "meld": Corpus(
        "pipeline.corpus.meld:Meld",
        "The annotations are under the GPL-3; the clips belong to the makers of the series.",
    ),
    "crema_d": Corpus("pipeline.corpus.crema_d:CremaD", "It is under the Open Database Licence."),
    "listed": Corpus("pipeline.corpus.listed:Listed"),
}

# by modality, the groups of params.yaml; `transformers` is another class in each of them
EXTRACTORS = {
    "audio": {
        "mfcc": Extractor("pipeline.features.mfcc:Mfcc"),
        "prosody": Extractor("pipeline.features.prosody:Prosody"),
        "opensmile": Extractor("pipeline.features.smile:Smile"),
        "transformers": Extractor("pipeline.features.speech_encoder:SpeechEncoder"),
        "external": Extractor("pipeline.features.external:External"),
    },
    "text": {
        "glove": Extractor("pipeline.features.glove:Glove"),
        "transformers": Extractor("pipeline.features.text_encoder:TextEncoder"),
        "external": Extractor("pipeline.features.external:External"),
    },
    "visual": {
        "torchvision": Extractor("pipeline.features.visual:Torchvision"),
        "dlib": Extractor("pipeline.features.face_network:FaceNetwork"),
        "transformers": Extractor("pipeline.features.image_encoder:ImageEncoder"),
        "external": Extractor("pipeline.features.external:External"),
    },
}

MODELS = {
    "amh": Model("pipeline.models.amh:AMH", hops=True),
    "mdre": Model("pipeline.models.mdre:MDRE"),
    "mha": Model("pipeline.models.mha:MHA", modalities=(2,), hops=True),
    "linear": Model("pipeline.models.linear:Linear", pooled=True),
}
