"""The ways in, through the whole model: who sees whom, caches, batches, gates, save and load."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import torch
from PIL import Image
from safetensors import safe_open

from anygpt.config import AdapterConfig, AnyGPTConfig, ConfigError, CrossAttentionConfig, InputConfig
from anygpt.messages import normalise
from anygpt.model import AnyGPT
from anygpt.options import Options
from anygpt.processor import MEDIUM, Prompt
from anygpt.thinking import Memory, think

Q_FORMER = AdapterConfig("q-former", queries=5, hidden_size=16, num_layers=2, num_heads=2, feedforward=24)
PERCEIVER = AdapterConfig("perceiver", queries=4, num_layers=1, num_heads=1)
WAYS = {
    "linear": (AdapterConfig("linear"), {}),
    "q-former": (Q_FORMER, {}),
    "perceiver and cross-attention": (
        PERCEIVER,
        {"cross_attention": CrossAttentionConfig(every=1, num_heads=1)},
    ),
    "cross-attention to all": (PERCEIVER, {"cross_attention": CrossAttentionConfig(1, "all", 1)}),
    "bidirectional": (AdapterConfig("mlp"), {"media_attention": "bidirectional"}),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
PICTURES = [{"type": "image", "image": Image.fromarray(pixels)} for pixels in PIXELS]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an LLM and an encoder; these models make no media."""
    folder = tmp_path_factory.mktemp("parts")
    tiny_model.build_llm(folder / "llm")
    tiny_model.build_imagebind(folder / "imagebind")
    return folder


def build(folder: Path, way: str, attention: str = "sdpa", stirred: bool = True) -> AnyGPT:
    """A model on the parts in `folder`; `stirred` opens gates and moves fresh weights."""
    adapter, settings = WAYS[way]
    config = AnyGPTConfig("llm", {"image": InputConfig("imagebind", "patches", adapter)}, **settings)
    torch.manual_seed(0)
    model = AnyGPT.from_config(config, folder)
    model.llm.set_attn_implementation(attention)
    if stirred:
        with torch.no_grad():
            for parameter in model.trainable_parts()["adapters"].parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def user(*content: object) -> list[dict]:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": c} if isinstance(c, str) else c for c in content],
        }
    ]


CONVERSATIONS = [
    user(PICTURES[0], "what is this?"),
    user("two: ", PICTURES[1], PICTURES[2], " which one is a red circle, please?"),
    user("hello"),
    user("one ", PICTURES[0], "and ", PICTURES[1], "play"),
]


def read(model: AnyGPT, conversation: list[dict]) -> Prompt:
    return model.processor(normalise(conversation))


def greedy(model: AnyGPT, prompt: Prompt, count: int) -> list[int]:
    """Greedy decoding without a cache: everything is read anew for each token."""
    ids, chosen = list(prompt.ids), []
    for _ in range(count):
        whole = Prompt(ids, prompt.media, [-100] * len(ids))
        chosen.append(int(model([whole]).logits[0, -1, : model.signals.base].argmax()))
        ids.append(chosen[-1])
    return chosen


