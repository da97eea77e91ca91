"""What the tools, the Sphinx extension and the tests ask about the project."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
PACKAGE = "nnopt_course"

# The modules that may import Keras or TensorFlow. Every other one is NumPy (and SciPy) only, and a
# test imports it to see.
KERAS_MODULES = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "compression.container",
        "compression.epochs",
        "compression.keras_builder",
        "compression.normalization",
        "compression.pipeline",
        "compression.search",
        "compression.stages",
        "compression.unit_order",
        "data",
        "distillation",
        "evaluation.accuracy",
        "graph",
        "models",
        "pruning.gates",
        "pruning.gradients",
        "pruning.iterative",
        "pruning.masked_optimizer",
        "pruning.one_shot",
        "pruning.proximal",
        "pruning.reinitialization",
        "pruning.rewinding",
        "pruning.rigl",
        "pruning.shrink",
        "pruning.statistics",
        "pruning.step_callback",
        "pruning.structure.channels",
        "pruning.structure.dead_units",
        "pruning.structure.dependencies",
        "pruning.structure.mixing",
        "pruning.structure.passing",
        "pruning.structure.reasons",
        "pruning.structure.rules",
        "quantization.adjustments.bias_correction",
        "quantization.adjustments.folding",
        "quantization.adjustments.model_equalization",
        "quantization.aware",
        "quantization.litert_recipes",
        "quantization.post_training",
        "quantization.simulated.calibration",
        "quantization.simulated.fake_quant",
        "quantization.simulated.insertion",
        "quantization.simulated.litert_export",
        "quantization.simulated.quantized_layer",
        "quantization.simulated.rewrite",
        "quantization.trained_levels.clustered_training",
        "quantization.trained_levels.codebook_optimizer",
        "quantization.trained_levels.level_training",
        "tfmot_bridge",
        "tfmot_bridge.toolkit",
        "tfmot_bridge.training",
        "tfmot_bridge.translate",
        "training",
        "transfer.fine_tuning",
        "transfer.float_network.keras_reader",
        "transfer.keras_network",
        "transfer.layer_outputs",
        "transfer.on_source",
        "transfer.targets.litert",
        "transfer.targets.litert_training.backward",
        "transfer.targets.litert_training.chain",
        "transfer.targets.litert_training.signatures",
        "weights",
        "wrapped_optimizer",
    )
)


def pyproject() -> dict:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def address() -> str:
    """The repository's public address, which stands in pyproject.toml and nowhere else."""
    return pyproject()["project"]["urls"]["Homepage"].rstrip("/")


def site_address() -> str:
    """The address of the published book, on the pages of the repository's owner."""
    owner, name = address().rsplit("/", 2)[-2:]
    return f"https://{owner}.github.io/{name}/"


def modules() -> list[str]:
    """Every module of the package, by its dotted name."""
    names = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in sorted(names) if not name.endswith("__main__")]


def path_of(module: str) -> Path:
    """The file of a module of the package."""
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_folder(module: str) -> bool:
    """Whether a module of the package is a folder of modules."""
    return "." in module and (ROOT / module.replace(".", "/")).is_dir()


def api_page(module: str) -> str:
    """The page of the API reference that has a module: each folder has one of its own."""
    top = ".".join(module.split(".")[:2])
    return "chapters/appendix/api" + (f"/{top.split('.')[1]}" if is_folder(top) else "")


def notebooks() -> list[Path]:
    """Every notebook of the book, in the order of the folders."""
    found = (ROOT / "chapters").rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def toc_pages() -> list[str]:
    """The pages that _toc.yml lists, as paths without a suffix, in reading order."""

    def files(node: object) -> list[str]:
        if isinstance(node, list):
            return [page for item in node for page in files(item)]
        if isinstance(node, dict):
            own = [node[key] for key in ("root", "file") if key in node]
            return own + [page for value in node.values() for page in files(value)]
        return []

    return files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
