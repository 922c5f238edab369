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
from numpy.random import Generator

from anygpt.toyworld import boxes, lessons, questions, smalltalk, topics
from anygpt.toyworld.asking import (
    ASKS,
    FILM_ASKS,
    FILM_WISHES,
    PICTURE_ASKS,
    PICTURE_WISHES,
    POLITE_START,
    REMARKS,
    SOUND_ASKS,
    SOUNDS_OF,
    THING_SOUND_ASKS,
    ask,
    ask_for_change,
    ask_for_several,
    chosen,
    finish,
)
from anygpt.toyworld.phrases import (
    COLOUR_WORDS,
    MOTION_PHRASES,
    PLACE_PHRASES,
    SHAPE_WORDS,
    SIZE_WORDS,
    article,
    caption_film,
    caption_picture,
    caption_sound,
    describe_picture,
    pick,
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
    changed,
    random_scene,
)
from anygpt.toyworld.sounds import Tone, random_tone, tone_of

Part = dict
OUTPUTS = ("image", "audio", "video")
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


def with_defaults(
    rng: Generator, scene: Scene, said: frozenset[str], accept: Callable[[Scene], bool]
) -> Scene:
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

    def __init__(self, rng: Generator, accept: Callable[[Scene], bool]) -> None:
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

    def first_question(self) -> None:
        """A question that lessons ask, too, without one before it: the answer has no style."""
        self.messages += lessons.first_question(self.rng, self.accept)

    def grounding(self) -> None:
        """Talk about boxes."""
        self.messages += boxes.talk(self.rng, self.accept)

    def given_video(self) -> None:
        self.scene, self.kind = self.new_scene(moving=True), "video"
        self.ask_about_scene([{"type": "video", "scene": self.scene}], "video")

    def given_audio(self) -> None:
        tone = random_tone(self.rng)
        self.say(*topics.of_sound(self.rng, tone), [{"type": "audio", "tone": tone}])
        self.scene = None

    def given_depth(self) -> None:
        scene = self.new_scene()
        self.say(*topics.of_depth(self.rng, scene.things[0]), [{"type": "depth", "scene": scene}])
        self.scene = None

    def given_thermal(self) -> None:
        scene = self.new_scene()
        self.say(*topics.of_thermal(self.rng, scene.things[0]), [{"type": "thermal", "scene": scene}])
        self.scene = None

    def given_imu(self) -> None:
        motion = pick(self.rng, MOTIONS)
        self.say(*topics.of_motion(self.rng, motion), [{"type": "imu", "motion": motion}])
        self.scene = None

    def ask_about_scene(self, media: list[Part] | None, kind: str) -> None:
        """A question about the scene in focus, with its medium or after it."""
        assert self.scene is not None
        self.say(*topics.of_scene(self.rng, self.scene, kind), media)

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
        thing, extra = self.scene.things[0], ""
        kinds = [kind for kind in OUTPUTS if kind != self.kind]
        if self.kind == "image" and thing.motion != "still":
            kinds += ["audio", "audio"]  # of how it moved before the picture
        kind = pick(rng, kinds)
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
        if rng.random() < 0.5:  # in the words in which things of this world are asked for
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
OTHER_STARTS = ("given_pair", "caption_image", "ask_several", "lesson", "first_question", "grounding")


def conversation(
    rng: Generator,
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
            # What is said in between changes nothing: "it" is still the thing, and its medium the one last given.
            between = (talk.plain, talk.outside, talk.outside, talk.knowledge)
            actions += [between[i] for i in rng.integers(len(between), size=2)]
            actions[rng.integers(len(actions))]()
            continue
        getattr(talk, names[rng.choice(len(names), p=weights / weights.sum())])()
    return talk.messages
