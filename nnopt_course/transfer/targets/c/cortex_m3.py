"""Cortex-M3: the C file compiled for a microcontroller, and an emulator that runs it.

The chip has no floating-point unit, no cache and no operating system. The emulator runs its very
instructions, and counts them. It says nothing about time: how many cycles an instruction takes
hangs on the chip, a few on most.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.targets.c.build import build
from nnopt_course.transfer.targets.c.runner import About, Runner

__all__ = ["Artifact", "CortexRunner", "Cost", "export"]

#: Without ``-nostdlib``: the compiler brings its own functions for floats, which the chip lacks.
FLAGS = (
    "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m3", "-O2", "-Wl,-e,net_predict",
    *(f"-Wl,-u,{name}" for name in ("net_about", "net_input", "net_output")),
)  # fmt: skip
_PAGE = 4096
#: Where ``net_predict`` returns to, outside of everything.
_HOME = 0x1000
_STACK = 64 * 1024
_UNTOUCHED = 0xA5
#: No network of the course takes that long. LeNet-5 in floats, counted on a busy machine, takes one
#: minute.
_TIMEOUT_US = 600_000_000


@dataclass(frozen=True)
class Cost:
    """What one prediction needs of the chip.

    Attributes:
        flash_bytes: program and weights.
        ram_bytes: input, output, activations and the deepest stack.
        instructions: how many are executed.
    """

    flash_bytes: int
    ram_bytes: int
    instructions: int


def export(source: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write and compile a network: the whole file or nothing.

    Args:
        source: a Keras model for float32, a full-int8 ``.tflite`` file for integers.
        path: the ``.elf`` file to write; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError, TypeError, ImportError, FileNotFoundError: as
            :func:`~nnopt_course.transfer.targets.c.build.build`.
    """
    script = resources.files("nnopt_course.transfer.targets.c") / "cortex_m3.ld"
    with resources.as_file(script) as file:
        return Artifact(build(source, path, (*FLAGS, f"-Wl,-T,{file}")))


class Artifact(FileArtifact):
    """An ``.elf`` file, as programmers of microcontrollers take it.

    Args:
        path: where it is.
    """

    def load(self) -> CortexRunner:
        """Put the program into the memory of an emulated chip.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a network of ours, or is damaged.
            ImportError: the emulator (``unicorn``) or ``pyelftools`` is not installed.
        """
        path = self.existing()
        try:
            return CortexRunner(_Program(path.read_bytes()))
        except _damage() as error:
            raise ValueError(f"{path} is damaged or not a network for the chip: {error}") from error


def _damage() -> tuple[type[Exception], ...]:
    """The errors of a file that is not as it should be."""
    elftools, unicorn = import_quietly("elftools.common.exceptions"), import_quietly("unicorn")
    return elftools.ELFError, unicorn.UcError, ValueError, KeyError, AttributeError, struct.error


class _Program:
    """What the file says: bytes and where they belong, and the addresses of our names."""

    def __init__(self, content: bytes) -> None:
        elf = import_quietly("elftools.elf.elffile").ELFFile(io.BytesIO(content))
        if elf["e_machine"] != "EM_ARM":
            raise ValueError(f"it is for {elf['e_machine']}")
        parts = [part for part in elf.iter_segments() if part["p_type"] == "PT_LOAD"]
        self.parts = [(part["p_vaddr"], part["p_memsz"], part.data()) for part in parts]
        for (address, size, data), part in zip(self.parts, parts, strict=True):
            if len(data) != part["p_filesz"] or size > 1 << 24:
                raise ValueError(f"the part at {address:#x} is cut off or too large")
        self.flash_bytes = sum(len(data) for _, _, data in self.parts)
        self.ram_bytes = sum(size for _, size, data in self.parts if not data)
        names = elf.get_section_by_name(".symtab").iter_symbols()
        self.at = {name.name: name["st_value"] for name in names if name.name.startswith("net_")}
        self.entry = elf["e_entry"]


