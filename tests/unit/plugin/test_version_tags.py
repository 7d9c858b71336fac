"""Versions that are read from the tags of images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_scaleset.failures import CliError
from kubectl_scaleset.version_tags import version_of

DEBIAN = r"([0-9]+)\.([0-9]+)\.([0-9]+)-debian-[0-9]+-r([0-9]+)"
NAMED = r"v(?P<major>[0-9]+)\.(?P<minor>[0-9]+)(\.(?P<patch>[0-9]+))?(-r(?P<build>[0-9]+))?"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "pattern", "version"),
    [
        ("postgres:17", "([0-9]+)", "17"),
        ("example.com/kafka:4.0.0-debian-12-r11", DEBIAN, "4.0.0.11"),
        ("example.com/os:20241017", "([0-9]+)", "20241017"),
        ("example.com/os:16.04.20201019", r"([0-9]+)\.([0-9]+)\.([0-9]+)", "16.04.20201019"),
        ("example.com:5000/os:17", "^([0-9]+)$", "17"),
        (f"example.com:5000/a/os:17@{DIGEST}", "([0-9]+)", "17"),
        ("web:v1.4", NAMED, "1.4"),
        ("web:v1.4.2", NAMED, "1.4.2"),
        ("web:v1.4-r3", NAMED, "1.4.0.3"),
        ("web:12-alpine-3.20", r"(?P<minor>[0-9]+)-(alpine|debian)-(?P<major>[0-9]+)\.[0-9]+", "3.12"),
    ],
)
def test_the_groups_of_the_pattern_are_the_parts_of_the_version(image, pattern, version):
    assert version_of(image, pattern) == version


@pytest.mark.parametrize(
    ("image", "pattern", "sentence"),
    [
        ("web:1.2.0-rc1", r"([0-9]+)\.([0-9]+)\.([0-9]+)", "Tag 1.2.0-rc1 of web:1.2.0-rc1 does not match"),
        ("web:latest", "v([0-9]+)", "Tag latest of web:latest does not match"),
        ("example.com:5000/web", "([0-9]+)", "example.com:5000/web has no tag"),
        (f"web@{DIGEST}", "([0-9]+)", "has no tag: write it as REPOSITORY:TAG or REPOSITORY:TAG@DIGEST"),
        ("web:1", "([0-9]+", "is no regular expression"),
        ("web:1", "[0-9]+", "has 0 groups: put one to four parts of the tag in brackets"),
        ("web:1.2.3.4.5", r"(.)\.(.)\.(.)\.(.)\.(.)", "has 5 groups"),
        ("web:1", "(?P<epoch>[0-9]+)", "a group named epoch: the names of the parts are major, minor, patch, build"),
        ("web:1.3", r"(?P<major>[0-9]+)\.(?P<patch>[0-9]+)", "a group named patch, and none for the part before it"),
        ("web:r3", "([0-9]+)?r([0-9]+)", "has no first number"),
        ("web:1.x", r"([0-9]+)\.(.)", "'x' in tag 1.x is no part of a version"),
        ("web:20241017120000", "([0-9]+)", "up to 2147483647"),
        ("web:2147483648", "([0-9]+)", "up to 2147483647"),
    ],
)
def test_what_gives_no_version_is_refused_in_a_sentence(image, pattern, sentence):
    with pytest.raises(CliError) as refused:
        version_of(image, pattern)
    assert sentence in str(refused.value)


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4))
def test_any_version_is_its_own_tag(parts):
    version = ".".join(map(str, parts))
    assert version_of(f"example.com/web:{version}", r"\.".join(["([0-9]+)"] * len(parts))) == version
