"""The version that the tag of an image means: `--version-from-tag PATTERN`.

Tags such as `17`, `4.0.0-debian-12-r11` or `20241017` are no versions, or not only. A pattern says which of their
digits are the numbers of the version: a regular expression whose groups are its parts. Named groups (`major`, `minor`,
`patch`, `build`) may stand in any order, and leave other groups free for alternatives.
"""

import re
from collections.abc import Sequence
from typing import Final

from kubectl_scaleset.failures import CliError
from scaleset.api.identifiers import MAX_VERSION_PART

PARTS: Final = ("major", "minor", "patch", "build")
"""Names of the parts of a version, the most significant first."""
_DIGITS: Final = re.compile("[0-9]{1,10}")


def version_of(image: str, pattern: str) -> str:
    """The version in the tag of the image; CliError if the pattern or the tag does not say one."""
    compiled, groups = _compiled(pattern)
    tag = _tag(image)
    found = compiled.fullmatch(tag)
    if found is None:
        raise CliError(
            f"Tag {tag} of {image} does not match --version-from-tag {pattern!r}. The pattern has to match the whole "
            "tag."
        )
    parts = [found[group] for group in groups]
    if parts[0] is None:
        raise CliError(f"Tag {tag} of {image} has no first number by --version-from-tag {pattern!r}.")
    while parts[-1] is None:
        parts.pop()
    return ".".join(_number(part, tag) for part in parts)


def _compiled(pattern: str) -> tuple["re.Pattern[str]", Sequence[str | int]]:
    """The pattern, and its groups that make the version, in this order; CliError without such groups."""
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error as error:
        raise CliError(f"--version-from-tag {pattern!r} is no regular expression: {error}.") from error
    if unknown := sorted(compiled.groupindex.keys() - set(PARTS)):
        raise CliError(
            f"--version-from-tag has a group named {unknown[0]}: the names of the parts are {', '.join(PARTS)}."
        )
    named = [name for name in PARTS if name in compiled.groupindex]
    if named != list(PARTS[: len(named)]):
        raise CliError(f"--version-from-tag has a group named {named[-1]}, and none for the part before it.")
    if not named and not 1 <= compiled.groups <= len(PARTS):
        raise CliError(
            f"--version-from-tag {pattern!r} has {compiled.groups} groups: put one to four parts of the tag in "
            "brackets, such as ([0-9]+)[.]([0-9]+), each a number of the version."
        )
    return compiled, named or range(1, compiled.groups + 1)


def _tag(image: str) -> str:
    """The tag in the reference; a colon before the last slash is that of a port."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if not tag:
        raise CliError(f"{image} has no tag: write it as REPOSITORY:TAG or REPOSITORY:TAG@DIGEST, or give --version.")
    return tag


def _number(part: str | None, tag: str) -> str:
    """The digits of a part; an optional group that matched nothing counts as 0."""
    if part is None:
        return "0"
    if not _DIGITS.fullmatch(part) or int(part) > MAX_VERSION_PART:
        raise CliError(
            f"{part!r} in tag {tag} is no part of a version: make each group of --version-from-tag match digits only, "
            f"which stand for a number up to {MAX_VERSION_PART}."
        )
    return part
