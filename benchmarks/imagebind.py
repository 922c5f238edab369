"""How fast ImageBind is at its published width, against the processor's own pace and against torch's attention module.

    python -m benchmarks.imagebind [--blocks 4] [--turns 3] [--batch 8] [MODALITY …]

Weights are random, float32. The pace is that of one matrix product of the trunk's own size, the first of its feed-forward; a
trunk's rate is the share of it that all its products reach, attention's too, while norms, activations and what is added up cost
time and count for nothing. Seconds are of one core's work, so that other processes hardly count. The other trunk has the same weights in blocks as ImageBind's own code builds them: around
`nn.MultiheadAttention` with `add_bias_kv`, tokens first. All take turns, so that what else the machine does hits them alike; the
medians of the turns' ratios count. All blocks of a trunk are alike, so a few of them stand for all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from encoders.imagebind.configuration import MODALITIES, ImageBindConfig
from encoders.imagebind.trunk import Block, Trunk

SHARE = 0.8  # of the matrix product's rate, at least
ALIKE = 1e-4  # the most that outputs may differ, of the largest value
TOKENS = {"vision": 257, "text": 77, "audio": 229, "depth": 197, "thermal": 197, "imu": 251}


class Figures(NamedTuple):
    """Of one trunk: operations at the published number of blocks, operations a second of the product, the trunk's share of
    these, its time as a share of the other trunk's, and the largest difference of the outputs."""

    work: float
    pace: float
    share: float
    ratio: float
    difference: float

    def row(self, name: str) -> str:
        """A row of the table."""
        return f"| {name} | {self.pace / 1e9:.1f} | {self.share:.0%} | {self.ratio:.2f} | {self.difference:.0e} |"


def together(parts: list[Figures]) -> Figures:
    """All trunks, one after the other."""
    ideal = sum(part.work / part.pace for part in parts)
    own = sum(part.work / part.pace / part.share for part in parts)
    other = sum(part.work / part.pace / part.share / part.ratio for part in parts)
    work = sum(part.work for part in parts)
    return Figures(work, work / ideal, ideal / own, own / other, max(part.difference for part in parts))


class PlainBlock(nn.Module):
    """A block around torch's own attention, (tokens, B, width) → the same shape."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        ours = block.attn
        self.attention = nn.MultiheadAttention(width, ours.heads, add_bias_kv=ours.bias_k is not None)
        self.attention.load_state_dict(ours.state_dict())
        self.norm_1, self.norm_2, self.mlp = block.norm_1, block.norm_2, block.mlp

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        read = self.norm_1(x)
        x = x + self.attention(read, read, read, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.norm_2(x))


class PlainTrunk(nn.Module):
    """The same function as the trunk given, (B, tokens, width) → the same shape."""

    def __init__(self, trunk: Trunk, width: int) -> None:
        super().__init__()
        self.norm = trunk.pre_transformer_layer
        self.blocks = nn.ModuleList(
            PlainBlock(block, width) for block in trunk.blocks if isinstance(block, Block)
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm(x).transpose(0, 1)
        for block in self.blocks:
            x = block(x, mask)
        return x.transpose(0, 1)


def seconds(run: Callable[[], Tensor]) -> float:
    """Of one core's work, in one call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def products(run: Callable[[], Tensor]) -> int:
    """The floating-point operations of a call's matrix products."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@torch.no_grad()
def measure(modality: str, blocks: int, batch: int, turns: int) -> Figures:
    """A trunk of so many blocks, against the product and the other trunk in turn."""
    torch.manual_seed(0)
    huge = ImageBindConfig.huge()
    config = ImageBindConfig.from_dict(huge.to_dict() | {f"{modality}_num_blocks": blocks})
    width, tokens = config.embed_dim(modality), TOKENS[modality]
    ours = Trunk(config, modality).eval()
    plain = PlainTrunk(ours, width).eval()
    read = torch.randn(batch, tokens, width)
    mask = torch.full((tokens, tokens), -torch.inf).triu(1) if modality == "text" else None
    rows, weight = read.flatten(0, 1), torch.randn(width, 4 * width)
    made, wanted = ours(read, mask), plain(read, mask)
    difference = float((made - wanted).abs().max() / wanted.abs().max())
    work, one = products(lambda: ours(read, mask)), products(lambda: rows @ weight)
    paces, shares, ratios = list[float](), list[float](), list[float]()
    for _ in range(turns):
        before = [seconds(lambda: rows @ weight) for _ in range(blocks)]
        own = seconds(lambda: ours(read, mask))
        after = [seconds(lambda: rows @ weight) for _ in range(blocks)]
        other = seconds(lambda: plain(read, mask))
        pace = one / median([*before, *after])
        paces.append(pace)
        shares.append(work / own / pace)
        ratios.append(own / other)
    whole = work * huge.num_blocks(modality) / blocks
    return Figures(whole, median(paces), median(shares), median(ratios), difference)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("modalities", nargs="*", metavar="MODALITY", choices=[[], *MODALITIES], default=[])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"| trunk | product, GFLOP/s | share of it (at least {SHARE:.0%}) | time of nn.MultiheadAttention's (at most 1) | "
        f"difference (at most {ALIKE:.0e}) |\n| --- | ---: | ---: | ---: | ---: |"
    )
    measured = []
    for modality in given.modalities or MODALITIES:
        measured.append(measure(modality, given.blocks, given.batch, given.turns))
        print(measured[-1].row(modality), flush=True)
    print(together(measured).row("all of these, at their published depth"))


if __name__ == "__main__":
    main()
