"""How the measurements ask: words of their own, not those of `anygpt.toyworld` that the model is trained on."""

from __future__ import annotations

from numpy.random import Generator

from anygpt.toyworld.scenes import Scene
from anygpt.toyworld.sounds import Tone

IMAGE_REQUESTS = (
    "i want you to draw {x}", "can you make me a picture of {x}?", "could you paint {x} for me?", "please show me an image of {x}",
    "create a drawing of {x}", "i need an image of {x}, please", "a nice picture of {x}", "would you draw {x}?", "now please draw {x}",
    "please give me a drawing of {x}", "i would like you to paint {x}", "let me have a picture of {x}", "generate one image of {x}",
    "hello, draw {x}", "please paint a picture of {x}", "can i see {x}?", "make me an image that shows {x}", "show a drawing of {x}",
    "your task is to draw {x}", "produce a picture of {x}", "draw {x} and nothing else", "i'd love a picture of {x}",
    "could i have an image of {x}?", "draw this for me: {x}", "picture of {x} please",
)  # fmt: skip
VIDEO_REQUESTS = (
    "i want you to film {x}", "can you make me a video of {x}?", "could you animate {x} for me?", "please show me a film of {x}",
    "create a movie of {x}", "i need a film of {x}, please", "a short video of {x}", "would you film {x}?", "now please make a video of {x}",
    "please give me an animation of {x}", "i would like you to animate {x}", "let me have a clip of {x}", "generate one video of {x}",
    "hello, make a film of {x}", "please record a video of {x}", "can i watch {x}?", "make me a video that shows {x}", "show a movie of {x}",
    "your task is to film {x}", "produce a film of {x}", "animate {x} and nothing else", "i'd love a video of {x}",
    "could i have a video of {x}?", "make a video of this for me: {x}", "video of {x} please",
)  # fmt: skip
SOUND_REQUESTS = (
    "i want you to play {x}", "can you make {x}?", "could you play {x} for me?", "please let me hear {x}", "please create {x}",
    "i need {x}, please", "would you play {x}?", "now please play {x}", "please give me {x}", "i would like you to play {x}",
    "let me have {x}", "hello, play {x}", "can i hear {x}?", "produce {x} for me", "play {x} and nothing else", "generate {x} for me",
    "could i listen to {x}?", "play this for me: {x}", "your task is to play {x}", "can you get me {x}?", "i'd love to hear {x}",
    "record {x} for me", "may i hear {x} now?", "an audio clip of {x}", "please make audio of {x}",
)  # fmt: skip
THING_SOUND = ("the sound of {x}", "the sound that {x} makes")
SEVERAL_REQUESTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("image", "audio"): ("draw {x}, and play its sound too", "please draw {x} and let me hear it", "i want a picture and the sound of {x}",
                         "show me {x}, then play its sound", "can you give me a picture and the sound of {x}?"),
    ("image", "video"): ("draw {x}, and make a video of it too", "please draw {x} and film it", "i want a picture and a video of {x}",
                         "show me a picture of {x}, then animate it", "can you give me an image and a film of {x}?"),
    ("audio", "video"): ("play the sound of {x}, and make a video of it too", "please play the sound of {x} and film it",
                         "i want the sound and a film of {x}", "let me hear {x}, then animate it", "can you give me the sound and a video of {x}?"),
    ("video", "audio"): ("film {x}, and play its sound too", "make a video of {x} and let me hear it, please", "i want a film and the sound of {x}",
                         "animate {x}, then play its sound", "can you give me a video and the sound of {x}?"),
    ("image", "audio", "video"): ("draw {x}, play its sound and make a video of it", "i want a picture, the sound and a film of {x}",
                                  "can you give me an image, a sound and a video of {x}?"),
}  # fmt: skip
PLAIN = (
    "hello there, how are you?", "good morning to you", "hi, what can you do for me?", "thank you so much", "thanks, that was nice", "see you tomorrow, bye",
    "who are you, please?", "tell me what you are", "what is your name, please?", "i like you", "okay, thanks", "how are you doing today?",
    "what are you good at?", "can you help me, please?", "hello friend", "great work", "good night and thanks", "are you a human or a robot?",
    "which colours do you know, please?", "tell me which shapes you know", "how warm is a red thing?", "what does a growing thing sound like?",
)  # fmt: skip
OUTSIDE = (
    "draw a cat on a chair", "please draw my house", "can you paint a ship at sea?", "make a video of a running dog", "film a train in the snow",
    "play some music by mozart", "let me hear a barking dog", "play a piano song for me", "who is the king of england?", "what is ten minus three?",
    "write me a short story", "how far away is the moon?", "what is the capital of italy?", "draw a brown horse", "i want a picture of a tree",
    "show me a photo of paris", "please animate a flying bird", "how do i bake a cake?", "what is the weather in london?", "translate hello to french",
    "draw an elephant with a hat", "sjdkf qwpeo lskd", "what does a cow sound like?", "a portrait of a queen", "tell me who won the election",
)  # fmt: skip
OUTSIDE_THINGS = (
    "a teapot", "a wooden ladder", "two squirrels", "the northern lights", "a bottle of milk", "an old lighthouse", "my grandmother", "a steam engine",
    "a pair of scissors", "a sleeping hedgehog", "a cactus in a pot", "the london eye", "a chess board", "a golden spoon", "a snowman with a carrot nose",
    "a marching band", "a broken window", "a crowd of tourists", "a postman on a scooter", "a purple octopus", "a tall green bush", "a khaki square",
)  # fmt: skip
FACTS = {
    "degrees": ("how warm is a {x} thing?", "what is the temperature of a {x} thing, please?", "a thing is {x}: how warm is it?"),
    "contour": ("how does the sound of a {x} thing change?", "what does the sound do while a thing is {x}?", "a thing is {x}: how does its sound change?"),
}  # fmt: skip
ASK_TWO = {
    "count": ("how many things can you count?", "what number of things is there?", "please count the things in it"),
    "relation": ("how does {first} lie to {second}?", "on which side of {second} is {first}?", "is {first} left of, right of, above or below {second}?"),
}  # fmt: skip
EDIT = {
    "colour": ("could it be {x} instead?", "i would rather have it in {x}", "please redo it in {x}"),
    "size": ("could it be {x} instead?", "i would rather have it {x}", "please redo it, but {x}"),
    "shape": ("could it be a {x} instead?", "i would rather have a {x}", "please redo it as a {x}"),
    "place": ("could it be {x} instead?", "i would rather have it {x}", "please redo it {x}"),
    "background": ("could the background be {x} instead?", "i would rather have a {x} background", "please redo it on a {x} background"),
    "motion": ("could it be {x} instead?", "i would rather have it {x}", "please redo it {x}"),
}  # fmt: skip
AS_WELL = {
    "image": ("could i have it as a picture, too?", "i would like to see it in a drawing as well", "now a picture of the same thing, please"),
    "audio": ("could i hear its sound, too?", "i would like to hear it as well", "now the sound of the same thing, please"),
    "video": ("could i have it as a film, too, {x}?", "i would like to watch it {x} as well", "now a video of the same thing {x}, please"),
}  # fmt: skip
DESCRIBE = {
    "image": ("please describe the picture", "can you tell me what is in this picture?", "what is on this image?", "i want you to describe this image"),
    "video": ("please describe the video", "can you tell me what is in this film?", "what do you see in this clip?", "i want you to describe this film"),
    "audio": ("please describe the sound", "can you tell me what you hear?", "what do you hear in this clip?", "i want you to describe this sound"),
    "depth": ("please describe the depth map", "can you tell me what is in this depth map?", "what do you see in it?", "i want you to describe it"),
    "thermal": ("please describe the thermal picture", "can you tell me what is in this thermal image?", "what do you see in it?", "i want you to describe it"),
    "imu": ("please describe the motion", "can you tell me how it moves?", "tell me what it is doing", "please tell me the motion"),
}  # fmt: skip
ASK = {
    "shape": ("tell me the shape, please", "can you tell me which shape this is?", "which shape does it have?", "please name its shape"),
    "colour": ("tell me the colour, please", "can you tell me which colour it is?", "what colour does the thing have?", "please name its colour"),
    "size": ("tell me the size, please", "can you tell me how big it is?", "what size does the thing have?", "is the thing big or small, please?"),
    "place": ("tell me where it is, please", "can you tell me where the thing is?", "at which place is it?", "where exactly is it?"),
    "background": ("tell me the background, please", "can you tell me what the background is?", "which background is it?", "please name the background"),
    "motion": ("tell me how it moves, please", "can you tell me what the thing does?", "in what way is it moving?", "please name the motion"),
    "pitch": ("tell me the pitch, please", "can you tell me how high it is?", "which pitch is it?", "please name the pitch"),
    "contour": ("tell me how the sound changes, please", "can you tell me what the sound does?", "how does this sound change?", "please name the contour"),
}  # fmt: skip
CROSS = {
    "image": ("please draw it for me", "can you make a picture of this?"),
    "audio": ("please play its sound for me", "can you tell me what this sounds like? play it"),
    "video": ("please make a film of this for me", "can you animate this?"),
}
MOVES = {"still": ("standing still", "that does not move"), "growing": ("growing", "that grows"), "shrinking": ("shrinking", "that shrinks"),
         "blinking": ("blinking", "that blinks")}  # fmt: skip