def cached(model: AnyGPT, prompt: Prompt, count: int) -> list[int]:
    """The first `count` tokens of an answer; the last one of an answer is not read again, so it has one more."""
    memory = Memory(model)
    for _ in think(model, [prompt], Options(max_new_tokens=count + 1), memory):
        pass
    return [key for key, _ in memory.entries][len(prompt.ids) :]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_cached_decoding_and_batches_equal_what_is_read_whole(parts: Path, way: str, attention: str) -> None:
    model = build(parts, way, attention)
    model.stops = set()
    prompts = [read(model, conversation) for conversation in CONVERSATIONS]
    for prompt in prompts[:2]:
        assert cached(model, prompt, 8) == greedy(model, prompt, 8)
    # in training: padded on the right
    together = model(prompts)
    alone = [model([prompt]).logits[0] for prompt in prompts]
    for row, logits in enumerate(alone):
        assert torch.allclose(together.logits[row, : len(logits)], logits, atol=1e-4)
    # in decoding: padded on the left, and rows that end
    answers = model.chat(CONVERSATIONS, max_new_tokens=8)
    assert [a.text for a in answers] == [model.chat(c, max_new_tokens=8).text for c in CONVERSATIONS]
    # a conversation that goes on from the cache, with another picture
    session = model.session()
    first = session.chat(CONVERSATIONS[1][0]["content"], max_new_tokens=4)
    second = session.chat(CONVERSATIONS[0][0]["content"], max_new_tokens=8)
    whole = [*CONVERSATIONS[1], first.message, *CONVERSATIONS[0]]
    assert session.memory.fed < 2 * sum(slots for _, slots in session.memory.entries)
    assert second.text == model.chat(whole, max_new_tokens=8).text
    # media are read at all
    other = read(model, user(PICTURES[1], "what is this?"))
    assert not torch.allclose(model([other]).logits[0, -1], alone[0][-1], atol=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_bidirectional_media_see_themselves_and_no_later_text(parts: Path, attention: str) -> None:
    model = build(parts, "bidirectional", attention)
    prompt = read(model, CONVERSATIONS[1])
    pictures = [model.adapt([medium])[0] for medium in prompt.media]
    size = len(pictures[0])

    def states(first: torch.Tensor, second: torch.Tensor, ids: list[int]) -> torch.Tensor:
        memory = Memory(model)
        places = [place for place, token in enumerate(ids) if token == MEDIUM]
        found = dict(zip(places, (first, second), strict=True))
        return memory.feed([model.embed(ids, [first, second])], ids, [found])[1][0]

    ids = prompt.ids
    start = ids.index(MEDIUM)
    plain = states(*pictures, ids)

    def changed(other: torch.Tensor) -> list[bool]:
        return (~torch.isclose(plain, other, atol=1e-5).all(-1)).tolist()

    end = start + size  # of the first picture
    assert start > 3
    assert ids.index(MEDIUM, start + 1) == start + 1  # the two are neighbours
    # the last token of the first picture: all of that picture and what comes after, nothing before
    moved = pictures[0].clone()
    moved[-1] += 1
    seen = changed(states(moved, pictures[1], ids))
    assert not any(seen[:start]) and all(seen[start:])
    # the last token of the second: not the first picture
    moved = pictures[1].clone()
    moved[-1] += 1
    seen = changed(states(pictures[0], moved, ids))
    assert not any(seen[:end]) and all(seen[end:])
    # a later text token: nothing before it
    place = len(ids) - 4
    later = [*ids[:place], 7 if ids[place] != 7 else 8, *ids[place + 1 :]]
    seen = changed(states(*pictures, later))
    slot = place + 2 * (size - 1)
    assert not any(seen[:slot]) and all(seen[slot:])


@pytest.mark.parametrize("looks_at", ["last", "all"])
@torch.no_grad()
def test_text_looks_at_the_last_medium_or_at_all_before_it(parts: Path, looks_at: str) -> None:
    way = "perceiver and cross-attention" if looks_at == "last" else "cross-attention to all"
    model = build(parts, way)
    cross = model.cross_attention
    assert cross is not None
    prompt = read(model, CONVERSATIONS[3])
    a, b = prompt.ids.index(MEDIUM), len(prompt.ids) - 1 - prompt.ids[::-1].index(MEDIUM)
    blocks = torch.full((1, len(prompt.ids)), -1)
    blocks[0, a], blocks[0, b] = 0, 1
    seen = []
    hook = cross.layers[0].register_forward_hook(lambda module, args, output: seen.append(args[2]))
    model([prompt])
    hook.remove()
    mask = seen[0][0]
    assert mask.shape == (len(prompt.ids), 8)  # two pictures of four latents
    assert not mask[:a].any()  # before the first picture there is nothing
    assert mask[a:b, :4].all() and not mask[a:b, 4:].any()
    assert mask[b:, 4:].all() and bool(mask[b:, :4].any()) == bool(mask[b:, :4].all()) == (looks_at == "all")
    # text before the first picture does not depend on it
    other = read(model, user("one ", PICTURES[2], "and ", PICTURES[1], "play"))
    first, second = model([prompt]).hidden[0], model([other]).hidden[0]
    same = torch.isclose(first, second, atol=1e-5).all(-1)
    assert same[:a].all() and not same[a:b].any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_a_shut_gate_leaves_the_llm_as_it_is_bit_for_bit(parts: Path, attention: str) -> None:
    plain = AnyGPT.from_config(AnyGPTConfig("llm"), parts).llm
    plain.set_attn_implementation(attention)
    model = build(parts, "perceiver and cross-attention", attention, stirred=False)
    for conversation in CONVERSATIONS:
        prompt = read(model, conversation)
        embeddings = torch.cat(model.embed(prompt.ids, model.adapt(prompt.media)))[None]
        wanted = plain(inputs_embeds=embeddings, attention_mask=torch.ones(embeddings.shape[:2])).logits
        assert torch.equal(model([prompt]).logits[..., : model.signals.base], wanted)
    text = read(model, user("hello"))
    assert torch.equal(
        model([text]).logits[..., : model.signals.base], plain(torch.tensor([text.ids])).logits
    )
    # and it can open: only what trains gets a gradient
    assert model.cross_attention is not None
    for gate in (
        model.cross_attention.layers[0].attention_gate,
        model.cross_attention.layers[0].feedforward_gate,
    ):
        gate.fill_(0.5)
    with torch.enable_grad():
        model.train()
        prompts = [
            model.processor(normalise([*c, {"role": "assistant", "content": "one"}]), training=True)
            for c in CONVERSATIONS
        ]
        model(prompts).loss.backward()
    assert all(p.grad is None for p in model.llm.parameters())
    named = dict(model.trainable_parts()["adapters"].named_parameters())
    assert all(p.grad is not None for p in named.values())
    assert all(p.grad.any() for name, p in named.items() if "1.layers.0" in name or "tag" in name)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("GPT2", {"n_embd": 32, "n_layer": 4, "n_head": 2, "vocab_size": 50}),
        (
            "OPT",
            {
                "hidden_size": 32,
                "ffn_dim": 48,
                "num_hidden_layers": 4,
                "num_attention_heads": 2,
                "vocab_size": 50,
                "word_embed_proj_dim": 32,
            },
        ),
        (
            "Qwen3",
            {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 4,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "vocab_size": 50,
            },
        ),
        (
            "GPTNeoX",
            {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 4,
                "num_attention_heads": 2,
                "vocab_size": 50,
            },
        ),
    ],
)
@torch.no_grad()
def test_gated_layers_go_into_any_llm(architecture: str, settings: dict) -> None:
    import transformers

    from anygpt.cross_attention import CrossAttention

    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**settings)
    llm = transformers.AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(50, (1, 9))
    plain = llm(ids).logits
    cross = CrossAttention(CrossAttentionConfig(every=2, num_heads=1), llm, 32)
    assert len(cross.layers) == 2
    media, blocks = [[torch.randn(3, 32)]], torch.tensor([[-1] * 4 + [0] + [-1] * 4])
    with cross.looking(media, blocks, 9):
        assert torch.equal(llm(ids).logits, plain)
        for layer in cross.layers:
            layer.attention_gate.fill_(1)
        moved = (llm(ids).logits - plain).abs().amax(-1)[0]
        assert (moved[:4] < 1e-5).all() and (moved[4:] > 1e-5).all()
    assert torch.equal(llm(ids).logits, plain)
    with pytest.raises(ConfigError, match="every is 9"):
        CrossAttention(CrossAttentionConfig(every=9), llm, 32)


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_save_and_load_give_equal_outputs(parts: Path, tmp_path: Path, way: str) -> None:
    model = build(parts, way)
    model.save_pretrained(tmp_path / "copy")
    again = AnyGPT.from_pretrained(tmp_path / "copy")
    for key in ("media_attention", "cross_attention"):
        assert getattr(again.config, key) == getattr(model.config, key)
    assert again.config.inputs["image"].adapter == model.config.inputs["image"].adapter
    prompts = [read(model, conversation) for conversation in CONVERSATIONS]
    assert torch.equal(model(prompts).logits, again(prompts).logits)
    with safe_open(tmp_path / "copy" / "model.safetensors", "pt") as file:
        saved = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    crossing = {"cross_attention"} if model.cross_attention is not None else set()
    assert saved == {"adapters", "signals"} | crossing
    assert ("cross_attention" in model.info()) == bool(crossing)
    again.add_lora(r=2)
    assert torch.equal(model(prompts).logits, again(prompts).logits)


def test_ways_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="no media tokens"):
        AnyGPTConfig("llm", media_attention="bidirectional", cross_attention=CrossAttentionConfig())
    with pytest.raises(ConfigError, match="did you mean 'causal'"):
        AnyGPTConfig.from_dict({"llm": "x", "media_attention": "casual"})
    with pytest.raises(ConfigError, match=r"looks_at.*'first'.*'last', 'all'"):
        AnyGPTConfig.from_dict({"llm": "x", "cross_attention": {"looks_at": "first"}})
    with pytest.raises(ConfigError, match=r"adapter\.queries must be at least 1"):
        AnyGPTConfig("llm", {"image": InputConfig("e", adapter=AdapterConfig("perceiver", queries=0))})
    for adapter, settings in WAYS.values():
        config = AnyGPTConfig("llm", {"image": InputConfig("e", adapter=adapter)}, **settings)
        assert AnyGPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
