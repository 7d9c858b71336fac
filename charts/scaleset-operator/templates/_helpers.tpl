{{/* Names. A name has room for the longest suffix that is appended to it. */}}
{{- define "scaleset-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "scaleset-operator.fullname" -}}
{{- $name := include "scaleset-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "scaleset-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "scaleset-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "scaleset-operator.prepullServiceAccountName" -}}
{{- with .Values.replication.serviceAccount }}
{{- if .create }}
{{- default (printf "%s-prepull" (include "scaleset-operator.fullname" $)) .name }}
{{- else }}
{{- default "default" .name }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" if the name of an image begins with the host of a registry, as container engines tell it. */}}
{{- define "scaleset-operator.hasRegistry" -}}
{{- if regexMatch "^([^/]*[.:][^/]*|localhost)/" . }}true{{ end }}
{{- end }}

{{- define "scaleset-operator.repository" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry }}
{{- if and $registry (not (include "scaleset-operator.hasRegistry" .Values.image.repository)) }}
{{- printf "%s/%s" (trimSuffix "/" $registry) .Values.image.repository }}
{{- else }}
{{- .Values.image.repository }}
{{- end }}
{{- end }}

{{- define "scaleset-operator.image" -}}
{{- $repository := include "scaleset-operator.repository" . }}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" $repository .digest }}
{{- else }}
{{- printf "%s:%s" $repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes a list: the context, and pull secrets to put behind the global ones. */}}
{{- define "scaleset-operator.pullSecrets" -}}
{{- $names := list }}
{{- range concat (default list (index . 0).Values.global.imagePullSecrets) (index . 1) }}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name")) }}
{{- end }}
{{- with $names | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What a pod has whichever container runs in it. */}}
{{- define "scaleset-operator.podNetwork" -}}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "scaleset-operator.crdAnnotations" -}}
{{- $ours := .Values.crds.keep | ternary (dict "helm.sh/resource-policy" "keep") dict }}
{{- with merge $ours .Values.crds.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Takes a list: the context, a group of values with a `renderMode`, an API version and a kind that a cluster may lack. "true" if an object of
that kind is to be rendered.
*/}}
{{- define "scaleset-operator.rendersKind" -}}
{{- $group := index . 1 }}
{{- $mode := (get (index . 0).Values $group).renderMode }}
{{- $kind := printf "%s/%s" (index . 2) (index . 3) }}
{{- if or (eq $mode "alwaysRender") ((index . 0).Capabilities.APIVersions.Has $kind) }}true
{{- else if eq $mode "failIfMissing" }}
{{- fail (printf "The cluster does not serve %s. Install its CustomResourceDefinition, or set %s.renderMode to skipIfMissing." $kind $group) }}
{{- end }}
{{- end }}

{{/* Labels: what a pod is selected by never changes, the rest may. */}}
{{- define "scaleset-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "scaleset-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Takes a list: the context, the component, and further labels. Ours win. */}}
{{- define "scaleset-operator.labels" -}}
{{- $root := index . 0 }}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "scaleset-operator.name" $root)
  "app.kubernetes.io/instance" ($root.Release.Name | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/version" ($root.Chart.AppVersion | toString)
  "app.kubernetes.io/part-of" "scaleset-operator"
  "app.kubernetes.io/managed-by" $root.Release.Service
}}
{{- toYaml (merge $ours (index . 2) $root.Values.commonLabels) }}
{{- end }}

{{/* What the operator may do with sets and their instances, in each namespace that it serves. */}}
{{- define "scaleset-operator.servingRules" -}}
- apiGroups: [scaleset.dev]
  resources: [scalesets, upgradepolicies, galleryimageversions]
  verbs: [get, list, watch]
- apiGroups: [scaleset.dev]
  resources: [scalesets/status, upgradepolicies/status, galleryimageversions/status]
  verbs: [patch]
# Where OwnerReferencesPermissionEnforcement is on, whoever makes a set the owner of a pod needs this.
- apiGroups: [scaleset.dev]
  resources: [scalesets/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# Never delete, never update: what the role cannot do to data needs no trust.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create]
# Read before a batch deletes anything: a refusal names one quota, and each of them needs room for what comes back.
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [list]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "scaleset-operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "scaleset-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
