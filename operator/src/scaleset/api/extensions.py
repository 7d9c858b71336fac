"""Extensions and custom data, which run in every new pod before the instance container."""

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from scaleset.api.base import OPEN, Bool, Model, cel, list_map, optional, rules
from scaleset.api.identifiers import DnsLabel, Form, ImageName
from scaleset.api.pod_template import MOUNT_SCHEMA, check_depth

MAX_EXTENSIONS: Final = 16
MAX_CUSTOM_DATA: Final = 64 * 1024
"""Bytes of the script or document itself."""
MAX_CUSTOM_DATA_BASE64: Final = -(-MAX_CUSTOM_DATA // 3) * 4
MAX_ARGUMENT: Final = 32 * 1024


ExtensionName = Annotated[
    str,
    Form(
        "[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        "use lower-case letters, digits and '-' only, at most 50 of them",
        max_length=50,
    ),
]
"""With `extension-` before it, a container name."""

CustomData = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CUSTOM_DATA_BASE64,
        json_schema_extra=rules(
            cel(
                rf"size(self) <= {MAX_CUSTOM_DATA} || self.matches('^[A-Za-z0-9+/\\s]*=?=?\\s*$')",
                "make customData at most 64 KiB (of text, or of text written in base64)",
            )
        ),
    ),
]


Argument = Annotated[str, Field(max_length=MAX_ARGUMENT)]
"""One word of a command line; a whole script may be one."""


class SecretKeyRef(Model):
    """One key of a Secret in the same namespace."""

    name: Annotated[str, Form("[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "give the name of a Secret", max_length=253)] = Field(
        description="Name of the Secret."
    )
    key: Annotated[str, Form("[A-Za-z0-9._-]+", "give a key of the Secret", max_length=253)] = optional(
        "Key in the Secret. Default: settings.", default="settings"
    )


class Extension(Model):
    """Software that is run once in every new pod, before the instance container starts."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(has(self.suppressFailures) && self.suppressFailures)"
                " || (has(self.command) && size(self.command) > 0)",
                "set command: with suppressFailures the extension is started by a shell of its image, which has to be "
                "told what to run",
            ),
        )
    )

    name: ExtensionName = Field(description="Name of the extension; its init container is named extension-<name>.")
    image: ImageName = Field(description="Container image that the extension runs from.")
    command: Annotated[tuple[Argument, ...], Field(max_length=64)] = optional(
        "Entrypoint. Default: the image's.", default=()
    )
    args: Annotated[tuple[Argument, ...], Field(max_length=64)] = optional(
        "Arguments of the entrypoint. Default: the image's.", default=()
    )
    env: Annotated[tuple[Annotated[dict[str, Any], WithJsonSchema(OPEN)], ...], Field(max_length=64)] = optional(
        "Environment variables as in a container. Default: none.", default=()
    )
    settings: Annotated[dict[str, Any], AfterValidator(check_depth), WithJsonSchema(OPEN)] | None = optional(
        "Settings, any JSON object; the extension finds them as JSON in SCALESET_EXTENSION_SETTINGS. Default: none."
    )
    protected_settings_secret_ref: SecretKeyRef | None = optional(
        "Secret settings: a key of a Secret, which the extension finds in "
        "SCALESET_EXTENSION_PROTECTED_SETTINGS. Default: none."
    )
    volume_mounts: Annotated[
        tuple[Annotated[dict[str, Any], WithJsonSchema(MOUNT_SCHEMA)], ...],
        Field(max_length=64, json_schema_extra=list_map("mountPath")),
    ] = optional(
        "Volume mounts as in a container, beside /var/lib/scaleset, which is always there. Default: none.",
        default=(),
    )
    provision_after_extensions: Annotated[
        tuple[DnsLabel, ...], Field(max_length=MAX_EXTENSIONS, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = optional("Extensions that have to finish before this one starts. Default: none.", default=())
    force_update_tag: Annotated[str, Field(max_length=256)] | None = optional(
        "Any text. Changing it is a change of the model, so the extension runs again. Default: none."
    )
    suppress_failures: Bool = optional(
        "true: the instance starts even if this extension fails; its image needs /bin/sh. Default: false, a "
        "failing extension leaves the instance unhealthy.",
        default=False,
    )

    @model_validator(mode="after")
    def _has_command(self) -> Self:
        if self.suppress_failures and not self.command:
            raise ValueError("set command: with suppressFailures the extension is started by a shell of its image")
        return self


Extensions = Annotated[
    tuple[Extension, ...],
    Field(
        max_length=MAX_EXTENSIONS,
        json_schema_extra={
            **list_map("name"),
            **rules(
                cel(
                    "self.all(e, !has(e.provisionAfterExtensions) || e.provisionAfterExtensions.all(n, "
                    "self.exists(other, other.name == n)))",
                    "name only extensions of this list in provisionAfterExtensions",
                ),
            ),
        },
    ),
]
"""Extensions of a set, each name once."""
