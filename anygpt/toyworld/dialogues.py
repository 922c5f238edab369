"""Conversations of the toy world: who asks for what, with which media, and the right answer.

A conversation is a list of messages in the form of `anygpt.messages`. Media parts carry what they show instead of
data: `{"type": "image", "scene": Scene}`, `{"type": "audio", "tone": Tone}`; the assistant's also `"caption"`.
`anygpt.toyworld.source` draws them.

The talk has a *focus*, the scene that was last shown or asked for: edits, questions and changes of medium refer to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from anygpt.toyworld import boxes, lessons, questions, smalltalk
from anygpt.toyworld.drawing import DISTANCES, TEMPERATURES
from anygpt.toyworld.phrases import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    CONTOUR_CAUSES,
    MOTION_PHRASES,
    PLACE_PHRASES,
    SHAPE_WORDS,
    SIZE_WORDS,
    article,
    caption_film,
    caption_picture,
    caption_sound,
    describe_picture,
    describe_sound,
    motion_phrase,
    pick,
    place_phrase,
    say_background,
    say_relation,
    say_scene,
    say_sound,
)
from anygpt.toyworld.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    changed,
    random_scene,
    relation,
)
from anygpt.toyworld.sounds import Tone, random_tone, tone_of

Part = dict
Rng = np.random.Generator
OUTPUTS = ("image", "audio", "video")
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
# What one might ask of a medium that does not carry it.
UNTOLD = {
    "audio": ("colour", "place", "background"),
    "depth": ("colour", "background"),
    "thermal": ("background",),
    "imu": ("shape", "colour", "size", "place"),
}
ITS = ("it", "it", "it", "the thing", "the object")  # what a thing is called in questions

# What the model chooses where a request leaves it open, half of the time; else anything.
DEFAULTS = {"size": "large", "place": "centre", "motion": "right", "background": "white"}

POLITE_START = (
    "",
    "",
    "",
    "",
    "",
    "",
    "please ",
    "kindly ",
    "i need you to ",
    "go ahead and ",
    "hi, ",
    "hello, please ",
    "ok, ",
    "would you please ",
    "for me, ",
    "next, ",
    "let's ",
    "can you ",
    "could you ",
    "would you ",
    "can you please ",
    "now ",
    "i want you to ",
    "hey, ",
)
POLITE_END = (
    *("",) * 8,
    *(" please", ", please", " for me", " now", ", thanks", " if you can", ", just that", " only", ", that is all", " right away", ", no more than that", ", and do not add a thing", ", without anything else",
      " with nothing besides", ", nothing more", " and leave it at that", " and no other thing"),
)  # fmt: skip

PICTURE_ASKS = (
    "draw {x}", "draw {x}", "draw {x}", "draw me {x}", "paint {x}", "paint me {x}", "sketch {x}", "show {x}", "show me {x}",
    "make a picture of {x}", "make an image of {x}", "make a drawing of {x}", "create a picture of {x}", "create an image of {x}",
    "generate a picture of {x}", "generate an image of {x}", "give me a picture of {x}", "give me an image of {x}",
    "render {x}", "produce an image of {x}", "illustrate {x}", "design a picture with {x}", "picture {x}",
    "draw a picture of {x}", "draw a picture with {x}", "show me a picture of {x}", "show me an image with {x}", "make {x}", "create {x}",
    "visualise {x}", "come up with a picture of {x}", "produce a drawing of {x}", "produce a painting of {x}", "make a painting with {x}", "put {x} in a picture",
    "compose an image with {x}", "draw an image that shows {x}", "create artwork of {x}", "make an illustration of {x}", "send me a picture of {x}",
    "get me an image of {x}", "prepare a picture showing {x}", "generate {x}", "display {x}", "create a drawing containing {x}", "make a sketch of {x}",
)  # fmt: skip
PICTURE_WISHES = (
    "a picture of {x}", "an image of {x}", "{x}", "i want a picture of {x}", "i would like an image of {x}", "i'd like to see {x}",
    "i need a picture of {x}", "what does {x} look like?", "let me see {x}", "picture: {x}", "image: {x}", "a drawing of {x}",
    "how does {x} look?", "i want to see {x}", "a photo of {x}",
    "i would love a painting of {x}", "i'd love a picture with {x}", "may i have a picture of {x}?", "may i see {x}?", "i wish to see {x}", "a painting of {x}",
    "i need an illustration of {x}", "we need an image showing {x}", "let us have a drawing of {x}", "there should be {x} in the picture", "a picture showing {x}",
)  # fmt: skip
FILM_ASKS = (
    "make a video of {x}", "make a film of {x}", "make a movie of {x}", "create a video of {x}", "generate a video of {x}",
    "film {x}", "animate {x}", "show me a video of {x}", "show a film of {x}", "give me a video of {x}", "give me a clip of {x}",
    "make an animation of {x}", "create an animation of {x}", "generate a clip of {x}", "record {x}", "render a video of {x}",
    "draw a film of {x}", "produce a video of {x}", "make a short film of {x}", "show me a clip of {x}", "make a video with {x}",
    "make a video where there is {x}", "create a short video clip of {x}", "generate a film with {x}", "show me a movie of {x}",
    "produce a clip with {x}", "make me a short movie in which there is {x}", "make a film in which you see {x}", "compose an animation showing {x}",
    "send me a clip of {x}", "prepare a video showing {x}", "create a movie with {x}", "turn {x} into a video", "put {x} in a film", "show {x} in a video",
    "give me an animation with {x}", "shoot a video of {x}", "make an animated clip of {x}", "create a moving picture of {x}", "make an animation showing {x}",
)  # fmt: skip
FILM_WISHES = (
    "a video of {x}", "a film of {x}", "a movie of {x}", "i want a video of {x}", "i would like a film of {x}", "an animation of {x}",
    "i need a video of {x}", "video: {x}", "a clip of {x}", "i'd like to watch {x}", "let me watch {x}", "film: {x}", "i want to watch {x}",
    "i would love a clip of {x}", "may i have a film of {x}?", "may i watch {x}?", "i'd like an animation of {x}", "we need a video showing {x}", "a short film of {x}",
)  # fmt: skip
SOUND_ASKS = (
    "play {x}", "play me {x}", "make {x}", "let me hear {x}", "give me {x}", "create {x}", "generate {x}", "produce {x}", "sing {x}",
    "synthesise {x}", "make an audio clip of {x}", "generate audio of {x}", "record {x}", "i want to hear {x}", "i would like to hear {x}",
    "i'd like {x}", "{x}", "audio: {x}", "sound: {x}", "emit {x}", "create an audio file with {x}", "let me listen to {x}", "i need {x}",
    "compose {x}", "sound {x}", "could i hear {x}?", "may i hear {x}?", "i would love to hear {x}", "prepare {x}", "send me {x}", "output {x}", "make me {x}",
    "give me an audio file with {x}", "produce audio: {x}", "use your voice for {x}", "put {x} in a sound file", "i'd love to listen to {x}",
)  # fmt: skip
THING_SOUND_ASKS = (
    "play the sound of {x}", "what does {x} sound like?", "make the sound of {x}", "let me hear {x}", "how does {x} sound?",
    "give me the sound of {x}", "i want to hear {x}", "generate the sound of {x}", "create the sound of {x}", "the sound of {x}",
    "sound of {x}", "what sound does {x} make?", "play {x} as a sound", "produce the sound that {x} makes", "let me listen to {x}",
    "generate audio of {x}", "make an audio clip of {x}", "play me {x}", "play the noise of {x}", "i would like to hear {x}",
    "make a sound for {x}", "which sound does {x} make?", "what noise does {x} make?", "compose the sound of {x}", "may i hear {x}?", "i would love to hear {x}",
    "turn {x} into a sound", "give me audio of {x}", "synthesise the sound of {x}", "what would {x} sound like?", "imitate {x}", "let us hear {x}",
)  # fmt: skip
# How a thing is asked for, by commands and by wishes.
ASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (PICTURE_ASKS, PICTURE_WISHES),
    "audio": (THING_SOUND_ASKS, ()),
    "video": (FILM_ASKS, FILM_WISHES),
}
SOUNDS_OF = (
    "the sound of {x}",
    "the sound of {x}",
    "the sound that {x} makes",
    "the noise of {x}",
    "how {x} sounds",
)
LISTED_ASKS = (
    "make {x}", "give me {x}", "create {x}", "i want {x}", "i need {x}", "generate {x}", "show me {x}", "produce {x}", "i would like {x}", "i'd like to have {x}",
    "get me {x}", "prepare {x}", "make me {x}", "send me {x}", "may i have {x}?", "could i get {x}?", "are you able to make {x}?", "{x}", "let us have {x}",
    "there should be {x}", "we need {x}", "what i want is {x}",
)  # fmt: skip
CHANGES = {
    "colour": ("make {it} {x}", "now make {it} {x}", "change {it} to {x}", "in {x} please", "paint {it} {x}", "turn {it} {x}", "change the colour to {x}", "now in {x}",
               "and now {x}", "{x} instead", "do it in {x}", "the same in {x}", "now {x}", "take {x} as the colour", "use {x} for {it}", "colour {it} {x}", "let the colour be {x}",
               "{x} would be better", "recolour {it}: {x}"),
    "shape": ("make {it} a {x}", "now make {it} a {x}", "turn {it} into a {x}", "the same with a {x}", "now a {x}", "change the shape to a {x}", "a {x} instead",
              "replace it with a {x}", "and as a {x}", "use a {x} for it", "let the shape be a {x}", "swap {it} for a {x}", "a {x} would be better", "take a {x}"),
    "size": ("make {it} {x}", "now make {it} {x}", "{x} please", "now {it} should be {x}", "and now {x}", "change the size to {x}", "let the size be {x}", "{x} would be better",
             "a {x} one instead", "resize {it}: {x}"),
    "place": ("move {it} so that it is {x}", "put {it} {x}", "now put {it} {x}", "place {it} {x}", "now {x}", "the same {x}", "i want {it} {x}", "shift {it} so that it is {x}",
              "let its place be {x}", "have {it} {x}"),
    "motion": ("make {it} {x}", "now {it} should be {x}", "now {x}", "let me have {it} {x}", "the same, but {x}", "but {x}", "i want {it} {x}", "have {it} {x}"),
    "background": ("make it {x}", "now {x}", "the same {x}", "put it {x}", "{x} please", "change it so that it is {x}", "have it {x}"),
}  # fmt: skip
BACKGROUND_CHANGES = (
    "make the background {x}", "change the background to {x}", "with a {x} background", "now the background {x}", "the background should be {x}", "paint the background {x}",
    "use {x} as the background", "let the background be {x}", "i'd prefer a {x} background", "how about a {x} background?", "what about {x} as the background?",
    "can the background be {x}?", "might the background be {x}?", "turn the background {x}", "do it over with a {x} background", "again, with a {x} background",
    "once more with a {x} background", "i want the background {x}", "{x} behind it, please", "i'd like it better with a {x} background",
)  # fmt: skip
CHANGE_COMMANDS = (
    "do it again, but {x}", "make the same thing {x}", "repeat it, {x} this time", "once more, but {x}", "again, {x} this time", "give me the same, but {x}", "have it {x}",
    "do the same thing {x}", "try it {x}", "let it be {x}", "do that over, {x}", "make it again {x}", "give it to me {x}", "make another one, {x}", "change it: {x}",
    "show it {x}", "do it {x} instead", "let me have it {x}",
)  # fmt: skip
CHANGE_WISHES = (
    "i'd prefer it {x}", "it should be {x}", "i want it {x}", "i'd like it {x}", "what if it were {x}?", "how about {x}?", "might it be {x}?", "can it be {x}?", "can i have it {x}?",
    "i'd like it better {x}", "no, {x}", "rather {x}", "actually, {x}", "hmm, {x} instead", "what about {x}?", "i would prefer {it} to be {x}", "i meant {x}", "sorry, i meant {x}",
    "may i have it {x}?", "the same thing, but {x}", "not quite: {x}, please", "{it} should rather be {x}", "why not {x}?", "i think {x} would be nicer", "could you do it {x}?",
    "would you make it {x}?", "{x}, please", "let's have it {x}",
)  # fmt: skip
ITS_MEDIA = {
    "image": ("draw it", "paint it", "make a picture of it", "show a picture of it", "show it", "draw a picture", "sketch it", "draw the same thing", "give me an image of it"),
    "audio": ("play its sound", "let me hear it", "make its sound", "play the sound", "give me its sound", "add its sound", "add a sound", "play it", "generate audio of it"),
    "video": ("film it", "make a video of it", "animate it", "make a film of it", "show a film of it", "make a clip of it", "show it as a film", "create an animation",
              "turn it into a video"),
}  # fmt: skip
LISTED_MEDIA = {
    "image": ("a picture", "an image", "a drawing", "a painting"),
    "audio": ("the sound", "a sound", "audio", "an audio clip"),
    "video": ("a video", "a film", "a clip", "an animation", "a movie"),
}
# Said before a request for another form of a medium that was given.
REMARKS = (
    "here is something for you.", "look at this.", "what is this?", "do you know what this is?", "i wonder what this is.", "have a look at it.",
    "see what i found.", "do you know how it sounds?", "i wonder how it sounds.", "can you imagine how it looks?", "do you see how it looks?", "i got this:",
    "here you are:", "take this.", "what would that be?", "tell me how it looks.", "tell me how it sounds.", "can you say what that is?", "attached is one more.",
)  # fmt: skip


def ask(rng: Rng, commands: tuple[str, ...], wishes: tuple[str, ...], what: str) -> str:
    """One request for `what`, polite or not."""
    if wishes and rng.random() < 0.3:
        return pick(rng, wishes).format(x=what) + pick(rng, ("", "", ", please"))
    start = pick(rng, POLITE_START)
    text = start + pick(rng, commands).format(x=what) + pick(rng, POLITE_END)
    asking = start.startswith(("can", "could", "would"))
    return text + "?" if asking and "?" not in text and rng.random() < 0.7 else text


def ask_for_several(rng: Rng, kinds: list[str], what: str) -> str:
    """One request for `what` in several media, in their order."""
    form = rng.random()
    if form < 0.15:
        return (
            f"{what}: {_all_of(rng, [pick(rng, ITS_MEDIA[kind]) for kind in kinds])}{pick(rng, POLITE_END)}"
        )
    start = pick(rng, POLITE_START)
    if form < 0.55:
        first = ASKS[kinds[0]][0]
        command = pick(rng, tuple(way for way in first if "?" not in way)).format(x=what)
        text = _all_of(rng, [command, *(pick(rng, ITS_MEDIA[kind]) for kind in kinds[1:])])
        text = start + text + pick(rng, ("", "", "", " as well", " also", ", all of it"))
    else:
        media = _all_of(rng, [pick(rng, LISTED_MEDIA[kind]) for kind in kinds], commands=False)
        if len(kinds) == 2 and rng.random() < 0.15:
            media = f"both {media}"
        command = pick(rng, LISTED_ASKS)
        text = command.format(x=f"{what} as {media}" if rng.random() < 0.15 else f"{media} of {what}")
        text = text if command.startswith("{x}") else start + text
    if text.endswith("?"):
        return text
    asking = start.startswith(("can", "could", "would")) and text.startswith(start)
    return text + ("?" if asking and rng.random() < 0.7 else pick(rng, POLITE_END))


def ask_for_change(rng: Rng, name: str, value: str, it: str) -> str:
    """One request to have `it` again with another value of the attribute `name`, said in words or, of a background, by name."""
    start, end = pick(rng, POLITE_START), pick(rng, POLITE_END)
    if name == "background":
        if rng.random() < 0.4:
            text = pick(rng, BACKGROUND_CHANGES).format(x=pick(rng, BACKGROUND_WORDS[value]))
            return start + text if rng.random() < 0.3 else text
        value = say_background(rng, value)
    form = rng.random()
    if form < 0.5:
        text = pick(rng, CHANGES[name]).format(x=value, it=it)
        return start + text + end if form < 0.25 else text
    forms = {"colour": ("{}", "in {}", "coloured {}"), "shape": ("a {}", "as a {}")}
    what = pick(rng, forms.get(name, ("{}",))).format(value)
    if form < 0.75:
        return start + pick(rng, CHANGE_COMMANDS).format(x=what, it=it) + end
    return pick(rng, CHANGE_WISHES).format(x=what, it=it)


def _all_of(rng: Rng, items: list[str], commands: bool = True) -> str:
    """A list in words: "a, b and c", or for commands also "a, then b, then c"."""
    if commands and rng.random() < 0.6:
        return pick(
            rng, (" and ", " and ", " and then ", ", then ", " and also ", ", ", ". then ", "; ")
        ).join(items)
    return ", ".join(items[:-1]) + pick(rng, (" and ", " and ", ", and ", " and also ")) + items[-1]


def finish(rng: Rng, text: str) -> str:
    """Capitals and full stops as people use them."""
    text = text.strip()
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if text[-1] not in "?.!" and rng.random() < 0.35:
        text += pick(rng, (".", ".", "!"))
    elif text[-1] == "?" and rng.random() < 0.15:
        text = text[:-1]
    return text


def chosen(rng: Rng, attributes: tuple[str, ...], often: float = 0.75) -> frozenset[str]:
    """Which attributes a request names: often all, else any of them, and shape or colour nearly always."""
    if rng.random() < 0.4:
        return frozenset(attributes)
    said = {name for name in attributes if rng.random() < often}
    if not said & {"shape", "colour"}:
        said.add("shape")
    return frozenset(said)


def with_defaults(rng: Rng, scene: Scene, said: frozenset[str], accept: Callable[[Scene], bool]) -> Scene:
    """What a request leaves open, as the model likes to fill it in."""
    if len(scene.things) == 2:
        return scene
    thing = scene.things[0]
    usual = {name: value for name, value in DEFAULTS.items() if name not in said and rng.random() < 0.7}
    if thing.motion == "still":  # a picture, or the sound of a thing at rest
        usual.pop("motion", None)
    background = usual.pop("background", scene.background)
    liked = Scene(background, (changed(thing, usual, rng),))
    return liked if accept(liked) else scene


# ------------------------------------------------------------------------------------------------ answers


def from_top_left(scene: Scene) -> Scene:
    """The scene with its things in the order in which one reads a page, so that a picture has one description."""
    return Scene(scene.background, tuple(sorted(scene.things, key=lambda thing: PLACES.index(thing.place))))


def image_part(scene: Scene) -> Part:
    return {"type": "image", "scene": scene, "caption": caption_picture(scene)}


def video_part(scene: Scene) -> Part:
    return {"type": "video", "scene": scene, "caption": caption_film(scene)}


def audio_part(tone: Tone) -> Part:
    return {"type": "audio", "tone": tone, "caption": caption_sound(tone)}


def answer(parts: list[Part]) -> list[Part]:
    """Each medium after the sentence that says what it is."""
    content: list[Part] = []
    for index, part in enumerate(parts):
        what = part["caption"]
        if part["type"] == "image":
            what = describe_picture(part["scene"])
        elif part["type"] == "video":
            what = f"a film of {what}"
        content += [{"type": "text", "text": f"{' And here' if index else 'Here'} is {what}."}, part]
    return content


def medium_of(kind: str, scene: Scene) -> Part:
    if kind == "image":
        return image_part(scene)
    return video_part(scene) if kind == "video" else audio_part(tone_of(scene.things[0]))


class Talk:
    """A conversation under way: the messages so far, and the scene in focus."""

    def __init__(self, rng: Rng, accept: Callable[[Scene], bool]) -> None:
        self.rng, self.accept = rng, accept
        self.messages: list[dict] = []
        self.scene: Scene | None = None  # in focus
        self.kind = "image"  # the medium last given

    # -------------------------------------------------------------------------------------------- helpers

    def say(self, text: str, reply: str | list[Part], media: list[Part] | None = None) -> None:
        """One exchange; media stand before or after the words."""
        content: list[Part] = [{"type": "text", "text": finish(self.rng, text)}]
        if media:
            content = media + content if self.rng.random() < 0.75 else content + media
        if isinstance(reply, str):
            reply = [{"type": "text", "text": reply}]
        self.messages += [{"role": "user", "content": content}, {"role": "assistant", "content": reply}]

    def give(self, text: str, parts: list[Part], media: list[Part] | None = None) -> None:
        self.say(text, answer(parts), media)
        self.kind = parts[-1]["type"]

    def new_scene(self, moving: bool = False, two_things: float = 0.0) -> Scene:
        return random_scene(
            self.rng, two_things=0 if moving else two_things, moving=moving, accept=self.accept
        )

    # -------------------------------------------------------------------------------------------- requests

    def request_picture(self) -> None:
        scene = self.new_scene(two_things=0.45)
        said = chosen(self.rng, ("shape", "colour", "size", "place", "background"))
        scene = with_defaults(self.rng, scene, said, self.accept)
        self.give(
            ask(self.rng, PICTURE_ASKS, PICTURE_WISHES, say_scene(self.rng, scene, said)), [image_part(scene)]
        )
        self.scene = scene

    def request_film(self) -> None:
        scene = self.new_scene(moving=True)
        said = chosen(self.rng, ("shape", "colour", "size", "place", "motion", "background"), 0.7)
        if self.rng.random() < 0.7:
            said |= {"motion"}
        scene = with_defaults(self.rng, scene, said, self.accept)
        self.give(
            ask(self.rng, FILM_ASKS, FILM_WISHES, say_scene(self.rng, scene, said, film=True)),
            [video_part(scene)],
        )
        self.scene = scene

    def request_sound(self) -> None:
        tone = random_tone(self.rng)
        said = chosen(self.rng, ("shape", "size", "motion"))
        if "shape" not in said and self.rng.random() < 0.5 and not {"size", "motion"} & said:
            said |= {"shape"}
        tone = self.default_tone(tone, said)
        self.give(ask(self.rng, SOUND_ASKS, (), say_sound(self.rng, tone, said)), [audio_part(tone)])
        self.scene = None

    def default_tone(self, tone: Tone, said: frozenset[str]) -> Tone:
        """An unsaid pitch is mostly middle, an unsaid contour mostly steady."""
        pitch = "middle" if "size" not in said and self.rng.random() < 0.8 else tone.pitch
        contour = "steady" if "motion" not in said and self.rng.random() < 0.8 else tone.contour
        return Tone(tone.shape, pitch, contour)

    def request_thing_sound(self) -> None:
        """The sound of a thing: its size is the pitch, its motion the contour; colour and place are silent."""
        rng = self.rng
        scene = self.new_scene(moving=True)
        said = chosen(rng, ("shape", "colour", "size", "motion"), 0.6) | {"shape"}
        thing = scene.things[0]
        tone = tone_of(thing)
        if "motion" not in said:
            scene = Scene(scene.background, (replace(thing, motion="still"),))
            tone = tone_of(scene.things[0])
        if "size" not in said:
            tone = self.default_tone(tone, frozenset({"motion"}))
        what = say_scene(rng, scene, said, film=True)
        if rng.random() < 0.6:
            text = ask(rng, THING_SOUND_ASKS, (), what)
        else:
            text = ask(rng, SOUND_ASKS, (), pick(rng, SOUNDS_OF).format(x=what))
        self.give(text, [audio_part(tone)])
        self.scene = scene if "size" in said else None

    def request_several(self) -> None:
        """One thing in two or three media, or two things in two media."""
        rng = self.rng
        kinds = list(rng.permutation(OUTPUTS)[: 2 if rng.random() < 0.6 else 3])
        moving = "video" in kinds or rng.random() < 0.2
        scene = self.new_scene(moving=moving)
        said = chosen(rng, ("shape", "colour", "size", "place", "background")) | {"shape"}
        if moving and (rng.random() < 0.7 or "video" not in kinds):
            said |= {"motion"}
        scene = with_defaults(rng, scene, said, self.accept)
        what = say_scene(rng, scene, said, film=moving)
        if rng.random() < 0.3:
            self.request_two_things(kinds[:2])
            return
        self.give(ask_for_several(rng, kinds, what), [medium_of(kind, scene) for kind in kinds])
        self.scene = scene

    def request_two_things(self, kinds: list[str]) -> None:
        rng = self.rng
        texts, parts = [], []
        for kind in kinds:
            asks, _ = ASKS[kind]
            scene = self.new_scene(moving=kind != "image")
            said = chosen(rng, ("shape", "colour", "size")) | {"shape", "size", "motion"}
            scene = with_defaults(rng, scene, said, self.accept)
            command = pick(rng, tuple(x for x in asks if "?" not in x))
            texts.append(command.format(x=say_scene(rng, scene, said, film=kind != "image")))
            parts.append(medium_of(kind, scene))
        self.give(pick(rng, (" and ", ", then ", " and then ", ". ")).join(texts), parts)
        self.scene = None

    # -------------------------------------------------------------------------------------------- given media

    def given_image(self) -> None:
        self.scene, self.kind = self.new_scene(two_things=0.45), "image"
        self.ask_about_scene([{"type": "image", "scene": self.scene}], "image")

    def given_pair(self) -> None:
        """A picture of two things, and a question about them."""
        self.scene, self.kind = self.new_scene(two_things=1.0), "image"
        self.ask_about_scene([{"type": "image", "scene": self.scene}], "image")

    def caption_image(self) -> None:
        """A picture without a question, and its caption."""
        part = image_part(self.new_scene())
        caption = {"type": "text", "text": part.pop("caption")}
        self.messages += [{"role": "user", "content": [part]}, {"role": "assistant", "content": [caption]}]

    def ask_several(self) -> None:
        """A picture, and questions about it over one to four turns."""
        self.given_image()
        for _ in range(self.rng.integers(4)):
            self.ask_about_scene(None, "image")

    def lesson(self) -> None:
        """Exchanges that teach a word or a way to answer, and one that asks for it."""
        self.messages += lessons.lesson(self.rng, self.accept).messages

    def grounding(self) -> None:
        """Talk about boxes."""
        self.messages += boxes.talk(self.rng, self.accept)

    def given_video(self) -> None:
        self.scene, self.kind = self.new_scene(moving=True), "video"
        self.ask_about_scene([{"type": "video", "scene": self.scene}], "video")

    def given_audio(self) -> None:
        rng = self.rng
        tone = random_tone(rng)
        media: list[Part] = [{"type": "audio", "tone": tone}]
        size = {"high": "small", "low": "large"}.get(tone.pitch)
        it = pick(rng, ("the sound", "it", "this", "this sound"))
        asks = [
            ("all", ("what do you hear?", "describe the sound", "describe this sound", "what is this?", "what sound is this?", "describe it",
              "tell me about this sound", "describe this", "what can you hear?", "caption this", "explain what you hear"),
             f"I hear {describe_sound(tone)}."),
            ("shape", ("what shape makes this sound?", "which shape is it?", "what shape is this?", "what makes this sound?", "what shape do you hear?",
              "which shape makes this sound?", "what is the shape?", "what kind of thing makes this sound?", "name the shape", "what shape belongs to this sound?", "what shape goes with it?", "what shape has this sound?"),
             f"It is {article(tone.shape)}."),
            ("pitch", (f"is {it} high or low?", "what pitch does it have?", "how high is the sound?", "what is the pitch?", "is the pitch high, middle or low?",
              "how high is it?", "high or low?"),
             f"The pitch is {tone.pitch}."),
            ("contour", ("how does the sound change?", "what does the sound do?", "what is the contour?", "does the sound rise or fall?", "how does it change?",
              "is it steady, rising, falling, pulsing, fading in or fading out?", "does it go up or down?", "describe the contour", "how does the pitch move?"),
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
        self.say(questions.question(rng, topic, plain, "it", "audio"), reply, media)
        self.scene = None

    def given_depth(self) -> None:
        rng = self.rng
        scene = self.new_scene()
        thing = scene.things[0]
        media: list[Part] = [{"type": "depth", "scene": scene}]
        metres = f"{DISTANCES[thing.size]:g} metre{'s' if thing.size == 'small' else ''}"
        where = place_phrase(thing.place)
        asks = (
            ("all", ("what is this?", "describe this depth map", "what do you see?", "describe the depth map", "what is in the depth map?", "describe it",
              "tell me about it", "describe this", "what does this depth map show?", "caption this"),
             f"I see {article(f'{thing.size} {thing.shape}')} {where}, {metres} away."),
            ("shape", ("what shape is it?", "which shape is this?", "what is the shape?", "name the shape", "what shape do you see?"), f"It is {article(thing.shape)}."),
            ("size", ("how big is it?", "what size is it?", "is it small or large?", "how large is the thing?", "what is the size?"), f"It is {thing.size}."),
            ("place", ("where is it?", "where is the thing?", "what is its place?", "in which part of the picture is it?", "where is the shape?", *WHEREABOUTS),
             f"It is {where}."),
            ("distance", ("how far away is it?", "how far is the thing?", "what is the distance?", "how near is it?", "how many metres away is it?"),
             f"It is {metres} away."),
        )  # fmt: skip
        topic, plain, reply = asks[0 if rng.random() < 0.25 else rng.integers(len(asks))]
        self.say(questions.question(rng, topic, plain, pick(rng, ITS), "depth"), reply, media)
        self.scene = None

    def given_thermal(self) -> None:
        rng = self.rng
        scene = self.new_scene()
        thing = scene.things[0]
        media: list[Part] = [{"type": "thermal", "scene": scene}]
        degrees, where = f"{TEMPERATURES[thing.colour]:g} degrees", place_phrase(thing.place)
        asks = (
            ("all", ("what is this?", "describe this thermal picture", "what do you see?", "describe the thermal image", "describe it",
              "what is in the thermal image?", "tell me about it", "describe this", "what does the heat picture show?", "caption this"),
             f"I see {article(f'{thing.colour} {thing.shape}')} {where}, at about {degrees}."),
            ("shape", ("what shape is it?", "which shape is this?", "what is the shape?", "name the shape", "what shape do you see?"), f"It is {article(thing.shape)}."),
            ("colour", ("what colour is it?", "which colour has the thing?", "what is the colour?", "what color is it?", "what colour must it be?", "name the colour"),
             f"It is {thing.colour}."),
            ("place", ("where is it?", "where is the thing?", "what is its place?", "in which part of the picture is it?", "where is the shape?", *WHEREABOUTS),
             f"It is {where}."),
            ("temperature", ("how warm is it?", "how hot is the thing?", "what is the temperature?", "what temperature does it have?", "how cold is it?",
              "is it hot or cold?"),
             f"It is at about {degrees}."),
        )  # fmt: skip
        topic, plain, reply = asks[0 if rng.random() < 0.25 else rng.integers(len(asks))]
        self.say(questions.question(rng, topic, plain, pick(rng, ITS), "thermal"), reply, media)
        self.scene = None

    def given_imu(self) -> None:
        rng = self.rng
        motion = pick(rng, MOTIONS)
        media: list[Part] = [{"type": "imu", "motion": motion}]
        plain = (
            "how does it move?", "what is the motion?", "describe the motion", "what is it doing?", "what does the sensor feel?", "describe this",
            "what is this?", "how is the thing moving?", "which motion is this?", "describe it", "what motion is it?", "what happens?",
            "what does the motion sensor say?", "in which direction does it move?", "caption this", "how does the thing move?", "is it moving?",
        )  # fmt: skip
        topic = pick(rng, ("all", "motion", "motion"))
        self.say(
            questions.question(rng, topic, plain, pick(rng, ITS), "imu"),
            f"It is {motion_phrase(motion)}.",
            media,
        )
        self.scene = None

    def ask_about_scene(self, media: list[Part] | None, kind: str) -> None:
        """A question about the scene in focus, with its medium or after it."""
        assert self.scene is not None
        rng, scene = self.rng, self.scene
        noun = pick(rng, ("video", "film", "clip") if kind == "video" else ("picture", "image", "picture"))
        if len(scene.things) == 2:
            self.ask_about_pair(media, noun)
            return
        thing = scene.things[0]
        the = pick(rng, ("it", "it", "it", "the thing", f"the {thing.shape}", "the shape", "the object"))
        caption = caption_film(scene) if kind == "video" else caption_picture(scene)
        asks = [
            ("all", (f"what is in the {noun}?", "what do you see?", f"describe the {noun}", f"describe this {noun}", "what is this?", "describe it",
              f"what does the {noun} show?", "describe what you see", f"what can you see in this {noun}?", "caption this", "describe this",
              f"generate a caption for this {noun}", f"write a caption for the {noun}", f"tell me about this {noun}", "what is shown here?"),
             f"I see {caption}."),
            ("colour", (f"what colour is {the}?", f"which colour does {the} have?", f"what is the colour of {the}?", f"what color is {the}?", "name the colour",
              "what colour do you see?", "what is the colour?"),
             f"It is {thing.colour}."),
            ("shape", ("what shape is it?", "which shape is it?", "what is the shape?", "what kind of shape is this?", f"what shape is in the {noun}?",
              "name the shape", "what shape do you see?", "which shape do you see?", "what shape is the thing?"),
             f"It is {article(thing.shape)}."),
            ("size", (f"how big is {the}?", f"what size is {the}?", f"is {the} small or large?", f"is {the} big or small?", "what is the size?",
              f"how large is {the}?", f"what is the size of {the}?"),
             f"It is {thing.size}."),
            ("place", (f"where is {the}?", f"what is the place of {the}?", f"in which part of the {noun} is {the}?", f"where do you see {the}?",
              "what is its place?", f"what is the position of {the}?", f"where in the {noun} is {the}?", f"where can i find {the}?",
              *WHEREABOUTS),
             f"It is {place_phrase(thing.place)}."),
            ("background", ("what is the background?", "what colour is the background?", "which background does it have?", "what is behind it?",
              f"what is the background of the {noun}?", f"what background has the {noun}?", "is the background white, grey or black?"),
             f"The background is {scene.background}."),
            ("count", COUNT_ASKS, "There is one thing."),
            self.yes_or_no(thing),
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
        self.say(
            questions.question(rng, topic, plain, the, "video" if kind == "video" else "image"), reply, media
        )

    def yes_or_no(self, thing: Thing) -> tuple[str, tuple[str, ...], str]:
        rng = self.rng
        name, values = [("colour", tuple(COLOURS)), ("shape", SHAPES), ("size", tuple(SIZES))][
            rng.integers(3)
        ]
        real = getattr(thing, name)
        asked = real if rng.random() < 0.5 else pick(rng, values)
        said = article(asked) if name == "shape" else asked
        truth = article(real) if name == "shape" else real
        reply = f"Yes, it is {truth}." if asked == real else f"No, it is {truth}."
        return "yes or no", (f"is it {said}?", f"is this {said}?"), reply

    def ask_about_pair(self, media: list[Part] | None, noun: str) -> None:
        assert self.scene is not None
        rng, scene = self.rng, self.scene
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
            ("background", ("what is the background?", "what colour is the background?"), f"The background is {scene.background}."),
        )  # fmt: skip
        topic, plain, reply = asks[0 if rng.random() < 0.25 else rng.integers(len(asks))]
        self.say(questions.question(rng, topic, plain, "it", "image"), reply, media)

    # -------------------------------------------------------------------------------------------- from medium to medium

    def cross(self) -> None:
        """A medium is given, another is asked for; what the given one does not carry, the model chooses."""
        rng = self.rng
        given = pick(rng, ("image", "audio", "video", "depth", "thermal", "imu"))
        wanted = pick(rng, OUTPUTS)
        scene = self.new_scene(moving=given in ("video", "imu") or (given == "audio" and wanted == "video"))
        thing = scene.things[0]
        carried = {
            "image": {"shape", "colour", "size", "place", "background"},
            "video": {"shape", "colour", "size", "place", "background", "motion"},
            "audio": {"shape", "size", "motion"},
            "depth": {"shape", "size", "place"},
            "thermal": {"shape", "colour", "place"},
            "imu": {"motion"},
        }[given]
        if given != "imu":
            # A still medium shows a still thing, and its film would stand still: say a motion in the words instead.
            extra = ""
            if wanted == "video" and given not in ("video", "audio"):
                thing = replace(thing, motion=pick(rng, MOTIONS))
                extra = " " + pick(rng, MOTION_PHRASES[thing.motion])
                carried |= {"motion"}
        else:
            extra = ""
        liked = with_defaults(rng, Scene(scene.background, (thing,)), frozenset(carried), self.accept)
        target = liked.things[0]
        if wanted == "audio" and "motion" not in carried:
            target = replace(target, motion="still")
            liked = Scene(liked.background, (target,))
        if given == "audio":
            # Rising is moving up or growing, falling moving down or shrinking: the answer takes the first.
            first = {"growing": "up", "shrinking": "down"}
            target = replace(target, motion=first.get(target.motion, target.motion))
            liked = Scene(liked.background, (target,))
        media: list[Part] = [
            {"type": "audio", "tone": tone_of(thing)}
            if given == "audio"
            else {"type": "imu", "motion": thing.motion}
            if given == "imu"
            else {
                "type": given,
                "scene": Scene(
                    scene.background, (thing if given == "video" else replace(thing, motion="still"),)
                ),
            }
        ]
        asks = {
            "image": ("draw this", "draw it", "what would this look like?", "make a picture of this", "paint it", "show me a picture of it",
                      "turn this into a picture", "make an image of this", "draw a picture of it", "what does it look like?", "draw what you hear"
                      if given == "audio" else "draw what this is", "generate an image of this", "as a picture, please", "show this as an image"),
            "audio": ("play its sound", "what does this sound like?", "what would this sound like?", "make its sound", "play the sound of this",
                      "let me hear it", "turn this into a sound", "play this", "give me the sound of it", "generate its sound", "how does it sound?"),
            "video": ("make a video of it", "film this", "animate this", "make a film of this", "turn this into a video", "show it as a film",
                      "make a video of this", "animate it", "generate a video of it", "create a clip of it", "make it into a movie of it"),
        }[wanted]  # fmt: skip
        if rng.random() < 0.4:
            # as a thing named in words is asked for
            commands, _ = ASKS[wanted]
            what = pick(
                rng, ("this", "it", "this", "it", "that", "the same thing", "this thing", "what you got")
            )
            text = ask(rng, commands, (), what).rstrip("?") + extra
        else:
            text = pick(rng, POLITE_START) + pick(rng, asks).rstrip("?") + extra
        if rng.random() < 0.15:
            text = f"{pick(rng, REMARKS)} {text}"
        self.give(text, [medium_of(wanted, liked)], media)
        self.scene = liked

    # -------------------------------------------------------------------------------------------- going on

    def edit(self) -> None:
        """Change one attribute of the thing in focus and give it in the same medium."""
        assert self.scene is not None
        rng, thing = self.rng, self.scene.things[0]
        names = {
            "image": ["colour", "shape", "size", "place", "background"],
            "video": ["colour", "shape", "size", "place", "background", "motion"],
            "audio": ["shape", "size", "motion"],
        }[self.kind]
        for _ in range(20):
            name = pick(rng, names)
            if name == "background":
                background = pick(rng, tuple(BACKGROUNDS))
                new = Scene(background, self.scene.things)
            else:
                values = {
                    "colour": tuple(COLOURS),
                    "shape": SHAPES,
                    "size": tuple(SIZES),
                    "place": PLACES,
                    "motion": MOTIONS,
                }[name]
                background = self.scene.background
                new = Scene(background, (changed(thing, {name: pick(rng, values)}, rng),))
            if new != self.scene and self.accept(new):
                break
        else:
            return
        after = new.things[0]
        value = {
            "colour": lambda: pick(rng, COLOUR_WORDS[after.colour]),
            "shape": lambda: pick(rng, SHAPE_WORDS[after.shape]),
            "size": lambda: pick(
                rng, (*SIZE_WORDS[after.size], "bigger" if after.size == "large" else "smaller")
            ),
            "place": lambda: pick(rng, PLACE_PHRASES[after.place]),
            "motion": lambda: pick(rng, MOTION_PHRASES[after.motion]),
            "background": lambda: background,
        }[name]()
        it = pick(rng, ("it", "it", f"the {thing.shape}", "the thing"))
        self.give(ask_for_change(rng, name, value, it), [medium_of(self.kind, new)])
        self.scene = new

    def other_medium(self) -> None:
        """The thing in focus in another medium: "now play its sound", "and as a film, moving up"."""
        assert self.scene is not None
        rng = self.rng
        kind = pick(rng, [k for k in OUTPUTS if k != self.kind])
        thing, extra = self.scene.things[0], ""
        if kind == "video" and self.kind != "video" and (thing.motion == "still" or rng.random() < 0.5):
            thing = replace(thing, motion=pick(rng, MOTIONS))
            extra = " " + pick(rng, MOTION_PHRASES[thing.motion])
        scene = Scene(self.scene.background, (thing,))
        asks = {
            "image": ("now draw it", "draw it", "show me a picture of it", "make a picture of it", "now as a picture", "and a picture of it",
                      "have it as a picture", "as a drawing", "i need it as an image", "let me see it as a picture"),
            "audio": ("play its sound", "now play its sound", "what does it sound like", "let me hear it", "and its sound", "now the sound", "how does it sound",
                      "make its sound", "what sound does it make"),
            "video": ("now make a video of it", "animate it", "film it", "now as a film", "make a film of it", "and a video of it", "show it"),
        }[kind]  # fmt: skip
        if rng.random() < 0.5:
            text = ask(
                rng,
                *ASKS[kind],
                pick(rng, ("it", "it", "the same", "the same thing", "that", "this", "this thing")),
            )
            text = text.removesuffix("?")
        else:
            text = pick(rng, asks)
        self.give(
            text + extra + pick(rng, ("", "", "", " as well", ", too", " also")), [medium_of(kind, scene)]
        )
        self.scene = scene

    def plain(self) -> None:
        text, reply = smalltalk.exchange(self.rng)
        self.say(text, reply)

    def outside(self) -> None:
        rng = self.rng
        if rng.random() < 0.3:  # in the words in which things of this world are asked for
            ways = ASKS[pick(rng, ("image", "video", "audio"))]
            self.say(ask(rng, *ways, smalltalk.outside_thing(rng)), smalltalk.UNABLE)
        else:
            self.say(*smalltalk.outside(rng))

    def nothing_shown(self) -> None:
        """A question about a medium that nobody has given."""
        if any(part["type"] != "text" for message in self.messages for part in message["content"]):
            self.plain()
            return
        kind = pick(self.rng, tuple(questions.MEDIA_NOUNS))
        topic = pick(self.rng, ("all", *questions.NOUNS))
        self.say(questions.framed(self.rng, topic, pick(self.rng, ITS), kind), smalltalk.NOTHING)

    def untold(self) -> None:
        """A question about what the given medium does not carry."""
        rng = self.rng
        kind = pick(rng, tuple(UNTOLD))
        scene = self.new_scene(moving=kind == "imu")
        medium: Part = (
            {"type": "audio", "tone": random_tone(rng)}
            if kind == "audio"
            else {"type": "imu", "motion": scene.things[0].motion}
            if kind == "imu"
            else {"type": kind, "scene": scene}
        )
        topic, noun = pick(rng, UNTOLD[kind]), questions.MEDIA_NOUNS[kind][0]
        self.say(
            questions.framed(rng, topic, pick(rng, ITS), kind),
            smalltalk.UNTOLD.format(x=article(noun)),
            [medium],
        )
        self.scene = None

    def knowledge(self) -> None:
        text, reply = smalltalk.knowledge(self.rng)
        self.say(text, reply)


# How conversations begin, with weights.
STARTS: dict[str, float] = {
    "request_picture": 8,
    "request_film": 4,
    "request_sound": 2.5,
    "request_thing_sound": 2.5,
    "request_several": 5.5,
    "given_image": 6,
    "given_video": 8,
    "given_audio": 3,
    "given_depth": 2.5,
    "given_thermal": 2.5,
    "given_imu": 1.2,
    "cross": 4,
    "plain": 1.5,
    "outside": 3,
    "knowledge": 1.6,
    "nothing_shown": 0.8,
    "untold": 1.2,
}
# Which mixtures may also name.
OTHER_STARTS = ("given_pair", "caption_image", "ask_several", "lesson", "grounding")


def conversation(
    rng: Rng,
    *,
    turns: int = 1,
    starts: dict[str, float] = STARTS,
    accept: Callable[[Scene], bool] = lambda scene: True,
) -> list[dict]:
    """Messages of `turns` exchanges. `accept` keeps held-out things out of every medium and word."""
    talk = Talk(rng, accept)
    names, weights = list(starts), np.array(list(starts.values()))
    while len(talk.messages) < 2 * turns:
        single = talk.scene is not None and len(talk.scene.things) == 1
        if talk.messages and talk.scene is not None and rng.random() < 0.85:
            actions: list[Callable[[], None]] = []
            if talk.kind != "audio":
                actions.append(partial(talk.ask_about_scene, None, talk.kind))
            if single:
                actions += [talk.edit, talk.edit, talk.other_medium, talk.other_medium]
            # What is said in between changes nothing: "it" is still the thing.
            actions.append(talk.plain if rng.random() < 0.5 else talk.outside)
            actions[rng.integers(len(actions))]()
            continue
        getattr(talk, names[rng.choice(len(names), p=weights / weights.sum())])()
    return talk.messages
