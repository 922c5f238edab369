"""Messages → what the model reads: token ids, media tensors and, for training, labels.

The chat template never sees what a person wrote: every part goes in as a private mark and is put back
afterwards. So a template cannot be misled, text is tokenised such that special tokens typed in it are plain
letters, and media keep their place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import TemplateError
from torch import Tensor

from anygpt.config import AnyGPTConfig
from anygpt.marks import instruction, mark
from anygpt.messages import Conversation, MessageError, Part
from encoders import media as media_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from anygpt.own_senses import OwnSenses
    from encoders.encoder import Encoder

MEDIUM = -1  # stands in `Prompt.ids` where an input medium goes
IGNORE = -100  # a label that no loss looks at
UNLEARNED = "assistant of weight 0"  # the role of what the assistant says in such a message
MARK = re.compile("\ue000(\\d+)\ue001")  # private-use characters: no template writes them
BREAK = "\ue002"  # but this one: where a template has it, what follows is tokenised on its own
DEFAULT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@dataclass
class Medium:
    """An input medium on its way to the LLM.

    Attributes:
        modality: one of the model's inputs.
        tensor: what `Encoder.preprocess` returned, without batch dimension.
        features: (tokens, dim), set by `AnyGPT.encode`; kept, as the encoder is frozen.
    """

    modality: str
    tensor: Tensor
    features: Tensor | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal media: by it the cache knows a medium that it has seen."""
        return hashlib.sha256(self.modality.encode() + self.tensor.contiguous().numpy().tobytes()).hexdigest()


@dataclass
class Target:
    """A medium that the assistant answers with in a training example.

    Attributes:
        start: index in `Prompt.ids` of the first of its run of signal tokens.
        caption: the text whose embedding the conditioning should come near, or None.
        medium: the object itself (see `encoders.media`), or its decoder's latents (see `anygpt.precomputed`), or None.
    """

    modality: str
    start: int
    caption: str | None
    medium: Any | None


@dataclass
class Prompt:
    """One conversation as the model reads it.

    Attributes:
        ids: token ids, signal ids, and `MEDIUM` where each input medium goes.
        media: the input media, in order.
        labels: as long as `ids`: the assistant's content with the stop token after it, but for messages of weight 0;
            `IGNORE` elsewhere.
        targets: the assistant's media, in order.
        latest: how many of the input media came with the last message, which is to be answered.
        request: the text of that message.
    """

    ids: list[int] = field(default_factory=list)
    media: list[Medium] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    latest: int = 0
    request: str = ""

    def without(self, media: Collection[int]) -> Prompt:
        """The prompt to answer, with the media of these indices left out."""
        places = [place for place, token in enumerate(self.ids) if token == MEDIUM]
        gone = {places[index] for index in media}
        return Prompt(
            [token for place, token in enumerate(self.ids) if place not in gone],
            [medium for index, medium in enumerate(self.media) if index not in media],
            [label for place, label in enumerate(self.labels) if place not in gone],
            latest=self.latest - sum(index >= len(self.media) - self.latest for index in media),
            request=self.request,
        )


@dataclass
class _Segment:
    """A piece of the rendered conversation; a `tail` is what the template writes after an answer, up to the text
    that ends one. Tokenisation starts anew before a piece that is `fresh`."""

    text: str
    kind: Literal["template", "person", "assistant", "tail"]
    fresh: bool = False