def pick(rng: Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def thing_words(rng: Generator, size: str, colour: str, shape: str) -> str:
    forms = (
        f"{size} {colour} {shape}",
        f"{size} {colour} {shape}",
        f"{colour} {shape} that is {size}",
        f"{size} {shape} in {colour}",
    )
    return article(pick(rng, forms))


def place_words(rng: Generator, place: str) -> str:
    if place == "centre":
        return pick(rng, ("in the centre", "in the middle"))
    if " " in place:
        return pick(rng, (f"at the {place}", f"in the {place} corner"))
    return pick(
        rng, (f"at the {place}", f"on the {place}" if place in ("left", "right") else f"at the {place}")
    )


def motion_words(rng: Generator, motion: str) -> str:
    return pick(rng, MOVES.get(motion, (f"moving {motion}", f"that moves {motion}")))


def scene_words(rng: Generator, scene: Scene, moving: bool = False) -> str:
    """A scene of one thing with all that it has."""
    thing = scene.things[0]
    what, where = thing_words(rng, thing.size, thing.colour, thing.shape), place_words(rng, thing.place)
    ground = pick(rng, ("on a {} background", "against a {} background", "with a {} background")).format(
        scene.background
    )
    if moving:
        motion = motion_words(rng, thing.motion)
        return pick(
            rng,
            (
                f"{what} {motion} {where} {ground}",
                f"{what} {where} {motion}, {ground}",
                f"{what} {where} {ground}, {motion}",
            ),
        )
    return pick(rng, (f"{what} {where} {ground}", f"{what} {ground}, {where}", f"{what} {ground} {where}"))


def tone_words(rng: Generator, tone: Tone) -> str:
    noun = pick(rng, ("sound", "tone"))
    return pick(
        rng,
        (
            f"a {tone.pitch} {tone.contour} {tone.shape} {noun}",
            f"{article(tone.contour)} {tone.pitch} {noun} of a {tone.shape}",
        ),
    )


def finish(rng: Generator, text: str) -> str:
    text = text if rng.random() < 0.6 else text[0].upper() + text[1:]
    return text + "." if text[-1] not in "?." and rng.random() < 0.3 else text
