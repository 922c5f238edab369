"""Plain talk, facts about the toy world, and requests from outside it, which get an honest answer and no media."""

from __future__ import annotations

import string
from collections.abc import Sequence

from numpy.random import Generator

from anygpt.toyworld.drawing import TEMPERATURES
from anygpt.toyworld.phrases import article
from anygpt.toyworld.scenes import COLOURS, SHAPES
from anygpt.toyworld.sounds import CONTOUR_OF_MOTION

ABLE = (
    "I can draw pictures, play sounds and make films of simple shapes: circles, squares, triangles, diamonds, stars, crosses, rings and hearts. "
    "I can also tell you what is in a picture, sound, film, depth map, thermal picture or motion signal."
)
HELLO = "Hello! What shall I draw, play or film for you?"
WHO = "I am anygpt-tiny, a small model that sees, hears, draws, plays and films simple shapes."
UNABLE = (
    "Sorry, I can't do that: I only know simple shapes, such as stars, circles and hearts, in eight colours."
)
UNKNOWN = "Sorry, I don't know that: I only know simple shapes, such as stars, circles and hearts, in eight colours."
NOTHING = "I have nothing to look at or to listen to yet: give me a picture, a sound or a film first."
UNTOLD = "I can't tell that from {x}."
UNCLEAR = "Sorry, I did not understand that. Ask me to draw, play or film a simple shape."

GREETINGS = ("hello", "hi", "hey", "good morning", "hi there", "hello there", "good day", "good evening")
# What plain talk may begin and end with; the answer is the same.
BEGINNINGS = (
    *("",) * 9,
    *(f"{word}, " for word in GREETINGS),
    "ok, ",
    "well, ",
    "so, ",
    "oh, ",
    "thanks, ",
    "please, ",
    "now, ",
    "one question: ",
)
ENDINGS = (*("",) * 9, " please", ", please", ", friend", " my friend", " then", " now", " again", " today", ", anygpt", ", dear", " for me", " so far", " to you", " all", " indeed")  # fmt: skip

TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (("hello", "hi", "hey", "good morning", "good evening", "hi there", "hello there", "greetings", "hey there", "good day", "howdy", "hello you",
      "good afternoon", "hello anygpt", "hi, are you there?", "yo", "nice to meet you", "hi anygpt", "welcome", "hello world", "i am here", "let's begin", "morning"), HELLO),
    (("what can you do?", "help", "what are you able to do?", "how can you help me?", "what do you do?", "show me what you can do", "what do you know?",
      "what can i ask you?", "what are your abilities?", "tell me what you can do", "how do you work?", "what should i ask?", "can you help me?",
      "what can you draw?", "what can you make?", "what media can you make?", "what can you give me?", "in what can you help?", "which things can you do?",
      "what are you made for?", "what are your skills?", "say what you can do", "i need help", "i don't know what to ask", "what is possible here?", "how may i use you?",
      "what are you there for?", "explain what you do", "which media do you make?"), ABLE),
    (("who are you?", "what are you?", "what is your name?", "are you a robot?", "are you a human?", "tell me about yourself", "introduce yourself",
      "what is anygpt?", "who made you?", "are you an ai?", "do you have a name?", "how are you called?", "what kind of machine are you?", "say who you are",
      "i'd like to know who you are", "do you think?", "are you a program?", "are you a person?", "what sort of model are you?", "which model are you?", "tell me your name",
      "whom am i talking to?", "are you alive?"), WHO),
    (("thanks", "thank you", "thank you very much", "great, thanks", "cheers", "thanks a lot", "that is great", "nice", "well done", "good job", "perfect",
      "very good", "lovely", "wonderful", "cool", "awesome", "i like it", "many thanks", "thank you a lot", "good", "excellent", "beautiful", "i love it", "that was good",
      "this is great", "you did well", "you are kind", "you are good", "i am happy with it", "nice work", "super", "how nice", "that helps", "well, that is fine work", "very kind of you"),
     "You are welcome!"),
    (("bye", "goodbye", "see you", "good night", "see you later", "that is all", "bye bye", "farewell", "see you soon", "see you next week", "until later", "i have to go", "i must leave", "have a nice day", "take care",
      "good night, sleep well", "i am going home", "we are done", "so long", "until next time", "that was all", "i am leaving"), "Goodbye!"),
    (("how are you?", "how do you do?", "how is it going?", "are you well?", "how do you feel?", "what's up?", "how are you today?", "is all well with you?", "how have you been?", "are you fine?",
      "how goes it?", "are you happy?", "how was your day?", "do you feel well?"),
     "I am well, thank you. What shall I draw, play or film for you?"),
    (("yes", "ok", "okay", "sure", "no", "no thanks", "maybe", "i see", "hmm", "alright", "fine", "nothing", "never mind", "all right", "not now", "yes please", "i don't know",
      "let me think", "wait", "one moment", "i am not sure", "as you like", "of course", "why not", "understood", "good to know", "ok then"),
     "All right. Tell me what to draw, play or film."),
)  # fmt: skip

