"""YAML of strangers: understood or refused with a sentence, and never more than that."""

import contextlib
import re
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.gateway.yaml_documents import YAML_LIMIT_BYTES, read_yaml_mapping


def read(text: str) -> object:
    return read_yaml_mapping(text.encode(), "config_file")


@pytest.mark.parametrize("text", ["", "   \n", "# nothing but words\n", "---\n", "null", "~", "\ufeff", "---\n...\n"])
def test_nothing_is_no_settings(text: str) -> None:
    assert read(text) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("010", 10),
        ("0.002", 0.002),
        ("2e-3", 0.002),
        (".5", 0.5),
        ("1.", 1.0),
        ("+1.5E+2", 150.0),
        ("true", True),
        ("Yes", True),
        ("OFF", False),
        ("tRUE", "tRUE"),
        ("", None),
        ("~", None),
        ("'5'", "5"),
        ('"yes"', "yes"),
        ("|\n  5\n", "5\n"),
        ("My Building", "My Building"),
        ("2026-05-26", "2026-05-26"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        (".nan", ".nan"),
        ("9" * 400, float("inf")),
        ("[1, {b: c}]", [1, {"b": "c"}]),
        ("<<", "<<"),
        ("Žižkov 🏠", "Žižkov 🏠"),
    ],
)
def test_scalars_are_what_people_mean_by_them(text: str, value: object) -> None:
    assert read(f"a: {text}") == {"a": value}


BROKEN = {
    "a list": ("- 1\n- 2", "it is a list"),
    "one value": ("5", "it is a single value"),
    "words": ("just words", "it is a single value"),
    "open": ("a: [1,", "in line"),
    "a tab": ("a:\n\t- b", "line 2"),
    "an alias": ("a: &x [1]\nb: *x", "aliases are not taken; write the value out in line 2"),
    "a merge": ("a: &x {c: 1}\nb:\n  <<: *x", "aliases"),
    "a tag": ("a: !!binary aGk=", "tags are not taken"),
    "a program": ("!!python/object/apply:os.system ['true']", "tags are not taken"),
    "a tag of a name": ("!!str a: 1", "tags are not taken"),
    "a name twice": ("a: 1\nb: 2\na: 3", "the name a comes twice in line 3"),
    "a name twice within": ("a: {b: 1, b: 2}", "the name b comes twice in line 1"),
    "a name that is a list": ("? [a, b]\n: 1", "not a plain text"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "an unknown directive": ("%FOO bar\n---\na: 1", "directive"),
    "a control character": ("a: \x01", "characters that cannot be in YAML"),
    "a NUL": ("a: b\0c", "characters that cannot be in YAML"),
    "half a surrogate pair": ('a: "\\uD800"', "escape"),
    "deep": ("a: " + "[" * 30 + "]" * 30, "nested more than 16 deep"),
    "deep and open": ("[" * 500_000, "nested more than 16 deep"),
    "deep in blocks": ("".join(" " * n + "a:\n" for n in range(900)), "nested more than 16 deep"),
    "many": ("".join(f"a{n}: 1\n" for n in range(20_000)), "more than 10000 entries"),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_used_is_said(text: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        read(text)
    assert says in refused.value.message
    assert refused.value.message.startswith("config_file ")
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_REQUEST, "config_file")
    assert len(refused.value.message) < 300


def test_what_is_not_utf_8_is_refused_with_its_line() -> None:
    with pytest.raises(UserError, match="line 2 is not UTF-8"):
        read_yaml_mapping(b"a: 1\nb: \xff\n", "config_file")
    with pytest.raises(UserError, match="line 1 is not UTF-8"):
        read_yaml_mapping("a: 1\n".encode("utf-16"), "config_file")


def test_a_bomb_of_aliases_goes_off_nowhere() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join(['*a' + str(n - 1)] * 9)}]" for n in range(1, 12)]
    with pytest.raises(UserError, match="aliases"):
        read("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "# " + "x" * YAML_LIMIT_BYTES,
        "#\n" * (YAML_LIMIT_BYTES // 2),
        "a: " + "x " * (YAML_LIMIT_BYTES // 2),
        "a: " + "9" * YAML_LIMIT_BYTES,
        "a: '" + "''" * (YAML_LIMIT_BYTES // 2) + "'",
        "[" * YAML_LIMIT_BYTES,
        "? " * (YAML_LIMIT_BYTES // 2),
        "- " * (YAML_LIMIT_BYTES // 2),
        "&a " * (YAML_LIMIT_BYTES // 3),
    ],
    ids=lambda text: text[:6],
)
def test_the_largest_file_takes_no_more_than_a_moment(text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(UserError):
        read(text)
    assert time.process_time() - began < 1.0


NUMBER_SINCE_YAML_12 = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+")
"""PyYAML writes by YAML 1.1, where `0E0` is a text that needs no quotes."""
texts = st.text(st.characters(codec="utf-8"), max_size=20).filter(
    lambda text: NUMBER_SINCE_YAML_12.fullmatch(text) is None
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(document=st.dictionaries(st.text("abcdefg_", min_size=1), plain, min_size=1, max_size=6))
def test_what_a_yaml_writer_writes_is_read_back(document: dict[str, object]) -> None:
    class Writer(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    text = yaml.dump(document, Dumper=Writer, allow_unicode=True, default_style='"')
    # In quotes all scalars are texts; the writer names the types of the others, which is refused.
    if "!!" in text:
        text = yaml.dump(document, Dumper=Writer)
    try:
        found = read(text)
    except UserError as error:
        assert "tags" in error.message or "deep" in error.message or "plain text" in error.message
        return
    assert found == document


@given(st.binary(max_size=200) | st.text("a: -[]{}&*!?|>'\"%@`,#\n\t0.e~<", max_size=60).map(str.encode))
def test_anything_at_all_is_read_or_refused(content: bytes) -> None:
    try:
        found = read_yaml_mapping(content, "config_file")
    except UserError as error:
        assert error.field == "config_file"
    else:
        assert isinstance(found, dict)
