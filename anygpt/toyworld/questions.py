"""Questions about what a medium shows, in many framings: what is asked is a noun or a clause, and a frame asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from anygpt.toyworld.phrases import pick

STARTS = (
    *("",) * 6,
    "hey, ",
    "hi, ",
    "ok, ",
    "so, ",
    "now ",
    "and ",
    "well, ",
    "please, ",
    "next, ",
    "one question: ",
    "hello, ",
)
ENDS = ("", "", "", "", "", "", ", thanks", " if you can", " now", " for me", " here")  # fmt: skip

# What is asked, as a noun …
NOUNS: dict[str, tuple[str, ...]] = {
    "shape": ("the shape", "its shape", "the shape of {it}", "the kind of shape", "the name of the shape", "its form"),
    "colour": ("the colour", "its colour", "the colour of {it}", "the color of {it}", "its color", "the paint on {it}"),
    "size": ("the size", "its size", "the size of {it}", "how much room {it} takes"),
    "place": ("the place", "its place", "the place of {it}", "its position", "the position of {it}", "the location of {it}", "the spot where {it} is"),
    "background": ("the background", "the colour of the background", "the ground behind {it}", "the colour behind {it}", "the backdrop"),
    "motion": ("the motion", "its motion", "the motion of {it}", "its movement", "the movement of {it}", "the kind of movement"),
    "count": ("the number of things", "the number of shapes", "the count of things", "the number of objects in it"),
    "pitch": ("the pitch", "its pitch", "the pitch of the sound", "the height of the sound", "the pitch of {it}"),
    "contour": ("the contour", "its contour", "the course of the sound", "the change in the sound", "the contour of the sound"),
    "distance": ("the distance", "its distance", "the distance of {it}", "the distance in metres"),
    "temperature": ("the temperature", "its temperature", "the temperature of {it}", "the heat of {it}"),
}  # fmt: skip
NOUN_FRAMES = (
    "what is {x}?", "tell me {x}", "name {x}", "give me {x}", "say {x}", "state {x}", "what about {x}?", "{x}?", "could you name {x}?",
    "can you name {x}?", "i need {x}", "do you know {x}?", "describe {x}", "identify {x}", "determine {x}", "report {x}", "can you give me {x}?",
    "please give me {x}", "please tell me {x}", "i'd like to know {x}", "what would you say is {x}?", "could you find {x}?", "just {x}", "and {x}?",
    "what exactly is {x}?", "tell me just {x}", "what, roughly, is {x}?", "i am asking for {x}", "what can you say about {x}?", "could you work out {x}?",
)  # fmt: skip
# … or as a clause.
CLAUSES: dict[str, tuple[str, ...]] = {
    "shape": ("what shape {it} is", "which shape {it} has", "what kind of shape {it} is", "which of the shapes {it} is", "what form {it} has"),
    "colour": ("what colour {it} is", "which colour {it} has", "what color {it} is", "in which colour {it} is", "how {it} is coloured"),
    "size": ("how large {it} is", "what size {it} is", "whether {it} is small or large", "how big {it} is", "which size {it} has"),
    "place": ("where {it} is", "where {it} is placed", "in which part {it} is", "where to find {it}", "where {it} can be found", "which place {it} has"),
    "background": ("what is behind {it}", "which background {it} has", "what the background is", "on which background {it} is", "which colour is behind {it}"),
    "motion": ("how {it} moves", "what {it} does", "in which direction {it} moves", "whether {it} moves", "how {it} is moving", "what {it} is doing", "in what manner {it} moves", "what way {it} goes"),
    "count": ("how many things there are", "how many shapes there are", "how many objects it shows", "whether there is one thing or two", "how many you see"),
    "pitch": ("how high the sound is", "whether the sound is high, middle or low", "which pitch {it} has", "how high or low {it} is"),
    "contour": ("how the sound goes on", "how the sound changes", "whether the sound rises or falls", "what the sound does", "how {it} changes"),
    "distance": ("how far away {it} is", "how far {it} is", "how near {it} is", "at what distance {it} is"),
    "temperature": ("how warm {it} is", "how hot {it} is", "at what temperature {it} is", "how hot or cold {it} is"),
}  # fmt: skip
CLAUSE_FRAMES = (
    "tell me {x}", "please tell me {x}", "say {x}", "do you know {x}?", "i want to know {x}", "i'd like to know {x}", "could you say {x}?",
    "let me know {x}", "can you say {x}?", "find out {x}", "explain {x}", "i wonder {x}", "could you tell me {x}?", "would you tell me {x}?",
    "i would like to hear {x}", "are you able to say {x}?", "show that you know {x}", "please say {x}",
    "tell me exactly {x}", "say precisely {x}", "can you work out {x}?", "may i know {x}?", "help me see {x}", "i am asking {x}",
)  # fmt: skip
# … or with one word for what is asked, the same frames for all, so that the word alone decides.
WORDS: dict[str, tuple[str, ...]] = {
    "shape": ("shape", "form", "shape"), "colour": ("colour", "color"), "size": ("size",), "place": ("place", "position"), "background": ("background", "backdrop"),
    "motion": ("motion", "movement"), "count": ("number of things", "number of shapes"), "pitch": ("pitch", "height"), "contour": ("contour", "course"),
    "distance": ("distance",), "temperature": ("temperature",),
}  # fmt: skip
WORD_FRAMES = (
    "which {x} has {it}?", "what {x} has {it} got?", "{it} has which {x}?", "which {x} can you make out?", "what {x} do you make out?", "what {x} can be seen or heard?",
    "which {x} would you give {it}?", "{it}: which {x}?", "what {x} does {it} show?", "which {x} is to be found?", "can you say which {x} {it} has?", "with which {x} does {it} come?",
)  # fmt: skip
DESCRIBE_FRAMES = (
    "describe {x}", "describe {x} to me", "give me a description of {x}", "what can be found in {x}?", "what does {x} show?", "tell me what {x} shows",
    "say what is in {x}", "i want a description of {x}", "could you describe {x}?", "can you describe {x}?", "would you describe {x}?", "put {x} into words",
    "write a caption for {x}", "caption {x}", "let me know what is in {x}", "explain {x}", "tell me about {x}", "what is in {x}?", "what is shown in {x}?",
    "what do you make of {x}?", "please say what is in {x}", "look at {x} and describe it", "have a look: what is in {x}?", "i need a caption for {x}",
    "make a caption of {x}", "what have we got in {x}?", "sum up {x}", "say something about {x}", "your description of {x}?", "could you caption {x}?",
    "tell me everything about {x}", "what is {x}?", "i'd like to know what {x} is about", "read {x}", "interpret {x}",
)  # fmt: skip
MEDIA_NOUNS: dict[str, tuple[str, ...]] = {
    "image": ("picture", "image", "photo", "drawing", "picture"),
    "video": ("video", "film", "clip", "movie", "recording"),
    "audio": ("sound", "tone", "recording", "noise", "audio"),
    "depth": ("depth map", "depth picture", "distance map", "depth image"),
    "thermal": ("thermal picture", "thermal image", "heat picture", "heat map"),
    "imu": ("motion", "signal", "sensor data", "motion signal", "recording"),
}


def framed(rng: Generator, topic: str, it: str, kind: str) -> str:
    """A question about `topic`, a key of `NOUNS` or "all" for a description, of `it` in a medium of `kind`."""
    if topic == "all":
        noun = pick(rng, MEDIA_NOUNS[kind])
        the = pick(
            rng,
            (
                "it",
                "this",
                f"the {noun}",
                f"this {noun}",
                f"the {noun}",
                "what you got",
                f"the attached {noun}",
            ),
        )
        text = pick(rng, DESCRIBE_FRAMES).format(x=the)
    elif rng.random() < 0.25:
        text = pick(rng, WORD_FRAMES).format(x=pick(rng, WORDS[topic]), it=it)
    elif rng.random() < 0.5:
        text = pick(rng, NOUN_FRAMES).format(x=pick(rng, NOUNS[topic]).format(it=it))
    else:
        text = pick(rng, CLAUSE_FRAMES).format(x=pick(rng, CLAUSES[topic]).format(it=it))
    if text.endswith("?"):
        return pick(rng, STARTS) + text
    return pick(rng, STARTS) + text + pick(rng, ENDS)


def question(rng: Generator, topic: str, plain: Sequence[str], it: str, kind: str) -> str:
    """One of the `plain` wordings, or a framing of the topic; topics without framings are always asked plainly."""
    if (topic == "all" or topic in NOUNS) and rng.random() < 0.6:
        return framed(rng, topic, it, kind)
    return pick(rng, tuple(plain))
