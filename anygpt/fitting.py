"""Fitting a model into the memory at hand: where its parts wait, and in how few bits they are kept.

    AnyGPT.from_pretrained("anygpt-small", device="cuda", dtype=torch.bfloat16, fitting=Fitting(offload="cpu", quantization="nf4"))

All of it is done by accelerate, transformers, diffusers and bitsandbytes; here is only which of their ways goes with which part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from anygpt.config import ConfigError, unknown

if TYPE_CHECKING:
    import torch
    from torch import nn

    from anygpt.model import AnyGPT
    from decoders.diffusion import Decoder

Offload = Literal["cpu", "disk"]
Quantization = Literal["int8", "nf4"]
DTYPES = ("float32", "bfloat16", "float16")
# the networks of a pipeline that are worth fewer bits; a VAE is small and loses most by it
QUANTIZED = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")


class FittingError(ConfigError):
    """A way to fit a model that this machine, or the model, has not; the message says what would do."""


@dataclass(frozen=True)
class Fitting:
    """How a model is fitted into memory. Nothing given: all parts lie on the device, as they are.

    Attributes:
        device_map: where the LLM's layers go, as transformers takes it: "auto" fills the GPUs, then the CPU, then the disk.
        offload: where parts wait that are not at work: on the "cpu" (LLM, encoders, and a decoder's networks take turns on the
            GPU) or on "disk" (every layer is read when it is run: slow, and works without a GPU as well). The LLM itself
            goes by `device_map` where one is given.
        quantization: weights of the LLM, and on a GPU of the decoders' denoisers and text encoders, in 8 bits ("int8") or 4
            ("nf4"), by bitsandbytes; diffusers does not do it on a CPU.
        vae_tiling: decoders make their media piece by piece: less memory for large ones, and the edges of pieces may show.
        offload_folder: where what is offloaded to disk goes; None takes a temporary folder.
    """

    device_map: str | dict[str, Any] | None = None
    offload: Offload | None = None
    quantization: Quantization | None = None
    vae_tiling: bool = False
    offload_folder: str | None = None

    def __post_init__(self) -> None:
        for name, kinds in (("offload", Offload), ("quantization", Quantization)):
            value = getattr(self, name)
            if value is not None and value not in (known := get_args(kinds)):
                raise FittingError(f"{name}: {unknown('way', value, known)}")
        if self.quantization and self.offload == "disk":
            raise FittingError("quantized weights cannot be offloaded to disk; offload='cpu' goes with them")

    def check(self, device: torch.device) -> None:
        """Make sure that this machine can do it.

        Raises:
            FittingError: saying what is missing, and what would do instead.
        """
        import torch

        if device.type == "cuda" and not torch.cuda.is_available():
            raise FittingError(
                f"device {str(device)!r}: torch {torch.__version__} finds no GPU here; leave the device out to run on the CPU, "
                "or install a torch that was built for your GPU and its driver"
            )
        if self.offload == "cpu" and device.type == "cpu":
            raise FittingError(
                "offload='cpu' keeps on the CPU what is not at work on a GPU, so it needs device='cuda'; without a GPU, "
                "offload='disk' takes less memory"
            )
        if self.quantization and find_spec("bitsandbytes") is None:
            raise FittingError(
                f"quantization={self.quantization!r} is done by bitsandbytes: pip install bitsandbytes"
            )

    @property
    def takes_turns(self) -> bool:
        """Whether LLM and decoders are never on the device together."""
        return self.offload == "cpu"

    def llm_arguments(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """What transformers' `from_pretrained` is given for the LLM."""
        given: dict[str, Any] = {}
        if self.device_map is not None:
            given["device_map"] = self.device_map
            given["offload_folder"] = self._folder("llm")
        if self.quantization:
            from transformers import BitsAndBytesConfig

            given["quantization_config"] = BitsAndBytesConfig(**self._bits(dtype))
            given.setdefault("device_map", {"": device})
        return given

    def pipeline_arguments(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """What diffusers' `from_pretrained` is given for a decoder."""
        if not self.quantization or device.type == "cpu":
            return {}
        from diffusers import PipelineQuantizationConfig

        backend = {"int8": "bitsandbytes_8bit", "nf4": "bitsandbytes_4bit"}[self.quantization]
        config = PipelineQuantizationConfig(
            quant_backend=backend, quant_kwargs=self._bits(dtype), components_to_quantize=list(QUANTIZED)
        )
        return {"quantization_config": config}

    def place(self, model: AnyGPT, device: torch.device, dtype: torch.dtype) -> None:
        """Bring a loaded model to where it works."""
        if self.device_map is None and not self.quantization and self.offload is None:
            model.to(device, dtype)
            return
        for name, part in model.named_children():
            if name != "llm":
                part.to(device, dtype)
        for name, encoder in model._encoders.items():  # those that had to be asked for a size
            self.place_encoder(encoder, name, device)
        for decoder in model._decoders.values():
            self.place_decoder(decoder, device)
        if self.device_map is not None:
            return
        if self.offload == "disk":
            model.llm.to(dtype)
            self._to_disk(model.llm, "llm", device)
        elif self.offload == "cpu":
            from accelerate import cpu_offload_with_hook

            # the embeddings are looked up before the rest is run, so they come by themselves
            cpu_offload_with_hook(model.llm.get_input_embeddings(), device)
            _, model.llm_hook = cpu_offload_with_hook(model.llm, device)
        else:
            assert self.quantization, "transformers has put the quantized LLM on its device"

    def place_encoder(self, encoder: nn.Module, name: str, device: torch.device) -> None:
        """Bring a loaded encoder to where it waits; `offload="cpu"` needs nothing, as it is loaded there."""
        if self.offload == "disk":
            self._to_disk(encoder, f"encoder-{name.replace('/', '-')}", device)
        elif self.offload is None:
            encoder.to(device)

    def place_decoder(self, decoder: Decoder, device: torch.device) -> None:
        """Bring a loaded decoder to where it works, or where its networks wait for their turn."""
        if self.vae_tiling:
            decoder.tile()
        if self.offload == "cpu":
            decoder.pipeline.enable_model_cpu_offload(device=device)
        elif self.offload == "disk":
            for name, part in decoder.modules.items():
                self._to_disk(part, f"{decoder.modality}-{name}", device)
        else:
            decoder.to(device)

    def _to_disk(self, part: nn.Module, name: str, device: torch.device) -> None:
        from accelerate import disk_offload

        if next(part.parameters(), None) is not None:  # a vocoder may be calculation alone
            disk_offload(part, self._folder(name), execution_device=device)

    def _folder(self, name: str) -> str:
        """A new folder for a part's weights: those that another run left might be another model's."""
        if self.offload_folder is not None:
            Path(self.offload_folder).mkdir(parents=True, exist_ok=True)
        # the files are read for as long as the process lives; the folder goes with it
        folder = tempfile.TemporaryDirectory(prefix=f"anygpt-{name}-", dir=self.offload_folder)
        _folders.append(folder)
        return folder.name

    def _bits(self, dtype: torch.dtype) -> dict[str, Any]:
        if self.quantization == "int8":
            return {"load_in_8bit": True}
        return {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}


_folders: list[tempfile.TemporaryDirectory[str]] = []


def read_loading(given: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` as the command line gives them → keywords of `AnyGPT.from_pretrained`.

    Raises:
        FittingError: a key or a value that is not known.
    """
    names = {item.name for item in fields(Fitting)}
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in (known := ["device", "dtype", *sorted(names)]):
            raise FittingError(f"--load {text}: {unknown('key', name, known)}")
        if not value:
            raise FittingError(f"--load {text}: a value is missing, as in {name}=…")
        values[name] = value
    if (dtype := values.get("dtype", DTYPES[0])) not in DTYPES:
        raise FittingError(f"--load dtype={dtype}: {unknown('number format', dtype, DTYPES)}")
    if "vae_tiling" in values:
        if (flag := values["vae_tiling"].lower()) not in ("true", "false"):
            raise FittingError(f"--load vae_tiling={flag}: true or false")
        values["vae_tiling"] = flag == "true"
    loading: dict[str, Any] = {name: value for name, value in values.items() if name not in names}
    loading["fitting"] = Fitting(**{name: value for name, value in values.items() if name in names})
    return loading
