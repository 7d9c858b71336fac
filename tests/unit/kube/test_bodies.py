"""Objects are written as Go writes them."""

import json

import pytest

from scaleset.kube.transport import encode


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({"b": 1, "a": [1, 2]}, '{"a":[1,2],"b":1}'),
        ({"a": "x > 1 && y < 2"}, r'{"a":"x \u003e 1 \u0026\u0026 y \u003c 2"}'),
        ({"a": "é\u2028😀"}, r'{"a":"é\u2028😀"}'),
        ({"a": "line\nline\t\x01"}, r'{"a":"line\nline\t\u0001"}'),
        ({"a": None, "b": True, "c": 0.5}, '{"a":null,"b":true,"c":0.5}'),
    ],
)
def test_bodies_are_written_as_go_writes_them(body, written):
    assert encode(body) == written.encode()
    assert json.loads(encode(body)) == body
