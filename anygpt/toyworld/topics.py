"""What may be asked of each medium, in many wordings, and the right answer."""

from __future__ import annotations

from numpy.random import Generator

from anygpt.toyworld import questions
from anygpt.toyworld.drawing import DISTANCES, TEMPERATURES
from anygpt.toyworld.phrases import (
    CONTOUR_CAUSES,
    article,
    caption_film,
    caption_picture,
    describe_picture,
    describe_sound,
    motion_phrase,
    pick,
    place_phrase,
    say_relation,
)
from anygpt.toyworld.scenes import COLOURS, SHAPES, SIZES, Scene, Thing, from_top_left, relation
from anygpt.toyworld.sounds import Tone

Exchange = tuple[str, str]  # a question and its answer
WHEREABOUTS = (
    "whereabouts is it?",
    "where precisely is it?",
    "where about is the thing?",
    "in which corner or at which edge is it?",
    "where does it lie?",
    "where does it stand?",
)
COUNT_ASKS = (
    "how many things are there?", "how many shapes are in it?", "how many things do you see?", "count the things", "how many are there?", "how many objects are shown?",
    "is there one thing or are there two?", "is it one thing or two?", "count the shapes", "how many shapes can you see?", "how many different things does it show?",
)  # fmt: skip
RELATION_ASKS = (
    "what is the relation of {one} to {other}?", "where is {one} relative to {other}?", "where is {one}, seen from {other}?",
    "in which direction from {other} is {one}?", "where does {one} stand relative to {other}?", "tell me how {one} is placed next to {other}",
    "is {one} above {other}, or below, or beside it?", "left, right, above or below {other}: where is {one}?", "to which side of {other} do you see {one}?",
    "how is {one} placed beside {other}?", "how does {one} stand to {other}?", "say where {one} is from {other}", "what place has {one} beside {other}?",
    "does {one} lie to the left, to the right, above or below {other}?", "seen from {other}, where is {one}?",
    "how do you get from {other} to {one}?", "{one} and {other}: where is the first, seen from the second?", "compare the places of {one} and {other}",
    "i look from {other} to {one}: which way do i look?", "which way is {one} from {other}?", "what is the position of {one} with respect to {other}?",
    "is {one} on the left or on the right of {other}, or above or below it?", "tell me where {one} is if you start at {other}",
    "would you say that {one} is above, below, left or right of {other}?", "starting at {other}, in which direction does one find {one}?",
    "where, relative to {other}, has {one} been put?", "beside {other} there is {one}, but on which side?",
    "between {one} and {other}, what is the relation?", "name the relation that {one} has to {other}", "{one}: left of {other}, right of it, above or below?",
    "how are {one} and {other} arranged?", "describe how {one} is placed, as seen from {other}", "next to {other} is {one}: where exactly?",
)  # fmt: skip
ITS = ("it", "it", "it", "the thing", "the object")  # what a thing is called in questions


def tell(name: str, value: str) -> str:
    """The answer to a question for one attribute of a thing, or for what it stands on."""
    if name == "background":
        return f"The background is {value}."
    phrase = {"shape": article, "place": place_phrase}.get(name, str)
    return f"It is {phrase(value)}."


def of_sound(rng: Generator, tone: Tone) -> Exchange:
    size = {"high": "small", "low": "large"}.get(tone.pitch)
    it = pick(rng, ("the sound", "it", "this", "this sound"))
    asks = [
        ("all", ("what do you hear?", "describe the sound", "describe this sound", "what is this?", "what sound is this?", "describe it",
          "tell me about this sound", "describe this", "what can you hear?", "caption this", "explain what you hear", "say what you hear",
          "could you say what you hear?", "tell me all that you hear", "can you put what you hear into words?"),
         f"I hear {describe_sound(tone)}."),
        ("shape", ("what shape makes this sound?", "which shape is it?", "what shape is this?", "what makes this sound?", "what shape do you hear?",
          "which shape makes this sound?", "what is the shape?", "what kind of thing makes this sound?", "name the shape", "what shape belongs to this sound?", "what shape goes with it?", "what shape has this sound?"),
         tell("shape", tone.shape)),
        ("pitch", (f"is {it} high or low?", "what pitch does it have?", "how high is the sound?", "what is the pitch?", "is the pitch high, middle or low?",
          "how high is it?", "high or low?"),
         f"The pitch is {tone.pitch}."),
        ("contour", ("how does the sound change?", "what does the sound do?", "what is the contour?", "does the sound rise or fall?", "how does it change?",
          "is it steady, rising, falling, pulsing, fading in or fading out?", "does it go up or down?", "describe the contour", "how does the pitch move?",
          "how does the tone change?", "what changes in this sound?", "does this sound change?", "how does this tone go on?"),
         f"The sound is {tone.contour}."),
        ("motion", ("how does the thing move?", "what is the thing doing?", "how does it move?", "what is the motion?", "which motion is it?",
          "what motion makes this sound?"),
         f"The sound is {tone.contour}, so it is {CONTOUR_CAUSES[tone.contour]}."),
    ]  # fmt: skip
    if size:
        asks.append(("size", ("how big is the thing?", "is the thing small or large?", "what size is it?", "how big is it?", "is it big or small?",
                      "what is the size?", "how large is it?"), f"The pitch is {tone.pitch}, so it is {size}."))  # fmt: skip
    # Describing asks for everything at once, so it comes most often.
    topic, plain, reply = asks[0 if rng.random() < 0.3 else rng.integers(len(asks))]
    return questions.question(rng, topic, plain, "it", "audio"), reply


