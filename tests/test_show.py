import numpy as np
import pytest

from nnopt_course import show
from nnopt_course.transfer import parity


def example(x: float) -> float:
    """Twice the argument.

    A second paragraph.
    """
    return 2 * x  # kept


class Pair:
    """Two numbers.

    More.
    """

    def total(self) -> int:
        """Their sum.

        Long.
        """
        return 3


def test_source_is_a_fence_with_the_docstrings_first_line():
    assert show.markdown(example) == (
        '```python\ndef example(x: float) -> float:\n    """Twice the argument."""\n'
        "    return 2 * x  # kept\n```"
    )


def test_source_can_keep_the_docstring():
    assert "A second paragraph." in show.markdown(example, docstring=True)


def test_every_docstring_of_a_class_is_shortened():
    text = show.markdown(Pair)
    assert "Two numbers." in text
    assert "Their sum." in text
    assert "More." not in text
    assert "Long." not in text
    assert text.endswith("        return 3\n```")


def test_a_method_is_dedented():
    assert show.markdown(Pair.total).startswith("```python\ndef total(self)")


def test_shown_source_still_defines_the_same_function():
    names = {}
    exec(
        show.markdown(parity.compare).removeprefix("```python").removesuffix("```"),
        vars(parity) | names,
        names,
    )
    a = np.array([[1.0, 2.0]])
    assert names["compare"](a, a) == parity.compare(a, a)


def test_source_displays_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr(show, "display", shown.append)
    assert show.source(example) is None
    assert [markdown.data for markdown in shown] == [show.markdown(example)]


@pytest.mark.parametrize(
    "obj", [np.zeros(3), np.add, 3, len], ids=["array", "ufunc", "int", "builtin"]
)
def test_what_has_no_source_is_refused(obj):
    with pytest.raises(TypeError, match="written in Python; received"):
        show.markdown(obj)


def test_code_is_a_fence_of_its_language(monkeypatch):
    shown = []
    monkeypatch.setattr(show, "display", lambda markdown: shown.append(markdown.data))
    show.code("int x;\n")
    show.code("let x;", "js")
    assert shown == ["```c\nint x;\n```", "```js\nlet x;\n```"]