NOUNS = tuple(
    """cat dog horse cow bird fish lion tiger elephant mouse rabbit snake frog bear wolf fox duck chicken pig sheep goat monkey whale shark bee spider ant
    butterfly dragon unicorn dinosaur penguin owl eagle turtle house castle tower bridge church school hospital city town village street garden forest
    mountain river lake ocean beach island desert sunset sunrise rainbow cloud storm snow rain lightning moon sun planet galaxy rocket spaceship car truck
    bus train bicycle motorcycle boat ship airplane helicopter tree flower rose grass leaf apple banana grape lemon strawberry pizza burger cake bread
    cheese sandwich soup coffee tea bottle glass cup plate spoon knife chair table bed sofa lamp window door book pen pencil computer phone keyboard camera
    clock watch umbrella hat shirt shoe dress sword shield crown lemur man woman child baby boy girl king queen soldier doctor teacher
    policeman robot ghost zombie witch wizard pirate ninja superhero alien monster face hand eye smile portrait landscape logo map flag guitar piano
    violin drum trumpet flute orchestra song symphony waterfall volcano skyscraper rainforest cube sphere pyramid cylinder cone hexagon pentagon octagon
    spiral line arrow letter number word trapezoid parallelogram ellipse oval crescent kite puppy kitten parrot zebra giraffe kangaroo panda koala""".split()
)
SOUNDS = (
    "a barking dog", "a cat", "rain", "thunder", "a car", "an engine", "the wind", "the sea", "a piano", "a guitar", "drums", "a violin", "applause",
    "a crying baby", "birds singing", "a siren", "a train", "footsteps", "a door closing", "someone talking", "a song", "jazz", "rock music", "a bell",
    "laughter", "a waterfall", "a lion", "music", "a symphony", "a rocket launch", "a telephone", "a voice", "breaking glass", "a helicopter",
)  # fmt: skip
SCENES = (
    "the Eiffel tower", "New York", "a busy street", "people dancing", "a football match", "a birthday party", "my family", "the president", "yourself",
    "a dog chasing a cat", "waves on a beach", "a man riding a horse", "a bowl of fruit", "the solar system", "two people talking", "a sunset over the sea",
    "a car driving", "a bird flying", "children playing", "a cat playing the piano", "a fireworks show", "a city at night", "snow falling", "a horse running",
)  # fmt: skip
OTHER_COLOURS = (
    "brown",
    "gold",
    "silver",
    "beige",
    "magenta",
    "teal",
    "maroon",
    "ivory",
    "bronze",
    "rainbow coloured",
    "transparent",
    "striped",
    "lime",
    "indigo",
)
ADJECTIVES = (
    "", "", "", *COLOURS, "small", "large", "big", "tiny", "beautiful", "old", "happy", "white", "black", "new", "broken", "sleeping", "wooden", "tall", "strange", "fast",
)  # fmt: skip
WHEREABOUTS = (
    *("",) * 6,
    " in a forest",
    " on a white background",
    " on the left",
    " in the rain",
    " at the top",
    " moving left",
    " on grey",
    " growing",
)
JOINTS = ("on", "with", "beside", "in", "near", "behind", "and", "above", "left of")
QUESTIONS = (
    "what is the capital of france?", "who won the world cup?", "what is two plus two?", "what time is it?", "what day is it today?",
    "what is the weather like?", "who is the president?", "write a poem", "tell me a joke", "tell me a story", "write some code", "write a python program",
    "translate this to german", "how do i cook rice?", "what is the meaning of life?", "solve this equation", "what is the speed of light?",
    "who wrote hamlet?", "recommend a film to watch", "what is machine learning?", "book a flight to rome", "give me the news", "how old is the universe?",
    "sort this list", "what is the square root of nine?", "who is einstein?", "explain quantum physics", "how tall is mount everest?", "play chess with me",
    "what is the stock price?", "write an email to my boss", "do you love me?", "what is the best phone?", "how many people live in china?",
    "summarise this article", "what is 7 times 8?", "why is the sky blue?", "open the door", "order a pizza", "call my mother", "what is love?",
    "where is berlin?", "when was the war?", "is there life on mars?", "how do airplanes fly?", "what should i eat today?", "tell me about history",
    "who are the beatles?", "what is a black hole?", "how do i learn english?", "what is your favourite book?", "send a message to john",
)  # fmt: skip
GOING = ("going", "sliding", "running", "drifting", "rolling", "flying", "creeping", "travelling")
MOVES = {
    "still": ("standing still", "still"),
    **{
        way: (f"moving {way}", f"going {way}", f"sliding {way}", *(f"{way}-{how}" for how in GOING))
        for way in ("left", "right", "up", "down")
    },
}
KINDS_OF_THING = {
    "still": ("still thing", "thing that stands still", "thing at rest"),
    **{
        way: (
            f"thing that moves {way}",
            f"{way}ward moving thing",
            f"thing moving {way}",
            f"{way} moving thing",
            f"thing on its way {way}",
            f"{way}-bound thing",
            *(f"{way}-{how} thing" for how in GOING),
        )
        for way in ("left", "right", "up", "down")
    },
}
CONTOUR_QUESTIONS = (
    "what does {x} sound like?", "what is the sound of {x}?", "how does {x} sound?", "what sound does {x} make?", "what is the contour of a thing that is {x}?",
    "if a thing is {x}, what does its sound do?", "which contour has the sound of something {x}?", "how does something {x} sound?", "what happens to the sound when a thing is {x}?",
    "what do i hear when a thing is {x}?", "tell me how {x} sounds", "something is {x}. how does that sound?", "what contour goes with {x}?", "how do things that are {x} sound?",
    "does the sound of a thing {x} rise or fall?", "describe the sound of {x}",
    "what does {a} sound like?", "how does {a} sound?", "what is the sound of {a}?", "the sound of {a}: what does it do?", "what contour has {a}?",
    "in which way does the sound of {a} go on?", "tell me what the sound of {a} is like", "does {a} have a steady sound?", "what do i hear from {a}?",
    "say what the sound of {a} does", "i have {a}. what is its sound?", "in what way does the sound of {a} vary?", "does the sound of {a} go up or down?", "what becomes of the sound of {a}?",
    "does the sound of {a} swell or fall, or stay as it is?", "which change is there in the sound of {a}?",
    "while something is {x}, how does it sound?", "what is to be heard while a thing is {x}?", "as long as a thing is {x}, what is its sound?", "how does the sound of something {x} go on?",
    "{a}: how does it sound?", "how does a sound go on while its thing is {x}?",
)  # fmt: skip