def of_depth(rng: Generator, thing: Thing) -> Exchange:
    metres = f"{DISTANCES[thing.size]:g} metre{'s' if thing.size == 'small' else ''}"
    where = place_phrase(thing.place)
    asks = (
        ("all", ("what is this?", "describe this depth map", "what do you see?", "describe the depth map", "what is in the depth map?", "describe it",
          "tell me about it", "describe this", "what does this depth map show?", "caption this"),
         f"I see {article(f'{thing.size} {thing.shape}')} {where}, {metres} away."),
        ("shape", ("what shape is it?", "which shape is this?", "what is the shape?", "name the shape", "what shape do you see?"), tell("shape", thing.shape)),
        ("size", ("how big is it?", "what size is it?", "is it small or large?", "how large is the thing?", "what is the size?"), tell("size", thing.size)),
        ("place", ("where is it?", "where is the thing?", "what is its place?", "in which part of the picture is it?", "where is the shape?", *WHEREABOUTS),
         tell("place", thing.place)),
        ("distance", ("how far away is it?", "how far is the thing?", "what is the distance?", "how near is it?", "how many metres away is it?"),
         f"It is {metres} away."),
    )  # fmt: skip
    topic, plain, reply = asks[0 if rng.random() < 0.25 else rng.integers(len(asks))]
    return questions.question(rng, topic, plain, pick(rng, ITS), "depth"), reply


def of_thermal(rng: Generator, thing: Thing) -> Exchange:
    degrees, where = f"{TEMPERATURES[thing.colour]:g} degrees", place_phrase(thing.place)
    asks = (
        ("all", ("what is this?", "describe this thermal picture", "what do you see?", "describe the thermal image", "describe it",
          "what is in the thermal image?", "tell me about it", "describe this", "what does the heat picture show?", "caption this"),
         f"I see {article(f'{thing.colour} {thing.shape}')} {where}, at about {degrees}."),
        ("shape", ("what shape is it?", "which shape is this?", "what is the shape?", "name the shape", "what shape do you see?"), tell("shape", thing.shape)),
        ("colour", ("what colour is it?", "which colour has the thing?", "what is the colour?", "what color is it?", "which colour is it?", "what colour must it be?", "name the colour"),
         tell("colour", thing.colour)),
        ("place", ("where is it?", "where is the thing?", "what is its place?", "in which part of the picture is it?", "where is the shape?", *WHEREABOUTS),
         tell("place", thing.place)),
        ("temperature", ("how warm is it?", "how hot is the thing?", "what is the temperature?", "what temperature does it have?", "how cold is it?",
          "is it hot or cold?"),
         f"It is at about {degrees}."),
    )  # fmt: skip
    topic, plain, reply = asks[0 if rng.random() < 0.25 else rng.integers(len(asks))]
    return questions.question(rng, topic, plain, pick(rng, ITS), "thermal"), reply


def of_motion(rng: Generator, motion: str) -> Exchange:
    plain = (
        "how does it move?", "what is the motion?", "describe the motion", "what is it doing?", "what does the sensor feel?", "describe this",
        "what is this?", "how is the thing moving?", "which motion is this?", "describe it", "what motion is it?", "what happens?",
        "what does the motion sensor say?", "in which direction does it move?", "caption this", "how does the thing move?", "is it moving?",
    )  # fmt: skip
    topic = pick(rng, ("all", "motion", "motion"))
    return questions.question(rng, topic, plain, pick(rng, ITS), "imu"), f"It is {motion_phrase(motion)}."


