"""How people ask for media: each in many wordings, several at once, or what they have with a change."""

from __future__ import annotations

from numpy.random import Generator

from anygpt.toyworld.phrases import BACKGROUND_WORDS, pick, say_background

POLITE_START = (
    *("",) * 6,
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
    "compose an image with {x}", "draw an image that shows {x}", "create artwork of {x}", "make one drawing of {x}", "create one single image of {x}", "make an illustration of {x}", "send me a picture of {x}",
    "get me an image of {x}", "prepare a picture showing {x}", "generate {x}", "display {x}", "create a drawing containing {x}", "make a sketch of {x}",
)  # fmt: skip
PICTURE_WISHES = (
    "a picture of {x}", "an image of {x}", "{x}", "i want a picture of {x}", "i would like an image of {x}", "i'd like to see {x}",
    "i need a picture of {x}", "what does {x} look like?", "let me see {x}", "picture: {x}", "image: {x}", "a drawing of {x}",
    "how does {x} look?", "i want to see {x}", "a photo of {x}",
    "i would love a painting of {x}", "i'd love a picture with {x}", "may i have a picture of {x}?", "may i see {x}?", "i wish to see {x}", "a painting of {x}", "one picture of {x}", "just one drawing of {x}",
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
    "give me an animation with {x}", "shoot a video of {x}", "make an animated clip of {x}", "make one film of {x}", "create one single clip of {x}", "show just one movie of {x}", "create a moving picture of {x}", "make an animation showing {x}",
)  # fmt: skip
FILM_WISHES = (
    "a video of {x}", "a film of {x}", "a movie of {x}", "i want a video of {x}", "i would like a film of {x}", "an animation of {x}",
    "i need a video of {x}", "video: {x}", "a clip of {x}", "i'd like to watch {x}", "let me watch {x}", "film: {x}", "i want to watch {x}",
    "i would love a clip of {x}", "may i have a film of {x}?", "may i watch {x}?", "i'd like an animation of {x}", "we need a video showing {x}", "a short film of {x}", "one film of {x}", "only one clip of {x}",
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
# The tokenizer begins these words with a colour's token; what comes after it may be anything.
RED_VERBS = ("redraw", "redesign", "redecorate", "redefine", "redirect", "redub", "redye", "reduce")
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


def ask(rng: Generator, commands: tuple[str, ...], wishes: tuple[str, ...], what: str) -> str:
    """One request for `what`, polite or not."""
    if wishes and rng.random() < 0.3:
        return pick(rng, wishes).format(x=what) + pick(rng, ("", "", ", please"))
    start = pick(rng, POLITE_START)
    text = start + pick(rng, commands).format(x=what) + pick(rng, POLITE_END)
    asking = start.startswith(("can", "could", "would"))
    return text + "?" if asking and "?" not in text and rng.random() < 0.7 else text


def ask_for_several(rng: Generator, kinds: list[str], what: str) -> str:
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


def ask_for_change(rng: Generator, name: str, value: str, it: str) -> str:
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
    if form < 0.74:
        ending = "" if rng.random() < 0.3 else pick(rng, "bdgklmnpst")
        made_up = f"red{pick(rng, 'aeiu')}{ending}"
        verb = pick(rng, RED_VERBS) if rng.random() < 0.4 else made_up
        return start + pick(rng, ("{} it {}", "{} it, {}", "{} it, but {}")).format(verb, what) + end
    if form < 0.85:
        return start + pick(rng, CHANGE_COMMANDS).format(x=what, it=it) + end
    return pick(rng, CHANGE_WISHES).format(x=what, it=it)


def _all_of(rng: Generator, items: list[str], commands: bool = True) -> str:
    """A list in words: "a, b and c", or for commands also "a, then b, then c"."""
    if commands and rng.random() < 0.6:
        return pick(
            rng, (" and ", " and ", " and then ", ", then ", " and also ", ", ", ". then ", "; ")
        ).join(items)
    return ", ".join(items[:-1]) + pick(rng, (" and ", " and ", ", and ", " and also ")) + items[-1]


def finish(rng: Generator, text: str) -> str:
    """Capitals and full stops as people use them."""
    text = text.strip()
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if text[-1] not in "?.!" and rng.random() < 0.35:
        text += pick(rng, (".", ".", "!"))
    elif text[-1] == "?" and rng.random() < 0.15:
        text = text[:-1]
    return text


def chosen(rng: Generator, attributes: tuple[str, ...], often: float = 0.75) -> frozenset[str]:
    """Which attributes a request names: often all, else any of them, and shape or colour nearly always."""
    if rng.random() < 0.4:
        return frozenset(attributes)
    said = {name for name in attributes if rng.random() < often}
    if not said & {"shape", "colour"}:
        said.add("shape")
    return frozenset(said)
