"""New requests and questions made from the contract, in words of their own, not those of `anygpt.toyworld.dialogues`.

Every thing is fully specified, so that an answer is right or wrong and nothing is left to taste.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from anygpt.toyworld.drawing import FRAME_RATE, draw_depth, draw_film, draw_picture, draw_thermal
from anygpt.toyworld.scenes import Scene, random_scene, relation
from anygpt.toyworld.sounds import RATE, Tone, feel, play, random_tone, tone_of
from encoders.media import Audio, Imu, Video

Rng = np.random.Generator

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
CARRIED = {
    "image": ("shape", "colour", "size", "place", "background"),
    "video": ("shape", "colour", "size", "place", "background", "motion"),
    "audio": ("shape", "pitch", "contour"),
    "depth": ("shape", "size", "place"),
    "thermal": ("shape", "colour", "place"),
    "imu": ("motion",),
}
CROSS = {
    "image": ("please draw it for me", "can you make a picture of this?"),
    "audio": ("please play its sound for me", "can you tell me what this sounds like? play it"),
    "video": ("please make a film of this for me", "can you animate this?"),
}
MOVES = {"still": ("standing still", "that does not move"), "growing": ("growing", "that grows"), "shrinking": ("shrinking", "that shrinks"),
         "blinking": ("blinking", "that blinks")}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One conversation to answer, and what is right.

    Attributes:
        media: the modalities that the answer must hold, in any order.
        truths: what each medium of the answer must show, in the order of `media`; empty where it is not judged.
        said: attribute → the value that the words must name, and no other.
        wanted: the case in words, for the reader of the results.
    """

    group: str
    messages: list[dict[str, Any]]
    media: tuple[str, ...] = ()
    truths: tuple[Scene | Tone, ...] = ()
    said: dict[str, str] = field(default_factory=dict)
    wanted: str = ""


def pick(rng: Rng, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]


def split_of(held_out: bool) -> str:
    return "held-out" if held_out else "seen"


def _scene(rng: Rng, held_out: bool, moving: bool = False, two_things: float = 0.0) -> Scene:
    return random_scene(
        rng, moving=moving, two_things=two_things, accept=lambda scene: scene.held_out == held_out
    )


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _thing_words(rng: Rng, size: str, colour: str, shape: str) -> str:
    forms = (
        f"{size} {colour} {shape}",
        f"{size} {colour} {shape}",
        f"{colour} {shape} that is {size}",
        f"{size} {shape} in {colour}",
    )
    return _article(pick(rng, forms))


def _place_words(rng: Rng, place: str) -> str:
    if place == "centre":
        return pick(rng, ("in the centre", "in the middle"))
    if " " in place:
        return pick(rng, (f"at the {place}", f"in the {place} corner"))
    return pick(
        rng, (f"at the {place}", f"on the {place}" if place in ("left", "right") else f"at the {place}")
    )


def _motion_words(rng: Rng, motion: str) -> str:
    return pick(rng, MOVES.get(motion, (f"moving {motion}", f"that moves {motion}")))


def scene_words(rng: Rng, scene: Scene, moving: bool = False) -> str:
    """A scene of one thing with all that it has."""
    thing = scene.things[0]
    what, where = _thing_words(rng, thing.size, thing.colour, thing.shape), _place_words(rng, thing.place)
    ground = pick(rng, ("on a {} background", "against a {} background", "with a {} background")).format(
        scene.background
    )
    if moving:
        motion = _motion_words(rng, thing.motion)
        return pick(
            rng,
            (
                f"{what} {motion} {where} {ground}",
                f"{what} {where} {motion}, {ground}",
                f"{what} {where} {ground}, {motion}",
            ),
        )
    return pick(rng, (f"{what} {where} {ground}", f"{what} {ground}, {where}", f"{what} {ground} {where}"))


def tone_words(rng: Rng, tone: Tone) -> str:
    noun = pick(rng, ("sound", "tone"))
    return pick(
        rng,
        (
            f"a {tone.pitch} {tone.contour} {tone.shape} {noun}",
            f"{_article(tone.contour)} {tone.pitch} {noun} of a {tone.shape}",
        ),
    )


def _finish(rng: Rng, text: str) -> str:
    text = text if rng.random() < 0.6 else text[0].upper() + text[1:]
    return text + "." if text[-1] not in "?." and rng.random() < 0.3 else text


def _user(text: str, *media: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*media, {"type": "text", "text": text}]}]


def _facts(truth: Scene | Tone, modality: str) -> dict[str, str]:
    """What a medium of one thing or one sound tells, attribute by attribute."""
    if isinstance(truth, Tone):
        return {"shape": truth.shape, "pitch": truth.pitch, "contour": truth.contour}
    values = {**vars(truth.things[0]), "background": truth.background}
    return {name: values[name] for name in CARRIED[modality]}


def _request(rng: Rng, group: str, text: str, media: tuple[str, ...], *truths: Scene | Tone) -> Case:
    text = _finish(rng, text)
    one = len(truths) == 1 and (isinstance(truths[0], Tone) or len(truths[0].things) == 1)
    return Case(group, _user(text), media, truths, _facts(truths[0], media[0]) if one else {}, text)


def image_case(rng: Rng, held_out: bool) -> Case:
    scene = _scene(rng, held_out)
    text = pick(rng, IMAGE_REQUESTS).format(x=scene_words(rng, scene))
    return _request(rng, f"image, {split_of(held_out)}", text, ("image",), scene)


