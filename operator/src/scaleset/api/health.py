"""How the health of an instance is judged, and the health extension."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from scaleset.api.base import Int, Model, cel, optional, rules
from scaleset.api.identifiers import ConditionType, RequestPath


class HealthProbe(Model):
    """The health extension: a probe of the instance container that the operator writes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.protocol == 'tcp' || has(self.requestPath)",
                "set requestPath, such as /healthz: an http or https probe needs it",
            ),
            cel("self.protocol != 'tcp' || !has(self.requestPath)", "remove requestPath: a tcp probe has none"),
            cel("self.protocol != 'tcp' || has(self.port)", "set port: a tcp probe needs it"),
        )
    )

    protocol: Literal["http", "https", "tcp"] = Field(
        description="Protocol of the probe: http, https (any certificate) or tcp (a connection)."
    )
    port: Int | None = optional(
        "Port of the instance, 1 to 65535. Default: 80 for http, 443 for https; tcp needs one.", ge=1, le=65535
    )
    request_path: RequestPath | None = optional(
        "Path of an http or https probe, such as /healthz. Healthy is a status of 200 to 399. Default: none."
    )
    interval_in_seconds: Int = optional(
        "Seconds from one probe to the next, 5 to 60. Default: 5.", default=5, ge=5, le=60
    )
    number_of_probes: Int = optional(
        "Number of equal probe results in a row that changes the state, 1 to 24. Default: 1.", default=1, ge=1, le=24
    )
    grace_period_in_seconds: Int | None = optional(
        "Seconds after the start of the instance in which failing probes are ignored, 5 to 14400. "
        "Default: intervalInSeconds * numberOfProbes.",
        ge=5,
        le=14400,
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol == "tcp" and (self.port is None or self.request_path is not None):
            raise ValueError("a tcp probe needs port and has no requestPath")
        if self.protocol != "tcp" and self.request_path is None:
            raise ValueError("an http or https probe needs requestPath, such as /healthz")
        return self


class Health(Model):
    """The criteria of a healthy instance."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(has(self.source) && self.source != 'ReadinessProbe' && has(self.probe))",
                "remove probe, or set source to ReadinessProbe: there can be only one source of health",
            ),
            cel(
                "(has(self.source) && self.source == 'PodCondition') == has(self.conditionType)",
                "set source to PodCondition and conditionType to the type of the condition, or neither of the two",
            ),
        )
    )

    source: Literal["ReadinessProbe", "InstanceState", "PodCondition"] | None = optional(
        "ReadinessProbe: healthy is a pod that is Ready. InstanceState: healthy is a pod whose containers all run. "
        "PodCondition: healthy is a pod whose containers all run and whose condition of conditionType is True; "
        "readiness then decides traffic only."
        " Default: ReadinessProbe if there is a readiness probe, a health probe or a readiness gate, else "
        "InstanceState. Automatic image upgrades need a probe, a readiness gate, or one of the others written here."
    )
    condition_type: ConditionType | None = optional(
        "Type of the pod's condition that decides health, such as example.com/Healthy. Anybody with the right to "
        "patch pods/status may write it, and it need not be a readiness gate. Without it an instance is Initializing "
        "until healthTimeout, then Unhealthy. After a change of the image in place only what was written after it "
        "counts. Needed with source PodCondition, and only allowed there. Default: none."
    )
    probe: HealthProbe | None = optional(
        "The health extension: rendered as the readiness probe of the instance container, which then must not have"
        " one of its own. Default: none."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.source == "PodCondition") != (self.condition_type is not None):
            raise ValueError("set source to PodCondition and conditionType, or neither of the two")
        return self
