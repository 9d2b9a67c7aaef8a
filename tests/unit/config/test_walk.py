"""Every value of a tree of settings."""

from __future__ import annotations

from ambassador.config.marks import MustExist, Reference, Shown
from ambassador.config.model import Model
from ambassador.config.schema import Config
from ambassador.config.walk import leaves, texts

CONFIG = Config.model_validate(
    {
        "credentials": {"db": {"file": {"path": "/run/db"}}},
        "upstreams": {"orders": {"endpoints": "db:1", "tls": {"ca": "/ca"}, "postgres": {"database": "orders"}}},
        "listeners": {
            "orders": {
                "listen": "127.0.0.1:1",
                "postgres": {"upstream": "orders"},
                "tls": {"cert": "/c", "key": "/k", "sni": {"a.example": {"cert": "/d", "key": "/l"}}},
            }
        },
    }
)
LEAVES = {leaf.path: leaf for leaf in leaves(CONFIG)}


def test_paths_are_those_of_the_file() -> None:
    assert LEAVES["credentials", "db", "file", "path"].value is not None
    assert LEAVES["upstreams", "orders", "postgres", "database"].value == "orders"
    assert LEAVES["listeners", "orders", "postgres", "upstream"].value == "orders"
    assert ("listeners", "orders", "tls", "sni", "a.example", "cert") in LEAVES
    assert not any({"options", "protocol", "source", "kind"} & set(path) for path in LEAVES)


def test_defaults_are_among_them() -> None:
    assert LEAVES["drain", "delay"].value == 5.0
    assert LEAVES["listeners", "orders", "limits", "connections"].value == 1000


def test_a_section_that_is_absent_is_a_value() -> None:
    assert LEAVES["listeners", "orders", "proxy_protocol"].value is None


class Row(Model):
    """One of several."""

    name: str
    """Its name."""


class Table(Model):
    """Sections in a list."""

    rows: tuple[Row, ...]
    """The sections."""


def test_sections_in_a_list_are_numbered() -> None:
    table = Table(rows=(Row(name="a"), Row(name="b")))
    assert [(leaf.path, leaf.value) for leaf in leaves(table)] == [
        (("rows", 0, "name"), "a"),
        (("rows", 1, "name"), "b"),
    ]


def test_leaves_know_their_marks_and_their_declaration() -> None:
    assert LEAVES["listeners", "orders", "postgres", "upstream"].mark(Reference) == Reference("upstreams")
    assert LEAVES["upstreams", "orders", "tls", "ca"].mark(MustExist) == MustExist()
    assert LEAVES["drain", "delay"].mark(Shown) is None
    assert LEAVES["drain", "delay"].field.description is not None


def test_single_values_are_taken_out_of_what_holds_several() -> None:
    assert list(texts("a")) == [((), "a")]
    assert list(texts(None)) == []
    assert list(texts(("a", "b"))) == [((0,), "a"), ((1,), "b")]
    assert list(texts({"k": "a"})) == [(("k",), "a")]