def of_scene(rng: Generator, scene: Scene, kind: str) -> Exchange:
    """`kind`: "image" or "video", in which the scene is shown."""
    noun = pick(rng, ("video", "film", "clip") if kind == "video" else ("picture", "image", "picture"))
    if len(scene.things) == 2:
        return of_pair(rng, scene, noun)
    thing = scene.things[0]
    the = pick(rng, ("it", "it", "it", "the thing", f"the {thing.shape}", "the shape", "the object"))
    caption = caption_film(scene) if kind == "video" else caption_picture(scene)
    asks = [
        ("all", (f"what is in the {noun}?", "what do you see?", f"describe the {noun}", f"describe this {noun}", "what is this?", "describe it",
          f"what does the {noun} show?", "describe what you see", f"what can you see in this {noun}?", "caption this", "describe this",
          f"generate a caption for this {noun}", f"write a caption for the {noun}", f"tell me about this {noun}", "what is shown here?"),
         f"I see {caption}."),
        ("colour", (f"what colour is {the}?", f"which colour does {the} have?", f"what is the colour of {the}?", f"what color is {the}?", "name the colour",
          "what colour do you see?", "what is the colour?", f"which colour is {the}?"),
         tell("colour", thing.colour)),
        ("shape", ("what shape is it?", "which shape is it?", "what is the shape?", "what kind of shape is this?", f"what shape is in the {noun}?",
          "name the shape", "what shape do you see?", "which shape do you see?", "what shape is the thing?", f"which shape does the {noun} show?"),
         tell("shape", thing.shape)),
        ("size", (f"how big is {the}?", f"what size is {the}?", f"is {the} small or large?", f"is {the} big or small?", "what is the size?",
          f"how large is {the}?", f"what is the size of {the}?"),
         tell("size", thing.size)),
        ("place", (f"where is {the}?", f"what is the place of {the}?", f"in which part of the {noun} is {the}?", f"where do you see {the}?",
          "what is its place?", f"what is the position of {the}?", f"where in the {noun} is {the}?", f"where can i find {the}?",
          *WHEREABOUTS),
         tell("place", thing.place)),
        ("background", ("what is the background?", "what colour is the background?", "which background does it have?", "what is behind it?",
          f"what is the background of the {noun}?", f"what background has the {noun}?", "is the background white, grey or black?"),
         tell("background", scene.background)),
        ("count", COUNT_ASKS, "There is one thing."),
        yes_or_no(rng, thing),
    ]  # fmt: skip
    if kind == "video":
        motion = (
            "motion",
            (f"how does {the} move?", "what is the motion?", f"what does {the} do?", f"what is {the} doing?", "describe the motion", "what happens?",
             f"in which direction does {the} move?", f"what happens in the {noun}?", f"how is {the} moving?", f"does {the} move?", "which motion is it?"),
            f"It is {motion_phrase(thing.motion)}.",
        )  # fmt: skip
        asks += [motion, motion]
    # Of films there is most to tell.
    topic, plain, reply = asks[
        0 if rng.random() < (0.4 if kind == "video" else 0.2) else rng.integers(len(asks))
    ]
    return questions.question(rng, topic, plain, the, kind), reply


def yes_or_no(rng: Generator, thing: Thing) -> tuple[str, tuple[str, ...], str]:
    name, values = [("colour", tuple(COLOURS)), ("shape", SHAPES), ("size", tuple(SIZES))][rng.integers(3)]
    real = getattr(thing, name)
    asked = real if rng.random() < 0.5 else pick(rng, values)
    said = article(asked) if name == "shape" else asked
    truth = article(real) if name == "shape" else real
    reply = f"Yes, it is {truth}." if asked == real else f"No, it is {truth}."
    return "yes or no", (f"is it {said}?", f"is this {said}?"), reply


def of_pair(rng: Generator, scene: Scene, noun: str) -> Exchange:
    """`noun`: what the question calls the picture."""
    first, second = scene.things if rng.random() < 0.5 else scene.things[::-1]
    how = relation(first, second)
    asked = how if rng.random() < 0.5 else pick(rng, ("left of", "right of", "above", "below"))
    one, other = f"the {first.shape}", f"the {second.shape}"
    if rng.random() < 0.6:
        one, other = f"the {first.colour} {first.shape}", f"the {second.colour} {second.shape}"
    verdict = "yes" if asked == how else "no"
    asks = (
        ("all", (f"what is in the {noun}?", "what do you see?", f"describe the {noun}", f"describe this {noun}", "what is this?", "describe it",
          f"what does the {noun} show?", "describe what you see", "caption this", "describe this"),
         f"I see {describe_picture(from_top_left(scene))}."),
        ("relation", (f"where is {one}?", f"where is {one} in the {noun}?"), f"{one.capitalize()} is {how} {other}, {place_phrase(first.place)}."),
        ("colour of one", tuple(way.format(shape=first.shape) for way in ("what colour is the {shape}?", "what is the colour of the {shape}?", "what color is the {shape}?")), f"The {first.shape} is {first.colour}."),
        ("yes or no", (f"is {one} {say_relation(rng, asked)} {other}?",), f"{one.capitalize()} is {how} {other}, so {verdict}."),
        ("the other", (f"what is {say_relation(rng, how)} {other}?", f"which thing is {say_relation(rng, how)} {other}?"), f"{how.capitalize()} {other} is {article(f'{first.colour} {first.shape}')}."),
        ("count", COUNT_ASKS, "There are two things."),
        *[("relation", tuple(way.format(one=one, other=other) for way in RELATION_ASKS), f"{one.capitalize()} is {how} {other}.")] * 3,
        ("shape of one", (f"which shape is {first.colour}?", f"what is {first.colour}?", f"what is the {first.colour} thing?"), f"The {first.colour} thing is {article(first.shape)}."),
        ("background", ("what is the background?", "what colour is the background?"), tell("background", scene.background)),
    )  # fmt: skip
    topic, plain, reply = asks[0 if rng.random() < 0.25 else rng.integers(len(asks))]
    return questions.question(rng, topic, plain, "it", "image"), reply
