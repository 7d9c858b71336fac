"""Strings with a form: versions, image definitions, references, names.

Each type carries its rule twice, from one pattern: as a CEL rule in the CRD, whose message says what to change (a bare
`pattern` only shows the regular expression), and as a validator here. The patterns are linear and ASCII only: they
allow no look-alike letter and no invisible character. `fullmatch` and RE2's `^...$` agree, since RE2's `$` is the end
of the text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from scaleset.api.base import cel, rules

LATEST: Final = "latest"
MAX_VERSION_PART: Final = 2**31 - 1

_WORD: Final = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_DNS_LABEL: Final = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_DNS_SUBDOMAIN: Final = "[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
_SERVICE: Final = "[a-z]([a-z0-9-]*[a-z0-9])?"
_EXACT_VERSION: Final = "[0-9]{1,10}([.][0-9]{1,10}){0,3}"
_HOST: Final = r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?"
_PATH_PART: Final = "[a-z0-9]+([._-]+[a-z0-9]+)*"
_IMAGE: Final = (
    f"({_HOST}/)?{_PATH_PART}(/{_PATH_PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    "(@[a-z0-9]+([+._-][a-z0-9]+)*:[0-9a-fA-F]{32,128})?"
)


def matches_rule(pattern: str, message: str, *, of: str = "self", at: str | None = None) -> dict[str, str]:
    """The CEL rule that a whole string has this form."""
    quoted = pattern.replace("\\", "\\\\")
    return cel(f"{of}.matches('^({quoted})$')", message, at=at)


@dataclass(frozen=True)
class Form:
    """Annotation of a string that has to have a form. `message` says what to write instead, here and in the CRD."""

    pattern: str
    message: str
    max_length: int = 63
    min_length: int = 1

    def check(self, value: str) -> str:
        """The value, if it has this form."""
        if not self.min_length <= len(value) <= self.max_length or not re.fullmatch(self.pattern, value, re.ASCII):
            raise ValueError(self.message)
        return value

    def validations(self) -> list[dict[str, str]]:
        """The same as CEL rules; the lengths are the schema's."""
        return [matches_rule(self.pattern, self.message)]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        bounds = {"minLength": self.min_length, "maxLength": self.max_length}
        return {**handler(schema), **bounds, **rules(*self.validations())}


@dataclass(frozen=True)
class VersionForm(Form):
    """A form with versions, whose parts have an upper bound too."""

    max_length: int = 43

    def check(self, value: str) -> str:
        super().check(value)
        if value != LATEST and any(int(part) > MAX_VERSION_PART for part in value.split(".")):
            raise ValueError(_PART_TOO_BIG)
        return value

    def validations(self) -> list[dict[str, str]]:
        in_range = f"self.split('.').all(part, int(part) <= {MAX_VERSION_PART})"
        return [*super().validations(), cel(f"!self.matches('^{_EXACT_VERSION}$') || {in_range}", _PART_TOO_BIG)]


_DEFINITION_MESSAGE: Final = "use letters, digits, '.', '_' and '-' only, beginning and ending with a letter or digit"
_REGION_MESSAGE: Final = (
    "use the value of the nodes' topology.kubernetes.io/region label: letters, digits, '.', '_' and '-' only"
)
_LABEL_MESSAGE: Final = "use lower-case letters, digits and '-' only, beginning and ending with a letter or digit"
_NAMESPACE_MESSAGE: Final = "give the name of a namespace: lower-case letters, digits and '-' only"
_POLICY_MESSAGE: Final = (
    "give the bare name of an UpgradePolicy in this namespace: lower-case letters, digits and '-' only"
)
_CONDITION_MESSAGE: Final = "write the type of the condition with a domain name, such as example.com/Healthy"
_SERVICE_MESSAGE: Final = (
    "give the bare name of a Service in this namespace: lower-case letters, digits and '-' only, beginning with a "
    "letter"
)
_NUMBERS: Final = (
    "one to four integers with dots between them, each of at most ten digits, such as 1.10.0 or 2024.10.17.1"
)
_EXACT_MESSAGE: Final = f"write the version as {_NUMBERS}"
_VERSION_MESSAGE: Final = f"write the version as latest, or as {_NUMBERS}"
_PART_TOO_BIG: Final = "make each part of the version less than 2147483648"
_IMAGE_MESSAGE: Final = (
    "write the image as [host[:port]/]path[:tag][@digest], such as example.com/web:1.0.0 or example.com/web@sha256:<64"
    " hex digits>"
)

DefinitionPart = Annotated[str, Form(_WORD, _DEFINITION_MESSAGE)]
"""Publisher, offer or SKU: also a label value, hence at most 63 characters."""
Region = Annotated[str, Form(_WORD, _REGION_MESSAGE)]
"""A region: the value of the node label topology.kubernetes.io/region, or `default` for nodes without it."""
DnsLabel = Annotated[str, Form(_DNS_LABEL, _LABEL_MESSAGE)]
"""A name of at most 63 characters as in RFC 1123."""
NamespaceName = Annotated[str, Form(_DNS_LABEL, _NAMESPACE_MESSAGE)]
"""The name of a namespace."""
PolicyName = Annotated[str, Form(_DNS_LABEL, _POLICY_MESSAGE)]
"""The name of an UpgradePolicy, never with a namespace."""
ServiceName = Annotated[str, Form(f"({_SERVICE})?", _SERVICE_MESSAGE, min_length=0)]
"""The name of a Service as in RFC 1035; an empty one is none, as in a StatefulSet."""
ImageName = Annotated[str, Form(_IMAGE, _IMAGE_MESSAGE, max_length=512)]
"""A container image reference."""
RequestPath = Annotated[
    str, Form("/[!-~]*", "begin requestPath with / and use printable ASCII without spaces", max_length=1024)
]
"""Path of an http probe."""
ConditionType = Annotated[str, Form(f"{_DNS_SUBDOMAIN}/{_WORD}", _CONDITION_MESSAGE, max_length=316)]
"""The type of a pod condition that is not Kubernetes' own: with a domain name, as a readiness gate has it."""
ExactVersion = Annotated[str, VersionForm(_EXACT_VERSION, _EXACT_MESSAGE)]
"""One to four numbers, each from 0 to 2147483647. `1.2`, `1.2.0` and `01.2` are one version."""
VersionOrLatest = Annotated[str, VersionForm(f"{LATEST}|{_EXACT_VERSION}", _VERSION_MESSAGE)]
"""`latest`, or an exact version."""


def name_rules(what: str, *, max_length: int, dots: bool, others: Iterable[dict[str, str]] = ()) -> dict[str, Any]:
    """Rules for metadata.name, to be declared at the root of a CRD, before other rules of the root."""
    if dots:
        pattern, form = _DNS_SUBDOMAIN, "lower-case letters, digits, '-' and '.'"
    else:
        pattern, form = _DNS_LABEL, "lower-case letters, digits and '-'"
    shorter = f"choose a name of at most {max_length} characters for {what}"
    allowed = f"use {form} only in the name of {what}, beginning and ending with a letter or digit"
    return rules(
        cel(f"size(self.metadata.name) <= {max_length}", shorter, at=".metadata.name"),
        matches_rule(pattern, allowed, of="self.metadata.name", at=".metadata.name"),
        *others,
    )