class CortexRunner(Runner):
    """An emulated Cortex-M3 with a network in its flash. Made by :meth:`Artifact.load`.

    Args:
        program: what is in the file.
    """

    def __init__(self, program: _Program) -> None:
        self._unicorn = unicorn = import_quietly("unicorn")
        arm = import_quietly("unicorn.arm_const")
        self._registers = (arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR, arm.UC_ARM_REG_PC)
        self._program = program
        chip = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        chip.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M3)
        self._chip = chip
        chip.mem_map(_HOME, _PAGE)
        for address, size, data in program.parts:
            first = address // _PAGE * _PAGE
            last = -(-(address + size) // _PAGE) * _PAGE
            chip.mem_map(first, last - first)
            chip.mem_write(address, data)
            self._stack = last  # The stack comes behind the last part, which is in RAM.
        chip.mem_map(self._stack, _STACK)
        at = program.at["net_about"]
        text = b"".join(d[at - a :] for a, _, d in program.parts if a <= at < a + len(d))
        about = About(text[: text.index(0)])
        size = about.outputs * np.dtype(about.dtype).itemsize

        def run(image: np.ndarray) -> np.ndarray:
            chip.mem_write(program.at["net_input"], image.tobytes())
            self._call()
            return np.frombuffer(bytes(chip.mem_read(program.at["net_output"], size)), about.dtype)

        super().__init__(about, run, self._call)

    def cost(self, x: np.ndarray, *, first: bool = False) -> Cost:
        """Count what one prediction takes.

        Args:
            x: one image, ``(1, *input_shape)``.
            first: the first one after the chip was switched on: it unpacks a packed network.

        Returns:
            The :class:`Cost`. Instructions vary a little from image to image, bytes do not.
        """
        if first:
            return CortexRunner(self._program)._cost(x, warm=False)
        return self._cost(x, warm=True)

    def _cost(self, x: np.ndarray, *, warm: bool) -> Cost:
        counts: dict[tuple[int, int], int] = {}
        executed = [0]

        def block(chip: Any, address: int, size: int, _: Any) -> None:
            key = address, size
            if key not in counts:
                counts[key] = _instructions(bytes(chip.mem_read(address, size)))
            executed[0] += counts[key]

        predict = self.prepared(x) if warm else lambda: self.run_raw(self._as_input(x))
        self._chip.mem_write(self._stack, bytes([_UNTOUCHED]) * _STACK)
        hook = self._chip.hook_add(self._unicorn.UC_HOOK_BLOCK, block)
        try:
            self._chip.ctl_flush_tb()  # What has been translated already would not be counted.
            predict()
        finally:
            self._chip.hook_del(hook)
            self._chip.ctl_flush_tb()
        stack = bytes(self._chip.mem_read(self._stack, _STACK))
        deepest = len(stack.lstrip(bytes([_UNTOUCHED])))
        program = self._program
        return Cost(program.flash_bytes, program.ram_bytes + deepest, executed[0])

    def _call(self) -> None:
        """Call ``net_predict``, as a program on the chip would."""
        sp, lr, pc = self._registers
        self._chip.reg_write(sp, self._stack + _STACK)
        self._chip.reg_write(lr, _HOME | 1)
        try:
            self._chip.emu_start(self._program.entry | 1, _HOME, timeout=_TIMEOUT_US)
        except self._unicorn.UcError as error:
            raise RuntimeError(f"the program failed on the emulated chip: {error}") from error
        if self._chip.reg_read(pc) != _HOME:
            raise RuntimeError("the program did not return within ten minutes")


def _instructions(code: bytes) -> int:
    """How many Thumb instructions a piece of code holds: of 2 bytes each, or of 4.

    Example:
        >>> _instructions(bytes.fromhex("7047" "00f000f8" "00bf"))
        3
    """
    count, at = 0, 0
    while at < len(code):
        at += 4 if code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        count += 1
    return count
