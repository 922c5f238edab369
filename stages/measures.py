"""What the model answers, without making media: for a stage's figures before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch.utils.data import Dataset

from anygpt.data.skipped import Skipped
from anygpt.messages import Conversation, Message
from anygpt.model import AnyGPT
from anygpt.options import Options
from anygpt.thinking import think
from stages.data import questions_of


@dataclass
class Answer:
    """An answer's text and the modalities of its media, beside those that were wanted."""

    question: Message
    wanted: Message
    text: str = ""
    media: list[str] = field(default_factory=list)

    @property
    def right_text(self) -> bool:
        """Whether the text is just what it should be."""
        wanted = "".join(part["text"] for part in self.wanted["content"] if part["type"] == "text")
        return self.text.strip() == wanted.strip()

    @property
    def right_media(self) -> bool:
        """Whether the media are of the right modalities, in any order."""
        return Counter(self.media) == Counter(
            p["type"] for p in self.wanted["content"] if p["type"] != "text"
        )


def answers(
    model: AnyGPT, examples: Dataset[Conversation], skipped: Skipped | None = None, *, batch_size: int = 32
) -> list[Answer]:
    """The model's greedy answers to the examples' last messages; see `questions_of`."""
    questions = sorted(questions_of(examples, model.processor, skipped), key=lambda entry: len(entry[0].ids))
    found: list[Answer] = []
    for first in range(0, len(questions), batch_size):
        batch = questions[first : first + batch_size]
        row_answers = [Answer(conversation[-2], conversation[-1]) for _, conversation in batch]
        for row, news in think(model, [prompt for prompt, _ in batch], Options(max_new_tokens=64)):
            if isinstance(news, str):
                row_answers[row].text += news
            else:
                row_answers[row].media.append(news.modality)
        found += row_answers
    return found


def share(values: Sequence[bool]) -> float:
    """The share of true ones."""
    return sum(values) / max(len(values), 1)
