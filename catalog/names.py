"""One name for each accelerator, whatever a price list calls it."""

import re
from collections.abc import Collection

# Names that leave the memory open: the name by GiB, the first being what a bare name means.
BY_MEMORY: dict[str, dict[int, str]] = {
    "a100": {40: "A100-40GB", 80: "A100-80GB"},
    "v100": {16: "V100-16GB", 32: "V100-32GB"},
}
OTHER_NAMES = {
    "h100nvl": "H100-NVL",
    "h100pcie": "H100-PCIe",
    "h100sxm": "H100",
    "h100sxm5": "H100",
    "h100mega": "H100",
    "h100megagb": "H100",
    "h200sxm": "H200",
    "a100sxm": "A100-80GB",
    "a100sxm4": "A100-40GB",
    "a100pcie": "A100-80GB",
    "rtxpro6000wk": "RTX-PRO-6000",
    "rtxpro6000server": "RTX-PRO-6000",
    "rtxpro6000blackwellserveredition": "RTX-PRO-6000",
    "6000ada": "RTX6000-Ada",
    "rtx6000adageneration": "RTX6000-Ada",
    "a6000": "RTX-A6000",
    "a5000": "RTX-A5000",
    "trainium1": "Trainium",
    "inferentia1": "Inferentia",
    "gaudihl205": "Gaudi",
    "radeonprov520": "Radeon-V520",
}
MAKERS = re.compile(r"^(nvidia|amd|intel|aws|google|tesla|geforce|quadro|instinct)+")
TPU_SLICE = re.compile(r"^tpu-?(v\d\w*?|v5lite(?:pod)?)-(\d+)$", re.IGNORECASE)
CORES_PER_CHIP = {"v2": 2, "v3": 2, "v4": 2, "v5p": 2}  # Google numbers these slices by cores


def accelerator_name(
    given: str, known: Collection[str], memory_gib: float | None = None
) -> str | None:
    """The catalog's name for an accelerator; None where it is not known.

    memory_gib: of one device, if the list says so; it tells variants of a name apart.

    >>> known = {"A100-40GB", "A100-80GB", "T4", "RTX-A6000"}
    >>> [accelerator_name(n, known) for n in ("NVIDIA Tesla T4", "a100", "RTXA6000", "T44")]
    ['T4', 'A100-40GB', 'RTX-A6000', None]
    >>> accelerator_name("A100", known, memory_gib=80), accelerator_name("T4-16GB", known)
    ('A100-80GB', 'T4')
    """
    by_key = {_key(name): name for name in known} | OTHER_NAMES
    key = _key(given)
    stated = re.search(r"([\d.]+)\s*gi?b$", given, re.IGNORECASE)
    stem = _key(given[: stated.start()]) if stated else key
    memory = memory_gib if stated is None else float(stated[1])
    if stem in BY_MEMORY:
        variants = BY_MEMORY[stem]
        usual = next(iter(variants))
        near = min(variants, key=lambda gib: abs(gib - (usual if memory is None else memory)))
        found = variants[near]
    else:
        found = by_key.get(key) or by_key.get(stem, "")  # the stem of H100-80GB, L4-24GB
    return found if found in known else None


def tpu_slice(given: str) -> tuple[str, int] | None:
    """The TPU and the number of its chips that a slice's name means; None for another name.

    >>> tpu_slice("tpu-v2-8"), tpu_slice("tpu-v5litepod-4"), tpu_slice("tpu-v6e-16"), tpu_slice("T4")
    (('TPU-v2', 4), ('TPU-v5e', 4), ('TPU-v6e', 16), None)
    """
    match = TPU_SLICE.match(given)
    if match is None:
        return None
    generation = match[1].lower()
    generation = "v5e" if generation.startswith("v5lite") else generation
    return f"TPU-{generation}", max(1, int(match[2]) // CORES_PER_CHIP.get(generation, 1))


def _key(name: str) -> str:
    return MAKERS.sub("", re.sub(r"[^a-z0-9]", "", name.lower()))