class Processor:
    """Turns conversations into prompts.

    Args:
        tokenizer: the LLM's; its chat template is used, or a plain USER: … ASSISTANT: … where it has none.
        config: which modalities go in and out.
        signals: each output modality's run of signal tokens.
        stops: the token ids that end an answer.
        reader: gives what a modality's media go to, for its preprocessing (see `AnyGPT.reader`).
        stop_strings: the texts that end an answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: AnyGPTConfig,
        signals: Mapping[str, Sequence[int]],
        stops: Collection[int],
        reader: Callable[[str], Encoder | OwnSenses],
        stop_strings: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.signals = signals
        self.stops = stops
        self.reader = reader
        self.stop_strings = stop_strings
        self.special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}

    def __call__(self, conversation: Conversation, *, training: bool = False) -> Prompt:
        """Read a conversation as `anygpt.messages.normalise` returns it.

        Args:
            training: an example to learn from, which ends with the assistant's answer; otherwise the answer
                comes next.

        Raises:
            MessageError: a modality that the model lacks, or a conversation that its chat template rejects.
            MediaError: a file that is missing or cannot be used.
        """
        if not training and conversation[-1]["role"] != "user":
            raise MessageError(f"the last message must be the user's, not the {conversation[-1]['role']}'s")
        prompt = Prompt()
        stretch: list[_Segment] = []
        for entry in self._render(conversation, training):
            if isinstance(entry, _Segment):
                stretch.append(entry)
                continue
            role, part = entry
            self._add_text(prompt, stretch, training, before_run=role != "user")
            stretch = []
            if role == "user":
                self._add_medium(prompt, part)
            else:
                self._add_run(prompt, part, learned=training and role == "assistant")
        self._add_text(prompt, stretch, training)
        if not training:
            last = conversation[-1]["content"]
            prompt.latest = sum(part["type"] != "text" for part in last)
            prompt.request = " ".join(part["text"] for part in last if part["type"] == "text")
        return prompt

    def _render(self, conversation: Conversation, training: bool) -> list[_Segment | tuple[str, Part]]:
        """The conversation in the LLM's template, as text segments and media parts in order."""
        if self.config.captioned:
            conversation = self._instructed(conversation)
        parts = [
            (UNLEARNED if message.get("weight") == 0 else message["role"], part)
            for message in conversation
            for part in message["content"]
        ]
        ends = set(
            accumulate(len(message["content"]) for message in conversation)
        )  # a message ends before these
        marks = iter(range(len(parts)))
        marked = [
            {
                "role": message["role"],
                "content": "".join(f"\ue000{next(marks)}\ue001" for _ in message["content"]),
            }
            for message in conversation
        ]
        try:
            text = self._fill_template(marked, not training)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in conversation)
            raise MessageError(
                f"this LLM's chat template rejects a conversation of roles {roles}: {error}"
            ) from error
        pieces = MARK.split(text)  # template, mark, template, mark, …
        missing = sorted(set(range(len(parts))) - {int(mark) for mark in pieces[1::2]})
        if missing:
            role = parts[missing[0]][0]
            raise MessageError(
                f"this LLM's chat template leaves out a message of the {role}; it may not know that role"
            )
        result: list[_Segment | tuple[str, Part]] = []
        answered = False  # the assistant's message has just ended
        for index, piece in enumerate(pieces):
            if index % 2 == 0:
                result.extend(self._template(piece, answered))
                continue
            role, part = parts[int(piece)]
            answered = role == "assistant" and int(piece) + 1 in ends
            if part["type"] == "text":
                result.append(_Segment(part["text"], "assistant" if role == "assistant" else "person"))
            elif role == "user":
                result.extend(self._wrapped(role, part, result))
            elif part["type"] in self.config.captioned:
                result.append(_Segment(_marked(part), "assistant" if role == "assistant" else "person"))
            else:
                result.append((role, part))
        return result

    def _fill_template(self, messages: list[dict[str, str]], answer_next: bool) -> str:
        text = self.tokenizer.apply_chat_template(
            messages,
            chat_template=None if self.tokenizer.chat_template else DEFAULT_TEMPLATE,
            tokenize=False,
            add_generation_prompt=answer_next,
            enable_thinking=False,  # of LLMs that can, such as Qwen3: their thoughts would be read as the answer
        )
        return str(text)

    def _instructed(self, conversation: Conversation) -> Conversation:
        """The conversation with what the LLM must know to mark media, in the system's message or the first of the user's."""
        told: Part = {"type": "text", "text": instruction(self.config.captioned)}
        space: Part = {"type": "text", "text": "\n\n"}
        first, *rest = conversation
        if first["role"] == "system":
            return [{**first, "content": [*first["content"], space, told]}, *rest]
        if self._takes_system:
            return [{"role": "system", "content": [told]}, *conversation]
        return [{**first, "content": [told, space, *first["content"]]}, *rest]

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the LLM's template knows system messages; some refuse them, and some leave them out."""
        said = "\ue0000\ue001"
        messages = [{"role": "system", "content": said}, {"role": "user", "content": "hello"}]
        try:
            return said in self._fill_template(messages, True)
        except TemplateError:
            return False

    def _template(self, text: str, answered: bool) -> Iterator[_Segment]:
        """What the template wrote between two parts, as segments."""
        if answered:
            ends = [text.find(stop) + len(stop) for stop in self.stop_strings if stop in text]
            end = min(ends, default=len(text))
            yield _Segment(text[:end], "tail")
            text = text[end:]
        for index, piece in enumerate(text.split(BREAK)):
            if piece or index:
                yield _Segment(piece, "template", fresh=index > 0)

    def _wrapped(
        self, role: str, part: Part, so_far: list[_Segment | tuple[str, Part]]
    ) -> list[_Segment | tuple[str, Part]]:
        """A given medium with the texts around it; a break just before them goes, as a medium is one by itself."""
        entry = self.config.inputs.get(part["type"])
        before, after = entry.around if entry is not None else ("", "")
        if before and so_far and so_far[-1] == _Segment("", "template", fresh=True):
            so_far.pop()
        left = [_Segment(before, "template")] if before else []
        right = [_Segment(after, "template")] if after else []
        return [*left, (role, part), *right]

    def _add_text(
        self, prompt: Prompt, segments: list[_Segment], training: bool, before_run: bool = False
    ) -> None:
        """Append text between two media: ids, and labels for answers with the stop token after them."""
        if self.config.signals.strip:
            after_run = bool(prompt.ids) and prompt.ids[-1] in {run[-1] for run in self.signals.values()}
            _strip(segments, left=after_run, right=before_run)
        by_text = {  # tails that end with a text: all of it is to be learned
            index
            for index, segment in enumerate(segments)
            if segment.kind == "tail" and any(stop in segment.text for stop in self.stop_strings)
        }
        ended: set[int] = set()  # other tails whose stop token has come
        for token, touched in self._tokenise(segments):
            kinds = {segments[index].kind for index in touched}
            tails = {index for index in touched if segments[index].kind == "tail"} - ended
            prompt.ids.append(token)
            prompt.labels.append(token if "assistant" in kinds or tails else IGNORE)
            if token in self.stops:
                ended |= tails - by_text
        if training and any(
            s.kind == "tail" and index not in ended | by_text for index, s in enumerate(segments)
        ):
            raise MessageError(
                "this LLM's chat template writes no stop token after an answer, so the model could not learn "
                "to end one; let the template write eos_token there"
            )

    def _tokenise(self, segments: list[_Segment]) -> list[tuple[int, set[int]]]:
        """Token ids, each with the indices of the segments it covers."""
        starts = [index for index, segment in enumerate(segments) if index == 0 or segment.fresh]
        return [
            (token, {start + index for index in touched})
            for start, end in pairwise([*starts, len(segments)])
            for token, touched in self._tokenise_piece(segments[start:end])
        ]

    def _tokenise_piece(self, segments: list[_Segment]) -> list[tuple[int, set[int]]]:
        """As `_tokenise`, for segments without a break.

        All segments are tokenised as one text, so that words and spaces fall as the LLM knows them, unless
        that made a special token out of what a person wrote: then one by one, special tokens in people's
        text being letters.
        """
        if self.tokenizer.is_fast:
            owners = [index for index, segment in enumerate(segments) for _ in segment.text]
            text = "".join(segment.text for segment in segments)
            encoded = self.tokenizer(
                text,
                add_special_tokens=False,
                return_offsets_mapping=True,
            )
            ids, spans = encoded["input_ids"], encoded["offset_mapping"]
            trusted = {
                index for index, segment in enumerate(segments) if segment.kind in ("template", "tail")
            }
            # A special token may take along the white space around it, whoever wrote that.
            if all(
                token not in self.special
                or {owners[at] for at in range(*span) if not text[at].isspace()} <= trusted
                for token, span in zip(ids, spans, strict=True)
            ):
                return [(token, set(owners[slice(*span)])) for token, span in zip(ids, spans, strict=True)]
        return [
            (token, {index})
            for index, segment in enumerate(segments)
            for token in self.tokenizer(
                segment.text,
                add_special_tokens=False,
                split_special_tokens=segment.kind in ("person", "assistant"),
            )["input_ids"]
        ]

    def _add_medium(self, prompt: Prompt, part: Part) -> None:
        modality = part["type"]
        if modality not in self.config.inputs:
            accepted = ", ".join(self.config.inputs) or "text alone"
            raise MessageError(f"this model does not take {modality}; it takes {accepted}")
        prompt.ids.append(MEDIUM)
        prompt.labels.append(IGNORE)
        if "features" in part:  # computed before (see `anygpt.precomputed`)
            features = part["features"]
            prompt.media.append(Medium(modality, features.new_empty(0), features))
            return
        prompt.media.append(
            Medium(modality, self.reader(modality).preprocess(modality, load(part)[modality]))
        )

    def _add_run(self, prompt: Prompt, part: Part, learned: bool) -> None:
        """A run of signal tokens, which is a target where it is to be learned."""
        modality = part["type"]
        if modality not in self.signals:
            made = ", ".join(self.signals) or "text alone"
            raise MessageError(f"this model does not make {modality}; it makes {made}")
        run = self.signals[modality]
        if learned:
            medium = part["latents"] if "latents" in part else load(part).get(modality)
            prompt.targets.append(Target(modality, len(prompt.ids), part.get("caption"), medium))
        prompt.ids.extend(run)
        prompt.labels.extend(run if learned else [IGNORE] * len(run))


def _marked(part: Part) -> str:
    """An earlier answer's medium as the LLM wrote it."""
    modality = part["type"]
    if not part.get("caption"):
        raise MessageError(
            f"this model makes {modality} through captions, so {modality} in an earlier answer needs its 'caption'"
        )
    return mark(modality, part["caption"])


def _strip(segments: list[_Segment], left: bool, right: bool) -> None:
    """Take away the white space that segments begin with, or end in."""
    if left:
        for segment in segments:
            segment.text = segment.text.lstrip()
            if segment.text:
                break
    if right:
        for segment in reversed(segments):
            segment.text = segment.text.rstrip()
            if segment.text:
                break


def load(part: Part) -> Part:
    """The part with its medium read and checked: an object under the modality, and no `path`.

    Raises:
        MediaError: a file that is missing, or a medium that cannot be used.
    """
    modality = part["type"]
    medium = part.get("path", part.get(modality))
    if modality == "text" or medium is None:
        return part
    kept = {key: value for key, value in part.items() if key != "path"}
    return {**kept, modality: media_files.load(modality, medium)}
