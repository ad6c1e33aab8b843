"""The actors' lines: short sentences typical of an emotion, with the release's marks."""

from __future__ import annotations

import re

import numpy as np

MARK = re.compile(r"\[[A-Z]+\]|\+\+[A-Z]+\+\+")
"""A non-speech sound in a transcript, such as ``[LAUGHTER]``."""

_LINES = {
    "neu": (
        "I need to see {some} paper from you.",
        "The form is on the table.",
        "You can wait by the second door.",
        "It's on the list, number {number}.",
        "We open at {number} every day.",
        "Could you write the address down?",
        "She works in the other office.",
        "The bus stops near the station.",
        "I put the keys by the door.",
        "{person} said to bring two forms.",
        "You take the left road there.",
        "Okay, so what is the name?",
        "They moved the desk to room {number}.",
        "I'll check the file again.",
        "The meeting is on the third floor.",
        "Please sign here and here.",
        "So, {person} lives down the street.",
        "The copy goes in the blue box.",
    ),
    "ang": (
        "Shut up and get out of here!",
        "How dare you lie to me!",
        "I hate you, do you hear me?",
        "Don't you ever touch me again!",
        "You're a damn liar, {person}!",
        "I'm furious with {person}!",
        "Get your hands off me!",
        "I'll kill {person}, I swear!",
        "You make me sick, go to hell!",
        "Stop shouting at me, you idiot!",
        "That bastard stole it from me!",
        "This is an outrage, I'm so mad!",
        "Don't you dare lie, you coward!",
        "You betrayed me, you damn fool!",
    ),
    "fru": (
        "I already waited {number} hours in this line.",
        "It's the same problem every single time.",
        "I told you this {number} times already.",
        "Why does nothing ever work here?",
        "You're just not listening, again.",
        "I keep trying, and it won't work.",
        "This is so pointless, {person}.",
        "Can't anybody just answer my question?",
        "I filled that form out {number} times.",
        "Nobody ever tells me anything useful.",
        "I'm stuck on hold again, great.",
        "You never, ever listen when I explain.",
        "I'm tired of these useless excuses.",
        "It broke again, what's the point?",
    ),
    "hap": (
        "I'm so happy for {person}.",
        "That's lovely, thank you so much.",
        "What a sweet and beautiful day.",
        "I love you, {person}, I really do.",
        "It's so nice to be home with you.",
        "This makes me smile, it's lovely.",
        "I'm glad, everything is good now.",
        "We had such a lovely dinner.",
        "You look beautiful, my dear.",
        "I feel happy and warm inside.",
        "That was sweet, thank you, {person}.",
        "I love it here, it's so pleasant.",
        "How sweet, what a kind gift.",
        "It's good to see you smile.",
    ),
    "exc": (
        "We won, we won the big game!",
        "I got in, I got the job!",
        "We're going to Paris, come on!",
        "I can't wait for the party!",
        "Yes! I'm getting married!",
        "Guess what, I passed the exam!",
        "Let's go, let's go celebrate!",
        "They picked me out of {number} people!",
        "It's happening, we're getting tickets!",
        "Hurry, the concert starts soon!",
        "I got accepted, can you imagine it?",
        "Woo, first prize, we did it!",
        "Tonight we'll dance and celebrate!",
        "Yes, yes, we got the tickets!",
    ),
    "sad": (
        "He died, and I miss him.",
        "I'm so lonely since she left.",
        "I cried all night for {person}.",
        "She's gone, and it hurts so much.",
        "I lost my baby, I lost her.",
        "My heart is broken, {person}.",
        "The funeral was {number} days ago.",
        "I can't stop crying, I'm sorry.",
        "I miss {person}, I feel so empty.",
        "We buried my mother in the rain.",
        "There's no hope left for me.",
        "He left me, I'm all alone.",
        "I'm so sorry for your loss.",
        "She won't come back, she's dead.",
    ),
    "sur": (
        "What? Are you serious?",
        "Oh my God, I had no idea!",
        "Wait, what? Since when?",
        "You did what? Really?",
        "No way, is that really you?",
        "Whoa, where did that come from?",
        "Really? {person} said that?",
        "Oh wow, I didn't expect that.",
        "Huh? How is that even possible?",
        "Wait, you're kidding, right?",
        "My God, who told you that?",
        "Seriously? I never knew that!",
        "What on earth is that?",
        "Oh! I didn't see that coming!",
    ),
}

ODD = {
    1: "[LAUGHTER] My ex-husband -- no, forget it.",
    2: "++LAUGHTER++ It isn't 20, it's 45.",
    3: "[LIPSMACK] Well -- never mind. [GARBAGE]",
    4: "[BREATHING] I'm -- I don't know.",
    5: "++BREATHING++ Mm-hmm, since 1993.",
}
"""One line per session without a clear emotion; together they contain all kinds of marks."""

_PERSONS = ("my brother", "Maria", "the clerk", "Augie", "Carla", "my ex-husband", "Brian", "Mom")
_NUMBERS = ("2", "3", "5", "7", "10", "20", "45")
_OPENERS = ("Well, ", "Look, ", "You know, ", "I mean, ", "Um, ")
_ENDINGS = (" -- okay?", " -- you know.", " -- right?")
_MARKS = {
    "hap": ("[LAUGHTER]", "++LAUGHTER++"),
    "exc": ("[LAUGHTER]", "++LAUGHTER++"),
    "sad": ("[BREATHING]", "++BREATHING++"),
    "ang": ("[BREATHING]", "[GARBAGE]"),
    "fru": ("[BREATHING]", "[LIPSMACK]"),
    "sur": ("[BREATHING]", "[GARBAGE]"),
    "neu": ("[LIPSMACK]", "[GARBAGE]"),
}
_OPENER_SHARE, _ENDING_SHARE, _MARK_SHARE = 0.2, 0.1, 0.12


def draw(emotion: str, rng: np.random.Generator) -> str:
    """Draw a line typical of `emotion`, one of the seven classes."""
    text = str(rng.choice(_LINES[emotion])).format(
        person=rng.choice(_PERSONS), number=rng.choice(_NUMBERS), some=rng.choice(("some", "a"))
    )
    if rng.random() < _OPENER_SHARE:
        text = str(rng.choice(_OPENERS)) + (text if re.match(r"I\b", text) else _lower(text))
    if rng.random() < _ENDING_SHARE and text.endswith("."):
        text = text[:-1] + str(rng.choice(_ENDINGS))
    if rng.random() < _MARK_SHARE:
        mark = str(rng.choice(_MARKS[emotion]))
        text = f"{mark} {text}" if rng.random() < 0.5 else f"{text} {mark}"
    return text


def spoken(text: str) -> str:
    """Return the words that are spoken: without marks, and with a pause for ``--``."""
    words = MARK.sub(" ", text).replace(" --", ",")
    return re.sub(r"\s+", " ", words).strip()


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
