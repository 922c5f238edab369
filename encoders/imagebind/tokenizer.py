"""Text to ImageBind's token ids: the reference's cleaning, then CLIP's byte-pair encoding."""

from __future__ import annotations

import gzip
import html
from functools import lru_cache
from pathlib import Path

import ftfy
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor

TOKENIZER = "tokenizer.json"
START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's published merges, from open_clip (MIT licence, beside the file).
CLIP_MERGES = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
CLIP_VOCAB_SIZE = 49_408
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
END_OF_WORD = "</w>"


class ImageBindTokenizer:
    """Texts → ids: start token, at most `context_length - 2` ids, end token, zeros.

    The model reads a text at its largest id, so the end token must be the last of the vocabulary.

    Args:
        tokenizer: any tokenizer that has the tokens `<|startoftext|>` and `<|endoftext|>`.
        context_length: ids per text.
    Raises:
        ValueError: the tokenizer lacks these two, or its end token is not its largest id.
    """

    def __init__(self, tokenizer: Tokenizer, context_length: int = 77) -> None:
        start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
        if start is None or end != tokenizer.get_vocab_size() - 1:
            raise ValueError(f"an ImageBind tokenizer needs {START}, and {END} as the largest id")
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.start, self.end = start, end

    def __call__(self, text: str) -> Tensor:
        """One text → int64 ids (context_length,)."""
        ids = self.tokenizer.encode(clean(text), add_special_tokens=False).ids
        row = torch.zeros(self.context_length, dtype=torch.long)
        ids = [self.start, *ids[: self.context_length - 2], self.end]
        row[: len(ids)] = torch.tensor(ids)
        return row

    @classmethod
    def from_folder(cls, folder: Path, vocab_size: int, context_length: int) -> ImageBindTokenizer:
        """The checkpoint's own `tokenizer.json`, or CLIP's vocabulary where there is none.

        Raises:
            ValueError: the tokenizer's vocabulary is not the model's.
        """
        file = folder / TOKENIZER
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else clip_tokenizer()
        if tokenizer.get_vocab_size() != vocab_size:
            raise ValueError(
                f"the model in {folder} knows {vocab_size} tokens, its tokenizer "
                f"{tokenizer.get_vocab_size()}; its own {TOKENIZER} must lie beside it"
            )
        return cls(tokenizer, context_length)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`."""
        self.tokenizer.save(str(folder / TOKENIZER))


def clean(text: str) -> str:
    """Mended Unicode, HTML entities read (twice, for `&amp;amp;`), single spaces, lower case."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def byte_alphabet() -> list[str]:
    """The printable characters that stand for bytes in a byte-level vocabulary, in CLIP's order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + index) for index in range(others)]


@lru_cache(maxsize=1)
def clip_tokenizer() -> Tokenizer:
    """CLIP's tokenizer of 49,408 tokens."""
    alphabet = byte_alphabet()
    count = CLIP_VOCAB_SIZE - 2 * len(alphabet) - 2
    lines = gzip.decompress(CLIP_MERGES.read_bytes()).decode().split("\n")[1 : count + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    tokens = [*alphabet, *(char + END_OF_WORD for char in alphabet), *map("".join, merges), START, END]
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=END_OF_WORD))
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    tokenizer.add_special_tokens([START, END])
    return tokenizer