def pick(rng: Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def exchange(rng: Generator) -> tuple[str, str]:
    """A line of plain talk and its answer."""
    lines, reply = TALK[rng.integers(len(TALK)) if rng.random() < 0.8 else rng.integers(2)]
    return framed(rng, pick(rng, lines)), reply


def framed(rng: Generator, line: str) -> str:
    """A line of talk with something before or behind it that changes nothing: "hi, what can you do, please?"."""
    bare, mark = (line[:-1], "?") if line.endswith("?") else (line, "")
    return pick(rng, BEGINNINGS) + bare + pick(rng, ENDINGS) + mark


def nonsense(rng: Generator) -> str:
    """Random letters, with no meaning."""
    letters = (
        string.ascii_lowercase
        if rng.random() < 0.7
        else string.ascii_letters + string.digits + "!?#$%&*+-=/<>.,"
    )
    words = [
        "".join(letters[i] for i in rng.integers(len(letters), size=rng.integers(2, 9)))
        for _ in range(rng.integers(1, 5))
    ]
    return " ".join(words)


def unknown_word(rng: Generator) -> str:
    """A noun from outside, mostly a real one, else one made up, so that any unknown word is seen as such."""
    if rng.random() < 0.75:
        return pick(rng, NOUNS)
    consonants, vowels = "bcdfghjklmnpqrstvwz", "aeiou"
    return "".join(
        consonants[rng.integers(len(consonants))]
        + vowels[rng.integers(5)]
        + (consonants[rng.integers(len(consonants))] if rng.random() < 0.4 else "")
        for _ in range(rng.integers(2, 4))
    )


def outside(rng: Generator) -> tuple[str, str]:
    """A request or question that the toy world has no answer to."""
    form = rng.random()
    if form < 0.12:
        return nonsense(rng), UNCLEAR
    if form < 0.34:
        return pick(rng, QUESTIONS), UNKNOWN
    if form < 0.44:
        return pick(
            rng, ("what is {x}?", "tell me about {x}", "do you know {x}?", "explain {x}", "where is {x}?")
        ).format(x=f"a {unknown_word(rng)}"), UNKNOWN
    start = pick(rng, ("", "", "", "please ", "can you ", "could you ", "now "))
    if form < 0.56:
        sounds = (
            "play the sound of {x}",
            "play {x}",
            "make the sound of {x}",
            "let me hear {x}",
            "what does {x} sound like?",
            "i want to hear {x}",
            "generate the sound of {x}",
            "sing {x}",
        )
        what = pick(rng, SOUNDS) if rng.random() < 0.6 else f"a {unknown_word(rng)}"
        return start + pick(rng, sounds).format(x=what), UNABLE
    asks = (
        "draw {x}", "draw {x}", "draw me {x}", "paint {x}", "show me {x}", "make a picture of {x}", "create an image of {x}", "generate a picture of {x}",
        "a picture of {x}", "make a video of {x}", "a film of {x}", "film {x}", "animate {x}", "i want a picture of {x}", "generate a video of {x}",
        "what does {x} look like?", "give me an image of {x}", "sketch {x}", "show me a video of {x}", "i want to see {x}", "make {x}", "render {x}",
        "draw a picture of {x}", "create a video of {x}", "draw {x} please", "make an animation of {x}", "{x}",
    )  # fmt: skip
    return start + pick(rng, asks).format(x=outside_thing(rng)), UNABLE


def outside_thing(rng: Generator) -> str:
    """Something from outside that one might ask for: a scene, a shape in another colour, any noun with what may go with it."""
    form = rng.random()
    if form < 0.2:
        return pick(rng, SCENES)
    if form < 0.35:
        return f"a {pick(rng, OTHER_COLOURS)} {pick(rng, SHAPES)}"
    adjective, noun, place = pick(rng, ADJECTIVES), unknown_word(rng), pick(rng, WHEREABOUTS)
    if rng.random() < 0.2:
        place = f" {pick(rng, JOINTS)} {pick(rng, ('a', 'a', 'the', 'my'))} {unknown_word(rng)}"
    what = f"{adjective} {noun}".strip()
    if rng.random() < 0.15:
        return f"{pick(rng, ('', 'two ', 'some ', 'many '))}{what}s{place}"
    return pick(rng, (article(what), article(what), article(what), f"my {what}", f"the {what}")) + place


def knowledge(rng: Generator) -> tuple[str, str]:
    """Facts of the toy world that need no media."""
    colour, motion = pick(rng, tuple(COLOURS)), pick(rng, tuple(CONTOUR_OF_MOTION))
    moves = pick(rng, MOVES.get(motion, (motion,)))
    kind = article(pick(rng, KINDS_OF_THING.get(motion, (f"{motion} thing", f"thing that is {motion}"))))
    facts = (
        (("which colours do you know?", "what colours are there?", "list the colours", "what colors can you draw?", "which colours can you use?",
          "name the colours", "name all colours that you can use", "say which colours there are", "in what colours can you draw?", "let me know your colours", "how many colours do you know?"),
         f"I know eight colours: {', '.join(list(COLOURS)[:-1])} and {list(COLOURS)[-1]}."),
        (("which shapes do you know?", "what shapes are there?", "list the shapes", "what shapes can you draw?", "which shapes can you make?",
          "name the shapes", "name all shapes that you can draw", "say which shapes there are", "let me know your shapes", "how many shapes do you know?", "which shapes do you have?"),
         f"I know eight shapes: {', '.join(SHAPES[:-1])} and {SHAPES[-1]}."),
        (("which motions do you know?", "what can a thing do in a film?", "how can things move?", "list the motions", "name the motions", "say which motions there are",
          "in which ways can a thing move?", "how many motions do you know?", "which motions can you film?"),
         "A thing can stand still, move left, right, up or down, grow, shrink or blink."),
        ((f"how warm is {colour}?", f"what temperature is {colour}?", f"how hot is a {colour} thing?", f"how warm are {colour} things?",
          f"what temperature has something {colour}?", f"tell me how hot {colour} is", f"at what temperature are {colour} things?", f"how many degrees has a {colour} thing?",
          f"if a thing is {colour}, what is its temperature?", f"say how warm {colour} things are", f"the temperature of {colour}?"), f"It is at about {TEMPERATURES[colour]:g} degrees."),
        (tuple(way.format(x=moves, a=kind) for way in CONTOUR_QUESTIONS), f"The sound is {CONTOUR_OF_MOTION[motion]}."),
        (("how does a small thing sound?", "what pitch has a small thing?", "is a small thing high or low?", "how high is a small thing?", "how does a large thing sound?", "which pitch do large things have?",
          "does size change the sound?"), "A small thing sounds high, a large one low."),
    )  # fmt: skip
    questions, reply = facts[rng.integers(len(facts))]
    return framed(rng, pick(rng, questions)), reply