def pair_case(rng: Rng, held_out: bool) -> Case:
    """Two things; the relation is said and their places are not."""
    scene = _scene(rng, held_out, two_things=1)
    first, second = scene.things
    how = {"left of": "to the left of", "right of": "to the right of"}.get(
        relation(first, second), relation(first, second)
    )
    words = f"{_article(f'{first.colour} {first.shape}')} {how} {_article(f'{second.colour} {second.shape}')} on a {scene.background} background"
    return _request(
        rng,
        f"image of two, {split_of(held_out)}",
        pick(rng, IMAGE_REQUESTS).format(x=words),
        ("image",),
        scene,
    )


def video_case(rng: Rng, held_out: bool) -> Case:
    scene = _scene(rng, held_out, moving=True)
    text = pick(rng, VIDEO_REQUESTS).format(x=scene_words(rng, scene, moving=True))
    return _request(rng, f"video, {split_of(held_out)}", text, ("video",), scene)


def audio_case(rng: Rng, held_out: bool) -> Case:
    """A sound named by itself, or the sound of a thing; only things can be held out."""
    if not held_out and rng.random() < 0.5:
        tone = random_tone(rng)
        return _request(
            rng,
            "audio, by itself",
            pick(rng, SOUND_REQUESTS).format(x=tone_words(rng, tone)),
            ("audio",),
            tone,
        )
    thing = _scene(rng, held_out, moving=True).things[0]
    words = f"{_thing_words(rng, thing.size, thing.colour, thing.shape)} {_motion_words(rng, thing.motion)}"
    text = pick(rng, SOUND_REQUESTS).format(x=pick(rng, THING_SOUND).format(x=words))
    return _request(rng, f"audio of a thing, {split_of(held_out)}", text, ("audio",), tone_of(thing))


def given_part(rng: Rng, modality: str, scene: Scene) -> dict[str, Any]:
    """The scene's one thing in a modality, as a message's part; what moves needs a motion to show it."""
    thing = scene.things[0]
    still = Scene(scene.background, (replace(thing, motion="still"),))
    drawn: dict[str, Callable[[], Any]] = {
        "image": lambda: Image.fromarray(draw_picture(still)),
        "video": lambda: Video(draw_film(scene), FRAME_RATE),
        "audio": lambda: Audio(play(tone_of(thing), rng)[None], RATE),
        "depth": lambda: draw_depth(still, rng),
        "thermal": lambda: draw_thermal(still, rng),
        "imu": lambda: Imu(feel(thing.motion, rng)),
    }
    return {"type": modality, modality: drawn[modality]()}


def question_case(rng: Rng, held_out: bool, modality: str) -> Case:
    """A medium and a question: to describe it, or one attribute."""
    scene = _scene(rng, held_out, moving=modality in ("video", "audio", "imu"))
    tone = tone_of(scene.things[0])
    part = given_part(rng, modality, scene)
    if modality == "audio" and not held_out and rng.random() < 0.5:
        tone = random_tone(rng)
        part = {"type": "audio", "audio": Audio(play(tone, rng)[None], RATE)}
    facts = _facts(tone if modality == "audio" else scene, modality)
    carried = CARRIED[modality]
    if len(carried) == 1 or rng.random() < 0.4:
        asked, text = carried, pick(rng, DESCRIBE[modality])
    else:
        asked = (pick(rng, carried),)
        text = pick(rng, ASK[asked[0]])
    said = {name: facts[name] for name in asked}
    text = _finish(rng, text)
    return Case(
        f"about {modality}, {split_of(held_out)}",
        _user(text, part),
        said=said,
        wanted=f"{text} ({', '.join(said.values())})",
    )


def several_case(rng: Rng, held_out: bool) -> Case:
    media = list(SEVERAL_REQUESTS)[rng.integers(len(SEVERAL_REQUESTS))]
    words = scene_words(rng, _scene(rng, held_out, moving=True), moving=True)
    return _request(rng, "media: several", pick(rng, SEVERAL_REQUESTS[media]).format(x=words), media)


def plain_case(rng: Rng, held_out: bool) -> Case:
    return _request(rng, "media: none, plain talk", pick(rng, PLAIN), ())


def outside_case(rng: Rng, held_out: bool) -> Case:
    return _request(rng, "media: none, from outside", pick(rng, OUTSIDE), ())


def cross_case(rng: Rng, held_out: bool) -> Case:
    """A given medium is asked for in another one."""
    given, wanted = pick(rng, ("image", "audio", "video", "depth", "thermal")), pick(rng, tuple(CROSS))
    part = given_part(rng, given, _scene(rng, held_out, moving=given in ("audio", "video")))
    text = _finish(rng, pick(rng, CROSS[wanted]))
    return Case("media: from medium to medium", _user(text, part), (wanted,), wanted=f"{text} ({given})")


def one_medium_case(rng: Rng, held_out: bool) -> Case:
    make = (image_case, video_case, audio_case)[rng.integers(3)]
    return replace(make(rng, held_out), group="media: one", truths=(), said={})


def about_case(rng: Rng, held_out: bool) -> Case:
    """A question about a medium, of which only the set of media in the answer is judged: none."""
    case = question_case(rng, held_out, pick(rng, tuple(CARRIED)))
    return replace(case, group="media: none, a question about one", said={})


Maker = Callable[[Rng, bool], Case]
MAKERS: dict[str, tuple[Maker, ...]] = {
    "image": (image_case,),
    "pairs": (pair_case,),
    "audio": (audio_case,),
    "video": (video_case,),
    **{f"about-{modality}": (partial(question_case, modality=modality),) for modality in CARRIED},
    "media": (plain_case, outside_case, about_case, one_medium_case, several_case, cross_case),
}


def new_cases(measurement: str, count: int, rng: Rng) -> list[Case]:
    """`count` new cases, half of them about seen combinations and half about held-out ones."""
    makers = MAKERS[measurement]
    return [makers[index // 2 % len(makers)](rng, index % 2 == 1) for index in range(count)]
