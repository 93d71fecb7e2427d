"""The one place that picks the device, and says why."""

import os

import torch


def device() -> torch.device:
    """CUDA if there is one, else Apple's MPS, else the CPU. The variable MISF_LITE_DEVICE overrides.

    Raises:
        ValueError: MISF_LITE_DEVICE names a device that is not here.
    """
    return explain_device()[0]


def has_bf16() -> bool:
    """Whether the processor has instructions for bf16, or may have: older versions of torch cannot tell."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return True
    told = [there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name]
    return any(told) or not told


def explain_device() -> tuple[torch.device, str]:
    """The device, and the reason it was picked in one sentence."""
    wanted = os.environ.get("MISF_LITE_DEVICE")
    if wanted:
        try:
            chosen = torch.device(wanted)
            torch.zeros(1, device=chosen).cpu()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"MISF_LITE_DEVICE is {wanted!r}, which cannot be used here "
                f"({reason}): set it to cpu, cuda, cuda:0, mps, or unset it"
            ) from error
        return chosen, f"{chosen}, because MISF_LITE_DEVICE asks for it"
    if torch.cuda.is_available():
        return torch.device("cuda"), f"cuda, because this machine has an {torch.cuda.get_device_name()}"
    if torch.backends.mps.is_available():
        return torch.device("mps"), "mps, because this Mac has an Apple GPU and no CUDA"
    return torch.device("cpu"), "cpu, because no CUDA or Apple GPU was found"
